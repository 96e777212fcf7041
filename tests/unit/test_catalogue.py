"""The catalogue is complete, and it, the rules, the labs and the words agree."""

from __future__ import annotations

import errno
import re
from dataclasses import fields

import pytest

from rsttrace.causes import Cause, catalogue, words
from rsttrace.causes.case import CERTAIN
from rsttrace.causes.rules import rules
from rsttrace.lab import labs
from rsttrace.sinks.pages import WIDTH, cause_page, word_page

NOT_KNOWN = {"unknown", "insufficient-data"}
DIRECTIONS = {"sent", "received", "forwarded", "suppressed", "rejected", "none"}
PHASES = {"establishment", "transfer", "disconnection", "no-connection"}
# what has nothing of its own to say there
NO_PHASE = {*NOT_KNOWN, "forwarded-reset"}
CAUSES = sorted(catalogue())

each = pytest.mark.parametrize("cause", CAUSES)


@each
def test_entry_is_complete(cause: str) -> None:
    entry = catalogue()[cause]
    assert entry.id == cause
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", cause)
    assert entry.direction
    assert set(entry.direction) <= DIRECTIONS
    assert entry.phase in (PHASES if cause not in NO_PHASE else {""})
    for name in ("title", "explanation", "sender_sees", "receiver_sees"):
        assert getattr(entry, name).strip() or cause in NOT_KNOWN, name
    assert entry.explanation
    assert len(entry.title) <= 60
    assert not entry.title.endswith(".")
    assert entry.remedies
    assert entry.told_apart_from


@each
def test_types(cause: str) -> None:
    """TOML gives what it likes; the dataclass does not check."""
    entry = catalogue()[cause]
    for field in fields(Cause):
        value = getattr(entry, field.name)
        if field.type == "str":
            assert isinstance(value, str), field.name
        elif field.type == "bool":
            assert isinstance(value, bool), field.name
        elif field.name == "told_apart_from":
            assert all(len(pair) == 2 and all(isinstance(p, str) for p in pair) for pair in value)
        else:
            assert isinstance(value, tuple), field.name
            assert all(isinstance(v, str) and v.strip() for v in value), field.name


@each
def test_told_apart_from_others_that_exist(cause: str) -> None:
    others = [other for other, _ in catalogue()[cause].told_apart_from]
    assert cause not in others
    assert len(set(others)) == len(others)
    assert set(others) <= set(CAUSES)


@each
def test_lab_exists(cause: str) -> None:
    lab = catalogue()[cause].lab
    known = {spec.name for spec in labs()} | {spec.cause for spec in labs()}
    assert not lab or lab in known


@each
def test_page_fits(cause: str) -> None:
    page = cause_page(catalogue()[cause])
    assert page.startswith(f"{cause}: ")
    for line in page.splitlines():
        assert len(line) <= WIDTH or len(line.split()) <= 2, line
        assert line == line.rstrip()
    for heading in ("WHAT HAPPENED", "WHAT TO CHANGE", "TOLD APART FROM"):
        assert f"\n{heading}\n" in page


def test_the_whole_catalogue_is_there() -> None:
    """The ids are stable: programs that read the JSON know them."""
    promised = """
        unread-data-on-close process-exit-unread-data linger-zero linger2-expired listener-closed
        disconnect-call admin-destroyed keepalive-timeout user-timeout out-of-memory mptcp-reset
        closed-port stale-connection late-segment unexpected-syn-ack data-after-close
        tls-close-notify accept-queue-overflow timewait-collision bad-ack-in-handshake
        ack-to-listener bad-syn fastopen-reset
        firewall-reject injected-by-local-tool forwarded-reset reset-suppressed
        connection-refused peer-reset peer-closed-first reset-after-fin idle-expired
        handshake-aborted connect-and-abort middlebox-reset blind-reset-rejected
        out-of-window-reset blind-syn-rejected reset-no-socket timewait-assassination
        retransmit-timeout icmp-unreachable unknown insufficient-data
    """
    assert {*CAUSES} == {*promised.split()}


def test_every_cause_has_a_lab() -> None:
    assert {spec.cause for spec in labs()} == {*CAUSES} - NOT_KNOWN


def test_every_rule_has_an_entry() -> None:
    assert {rule.cause for rule in rules()} <= {*CAUSES}
    assert len({rule.cause for rule in rules()}) == len(rules())


def test_every_entry_has_a_rule() -> None:
    assert {*CAUSES} - {rule.cause for rule in rules()} == {"unknown", "insufficient-data"}


def test_every_lab_is_of_a_cause_and_expects_causes() -> None:
    for spec in labs():
        assert spec.cause in CAUSES
        assert {e.cause for e in spec.expect} <= {*CAUSES}
        assert all(set(catalogue()[e.cause].direction) >= {e.direction} for e in spec.expect)
        assert any(e.cause == spec.cause for e in spec.expect), spec.name


def test_every_certain_verdict_of_a_lab_is_its_own() -> None:
    """A lab of a cause that is only ever likely would prove little."""
    sure = {e.cause for spec in labs() for e in spec.expect if e.confidence == CERTAIN}
    unsure = {spec.cause for spec in labs()} - sure
    assert unsure == set()


# -- words -----------------------------------------------------------------------------------------


def test_words() -> None:
    kinds = {"errno", "reset-reason", "drop-reason", "counter", "log-term", "message"}
    assert {word.kind for word in words().values()} == kinds
    for name, word in words().items():
        assert word.name == name
        assert word.text.strip()
        assert set(word.causes) <= set(CAUSES), name
        if word.kind == "errno":
            assert name in errno.errorcode.values()
        page = word_page(word)
        assert all(len(line) <= WIDTH for line in page.splitlines()), name
        assert ("rsttrace explain CAUSE" in page) == bool(word.causes), name


def test_words_people_bring() -> None:
    """causes.md promises these."""
    promised = """
        tcp-rst-from-client tcp-rst-from-server incomplete insufficient-data not-applicable
        unknown-tcp aged-out ECONNRESET EPIPE ECONNREFUSED ECONNABORTED ETIMEDOUT
        TCPAbortOnClose TCPAbortOnData ListenOverflows OutRsts EstabResets
    """
    known = {name.lower() for name in words()} | {*CAUSES}
    prefixes = ("", "tcp", "tcpext")
    missing = {w for w in promised.split() if not any(f"{p}{w}".lower() in known for p in prefixes)}
    assert missing == set()


@each
def test_what_an_entry_names_can_be_looked_up(cause: str) -> None:
    """rsttrace explain NAME for every reason, counter and log term the catalogue speaks of."""
    entry = catalogue()[cause]
    known = {name.lower() for name in words()}
    named = (*entry.kernel_reasons, *entry.drop_reasons, *entry.log_terms)
    assert {n for n in named if n.lower() not in known} == set()
