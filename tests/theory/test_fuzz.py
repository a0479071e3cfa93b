"""Random formulas under four laws against a slow reference: no wrong number, no raw exception, nothing over 10 s.

`FUZZ` is the number of formulas (2,000), `FUZZ_SEED` the seed of the first.
"""

from __future__ import annotations

import os
import random
import time

import numpy as np
import pytest
import reference

import actsmith as acts
from actsmith.errors import ActsmithError

LAWS = ("normal", "laplace:0.5,0.7", "uniform:-2,3", "mixture:0.3*normal(-2,0.5)+0.7*normal(1,1)")
COUNT = int(os.environ.get("FUZZ", "2000"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
LONGEST = 10.0
BATCH = 50
UNARY = (
    "tanh", "sigmoid", "softplus", "relu", "erf", "sin", "cos", "atan", "exp", "abs", "normal_cdf", "sign", "expm1",
)  # fmt: skip


def formula(rng: random.Random, depth: int = 0) -> str:  # noqa: PLR0911  (one return per kind of node)
    """A formula from a grammar of switches, oscillation, powers, quotients and constants of every size."""
    if depth > 3 or rng.random() < 0.2:
        return rng.choice(["x", "x", "x", f"{_number(rng)}*x", f"(x - {_number(rng)})", _number(rng)])
    kind, one = rng.random(), formula(rng, depth + 1)
    if kind < 0.45:
        return f"{rng.choice(UNARY)}({one})"
    if kind < 0.55:
        return f"({one})**{rng.choice([2, 2, 3, 4])}"
    two = formula(rng, depth + 1)
    if kind < 0.7:
        return f"({one})*({two})"
    if kind < 0.75:
        return f"({one})/(1 + ({two})**2)"
    if kind < 0.8:
        return f"{rng.choice(['max', 'min'])}({one}, {two})"
    if kind < 0.84:
        return f"where({one}, {two}, {formula(rng, depth + 1)})"
    return f"({one}) {rng.choice('+-')} ({two})"


def _number(rng: random.Random) -> str:
    return f"{rng.choice([1, 1, 1, 10, 0.1, 100]) * rng.uniform(0.2, 2):.3g}"


def faults(text: str) -> list[str]:
    """What is wrong with the numbers of one formula."""
    try:
        f = acts.Formula(text)
    except ActsmithError:
        return []
    found: list[str] = []
    for law in LAWS:
        began = time.process_time()
        try:
            e = acts.entropy(f, law)
        except ActsmithError:
            continue
        except Exception as error:
            found.append(f"{law}: {type(error).__name__}: {error}")
            continue
        if (took := time.process_time() - began) > LONGEST:
            found.append(f"{law}: {took:.1f} s")
        found += [f"{law}: {fault}" for fault in _entropies(f, law, e)]
    found += _kernels(f)
    return found


def _entropies(f: acts.Formula, law: str, e: acts.Entropy) -> list[str]:
    found = []
    law = acts.resolve_law(law)
    if e.smoothed is not None:
        right = reference.smoothed(f, law)
        if right is not None:
            value, error, std, std_error = right
            # midpoints of cells know a deviation that hangs on the far tail badly, and the entropy with it
            if std_error < 1e-4 * std and abs(e.std - std) > 1e-3 * std + std_error:
                found.append(f"std {e.std:.9g}, reference {std:.9g} ± {std_error:.1e}")
            if std_error < 1e-4 * std and abs(e.smoothed - value) > e.error + error + 5e-4:
                found.append(f"smoothed {e.smoothed:.9g} ± {e.error:.1e}, reference {value:.9g} ± {error:.1e}")
    if e.mixed is not None and e.atom_mass == 0:
        right = reference.mixed(f, law)
        if right is not None and right[1] < 0.03 and abs(e.mixed - right[0]) > e.error + right[1] + 0.02:
            found.append(f"mixed {e.mixed:.9g} ± {e.error:.1e}, reference {right[0]:.9g} ± {right[1]:.1e}")
    return found


def _kernels(f: acts.Formula) -> list[str]:
    found = []
    for K in (0.3, 1.0, 4.0):
        began = time.process_time()
        try:
            g = float(acts.kernel_flow(f, K, 1, 1.0)[1])
            s = acts.susceptibilities(f, K, 1.0)
        except ActsmithError:
            continue
        except Exception as error:
            found.append(f"K = {K}: {type(error).__name__}: {error}")
            continue
        if (took := time.process_time() - began) > LONGEST:
            found.append(f"K = {K}: {took:.1f} s")
        value, error, slope, slope_error = reference.second_moments(f, K)
        if np.isfinite([g, value]).all() and error < 1e-3 * value and abs(g - value) > error + 1e-6 * g:
            found.append(f"K = {K}: g {g:.12g}, reference {value:.12g} ± {error:.1e}")
        allowed = slope_error + s.chi_perp_error + 1e-6 * slope
        if np.isfinite([s.chi_perp, slope]).all() and slope_error < 1e-3 * slope and abs(s.chi_perp - slope) > allowed:
            found.append(f"K = {K}: chi_perp {s.chi_perp:.12g} ± {s.chi_perp_error:.1e}, reference {slope:.12g}")
    began = time.process_time()
    try:
        acts.criticality(f)
    except ActsmithError:
        pass
    except Exception as error:
        found.append(f"criticality: {type(error).__name__}: {error}")
    if (took := time.process_time() - began) > LONGEST:
        found.append(f"criticality: {took:.1f} s")
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", range(SEED, SEED + COUNT, BATCH))
def test_random_formulas_agree_with_the_reference(first: int) -> None:
    wrong = {}
    for seed in range(first, min(first + BATCH, SEED + COUNT)):
        text = formula(random.Random(seed))
        if found := faults(text):
            wrong[f"{seed}: {text}"] = found
    assert not wrong
