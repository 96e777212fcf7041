"""Commands for the firewall rule that was found, and the settings of known programs."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from importlib import resources
from typing import Any

import pytest

from rsttrace import toml
from rsttrace.advice import known_software
from rsttrace.advice.fit import Fit
from rsttrace.advice.known_software import Setting, Software, software
from rsttrace.causes import catalogue
from rsttrace.causes.case import Case
from rsttrace.enrich import Facts, Process
from rsttrace.enrich.firewall import DROP, RESET, Firewall, Rule
from rsttrace.enrich.place import Place
from rsttrace.model import Reset
from rsttrace.packet import ACK, RST, SYN

from .advised import advised, ask
from .build import (
    A1,
    A1_EXIT,
    A2,
    FLOW6,
    HERE,
    NGINX,
    P1,
    PORT,
    SECOND,
    SOFTIRQ,
    THERE,
    XMIT,
    T,
    answered,
    decided,
    dropped,
    earlier,
    history,
    left,
    rst,
    segment,
    sent_reset,
    sock,
    task,
)

NFT = ("nft_do_chain", "nft_do_chain_inet", "nf_hook_slow")
INPUT = (*XMIT, "nf_send_reset", "nft_reject_inet_eval", *NFT, "ip_local_deliver", *SOFTIRQ)
LEGACY = (*XMIT, "nf_send_reset", "reject_tg", "ipt_do_table", "nf_hook_slow", "ip_local_deliver")
XT = (
    *(*XMIT, "nf_send_reset", "reject_tg", "nft_target_eval_xt", "nft_do_chain"),
    *("nft_do_chain_ipv4", "nf_hook_slow", "ip_local_deliver"),
)
EARLY = (*INPUT[: -len(SOFTIRQ) - 1], "ip_rcv", "process_backlog")
OUT = ("sk_skb_reason_drop", *NFT, "__ip_local_out", "tcp_v4_send_reset", "tcp_v4_rcv")
TEXT = f"tcp dport {PORT} reject with tcp reset"
XTEXT = f"-p tcp -m tcp --dport {PORT} -j REJECT --reject-with tcp-reset"


def rule(place: str = "", text: str = TEXT, **changes: Any) -> Rule:
    place = place or "table inet filter, chain input, handle 7"
    plain = {"verdict": RESET, "tool": "nft", "family": "inet", "hook": "input"}
    return Rule(**{**plain, "place": place, "text": text, **changes})


def xrule(tool: str = "iptables", text: str = XTEXT, **changes: Any) -> Rule:
    return rule("table filter, chain INPUT, rule 3", text, tool=tool, family="ip", **changes)


def rejected(one: Rule, frames: tuple[str, ...] = INPUT, flags: int = SYN, **changes: Any) -> Fit:
    drop = dropped(segment(flags), "NETFILTER_DROP", ifindex=2, skb_iif=2)
    made = sent_reset(None, left(rst(), frames), trigger_drop=drop, **changes)
    facts = Facts(netns_name="host", firewall=Firewall((one,)))
    return ask("firewall-reject", Case(made, facts), Place())


def suppressed() -> Reset:
    drop = dropped(rst(), "NETFILTER_DROP", frames=OUT, ifindex=2, skb_iif=0)
    return sent_reset(answered(segment(SYN), P1), direction="suppressed", judged=drop)


# -- the rule --------------------------------------------------------------------------------------


def test_nft_rule() -> None:
    assert rejected(rule()).remedies == (
        f"nft -a list chain inet filter input  # the rule: {TEXT}",
        f"nft insert rule inet filter input handle 7 ip saddr {THERE} ip daddr {HERE} tcp dport "
        f"{PORT} accept  # if wanted: lets {THERE} connect to {HERE}:{PORT}, nobody else",
        "nft delete rule inet filter input handle 7  # opens what it rejects to everybody",
    )


def test_nft_rule_that_hits_connections() -> None:
    assert (
        "handle 7 ct state established,related accept  # "
        in rejected(rule(), flags=ACK).remedies[1]
    )
    # before connection tracking has seen the segment its state is not known
    early = rejected(rule(hook="prerouting"), EARLY, flags=ACK).remedies
    assert [remedy.split()[1] for remedy in early] == ["-a", "delete"]


FORWARD = (*INPUT[: -len(SOFTIRQ) - 1], "ip_forward", "process_backlog")


def test_nft_rule_behind_nat() -> None:
    """The RST has the public address again; the rule saw the inner one, and it is not known."""
    made = sent_reset(None, left(rst(RST | ACK), FORWARD))
    forward = rule("table inet filter, chain forward, handle 7", "reject", hook="forward")
    facts = Facts(netns_name="host", firewall=Firewall((forward,)))
    show, inner, delete = ask("firewall-reject", Case(made, facts), Place()).remedies
    assert show.startswith("nft -a list chain inet filter forward  # ")
    assert inner == (
        "if wanted: accept it before that rule; behind NAT the rule sees the inner address: look "
        "it up with conntrack -L or nft list ruleset"
    )
    assert delete.startswith("nft delete rule inet filter forward handle 7  # ")
    seen = rejected(forward, FORWARD).remedies[1]
    assert seen.startswith("nft insert rule inet filter forward handle 7 ip saddr"), "as dropped"
    # what goes by the connection's state does not depend on addresses
    made = sent_reset(None, left(rst(), FORWARD))
    alive = ask("firewall-reject", Case(made, facts), Place()).remedies
    assert "ct state established,related accept" in alive[1]


def test_nft_rule_for_ipv6() -> None:
    frames = (*XMIT, "nf_send_reset6", "nft_reject_inet_eval", *NFT, "ip6_input", *SOFTIRQ)
    made = sent_reset(None, left(rst(RST | ACK), frames), flow=FLOW6)
    facts = Facts(netns_name="host", firewall=Firewall((rule(),)))
    fit = ask("firewall-reject", Case(made, facts), Place())
    assert f"ip6 saddr {FLOW6.remote} ip6 daddr {FLOW6.local} tcp dport" in fit.remedies[1]


@pytest.mark.parametrize(
    ("tool", "command", "frames"),
    [("iptables", "iptables-nft", XT), ("iptables-legacy", "iptables-legacy", LEGACY)],
)
def test_iptables_rule(tool: str, command: str, frames: tuple[str, ...]) -> None:
    show, before, delete = rejected(xrule(tool), frames).remedies
    assert show == f"{command} -t filter -S INPUT 3  # the rule: {XTEXT}"
    assert before.startswith(
        f"{command} -t filter -I INPUT 3 -p tcp -s {THERE} -d {HERE} --dport {PORT} -j ACCEPT  # "
    )
    assert delete.startswith(f"{command} -t filter -D INPUT {XTEXT}  # ")


def test_a_comment_in_a_rule_is_no_command() -> None:
    """As iptables-save writes it, with a backslash before each quotation mark."""
    text = rf"""-m comment --comment "it\'s $(reboot) \\ \"x\"" {XTEXT}"""
    delete = rejected(xrule(text=text), XT).remedies[2]
    words = shlex.split(delete.partition("  # ")[0])
    assert words[words.index("--comment") + 1] == r'''it's $(reboot) \ "x"'''


@pytest.mark.parametrize("text", [f"{XTEXT[:40]} ...", '-m comment --comment "half'])
def test_a_rule_that_is_not_whole_goes_by_its_number(text: str) -> None:
    assert (
        rejected(xrule(text=text), XT)
        .remedies[2]
        .startswith("iptables-nft -t filter -D INPUT 3  #")
    )


def test_a_table_with_an_evil_name() -> None:
    evil = rule("table inet a;reboot, chain in$(x), handle 7")
    assert rejected(evil).remedies[0].startswith("nft -a list chain inet 'a;reboot' 'in$(x)'  # ")


@pytest.mark.parametrize("place", ["table inet a b, chain c, handle 7", "somewhere"])
def test_a_place_that_is_not_understood(place: str) -> None:
    assert rejected(rule(place)) == Fit()


def test_several_rules_that_fit() -> None:
    """Any of them could be the wrong one."""
    two = (rule(), rule("table inet filter, chain input, handle 8", f"{TEXT} # two"))
    drop = dropped(segment(SYN), "NETFILTER_DROP", ifindex=2, skb_iif=2)
    made = sent_reset(None, left(rst(), INPUT), trigger_drop=drop)
    assert ask("firewall-reject", Case(made, Facts(firewall=Firewall(two))), Place()) == Fit()
    unknown = Facts(firewall=Firewall(problem="nft is not installed"))
    assert ask("firewall-reject", Case(made, unknown), Place()) == Fit()
    assert ask("firewall-reject", Case(made, Facts()), Place()) == Fit()


def test_suppressed() -> None:
    out = rule("table inet filter, chain output, handle 9", "tcp flags rst drop", hook="output")
    drop = Rule(DROP, *(getattr(out, f.name) for f in fields(Rule)[1:]))
    verdict = advised(suppressed(), facts=Facts(netns_name="host", firewall=Firewall((drop,))))
    show, before, delete, inner, *_ = verdict.remedies
    assert verdict.cause == "reset-suppressed"
    assert show == "nft -a list chain inet filter output  # the rule: tcp flags rst drop"
    assert before.startswith(
        "nft insert rule inet filter output handle 9 tcp flags rst accept  # lets resets pass"
    )
    assert delete.endswith("# lets everything pass that it drops")
    # and the first thing to do about what TCP wanted to reset for: a closed port
    assert inner.startswith("ss -ltnp  # is the service there")
    assert not any("remove the cause" in remedy for remedy in verdict.remedies)


def test_suppressed_by_a_policy() -> None:
    place = "table inet filter, chain output"
    drop = rule(place, "policy drop", hook="output", verdict=DROP)
    facts = Facts(netns_name="web", firewall=Firewall((drop,)))
    show, before = ask("reset-suppressed", Case(suppressed(), facts), Place()).remedies
    assert show.startswith("ip netns exec web nft -a list chain inet filter output")
    assert before.startswith(
        "ip netns exec web nft add rule inet filter output tcp flags rst accept"
    )


# -- known programs --------------------------------------------------------------------------------


def test_files_are_complete() -> None:
    assert software()
    for program in software():
        assert program.names, program.id
        assert program.settings, program.id
        for one in program.settings:
            assert one.cause in catalogue(), f"{program.id}: {one.cause}"
            assert one.role in ("", "client", "server")
            assert one.after_s < one.before_s
            assert one.setting
            assert one.change
            assert one.text
            assert not one.text.endswith(".")
            words = (one.cause, one.setting, one.change, one.where, one.text, *one.cmdline)
            for value in (*words, *one.ended, one.function, *program.cmdline):
                assert value == value.strip()
                assert value.isprintable()


DEFAULTS = {
    ("apache2", "KeepAliveTimeout"): "5",
    ("mysql", "wait_timeout"): "28800",
    ("nginx", "keepalive_timeout"): "75s",
    ("postgres", "idle_session_timeout"): "0",
    ("redis", "maxclients"): "10000",
    ("redis", "tcp-keepalive"): "300",
    ("redis", "timeout"): "0",
    ("sshd", "LoginGraceTime"): "120",
    ("sshd", "MaxStartups"): "10:30:100",
}


@pytest.mark.parametrize(("program", "setting"), DEFAULTS)
def test_to_paste_the_default_would_change_nothing(program: str, setting: str) -> None:
    changes = [
        one.change
        for file in software()
        if file.id == program
        for one in file.settings
        if one.setting == setting
    ]
    assert changes
    for change in changes:
        assert change.strip(";").split()[-1] != DEFAULTS[program, setting]


def test_no_name_is_of_two_programs() -> None:
    names = [name for program in software() for name in program.names]
    assert len(set(names)) == len(names)


def test_files_have_no_other_keys() -> None:
    directory = resources.files(known_software.__package__) / "software"
    texts = [f.read_text(encoding="utf-8") for f in directory.iterdir() if f.name.endswith(".toml")]
    assert len(texts) == len(software())
    assert all(set(toml.loads(text)) <= {"names", "cmdline", "setting"} for text in texts)


ON = Setting(
    "linger-zero",
    "reset_timedout_connection",
    "reset_timedout_connection off;",
    "nginx.conf: http",
    "resets on purpose",
)
PROGRAM = Software("nginx", ("nginx", "python3*"), (ON,))
SAYS = "reset_timedout_connection off;  # nginx (nginx.conf: http): resets on purpose"


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (Process(1, "nginx"), True),
        (Process(1, "worker", "/usr/sbin/nginx"), True),
        (Process(1, "worker", "/usr/bin/python3.11"), True),
        (Process(1, "nginx-proxy"), False),
        (Process(1, "", ""), False),
    ],
)
def test_names(process: Process, expected: bool) -> None:
    assert PROGRAM.runs_as(process) is expected


def of_files(one: Reset, cause: str, facts: Facts) -> str:
    """What the files say to this end's reset."""
    return "\n".join(known_software.remedies(Case(one, facts), cause))


