"""Critical initialisation: W ~ N(0, C_W/fan_in), b ~ N(0, C_b) (THEORY: section 2; Roberts, Yaida, Hanin 2022).

    report = critical_init_(model)
    print(report)

Every Linear and Conv layer gets the C_W and C_b of a critical point of the activation that follows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.nn.following import LAYERS, TRANSPOSED, Following, activations_that_follow
from actsmith.theory.criticality import criticality

__all__ = ["InitReport", "LayerInit", "critical_init_", "init_"]


@dataclass(frozen=True)
class LayerInit:
    """What was done to one layer.

    Attributes:
        path: the layer's name in the model.
        activation: name of the activation that it is critical for; None where there is none.
        C_W: fan_in times the variance of a weight; None where the layer was left alone.
        C_b: the variance of a bias; None where the layer was left alone or has none.
        fan_in: how many inputs one output sums; 0 where that is not known, or differs from place to place.
        drawn: whether the layer was drawn anew.
        note: how, or why not.
    """

    path: str
    activation: str | None
    C_W: float | None
    C_b: float | None
    fan_in: int
    drawn: bool
    note: str


@dataclass(frozen=True)
class InitReport:
    """One `LayerInit` per Linear, Conv and ConvTranspose layer, in the model's order; prints as a table.

    Attributes:
        layers: what was done to each.
        found_by: "traced" (torch.fx), "watched" (one forward pass) or "given" (the caller named the activation).
    """

    layers: tuple[LayerInit, ...]
    found_by: str

    def __iter__(self) -> Iterator[LayerInit]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> LayerInit:
        return self.layers[index]

    def __str__(self) -> str:
        rows = [["layer", "activation", "C_W", "C_b", "fan-in", ""]]
        for r in self.layers:
            numbers = ["-" if v is None else f"{v:.5g}" for v in (r.C_W, r.C_b)]
            rows.append([r.path or "(itself)", r.activation or "-", *numbers, str(r.fan_in), r.note])
        widths = [*(max(len(row[i]) for row in rows) for i in range(5)), 0]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def critical_init_(
    model: nn.Module,
    f: FormulaLike | None = None,
    C_W: float | None = None,
    C_b: float | None = None,
    generator: torch.Generator | None = None,
    *,
    orthogonal: bool = False,
    residual: bool = False,
    strict: bool = True,
    example: Any = None,
) -> InitReport:
    """Draw the Linear and Conv layers of `model`, each critical for the activation that follows it.

    A layer that no activation follows (the readout) is drawn for the activation before it in the model's order, or with
    C_W = 1, C_b = 0 where there is none. Layers inside residual blocks that hold a normalisation are left alone: there
    the normalisation sets the scale, and the sum the depth. So are frozen layers, LoRA adapters, weights that a
    parametrisation or a hook computes, and transposed convolutions. Two layers that share a weight get that of the
    first. The report says so of each.

    Args:
        model: a layer or a model, compiled or not; changed in place.
        f: the activation that follows every layer; None finds it for each layer by tracing.
        C_W, C_b: the point for every layer, both or neither, in place of a critical one.
        generator: of the randomness.
        orthogonal: orthonormal rows (or columns, the fewer) in place of independent Gaussians, with the same variance.
        residual: draw normalised residual blocks too.
        strict: refuse a model of which one activation has no critical point; False leaves those layers alone.
        example: an input, for models that torch.fx cannot trace: one forward pass is watched in place of tracing.

    Raises:
        ActsmithError: an activation has no critical point, or several activations follow one layer (strict), no layer,
            C_W or C_b is missing or negative, or the model cannot be traced. Nothing has been drawn then.

    Example:
        >>> model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2))
        >>> print(critical_init_(model))
        layer  activation  C_W     C_b      fan-in
        0      gelu        1.9831  0.17292  8       critical at K* = 3.562
        2      gelu        1.9831  0.17292  8       no activation follows: as for the one before
    """
    if (C_W is None) != (C_b is None):
        raise ActsmithError(f"critical_init_: got C_W={C_W}, C_b={C_b}; expected both or neither")
    if C_W is not None and not (0 <= C_W < inf and 0 <= (C_b or 0.0) < inf):
        raise ActsmithError(f"critical_init_: got C_W={C_W}, C_b={C_b}; expected variances, 0 or more")
    given = None if f is None else resolve(f)
    point = None if C_W is None or C_b is None else (C_W, C_b)
    known = given is not None or point is not None
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    found, how = _found(model, example, known)
    if not found:
        raise ActsmithError(f"critical_init_: {type(model).__name__} holds no Linear or Conv layer")
    plans: list[LayerInit] = []
    before: Formula | None = None
    owners = _other_owners(model)
    first: dict[int, LayerInit] = {}
    for following in found:
        formula = given or following.formula
        plan = _plan(following, formula, before, point=point, known=known, residual=residual)
        if isinstance(plan, str):
            if strict:
                raise ActsmithError(f"critical_init_: layer {following.path!r}: {plan}; strict=False leaves it alone")
            plan = _alone(following, formula, plan)
        weight = id(following.module.weight)
        plan = _shared(plan, first.setdefault(weight, plan), owners.get(weight))
        plans.append(plan)
        before = formula if formula is not None and plan.drawn else before
    _draw_all(found, plans, orthogonal, generator)
    return InitReport(tuple(plans), "given" if known else how)


def _found(model: nn.Module, example: Any, known: bool) -> tuple[list[Following], str]:
    try:
        return activations_that_follow(model, example)
    except ActsmithError:
        if not known:
            raise
        kinds = (*LAYERS, *TRANSPOSED)
        return [Following(p, m, reached=True) for p, m in model.named_modules() if isinstance(m, kinds)], "given"


def _plan(
    following: Following,
    formula: Formula | None,
    before: Formula | None,
    *,
    point: tuple[float, float] | None,
    known: bool,
    residual: bool,
) -> LayerInit | str:
    """What to do with a layer; text where there is no answer, saying why."""
    if alone := _why_alone(following, known, residual):
        return _alone(following, formula, f"left alone: {alone}")
    if isinstance(following.module.weight, nn.parameter.UninitializedParameter):
        return "its shape is not known yet; run one batch through the model first"
    if point is not None:
        return _drawn(following, formula, *point, "at the given point")
    if following.several and not known:
        return f"several activations follow it ({', '.join(following.several)}); name one with f="
    return _critical(following, formula, before)


def _why_alone(following: Following, known: bool, residual: bool) -> str:
    if following.normalised_block and not residual:
        return "inside a residual block with normalisation"
    if not following.reached and not known:
        return "the forward pass does not call it"
    if any(part.lower().startswith("lora_") for part in following.path.split(".")):
        return "a LoRA adapter starts as no change of its layer"
    return _why_not_drawn(following.module)


def _why_not_drawn(module: nn.Module) -> str:
    if nn.utils.parametrize.is_parametrized(module):
        return "its weight is parametrised"
    if not isinstance(module.weight, nn.Parameter):
        return "its weight is computed from other parameters, by a hook"
    if isinstance(module, TRANSPOSED):
        return "a transposed convolution sums more inputs at some places than at others"
    return "" if module.weight.requires_grad else "frozen (its weight does not require a gradient)"


def _other_owners(model: nn.Module) -> dict[int, str]:
    """id of a parameter -> path of a module that holds it and is no Linear or Conv layer."""
    holders = [(path, m) for path, m in model.named_modules() if not isinstance(m, LAYERS)]
    return {id(p): path or "(itself)" for path, m in holders for p in m.parameters(recurse=False)}


def _shared(plan: LayerInit, first: LayerInit, owner: str | None) -> LayerInit:
    """The plan of a layer whose weight an earlier layer has (`first`, itself if there is none), or another module."""
    if not plan.drawn:
        return plan
    if not first.drawn:
        note = f"left alone: its weight is tied to {first.path}, which is"
        return replace(plan, C_W=None, C_b=None, drawn=False, note=note)
    note = plan.note if first is plan else f"tied to {first.path}: its weight is drawn there"
    return replace(plan, C_W=first.C_W, note=note + (f"; {owner} has the same weight, now drawn anew" if owner else ""))


def _critical(following: Following, formula: Formula | None, before: Formula | None) -> LayerInit | str:
    wanted = formula or before
    if wanted is None:
        return _drawn(following, None, 1.0, 0.0, "no activation: keeps the variance")
    found = criticality(wanted)
    if not found.points and following.gate and formula is not None:
        return _alone(following, formula, f"left alone: {formula.name} gates another signal here")
    if not found.points:
        return f"{wanted.name} has no critical point. {found.verdict.rstrip('.')}"
    point = found.points[0]
    where = "every K" if point.kind == "scale_invariant" else f"K* = {point.K:.4g}"
    note = f"critical at {where}" if formula is not None else "no activation follows: as for the one before"
    if following.norm:
        note += f"; {following.norm} in between sets the scale"
    if following.residual:
        note += "; enters a residual sum, where kernels add up"
    return _drawn(following, wanted, point.C_W, point.C_b, note)


def _drawn(following: Following, formula: Formula | None, C_W: float, C_b: float, note: str) -> LayerInit:
    bias = getattr(following.module, "bias", None)
    name = None if formula is None else formula.name
    return LayerInit(following.path, name, C_W, None if bias is None else C_b, _fan_in(following.module), True, note)


def _alone(following: Following, formula: Formula | None, note: str) -> LayerInit:
    name = None if formula is None else formula.name
    return LayerInit(following.path, name, None, None, _fan_in(following.module), False, note)


def _fan_in(module: nn.Module) -> int:
    """Inputs that one output sums: of a grouped convolution those of its group; 0 where there is no one number."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    unknown = isinstance(weight, nn.parameter.UninitializedParameter) or isinstance(module, TRANSPOSED)
    return 0 if unknown else weight.numel() // max(len(weight), 1)


