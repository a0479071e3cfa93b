"""`mrepu-kernel`: kernels and gradients through depth at initialisation, by theory and in real networks; no training.

    K^(l+1) = C_b + C_W g(K^(l)),   |dL/dz^(l)|^2 / |dL/dz^(L)|^2 = prod_{j=l}^{L-1} chi_perp(K^(j))

| symbol | meaning                                                                                       |
|--------|-----------------------------------------------------------------------------------------------|
| q      | (log K^(l+2) - log K^(l+1))/(log K^(l+1) - log K^(l)): 1 where log K is linear in the layer   |
|        | (an exponential), p for RePU, whose K' = C_W (2p-1)!!/2 K^p makes log K itself an exponential |
| window | K0/1000 <= K <= max(1000, 1000 K0); a network survives the layers before it leaves it         |

Every activation starts at its most usable critical point, as in `experiments.initial`; where it has none, at the C_W
that keeps K = 1 at the first layer, its balance.

Not known of the published figures: widths, depths, numbers of networks. The paper preset is a usual size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actsmith.experiments.experiment import Report, describe
from actsmith.experiments.findings import Claim, Curves, Findings, Series
from actsmith.experiments.folder import RunFolder, finite_or_none
from actsmith.experiments.initial import initialisation
from actsmith.experiments.loop import Runtime
from actsmith.experiments.reproduce import Part, Preset, Reproduction
from actsmith.experiments.reproductions.mrepu import ACTIVATIONS, MREPU, PAPER, REPU
from actsmith.formula.formula import Formula
from actsmith.nn.simulate import Simulation, simulate
from actsmith.theory.criticality import criticality, depth_in_window
from actsmith.theory.kernel import kernel_flow, moments, susceptibilities

__all__ = ["REPRODUCTION", "Balance", "Depth", "Starts", "Sizes", "growth", "survived"]

Record = dict[str, Any]
Array = NDArray[np.float64]

WINDOW = 1000.0
SHOWN = 1e12
"""Figures show kernels and gradients between 1/SHOWN and SHOWN."""


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
class Depth:
    """Every activation from its own start: theory, an ensemble, and how far off C_W may be.

    Attributes:
        activations: which.
        sizes: of the ensemble.
        offsets: relative errors of C_W, of either sign.
        limit: layers that theory follows for each offset.
    """

    activations: tuple[Formula, ...]
    sizes: Sizes
    offsets: tuple[float, ...]
    limit: int = 1000
    name: str = "depth"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say."""
        return describe(self)  # type: ignore[no-any-return]

    def run(self, folder: RunFolder, runtime: Runtime, data: Path | None, report: Report) -> None:
        """One record an activation."""
        _each(self.name, self.activations, self.record, folder=folder, runtime=runtime, report=report)

    def record(self, formula: Formula) -> Record:
        """Its class, its start, K and the gradient by layer, and the layers survived for each offset of C_W."""
        start, found, s = initialisation(formula, self.sizes.depth), criticality(formula), self.sizes
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
class Balance:
    """Activations without a critical point, around the C_W that keeps K = 1.

    Attributes:
        activations: those of them that have no critical point are followed.
        sizes: of the ensembles.
        factors: of C_W.
    """

    activations: tuple[Formula, ...]
    sizes: Sizes
    factors: tuple[float, ...]
    name: str = "balance"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say."""
        return describe(self)  # type: ignore[no-any-return]

    def run(self, folder: RunFolder, runtime: Runtime, data: Path | None, report: Report) -> None:
        """One record an activation without a critical point."""
        chosen = [f for f in self.activations if criticality(f).universality == "none"]
        _each(self.name, chosen, self.record, folder=folder, runtime=runtime, report=report)

    def record(self, formula: Formula) -> Record:
        """For each factor K and the gradient by layer in theory, q, and the same of an ensemble."""
        start, s = initialisation(formula, self.sizes.depth), self.sizes
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
class Starts:
    """Activations that are critical only as K -> 0 and unstable there, from kernels K0 of several sizes.

    Attributes:
        activations: those of class zero_unstable are followed.
        sizes: of the ensembles.
        kernels: values of K0.
        small: a kernel at which the susceptibilities are taken, to compare with their limit 1.
        limit: layers that theory follows.
    """

    activations: tuple[Formula, ...]
    sizes: Sizes
    kernels: tuple[float, ...]
    small: float = 1e-8
    limit: int = 100_000
    name: str = "starts"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say."""
        return describe(self)  # type: ignore[no-any-return]

    def run(self, folder: RunFolder, runtime: Runtime, data: Path | None, report: Report) -> None:
        """One record an activation of the class."""
        chosen = [f for f in self.activations if criticality(f).universality == "zero_unstable"]
        _each(self.name, chosen, self.record, folder=folder, runtime=runtime, report=report)

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