@pytest.mark.parametrize(
    ("process", "id", "expected"),
    [
        (Process(1, "httpd", "/usr/sbin/httpd", "/usr/sbin/httpd -DFOREGROUND"), "apache2", True),
        (Process(1, "apache2", "/usr/sbin/apache2", "/usr/sbin/apache2 -k start"), "apache2", True),
        (Process(1, "httpd", "/bin/busybox", "httpd -f -p 80 -h /www"), "apache2", False),
        (Process(1, "java", "", "java org.apache.catalina.startup.Bootstrap"), "tomcat", True),
        (Process(1, "java", "", "java -jar elasticsearch.jar"), "tomcat", False),
    ],
)
def test_names_that_several_have(process: Process, id: str, expected: bool) -> None:
    (program,) = (one for one in software() if one.id == id)
    assert program.runs_as(process) is expected


def said(
    monkeypatch: pytest.MonkeyPatch,
    facts: Facts,
    cause: str = "linger-zero",
    one: Reset | None = None,
    **changes: Any,
) -> tuple[str, ...]:
    setting = Setting(**{**{f.name: getattr(ON, f.name) for f in fields(Setting)}, **changes})
    monkeypatch.setattr(
        known_software, "software", lambda: (Software("nginx", ("nginx",), (setting,)),)
    )
    reset = one or sent_reset(decided(A2, history=history(flags=2)))  # this end is the server
    return known_software.remedies(Case(reset, facts), cause)


