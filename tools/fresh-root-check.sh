#!/usr/bin/env bash
# fresh-root-check.sh SUITE [MIRROR...]: do `make run` and `make test` work on a bare Debian?
# Builds a minimal root with nothing but make, copies this checkout in (tracked and new files, not
# the ignored ones) and runs there: make run; make run once more without any network; make test.
# Prints the tail and exit code of each. KEEP=1 leaves the root in place. Needs root, mmdebstrap,
# git. Mounts live in a private mount namespace, so none outlives the script.
set -euo pipefail

# Runs in the private namespace: mount what tracing needs, then the three steps.
inside() {
  local root=$1 failed=0 path
  mount --bind "$root" "$root" # `ip netns exec` wants / to be a mount
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/run"
  mount -t tmpfs tmpfs "$root/tmp"

  # Reach apt and PyPI the way this host does, whatever way that is.
  cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
  local environment=(HOME=/root TERM="${TERM:-dumb}" CI=true
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
  while IFS= read -r -d '' path; do
    case ${path%%=*} in PIP_*|http_proxy|https_proxy|no_proxy|HTTP_PROXY|HTTPS_PROXY|NO_PROXY)
      environment+=("$path") ;;
    esac
  done < <(env -0)
  if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/host-certificates.crt"
    environment+=(PIP_CERT=/etc/host-certificates.crt)
  fi
  # Package directories of this host that these settings may name are not there: pip skips them.
  for path in /etc/pip.conf "$HOME/.pip/pip.conf" "$HOME/.config/pip/pip.conf"; do
    [ ! -e "$path" ] || install -D "$path" "$root/${path/#$HOME//root}"
  done

  step() { # step NAME COMMAND...
    local name=$1 code=0 start=$SECONDS
    shift
    timeout --foreground --kill-after=30 40m "$@" >"$root/../log" 2>&1 || code=$?
    tail -n 25 "$root/../log"
    printf '== %s: exit %d after %d s\n\n' "$name" "$code" $((SECONDS - start))
    [ "$code" = 0 ] || failed=1
  }
  local enter=(chroot "$root" env -i "${environment[@]}" sh -c 'cd /src && exec "$@"' sh)
  step "make run" "${enter[@]}" make run ARGS="-d 3"
  step "make run, no network" unshare --net "${enter[@]}" make run ARGS="-d 3"
  step "make test" "${enter[@]}" make test
  return "$failed"
}

if [ "${1-}" = --inside ]; then inside "$2"; exit; fi

[ $# -gt 0 ] || { echo "usage: fresh-root-check.sh SUITE [MIRROR...]" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "fresh-root-check.sh needs root" >&2; exit 1; }
for tool in mmdebstrap git; do
  command -v "$tool" >/dev/null || { echo "install $tool first" >&2; exit 1; }
done
here=$(realpath "$0")
cd "$(dirname "$here")/.."
base=$(mktemp -d /var/tmp/rsttrace-root.XXXXXX)
root=$base/root
worker=

cleanup() {
  trap '' INT TERM HUP
  local signal process
  for signal in TERM KILL; do
    [ -z "$worker" ] || kill "-$signal" "$worker" 2>/dev/null || true
    for _ in 1 2 3; do # whatever still runs inside
      for process in /proc/[0-9]*; do
        [ ! "$process/root/." -ef "$root/." ] || kill "-$signal" "${process#/proc/}" 2>/dev/null || true
      done
      sleep 0.1
    done
  done
  if [ "${KEEP-}" = 1 ]; then echo "kept $root"; else rm -rf --one-file-system "$base"; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Ctrl-C must reach the background job as usual: bash would start it with SIGINT ignored.
background() {
  env --default-signal=INT,QUIT "$@" </dev/null &
  worker=$!
  wait "$worker"
  worker=
}

chmod 755 "$base"
packages="make"
case "$* $(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null)" in
  *https:*) packages=make,ca-certificates ;;
esac
apt-config dump | grep -E '^Acquire::(https?::|Check-|ForceIPv|Retries)' >"$base/apt.conf" || true
echo "== building a bare $1 in $root"
background mmdebstrap --quiet --variant=minbase --include="$packages" --aptopt="$base/apt.conf" \
  "$1" "$root" "${@:2}"
mkdir "$root/src"
git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
  tar --null -T - -cf - | tar -xf - --no-same-owner -C "$root/src"
background unshare --mount --propagation private "$here" --inside "$root"
