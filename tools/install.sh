#!/bin/sh
# install.sh install|uninstall|dev|test|vm: what the Makefile needs here, and nothing twice.
#   install    system packages; rsttrace in its own venv $PREFIX/lib/rsttrace, linked from $PREFIX/bin
#   uninstall  removes that venv and the link (system packages stay)
#   dev        system packages; .venv in the checkout with the tools of dev-requirements.txt
#   test       as dev, and the programs the kernel tests call; servers for the labs in .venv/servers
#   vm         as dev, and what builds and boots the test guests of tools/vm
# bcc exists only as a distribution package and only for the distribution's own interpreter, hence
# PYTHON=/usr/bin/python3 and --system-site-packages. The other Python packages are the
# distribution's too (apt or dnf); what it lacks or has too old comes from PyPI into the venv: on
# Debian 12 and newer nothing. .venv always needs PyPI.
# MAKE_TARGET is the word the user typed, for messages.
set -eu
exec >&2 # stdout belongs to `make run`'s trace
umask 022

: "${PREFIX:=/usr/local}" "${PYTHON:=/usr/bin/python3}" "${MAKE_TARGET:=install}"
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

# Somebody else's Python set-up must not leak in; where pip finds its index and certificates may.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export PATH LC_ALL=C.UTF-8 PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV
unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV PIP_PYTHON

run_packages="python3 python3-venv python3-bpfcc"
test_packages="iproute2 nftables iptables procps"
vm_packages="qemu-system-x86 mmdebstrap genext2fs debian-archive-keyring"
manager=
if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
  manager=apt
elif command -v dnf >/dev/null && command -v rpm >/dev/null; then
  manager=dnf
  run_packages="python3 python3-bcc"
  test_packages="iproute nftables iptables-nft procps-ng"
fi
by_hand="Install Python 3.9 or newer with venv and bcc for Python (python3-bpfcc, python3-bcc or \
python-bcc) by hand"

say() { printf 'rsttrace: %s\n' "$*"; }
die() { say "$@"; exit 1; }

# system_packages NAME...: install those that are missing.
system_packages() {
  case $manager in
    apt) have=$(dpkg-query -W -f '${Package}=${db:Status-Status} ' "$@" 2>/dev/null) || true ;;
    dnf) have=$(rpm -q --queryformat '%{NAME}=installed ' "$@") || true ;;
    *) return 0 ;;
  esac
  missing=
  for package; do
    case " $have" in *" $package=installed "*) ;; *) missing="$missing $package" ;; esac
  done
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || die "make $MAKE_TARGET needs root once, to install$missing: sudo make $MAKE_TARGET"
  say "installing system packages:$missing"
  refresh
  # shellcheck disable=SC2086
  case $manager in
    apt)
      DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -qq -y --no-install-recommends \
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 install $missing </dev/null ;;
    dnf) dnf -q -y --setopt=install_weak_deps=False install $missing </dev/null ;;
  esac || die "$manager could not install$missing"
}

# refresh: the package lists, once. dnf does it by itself.
refresh() {
  [ "$manager" = apt ] && [ "$(id -u)" = 0 ] && [ -z "${refreshed-}" ] || return 0
  refreshed=1
  apt-get -qq update </dev/null || say "apt-get update failed; trying with the package lists at hand"
}

# is_packaged NAME OLDEST: has the distribution python3-NAME, and not older?
is_packaged() {
  case $manager in
    apt)
      candidate=$(apt-cache policy "python3-$1" | sed -n 's/^ *Candidate: *\([^(]\)/\1/p')
      [ -n "$candidate" ] && dpkg --compare-versions "$candidate" ge "$2" ;;
    dnf) [ -n "$(dnf -q repoquery --whatprovides "python3-$1 >= $2" 2>/dev/null)" ] ;;
    *) false ;;
  esac
}

# check_python: is $PYTHON new enough, and does it see bcc? If not, say what to install.
check_python() {
  [ -x "$PYTHON" ] || die "$PYTHON is missing. $by_hand"
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
    die "$PYTHON is $("$PYTHON" -V 2>&1); rsttrace needs Python 3.9 or newer"
  lacking=$(cd / && "$PYTHON" - <<'END'
import importlib

lacking = []
for name in ("venv", "ensurepip", "bcc"):
    try:
        module = importlib.import_module(name)
    except ImportError:
        lacking.append(name)
    else:
        if name == "bcc" and not hasattr(module, "BPF"):
            lacking.append(f"bcc ({module.__file__} is another package of that name)")
print(", ".join(lacking))
END
  ) || die "$PYTHON does not work"
  [ -z "$lacking" ] || die "$PYTHON cannot import $lacking. $by_hand"
}

# lacking PYTHON: the Python packages that it has not, or too old, like click>=8.0.
lacking() { "$1" tools/lacking.py || die "$1 does not work"; }

# python_packages: those of the distribution, as far as it has them.
python_packages() {
  wanted=$(lacking "$PYTHON") packages=
  [ -n "$wanted" ] || return 0
  refresh
  for one in $wanted; do
    if is_packaged "${one%%>=*}" "${one#*>=}"; then packages="$packages python3-${one%%>=*}"; fi
  done
  # shellcheck disable=SC2086
  [ -z "$packages" ] || system_packages $packages
}

