"""Derivatives of a network in its inputs, of every order, in one pass (Taylor mode).

    u = derivatives(net, xt, [(2, 0), (0, 1)])          # u[0, 0], u[1, 0], u[2, 0] = u_xx, u[0, 1] = u_t
    u, lap = laplacian(net, x)

The network is an ordinary one. It is called once, on a `Jet` in the place of its input: value and derivatives go
through its layers together, a linear layer as one matrix product, an activation as one kernel made for its formula and
these derivatives. Nested autograd goes back and forth through the network for every order instead. All results can be
differentiated by autograd, in the parameters and in x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, product
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.nn.jet_algebra import Multi, Slots, closure
from actsmith.nn.jet_rules import NoRuleError
from actsmith.nn.jet_tensor import Jet

__all__ = ["biharmonic", "derivatives", "jet", "laplacian"]

Model = Callable[[Any], Any]


def jet(model: Model, x: Tensor, v: Tensor, order: int, *, fallback: bool = False) -> Tensor:
    """u(x + t v) and its derivatives in t at t = 0.

    Args:
        model: takes a tensor, gives one: a module of linear layers, activations, sums, products, concatenations, norms,
            attention, whatever `actsmith.nn.jet_rules` has a rule for.
        x: (..., coordinates), floating point.
        v: a direction, of a shape that broadcasts to x; or several, with one dimension more in front.
        order: the highest, 1 or more.
        fallback: differentiate functions that have no rule by nested forward mode (slow).

    Returns:
        (order + 1, *output): the derivative of order k at k. Of several directions (directions, order + 1, *output).

    Raises:
        ActsmithError: the shapes do not fit, or a function has no rule; the module is named.

    Example:
        >>> cubic = lambda x: x**3
        >>> jet(cubic, torch.tensor([2.0]), torch.tensor([1.0]), 3).flatten()
        tensor([ 8., 12., 12.,  6.])
    """
    if order < 1:
        raise ActsmithError(f"jet: got order {order}; expected 1 or more")
    many = v.ndim > x.ndim
    try:
        directions = [d.expand_as(x) for d in (v if many else v[None])]
    except RuntimeError:
        raise ActsmithError(
            f"jet: got v of shape {tuple(v.shape)} for x of shape {tuple(x.shape)}; expected a direction that "
            "broadcasts to x, or several, with one dimension more in front"
        ) from None
    count = len(directions)
    multis = [tuple(k if i == j else 0 for j in range(count)) for i in range(count) for k in range(1, order + 1)]
    slots = Slots(((0,) * count, *multis), fallback=fallback)
    out = _run(model, x, directions, slots)
    lines = [torch.cat([out[:1], out[1 + i * order : 1 + (i + 1) * order]]) for i in range(count)]
    return torch.stack(lines) if many else lines[0]


def derivatives(
    model: Model, x: Tensor, order: int | Iterable[Sequence[int]], *, fallback: bool = False
) -> dict[Multi, Tensor]:
    """Partial derivatives of u in the coordinates, the last dimension of x.

    Args:
        model, fallback: as `jet` takes them.
        x: (..., coordinates).
        order: all up to this order; or those that are wanted, as multi-indices: [(2, 0), (0, 1)] for u_xx and u_t. What
            is needed on the way is there, too.

    Returns:
        multi-index -> derivative, of the shape of the output; the value at (0, ..., 0).

    Raises:
        ActsmithError: a multi-index does not fit x; see `jet`.

    Example:
        >>> u = derivatives(lambda x: x[..., :1] ** 2 * x[..., 1:], torch.tensor([[3.0, 5.0]]), 3)
        >>> u[1, 1].item(), u[2, 1].item()
        (6.0, 2.0)
    """
    count = _coordinates(x)
    if isinstance(order, int):
        wanted = [multi for multi in product(range(order + 1), repeat=count) if sum(multi) == order]
    else:
        wanted = [tuple(multi) for multi in order]
    if not wanted or any(len(multi) != count or min(multi) < 0 for multi in wanted):
        raise ActsmithError(
            f"derivatives: got order={order!r} for x of shape {tuple(x.shape)}; expected an order of 1 or more, or "
            f"multi-indices of {count} whole numbers each, the derivatives in each coordinate"
        )
    slots = Slots(closure([*wanted, (0,) * count]), fallback=fallback)
    out = _run(model, x, _axes(x), slots)
    return {multi: out[row] for row, multi in enumerate(slots.multis)}


def laplacian(
    model: Model, x: Tensor, weights: Tensor | None = None, *, fallback: bool = False
) -> tuple[Tensor, Tensor]:
    """u and its Laplacian, or another operator of second order: the sum of weights_ij u_ij.

    The sum goes through the network as one, so that it costs coordinates + 2 slots, not one for every pair.

    Args:
        model, fallback: as `jet` takes them.
        x: (..., coordinates).
        weights: (coordinates,) for a diagonal, a symmetric (coordinates, coordinates), or one for each point. None: 1.

    Returns:
        u and the operator, both of the shape of the output.

    Raises:
        ActsmithError: the weights do not fit x; see `jet`.

    Example:
        >>> u, lap = laplacian(lambda x: (x**3).sum(-1), torch.tensor([[1.0, 2.0]]))
        >>> lap
        tensor([18.])
    """
    count = _coordinates(x)
    if weights is not None and (weights.shape[-1] != count or (weights.ndim > 1 and weights.shape[-2] != count)):
        raise ActsmithError(
            f"laplacian: got weights of shape {tuple(weights.shape)}; expected ({count},), ({count}, {count}), or "
            f"(..., {count}, {count}) with a matrix for each point of x, whose shape is {tuple(x.shape)}"
        )
    if fallback or (weights is not None and weights.requires_grad):
        return _by_pairs(model, x, weights, fallback)
    directions, signs = _directions(x, weights)
    units = [tuple(int(i == j) for j in range(len(signs))) for i in range(len(signs))]
    total = tuple((tuple(2 * k for k in unit), sign) for unit, sign in zip(units, signs, strict=True))
    out = _run(model, x, directions, Slots(((0,) * len(signs), *units), (total,)))
    return out[0], out[-1]


def biharmonic(model: Model, x: Tensor) -> tuple[Tensor, Tensor]:
    """u and the Laplacian of its Laplacian, the fourth derivatives summed as they go through the network.

    Args:
        model: as `jet` takes it.
        x: (..., coordinates).
    """
    count = _coordinates(x)
    units = [tuple(int(i == j) for j in range(count)) for i in range(count)]
    total = [(tuple(4 * k for k in unit), 1) for unit in units]
    total += [(tuple(2 * (a + b) for a, b in zip(p, q, strict=True)), 2) for p, q in combinations(units, 2)]
    lower = [multi for multi in closure(multi for multi, _ in total) if sum(multi) < 4]
    out = _run(model, x, _axes(x), Slots(tuple(lower), (tuple(total),)))
    return out[0], out[-1]


def _coordinates(x: Tensor) -> int:
    """How many.

    Raises:
        ActsmithError: x has no dimension of coordinates.
    """
    if not isinstance(x, Tensor) or not x.ndim:
        raise ActsmithError(
            f"derivatives: got {'one number' if isinstance(x, Tensor) else type(x).__name__}; expected a tensor x of "
            "shape (..., coordinates)"
        )
    return x.shape[-1]


def _axes(x: Tensor) -> list[Tensor]:
    return [axis.expand_as(x) for axis in torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)]


def _directions(x: Tensor, weights: Tensor | None) -> tuple[list[Tensor], list[int]]:
    """Directions and signs with sum of sign (d/dv)^2 = the operator; those that are zero everywhere left out."""
    if weights is None:
        axes = _axes(x)
        return axes, [1] * len(axes)
    values, vectors = torch.linalg.eigh(torch.diag(weights) if weights.ndim == 1 else weights)
    found, signs = [], []
    for sign in (1, -1):
        lengths = (sign * values).clamp(min=0).sqrt()
        for i in range(values.shape[-1]):
            if bool((lengths[..., i] > 0).any()):
                found.append((lengths[..., i, None] * vectors[..., i]).to(x).expand_as(x))
                signs.append(sign)
    return (found, signs) if found else (_axes(x)[:1], [0])


def _by_pairs(model: Model, x: Tensor, weights: Tensor | None, fallback: bool) -> tuple[Tensor, Tensor]:
    """By all second derivatives: differentiable in the weights, and with a fallback."""
    count = x.shape[-1]
    found = derivatives(model, x, 2, fallback=fallback)
    value = found[(0,) * count]
    total = torch.zeros_like(value)
    for i, j in product(range(count), repeat=2):
        multi = tuple(int(k == i) + int(k == j) for k in range(count))
        if weights is None or weights.ndim == 1:
            total = total + (found[multi] * (1 if weights is None else weights[i]) if i == j else 0)
        else:
            own = weights[..., i, j]
            total = total + own.reshape(*own.shape, *[1] * (value.ndim - own.ndim) * bool(own.ndim)) * found[multi]
    return value, total


def _run(model: Model, x: Tensor, directions: Sequence[Tensor], slots: Slots) -> Tensor:
    """The output's slots."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise ActsmithError(f"jet: got {getattr(x, 'dtype', type(x).__name__)}; expected a floating-point tensor x")
    unit = {next(i for i, k in enumerate(multi) if k): row for row, multi in enumerate(slots.multis) if sum(multi) == 1}
    rows = [x, *[torch.zeros_like(x)] * (len(slots.multis) + len(slots.sums) - 1)]
    for i, row in unit.items():
        rows[row] = directions[i].to(x)
    try:
        out = model(Jet(torch.stack(rows), slots))
    except NoRuleError as error:
        where = _module_of(model, error.__traceback__)
        raise ActsmithError(
            f"jet: {where} calls {error}, for which there is no rule; fallback=True differentiates it by nested "
            "forward mode, or write it with functions that have one (linear, products, sums, elementwise functions)"
        ) from None
    if isinstance(out, Jet):
        return out.packed
    if isinstance(out, Tensor):  # no function of x
        return Jet.constant(out, slots).packed
    raise ActsmithError(f"jet: the model gave {type(out).__name__}; expected one tensor")


def _module_of(model: Any, trace: TracebackType | None) -> str:
    """The innermost module that was running."""
    names = {id(m): n for n, m in model.named_modules()} if isinstance(model, nn.Module) else {}
    found = "the model"
    while trace is not None:
        own = trace.tb_frame.f_locals.get("self")
        if isinstance(own, nn.Module) and id(own) in names:
            found = f"{type(own).__name__} {names[id(own)]!r}" if names[id(own)] else type(own).__name__
        trace = trace.tb_next
    return found
