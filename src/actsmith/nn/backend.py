"""Which route computes an activation: compiled kernels, or plain torch operations."""

from __future__ import annotations

import os
import warnings
from types import TracebackType
from typing import Literal, Self, get_args

from actsmith.errors import ActsmithError

__all__ = ["Route", "backend", "current", "kernels_lost"]

Route = Literal["auto", "compiled", "composite"]


def _named(route: str, where: str) -> Route:
    for known in get_args(Route):
        if route == known:
            chosen: Route = known
            return chosen
    raise ActsmithError(f"{where}: got {route!r}; expected 'auto', 'compiled' or 'composite'")


class _State:
    """What holds in this process.

    Attributes:
        route: what was chosen.
        lost: why there are no kernels, once that was said.
        inductor: tensors on the CPU, too, take the route of other devices. For tests.
    """

    def __init__(self) -> None:
        self.route: Route = _named(os.environ.get("ACTSMITH_BACKEND", "auto"), "environment variable ACTSMITH_BACKEND")
        self.lost: str | None = None
        self.inductor = False


_state = _State()


class backend:  # noqa: N801  (used as a function, and in a with statement)
    """Choose how activations are computed in this process, at once; in a `with` statement, until its end.

    "auto", the start (or the environment variable ACTSMITH_BACKEND): a kernel compiled for the formula where there can
    be one (generated C on the CPU, torch's Inductor on other devices), else plain torch operations with one warning.
    "compiled": the same, but an error instead of the warning. "composite": plain torch operations.

    What torch transforms or traces (torch.func, forward mode, torch.compile, torch.export) is plain torch; vmap
    keeps the kernel.

    Raises:
        ActsmithError: another name.

    >>> with backend("composite"):
    ...     current()
    'composite'
    """

    def __init__(self, route: Route) -> None:
        self._before = _state.route
        _state.route = _named(route, "backend")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _state.route = self._before


def current() -> Route:
    """The route chosen."""
    return _state.route


def kernels_lost(what: str, reason: str) -> None:
    """Say once in this process that plain torch serves instead of a kernel; with "compiled", refuse.

    Raises:
        ActsmithError: the route is "compiled".
    """
    if _state.route == "compiled":
        raise ActsmithError(f"{what}: no kernel, and the backend is 'compiled': {reason}")
    if _state.lost is None:
        _state.lost = reason
        message = (
            f"{what} is computed by plain torch operations, with the same results but several times slower, as is "
            f"every activation without a kernel: {reason}. This is said once; acts.nn.backend('composite') silences it."
        )
        warnings.warn(message, RuntimeWarning, stacklevel=2)
