"""Kernels and gradients through depth at initialisation, by theory and in real networks: parts without training.

    K^(l+1) = C_b + C_W g(K^(l)),   |dL/dz^(l)|^2 / |dL/dz^(L)|^2 = prod_{j=l}^{L-1} chi_perp(K^(j))

| symbol | meaning                                                                                       |
|--------|-----------------------------------------------------------------------------------------------|
| q      | (log K^(l+2) - log K^(l+1))/(log K^(l+1) - log K^(l)): 1 where log K is linear in the layer   |
|        | (an exponential), p for RePU, whose K' = C_W (2p-1)!!/2 K^p makes log K itself an exponential |
| window | K0/1000 <= K <= max(1000, 1000 K0); a network survives the layers before it leaves it         |

Every activation starts at its most usable critical point, as in `nn.start`; where it has none, at the C_W
that keeps K = 1 at the first layer, its balance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from actsmith.formula.formula import Formula
from actsmith.nn.simulate import Simulation, simulate
from actsmith.nn.start import start_of
from actsmith.papers.experiment import Results, Run
from actsmith.tasks.task import describe
from actsmith.theory.criticality import criticality, depth_in_window
from actsmith.theory.kernel import kernel_flow, moments, susceptibilities

__all__ = ["Balance", "Depth", "PerActivation", "Record", "Sizes", "Starts", "growth", "survived"]

Record = dict[str, Any]
Array = NDArray[np.float64]

WINDOW = 1000.0


@dataclass(frozen=True)
class Sizes:
    """Of the simulated networks.

    Attributes:
        width: of every layer.
        depth: layers after the first.
        nets: networks in an ensemble.
        seed: of all of them.
    """

    width: int = 256
    depth: int = 20
    nets: int = 32
    seed: int = 0


@dataclass(frozen=True)
class PerActivation:
    """A part that computes one record an activation, without training; the first process alone computes.

    Attributes:
        activations: which; a part may follow some of them alone.
    """

    activations: tuple[Formula, ...]
    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say."""
        return {**describe(self), "name": self.name}

    def followed(self) -> list[Formula]:
        """Those that get a record."""
        return list(self.activations)

    def record(self, formula: Formula) -> Record:
        """What is said of one."""
        raise NotImplementedError

    def found(self, folder: Results) -> list[Record]:
        """The records that there are."""
        keys = (f"{self.name}/{f.name}" for f in self.activations)
        return [folder.results[key] for key in keys if key in folder.results]

    def left(self, folder: Results) -> int:
        """Records that the folder does not hold yet."""
        return sum(f"{self.name}/{f.name}" not in folder.results for f in self.followed())

    def run(self, run: Run) -> None:
        """Compute what the folder does not hold yet."""
        formulas = self.followed()
        for number, formula in enumerate(formulas if run.runtime.main else ()):
            run.report(self.name, number, len(formulas), formula.name)
            key = f"{self.name}/{formula.name}"
            if key not in run.folder.results:
                with np.errstate(all="ignore"):
                    found = self.record(formula)
                run.folder.append(key, {"part": self.name, "activation": formula.name, **found})
        run.report(self.name, len(formulas), len(formulas), "done")


@dataclass(frozen=True)
class Depth(PerActivation):
    """Every activation from its own start: theory, an ensemble, and how far off C_W may be.

    Attributes:
        activations: which.
        sizes: of the ensemble.
        offsets: relative errors of C_W, of either sign.
        limit: layers that theory follows for each offset.
    """

    sizes: Sizes
    offsets: tuple[float, ...]
    limit: int = 1000
    name = "depth"

    def record(self, formula: Formula) -> Record:
        """Its class, its start, K and the gradient by layer, and the layers survived for each offset of C_W."""
        start, found, s = start_of(formula, self.sizes.depth), criticality(formula), self.sizes
        flow = kernel_flow(formula, start.K0, s.depth, start.C_W, start.C_b)

        def survives(offset: float) -> int:
            c_w = (1 + offset) * start.C_W
            return depth_in_window(formula, start.K0, c_w, start.C_b, ceiling=WINDOW, limit=self.limit)

        return {
            "universality": start.universality,
            "ratio": found.ratio,
            "start": {"C_W": start.C_W, "C_b": start.C_b, "K0": start.K0},
            "kernel": flow.tolist(),
            "gradient": _gradient(formula, flow, start.C_W).tolist(),
            "simulated": _simulated(_ensemble(formula, s, start.K0, start.C_W, start.C_b)),
            "low": [survives(-d) for d in self.offsets],
            "exact": survives(0.0),
            "high": [survives(d) for d in self.offsets],
        }


