"""Without BTF: what is made of the events' formats, of old and new kernels, and what becomes of the
verdicts. The formats are those of reference/vm/tracepoint-formats.txt and kernel-matrix.md 6."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rsttrace.completeness import Reading, Tally
from rsttrace.doctor import costs
from rsttrace.doctor.stories import Fields, pack
from rsttrace.enrich import Facts
from rsttrace.enrich.answers import addresses
from rsttrace.enrich.asking import Credit
from rsttrace.enrich.whose import LISTEN, Whose
from rsttrace.errors import EXIT_CANNOT_TRACE, CannotTrace
from rsttrace.explain import Explained, explain
from rsttrace.kernel import features, formats, loader, tracefs
from rsttrace.kernel.features import HOOKS, NOT_IN_EVENTS, ON_DEMAND, Features, examine
from rsttrace.kernel.gaps import gaps_of, lost_hooks
from rsttrace.model import Reset
from rsttrace.pipeline import Pipeline
from rsttrace.recording import Recording
from rsttrace.report.blind import blind_spots

from .build import (
    ACCEPTED,
    FLOW,
    HERE,
    LAYOUT,
    NETNS,
    OTHER_NETNS,
    P2,
    PORT,
    REFUSED,
    SK,
    judged,
    mapped,
    raw_record,
    received_reset,
    record,
    sent_reset,
)
from .test_counters import sent
from .test_doctor_costs import check, recordings, truth, whole

NO_FILE = Path("/nonexistent/vmlinux")
NUMBERS = LAYOUT.numbers


def text_of(event: str, *described: str, reasons: Mapping[int, str] | None = None) -> str:
    """A format file; a field as ``type name@offset``."""
    lines = [f"name: {event}", "ID: 1", "format:"]
    lines.append("\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n")
    for one in described:
        declared, offset = one.split("@")
        lines.append(f"\tfield:{declared};\toffset:{offset};\tsize:4;\tsigned:0;")
    shown = 'print fmt: "state=%s", __print_symbolic(REC->state, { 1, "TCP_ESTABLISHED" })'
    if reasons:
        pairs = ", ".join(f'{{ {number}, "{name}" }}' for number, name in reasons.items())
        shown += f", __print_symbolic(REC->reason, {pairs})"
    return "\n".join([*lines, "", shown, ""])


STATES = text_of(
    "inet_sock_set_state",
    *("const void * skaddr@8", "int oldstate@16", "int newstate@20", "__u16 sport@24"),
    *("__u16 dport@26", "__u16 family@28", "__u16 protocol@30", "__u8 saddr[4]@32"),
    *("__u8 daddr[4]@36", "__u8 saddr_v6[16]@40", "__u8 daddr_v6[16]@56"),
)
NEW_TASK = text_of("task_newtask", "pid_t pid@8", "char comm[16]@12", "u64 clone_flags@32")
ERRORS = text_of(
    "inet_sk_error_report",
    *("int error@8", "__u16 sport@12", "__u16 dport@14", "__u16 family@16", "__u16 protocol@18"),
    *("__u8 saddr[4]@20", "__u8 daddr[4]@24", "__u8 saddr_v6[16]@28", "__u8 daddr_v6[16]@44"),
)
RECEIVED = text_of("tcp_receive_reset", "const void * skaddr@8", "__u16 sport@16", "__u16 dport@18")
HEAD = ("const void * skbaddr@8", "const void * skaddr@16", "int state@24")
REASONS = {0: "NOT_SPECIFIED", 1: "NO_SOCKET", 14: "TCP_STATE", 25: "MAX"}
DROPS = {2: "NOT_SPECIFIED", 3: "NO_SOCKET", 12: "NETFILTER_DROP"}
COMMON = {
    "inet_sock_set_state": STATES,
    "tcp_receive_reset": RECEIVED,
    "sched_process_fork": NEW_TASK,
}
V5_10 = {
    **COMMON,
    "tcp_send_reset": text_of(
        "tcp_send_reset",
        *(*HEAD, "__u16 sport@28", "__u16 dport@30", "__u8 saddr[4]@32", "__u8 daddr[4]@36"),
        *("__u8 saddr_v6[16]@40", "__u8 daddr_v6[16]@56"),
    ),
    "kfree_skb": text_of("kfree_skb", "void * skbaddr@8", "void * location@16"),
}
V6_1 = {
    **COMMON,
    "inet_sk_error_report": ERRORS,
    "tcp_send_reset": text_of(
        "tcp_send_reset",
        *(*HEAD, "__u16 sport@28", "__u16 dport@30", "__u16 family@32", "__u8 saddr[4]@34"),
        *("__u8 daddr[4]@38", "__u8 saddr_v6[16]@42", "__u8 daddr_v6[16]@58"),
    ),
    "kfree_skb": text_of(
        "kfree_skb", "void * skbaddr@8", "enum skb_drop_reason reason@28", reasons=DROPS
    ),
}
V6_12 = {
    **V6_1,
    "tcp_send_reset": text_of(
        "tcp_send_reset",
        *(*HEAD, "enum sk_rst_reason reason@28", "__u8 saddr[28]@32", "__u8 daddr[28]@60"),
        reasons=REASONS,
    ),
}
KERNELS = {"5.10": V5_10, "6.1": V6_1, "6.12": V6_12}  # 7.2 as 6.12


# -- the formats


def test_ends_before_6_10() -> None:
    """5.10 has no family, which moves the rest; the IPv6 fields have IPv4 as well."""
    old, newer = (formats.usable(text)["tcp_send_reset"] for text in (V5_10, V6_1))
    ends = ("sport", "dport", "saddr_v6", "daddr_v6")
    assert [old[name] for name in ends] == [28, 30, 40, 56]
    assert [newer[name] for name in ends] == [28, 30, 42, 58]
    assert "reason" not in old
    assert "reason" not in newer


def test_ends_since_6_10() -> None:
    """struct sockaddr holds the port, too."""
    found = formats.usable(V6_12)["tcp_send_reset"]
    plain = {"skbaddr": 8, "skaddr": 16, "state": 24}
    assert found == {**plain, "reason": 28, "saddr": 32, "daddr": 60}


@pytest.mark.parametrize("kernel", KERNELS)
def test_hooks_of_each_kernel(kernel: str) -> None:
    found = set(formats.usable(KERNELS[kernel]))
    absent = {"inet_sk_error_report"} if kernel == "5.10" else set()
    assert found == (set(HOOKS) | set(ON_DEMAND)) - set(NOT_IN_EVENTS) - absent


@pytest.mark.parametrize(
    "without", ["skaddr", "skbaddr", "state", "sport", "dport", "saddr_v6", "daddr_v6"]
)
def test_event_that_lacks_a_field_is_not_used(without: str) -> None:
    text = "\n".join(
        x for x in V6_1["tcp_send_reset"].splitlines() if f" {without}[" not in x + "["
        and f" {without};" not in x
    )  # fmt: skip
    assert text != V6_1["tcp_send_reset"]
    assert "tcp_send_reset" not in formats.usable({"tcp_send_reset": text})


def test_ends_in_a_form_that_is_not_known() -> None:
    """Neither of the two: better not seen than read wrongly."""
    strange = text_of("tcp_send_reset", *HEAD, "__u16 sport@28", "__u8 saddr[28]@30")
    assert not formats.usable({"tcp_send_reset": strange})


def test_names_of_reasons() -> None:
    assert formats.enums(V6_12) == {"sk_rst_reason": REASONS, "skb_drop_reason": DROPS}
    # states have names in that event as well, and reasons none
    assert formats.enums(V6_1)["sk_rst_reason"] == {}
    assert formats.enums(V5_10) == {"sk_rst_reason": {}, "skb_drop_reason": {}}
    assert formats.enums({}) == {"sk_rst_reason": {}, "skb_drop_reason": {}}


def test_flags() -> None:
    """Every field gets one: what is not there reads nothing."""
    flags = formats.flags(formats.usable(V5_10))
    assert "-DAT_tcp_send_reset__saddr_v6=40" in flags
    assert "-DAT_tcp_send_reset__reason=-1" in flags
    assert "-DAT_inet_sk_error_report__error=-1" in flags
    assert len(flags) == sum(len(wanted) for _, wanted in formats.EVENTS.values())


def test_reading_a_directory(tmp_path: Path) -> None:
    place = tmp_path / "events/tcp/tcp_send_reset"
    place.mkdir(parents=True)
    (place / "format").write_text(V6_12["tcp_send_reset"])
    assert formats.read(tmp_path) == {"tcp_send_reset": V6_12["tcp_send_reset"]}
    with pytest.raises(FileNotFoundError):
        formats.read(tmp_path / "nowhere")


# -- the programs

AT = re.compile(r"\b(?:AT|FIELD)\((?:[^,()]*(?:\([^()]*\))?[^,()]*, )?(\w+), (\w+)\)")
ENDS = re.compile(r"\bREAD_ENDS\(&?\w+, (\w+)\)")


@pytest.mark.parametrize("hook", formats.EVENTS)
def test_every_event_has_a_program(hook: str) -> None:
    """Named as bcc attaches it, and it reads what it is promised."""
    place, wanted = formats.EVENTS[hook]
    source = (loader.bpf_dir() / "nobtf" / f"{hook}.c").read_text()
    assert f"int tracepoint__{place.replace('/', '__')}(void *ctx)" in source
    used = {field for event, field in AT.findall(source) if event == hook}
    used |= {"saddr", "daddr", "sport"} if hook in ENDS.findall(source) else set()
    assert used
    assert used <= set(wanted)
    assert {event for event, _ in AT.findall(source)} <= {hook}


def test_no_struct_member_is_read() -> None:
    """Offsets that are not known: nothing here may go by one."""
    for file in (loader.bpf_dir() / "nobtf").iterdir():
        assert not features.used_members(file.read_text()), file.name


@pytest.fixture
def no_btf() -> Features:
    """A kernel like 6.12 without BTF."""
    return made_of(V6_12)


def made_of(texts: Mapping[str, str]) -> Features:
    known = formats.usable(texts)
    args = {hook: len(known[hook]) for hook in HOOKS if hook in known}
    return Features(
        args=args,
        offsets={("sock", "sk_uid"): None},
        enums=formats.enums(texts),
        page_struct_size=64,
        missing_hooks=tuple(h for h in HOOKS if h not in args),
        formats=known,
        no_btf="this kernel describes no types.",
    )


def test_compile_flags(no_btf: Features) -> None:
    flags = loader.compile_flags(no_btf, "(r)->lport == 80")
    assert "-DAT_tcp_send_reset__reason=28" in flags
    assert "-DOFF_sock__sk_uid=-1" in flags
    # no filter in the kernel goes by what it does not know: the namespace, a listener's other end
    assert "-DIN_NETNS(r, inode)=(1)" in flags
    assert "-DKEEP(r)=((r)->lport == 80 || !(r)->rport)" in flags


def test_compile_flags_with_btf(no_btf: Features) -> None:
    flags = loader.compile_flags(replace(no_btf, no_btf="", formats={}), "(r)->lport == 80")
    assert not any(flag.startswith("-DAT_") for flag in flags)
    assert "-DIN_NETNS(r, inode)=((r)->netns == (inode))" in flags
    assert "-DKEEP(r)=((r)->lport == 80)" in flags


# -- finding out


def test_examine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracefs, "reading", lambda _look: V6_12)
    found = examine("READ(&x, sk, sock, sk_uid);", NO_FILE)
    assert "describes no types" in found.no_btf
    assert set(found.args) == set(HOOKS) - set(NOT_IN_EVENTS)
    assert found.on_demand == tuple(ON_DEMAND)
    assert found.offsets == {("sock", "sk_uid"): None}
    assert found.enums["sk_rst_reason"] == REASONS
    assert found.missing_members == []  # of those nobody knows


def test_examine_damaged_btf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What this program cannot read is as good as none."""
    file = tmp_path / "vmlinux"
    file.write_bytes(b"garbage" * 100)
    monkeypatch.setattr(tracefs, "reading", lambda _look: V6_12)
    assert "not in a form" in examine("", file).no_btf


