"""A second SYN reaches a TCP Fast Open connection whose handshake is not complete.

With Fast Open the data in the SYN makes a full socket at once (SYN_RECV), which the application may
have accepted already. ``tcp_check_req``, called by ``tcp_rcv_state_process``, answers a SYN with
another number, but within the window, by a RST (INVALID_SYN), and leaves the connection alone: it
might be meant to break it. The client is hand-made, so that it says nothing itself.
"""

from __future__ import annotations

from rsttrace.lab import tcp
from rsttrace.lab.base import Expect, Lab, LabError
from rsttrace.lab.blind_reset_rejected import deliver

CAUSE = "fastopen-reset"
EXPECT = (
    Expect("sent", CAUSE, end="server", state="SYN_RECV"),
    Expect("rejected", "reset-no-socket", end="client"),
)
PORT, START = 40001, 0x30000000
TFO_SERVER_WITHOUT_COOKIE = 0x2 | 0x200 | 0x400


def run(lab: Lab) -> None:
    lab.sysctl("server", "net.ipv4.tcp_fastopen", str(TFO_SERVER_WITHOUT_COOKIE))
    listener = lab.listen()
    port = listener.getsockname()[1]
    # otherwise the client's kernel would reset the connection that it does not know
    lab.firewall("client", "input", "tcp flags & syn == syn drop")
    lab.send_segment("client", (PORT, port), tcp.SYN, START, 0, b"early data\n")
    server = lab.accept(listener)
    deliver(lab, "client", (PORT, port), tcp.SYN, START + 100)
    lab.wait_for(lambda: lab.out_rsts("server") == 1, "the RST")
    if tcp.info(server).state != "SYN_RECV" or server.recv(100) != b"early data\n":
        raise LabError("the connection must live on")
