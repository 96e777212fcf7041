"""Whom to become once everything is attached."""

from __future__ import annotations

import pytest

from rsttrace.privileges import NOBODY, user_to_become

BOTH = (NOBODY, NOBODY)


@pytest.mark.parametrize(
    ("environ", "who"),
    [
        ({"SUDO_UID": "1000", "SUDO_GID": "1000"}, (1000, 1000)),
        ({"SUDO_UID": "1000", "SUDO_GID": "100"}, (1000, 100)),
        ({}, BOTH),
        ({"SUDO_UID": "1000"}, BOTH),
        ({"SUDO_GID": "1000"}, BOTH),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, BOTH),  # sudo by root
        ({"SUDO_UID": "", "SUDO_GID": ""}, BOTH),
        ({"SUDO_UID": "root", "SUDO_GID": "root"}, BOTH),
        # setresuid(-1) would change nothing: still root
        ({"SUDO_UID": "-1", "SUDO_GID": "-1"}, BOTH),
        ({"SUDO_UID": "4294967295", "SUDO_GID": "4294967295"}, BOTH),
        ({"SUDO_UID": "4294967296", "SUDO_GID": "1000"}, BOTH),
    ],
)
def test_user_to_become(environ: dict[str, str], who: tuple[int, int]) -> None:
    assert user_to_become(environ) == who
