#!/bin/sh
# run.sh IMAGEDIR KERNEL-VERSION COMMAND...: boot that kernel of an image made by build-image.sh and
# run COMMAND there, as root, in a copy of this checkout. No root needed here; qemu-system-x86.
#
#     tools/vm/run.sh IMG 6.12.117+deb12-cloud-amd64 python3 -m rsttrace lab run all
#
# What the command leaves in out/ comes back to $VM_OUT, a directory (default: nowhere). Exit status:
# the command's; 124 it took longer than VM_TIMEOUT seconds (600); 125 the guest died (its console
# follows). Works without /dev/kvm, ten to fifteen times slower than the machine itself.
set -eu
[ $# -ge 3 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
checkout=$(cd "$(dirname "$0")/../.." && pwd)
image=$1 kernel=$2; shift 2
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
printf '%s\n' "mkdir -p out" "$*" > "$work/.vm-command"
tar -cf "$work/project.tar" --exclude=.git --exclude=.venv --exclude=__pycache__ --exclude=.*_cache \
  -C "$checkout" . -C "$work" ./.vm-command
truncate -s 64M "$work/out.tar"
set +e
timeout "${VM_TIMEOUT:-600}" qemu-system-x86_64 -M q35,accel="${VM_ACCEL:-tcg}" -cpu max \
  -smp "${VM_CPUS:-2}" -m "${VM_MEM:-2G}" -nodefaults -no-reboot -display none \
  -kernel "$image/boot/vmlinuz-$kernel" -initrd "$image/boot/initrd.img-$kernel" \
  -drive "file=$image/root.ext4,format=raw,if=virtio,snapshot=on" \
  -drive "file=$work/project.tar,format=raw,if=virtio,readonly=on" \
  -drive "file=$work/out.tar,format=raw,if=virtio" \
  -serial "file:$work/console" -serial stdio -serial "file:$work/status" \
  -append "root=/dev/vda rootfstype=ext4 ro console=ttyS0 quiet panic=-1 init=/sbin/guest-init" \
  </dev/null
[ $? -ne 124 ] || exit 124
status=$(tr -dc 0-9 <"$work/status" 2>/dev/null)
[ -n "$status" ] || { tail -40 "$work/console" >&2; exit 125; }
[ -z "${VM_OUT:-}" ] || { mkdir -p "$VM_OUT" && tar -xf "$work/out.tar" -C "$VM_OUT"; }
exit "$status"
