"""What is watched. This one is the whole host; the others change what they need to."""

from __future__ import annotations

from rsttrace.diagnose.family import Follower
from rsttrace.diagnose.scope import Wanted, everything
from rsttrace.report.model import Command, Probe


class Subject:
    """Made first, with all rights and before anything is compiled; then ``attach``, then ``begin``.

    ``hooks``: of kernel.features.ON_DEMAND, to be attached as well. ``wanted``: which resets belong
    to it. ``own_time``: it ends by itself, so that no time limit is needed.
    """

    hooks: tuple[str, ...] = ()
    own_time = False
    wanted: Wanted = staticmethod(everything)

    @property
    def what(self) -> str:
        """For people; empty for the whole host."""
        return ""

    def attach(self, kernel: Follower) -> None:
        """The trace is on, and this process still has all its rights."""

    def begin(self) -> None:
        """The trace is on and the rights are given up: let it start."""

    def over(self) -> bool:
        """Has it ended by itself? Asked after every poll."""
        return False

    def news(self) -> str:
        """Something people should know while they wait, once; mostly nothing."""
        return ""

    def finish(self) -> None:
        """The watch has ended, the report comes next."""

    def close(self) -> None:
        """Nothing of it may stay behind but what it is itself."""

    @property
    def command(self) -> Command | None:
        """What became of the command."""
        return None

    @property
    def probe(self) -> Probe | None:
        """What became of the connections that were tried."""
        return None

    def problems(self) -> tuple[str, ...]:
        """What could not be seen, in sentences."""
        return ()
