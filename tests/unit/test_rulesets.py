"""Firewall rules out of what nft and iptables said on a real kernel (tests/data/firewall).

The files were made by nft 1.0.6 and iptables 1.8.9 from the rules that the .nft.txt shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rsttrace.enrich import nftables, rulesets
from rsttrace.enrich.firewall import (
    DROP,
    RESET,
    Firewall,
    Match,
    Rule,
    Segment,
    fitting,
    from_json,
    holds,
    said_for,
    to_json,
)
from rsttrace.enrich.nftlisting import UNKNOWN, Listing, Told
from rsttrace.enrich.rulesets import JUMP, Chain, CommandFailed, Statement, collect, relevant
from rsttrace.enrich.xtables import parse
from rsttrace.packet import ACK, PSH, RST, SYN

DATA = Path(__file__).resolve().parents[1] / "data" / "firewall"
NO_LEGACY = {"ip": False, "ip6": False}


def recorded(name: str, **instead: str | None) -> Callable[[Sequence[str]], str]:
    """A ``run`` that gives the recorded outputs; ``instead``: by command, None: not installed."""

    def run(argv: Sequence[str]) -> str:
        command = argv[0].replace("-", "_")
        if command in instead:
            text = instead[command]
            if text is None:
                raise CommandFailed(f"{argv[0]} is not installed")
            return text
        if argv[0] == "nft":
            return (DATA / f"{name}.nft.{'json' if '-j' in argv else 'txt'}").read_text()
        return (DATA / f"{name}.{argv[0]}").read_text()

    return run


def of(name: str, legacy: bool = False, **instead: str | None) -> Firewall:
    return collect(recorded(name, **instead), True, {"ip": legacy, "ip6": legacy})


RICH, IPTABLES = of("rich"), of("iptables", legacy=True)


def segment(**changes: Any) -> Segment:
    """A SYN from a high port, IPv4."""
    plain = {"saddr": "10.0.0.1", "daddr": "10.87.0.2", "sport": 40000, "flags": SYN}
    return Segment(**{"family": 4, **plain, **changes})


def six(**changes: Any) -> Segment:
    return segment(**{"family": 6, "saddr": "fd01::1", "daddr": "fd00:87::2", **changes})


def places(
    firewall: Firewall, hook: str, table: str, one: Segment, verdict: str = RESET
) -> list[str]:
    """What is left of the place behind the table, of the rules that fit."""
    rules = [r for r in firewall.rules if r.hook == hook and r.place.startswith(f"table {table},")]
    asked = [r for r in rules if r.verdict == verdict]
    return [r.place.split(", ", 1)[1] for r in fitting(asked, one)]


# -- nft -------------------------------------------------------------------------------------------

SYN_RULE = "chain input, handle 17"  # tcp flags syn / fin,syn: surely fits every SYN before it


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (segment(dport=443), ["chain input, handle 10"]),
        (segment(dport=110), ["chain input, handle 12"]),
        (segment(dport=8005), ["chain input, handle 12"]),
        (segment(dport=8011), [SYN_RULE]),
        (segment(dport=8005, saddr="11.0.0.1"), [SYN_RULE]),
        # a limit is in it: it may have been this one, or what comes behind
        (six(dport=1, saddr="2001:db8::1"), ["chain input, handle 14", SYN_RULE]),
        (six(dport=22, saddr="2001:db8::1"), [SYN_RULE]),
        (six(dport=1, saddr="2001:db8::2"), [SYN_RULE]),
        # by the verdict map: "web" surely does not reject 10.0.0.1
        (segment(dport=23), [SYN_RULE]),
        (segment(dport=23, saddr="10.9.9.9"), ["chain deep, handle 35", SYN_RULE]),
        (segment(dport=26), [SYN_RULE]),
        # no SYN
        (segment(dport=1, flags=ACK), ["chain input, handle 19"]),
        (segment(dport=1, flags=SYN | ACK), [SYN_RULE]),
        (segment(dport=443, flags=PSH | ACK), ["chain input, handle 10"]),
    ],
)
def test_rules_of_a_long_chain(one: Segment, expected: list[str]) -> None:
    assert places(RICH, "input", "inet filter", one) == expected


def test_flags_that_are_not_known_exclude_nothing_that_asks_for_flags() -> None:
    found = places(RICH, "input", "inet filter", segment(dport=7, flags=None))
    handles = [int(place.rsplit(" ", 1)[1]) for place in found]
    assert handles == [17, 18, 19, 20, 22]  # 22: tcp over IPv4, sure
    found = places(RICH, "input", "inet filter", six(dport=8443, flags=None))
    # the set of ports is not known, so neither is whether "web" was asked
    assert [int(place.rsplit(" ", 1)[1]) for place in found] == [17, 18, 19, 32, 31]


def test_family_that_nft_hides() -> None:
    """``meta nfproto`` is in the kernel's rule; nft 1.0.6 shows it neither in JSON nor in text."""
    texts = {r.text for r in RICH.rules if "inet hidden" in r.place}
    assert texts == {"tcp dport 80 reject with tcp reset"}
    assert places(RICH, "input", "inet hidden", segment(dport=80)) == ["chain c, handle 2"]
    assert places(RICH, "input", "inet hidden", six(dport=80)) == ["chain c, handle 3"]


