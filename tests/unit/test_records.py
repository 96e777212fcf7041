"""What the facts of a socket mean."""

from __future__ import annotations

import pytest

from .build import earlier, history, record, sock

DEAD, DONE, LINGER = 1, 2, 16
WRAP = 0xFFFFFF00


@pytest.mark.parametrize(
    ("received", "copied", "flags", "unread"),
    [
        (1000, 1000, 0, 0),
        (1312, 1000, 0, 312),
        (1313, 1000, DONE, 312),  # the FIN takes one number
        (1001, 1000, DONE, 0),
        (56, WRAP, 0, 312),  # sequence numbers wrap
        (57, WRAP, DONE, 312),
    ],
)
def test_unread(received: int, copied: int, flags: int, unread: int) -> None:
    assert sock(rcv_nxt=received, copied_seq=copied, flags=flags).unread == unread


def test_nothing_is_unread_once_the_end_of_file_was_read() -> None:
    """tcp_recvmsg() steps copied_seq over the FIN when it returns 0."""
    assert sock(rcv_nxt=1001, copied_seq=1001, flags=DONE).unread == 0


def test_unacked() -> None:
    assert sock(write_seq=5010, snd_una=5000).unacked == 10
    assert sock(write_seq=10, snd_una=0xFFFFFFFB).unacked == 15


def test_flags() -> None:
    plain = sock()
    assert (plain.dead, plain.fin_received, plain.linger) == (False, False, False)
    assert sock(flags=DEAD).dead
    assert sock(flags=DONE).fin_received
    assert sock(flags=LINGER).linger


def test_history() -> None:
    assert history(flags=1).active
    assert history(flags=2).passive
    assert earlier().sent_reset
    assert earlier(flags=16).got_reset
    assert not earlier(flags=16).closed_by_process


def test_in_stack() -> None:
    one = record("kfree_skb", frames=("a", "b"))
    assert one.in_stack("x", "b")
    assert not one.in_stack("x")
    assert not one.in_stack()
