#!/bin/sh
# record-older.sh IMAGEDIR KERNEL: record on that kernel the labs in which older kernels tell less,
# into tests/data/older/SERIES. For an image see tools/vm/build.sh. About 10 minutes.
set -eu
[ $# = 2 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
series=$(echo "$2" | cut -d. -f1-2)
labs="closed-port/plain bad-syn/fin-wait2 blind-reset-rejected/one-guess blind-syn-rejected/forged
  data-after-close/fin-wait2 handshake-aborted/syn-scan icmp-unreachable late-segment/closed-port
  out-of-window-reset/old peer-reset/data-lost reset-no-socket/listening-port
  retransmit-timeout/retries stale-connection/closed-port timewait-assassination/forged"
# shellcheck disable=SC2086
VM_TIMEOUT=2400 VM_OUT=$root/tests/data/older/$series "$root/tools/vm/run.sh" "$1" "$2" \
  python3 tools/record-fixtures.py --into=out $labs
