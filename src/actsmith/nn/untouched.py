"""Running a module and leaving it as it was."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from actsmith.nn.private import buffers_of

__all__ = ["untouched"]

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


@contextmanager
def untouched(model: nn.Module, training: bool | None = None, grad: bool = False) -> Iterator[None]:
    """Run in evaluation or training mode (None: as is); afterwards all is as before: modes, buffers, random state, and
    the plain attributes of the modules, with what their lists, dictionaries and sets hold."""
    modes = [(m, m.training) for m in model.modules()]
    plain = [(m, _attributes(m)) for m in model.modules() if not isinstance(m, LazyModuleMixin)]
    held = [(m, dict(buffers_of(m).items()), _contents(m)) for m in model.modules()]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices), torch.set_grad_enabled(grad):
            if training is not None:
                model.train(training)
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, attributes in plain:
            _restore(module, attributes)
        for module, buffers, contents in held:
            _put_back(module, buffers, contents)


def _attributes(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """name -> (value, a copy of what it holds)."""
    held: dict[str, tuple[Any, Any]] = {}
    for name, value in vars(module).items():
        mutable = type(value) in (list, dict, set, deque, defaultdict, Counter) and name not in _OF_EVERY_MODULE
        held[name] = (value, copy.copy(value) if mutable else None)
    return held


def _restore(module: nn.Module, attributes: Mapping[str, tuple[Any, Any]]) -> None:
    now = vars(module)
    for name in [n for n in now if n not in attributes]:
        del now[name]
    for name, (value, contents) in attributes.items():
        now[name] = value
        if contents is not None and value != contents if not _holds_tensors(contents) else contents is not None:
            value.clear()
            value.extend(contents) if isinstance(value, list | deque) else value.update(contents)


def _holds_tensors(contents: Any) -> bool:
    values = contents.values() if isinstance(contents, dict) else contents if contents is not None else ()
    return any(not isinstance(v, int | float | str | bytes | bool | None) for v in values)


def _contents(module: nn.Module) -> dict[str, Tensor]:
    return {n: b.detach().clone() for n, b in buffers_of(module).items() if b is not None and not is_lazy(b)}


@torch.no_grad()
def _put_back(module: nn.Module, buffers: Mapping[str, Tensor | None], contents: Mapping[str, Tensor]) -> None:
    """Objects and values: a forward may put another tensor in a buffer's place, resize it or write into it.

    In evaluation mode too, as the observers of quantisation do. What was not touched is not written, so that a graph
    that holds it stays valid.
    """
    own = buffers_of(module)
    if isinstance(own, dict):  # that of a scripted module is not, and its buffers cannot be exchanged
        own.clear()
        own.update(buffers)
    for name, before in contents.items():
        buffer = own[name]
        assert buffer is not None
        if buffer.shape != before.shape:
            buffer.resize_(before.shape)
        if not buffer.is_meta and not torch.equal(buffer, before):
            buffer.copy_(before)
