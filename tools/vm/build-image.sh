#!/bin/sh
# build-image.sh DIR [KERNEL-PACKAGE...]: a Debian 12 root with these kernels and all that rsttrace
# and its labs need -> DIR/root.ext4, DIR/boot/. Prints the kernel versions. Needs root,
# mmdebstrap, e2fsprogs and a Debian mirror; about a minute, 0.6 GB.
set -eu
here=$(cd "$(dirname "$0")" && pwd); dir=$1; shift
[ $# -gt 0 ] || set -- linux-image-6.12.117+deb12-cloud-amd64
packages=python3,python3-bpfcc,python3-click,python3-pyroute2,python3-tabulate,python3-pytest
packages=$packages,iproute2,nftables,iptables,procps,kmod,initramfs-tools,zstd
for kernel; do packages=$packages,$kernel; done
mkdir -p "$dir"; root=$dir/root; rm -rf "$root"
mmdebstrap --variant=minbase --include="$packages" \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='mkdir "$1/project"' --customize-hook="upload '$here/guest-init' /sbin/guest-init" \
  --customize-hook='chmod 755 "$1/sbin/guest-init"' \
  bookworm "$root" \
  "deb http://deb.debian.org/debian bookworm main" \
  "deb http://deb.debian.org/debian-security bookworm-security main"
rm -rf "$dir/boot" "$dir/root.ext4"; cp -r "$root/boot" "$dir/boot"
truncate -s 2G "$dir/root.ext4"; mkfs.ext4 -q -O ^has_journal -d "$root" "$dir/root.ext4"
rm -rf "$root"; ls "$dir/boot" | sed -n 's/^vmlinuz-//p'
