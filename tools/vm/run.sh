#!/bin/sh
# run.sh GUEST COMMAND...: boot this guest of tools/vm/guests and run COMMAND in it, as root, in a
# copy of this checkout. build.sh builds its image first if need be; else no root is needed here.
# run.sh IMAGEDIR KERNEL-RELEASE COMMAND...: the same with an image of build.sh (a path with a /).
#
#     tools/vm/run.sh sid python3 -m rsttrace lab run closed-port
#
# What the command leaves in out/ comes back to $VM_OUT, a directory (default: nowhere). Exit
# status: the command's; 124 it took longer than VM_TIMEOUT seconds (600); 125 the guest died (its
# console follows). Works without /dev/kvm, ten to fifteen times slower than the machine itself.
set -eu
usage() { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
here=$(cd "$(dirname "$0")" && pwd); checkout=$(cd "$here/../.." && pwd)
case $1 in
  */*)
    [ $# -ge 3 ] || usage
    image=$1 kernel=$2; shift 2 ;;
  *)
    image=$("$here/build.sh" "$1" | cut -d' ' -f2-)
    [ -n "$image" ] || exit 1
    kernel=${image##* } image=${image% *}; shift ;;
esac
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
printf '%s\n' "mkdir -p out" "$*" > "$work/.vm-command"
tar -cf "$work/project.tar" --exclude=.git --exclude=.venv --exclude=__pycache__ \
  --exclude=.*_cache -C "$checkout" . -C "$work" ./.vm-command ||
  [ $? = 1 ] # somebody works on a file meanwhile
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
