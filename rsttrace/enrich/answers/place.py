"""What the host says of the place of a reset: the sources, asked inside its namespace.

The question is enrich.place.Question as a JSON object, the answer that of sources.ask_all().
"""

from __future__ import annotations

import time
from typing import Any

from rsttrace.enrich.answers.namespaces import problem_of_entering
from rsttrace.enrich.place import Question
from rsttrace.enrich.sources import ask_all


def answer(about: Any) -> dict[str, Any]:
    """Ask the wanted sources."""
    question = Question(**{**about, "wants": tuple(about["wants"])})
    problem = problem_of_entering(question.netns)
    if problem:
        problems = dict.fromkeys(question.wants, problem)
        return {"time_ns": time.monotonic_ns(), "values": {}, "problems": problems}
    return ask_all(question)
