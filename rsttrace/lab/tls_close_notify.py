"""A TLS close_notify alert arrives after the application has closed: harmless everyday noise.

One side closes its socket at once; the other answers the FIN with its own TLS goodbye, a record
of 7 bytes (``15 03 03 00 02`` and the alert ``01 00``). For the kernel that is data after close,
and it resets exactly as in data-after-close. Nothing is lost; only the payload of the segment that
provoked the RST shows that this one does not matter.
"""

from __future__ import annotations

from rsttrace.lab import data_after_close as parent
from rsttrace.lab.base import Expect, Lab

CAUSE = "tls-close-notify"
CLOSE_NOTIFY = bytes.fromhex("15 0303 0002 0100")
EXPECT = (Expect("sent", "tls-close-notify", end="server"), parent.EXPECT[1])


def fin_wait2(lab: Lab) -> None:
    """The server has closed; the client's close_notify meets the FIN_WAIT2 timewait socket."""
    parent.fin_wait2(lab, CLOSE_NOTIFY)


def shutdown_both(lab: Lab) -> None:
    """The server called shutdown(SHUT_RDWR) and still holds the descriptor."""
    parent.shutdown_both(lab, CLOSE_NOTIFY)


VARIANTS = {"fin-wait2": (EXPECT, fin_wait2), "shutdown-both": (EXPECT, shutdown_both)}
