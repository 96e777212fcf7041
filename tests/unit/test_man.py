"""The manual page names every command and every option."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from rsttrace.cli import COMMANDS, cli

MAN = (Path(__file__).parents[2] / "tools" / "rsttrace.8").read_text().replace("\\-", "-")
OPTIONS = MAN.partition("\n.SH OPTIONS\n")[2].partition("\n.SH ")[0]
TAGS = re.findall(r"^\.TP\n(.*)$", OPTIONS, re.MULTILINE)


def options(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    for param in command.params:
        if isinstance(param, click.Option):
            yield from ((path, text) for text in (*param.opts, *param.secondary_opts))
    if isinstance(command, click.Group) and path != "rsttrace":
        for name, child in command.commands.items():
            yield from options(child, f"{path} {name}")


def all_options() -> list[tuple[str, str]]:
    found = list(options(cli, "rsttrace"))
    for name in COMMANDS:
        found += options(import_module(f"rsttrace.cli.{name}").command, name)
    return found


@pytest.mark.parametrize(("path", "option"), all_options())
def test_option_is_in_the_manual(path: str, option: str) -> None:
    named = re.compile(rf"(?<![\w-]){re.escape(option)}(?![\w-])")
    assert any(named.search(tag) for tag in TAGS), f"{path} {option}"


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_in_the_manual(command: str) -> None:
    assert re.search(rf"^\.(B|SS|BR|RB|TP).*\b{command}\b", MAN, re.MULTILINE), command
