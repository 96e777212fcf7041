"""Advice on listeners, closing programs and the other end."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from rsttrace.advice.fit import Fit
from rsttrace.advice.fits import advisers
from rsttrace.causes.case import Case
from rsttrace.enrich import Facts, Process
from rsttrace.enrich.place import Listening, Path, Peer, Place, Sockets, Tracked
from rsttrace.listeners import Listener, Listeners
from rsttrace.model import Reset
from rsttrace.packet import ACK, RST, SYN
from rsttrace.patterns import Event, Neighbours

from .advised import ON_HOST, SERVICE, ask, settings
from .build import (
    A1,
    A1_EXIT,
    A2,
    A4,
    A10,
    CLIENT_PORT,
    FLOW,
    FLOW6,
    HERE,
    MS,
    OTHER_NETNS,
    P1,
    P2,
    PORT,
    SECOND,
    THERE,
    T,
    answered,
    arrived,
    decided,
    earlier,
    history,
    judged,
    left,
    listener,
    received_reset,
    rst,
    segment,
    sent_reset,
    sock,
    task,
)

NAMELESS = Facts(netns_name="host")
DOCKER = Process(9, "app", cgroup="/system.slice/docker-" + "ab" * 32 + ".scope")


# -- closed-port -----------------------------------------------------------------------------------


def closed(
    *known: Listener, place: Place | None = None, one: Reset | None = None, **facts: Any
) -> Fit:
    one = one or sent_reset(answered(segment(SYN)))
    table = Listeners(known)
    case = Case(one, replace(NAMELESS, listeners=table, **facts))
    return ask("closed-port", case, place or Place(T + 3 * MS))


def nobody(accepts: str = "", device: str = "", **sysctls: Any) -> Place:
    listening = Listening(accepts, PORT, 777, 33, 0, 128, device=device) if accepts else None
    return Place(T + 3 * MS, sysctls, Sockets(listening))


MEANT = f"if {THERE} is meant to reach it: "
SCANNERS = "if only scanners knock: nothing; drop them in the firewall if they disturb you"


def test_bound_to_an_address() -> None:
    fit = closed(listener("127.0.0.1"), place=nobody())
    assert fit.remedies == (
        f"{MEANT}let nginx[1432] listen on {HERE}:8080, or on 0.0.0.0:8080 (then on all addresses "
        "of the host), not only on 127.0.0.1:8080",
        SCANNERS,
    )
    assert fit.instead
    assert fit.evidence == ("nothing accepts there 3 ms later",)
    assert closed(listener("10.0.0.6")).remedies[1] == f"{MEANT}connect to 10.0.0.6:8080"


def test_bound_to_loopback_and_asked_from_here() -> None:
    flow = replace(FLOW, remote=HERE)
    one = sent_reset(answered(segment(SYN)), flow=flow)
    assert closed(listener("127.0.0.1"), one=one).remedies[1] == (
        f"if {HERE} is meant to reach it: connect to 127.0.0.1:8080, from this host"
    )


def test_ipv6_only() -> None:
    assert closed(listener("::")).remedies == (
        "let nginx[1432] listen on 0.0.0.0:8080 as well as on [::]:8080",
        "let nginx[1432] set IPV6_V6ONLY to 0 on its socket",
    )
    fit = closed(listener("::"), place=nobody(**{"net.ipv6.bindv6only": "1"}))
    assert fit.remedies[0] == (
        "sysctl -w net.ipv6.bindv6only=0  # is 1: sockets on [::] take no IPv4; then restart "
        "nginx[1432]"
    )


def test_ipv4_only() -> None:
    one = sent_reset(answered(segment(SYN)), flow=FLOW6)
    assert closed(listener("0.0.0.0"), one=one).remedies == (
        "let nginx[1432] listen on [::]:8080 as well as on 0.0.0.0:8080",
    )


VRF = (
    "sysctl -w net.ipv4.tcp_l3mdev_accept=1  # if there is a VRF; or start nginx[1432] in it with "
    "ip vrf exec"
)


def test_bound_to_a_device() -> None:
    look, change, scanners, vrf = closed(listener("0.0.0.0")).remedies
    assert look.startswith("ss -ltnp 'sport = :8080'  # the name behind %")
    assert change == f"{MEANT}let nginx[1432] not bind to a device (SO_BINDTODEVICE)"
    assert (scanners, vrf) == (SCANNERS, VRF)


def test_bound_to_a_device_that_is_known() -> None:
    fit = closed(listener("0.0.0.0"), place=nobody("0.0.0.0", "eth1"))
    change = f"{MEANT}let nginx[1432] not bind to eth1 (SO_BINDTODEVICE)"
    assert fit.remedies == (change, SCANNERS)
    assert fit.evidence == ("0.0.0.0:8080 accepts by eth1 only there 3 ms later",)
    assert closed(place=nobody("0.0.0.0", "eth1")).remedies[0] == (
        f"{MEANT}let the server not bind to eth1 (SO_BINDTODEVICE)"
    )


def test_bound_to_the_very_device_but_too_late() -> None:
    """The SYN came by it, so that socket was not there yet."""
    one = sent_reset(answered(segment(SYN)), left(rst()))
    fit = closed(place=nobody("0.0.0.0", "eth0"), one=one)
    assert fit.remedies[0].startswith("let clients retry")


def test_bound_to_no_device() -> None:
    assert closed(listener("0.0.0.0"), place=nobody("0.0.0.0")).remedies == (VRF,)
    (look,) = closed(listener("0.0.0.0"), place=nobody()).remedies
    assert look.startswith("ss -ltnp  # is the service there"), "it is gone, and so is its device"


def test_in_another_namespace() -> None:
    look, publish, scanners = closed(listener(netns=OTHER_NETNS)).remedies
    assert look == (
        "nsenter -t 1432 -n ip -br addr  # nginx[1432] listens on port 8080 at these addresses"
    )
    assert publish == (
        f"{MEANT}publish or forward port 8080 to the network namespace of nginx[1432], or let it "
        "listen where clients arrive"
    )
    assert scanners == SCANNERS
    (publish, _) = closed(listener(netns=OTHER_NETNS, pid=0)).remedies
    assert "the network namespace of the server" in publish


def test_in_several_other_namespaces() -> None:
    """Port 80 is in use in many; none of them needs to have to do with this client."""
    one, two = listener(netns=OTHER_NETNS), listener(netns=OTHER_NETNS + 1, pid=7)
    assert not any("publish" in remedy for remedy in closed(one, two).remedies)
    both_families = closed(one, replace(one, address="::")).remedies
    assert "publish" in both_families[1], "that is one server"


def test_accepts_by_now() -> None:
    fit = closed(place=nobody("0.0.0.0"))
    assert fit.remedies == (
        f"let clients retry, or start them later: {HERE}:8080 accepts connections 3 ms after this "
        "one came",
    )
    assert fit.evidence == ("0.0.0.0:8080 accepts there 3 ms later",)


def test_scanned() -> None:
    events = tuple(Event(T - n * MS, 1000 + n, "closed-port", True) for n in range(20))
    scan = f"nothing: {THERE} tried 20 ports within a minute, it only scans"
    for known in ((), (listener("127.0.0.1"),), (listener(netns=OTHER_NETNS),)):
        fit = closed(*known, neighbours=Neighbours(events), place=nobody("0.0.0.0"))
        assert fit.remedies == (scan,), "a private service is not opened to a scanner"
        assert fit.instead, "nor by what the rule says in general"


def test_nothing_is_known() -> None:
    fit = closed()
    assert fit.remedies == ("ss -ltnp  # is the service there, on another port or address?",)
    assert fit.evidence == ()


# -- stale-connection ------------------------------------------------------------------------------


def stale(place: Place | None = None, facts: Facts = NAMELESS, **changes: Any) -> Fit:
    one = sent_reset(answered(segment(ACK), P2, state="LISTEN", **changes))
    return ask("stale-connection", Case(one, facts), place or Place())


def test_stale_after_a_restart() -> None:
    young = Listeners((listener(opened_ns=T - 10 * SECOND),))
    fit = stale(facts=Facts(listeners=young, listener=SERVICE))
    assert fit.remedies[0].startswith(
        "if that was a restart: drain web.service before one (it began to listen 10.0 s before)"
    )
    old = Listeners((listener(opened_ns=T - 700 * SECOND),))
    assert stale(facts=Facts(listeners=old, listener=SERVICE)).remedies == ()


def test_stale_after_a_time_out() -> None:
    past = earlier(errno=110, flags=1, change_ns=T - 5 * SECOND)
    fit = stale(Place(settings=settings(tcp_retries2=15)), history=past)
    (remedy,) = fit.remedies
    assert remedy.startswith(
        f"find what cut the way to {THERE}:{CLIENT_PORT}: the connection timed"
    )
    assert remedy.endswith("out here 5.0 s before")
    assert "net.ipv4.tcp_retries2 is 15 there: a time-out takes at least 15 min" in fit.evidence


def test_stale_by_nat() -> None:
    name = "net.netfilter.nf_conntrack_tcp_be_liberal"
    natted = Tracked(True, natted="a:1 > b:2")
    fit = stale(Place(settings={name: "0"}, conntrack=natted))
    drop, liberal = fit.remedies
    assert "rule 'ct state invalid drop'" in drop
    assert liberal == (
        f"sysctl -w {name}=1  # is 0; in place of that rule: calls fewer INVALID, but lets odd "
        "ones pass"
    )
    assert "connection tracking translates it: a:1 > b:2" in fit.evidence
    assert stale(Place(settings={name: "1"}, conntrack=natted)).remedies == ()
    assert stale(Place(settings={name: "0"}, conntrack=Tracked(True))).remedies == ()


def test_stale_in_fin_wait2() -> None:
    past = earlier(old_state="FIN_WAIT2", flags=2)
    fit = stale(Place(settings=settings(tcp_fin_timeout=47)), history=past)
    assert fit.evidence == (
        "net.ipv4.tcp_fin_timeout is 47 s there: so long a closed connection is remembered",
    )


# -- who closes ------------------------------------------------------------------------------------


def test_unread_bytes() -> None:
    held = sock(rcv_nxt=1312, copied_seq=1000, bytes_received=320)
    fit = ask("unread-data-on-close", Case(sent_reset(decided(sock=held)), ON_HOST), Place())
    assert fit.remedies[0].startswith("let nginx[1432] shutdown(SHUT_WR), read to end of file")
    assert fit.remedies[1].endswith(
        " -p 1432  # shows what it reads before close(), if it still runs (slows it down)"
    )
    assert fit.evidence == ("of 320 received bytes the application had read 8",)


def test_unread_of_which_nothing_was_read() -> None:
    held = sock(rcv_nxt=1312, copied_seq=1000, bytes_received=312)
    fit = ask("unread-data-on-close", Case(sent_reset(decided(sock=held))), Place())
    assert fit.evidence[0].endswith("had read 0: it never looked at what came")
    assert len(fit.remedies) == 1, "nobody to watch"


def ended(code: int, owner: Process | None = SERVICE) -> tuple[str, ...]:
    gone = task(flags=0x400104, exit_code=code)
    one = sent_reset(decided(A1_EXIT, task=gone))
    return ask("process-exit-unread-data", Case(one, Facts(owner=owner)), Place()).remedies


def test_a_service_ended() -> None:
    show, log = ended(3 << 8)
    assert show.startswith("systemctl show -p Result,ExecMainCode,ExecMainStatus,NRestarts,")
    assert "web.service  # how web.service ended" in show
    assert log.startswith("journalctl -u web.service -n 50")


def test_a_process_was_killed() -> None:
    look, *_ = ended(signal.SIGKILL)
    assert look.startswith("journalctl -k -g 'Killed process 1432 '  # was it the OOM killer?")


def test_a_process_crashed() -> None:
    look, core, *_ = ended(signal.SIGSEGV)
    assert look == r"journalctl -k -g '\[1432\]'  # the kernel on the crash"
    assert core.startswith("coredumpctl info 1432  # where it crashed")


def test_a_process_aborted() -> None:
    """abort() leaves nothing in the kernel's log."""
    core, *others = ended(signal.SIGABRT)
    assert core.startswith("coredumpctl info 1432  # ")
    assert not any("journalctl -k" in remedy for remedy in others)


