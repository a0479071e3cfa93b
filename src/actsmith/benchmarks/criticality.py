"""Criticality beside the field: the same numbers from dks and neural-tangents, and the time each takes.

    python -m actsmith.benchmarks.criticality [--peers PYTHON] [--csv FILE]

`dks` (google-deepmind, deep kernel shaping, arXiv:2110.01765) and `neural-tangents` need JAX or TensorFlow, so they
belong into an environment of their own, whose interpreter --peers names; each is left out with one line where it does
not import. Times are the best of several runs, warm: imports, SymPy's derivatives and quadrature nodes excluded, the
answers themselves computed anew each time.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from actsmith.benchmarks.measure import Row, Say, absolute, best
from actsmith.formula.formula import Formula

NAMES = ("tanh", "gelu")
TARGET_SECONDS = 0.03
NEEDED = 20
"""Times faster than the dks transform of gelu that a full criticality analysis is to be."""

# Run by the peers' interpreter: prints one JSON line {"dks": {...} or "why not", "neural-tangents": ...}.
PEERS = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
names, out = ("tanh", "gelu"), {}

def best(work, runs=5):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)

try:
    from dks.base import activation_transform as at
    out["dks"] = {}
    for name in names:
        phi = at._get_numpy_activation_function(name)
        q = at._estimate_gaussian_mean(lambda x: phi(x) ** 2)
        transform = lambda: at.get_transformed_activations([name], method="DKS", max_slope_func=lambda s: s**100)
        out["dks"][name] = {
            "g": q, "g'": at._calc_q_slope_1(phi), "E[s'^2]": at._calc_c_slope(phi) * q, "seconds": best(transform)
        }
except Exception as error:
    out["dks"] = f"{type(error).__name__}: {error}"
try:
    import jax
    jax.config.update("jax_enable_x64", True)
    import numpy as np
    from neural_tangents import stax
    out["neural-tangents"] = {}
    def layer(name):
        return stax.Gelu() if name == "gelu" else stax.ElementwiseNumerical(jax.numpy.tanh, deg=60)
    x = np.array([[1.0, 0.0], [0.6, 0.8]]) * np.sqrt(2)
    for name in names:
        _, _, kernel = stax.serial(stax.Dense(1, W_std=1.0, b_std=None), layer(name))
        def work():
            return np.asarray(kernel(x, None, "nngp"))
        k = work()
        out["neural-tangents"][name] = {"g": float(k[0, 0]), "G(0.6)": float(k[0, 1]), "seconds": best(work)}
except Exception as error:
    out["neural-tangents"] = f"{type(error).__name__}: {error}"
print("RESULT" + json.dumps(out))
"""


def rows(quick: bool, say: Say) -> Iterator[Row]:
    """A full criticality analysis, in seconds and, where dks is installed here, over its transform."""
    answers = peers(sys.executable)
    for peer, answer in answers.items():
        if isinstance(answer, str):
            say(left_out(peer, answer))
    for name in NAMES:
        seconds = ours(name)["seconds"]
        yield absolute("criticality", name, [seconds], TARGET_SECONDS)
        theirs = answers["dks"]
        if not isinstance(theirs, str):
            ratio = seconds / theirs[name]["seconds"]
            yield Row("criticality", name, "dks's transform", seconds, ratio, ratio, ratio, ratio, 1 / NEEDED)


def left_out(peer: str, reason: str) -> str:
    """Why a peer is missing, and what mends it."""
    return (
        f"{peer}: left out ({reason.splitlines()[0][:100]}); pip install {peer} in an environment of its own, then "
        "python -m actsmith.benchmarks.criticality --peers ITS_PYTHON"
    )