@pytest.mark.parametrize("role", ["actor", "owner", "closer", "listener"])
def test_setting_of_whoever_acts(monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    assert said(monkeypatch, Facts(**{role: NGINX})) == (SAYS,)


def test_setting_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, Facts(actor=NGINX, owner=NGINX, listener=NGINX)) == (SAYS,)


def test_setting_of_another_cause_or_program(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, Facts(owner=NGINX), "closed-port") == ()
    assert said(monkeypatch, Facts(owner=Process(1, "curl"))) == ()
    assert said(monkeypatch, Facts()) == ()


def test_setting_for_a_role(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, Facts(owner=NGINX), role="server") == (SAYS,)
    assert said(monkeypatch, Facts(owner=NGINX), role="client") == ()


def test_setting_for_a_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = Facts(owner=NGINX)  # nginx: worker process
    assert said(monkeypatch, facts, cmdline=("*master*", "*worker*")) == (SAYS,)
    assert said(monkeypatch, facts, cmdline=("*master*",)) == ()


@pytest.mark.parametrize(
    ("lived", "changes", "expected"),
    [
        (0.05, {"after_s": 4}, False),
        (4.1, {"after_s": 4}, True),
        (3600, {"before_s": 5}, False),
        (0.05, {"before_s": 5}, True),
        (None, {"after_s": 4, "before_s": 5}, True),
    ],
)
def test_setting_for_an_age(
    monkeypatch: pytest.MonkeyPatch,
    lived: float | None,
    changes: dict[str, float],
    expected: bool,
) -> None:
    """Age when it was closed: data that comes an hour after that does not make it older."""
    ends = {"established_ns": T, "close_ns": T + int((lived or 0) * SECOND)}
    if lived is None:
        ends = {"established_ns": 0}
    life = earlier(old_state="FIN_WAIT2", flags=2 | 32, change_ns=T + 3600 * SECOND, **ends)
    one = sent_reset(answered(segment(), P1, history=life))
    facts = Facts(closer=NGINX)
    assert bool(said(monkeypatch, facts, one=one, **changes)) is expected