def test_without_the_bytecode_a_family_may_be_hidden() -> None:
    text = (DATA / "rich.nft.txt").read_text()
    words = text[text.index("table inet filter {") :]
    listing = Listing(words)
    assert listing.rule(("inet", "hidden", "c", 2)) == Told(
        "tcp dport 80 reject with tcp reset", UNKNOWN
    )
    assert Listing("").rule(("inet", "hidden", "c", 2)) == Told()

    def run(argv: Sequence[str]) -> str:
        return words if "-j" not in argv else recorded("rich")(argv)

    unsure = collect(run, True, NO_LEGACY)
    assert len(places(unsure, "input", "inet hidden", segment(dport=80))) == 4
    assert places(unsure, "forward", "ip6 t6", six(dport=7)) == ["chain forward, handle 2"]


@pytest.mark.parametrize(
    ("hook", "table", "one", "expected"),
    [
        ("forward", "ip6 t6", six(dport=7), ["chain forward, handle 2"]),
        ("forward", "ip6 t6", six(dport=8), []),
        ("ingress", "netdev nd", segment(dport=7, iif="veth0"), ["chain in, handle 4"]),
        ("ingress", "netdev nd", segment(dport=7, iif="veth1"), []),
        ("ingress", "netdev nd", segment(dport=7), ["chain in, handle 4"]),
        ("ingress", "netdev nd", segment(dport=8, iif="veth1"), ["chain two, handle 5"]),
        ("ingress", "netdev nd", six(dport=8, iif="veth1"), []),
        ("ingress", "inet ing", six(dport=7, iif="veth0"), ["chain in, handle 2"]),
    ],
)
def test_hooks(hook: str, table: str, one: Segment, expected: list[str]) -> None:
    assert places(RICH, hook, table, one) == expected


@pytest.mark.parametrize(
    ("hook", "table", "one", "expected"),
    [
        ("output", "inet filter", segment(flags=RST), ["chain output, handle 37"]),
        ("output", "inet filter", segment(flags=RST | ACK), ["chain output, handle 37"]),
        ("output", "inet filter", segment(flags=ACK), ["chain output"]),  # its policy
        ("egress", "netdev nd", segment(flags=RST, oif="veth0"), ["chain eg, handle 6"]),
        ("egress", "netdev nd", segment(flags=RST, oif="eth0"), []),
        ("input", "bridge br", segment(flags=RST), ["chain in, handle 2"]),
        (
            "input",
            "inet filter",
            segment(flags=RST, dport=53),
            ["chain input, handle 23", "chain input, handle 24"],
        ),
    ],
)
def test_drops(hook: str, table: str, one: Segment, expected: list[str]) -> None:
    assert places(RICH, hook, table, one, DROP) == expected


