#!/bin/sh
# preStop of a node: a primary hands over to a replica that has caught up, so that nobody waits for the cluster to find
# out that it is gone. It never keeps a pod from ending: without such a replica the cluster's own failover has to do.
set -eu

port=${REDIS_PORT:-6379}
tls=${REDIS_TLS:-/etc/redis/tls}
secret=${REDIS_SECRET:-/etc/redis/secret}
REDISCLI_AUTH=$(sed -n 's/^masterauth //p' "$secret/replication.conf")
export REDISCLI_AUTH

ask() {
  host=$1
  at=$2
  shift 2
  timeout 3 valkey-cli -h "$host" -p "$at" --tls --cacert "$tls/ca.crt" --cert "$tls/tls.crt" --key "$tls/tls.key" \
    --user replica "$@"
}

role() { ask 127.0.0.1 "$port" role | head -n 1 | tr -d '\r'; }

[ "$(role)" = master ] || exit 0
me=$(ask 127.0.0.1 "$port" cluster myid | tr -d '\r')
# <id> <ip>:<port>@<bus>,<name> slave <its primary> <ping> <pong> <epoch> connected
replica=$(ask 127.0.0.1 "$port" cluster nodes |
  awk -v me="$me" '$3 == "slave" && $4 == me && $8 == "connected" { sub(/@.*/, "", $2); print $2; exit }')
if [ -z "$replica" ]; then
  echo "no replica to hand over to" >&2
  exit 0
fi
ask "${replica%:*}" "${replica##*:}" cluster failover || exit 0
seconds=0
while [ "$seconds" -lt "${LEAVE_SECONDS:-10}" ] && [ "$(role)" = master ]; do
  sleep 1
  seconds=$((seconds + 1))
done