def ending(how: str) -> Reset:
    """A process left unread data: it ``exited``, was ``killed``, or ``lived`` on."""
    code = {"exited": 0x100, "killed": 9, "lived": 0}[how]
    flags = 0x400100 if how == "lived" else 0x400104
    frames = A1 if how == "lived" else A1_EXIT
    doer = task(flags=flags, exit_code=code)
    return sent_reset(decided(frames, task=doer, history=history(flags=2)))


@pytest.mark.parametrize(
    ("ended", "how"),
    [
        (("SIG*",), "killed"),
        (("SIGTERM", "SIGKILL"), "killed"),
        (("status 1",), "exited"),
        (("no",), "lived"),
    ],
)
def test_setting_for_a_way_to_end(
    monkeypatch: pytest.MonkeyPatch, ended: tuple[str, ...], how: str
) -> None:
    for one in ("killed", "exited", "lived"):
        told = said(monkeypatch, Facts(actor=NGINX), one=ending(one), ended=ended)
        assert bool(told) is (one == how)
    # nobody saw who closed, or it was another program
    assert said(monkeypatch, Facts(listener=NGINX), one=ending(how), ended=ended) == ()
    other = Facts(actor=Process(1, "other"), listener=NGINX)
    assert said(monkeypatch, other, one=ending(how), ended=ended) == ()


