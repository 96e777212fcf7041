"""``nft list ruleset`` to chains: as JSON (libnftables-json(5)) and as text.

Only what compares with a literal becomes a ``Match``. nft hides a rule's comparison of the address
family if the rest seems to imply it, and does so wrongly before a reject (1.0.6); so that comes
from the netlink debug output. The text has the words of the rules, and devices of chains that
the JSON lacks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rsttrace.enrich.firewall import DROP, RESET, Match
from rsttrace.enrich.nftlisting import UNKNOWN, Listing, Told
from rsttrace.enrich.rulesets import GOTO, JUMP, OTHER, RETURN, Chain, Chains, Run, Statement, Table

# -t: no elements of named sets, which may be many; -s: no counters; -a: handles
AS_JSON = ("nft", "-t", "-j", "list", "ruleset")
AS_TEXT = ("nft", "--debug=netlink", "-t", "-s", "-a", "list", "ruleset")
TOOL = "nft"

MAX_VALUES = 64  # of a set: more would make the answer too long
# statements that never stop a rule
NEUTRAL = ("counter", "log", "mangle")
FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
ALL_FLAGS = 255
MIXED = ("inet", "netdev", "bridge")  # tables of these see packets of both families
FAMILIES = {"ip": "4", "ip6": "6", "ipv4": "4", "ipv6": "6"}
META = {
    "iif": "iif",
    "iifname": "iif",
    "oif": "oif",
    "oifname": "oif",
    "l4proto": "protocol",
    "nfproto": "family",
    "protocol": "family",
}
PAYLOAD = {
    ("tcp", "sport"): "sport",
    ("tcp", "dport"): "dport",
    ("th", "sport"): "sport",
    ("th", "dport"): "dport",
    ("ip", "saddr"): "saddr",
    ("ip", "daddr"): "daddr",
    ("ip", "protocol"): "protocol",
    ("ip6", "saddr"): "saddr",
    ("ip6", "daddr"): "daddr",
    ("ip6", "nexthdr"): "protocol",
    ("ether", "type"): "family",
}


def read(run: Run, by_iptables: set[Table]) -> Chains:
    """All chains but those of tables written with iptables, which are added to ``by_iptables``."""
    objects = json.loads(run(AS_JSON))["nftables"]
    rules = [o["rule"] for o in objects if "rule" in o]
    by_iptables.update(
        (r["family"], r["table"]) for r in rules if any("xt" in e for e in r["expr"])
    )
    chains = _chains(o["chain"] for o in objects if "chain" in o)
    chains = {k: c for k, c in chains.items() if (c.family, c.table) not in by_iptables}
    listing = Listing(run(AS_TEXT) if chains else "")
    for rule in rules:
        key = (rule["family"], rule["table"], rule["chain"])
        if chain := chains.get((TOOL, *key)):
            chain.statements += _statements(rule, listing.rule((*key, rule["handle"])))
    for (_, *place), chain in chains.items():
        chain.devices = chain.devices or listing.devices.get(tuple(place), ())
    return chains


def _chains(objects: Iterator[dict[str, Any]]) -> Chains:
    found: Chains = {}
    for one in objects:
        family, table, name = one["family"], one["table"], one["name"]
        devices = one.get("dev") or ()
        found[TOOL, family, table, name] = Chain(
            TOOL,
            family,
            table,
            name,
            one.get("hook", ""),
            (devices,) if isinstance(devices, str) else tuple(devices),
            DROP if one.get("policy") == "drop" else OTHER,
            f"table {family} {table}, chain {name}",
        )
    return found


def _statements(rule: dict[str, Any], told: Told) -> Iterator[Statement]:
    """One for each verdict the rule can give."""
    place = f"table {rule['family']} {rule['table']}, chain {rule['chain']}"
    place += f", handle {rule['handle']}"
    text, family = told.text, told.family if rule["family"] in MIXED else ""
    matches = [Match("family", (family,))] if family in FAMILIES.values() else []
    exact = family != UNKNOWN
    for one in rule["expr"]:
        kind, value = _first(one)
        if kind == "match":
            known = _match(value["op"], value["left"], value["right"])
            matches += known or ()
            exact = exact and known is not None
        elif kind == "vmap":
            yield from _map(value, place, text, matches, exact)
            exact = False
        elif verdict := _verdict(one):
            yield Statement(verdict[0], place, text or kind, tuple(matches), exact, verdict[1])
        elif kind not in NEUTRAL:
            exact = False


def _first(one: Any) -> tuple[str, Any]:
    """The kind of a statement and what it says; a few are a mere word."""
    return next(iter(one.items())) if isinstance(one, dict) else (str(one), None)


def _map(
    value: dict[str, Any], place: str, text: str, matches: list[Match], exact: bool
) -> Iterator[Statement]:
    elements = value["data"].get("set", ()) if isinstance(value["data"], dict) else ()
    for key, action in elements:
        known = _match("==", value["key"], key)
        if verdict := _verdict(action):
            own = (*matches, *(known or ()))
            sure = exact and known is not None
            yield Statement(verdict[0], place, text, own, sure, verdict[1])


def _verdict(one: Any) -> tuple[str, str] | None:
    """What is done and, for a jump, where it goes."""
    if not isinstance(one, dict):
        return None
    if "reject" in one:
        kind = (one["reject"] or {}).get("type")  # without a type: an ICMP message
        return (RESET if kind == "tcp reset" else DROP), ""
    if "drop" in one:
        return DROP, ""
    for verdict in (JUMP, GOTO):
        if verdict in one:
            return verdict, one[verdict]["target"]
    if "return" in one:
        return RETURN, ""
    return None


def _match(op: str, left: Any, right: Any) -> tuple[Match, ...] | None:
    """None: nothing this tool understands."""
    what, implied, mask = _left(left)
    if what == "flags":
        return _flag_match(op, mask, right)
    values = _values(right)
    if not what or mask is not None or values is None or op not in ("==", "!=", "in"):
        return None
    if what == "family":
        values = tuple(FAMILIES.get(v, v) for v in values)
    return (*implied, Match(what, values, op == "!="))


def _left(left: Any) -> tuple[str, tuple[Match, ...], Any]:
    """What is compared, what that implies of the packet, and the mask if there is one."""
    if not isinstance(left, dict):
        return "", (), None
    if "&" in left:
        inner, mask = left["&"]
        what, implied, _ = _left(inner)
        return what, implied, mask
    if "meta" in left:
        return META.get(left["meta"]["key"], ""), (), None
    payload = left.get("payload", {})
    protocol, name = payload.get("protocol"), payload.get("field")
    if (protocol, name) == ("tcp", "flags"):
        return "flags", (), None
    family = FAMILIES.get(protocol)
    implied = (Match("family", (family,)),) if family else ()
    return PAYLOAD.get((protocol, name), ""), implied, None


def _values(right: Any) -> tuple[str, ...] | None:
    """Literals as Match has them; None if one is something else, as a named set is."""
    if isinstance(right, dict) and "set" in right:
        right = right["set"]
    texts = [_text(one) for one in (right if isinstance(right, list) else [right])]
    if len(texts) > MAX_VALUES:
        return None
    return None if any(text is None for text in texts) else tuple(t for t in texts if t)


def _text(one: Any) -> str | None:
    if isinstance(one, dict) and "elem" in one:  # an element with a counter or a comment
        one = one["elem"]["val"]
    if isinstance(one, dict) and "range" in one:
        return "-".join(str(end) for end in one["range"])
    if isinstance(one, dict) and "prefix" in one:
        return f"{one['prefix']['addr']}/{one['prefix']['len']}"
    if isinstance(one, (int, str)) and not isinstance(one, bool):
        return None if str(one).startswith(("@", "$")) else str(one)
    return None


def _flag_match(op: str, mask: Any, right: Any) -> tuple[Match, ...] | None:
    """``tcp flags syn`` asks for any of them, ``tcp flags & (syn|ack) == syn`` for a value."""
    bits, masked = _bits(right), ALL_FLAGS if mask is None else _bits(mask)
    if bits is None or masked is None:
        return None
    if op in ("in", "!"):
        return (Match("flags", (f"{bits & masked}/0",), op == "in"),)
    if op in ("==", "!="):
        return (Match("flags", (f"{masked}/{bits}",), op == "!="),)
    return None


def _bits(names: Any) -> int | None:
    """A flag, a list of flags, or since nft 1.1 ``{"|": [flags]}``; None for anything else."""
    if isinstance(names, dict):
        names = names.get("|")
    total = 0
    for name in names if isinstance(names, list) else [names]:
        known = FLAGS.get(name) if isinstance(name, str) else name
        bits = _bits(name) if isinstance(name, dict) else known
        if not isinstance(bits, int):
            return None
        total |= bits
    return total
