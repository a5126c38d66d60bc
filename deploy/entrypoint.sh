#!/bin/sh
# Makes the address of Redis from its password's file, so that the password stands in no file of ours and in no argument.
set -eu

password_file=${REDIS_PASSWORD_FILE:-/run/secrets/redis-password}
if [ -z "${STILLHOUSE_REDIS_URL:-}" ] && [ -r "$password_file" ]; then
    STILLHOUSE_REDIS_URL="redis://:$(cat "$password_file")@${REDIS_ADDRESS:-redis:6379}/0"
    export STILLHOUSE_REDIS_URL
fi

exec "$@"