def _each(
    part: str,
    formulas: Sequence[Formula],
    record: Callable[[Formula], Record],
    *,
    folder: RunFolder,
    runtime: Runtime,
    report: Report,
) -> None:
    """A record for every formula that has none; the first process alone computes."""
    for number, formula in enumerate(formulas if runtime.main else ()):
        report(part, number, len(formulas), formula.name)
        key = f"{part}/{formula.name}"
        if key not in folder.results:
            with np.errstate(all="ignore"):
                found = record(formula)
            folder.append(key, {"part": part, "activation": formula.name, **finite_or_none(found)})
    report(part, len(formulas), len(formulas), "done")


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


# ------------------------------------------------------------------------------------------------------- reading


def read(folder: RunFolder, parts: tuple[Part, ...]) -> Findings:
    """Figures, claims and the numbers behind them."""
    of = {part.name: [r for r in folder.results.values() if r["part"] == part.name] for part in parts}
    depth, balance, starts = of["depth"], of["balance"], of["starts"]
    offsets = next(p.offsets for p in parts if isinstance(p, Depth))
    sizes = next(p.sizes for p in parts if isinstance(p, Depth))
    curves = [
        _pair("kernel", "The kernel through depth, each activation from its own start", "K / K0", depth),
        _pair("gradient", "The squared gradient through depth, over that of the last layer", "ratio", depth),
        _tolerance(depth, offsets),
    ]
    if balance:
        curves.append(_fate(balance))
    if starts:
        curves += [_flows(starts), _safe(starts)]
    return Findings(
        summary=_summary(depth, sizes),
        curves=tuple(curves),
        claims=(
            _repu(depth, balance, offsets), *(_critical(starts), _stable(starts)), _agreement(depth, sizes),
        ),
        facts={
            "classes": {r["activation"]: [r["universality"], r["start"]] for r in depth},
            "layers survived at an offset of C_W": {
                r["activation"]: {"offsets": offsets, "below": r["low"], "exact": r["exact"], "above": r["high"]}
                for r in depth
            },
            "growth q": {r["activation"]: {f"{run['factor']:g}": run["growth"] for run in r["runs"]} for r in balance},
            "safe depth": {
                r["activation"]: {f"{run['K0']:g}": run["safe_depth"] for run in r["runs"]} for r in starts
            },
        },
    )  # fmt: skip


def _summary(depth: Sequence[Record], sizes: Sizes) -> str:
    classes: dict[str, list[str]] = {}
    for record in depth:
        classes.setdefault(record["universality"], []).append(record["activation"])
    listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in classes.items())
    return (
        f"Universality classes found: {listed}. Simulations are {sizes.nets} networks of width {sizes.width}, "
        "their mean with two standard errors as a band; theory is that of infinite width."
    )


def _repu(depth: Sequence[Record], balance: Sequence[Record], offsets: Sequence[float]) -> Claim:
    """log K grows by p a layer at every C_W off balance, and ensembles leave the window even on it."""
    powers = {f.name: f.params["p"].value for f in REPU}
    mine = [r for r in balance if r["activation"] in powers]
    off = [(r["activation"], run["growth"]) for r in mine for run in r["runs"] if run["factor"] != 1.0]
    double = all(q is not None and abs(q - powers[name]) < 1e-6 for name, q in off)
    leaves = [survived(run["simulated"]["kernel"]) < len(run["kernel"]) - 1 for r in mine for run in r["runs"]]
    at = min(range(len(offsets)), key=lambda i: abs(math.log(offsets[i] / 0.01)))
    layers = {r["activation"]: max(r["low"][at], r["high"][at]) for r in depth}
    survive = ", ".join(f"{name} {layers[name]}" for name in (*powers, "relu"))
    on = ", ".join(
        f"{r['activation']} {survived(run['simulated']['kernel'])}"
        for r in mine for run in r["runs"] if run["factor"] == 1.0
    )  # fmt: skip
    verdict = "reproduced" if double and all(leaves) else "partly reproduced" if double or any(leaves) else "not reproduced"
    return Claim(
        "The values of deep RePU networks vanish or explode (doubly exponentially) under every initialisation",
        verdict,
        f"q = p to 1e-6 at every C_W off balance: {'yes' if double else 'no'}; ensembles that leave the window: "
        f"{sum(leaves)} of {len(leaves)}, the ones on balance after these layers: {on}. At infinite width and C_W "
        f"{100 * offsets[at]:.2g} % off, layers survived: {survive}.",
    )  # fmt: skip