def test_setting_for_a_way_to_end_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """The closer had ended before the data came."""
    for flags, code, expected in ((4, 0x100, "status 1"), (4, 15, "SIGTERM"), (0, 0, "no")):
        life = earlier(flags=2 | 32, close_flags=flags, close_exit_code=code, old_state="FIN_WAIT2")
        one = sent_reset(answered(segment(), P1, history=life))
        for ended in ("status 1", "SIGTERM", "no"):
            told = said(monkeypatch, Facts(closer=NGINX), one=one, ended=(ended,))
            assert bool(told) is (ended == expected)


def test_setting_for_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (5, 100, 4096):
        full = sock(ack_backlog=limit + 1, max_ack_backlog=limit)
        one = sent_reset(answered(segment(), P1, state="LISTEN", sock=full))
        python = Facts(listener=Process(1, "python3"))
        told = of_files(one, "accept-queue-overflow", python)
        assert ("request_queue_size" in told) is (limit == 5)
        assert ("asyncio" in told) is (limit == 100)


HAPROXY = Process(7, "haproxy")


def lingered(ttl: int = 64) -> Reset:
    first = decided(A2, sock=sock(flags=16), history=history(flags=2 | 32))
    return sent_reset(first, left(rst(ttl=ttl)))


def test_setting_that_the_stack_proves() -> None:
    """Where the stack has the proof it is that one alone; elsewhere all that fit."""
    here = Facts(actor=HAPROXY, user_frames=("close (libc.so.6)", "session_accept_fd (haproxy)"))
    told = of_files(lingered(), "linger-zero", here)
    assert "tcp-request connection accept" in told
    assert "nolinger" not in told
    told = of_files(lingered(), "linger-zero", Facts(actor=HAPROXY, user_frames=("close (libc)",)))
    assert "tcp-request connection accept" in told
    assert "nolinger" in told
    # the stack is that of another program
    other = replace(here, actor=Process(8, "other"), listener=HAPROXY)
    assert "nolinger" in of_files(lingered(), "linger-zero", other)


