"""What torch's functions do to jets.

    linear        every slot alone: views, sums, concatenation, constant factors, matrix products with constants
    affine        the same, and a constant is added to the value alone
    products      Leibniz, of factors as of matrices
    elementwise   Faa di Bruno, one kernel for a formula
    by the value  comparisons, shapes: what has no derivative

What is in none of these is refused by name, or differentiated by torch.func where the caller asked for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from actsmith.formula.formula import Formula
from actsmith.nn.family import Family, family
from actsmith.nn.jet_algebra import Multi, Slots, Sums, products_of
from actsmith.nn.jet_nested import nested
from actsmith.nn.jet_tensor import Jet
from actsmith.nn.known import formula_of_call
from actsmith.nn.private import observed, run_by_dynamo
from actsmith.nn.products import gradient, product

__all__ = ["NoRuleError", "apply"]


class NoRuleError(Exception):
    """A function without a rule; its name is the message."""


def apply(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """A torch function of arguments with jets among them.

    Raises:
        NoRuleError: there is no rule, and no fallback was asked for.
    """
    name = _name(func)
    if name in _LINEAR:
        return _each(func, args, kwargs)
    rule = _RULES.get(name)
    if rule is not None:
        return rule(*args, **kwargs)
    if name in _BY_VALUE:
        return func(*map(_value, args), **{k: _value(v) for k, v in kwargs.items()})
    if (found := _elementwise(name, args, kwargs)) is not None:
        return found.of_jet(args[0] if args else kwargs["input"])
    if _slots((*args, *kwargs.values())).fallback:
        return nested(func, args, kwargs)
    raise NoRuleError(name)


@run_by_dynamo
def _name(func: Callable[..., Any]) -> str:
    name = str(getattr(func, "__name__", func)).strip("_")
    return name.removeprefix("special_")


def _value(argument: Any) -> Any:
    return argument.value if isinstance(argument, Jet) else argument


# -------------------------------------------------------------------------------------------------------- linear

_LINEAR = frozenset((
    "reshape", "view", "flatten", "unflatten", "transpose", "swapaxes", "permute", "movedim", "t", "squeeze",
    "unsqueeze", "expand", "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile", "flip", "roll",
    "contiguous", "clone", "sum", "mean", "cumsum", "cat", "concat", "concatenate", "stack", "hstack", "vstack",
    "split", "chunk", "unbind", "tensor_split", "narrow", "select", "index_select", "gather", "take_along_dim",
    "getitem", "diagonal", "tril", "triu", "neg", "negative", "positive", "zeros_like", "detach", "to", "float",
    "double", "type_as", "view_as", "reshape_as", "trace", "masked_select", "pixel_shuffle", "pixel_unshuffle",
    "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "interpolate", "upsample",
))  # fmt: skip
"""Linear in all jets that they are given, nothing else being added."""

_BY_VALUE = frozenset((
    "lt", "le", "gt", "ge", "eq", "ne", "isfinite", "isnan", "isinf", "argmax", "argmin", "signbit", "floor", "ceil",
    "round", "ones_like", "rand_like", "randn_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full",
    "new_tensor", "new_empty", "is_floating_point", "is_complex", "stride", "is_contiguous", "item", "any", "all",
))  # fmt: skip


def _each(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The function on every slot at once: vmap over the slots; what is no jet is zero in all but the value."""
    slots = _slots((*args, *kwargs.values()))
    jets: list[Tensor] = []

    def taken(argument: Any) -> Any:
        if isinstance(argument, Jet):
            jets.append(argument.packed)
            return _Hole(len(jets) - 1)
        if isinstance(argument, list | tuple) and any(isinstance(a, Jet) for a in argument):
            return [taken(_constant(a, slots)) for a in argument]
        return argument

    held = [taken(a) for a in args], {k: taken(v) for k, v in kwargs.items()}

    def run(*packs: Tensor) -> Any:
        def filled(argument: Any) -> Any:
            if isinstance(argument, _Hole):
                return packs[argument.at]
            return [filled(a) for a in argument] if isinstance(argument, list) else argument

        return func(*map(filled, held[0]), **{k: filled(v) for k, v in held[1].items()})

    return _wrapped(torch.func.vmap(run)(*jets), slots)


