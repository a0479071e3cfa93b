"""One activation of a model that was exchanged for another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from actsmith.nn.activation import Activation
from actsmith.surgery.sites import Site

__all__ = ["Change"]


@dataclass
class Change:
    """One activation that was exchanged.

    Attributes:
        site: what was there.
        module: what is there now.
        path: the path of `module`, under which its parameters stand in `state_dict`.
        method: "module" (a child replaced), "attribute" (a child in the attribute's place), "code" (a new child that a
            call in the owner's code was redirected to).
        old: the old activation as a callable.
        homes: the modules that hold `module`, and the name under which each does.
        plain: the activation without gain and shift, after a calibration.
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
