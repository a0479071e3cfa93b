"""What a swap did to a model, and the way back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from actsmith.display import Shown
from actsmith.errors import ActsmithError
from actsmith.nn.private import children_of, had_scheduler
from actsmith.nn.recognise import recognise_module
from actsmith.surgery.calibrate import calibrate_changes
from actsmith.surgery.change import Change
from actsmith.surgery.rewrite import is_rewritten
from actsmith.surgery.sites import Site

if TYPE_CHECKING:
    from actsmith.surgery.blend import Blend

__all__ = ["SWAPS", "Swaps", "calibrate_"]

SWAPS = "_actsmith_swaps"
"""The attribute of a model that holds its last swap; copies and pickles of the model hold None there."""


class Swaps(Shown):
    """What `replace_` found, changed and left out, and why.

    Attributes:
        model: the model, changed in place.
        found: every site.
        changed: what was exchanged.
        skipped: (site, why) of the others.
        blend: the schedule that the training loop steps, with `blend=`.
        notes: what else there is to know: shared modules, calls that the example does not run.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        found: Sequence[Site],
        changed: Sequence[Change],
        skipped: Sequence[tuple[Site, str]],
        restore: Sequence[Callable[[], None]],
        blend: Blend | None = None,
    ) -> None:
        self.model = model
        self.found, self.changed, self.skipped = tuple(found), tuple(changed), tuple(skipped)
        self.blend = blend
        self._restore = list(restore)
        self.notes: tuple[str, ...] = ()
        self._forwards: dict[str, Any] = {}
        self._optimizers: list[tuple[Optimizer, dict[str, Any]]] = []
        self._placed = {n: (p.dtype, p.device) for n, p in model.named_parameters() if p.is_floating_point()}

    @property
    def undone(self) -> bool:
        """Whether the model has its old activations again."""
        return not self._restore

    def parameters(self) -> list[nn.Parameter]:
        """The parameters of the new activations, each once."""
        seen: dict[int, nn.Parameter] = {}
        for change in self.changed:
            for parameter in change.module.parameters():
                seen.setdefault(id(parameter), parameter)
        return list(seen.values())

    def parameter_groups(self, rest: bool = False, **options: Any) -> list[dict[str, Any]]:
        """Groups for an optimiser: the new parameters with zero weight decay; none where nothing is learned.

        Args:
            rest: put the model's other parameters before them, as a group of their own.
            options: of the new parameters' group, as in `lr=1e-3`.
        """
        new = self.parameters()
        groups: list[dict[str, Any]] = []
        if rest:
            taken = {id(p) for p in new}
            groups.append({"params": [p for p in self.model.parameters() if id(p) not in taken]})
        if new:
            groups.append({"params": new, "weight_decay": 0.0, **options})
        return groups

    def attach(self, optimizer: Optimizer, **options: Any) -> None:
        """Add the new parameters to a live optimiser, with zero weight decay; `undo` takes them out again.

        Parameters that the optimiser has already are left as they are. To be called, as `calibrate` and `undo` are,
        before a learning-rate scheduler is built: schedulers as LambdaLR and OneCycleLR hold one entry per group that
        they found, and fail in their next step. A warning says so where the optimiser has had a scheduler.
        """
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        new = [p for p in self.parameters() if id(p) not in held]
        if new:
            if had_scheduler(optimizer):
                warnings.warn(
                    f"attach: this {type(optimizer).__name__} has a learning-rate scheduler, which does not know the "
                    "new group and may fail in its next step; attach (and calibrate) first, then build the scheduler",
                    stacklevel=2,
                )
            optimizer.add_param_group({"params": new, "weight_decay": 0.0, **options})
            self._optimizers.append((optimizer, optimizer.param_groups[-1]))

    def undo(self) -> None:
        """Put every old activation back; the model is bit for bit what it was. A second call does nothing.

        The old ones take on the mode (training or evaluation), dtype and device that the model was given meanwhile.

        Raises:
            ActsmithError: a later swap is in force, or a module or forward was put in the place of this one's; nothing
                is changed then.
        """
        if self.undone:
            return
        self._refuse_unless_last()
        for optimizer, group in self._optimizers:
            optimizer.param_groups[:] = [g for g in optimizer.param_groups if g is not group]
            for parameter in group["params"]:
                optimizer.state.pop(parameter, None)
        self._optimizers.clear()
        self._bring_along()
        self._put_back()

    def _put_back(self) -> None:
        while self._restore:
            self._restore.pop()()

    def _refuse_unless_last(self) -> None:
        last = vars(self.model).get(SWAPS)
        if isinstance(last, Swaps) and last is not self:
            raise ActsmithError(
                f"undo: a later swap of this model is in force, of {', '.join(c.path for c in last.changed)}; undo the "
                "later one first"
            )
        for change in self.changed:
            for home, name in change.homes:
                now = children_of(home).get(name)
                if now is not change.module:
                    raise ActsmithError(
                        f"undo: {change.path} is a {type(now).__name__} that was put there after "
                        f"the swap; expected the {type(change.module).__name__} of the swap; undo that change first"
                    )
                if change.method == "code" and not is_rewritten(home):
                    raise ActsmithError(
                        f"undo: the class of the {type(home).__name__} that calls {change.path} was changed after the "
                        "swap; undo that change first"
                    )
                forward = vars(home).get("forward")
                if change.method == "code" and forward is not self._forwards.get(change.path):
                    raise ActsmithError(
                        f"undo: the `forward` of the {type(home).__name__} that calls {change.path} was set after the "
                        f"swap, to a {type(forward).__name__}; undo that change first"
                    )

    def _bring_along(self) -> None:
        """Give the old modules the mode of the new ones, and the dtype and device that the nearest parameters have."""
        paths = {c.path for c in self.changed}
        parameters = ((n, p) for n, p in self.model.named_parameters() if n.rpartition(".")[0] not in paths)
        now = {n: (p.dtype, p.device) for n, p in parameters if n in self._placed}
        moved = any(self._placed[n] != place for n, place in now.items())
        for change in self.changed:
            if isinstance(change.old, nn.Module):
                change.old.train(change.module.training)
                if moved:
                    near = max(now, key=lambda n: _common(n, change.path))
                    (was, there), (dtype, device) = self._placed[near], now[near]
                    change.old.to(dtype=None if dtype == was else dtype, device=None if device == there else device)

    def calibrate(self, batches: Iterable[Any], passes: int = 2) -> None:
        """See `calibrate_`."""
        calibrate_changes(self.model, self.changed, batches, passes)
        for optimizer, group in list(self._optimizers):
            self.attach(optimizer, **{k: v for k, v in group.items() if k not in ("params", "weight_decay")})

    def report(self) -> str:
        """A table of what was changed, then of what was left out; calls are those of the new over those of the old."""
        rows: list[tuple[str, ...]] = [("site", "was", "is", "by", "train", "eval")]
        for c in self.changed:
            runs = ["-", "-"] if c.ran is None else [f"{c.ran[m][1]}/{c.ran[m][0]}" for m in ("train", "eval")]
            rows.append((c.path, c.site.activation or c.site.class_name, _name(c.module), c.method, *runs))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        state = "undone" if self.undone else f"{sum(c.proven for c in self.changed)} proven by running them"
        head = f"{len(self.found)} sites found, {len(self.changed)} changed ({state}), {len(self.skipped)} left out"
        left = [f"  {site.path}: {why}" for site, why in self.skipped]
        notes = [f"  {note}" for note in self.notes]
        return "\n".join([head, *lines, *(["left out:", *left] if left else []), *(["note:", *notes] if notes else [])])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "found": [s.to_dict() for s in self.found],
            "changed": [c.to_dict() for c in self.changed],
            "skipped": [{"path": s.path, "why": why} for s, why in self.skipped],
            "notes": list(self.notes),
            "undone": self.undone,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # the way back belongs to this model; a copy of it has none

    def __repr__(self) -> str:
        return f"<Swaps: {len(self.changed)} of {len(self.found)} sites{', undone' if self.undone else ''}>"