def test_words() -> None:
    names = [rule.name for rule in RICH.rules]
    assert "table inet filter, chain input, handle 10: tcp dport 443 reject with tcp reset" in names
    (mail,) = (r.text for r in RICH.rules if "handle 12" in r.place)
    assert mail == (
        "tcp dport { 25, 110, 8000-8010 } ip saddr 10.0.0.0/8 counter "
        'reject with tcp reset comment "no mail"'
    )


def test_what_does_not_bear_on_a_rst_is_left_out() -> None:
    """What is accepted, what only returns, and a chain that nothing leads to."""
    handles = {r.place.rsplit(" ", 1)[1] for r in RICH.rules if "table inet filter," in r.place}
    assert handles.isdisjoint({"8", "9", "33", "34", "36", "39"})
    (plain,) = (r for r in RICH.rules if r.place.endswith("chain input, handle 24"))
    assert plain.verdict == DROP  # it rejects with an ICMP message


# -- iptables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "one", "expected"),
    [
        ("input", segment(dport=443), ["iptables: chain INPUT, rule 1"]),
        ("input", segment(dport=443, saddr="11.0.0.1"), []),
        ("input", six(dport=443), ["ip6tables: chain INPUT, rule 1"]),
        (
            "input",
            segment(dport=8004, daddr="10.0.0.2", iif="veth7"),
            ["iptables: chain web, rule 1"],
        ),
        ("input", segment(dport=8004, iif="veth7"), ["iptables: chain web2, rule 1"]),
        ("input", segment(dport=8004, iif="eth0"), []),
        ("input", segment(dport=8011, iif="veth7"), []),
        ("input", segment(dport=80, flags=ACK, iif="veth7"), []),
        ("input", segment(dport=25), ["iptables: chain INPUT, rule 3"]),
        ("input", segment(dport=9999), ["iptables: chain INPUT, rule 5"]),
        ("input", segment(dport=99), ["iptables-legacy: chain INPUT, rule 1"]),
        ("forward", six(dport=99), ["ip6tables-legacy: chain FORWARD, rule 1"]),
        ("output", segment(flags=RST), ["iptables: chain OUTPUT, rule 1"]),
        ("output", segment(flags=ACK), []),
    ],
)
def test_iptables(hook: str, one: Segment, expected: list[str]) -> None:
    families = ("ip", "inet") if one.family == 4 else ("ip6", "inet")
    rules = [r for r in IPTABLES.rules if r.hook == hook and r.family in families]
    verdict = DROP if hook == "output" else RESET
    found = fitting((r for r in rules if r.tool != "nft" and r.verdict == verdict), one)
    assert [f"{r.tool}: {r.place.split(', ', 1)[1]}" for r in found] == expected


def test_iptables_has_its_own_words() -> None:
    assert (
        "iptables table filter, chain web, rule 1: ! -d 10.87.0.2/32 -p tcp -m comment "
        '--comment "-j DROP, ! two words" -j REJECT --reject-with tcp-reset'
    ) in [rule.name for rule in IPTABLES.rules]


def test_tables_of_iptables_are_told_once() -> None:
    """They are in nf_tables as well; the tables beside them keep nft's words."""
    by_nft = {r.place for r in IPTABLES.rules if r.tool == "nft" and r.verdict == RESET}
    assert by_nft == {
        "table inet native, chain input, handle 2",
        "table ip nat2, chain c, handle 2",
    }
    names = [rule.name for rule in IPTABLES.rules]
    assert len(names) == len(set(names))


def test_policy() -> None:
    found = [r for r in IPTABLES.rules if r.text == "policy drop"]
    assert [(r.tool, r.place, r.hook) for r in found] == [
        ("nft", "table ip mangle, chain POSTROUTING", "postrouting"),
        ("nft", "table ip6 mangle, chain POSTROUTING", "postrouting"),
        ("iptables", "table filter, chain FORWARD", "forward"),
        ("ip6tables", "table filter, chain FORWARD", "forward"),
    ]


