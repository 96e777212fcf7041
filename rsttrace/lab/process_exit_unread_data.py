"""A process ends while one of its sockets holds unread bytes.

``do_exit`` closes all files; for the socket that is the same ``__tcp_close`` and the same RST as in
unread-data-on-close. What differs is the reason why it was closed: ``do_exit`` is in the kernel
stack, ``current->exit_code`` holds the signal or the exit status, and there is no user stack left.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable

from rsttrace.lab.base import Expect, Lab
from rsttrace.lab.tcp import settle, wait_readable
from rsttrace.lab.unread_data_on_close import EXPECT as UNREAD_EXPECT
from rsttrace.lab.unread_data_on_close import UNREAD

CAUSE = "process-exit-unread-data"
EXPECT = (
    Expect("sent", CAUSE, end="server", facts=UNREAD_EXPECT[0].facts),
    UNREAD_EXPECT[1],
)


def serve(lab: Lab, last_act: Callable[[], object], kill: int = 0) -> None:
    """A server process accepts, leaves 312 bytes unread, says so with one byte, and ends."""
    listener = lab.listen()

    def process() -> None:
        server, _ = listener.accept()
        wait_readable(server, UNREAD)
        server.sendall(b"r")
        settle(server)
        last_act()

    pid = lab.spawn("server", process)
    client = lab.connect(listener)
    client.sendall(b"u" * UNREAD)
    lab.wait_readable(client)
    client.recv(1)
    lab.settle(client)
    if kill:
        os.kill(pid, kill)
    lab.wait_reset(client)


def killed(lab: Lab) -> None:
    """The process is killed from outside (SIGKILL, as the OOM killer or an impatient init do)."""
    serve(lab, signal.pause, kill=signal.SIGKILL)


def exited(lab: Lab) -> None:
    """The process calls exit(3) without reading the rest."""
    serve(lab, lambda: os._exit(3))


def crashed(lab: Lab) -> None:
    """The process dies of SIGSEGV."""

    def crash() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)

    serve(lab, crash)


VARIANTS = {"killed": (EXPECT, killed), "exited": (EXPECT, exited), "crashed": (EXPECT, crashed)}
