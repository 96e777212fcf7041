#!/bin/sh
# build-box.sh DIR [KERNEL-PACKAGE]: a Debian 12 box for vagrant-libvirt, made from the packages
# that this machine's apt knows -> DIR/rsttrace.box. One or two minutes, 0.7 GB.
#
#     vagrant box add --name rsttrace-local DIR/rsttrace.box
#     RSTTRACE_BOX=rsttrace-local vagrant up --provider=libvirt debian12
#
# For places where no box can be fetched, and for tools/vagrant-check.sh. The box holds all packages
# that provision.sh wants, so the machine needs no network. It has no boot loader: qemu starts its
# kernel itself, and in software (TCG), so it needs no /dev/kvm. Needs root, mmdebstrap, e2fsprogs,
# qemu-utils, and Vagrant's public key, as Debian's package vagrant has it.
set -eu
[ $# -ge 1 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
dir=$1 kernel=${2:-linux-image-cloud-amd64}
checkout=$(cd "$(dirname "$0")/.." && pwd)
key=$(find /usr/share /opt/vagrant -name vagrant.pub 2>/dev/null | head -n 1)
[ -n "$key" ] || { echo "build-box.sh: no vagrant.pub: install the package vagrant" >&2; exit 1; }

mkdir -p "$dir"
work=$(mktemp -d "$dir/build.XXXXXX")
root=$work/root box=$work/box
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM HUP
mkdir "$box"

# What rsttrace needs is its installer's business: let it install, then take rsttrace itself away.
cat >"$work/customize" <<'END_OF_HOOK'
#!/bin/sh
set -eu
root=$1
mkdir "$root/src"
tar -C "$CHECKOUT" --exclude=__pycache__ -cf - pyproject.toml README.md LICENSE rsttrace bpf tools |
  tar -C "$root/src" --no-same-owner -xf -
cp -L /etc/hosts /etc/resolv.conf "$root/etc/" # mirrors are reached the way this host does
chroot "$root" sh /src/tools/install.sh install
chroot "$root" sh /src/tools/install.sh uninstall
rm -rf "$root/src"

chroot "$root" useradd --create-home --shell /bin/bash vagrant
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
mkdir -m 700 "$root/home/vagrant/.ssh"
cp "$KEY" "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant: /home/vagrant/.ssh
echo '127.0.0.1 localhost' >"$root/etc/hosts"
echo '/dev/vda / ext4 rw 0 1' >"$root/etc/fstab"
printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/80-dhcp.network"
chroot "$root" systemctl --quiet enable systemd-networkd
END_OF_HOOK
chmod 755 "$work/customize" "$work"

packages=systemd-sysv,udev,dbus,libpam-systemd,openssh-server,sudo,rsync,initramfs-tools,zstd,kmod
packages=$packages,iproute2,nftables,iptables,procps,$kernel
apt-config dump | grep -E '^Acquire::(https?::|Check-|ForceIPv|Retries)' >"$work/apt.conf" || true
CHECKOUT=$checkout KEY=$key mmdebstrap --quiet --variant=minbase --include="$packages" \
  --aptopt="$work/apt.conf" --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook="$work/customize" bookworm "$root"

cp "$root"/boot/vmlinuz-* "$box/vmlinuz"
cp "$root"/boot/initrd.img-* "$box/initrd.img"
truncate -s 4G "$work/root.raw"
mkfs.ext4 -q -d "$root" "$work/root.raw"
qemu-img convert -O qcow2 "$work/root.raw" "$box/box.img"
echo '{"provider": "libvirt", "format": "qcow2", "virtual_size": 4}' >"$box/metadata.json"
# Vagrant reads the box's own Vagrantfile before ours.
cat >"$box/Vagrantfile" <<'END_OF_VAGRANTFILE'
Vagrant.configure("2") do |config|
  config.vm.provider "libvirt" do |libvirt|
    libvirt.driver = "qemu"
    libvirt.machine_type = "q35"
    libvirt.graphics_type = "none"
    libvirt.video_type = "none"
    libvirt.kernel = File.expand_path("vmlinuz", __dir__)
    libvirt.initrd = File.expand_path("initrd.img", __dir__)
    libvirt.cmd_line = "root=/dev/vda rootfstype=ext4 rw console=ttyS0 quiet net.ifnames=0"
  end
end
END_OF_VAGRANTFILE
tar -C "$box" -cf "$dir/rsttrace.box" metadata.json Vagrantfile box.img vmlinuz initrd.img