def test_silent_drop() -> None:
    """HAProxy with the right to use TCP_REPAIR says nothing; without, its RST dies on the way."""
    facts = Facts(actor=HAPROXY, user_frames=("session_accept_fd (haproxy)",))
    told = of_files(lingered(ttl=1), "linger-zero", facts)
    assert told.count("  # ") == told.count("silent-drop resets with a TTL of 1") == 1
    assert "silent-drop" not in of_files(lingered(), "linger-zero", facts)
    for cause in ("late-segment", "stale-connection"):
        for flags, state, drops in (
            (34, "ESTABLISHED", 1),
            (42, "ESTABLISHED", 0),
            (34, "LAST_ACK", 0),
        ):
            life = earlier(flags=flags, old_state=state)
            one = sent_reset(answered(segment(), P1, history=life))
            told = of_files(one, cause, Facts(closer=HAPROXY, listener=HAPROXY))
            assert told.count("silent-drop forgets") == drops
            told = of_files(one, cause, Facts(closer=NGINX, listener=HAPROXY))
            assert "silent-drop" not in told


def test_sshd() -> None:
    """An old session that ends is neither a login that took too long, nor one too many."""
    server, session = Process(1, "sshd"), Process(9, "sshd-session")
    for lived, flags, code, expected in (
        (0.001, 0, 0, "MaxStartups"),
        (120, 4, 0x300, "LoginGraceTime"),
        (7200, 4, 15, ""),
        (30, 4, 0xFF00, ""),
    ):
        closed = T + int(lived * SECOND)
        ended = {"close_flags": flags, "close_exit_code": code, "old_state": "FIN_WAIT2"}
        life = earlier(flags=34, established_ns=T, close_ns=closed, change_ns=closed, **ended)
        one = sent_reset(answered(segment(), P1, history=life))
        told = of_files(one, "data-after-close", Facts(closer=session, listener=server))
        assert told.split(" ")[0] == expected


def test_settings_come_before_what_changes_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_software, "software", lambda: (PROGRAM,))
    facts = Facts(owner=NGINX, netns_name="host")
    verdict = advised(sent_reset(decided(A2, sock=sock(flags=16))), facts=facts)
    assert verdict.remedies[0] == SAYS
    assert verdict.remedies[1].startswith("remove SO_LINGER {1,0} from nginx[1432]")


def test_settings_come_behind_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    backlog = Setting("accept-queue-overflow", "listen", "listen 80 backlog=4096;", "", "see above")
    program = Software("nginx", ("nginx",), (backlog,))
    monkeypatch.setattr(known_software, "software", lambda: (program,))
    full = sock(ack_backlog=129, max_ack_backlog=128)
    frames = ("tcp_v4_send_reset", "tcp_check_req", "tcp_v4_rcv", *SOFTIRQ)
    one = sent_reset(answered(segment(), frames, state="LISTEN", sock=full))
    place = Place(settings={"net.core.somaxconn": "4096"})
    verdict = advised(one, place, Facts(listener=NGINX, netns_name="host"))
    assert "from 128 to 4096" in verdict.remedies[0]
    assert "listen 80 backlog=4096;  # nginx: see above" in verdict.remedies


def test_a_process_that_closed_nothing_gets_no_settings() -> None:
    """A1 of a program that nobody knows."""
    facts = Facts(owner=Process(5, "my-own-thing"), netns_name="host")
    remedies = advised(sent_reset(decided(A1, sock=sock(rcv_nxt=1312))), facts=facts).remedies
    assert remedies[0].startswith("let my-own-thing[5] shutdown(SHUT_WR), read to end of file")
