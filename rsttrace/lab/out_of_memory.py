"""The kernel has too many orphans, so it resets connections that their owner has closed.

An orphan is a connection that nobody holds any more but that still has something to do: its FIN is
not acknowledged, or the peer's has not come. Here net.ipv4.tcp_max_orphans is 0 for a moment, and
a first orphan, which waits in FIN_WAIT2 for a minute, is one too many. Of the two others

* one closed before that and its FIN gets lost: when the retransmission is due,
  ``tcp_out_of_resources`` resets it;
* one closes after that: ``__tcp_close`` resets it at once.

The reason is TCP_ABORT_ON_MEMORY both times. (``tcp_check_oom`` also tests tcp_mem; filling up the
memory of a whole host is no lab.) The limit is the whole host's and other connections could be hit:
run this where nothing else matters, in a virtual machine: tools/vm.
"""

from __future__ import annotations

from rsttrace.lab.base import Expect, Expected, Lab, received

CAUSE = "out-of-memory"
GLOBAL = "net.ipv4.tcp_max_orphans"


def expect(state: str, state_before: str) -> Expected:
    facts = {"reset_reason": "TCP_ABORT_ON_MEMORY", "state_before": state_before}
    return (
        Expect("sent", CAUSE, end="server", state=state, facts=facts),
        received("peer-reset", "ESTABLISHED", "ECONNRESET"),
    )


EXPECT = (*expect("FIN_WAIT1", "FIN_WAIT1"), *expect("CLOSE", "FIN_WAIT1"))


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
    lab.firewall("client", "input", "tcp flags & fin == fin drop")
    first_server.close()
    lab.host_limit(GLOBAL, "0")
    lab.wait_reset(first)  # the kernel counts orphans ten times a second: now it has
    second_server.close()
    lab.wait_reset(second)
