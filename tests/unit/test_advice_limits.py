"""Advice on queues, timers and limits: the numbers in the words are the numbers of the host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsttrace.advice.timers import connect_s, give_up_s
from rsttrace.advice.way import route_get
from rsttrace.causes import catalogue
from rsttrace.causes.case import Case
from rsttrace.enrich import Facts, Process
from rsttrace.enrich.place import Listening, Path, Place, Sockets, Tracked
from rsttrace.model import Reset
from rsttrace.records import Sock

from .advised import ON_HOST, SERVICE, ask, settings
from .build import (
    CLIENT_PORT,
    FLOW,
    FLOW6,
    HERE,
    MS,
    P2,
    P5,
    PORT,
    THERE,
    T,
    answered,
    decided,
    history,
    judged,
    received_reset,
    record,
    reset,
    segment,
    sent_reset,
    sock,
)

LISTENING = Facts(listener=SERVICE, netns_name="host")
ACCEPT = "ss -ltnp 'sport = :8080'  # of these, who must call accept() faster?"
TOP = "top -b -n 1 -H -p 1432  # if it is nginx[1432]: is it busy (R) or stuck (D)?"
CONTAINER = Process(9, "app", cgroup="/system.slice/docker-" + "ab" * 32 + ".scope")


def at_listener(waiting: int, limit: int, frames: tuple[str, ...] = P5) -> Reset:
    full = sock(ack_backlog=waiting, max_ack_backlog=limit)
    return sent_reset(answered(segment(), frames, state="LISTEN", sock=full))


def queue(waiting: int, limit: int, half_open: int | None = None, **sysctls: Any) -> Place:
    listening = Listening(HERE, PORT, 777, 33, waiting, limit, half_open)
    somaxconn = {"net.core.somaxconn": str(sysctls.pop("somaxconn"))} if sysctls else {}
    return Place(T + 3 * MS, somaxconn | settings(**sysctls), Sockets(listening))


# -- the accept queue ------------------------------------------------------------------------------


def overflow(limit: int, somaxconn: int | None, **changes: Any) -> tuple[str, ...]:
    known = {} if somaxconn is None else {"net.core.somaxconn": str(somaxconn)}
    known |= settings(**changes)
    case = Case(at_listener(limit + 1, limit), LISTENING)
    return ask("accept-queue-overflow", case, Place(T + MS, known)).remedies


def test_the_backlog_is_the_smaller_limit() -> None:
    first, who, busy, abort = overflow(128, 8192)
    assert first == (
        "raise the backlog that nginx[1432] gives to listen() from 128 to 4096 and restart "
        "web.service (a restart alone may do if net.core.somaxconn, now 8192, was raised after it "
        "started)"
    )
    assert (who, busy) == (ACCEPT, TOP)
    assert abort.startswith("sysctl -w net.ipv4.tcp_abort_on_overflow=0  # no reset then")


def test_somaxconn_is_the_smaller_limit() -> None:
    first, second, *_ = overflow(128, 128)
    assert first == (
        "sysctl -w net.core.somaxconn=4096  # is 128, the limit that listen() got; then restart "
        "web.service"
    )
    assert "if that is not above 128" in second


def test_somaxconn_was_lowered_since() -> None:
    first, second, *_ = overflow(511, 128)
    assert first == (
        "sysctl -w net.core.somaxconn=4096  # is 128, less than the limit of 511, so it was "
        "lowered since; then restart web.service"
    )
    assert "if that is not above 511" in second


def test_somaxconn_of_a_container() -> None:
    """A restart gives it a new namespace: what was set in the old one is gone."""
    full, known = at_listener(129, 128), Place(T + MS, {"net.core.somaxconn": "128"})
    case = Case(full, Facts(listener=CONTAINER))
    first, second, *_ = ask("accept-queue-overflow", case, known).remedies
    assert first == (
        "recreate docker container abababababab with --sysctl net.core.somaxconn=4096 (Kubernetes: "
        "securityContext.sysctls): net.core.somaxconn is 128, the limit that listen() got"
    )
    assert "app[9] gives to listen(), too" in second
    on_host = Case(full, Facts(listener=CONTAINER, netns_name="host"))
    first = ask("accept-queue-overflow", on_host, known).remedies[0]
    assert first.startswith("sysctl -w net.core.somaxconn=4096  # ")


def test_the_owner_of_the_listening_socket_is_the_one() -> None:
    """Of a SO_REUSEPORT group the one known by its port may be another."""
    facts = Facts(owner=SERVICE, listener=CONTAINER, netns_name="host")
    known = Place(T + MS, {"net.core.somaxconn": "4096"})
    remedies = ask("accept-queue-overflow", Case(at_listener(129, 128), facts), known).remedies
    assert "that nginx[1432] gives" in remedies[0]
    assert TOP in remedies


def test_somaxconn_not_known() -> None:
    first = overflow(128, None)[0]
    assert "raise the limit of 128" in first
    assert "could not be read" in first


def test_a_backlog_that_is_large_already_is_not_raised() -> None:
    assert overflow(65535, 65535)[:2] == (ACCEPT, TOP)
    assert "from 4096 to 8192" in overflow(4096, 65535)[0]
    assert "from 4096 to 5000" in overflow(4096, 5000)[0]


def test_abort_on_overflow_was_switched_off_since() -> None:
    assert not any("abort_on_overflow" in r for r in overflow(128, 4096, tcp_abort_on_overflow=0))
    assert any("abort_on_overflow" in r for r in overflow(128, 4096, tcp_abort_on_overflow=1))


def test_no_overflow_no_backlog() -> None:
    """The other reasons of tcp_check_req(): memory, a route."""
    case = Case(at_listener(3, 128), LISTENING)
    assert ask("accept-queue-overflow", case, queue(3, 128)).remedies == ()


@pytest.mark.parametrize(("waiting", "instead"), [(128, False), (129, True)])
def test_a_queue_with_one_more_than_its_limit_is_full(waiting: int, instead: bool) -> None:
    """sk_acceptq_is_full(); else the general remedies hold as well."""
    case = Case(at_listener(waiting, 128), LISTENING)
    fit = ask("accept-queue-overflow", case, queue(waiting, 128))
    assert fit.remedies
    assert fit.instead is instead


def test_the_queue_afterwards_is_told() -> None:
    case = Case(at_listener(129, 128), LISTENING)
    fit = ask("accept-queue-overflow", case, queue(97, 128, somaxconn=4096, tcp_retries2=1))
    assert "net.core.somaxconn is 4096 there" in fit.evidence
    assert "accept queue 3 ms later: 97 waiting, limit 128" in fit.evidence


def test_nobody_is_known_who_accepts() -> None:
    case = Case(at_listener(129, 128), Facts(netns_name="host"))
    fit = ask("accept-queue-overflow", case, Place())
    assert ACCEPT in fit.remedies
    assert not any(remedy.startswith("top") for remedy in fit.remedies)


def gave_up(place: Place, waiting: int = 0) -> Any:
    return ask("ack-to-listener", Case(at_listener(waiting, 16, P2), LISTENING), place)


def test_ack_to_listener_with_a_full_queue() -> None:
    fit = gave_up(queue(17, 16, 3, somaxconn=4096, tcp_syncookies=1), waiting=17)
    assert "from 16 to 4096" in fit.remedies[0]
    assert "half-open connections now: 3; SYN cookies are sent from 16 on" in fit.evidence


def test_ack_to_listener_with_cookies_for_all() -> None:
    fit = gave_up(queue(0, 16, 3, somaxconn=4096, tcp_syncookies=2))
    (remedy,) = fit.remedies
    assert remedy.startswith("sysctl -w net.ipv4.tcp_syncookies=1  # is 2")
    assert fit.evidence[-1] == "half-open connections now: 3", "then there is no limit"


def test_ack_to_listener_in_a_flood() -> None:
    fit = gave_up(queue(0, 16, 16, somaxconn=4096, tcp_syncookies=1))
    assert "from 16 to 4096" in fit.remedies[0]
    without = gave_up(queue(0, 16, 3, somaxconn=4096, tcp_syncookies=0))
    assert without.remedies == ()
    assert "SYNs are dropped from 16 on" in without.evidence[-1]


def test_ack_to_listener_where_the_limit_says_nothing() -> None:
    """syncookies not known; or several listeners, whose half-open connections nobody can tell."""
    unknown = gave_up(queue(0, 16, 16, somaxconn=4096))
    assert unknown.remedies == ()
    assert unknown.evidence[-1] == "half-open connections now: 16"
    several = gave_up(queue(0, 16, None, somaxconn=4096, tcp_syncookies=1))
    assert several.remedies == ()
    assert not any("half-open" in text for text in several.evidence)


def test_no_setting_that_does_nothing_while_cookies_are_on() -> None:
    assert not any("max_syn_backlog" in r for r in catalogue()["ack-to-listener"].remedies)


def test_handshake_aborted_at_a_full_queue() -> None:
    full = sock(ack_backlog=17, max_ack_backlog=16)
    one = reset(direction="rejected", judged=record("kfree_skb", state="LISTEN", sock=full))
    place = queue(17, 16, somaxconn=16, tcp_retries2=1)
    fit = ask("handshake-aborted", Case(one, LISTENING), place)
    assert fit.remedies[0].startswith("sysctl -w net.core.somaxconn=4096  # is 16")
    assert fit.remedies[-2:] == (ACCEPT, TOP)
    idle = reset(direction="rejected", judged=record("kfree_skb", state="LISTEN", sock=sock()))
    assert ask("handshake-aborted", Case(idle, LISTENING), place).remedies == ()


def test_connect_and_abort_while_waiting() -> None:
    waiting = received_reset(judged("ESTABLISHED", sock=sock(has_socket=False)))
    fit = ask("connect-and-abort", Case(waiting, LISTENING), queue(5, 128))
    assert fit.remedies == (ACCEPT, TOP)
    assert "accept queue 3 ms later: 5 waiting, limit 128" in fit.evidence
    accepted = received_reset(judged("ESTABLISHED"))
    assert ask("connect-and-abort", Case(accepted, LISTENING), queue(5, 128)).remedies == ()


# -- keepalive and idle connections ----------------------------------------------------------------

KEEPALIVE = settings(
    tcp_keepalive_time=7200, tcp_keepalive_intvl=75, tcp_keepalive_probes=9, tcp_retries2=15
)


def silent(heard_ms: int, probes: int, **changes: Any) -> Case:
    return Case(sent_reset(decided(sock=quiet(heard_ms, probes, **changes))), ON_HOST)


def quiet(heard_ms: int, probes: int = 0, **changes: Any) -> Sock:
    return sock(heard_ms=heard_ms, probes_out=probes, **changes)


def test_keepalive_by_the_defaults() -> None:
    fit = ask("keepalive-timeout", silent(7_875_000, 9), Place(settings=KEEPALIVE))
    assert fit.evidence == ("defaults there: 7200 s idle + 9 probes every 75 s = 7875 s",)
    assert fit.remedies == (
        "sysctl -w net.ipv4.tcp_keepalive_probes=18  # is 9: survives breaks of 1350 s in place of "
        "675 s; per socket: TCP_KEEPCNT",
    )


@pytest.mark.parametrize(("heard_ms", "probes"), [(30_000, 3), (7_875_000, 3), (30_000, 9)])
def test_keepalive_by_the_socket(heard_ms: int, probes: int) -> None:
    fit = ask("keepalive-timeout", silent(heard_ms, probes), Place(settings=KEEPALIVE))
    assert "raise TCP_KEEPCNT or TCP_KEEPINTVL in nginx[1432]" in fit.remedies[0]
    assert f"{probes} probes: the socket has its own values" in fit.evidence[1]
    assert not any("sysctl -w" in remedy for remedy in fit.remedies)


def test_keepalive_not_known() -> None:
    partly = Place(settings=settings(tcp_keepalive_time=7200))
    assert ask("keepalive-timeout", silent(7_875_000, 9), partly).remedies == ()


def test_user_timeout() -> None:
    case = silent(2000, 1, user_timeout=1500)
    fit = ask("user-timeout", case, Place(settings=KEEPALIVE))
    assert fit.remedies == (
        "raise TCP_USER_TIMEOUT in nginx[1432] from 1500 ms if breaks of more than 1.5 s have to "
        "be survived",
    )
    assert "7875 s" in fit.evidence[0]


def idle(place: Place, **changes: Any) -> Any:
    one = received_reset(judged("ESTABLISHED", sock=quiet(600_000, **changes)))
    return ask("idle-expired", Case(one, ON_HOST), place)


def test_idle_without_keepalive() -> None:
    fit = idle(Place(settings=KEEPALIVE))
    assert fit.remedies == (
        "switch SO_KEEPALIVE on in nginx[1432] with TCP_KEEPIDLE=300: the default, 7200 s, is too "
        "late; the connection was idle for 10 min",
    )
    assert fit.evidence == ("keepalive starts after 7200 s there (net.ipv4.tcp_keepalive_time)",)


def test_idle_with_keepalive_too_late() -> None:
    fit = idle(Place(settings=KEEPALIVE), flags=8)
    assert fit.remedies == (
        "sysctl -w net.ipv4.tcp_keepalive_time=300  # is 7200, and the connection was idle for 10 "
        "min; per socket: TCP_KEEPIDLE=300",
    )


def test_idle_with_values_of_the_socket() -> None:
    early = Place(settings=settings(tcp_keepalive_time=60))
    assert idle(early, flags=8).remedies == (
        "nginx[1432] has SO_KEEPALIVE, but probes too late: set TCP_KEEPIDLE=300",
    )
    assert "TCP_KEEPIDLE=300; the connection" in idle(early).remedies[0]
    assert "TCP_KEEPIDLE=300" in idle(Place()).remedies[0]


def test_idle_where_this_host_forgets() -> None:
    name = "net.netfilter.nf_conntrack_tcp_timeout_established"
    natted = Tracked(True, natted="a:1 > b:2")
    fit = idle(Place(settings={name: "300"}, conntrack=natted))
    assert fit.remedies[0] == (
        f"sysctl -w {name}=1200  # is 300: this namespace itself forgets connections sooner than "
        "that (table size: net.netfilter.nf_conntrack_max)"
    )
    assert "connection tracking translates it: a:1 > b:2" in fit.evidence
    patient = idle(Place(settings={name: "432000"}, conntrack=natted))
    assert not any(name in remedy for remedy in patient.remedies)
    for harmless in (None, Tracked(False), Tracked(True)):
        plain = idle(Place(settings={name: "300"}, conntrack=harmless))
        assert not any(name in remedy for remedy in plain.remedies), "no NAT"


def test_idle_for_a_time_that_is_not_known() -> None:
    one = received_reset(judged("ESTABLISHED"))
    assert ask("idle-expired", Case(one, ON_HOST), Place(settings=KEEPALIVE)).remedies == ()


# -- retransmissions and the way to the peer -------------------------------------------------------


def test_how_long_tcp_waits() -> None:
    """The figures of Documentation/networking/ip-sysctl.rst."""
    assert round(give_up_s(Place(), 15), 1) == 924.6
    assert round(give_up_s(Place(), 8), 1) == 102.2
    assert connect_s(Place()) is None
    assert connect_s(Place(settings=settings(tcp_syn_retries=6))) == (6, 127)
    linear = settings(tcp_syn_retries=6, tcp_syn_linear_timeouts=4)
    assert connect_s(Place(settings=linear)) == (6, 131)
    assert give_up_s(Place(settings=settings(tcp_rto_max_ms=1000)), 15) == pytest.approx(14.4)
    assert give_up_s(Place(), 10**9) < 10**5


def given_up(place: Place, before: str = "ESTABLISHED", **changes: Any) -> Any:
    error = record("inet_sk_error_report", state=before, errno=110, sock=sock(**changes))
    one = reset(direction="none", error=error)
    return ask("retransmit-timeout", Case(one, ON_HOST), place)


RETRIES = Place(settings=settings(tcp_retries2=15, tcp_syn_retries=6, tcp_orphan_retries=0))


def test_which_limit_of_retransmissions() -> None:
    assert given_up(RETRIES, retransmits=5).evidence == (
        "net.ipv4.tcp_retries2 is 15 there: takes at least 15 min",
    )
    assert "tcp_syn_retries is 6 there" in given_up(RETRIES, "SYN_SENT").evidence[0]
    assert "after about 127 s" in given_up(RETRIES, "SYN_SENT").evidence[0]
    assert "is 0 there, which means 8" in given_up(RETRIES, flags=1).evidence[0]
    assert given_up(RETRIES, user_timeout=500).evidence == ()
    assert given_up(Place()).evidence == ()


def test_where_the_syn_is_to_be_looked_for() -> None:
    (remedy,) = given_up(RETRIES, "SYN_SENT").remedies
    assert remedy.startswith(
        f"on {THERE}: tcpdump -nn -i any 'tcp port {CLIENT_PORT} and tcp[tcpflags] & tcp-syn != 0'"
        "  # does a SYN arrive (NAT may change its source)?"
    )
    error = record("inet_sk_error_report", state="SYN_SENT", errno=110, flow=FLOW6)
    case = Case(reset(direction="none", error=error, flow=FLOW6), ON_HOST)
    (remedy,) = ask("retransmit-timeout", case, RETRIES).remedies
    assert f"'tcp port {CLIENT_PORT} and ip6[53] & 2 != 0'" in remedy


ROUTE = f"ip route get {THERE} from {HERE}"
GOOD = Path("eth0", up=True, gateway="10.0.0.1", route="unicast", neighbour="REACHABLE")


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"route": "blackhole"}, f"{ROUTE}  # the route is 'blackhole'"),
        ({"route": "unreachable"}, f"{ROUTE}  # the route is 'unreachable'"),
        ({"route": "none"}, f"{ROUTE}  # no route leads there: add one"),
        ({"up": False}, "ip -br link show dev eth0  # it does not run"),
        ({"neighbour": "FAILED"}, "ip neigh show 10.0.0.1 dev eth0  # nobody answers to 10.0.0.1"),
        ({"neighbour": "FAILED", "gateway": ""}, f"ip neigh show {THERE} dev eth0  # nobody"),
    ],
)
@pytest.mark.parametrize("cause", ["retransmit-timeout", "keepalive-timeout", "icmp-unreachable"])
def test_what_is_wrong_with_the_way(cause: str, changes: dict[str, Any], command: str) -> None:
    error = record("inet_sk_error_report", state="ESTABLISHED", errno=113, sock=sock())
    case = Case(reset(direction="none", error=error), ON_HOST)
    fit = ask(cause, case, Place(path=replace(GOOD, **changes)))
    assert fit.remedies[0].startswith(command)
    assert fit.evidence


def test_a_way_that_is_good_is_no_remedy() -> None:
    fit = given_up(Place(path=replace(GOOD, kind="veth", other_end="web eth0")))
    assert fit.remedies == ()
    assert fit.evidence == (
        "the way there is now eth0 (veth) by 10.0.0.1, which runs",
        "eth0 leads to web eth0",
        "the next hop 10.0.0.1 answered within the last minute (neighbour REACHABLE): look behind "
        "it",
    )


def test_no_route_is_told_as_such() -> None:
    fit = given_up(Place(path=Path("eth0", up=True, route="none")))
    assert fit.evidence == ("no route leads to the other end now",)


@pytest.mark.parametrize("state", ["INCOMPLETE", "DELAY", "PROBE", "STALE"])
def test_a_next_hop_that_has_not_answered_yet(state: str) -> None:
    """It is being asked: that it is there, or that it is not, would be a guess."""
    fit = given_up(Place(path=replace(GOOD, neighbour=state)))
    assert fit.remedies == ()
    assert not any("next hop" in text for text in fit.evidence)


@pytest.mark.parametrize(
    ("local", "remote", "command"),
    [
        ("fe80::5", "fe80::9", "ip route get fe80::9 from fe80::5 oif eth0"),
        ("fd00::5", "fd00::9", "ip route get fd00::9 from fd00::5"),
        ("0.0.0.0", THERE, f"ip route get {THERE}"),
    ],
)
def test_which_route_is_asked_for(local: str, remote: str, command: str) -> None:
    flow = replace(FLOW, local=local, remote=remote)
    assert route_get(Case(reset(direction="none", flow=flow)), GOOD) == command


def test_icmp_with_a_good_way() -> None:
    error = record("inet_sk_error_report", state="SYN_SENT", errno=111)
    case = Case(reset(direction="none", error=error), ON_HOST)
    fit = ask("icmp-unreachable", case, Place(path=GOOD))
    assert fit.remedies == (
        f"tcpdump -nn -v -i eth0 icmp  # connect to {THERE}:{CLIENT_PORT} again: who sends the "
        "message? Most likely a firewall's REJECT",
    )
    assert "-i any icmp" in ask("icmp-unreachable", case, Place()).remedies[0]


def test_a_device_with_an_evil_name() -> None:
    evil = replace(GOOD, device="$(reboot)", up=False)
    fit = given_up(Place(path=evil))
    assert fit.remedies[0].startswith("ip -br link show dev '$(reboot)'  #")


# -- other limits ----------------------------------------------------------------------------------


def test_linger2() -> None:
    case = Case(sent_reset(decided(sock=sock(linger2=-1))), ON_HOST)
    fit = ask("linger2-expired", case, Place(settings=settings(tcp_fin_timeout=47)))
    assert "TCP_LINGER2 to a negative value: the kernel then waits 47 s" in fit.remedies[0]
    assert ask("linger2-expired", case, Place()).remedies == (
        "let nginx[1432] not set TCP_LINGER2 to a negative value",
    )


def memory(unacked: int, **sysctls: Any) -> Any:
    held = sock(write_seq=5000 + unacked)
    one = Case(sent_reset(decided(sock=held)), Facts(netns_name="web"))
    return ask("out-of-memory", one, Place(settings=settings(**sysctls)))


def test_out_of_memory_is_the_whole_hosts() -> None:
    fit = memory(9000, tcp_max_orphans=16384, tcp_mem="287901 383869 575802")
    look, orphans, pages = fit.remedies
    assert look.startswith("cat /proc/net/sockstat  # ")
    assert orphans.startswith("sysctl -w net.ipv4.tcp_max_orphans=32768  # is 16384; ")
    assert "up to 1024 MB more" in orphans
    assert pages.startswith("sysctl -w 'net.ipv4.tcp_mem=575802 767738 1151604'  # ")
    assert "from 2249 MB with pages of 4 kB to 4498 MB" in pages
    assert "net.ipv4.tcp_mem is 575802 pages at most (2249 MB with pages of 4 kB)" in fit.evidence
    # without data only the number of orphans can have decided
    assert len(memory(1, tcp_max_orphans=16384, tcp_mem="1 2 3").remedies) == 2
    assert memory(9000, tcp_mem="1 2").remedies == (look,)


def collision(port_range: str, **sysctls: Any) -> Any:
    values = settings(ip_local_port_range=port_range, **sysctls)
    return ask("timewait-collision", Case(sent_reset(decided()), ON_HOST), Place(settings=values))


def test_source_port_of_the_application() -> None:
    fit = collision("32768 60999", tcp_timestamps=0)
    assert fit.remedies[0].startswith("sysctl -w net.ipv4.tcp_timestamps=1  # is 0")
    assert fit.remedies[1].startswith(f"let nginx[1432] not bind port {PORT} itself")
    assert fit.evidence == (
        f"net.ipv4.ip_local_port_range is 32768 to 60999 there; this port was {PORT}",
    )


def test_source_port_of_the_kernel() -> None:
    narrow = replace(sent_reset(decided()).flow, lport=40000)
    case = Case(sent_reset(decided(), flow=narrow), ON_HOST)
    place = Place(settings=settings(ip_local_port_range="32768 60999"))
    (remedy,) = ask("timewait-collision", case, place).remedies
    assert remedy.startswith("sysctl -w 'net.ipv4.ip_local_port_range=16384 60999'  # 44616 ports ")
    assert "in place of 28232" in remedy
    wide = Place(settings=settings(ip_local_port_range="1024 65535"))
    (remedy,) = ask("timewait-collision", case, wide).remedies
    assert remedy.startswith("the range has 64512 ports already")


def test_port_range_not_known() -> None:
    assert collision("what").remedies == ()


def test_challenge_acks() -> None:
    one = reset(direction="rejected", judged=record("kfree_skb", state="ESTABLISHED"))
    case = Case(one, ON_HOST)
    limited = ask("blind-reset-rejected", case, Place(settings=settings(tcp_challenge_ack_limit=9)))
    assert "challenge ACKs of this namespace: 9 in a second" in limited.evidence[0]
    free = settings(tcp_challenge_ack_limit=2147483647)
    assert "no limit" in ask("blind-reset-rejected", case, Place(settings=free)).evidence[0]
    assert f"host {THERE} and tcp" in limited.remedies[0]


def test_tw_reuse_is_for_clients() -> None:
    place = Place(settings=settings(tcp_tw_reuse=2))
    client = decided(history=history(flags=1))
    fit = ask("linger-zero", Case(sent_reset(client), ON_HOST), place)
    assert fit.remedies[-1].startswith(
        "sysctl -w net.ipv4.tcp_tw_reuse=1  # is on for loopback only"
    )
    server = decided(history=history(flags=2))
    fit = ask("linger-zero", Case(sent_reset(server), ON_HOST), place)
    assert not any("tw_reuse" in remedy for remedy in fit.remedies)