@pytest.mark.parametrize(
    ("options", "match", "exact"),
    [
        ("-s 10.0.0.0/255.0.0.0", Match("saddr", ("10.0.0.0/255.0.0.0",)), True),
        ("! -i eth0", Match("iif", ("eth0",), True), True),
        ("-o br+", Match("oif", ("br*",)), True),
        ("-p tcp -m tcp --sport 1:5", Match("sport", ("1-5",)), True),
        ("-p tcp -m multiport ! --dports 1,2:3", Match("dport", ("1", "2-3"), True), True),
        ("-p tcp -m tcp --tcp-flags ALL NONE", Match("flags", ("63/0",)), True),
        ("-p tcp -m tcp ! --tcp-flags SYN,RST SYN", Match("flags", ("6/2",), True), True),
        ("-d 10.0.0.1/32 -m set --match-set x src", Match("daddr", ("10.0.0.1/32",)), False),
        ("-d 10.0.0.1/32 -m limit --limit 5/sec", Match("daddr", ("10.0.0.1/32",)), False),
        ("-p tcp -m multiport --ports 7", Match("protocol", ("tcp",)), False),
    ],
)
def test_iptables_options(options: str, match: Match, exact: bool) -> None:
    text = f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {options} -j REJECT --reject-with tcp-reset\n"
    (rule,) = relevant(parse(text, "iptables", "ip")).rules
    assert rule.verdict == RESET
    assert rule.own[-1] == match
    assert rule.exact is exact


def test_comment_is_no_option() -> None:
    rule = '-m comment --comment "--reject-with tcp-reset" -j REJECT --reject-with icmp-net-unreach'
    text = f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {rule}\nCOMMIT\n"
    (dropping,) = relevant(parse(text, "iptables", "ip")).rules
    assert dropping.verdict == DROP


# -- which can have been asked ---------------------------------------------------------------------


def chains(*rows: tuple[str, list[Statement]]) -> rulesets.Chains:
    """Chains by name; the one called input is the hook's."""
    return {
        ("nft", "ip", "t", name): Chain(
            "nft", "ip", "t", name, "input" if name == "input" else "", statements=statements
        )
        for name, statements in rows
    }


def reset(place: str, *matches: Match, exact: bool = True) -> Statement:
    return Statement(RESET, place, "reject", matches, exact)


def jump(target: str, *matches: Match, exact: bool = True, verdict: str = JUMP) -> Statement:
    return Statement(verdict, "", "", matches, exact, target)


PORT_80 = Match("dport", ("80",))
LEAVE = Statement("return", "", "", (PORT_80,))


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ([reset("a")], [jump("x"), reset("b")], ["a"]),
        ([reset("a", PORT_80)], [jump("x", PORT_80), reset("b")], ["a"]),
        # perhaps the chain was not entered
        ([reset("a")], [jump("x", exact=False), reset("b")], ["a", "b"]),
        # perhaps it was left before
        (
            [Statement("return", "", "", (PORT_80,)), reset("a")],
            [jump("x"), reset("b")],
            ["a", "b"],
        ),
        ([jump("y", exact=False, verdict="goto"), reset("a")], [jump("x"), reset("b")], ["a", "b"]),
        # the rule itself is not sure
        ([reset("a", exact=False)], [jump("x"), reset("b")], ["a", "b"]),
        # in the hook's own chain a return ends it, as an accept does
        ([], [LEAVE, reset("a"), reset("b")], ["a"]),
        # another chain is entered twice
        ([reset("a", exact=False)], [jump("x"), jump("x"), reset("b")], ["a", "b"]),
    ],
)
def test_behind_a_rule_that_surely_fits(
    inner: list[Statement], outer: list[Statement], expected: list[str]
) -> None:
    found = relevant(chains(("input", outer), ("x", inner), ("y", [])))
    assert [r.place for r in fitting(found.rules, segment(dport=80))] == expected


