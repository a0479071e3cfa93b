"""Critical initialisation of a whole model: W ~ N(0, C_W/fan_in), b ~ N(0, C_b) (Roberts, Yaida, Hanin 2022).

    report = critical_init_(model)
    print(report)

Every hidden Linear and Conv layer gets the C_W and C_b of a critical point of the activation that follows it, the
readout the variance that gives logits of variance 1, and the report says what the inputs are to be multiplied by: the
`Start` of the activation, in a model that is built already.

The readout, the last layer if no activation follows it, gets W ~ N(0, 1/(fan_in s)), b = 0, s the mean square of
what it reads at infinite width: logits of variance 1. Another layer that no activation follows is drawn for the
activation before it, or with C_W = 1, C_b = 0 where there is none. Left alone, as the report says of each, are
layers inside residual blocks that hold a normalisation (which sets the scale there, and the sum the depth), frozen
layers, LoRA adapters, computed weights, weights that a module of another kind has too (a tied embedding) and
transposed convolutions. Two layers that share a weight get that of the first. transformers' Conv1D is a Linear;
parallel branches count as one after the other.

Critical also asks for inputs of the right size: `input_scale` of the report. Multiplying the inputs is what
Actsmith's experiments do. Adam's steps do not know the scale of a weight, so that a small scale inside the weights
of the first layer is soon trained away.

The coordinates of a differential equation are not of that kind: with `domain=` the first layer takes them as they
are, each about its middle and over its spread, so that its pre-activation has the variance that it should over the
domain. Layers that make frequencies of them keep these: a first layer that a sine of more than x itself follows
(sin(30*x), a SIREN) or sine and cosine together, as trainable Fourier features are; what the next layer sees of
them is measured, and the scale goes into that one. A feature matrix in a buffer is no layer: nothing touches it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite, isnan
from typing import Any, Literal

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.nn.domain import Box, Domain, domain_of, inputs_of, mean_square
from actsmith.nn.draw import draw_bias, draw_coordinates, draw_weight
from actsmith.nn.following import Following, activations_that_follow, is_layer
from actsmith.nn.init_plan import Step, Wanted, kept_layers, other_owners, plan_layers
from actsmith.nn.init_report import InitReport, LayerInit
from actsmith.nn.private import inside_compiled
from actsmith.nn.start import Start, second_moment_at, start_of

__all__ = ["InitReport", "LayerInit", "critical_init_"]

# A kernel beyond this, or beyond so many times where it started, explodes.
WINDOW = 1000.0


def critical_init_(
    model: nn.Module,
    f: FormulaLike | None = None,
    C_W: float | None = None,
    C_b: float | None = None,
    generator: torch.Generator | None = None,
    *,
    inputs: Literal["report", "weights"] | None = None,
    domain: Box | Tensor | None = None,
    keep: Sequence[str] | None = None,
    square: float | None = None,
    K0: float | None = None,
    orthogonal: bool = False,
    residual: bool = False,
    strict: bool = True,
    example: Any = None,
) -> InitReport:
    """Draw the Linear and Conv layers of `model`, each critical for the activation that follows it (see the module).

    Args:
        model: a layer or a model, compiled or not; changed in place.
        f: the activation that follows every hidden layer; None finds it for each layer by tracing.
        C_W, C_b: the point for every layer, both or neither, in place of critical ones; nothing is asked of the inputs.
        generator: of the randomness.
        inputs: "report": you multiply the inputs by the report's `input_scale`; "weights": the first layer's weights
            are multiplied by it instead, and the inputs stay as they are. None: "weights" with a domain, else "report".
        domain: where the inputs are coordinates, (low, high) of each; or points of the domain (n, coordinates).
        keep: paths of layers, or of modules with layers, that keep their weights; None: with a domain and no K0, the
            frequencies; () draws these, too.
        square: the inputs' mean square; None measures it on the domain or the example, or takes 1 where there is none.
        K0: the variance of the first pre-activation, in place of the activation's own. It is free where every K is
            critical, and for a sine, whose frequencies it sets: a SIREN has 1/(9 fan_in).
        orthogonal: orthonormal rows (or columns, the fewer) in place of independent Gaussians, with the same variance.
        residual: draw normalised residual blocks too.
        strict: refuse a model of which one activation has no critical point, or where several activations follow a
            layer; False draws the first to keep K = 1 (C_W = 1/E[f^2], C_b = 0) and leaves the second alone.
        example: an input, to measure; and to watch in one forward pass, for models that torch.fx cannot trace.

    Raises:
        ActsmithError: an activation has no critical point, or several activations follow one layer (strict), no layer,
            an argument is out of range, or the model cannot be traced. Nothing has been drawn then.

    Example:
        >>> report = critical_init_(nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2)))
        >>> [(r.C_W, r.C_b) for r in report], round(report.input_scale, 4)
        ([(1.983..., 0.172...), (0.585..., 0.0)], 1.3072)
    """
    point = _point(inputs, C_W, C_b, domain=domain, square=square, K0=K0)
    given, model = None if f is None else resolve(f), inside_compiled(model)
    place = None if domain is None else domain_of(domain)
    if place is not None and example is None:
        example = place.example(model)
    found, how = _found(model, example, given is not None or point is not None)
    kept = kept_layers(found, keep, place is not None and K0 is None)
    steps = plan_layers(found, Wanted(given, point, residual, strict, kept), other_owners(model))
    report = InitReport((), how)
    if point is None:
        seen = _seen(model, example, steps, place) if place is not None or square is None else {}
        square = square or _square_of_first(steps, place, seen) or 1.0
        report = _with_start(report, steps, K0, square, bool(kept))
        if (inputs or ("report" if place is None else "weights")) == "weights":
            report = _into_weights(report, steps, place, seen)
    _draw_all(steps, orthogonal, generator)
    return replace(report, layers=tuple(s.plan for s in steps))


def _point(
    inputs: str | None, C_W: float | None, C_b: float | None, *, domain: object, **positive: float | None
) -> tuple[float, float] | None:
    """The point that was given; what cannot be is refused."""
    if inputs not in ("report", "weights", None):
        raise ActsmithError(f"critical_init_: inputs: got {inputs!r}; expected 'report' or 'weights'")
    for name, value in positive.items():
        if value is not None and not 0 < value < inf:
            raise ActsmithError(f"critical_init_: {name}: got {value}; expected a positive number")
    if (C_W is None) != (C_b is None):
        raise ActsmithError(f"critical_init_: got C_W={C_W}, C_b={C_b}; expected both or neither")
    if C_W is None or C_b is None:
        return None
    if not (0 <= C_W < inf and 0 <= C_b < inf):
        raise ActsmithError(f"critical_init_: got C_W={C_W}, C_b={C_b}; expected variances, 0 or more")
    if domain is not None:
        raise ActsmithError(f"critical_init_: got domain={domain!r} with C_W and C_b; expected one or the other")
    return C_W, C_b


def _found(model: nn.Module, example: Any, known: bool) -> tuple[list[Following], str]:
    try:
        found, how = activations_that_follow(model, example)
    except ActsmithError:
        if not known:
            raise
        layers = [(p, m) for p, m in model.named_modules() if is_layer(m, transposed=True)]
        found = [Following(p, m, reached=True, feeds=m is not layers[-1][1]) for p, m in layers]
    if not found:
        raise ActsmithError(f"critical_init_: {type(model).__name__} holds no Linear or Conv layer")
    return found, "given" if known else how


def _seen(model: nn.Module, example: Any, steps: Sequence[Step], place: Domain | None) -> dict[nn.Module, Tensor]:
    """What enters each layer of the example, if there is one."""
    if example is None:
        return {}
    try:
        return inputs_of(model, example, [s.following.module for s in steps])
    except (RuntimeError, TypeError) as error:
        if place is None:
            raise
        count = place.points.shape[1]
        raise ActsmithError(
            f"critical_init_: domain: {type(model).__name__} does not take points (n, {count}): {error}; give as many "
            "coordinates as it reads, or example=, what it is called with"
        ) from error


def _square_of_first(steps: Sequence[Step], place: Domain | None, seen: Mapping[nn.Module, Tensor]) -> float | None:
    """The mean square of what enters the first layer that is drawn."""
    first = next((s.following.module for s in steps if s.plan.drawn), None)
    if first is None or first not in seen:
        return None
    return place.square if place is not None and place.is_read_by(first, seen[first]) else mean_square(seen[first])


def _with_start(report: InitReport, steps: list[Step], K0: float | None, square: float, kept: bool) -> InitReport:
    """The report with the first activation's start; the readouts' plans get their variance."""
    hidden = [s for s in steps if s.formula is not None and s.plan.drawn]
    if not hidden:
        for step in steps if kept else ():
            if step.readout:
                _write_readout(step, square)
        return report
    first = hidden[0]
    start = _start(hidden, K0)
    if kept and start.universality == "zero_stable":
        assert first.formula is not None
        start = start_of(first.formula, start.depth, start.C_W)  # slope^2 K0 = 1: the frequencies are made already
    explodes = _follow_kernel(steps, first, start)
    if first.following.norm:
        return report
    readout = next((s.plan.C_W for s in steps if s.readout and s.plan.drawn and s.plan.C_W is not None), start.readout)
    start = replace(start, readout=readout)
    return replace(report, start=start, first=first.plan.path, square=square, explodes=explodes)


def _start(hidden: Sequence[Step], K0: float | None) -> Start:
    """Of the first activation, over the layers up to the next normalisation; safe for every activation there."""
    depth = next((i for i, s in enumerate(hidden) if i and (s.following.norm or s.following.after_norm)), len(hidden))
    formulas = list(dict.fromkeys(s.formula for s in hidden[:depth] if s.formula is not None))
    if K0 is not None:
        return start_of(formulas[0], depth, K0)
    starts = [start_of(formula, depth) for formula in formulas]
    unstable = [s.K0 for s in starts if s.universality == "zero_unstable"]
    if unstable and starts[0].universality != "half_stable" and min(unstable) < starts[0].K0:
        return start_of(formulas[0], depth, min(unstable))
    return starts[0]


def _follow_kernel(steps: Sequence[Step], first: Step, start: Start) -> str:
    """Write the variance of the readouts from the mean square that arrives there; returns where the kernel explodes.

    | symbol | meaning                                                               |
    |--------|-----------------------------------------------------------------------|
    | S      | mean square of what enters the next layer; None where it is not known |
    | K      | variance of the layer's pre-activation: C_b + C_W S                   |
    """
    S: float | None = None
    explodes = ""
    for step in steps:
        following, plan = step.following, step.plan
        if not following.reached:
            continue
        if following.after_norm:
            S = 1.0
        if step is first:
            S = (start.K0 - start.C_b) / start.C_W
        if step.readout:
            _write_readout(step, S)
            continue
        known = plan.drawn and not following.residual and not following.normalised_block
        K = None if S is None or not known else (plan.C_b or 0.0) + (plan.C_W or 0.0) * S
        K = 1.0 if following.norm else K
        if K is not None and (isnan(K) or WINDOW * max(1.0, start.K0) < K):
            explodes, K = explodes or plan.path, None
        S = K if step.formula is None or K is None else _second_moment(step.formula, K)
    return explodes


def _second_moment(formula: Formula, K: float) -> float | None:
    try:
        return second_moment_at(formula, K)
    except ActsmithError:
        return None


def _write_readout(step: Step, S: float | None) -> None:
    if S is not None and isfinite(S) and S > 0 and step.plan.drawn:
        note = f"readout: outputs of variance 1{step.plan.note.removeprefix('readout')}"
        step.plan = replace(step.plan, C_W=1.0 / S, note=note)


def _into_weights(
    report: InitReport, steps: Sequence[Step], place: Domain | None, seen: Mapping[nn.Module, Tensor]
) -> InitReport:
    """The plan of the first layer with the input scale in its weights; of all that read the domain, with one."""
    start = report.start
    for step in steps if start is not None else ():
        assert start is not None
        following, first = step.following, step.plan.path == report.first
        beside = place is not None and following.entry and step.plan.drawn and step.formula is not None
        if not (first or beside):
            continue
        sharing = [s.plan.path for s in steps if s.following.module.weight is following.module.weight]
        if len(sharing) > 1:
            raise ActsmithError(
                f"critical_init_: layer {step.plan.path!r}: its weight is shared, so that it cannot hold the input "
                "scale; take inputs='report'"
            )
        given = seen.get(following.module)
        if place is not None and place.is_read_by(following.module, given):
            has_bias = isinstance(following.module.bias, Tensor)
            step.middle = place.middle if has_bias else torch.zeros_like(place.middle)
            step.scales = (start.input_scale() ** 2 / (place.spread + (place.middle - step.middle).square())).sqrt()
            factor = float(step.scales.square().mean())
        else:
            factor = start.input_scale(report.square if first else mean_square(given) or 1.0) ** 2
        note = f"{step.plan.note}; holds the input scale {factor**0.5:.4g}"
        step.plan = replace(step.plan, C_W=(step.plan.C_W or 0.0) * factor, note=note)
        if first and step.scales is not None and step.middle is not None:
            report = replace(report, middle=tuple(step.middle.tolist()), scales=tuple(step.scales.tolist()))
    return replace(report, in_weights=start is not None)


def _draw_all(steps: Sequence[Step], orthogonal: bool, generator: torch.Generator | None) -> None:
    done: set[int] = set()
    for step in steps:
        module, plan = step.following.module, step.plan
        if not plan.drawn or plan.C_W is None:
            continue
        if id(module.weight) not in done:
            draw_weight(module, plan.C_W, orthogonal, generator)
        draw_bias(module, plan.C_b or 0.0, generator)
        if step.scales is not None and step.middle is not None:
            draw_coordinates(module, step.middle, step.scales)
        done.add(id(module.weight))