class _Hole:
    def __init__(self, at: int) -> None:
        self.at = at


def _slots(arguments: Sequence[Any]) -> Slots:
    for argument in arguments:
        if isinstance(argument, Jet):
            return argument.slots
        if isinstance(argument, list | tuple):
            for inner in argument:
                if isinstance(inner, Jet):
                    return inner.slots
    raise NoRuleError("a function without jets")


def _wrapped(result: Any, slots: Slots) -> Any:
    if isinstance(result, Tensor):
        return Jet(result, slots)
    return tuple(_wrapped(r, slots) for r in result)


def _constant(argument: Any, slots: Slots) -> Any:
    """A tensor as a jet without derivatives."""
    return Jet.constant(argument, slots) if isinstance(argument, Tensor) else argument


# -------------------------------------------------------------------------------------------------------- affine


class _Shifted(Function):
    """A constant added to the value alone. Slices would each have a gradient as large as the pack."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, constant: Any) -> Tensor:
        ctx.shape = constant.shape if isinstance(constant, Tensor) else None
        out = packed.clone()
        out[0] += constant
        return out

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        (g,) = cotangents
        return g, g[0].sum_to_size(ctx.shape) if ctx.needs_input_grad[1] else None


def _plain(packed: Tensor) -> bool:
    """Whether an operation of ours may stand for several of torch's."""
    return not (torch.compiler.is_compiling() or observed() or torch.is_autocast_enabled(packed.device.type))


def _on_value(packed: Tensor, constant: Any) -> Tensor:
    """A constant added to the value alone."""
    number = isinstance(constant, int | float)
    like = isinstance(constant, Tensor) and constant.dtype == packed.dtype
    if _plain(packed) and (number or (like and _broadcasts(constant.shape, packed.shape[1:]))):
        return _Shifted.apply(packed, constant)  # type: ignore[no-any-return]
    value = packed[0] + constant
    rest = packed[1:]
    if value.shape != packed.shape[1:]:
        lead = (1,) * (value.ndim - packed.ndim + 1)
        rest = rest.reshape(rest.shape[0], *lead, *rest.shape[1:]).expand(rest.shape[0], *value.shape)
    return torch.cat([value[None], rest])


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False))


def _add(input: Any, other: Any, *, alpha: Any = 1) -> Jet:
    if isinstance(input, Jet) and isinstance(other, Jet):
        return Jet(torch.add(*_aligned(input, other), alpha=alpha), input.slots)
    if isinstance(input, Jet):
        return Jet(_on_value(input.packed, other if alpha == 1 else alpha * other), input.slots)
    return Jet(_on_value(other.packed if alpha == 1 else alpha * other.packed, input), other.slots)


def _sub(input: Any, other: Any, *, alpha: Any = 1) -> Jet:
    return _add(input, other, alpha=-alpha)


def _aligned(a: Jet, b: Jet) -> tuple[Tensor, Tensor]:
    """Their packs, the slots beside each other where the shapes broadcast."""
    ndim = max(a.ndim, b.ndim)
    return _lifted(a, ndim), _lifted(b, ndim)


def _lifted(jet: Jet, ndim: int) -> Tensor:
    lead = ndim - jet.ndim
    return jet.packed if lead <= 0 else jet.packed.reshape(len(jet.packed), *[1] * lead, *jet.shape)