def test_neither_btf_nor_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both reasons in one line, and what mends it."""

    def refused(_look: object) -> None:
        raise CannotTrace("the kernel's events cannot be read: no.", "Mount them: mount")

    monkeypatch.setattr(tracefs, "reading", refused)
    with pytest.raises(CannotTrace, match=r"describes no types.*events cannot be read") as caught:
        examine("", NO_FILE)
    assert caught.value.hint == "Mount them: mount"
    assert caught.value.exit_code == EXIT_CANNOT_TRACE


def test_events_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_look: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(tracefs, "reading", refused)
    with pytest.raises(CannotTrace, match="describes no types"):
        examine("", NO_FILE)


def test_kernel_without_a_needed_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with BTF: it says which one."""
    monkeypatch.setattr(loader, "check_rights", lambda: None)
    monkeypatch.setattr(loader, "import_bcc", lambda: None)
    monkeypatch.setattr(loader, "examine", lambda _source: made_of(COMMON))
    with pytest.raises(CannotTrace, match="no tracepoint tcp_send_reset"):
        loader.prepare()
    monkeypatch.setattr(loader, "examine", lambda _source: made_of(V5_10))
    assert loader.prepare().features.no_btf  # net_dev_queue shows nothing, and is not asked for


def test_probe_is_by_btf_alone() -> None:
    """`rsttrace explain NAME` needs no root, so it does not look at tracefs."""
    with pytest.raises(CannotTrace, match="describes no types"):
        features.probe("", NO_FILE)


