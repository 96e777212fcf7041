"""A recording to explained resets, without root and on any machine."""

from __future__ import annotations

from rsttrace.explain import Explained
from rsttrace.pipeline import Pipeline
from rsttrace.recording import Recording


def replay(recording: Recording) -> list[Explained]:
    """All resets of a recording, in order of time."""
    since = recording.host.get("started_ns")
    pipeline = Pipeline(recording.layout, recording, recording.context, recording.listeners, since)
    for begin, end in recording.losses:
        pipeline.note_loss(begin, end)
    for batch in recording.batches:
        pipeline.feed(batch)
    return pipeline.flush()
