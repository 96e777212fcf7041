"""What a rule sees: one joined reset with its facts, and words to speak of it."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from rsttrace.causes.kinds import ACCEPTED as ACCEPTED
from rsttrace.causes.kinds import ACTIVE as ACTIVE
from rsttrace.causes.kinds import AGE as AGE
from rsttrace.causes.kinds import DECISION as DECISION
from rsttrace.causes.kinds import JUDGEMENT as JUDGEMENT
from rsttrace.causes.kinds import OUTSIDE as OUTSIDE
from rsttrace.causes.kinds import PACKET as PACKET
from rsttrace.causes.kinds import PASSING as PASSING
from rsttrace.causes.kinds import PASSIVE as PASSIVE
from rsttrace.causes.kinds import QUIET as QUIET
from rsttrace.causes.kinds import REFUSED as REFUSED
from rsttrace.causes.kinds import SOCKET as SOCKET
from rsttrace.causes.kinds import STACK as STACK
from rsttrace.causes.kinds import TRIGGER as TRIGGER
from rsttrace.enrich import Facts, Process
from rsttrace.listeners import Listener
from rsttrace.model import Reset
from rsttrace.packet import Packet
from rsttrace.records import History, Sock, at
from rsttrace.strays import met_no_full_socket

CERTAIN, LIKELY, POSSIBLE, UNKNOWN = "certain", "likely", "possible", "unknown"
CLIENT, SERVER, LOCAL_FIREWALL, MIDDLEBOX = "client", "server", "local-firewall", "middlebox"

# an echo of a connection that ended within this time is no news (2 MSL, as TIME_WAIT)
RECENT_NS = 60_000_000_000


@dataclass(frozen=True)
class Finding:
    """What a rule found: how sure it is, one sentence, and the facts it rests on.

    ``remedies``, ``benign``, ``phase``, ``initiator`` and ``sees`` replace the catalogue's and
    the usual answer where this case differs; ``missing`` names a fact that would have decided.
    """

    confidence: str
    summary: str
    evidence: tuple[str, ...] = ()
    remedies: tuple[str, ...] | None = None
    benign: bool | None = None
    phase: str | None = None
    initiator: str | None = None
    sees: str | None = None
    missing: str = ""


@dataclass(frozen=True)
class Sender:
    """The verdict on the other end of the same RST, when that end is on this host."""

    cause: str
    confidence: str
    summary: str
    benign: bool
    remedies: tuple[str, ...] = ()
    process: str = ""

    @property
    def words(self) -> str:
        """For the receiver's sentence: what the sender did and who it was."""
        who = f" by {self.process}" if self.process else ""
        return f"{self.cause}{who}, on this host"


@dataclass(frozen=True)
class Case:
    """One reset to be explained."""

    reset: Reset
    facts: Facts = field(default_factory=Facts)
    sender: Sender | None = None

    @property
    def trigger(self) -> Packet | None:
        """The segment that provoked the RST."""
        return self.reset.trigger

    @property
    def sock(self) -> Sock | None:
        """Facts of the socket, if it was a full one."""
        return self.reset.sock

    @property
    def history(self) -> History | None:
        """The life of this connection, or of the last one with the same tuple."""
        return self.reset.history

    @property
    def recent(self) -> History | None:
        """An earlier connection with this tuple that ended within RECENT_NS."""
        history = self.history
        if not history or not history.closed:
            return None
        return history if self.reset.time_ns - history.change_ns <= RECENT_NS else None

    @property
    def passive(self) -> bool:
        """Sent by TCP as the answer to a segment."""
        return self.reset.direction in ("sent", "suppressed") and self.reset.maker == "tcp-passive"

    @property
    def active_tcp(self) -> bool:
        """Sent by tcp_send_active_reset() on a plain TCP socket."""
        sock = self.sock
        sent = self.reset.direction in ("sent", "suppressed")
        return sent and self.reset.maker == "tcp-active" and not (sock and sock.is_mptcp)

    @property
    def socketless(self) -> bool:
        """A passive reset for a segment that matched no socket at all (row P1)."""
        decided = self.reset.decided
        if not self.passive:
            return False
        if decided:
            return not decided.sk and decided.state != "TIME_WAIT"
        # before 6.10 only the packet may be seen; its stack shows that no socket was involved
        return met_no_full_socket(self.reset.frames)

    @property
    def blind(self) -> bool:
        """A hook named a socket or a segment that could not be read: this kernel has no BTF."""
        decided = self.reset.decided
        record = decided or self.reset.judged or self.reset.error
        # with BTF the RST itself is seen, also where the segment could not be parsed
        if decided and decided.skb and not decided.packet and not self.reset.wire:
            return True
        if not record or not record.sk or self.sock:
            return False
        return record.state not in ("TIME_WAIT", "NEW_SYN_RECV")

    @property
    def who(self) -> str:
        """The owner of the socket, or as much as is known of it."""
        listener = self.facts.listener
        unknown = f"a process behind {listener.name}'s listener" if listener else "an application"
        return name_of(self.facts.owner, unknown)

    @property
    def mptcp_join(self) -> bool:
        """Did MPTCP's own code decide (subflow_syn_recv_sock() and others)?"""
        return any(frame.startswith("subflow_") for frame in self.reset.frames)

    @property
    def local(self) -> str:
        """This end as address:port."""
        return at(self.reset.flow.local, self.reset.flow.lport)

    @property
    def remote(self) -> str:
        """The other end as address:port."""
        return at(self.reset.flow.remote, self.reset.flow.rport)

    def listeners(self) -> list[Listener]:
        """Listeners on the local port in any namespace, this one's first."""
        table = self.facts.listeners
        found = table.on_port(self.reset.flow.lport, self.reset.time_ns) if table else []
        return sorted(found, key=lambda x: x.netns != self.reset.flow.netns)

    def seconds_since(self, time_ns: int) -> float:
        """Seconds from a kernel time to this reset."""
        return (self.reset.time_ns - time_ns) / 1e9

    def state_evidence(self) -> str:
        """The state the connection was in."""
        return f"state {self.reset.state_before or 'not known'} before the abort"

    def stack_evidence(self, *functions: str) -> str:
        """Those of the functions that are in the stack, innermost first."""
        return "stack: " + " < ".join(f for f in self.reset.frames if f in functions)


def name_of(process: Process | None, default: str = "a process") -> str:
    """``nginx[1432]`` or the default."""
    return process.name if process else default


def duration(seconds: float) -> str:
    """A time for people: ``35 ms``, ``2.1 s``, ``12 min``, ``3.5 h``."""
    if seconds < 0.001:
        return f"{max(0, seconds) * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def count_of(number: int, noun: str) -> str:
    """``1 byte``, ``312 bytes``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def reason_evidence(case: Case) -> tuple[str, ...]:
    """The kernel's own reason, where it gives one."""
    return (f"kernel reason {case.reset.reason}",) if case.reset.reason else ()


def how_it_ended(exit_code: int) -> str:
    """``task_struct.exit_code``: signal in the low seven bits, exit status above eight."""
    number = exit_code & 0x7F
    if not number:
        return f"exited with status {exit_code >> 8 & 0xFF}"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"was killed by {name}"
