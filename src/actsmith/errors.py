"""The errors a user can meet: one base class, few subclasses, and the one about an extra that is not installed."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "ActsmithError",
    "FormulaError",
    "JobError",
    "LawError",
    "NumericsError",
    "missing_core",
    "missing_extra",
    "require",
]


class ActsmithError(ValueError):
    """A request that cannot be met. The message says what, got, expected, and how to mend it."""


class FormulaError(ActsmithError):
    """A formula that is not one: unknown name, bad syntax, a parameter out of its range."""


class LawError(ActsmithError):
    """A law that is not one: an unknown name, a scale that is not positive, samples that have no density."""


class JobError(ActsmithError):
    """What was asked for was begun and failed: a user's own training, for one."""


class NumericsError(ActsmithError):
    """A number that could not be computed to the accuracy asked for."""


_PACKAGES = {"sklearn": "scikit-learn", "PIL": "pillow"}
"""The package that a module comes from, where it has another name."""


def require(module: str, extra: str, where: str) -> Any:
    """A module of an extra, imported now.

    Args:
        module: its dotted name, as in "PIL.Image".
        extra: the extra of Actsmith that installs it.
        where: what needs it: the head of the message.

    Raises:
        ActsmithError: it is not installed; one line with the pip command.

    Example:
        >>> require("no_such_module", "vision", "images")
        Traceback (most recent call last):
        ...
        actsmith.errors.ActsmithError: images: no_such_module is missing; pip install 'actsmith[vision]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing_extra(where, error.name or module, extra) from None


def missing_extra(where: str, module: str, extra: str) -> ActsmithError:
    """The error to raise where `module` is needed, is not installed, and `extra` would install it."""
    top = module.partition(".")[0]
    return ActsmithError(f"{where}: {_PACKAGES.get(top, top)} is missing; pip install 'actsmith[{extra}]'")


CORE = ("torch", "numpy", "scipy", "sympy", "rich")


def missing_core(where: str, error: ModuleNotFoundError) -> ActsmithError | None:
    """The error to raise where a package that every installation has is missing after all; None where it is another.

    >>> print(missing_core("search", ModuleNotFoundError("No module named 'torch'", name="torch")))
    search: torch is missing; pip install torch
    """
    top = (error.name or "").partition(".")[0]
    return ActsmithError(f"{where}: {top} is missing; pip install {top}") if top in CORE else None