def test_two_chains_of_one_hook_are_both_asked() -> None:
    """The first may have accepted the packet: that ends only its own chain."""
    both = chains(("input", [reset("a")]))
    both["nft", "ip", "t", "late"] = Chain("nft", "ip", "t", "late", "input")
    both["nft", "ip", "t", "late"].statements = [reset("b")]
    assert [r.place for r in fitting(relevant(both).rules, segment())] == ["a", "b"]


def test_loops_and_depth_end() -> None:
    """The kernel allows neither; a listing that was read while it changed might have them."""
    loop = chains(("input", [jump("x"), reset("a")]), ("x", [reset("b"), jump("x")]))
    found = relevant(loop)
    assert {r.place for r in found.rules} == {"a", "b"}
    assert len(found.rules) <= rulesets.MAX_DEPTH + 1


def test_too_many_rules() -> None:
    """Thousands of blocked addresses must not hide the few that reject."""
    many = [Statement(DROP, str(i), "") for i in range(rulesets.MAX_RULES + 1)]
    found = relevant(chains(("input", [*many, reset("z")])))
    assert found.more == (DROP,)
    assert [r.place for r in found.rules] == [*map(str, range(rulesets.MAX_RULES)), "z"]
    assert relevant(chains(("input", many[1:]))).more == ()


def test_too_many_steps() -> None:
    """Sixteen chains that call the next one twice are 65536 ways."""
    rows = [(f"c{i}", [jump(f"c{i + 1}"), jump(f"c{i + 1}")]) for i in range(14)]
    last = ("c14", [Statement("other", "", "")] * 9 + [reset("z")])
    found = relevant(chains(("input", [jump("c0")]), *rows, last))
    assert found.more == (DROP, RESET)
    assert found.rules


# -- matches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "one", "answer"),
    [
        (Match("dport", ("1-5", "7")), segment(dport=7), True),
        (Match("dport", ("1-5", "7")), segment(dport=6), False),
        (Match("dport", ("1-5", "7"), True), segment(dport=6), True),
        (Match("dport", ("http",)), segment(dport=80), None),
        (Match("dport", ("80",)), segment(), None),
        (Match("saddr", ("10.0.0.0/30",)), segment(), True),
        (Match("saddr", ("10.0.0.2-10.0.0.9",)), segment(), False),
        (Match("saddr", ("10.0.0.0-10.0.0.9",)), segment(), True),
        (Match("saddr", ("fd00::/8",)), segment(), False),
        (Match("saddr", ("fd00::1",)), segment(), False),
        (Match("saddr", ("10.0.0.0/255.0.255.0",)), segment(), None),
        (Match("saddr", ("localhost",)), segment(), None),
        (Match("family", ("4",)), segment(), True),
        (Match("family", ("6",)), segment(), False),
        (Match("protocol", ("udp", "tcp")), segment(), True),
        (Match("protocol", ("6",)), segment(), True),
        (Match("protocol", ("udp",)), segment(), False),
        (Match("iif", ("eth*",)), segment(iif="eth12"), True),
        (Match("iif", ("eth1",)), segment(iif="eth12"), False),
        (Match("iif", ("eth1",)), segment(), None),
        (Match("flags", ("23/2",)), segment(), True),
        (Match("flags", ("x",)), segment(), None),
        (Match("mark", ("1",)), segment(), None),
    ],
)
def test_holds(match: Match, one: Segment, answer: bool | None) -> None:
    assert holds(match, one) is answer


# -- what can go wrong -----------------------------------------------------------------------------


def test_nothing_is_installed() -> None:
    found = of("rich", nft=None)
    assert (found.rules, found.problem) == ((), "nft is not installed")


def test_no_nf_tables_in_this_kernel() -> None:
    """Asking nft would load it."""

    def run(argv: Sequence[str]) -> str:
        raise AssertionError(argv)

    assert collect(run, False, NO_LEGACY) == Firewall()


