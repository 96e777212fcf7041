"""An administrator kills a connection from outside with ``ss -K`` (SOCK_DESTROY).

``tcp_diag_destroy`` calls ``tcp_abort``: the owner of the socket gets ECONNABORTED, the peer a RST.
The task on the CPU is the killer, not the owner, and unlike in a close the state in the trace is
still the original one. The reason is TCP_STATE; ``tcp_abort`` in the stack decides.
"""

from __future__ import annotations

import errno

from rsttrace.lab.base import Expect, Lab, LabSkip, received
from rsttrace.lab.tcp import info, must_fail

CAUSE = "admin-destroyed"
EXPECT = (
    Expect("sent", "admin-destroyed", end="server", state="ESTABLISHED"),
    received("peer-reset", "ESTABLISHED", "ECONNRESET"),
)


def run(lab: Lab) -> None:
    client, server = lab.pair()
    port = server.getsockname()[1]
    lab.run("server", "ss", "-K", "-t", "-n", "state", "established", "sport", "=", f":{port}")
    if info(server).state == "ESTABLISHED":
        raise LabSkip("this kernel cannot destroy sockets (CONFIG_INET_DIAG_DESTROY is not set).")
    must_fail(errno.ECONNABORTED, server.recv, 1)
    lab.wait_reset(client)
