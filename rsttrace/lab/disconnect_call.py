"""An application calls connect(AF_UNSPEC) on a live connection.

For TCP that call dissolves the association: ``__inet_stream_connect`` calls ``tcp_disconnect``,
which resets the peer and leaves the file descriptor open for another connect(). The reason is
TCP_STATE; only ``tcp_disconnect < __inet_stream_connect`` in the stack tells this from a close.
"""

from __future__ import annotations

import ctypes
import os

from rsttrace.lab.base import Expect, Lab, LabError, received

CAUSE = "disconnect-call"
EXPECT = (
    Expect("sent", "disconnect-call", end="server", facts={"state_before": "ESTABLISHED"}),
    received("peer-reset", "ESTABLISHED", "ECONNRESET"),
)


def run(lab: Lab) -> None:
    client, server = lab.pair()
    nowhere = bytes(16)  # a struct sockaddr whose family is AF_UNSPEC, 0
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.connect(server.fileno(), nowhere, len(nowhere)) != 0:
        raise LabError(f"connect(AF_UNSPEC): {os.strerror(ctypes.get_errno())}")
    lab.wait_reset(client)
