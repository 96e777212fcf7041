"""Where the time between start and ready goes: a run of rsttrace with a clock at each step.

``timeline.py`` alone runs one trace and prints its steps as JSON, one object per line. It
wraps functions of rsttrace by name; one that is gone is left out.
"""

from __future__ import annotations

import builtins
import importlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# module, attribute (dotted for a method), name of the step; these modules are small, so that
# importing them first does not change the order of the rest
STEPS = (
    ("rsttrace.kernel.loader", "import_bcc", "import bcc (dlopen of LLVM)"),
    ("rsttrace.kernel.loader", "probe", "BTF"),
    ("rsttrace.kernel.loader", "Kernel._load", "compile, load, attach"),
    ("rsttrace.kernel.symbols", "Symbols.load", "kallsyms"),
    ("rsttrace.kernel.reader", "Reader", "open the perf buffers"),
    ("rsttrace.kernel.memory", "release_compiler_memory", "release the compiler's memory"),
)
IMPORTS = ("rsttrace.session", "rsttrace.cli.show", "rsttrace.tracing")
COMPILE = "bpf_module_create_c_from_string"


class Clock:
    """Steps with the time they ended, took, and used the CPU for (their own thread)."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self._start = time.monotonic()

    def took(self, name: str, since: float, cpu: float) -> None:
        """Note a step that ends now."""
        now = time.monotonic()
        self.steps.append(
            {
                "name": name,
                "at_ms": (now - self._start) * 1e3,
                "wall_ms": (now - since) * 1e3,
                "cpu_ms": (time.thread_time() - cpu) * 1e3,
            }
        )

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        """Time every call of ``owner.attribute``."""
        function = getattr(owner, attribute, None)
        if function is None:
            return

        def timed(*args: Any, **kwargs: Any) -> Any:
            since, cpu = time.monotonic(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.took(name, since, cpu)

        setattr(owner, attribute, timed)


def _time_compiler(clock: Clock) -> None:
    """The compiler alone is one call into libbcc, made by bcc as ``lib.NAME(...)``."""
    bcc = sys.modules["bcc"]
    real = bcc.lib  # type: ignore[attr-defined]

    class Library:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    library = Library()
    setattr(library, COMPILE, getattr(real, COMPILE))
    clock.wrap(library, COMPILE, "  of it: compile")
    bcc.lib = library  # type: ignore[attr-defined]


def _time_imports(clock: Clock) -> None:
    """The modules that the command imports by itself, each with what it pulls in."""
    real = builtins.__import__

    def timed(name: str, *args: Any, **kwargs: Any) -> Any:
        if name not in IMPORTS or name in sys.modules:
            return real(name, *args, **kwargs)
        since, cpu = time.monotonic(), time.thread_time()
        try:
            return real(name, *args, **kwargs)
        finally:
            clock.took(f"import {name}", since, cpu)

    builtins.__import__ = timed


def trace_once(ready: str) -> None:
    """Run a short trace in this process and print the steps."""
    clock = Clock()
    clock.took("Python itself (CPU only)", time.monotonic(), 0.0)
    since, cpu = time.monotonic(), time.thread_time()
    commands = importlib.import_module("rsttrace.cli")
    importlib.import_module("rsttrace.cli.trace")
    clock.took("import click, rsttrace.cli", since, cpu)
    for module, attribute, name in STEPS:
        owner = importlib.import_module(module)
        *path, last = attribute.split(".")
        for part in path:
            owner = getattr(owner, part, None)
        clock.wrap(owner, last, name)
    loader = sys.modules["rsttrace.kernel.loader"]
    import_bcc = loader.import_bcc  # type: ignore[attr-defined]

    def import_and_time() -> Any:
        module = import_bcc()
        _time_compiler(clock)
        return module

    loader.import_bcc = import_and_time  # type: ignore[attr-defined]
    _time_imports(clock)
    write_text = Path.write_text

    def write_and_note(path: Path, *args: Any, **kwargs: Any) -> int:
        if str(path) == ready:
            clock.took("READY", time.monotonic(), time.thread_time())
        return write_text(path, *args, **kwargs)

    Path.write_text = write_and_note  # type: ignore[method-assign]
    commands.run(["-q", "-d", "0.01", "--ready-file", ready])
    for step in clock.steps:
        print(json.dumps({"step": step}), flush=True)


def median_steps(place: Path, rounds: int) -> list[dict[str, Any]]:
    """The steps of several fresh processes, each with its median times, in order."""
    import procs

    seen: dict[str, list[dict[str, float]]] = {}
    argv = [procs.SYSTEM_PYTHON, __file__, place / "timeline.ready"]
    for _ in range(rounds):
        with procs.running(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            output = process.communicate()[0].decode()
        for line in output.splitlines():
            if line.startswith('{"step"'):
                step = json.loads(line)["step"]
                seen.setdefault(step["name"], []).append(step)
    return [
        {
            "name": name,
            **{
                key: statistics.median(s[key] for s in steps)
                for key in ("at_ms", "wall_ms", "cpu_ms")
            },
        }
        for name, steps in seen.items()
    ]


if __name__ == "__main__":
    trace_once(sys.argv[1])