class _Linear(Function):
    """x W^T of all slots in one product, and b on the value: nothing is copied for b."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(packed, weight)
        out = product(packed, weight)
        out[0] += bias
        return out

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        (g,) = cotangents
        packed, weight = ctx.saved_tensors
        back = product(g, weight.t()) if ctx.needs_input_grad[0] else None
        own = gradient(g, packed) if ctx.needs_input_grad[1] else None
        return back, own, g[0].sum(tuple(range(g.ndim - 2))) if ctx.needs_input_grad[2] else None


def _linear(input: Any, weight: Any, bias: Any = None) -> Jet:
    if isinstance(weight, Jet) or isinstance(bias, Jet):
        out = _matmul(input, weight.t() if weight.ndim > 1 else weight)
        return out if bias is None else _add(out, bias)
    plain = _plain(input.packed) and type(weight) in (Tensor, torch.nn.Parameter)
    if plain and bias is not None:
        return Jet(_Linear.apply(input.packed, weight, bias), input.slots)
    out = (product if plain else functional.linear)(input.packed, weight)
    return Jet(out if bias is None else _on_value(out, bias), input.slots)


def _convolution(function: Callable[..., Tensor]) -> Callable[..., Jet]:
    def rule(input: Any, weight: Any, bias: Any = None, *args: Any, **kwargs: Any) -> Jet:
        if isinstance(weight, Jet) or isinstance(bias, Jet):
            raise NoRuleError(f"{function.__name__} with weights that are jets")
        out: Jet = _each(lambda x, w: function(x, w, None, *args, **kwargs), (input, weight), {})
        return out if bias is None else _add(out, bias.reshape(-1, *[1] * (weight.ndim - 2)))

    return rule


# ------------------------------------------------------------------------------------------------------ products


@run_by_dynamo
def _products(multis: tuple[Multi, ...], sums: Sums) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    return products_of(Slots(multis, sums))  # of plain tuples: what Dynamo makes of a named one has no items


def _product(a: Jet, b: Jet, multiply: Callable[[Tensor, Tensor], Tensor]) -> Jet:
    """Leibniz."""
    rows = []
    for terms in _products(a.slots.multis, a.slots.sums):
        total: Any = None
        for i, j, count in terms:
            part = multiply(a.packed[i], b.packed[j])
            part = part if count == 1 else count * part
            total = part if total is None else total + part
        rows.append(total)
    return Jet(torch.stack(rows), a.slots)


def _mul(input: Any, other: Any) -> Jet:
    if isinstance(input, Jet) and isinstance(other, Jet):
        return _product(input, other, torch.mul)
    jet, factor = (input, other) if isinstance(input, Jet) else (other, input)
    ndim = max(jet.ndim, factor.ndim) if isinstance(factor, Tensor) else jet.ndim
    return Jet(_lifted(jet, ndim) * factor, jet.slots)


def _div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Jet:
    if rounding_mode is not None:
        raise NoRuleError("div with rounding_mode")
    if isinstance(other, Jet):
        return _mul(input, _known("reciprocal", other))
    return _mul(input, 1 / other)


def _matmul(input: Any, other: Any) -> Any:
    if isinstance(input, Jet) and isinstance(other, Jet):
        return _product(input, other, torch.matmul)
    return _each(torch.matmul, (input, other), {})


def _addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return _add(_mul(_matmul(mat1, mat2), alpha) if alpha != 1 else _matmul(mat1, mat2), beta * input)


def _addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    product = _mul(tensor1, tensor2) if isinstance(tensor1, Jet) or isinstance(tensor2, Jet) else tensor1 * tensor2
    return _add(product if value == 1 else value * product, input)


class _Batched(Function):
    """b + W x of many weights, all slots in one product, and b on the value."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(packed, weight)
        ctx.shape = bias.shape
        out = weight @ packed
        out[0] += bias
        return out

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        (g,) = cotangents
        packed, weight = ctx.saved_tensors
        back = weight.mT @ g if ctx.needs_input_grad[0] else None
        own = (g @ packed.mT).sum(0) if ctx.needs_input_grad[1] else None
        return back, own, g[0].sum_to_size(ctx.shape) if ctx.needs_input_grad[2] else None


def _baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    given = not (isinstance(input, Jet) or isinstance(batch1, Jet)) and beta == alpha == 1
    if given and _plain(batch2.packed) and type(batch1) in (Tensor, torch.nn.Parameter):
        return Jet(_Batched.apply(batch2.packed, batch1, input), batch2.slots)
    return _addmm(input, batch1, batch2, beta=beta, alpha=alpha)


def _einsum(equation: Any, *operands: Any) -> Any:
    operands = tuple(operands[0]) if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    at = [i for i, one in enumerate(operands) if isinstance(one, Jet)]
    if len(at) == 1:
        return _each(lambda *ops: torch.einsum(equation, *ops), operands, {})
    if len(at) > 2 or len(operands) != 2:
        raise NoRuleError("einsum of more than two")
    return _product(operands[0], operands[1], lambda a, b: torch.einsum(equation, a, b))


def _log(constant: Any) -> Any:
    return constant.log() if isinstance(constant, Tensor) else math.log(constant)


