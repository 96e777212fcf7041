"""From the output options to a sink."""

from __future__ import annotations

import sys
from typing import Any

from rsttrace.output import terminal_width, wants_colour
from rsttrace.sinks import Sink
from rsttrace.sinks.block import BlockSink
from rsttrace.sinks.jsonl import JsonSink
from rsttrace.sinks.oneline import OneLineSink
from rsttrace.sinks.words import relative_clock, wall_clock


def make_sink(options: dict[str, Any], wall_offset_ns: int, start_ns: int) -> Sink:
    """The sink that ``output_options`` ask for."""
    if options["as_json"]:
        return JsonSink(wall_offset_ns)
    clock = relative_clock(start_ns) if options["relative"] else wall_clock(wall_offset_ns)
    if options["oneline"]:
        return OneLineSink(clock, options["wide"])
    return BlockSink(
        clock,
        terminal_width(sys.stdout),
        options["verbose"],
        wants_colour(options["color"], sys.stdout),
    )
