"""Who listens where."""

from __future__ import annotations

from typing import Any

from rsttrace.listeners import Listeners
from rsttrace.records import Flow, Record

from .build import (
    CLIENT_PORT,
    HERE,
    MS,
    NETNS,
    OTHER_NETNS,
    PORT,
    SECOND,
    SK,
    THERE,
    T,
    listener,
    record,
    sock,
    task,
)


def change(state: str, address: str = HERE, time_ns: int = T, **changes: Any) -> Record:
    """A listening socket comes or goes."""
    any_address = "::" if ":" in address else "0.0.0.0"
    flow = Flow(address, PORT, any_address, 0, NETNS)
    plain = {"sk": SK, "flow": flow, "state": state, "time_ns": time_ns, "sock": sock()}
    return record("inet_sock_set_state", **{**plain, **changes})


def test_opened_and_closed() -> None:
    table = Listeners()
    table.feed(change("LISTEN", task=task("java", 7)))
    (found,) = table.on_port(PORT)
    assert (found.pid, found.comm, found.inode, found.address) == (7, "java", 777, HERE)
    assert found.name == "java[7] on 10.0.0.5:8080"
    assert table.closed_on_port(NETNS, PORT) is None
    table.feed(change("CLOSE", time_ns=T + MS))
    assert table.on_port(PORT) == []
    gone = table.closed_on_port(NETNS, PORT)
    assert gone
    assert (gone.closed_ns, gone.name) == (T + MS, found.name)


def test_known_from_the_start_and_closed() -> None:
    table = Listeners([listener()])
    table.feed(change("CLOSE"))
    assert table.on_port(PORT) == []
    assert table.closed_on_port(NETNS, PORT)


def test_accepted_connection_does_not_end_the_listener() -> None:
    """A child is born in LISTEN and goes to SYN_RECV: that is no listener that closes."""
    child = Flow(HERE, PORT, THERE, CLIENT_PORT, NETNS)
    for table in (Listeners([listener()]), Listeners([listener(sk=SK)])):
        table.feed(change("SYN_RECV", flow=child, sk=SK + 64))
        assert len(table.on_port(PORT)) == 1
        assert table.closed_on_port(NETNS, PORT) is None


def test_one_of_two_sockets_on_the_same_port_closes() -> None:
    """SO_REUSEPORT."""
    table = Listeners([listener(sk=SK), listener(sk=SK + 64, pid=8)])
    table.feed(change("CLOSE", sk=SK + 64))
    assert [x.pid for x in table.on_port(PORT)] == [1432]


def test_same_address_in_another_namespace_stays() -> None:
    table = Listeners([listener(netns=OTHER_NETNS), listener()])
    table.feed(change("CLOSE"))
    assert [x.netns for x in table.on_port(PORT)] == [OTHER_NETNS]
    assert table.closed_on_port(OTHER_NETNS, PORT) is None


def test_close_of_a_socket_that_was_not_known() -> None:
    table = Listeners([listener()])
    table.feed(change("CLOSE", address="127.0.0.1"))
    assert len(table.on_port(PORT)) == 1


def test_forgets_after_a_minute() -> None:
    table = Listeners([listener(), listener("127.0.0.1")])
    table.feed(change("CLOSE"))
    table.feed(change("CLOSE", address="127.0.0.1", time_ns=T + 61 * SECOND))
    gone = table.closed_on_port(NETNS, PORT)
    assert gone
    assert gone.address == "127.0.0.1"
    assert len(table._closed) == 1


def test_last_one_that_closed_is_named() -> None:
    table = Listeners([listener(pid=1), listener("127.0.0.1", pid=2)])
    table.feed(change("CLOSE"))
    table.feed(change("CLOSE", address="127.0.0.1", time_ns=T + MS))
    gone = table.closed_on_port(NETNS, PORT)
    assert gone
    assert gone.pid == 2


def test_found_at_start_and_told_by_a_record_counts_once() -> None:
    table = Listeners()
    table.feed(change("LISTEN"))
    table.add([listener(), listener("127.0.0.1")])
    assert [x.address for x in table.on_port(PORT)] == [HERE, "127.0.0.1"]


def test_accepting() -> None:
    table = Listeners([listener("127.0.0.1", pid=1), listener("0.0.0.0", pid=2)])
    assert getattr(table.accepting(NETNS, "127.0.0.1", PORT), "pid", None) == 1
    assert getattr(table.accepting(NETNS, HERE, PORT), "pid", None) == 2
    assert table.accepting(OTHER_NETNS, HERE, PORT) is None
    assert table.accepting(NETNS, HERE, PORT + 1) is None
    assert Listeners([listener("::")]).accepting(NETNS, HERE, PORT)  # dual stack
    assert Listeners([listener("127.0.0.1")]).accepting(NETNS, HERE, PORT) is None


def test_most_specific_one_accepts() -> None:
    """Whatever order they came in."""
    three = [listener("::", pid=1), listener("0.0.0.0", pid=2), listener(HERE, pid=3)]
    for order in (three, three[::-1]):
        for count, pid in ((3, 3), (2, 2), (1, 1)):
            table = Listeners([x for x in order if x.pid <= count])
            assert getattr(table.accepting(NETNS, HERE, PORT), "pid", None) == pid


def test_names() -> None:
    assert listener("::1").name == "nginx[1432] on [::1]:8080"
    assert listener(pid=0, comm="").name == "a process on 10.0.0.5:8080"


def test_record_without_addresses() -> None:
    table = Listeners([listener()])
    table.feed(change("CLOSE", flow=None))
    assert len(table.on_port(PORT)) == 1