# -- what is told of it


def test_gaps() -> None:
    assert gaps_of(made_of(V6_12)) == ("btf",)
    assert gaps_of(made_of(V6_1)) == ("btf", "unseen-strays", "reset-reason")
    assert lost_hooks(made_of(V6_12)) == ()  # it has those that show nothing
    assert lost_hooks(made_of(V5_10)) == ("inet_sk_error_report",)


def test_report_tells_what_was_not_shown() -> None:
    said = blind_spots({"gaps": ["btf", "unseen-strays"], "missing_hooks": []})
    assert said[0].startswith("This kernel does not describe its types (no BTF)")
    assert "Resets not seen at all: " in said[0]
    assert said[0].endswith("A kernel with CONFIG_DEBUG_INFO_BTF=y shows more.")
    assert said[1].endswith("nothing else tells of the resets that answer them.")


def test_costs_are_what_the_recorded_labs_lose() -> None:
    cost = costs.without_btf()
    check(cost, truth(costs.left_without_btf))
    assert {"firewall-reject", "forwarded-reset", "reset-no-socket"} <= set(cost.unseen)
    assert {"accept-queue-overflow", "data-after-close"} <= set(cost.unknown)
    assert {"linger-zero", "listener-closed"} <= set(cost.unsure)


def retold(recording: Recording, left: Callable[[Fields], Fields | None]) -> list[Explained]:
    """All that comes of a recording's records, or of what is left of them."""
    layout = recording.layout
    pipeline = Pipeline(layout, recording, recording.context, recording.listeners)
    for batch in recording.batches:
        found = (left(layout.unpack(raw)) for raw in batch)
        pipeline.feed(pack(layout, fields) for fields in found if fields)
    return pipeline.flush()


