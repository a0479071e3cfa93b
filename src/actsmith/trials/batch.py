"""The batch that a user's own loop calls its network with: caught on the way in, kept in a file."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.files import written_atomically

__all__ = ["first_batch", "read_batch", "write_batch"]


class _Enough(BaseException):
    """The batch is there: the rest of the script is not wanted."""


@contextmanager
def first_batch(net: nn.Module, *, wanted: bool, end: bool = False) -> Iterator[list[Any]]:
    """A list that holds, once the network was called, what with: a tensor, or keyword arguments as a dictionary.

    Args:
        net: the network.
        wanted: False leaves the list empty.
        end: whether the block ends with that call.

    Raises:
        ActsmithError: with `end`, a part of the network is called before the network itself.
    """
    seen: list[Any] = []

    def called(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if not seen and not torch.compiler.is_compiling():
            seen.append(_batch(module, arguments, keywords))
            if end:
                raise _Enough

    def passed_by(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        raise ActsmithError(
            f"train: it calls a part of the network, a {type(module).__name__}, not the network itself; give example= "
            "(what the network takes)"
        )

    handles = [net.register_forward_pre_hook(called, with_kwargs=True, prepend=True)] if wanted else []
    if wanted and end:
        handles += [m.register_forward_pre_hook(passed_by) for m in net.modules() if m is not net]
    # What is compiled would not see the hook.
    eager: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager") if wanted and end else nullcontext()
    try:
        with eager:
            yield seen
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()


def write_batch(path: Path, batch: Any) -> None:
    """Keep it, unless it is there already."""
    if not path.exists():
        with written_atomically(path) as file:
            torch.save(batch, file)


def read_batch(path: Path) -> Any:
    """What was kept, on the CPU; None where nothing was, or it holds more than plain values and tensors."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return None


def _batch(module: nn.Module, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    if len(arguments) == 1 and not keywords:
        return _copy(arguments[0])
    signature = inspect.signature(module.forward)
    kinds = {p.kind: name for name, p in signature.parameters.items()}
    if arguments and inspect.Parameter.VAR_POSITIONAL in kinds:
        return _copy(arguments)
    bound = dict(signature.bind(*arguments, **keywords).arguments)
    rest = bound.pop(kinds.get(inspect.Parameter.VAR_KEYWORD, ""), {})
    return _copy({**bound, **rest})


def _copy(value: Any) -> Any:
    """The same tree with tensors of its own."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {name: _copy(item) for name, item in value.items()}
    return type(value)(_copy(item) for item in value) if type(value) in (list, tuple) else value
