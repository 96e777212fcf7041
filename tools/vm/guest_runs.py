"""Boot test guests, run the labs in each, keep what they say in CACHE/results/GUEST.jsonl.

The guests are those of ``tools/vm/guests``, and ``host``: this machine's own kernel (as root, and
without the labs that change a limit of the whole host).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = Path(os.environ.get("RSTTRACE_VM_CACHE") or ROOT / ".venv" / "vm")
RESULTS = CACHE / "results"
HOST = "host"
VERDICTS = ("right", "weaker", "WRONG", "skipped")
# in s. A guest that has two processors for itself needs about five minutes.
GUEST_LIMIT_S = 1500
OUTER_LIMIT_S = GUEST_LIMIT_S + 120
LOG_TAIL = 15
ROWS = "rows.jsonl"
DIED = 125
BEGAN = "the guest is up"
# Patching its own code, a kernel with several processors now and then dies in an emulator before
# it is up; with one it does not. That is no result: try again. Two guests have two processors.
BOOTS = 3
CPUS = "1"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """What a guest said. ``problem``: why it did not come to its end; ``left_out``: why not run.

    ``image``: Debian packages of its root, by name; empty for the host.
    """

    guest: str
    facts: Row = field(default_factory=dict)
    image: Mapping[str, str] = field(default_factory=dict)
    labs: tuple[Row, ...] = ()
    commands: tuple[Row, ...] = ()
    seconds: float = 0.0
    problem: str = ""
    left_out: str = ""

    def lab(self, name: str, family: str) -> Row | None:
        """The row of a lab; None if the guest did not get that far."""
        return next((r for r in self.labs if (r["lab"], r["family"]) == (name, family)), None)

    def command(self, word: str) -> Row | None:
        """The row of ``rsttrace WORD``."""
        return next((r for r in self.commands if r["argv"][0] == word), None)


def table(text: str | None = None) -> dict[str, str]:
    """The userland of each guest, in the order of the table."""
    text = (HERE / "guests").read_text() if text is None else text
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {guest: userland for guest, userland, _, _ in rows}


def chosen(words: str) -> tuple[str, ...]:
    """The guests that these words name; all (the host first, if root) for none.

    ValueError for a name that is not in the table.
    """
    known = (HOST, *table())
    names = tuple(words.split())
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no such guest: {', '.join(unknown)}. There are: {', '.join(known)}")
    return names or (known if os.geteuid() == 0 else known[1:])


def read(guest: str, results: Path = RESULTS) -> Result | None:
    """What the guest said when it ran last; None if it never did."""
    try:
        lines = (results / f"{guest}.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return None
    rows = [json.loads(line) for line in lines]
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(row["row"], []).append(row)
    (first, *_), ends = kinds["guest"], kinds.get("end", [])
    return Result(
        guest=guest,
        facts=next(iter(kinds.get("facts", [])), {}),
        image=first["image"],
        labs=tuple(kinds.get("lab", ())),
        commands=tuple(kinds.get("command", ())),
        seconds=ends[-1]["seconds"] if ends else 0.0,
        problem=first["problem"],
    )


def run(guest: str, environment: Mapping[str, str] = os.environ, results: Path = RESULTS) -> Result:
    """Build the guest's image if need be, run it to its end, keep and return what it said."""
    out = results / f"{guest}.out"
    out.mkdir(parents=True, exist_ok=True)
    rows, log = out / ROWS, results / f"{guest}.log"
    rows.unlink(missing_ok=True)
    image: dict[str, str] = {}
    env = {"VM_CPUS": CPUS, **environment, "PYTHONPATH": str(ROOT), "VM_OUT": str(out)}
    with log.open("w") as logged:
        try:
            argv, image = command_for(guest, rows, logged)
            code = _boot(argv, {**env, "VM_TIMEOUT": str(OUTER_LIMIT_S)}, logged)
        except subprocess.CalledProcessError as err:
            code = err.returncode
    said = rows.read_text() if rows.exists() else ""
    ended = '"row": "end"' in said and not code
    problem = "" if ended else f"exit status {code}; {log} ends with:\n{_tail(log)}"
    first = {"row": "guest", "image": image, "problem": problem}
    (results / f"{guest}.jsonl").write_text(json.dumps(first) + "\n" + said)
    if os.geteuid() == 0:  # under sudo: the checkout's owner
        subprocess.run(["chown", "-R", f"--reference={ROOT}", results], check=False)
    found = read(guest, results)
    assert found is not None
    return found


def command_for(guest: str, rows: Path, log: Any) -> tuple[list[str], dict[str, str]]:
    """What runs the labs in this guest, and the packages of its image."""
    if guest == HOST:
        half = ["--half"] * half_asked()
        return [sys.executable, str(HERE / "in_guest.py"), "--gently", *half, str(rows)], {}
    directory, kernel = build(guest, log)
    command = in_guest(GUEST_LIMIT_S, half_asked())
    return [str(HERE / "run.sh"), str(directory), kernel, command], versions(directory)


