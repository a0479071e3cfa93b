"""How long the playground takes to redraw while a slider is dragged: every value is new, so nothing is cached.

CPU time, which is what the clock shows where a core is free.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import actsmith as acts
from actsmith.app.views import function_view
from actsmith.benchmarks.measure import Row, Say, absolute
from actsmith.files import to_json

DRAGGED = {
    "swish": ("x*sigmoid(b*x)", "b", 1.0),
    "crrelu": ("max(0, x) + eps*x*exp(-x**2/2)", "eps", 0.1),
    "tanh + sin": ("tanh(x) + a*sin(x)", "a", 0.2),
    "pelu": ("pelu", "a", 1.0),
    "mrepu": ("mrepu", "p", 2.0),
}
"""Name -> formula, the parameter that moves, where it starts."""
FOLDED = ("a*sin(3*x)*exp(-x**2/8)", "a", 1.0)
"""Seven folds: a preimage on each of eight branches for every value."""
AIM = 0.15


def rows(quick: bool, say: Say) -> Iterator[Row]:
    """Seconds from the arguments of a redraw to its JSON, in the worker process."""
    samples = acts.Empirical(np.random.default_rng(0).normal(size=20_000)).to_dict()
    laws: dict[str, Any] = {"normal": "normal(0,1)", "Laplace": "laplace(0,1)", "20,000 samples": samples}
    count = 8 if quick else 30
    for name, given in DRAGGED.items():
        yield absolute("redraw, CPU time, normal law", name, _drag(*given, laws["normal"], count), AIM)
    yield absolute("redraw, CPU time, normal law", "folded 7 times", _drag(*FOLDED, laws["normal"], 3), None)
    for label in ("Laplace", "20,000 samples"):
        yield absolute(f"redraw, CPU time, {label}", "swish", _drag(*DRAGGED["swish"], laws[label], count), AIM)


def _drag(text: str, parameter: str, first: float, law: Any, count: int) -> list[float]:
    function_view(text, {parameter: first}, law)  # what is computed once
    seconds = []
    for i in range(1, count + 1):
        began = time.process_time()
        to_json(function_view(text, {parameter: first * (1 + 0.01 * i)}, law))
        seconds.append(time.process_time() - began)
    return seconds
