"""The commands that show, pass by or delete the very rule that rejected."""

from __future__ import annotations

from rsttrace.advice.fit import Fit
from rsttrace.advice.rulecommands import blamed, commands, remedies
from rsttrace.causes.case import Case
from rsttrace.causes.netfilter import rejecting
from rsttrace.enrich.place import Place
from rsttrace.packet import ACK, SYN

CAUSE = "firewall-reject"
WANTS = ()
TRACKED = ("input", "forward", "output")  # hooks where the connection's state is known for sure


def fit(case: Case, _place: Place) -> Fit | None:
    """Only for the one rule that it was; of several each could be the wrong one."""
    rule = blamed(case, rejecting(case))
    if rule is None:
        return None
    flow = case.reset.flow
    if _is_new(case):
        word = "ip6" if flow.family == 6 else "ip"
        to = f"{word} saddr {flow.remote} {word} daddr {flow.local}"
        nft = f"{to} tcp dport {flow.lport} accept"
        xtables = f"-p tcp -s {flow.remote} -d {flow.local} --dport {flow.lport}"
        allow = f"if wanted: lets {flow.remote} connect to {case.local}, nobody else"
    else:
        tracks = rule.hook in TRACKED
        nft = "ct state established,related accept" if tracks else ""
        xtables = "-m conntrack --ctstate ESTABLISHED,RELATED" if tracks else ""
        allow = "lets connections go on that were allowed to begin"
    found = commands(rule, nft, xtables)
    if found is None:
        return None
    costs = "opens what it rejects to everybody"
    return Fit(
        remedies(case, rule, found, allow, costs),
        settles=("if the traffic is wanted", "established connections hit"),
    )


def _is_new(case: Case) -> bool:
    """As in the rule of this cause: a bare RST answers a segment with ACK."""
    segment, made = case.reset.trigger, case.reset.packet
    return segment.has(SYN) if segment else bool(made is None or made.has(ACK))