def _critical(starts: Sequence[Record]) -> Claim:
    """chi -> 1 as K -> 0; at no K > 0."""
    mine = _mrepu(starts)
    near = [abs(r[chi] - 1) < 1e-5 for r in mine for chi in ("chi_par", "chi_perp")]
    finite = [r["points_above_0"] > 0 for r in mine]
    met = len(mine) == len(MREPU) and all(near)
    verdict = "reproduced" if met and all(finite) else "partly reproduced" if met else "not reproduced"
    numbers = "; ".join(
        f"{r['activation']}: chi_par - 1 = {r['chi_par'] - 1:.2g}, chi_perp - 1 = {r['chi_perp'] - 1:.2g}, "
        f"a1 = {r['a1']:g}, critical K > 0: {r['points_above_0']}"
        for r in mine
    )
    return Claim(
        "MRePU satisfies the criticality conditions, in a universality class of its own",
        verdict,
        f"At K = 1e-8: {numbers}. Both conditions hold in the limit K -> 0 alone, where a1 > 0 makes the point unstable: "
        "the class zero_unstable.",
    )


def _stable(starts: Sequence[Record]) -> Claim:
    """Bounded for every K0, for small ones, or for none."""
    mine = _mrepu(starts)
    deep = 100
    depths = {r["activation"]: {run["K0"]: run["safe_depth"] for run in r["runs"]} for r in mine}
    large = all(d[max(d)] >= deep for d in depths.values())
    small = all(d[min(d)] >= deep for d in depths.values())
    verdict = "not reproduced" if not mine or not small else "reproduced" if large else "partly reproduced"
    listed = "; ".join(f"{n}: " + ", ".join(f"{d} from K0 = {k:g}" for k, d in found.items()) for n, found in depths.items())
    return Claim(
        f"MRePU's values stay stable through depth ({deep} layers)", verdict, f"Layers in the window: {listed}."
    )


def _mrepu(starts: Sequence[Record]) -> list[Record]:
    names = {f.name for f in MREPU}
    return [r for r in starts if r["activation"] in names]


def _agreement(depth: Sequence[Record], sizes: Sizes) -> Claim:
    """Where a critical point exists: the ensemble's mean within three standard errors of theory plus depth/width."""
    parts, met = [], []
    for r in depth:
        if r["universality"] == "none":
            continue
        theory, mean, error = (
            np.array([np.nan if v is None else v for v in values], dtype=float)
            for values in (r["kernel"], r["simulated"]["kernel"], r["simulated"]["kernel_error"])
        )
        layers = np.arange(theory.size)
        allowed = 3 * error + theory * layers / sizes.width
        share = float((np.abs(mean - theory) <= allowed).mean())
        met.append(share == 1.0)
        parts.append(f"{r['activation']} {100 * share:.0f} %")
    verdict = "reproduced" if all(met) else "partly reproduced" if any(met) else "not reproduced"
    return Claim(
        "The kernels of real networks follow the theory of infinite width, where a critical point exists",
        verdict,
        f"Layers with the mean within three standard errors plus depth/width: {', '.join(parts)}.",
    )


# ------------------------------------------------------------------------------------------------------- figures


def _line(label: str, values: Sequence[float | None], scale: float = 1.0, error: Sequence[float | None] = ()) -> Series:
    """A line over the layers, with a band of two standard errors; gaps outside of what figures show."""
    y = [_shown(v, scale) for v in values]
    low = high = None
    if error:
        both = list(zip(values, error, strict=True))
        low = tuple(None if v is None or e is None else _shown(max(v - 2 * e, v / 1000), scale) for v, e in both)
        high = tuple(None if v is None or e is None else _shown(v + 2 * e, scale) for v, e in both)
    return Series(label, tuple(float(i) for i in range(len(y))), tuple(y), low, high)


def _shown(value: float | None, scale: float) -> float | None:
    return value / scale if value is not None and 1 / SHOWN <= value / scale <= SHOWN else None