def ours(name: str) -> dict[str, float]:
    """The moments at K = 1 and the times of a full criticality analysis and of tuning, caches of answers emptied."""
    from actsmith.formula.catalogue import get_activation
    from actsmith.theory import criticality, expansion, kernel, tuning
    from actsmith.theory.correlation import correlation_map

    f = get_activation("gelu_tanh" if name == "gelu" else name)  # dks computes the tanh approximation
    m = kernel.moments(f, 1.0)
    exact = correlation_map(name, 1.0, 0.6)

    def forget() -> None:
        for cache in (
            kernel._table,
            kernel.second_moment,
            expansion.kernel_expansion,
            criticality._criticality,
            tuning._tuning,
        ):
            cache.cache_clear()

    def analyse() -> None:
        forget()
        criticality.criticality(f)

    def tune() -> None:
        forget()
        tuning.tuning(f)

    analyse()
    return {
        "g": float(m.g),
        "g'": float(m.dg),
        "E[s'^2]": float(m.perp),
        "exact g": float(kernel.moments(name, 1.0).g),
        "G(0.6)": float(exact.covariance),
        "seconds": best(analyse),
        "tune": best(tune, 3),
    }


def peers(python: str) -> dict[str, dict[str, dict[str, float]] | str]:
    """What the peers answer, or for each why not."""
    run = subprocess.run([python, "-c", PEERS], capture_output=True, text=True, timeout=280, check=False)
    lines = [line for line in run.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        return dict.fromkeys(("dks", "neural-tangents"), f"{python} failed")
    found: dict[str, dict[str, dict[str, float]] | str] = json.loads(lines[-1].removeprefix("RESULT"))
    return found


def catalogue_times() -> list[tuple[float, str]]:
    """Seconds of a full criticality analysis of every catalogue entry, the slowest first."""
    from actsmith.formula.catalogue import CATALOGUE, get_activation
    from actsmith.theory import criticality, expansion, kernel

    rows = []
    for name in CATALOGUE:
        f = get_activation(name)

        def analyse(f: Formula = f) -> None:
            for cache in (kernel._table, kernel.second_moment, expansion.kernel_expansion, criticality._criticality):
                cache.cache_clear()
            criticality.criticality(f)

        analyse()
        rows.append((best(analyse, 4), name))
    return sorted(rows, reverse=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Criticality beside dks and neural-tangents.")
    parser.add_argument("--peers", default=sys.executable, help="interpreter that has dks and neural-tangents")
    parser.add_argument("--csv", type=Path, help="where the rows go as well")
    options = parser.parse_args(arguments)
    found = peers(options.peers)
    table: list[tuple[str, str, str, float]] = []
    for name in NAMES:
        own = ours(name)
        table += [
            ("actsmith", name, "criticality, ms", 1e3 * own["seconds"]),
            ("actsmith", name, "tune, ms", 1e3 * own["tune"]),
        ]
        for peer, answer in found.items():
            if isinstance(answer, str):
                continue
            theirs = answer[name]
            for key in theirs.keys() - {"seconds"}:
                mine = own["exact g" if peer == "neural-tangents" and key == "g" else key]
                table.append((peer, name, f"{key}: relative difference", abs(theirs[key] - mine) / abs(mine)))
            work = "transform" if peer == "dks" else "kernel of two inputs"
            table.append((peer, name, f"{work}, ms", 1e3 * theirs["seconds"]))
            if peer == "dks":
                table.append((peer, name, "transform over our criticality", theirs["seconds"] / own["seconds"]))
    times = catalogue_times()
    table.append(("actsmith", times[0][1], "slowest criticality of the catalogue, ms", 1e3 * times[0][0]))
    table.append(
        (
            "actsmith",
            times[len(times) // 2][1],
            "median criticality of the catalogue, ms",
            1e3 * times[len(times) // 2][0],
        )
    )
    for row in table:
        print(f"{row[0]:16s} {row[1]:12s} {row[2]:42s} {row[3]:.4g}")
    for peer, answer in found.items():
        if isinstance(answer, str):
            print(left_out(peer, answer))
    ratio = next((row[3] for row in table if row[:2] == ("dks", "gelu") and "over" in row[2]), None)
    if isinstance(ratio, float):
        verdict = "met" if ratio >= NEEDED else "missed"
        print(f"target {verdict}: criticality of gelu {ratio:.3g} times faster than its dks transform, {NEEDED} wanted")
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("who", "activation", "what", "value"), *table])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
