#!/bin/sh
# build.sh [GUEST...]: the disk images of these guests (default: all in tools/vm/guests). Builds
# what is missing or out of date and prints for each guest: GUEST IMAGE-DIRECTORY KERNEL-RELEASE.
#
# One image for each userland, with all kernels that the table wants under it, in the directory
# $RSTTRACE_VM_CACHE (.venv/vm). An image is out of date when a script or list here has changed,
# or the mirror has another kernel; the mirror is asked at most twice a day. IMAGE/versions says
# what is inside. The same packages give the same files, but for some .pyc (all dates are those of
# the suite's release). Packages come from this machine's own mirror (or RSTTRACE_VM_MIRROR and
# RSTTRACE_VM_SECURITY_MIRROR). Building needs root and the programs of `tools/install.sh vm`; half
# a minute to a minute and 0.4-0.8 GB for each image.
set -eu
umask 022
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
cache=${RSTTRACE_VM_CACHE:-$checkout/.venv/vm}
ask_again_min=720
# Suites with a security archive. bullseye's names files that are gone; sid has none.
security_suites=" bookworm trixie "

say() { printf 'rsttrace: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# table: the rows of the guest table, without comments.
table() { grep -v -e '^#' -e '^ *$' "$here/guests"; }

# mirror LABEL: where this machine's apt gets the archive of that label from.
mirror() {
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 2>/dev/null | sed -n "s/^$1|//p" | head -n 1
}

# sources SUITE: its lines of sources.list.
sources() {
  signed="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
  echo "deb $signed $main $1 main"
  case "$security$security_suites" in
    ?*" $1 "*) echo "deb $signed $security $1-security main" ;;
  esac
}

# apt SUITE PROGRAM ARGUMENT...: apt-get or apt-cache with that suite's lists, kept in the cache;
# this machine's own are left alone.
apt() {
  state=$cache/apt/$1 program=$2
  shift 2
  "$program" -qq -o Dir::State::Lists="$state/lists" -o Dir::State::status=/dev/null \
    -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Debug::NoLocking=true \
    -o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none \
    -o Acquire::Retries=1 -o Acquire::http::Timeout=30 "$@" </dev/null
}

# ask_mirror SUITE: the suite's lists, not older than half a day where the network allows.
ask_mirror() {
  state=$cache/apt/$1
  mkdir -p "$state/lists/partial"
  sources "$1" >"$state/sources.new"
  if cmp -s "$state/sources.new" "$state/sources.list" &&
    [ -n "$(find "$state/asked" -mmin "-$ask_again_min" 2>/dev/null)" ]; then return; fi
  mv "$state/sources.new" "$state/sources.list"
  if apt "$1" apt-get -o APT::Update::Error-Mode=any update >"$state/log" 2>&1; then
    rm -f "$state"/linux-*
    : >"$state/asked"
  else
    say "cannot ask the mirror for $1, using what was known: $(grep -m 1 '^E:' "$state/log")"
  fi
}

