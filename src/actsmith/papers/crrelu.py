"""What the reproductions of arXiv:2405.12954 share: CRReLU's variants.

| name         | what it is                                                                                    |
|--------------|-----------------------------------------------------------------------------------------------|
| crrelu       | relu(x) + eps x exp(-x^2/2), eps learnable from +0.01: as published                             |
| crrelu_minus | the same from -0.01: the sign in which the output entropy falls at first                        |
| crrelu_fixed | the same at +0.01, not learnable                                                              |
| crrelu_fast  | the same learnable start with ten times the rate: 10 eps in eps's place, from 0.001             |
| eafo...      | relu(x) + eps psi(x), psi ReLU's correction under a law measured in a network; for a law of     |
|              | deviation s, max |psi| = s exp(-1/2), so that under N(0, s^2) psi = x exp(-x^2/(2 s^2))         |
"""

from __future__ import annotations

from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula, Param
from actsmith.training.problem import Classification, Metric

__all__ = ["ACCURACY", "CORRECTIONS_OF_RELU", "HALF_A_POINT", "LOSS", "ONE_PERCENT", "SOURCE", "crrelu", "fast"]

SOURCE = "Sun et al., A Method on Searching Better Activation Functions, ICLR 2025, arXiv:2405.12954"
CORRECTIONS_OF_RELU = ("prelu", "elu", "gelu", "silu", "mish")
"""What the paper compares CRReLU to; its CELU is ELU at alpha = 1, where both start."""
ACCURACY = Classification.metric
LOSS = Metric("loss", "lower", log=True)
"""Compared by ratio: a difference of `ONE_PERCENT` decades is one of a hundredth."""
ONE_PERCENT = 0.0043
HALF_A_POINT = 0.005


def crrelu(name: str = "crrelu", eps: float = 0.01, learn: bool = True) -> Formula:
    """CRReLU under another name, from another start."""
    return get_activation("crrelu", eps=Param(eps, learn=learn)).renamed(name)


def fast(name: str = "crrelu_fast", times: int = 10) -> Formula:
    """CRReLU whose eps moves so many times as far in a step."""
    expression = f"max(0, x) + {times}*eps*x*exp(-x**2/2)"
    return Formula(expression, {"eps": Param(0.01 / times, learn=True)}, name)
