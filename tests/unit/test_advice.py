"""What advise() does with what the advisers, the known programs and the catalogue say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rsttrace.advice import SOURCES, advise, since, wants
from rsttrace.advice.fits import advisers
from rsttrace.causes import catalogue
from rsttrace.causes.case import Case, Sender
from rsttrace.enrich import Facts
from rsttrace.enrich.place import Place, Tracked
from rsttrace.enrich.sources.settings import KNOWN
from rsttrace.explain import explain
from rsttrace.model import Reset
from rsttrace.packet import ACK
from rsttrace.sinks.pages import cause_page

from .advised import ON_HOST, PROBLEMS, SERVICE, advised, full_place, settings
from .build import A2, arrived, decided, judged, received_reset, segment, sent_reset, sock
from .told import told

LINGER = sock(linger_ms=0, flags=16)
CAUSES = sorted(catalogue())


def linger_zero() -> Reset:
    return sent_reset(decided(A2, sock=LINGER))


# -- what is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", CAUSES)
def test_settings_are_known_and_asked_for(cause: str) -> None:
    names = catalogue()[cause].settings
    assert set(names) <= set(KNOWN), "rsttrace/enrich/sources/settings.py cannot read it"
    assert len(set(names)) == len(names)
    assert ("settings" in wants(cause)) == bool(names)


@pytest.mark.parametrize("cause", CAUSES)
def test_settings_are_on_the_page(cause: str) -> None:
    page = cause_page(catalogue()[cause])
    assert all(name in page for name in catalogue()[cause].settings)
    assert ("\nSETTINGS THAT BEAR ON IT (SYSCTL)\n" in page) == bool(catalogue()[cause].settings)


def test_wants() -> None:
    assert wants("accept-queue-overflow") == ("settings", "sockets")
    assert wants("firewall-reject") == ()
    assert wants("unknown") == ()
    assert wants("no-such-cause") == ()


def test_settings_that_everybody_asks_for_are_there() -> None:
    named = {name for cause in catalogue().values() for name in cause.settings}
    assert {
        "net.core.somaxconn",
        "net.ipv4.tcp_abort_on_overflow",
        "net.ipv4.tcp_fastopen",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_max_orphans",
        "net.ipv4.tcp_mem",
        "net.ipv4.tcp_retries2",
        "net.ipv4.tcp_rfc1337",
        "net.ipv4.tcp_syn_retries",
        "net.ipv4.tcp_tw_reuse",
        "net.mptcp.enabled",
        "net.netfilter.nf_conntrack_tcp_be_liberal",
    } <= named


# -- the advisers ----------------------------------------------------------------------------------


def test_advisers_are_of_causes_and_want_sources() -> None:
    for cause, adviser in advisers().items():
        assert cause in CAUSES
        assert adviser.ask.__module__.rpartition(".")[2] == cause.replace("-", "_")
        assert set(adviser.wants) <= set(SOURCES) - {"settings"}, "that is the catalogue's to say"
    assert len(advisers()) >= 30


# -- order and content -----------------------------------------------------------------------------


def test_settings_as_the_namespace_has_them() -> None:
    place = Place(settings=settings(tcp_tw_reuse=2, tcp_retries2=15))
    assert advised(linger_zero(), place).settings == (("net.ipv4.tcp_tw_reuse", "2"),)
    assert advised(linger_zero()).settings == ()


def test_what_could_not_be_learnt_is_said() -> None:
    verdict = advised(linger_zero(), PROBLEMS)
    assert "not known: the kernel's settings (took too long)" in verdict.evidence
    assert not any("route" in text for text in verdict.evidence), "nobody asked for that"


def test_no_connection_tracking_is_no_problem() -> None:
    one = received_reset(judged("ESTABLISHED"), arrived())
    problems = {"conntrack": "connection tracking is not loaded", "peer": "took too long"}
    evidence = advised(one, Place(problems=problems)).evidence
    assert "not known: whether the other end is on this host (took too long)" in evidence
    assert not any("tracking" in text for text in evidence)


def test_harmless_needs_nothing() -> None:
    one = told("late-segment", benign=True, remedies=("nothing to do",))
    case = Case(one.reset, replace(ON_HOST, place=full_place(one.reset)))
    assert advise(case, one.verdict) == one.verdict


def test_unknown_gets_no_advice() -> None:
    one = told("linger-zero", confidence="unknown")
    case = Case(one.reset, replace(ON_HOST, place=full_place(one.reset)))
    assert advise(case, one.verdict) == one.verdict


def test_the_senders_advice_is_left_alone() -> None:
    """It was made to fit at the other end, which is the one to change."""
    fitting = ("sysctl -w net.core.somaxconn=4096  # is 128", "restart it")
    sender = Sender("accept-queue-overflow", "certain", "It was full.", False, fitting)
    one = received_reset(judged("ESTABLISHED"), arrived())
    facts = replace(ON_HOST, place=full_place(one))
    case = Case(one, facts, sender)
    verdict = advise(case, explain(one, facts, sender))
    assert (verdict.cause, verdict.remedies) == ("peer-reset", fitting)
    without = advised(one, full_place(one))
    assert without.remedies != fitting
    assert "rsttrace -P" in without.remedies[0]


def test_who_called_it() -> None:
    frames = ("close (libc.so.6)", "ngx_close_connection (nginx)", "main (nginx)")
    verdict = advised(linger_zero(), facts=Facts(actor=SERVICE, user_frames=frames))
    assert verdict.evidence[-1] == (
        "called by close (libc.so.6) < ngx_close_connection (nginx) < main (nginx)"
    )
    # the stack of whoever was on the CPU is no caller
    passive = received_reset(judged("ESTABLISHED"), arrived(segment(ACK)))
    facts = Facts(user_frames=frames)
    assert not any("called by" in text for text in advised(passive, facts=facts).evidence)


def test_nothing_commands_the_terminal() -> None:
    evil = Tracked(True, natted="\x1b[2J > x\n")
    one = received_reset(judged("ESTABLISHED"), arrived())
    verdict = advised(one, Place(conntrack=evil))
    assert any("\\x1b[2J" in text for text in verdict.evidence)
    assert all(text.isprintable() for text in (*verdict.evidence, *verdict.remedies))


def test_answer_from_before_the_reset_says_nothing_of_the_queue() -> None:
    """Of a flood: the settings still hold, how full a queue was does not."""
    reset = sent_reset(decided(A2, sock=LINGER))
    for time_ns, fresh in ((reset.time_ns - 1, False), (reset.time_ns, True), (0, True)):
        place = replace(full_place(reset), time_ns=time_ns)
        kept = since(place, reset.time_ns)
        assert (kept.sockets is not None) == fresh
        assert kept.settings == place.settings
        assert ("sockets" in kept.problems) != fresh