def _pair(name: str, title: str, y_label: str, depth: Sequence[Record]) -> Curves:
    """`name` by layer, theory and simulation side by side."""
    scale = [r["start"]["K0"] if name == "kernel" else 1.0 for r in depth]
    panels = {
        "theory": tuple(_line(r["activation"], r[name], s) for r, s in zip(depth, scale, strict=True)),
        "simulation": tuple(
            _line(r["activation"], r["simulated"][name], s, r["simulated"][f"{name}_error"])
            for r, s in zip(depth, scale, strict=True)
        ),
    }
    return Curves(name, title, panels, "layer", y_label, log_y=True)


def _tolerance(depth: Sequence[Record], offsets: Sequence[float]) -> Curves:
    def lines(side: str) -> tuple[Series, ...]:
        return tuple(
            Series(r["activation"], tuple(offsets), tuple(float(max(n, 1)) for n in r[side])) for r in depth
        )  # fmt: skip

    return Curves(
        "tolerance", "Layers survived against how far C_W is off, infinite width",
        {"C_W too small": lines("low"), "C_W too large": lines("high")}, "relative error of C_W", "layers",
        log_x=True, log_y=True,
    )  # fmt: skip


def _fate(balance: Sequence[Record]) -> Curves:
    panels: dict[str, tuple[Series, ...]] = {}
    for r in balance:
        labels = [f"{run['factor']:g} x balance" for run in r["runs"]]
        panels[f"{r['activation']}, theory"] = tuple(
            _line(label, run["kernel"]) for label, run in zip(labels, r["runs"], strict=True)
        )
        panels[f"{r['activation']}, simulation"] = _simulations(labels, r["runs"])
    title = "No critical point: the kernel under several C_W, in units of the C_W that keeps K = 1"
    return Curves("balance", title, panels, "layer", "K", log_y=True)


def _flows(starts: Sequence[Record]) -> Curves:
    panels: dict[str, tuple[Series, ...]] = {}
    for r in starts:
        labels = [f"K0 = {run['K0']:g}" for run in r["runs"]]
        panels[f"{r['activation']}, theory"] = tuple(
            _line(label, run["kernel"]) for label, run in zip(labels, r["runs"], strict=True)
        )
        panels[f"{r['activation']}, simulation"] = _simulations(labels, r["runs"])
    return Curves("starts", "Critical as K -> 0: the kernel from several K0", panels, "layer", "K", log_y=True)


def _simulations(labels: Iterable[str], runs: Sequence[Record]) -> tuple[Series, ...]:
    found = [run["simulated"] for run in runs]
    return tuple(
        _line(label, s["kernel"], 1.0, s["kernel_error"]) for label, s in zip(labels, found, strict=True)
    )  # fmt: skip


def _safe(starts: Sequence[Record]) -> Curves:
    """Safe depth against K0, beside 1/(a1 K0)."""
    measured, predicted = [], []
    for r in starts:
        x = tuple(run["K0"] for run in r["runs"])
        measured.append(Series(r["activation"], x, tuple(float(max(run["safe_depth"], 1)) for run in r["runs"])))
        if r["a1"] is not None:
            predicted.append(Series(r["activation"], x, tuple(1 / (r["a1"] * k) for k in x)))
    panels = {"layers in the window": tuple(measured), "1 / (a1 K0)": tuple(predicted)}
    return Curves("safe-depth", "Safe depth against K0", panels, "K0", "layers", log_x=True, log_y=True)


def _preset(sizes: Sizes, offsets: int) -> Callable[[tuple[Formula, ...]], tuple[Part, ...]]:
    grid = tuple(float(d) for d in np.logspace(-6, -0.5, offsets).round(9))
    kernels = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)

    def parts(formulas: tuple[Formula, ...]) -> tuple[Part, ...]:
        return (
            Depth(formulas, sizes, grid),
            Balance(formulas, sizes, (0.5, 0.9, 1.0, 1.1, 2.0)),
            Starts(formulas, sizes, kernels),
        )

    return parts


REPRODUCTION = Reproduction(
    name="mrepu-kernel",
    title="Kernels and gradients through depth at initialisation",
    source=PAPER,
    claims="RePU meets no criticality condition, so its values explode or vanish whatever the initialisation; MRePU "
    "meets them, in a class of its own",
    activations=ACTIVATIONS,
    presets={
        "smoke": Preset(_preset(Sizes(width=32, depth=6, nets=4), 4), "seconds"),
        "small": Preset(_preset(Sizes(), 23), "about a minute and a half on one CPU thread"),
        "paper": Preset(
            _preset(Sizes(width=1000, depth=50, nets=100), 45),
            "about six hours on one CPU thread and 8 GB; the published widths, depths and numbers of networks are "
            "not known to us, these are usual ones",
        ),
    },
    read=read,
)
