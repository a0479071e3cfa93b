"""A formula as a Python file that needs torch alone.

The file is printed from the lowered program of the expression tree, instruction by instruction, so it has the numerical
care of `actsmith.formula.lower`; no text of the user enters it but letters, digits and plain punctuation in comments.
Its gradient is the formula's own derivative, lowered in the same way: finite wherever the true one is. Where the score
was earned from a `Start`, the file can draw that start too.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.formula.lower import Program, lower, numpy_ops
from actsmith.formula.parse import X, parameter_symbol
from actsmith.formula.removable import with_limits
from actsmith.nn.start import Start

__all__ = ["to_torch_source"]

Slot = str | float
"""The text of a tensor, or a number."""


def _call(name: str) -> Callable[..., str]:
    return lambda *slots: f"{name}({', '.join(map(_text, slots))})"


def _infix(sign: str) -> Callable[..., str]:
    return lambda a, b: f"{_text(a)} {sign} {_text(b)}"


def _extremum(tensor: str, bound: str) -> Callable[..., str]:
    def emit(a: Slot, b: Slot) -> str:
        if isinstance(a, str) and isinstance(b, str):
            return f"torch.{tensor}({a}, {b})"
        tensor_slot, number = (a, b) if isinstance(a, str) else (b, a)
        return f"torch.clamp({tensor_slot}, {bound}={_text(number)})"

    return emit


def _where(c: Slot, a: Slot, b: Slot) -> str:
    if not isinstance(a, str) and not isinstance(b, str):
        return f"torch.where({c} > 0, torch.full_like({c}, {_text(a)}), {_text(b)})"
    return f"torch.where({c} > 0, {_text(a)}, {_text(b)})"


_OPS: dict[str, Callable[..., str]] = {
    "add": _infix("+"), "sub": _infix("-"), "mul": _infix("*"), "div": _infix("/"), "pow": _call("torch.pow"),
    "max": _extremum("maximum", "min"), "min": _extremum("minimum", "max"), "where": _where,
    "step": lambda u: f"({u} > 0).to({u}.dtype)", "softplus": _call("_softplus"),
    "normal_cdf": lambda u: f"0.5 * torch.erfc({u} * {-math.sqrt(0.5)!r})",
    "normal_pdf": lambda u: f"torch.exp(-0.5 * {u} * {u}) * {1 / math.sqrt(2 * math.pi)!r}",
    "sech": lambda u: f"1 / torch.cosh({u})",
    "rescue": lambda plain, safe, size: f"torch.where({size} <= _limit({size}), {_text(plain)}, {_text(safe)})",
    "log_abs": lambda u: f"torch.log(torch.abs({u}))", "log_mul": _call("_log_mul"),
    "log_div": lambda a, b: f"torch.where({_text(a)} == {_text(b)}, 0.0, {_text(a)} - {_text(b)})",
    "log_sigmoid": lambda u: f"-_softplus(-{u})", "log_normal_cdf": _call("torch.special.log_ndtr"),
    "log_softplus": lambda u: f"torch.where({u} < -30, {u}, torch.log(_softplus({u})))",
    "log_normal_pdf": lambda u: f"-0.5 * {u} * {u} - {0.5 * math.log(2 * math.pi)!r}", "log_sech": _call("_log_sech"),
    **{name: _call(f"torch.{name}") for name in (
        "sqrt", "relu", "sign", "abs", "sigmoid", "tanh", "expm1", "log1p", "exp", "log", "sin", "cos", "sinh", "cosh",
        "atan", "asinh", "erf", "erfc")},
}  # fmt: skip

_HELPERS = {
    "_softplus": "def _softplus(u):\n    return torch.relu(u) + torch.log1p(torch.exp(-u.abs()))\n",
    "_log_mul": (
        "def _log_mul(a, b):\n    total = a + b  # 0 * inf counts as 0\n"
        "    return torch.where(torch.isnan(total), -math.inf, total)\n"
    ),
    "_limit": "def _limit(u):\n    return 85.0 if u.dtype == torch.float32 else 700.0\n",
    "_log_sech": ("def _log_sech(u):\n    a = u.abs()\n    return math.log(2) - a - torch.log1p(torch.exp(-2 * a))\n"),
}

_TEMPLATE = '''"""{title}: an activation function for PyTorch, exported by Actsmith. Needs torch alone.