def test_no_verdict_is_certain() -> None:
    """Every recorded lab again, as it would have been recorded without BTF: the same cause is at
    most likely, another one at most possible.
    """
    seen = 0
    for recording in recordings():
        true = {(e.reset.flow, e.verdict.cause) for e in retold(recording, whole)}
        for one in retold(recording, costs.left_without_btf):
            verdict = one.verdict
            seen += 1
            assert verdict.confidence in ("likely", "possible", "unknown")
            assert verdict.missing
            same = (one.reset.flow, verdict.cause) in true
            assert same or verdict.confidence in ("possible", "unknown"), verdict
    assert seen > 100


def blind(state: str, frames: tuple[str, ...] = ACCEPTED) -> Reset:
    """A received reset without BTF: a socket's address and state, and the stack."""
    return received_reset(judged(state, frames, sock=None))


def test_received_reset_that_cannot_be_read() -> None:
    """Neither the device in the path nor the other end is accused."""
    verdict = explain(blind("ESTABLISHED"), Facts())
    assert (verdict.cause, verdict.confidence) == ("peer-reset", "possible")
    assert verdict.missing == "the RST itself"
    assert verdict.initiator == "unknown"


def test_refused_by_whom() -> None:
    verdict = explain(blind("SYN_SENT", REFUSED), Facts())
    assert (verdict.cause, verdict.confidence) == ("connection-refused", "likely")
    assert "a firewall there, on the way or here rejects" in verdict.summary
    assert verdict.initiator == "unknown"


