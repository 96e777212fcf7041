#!/usr/bin/env bash
# vagrant-check.sh [BOXDIR]: does vagrant/ work? `vagrant validate`, then a real `vagrant up` of
# debian12 with a box built here (vagrant/build-box.sh), labs run in it over `vagrant ssh`, halt,
# destroy. With BOXDIR the box is built once and kept there. Seven minutes without /dev/kvm (TCG),
# more on a busy machine.
#
# Installs what it needs with apt. Everything else is gone at the end, however it ends: libvirt's
# bridge, dnsmasq, iptables chains and ip_forward live in a network namespace of their own, daemons
# in a process namespace, files of libvirt and Vagrant in a temporary directory. Needs root.
set -euo pipefail

packages=(vagrant vagrant-libvirt libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils
  dnsmasq-base mmdebstrap e2fsprogs rsync openssh-client iproute2 iptables)
machine=debian12

say() { printf '\n== %s\n' "$*"; }
die() { printf 'vagrant-check.sh: %s\n' "$*" >&2; exit 1; }

# step SECONDS COMMAND...: show it, run it (without what a progress bar overwrites), tell how long
# it took.
step() {
  local limit=$1 start=$SECONDS code=0
  shift
  say "$*"
  timeout --foreground --kill-after=30 "$limit" "$@" </dev/null 2>&1 | sed -u 's/.*\r//' || code=$?
  printf -- '-- exit %d after %d s\n' "$code" $((SECONDS - start))
  return "$code"
}

# expect TEXT COMMAND...: as step; it must end well, and its output have TEXT. A second try is
# allowed: without /dev/kvm on a busy host the guest may stand still for longer than rsttrace waits
# for what belongs together, and then it says `insufficient-data`.
expect() {
  local text=$1 try
  shift
  for try in first second; do
    if step 600 "$@" | tee "$WORK/output" && tr -s ' \r\n' ' ' <"$WORK/output" | grep -q -- "$text"
    then return; fi
    say "$try try: not as expected ('$text')"
  done
  die "not as expected: $*"
}

# private_files: libvirt's directories, for this process and its children, are those under $WORK.
private_files() {
  local path
  for path in /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
    mkdir -p "$WORK$path"
    cp -a "$path/." "$WORK$path"
    mount --bind "$WORK$path" "$path"
  done
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -m 1777 /run/lock
  umount --lazy /sys # with the control groups, where libvirt would leave its own
  mount -t sysfs sysfs /sys # shows the devices of this network namespace
  # what runs here is root in namespaces of its own; the box's directory need not be public
  printf 'user = "root"\ngroup = "root"\nsecurity_driver = "none"\n' >>/etc/libvirt/qemu.conf
}

# daemons: there may be no systemd to start them. They end with this process namespace.
daemons() {
  ip link set lo up
  virtlogd >"$WORK/virtlogd.log" 2>&1 &
  libvirtd >"$WORK/libvirtd.log" 2>&1 &
  local daemon=$! tries
  for ((tries = 0; tries < 300; tries++)); do
    if virsh -q -c qemu:///system list >"$WORK/virsh.log" 2>&1; then return; fi
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$WORK/libvirtd.log" "$WORK/virsh.log" >&2
  die "libvirtd does not answer"
}

# inside BOX: process 1 of the new namespaces.
inside() {
  private_files
  daemons
  export VAGRANT_HOME=$WORK/vagrant-home VAGRANT_DOTFILE_PATH=$WORK/dotfiles HOME=$WORK/home
  export VAGRANT_CWD=$PWD/vagrant VAGRANT_CHECKPOINT_DISABLE=1 VAGRANT_DEFAULT_PROVIDER=libvirt
  export RSTTRACE_BOX=rsttrace-local
  mkdir "$HOME"
  cd "$WORK" # no Vagrantfile but the one of VAGRANT_CWD
  step 120 vagrant validate
  step 300 vagrant box add --name "$RSTTRACE_BOX" "$1"
  step 120 vagrant status
  step 1200 vagrant up "$machine"
  expect '7 right, 0 wrong of 7 runs' \
    vagrant ssh "$machine" -c 'uname -r && sudo rsttrace lab run closed-port linger-zero -4'
  expect '312 received bytes were still unread' \
    vagrant ssh "$machine" -c 'sudo rsttrace lab run unread-data-on-close/plain -4'
  # a second time, and with a sudo that does not look in /usr/local/bin, as Red Hat's
  step 60 vagrant ssh "$machine" -c "echo 'Defaults secure_path=/sbin:/bin:/usr/sbin:/usr/bin' |
    sudo tee /etc/sudoers.d/narrow; sudo rsttrace --version" && die "sudo found rsttrace too early"
  step 600 vagrant provision "$machine"
  expect 'rsttrace, version' vagrant ssh "$machine" -c 'sudo rsttrace --version'
  step 300 vagrant halt "$machine"
  step 300 vagrant destroy -f "$machine"
  say "left in libvirt: $(virsh -q -c qemu:///system list --all --name | xargs)"
}

# traces: what libvirt would have left on the host, in words to compare.
traces() {
  sysctl net.ipv4.ip_forward
  ip -o link | grep -E ' (virbr|vnet)' || true
  iptables-save 2>/dev/null | grep LIBVIRT || true
  nft list ruleset 2>/dev/null | grep LIBVIRT || true
}

cd "$(dirname "$(realpath "$0")")/.."
if [ "${1-}" = --inside ]; then inside "$2"; exit; fi

[ "$(id -u)" = 0 ] || die "needs root"
have=$(dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>&1) || true
if grep -qvx installed <<<"$have"; then
  say "installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq -o DPkg::Lock::Timeout=300 update
  apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
    install "${packages[@]}" >/dev/null
fi

WORK=$(mktemp -d /var/tmp/rsttrace-vagrant.XXXXXX)
export WORK
worker=
cleanup() {
  trap '' INT TERM HUP
  if [ -n "$worker" ]; then # its namespaces, and all that runs there, end with it
    kill -KILL "$worker" 2>/dev/null || true
    wait "$worker" 2>/dev/null || true
  fi
  rm -rf --one-file-system "$WORK" || { sleep 1; rm -rf --one-file-system "$WORK"; }
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
box_dir=${1:-$WORK/box}
if [ ! -e "$box_dir/rsttrace.box" ]; then
  say "vagrant/build-box.sh $box_dir"
  step 900 vagrant/build-box.sh "$box_dir" >"$WORK/build.log" || {
    tail -n 30 "$WORK/build.log" >&2
    die "the box could not be built"
  }
fi
before=$(traces)
unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private \
  "$PWD/tools/vagrant-check.sh" --inside "$(realpath "$box_dir")/rsttrace.box" </dev/null &
worker=$!
wait "$worker"
worker=
after=$(traces)
[ "$before" = "$after" ] || die "the host is not as it was: '$before', now '$after'"
say "right: $machine came up, ran the labs, and nothing is left on the host"
