"""The firewall rules of a network namespace that can make or drop a RST.

The question is the namespace's inode number, the answer as enrich.firewall.to_json has it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsttrace.enrich.answers import limit
from rsttrace.enrich.answers.namespaces import problem_of_entering
from rsttrace.enrich.firewall import Firewall, to_json


def answer(inode: Any) -> dict[str, Any]:
    """The rules as they are now."""
    from rsttrace.enrich.rulesets import collect

    problem = problem_of_entering(int(inode))
    if problem:
        return to_json(Firewall(problem=problem))
    legacy = {"ip": _has_legacy("ip_tables_names"), "ip6": _has_legacy("ip6_tables_names")}
    try:
        return to_json(collect(_run, has_nf_tables(), legacy))
    except MemoryError:
        return to_json(Firewall(problem="the ruleset is too large"))


def _has_legacy(name: str) -> bool:
    try:
        return bool(Path("/proc/self/net", name).read_text().strip())
    except OSError:
        return False


def has_nf_tables(modules: str = "/lib/modules") -> bool:
    """Asking nft loads the kernel's nf_tables; where it is not loaded there are no rules."""
    if os.path.exists("/sys/module/nf_tables"):
        return True
    try:
        built_in = Path(modules, os.uname().release, "modules.builtin").read_text()
    except OSError:
        return True  # no modules at all
    return "/nf_tables.ko" in built_in


def _run(argv: Sequence[str]) -> str:
    """The output of a command that shows rules; no shell, no input, a known environment."""
    import subprocess

    from rsttrace.enrich.broker import ENVIRONMENT
    from rsttrace.enrich.rulesets import CommandFailed

    try:
        done = subprocess.run(
            argv,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit.left(),
            check=False,
        )
    except FileNotFoundError as err:
        raise CommandFailed(f"{argv[0]} is not installed") from err
    except subprocess.TimeoutExpired as err:
        raise CommandFailed(f"{argv[0]} took too long") from err
    except OSError as err:
        raise CommandFailed(f"{argv[0]}: {err.strerror}") from err
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise CommandFailed(f"{argv[0]}: {words[0] if words else 'failed'}")
    return done.stdout.decode(errors="replace")
