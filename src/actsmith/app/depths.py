"""The depth lab: what theory says of 1 to 100 layers at any C_W and C_b, and what random networks do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.app.inputs import formula_of
from actsmith.app.views import attempt, short
from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.theory.arguments import number, whole
from actsmith.theory.correlation import correlation_flow
from actsmith.theory.criticality import criticality
from actsmith.theory.kernel import kernel_flow, moments
from actsmith.theory.recursions import vertex_flow

__all__ = ["STARTS", "simulation_view", "theory_view"]

Array = NDArray[np.float64]

STARTS = ("critical", "kaiming", "lecun", "own")
"""Kaiming is C_W = 2, LeCun C_W = 1, both without biases."""
DEEPEST, WIDEST, MOST_NETS = 100, 256, 64
SEEN = (1e-12, 1e8)
"""Kernels between which a signal is followed."""
LARGEST = 1e6
"""Of C_W, C_b and K0."""


def theory_view(
    formula: Any, values: Any = None, *, start: Any = "critical", depth: Any = 30, width: Any = 64, **given: Any
) -> dict[str, Any]:
    """The kernel, the gradient and the correlation of two inputs, layer by layer, at infinite width.

    Args:
        formula, values: as `inputs.formula_of` takes them.
        start: one of `STARTS`.
        depth: layers after the first, 1 to 100.
        width: of which the band is: one standard deviation of the kernel over networks, to first order in 1/width.
        given: C_W and C_b of start "own"; K0 and rho0, the kernel and the correlation of the two inputs.

    Raises:
        ActsmithError: a number that is none, or out of range; no critical point where one is asked for.
    """
    f = formula_of(formula, values)
    depth, width = _size("depth", depth, DEEPEST), _size("width", width, WIDEST)
    C_W, C_b, K0, rho0 = _setting(f, start, given)
    flow = kernel_flow(f, K0, depth, C_W, C_b)
    lost = ~((flow > SEEN[0]) & (flow < SEEN[1]))
    known = max(int(np.argmax(lost)), 1) if lost.any() else depth + 1  # layers before the kernel dies or explodes
    at = moments(f, flow[:known])
    par, perp = C_W * at.dg, C_W * at.perp
    return {
        "C_W": short(C_W), "C_b": short(C_b), "K0": short(K0), "rho0": short(rho0), "depth": depth, "known": known,
        "kernel": short(flow),
        "band": attempt(_band, f, flow[:known], depth, (C_W, C_b, width)),
        "chi_par": _filled(par, depth),
        "chi_perp": _filled(perp, depth),
        "gradient": _filled(_gradient(perp), depth) if known > depth else [None] * (depth + 1),
        "correlation": attempt(_correlation, f, (K0, rho0), (known, depth), C_W, C_b),
    }  # fmt: skip


def simulation_view(
    formula: Any,
    values: Any = None,
    *,
    start: Any = "critical",
    depth: Any = 30,
    width: Any = 64,
    nets: Any = 16,
    **given: Any,
) -> dict[str, Any]:
    """The same of random networks, with standard errors over `nets` of them; the arguments are those of `theory_view`.

    Raises:
        ActsmithError: as `theory_view`.
    """
    from actsmith.nn.simulate import simulate

    f = formula_of(formula, values)
    depth, width, nets = _size("depth", depth, DEEPEST), _size("width", width, WIDEST), _size("nets", nets, MOST_NETS)
    C_W, C_b, K0, rho0 = _setting(f, start, given)
    found = simulate(f, width, depth, C_W, C_b, max(nets, 2), K0=K0, rho0=rho0)
    lines = {name: getattr(found, name) for name in ("kernel", "gradient", "correlation")}
    errors = {f"{name}_error": getattr(found, f"{name}_error") for name in lines}
    return {name: short(np.asarray(line)) for name, line in (lines | errors).items()} | {"nets": found.nets}


def _size(name: str, value: Any, most: int) -> int:
    found = whole(name, value, least=1)
    if found > most:
        raise ActsmithError(f"{name}: got {found}; expected 1 to {most}")
    return found


def _setting(f: Formula, start: Any, given: dict[str, Any]) -> tuple[float, float, float, float]:
    """C_W, C_b, K0, rho0."""
    if start not in STARTS:
        raise ActsmithError(f"start: got {str(start)[:20]!r}; expected one of {', '.join(STARTS)}")
    point = next(iter(criticality(f).points), None)
    if start == "critical" and point is None:
        raise ActsmithError(f"{f.name[:60]} has no critical point; choose another start")
    if start == "critical" and point is not None:
        C_W, C_b = point.C_W, point.C_b
    elif start == "own":
        C_W, C_b = number("C_W", given.get("C_W", 1.0), positive=True), number("C_b", given.get("C_b", 0.0), low=0.0)
    else:
        C_W, C_b = 2.0 if start == "kaiming" else 1.0, 0.0
    K0, rho0 = number("K0", given.get("K0", 1.0), positive=True), number("rho0", given.get("rho0", 0.5))
    if max(C_W, C_b, K0) > LARGEST or not -1 <= rho0 < 1:
        raise ActsmithError(f"depth lab: expected C_W, C_b and K0 up to {LARGEST:g}, and -1 <= rho0 < 1")
    return C_W, C_b, K0, rho0


def _band(f: Formula, flow: Array, depth: int, setting: tuple[float, float, int]) -> dict[str, Any]:
    """K -+ sqrt(V/width)."""
    C_W, C_b, width = setting
    spread = np.sqrt(np.maximum(vertex_flow(f, float(flow[0]), len(flow) - 1, C_W, C_b), 0.0) / width)
    return {"low": _filled(np.maximum(flow - spread, 0.0), depth), "high": _filled(flow + spread, depth)}


def _gradient(perp: Array) -> Array:
    """The product of chi_perp from each layer to the last."""
    return np.append(np.cumprod(perp[:-1][::-1])[::-1], 1.0)


def _correlation(f: Formula, inputs: tuple[float, float], layers: tuple[int, int], C_W: float, C_b: float) -> Any:
    known, depth = layers
    found = correlation_flow(f, *inputs, max(known - 1, 0), C_W=C_W, C_b=C_b)[1]
    return {"values": _filled(found, depth)}


def _filled(values: Array, depth: int) -> Any:
    """One value a layer, None where nothing is known."""
    return [*short(values), *[None] * (depth + 1 - len(values))]
