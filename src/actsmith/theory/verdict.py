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
    if universality == "none":
        return _none(scan, ratio)
    point = points[0]
    init = f"C_W = {point.C_W:.4g}, C_b = {point.C_b:.4g}"
    if universality == "scale_invariant":
        return f"Critical at every K: initialise with {init}; any input scale and any depth keep signal and gradients."
    if universality == "zero_stable":
        return f"Critical as K -> 0: initialise with {init}. {_decay(point)}; {_basin(scan, point)}."
    if universality == "half_stable":
        kept = "above" if point.a < 0 else "below"
        lost = "below" if point.a < 0 else "above"
        text = (
            f"Half-stable at K* = {point.K:.4g}: initialise with {init} and scale the inputs to K* or slightly {kept}"
        )
        if settles is None:
            return f"{text}; a kernel that starts {lost} drifts away from K*."
        return (
            f"{text}. A kernel that starts {lost} drifts slowly away; the nearest fixed point that attracts from both "
            f"sides is K = {settles.K:.4g}, with chi_perp = {settles.chi_perp:.4f}."
        )
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


def _basin(scan: Scan, point: CriticalPoint) -> str:
    """From which input kernels K falls back to 0: those below the first K with C_W g(K) > K."""
    growing = scan.usable & (point.C_W * (scan.value[:, S2] - 4 * scan.error[:, S2]) > GRID)
    if not growing.any():
        return "any moderate input scale works"
    return f"keep the input kernel below {GRID[int(np.argmax(growing))]:.2g}, above which K grows instead"


def _none(scan: Scan, ratio: float | None) -> str:
    advice = "no initialisation keeps both the signal and the gradients at depth; stay shallow or normalise"
    if scan.jumps:
        return (
            f"Never critical: the function jumps, so gradients carry no trace of it and chi_perp is infinite; {advice}."
        )
    if not scan.usable.any():
        return "Undecided: the Gaussian moments of the function are infinite or undefined."
    if ratio is not None and abs(ratio - 1) > 1e-9:
        return f"Never critical: chi_par/chi_perp = {ratio:.4g} at every K; {advice}."
    k = GRID[scan.usable]
    span = f"on {k[0]:.0e} <= K <= {k[-1]:.0e}"
    if np.all(scan.side >= 0) and scan.side.any():
        return f"Never critical: chi_par/chi_perp stays above 1 {span}; {advice}."
    if np.all(scan.side <= 0) and scan.side.any():
        return f"Never critical: chi_par/chi_perp stays below 1 {span}; {advice}."
    return f"Never critical: where chi_par = chi_perp the bias variance C_b would have to be negative; {advice}."
