#!/bin/sh
# Probes of a node: `probe.sh alive`, that it answers; `probe.sh ready`, that its cluster is well and, where it is a
# replica, that it has caught up: so that a rolling update never takes the last good copy. For people, who need no
# password for these: `probe.sh info`, with sections if wanted, and `probe.sh cluster info`.
set -eu

port=${REDIS_PORT:-6379}
tls=${REDIS_TLS:-/etc/redis/tls}

# The ACL lets the user `probe` ask these, without a password, and nothing else.
ask() {
  valkey-cli -h 127.0.0.1 -p "$port" --tls --cacert "$tls/ca.crt" --cert "$tls/tls.crt" --key "$tls/tls.key" \
    --user probe --pass '' --no-auth-warning "$@"
}

case ${1:-} in
  # Loading its file counts as alive: it ends by itself.
  alive) ask ping | grep -q -e PONG -e LOADING ;;
  ready)
    ask cluster info | grep -q '^cluster_state:ok'
    replication=$(ask info replication)
    case $replication in
      *role:slave*) printf '%s' "$replication" | grep -q '^master_link_status:up' ;;
    esac
    ;;
  info | cluster) ask "$@" ;;
  *)
    echo "usage: probe.sh alive|ready|info [SECTION]|cluster info" >&2
    exit 2
    ;;
esac
