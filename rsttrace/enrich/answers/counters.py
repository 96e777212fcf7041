"""TCP's counters of every network namespace (/proc/net/snmp and netstat).

The question is None. The answer names the counters once: ``{"names": [...], "rows": {inode:
[time_ns, number, ...]}}``; ``time_ns`` is CLOCK_MONOTONIC when they were read.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rsttrace.enrich.answers.namespaces import enter, namespaces

OUT_RSTS = "TcpOutRsts"
FILES = ("/proc/self/net/snmp", "/proc/self/net/netstat")
# by the group in the file: what bears on a reset, as nstat names it
GROUPS = {
    "Tcp:": (
        "TcpOutRsts TcpEstabResets TcpAttemptFails TcpActiveOpens TcpPassiveOpens TcpRetransSegs "
        "TcpInErrs TcpInCsumErrors"
    ),
    "TcpExt:": (
        "TcpExtTCPAbortOnData TcpExtTCPAbortOnClose TcpExtTCPAbortOnMemory "
        "TcpExtTCPAbortOnTimeout TcpExtTCPAbortOnLinger TcpExtTCPAbortFailed "
        "TcpExtTCPKeepAlive TcpExtTCPTimeouts "
        "TcpExtListenOverflows TcpExtListenDrops TcpExtEmbryonicRsts "
        "TcpExtTCPReqQFullDrop TcpExtTCPReqQFullDoCookies TcpExtSyncookiesSent "
        "TcpExtSyncookiesRecv TcpExtSyncookiesFailed TcpExtTCPChallengeACK TcpExtTCPSYNChallenge "
        "TcpExtTCPACKSkippedChallenge TcpExtPAWSActive TcpExtPAWSEstab TcpExtOutOfWindowIcmps "
        "TcpExtTCPMemoryPressures TcpExtTCPTimeWaitOverflow TcpExtTWRecycled TcpExtTWKilled "
        "TcpExtTCPFastOpenPassiveFail TcpExtTCPFastOpenListenOverflow TcpExtTCPFastOpenBlackhole "
        "TcpExtTCPMigrateReqFailure TcpExtTCPRcvQDrop TcpExtLockDroppedIcmps"
    ),
    "Icmp:": "IcmpInDestUnreachs",
    "MPTcpExt:": (
        "MPTcpExtMPFailTx MPTcpExtMPFailRx MPTcpExtMPRstTx MPTcpExtMPRstRx MPTcpExtMPFastcloseTx "
        "MPTcpExtMPFastcloseRx MPTcpExtMPJoinSynAckHMacFailure MPTcpExtMPJoinAckHMacFailure "
        "MPTcpExtMPJoinNoTokenFound"
    ),
}
NAMES = tuple(name for group in GROUPS.values() for name in group.split())


def answer(_about: Any) -> dict[str, Any]:
    """The counters now, namespace by namespace."""
    rows = {}
    for inode, path in namespaces():
        with contextlib.suppress(OSError, ValueError):
            enter(path, inode)
            now = read_counters()
            rows[str(inode)] = [time.monotonic_ns(), *(now.get(name, 0) for name in NAMES)]
    return {"names": list(NAMES), "rows": rows}


def read_counters() -> dict[str, int]:
    """All counters of this process's namespace; ValueError without TcpOutRsts."""
    found: dict[str, int] = {}
    for path in FILES:
        found.update(counters_in(Path(path).read_text()))
    if OUT_RSTS not in found:
        raise ValueError(OUT_RSTS)
    return found


def counters_in(text: str) -> Iterator[tuple[str, int]]:
    """Names as nstat has them and values, of a file of pairs of lines."""
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2]):
        group, *heads = names.split()
        if group in GROUPS and values.startswith(group):
            prefix = group.rstrip(":")
            for head, value in zip(heads, values.split()[1:]):
                with contextlib.suppress(ValueError):
                    yield prefix + head, int(value)