# kernel_package SUITE METAPACKAGE: PACKAGE=VERSION that it stands for now.
kernel_package() {
  known=$cache/apt/$1/$2 # reading a suite's lists takes seconds
  if [ ! -e "$known" ]; then
    package=$(apt "$1" apt-cache depends "$2" |
      sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    version=$(apt "$1" apt-cache --no-all-versions show "${package:-none}" 2>/dev/null |
      sed -n 's/^Version: //p' | head -n 1)
    [ -n "$version" ] || die "the mirror has no $2 in $1"
    echo "$package=$version" >"$known"
  fi
  cat "$known"
}

# kernels USERLAND: lines "SUITE METAPACKAGE PACKAGE=VERSION" of all kernels it is to hold.
kernels() {
  table | while read -r _ userland suite meta; do
    [ "$userland" = "$1" ] || continue
    package=$(kernel_package "$suite" "$meta") || exit 1
    echo "$suite $meta $package"
  done
}

# fetch_kernel SUITE PACKAGE=VERSION: its packages, in a new directory that it prints. In newer
# suites linux-image-X is empty and needs linux-modules-X and the like.
fetch_kernel() {
  package=${2%%=*}
  release=${package#linux-image-}
  also=$(apt "$1" apt-cache depends "$package" |
    sed -n "s/^ *Depends: \(linux-[a-z]*-$release\)$/\1/p")
  directory=$(mktemp -d -p "$work")
  # shellcheck disable=SC2086
  (cd "$directory" && apt "$1" apt-get download "$2" $also >&2) || die "cannot fetch $2 of $1"
  echo "$directory"
}

# wanted USERLAND: a text that changes when its image must be built anew.
wanted() {
  echo "$kernels"
  (cd "$here" && cat build.sh finish-root guest-init packages)
  [ ! -e "$here/wheels-$1" ] || cat "$here/wheels-$1"
}

# release_date SUITE: of the archive as it was last asked, in s since 1970.
release_date() {
  sed -n 's/^Date: //p' "$cache/apt/$1"/lists/*_InRelease |
    while read -r day; do date -d "$day" +%s; done | sort -n | tail -n 1
}

# build USERLAND: its image, from scratch.
build() {
  [ "$(id -u)" = 0 ] || die "building an image needs root, once: sudo tools/vm/build.sh"
  for tool in mmdebstrap genext2fs dpkg-deb; do
    command -v "$tool" >/dev/null || die "$tool is missing: sudo sh tools/install.sh vm"
  done
  say "building the image of $1 (log: $cache/$1.log)"
  OUT=$work/$1 WHEELS='' KERNELS=''
  mkdir "$OUT"
  while read -r suite _ package; do
    directory=$(fetch_kernel "$suite" "$package") || exit 1
    KERNELS="$KERNELS $directory"
  done <<EOF
$kernels
EOF
  [ ! -e "$here/wheels-$1" ] || WHEELS=$here/wheels-$1
  SOURCE_DATE_EPOCH=$(release_date "$1")
  export OUT WHEELS KERNELS SOURCE_DATE_EPOCH
  # mmdebstrap does not look where this machine's apt has proxy and certificates
  apt-config dump --no-empty --format '%f "%v";%n' Acquire::http Acquire::https >"$work/apt.conf"
  echo 'Acquire::Check-Valid-Until "false";' >>"$work/apt.conf"
  sources "$1" | mmdebstrap --variant=minbase --aptopt="$work/apt.conf" \
    --include="$(grep -v '^#' "$here/packages" | paste -sd,)" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --customize-hook="$here/finish-root" \
    "$1" "$work/root.tar" - >"$cache/$1.log" 2>&1 ||
    die "mmdebstrap failed: $(grep -m 1 '^E:' "$cache/$1.log")"
  echo "$kernels" | sed 's/^/kernel /' >>"$OUT/versions"
  # files come in 4 kB blocks, hence the third more; no journal, for nothing is written
  blocks=$(($(stat -c %s "$work/root.tar") * 4 / 3 / 4096))
  genext2fs -B 4096 -b "$blocks" -i 8192 -f -z -a "$work/root.tar" "$OUT/root.ext4" \
    >>"$cache/$1.log" 2>&1
  echo "$stamp" >"$OUT/stamp"
  rm -rf "${cache:?}/$1"
  mv "$OUT" "$cache/$1"
  rm -rf "${work:?}"/*
}

# look_at USERLAND: build its image if that is missing or out of date.
look_at() {
  for suite in "$1" $(table | awk -v u="$1" '$2 == u { print $3 }'); do
    case " $asked " in *" $suite "*) continue ;; esac
    ask_mirror "$suite"
    asked="$asked $suite"
  done
  kernels=$(kernels "$1") || exit 1
  stamp=$(wanted "$1" | sha256sum)
  [ "$(cat "$cache/$1/stamp" 2>/dev/null)" = "$stamp" ] || build "$1"
}

# row GUEST: its row of the table.
row() { table | grep "^$1 " || die "there is no guest $1; tools/vm/guests has $all"; }

all=$(table | cut -d' ' -f1 | paste -sd' ')
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $all
for guest; do row "$guest" >/dev/null; done
# an apt that has no lists yet does not know which archive is which
[ -n "$(mirror Debian)" ] || [ "$(id -u)" != 0 ] || apt-get -qq update </dev/null >&2 || true
main=${RSTTRACE_VM_MIRROR:-$(mirror Debian)}
security=${RSTTRACE_VM_SECURITY_MIRROR:-$(mirror Debian-Security)}
[ -n "$main" ] || die "this machine's apt knows no Debian mirror: set RSTTRACE_VM_MIRROR"
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
rm -rf "$cache"/tmp.* # of one that was killed
work=$(mktemp -d -p "$cache")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

asked='' seen=''
for guest; do
  line=$(row "$guest")
  userland=$(echo "$line" | awk '{ print $2 }')
  case " $seen " in
    *" $userland "*) ;;
    *)
      look_at "$userland"
      seen="$seen $userland"
      ;;
  esac
  release=$(echo "$line" | while read -r _ _ suite meta; do
    sed -n "s/^kernel $suite $meta linux-image-\(.*\)=.*/\1/p" "$cache/$userland/versions"
  done)
  echo "$guest $cache/$userland $release"
done
[ "$(id -u)" != 0 ] || chown -R --reference="$checkout" "$cache" # under sudo: the checkout's owner
