#!/usr/bin/env bash
# Build the image of this repository, bring it to where the cluster finds it, and set it in an overlay.
#
#   scripts/image.sh IMAGE [OVERLAY]
#   make image IMAGE=registry.you.example/rls:0.1.0 OVERLAY=k8s/overlays/production
#
# TO        registry (the default), kind or minikube
# ENGINE    docker, podman or buildah; by default the first of them that is there
# PLATFORM  for another machine than this one: linux/amd64 or linux/arm64
# DRY_RUN   when set, only print what would be run
#
# A registry gives the image a digest, which the overlay then names. In kind and minikube the overlay names the tag.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

example=registry.example.com/istio-rate-limiter
usage() { sed -n 's/^# \{0,1\}//; 2,11p' "${BASH_SOURCE[0]}" >&2; exit 2; }
fail() { echo "image: $*" >&2; exit 2; }
run() {
  echo "+ $*" >&2
  [[ -n ${DRY_RUN:-} ]] || "$@"
}

[[ $# -ge 1 && $# -le 2 && -n $1 ]] || usage
image=$1 overlay=${2:-} to=${TO:-registry}
name=${image##*/}
bare=${name%%[@:]*}
[[ $image != *@* && $name == *:* && $name != *:latest ]] ||
  fail "give $image a tag that is never pushed again, such as ${image%"$name"}$bare:0.1.0: pods must not change by themselves"
[[ $image != "$example"* ]] || fail "$example is the example. Name a registry of yours"
[[ $to == @(registry|kind|minikube) ]] || fail "TO is registry, kind or minikube, and not $to"
[[ $to != registry || $image == */* ]] || fail "$image names no registry: registry.you.example/$image. For a cluster on this machine, TO=kind or TO=minikube"
[[ $to == registry ]] || command -v "$to" >/dev/null || [[ -n ${DRY_RUN:-} ]] || fail "TO=$to needs $to on PATH"

# Before the build, which takes a minute.
kustomization=$overlay/kustomization.yaml
entry="^( *- ).*\bname: *$example\b.*"
if [[ -n $overlay ]]; then
  [[ -e $kustomization ]] || fail "$kustomization is missing"
  [[ $(grep -cE "$entry" "$kustomization") == 1 ]] ||
    fail "$kustomization needs one line under images: like this: - { name: $example, newTag: 0.1.0 }"
fi

works() { command -v "$1" >/dev/null && { [[ $1 != docker || -n ${DRY_RUN:-} ]] || docker info >/dev/null 2>&1; }; }
engine=${ENGINE:-}
for one in docker podman buildah; do
  [[ -n $engine ]] || ! works "$one" || engine=$one
done
[[ -n $engine || -z ${DRY_RUN:-} ]] || engine=docker
if [[ -z $engine ]]; then
  ! command -v docker >/dev/null || fail "docker is there, but its daemon does not answer. Start it, or install podman or buildah"
  fail "neither docker nor podman nor buildah is on PATH. Install one of them, or let .github/workflows/release.yaml build"
fi

# A cluster takes a name without a registry for one of Docker Hub; docker does so too, the others do not.
built=$image
[[ $engine == docker || $image == */* ]] || built=docker.io/library/$image
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

platform=()
[[ -z ${PLATFORM:-} ]] || platform=(--platform "$PLATFORM")
run "$engine" build "${platform[@]}" --file Dockerfile --tag "$built" .
digest=
case $to in
  registry)
    if [[ $engine == docker ]]; then
      run docker push "$built"
      [[ -n ${DRY_RUN:-} ]] ||
        digest=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$built" | sed -n "s|^${built%:*}@||p")
    else
      run "$engine" push --digestfile "$scratch/digest" "$built"
      [[ -n ${DRY_RUN:-} ]] || digest=$(<"$scratch/digest")
    fi
    [[ -n ${DRY_RUN:-} || $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "the registry gave $built no digest: '$digest'"
    ;;
  *)
    archive=$scratch/image.tar
    case $engine in
      docker) run docker save --output "$archive" "$built" ;;
      podman) run podman save --format docker-archive --output "$archive" "$built" ;;
      *) run buildah push "$built" "docker-archive:$archive:$built" ;;
    esac
    if [[ $to == kind ]]; then run kind load image-archive "$archive"; else run minikube image load "$archive"; fi
    ;;
esac

is=is
if [[ -n ${DRY_RUN:-} ]]; then
  is="would be"
  [[ $to != registry ]] || digest=sha256:…
  [[ $to != registry ]] || echo "sha256:… stands for the digest, which is not known until the registry gives it at the push"
fi
if [[ -n $digest ]]; then
  new="{ name: $example, newName: ${image%:*}, digest: \"$digest\" }"
  echo "$image $is ${image%:*}@$digest"
  echo "Helm: --set image.repository=${image%:*} --set image.digest=$digest"
else
  new="{ name: $example, newName: ${image%:*}, newTag: \"${image##*:}\" }"
  echo "$image $is in $to"
  echo "Helm: --set image.repository=${image%:*} --set image.tag=${image##*:}"
fi
if [[ -z $overlay ]]; then
  echo "Under images: of your overlay: - $new"
elif [[ -n ${DRY_RUN:-} ]]; then
  echo "$kustomization would get: - $new"
else
  sed -i.before -E "s|$entry|\1$new|" "$kustomization" && rm "$kustomization.before"
  echo "$kustomization names it. Next: python -m scripts.apply $overlay"
fi