def test_legacy_alone() -> None:
    found = collect(recorded("iptables"), False, {"ip": True, "ip6": False})
    assert [r.tool for r in found.rules] == ["iptables-legacy"]


@pytest.mark.parametrize("odd", ["", "[]", "{}", "null", '{"nftables": [{"rule": {}}]}', "junk"])
def test_output_that_is_not_understood(odd: str) -> None:
    found = of("rich", nft=odd)
    assert found.rules == ()
    assert found.problem == "the rules of nftables are not understood"


def test_iptables_is_not_installed() -> None:
    """The rules it wrote are in nf_tables, but in a form that nft does not show."""
    missing = dict.fromkeys(("iptables_nft_save", "iptables_save"))
    found = of("iptables", **missing)
    assert found.problem == "iptables-save is not installed"
    assert {r.tool for r in found.rules} == {"nft", "ip6tables"}


def test_iptables_save_that_is_not_the_nft_one() -> None:
    save = (DATA / "iptables.iptables-nft-save").read_text()
    assert of("iptables", iptables_nft_save=None, iptables_save=save) == of("iptables")


def test_table_that_iptables_does_not_show() -> None:
    """Somebody mixed in a rule that only nft can write."""
    found = of("iptables", iptables_nft_save="# Table `filter' is incompatible\n")
    assert found.problem == "iptables-save does not show table filter"


# -- between processes, in recordings --------------------------------------------------------------


@pytest.mark.parametrize("firewall", [RICH, IPTABLES, Firewall(), Firewall((), (DROP,), "why")])
def test_json(firewall: Firewall) -> None:
    text = json.dumps(to_json(firewall))
    assert from_json(json.loads(text)) == firewall
    assert len(text) < 200_000


RULE = to_json(RICH)["rules"][0]


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [],
        {},
        "x",
        {"rules": [], "more": "", "problem": ""},
        {"rules": [], "more": [], "problem": None},
        {"rules": [[]], "more": [], "problem": ""},
        {"rules": [RULE[:-1]], "more": [], "problem": ""},
        {"rules": [[*RULE, 1]], "more": [], "problem": ""},
        {"rules": [[*RULE[:-1], ["x"]]], "more": [], "problem": ""},
        {"rules": [[1, *RULE[1:]]], "more": [], "problem": ""},
        {"rules": [[*RULE[:6], [["a", "b"]], *RULE[7:]]], "more": [], "problem": ""},
        {"rules": 7, "more": [], "problem": ""},
    ],
)
def test_json_that_is_odd(odd: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        from_json(odd)


def test_names_cannot_command_a_terminal() -> None:
    evil = Rule(RESET, "nft", "ip", "input", "table ip \x1b[31m", "\x07")
    (got,) = from_json(to_json(Firewall((evil,)))).rules
    assert got.place.isprintable()
    assert got.text.isprintable()


def test_long_words_are_shortened() -> None:
    statement = Statement(RESET, "p", "x " * 500)
    (rule,) = relevant(chains(("input", [statement]))).rules
    assert len(rule.text) == rulesets.MAX_TEXT
    assert rule.text.endswith(" ...")


def test_said_for() -> None:
    one, two = Firewall(problem="1"), Firewall(problem="2")
    said = [(10, one), (20, two)]
    assert said_for(said, 9) == said_for(said, 10) == one
    assert said_for(said, 11) == two
    assert said_for(said, 21) is None


def test_flags_as_nft_1_1_writes_them() -> None:
    """1.0.6 has a plain list there."""
    flags = ["fin", "syn", "rst", "ack"]
    new = {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, {"|": flags}]}
    old = {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, flags]}
    assert nftables._match("==", new, "syn") == nftables._match("==", old, "syn")
    assert nftables._match("==", new, "syn") == (Match("flags", ("23/2",)),)
    assert nftables._match("==", new, {"set": ["syn"]}) is None
