"""What `critical_init_` does with each layer of a model, and why: plans, before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.nn.draw import fan_in
from actsmith.nn.following import TRANSPOSED, Following, is_layer
from actsmith.nn.init_report import LayerInit
from actsmith.nn.start import start_of
from actsmith.theory.criticality import criticality

__all__ = ["Step", "Wanted", "kept_layers", "other_owners", "plan_layers"]


@dataclass(frozen=True)
class Wanted:
    """What the caller named: the activation, the point; and what to draw or refuse.

    Attributes:
        keep: path of a layer that is left as it is -> why.
    """

    given: Formula | None
    point: tuple[float, float] | None
    residual: bool
    strict: bool
    keep: Mapping[str, str]

    @property
    def known(self) -> bool:
        return self.given is not None or self.point is not None


@dataclass
class Step:
    """A layer, the activation after it (None: none), the plan for it.

    Attributes:
        middle, scales: of the coordinates that it reads, what is taken from each and what each is then multiplied by.
    """

    following: Following
    formula: Formula | None
    plan: LayerInit
    readout: bool
    middle: Tensor | None = None
    scales: Tensor | None = None


def plan_layers(found: Sequence[Following], wanted: Wanted, owners: Mapping[int, str]) -> list[Step]:
    """The layers of `found` with their plans; a readout's variance is still that of the layer before it.

    Args:
        found: the layers, in the model's order.
        wanted: what the caller named.
        owners: id of a weight -> path of a module that holds it and is no Linear or Conv layer.

    Raises:
        ActsmithError: there is no plan for a layer (strict).
    """
    steps: list[Step] = []
    before: Formula | None = None
    first: dict[int, LayerInit] = {}
    for following in found:
        last = following.formula is None and following.reached and not (following.feeds or following.residual)
        readout = last and before is not None and wanted.point is None
        formula = None if readout else wanted.given or following.formula
        plan = _plan(following, formula, before, wanted)
        if isinstance(plan, str):
            if wanted.strict:
                raise ActsmithError(f"critical_init_: layer {following.path!r}: {plan}; see strict=")
            plan = _alone(following, formula, plan)
        if readout and plan.drawn:
            plan = replace(plan, C_b=None if plan.C_b is None else 0.0, note="readout")
        weight = id(following.module.weight)
        earliest = first.setdefault(weight, plan)
        readout = readout and earliest is plan
        plan = _shared(plan, earliest, owners.get(weight))
        steps.append(Step(following, formula, plan, readout))
        before = formula if formula is not None and (plan.drawn or following.path in wanted.keep) else before
    return steps


def kept_layers(found: Sequence[Following], keep: Iterable[str] | None, waves: bool) -> dict[str, str]:
    """Path of a layer that keeps its weights -> why.

    Args:
        keep: paths of layers, or of modules that hold them; None for those that `waves` finds.
        waves: whether layers that read the inputs, and that sines and cosines follow, are kept.

    Raises:
        ActsmithError: there is no layer at a path.
    """
    if keep is None:
        return {f.path: "its frequencies are the task's" for f in found if waves and f.entry and f.waves}
    kept: dict[str, str] = {}
    for path in [keep] if isinstance(keep, str) else keep:
        below = [f.path for f in found if f.path == path or f.path.startswith(f"{path}.")]
        if not below:
            raise ActsmithError(f"critical_init_: keep: no layer at {path!r}; there are {[f.path for f in found]}")
        kept |= dict.fromkeys(below, "to be kept")
    return kept


def _plan(
    following: Following,
    formula: Formula | None,
    before: Formula | None,
    wanted: Wanted,
) -> LayerInit | str:
    """What to do with a layer; text where there is no answer, saying why."""
    if alone := _why_alone(following, wanted):
        return _alone(following, formula, f"left alone: {alone}")
    if isinstance(following.module.weight, nn.parameter.UninitializedParameter):
        return "its shape is not known yet; run one batch through the model first"
    if wanted.point is not None:
        return _drawn(following, formula, *wanted.point, "at the given point")
    if following.several and not wanted.known:
        return f"several activations follow it ({', '.join(following.several)}); name one with f="
    try:
        return _critical(following, formula, before, wanted.strict)
    except ActsmithError as error:  # the activation's moments are not finite
        return str(error)


def _why_alone(following: Following, wanted: Wanted) -> str:
    if following.path in wanted.keep:
        return wanted.keep[following.path]
    if following.normalised_block and not wanted.residual:
        return "inside a residual block with normalisation"
    if not following.reached and not wanted.known:
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


def other_owners(model: nn.Module) -> dict[int, str]:
    """id of a parameter -> path of a module that holds it and is no Linear or Conv layer."""
    holders = [(path, m) for path, m in model.named_modules() if not is_layer(m)]
    return {id(p): path or "(itself)" for path, m in holders for p in m.parameters(recurse=False)}


def _shared(plan: LayerInit, first: LayerInit, owner: str | None) -> LayerInit:
    """The plan of a layer whose weight an earlier layer has (`first`, itself if there is none), or another module."""
    if not plan.drawn:
        return plan
    if owner or not first.drawn:
        note = f"{owner} has the same weight" if owner else f"its weight is tied to {first.path}, which is"
        return replace(plan, C_W=None, C_b=None, drawn=False, note=f"left alone: {note}")
    return replace(
        plan, C_W=first.C_W, note=plan.note if first is plan else f"tied to {first.path}: its weight is drawn there"
    )


def _critical(following: Following, formula: Formula | None, before: Formula | None, strict: bool) -> LayerInit | str:
    wanted = formula or before
    if wanted is None:
        return _drawn(following, None, 1.0, 0.0, "no activation: keeps the variance")
    found = criticality(wanted)
    if not found.points and following.gate and formula is not None:
        return _alone(following, formula, f"left alone: {formula.name} gates another signal here")
    if not found.points and strict:
        return f"{wanted.name} has no critical point. {found.verdict.rstrip('.')}"
    if not found.points:
        return _drawn(following, wanted, start_of(wanted, 1).C_W, 0.0, "never critical: keeps the variance at K = 1")
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
    return LayerInit(following.path, name, C_W, None if bias is None else C_b, fan_in(following.module), True, note)


def _alone(following: Following, formula: Formula | None, note: str) -> LayerInit:
    name = None if formula is None else formula.name
    return LayerInit(following.path, name, None, None, fan_in(following.module), False, note)