def calibrate_(model: nn.Module | Swaps, batches: Iterable[Any], passes: int = 2) -> Swaps:
    """Give every swapped site the output mean and variance that it had before the swap, over the batches.

    First the model runs with its old activations in force, to be measured, whatever the weight of a blend; then the new
    ones are set in the order of the sites as the batches pass, and every further pass settles what the passes before it
    left. Mean and variance are over all units of a site.

    Args:
        model: the model that `replace_` changed, or the `Swaps` it returned.
        batches: as `probe` takes them; read once and kept.
        passes: how many times to go through the batches with the new activations.

    Raises:
        ActsmithError: nothing was swapped in the model, a site is no `Activation`, no batch reached one, or an output
            is not finite; or in `torch.inference_mode`, where the new parameters could not be trained.
    """
    swaps: Swaps | None = model if isinstance(model, Swaps) else vars(model).get(SWAPS)
    if swaps is None or swaps.undone:
        raise ActsmithError(
            "calibrate: no swap of this model is in force; call it with the very model that replace_ changed, or with "
            "what replace_ returned"
        )
    swaps.calibrate(batches, passes)
    return swaps


def _common(first: str, second: str) -> int:
    """How many leading parts two paths share."""
    pairs = zip(first.split("."), second.split("."), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _name(module: nn.Module) -> str:
    what = recognise_module(module)
    return type(module).__name__ if what is None or what.name is None else what.name