def test_nobody_knows_whether_it_is_held() -> None:
    """An orphan's reset is harmless, but is it one? Only an error report proves the contrary."""
    one = blind("FIN_WAIT2")
    verdict = explain(one, Facts())
    assert (verdict.cause, verdict.confidence) == ("reset-after-fin", "likely")
    assert not verdict.benign
    assert verdict.errno is None
    assert "is not known" in verdict.summary
    one.error = record("inet_sk_error_report", sk=SK, errno=errno.ECONNRESET)
    verdict = explain(one, Facts())
    assert "still holds the socket" in verdict.summary
    assert verdict.errno == "ECONNRESET"


def test_insufficient_data_says_why() -> None:
    """And shows what there is to go by."""
    decided = record("tcp_send_reset", sk=0xA, skb=0xB, state="LISTEN", frames=P2)
    verdict = explain(sent_reset(replace(decided, reason="TCP_FLAGS")), Facts())
    assert verdict.cause == "insufficient-data"
    assert verdict.summary == (
        "Cannot tell: the segment that provoked the RST is missing. This kernel has no BTF, so it "
        "cannot be read."
    )
    assert {"kernel reason TCP_FLAGS", "state LISTEN"} <= set(verdict.evidence)
    assert "CONFIG_DEBUG_INFO_BTF=y" in verdict.remedies[0]


# -- in which namespace it was


class Helper:
    """A helper that says what a test has made up, and notes what it was asked."""

    alive = True

    def __init__(self, **answer: Any) -> None:
        self.answer: dict[str, Any] | None = {
            "local": {},
            "namespaces": [NETNS, OTHER_NETNS],
            "all": True,
            "pids": {},
            **answer,
        }
        self.asked: list[Any] = []

    def ask(self, kind: str, about: Any, wait_s: float) -> Any:
        assert kind == "addresses"
        assert wait_s > 0
        self.asked.append(about)
        return self.answer


def somewhere(address: str = HERE, netns: int = 0, **more: Any) -> bytes:
    return raw_record(laddr=mapped(address), netns=netns, lport=PORT, **more)


def netns_of(whose: Whose, *raw: bytes) -> list[int]:
    filled = whose.fill(list(raw))
    assert [len(one) for one in filled] == [LAYOUT.size] * len(raw)
    for before, after in zip(raw, filled):  # nothing else changes
        known = LAYOUT.unpack(after)
        assert {**LAYOUT.unpack(before), "netns": known["netns"]} == known
    return [LAYOUT.unpack(one)["netns"] for one in filled]


def at(address: str, *inodes: int) -> dict[str, Any]:
    return {"local": {mapped(address).hex(): list(inodes)}}


def test_the_namespace_that_has_the_address() -> None:
    helper = Helper(**at(HERE, OTHER_NETNS))
    assert netns_of(Whose(LAYOUT, helper), somewhere()) == [OTHER_NETNS]
    assert helper.asked == [{"addresses": [mapped(HERE).hex()], "pids": []}]


def test_what_is_known_stays() -> None:
    helper = Helper()
    assert netns_of(Whose(LAYOUT, helper), somewhere(netns=NETNS)) == [NETNS]
    assert helper.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        at(HERE, NETNS, OTHER_NETNS),  # two have it
        at(HERE),  # none, as with an address of a transparent proxy
        {**at(HERE, NETNS), "all": False},  # one that could not be asked may have it as well
    ],
)
def test_no_guess(answer: dict[str, Any]) -> None:
    assert netns_of(Whose(LAYOUT, Helper(**answer)), somewhere()) == [0]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "::"])
def test_addresses_that_every_namespace_has(address: str) -> None:
    helper = Helper()
    assert netns_of(Whose(LAYOUT, helper), somewhere(address)) == [0]
    assert helper.asked[0]["addresses"] == []
    alone = Helper(namespaces=[NETNS])
    assert netns_of(Whose(LAYOUT, alone), somewhere(address)) == [NETNS]


