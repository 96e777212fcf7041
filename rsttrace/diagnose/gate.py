"""A child process that is made early and waits until the trace is on.

It is forked before the compiler runs and before rights are given up, so it inherits nothing of
either. It says what it has to say as lines of JSON, and ends by itself when its gate is shut: this
process ended, or wants it to end and has no right any more to kill it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

Tell = Callable[[dict[str, Any]], None]
Wait = Callable[[], None]
# what it does with both: tell(object) to say something, wait() until it may go on
Life = Callable[[Tell, Wait], None]

IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
END_SECONDS, BREATH_SECONDS = 1.0, 0.005
BYTES = 65536


class Child:
    """The parent's side."""

    def __init__(self, life: Life, held: bool = False) -> None:
        """``held``: it ends when the gate is shut also after it was let go."""
        self._held = held
        go_read, self._go = os.pipe()
        self._said, said_write = os.pipe()
        self._text = b""
        self.closed = False  # it will not say any more
        self.status: int | None = None  # as subprocess has it
        self.ended = False
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._go)  # or it would not see that the parent is gone
            os.close(self._said)
            _live(life, go_read, said_write, held)
        os.close(go_read)
        os.close(said_write)

    def go(self) -> None:
        """Let it go on."""
        if self._go >= 0:
            with contextlib.suppress(OSError):
                os.write(self._go, b"g")
            if not self._held:
                self._close_gate()

    def _close_gate(self) -> None:
        if self._go >= 0:
            os.close(self._go)
            self._go = -1

    def hear(self, wait_s: float | None = 0) -> list[dict[str, Any]]:
        """What it said since the last time; wait so long for something (None: for ever)."""
        if self.closed or not select.select([self._said], [], [], wait_s)[0]:
            return []
        raw = os.read(self._said, BYTES)
        self.closed = not raw
        *lines, self._text = (self._text + raw).split(b"\n")
        return [json.loads(line) for line in lines]

    def poll(self) -> bool:
        """Has it ended?"""
        if not self.ended:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # SIGCHLD is ignored: nobody knows how it ended
                self.ended = True
                return True
            if pid:
                self.ended, self.status = True, os.waitstatus_to_exitcode(status)
        return self.ended

    def leave(self) -> None:
        """Shut the gate and wait for one that ends by that; any other is left alone."""
        waits = self._go >= 0
        self._close_gate()
        until = time.monotonic() + END_SECONDS
        while waits and not self.poll() and time.monotonic() < until:
            time.sleep(BREATH_SECONDS)


def _live(life: Life, go_read: int, said_write: int, held: bool) -> NoReturn:
    """The child's whole life."""
    code = 1
    try:
        _plain_signals()

        def tell(what: dict[str, Any]) -> None:
            os.write(said_write, json.dumps(what).encode() + b"\n")

        def wait() -> None:
            if not os.read(go_read, 1):
                os._exit(0)
            if held:
                threading.Thread(target=_until_shut, args=(go_read,), daemon=True).start()

        try:
            life(tell, wait)
            code = 0
        except Exception as err:
            tell({"problem": f"{type(err).__name__}: {err}.", "hint": ""})
    finally:
        os._exit(code)


def _until_shut(go_read: int) -> None:
    os.read(go_read, 1)
    os._exit(0)  # whatever the other thread waits for


def _plain_signals() -> None:
    """As a program expects them; what our own caller made us ignore (nohup) stays ignored."""
    for number in IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