def test_a_container_ended() -> None:
    assert ended(0, DOCKER)[0].startswith(f"docker inspect {'ab' * 32}  # State: exit code")
    assert ended(0, None) == ("journalctl _PID=1432 -n 50  # what it logged last",)


def after_close(since_ns: int, substate: str | None = None, **changes: Any) -> Fit:
    past = history(close_ns=T - since_ns, **changes)
    trigger = segment(ACK, b"x" * 40)
    minisocket = {"history": past, "state": "TIME_WAIT", "sk": 1, "tw_substate": substate}
    one = sent_reset(answered(trigger, P1, **minisocket))
    place = Place(settings=settings(tcp_fin_timeout=47))
    return ask("data-after-close", Case(one, replace(ON_HOST, closer=SERVICE)), place)


def test_data_crossed_the_fin() -> None:
    fit = after_close(3 * MS)
    assert "the data came 3 ms after close()" in fit.remedies[0]
    assert fit.evidence == ("net.ipv4.tcp_fin_timeout is 47 s there",)


def test_data_long_after_the_fin() -> None:
    for known in ({"substate": "FIN_WAIT2"}, {"old_state": "FIN_WAIT2"}):
        (remedy,) = after_close(9 * SECOND, **known).remedies
        assert remedy.startswith(
            f"look at {THERE}:{CLIENT_PORT}: it still sent 9.0 s after nginx[1432]"
        )