def _pow(input: Any, exponent: Any) -> Jet:
    if isinstance(exponent, Jet):
        base = _known("log", input) if isinstance(input, Jet) else _log(input)
        return _known("exp", _mul(exponent, base))
    if not isinstance(exponent, int | float):
        raise NoRuleError("pow with a tensor as exponent")
    return _known("pow", input, float(exponent))


# ---------------------------------------------------------------------------------------- elementwise and others

_TEXTS = {
    "log": "log(x)", "tan": "tan(x)", "rsqrt": "x**(-1/2)", "reciprocal": "1/x", "log2": "log(x)/log(2)",
    "log10": "log(x)/log(10)", "erfc": "1 - erf(x)", "exp2": "2**x", "tanh": "tanh(x)", "asin": "asin(x)",
    "arcsin": "asin(x)", "acos": "acos(x)", "arccos": "acos(x)", "deg2rad": "pi*x/180", "sinc": "sinc(x)",
}  # fmt: skip


def _family(name: str, arguments: tuple[Any, ...], keywords: tuple[tuple[str, Any], ...] = ()) -> Family | None:
    attribute = _kept(name, arguments, keywords)
    return None if attribute is None else getattr(_families, attribute)


class _Families:
    """Of torch's functions with their arguments, as attributes: Dynamo looks into these."""

    def __init__(self) -> None:
        self.names: dict[Any, str | None] = {}


_families = _Families()


@run_by_dynamo
def _kept(name: str, arguments: tuple[Any, ...], keywords: tuple[tuple[str, Any], ...]) -> str | None:
    key = (name, arguments, keywords)
    if key not in _families.names:
        found = _made(name, arguments, keywords)
        attribute = None if found is None else f"family_{len(_families.names)}"
        if attribute is not None:
            setattr(_families, attribute, found)
        _families.names[key] = attribute
    return _families.names[key]


def _made(name: str, arguments: tuple[Any, ...], keywords: tuple[tuple[str, Any], ...]) -> Family | None:
    if name == "pow":
        return family(Formula(f"x**({arguments[0]!r})"))
    formula = Formula(_TEXTS[name]) if name in _TEXTS else formula_of_call(name, arguments, dict(keywords))
    return None if formula is None else family(formula)


def _known(name: str, jet: Jet, *arguments: Any) -> Jet:
    found = _family(name, arguments)
    assert found is not None
    return found.of_jet(jet)


