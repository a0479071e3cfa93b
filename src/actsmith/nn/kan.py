"""`KANLinear`: a Kolmogorov-Arnold layer whose edge functions are the Hermite family on a base.

    y_o = sum_i phi_oi(x_i),   phi_oi(x) = w_oi base(x) + sum_k c_oik psi_k(x)/sqrt(k!),   psi_k = He_k(x) exp(-x^2/2)

(Liu et al., arXiv:2404.19756, with the Hermite family in the place of B-splines.) The features of all inputs are
stacked, so that the layer is one matrix product. The factor 1/sqrt(k!) gives all features about one size; it is
eps_k = c_k/sqrt(k!) that stands in formulas.

    psi_{k+1} = x psi_k - k psi_{k-1},   psi_k' = -psi_{k+1}

| symbol | meaning                                   | shape           |
|--------|-------------------------------------------|-----------------|
| x      | inputs                                    | (..., in)       |
| psi    | features                                  | (..., K in)     |
| w, c   | edge coefficients                         | (out, K + 1, in)|
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import sympy as sp
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula, Param
from actsmith.formula.parse import parameter_symbol
from actsmith.nn.activation import Activation
from actsmith.nn.family import compute_dtype
from actsmith.nn.hermite import degrees
from actsmith.theory.descent import hermite_psi

__all__ = ["KANLinear", "hermite_features"]


class KANLinear(nn.Module):
    """A layer with a learnable function on every edge, at the start `nn.Linear` after the base, without bias.

    Args:
        in_features, out_features: as for `nn.Linear`.
        base: the function that every edge starts from, times its own weight. Parameters it has are fixed.
        order: degrees k of the terms: 1 .. order, or the degrees themselves.

    Attributes:
        weight: (out, 1 + number of degrees, in): w first, then c for each degree.

    Raises:
        ActsmithError: degrees that the Hermite family has not.

    Example:
        >>> layer = KANLinear(3, 2, "silu", order=4)
        >>> layer(torch.randn(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self, in_features: int, out_features: int, base: FormulaLike = "silu", order: int | Sequence[int] = 5
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.degrees = degrees(order)
        formula = resolve(base)
        fixed = {name: Param(p.value, low=p.low, high=p.high) for name, p in formula.params.items()}
        self.base = Activation(Formula(formula.expr, fixed, formula.name))
        self.weight = nn.Parameter(torch.empty(out_features, 1 + len(self.degrees), in_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """w as `nn.Linear` draws its weights, c = 0."""
        with torch.no_grad():
            self.weight.zero_()
            nn.init.kaiming_uniform_(self.weight[:, 0], a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        terms = hermite_features(x.to(compute_dtype(x)), self.degrees).to(x.dtype)
        features = torch.cat([self.base(x), terms], -1)
        return functional.linear(features, self.weight.flatten(1))

    def edge_outputs(self, x: Tensor, outputs: Tensor, inputs: Tensor) -> Tensor:
        """phi_oi(x_i) for E pairs (o, i): x is (in, n), the result (E, n)."""
        at = x[inputs]
        each = torch.stack([self.base(at), *hermite_features(at, self.degrees).chunk(len(self.degrees), -1)])
        return torch.einsum("ek,ken->en", self.weight[outputs, :, inputs], each)

    def edge(self, output: int, input: int) -> Formula:
        """The present function of one edge."""
        w, *c = self.weight[output, :, input].detach().double().tolist()
        scaled = {f"eps{k}": value / math.sqrt(math.factorial(k)) for k, value in zip(self.degrees, c, strict=True)}
        terms = [parameter_symbol(f"eps{k}") * hermite_psi(k) for k in self.degrees]
        base = self.base.formula
        expression = parameter_symbol("w") * base.expr + sp.Add(*terms)
        return Formula(expression, {**base.params, "w": w, **scaled}, f"edge {input} to {output}")

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, degrees={self.degrees}"


def hermite_features(x: Tensor, degrees: Sequence[int]) -> Tensor:
    """psi_k(x)/sqrt(k!) for the degrees, side by side in the last dimension: (..., in) -> (..., K in)."""
    if torch.compiler.is_compiling():
        return _stacked(x, degrees)
    result: Tensor = _Features.apply(x, tuple(degrees))
    return result


def _stacked(x: Tensor, degrees: Sequence[int]) -> Tensor:
    """By the recursion for the scaled psi: p_{k+1} = (x p_k - sqrt(k) p_{k-1})/sqrt(k + 1).

    exp(-x^2/2) is 0 where x is cut, so that no product 0 * inf arises.
    """
    x = x.clamp(-40, 40)
    found: dict[int, Tensor] = {0: torch.exp(x.square() * -0.5)}
    for k in range(max(degrees)):
        higher = x * found[k]
        if k:
            higher = higher - math.sqrt(k) * found[k - 1]
        found[k + 1] = higher / math.sqrt(k + 1)
    return torch.cat([found[k] for k in degrees], -1)


class _Features(Function):
    """The features, keeping x alone; p_k' = -sqrt(k + 1) p_{k+1}, so every derivative is features again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, degrees: tuple[int, ...]) -> Tensor:
        return _stacked(x, degrees)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.degrees = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return _summed(c, x, ctx.degrees), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (x,) = ctx.saved_tensors
        return _slopes(x, ctx.degrees) * torch.cat([tangent] * len(ctx.degrees), -1)


def _slopes(x: Tensor, degrees: Sequence[int]) -> Tensor:
    """The derivatives of the features, (..., K in)."""
    higher = hermite_features(x, [k + 1 for k in degrees]).chunk(len(degrees), -1)
    return torch.cat([h * -math.sqrt(k + 1) for h, k in zip(higher, degrees, strict=True)], -1)


def _summed(c: Tensor, x: Tensor, degrees: Sequence[int]) -> Tensor:
    """The sum over the degrees of c psi'."""
    parts = (c * _slopes(x, degrees)).chunk(len(degrees), -1)
    return torch.stack(parts).sum(0)