def test_data_of_a_peer_that_may_not_have_got_the_fin() -> None:
    """It is not known to have read end of file, so nobody is to be blamed."""
    fit = after_close(9 * SECOND)
    assert (fit.remedies, fit.settles) == ((), ())
    assert fit.evidence == ("net.ipv4.tcp_fin_timeout is 47 s there",)


def test_data_after_the_process_ended() -> None:
    (remedy,) = after_close(9 * SECOND, close_flags=4).remedies
    assert remedy.startswith("let web.service finish its connections before it ends")


def test_linger_zero() -> None:
    held = sock(flags=16, write_seq=5021)
    fit = ask("linger-zero", Case(sent_reset(decided(A2, sock=held)), ON_HOST), Place())
    assert fit.evidence == ("21 bytes not acknowledged were thrown away",)
    assert fit.remedies[1].startswith("strace -f -tt -e trace=setsockopt,close -p 1432  # ")
    kernel = decided(A2, sock=held, task=task(flags=0x200000))
    assert ask("linger-zero", Case(sent_reset(kernel), ON_HOST), Place()).remedies == ()


def test_listener_closed() -> None:
    case = Case(sent_reset(decided(A4)), replace(ON_HOST, actor=SERVICE))
    again = nobody(HERE, **settings(tcp_migrate_req=0))
    drain, show, migrate = ask("listener-closed", case, again).remedies
    assert drain.startswith("before a restart")
    assert show.startswith("systemctl show -p Result,ExecMainStatus,NRestarts web.service  # ")
    assert migrate == (
        "sysctl -w net.ipv4.tcp_migrate_req=1  # is 0; helps only if old and new process listen at "
        "the same time (SO_REUSEPORT)"
    )
    evidence = ask("listener-closed", case, again).evidence
    assert evidence == (f"{HERE}:8080 accepts connections 3 ms later",)
    gone = ask("listener-closed", case, nobody(**settings(tcp_migrate_req=0)))
    assert not any("migrate" in remedy for remedy in gone.remedies)
    assert gone.evidence == (f"nothing accepts on {HERE}:8080 3 ms later",)


