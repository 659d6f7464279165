#!/usr/bin/env bash
# Bring an image of rls to the cluster that kubectl talks to, ask it as Envoy does, and go back where that fails: where it
# does not answer, finds no limit for what is asked, or decides without its counters.
#
#   scripts/deploy.sh IMAGE
#
# KUBECTL, RLS   the programs; kubectl and rls
# DOMAIN, ENTRY  what is asked, with --hits 0; mesh, company_id=deployment. A rule must limit it
set -euo pipefail

image=${1:?usage: scripts/deploy.sh IMAGE}
kubectl=("${KUBECTL:-kubectl}" --namespace rate-limit)
port=${PORT:-18081}

works() {
  "${kubectl[@]}" rollout status deployment/rls --timeout "${ROLLOUT:-5m}" || return 1
  "${kubectl[@]}" port-forward deployment/rls "$port:8081" >/dev/null &
  local forward=$! answer=3 tries
  # 3: no answer, as long as the way there is not open. 4: no limit, or not from the counters: a connection to Redis that
  # is new may be too slow for the first call.
  for ((tries = 0; tries < ${TRIES:-20} && answer >= 3; tries++)); do
    answer=0
    "${RLS:-rls}" call "127.0.0.1:$port" --domain "${DOMAIN:-mesh}" --hits 0 --expect-limit \
      "${ENTRY:-company_id=deployment}" || answer=$?
    ((answer < 3)) || sleep "${PAUSE:-1}"
  done
  kill "$forward" 2>/dev/null || true
  wait "$forward" 2>/dev/null || true
  # 1 is OVER_LIMIT, which is an answer, too.
  ((answer < 2))
}

"${kubectl[@]}" set image deployment/rls "rls=$image"
if works; then
  echo "deployed $image"
  exit 0
fi
echo "$image does not work: going back" >&2
"${kubectl[@]}" rollout undo deployment/rls
"${kubectl[@]}" rollout status deployment/rls --timeout "${ROLLOUT:-5m}"
exit 1
