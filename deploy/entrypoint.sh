#!/bin/sh
# Makes the addresses of Redis from their passwords' files, so that a password stands in no file of ours and in no argument.
set -eu

redis=${REDIS_ADDRESS:-redis:6379}
password_file=${REDIS_PASSWORD_FILE:-/run/secrets/redis-password}
if [ -z "${STILLHOUSE_REDIS_URL:-}" ] && [ -r "$password_file" ]; then
    STILLHOUSE_REDIS_URL="redis://:$(cat "$password_file")@$redis/0"
    export STILLHOUSE_REDIS_URL
fi

# as the pool's HTTP door signs in, where its password is there
door_password_file=${REDIS_DOOR_PASSWORD_FILE:-/run/secrets/redis-door-password}
if [ -z "${STILLHOUSE_DOOR_REDIS_URL:-}" ] && [ -r "$door_password_file" ]; then
    STILLHOUSE_DOOR_REDIS_URL="redis://door:$(cat "$door_password_file")@$redis/0"
    export STILLHOUSE_DOOR_REDIS_URL
fi

exec "$@"
