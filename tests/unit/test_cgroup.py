"""Where a process lives, out of the path of its control group."""

from __future__ import annotations

import pytest

from rsttrace.enrich import Process
from rsttrace.enrich.cgroup import Box, Home, boxes_of, home_of, paths_in, telling

ID = "3f2a9c01d4e5" + "ab" * 26
OTHER = "c" * 64
UID = "1b2c3d4e-1111-2222-3333-444455556666"
UID_ = UID.replace("-", "_")
HASH = "0123456789abcdef0123456789abcdef"
POD_SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice"


@pytest.mark.parametrize(
    ("path", "unit", "words"),
    [
        ("/system.slice/nginx.service", "nginx.service", "nginx.service"),
        ("/system.slice/nginx.service/workers", "nginx.service", "nginx.service"),
        (
            "/system.slice/system-postgresql.slice/postgresql@15-main.service",
            "postgresql@15-main.service",
            "postgresql@15-main.service",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
            "web.service",
            "web.service of user 1000",
        ),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            "session-3.scope",
            "session-3.scope of user 1000",
        ),
        ("/init.scope", "init.scope", "init.scope"),
        ("/system.slice/sshd.socket", "sshd.socket", "sshd.socket"),
        ("/system.slice/nginx.service (deleted)", "nginx.service", "nginx.service"),
        ("/system.slice/_cpu.service", "cpu.service", "cpu.service"),
        (
            "/machine.slice/machine-qemu\\x2d3\\x2dweb.scope",  # a virtual machine
            "machine-qemu\\x2d3\\x2dweb.scope",
            "machine-qemu\\x2d3\\x2dweb.scope",
        ),
    ],
)
def test_units(path: str, unit: str, words: str) -> None:
    home = home_of(path)
    assert home
    assert (home.unit, home.words, home.container, home.container_id) == (unit, words, "", None)


