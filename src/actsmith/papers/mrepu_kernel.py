"""`mrepu-kernel`: kernels and gradients through depth at initialisation, by theory and in real networks; no training.

Not known of the published figures: widths, depths, numbers of networks. The paper preset is a usual size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from actsmith.formula.formula import Formula
from actsmith.papers.claims import Claim, certain
from actsmith.papers.experiment import Part, Results
from actsmith.papers.findings import Curves, Findings, Series
from actsmith.papers.kernels import Balance, Depth, PerActivation, Record, Sizes, Starts, survived
from actsmith.papers.mrepu import ACTIVATIONS, MREPU, PAPER, REPU
from actsmith.papers.reproduce import Preset, Reproduction

__all__ = ["REPRODUCTION"]

SHOWN = 1e12
"""Figures show kernels and gradients between 1/SHOWN and SHOWN."""


def read(folder: Results, parts: tuple[PerActivation, ...]) -> Findings:
    """Figures, claims and the numbers behind them."""
    of = {part.name: part.found(folder) for part in parts}
    depth, balance, starts = (of.get(name, []) for name in ("depth", "balance", "starts"))
    curves, claims = [], []
    asked = next((p for p in parts if isinstance(p, Depth)), None)
    if asked is not None:
        curves += [
            _pair("kernel", "The kernel through depth, each activation from its own start", "K / K0", depth),
            _pair("gradient", "The squared gradient through depth, over that of the last layer", "ratio", depth),
            _tolerance(depth, asked.offsets),
        ]
        claims.append(_repu(depth, balance, asked.offsets))
    if balance:
        title = "No critical point: the kernel under several C_W, in units of the C_W that keeps K = 1"
        curves.append(_kernels("balance", title, balance, lambda run: f"{run['factor']:g} x balance"))
    if starts:
        title = "Critical as K -> 0: the kernel from several K0"
        curves += [_kernels("starts", title, starts, lambda run: f"K0 = {run['K0']:g}"), _safe(starts)]
        claims += [*_critical(starts), *_stable(starts)]
    if asked is not None:
        claims.append(_agreement(depth, asked.sizes))
    offsets = asked.offsets if asked is not None else ()
    return Findings(
        summary=_summary(depth, asked.sizes) if asked is not None else "Without the ensembles through depth.",
        curves=tuple(curves),
        claims=tuple(claims),
        facts={
            "classes": {r["activation"]: [r["universality"], r["start"]] for r in depth},
            "layers survived at an offset of C_W": {
                r["activation"]: {"offsets": offsets, "below": r["low"], "exact": r["exact"], "above": r["high"]}
                for r in depth
            },
            "growth q": {r["activation"]: {f"{run['factor']:g}": run["growth"] for run in r["runs"]} for r in balance},
            "safe depth": {r["activation"]: {f"{run['K0']:g}": run["safe_depth"] for run in r["runs"]} for r in starts},
        },
    )


def _summary(depth: Sequence[Record], sizes: Sizes) -> str:
    classes: dict[str, list[str]] = {}
    for record in depth:
        classes.setdefault(record["universality"], []).append(record["activation"])
    listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in classes.items())
    return (
        f"Universality classes found: {listed}. Simulations are {sizes.nets} networks of width {sizes.width}, "
        "their mean with two standard errors as a band; theory is that of infinite width."
    )


THEORY = "effective field theory of RePU and MRePU"


def _repu(depth: Sequence[Record], balance: Sequence[Record], offsets: Sequence[float]) -> Claim:
    """log K grows by p a layer at every C_W off balance, and ensembles leave the window even on it."""
    powers = {f.name: f.params["p"].value for f in REPU}
    mine = [r for r in balance if r["activation"] in powers]
    off = [(r["activation"], run["growth"]) for r in mine for run in r["runs"] if run["factor"] != 1.0]
    double = [q is not None and abs(q - powers[name]) < 1e-6 for name, q in off]
    leaves = [survived(run["simulated"]["kernel"]) < len(run["kernel"]) - 1 for r in mine for run in r["runs"]]
    at = min(range(len(offsets)), key=lambda i: abs(math.log(offsets[i] / 0.01)))
    layers = {r["activation"]: max(r["low"][at], r["high"][at]) for r in depth}
    survive = ", ".join(f"{name} {layers[name]}" for name in (*powers, "relu"))
    on = ", ".join(
        f"{r['activation']} {survived(run['simulated']['kernel'])}"
        for r in mine for run in r["runs"] if run["factor"] == 1.0
    )  # fmt: skip
    ratios = ", ".join(f"{r['activation']} {r['ratio']:.4g}" for r in depth if r["activation"] in powers)
    return certain(
        "The values of deep RePU networks vanish or explode (doubly exponentially) under every initialisation.",
        [*double, *leaves],
        f"chi_par/chi_perp at every K: {ratios}. q = p to 1e-6 in {sum(double)} of {len(double)} runs with C_W off "
        f"balance. "
        f"Ensembles that leave the window: {sum(leaves)} of {len(leaves)}, the ones on balance after these layers: "
        f"{on}. At infinite width and C_W {100 * offsets[at]:.2g} % off, layers survived: {survive}.",
    )


def _critical(starts: Sequence[Record]) -> tuple[Claim, Claim]:
    """chi -> 1 as K -> 0; at no K > 0."""
    mine = _mrepu(starts)
    near = [abs(r[chi] - 1) < 1e-5 for r in mine for chi in ("chi_par", "chi_perp")]
    numbers = "; ".join(
        f"{r['activation']}: chi_par - 1 = {r['chi_par'] - 1:.2g}, chi_perp - 1 = {r['chi_perp'] - 1:.2g}, "
        f"a1 = {r['a1']:g}, critical K > 0: {r['points_above_0']}"
        for r in mine
    )
    return (
        certain(
            "MRePU satisfies the criticality conditions as K -> 0, in a universality class of its own.", near,
            f"At K = 1e-8: {numbers}. a1 > 0 makes that point unstable: the class zero_unstable.", where=THEORY,
        ),
        certain(
            "MRePU satisfies them at some K > 0, where a network can be started.",
            [r["points_above_0"] > 0 for r in mine], numbers, origin="ours",
        ),
    )  # fmt: skip


def _stable(starts: Sequence[Record]) -> tuple[Claim, Claim]:
    """Bounded for small K0, not for every one."""
    deep = 100
    depths = {r["activation"]: {run["K0"]: run["safe_depth"] for run in r["runs"]} for r in _mrepu(starts)}
    listed = "; ".join(
        f"{name}: " + ", ".join(f"{layers} from K0 = {k:g}" for k, layers in found.items())
        for name, found in depths.items()
    )
    evidence = f"Layers in the window: {listed}."
    return (
        certain(
            f"MRePU's values stay stable through {deep} layers from small inputs.",
            [max(found.values()) >= deep for found in depths.values()], evidence, where=THEORY, panel="mrepu",
        ),
        certain(
            f"They do through {deep} layers from inputs of every size.",
            [layers >= deep for found in depths.values() for layers in found.values()], evidence, origin="ours",
        ),
    )  # fmt: skip


def _mrepu(starts: Sequence[Record]) -> list[Record]:
    names = {f.name for f in MREPU}
    return [r for r in starts if r["activation"] in names]


def _agreement(depth: Sequence[Record], sizes: Sizes) -> Claim:
    """Where a critical point exists: the ensemble's mean within three standard errors of theory plus depth/width, in
    every layer after the first, whose K is given.
    """
    parts, met = [], []
    for r in depth:
        if r["universality"] == "none":
            continue
        theory, mean, error = (
            np.array([np.nan if v is None else v for v in values], dtype=float)
            for values in (r["kernel"], r["simulated"]["kernel"], r["simulated"]["kernel_error"])
        )
        allowed = 3 * error + theory * np.arange(theory.size) / sizes.width
        share = float((np.abs(mean - theory) <= allowed)[1:].mean())
        met.append(share == 1.0)
        parts.append(f"{r['activation']} {100 * share:.0f} %")
    return certain(
        "The kernels of real networks follow the theory of infinite width, where a critical point exists.",
        met,
        f"Layers with the mean within three standard errors plus depth/width: {', '.join(parts)}.",
    )


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


def _kernels(name: str, title: str, found: Sequence[Record], label: Callable[[Record], str]) -> Curves:
    """Two panels an activation, theory and simulation, with a line for each of its runs."""
    panels: dict[str, tuple[Series, ...]] = {}
    for r in found:
        runs = [(label(run), run["kernel"], run["simulated"]) for run in r["runs"]]
        panels[f"{r['activation']}, theory"] = tuple(_line(text, kernel) for text, kernel, _ in runs)
        panels[f"{r['activation']}, simulation"] = tuple(
            _line(text, s["kernel"], 1.0, s["kernel_error"]) for text, _, s in runs
        )
    return Curves(name, title, panels, "layer", "K", log_y=True)


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
        "small": Preset(_preset(Sizes(), 23), "50 seconds of one CPU thread"),
        "paper": Preset(
            _preset(Sizes(width=1000, depth=50, nets=100), 45),
            "about two hours on one CPU thread and 8 GB; the published widths, depths and numbers of networks are "
            "not known to us, these are usual ones",
        ),
    },
    read=read,
)
