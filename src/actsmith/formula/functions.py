"""The names under which people know functions: NumPy's, PyTorch's, the papers'. Each stands for an expression in the
primitives; the catalogue's activations are functions, too, with their parameters: elu(x), leaky_relu(x, 0.1)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import sympy as sp

from actsmith.formula import primitives as pr
from actsmith.formula.declared import ALIASES, DECLARED, FOUND, Declaration
from actsmith.formula.primitives import FUNCTIONS

__all__ = [
    "ACTIVATIONS", "KEYWORDS", "PREFIXES", "SPELLED", "VARIABLES", "argument_names", "function_names",
    "is_activation", "known_name", "squash",
]  # fmt: skip

PREFIXES = frozenset((
    "np", "numpy", "jnp", "math", "torch", "special", "scipy", "stats", "norm", "F", "nn", "functional", "tf", "sp",
    "sympy", "jax", "lax", "activation", "keras",
))  # fmt: skip
"""Modules whose functions are meant; a dotted name is read by its last part."""

VARIABLES = ("z", "t", "u", "s", "y", "v")
"""What others call x. They may be parameters, so they are not read as x, but the message says what to write."""

KEYWORDS = {
    "negative_slope": "slope", "a": "alpha", "a_min": "min", "a_max": "max", "lower": "low", "upper": "high",
}  # fmt: skip
"""A library's name of an argument -> ours, where the function has no argument of the first name."""


def _clip(u: sp.Expr, /, min: Any = None, max: Any = None) -> sp.Expr:
    above = u if min is None else FUNCTIONS["max"][0](u, min)
    return above if max is None else FUNCTIONS["min"][0](above, max)


def _hardtanh(u: sp.Expr, /, min_val: Any = sp.S.NegativeOne, max_val: Any = sp.S.One) -> sp.Expr:
    return _clip(u, min_val, max_val)


def _softplus(u: sp.Expr, /, beta: Any = sp.S.One, threshold: Any = None) -> sp.Expr:
    return pr.softplus(beta * u) / beta  # beyond the threshold torch's is x, to exp(-threshold)/beta


def _heaviside(u: sp.Expr, /, values: Any = sp.S.Zero) -> sp.Expr:
    return pr.step(u) + values * (1 - pr.step(u) - pr.step(-u)) if values != 0 else pr.step(u)


def _log(u: sp.Expr, /, base: Any = sp.E) -> sp.Expr:
    return sp.log(u) / sp.log(base)


def _remainder(u: sp.Expr, v: sp.Expr, /) -> sp.Expr:
    return u - v * pr.floor(u / v)


def _rounded(u: sp.Expr, /) -> sp.Expr:
    return pr.floor(u + sp.S.Half)


