"""Replacing calls of functions in a module's forward, for that one instance.

Where `actsmith.surgery.traced` can, the forward is traced and its calls become calls of child modules; otherwise a
torch-function mode that lasts while that forward runs catches them. Either is held in the instance's `forward`, which
deep-copies and pickles with the model; no class and no global changes.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.overrides import TorchFunctionMode

from actsmith.errors import ActsmithError
from actsmith.surgery.observe import base_name
from actsmith.surgery.traced import Code, Edits, edited_graph

__all__ = ["MODULE_CALL", "InstanceForward"]

MODULE_CALL = nn.Module._call_impl.__code__
"""The frame through which every call of a module goes."""


class InstanceForward:
    """The forward of one instance, in which some calls of functions go to child modules.

    Args:
        owner: the module whose forward it stands for.
        edits: which calls go where.
        method: "fx" or "mode".
        shown: how often one run of the forward calls each function, as far as an example showed. What belongs behind a
            call beyond these is not known, so the mode raises ActsmithError there; traced code always makes the same.
    """

    def __init__(self, owner: nn.Module, edits: Edits, method: Literal["fx", "mode"], shown: Mapping[str, int]) -> None:
        self.owner = owner
        self.edits = dict(edits)
        self.method = method
        self.shown = dict(shown)
        self.inner: Any = vars(owner).get("forward")  # what the instance had in place of its class's forward
        self._code = Code(edited_graph(owner, edits)) if method == "fx" else None

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._original(self.owner))

    @property
    def __code__(self) -> Any:
        """That of the forward it stands for: `torch.export` names the program after it."""
        return self._original(self.owner).__code__

    def _original(self, instance: nn.Module) -> Any:
        if self.inner is None:
            return types.MethodType(type(instance).forward, instance)
        if instance is self.owner:
            return self.inner
        if isinstance(self.inner, InstanceForward):
            return lambda *arguments, **keywords: self.inner.run(instance, arguments, keywords)
        raise ActsmithError(
            f"{type(instance).__name__}: a shallow copy (as DataParallel makes) of a module whose forward was replaced "
            "on the instance before the swap cannot run: that forward belongs to the module copied; use copy.deepcopy"
        )

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        instance = self.owner
        if not torch.compiler.is_compiling():
            caller = sys._getframe(1).f_locals.get("self")
            if isinstance(caller, nn.Module) and vars(caller).get("forward") is self:
                instance = caller  # the owner, or a shallow copy of it
        return self.run(instance, arguments, keywords)

    def run(self, instance: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """The forward of `instance`: the owner, or a shallow copy of it with children of its own."""
        if self._code is not None:
            return self._code.forward(instance, *arguments, **keywords)
        # Code that Dynamo rewrote has frames that `_in_own_forward` cannot tell, so this part stays out of it.
        redirected = _uncompiled if "torch._dynamo" in sys.modules else _redirected
        return redirected(self, instance, arguments, keywords)


def _redirected(
    forward: InstanceForward, instance: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    with _Redirect(forward, instance):
        return forward._original(instance)(*arguments, **keywords)


_REDIRECTED = _redirected.__code__
_uncompiled = _disable_dynamo(_redirected)  # torch.compiler.disable would import Dynamo, seconds, with this module


class _Redirect(TorchFunctionMode):
    """Sends the calls that an `InstanceForward` names to its children, those in the owner's own forward alone."""

    def __init__(self, forward: InstanceForward, instance: nn.Module) -> None:
        super().__init__()
        self.forward = forward
        self.instance = instance
        self.names = {name for name, _ in forward.edits}
        self.counts: dict[str, int] = {}

    def __torch_function__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = base_name(func)
        if name not in self.names or not self._in_own_forward():
            return func(*args, **kwargs)
        ordinal = self.counts.get(name, 0)
        self.counts[name] = ordinal + 1
        child = self.forward.edits.get((name, ordinal))
        x = args[0] if args else kwargs.get("input")
        if child is None:
            self._known(name, ordinal, x)
            return func(*args, **kwargs)
        return getattr(self.instance, child)(x)

    def _known(self, name: str, ordinal: int, x: Any) -> None:
        shown = self.forward.shown.get(name, 0)
        if ordinal >= shown and isinstance(x, Tensor) and x.is_floating_point():
            raise ActsmithError(
                f"{type(self.instance).__name__}.forward: got call {ordinal + 1} of {name} in one run; the example of "
                f"replace_ made {shown} in evaluation mode, so what belongs behind this one is not known. Give "
                "replace_ an example that makes as many calls, leave the module out with where=, or let its forward "
                "call one activation module, which stands for all its calls"
            )

    def _in_own_forward(self) -> bool:
        """Whether the nearest module on the call stack is the owner: a child is entered through `Module._call_impl`."""
        frame: types.FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code is MODULE_CALL:
                return False
            if frame.f_code is _REDIRECTED:
                return frame.f_locals["instance"] is self.instance
            frame = frame.f_back
        return False
