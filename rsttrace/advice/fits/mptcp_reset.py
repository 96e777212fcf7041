"""MPTCP's settings of this namespace, and the limit that refused a path."""

from __future__ import annotations

from rsttrace.advice.commands import inside, line, sysctl
from rsttrace.advice.fit import Fit
from rsttrace.causes.case import Case
from rsttrace.enrich.place import Place

CAUSE = "mptcp-reset"
WANTS = ()
ENABLED, CLOSE_TIMEOUT = "net.mptcp.enabled", "net.mptcp.close_timeout"
CLOSING = ("mptcp_close", "__mptcp_close", "mptcp_disconnect")


def fit(case: Case, place: Place) -> Fit | None:
    """The rule's own remedies are by what was done; here is where to look."""
    reason, reset = case.reset.reason or "", case.reset
    if reason == "MPTCP_RST_EPROHIBIT":
        look = line("ip", "mptcp", "limits", "show")
        raise_it = "ip mptcp limits set subflow 8 add_addr_accepted 8"
        remedies = (
            inside(case, look, "subflow: how many more paths"),
            inside(case, raise_it, "if it is too few"),
        )
        return Fit(remedies, settles=("if the path is wanted",))
    evidence: list[str] = []
    seconds = place.number(CLOSE_TIMEOUT)
    waited = reset.in_stack("mptcp_do_fastclose") and not reset.in_stack(*CLOSING)
    if seconds is not None and waited:
        evidence.append(f"{CLOSE_TIMEOUT} is {seconds} s there")
    if reason.startswith("MPTCP_RST_") and place.number(ENABLED) == 1:
        why = "for plain TCP in new connections, if paths only make trouble"
        look = inside(case, "nstat -az 'MPTcpExt*'", "what is wrong with paths")
        return Fit((look, sysctl(case, ENABLED, 0, why)))
    return Fit((), tuple(evidence)) if evidence else None
