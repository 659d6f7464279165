#!/bin/sh
# Take a snapshot of every primary of the cluster, as a replica would get it: nothing is written on the nodes.
#
#   snapshot.sh DIRECTORY
#
# REDIS_NODES, REDIS_USER, REDIS_PASSWORD_FILE, REDIS_TLS: as for cluster_repair.py
#
# DIRECTORY/<id>.rdb for each primary that serves slots, and SHA256SUMS. Ends with an error, and without SHA256SUMS, where
# a slot is in none of them.
set -eu

directory=$1
if [ -n "${REDIS_PASSWORD_FILE:-}" ]; then
  REDISCLI_AUTH=$(cat "$REDIS_PASSWORD_FILE")
  export REDISCLI_AUTH
fi

ask() {
  node=$1
  shift
  set -- -h "${node%:*}" -p "${node##*:}" "$@"
  if [ -n "${REDIS_USER:-}" ]; then set -- --user "$REDIS_USER" "$@"; fi
  if [ -n "${REDIS_TLS:-}" ]; then
    set -- --tls --cacert "$REDIS_TLS/ca.crt" --cert "$REDIS_TLS/tls.crt" --key "$REDIS_TLS/tls.key" "$@"
  fi
  valkey-cli "$@"
}

slots=0
for node in $REDIS_NODES; do
  # Each tells of itself: <id> <address> myself,master - 0 0 <epoch> connected 0-5460 5462
  me=$(ask "$node" cluster nodes | grep myself || true)
  case $me in
    *myself,master*) ;;
    *) continue ;;
  esac
  own=$(echo "$me" | awk '{
    for (i = 9; i <= NF; i++) if ($i !~ /^\[/) { n = split($i, bound, "-"); sum += bound[n] - bound[1] + 1 }
    print sum + 0
  }')
  [ "$own" -gt 0 ] || continue
  id=${me%% *}
  echo "$node: $own slots, into $id.rdb"
  ask "$node" --rdb "$directory/$id.rdb"
  slots=$((slots + own))
done

if [ "$slots" -ne 16384 ]; then
  echo "the primaries that could be asked serve $slots of 16384 slots: this is no backup" >&2
  exit 1
fi
cd "$directory"
sha256sum -- *.rdb >SHA256SUMS
