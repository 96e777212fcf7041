"""Where a process lives: its service and container, as the path of its control group says. Pure.

Nothing is guessed: what the path does not show is None. Sources of the names: systemd.unit(5),
systemd's CGROUP_DELEGATION.md, moby and containerd (runc's cgroup drivers), cri-o, podman (libpod),
lxc, systemd-nspawn(1), Kubernetes (kubelet's cgroup manager).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from rsttrace.output import printable

SHORT_ID = 12  # of a container's id, as docker ps shows it
_HEX_ID = re.compile(r"[0-9a-f]{64}")
_UUID = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}"
# one directory that is a container: docker-ID.scope, crio-ID, kubepods-...:cri-containerd:ID
_SCOPE = re.compile(
    r"(?:.*:)?(docker|cri-containerd|nerdctl|crio|libpod)[-:](conmon-|payload-)?"
    r"([0-9a-f]{64})(?:\.scope)?"
)
_RUNTIMES = {
    "docker": "docker",
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "libpod": "podman",
}
# a directory and the one in it: docker/ID; actions_job is GitHub's name for docker/ there
_PARENTS = {"docker": "docker", "actions_job": "docker", "libpod_parent": "podman"}
_LXC = re.compile(r"lxc\.(payload|monitor)(?:\.(.+))?")
_MACHINE = re.compile(r"machine-(.+)\.scope|systemd-nspawn@(.+)\.service")
_VIRTUAL = ("qemu-", "lxc-")  # libvirt's machines, not systemd-nspawn's
_GARDEN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){2,4}(?:-[0-9a-f]+)?")
_POD = re.compile(rf"pod({_UUID}|[0-9a-f]{{32}})")
_POD_SLICE = re.compile(
    rf"(?:.*-)?kubepods(?:-(burstable|besteffort))?-pod({_UUID}|[0-9a-f]{{32}})\.slice(?::.*)?"
)
_UNIT = re.compile(r".+\.(?:service|scope|socket|mount|swap)")
_USER = re.compile(r"user@(\d+)\.service|user-(\d+)\.slice")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
QOS = ("burstable", "besteffort")


@dataclass(frozen=True)
class Box:
    """A container on the path. ``id``: 64 hexadecimal digits, or a name (lxc, systemd-nspawn).

    ``runtime``: docker, podman, containerd, cri-o, lxc, systemd-nspawn, garden; None: the path does
    not show it. ``monitor``: the process only watches over the container, from outside.
    """

    id: str
    runtime: str | None = None
    monitor: bool = False

    @property
    def short(self) -> str:
        """As people write it: the first digits of a long id."""
        return self.id[:SHORT_ID] if _HEX_ID.fullmatch(self.id) else self.id


@dataclass(frozen=True)
class Home:
    """``unit``: systemd's innermost unit below the container, ``nginx.service``; ``user``: the uid
    whose own service manager runs it, or whose session it is. ``pod``: uid of the Kubernetes pod,
    ``qos``: its class (guaranteed, burstable, besteffort).
    """

    unit: str | None = None
    container_id: str | None = None
    runtime: str | None = None
    pod: str | None = None
    qos: str | None = None
    user: int | None = None
    monitor: bool = False

    @property
    def container(self) -> str:
        """``docker container 3f2a9c01d4e5``, ``pod UID, container 3f2a9c01d4e5 (containerd)``."""
        if not self.container_id:
            return f"pod {self.pod}" if self.pod else ""
        box = Box(self.container_id, self.runtime)
        if self.pod:
            runtime = f" ({self.runtime})" if self.runtime else ""
            text = f"pod {self.pod}, container {box.short}{runtime}"
        else:
            text = f"{self.runtime} container {box.short}" if self.runtime else ""
            text = text or f"container {box.short}"
        return f"the monitor of {text}" if self.monitor else text

    @property
    def words(self) -> str:
        """All of it for people: ``nginx.service``, ``cron.service, lxc container web``."""
        unit = self.unit or ""
        if unit and self.user is not None and not self.container_id:
            unit = f"{unit} of user {self.user}"
        return ", ".join(part for part in (unit, self.container) if part)


@lru_cache(maxsize=1024)
def home_of(path: str) -> Home | None:
    """Out of a path as /proc/PID/cgroup has it; None if it shows no unit and no container."""
    parts = _parts(path)
    boxes = _boxes(parts)
    place, box = boxes[-1] if boxes else (-1, None)
    pod, qos = _pod(parts)
    unit = next((p for p in reversed(parts[place + 1 :]) if _UNIT.fullmatch(p)), None)
    if (
        box and not unit and "payload-" in parts[place]
    ):  # a container that is a service's whole work
        unit = next((p for p in reversed(parts[:place]) if _UNIT.fullmatch(p)), None)
    if not (unit or box or pod):
        return None
    user = next((m for p in reversed(parts[place + 1 :]) if (m := _USER.fullmatch(p))), None)
    return Home(
        unit=unit.removeprefix("_") if unit else None,
        container_id=box.id if box else None,
        runtime=box.runtime if box else None,
        pod=pod,
        qos=qos,
        user=int(user[1] or user[2]) if user else None,
        monitor=box.monitor if box else False,
    )


def boxes_of(path: str) -> tuple[Box, ...]:
    """The containers that hold a process, outermost first."""
    return tuple(box for _, box in _boxes(_parts(path)))


def paths_in(raw: bytes) -> list[str]:
    """The paths in /proc/PID/cgroup: the unified hierarchy first, then systemd's own, then others.

    cgroups(7): a line is ``number:controllers:path``, of the unified hierarchy ``0::path``.
    """
    ranks = {"": 0, "name=systemd": 1}
    lines = [printable(line).split(":", 2) for line in raw.split(b"\n")]
    whole = [line for line in lines if len(line) == 3]
    return [line[2] for line in sorted(whole, key=lambda line: ranks.get(line[1], 2))]


def telling(paths: Iterable[str]) -> str:
    """Of the paths in several hierarchies, best first, the one that says most.

    Where cgroup v1 is in use, the unified hierarchy may be empty, and a container is seen in the
    controllers' only.
    """
    paths = list(paths)
    homes = [(home_of(path), path) for path in paths]
    known = [path for home, path in homes if home and home.container]
    known += [path for home, path in homes if home]
    known += [path for path in paths if path.strip("/")]
    return next(iter(known + paths), "")


def _parts(path: str) -> list[str]:
    return [part for part in printable(path).removesuffix(" (deleted)").split("/") if part]


def _boxes(parts: list[str]) -> list[tuple[int, Box]]:
    """Containers with their places in the path."""
    found = []
    for place, part in enumerate(parts):
        box = _box(parts[place - 1] if place else "", part, parts[place + 1 :])
        if box:
            found.append((place, box))
    return found


def _box(parent: str, part: str, below: list[str]) -> Box | None:
    if scope := _SCOPE.fullmatch(part):
        kind, role, number = scope.groups()
        return Box(number, _RUNTIMES[kind], role == "conmon-")
    if _HEX_ID.fullmatch(part):
        return Box(part, _PARENTS.get(parent))
    if (lxc := _LXC.fullmatch(part)) and lxc[2]:
        return Box(lxc[2], "lxc", lxc[1] == "monitor")
    above = _LXC.fullmatch(parent)
    if parent == "lxc" or (above and not above[2]):
        return Box(part, "lxc", parent.endswith("monitor"))
    if machine := _MACHINE.fullmatch(part):
        name = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), machine[1] or machine[2])
        if name.startswith(_VIRTUAL):
            return None
        return Box(printable(name), "systemd-nspawn", below[:1] == ["supervisor"])
    if parent == "garden" and _GARDEN.fullmatch(part):
        return Box(part, "garden")
    return None


def _pod(parts: list[str]) -> tuple[str | None, str | None]:
    """The innermost Kubernetes pod's uid and class."""
    for place in reversed(range(len(parts))):
        if match := _POD_SLICE.fullmatch(parts[place]):
            return match[2].replace("_", "-"), match[1] or "guaranteed"
        above = parts[:place]
        if (match := _POD.fullmatch(parts[place])) and any("kubepods" in part for part in above):
            qos = above[-1] if above[-1] in QOS else "guaranteed"
            return match[1].replace("_", "-"), qos
    return None, None
