"""What the page shows of a formula, as plain values: pure functions on the theory.

A part that cannot be computed is an object with its `reason`, so that the others are shown all the same. Numbers have
six digits, which is more than a screen shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.app.inputs import formula_of, law_of
from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.report.analysis_figure import STARTS, Setting
from actsmith.report.mathml import mathml
from actsmith.report.output_density import OutputDensity
from actsmith.report.show.theory import shape
from actsmith.theory.analysis import analyze
from actsmith.theory.criticality import criticality
from actsmith.theory.entropy import entropy
from actsmith.theory.kernel import kernel_flow, moments
from actsmith.theory.law import Law
from actsmith.theory.output import output_law

__all__ = ["GHOSTS", "attempt", "formula_view", "function_view", "short", "verdict_view"]

Array = NDArray[np.float64]

GHOSTS = ("relu", "gelu", "silu")
"""Drawn pale behind the user's own."""
POINTS = 301
"""Of a curve."""
MOST_OF_STRETCH = 250
"""Of an interval of the output's density."""
LAYERS = 50
"""Of the pictures over depth."""
VIEW = 1e-4
"""The probability of the law on each side that need not be in view."""
FARTHEST = 12.0
"""And at most so many interquartile ranges from the median: a Cauchy law's quantiles are thousands."""


def function_view(formula: Any, values: Any = None, law: Any = "normal", tau: float = 0.1) -> dict[str, Any]:
    """Everything of the first tab that follows a drag.

    Args:
        formula, values: as `inputs.formula_of` takes them.
        law: as `inputs.law_of` takes it.
        tau: width of the smoothing of the entropy.

    Raises:
        ActsmithError: no such formula or law.
    """
    f, x_law = formula_of(formula, values), law_of(law)
    return {
        "formula": formula_view(f),
        "law": {"spec": str(x_law), "mean": short(x_law.mean), "std": short(x_law.std)},
        "shape": _shape(f, x_law),
        "output": attempt(_output, f, x_law),
        "entropy": attempt(lambda: entropy(f, x_law, tau).to_dict()),
        "criticality": attempt(lambda: criticality(f).to_dict()),
        "depth": attempt(_depth, f),
    }


def verdict_view(formula: Any, values: Any = None, law: Any = "normal") -> dict[str, Any]:
    """What `analyze` makes of it all, in words; of what a drag ends at, not of every value on the way.

    Raises:
        ActsmithError: no such formula or law, or the formula is constant.
    """
    found = analyze(formula_of(formula, values), law_of(law))
    return {"shape": shape(found), "note": found.note, "verdict": found.judgement.to_dict()}