SPELLED: dict[str, Callable[..., sp.Expr]] = {
    # other names of the primitives
    "maximum": FUNCTIONS["max"][0], "minimum": FUNCTIONS["min"][0], "fmax": FUNCTIONS["max"][0],
    "fmin": FUNCTIONS["min"][0], "amax": FUNCTIONS["max"][0], "amin": FUNCTIONS["min"][0],
    "clamp": _clip, "clip": _clip, "clip_by_value": _clip, "absolute": pr.absolute, "fabs": pr.absolute,
    "sgn": pr.sign, "signum": pr.sign, "expit": pr.sigmoid, "logistic": pr.sigmoid, "sigma": pr.sigmoid,
    "sigm": pr.sigmoid, "ndtr": pr.normal_cdf, "cdf": pr.normal_cdf, "Phi": pr.normal_cdf, "normcdf": pr.normal_cdf,
    "pdf": pr.normal_pdf, "phi": pr.normal_pdf, "varphi": pr.normal_pdf, "ReLU": pr.relu, "rectifier": pr.relu,
    "theta": pr.step, "heaviside": _heaviside, "softplus": _softplus, "hardtanh": _hardtanh,
    "log_expit": lambda u: -pr.softplus(-u),
    # elementary functions
    "ln": sp.log, "log": _log, "log2": lambda u: sp.log(u) / sp.log(2), "log10": lambda u: sp.log(u) / sp.log(10),
    "exp2": lambda u: sp.Integer(2) ** u, "arctan": sp.atan, "arctg": sp.atan, "atg": sp.atan, "arcsinh": sp.asinh,
    "arsinh": sp.asinh, "sh": sp.sinh, "ch": sp.cosh, "th": pr.tanh, "tg": lambda u: sp.sin(u) / sp.cos(u),
    "tan": lambda u: sp.sin(u) / sp.cos(u), "cot": lambda u: sp.cos(u) / sp.sin(u), "sec": lambda u: 1 / sp.cos(u),
    "csc": lambda u: 1 / sp.sin(u), "coth": lambda u: 1 / pr.tanh(u), "csch": lambda u: 1 / sp.sinh(u),
    "cbrt": lambda u: pr.sign(u) * pr.absolute(u) ** sp.Rational(1, 3), "rsqrt": lambda u: 1 / sp.sqrt(u),
    "sinc": lambda u: sp.sin(sp.pi * u) / (sp.pi * u), "reciprocal": lambda u: 1 / u,
    "hypot": lambda u, v: sp.sqrt(u**2 + v**2), "logaddexp": lambda u, v: v + pr.softplus(u - v),
    "ceil": lambda u: -pr.floor(-u), "round": _rounded, "rint": _rounded, "trunc": lambda u: pr.sign(u)
    * pr.floor(pr.absolute(u)), "frac": lambda u: u - pr.floor(u), "mod": _remainder, "remainder": _remainder,
    # arithmetic as calls
    "add": lambda u, v: u + v, "sub": lambda u, v: u - v, "subtract": lambda u, v: u - v, "mul": lambda u, v: u * v,
    "multiply": lambda u, v: u * v, "div": lambda u, v: u / v, "divide": lambda u, v: u / v,
    "true_divide": lambda u, v: u / v, "neg": lambda u: -u, "negative": lambda u: -u, "positive": lambda u: u,
    # tensors of one number
    "tensor": lambda u: u, "array": lambda u: u, "asarray": lambda u: u, "float": lambda u: u,
    "zeros_like": lambda u: sp.S.Zero, "ones_like": lambda u: sp.S.One, "full_like": lambda u, v: v,
}  # fmt: skip
"""Name -> function of expressions; its arguments by position or by name."""


def squash(name: str) -> str:
    """The name without case, underscores and hyphens: LeakyReLU, leaky_relu and leaky-relu are one."""
    return name.lower().replace("_", "").replace("-", "")


ACTIVATIONS: Mapping[str, Declaration] = {**DECLARED, **ALIASES, **FOUND}
"""The catalogue's, what others call them, and what was found here."""


@cache
def _squashed() -> dict[str, str]:
    return {squash(name): name for name in (*ACTIVATIONS, *reversed(SPELLED), *FUNCTIONS, "pow", "power", "square")}


def known_name(name: str) -> str | None:
    """The name as the tables have it, whatever its case; None where no function is called so."""
    if name in FUNCTIONS or name in SPELLED:
        return name
    return _squashed().get(squash(name))


def function_names() -> tuple[str, ...]:
    """Every function that a text may call, for hints."""
    return (*FUNCTIONS, *ACTIVATIONS, *SPELLED, "pow", "power", "square")


def is_activation(name: str) -> bool:
    """Whether the catalogue holds it."""
    return name in ACTIVATIONS


def argument_names(name: str) -> list[str]:
    """What a function takes, for messages."""
    if name in SPELLED:
        return [p for p in inspect.signature(SPELLED[name]).parameters if p not in ("args", "kwargs")]
    entry = ACTIVATIONS.get(name)
    return ["x", *entry.params] if entry else ["x"]
