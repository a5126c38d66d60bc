"""The Lua steps that change records: each does all of a change, or nothing."""

FENCE = """
-- Whether a request may act: it has no Idempotency-Key, or the key `kept` says that this one, and no other, answers it.
local function may_act(kept, token)
  if kept == '' then return true end
  local found = redis.call('GET', kept)
  local marker = found and cjson.decode(found)
  return marker and marker.token == token and marker.status == cjson.null
end
"""

CREATE = (
    FENCE
    + """
-- Make records that belong together, and keep the answer: all, or none.
-- Returns 1 if they are made, 0 where one exists already, -1 if the request was thought dead, -2 where a record that
-- they need is gone.
-- KEYS: kept answer ('' if none); for each record 7 keys: record, index, active, events, group events ('' if none),
--       directive ('' if none), baselines ('' if none); then the lists that hold them; then the records that they need
-- ARGV: token, answer JSON, milliseconds that it is kept, number of records; for each record 6 values: record JSON,
--       score, identity, event JSON ('' if none), directive JSON, reuse digest; then the place in each list
if not may_act(KEYS[1], ARGV[1]) then return -1 end
local count = tonumber(ARGV[4])
local lists = #ARGV - count * 6 - 4
for i = count * 7 + 2 + lists, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return -2 end
end
for i = 0, count - 1 do
  if redis.call('EXISTS', KEYS[i * 7 + 2]) == 1 then return 0 end
end
for i = 0, count - 1 do
  local record, index, active, events = KEYS[i * 7 + 2], KEYS[i * 7 + 3], KEYS[i * 7 + 4], KEYS[i * 7 + 5]
  local group, directive, baselines = KEYS[i * 7 + 6], KEYS[i * 7 + 7], KEYS[i * 7 + 8]
  local json, score, identity, event = ARGV[i * 6 + 5], ARGV[i * 6 + 6], ARGV[i * 6 + 7], ARGV[i * 6 + 8]
  redis.call('SET', record, json)
  redis.call('ZADD', index, score, identity)
  redis.call('SADD', active, identity)
  if event ~= '' then
    redis.call('XADD', events, '*', 'event', event)
    if group ~= '' then redis.call('XADD', group, '*', 'event', event) end
  end
  if directive ~= '' then redis.call('SET', directive, ARGV[i * 6 + 9]) end
  if baselines ~= '' then redis.call('HSET', baselines, ARGV[i * 6 + 10], identity) end
end
for i = 1, lists do
  redis.call('ZADD', KEYS[count * 7 + 1 + i], 0, ARGV[count * 6 + 4 + i])
end
if KEYS[1] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""
)

APPLY = (
    FENCE
    + """
-- Apply the next inbox entry: record, published event, directive, indexes, lists, usage and kept answer change together.
-- Returns 1 if applied, 0 if another writer was first, or the entry is of a request that was thought dead, and dropped;
-- -1 if there is no record.
-- KEYS: record, inbox, events, group events ('' if none), active, directive ('' if none), kept answer ('' if none),
--       webhooks ('' unless someone is to be told of it); then the lists that it leaves, those that it enters, and the
--       usage hash of each figure
-- ARGV: applied_id that the new record was computed from, entry id, record JSON, event JSON ('' if the fact was stale),
--       identity, '1' if the record needs no more care, directive JSON, place in the lists, token, answer JSON,
--       milliseconds that it is kept, webhooks' member, since when it is due, how many lists it leaves, how many it
--       enters; then for each figure of usage: field, amount
local stored = redis.call('GET', KEYS[1])
if not stored then return -1 end
if cjson.decode(stored).applied_id ~= ARGV[1] then return 0 end
if #redis.call('XRANGE', KEYS[2], ARGV[2], ARGV[2]) == 0 then return 0 end  -- applied since it was read
if not may_act(KEYS[7], ARGV[9]) then
  redis.call('XDEL', KEYS[2], ARGV[2])
  return 0
end
redis.call('SET', KEYS[1], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'event', ARGV[4])
  if KEYS[4] ~= '' then redis.call('XADD', KEYS[4], 'MAXLEN', '~', 10000, '*', 'event', ARGV[4]) end
  if KEYS[7] ~= '' then redis.call('SET', KEYS[7], ARGV[10], 'PX', ARGV[11]) end
end
if KEYS[6] ~= '' then redis.call('SET', KEYS[6], ARGV[7]) end
local left, entered = 8 + tonumber(ARGV[14]), 8 + tonumber(ARGV[14]) + tonumber(ARGV[15])
for i = 9, left do redis.call('ZREM', KEYS[i], ARGV[8]) end
for i = left + 1, entered do redis.call('ZADD', KEYS[i], 0, ARGV[8]) end
if ARGV[6] == '1' then redis.call('SREM', KEYS[5], ARGV[5]) end
if KEYS[8] ~= '' then redis.call('ZADD', KEYS[8], ARGV[13], ARGV[12]) end
for i = entered + 1, #KEYS do
  local figure = 16 + 2 * (i - entered - 1)
  redis.call('HINCRBYFLOAT', KEYS[i], ARGV[figure], ARGV[figure + 1])
end
redis.call('XDEL', KEYS[2], ARGV[2])
return 1
"""
)

RESERVE = (
    FENCE
    + """
-- Keep a new reservation, its place in the index, and the answer. Returns 1, or -1 if the request was thought dead.
-- KEYS: kept answer ('' if none), reservation, index
-- ARGV: token, answer JSON, milliseconds that it is kept, reservation JSON, milliseconds that it lives, identity, score
if not may_act(KEYS[1], ARGV[1]) then return -1 end
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
redis.call('ZADD', KEYS[3], ARGV[7], ARGV[6])
if KEYS[1] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""
)

RELEASE = (
    FENCE
    + """
-- Forget that a request with this Idempotency-Key is being answered: it failed, and may be tried again.
-- KEYS: kept answer; ARGV: token
if may_act(KEYS[1], ARGV[1]) then redis.call('DEL', KEYS[1]) end
return 1
"""
)

LIST = """
-- Put a record into its lists, and out of those of other states, unless it has changed meanwhile: then 0.
-- KEYS: record, the lists that it is in, the lists that it is not in
-- ARGV: the record's revision, its place, how many lists it is in
local stored = redis.call('GET', KEYS[1])
if not stored then return 1 end
if cjson.decode(stored).revision ~= tonumber(ARGV[1]) then return 0 end
for i = 2, #KEYS do
  if i <= 1 + tonumber(ARGV[3]) then
    redis.call('ZADD', KEYS[i], 0, ARGV[2])
  else
    redis.call('ZREM', KEYS[i], ARGV[2])
  end
end
return 1
"""
