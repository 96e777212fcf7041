"""The commands that show, pass by or delete the very rule that rejected."""

from __future__ import annotations

from rsttrace.advice.fit import Fit
from rsttrace.advice.rulecommands import blamed, commands, remedies
from rsttrace.causes.case import Case
from rsttrace.causes.netfilter import rejecting
from rsttrace.enrich.firewall import Rule
from rsttrace.enrich.place import Place
from rsttrace.packet import ACK, SYN

CAUSE = "firewall-reject"
WANTS = ()
TRACKED = ("input", "forward", "output")  # hooks where the connection's state is known for sure
TRANSLATED = ("forward", "output", "postrouting")  # what comes there may have passed DNAT
INNER = (
    "if wanted: accept it before that rule; behind NAT the rule sees the inner address: look it up "
    "with conntrack -L or nft list ruleset"
)


def fit(case: Case, _place: Place) -> Fit | None:
    """Only for the one rule that it was; of several each could be the wrong one."""
    rule = blamed(case, rejecting(case))
    if rule is None:
        return None
    flow, inner = case.reset.flow, tuple[str, ...]()
    if _is_new(case):
        word = "ip6" if flow.family == 6 else "ip"
        to = f"{word} saddr {flow.remote} {word} daddr {flow.local}"
        nft = f"{to} tcp dport {flow.lport} accept"
        xtables = f"-p tcp -s {flow.remote} -d {flow.local} --dport {flow.lport}"
        allow = f"if wanted: lets {flow.remote} connect to {case.local}, nobody else"
        if not _addresses_are_the_rules(case, rule):
            nft, xtables, inner = "", "", (INNER,)
    else:
        tracks = rule.hook in TRACKED
        nft = "ct state established,related accept" if tracks else ""
        xtables = "-m conntrack --ctstate ESTABLISHED,RELATED" if tracks else ""
        allow = "lets connections go on that were allowed to begin"
    found = commands(rule, nft, xtables)
    if found is None:
        return None
    costs = "opens what it rejects to everybody"
    show, *change = remedies(case, rule, found, allow, costs)
    return Fit(
        (show, *inner, *change),
        settles=("if the traffic is wanted", "established connections hit"),
    )


def _addresses_are_the_rules(case: Case, rule: Rule) -> bool:
    """Surely if the segment was seen when the rule dropped it; the RST has the outer ones again."""
    dropped = case.reset.trigger_drop
    return bool(dropped and dropped.packet) or rule.hook not in TRANSLATED


def _is_new(case: Case) -> bool:
    """As in the rule of this cause: a bare RST answers a segment with ACK."""
    segment, made = case.reset.trigger, case.reset.packet
    return segment.has(SYN) if segment else bool(made is None or made.has(ACK))
