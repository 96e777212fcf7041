"""What a RST says in its payload."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsttrace.rstpayload import MAX_TEXT, REASONS, describe


def say(payload: bytes) -> str | None:
    return describe(payload, len(payload))


def test_no_payload() -> None:
    assert describe(b"", 0) is None


def test_payload_that_was_not_captured() -> None:
    assert describe(b"", 12) == "12 bytes that could not be read"


# -- text ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"Go away", '"Go away"'),
        (b"No such user\r\n", '"No such user"'),
        (b"too\tmany\n\nconnections\0\0\0", '"too many connections"'),
        ("trop de connexions établies".encode(), '"trop de connexions établies"'),
        (b"x", '"x"'),
    ],
)
def test_text(payload: bytes, said: str) -> None:
    assert say(payload) == said


def test_long_text_is_cut() -> None:
    assert say(b"a" * 100) == f'"{"a" * MAX_TEXT}..."'
    assert describe(b"only the beginning was capt", 40) == '"only the beginning was capt..."'


def test_text_whose_last_character_was_cut_by_the_capture() -> None:
    whole = "à bientôt é".encode()
    assert describe(whole[:-1], len(whole)) == '"à bientôt..."'
    assert say(whole[:-1]) == f"13 bytes: {whole[:-1].hex()}"  # cut by the sender: no text


def test_text_cannot_command_the_terminal() -> None:
    assert say(b"\x1b[31mred") == "8 bytes: 1b5b33316d726564"
    backwards = "evil\u202etxt".encode()
    assert say(backwards) == f"10 bytes: {backwards.hex()}"


# -- bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"\x00", "1 byte: 00"),
        (b"\x0e" + b"\0" * 20, "21 bytes: 0e" + "00" * 15 + "..."),
        (b"\r\n", "2 bytes: 0d0a"),
        (b"\xff\xfe", "2 bytes: fffe"),
    ],
)
def test_bytes(payload: bytes, said: str) -> None:
    assert say(payload) == said


# -- draft-ietf-tcpm-rst-diagnostic-payload --------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        # the three examples of its chapter 4
        ("33aa000200000000", "reset reason 2: desynchronized state (diagnostic payload)"),
        ("33aa000e00000000", "reset reason 14: connection timeout (diagnostic payload)"),
        ("33aa04d200007ed9", "reset reason 1234 of enterprise 32473 (diagnostic payload)"),
        ("33aa001200000000", "reset reason 18 (diagnostic payload)"),  # not registered yet
        # a registered number means something else for a vendor
        ("33aa000e00007ed9", "reset reason 14 of enterprise 32473 (diagnostic payload)"),
    ],
)
def test_diagnostic_payload(payload: str, said: str) -> None:
    assert say(bytes.fromhex(payload)) == said


@pytest.mark.parametrize(
    "payload",
    [
        "33aa000000000000",  # 0 is reserved
        "33aa0002000000",
        "33aa000200000000ff",
        "33ab000200000000",
        "aa33020000000000",
    ],
)
def test_malformed_diagnostic_payload(payload: str) -> None:
    raw = bytes.fromhex(payload)
    assert say(raw) == f"{len(raw)} bytes: {payload}"


def test_diagnostic_payload_is_not_the_beginning_of_something() -> None:
    assert describe(bytes.fromhex("33aa000200000000"), 9) == "9 bytes: 33aa000200000000..."


def test_registry() -> None:
    assert list(REASONS) == list(range(1, 18))
    assert all(REASONS.values())


# -- the CBOR form of its forerunner ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("193039 a1 01 02", "reset reason 2 (diagnostic payload)"),
        ("82 193039 a1 01 02", "reset reason 2 (diagnostic payload)"),
        (
            "193039 a2 01 1904d2 02 197ed9",
            "reset reason 1234 of enterprise 32473 (diagnostic payload)",
        ),
        ("193039 a1 03 6462757379", '"busy" (diagnostic payload)'),
        ("193039 a2 01 02 03 6462757379", 'reset reason 2: "busy" (diagnostic payload)'),
        # unknown keys with values of every type
        (
            "193039 a4 04 83010203 05 a10102 06 c11a514b67b0 03 6462757379",
            '"busy" (diagnostic payload)',
        ),
        ("193039 a3 20 21 04 f5 01 1b0000000000000007", "reset reason 7 (diagnostic payload)"),
    ],
)
def test_cbor(payload: str, said: str) -> None:
    assert say(bytes.fromhex(payload)) == said


@pytest.mark.parametrize(
    "payload",
    [
        "193039",
        "193039 a1",
        "193039 a1 01",
        "193039 a0",
        "193039 a1 02 01",  # neither code nor description
        "193039 a1 01 20",  # a negative code
        "193039 a1 03 65 6275",  # a text that is cut off
        "193039 a1 03 62 fffe",  # not UTF-8
        "193039 bf 01 02 ff",  # indefinite length is not in the subset
        "193039 bbffffffffffffffff 01 02",
        "193039 a1 04 8181818181818101",  # deeper than anything honest
        "19303a a1 01 02",
    ],
)
def test_other_cbor_is_only_bytes(payload: str) -> None:
    raw = bytes.fromhex(payload)
    assert say(raw) == f"{len(raw)} bytes: {raw[:16].hex()}{'...' if len(raw) > 16 else ''}"


def test_a_description_cannot_command_the_terminal() -> None:
    raw = bytes.fromhex("193039 a1 03 64 1b5b316d")
    assert say(raw) == '"\\x1b[1m" (diagnostic payload)'


# -- anything --------------------------------------------------------------------------------------

starts = st.sampled_from([b"", b"\x33\xaa", b"\x19\x30\x39", b"\x82\x19\x30\x39\xa2", b"\x9f"])


@given(start=starts, rest=st.binary(max_size=100), cut=st.integers(0, 2000))
def test_any_payload_gives_short_safe_text(start: bytes, rest: bytes, cut: int) -> None:
    payload = start + rest
    said = describe(payload, len(payload) + cut)
    assert (said is None) == (len(payload) + cut == 0)
    if said is not None:
        assert said.isprintable()
        assert said
        assert len(said) < 5 * MAX_TEXT
