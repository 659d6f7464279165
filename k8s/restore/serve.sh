#!/bin/sh
# Let a server load each snapshot of a folder, reachable only through a socket: SOCKETS/<number>.sock
#
#   serve.sh DIRECTORY SOCKETS
set -eu

directory=$1
sockets=$2
number=0
servers=''
for snapshot in "$directory"/*.rdb; do
  number=$((number + 1))
  # Expired counters are not loaded; nothing is ever written.
  valkey-server --port 0 --unixsocket "$sockets/$number.sock" --dir "$directory" --dbfilename "${snapshot##*/}" \
    --save '' --appendonly no --daemonize no --loglevel warning &
  servers="$servers $!"
done
# So that restore.py knows when it has seen all.
echo "$number" >"$sockets/count"
# Not `jobs -p`, whose output some shells leave empty in a substitution.
# shellcheck disable=SC2086 # one word for each
trap 'trap - TERM INT; kill $servers 2>/dev/null; wait; exit 0' TERM INT
wait