{equation}
{comments}"""

import math

import torch
from torch import nn
{helpers}

def _value({arguments}):
{value}


def _slopes({arguments}):
{slopes}


class _Function(torch.autograd.Function):
    """Keeps the input, not what was computed on the way; float16 and bfloat16 are computed in float32.

    Its gradient is exact; a gradient of that (double backward) is refused, not computed wrongly.
    """

    @staticmethod
    def forward(ctx, {arguments}):
        ctx.save_for_backward({arguments})
        return _value({wide}).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        return _Gradient.apply(grad, *ctx.saved_tensors)


class _Gradient(torch.autograd.Function):  # plain operations would be differentiated, not everywhere rightly
    @staticmethod
    def forward(ctx, grad, {arguments}):
        slopes = [_wide(grad) * slope for slope in _slopes({wide})]
        return {returned}

    @staticmethod
    def backward(ctx, *grads):
        raise RuntimeError("{name} has first derivatives only; acts.nn.Activation has all orders")


def _wide(x):
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class {name}(nn.Module):
    """{summary}"""

    def __init__(self):
        super().__init__()
{parameters}
    def forward(self, x):
        if not x.is_floating_point():
            raise TypeError(f"{name}: got a tensor of {{x.dtype}}; expected a floating-point tensor")
        return _Function.apply({applied})
{start}'''

_START = '''

def init_(model, example_mean_square=1.0):
    """Draw the Linear and Conv layers of `model`, in their order, as those that earned the score were drawn.

    Hidden layers W ~ N(0, C_W/fan_in), b ~ N(0, C_b); the last one W ~ N(0, readout/fan_in), b = 0. Multiply the
    inputs, of mean square `example_mean_square`, by what it returns: the first pre-activation has variance K0 then.
    """
    C_W, C_b, K0, readout = {C_W!r}, {C_b!r}, {K0!r}, {readout!r}
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))]
    for layer in layers:
        last = layer is layers[-1]
        nn.init.normal_(layer.weight, 0.0, math.sqrt((readout if last else C_W) / layer.weight[0].numel()))
        if layer.bias is not None:
            nn.init.normal_(layer.bias, 0.0, 0.0 if last else math.sqrt(C_b))
    return math.sqrt(max(K0 - C_b, 0.0) / (C_W * example_mean_square))
'''


def to_torch_source(
    formula: Formula, class_name: str, comments: Sequence[str] = (), start: Start | str | None = None
) -> str:
    """Source of a module with one class, `class_name`, a torch module that computes the formula.

    Learnable parameters become `nn.Parameter`s that start at the formula's values and are used inside their range.
    With a `Start` there is a function besides, `init_(model, example_mean_square=1.0)`, that draws it.

    Args:
        formula: the activation.
        class_name: a Python name.
        comments: lines for the file's docstring; what is not plain ASCII punctuation is left out.
        start: where the training began that earned the score; a text, as in "the network's own initialisation", is
            only noted.

    Raises:
        ActsmithError: `class_name` is no name that a class can have.
    """
    reserved = {
        "torch",
        "math",
        "nn",
        "init_",
        "_Function",
        "_value",
        "_slopes",
        "_wide",
        "_Gradient",
        *_HELPERS,
    }
    possible = class_name.isidentifier() and class_name.isascii() and not keyword.iskeyword(class_name)
    if not possible or class_name in reserved:
        raise ActsmithError(f"export: class name: got {class_name!r}; expected a Python name, as in MyActivation")
    learned = [name for name, p in formula.params.items() if p.learn]
    fixed = formula.values(learned=False)
    symbols = [X, *(parameter_symbol(name) for name in learned)]
    expression = formula.expr.subs(fixed)
    probe = {parameter_symbol(name): formula.params[name].value for name in learned}
    slots = ["x", *(f"p{i}" for i in range(len(learned)))]
    orders = [tuple(int(s == symbol) for s in symbols) for symbol in symbols]
    first = [with_limits(expression.diff(s), formula.limits, k, symbols) for s, k in zip(symbols, orders, strict=True)]
    plain = with_limits(expression, formula.limits, (0,) * len(symbols), symbols)
    value = _body(lower([plain], symbols, probe), slots, whole=True, depends=X in expression.free_symbols)
    slopes = _body(lower(first, symbols, probe), slots, whole=False)
    helpers = "".join(f"\n\n{text}" for name, text in _HELPERS.items() if f"{name}(" in value + slopes)
    attributes = [_attribute(name) for name in learned]
    ranges = [(formula.params[name].low, formula.params[name].high) for name in learned]
    return _TEMPLATE.format(
        title=_plain(formula.name), equation=_equation(formula, learned),
        comments="".join(f"{_plain(line)}\n" for line in (*comments, *_start_lines(start))), helpers=helpers,
        start=_START.format(**start.to_dict()) if isinstance(start, Start) else "",
        arguments=", ".join(slots), value=value, slopes=slopes, wide=", ".join(f"_wide({s})" for s in slots),
        returned=", ".join(f"slopes[{i}]{'.sum()' if i else ''}.to({s}.dtype)" for i, s in enumerate(slots)),
        name=class_name, summary=_plain(f"f(x) = {_expression_text(formula)}"),
        parameters="".join(
            f"        self.{attribute} = nn.Parameter(torch.tensor({formula.params[name].value!r}))\n"
            for attribute, name in zip(attributes, learned, strict=True)
        ),
        applied=", ".join(["x", *(_used(a, *r) for a, r in zip(attributes, ranges, strict=True))]),
    )  # fmt: skip


def _body(program: Program, arguments: Sequence[str], *, whole: bool, depends: bool = True) -> str:
    """The statements of a function that returns the program's outputs: a tuple or, if `whole`, one tensor like x.

    `depends` says whether that one depends on x.
    """
    slots: list[Slot] = list(arguments)
    lines: list[str] = []
    for instruction in program.instructions:
        inputs = [slots[i] for i in instruction.args]
        if instruction.op == "constant":
            slots.append(instruction.value)
        elif not any(isinstance(slot, str) for slot in inputs):
            with np.errstate(all="ignore"):
                slots.append(float(numpy_ops()[instruction.op](*(np.float64(slot) for slot in inputs))))
        elif instruction.op == "where" and not isinstance(inputs[0], str):
            slots.append(inputs[1] if inputs[0] > 0 else inputs[2])
        else:
            lines.append(f"    v{len(lines)} = {_OPS[instruction.op](*inputs)}\n")
            slots.append(f"v{len(lines) - 1}")
    outputs = [slots[i] for i in program.outputs]
    if whole:
        result = _text(outputs[0]) if depends else f"torch.zeros_like(x) + {_text(outputs[0])}"
        return "".join(lines) + f"    return {result}"
    return "".join(lines) + f"    return ({', '.join(map(_text, outputs))},)"


def _text(slot: Slot) -> str:
    if isinstance(slot, str):
        return slot
    if math.isnan(slot):
        return "math.nan"
    if math.isinf(slot):
        return "math.inf" if slot > 0 else "(-math.inf)"
    return repr(slot) if slot >= 0 else f"({slot!r})"


def _attribute(name: str) -> str:
    """The parameter's name as an attribute, with an underscore where Python or torch has it already."""
    taken = keyword.iskeyword(name) or not name.isascii() or hasattr(torch.nn.Module(), name)
    return f"{re.sub('[^A-Za-z0-9_]', '_', name)}_" if taken else name


