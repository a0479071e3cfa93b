"""What a criticality analysis means for the person who builds the network, in a sentence or two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actsmith.theory.critical_points import GRID, CriticalPoint, Scan, Settling
from actsmith.theory.kernel import S2

__all__ = ["verdict"]


def verdict(
    scan: Scan,
    universality: str,
    points: Sequence[CriticalPoint],
    *,
    ratio: float | None,
    settles: Settling | None,
    depths: str,
) -> str:
    """One or two plain sentences: which C_W and C_b, which input scale, which depth."""
    if universality == "none" and not points:
        return _none(scan, ratio)
    return _critical(scan, universality, points[0], settles, depths)


def _critical(scan: Scan, universality: str, point: CriticalPoint, settles: Settling | None, depths: str) -> str:
    init = f"C_W = {point.C_W:.4g}, C_b = {point.C_b:.4g}"
    if universality == "none":
        return (
            f"Critical at K* = {point.K:.4g} with {init}, but of no class: the leading term of K' - K* vanishes within "
            "its error, so what K does there is decided by smaller terms."
        )
    if universality == "scale_invariant":
        return f"Critical at every K: initialise with {init}; any input scale and any depth keep signal and gradients."
    if universality == "zero_stable":
        return f"Critical as K -> 0: initialise with {init}. {_decay(point)}; {_basin(scan, point)}."
    if universality == "half_stable":
        return _half_stable(point, init, settles)
    rate = f", 1/K falling by about {point.a:.4g} per layer" if point.power == 2 else ""
    return (
        f"Critical only as K -> 0, and unstable there: with {init} K grows{rate}. Scale the inputs down and keep "
        f"to the safe depth ({depths} until K passes 1000), or normalise."
    )


def _decay(point: CriticalPoint) -> str:
    """How K falls at large depth l: K' = K - c K^q gives K = ((q - 1) c l)^(-1/(q - 1))."""
    if point.power is None:
        return "K falls back more slowly than any power of the depth"
    if point.power == 2:
        return f"K falls like {1 / abs(point.a):.4g}/depth, a power law"
    exponent = 1 / (point.power - 1)
    return f"K falls like {((point.power - 1) * abs(point.a)) ** -exponent:.4g}/depth^{exponent:.4g}, a power law"


def _half_stable(point: CriticalPoint, init: str, settles: Settling | None) -> str:
    kept = "above" if point.a < 0 else "below"
    lost = "below" if point.a < 0 else "above"
    text = f"Half-stable at K* = {point.K:.4g}: initialise with {init} and scale the inputs to K* or slightly {kept}"
    if settles is None:
        return f"{text}; a kernel that starts {lost} drifts away from K*."
    return (
        f"{text}. A kernel that starts {lost} drifts slowly away; the nearest fixed point that attracts from both "
        f"sides is K = {settles.K:.4g}, with chi_perp = {settles.chi_perp:.4f}."
    )


def _basin(scan: Scan, point: CriticalPoint) -> str:
    """From which input kernels K falls back to 0: those below the first K with C_W g(K) > K."""
    growing = scan.usable & (point.C_W * (scan.value[:, S2] - 4 * scan.error[:, S2]) > GRID)
    if not growing.any():
        checked = "" if scan.usable[-1] else f" (checked up to K = {GRID[scan.usable].max():.2g})"
        return f"any moderate input scale works{checked}"
    return f"keep the input kernel below {GRID[int(np.argmax(growing))]:.2g}, above which K grows instead"


def _none(scan: Scan, ratio: float | None) -> str:
    if not scan.jumps and all(piece.is_constant for piece in scan.formula.pieces):
        return "Never critical: the function is constant, so no gradient passes it."
    if not scan.jumps and not scan.usable.any():
        return "Undecided: the Gaussian moments of the function are infinite, undefined or not resolved."
    advice = "no initialisation keeps both the signal and the gradients at depth; stay shallow or normalise"
    return f"Never critical: {_obstacle(scan, ratio)}; {advice}."


def _obstacle(scan: Scan, ratio: float | None) -> str:
    if scan.jumps:
        return "the function jumps, so gradients carry no trace of it and chi_perp is infinite"
    if ratio is not None and abs(ratio - 1) > 1e-9:
        return f"chi_par/chi_perp = {ratio:.4g} at every K"
    k = GRID[scan.usable]
    for side, name in ((1, "above"), (-1, "below")):
        if scan.side.any() and np.all(scan.side * side >= 0):
            return f"chi_par/chi_perp stays {name} 1 on {k[0]:.0e} <= K <= {k[-1]:.0e}"
    return "where chi_par = chi_perp the bias variance C_b would have to be negative"
