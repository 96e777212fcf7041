#!/bin/sh
# provision.sh [CHECKOUT]: make a fresh Debian, Ubuntu, Fedora or Rocky machine ready for the labs.
# Ends with `rsttrace` on root's PATH, also under sudo, and with what this kernel can show. Runs as
# root; again at any time (`vagrant provision`): what is there already is left alone.
set -eu
checkout=${1:-/vagrant}

say() { printf 'provision: %s\n' "$*"; }

# The box's first boot may still be at work, and then it holds the package manager's lock.
if command -v cloud-init >/dev/null; then cloud-init status --wait >/dev/null || true; fi

# The programs the labs call. tools/install.sh brings what rsttrace itself needs.
lab_tools() {
  missing=
  for tool in ip nft iptables sysctl; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
  done
  [ -n "$missing" ] || return 0
  say "installing what the labs call:$missing"
  if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    apt-get -qq -o DPkg::Lock::Timeout=300 update
    apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
      install iproute2 nftables iptables procps
  else
    dnf -q -y install iproute nftables iptables-nft procps-ng
  fi
}

PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
lab_tools
PREFIX=/usr/local sh "$checkout/tools/install.sh" install

# Red Hat's sudo looks in /usr/bin, not in /usr/local/bin.
if ! sudo -n sh -c 'command -v rsttrace' >/dev/null; then
  ln -sfn /usr/local/bin/rsttrace /usr/bin/rsttrace
fi
say "$(uname -r), $(sudo -n rsttrace --version)"
sudo -n rsttrace doctor
