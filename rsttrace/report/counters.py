"""What the kernel's counters mean, in a few words (nstat's names; rsttrace explain says more)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rsttrace.causes import catalogue

GLOSSES = {
    "TcpOutRsts": "resets sent",
    "TcpEstabResets": "connections cut off",
    "TcpAttemptFails": "connection attempts failed",
    "TcpActiveOpens": "connections opened",
    "TcpPassiveOpens": "connections accepted",
    "TcpRetransSegs": "segments sent again",
    "TcpInErrs": "bad segments received",
    "TcpInCsumErrors": "wrong checksums",
    "TcpExtTCPAbortOnData": "data after close, or SO_LINGER 0",
    "TcpExtTCPAbortOnClose": "closed with data unread",
    "TcpExtTCPAbortOnMemory": "aborted for memory",
    "TcpExtTCPAbortOnTimeout": "given up, no answer",
    "TcpExtTCPAbortOnLinger": "did not wait for FIN",
    "TcpExtTCPAbortFailed": "resets not sent",
    "TcpExtTCPKeepAlive": "keepalive probes sent",
    "TcpExtTCPTimeouts": "retransmission timers expired",
    "TcpExtListenOverflows": "accept queue full",
    "TcpExtListenDrops": "openings dropped",
    "TcpExtEmbryonicRsts": "half-open connections reset",
    "TcpExtTCPReqQFullDrop": "half-open queue full",
    "TcpExtTCPReqQFullDoCookies": "SYN cookies used",
    "TcpExtSyncookiesSent": "SYN cookies sent",
    "TcpExtSyncookiesRecv": "SYN cookies accepted",
    "TcpExtSyncookiesFailed": "SYN cookies refused",
    "TcpExtTCPChallengeACK": "odd segments questioned",
    "TcpExtTCPSYNChallenge": "odd SYNs questioned",
    "TcpExtTCPACKSkippedChallenge": "questions held back",
    "TcpExtPAWSActive": "too old, connecting",
    "TcpExtPAWSEstab": "too old, connected",
    "TcpExtOutOfWindowIcmps": "odd ICMP ignored",
    "TcpExtTCPMemoryPressures": "TCP memory short",
    "TcpExtTCPTimeWaitOverflow": "too many TIME_WAIT",
    "TcpExtTWRecycled": "TIME_WAIT ports reused",
    "TcpExtTWKilled": "TIME_WAIT ended early",
    "TcpExtTCPFastOpenPassiveFail": "Fast Open refused",
    "TcpExtTCPFastOpenListenOverflow": "Fast Open queue full",
    "TcpExtTCPFastOpenBlackhole": "Fast Open blocked",
    "TcpExtTCPMigrateReqFailure": "not moved to another listener",
    "TcpExtTCPRcvQDrop": "receive queue full",
    "TcpExtLockDroppedIcmps": "ICMP missed, busy",
    "IcmpInDestUnreachs": "'unreachable' messages received",
    "Icmp6InDestUnreachs": "'unreachable' messages received",
    "MPTcpExtMPFailTx": "MPTCP failures sent",
    "MPTcpExtMPFailRx": "MPTCP failures received",
    "MPTcpExtMPRstTx": "MPTCP path resets sent",
    "MPTcpExtMPRstRx": "MPTCP path resets received",
    "MPTcpExtMPFastcloseTx": "MPTCP aborts sent",
    "MPTcpExtMPFastcloseRx": "MPTCP aborts received",
    "MPTcpExtMPJoinSynAckHMacFailure": "MPTCP joins refused",
    "MPTcpExtMPJoinAckHMacFailure": "MPTCP joins refused",
    "MPTcpExtMPJoinNoTokenFound": "MPTCP joins unknown",
}


def bearing_on(causes: Iterable[str], rose: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Names of the counters that rose: those that the catalogue names for these causes, others."""
    named = {name: None for cause in causes for name in catalogue()[cause].counters}
    mine = [name for name in named if rose.get(name)]
    return mine, [name for name, by in rose.items() if by and name not in named]


# trouble that makes no reset, but that people take for one
HINTS = {
    "TcpExtListenOverflows": "{} a full accept queue dropped a connection attempt without a reset "
    "(TcpExtListenOverflows): the client hangs or times out. Which queue: ss -ltn, Recv-Q above "
    "Send-Q.",
    "IcmpInDestUnreachs": "{} an ICMP message 'destination unreachable' came in "
    "(IcmpInDestUnreachs): that is how a firewall's plain REJECT refuses, or a router without a "
    "route (or UDP, which is not watched).",
}


def hints(rose: Mapping[str, int] | None) -> tuple[str, ...]:
    """What else went wrong meanwhile, one sentence each."""
    counts = {name: (rose or {}).get(name, 0) for name in HINTS}
    return tuple(
        text.format("Once" if counts[name] == 1 else f"{counts[name]:,} times")
        for name, text in HINTS.items()
        if counts[name]
    )
