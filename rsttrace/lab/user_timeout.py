"""TCP_USER_TIMEOUT runs out while keepalive probes get no answer: the kernel resets.

With that option ``tcp_keepalive_timer`` no longer counts probes: it gives up when nothing was heard
for TCP_USER_TIMEOUT and at least one probe is out, however large TCP_KEEPCNT is. It only looks when
a probe is due, so the end comes up to one TCP_KEEPINTVL later than asked for. The kernel's reason
is the same TCP_KEEPALIVE_TIMEOUT; the socket's option tells the difference. (With data under way
the same option ends the connection without a RST: that is the cause retransmit-timeout.)

The option's 1.5 s pass between the probe of the first second and the one that the second would see.
"""

from __future__ import annotations

from socket import IPPROTO_TCP, TCP_KEEPCNT, TCP_USER_TIMEOUT

from rsttrace.lab import keepalive_timeout as parent
from rsttrace.lab.base import Expect, Lab, received

CAUSE = "user-timeout"
TIMEOUT_MS = 1500
MANY_PROBES = 50
EXPECT = (
    Expect(
        "sent",
        "user-timeout",
        end="server",
        state="ESTABLISHED",
        facts={"errno": "ETIMEDOUT", "socket.keepalive_probes": 1},
    ),
    received("peer-reset", "ESTABLISHED", "ECONNRESET"),
)


def run(lab: Lab) -> None:
    client, server = lab.pair()
    parent.keep_alive(server)
    server.setsockopt(IPPROTO_TCP, TCP_KEEPCNT, MANY_PROBES)
    server.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, TIMEOUT_MS)
    parent.stay_silent(lab, client, server)
