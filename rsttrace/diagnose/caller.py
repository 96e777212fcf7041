"""The user who called sudo: a command under diagnosis runs as that user, not as root."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

from rsttrace.errors import EXIT_USAGE, RsttraceError

OF_SUDO = ("SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND")
IDS = range(1, 2**32 - 1)


@dataclass(frozen=True)
class Caller:
    """Numbers and names as passwd(5) and group(5) have them; the names may be empty."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str = ""
    home: str = ""
    shell: str = ""


def find_caller(environ: Mapping[str, str] = os.environ) -> Caller | None:
    """Who called sudo; None if nobody did, or root: then a command runs as this process does."""
    if os.geteuid() != 0 or environ.get("SUDO_UID", "0") == "0":
        return None
    said = [environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID")]
    if not all(text.isascii() and text.isdigit() and int(text) in IDS for text in said):
        raise RsttraceError(
            f"SUDO_UID and SUDO_GID are {said[0]!r} and {said[1]!r}, which is no user.",
            "To run the command as root say --as-root.",
            EXIT_USAGE,
        )
    uid, gid = map(int, said)
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return Caller(uid, gid, (gid,))
    groups = tuple(os.getgrouplist(user.pw_name, gid))
    return Caller(uid, gid, groups, user.pw_name, user.pw_dir, user.pw_shell)


def become(caller: Caller | None) -> None:
    """All ids and groups of this process; its capabilities go with them."""
    if caller:
        os.setgroups(caller.groups)
        os.setresgid(caller.gid, caller.gid, caller.gid)
        os.setresuid(caller.uid, caller.uid, caller.uid)


def environment_of(caller: Caller | None, environ: Mapping[str, str]) -> dict[str, str]:
    """As that user has it: its names, and no trace of sudo. PATH stays what sudo made it."""
    if not caller:
        return dict(environ)
    own = {
        "HOME": caller.home,
        "USER": caller.name,
        "LOGNAME": caller.name,
        "SHELL": caller.shell,
    }
    kept = {name: value for name, value in environ.items() if name not in OF_SUDO}
    return {**kept, **{name: value for name, value in own.items() if value}}
