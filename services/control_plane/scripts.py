"""The two Lua steps that change records: each does all of a change, or nothing."""

CREATE = """
-- Make records that belong together: all, or none where one exists already.
-- KEYS: for each record 7 keys: record, index, active, events, group events ('' if none), directive ('' if none),
--       baselines ('' if none)
-- ARGV: for each record 6 values: record JSON, score, identity, event JSON ('' if none), directive JSON, reuse digest
local count = #KEYS / 7
for i = 0, count - 1 do
  if redis.call('EXISTS', KEYS[i * 7 + 1]) == 1 then return 0 end
end
for i = 0, count - 1 do
  local record, index, active, events = KEYS[i * 7 + 1], KEYS[i * 7 + 2], KEYS[i * 7 + 3], KEYS[i * 7 + 4]
  local group, directive, baselines = KEYS[i * 7 + 5], KEYS[i * 7 + 6], KEYS[i * 7 + 7]
  local json, score, identity, event = ARGV[i * 6 + 1], ARGV[i * 6 + 2], ARGV[i * 6 + 3], ARGV[i * 6 + 4]
  redis.call('SET', record, json)
  redis.call('ZADD', index, score, identity)
  redis.call('SADD', active, identity)
  if event ~= '' then
    redis.call('XADD', events, '*', 'event', event)
    if group ~= '' then redis.call('XADD', group, '*', 'event', event) end
  end
  if directive ~= '' then redis.call('SET', directive, ARGV[i * 6 + 5]) end
  if baselines ~= '' then redis.call('HSET', baselines, ARGV[i * 6 + 6], identity) end
end
return 1
"""

APPLY = """
-- Apply the next inbox entry: record, published event, directive and indexes change together.
-- Returns 1 if applied, 0 if another writer was first, -1 if there is no record.
-- KEYS: record, inbox, events, group events ('' if none), active, directive ('' if none),
--       webhooks ('' unless someone is to be told of it)
-- ARGV: applied_id that the new record was computed from, entry id, record JSON, event JSON ('' if the fact was stale),
--       identity, '1' if the record needs no more care, directive JSON, webhooks' member, since when it is due
local stored = redis.call('GET', KEYS[1])
if not stored then return -1 end
if cjson.decode(stored).applied_id ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'event', ARGV[4])
  if KEYS[4] ~= '' then redis.call('XADD', KEYS[4], 'MAXLEN', '~', 10000, '*', 'event', ARGV[4]) end
end
if KEYS[6] ~= '' then redis.call('SET', KEYS[6], ARGV[7]) end
if ARGV[6] == '1' then redis.call('SREM', KEYS[5], ARGV[5]) end
if KEYS[7] ~= '' then redis.call('ZADD', KEYS[7], ARGV[9], ARGV[8]) end
redis.call('XDEL', KEYS[2], ARGV[2])
return 1
"""