def half_asked(environment: Mapping[str, str] = os.environ) -> bool:
    """Is each lab to be run in one family only (RSTTRACE_VM_HALF)?"""
    return bool(environment.get("RSTTRACE_VM_HALF"))


def in_guest(limit_s: int, half: bool = False) -> str:
    """The guest's command: stopped in time to bring home what it has said until then."""
    modules = f"echo {BEGAN}; modprobe -q br_netfilter"  # a lab with a bridge needs it
    program = f"python3 tools/vm/in_guest.py {'--half ' * half}out/{ROWS}"
    return f"{modules}; PYTHONPATH=. timeout -k 10 {limit_s} {program}"


def build(guest: str, log: Any) -> tuple[Path, str]:
    """Directory of the image, and kernel release; CalledProcessError if it cannot be built."""
    argv = [str(HERE / "build.sh"), guest]
    told = subprocess.run(argv, stdout=subprocess.PIPE, stderr=log, text=True, check=True).stdout
    _, directory, kernel = told.split()
    return Path(directory), kernel


def versions(directory: Path) -> dict[str, str]:
    """Debian packages of an image; the kernels are named by the guest itself."""
    lines = (line.split() for line in (directory / "versions").read_text().splitlines())
    return {words[0]: words[1] for words in lines if words[0] != "kernel"}


def _boot(argv: list[str], env: Mapping[str, str], log: Any) -> int:
    """The exit status; tried again when the guest died before it was up."""
    code = DIED
    for _ in range(BOOTS):
        code = subprocess.run(
            argv,
            env=dict(env),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
        ).returncode
        if code != DIED or BEGAN in Path(log.name).read_text(errors="replace"):
            break
    return code


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL:])


def has_time(spent_s: float, longest_s: float, budget_s: float) -> bool:
    """May one more guest begin, if it takes as long as the longest until now?"""
    return not budget_s or spent_s + longest_s <= budget_s


@dataclass
class Runs:
    """Runs of some guests, ``jobs`` at a time; the first ``required`` ones whatever the time.

    ``budget_s``: no other one begins that would not end within this time; 0: no limit.
    """

    guests: tuple[str, ...]
    jobs: int = 1
    required: int = 0
    budget_s: float = 0.0
    run: Callable[[str], Result] = run
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._longest_s = 0.0
        self._began = self.clock()
        self._pool = ThreadPoolExecutor(self.jobs)
        self._futures: dict[str, Future[Result]] = {}
        for index, guest in enumerate(self.guests):
            self._futures[guest] = self._pool.submit(self._one, guest, index < self.required)
            if guest == HOST:  # its timing must not suffer from guests beside it
                self._futures[guest].exception()

    def _one(self, guest: str, required: bool) -> Result:
        began = self.clock()
        with self._lock:
            longest_s = self._longest_s
        if not required and not has_time(began - self._began, longest_s, self.budget_s):
            return Result(guest, left_out=f"no time left of {self.budget_s:.0f} s")
        try:
            return self.run(guest)
        finally:
            with self._lock:
                self._longest_s = max(self._longest_s, self.clock() - began)

    def result(self, guest: str) -> Result:
        """Wait for a guest's result."""
        return self._futures[guest].result()

    def done(self) -> list[Result]:
        """The results there are."""
        ended = (f for f in self._futures.values() if f.done() and not f.cancelled())
        return [future.result() for future in ended if not future.exception()]

    def close(self) -> None:
        """Begin no other guest."""
        self._pool.shutdown(cancel_futures=True)


def stored(guests: Iterable[str], results: Path = RESULTS) -> list[Result]:
    """The kept results of these guests, of those that have one."""
    return [found for guest in guests if (found := read(guest, results))]


def verdicts(result: Result) -> dict[str, int]:
    """How many labs ended in which way; all four words are there."""
    ended = Counter(str(row["verdict"]) for row in result.labs)
    return {word: ended[word] for word in VERDICTS}


def summary(results: Iterable[Result]) -> list[str]:
    """A table for people: a line for each guest."""
    rows = []
    for result in results:
        facts = result.facts
        versions = [str(facts.get(key, "")) for key in ("kernel", "bcc", "python")]
        seconds = f"{result.seconds:.0f} s" if result.seconds else ""
        remark = result.left_out or result.problem.partition(";")[0]
        rows.append([result.guest, *versions, *verdicts(result).values(), seconds, remark])
    return tabulate(rows, ("guest", "kernel", "bcc", "python", *VERDICTS, "", "")).splitlines()
