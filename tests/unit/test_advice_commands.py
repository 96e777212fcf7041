"""Commands to paste run in the right namespace, and nothing in them can do harm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rsttrace.advice.commands import (
    acceptor,
    boxed,
    container_of,
    inside,
    inside_of,
    line,
    live,
    service_of,
    sysctl,
    unit_of,
)
from rsttrace.advice.elsewhere import real_remote, watch_there
from rsttrace.causes.case import Case
from rsttrace.enrich import Facts, Process
from rsttrace.enrich.place import Peer, Place, Tracked
from rsttrace.records import Flow

from .build import A1_EXIT, A10, HERE, THERE, decided, history, reset, sent_reset, task

SERVER, KILLER = Process(1432, "nginx"), Process(77, "ss")
ID = "3f2a9c01d4e5" + "0" * 52


def case(facts: Facts, **changes: object) -> Case:
    return Case(sent_reset(decided(**changes)), facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(netns_name="host"), "ss -ltn"),
        (Facts(netns_name="web"), "ip netns exec web ss -ltn"),
        (Facts(netns_name="web", owner=SERVER), "ip netns exec web ss -ltn"),
        (Facts(owner=SERVER), "nsenter -t 1432 -n ss -ltn"),
        (Facts(listener=SERVER), "nsenter -t 1432 -n ss -ltn"),
        (
            Facts(),
            "nsenter -t PID -n ss -ltn  # PID: a process of network namespace 4026531840 "
            "(lsns -t net)",
        ),
        # no name that iproute2 gives, or that a shell would understand otherwise
        (Facts(netns_name="a;reboot", owner=SERVER), "nsenter -t 1432 -n ss -ltn"),
        (Facts(netns_name="-x", owner=SERVER), "nsenter -t 1432 -n ss -ltn"),
    ],
)
def test_inside(facts: Facts, expected: str) -> None:
    assert inside(case(facts), "ss -ltn") == expected


def test_inside_without_a_namespace() -> None:
    one = reset(direction="sent", flow=Flow(HERE, 80, THERE, 5000, 0), decided=decided())
    assert inside(Case(one), "ss") == "ss"


def test_who_is_about_to_end_is_no_door() -> None:
    ending = {"frames": A1_EXIT, "task": task(flags=0x400104)}
    assert inside(case(Facts(owner=SERVER), **ending), "ss").startswith("nsenter -t PID -n ss  #")
    killed = case(Facts(owner=KILLER, actor=KILLER), frames=A10)
    assert inside(killed, "ss").startswith("nsenter -t PID -n ss  #")
    assert live(case(Facts(owner=SERVER, actor=SERVER), **ending)) is None
    assert live(case(Facts(owner=SERVER, actor=SERVER))) == SERVER


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("host", "ss"),
        ("web", "ip netns exec web ss"),
        ("3f2a9c01d4e5", "nsenter --net=/run/docker/netns/3f2a9c01d4e5 ss"),
        (
            "netns 4026532999",
            "nsenter -t PID -n ss  # PID: a process of network namespace 4026532999 (lsns -t net)",
        ),
        ("a b", "nsenter -t PID -n ss  # PID: a process of network namespace a b"),
    ],
)
def test_inside_of(name: str, expected: str) -> None:
    assert inside_of(name, "ss") == expected


def test_the_reason_stands_behind_the_command() -> None:
    assert inside(case(Facts(netns_name="host")), "ss", "why") == "ss  # why"
    assert inside_of("web", "ss", "why") == "ip netns exec web ss  # why"
    assert inside(case(Facts()), "ss", "why").startswith(
        "nsenter -t PID -n ss  # why; PID: a process of network namespace "
    )


def test_a_setting_is_never_pasted_into_the_wrong_namespace() -> None:
    """One without a name or a process: nsenter refuses the line as it stands."""
    change = sysctl(case(Facts()), "net.core.somaxconn", 4096, "is 128")
    command, _, why = change.partition("  # ")
    assert command == "nsenter -t PID -n sysctl -w net.core.somaxconn=4096"
    assert why.startswith("is 128; PID: a process of network namespace 4026531840")


def test_words_are_quoted() -> None:
    assert line("ip", "link", "show", "$(reboot)") == "ip link show '$(reboot)'"
    one = case(Facts(netns_name="host"))
    assert sysctl(one, "net.ipv4.tcp_mem", "1 2 3") == "sysctl -w 'net.ipv4.tcp_mem=1 2 3'"


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("/system.slice/nginx.service", "nginx.service"),
        ("/system.slice/nginx.service/worker", "nginx.service"),
        ("/user.slice/user-0.slice/session-3.scope", ""),
        ("/user.slice/user-5.slice/user@5.service/app.slice/x.service", ""),
        (f"/system.slice/docker-{ID}.scope", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_unit(cgroup: str, unit: str) -> None:
    process = Process(1, "nginx", cgroup=cgroup)
    assert unit_of(process) == unit
    assert service_of(process) == (unit or "nginx[1]")


@pytest.mark.parametrize(
    ("unit", "comm", "expected"),
    [
        ("cron.service", "backup.sh", ""),
        ("cron.service", "cron", "cron.service"),
        ("ssh.service", "sshd", "ssh.service"),
        ("ssh.service", "iperf3", ""),
        ("docker.service", "dockerd", "docker.service"),
        ("docker.service", "docker-proxy", ""),
        ("containerd.service", "containerd-shim", ""),
        ("nginx.service", "nginx", "nginx.service"),
        ("web.service", "nginx", "web.service"),
    ],
)
def test_unit_that_others_run_in(unit: str, comm: str, expected: str) -> None:
    """Nobody restarts cron, or the login daemon, for what runs out of it."""
    process = Process(7, comm, cgroup=f"/system.slice/{unit}")
    assert unit_of(process) == expected
    assert service_of(process) == (expected or f"{comm}[7]")


def test_no_process_no_unit() -> None:
    assert unit_of(None) == ""
    assert service_of(None) == "the application"


def test_container() -> None:
    assert container_of(Process(1, "x", cgroup=f"/system.slice/docker-{ID}.scope")) == (
        "docker",
        ID,
    )
    assert container_of(Process(1, "x", cgroup="/system.slice/nginx.service")) == ("", "")
    assert container_of(None) == ("", "")


@pytest.mark.parametrize(
    ("cgroup", "words"),
    [
        (f"/system.slice/docker-{ID}.scope", f"docker container {ID[:12]}"),
        ("/lxc.payload.web/system.slice/nginx.service", ""),  # restarted inside of it
        ("/system.slice/nginx.service", ""),
        ("", ""),
    ],
)
def test_whose_namespace_ends_with_it(cgroup: str, words: str) -> None:
    process = Process(1, "x", cgroup=cgroup)
    assert boxed(case(Facts()), process) == words
    assert boxed(case(Facts(netns_name="host")), process) == "", "docker run --network host"
    assert boxed(case(Facts()), None) == ""


def test_who_accepts() -> None:
    """A listening socket has one owner; of those on the port there may be several."""
    facts = Facts(owner=SERVER, listener=KILLER)
    assert acceptor(case(facts, state="LISTEN")) == SERVER
    assert acceptor(case(facts)) == KILLER
    assert acceptor(case(Facts(listener=KILLER), state="LISTEN")) == KILLER


# -- the other end ---------------------------------------------------------------------------------


def test_where_the_other_end_is() -> None:
    one = Case(sent_reset(decided(history=history(flags=1))), Facts(netns_name="host"))
    elsewhere = Place(peer=Peer(False, ("web",)))
    assert watch_there(one, Place(), "why") == f"on {THERE}: sudo rsttrace -P 51234  # why"
    assert watch_there(one, elsewhere, "why") == (
        f"on {THERE}: sudo rsttrace -P 51234  # why (network namespace web here has the same "
        "address, but no sender was seen)"
    )
    natted = Place(conntrack=Tracked(True, natted=f"a > b, {THERE}:51234 > [fd00::7]:8443"))
    assert real_remote(one, natted) == "[fd00::7]:8443"
    there = "on fd00::7: sudo rsttrace -P 8443  # why"
    assert watch_there(one, natted, "why") == there
    assert watch_there(one, replace(natted, peer=Peer(True)), "why") == there
    assert watch_there(one, replace(natted, peer=elsewhere.peer), "why") == there
    here = watch_there(one, Place(peer=Peer(True)), "why")
    assert here.startswith(f"nft list ruleset  # {THERE} is an address of this host, but no sender")
    assert real_remote(one, Place(conntrack=Tracked(True, natted="10.0.0.1:9 > 10.0.0.2:9"))) == ""


def test_the_port_of_the_server_is_watched() -> None:
    server = Case(sent_reset(decided(history=history(flags=2))), Facts())
    assert "-P 8080" in watch_there(server, Place(), "why")
    unknown = Case(sent_reset(decided(history=None)), Facts())
    assert watch_there(unknown, Place(), "why") == f"on {THERE}: sudo rsttrace  # why"
