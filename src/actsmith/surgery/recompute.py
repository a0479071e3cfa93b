"""Gradient checkpointing inside a forward whose calls a torch-function mode redirects.

The mode lasts while the forward runs. A part of that forward that `torch.utils.checkpoint` runs again in the backward
pass is outside it: the old activation would run there, and the gradients would be those of another function. A module
that is checkpointed as a whole runs its own forward again, mode and all, so it is not concerned.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from actsmith.errors import ActsmithError
from actsmith.surgery.change import Change
from actsmith.surgery.functional import MODULE_CALL
from actsmith.surgery.observe import base_name

__all__ = ["backward_once", "gradients_kept", "refuse_recomputed"]


def refuse_recomputed(model: nn.Module, changed: Sequence[Change], output: Sequence[Tensor]) -> None:
    """Run the backward pass of a training run's output, and see which redirected functions it calls again.

    Raises:
        ActsmithError: one ran again outside its owner's call.
    """
    watch = _Watch({(id(model.get_submodule(c.site.place.owner)), c.site.place.name): c.site.path for c in changed})
    try:
        with watch:
            backward_once(output)
    except Exception:
        # Torch finds that other tensors are saved than before, or the model has no backward pass; what was seen counts.
        pass
    if watch.found:
        raise ActsmithError(
            f"replace_: gradient checkpointing runs {', '.join(sorted(watch.found)[:5])} again in the backward pass "
            "without the module around it, where the old activation would act and the gradients be wrong, so the model "
            "was restored; checkpoint whole modules, switch checkpointing off, or leave these sites out with where="
        )


def backward_once(output: Sequence[Tensor]) -> None:
    """The gradients of the sum of what can be differentiated."""
    ends = tuple(t for t in output if t.requires_grad)
    if ends:
        # torch.autograd.backward would be a call that the mode handles, and a mode is off while it handles one.
        engine: Any = torch.autograd.Variable._execution_engine
        ones = tuple(torch.ones_like(t) for t in ends)
        engine.run_backward(ends, ones, False, False, (), allow_unreachable=True, accumulate_grad=True)


_BACKWARD = backward_once.__code__


@contextmanager
def gradients_kept(model: nn.Module) -> Iterator[None]:
    """Afterwards every parameter has the gradient that it had."""
    before = [(p, p.grad) for p in model.parameters()]
    try:
        for p, _ in before:
            p.grad = None
        yield
    finally:
        for p, gradient in before:
            p.grad = gradient


class _Watch(TorchFunctionMode):
    """Notes the calls of functions that no module's call surrounds, made in the backward pass.

    Args:
        paths: (id of the owner, function's name) -> path of the site.
    """

    def __init__(self, paths: Mapping[tuple[int, str], str]) -> None:
        super().__init__()
        self.paths = paths
        self.names = {name for _, name in paths}
        self.found: set[str] = set()

    def __torch_function__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = base_name(func)
        # What runs again is differentiated; an autograd function's own backward is not, whatever it calls.
        if name in self.names and torch.is_grad_enabled():
            self.found |= self._sites(name)
        return func(*args, **(kwargs or {}))

    def _sites(self, name: str) -> set[str]:
        """The sites that the call may stand for: its owner is a local of a function on the way to the call."""
        frame: types.FrameType | None = sys._getframe(2)
        owned = False
        while frame is not None and frame.f_code is not _BACKWARD:
            if frame.f_code is MODULE_CALL:
                return set()
            modules = [v for v in frame.f_locals.values() if isinstance(v, nn.Module)]
            found = {self.paths[id(m), name] for m in modules if (id(m), name) in self.paths}
            if found:
                return found
            owned = owned or bool(modules)
            frame = frame.f_back
        return set() if owned else {path for (_, other), path in self.paths.items() if other == name}
