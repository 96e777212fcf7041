"""The user's filter as C: here it is run in Python on the bytes of a record."""

from __future__ import annotations

import ipaddress
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsttrace.kernel.filters import Filter, c_expression

from .build import CLIENT_PORT, HERE, LAYOUT, NETNS, OTHER_NETNS, PORT, THERE, mapped, raw_record

_WORD = re.compile(r"\(\((u64|u32) \*\)\(r\)->(\w+)\)\[(\d)\]")
_FIELD = re.compile(r"\(r\)->(\w+)")
_IN_NETNS = re.compile(r"IN_NETNS\(r, (\d+)\)")  # as the loader defines it for a kernel with BTF


def keeps(wanted: Filter, **fields: Any) -> bool:
    """Does the C expression keep this record? Only what c_expression() writes is understood."""
    values = LAYOUT.unpack(raw_record(**fields))
    text = c_expression(wanted)
    assert text.count("(") == text.count(")")
    text = _IN_NETNS.sub(r"(r)->netns == \1", text)
    text = _WORD.sub(r"word('\1', '\2', \3)", text)
    text = _FIELD.sub(r"values['\1']", text).replace("ULL", "")
    text = text.replace("&&", " and ").replace("||", " or ").replace("!(", " not (")
    assert not re.search(r"[*&|!;{}]|->", text), text

    def word(kind: str, name: str, index: int) -> int:
        size = 8 if kind == "u64" else 4
        return int.from_bytes(values[name][index * size : (index + 1) * size], sys.byteorder)

    return bool(eval(text, {"__builtins__": {}}, {"values": values, "word": word}))


def ends(local: str = HERE, remote: str = THERE, **more: Any) -> dict[str, Any]:
    plain = {"laddr": mapped(local), "raddr": mapped(remote), "lport": PORT, "rport": CLIENT_PORT}
    return {**plain, "netns": NETNS, **more}


def test_no_filter_keeps_all() -> None:
    assert c_expression(Filter()) == "1"
    assert keeps(Filter(), **ends())


@pytest.mark.parametrize("address", [HERE, THERE])
def test_address_of_either_end(address: str) -> None:
    assert keeps(Filter(addresses=(address,)), **ends())
    assert not keeps(Filter(addresses=(address,)), **ends("10.1.0.1", "10.1.0.2"))


def test_ipv6_address() -> None:
    assert keeps(Filter(addresses=("fd00::9",)), **ends("fd00::5", "fd00::9"))
    assert not keeps(Filter(addresses=("fd00::9",)), **ends("fd00::5", "fd00::8"))
    assert not keeps(Filter(addresses=("::10.0.0.5",)), **ends())


def test_one_of_several_addresses() -> None:
    assert keeps(Filter(addresses=("192.0.2.1", THERE)), **ends())


@pytest.mark.parametrize(
    ("ports", "kept"),
    [
        (((PORT, PORT),), True),
        (((CLIENT_PORT, CLIENT_PORT),), True),
        (((80, 80), (443, 443)), False),
        (((80, 80), (8000, 8080)), True),
        (((8080, 8090),), True),
        (((8081, 8090),), False),
    ],
)
def test_ports(ports: tuple[tuple[int, int], ...], kept: bool) -> None:
    assert keeps(Filter(ports=ports), **ends()) == kept


def test_local_and_remote_ports() -> None:
    here, there = ((PORT, PORT),), ((CLIENT_PORT, CLIENT_PORT),)
    assert keeps(Filter(local_ports=here, remote_ports=there), **ends())
    assert not keeps(Filter(local_ports=there), **ends())
    assert not keeps(Filter(remote_ports=here), **ends())


def test_family() -> None:
    v6 = ends("fd00::5", "fd00::9")
    assert keeps(Filter(family=4), **ends())
    assert not keeps(Filter(family=4), **v6)
    assert keeps(Filter(family=6), **v6)
    assert not keeps(Filter(family=6), **ends())


def test_netns() -> None:
    assert keeps(Filter(netns=(OTHER_NETNS, NETNS)), **ends())
    assert not keeps(Filter(netns=(OTHER_NETNS,)), **ends())


def test_all_conditions_must_hold() -> None:
    both = Filter(addresses=(HERE,), ports=((PORT, PORT),), netns=(NETNS,), family=4)
    assert keeps(both, **ends())
    assert not keeps(both, **ends(netns=OTHER_NETNS))
    assert not keeps(both, **ends(lport=1))


def test_only_fields_that_the_record_has() -> None:
    every = Filter((HERE,), ((1, 2),), ((3, 4),), ((5, 6),), 6, (7,), "sent")
    used = set(_FIELD.findall(c_expression(every)))
    assert used == {"laddr", "raddr", "lport", "rport"}
    assert _IN_NETNS.findall(c_expression(every)) == ["7"]
    assert used <= {name for name, _ in LAYOUT.fields}


def test_hooks_that_are_not_needed() -> None:
    assert Filter().skipped_hooks == ()
    assert "netif_receive_skb" in Filter(direction="sent").skipped_hooks
    assert "tcp_send_reset" in Filter(direction="received").skipped_hooks


addresses = st.sampled_from([HERE, THERE, "192.0.2.7", "fd00::5", "fd00::9", "::", "0.0.0.0"])
port = st.integers(0, 65535)
ranges = st.tuples(port, port).map(lambda pair: (min(pair), max(pair)))


@given(
    wanted=st.builds(
        Filter,
        addresses=st.lists(addresses, max_size=2).map(tuple),
        ports=st.lists(ranges, max_size=2).map(tuple),
        local_ports=st.lists(ranges, max_size=1).map(tuple),
        remote_ports=st.lists(ranges, max_size=1).map(tuple),
        family=st.sampled_from([None, 4, 6]),
        netns=st.lists(st.sampled_from([NETNS, OTHER_NETNS]), max_size=2).map(tuple),
    ),
    local=addresses,
    remote=addresses,
    lport=port,
    rport=port,
)
def test_means_what_the_filter_says(
    wanted: Filter, local: str, remote: str, lport: int, rport: int
) -> None:
    def within(ranges: tuple[tuple[int, int], ...], *ports: int) -> bool:
        return not ranges or any(a <= p <= b for a, b in ranges for p in ports)

    v4 = all(ipaddress.ip_address(a).version == 4 for a in (local, remote))
    expected = (
        (not wanted.addresses or bool({local, remote} & set(wanted.addresses)))
        and within(wanted.ports, lport, rport)
        and within(wanted.local_ports, lport)
        and within(wanted.remote_ports, rport)
        and (wanted.family is None or v4 == (wanted.family == 4))
        and (not wanted.netns or NETNS in wanted.netns)
    )
    assert keeps(wanted, **ends(local, remote, lport=lport, rport=rport)) == expected
