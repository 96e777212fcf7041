"""What doctor says of hosts that were made up."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rsttrace import doctor
from rsttrace.cli import run
from rsttrace.errors import EXIT_CANNOT_TRACE, EXIT_OK, CannotTrace
from rsttrace.kernel.features import HOOKS, Features

NEWEST = Features(
    args=dict.fromkeys(HOOKS, 3),
    offsets={("sock", "sk_uid"): 12},
    enums={"sk_rst_reason": {1: "X"}, "skb_drop_reason": {2: "Y"}},
    page_struct_size=64,
)
OLD = Features(
    args={h: 2 for h in HOOKS if h != "inet_sk_error_report"},
    offsets={("sock", "sk_uid"): None},
    enums={"sk_rst_reason": {}, "skb_drop_reason": {}},
    page_struct_size=64,
    missing_hooks=("inet_sk_error_report",),
)


class Host:
    """Patches what doctor asks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.set("loader.check_rights", lambda: None)
        self.set("loader.import_bcc", lambda: SimpleNamespace(__file__="/x/bcc/__init__.py"))
        self.set("_load", lambda: "7 programs compiled, loaded and attached")
        self.set("Symbols", lambda: SimpleNamespace(available=True))
        self.set("tracefs.mounted", lambda: Path("/sys/kernel/tracing"))
        self.set("_lockdown", lambda: doctor.Check("lockdown", doctor.OK, "none"))
        self.features(NEWEST)

    def set(self, name: str, value: Any) -> None:
        self._patch.setattr(f"rsttrace.doctor.{name}", value)

    def features(self, features: Features) -> None:
        self.set("probe", lambda _source: features)

    def refuse(self, name: str, message: str, hint: str = "") -> None:
        def fail(*_: object) -> None:
            raise CannotTrace(message, hint)

        self.set(name, fail)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def marks() -> dict[str, str]:
    return {c.name: c.mark for c in doctor.examine()}


def test_all_is_well(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(marks().values()) == {"ok"}
    assert run(["doctor"]) == EXIT_OK
    out = capsys.readouterr().out
    assert out.endswith("This host can trace.\n")
    assert all(hook in out for hook in HOOKS)


def test_old_kernel_is_no_failure(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.features(OLD)
    found = marks()
    assert found["sk_rst_reason"] == found["skb_drop_reason"] == found["members"] == "note"
    assert found["inet_sk_error_report"] == "MISSING"
    assert run(["doctor"]) == EXIT_OK
    assert "sock.sk_uid" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["loader.check_rights", "loader.import_bcc", "probe", "_load"])
def test_what_stops_a_trace(name: str, host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.refuse(name, "it is not there.", "Install it with: apt install it")
    assert run(["doctor"]) == EXIT_CANNOT_TRACE
    out = capsys.readouterr().out
    assert "it is not there." in out
    assert "          Install it with: apt install it\n" in out
    assert out.endswith("This host cannot trace yet.\n")


def test_hook_that_is_needed(host: Host) -> None:
    args = {h: 3 for h in HOOKS if h != "tcp_send_reset"}
    host.features(Features(args, {}, NEWEST.enums, 64))
    (check,) = (c for c in doctor.examine() if c.name == "tcp_send_reset")
    assert (check.mark, check.fatal) == ("MISSING", True)
    assert "who decided" in check.text


def test_nothing_is_loaded_if_something_else_is_missing(host: Host) -> None:
    host.refuse("loader.check_rights", "tracing the kernel needs root.")
    host.set("_load", lambda: pytest.fail("it was loaded"))
    assert "load" not in marks()


def test_hidden_symbols_and_no_tracefs_do_not_stop_it(host: Host) -> None:
    host.set("Symbols", lambda: SimpleNamespace(available=False))
    host.set("tracefs.mounted", lambda: None)
    found = {c.name: c for c in doctor.examine()}
    assert found["symbols"].mark == "MISSING"
    assert "kptr_restrict" in found["symbols"].remedy
    assert found["tracefs"].mark == "note"
    assert not any(c.fatal for c in found.values())


@pytest.mark.parametrize(
    ("text", "mark", "fatal"),
    [
        ("[none] integrity confidentiality\n", "ok", False),
        ("none [integrity] confidentiality\n", "ok", False),
        ("none integrity [confidentiality]\n", "MISSING", True),
        (None, "ok", False),
    ],
)
def test_lockdown(
    text: str | None, mark: str, fatal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_path: Path) -> str:
        if text is None:
            raise OSError(errno.ENOENT, "No such file or directory")
        return text

    monkeypatch.setattr(Path, "read_text", read)
    check = doctor._lockdown()
    assert (check.mark, check.fatal) == (mark, fatal)