def _elementwise(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Family | None:
    own = {k: v for k, v in kwargs.items() if k not in ("input", "inplace")}
    rest = args[1:] if args else ()
    try:
        return _family(name, tuple(rest), tuple(sorted(own.items())))
    except TypeError:  # an argument that is no plain value
        return None


def _where(condition: Any, input: Any, other: Any) -> Jet:
    slots = _slots((input, other))
    a, b = (_constant(_filled(v, input, other), slots) for v in (input, other))
    return Jet(torch.where(_value(condition), *_aligned(a, b)), slots)


def _filled(value: Any, *others: Any) -> Any:
    """A number as a tensor beside jets."""
    if isinstance(value, Jet | Tensor):
        return value
    like = next(o for o in others if isinstance(o, Jet))
    return torch.full((), value, dtype=like.dtype, device=like.device)


def _maximum(input: Any, other: Any) -> Jet:
    return _where(_value(input) >= _value(other), input, other)


def _minimum(input: Any, other: Any) -> Jet:
    return _where(_value(input) <= _value(other), input, other)


def _prelu(input: Jet, weight: Tensor) -> Jet:
    if weight.numel() > 1:
        weight = weight.reshape(-1, *[1] * (input.ndim - 2))
    return _where(input.value > 0, input, _mul(input, weight))


def _dropout(input: Jet, p: float = 0.5, training: bool = True, inplace: bool = False) -> Jet:
    return input if not training or p == 0 else _mul(input, functional.dropout(torch.ones_like(input.value), p))


def _layer_norm(input: Jet, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Jet:
    dims = tuple(range(-len(normalized_shape), 0))
    return _scaled(_standardised(input, dims, eps), weight, bias)


def _rms_norm(input: Jet, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Jet:
    dims = tuple(range(-len(normalized_shape), 0))
    size = _product(input, input, torch.mul).mean(dims, keepdim=True) + (eps or torch.finfo(input.dtype).eps)
    return _scaled(_mul(input, size.rsqrt()), weight, None)


def _group_norm(input: Jet, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Jet:
    grouped = input.reshape(input.shape[0], num_groups, -1)
    found = _standardised(grouped, (-1,), eps).reshape(input.shape)
    return _scaled(found, *(None if t is None else _by_channel(t, input) for t in (weight, bias)))


def _batch_norm(
    input: Jet, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, **own: Any
) -> Jet:
    if own.get("training", False) or running_mean is None:
        raise NoRuleError("batch_norm in training, which mixes the points")
    size = _by_channel((running_var + own.get("eps", 1e-5)).rsqrt(), input)
    found = _mul(_sub(input, _by_channel(running_mean, input)), size)
    return _scaled(found, *(None if t is None else _by_channel(t, input) for t in (weight, bias)))


def _by_channel(t: Tensor, like: Jet) -> Tensor:
    return t.reshape(-1, *[1] * (like.ndim - 2))


def _standardised(jet: Jet, dims: tuple[int, ...], eps: float) -> Jet:
    centred = jet - jet.mean(dims, keepdim=True)
    return _mul(centred, ((centred * centred).mean(dims, keepdim=True) + eps).rsqrt())


def _scaled(jet: Jet, weight: Any, bias: Any) -> Jet:
    jet = jet if weight is None else _mul(jet, weight)
    return jet if bias is None else _add(jet, bias)


def _softmax(input: Any, dim: int = -1, _stacklevel: int = 3, dtype: Any = None) -> Jet:
    top = input.value.detach().amax(dim, keepdim=True)
    powers = (input - top).exp()
    return _div(powers, powers.sum(dim, keepdim=True))


def _logsumexp(input: Jet, dim: Any, keepdim: bool = False) -> Jet:
    top = input.value.detach().amax(dim, keepdim=True)
    powers = _sub(input, top).exp()
    total: Jet = _add(powers.sum(dim, keepdim=True).log(), top)
    return total if keepdim else total.squeeze(dim)


def _log_softmax(input: Jet, dim: int = -1, _stacklevel: int = 3, dtype: Any = None) -> Jet:
    return _sub(input, _logsumexp(input, dim, keepdim=True))


def _attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, *, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    if dropout_p or enable_gqa:
        raise NoRuleError("scaled_dot_product_attention with dropout or grouped heads")
    scores = _matmul(query, key.transpose(-2, -1)) * (scale or query.shape[-1] ** -0.5)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=scores.dtype).masked_fill(~attn_mask, float("-inf"))
    return _matmul(_softmax(scores if attn_mask is None else scores + attn_mask), value)


_RULES: dict[str, Callable[..., Any]] = {
    "linear": _linear, "add": _add, "radd": lambda a, b: _add(b, a), "sub": _sub, "subtract": _sub,
    "rsub": lambda a, b, alpha=1: _sub(b, a, alpha=alpha), "mul": _mul, "multiply": _mul, "rmul": _mul,
    "div": _div, "divide": _div, "true_divide": _div, "truediv": _div, "rtruediv": lambda a, b: _div(b, a),
    "rdiv": lambda a, b: _div(b, a), "pow": _pow, "rpow": lambda a, b: _pow(b, a), "matmul": _matmul,
    "rmatmul": lambda a, b: _matmul(b, a), "mm": _matmul, "bmm": _matmul, "mv": _matmul, "addmm": _addmm,
    "baddbmm": _baddbmm, "addcmul": _addcmul,
    "einsum": _einsum, "where": _where, "maximum": _maximum, "minimum": _minimum, "prelu": _prelu,
    "dropout": _dropout, "layer_norm": _layer_norm, "rms_norm": _rms_norm, "group_norm": _group_norm,
    "batch_norm": _batch_norm, "softmax": _softmax, "logsumexp": _logsumexp, "log_softmax": _log_softmax,
    "scaled_dot_product_attention": _attention, "requires_grad": lambda jet, *_: jet,
    "conv1d": _convolution(functional.conv1d), "conv2d": _convolution(functional.conv2d),
    "conv3d": _convolution(functional.conv3d),
}  # fmt: skip

Jet.rules = staticmethod(apply)