@dataclass(frozen=True)
class Balance(PerActivation):
    """Activations without a critical point, around the C_W that keeps K = 1.

    Attributes:
        activations: those of them that have no critical point are followed.
        sizes: of the ensembles.
        factors: of C_W.
    """

    sizes: Sizes
    factors: tuple[float, ...]
    name = "balance"

    def followed(self) -> list[Formula]:
        """Those without a critical point."""
        return [f for f in self.activations if criticality(f).universality == "none"]

    def record(self, formula: Formula) -> Record:
        """For each factor K and the gradient by layer in theory, q, and the same of an ensemble."""
        start, s = start_of(formula, self.sizes.depth), self.sizes
        runs = []
        for factor in self.factors:
            c_w = factor * start.C_W
            flow = kernel_flow(formula, start.K0, s.depth, c_w, start.C_b)
            runs.append({
                "factor": factor,
                "kernel": flow.tolist(),
                "gradient": _gradient(formula, flow, c_w).tolist(),
                "growth": growth(flow),
                "simulated": _simulated(_ensemble(formula, s, start.K0, c_w, start.C_b)),
            })  # fmt: skip
        return {"K0": start.K0, "C_W": start.C_W, "runs": runs}


@dataclass(frozen=True)
class Starts(PerActivation):
    """Activations that are critical only as K -> 0 and unstable there, from kernels K0 of several sizes.

    Attributes:
        activations: those of class zero_unstable are followed.
        sizes: of the ensembles.
        kernels: values of K0.
        small: a kernel at which the susceptibilities are taken, to compare with their limit 1.
        limit: layers that theory follows.
    """

    sizes: Sizes
    kernels: tuple[float, ...]
    small: float = 1e-8
    limit: int = 100_000
    name = "starts"

    def followed(self) -> list[Formula]:
        """Those of the class."""
        return [f for f in self.activations if criticality(f).universality == "zero_unstable"]

    def record(self, formula: Formula) -> Record:
        """a1, the susceptibilities at a small K, and for each K0 the flow, the safe depth and an ensemble."""
        found, s = criticality(formula), self.sizes
        c_w = found.points[0].C_W
        chi = susceptibilities(formula, self.small, c_w)
        runs = [
            {
                "K0": k,
                "kernel": kernel_flow(formula, k, s.depth, c_w).tolist(),
                "safe_depth": found.safe_depth(k, ceiling=WINDOW, limit=self.limit),
                "simulated": _simulated(_ensemble(formula, s, k, c_w, 0.0)),
            }
            for k in self.kernels
        ]
        others = sum(p.K > 0 for p in found.points)
        return {
            "a1": found.a1, "C_W": c_w, "chi_par": chi.chi_par, "chi_perp": chi.chi_perp, "points_above_0": others,
            "runs": runs,
        }  # fmt: skip


def growth(kernel: Array) -> float | None:
    """The median of q over the layers where K moves and is a normal number; None where it hardly moves.

    >>> growth(np.array([1.0, 2.0, 4.0, 8.0])), growth(2.0 ** 2 ** np.arange(6.0))
    (1.0, 2.0)
    """
    seen = kernel[np.isfinite(kernel) & (kernel > 1e-290)]
    steps = np.diff(np.log(seen))
    # Below this a step is the rounding error of log K.
    steps = steps[np.abs(steps) > 1e-9]
    return float(np.median(steps[1:] / steps[:-1])) if steps.size > 1 else None


def survived(kernel: Sequence[float | None]) -> int:
    """The layers after the first up to which K stays in the window around K^(0); None is a K that overflowed.

    >>> survived([1.0, 10.0, 2e3, 1.0])
    1
    """
    first = kernel[0]
    assert first is not None
    low, high = first / WINDOW, max(WINDOW, WINDOW * first)
    for layer, k in enumerate(kernel[1:]):
        if k is None or not low <= k <= high:
            return layer
    return len(kernel) - 1


def _gradient(formula: Formula, flow: Array, C_W: float) -> Array:
    """prod_{j >= l} chi_perp(K^(j)) by layer l, (depth + 1,); inf from a layer whose kernel has overflowed."""
    kernel = flow[:-1]
    finite = np.isfinite(kernel)
    chi = np.full(kernel.size, np.inf)
    chi[finite] = C_W * moments(formula, kernel[finite]).perp
    with np.errstate(all="ignore"):
        return np.append(np.cumprod(chi[::-1])[::-1], 1.0)


def _ensemble(formula: Formula, sizes: Sizes, K0: float, C_W: float, C_b: float) -> Simulation:
    return simulate(formula, sizes.width, sizes.depth, C_W, C_b, sizes.nets, sizes.seed, K0=K0)


def _simulated(found: Simulation) -> Record:
    """Means over the networks with their standard errors, to six digits."""
    names = ("kernel", "kernel_error", "gradient", "gradient_error")
    return {name: [float(f"{v:.6g}") for v in getattr(found, name)] for name in names}
