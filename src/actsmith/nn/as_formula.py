"""`as_formula`: the formula of whatever stands for one, torch's modules and functions as well as names and texts."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation
from actsmith.nn.known import formula_of_call
from actsmith.nn.recognise import formula_of_module

__all__ = ["as_formula", "formula_of_function"]

_HOMES = (functional, torch, torch.special, Tensor)


def as_formula(activation: Any) -> Formula:
    """The formula that something stands for.

    Args:
        activation: a Formula, a catalogue name or formula text; a module of torch's or ours that is an activation, a
            class of them that is made without arguments, one of torch's functions, or a `functools.partial` of these.

    Raises:
        ActsmithError: it is none of them.

    Example:
        >>> as_formula(nn.LeakyReLU(0.2)).text, as_formula(torch.tanh).name
        ('where(x, x, slope*x)', 'tanh')
    """
    if isinstance(activation, Formula | str):
        return resolve(activation)
    made = activation() if _is_class(activation) else activation
    found = _of_module(made) if isinstance(made, nn.Module) else formula_of_function(made)
    if found is None:
        shown = getattr(activation, "__name__", None) or type(activation).__name__
        raise ActsmithError(
            f"activation: got {shown}, whose formula is not known; expected a formula, its name or text, or an "
            "activation of torch's: a module (nn.GELU()), its class, or a function (torch.nn.functional.gelu)"
        )
    return found


def _is_class(activation: Any) -> bool:
    made = activation.func if isinstance(activation, partial) else activation
    return isinstance(made, type) and issubclass(made, nn.Module)


def _of_module(module: nn.Module) -> Formula | None:
    own = None if isinstance(module, Activation) else getattr(module, "formula", None)
    return own if isinstance(own, Formula) else formula_of_module(module)


def formula_of_function(function: Any) -> Formula | None:
    """The formula of one of torch's own functions (a user's of the same name is another), or of a partial of one.

    >>> formula_of_function(partial(functional.leaky_relu, negative_slope=0.2)).params["slope"].value
    0.2
    """
    given: dict[str, Any] = {}
    if isinstance(function, partial) and not function.args:
        function, given = function.func, dict(function.keywords)
    name = str(getattr(function, "__name__", ""))
    if not any(getattr(home, name, None) is function for home in _HOMES if name):
        return None
    return formula_of_call(name, (), given)