# from_pypi VENV: what the distribution does not have.
from_pypi() {
  wanted=$(lacking "$1/bin/python3")
  [ -n "$wanted" ] || return 0
  # shellcheck disable=SC2086
  say "installing from PyPI, as this system has none or an older one:" $wanted
  # shellcheck disable=SC2086
  "$1/bin/python3" -m pip install --quiet $wanted || die "pip failed (is PyPI reachable?)"
}

# fingerprint FILE-OR-DIR...: changes when their content, this script or the interpreter does.
fingerprint() {
  {
    "$PYTHON" -V 2>&1
    find "$@" tools/install.sh -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum
  } | sha256sum
}

# is_stamped FILE VALUE
is_stamped() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

install_rsttrace() {
  case $PREFIX in /*) ;; *) die "PREFIX must be an absolute path, not '$PREFIX'" ;; esac
  venv=$PREFIX/lib/rsttrace link=$PREFIX/bin/rsttrace
  # shellcheck disable=SC2086
  system_packages $run_packages
  print=$(fingerprint pyproject.toml README.md LICENSE rsttrace bpf)
  if is_stamped "$venv/.stamp" "$print" && [ -x "$venv/bin/rsttrace" ] && is_ours &&
    wanted=$(lacking "$venv/bin/python3") && [ -z "$wanted" ]; then return; fi
  check_python
  python_packages
  if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && ! rmdir "$venv" 2>/dev/null; then
    die "$venv exists and is not an install of rsttrace: remove it, or set PREFIX"
  fi
  if { [ -e "$link" ] || [ -L "$link" ]; } && ! is_ours; then
    die "$link exists and is not an install of rsttrace: remove it, or set PREFIX"
  fi
  say "installing to $venv"
  rm -f "$venv/.stamp"
  "$venv/bin/python3" -m pip --version >/dev/null 2>&1 ||
    "$PYTHON" -m venv --clear --system-site-packages "$venv"
  from_pypi "$venv"
  PIP_CONFIG_FILE=/dev/null "$venv/bin/python3" -m pip --isolated install --quiet --no-cache-dir \
    --no-index --no-deps --no-build-isolation --force-reinstall "$root" ||
    die "installing into $venv failed"
  (cd / && "$venv/bin/python3" -c 'import rsttrace.cli') || die "the installed package does not start"
  mkdir -p "$PREFIX/bin"
  ln -sfn "$venv/bin/rsttrace" "$link"
  printf '%s\n' "$print" >"$venv/.stamp"
}

# is_ours: does the link point into our venv?
is_ours() { [ "$(readlink "$link" 2>/dev/null)" = "$venv/bin/rsttrace" ]; }

uninstall_rsttrace() {
  venv=$PREFIX/lib/rsttrace link=$PREFIX/bin/rsttrace done=
  if is_ours; then rm -f "$link"; done="$done $link"; fi
  if [ -e "$venv/pyvenv.cfg" ]; then rm -rf "$venv"; done="$done $venv"; fi
  if [ -n "$done" ]; then say "removed$done"; else say "nothing installed under $PREFIX"; fi
}

# develop PACKAGE...: the checkout's .venv. It sees the checkout through a .pth file: an editable
# install by hatchling would need one more build dependency, and copies bpf/ where it goes stale.
develop() {
  system_packages "$@"
  venv=$root/.venv
  print="$root $(fingerprint tools/dev-requirements.txt)"
  if is_stamped "$venv/.stamp" "$print" && [ -x "$venv/bin/pytest" ]; then return; fi
  check_python
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "make $MAKE_TARGET needs Python 3.11 or newer (make run does not); here is $("$PYTHON" -V 2>&1)"
  python_packages
  [ ! -e "$venv" ] || [ -w "$venv" ] || die ".venv belongs to someone else: sudo make clean"
  say "installing the development tools to .venv"
  # not --clear: servers and guests' images are in there too, and long in the making
  (cd "$venv" 2>/dev/null && rm -rf bin include lib lib64 pyvenv.cfg) || true
  "$PYTHON" -m venv --system-site-packages "$venv"
  # --ignore-installed: the tools of .venv, not some distribution's pytest or mypy
  "$venv/bin/python3" -m pip install -qq --ignore-installed --no-warn-conflicts \
    -r tools/dev-requirements.txt ||
    die "pip could not install tools/dev-requirements.txt (is PyPI reachable?)"
  from_pypi "$venv"
  printf '%s\n' "$root" >"$("$venv/bin/python3" -c \
    'import sysconfig; print(sysconfig.get_path("purelib"))')/rsttrace-checkout.pth"
  cat >"$venv/bin/rsttrace" <<END
#!/bin/sh
exec "$venv/bin/python3" -c 'import sys; sys.argv[0] = "rsttrace"
from rsttrace.cli import main
sys.exit(main())' "\$@"
END
  chmod 755 "$venv/bin/rsttrace"
  printf '%s\n' "$print" >"$venv/.stamp"
  [ "$(id -u)" != 0 ] || chown -R --reference="$root" "$venv" # under sudo: the checkout's owner
}

# servers: for the labs with real servers. Without them those tests are skipped, and say so.
servers() { sh tools/server-packages.sh "$root/.venv/servers" || true; }

# shellcheck disable=SC2086
case ${1-} in
  install) install_rsttrace ;;
  uninstall) uninstall_rsttrace ;;
  dev) develop $run_packages ;;
  test)
    develop $run_packages $test_packages
    servers ;;
  vm) develop $run_packages $test_packages $vm_packages ;;
  *) die "usage: install.sh install|uninstall|dev|test|vm" ;;
esac
