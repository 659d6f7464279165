#!/usr/bin/env bash
# Make the passwords, the ACL and the certificates of the Redis nodes and their clients. As a kustomization, so that you
# can read it, keep it in a vault, and apply it: k8s/secrets.sh DIRECTORY && kubectl apply -k DIRECTORY
#
# A second run keeps the authority and makes everything else again.
set -euo pipefail
umask 077

directory=${1:?usage: k8s/secrets.sh DIRECTORY}
days=${DAYS:-365}
zone=redis.rate-limit.svc.cluster.local
mkdir -p "$directory"
cd "$directory"

openssl_quietly() { openssl "$@" 2>openssl.log || { cat openssl.log >&2; return 1; }; }

# As Python requires since 3.13: certificates say what their key is for, and who has signed them.
if [[ ! -e ca.key ]]; then
  openssl_quietly req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
    -subj '/CN=rate-limit Redis' -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.crt
fi

# certificate NAME SUBJECT SAN
certificate() {
  mkdir -p "$1"
  openssl_quietly req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$1/tls.key" -out "$1/tls.csr"
  openssl_quietly x509 -req -in "$1/tls.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days "$days" \
    -extfile <(printf 'subjectAltName=%s\nauthorityKeyIdentifier=keyid\nkeyUsage=critical,digitalSignature\n' "$3") -out "$1/tls.crt"
  rm "$1/tls.csr"
  cp ca.crt "$1/ca.crt"
}
# A node is a client of the others, too; the exporter and the probes connect to it as localhost.
certificate redis-tls "$zone" "DNS:$zone,DNS:*.$zone,DNS:localhost,IP:127.0.0.1"
certificate redis-client-tls rate-limit 'DNS:client.rate-limit'

password() {
  mkdir -p "$1"
  openssl rand -hex 32 | tr -d '\n' >"$1/password"
}
# acl USER DIRECTORY RIGHTS: the node knows a password only by its hash.
acl() { printf 'user %s on #%s resetchannels %s\n' "$1" "$(openssl dgst -sha256 -r <"$2/password" | cut -d ' ' -f 1)" "$3"; }

for user in rls keeper exporter backup restore; do password "redis-$user"; done
password replica
mkdir -p redis-nodes
{
  echo 'user default off'
  # What rls sends, and what its client library does when it connects.
  acl rls redis-rls '~* -@all +get +set +incrby +decrby +expire +eval +ping +readonly +asking +client|setname +client|setinfo +cluster|slots +time +info +scan'
  # masteruser of replication.conf; leave.sh uses it, too.
  acl replica replica '-@all +psync +sync +replconf +ping +role +cluster|myid +cluster|nodes +cluster|failover'
  acl keeper redis-keeper '-@all +ping +info +dbsize +cluster +client|setinfo'
  acl exporter redis-exporter '-@all +ping +info +dbsize +cluster|info +slowlog|len +slowlog|get +latency|latest +latency|histogram +client|setname'
  acl backup redis-backup '-@all +psync +sync +replconf +ping +info +cluster|nodes'
  acl restore redis-restore '~* -@all +restore +ping +info +command +dbsize +asking +client|setinfo +cluster|slots +cluster|info'
  echo 'user probe on nopass resetkeys resetchannels -@all +ping +info +cluster|info'
} >redis-nodes/users.acl
{
  echo 'masteruser replica'
  echo "masterauth $(cat replica/password)"
} >redis-nodes/replication.conf
rm -rf replica openssl.log

{
  printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: rate-limit\n'
  printf 'generatorOptions: { disableNameSuffixHash: true }\nsecretGenerator:\n'
  printf '  - { name: redis-nodes, files: [redis-nodes/users.acl, redis-nodes/replication.conf] }\n'
  for name in redis-tls redis-client-tls; do
    printf '  - { name: %s, type: kubernetes.io/tls, files: [%s/ca.crt, %s/tls.crt, %s/tls.key] }\n' "$name" "$name" "$name" "$name"
  done
  for user in rls keeper exporter backup restore; do
    printf '  - { name: redis-%s, files: [redis-%s/password] }\n' "$user" "$user"
  done
} >kustomization.yaml
echo "Made in $directory; keep ca.key where no pod can read it. Next: kubectl apply -k $directory"
