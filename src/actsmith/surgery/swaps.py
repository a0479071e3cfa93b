"""What a swap did to a model, and the way back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from actsmith.errors import ActsmithError
from actsmith.nn.activation import Activation
from actsmith.surgery.functional import InstanceForward
from actsmith.surgery.recognise import recognise_module
from actsmith.surgery.sites import Site

if TYPE_CHECKING:
    from actsmith.surgery.blend import Blend

__all__ = ["SWAPS", "Change", "Swaps"]

SWAPS = "_actsmith_swaps"
"""The attribute of a model that holds its last swap; copies and pickles of the model hold None there."""


@dataclass
class Change:
    """One activation that was exchanged.

    Attributes:
        site: what was there.
        module: what is there now.
        path: the path of `module`, under which its parameters stand in `state_dict`.
        method: "module" (a child replaced), "attribute" (a child in the attribute's place), "fx" or "mode" (a new child
            that a call in the owner's forward was redirected to).
        old: the old activation as a callable.
        homes: the modules that hold `module`, and the name under which each does.
        plain: the activation without gain and shift, after `calibrate`.
        ran: calls in one forward pass, (before, after), in training and in evaluation mode; None when not proven.
    """

    site: Site
    module: nn.Module
    path: str
    method: str
    old: Callable[..., Any]
    homes: tuple[tuple[nn.Module, str], ...] = ()
    plain: Activation | None = None
    ran: dict[str, tuple[int, int]] | None = None

    @property
    def proven(self) -> bool:
        """It ran, and as often as the old one."""
        return self.ran is not None and any(n for n, _ in self.ran.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "site": self.site.to_dict(),
            "path": self.path,
            "method": self.method,
            "new": repr(self.module),
            "ran": None if self.ran is None else {mode: list(n) for mode, n in self.ran.items()},
            "proven": self.proven,
        }


class Swaps:
    """What `replace_` found, changed and left out, and why.

    Attributes:
        model: the model, changed in place.
        found: every site.
        changed: what was exchanged.
        skipped: (site, why) of the others.
        blend: the schedule that the training loop steps, with `blend=`.
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
            if getattr(optimizer.step, "_wrapped_by_lr_sched", False):
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
        for change in self.changed:
            if isinstance(change.old, nn.Module):
                self._bring_along(change, change.old)
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
                if home._modules.get(name) is not change.module:
                    raise ActsmithError(
                        f"undo: {change.path} is a {type(home._modules.get(name)).__name__} that was put there after "
                        f"the swap; expected the {type(change.module).__name__} of the swap; undo that change first"
                    )
                forward = vars(home).get("forward")
                ours = isinstance(forward, InstanceForward) and name in forward.edits.values()
                if change.method in ("fx", "mode") and not ours:
                    raise ActsmithError(
                        f"undo: the `forward` of the {type(home).__name__} that calls {change.path} was set after the "
                        f"swap, to a {type(forward).__name__}; undo that change first"
                    )

    def _bring_along(self, change: Change, old: nn.Module) -> None:
        """Give the old module the mode of the new one, and the dtype and device that the nearest parameter went to."""
        old.train(change.module.training)
        paths = {c.path for c in self.changed}
        now = {n: p for n, p in self.model.named_parameters() if n.rpartition(".")[0] not in paths}
        near = max((n for n in now if n in self._placed), key=lambda n: _common(n, change.path), default=None)
        if near is not None:
            dtype, device = self._placed[near]
            old.to(
                dtype=None if now[near].dtype == dtype else now[near].dtype,
                device=None if now[near].device == device else now[near].device,
            )

    def calibrate(self, batches: Iterable[Any], passes: int = 2) -> None:
        """See `actsmith.surgery.calibrate.calibrate`."""
        from actsmith.surgery.calibrate import calibrate_swaps

        calibrate_swaps(self, batches, passes)

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
        return "\n".join([head, *lines, *(["left out:", *left] if left else [])])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "found": [s.to_dict() for s in self.found],
            "changed": [c.to_dict() for c in self.changed],
            "skipped": [{"path": s.path, "why": why} for s, why in self.skipped],
            "undone": self.undone,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # the way back belongs to this model; a copy of it has none

    def __repr__(self) -> str:
        return f"<Swaps: {len(self.changed)} of {len(self.found)} sites{', undone' if self.undone else ''}>"


def _common(first: str, second: str) -> int:
    """How many leading parts two paths share."""
    pairs = zip(first.split("."), second.split("."), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _name(module: nn.Module) -> str:
    what = recognise_module(module)
    return type(module).__name__ if what is None or what.name is None else what.name
