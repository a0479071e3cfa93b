"""How long the theory takes: one analysis, the entropy of samples, and screening of random formulas."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import numpy as np

import actsmith as acts
from actsmith.benchmarks.measure import Row, Say, absolute

FUNCTIONS = ("tanh", "sigmoid", "softplus", "relu", "erf", "sin", "atan")
SCREENED_PER_SECOND = 300.0


def rows(quick: bool, say: Say) -> Iterator[Row]:
    """Seconds of the theory's answers, each with its target."""
    names = list(acts.CATALOGUE)[: 8 if quick else None]
    yield absolute("analyze a fresh formula", "catalogue", [_analysis(name) for name in names], 0.05)
    samples = np.random.default_rng(0).normal(size=1_000_000)
    began = time.perf_counter()
    law = acts.Empirical(samples)
    built = time.perf_counter()
    acts.entropy("gelu", law)
    yield absolute("law of 10^6 samples", "", [built - began], None)
    yield absolute("entropy under that law", "gelu", [time.perf_counter() - built], 0.3)
    rng = random.Random(0)
    texts = [random_formula(rng) for _ in range(60 if quick else 600)]
    acts.screen(texts[:10])
    began = time.process_time()
    acts.screen(texts)
    seconds = (time.process_time() - began) / len(texts)
    yield absolute("screening, CPU time of a formula", "random", [seconds], 1 / SCREENED_PER_SECOND)


def random_formula(rng: random.Random, depth: int = 0) -> str:
    """A formula from a small grammar: sums and products of functions of x and c*x, at most three levels deep."""
    if depth > 2 or rng.random() < 0.25:
        return rng.choice(["x", "x", "x", f"{rng.uniform(0.2, 2):.2f}*x"])
    kind = rng.random()
    if kind < 0.5:
        return f"{rng.choice(FUNCTIONS)}({random_formula(rng, depth + 1)})"
    if kind < 0.75:
        return f"({random_formula(rng, depth + 1)})*({random_formula(rng, depth + 1)})"
    return f"{random_formula(rng, depth + 1)} + {random_formula(rng, depth + 1)}"


def _analysis(name: str) -> float:
    acts.analyze(name)  # what a process computes once
    fresh = acts.Formula(acts.get_activation(name).bound * 1.0000001)  # equal to no formula that is cached
    began = time.perf_counter()
    acts.analyze(fresh)
    return time.perf_counter() - began
