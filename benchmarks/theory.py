"""How long the theory takes: one analysis, the entropy of samples, and screening of random formulas.

python -m benchmarks.theory
"""

from __future__ import annotations

import random
import statistics
import time

import numpy as np

import actsmith as acts

FUNCTIONS = ("tanh", "sigmoid", "softplus", "relu", "erf", "sin", "atan")


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


def main() -> None:
    for name in acts.CATALOGUE:
        acts.analyze(name)
    times = []
    for name in acts.CATALOGUE:
        fresh = acts.Formula(acts.get(name).bound * 1.0000001)  # equal to no formula that is cached
        began = time.perf_counter()
        acts.analyze(fresh)
        times.append(time.perf_counter() - began)
    print(f"analyze, fresh formula, median over the catalogue: {1e3 * statistics.median(times):.1f} ms (target 50)")

    samples = np.random.default_rng(0).normal(size=1_000_000)
    began = time.perf_counter()
    law = acts.Empirical(samples)
    built = time.perf_counter()
    acts.entropy("gelu", law)
    done = time.perf_counter()
    print(f"Empirical law of 10^6 samples: {1e3 * (built - began):.0f} ms; entropy of gelu under it: "
          f"{1e3 * (done - built):.0f} ms (target 300)")  # fmt: skip

    rng = random.Random(0)
    texts = [random_formula(rng) for _ in range(600)]
    acts.screen(texts[:10])
    began, cpu = time.perf_counter(), time.process_time()
    acts.screen(texts)
    per_second = len(texts) / (time.perf_counter() - began)
    print(f"screening, entropy and criticality: {per_second:.0f} formulas per second "
          f"({len(texts) / (time.process_time() - cpu):.0f} per second of CPU; target 300)")  # fmt: skip


if __name__ == "__main__":
    main()
