"""Advice that fits: a verdict's remedies with the values of this host in them. Pure.

``wants`` says what to ask the host for a cause, ``advise`` puts the answer to use. The cause, the
confidence and the summary never change here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rsttrace.advice import known_software
from rsttrace.advice.fit import Fit
from rsttrace.advice.fits import advisers
from rsttrace.causes import catalogue
from rsttrace.causes.case import UNKNOWN, Case
from rsttrace.enrich.place import Place
from rsttrace.explain import Verdict
from rsttrace.model import RECEIVED
from rsttrace.output import printable

# what a Place can tell, and how a person calls it
SOURCES = {
    "settings": "the kernel's settings",
    "sockets": "who listens there and the socket's state",
    "path": "the route to the other end",
    "peer": "whether the other end is on this host",
    "conntrack": "the connection tracking entry",
}
NOT_IN_USE = "connection tracking "  # is not loaded, follows nothing: then there is no entry
USER_FRAMES = 8
BEFORE = "too many resets to ask after each"


def wants(cause: str) -> tuple[str, ...]:
    """Which sources to ask for this cause, by name; none for one without advice.

    Nothing is to be asked for a verdict that is benign.
    """
    entry, adviser = catalogue().get(cause), advisers().get(cause)
    names = {*(adviser.wants if adviser else ())}
    if entry and entry.settings:
        names.add("settings")
    return tuple(name for name in SOURCES if name in names)


def advise(case: Case, verdict: Verdict) -> Verdict:
    """The verdict with remedies that fit this host, what they rest on, and the settings."""
    called = _called_by(case)
    if verdict.benign or verdict.confidence == UNKNOWN:
        return replace(verdict, evidence=_joined(verdict.evidence, called))
    place = since(case.facts.place or Place(), case.reset.time_ns)
    settings = _settings(verdict.cause, place)
    if from_sender(case, verdict):
        # its own settings: of a proxy, for example, which upstream it asks
        rejected = case.sender is not None and case.sender.cause == "firewall-reject"
        own = () if rejected else known_software.remedies(case, verdict.cause)
        return replace(
            verdict,
            evidence=_joined(verdict.evidence, called),
            remedies=_joined(own, verdict.remedies),
            settings=settings,
        )
    fit = _fit(case, verdict.cause, place)
    if verdict.suppressed_cause:
        fit = _with_inner(case, fit, verdict.suppressed_cause, place)
    known = known_software.remedies(case, verdict.cause)
    fitting = (*known, *fit.remedies) if fit.in_code else (*fit.remedies, *known)
    remedies = (*fitting, *_general(fit, verdict.remedies))
    return replace(
        verdict,
        evidence=_joined(verdict.evidence, called, fit.evidence, _not_known(verdict.cause, place)),
        remedies=_joined(remedies),
        settings=settings,
    )


def since(place: Place, time_ns: int) -> Place:
    """In a flood an answer of a moment before may serve: what changes quickly is not known then."""
    if not 0 < place.time_ns < time_ns:
        return place
    old = {name: BEFORE for name in ("sockets", "conntrack") if getattr(place, name) is not None}
    return replace(place, sockets=None, conntrack=None, problems={**place.problems, **old})


def from_sender(case: Case, verdict: Verdict) -> bool:
    """Are the remedies those of the end that reset? They were made to fit there already."""
    sender = case.sender
    if sender is None or case.reset.direction != RECEIVED:
        return False
    return verdict.remedies == sender.remedies


def _fit(case: Case, cause: str, place: Place) -> Fit:
    adviser = advisers().get(cause)
    return (adviser.ask(case, place) if adviser else None) or Fit()


def _with_inner(case: Case, fit: Fit, cause: str, place: Place) -> Fit:
    """A reset that the own firewall dropped also had a cause: the first thing to do about that."""
    inner = catalogue()[cause]
    if inner.benign:
        return fit
    first = (_fit(case, cause, place).remedies or inner.remedies)[0]
    settles = (*fit.settles, "remove the cause that TCP wanted to reset for")
    return replace(fit, remedies=(*fit.remedies, first), settles=settles)


def _general(fit: Fit, remedies: tuple[str, ...]) -> tuple[str, ...]:
    """Those that the fit leaves open; all of them if nothing else were left to do."""
    if fit.instead and fit.remedies:
        return ()
    left = tuple(r for r in remedies if not any(text in r for text in fit.settles))
    return left if left or fit.remedies else remedies


def _settings(cause: str, place: Place) -> tuple[tuple[str, str], ...]:
    names = catalogue()[cause].settings
    return tuple((name, place.settings[name]) for name in names if name in place.settings)


def _not_known(cause: str, place: Place) -> tuple[str, ...]:
    """One text for each reason."""
    whats: dict[str, list[str]] = {}
    for name in wants(cause):
        reason = place.problems.get(name, "")
        if reason and not reason.startswith(NOT_IN_USE):
            whats.setdefault(reason, []).append(SOURCES[name])
    return tuple(f"not known: {', '.join(what)} ({why})" for why, what in whats.items())


def _called_by(case: Case) -> tuple[str, ...]:
    """The application's own stack, where it acted itself."""
    frames = case.facts.user_frames[:USER_FRAMES]
    if not frames or not case.reset.active:
        return ()
    return (f"called by {' < '.join(frames)}",)


def _joined(*parts: Iterable[str]) -> tuple[str, ...]:
    """All texts in order, none twice, none that could command a terminal."""
    return tuple({printable(text): None for part in parts for text in part if text})