def _draw_all(
    found: list[Following], plans: list[LayerInit], orthogonal: bool, generator: torch.Generator | None
) -> None:
    done: set[int] = set()
    for following, plan in zip(found, plans, strict=True):
        weight = id(following.module.weight)
        if not plan.drawn or plan.C_W is None:
            continue
        if weight not in done:
            _draw_weight(following.module, plan.C_W, orthogonal, generator)
        _draw_bias(following.module, plan.C_b or 0.0, generator)
        done.add(weight)


@torch.no_grad()
def _draw_weight(module: nn.Module, C_W: float, orthogonal: bool, generator: torch.Generator | None) -> None:
    weight = module.weight
    assert isinstance(weight, Tensor)
    fan_in = _fan_in(module)
    if weight.numel() and orthogonal:
        # torch's has orthonormal rows (variance 1/fan_in) or, where there are more rows than that, columns (1/rows).
        wide = torch.empty(len(weight), fan_in, dtype=torch.float32 if weight.itemsize < 4 else weight.dtype)
        wide = nn.init.orthogonal_(wide.to(weight.device), generator=generator)
        weight.copy_((wide * sqrt(C_W * max(1.0, len(weight) / fan_in))).reshape(weight.shape))
    elif weight.numel():
        weight.normal_(0.0, sqrt(C_W / fan_in), generator=generator)


@torch.no_grad()
def _draw_bias(module: nn.Module, C_b: float, generator: torch.Generator | None) -> None:
    bias = module.bias
    if isinstance(bias, Tensor):
        bias.normal_(0.0, sqrt(C_b), generator=generator)


def init_(module: nn.Module, C_W: float, C_b: float, generator: torch.Generator | None = None) -> nn.Module:
    """W ~ N(0, C_W/fan_in), b ~ N(0, C_b) in every Linear and Conv layer of `module`; returns `module`."""
    if not (0 <= C_W < inf and 0 <= C_b < inf):
        raise ActsmithError(f"init_: got C_W={C_W}, C_b={C_b}; expected variances, 0 or more")
    layers = [m for m in module.modules() if isinstance(m, LAYERS)]
    if not layers:
        raise ActsmithError(f"init_: {type(module).__name__} holds no Linear or Conv layer")
    for layer in layers:
        _draw_weight(layer, C_W, False, generator)
        _draw_bias(layer, C_b, generator)
    return module
