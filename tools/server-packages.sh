#!/bin/sh
# server-packages.sh DIR: real servers for the labs, unpacked into DIR and installed nowhere.
# Fetches Debian's packages of nginx, HAProxy and sshd, and those of their dependencies that this
# machine does not have, with apt; then `dpkg -x`. So no service starts, no port opens, no user is
# made, no unit is enabled. Run the programs with DIR's libraries: rsttrace/lab/servers/program.py
# does, where RSTTRACE_SERVERS names DIR. Does nothing where DIR is complete. Needs apt's network
# once; exit status 1 and one line on stderr if that does not work. Remove: rm -r DIR.
set -eu
exec >&2
umask 022
export LC_ALL=C.UTF-8

packages="nginx haproxy openssh-server"
programs="usr/sbin/nginx usr/sbin/haproxy usr/sbin/sshd"

die() { echo "rsttrace: no servers for the labs: $*"; exit 1; }

[ $# = 1 ] || { echo "usage: server-packages.sh DIR"; exit 2; }
[ ! -L "$1" ] || die "$1 is a symbolic link"
complete=$1/.complete
[ ! -e "$complete" ] || [ "$(cat "$complete")" != "$packages" ] || exit 0
for tool in apt-get dpkg; do
  command -v "$tool" >/dev/null || die "$tool is missing: this is made for Debian"
done
# an earlier try, or the packages of an earlier version; anything else is not ours to remove
[ ! -e "$1" ] || [ -e "$1/.servers" ] || rmdir "$1" 2>/dev/null || die "$1 has other files in it"

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 755 "$new" # apt fetches as user _apt
mkdir -p "$new/debs/partial"

# fetch: the .debs into $new/debs. --reinstall: also of what is installed. No lock: all that is
# written is in $new.
fetch() {
  # shellcheck disable=SC2086
  apt-get -qq -y --no-install-recommends --download-only --reinstall -o Debug::NoLocking=true \
    -o Dir::Cache::archives="$new/debs" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
    install $packages </dev/null >"$new/log" 2>&1
}

if ! fetch; then
  if [ "$(id -u)" = 0 ]; then
    apt-get -qq -o DPkg::Lock::Timeout=300 update </dev/null >"$new/log" 2>&1 || true
  fi
  fetch || die "apt could not fetch $packages: $(grep '^E:' "$new/log" | head -n 1)"
fi

echo "rsttrace: unpacking $packages to $1"
rm -rf "$1"
mkdir -p "$1"
: >"$1/.servers"
for deb in "$new"/debs/*.deb; do
  dpkg -x "$deb" "$1" || die "cannot unpack ${deb##*/}"
done
for program in $programs; do
  [ -x "$1/$program" ] || die "the packages have no $program"
done
echo "$packages" >"$complete"
[ "$(id -u)" != 0 ] || chown -R --reference="$(dirname "$1")" "$1" # under sudo: the checkout's owner
