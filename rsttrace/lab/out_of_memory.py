"""The kernel has too many orphans, so it resets connections that their owner has closed.

An orphan is a connection that nobody holds any more but that still has something to do: its FIN is
not acknowledged, or the peer's has not come. Here net.ipv4.tcp_max_orphans is 0 for a moment, and
a first orphan, which waits in FIN_WAIT2 for a minute, is one too many. Of the two others

* one has closed before that, and the ACK of its FIN got lost: when the retransmission is due,
  ``tcp_out_of_resources`` resets it;
* one closes after that: ``__tcp_close`` resets it at once.

The reason is TCP_ABORT_ON_MEMORY both times. (``tcp_check_oom`` also tests tcp_mem; filling up the
memory of a whole host is no lab.) The limit is the whole host's and other connections could be hit:
run this where nothing else matters, in a virtual machine: tools/vm.
"""

from __future__ import annotations

from rsttrace.lab.base import Expect, Expected, Lab, received
from rsttrace.lab.linger2_expired import broken_pipe

CAUSE = "out-of-memory"
GLOBAL = "net.ipv4.tcp_max_orphans"


def expect(state: str) -> Expected:
    facts = {"state_before": "FIN_WAIT1"}
    return (
        Expect("sent", CAUSE, end="server", state=state, facts=facts),
        received("peer-closed-first", "CLOSE_WAIT", "EPIPE"),
    )


EXPECT = (*expect("FIN_WAIT1"), *expect("CLOSE"))


def waiting_orphan(lab: Lab) -> None:
    """A server's end in FIN_WAIT2 that stays a full socket, because it is to wait long."""
    lab.sysctl("server", "net.ipv4.tcp_fin_timeout", "120")
    _, server = lab.pair()
    port = server.getsockname()[1]
    server.close()
    lab.wait_for(lambda: lab.connections("server", port) == ["FIN_WAIT2"], "FIN_WAIT2")


def run(lab: Lab) -> None:
    waiting_orphan(lab)
    first, first_server = lab.pair()
    second, second_server = lab.pair()
    lab.firewall("server", "input", "tcp flags == ack drop")
    first_server.close()
    lab.host_limit(GLOBAL, "0")
    broken_pipe(lab, first)  # the kernel counts orphans ten times a second: now it has
    second_server.close()
    broken_pipe(lab, second)