def test_destroyed_by_ss() -> None:
    ss = Process(77, "ss", cmdline="ss -K dport = 80")
    fit = ask("admin-destroyed", Case(sent_reset(decided(A10)), Facts(actor=ss)), Place())
    assert fit.evidence == ("ss[77] is: ss -K dport = 80",)
    assert fit.remedies == ("journalctl _COMM=sudo _COMM=cron -n 20  # who ran ss[77]?",)
    bpf = sent_reset(decided(("tcp_send_active_reset", "tcp_abort", "bpf_sock_destroy")))
    assert ask("admin-destroyed", Case(bpf, Facts(actor=ss)), Place()).remedies == ()


def test_injected() -> None:
    tool = replace(SERVICE, comm="suricata", cmdline="suricata -q 0")
    fit = ask("injected-by-local-tool", Case(sent_reset(None), Facts(actor=tool)), Place())
    assert fit.remedies[0].startswith("ps -o user,lstart,ppid,cmd -p 1432  # who runs suricata")
    assert fit.remedies[1].startswith("systemctl status web.service  # ")


# -- the other end ---------------------------------------------------------------------------------

ELSEWHERE = Place(peer=Peer(False, ("web",)))


def refused(place: Place, **facts: Any) -> Fit:
    one = received_reset(judged("SYN_SENT"), arrived())
    return ask("connection-refused", Case(one, replace(NAMELESS, **facts)), place)


def test_refused_by_another_namespace() -> None:
    known = Listeners((listener("::", CLIENT_PORT, netns=OTHER_NETNS),))
    fit = refused(ELSEWHERE, listeners=known)
    assert fit.remedies[0].startswith(
        f"ip netns exec web ss -ltnp 'sport = :{CLIENT_PORT}'  # if this shows nothing: start the "
    )
    assert fit.evidence == (
        f"{THERE} is an address on this host, in network namespace web",
        f"on that port listens nginx[1432] on [::]:{CLIENT_PORT}",
    )


def test_refused_here() -> None:
    fit = refused(Place(peer=Peer(True)))
    assert fit.remedies == (
        f"ss -ltnp 'sport = :{CLIENT_PORT}'  # if this shows nothing: start the service there, "
        f"unless NAT or IPVS on this host leads port {CLIENT_PORT} elsewhere (nft list ruleset, "
        "ipvsadm -ln)",
    )
    assert fit.evidence == (f"{THERE} is an address of this host, in this network namespace",)


