"""`KANLinear`: a Kolmogorov-Arnold layer whose edge functions are the Hermite family on a base.

    y_o = sum_i phi_oi(x_i),   phi_oi(x) = w_oi base(x) + sum_{k=0..K} c_oik q_k(x)

(Liu et al., arXiv:2404.19756, with the Hermite family in the place of B-splines.) The features of all inputs are
stacked, so that the layer is one matrix product. The q_k span what psi_0 .. psi_K do, psi_k = He_k(x) exp(-x^2/2), and
are orthonormal under N(0, 1). Gradient descent needs that: the Gram matrix of psi_0 .. psi_7 has condition 3e4.

    q_k = 3^(1/4) He_k(sqrt(3) x) exp(-x^2/2)/sqrt(k!)         (exp(-x^2) under N(0, 1) is the weight exp(-3 x^2/2))
    sqrt(k + 1) q_{k+1} = sqrt(3) x q_k - sqrt(k) q_{k-1}
    sqrt(3) q_k' = 2 sqrt(k) q_{k-1} - sqrt(k + 1) q_{k+1}
    He_k(sqrt(3) x) = sum_i k!/((k - 2i)! i!) 3^(k/2 - i) He_{k-2i}(x)

| symbol | meaning                                   | shape               |
|--------|-------------------------------------------|---------------------|
| x      | inputs                                    | (..., in)           |
| q      | features                                  | (..., (K + 1) in)   |
| w, c   | edge coefficients                         | (out, K + 2, in)    |
"""

from __future__ import annotations

import math
from typing import Any

import sympy as sp
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula, Param
from actsmith.formula.parse import parameter_symbol
from actsmith.nn.activation import Activation
from actsmith.nn.family import compute_dtype
from actsmith.nn.hermite import degrees
from actsmith.nn.jet_tensor import Jet
from actsmith.nn.leaf import recorded
from actsmith.theory.descent import hermite_psi

__all__ = ["KANLinear", "hermite_features"]


class KANLinear(nn.Module):
    """A layer with a learnable function on every edge, at the start `nn.Linear` after the base, without bias.

    Args:
        in_features, out_features: as for `nn.Linear`.
        base: the function that every edge starts from, times its own weight. Parameters it has are fixed.
        order: K, the highest degree of the terms.

    Attributes:
        weight: (out, K + 2, in): w first, then c for each degree.

    Raises:
        ActsmithError: a degree that the Hermite family has not.

    Example:
        >>> layer = KANLinear(3, 2, "silu", order=4)
        >>> layer(torch.randn(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, in_features: int, out_features: int, base: FormulaLike = "silu", order: int = 5) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        if not isinstance(order, int):
            raise ActsmithError(f"KAN layer: order: got {order!r}; expected a whole number, the highest degree")
        self.order = max(degrees(order))
        formula = resolve(base)
        fixed = {name: Param(p.value, low=p.low, high=p.high) for name, p in formula.params.items()}
        self.base = Activation(Formula(formula.expr, fixed, formula.name))
        self.weight = nn.Parameter(torch.empty(out_features, self.order + 2, in_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """w as `nn.Linear` draws its weights, c = 0."""
        with torch.no_grad():
            self.weight.zero_()
            nn.init.kaiming_uniform_(self.weight[:, 0], a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if (proxy := recorded(self, x)) is not None:
            return proxy
        if x.shape[-1:] != (self.in_features,):
            raise ActsmithError(
                f"KAN layer: got an input of shape {tuple(x.shape)}; expected (..., {self.in_features})"
            )
        terms = hermite_features(x.to(compute_dtype(x)), self.order).to(x.dtype)
        features = torch.cat([self.base(x), terms], -1)
        return functional.linear(features, self.weight.flatten(1))

    def edge_outputs(self, x: Tensor, outputs: Tensor, inputs: Tensor) -> Tensor:
        """phi_oi(x_i) for E pairs (o, i): x is (in, n), the result (E, n)."""
        at = x[inputs]
        each = torch.stack([self.base(at), *hermite_features(at, self.order).chunk(self.order + 1, -1)])
        return torch.einsum("ek,ken->en", self.weight[outputs, :, inputs].to(each.dtype), each)

    def edge(self, output: int, input: int) -> Formula:
        """The present function of one edge."""
        w, *c = self.weight[output, :, input].detach().double().tolist()
        eps = [sum(c_k * share for c_k, share in zip(c, shares, strict=True)) for shares in _shares(self.order)]
        terms = [parameter_symbol(f"eps{k}") * hermite_psi(k) for k in range(self.order + 1)]
        expression = parameter_symbol("w") * self.base.formula.bound + sp.Add(*terms)
        params = {"w": w, **{f"eps{k}": value for k, value in enumerate(eps)}}
        return Formula(expression, params, f"edge {input} to {output}")

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, order={self.order}"


def hermite_features(x: Any, order: int) -> Tensor:
    """q_0(x) .. q_order(x), side by side in the last dimension: (..., in) -> (..., (order + 1) in)."""
    if torch.compiler.is_compiling() or isinstance(x, Jet):
        return _stacked(x, order)
    result: Tensor = _Features.apply(x, order)
    return result


def _shares(order: int) -> list[list[float]]:
    """Row j, column k: how much psi_j there is in q_k."""
    shares = [[0.0] * (order + 1) for _ in range(order + 1)]
    for k in range(order + 1):
        for i in range(k // 2 + 1):
            count = math.factorial(k) / (math.factorial(k - 2 * i) * math.factorial(i))
            shares[k - 2 * i][k] = count * 3 ** (k / 2 - i + 0.25) / math.sqrt(math.factorial(k))
    return shares


def _stacked(x: Tensor, order: int) -> Tensor:
    """By the recursion. exp(-x^2/2) is 0 where x is cut, so that no product 0 * inf arises."""
    x = x.clamp(-40, 40)
    q = [torch.exp(x.square() * -0.5) * 3**0.25]
    x = x * math.sqrt(3)
    for k in range(order):
        higher = x * q[k]
        if k:
            higher = higher - math.sqrt(k) * q[k - 1]
        q.append(higher / math.sqrt(k + 1))
    return torch.cat(q, -1)


class _Features(Function):
    """The features, keeping x alone; their derivatives are features again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, order: int) -> Tensor:
        return _stacked(x, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.order = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return (c * _slopes(x, ctx.order)).reshape(*x.shape[:-1], ctx.order + 1, -1).sum(-2), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (x,) = ctx.saved_tensors
        return _slopes(x, ctx.order) * torch.cat([tangent] * (ctx.order + 1), -1)


def _slopes(x: Tensor, order: int) -> Tensor:
    """q_0' .. q_order', (..., (order + 1) in)."""
    q = hermite_features(x, order + 1).chunk(order + 2, -1)
    lower = [torch.zeros_like(x), *(2 * math.sqrt(k / 3) * q[k - 1] for k in range(1, order + 1))]
    return torch.cat([low - math.sqrt((k + 1) / 3) * q[k + 1] for k, low in enumerate(lower)], -1)
