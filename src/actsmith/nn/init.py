"""Critical initialisation of a whole model: W ~ N(0, C_W/fan_in), b ~ N(0, C_b) (Roberts, Yaida, Hanin 2022).

    report = critical_init_(model)
    print(report)

Every hidden Linear and Conv layer gets the C_W and C_b of a critical point of the activation that follows it, the
readout the variance that gives logits of variance 1, and the report says what the inputs are to be multiplied by: the
`Start` of the activation, in a model that is built already.
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
from actsmith.nn.draw import draw_bias, draw_weight
from actsmith.nn.following import Following, activations_that_follow, is_layer
from actsmith.nn.init_plan import Step, Wanted, other_owners, plan_layers
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
    inputs: Literal["report", "weights"] = "report",
    square: float | None = None,
    K0: float | None = None,
    orthogonal: bool = False,
    residual: bool = False,
    strict: bool = True,
    example: Any = None,
) -> InitReport:
    """Draw the Linear and Conv layers of `model`, each critical for the activation that follows it.

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

    Args:
        model: a layer or a model, compiled or not; changed in place.
        f: the activation that follows every hidden layer; None finds it for each layer by tracing.
        C_W, C_b: the point for every layer, both or neither, in place of critical ones; nothing is asked of the inputs.
        generator: of the randomness.
        inputs: "report": you multiply the inputs by the report's `input_scale`; "weights": the first layer's weights
            are multiplied by it instead, and the inputs stay as they are.
        square: the inputs' mean square; None measures it on the example, or takes 1 where there is none.
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
    _check(inputs, C_W=C_W, C_b=C_b, square=square, K0=K0)
    given, point = None if f is None else resolve(f), None if C_W is None or C_b is None else (C_W, C_b)
    model = inside_compiled(model)
    found, how = _found(model, example, given is not None or point is not None)
    if not found:
        raise ActsmithError(f"critical_init_: {type(model).__name__} holds no Linear or Conv layer")
    steps = plan_layers(found, Wanted(given, point, residual, strict), other_owners(model))
    report = InitReport((), how)
    if point is None:
        if square is None and example is not None:
            square = _measured(model, example, next((s.following.module for s in steps if s.plan.drawn), None))
        report = _with_start(report, steps, K0, square or 1.0)
    if report.start is not None and inputs == "weights":
        report = _into_weights(report, steps)
    _draw_all(steps, orthogonal, generator)
    return replace(report, layers=tuple(s.plan for s in steps))


def _check(inputs: str, *, C_W: float | None, C_b: float | None, **positive: float | None) -> None:
    if inputs not in ("report", "weights"):
        raise ActsmithError(f"critical_init_: inputs: got {inputs!r}; expected 'report' or 'weights'")
    if (C_W is None) != (C_b is None):
        raise ActsmithError(f"critical_init_: got C_W={C_W}, C_b={C_b}; expected both or neither")
    if C_W is not None and not (0 <= C_W < inf and 0 <= (C_b or 0.0) < inf):
        raise ActsmithError(f"critical_init_: got C_W={C_W}, C_b={C_b}; expected variances, 0 or more")
    for name, value in positive.items():
        if value is not None and not 0 < value < inf:
            raise ActsmithError(f"critical_init_: {name}: got {value}; expected a positive number")


def _found(model: nn.Module, example: Any, known: bool) -> tuple[list[Following], str]:
    try:
        found, how = activations_that_follow(model, example)
    except ActsmithError:
        if not known:
            raise
        layers = [(p, m) for p, m in model.named_modules() if is_layer(m, transposed=True)]
        found = [Following(p, m, reached=True, feeds=m is not layers[-1][1]) for p, m in layers]
    return found, "given" if known else how


def _with_start(report: InitReport, steps: list[Step], K0: float | None, square: float) -> InitReport:
    """The report with the first activation's start; the readouts' plans get their variance."""
    hidden = [s for s in steps if s.formula is not None and s.plan.drawn]
    if not hidden:
        return report
    first = hidden[0]
    start = _start(hidden, K0)
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


@torch.no_grad()
def _measured(model: nn.Module, example: Any, layer: nn.Module | None) -> float | None:
    """The mean square of what enters `layer` in one forward pass; None where it is not called, or sees only zeros."""
    if layer is None:
        return None
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].double().square().mean()))
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        if isinstance(example, Mapping):
            model(**example)
        else:
            model(*example) if isinstance(example, tuple) else model(example)
    finally:
        handle.remove()
        for module, before in training.items():
            module.training = before
    square = float(seen[0]) if seen else 0.0
    return square if 0 < square < inf else None


def _into_weights(report: InitReport, steps: Sequence[Step]) -> InitReport:
    """The plan of the first layer with the input scale in its weights."""
    assert report.start is not None
    step = next(s for s in steps if s.plan.path == report.first)
    sharing = [s.plan.path for s in steps if s.following.module.weight is step.following.module.weight]
    if len(sharing) > 1:
        raise ActsmithError(
            f"critical_init_: layer {report.first!r}: its weight is shared, so that it cannot hold the input scale; "
            "take inputs='report'"
        )
    scale = report.start.input_scale(report.square)
    C_W = (step.plan.C_W or 0.0) * scale**2
    step.plan = replace(step.plan, C_W=C_W, note=f"{step.plan.note}; holds the input scale {scale:.4g}")
    return replace(report, in_weights=True)


def _draw_all(steps: Sequence[Step], orthogonal: bool, generator: torch.Generator | None) -> None:
    done: set[int] = set()
    for step in steps:
        module, plan = step.following.module, step.plan
        if not plan.drawn or plan.C_W is None:
            continue
        if id(module.weight) not in done:
            draw_weight(module, plan.C_W, orthogonal, generator)
        draw_bias(module, plan.C_b or 0.0, generator)
        done.add(id(module.weight))
