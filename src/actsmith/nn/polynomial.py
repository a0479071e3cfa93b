"""Networks of rectified powers that equal a polynomial on a bounded domain, up to rounding (THEORY: section 5).

On |t| <= 1 a few neurons give t and t^2 exactly, whatever the power p:

    RePU   r(t) = max(0, t)^p         (t + c)^p = r(t + c) + (-1)^p r(-t - c), and p + 1 shifts c span 1, t, ..., t^p
    MRePU  m(t) = t max(0, 1 + t)^p   m(a t) = sum_j binom(p, j) (a t)^(j + 1), and p + 1 scales |a| <= 1 span
                                      t, ..., t^(p + 1)

A product is a difference of squares, u v = ((u + v)/2)^2 - ((u - v)/2)^2, so that each hidden layer doubles the
degree: a monomial is the product of its two halves, and what is needed later is handed on as t. The variables are
scaled to [-1, 1] first, where every monomial stays. Li, Tang, Yu, arXiv:1903.05858 (RePU); Kim, Kang,
arXiv:2408.02697 (MRePU).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, get_activation, resolve
from actsmith.nn.activation import Activation

__all__ = ["polynomial_network"]

Array = NDArray[np.float64]
Exponents = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Gadget:
    """Neurons s(scale t + shift), of which power[k - 1] @ neurons is t^k, k = 1, 2, for |t| <= 1."""

    scale: Array
    shift: Array
    power: tuple[Array, Array]


def polynomial_network(
    coefficients: Mapping[Exponents, float] | ArrayLike,
    activation: FormulaLike = "repu",
    domain: Sequence[tuple[float, float]] | tuple[float, float] = (-1.0, 1.0),
) -> nn.Sequential:
    """A float64 network (..., d) -> (..., 1) of Linear and RePU or MRePU layers that equals a polynomial on the domain.

    Args:
        coefficients: {(i, j, ...): c} for the sum of c x^i y^j ..., or an array with c at index [i, j, ...].
        activation: "repu" or "mrepu" with a whole p: `get_activation("repu", p=3)`. RePU needs p >= 2, MRePU p >= 1.
        domain: the range of every variable, or one for all. Outside it MRePU networks are something else.

    Raises:
        ActsmithError: another activation, a p that will not do, exponents or a domain that do not fit.

    >>> net = polynomial_network({(2, 1): 3.0, (0, 0): -1.0}, "mrepu", [(0.0, 2.0), (-1.0, 1.0)])
    >>> round(net(torch.tensor([2.0, 0.5], dtype=torch.float64)).item(), 9)
    5.0
    """
    terms = _terms(coefficients)
    variables = len(next(iter(terms)))
    low, high = _domain(domain, variables)
    gadget, module = _gadget(activation)
    terms = _on_unit_cube(terms, (low + high) / 2, (high - low) / 2)
    constant = terms.pop((0,) * variables, 0.0)
    matrices = _layers(terms, variables, gadget)
    # The first acts on u = (x - middle)/half.
    first, offset = matrices[0]
    matrices[0] = (first * (2 / (high - low)), offset - first @ ((high + low) / (high - low)))
    matrices[-1] = (matrices[-1][0], matrices[-1][1] + constant)
    layers: list[nn.Module] = []
    for weight, bias in matrices:
        layers += [_linear(weight, bias), Activation(module)]
    return nn.Sequential(*layers[:-1])


def _linear(weight: Array, bias: Array) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


# ------------------------------------------------------------------------------------------------ what is asked for


def _terms(coefficients: Mapping[Exponents, float] | ArrayLike) -> dict[Exponents, float]:
    if isinstance(coefficients, Mapping):
        terms = {tuple(int(i) for i in key): float(c) for key, c in coefficients.items()}
    else:
        array = np.asarray(coefficients, dtype=np.float64)
        terms = {tuple(index): float(array[index]) for index in np.ndindex(*array.shape)}
    sizes = {len(key) for key in terms}
    if len(sizes) != 1 or 0 in sizes or min(min(key) for key in terms) < 0:
        raise ActsmithError(
            "polynomial network: expected at least one coefficient, each under as many exponents (0 or more) as there "
            f"are variables; got exponents of {sorted(sizes)} variables"
        )
    if not all(math.isfinite(c) for c in terms.values()):
        raise ActsmithError("polynomial network: got a coefficient that is not finite")
    return terms


def _domain(domain: Sequence[tuple[float, float]] | tuple[float, float], variables: int) -> tuple[Array, Array]:
    ends = np.asarray(domain, dtype=np.float64)
    ends = np.broadcast_to(ends, (variables, 2)) if ends.shape == (2,) else ends
    if ends.shape != (variables, 2) or not np.isfinite(ends).all() or not (ends[:, 0] < ends[:, 1]).all():
        raise ActsmithError(f"polynomial network: got domain {domain!r}; expected (low, high) for each of {variables}")
    return ends[:, 0], ends[:, 1]


def _gadget(activation: FormulaLike) -> tuple[Gadget, FormulaLike]:
    formula = resolve(activation)
    p = formula.params["p"].value if "p" in formula.params else math.nan
    kind = formula.name if formula.name in ("repu", "mrepu") and formula == get_activation(formula.name, p=p) else ""
    if not kind or p != round(p) or p < (2 if kind == "repu" else 1):
        raise ActsmithError(
            f"polynomial network: got {formula.name} with p = {p:g}; expected repu with a whole p >= 2 or mrepu with a "
            "whole p >= 1, as get_activation('repu', p=3)"
        )
    return (_repu if kind == "repu" else _mrepu)(int(p)), formula


def _repu(p: int) -> Gadget:
    """From (t + c)^p = sum_k binom(p, k) c^(p - k) t^k."""
    c = np.cos(math.pi * (np.arange(p + 1) + 0.5) / (p + 1))
    matrix = np.array([math.comb(p, k) * c ** (p - k) for k in range(p + 1)])
    powers = []
    for k in (1, 2):
        alpha = np.linalg.solve(matrix, np.eye(p + 1)[k])
        powers.append(np.concatenate([alpha, (-1) ** p * alpha]))
    sign = np.repeat([1.0, -1.0], p + 1)
    return Gadget(sign, sign * np.tile(c, 2), (powers[0], powers[1]))


def _mrepu(p: int) -> Gadget:
    """From m(a t) = sum_j binom(p, j) (a t)^(j + 1)."""
    half = np.cos(math.pi * np.arange((p + 1) // 2) / (p + 1))
    a = np.concatenate([half, -half, [0.5 * half[-1]] if p % 2 == 0 else []])
    matrix = np.array([math.comb(p, k - 1) * a**k for k in range(1, p + 2)])
    powers = [np.linalg.solve(matrix, np.eye(p + 1)[k - 1]) for k in (1, 2)]
    return Gadget(a, np.zeros(p + 1), (powers[0], powers[1]))


# ------------------------------------------------------------------------------------------------ the construction


def _on_unit_cube(terms: Mapping[Exponents, float], middle: Array, half: Array) -> dict[Exponents, float]:
    """The coefficients in u, x = middle + half u: c x^i = c sum_k binom(i, k) middle^(i - k) half^k u^k."""
    result: dict[Exponents, float] = {}
    for exponents, c in terms.items():
        for powers in product(*(range(i + 1) for i in exponents)):
            factor = math.prod(
                math.comb(i, k) * m ** (i - k) * h**k
                for i, k, m, h in zip(exponents, powers, middle.tolist(), half.tolist(), strict=True)
            )
            result[powers] = result.get(powers, 0.0) + c * factor
    zero = (0,) * len(middle)
    return {powers: c for powers, c in result.items() if c != 0 or powers == zero}


def _born(monomial: Exponents) -> int:
    """The first hidden layer after which a monomial can be read."""
    return math.ceil(math.log2(max(sum(monomial), 1)))


def _halves(monomial: Exponents) -> tuple[Exponents, Exponents]:
    """Two monomials with this product, of degrees as equal as can be."""
    left, todo = list(monomial), sum(monomial) // 2
    for i, k in enumerate(monomial):
        taken = min(k, todo)
        left[i] -= taken
        todo -= taken
    return tuple(left), tuple(k - kept for k, kept in zip(monomial, left, strict=True))


def _layers(terms: Mapping[Exponents, float], variables: int, gadget: Gadget) -> list[tuple[Array, Array]]:
    """Weight and bias of each Linear layer, the first acting on u in [-1, 1]^d."""
    depth = max((_born(m) for m in terms), default=0)
    wanted = [sorted(terms)]
    for layer in range(depth, 0, -1):
        parts = {h for m in wanted[0] for h in (_halves(m) if _born(m) == layer else (m,))}
        wanted.insert(0, sorted(parts))
    inputs = [tuple(int(i == k) for i in range(variables)) for k in range(variables)]
    # Readout of the monomials at hand from the neurons before: at first the variables themselves.
    read = np.array([[float(m == u) for u in inputs] for m in wanted[0]]).reshape(len(wanted[0]), variables)
    offset = np.zeros(len(wanted[0]))
    matrices = []
    for layer in range(1, depth + 1):
        enter, shift, leave = _hidden(wanted[layer - 1], wanted[layer], layer, gadget)
        matrices.append((enter @ read, enter @ offset + shift))
        read, offset = leave, np.zeros(len(wanted[layer]))
    last = np.array([[terms[m] for m in wanted[depth]]]).reshape(1, len(wanted[depth]))
    return [*matrices, (last @ read, last @ offset)]


def _hidden(before: list[Exponents], after: list[Exponents], layer: int, gadget: Gadget) -> tuple[Array, Array, Array]:
    """Weights into the neurons from the monomials before, their shifts, and the monomials after from the neurons."""
    position = {m: i for i, m in enumerate(before)}
    arguments: list[Array] = []
    readouts: list[list[tuple[int, Array]]] = []

    def neurons(argument: Array) -> int:
        arguments.append(argument)
        return len(arguments) - 1

    unit = np.eye(len(before))
    for monomial in after:
        if _born(monomial) < layer:
            readouts.append([(neurons(unit[position[monomial]]), gadget.power[0])])
            continue
        u, v = (unit[position[half]] for half in _halves(monomial))
        plus = (neurons((u + v) / 2), gadget.power[1])
        readouts.append([plus] if np.array_equal(u, v) else [plus, (neurons((u - v) / 2), -gadget.power[1])])
    size = gadget.scale.size
    leave = np.zeros((len(after), len(arguments) * size))
    for row, parts in enumerate(readouts):
        for index, weights in parts:
            leave[row, index * size : (index + 1) * size] = weights
    enter = np.concatenate([gadget.scale[:, None] * argument for argument in arguments])
    return enter, np.tile(gadget.shift, len(arguments)), leave
