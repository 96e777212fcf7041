"""Who really reset a connection, and what it was about: device, forgotten, knocked, or the peer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsttrace.causes import catalogue
from rsttrace.causes.case import Finding, Sender
from rsttrace.enrich import Facts
from rsttrace.model import Reset
from rsttrace.packet import ACK, RST, Packet
from rsttrace.patterns import Neighbours, Patterns
from rsttrace.records import Flow, History, Sock

from .build import (
    ACCEPTED,
    CURL,
    FIREWALL,
    HERE,
    MS,
    NETNS,
    OTHER_NETNS,
    REFUSED,
    SECOND,
    THEIRS,
    THERE,
    XMIT,
    T,
    answered,
    arrived,
    dropped,
    explained,
    finding,
    history,
    judged,
    left,
    received_reset,
    segment,
    sent_reset,
    shake,
    sock,
)

SENDER = Sender("linger-zero", "certain", "It closed with SO_LINGER.", False, (), "nginx[1432]")
STALE = Sender("stale-connection", "likely", "Still uses a connection.", False, (), "nginx[1]")
TOOL = Sender(
    "injected-by-local-tool", "certain", "hping3[7] sent a reset.", False, (), "hping3[7]"
)
REJECT = Sender("firewall-reject", "certain", "A rule rejected it.", False)
UNCLEAR = Sender("unknown", "unknown", "No rule fits.", False)

RAW = (*XMIT, "raw_sendmsg", "__sys_sendto", "do_syscall_64")
PACKET = ("__dev_queue_xmit", "packet_snd", "packet_sendmsg", "__sys_sendto", "do_syscall_64")
ON_ROUTER = (*FIREWALL[:-2], "ip_forward", "process_backlog")
ON_BRIDGE = (*FIREWALL[:-2], "br_nf_forward_ip", "nf_hook_slow", "__br_forward", "process_backlog")
IN_BRIDGE = ("__dev_queue_xmit", "nf_reject_skb_v4_tcp_reset", "nft_reject_bridge_eval")
OWN_OUTPUT = (*FIREWALL[:-2], "__ip_local_out", "__ip_queue_xmit", "tcp_write_xmit")
AT_PEER = FIREWALL

EXACT = segment(RST | ACK, window=64, option_kinds=(1, 1, 8))
BARE = segment(RST, window=0, ack=0, ip_id=0)
TWO_ODDITIES = segment(RST | ACK, ttl=200, ack=99_999)
ONE_ODDITY = segment(RST | ACK, ttl=200)


def busy(**changes: Any) -> Sock:
    """A live connection that has just sent something."""
    plain = {
        "srtt_us": 8 * 40_000,
        "min_rtt_us": 40_000,
        "wstamp_ns": T - 40 * MS,
        "spoke_ms": 40,
        "heard_ms": 40,
        "bytes_received": 500,
        "bytes_acked": 700,
    }
    return sock(**{**plain, **changes})


def got(
    packet: Packet | None = EXACT,
    state: str = "ESTABLISHED",
    socket: Sock | None = None,
    life: History | None = None,
    **changes: Any,
) -> Reset:
    """A RST from the other end, believed."""
    wire = arrived(packet, handshake=shake()) if packet else None
    frames = REFUSED if state == "SYN_SENT" else ACCEPTED
    facts = {"sock": socket or busy(), "history": life or history(flags=1, close_ns=0)}
    return received_reset(judged(state, frames, **facts), wire, **changes)


def say(
    reset: Reset, sender: Sender | None = None, neighbours: Neighbours | None = None
) -> tuple[str, str, str]:
    """What all rules together say: cause, confidence, summary."""
    verdict = explained(reset, Facts(owner=CURL, neighbours=neighbours), sender).verdict
    return verdict.cause, verdict.confidence, verdict.summary


# -- middlebox-reset -------------------------------------------------------------------------------


def test_two_oddities_are_a_device() -> None:
    cause, confidence, summary = say(got(TWO_ODDITIES))
    assert (cause, confidence) == ("middlebox-reset", "likely")
    assert "TTL 200, but 64 in the handshake" in summary
    assert "it acknowledges 94,999 bytes that were never sent" in summary
    verdict = explained(got(TWO_ODDITIES)).verdict
    assert verdict.initiator == "middlebox"
    assert verdict.log_term is None
    assert verdict.missing == "who made the RST"
    assert sum(e.startswith("does not fit the peer") for e in verdict.evidence) == 2


@pytest.mark.parametrize(
    "state", ["ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK"]
)
def test_in_every_state(state: str) -> None:
    assert say(got(TWO_ODDITIES, state))[:2] == ("middlebox-reset", "likely")


def test_the_answer_to_a_syn_is_never_a_device() -> None:
    assert say(got(TWO_ODDITIES, "SYN_SENT"))[0] == "connection-refused"


@pytest.mark.parametrize(
    ("state", "cause", "confidence"),
    [
        ("ESTABLISHED", "peer-reset", "possible"),
        ("CLOSE_WAIT", "peer-closed-first", "likely"),
        ("FIN_WAIT2", "reset-after-fin", "likely"),
    ],
)
def test_one_oddity_is_only_told(state: str, cause: str, confidence: str) -> None:
    verdict = explained(got(ONE_ODDITY, state), Facts(owner=CURL)).verdict
    assert (verdict.cause, verdict.confidence) == (cause, confidence)
    assert "TTL 200, but 64 in the handshake: perhaps a device in the path made it" in (
        verdict.evidence
    )


@pytest.mark.parametrize(
    ("state", "confidence"),
    [("ESTABLISHED", "likely"), ("CLOSE_WAIT", "certain"), ("FIN_WAIT2", "certain")],
)
def test_what_many_stacks_do_raises_no_doubt(state: str, confidence: str) -> None:
    """macOS and Windows abort without timestamps."""
    plain = segment(RST | ACK)
    verdict = explained(got(plain, state, busy(header_len=32))).verdict
    assert verdict.confidence == confidence
    assert "no timestamps, which this connection uses: so do some stacks" in verdict.evidence


def test_two_oddities_of_one_kind_count_once() -> None:
    """A peer that makes its RSTs from nothing: no timestamps, no IP ID."""
    wire = arrived(segment(RST | ACK, ip_id=0), handshake=shake(rx_ip_id=7, rx_df=True))
    reset = received_reset(judged("ESTABLISHED", sock=busy(header_len=32)), wire)
    assert len([e for e in explained(reset).verdict.evidence if "in the handshake" in e]) == 2
    assert say(reset)[:2] == ("peer-reset", "possible")


@pytest.mark.parametrize("sender", [SENDER, STALE, UNCLEAR])
def test_no_oddity_overrules_a_sender_on_this_host(sender: Sender) -> None:
    reset = got(TWO_ODDITIES, peer=sent_reset(None))
    assert say(reset, sender)[0] == "peer-reset"


@pytest.mark.parametrize(
    ("frames", "confidence"), [(RAW, "certain"), (PACKET, "likely"), ((), "likely")]
)
def test_a_tool_on_this_host(frames: tuple[str, ...], confidence: str) -> None:
    made = sent_reset(None, left(frames=frames), flow=THEIRS)
    cause, sure, summary = say(got(EXACT, peer=made), TOOL)
    assert (cause, sure) == ("middlebox-reset", confidence)
    assert summary.startswith("hping3[7], on this host, made the reset that ended")
    verdict = explained(got(EXACT, peer=made), sender=TOOL).verdict
    assert any("gVisor" in e for e in verdict.evidence) == (confidence == "likely")


@pytest.mark.parametrize(
    ("frames", "netns", "words"),
    [
        (ON_ROUTER, OTHER_NETNS, "router or bridge"),
        (ON_BRIDGE, OTHER_NETNS, "router or bridge"),
        ((*IN_BRIDGE, "br_handle_frame"), OTHER_NETNS, "router or bridge"),
        (ON_ROUTER, NETNS, "router or bridge"),  # this host routes for a container of its own
        (OWN_OUTPUT, NETNS, "This host's own firewall"),
        (OWN_OUTPUT, OTHER_NETNS, None),  # the peer's own
        (AT_PEER, OTHER_NETNS, None),
        (AT_PEER, NETNS, None),  # both ends in one namespace
    ],
)
def test_a_firewall_on_this_host(frames: tuple[str, ...], netns: int, words: str | None) -> None:
    made = sent_reset(None, left(frames=frames), flow=Flow(THERE, 51234, HERE, 8080, netns))
    cause, confidence, summary = say(got(BARE, peer=made), REJECT)
    assert confidence == "certain"
    assert cause == ("middlebox-reset" if words else "peer-reset")
    assert (words or "A firewall on this host, not") in summary
    assert "10.0.0.9:51234 itself" in summary


def test_a_firewall_whose_record_is_gone() -> None:
    assert finding("middlebox-reset", got(BARE), None, REJECT) is None


# -- idle-expired ----------------------------------------------------------------------------------


def idle(**changes: Any) -> Sock:
    """Silent for six minutes, then it sent something 40 ms ago."""
    plain = {"heard_ms": 360_040, "spoke_ms": 40, "wstamp_ns": T - 40 * MS, "write_seq": 5050}
    return busy(**{**plain, "snd_nxt": 5050, **changes})


def test_idle_expired() -> None:
    cause, confidence, summary = say(got(BARE, socket=idle()))
    assert (cause, confidence) == ("idle-expired", "likely")
    assert summary == (
        "The connection of curl[2001] to 10.0.0.9:51234 had been idle for 6 min; the next segment "
        "was answered by a reset: a NAT, firewall or load balancer had forgotten it, or the peer "
        "had restarted."
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"heard_ms": 10_000}, True),
        ({"heard_ms": 9_999}, False),
        ({"heard_ms": None}, False),
        ({"srtt_us": 8 * 20_000_000}, False),  # not long for such a path
        ({"retransmits": 1}, False),  # it was not the silence but the path
        ({"wstamp_ns": T - 5 * SECOND}, False),  # the RST came by itself
        ({"wstamp_ns": 0}, True),  # an old kernel: the data tells
        ({"wstamp_ns": 0, "spoke_ms": 5_000}, False),
        ({"probes_out": 1, "flags": 8}, True),
    ],
)
def test_when_it_was_the_silence(changes: dict[str, Any], expected: bool) -> None:
    found = finding("idle-expired", got(BARE, socket=idle(**changes)), Facts(owner=CURL))
    assert (found is not None) == expected


@pytest.mark.parametrize("state", ["CLOSE_WAIT", "FIN_WAIT1", "SYN_SENT"])
def test_idle_only_in_an_open_connection(state: str) -> None:
    assert finding("idle-expired", got(BARE, state, idle())) is None


def test_an_abort_after_a_silence_is_none() -> None:
    """RST+ACK: an application over there decided."""
    assert say(got(EXACT, socket=idle()))[0] == "peer-reset"


def test_idle_needs_its_facts() -> None:
    no_socket = received_reset(judged("ESTABLISHED", sock=None), arrived(BARE))
    no_packet = received_reset(judged("ESTABLISHED", sock=idle()), None)
    assert finding("idle-expired", no_socket) is None
    assert finding("idle-expired", no_packet) is None


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (STALE, ("idle-expired", "certain")),
        (Sender("late-segment", "likely", "x", False), ("idle-expired", "certain")),
        (SENDER, ("peer-reset", "certain")),
        (UNCLEAR, ("peer-reset", "likely")),
        (REJECT, ("peer-reset", "certain")),
    ],
)
def test_idle_with_the_sender_on_this_host(sender: Sender, expected: tuple[str, str]) -> None:
    reset = got(BARE, socket=idle(), peer=sent_reset(None, left(frames=AT_PEER), flow=THEIRS))
    assert say(reset, sender)[:2] == expected


def test_idle_advice_is_for_this_end() -> None:
    told = Sender("stale-connection", "likely", "x", False, ("restart it",))
    verdict = explained(got(BARE, socket=idle(), peer=sent_reset(None)), sender=told).verdict
    assert verdict.remedies == catalogue()["idle-expired"].remedies


def test_other_ttl_tells_that_a_device_had_forgotten() -> None:
    other = segment(RST, window=0, ack=0, ip_id=0, ttl=120)
    cause, confidence, summary = say(got(other, socket=idle()))
    assert (cause, confidence) == ("idle-expired", "likely")
    assert "by its TTL a device in the path" in summary


def test_keepalive_words() -> None:
    probed = explained(got(BARE, socket=idle(probes_out=1, flags=8))).verdict
    assert "keepalive probe 1 drew the RST" in probed.evidence
    off = explained(got(BARE, socket=idle())).verdict
    assert any("SO_KEEPALIVE is off" in e for e in off.evidence)
    on = explained(got(BARE, socket=idle(flags=8))).verdict
    assert not any("SO_KEEPALIVE" in e for e in on.evidence)


@pytest.mark.parametrize(("packet", "confidence"), [(EXACT, "likely"), (BARE, "possible")])
def test_a_reset_in_the_middle_of_the_silence(packet: Packet, confidence: str) -> None:
    """A bare RST answers a segment, so one that comes by itself is odd; an abort is not."""
    quiet = idle(wstamp_ns=T - 360 * SECOND, spoke_ms=360_000)
    verdict = explained(got(packet, socket=quiet), Facts(owner=CURL)).verdict
    assert (verdict.cause, verdict.confidence) == ("peer-reset", confidence)
    assert "it, or a device in the path, gave up a connection that was idle" in verdict.summary
    assert any("nothing of ours provoked it" in e for e in verdict.evidence)


# -- connect-and-abort -----------------------------------------------------------------------------


def fresh(**changes: Any) -> Sock:
    """Nothing was sent or received, nobody has accepted it."""
    plain = {"bytes_received": 0, "bytes_acked": 0, "has_socket": False, "spoke_ms": None}
    return busy(**{**plain, **changes})


def young(age_ns: int = 2 * MS, **changes: Any) -> History:
    born = T - age_ns
    plain = {"flags": 2, "established_ns": born, "change_ns": born, "close_ns": 0}
    return history(**{**plain, **changes})


def knock(
    socket: Sock | None = None, life: History | None = None, packet: Packet | None = EXACT
) -> Reset:
    return got(packet, "ESTABLISHED", socket or fresh(), life or young())


def knocked(*times: int, port: int = 8080) -> Neighbours:
    """What an address did that tried this port at these times."""
    patterns = Patterns()
    for time_ns in times:
        flow = Flow(HERE, port, THERE, 1, NETNS)
        one = received_reset(judged("ESTABLISHED"), flow=flow, time_ns=time_ns)
        patterns.add(one, "connect-and-abort")
    return patterns.about(NETNS, THERE, T)


@pytest.mark.parametrize("accepted", [False, True])
def test_connect_and_abort(accepted: bool) -> None:
    verdict = explained(knock(fresh(has_socket=accepted))).verdict
    assert (verdict.cause, verdict.confidence) == ("connect-and-abort", "likely")
    assert verdict.benign
    assert verdict.phase == "establishment"
    assert verdict.initiator == "client"
    assert verdict.summary == (
        "10.0.0.9:51234 connected to 10.0.0.5:8080 and reset after 2 ms, without a byte of data: "
        "a port scan, a load balancer's health check, or a client that gave up."
    )
    assert any(("not accepted yet" in e) != accepted for e in verdict.evidence)


@pytest.mark.parametrize(
    "changes",
    [
        {"bytes_received": 1},
        {"bytes_acked": 1},
        {"rcv_nxt": 1001},  # unread
        {"write_seq": 5001},  # sent but not acknowledged
        {"is_mptcp": True},  # one of several paths
    ],
)
def test_with_data_it_is_the_peer_s(changes: dict[str, Any]) -> None:
    assert say(knock(fresh(**changes)))[0] == "peer-reset"


@pytest.mark.parametrize(
    "life",
    [
        young(flags=1),  # we opened it
        young(flags=0),
        young(established_ns=0),  # older than the trace
        young(closed=True),  # another connection
    ],
)
def test_only_a_connection_that_the_peer_opened_under_our_eyes(life: History) -> None:
    assert say(knock(life=life))[0] == "peer-reset"


def test_history_not_known() -> None:
    reset = received_reset(judged("ESTABLISHED", sock=fresh(), history=None), arrived(EXACT))
    assert say(reset)[0] == "peer-reset"
    reset = received_reset(judged("ESTABLISHED", sock=None, history=young()), arrived(EXACT))
    assert say(reset)[0] == "peer-reset"


@pytest.mark.parametrize("state", ["SYN_RECV", "CLOSE_WAIT", "FIN_WAIT1"])
def test_connect_and_abort_only_when_established(state: str) -> None:
    assert finding("connect-and-abort", got(EXACT, state, fresh(), young())) is None


@pytest.mark.parametrize(
    ("age_ns", "srtt_ms", "accepted", "expected"),
    [
        (SECOND, 40, True, True),
        (SECOND + 1, 40, True, False),
        (2 * SECOND, 300, True, True),  # a satellite
        (60 * SECOND, 40, False, True),  # waited in vain
    ],
)
def test_age(age_ns: int, srtt_ms: int, accepted: bool, expected: bool) -> None:
    socket = fresh(has_socket=accepted, srtt_us=8 * 1000 * srtt_ms)
    found = finding("connect-and-abort", knock(socket, young(age_ns)))
    assert (found is not None) == expected


def test_client_that_gave_up_waiting_is_no_harmless_scan() -> None:
    verdict = explained(knock(life=young(60 * SECOND))).verdict
    assert not verdict.benign
    assert "a client that gave up while it waited to be accepted" in verdict.summary


@pytest.mark.parametrize(
    ("age_ns", "sender", "cause"),
    [
        (2 * MS, None, "connect-and-abort"),  # some devices abort so
        (60 * SECOND, None, "peer-reset"),
        (2 * MS, STALE, "peer-reset"),  # it does not know the connection it asked for
    ],
)
def test_bare_reset(age_ns: int, sender: Sender | None, cause: str) -> None:
    peer = sent_reset(None) if sender else None
    reset = got(BARE, "ESTABLISHED", fresh(), young(age_ns), peer=peer)
    assert say(reset, sender)[0] == cause


def test_connect_and_abort_whose_packet_was_not_seen() -> None:
    assert say(knock(packet=None))[0] == "connect-and-abort"


def test_client_on_this_host() -> None:
    reset = got(EXACT, "ESTABLISHED", fresh(), young(), peer=sent_reset(None))
    verdict = explained(reset, sender=SENDER).verdict
    assert (verdict.cause, verdict.confidence) == ("connect-and-abort", "certain")
    assert "(linger-zero by nginx[1432], on this host)" in verdict.summary
    assert verdict.remedies == catalogue()["connect-and-abort"].remedies
    assert verdict.benign


def test_health_check() -> None:
    summary = say(knock(), neighbours=knocked(T - 10 * SECOND, T - 5 * SECOND))[2]
    assert "it looks like a health check, every 5.0 s" in summary
    other_port = knocked(T - 10 * SECOND, T - 5 * SECOND, port=9999)
    assert "health check, every" not in say(knock(), neighbours=other_port)[2]


def test_scan() -> None:
    patterns = Patterns()
    for port in range(20, 40):
        flow = Flow(HERE, port, THERE, 1, NETNS)
        patterns.add(sent_reset(answered(segment()), flow=flow), "closed-port")
    summary = say(knock(), neighbours=patterns.about(NETNS, THERE, T))[2]
    assert "it looks like a port scan, 20 ports within a minute" in summary


def test_what_the_address_did_is_told() -> None:
    verdict = explained(knock(), Facts(neighbours=knocked(T - SECOND))).verdict
    assert "this address tried 1 port within the minute before, this one 1 time" in (
        verdict.evidence
    )
    assert not any("tried" in e for e in explained(knock()).verdict.evidence)


def test_a_device_that_resets_a_fresh_connection() -> None:
    assert say(knock(packet=TWO_ODDITIES))[0] == "middlebox-reset"
    one = explained(knock(packet=ONE_ODDITY)).verdict
    assert one.cause == "connect-and-abort"
    assert any("TTL 200" in e for e in one.evidence)


# -- all received resets ---------------------------------------------------------------------------

STATES = {
    "SYN_SENT": "connection-refused",
    "ESTABLISHED": "peer-reset",
    "CLOSE_WAIT": "peer-closed-first",
    "FIN_WAIT1": "reset-after-fin",
    "LAST_ACK": "reset-after-fin",
}


@pytest.mark.parametrize("state", STATES)
def test_what_the_reset_carries_is_told(state: str) -> None:
    packet = segment(RST | ACK, b"too many connections")
    verdict = explained(got(packet, state)).verdict
    assert verdict.cause == STATES[state]
    assert 'the RST carries: "too many connections"' in verdict.evidence


def test_what_other_verdicts_carry() -> None:
    for packet, socket in ((TWO_ODDITIES, busy()), (BARE, idle())):
        spoken = segment(
            packet.flags, b"bye", ttl=packet.ttl, ack=packet.ack, window=packet.window, ip_id=0
        )
        verdict = explained(got(spoken, socket=socket)).verdict
        assert verdict.cause in ("middlebox-reset", "idle-expired")
        assert 'the RST carries: "bye"' in verdict.evidence


def test_nothing_is_said_of_an_empty_reset() -> None:
    assert not any("carries" in e for e in explained(got()).verdict.evidence)


def test_two_resets_of_one_abort() -> None:
    first = dropped(segment(RST | ACK, seq=1021), "TCP_RESET", time_ns=T - 40 * MS)
    verdict = explained(got(BARE, refused_first=first)).verdict
    assert verdict.cause == "peer-reset"
    assert (
        "first half of the same abort: a RST 40 ms before, 21 bytes ahead; data before it was "
        "lost, so it drew a challenge ACK, and this RST answers that"
    ) in verdict.evidence
    unseen = replace(first, packet=None)
    verdict = explained(got(BARE, refused_first=unseen)).verdict
    assert any("the same abort: a RST 40 ms before; data" in e for e in verdict.evidence)


# -- peer-closed-first -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoke_ms", "packet", "words"),
    [
        (5, EXACT, "wrote on, and the peer aborted"),
        (5, BARE, "wrote on, and the peer answered with a reset"),
        (1995, EXACT, "and then the peer reset what was left"),  # about when the FIN came
        (3000, EXACT, "had written nothing since, when the peer reset what was left"),
        (3000, BARE, "and then the peer reset what was left"),
        (None, EXACT, "had written nothing since, when the peer reset what was left"),
    ],
)
def test_did_we_write_on(spoke_ms: int | None, packet: Packet, words: str) -> None:
    life = history(flags=1, close_ns=0, change_ns=T - 2 * SECOND)
    reset = got(packet, "CLOSE_WAIT", busy(spoke_ms=spoke_ms), life)
    verdict = explained(reset, Facts(owner=CURL)).verdict
    assert verdict.cause == "peer-closed-first"
    assert words in verdict.summary
    assert ("data was sent after it" in verdict.evidence) == (spoke_ms == 5)


def test_life_of_another_connection_does_not_tell_when_the_fin_came() -> None:
    life = history(closed=True, change_ns=T - 2 * SECOND)
    found: Finding | None = finding("peer-closed-first", got(EXACT, "CLOSE_WAIT", life=life))
    assert found
    assert "and then the peer reset what was left" in found.summary


# -- connection-refused ----------------------------------------------------------------------------


def test_how_far_away_it_was_refused() -> None:
    verdict = explained(got(segment(RST | ACK, ttl=52), "SYN_SENT")).verdict
    assert "answered 10 ms after our SYN" in verdict.evidence
    assert "by its TTL it was made 12 hops away" in verdict.evidence
    known = explained(got(segment(RST | ACK, ttl=64), "SYN_SENT"), sender=SENDER).verdict
    assert not any("hops" in e for e in known.evidence)