def test_refused_by_another_host() -> None:
    path = Path("eth0", gateway="10.0.0.1")
    fit = refused(Place(peer=Peer(), path=path))
    there, way = fit.remedies
    assert there.startswith(f"on {THERE}: ss -ltn 'sport = :{CLIENT_PORT}'  # does the service")
    assert way.startswith(f"ip route get {THERE} from {HERE}  # is that the host you mean?")
    assert "the way there: eth0 by 10.0.0.1" in fit.evidence


def test_refused_asks_for_no_entry_that_the_rst_has_ended() -> None:
    assert "conntrack" not in advisers()["connection-refused"].wants


def test_refused_and_nothing_known() -> None:
    assert refused(Place()) == Fit()


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (segment(RST | ACK), "it names the process there that aborted"),
        (segment(RST, window=0), "why is the connection not known there"),
        (segment(RST, window=5), "only that end knows the reason"),
    ],
)
def test_where_to_look_for_the_reason(packet: Any, words: str) -> None:
    one = received_reset(judged("ESTABLISHED"), arrived(packet))
    (remedy,) = ask("peer-reset", Case(one, NAMELESS), Place()).remedies
    assert remedy.startswith(f"on {THERE}: sudo rsttrace -P {CLIENT_PORT}  # {words}")


def test_a_device_between() -> None:
    one = received_reset(judged("ESTABLISHED"), arrived(segment(RST, ttl=250)))
    fit = ask("middlebox-reset", Case(one, NAMELESS), Place(path=Path("eth0")))
    capture, trace = fit.remedies
    assert capture.startswith(
        f"tcpdump -nn -i eth0 -w /tmp/rst.pcap 'host {THERE} and tcp port {CLIENT_PORT}'  # and"
    )
    assert trace.startswith(f"traceroute -n -T -p {CLIENT_PORT} {THERE}  # ")
    assert trace.endswith("by its TTL the RST was made 5 hops away")


def test_server_wrote_on() -> None:
    past = history(flags=1, change_ns=T - 65 * SECOND, close_ns=0)
    late = received_reset(judged("CLOSE_WAIT", history=past, sock=sock(spoke_ms=20)))
    fit = ask("peer-closed-first", Case(late, ON_HOST), Place())
    assert "the peer had closed 65.0 s before" in fit.remedies[0]
    early = received_reset(judged("CLOSE_WAIT", history=past, sock=sock(spoke_ms=64_990)))
    assert ask("peer-closed-first", Case(early, ON_HOST), Place()) == Fit()


def test_forwarded() -> None:
    one = Reset(1, "forwarded", FLOW, T, wire=arrived(rst()))
    there, way = ask("forwarded-reset", Case(one, NAMELESS), Place()).remedies
    assert there.startswith(f"on {HERE}: sudo rsttrace  # it made this reset")
    assert way.startswith(f"ip route get {HERE}  # ")
    one.origin = sent_reset(decided(A1))
    assert ask("forwarded-reset", Case(one, NAMELESS), Place()) == Fit()


def test_mptcp_limit() -> None:
    one = sent_reset(answered(segment(), P2, state="LISTEN", reason="MPTCP_RST_EPROHIBIT"))
    show, change = ask("mptcp-reset", Case(one, NAMELESS), Place()).remedies
    assert show.startswith("ip mptcp limits show")
    assert change.startswith("ip mptcp limits set subflow 8 add_addr_accepted 8")


def test_mptcp_switched_off() -> None:
    one = sent_reset(answered(segment(), P2, state="LISTEN", reason="MPTCP_RST_EMIDDLEBOX"))
    place = Place(settings={"net.mptcp.enabled": "1"})
    _, off = ask("mptcp-reset", Case(one, NAMELESS), place).remedies
    assert off.startswith("sysctl -w net.mptcp.enabled=0  # for plain TCP")
    assert ask("mptcp-reset", Case(one, NAMELESS), Place()) == Fit()


def test_mptcp_time_out() -> None:
    frames = ("tcp_send_active_reset", "mptcp_do_fastclose", "mptcp_worker")
    place = Place(settings={"net.mptcp.close_timeout": "60"})
    one = sent_reset(decided(frames))
    assert ask("mptcp-reset", Case(one), place).evidence == (
        "net.mptcp.close_timeout is 60 s there",
    )
    closing = sent_reset(decided((*frames[:2], "__mptcp_close")))
    assert ask("mptcp-reset", Case(closing), place) == Fit()