def attempt(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What the function returns, or the reason why it cannot."""
    try:
        return function(*arguments)
    except ActsmithError as error:
        return {"reason": str(error)}


def short(values: Any) -> Any:
    """Numbers of six digits, those that are not finite as None; an array as lists."""
    if isinstance(values, np.ndarray):
        return [short(value) for value in values.tolist()]
    if isinstance(values, list | tuple):
        return [short(value) for value in values]
    if values is None or not math.isfinite(values):
        return None
    return float(f"{values:.6g}")


def formula_view(f: Formula) -> dict[str, Any]:
    """The formula as the page names it, with its sliders."""
    return {
        "text": f.text,
        "name": f.name,
        "mathml": mathml(f.expr),
        "kinks": short(list(f.kinks)),
        "parameters": [{"name": name, **_slider(p.value, p.low, p.high)} for name, p in f.params.items()],
    }


def _slider(value: float, low: float, high: float) -> dict[str, float]:
    """A slider's range: that of the parameter where it has one, else some three times the value to both sides."""
    reach = max(3.0, 3 * abs(value))
    ends = [low if math.isfinite(low) else -reach, high if math.isfinite(high) else reach]
    if math.isfinite(low) and not math.isfinite(high):
        ends[1] = low + 2 * reach
    if math.isfinite(high) and not math.isfinite(low):
        ends[0] = high - 2 * reach
    return {"value": value, "low": min(ends[0], value), "high": max(ends[1], value)}


# ------------------------------------------------------------------------------------------------------- the shape


@lru_cache(maxsize=64)
def _window(law: Law) -> tuple[float, float]:
    low, first, middle, last, high = law.quantile(np.array([VIEW, 0.25, 0.5, 0.75, 1 - VIEW])).tolist()
    reach = FARTHEST * (last - first)
    low, high = max(low, middle - reach), min(high, middle + reach)
    margin = 0.1 * (high - low) or 0.5
    return low - margin, high + margin


def _shape(f: Formula, law: Law) -> dict[str, Any]:
    """f, f' and f'' with the ghosts', and the law's density, on one grid."""
    low, high = _window(law)
    kinks = [k for k in f.kinks if low < k < high]
    beside = [np.nextafter(k, side) for k in kinks for side in (-np.inf, np.inf)]
    x = np.unique(np.concatenate([np.linspace(low, high, POINTS), kinks, beside]))
    with np.errstate(all="ignore"):
        curves = f.jet(x, 2)
    curves[:, np.isin(x, kinks)] = np.nan  # interrupted where it may jump
    ghosts = {name: _ghost(name, low, high) for name in GHOSTS}
    grid = np.linspace(low, high, POINTS)
    return {
        "x": short(x),
        "curves": short(curves),
        "views": [short(_limits(x, y, law, [g["curves"][k] for g in ghosts.values()])) for k, y in enumerate(curves)],
        "ghosts": ghosts,
        "density": {"x": short(grid), "p": short(law.pdf(grid))},
    }


@lru_cache(maxsize=64)
def _ghost(name: str, low: float, high: float) -> dict[str, Any]:
    f = get_activation(name)
    x = np.linspace(low, high, POINTS)
    curves = f.jet(x, 2)
    return {"x": short(x), "curves": short(curves)}


def _limits(x: Array, y: Array, law: Law, others: Sequence[Sequence[float | None]]) -> tuple[float, float]:
    """Ends of an axis that show all values, or where they run away those within two spans of most in the middle; of the
    ghosts those within one span more."""
    finite = y[np.isfinite(y)]
    if not finite.size:
        return -1.0, 1.0
    first, last = law.quantile([0.02, 0.98])
    middle = y[(x >= first) & (x <= last) & np.isfinite(y)]
    low, high = float(finite.min()), float(finite.max())
    if middle.size:
        least, most = np.quantile(middle, (0.02, 0.98))
        span = float(most - least) or float(np.ptp(middle)) or 1.0
        low, high = max(low, float(least) - 2 * span), min(high, float(most) + 2 * span)
        seen = [v for ghost in others for v in ghost if v is not None and low - span <= v <= high + span]
        low, high = min([low, *seen]), max([high, *seen])
    margin = 0.06 * (high - low or 1.0)
    return low - margin, high + margin


def _output(f: Formula, law: Law) -> dict[str, Any]:
    """The density of f(X), with its atoms."""
    drawn = OutputDensity.of(output_law(f, law))
    return {
        "window": short(drawn.window),
        "scale": None if drawn.scale is None else short(drawn.scale),
        "logarithmic": drawn.logarithmic,
        "stretches": [_thinned(z, q) for z, q in drawn.stretches],
        "atoms": [{"value": short(value), "mass": short(mass)} for value, mass in drawn.atoms],
    }


def _thinned(z: Array, q: Array) -> dict[str, Any]:
    step = max(len(z) // MOST_OF_STRETCH, 1)
    kept = np.unique(np.append(np.arange(0, len(z), step), len(z) - 1)) if len(z) else np.arange(0)
    return {"z": short(z[kept]), "q": short(q[kept])}


# -------------------------------------------------------------------------------------------------------- the depth


def _depth(f: Formula) -> dict[str, Any]:
    """The kernel and both susceptibilities over the layers, at the first critical point or where gradients are kept."""
    found = criticality(f)
    setting = Setting.of(found)
    if setting is None:
        return {"reason": "there is no C_W at which gradients are kept"}
    starts = [factor * (setting.K or 1.0) for factor in STARTS]
    flow = kernel_flow(f, starts, LAYERS, setting.C_W, setting.C_b)
    return {
        "K": short(setting.K),
        "C_W": short(setting.C_W),
        "C_b": short(setting.C_b),
        "critical": bool(found.points),
        "starts": short(starts),
        "kernel": [short(_seen(line)) for line in flow.T],
        **_susceptibilities(f, flow, setting.C_W),
    }


def _seen(kernel: Array) -> Array:
    """NaN where it has died or exploded."""
    return np.where((kernel > 1e-9) & (kernel < 1e9), kernel, np.nan)


def _susceptibilities(f: Formula, flow: Array, C_W: float) -> dict[str, Any]:
    """chi_par and chi_perp at every kernel of the flows."""
    known = np.isfinite(_seen(flow))
    par, perp = np.full(flow.shape, np.nan), np.full(flow.shape, np.nan)
    if known.any():
        kernels, where = np.unique(flow[known], return_inverse=True)
        at = moments(f, kernels)
        par[known], perp[known] = C_W * at.dg[where], C_W * at.perp[where]
    return {"chi_par": [short(line) for line in par.T], "chi_perp": [short(line) for line in perp.T]}