def _used(attribute: str, low: float, high: float) -> str:
    """The parameter inside its range; its gradient passes through the clamp, so that training can bring it back."""
    theta = f"self.{attribute}"
    if math.isinf(low) and math.isinf(high):
        return theta
    return f"{theta} + ({theta}.clamp({_text(low)}, {_text(high)}) - {theta}).detach()"


def _expression_text(formula: Formula) -> str:
    fixed = formula.values(learned=False)
    values: dict[str, Any] = {n: p for n, p in formula.params.items() if p.learn}
    return Formula(formula.expr.subs(fixed), values).text


def _equation(formula: Formula, learned: Sequence[str]) -> str:
    lines = [f"    f(x) = {_plain(_expression_text(formula))}\n"]
    lines += [f"Learned: {_plain(name)}, starting at {formula.params[name].value!r}.\n" for name in learned]
    return "".join(lines)


def _start_lines(start: Start | str | None) -> list[str]:
    if not isinstance(start, Start):
        return [] if start is None else [f"Start: {start}."]
    made_for = f" (for {start.depth} hidden layers)" if start.depth else ""
    return [
        f"Start, drawn by init_ below{made_for}: C_W = {start.C_W:.6g}, C_b = {start.C_b:.6g}, K0 = {start.K0:.6g}, "
        f"readout = {start.readout:.6g}.",
        start.verdict,
    ]


def _plain(text: str) -> str:
    """What can stand in a docstring whatever the text was."""
    return re.sub(r"[^A-Za-z0-9 '_.,:;+*/()=<>\[\]|^%~-]", " ", text)