def test_helper_that_does_not_answer() -> None:
    helper = Helper()
    helper.answer = None
    assert netns_of(Whose(LAYOUT, helper), somewhere()) == [0]


def test_too_many_questions() -> None:
    """Looking up has its share of the time: beyond that it stays unknown."""
    helper = Helper(**at(HERE, NETNS))
    whose = Whose(LAYOUT, helper, Credit(burst_s=0.0, share=0.0))
    assert netns_of(whose, somewhere()) == [0]
    assert helper.asked == []


def test_listener_on_every_address() -> None:
    """It is where the process is that called listen(); and its resets are there, too."""
    helper = Helper(pids={"1432": OTHER_NETNS})
    whose = Whose(LAYOUT, helper)
    kind = NUMBERS["KIND_INET_SOCK_SET_STATE"]
    begins = somewhere("0.0.0.0", kind=kind, sk_state=LISTEN, pid=1432, sk=0xA)
    assert netns_of(whose, begins) == [OTHER_NETNS]
    assert helper.asked[0]["pids"] == [1432]
    helper.answer = Helper().answer
    reset = NUMBERS["KIND_TCP_SEND_RESET"]
    assert netns_of(whose, somewhere("0.0.0.0", kind=reset, sk=0xA)) == [OTHER_NETNS]
    assert netns_of(whose, somewhere("0.0.0.0", kind=reset, sk=0xB)) == [0]


def test_process_of_something_else_proves_nothing() -> None:
    """A process may have moved since its socket was made."""
    helper = Helper(pids={"1432": OTHER_NETNS})
    reset = NUMBERS["KIND_TCP_SEND_RESET"]
    assert netns_of(Whose(LAYOUT, helper), somewhere("127.0.0.1", kind=reset, pid=1432)) == [0]


# -- what the helper answers


@pytest.mark.parametrize(
    ("address", "local"), [("127.0.0.1", True), ("127.9.9.9", True), ("192.0.2.1", False)]
)
def test_local_addresses_of_this_namespace(address: str, local: bool) -> None:
    assert addresses.is_local(mapped(address)) is local


def test_answer_about_this_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.stat("/proc/self/ns/net").st_ino
    monkeypatch.setattr(addresses, "namespaces", lambda: iter([(here, "here"), (1, "gone")]))

    def enter(path: str, _inode: int) -> None:
        if path == "gone":
            raise FileNotFoundError(path)

    monkeypatch.setattr(addresses, "enter", enter)
    loop = mapped("127.0.0.1").hex()
    found = addresses.answer({"addresses": [loop], "pids": [os.getpid(), 1 << 30]})
    assert found == {
        "local": {loop: [here]},
        "namespaces": [here],
        "all": True,
        "pids": {str(os.getpid()): here},
    }


def test_answer_about_a_namespace_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def enter(_path: str, _inode: int) -> None:
        raise PermissionError(1, "setns")

    monkeypatch.setattr(addresses, "namespaces", lambda: iter([(1, "closed")]))
    monkeypatch.setattr(addresses, "enter", enter)
    found = addresses.answer({"addresses": [], "pids": []})
    assert found == {"local": {}, "namespaces": [], "all": False, "pids": {}}


# -- the cross-check


def compared(counted: int, unknown: int, known: int = 0) -> Any:
    """Resets told of NETNS and of a namespace that is not known, held against the counter."""
    tally = Tally()
    tally.start({NETNS: Reading(0, 0)})
    for netns, number in ((0, unknown), (NETNS, known)):
        for _ in range(number):
            tally.add(sent(flow=replace(FLOW, netns=netns)))
    tally.stop({NETNS: Reading(counted, 1 << 62)})
    return tally.compare(0)


def test_told_of_an_unknown_namespace() -> None:
    """It counts for the one that lacks it; what is still missing is said."""
    result = compared(counted=2, unknown=2)
    assert (result.missing, result.surplus, result.told, result.gone) == (0, 0, 2, 0)
    assert compared(counted=3, unknown=1, known=1).missing == 1
    assert compared(counted=1, unknown=1, known=1).surplus == 0  # of one that is gone, perhaps