@pytest.mark.parametrize(
    ("path", "runtime"),
    [
        (f"/system.slice/docker-{ID}.scope", "docker"),
        (f"/docker/{ID}", "docker"),
        (f"/../docker/{ID}", "docker"),
        (f"/docker/{OTHER}/docker/{ID}", "docker"),
        (f"/docker/{ID}/some/where", "docker"),
        (f"/actions_job/{ID}", "docker"),
        (f"/machine.slice/libpod-{ID}.scope", "podman"),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman"),
        (f"/libpod_parent/libpod-{ID}", "podman"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", "podman"),
        (f"{POD_SLICE}/cri-containerd-{ID}.scope", "containerd"),
        (f"{POD_SLICE}/crio-{ID}.scope", "cri-o"),
        (f"{POD_SLICE}/docker-{ID}.scope", "docker"),
        (f"/system.slice/containerd.service/x-pod{UID_}.slice:cri-containerd:{ID}", "containerd"),
        (f"/system.slice/nerdctl-{ID}.scope", "containerd"),
        (f"/kubepods/burstable/pod{UID}/{ID}", None),
        (f"/ecs/0123456789abcdef/{ID}", None),
        (f"/docker/{OTHER}/kubelet/kubepods/pod{UID}/cri-containerd-{ID}", "containerd"),
    ],
)
def test_containers(path: str, runtime: str | None) -> None:
    home = home_of(path)
    assert home
    assert (home.container_id, home.runtime, home.unit, home.monitor) == (ID, runtime, None, False)
    assert "3f2a9c01d4e5" in home.words
    assert ID not in home.words


@pytest.mark.parametrize(
    ("path", "name", "runtime"),
    [
        ("/lxc.payload.web", "web", "lxc"),
        ("/lxc.payload.web/ns", "web", "lxc"),
        ("/lxc.payload/web", "web", "lxc"),
        ("/lxc/101/ns", "101", "lxc"),
        ("/machine.slice/machine-web.scope", "web", "systemd-nspawn"),
        ("/machine.slice/machine-web\\x2d1.scope/payload", "web-1", "systemd-nspawn"),
        ("/machine.slice/systemd-nspawn@web.service/payload", "web", "systemd-nspawn"),
        ("/garden/0e4b3c52-1111-2222-3333-444455556666", None, "garden"),
    ],
)
def test_named_containers(path: str, name: str | None, runtime: str) -> None:
    home = home_of(path)
    assert home
    assert home.runtime == runtime
    assert home.container_id == (name or path.rpartition("/")[2])
    assert home.words == f"{runtime} container {home.container_id}"


def test_words() -> None:
    assert Home(container_id=ID, runtime="docker").words == "docker container 3f2a9c01d4e5"
    assert Home(container_id=ID).words == "container 3f2a9c01d4e5"
    pod = Home(container_id=ID, runtime="containerd", pod=UID, qos="burstable")
    assert pod.words == f"pod {UID}, container 3f2a9c01d4e5 (containerd)"
    assert Home(container_id=ID, pod=UID).words == f"pod {UID}, container 3f2a9c01d4e5"
    assert Home(pod=UID).words == f"pod {UID}"


@pytest.mark.parametrize(
    ("path", "uid", "qos"),
    [
        (f"{POD_SLICE}/crio-{ID}.scope", UID, "burstable"),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope", UID, "guaranteed"),
        (f"/kubelet.slice/kubelet-kubepods-besteffort-pod{UID_}.slice/x", UID, "besteffort"),
        (f"/kubepods/besteffort/pod{UID}/{ID}", UID, "besteffort"),
        (f"/kubepods/pod{UID}/{ID}", UID, "guaranteed"),
        (f"/kubepods/burstable/pod{HASH}/{ID}", HASH, "burstable"),  # a static pod
        (
            f"/system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice"
            f":cri-containerd:{ID}",
            UID,
            "burstable",
        ),
        (f"/elsewhere/pod{UID}/{ID}", None, None),
    ],
)
def test_pods(path: str, uid: str | None, qos: str | None) -> None:
    home = home_of(path)
    assert (home.pod, home.qos) == (uid, qos) if home else uid is None


def test_systemd_in_a_container() -> None:
    home = home_of("/lxc.payload.web/system.slice/cron.service")
    assert home
    assert (home.unit, home.container_id) == ("cron.service", "web")
    assert home.words == "cron.service, lxc container web"
    # the unit that runs all containers is not theirs
    beside = home_of(f"/system.slice/containerd.service/a-pod{UID_}.slice:cri-containerd:{ID}")
    assert beside
    assert beside.unit is None


def test_a_service_that_is_a_container() -> None:
    home = home_of(f"/system.slice/web.service/libpod-payload-{ID}")
    assert home
    assert (home.unit, home.container_id, home.runtime) == ("web.service", ID, "podman")


@pytest.mark.parametrize(
    "path",
    [
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"/machine.slice/crio-conmon-{ID}.scope",
        "/lxc.monitor.web",
        "/lxc.monitor/web",
        "/machine.slice/systemd-nspawn@web.service/supervisor",
    ],
)
def test_monitors_are_told_apart(path: str) -> None:
    home = home_of(path)
    assert home
    assert home.monitor
    assert home.words.startswith("the monitor of ")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/process_api/a168e4be2fba5b658b5ac95f1555c5f1",
        "/user.slice",
        "/kubepods/burstable",
        f"/docker-{ID[:12]}.scope/x",
        f"/docker/{ID[:-1]}",
        f"/docker/{ID.upper()}",
        "/docker/buildkit/u8xk2gndqzw7",
        "/lxc",
        "/machine.slice/machine-lxc\\x2d1\\x2dweb",
    ],
)
def test_nothing_is_guessed(path: str) -> None:
    home = home_of(path)
    assert home is None or home.container == ""


def test_names_cannot_command_a_terminal() -> None:
    home = home_of("/system.slice/\x1b[31m.service")
    assert home
    assert home.words.isprintable()
    inside = home_of("/machine.slice/machine-\\x1b[31m.scope")
    assert inside
    assert inside.words.isprintable()


def test_all_containers_of_a_path() -> None:
    assert boxes_of(f"/docker/{OTHER}/docker/{ID}") == (Box(OTHER, "docker"), Box(ID, "docker"))
    assert boxes_of("/system.slice/nginx.service") == ()


HYBRID = b"""12:pids:/docker/%s
2:cpu,cpuacct:/docker/%s
1:name=systemd:/system.slice/containerd.service
0::/
"""


def test_paths_of_all_hierarchies() -> None:
    paths = paths_in(HYBRID % (ID.encode(), ID.encode()))
    assert paths == ["/", "/system.slice/containerd.service", f"/docker/{ID}", f"/docker/{ID}"]
    assert paths_in(b"0::/a:b\r\x1b\n\nnonsense\n") == ["/a:b\\x0d\\x1b"]
    assert paths_in(b"") == []


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["/", "/system.slice/containerd.service", f"/docker/{ID}"], f"/docker/{ID}"),
        (["/system.slice/a.service", "/b.service"], "/system.slice/a.service"),
        (["/", "/a.service"], "/a.service"),
        (["/", "/", "/some/where"], "/some/where"),
        (["/", "/"], "/"),
        (["/some/where", "/a.service"], "/a.service"),
        ([], ""),
    ],
)
def test_the_telling_path(paths: list[str], told: str) -> None:
    assert telling(paths) == told


def test_home_of_a_process() -> None:
    assert Process(1, "a", cgroup=f"/docker/{ID}").home == Home(container_id=ID, runtime="docker")
    assert Process(1, "a").home is None
