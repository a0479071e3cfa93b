"""What is known already: the catalogue, and what others found that is not in it."""

from __future__ import annotations

from functools import cache

import numpy as np

from actsmith.formula.catalogue import CATALOGUE, FOUND
from actsmith.formula.declared import Declaration
from actsmith.formula.formula import Formula
from actsmith.formula.param import Param
from actsmith.search.candidates import Candidate
from actsmith.search.draft import Draft
from actsmith.search.evidence import Evidence
from actsmith.search.space import Space

__all__ = ["ELSEWHERE", "Known"]

_SWISH = "Ramachandran et al., arXiv:1710.05941, table 2"
_MINED = "Vitvitskyi et al., arXiv:2602.05688"
_GATES = "Huang, arXiv:2405.20768"
_STAR = "Yu et al., arXiv:2210.13452"


def _gate(text: str, name: str, gate: str) -> Declaration:
    alpha = Param(0.0, learn=True)
    return Declaration(name, text, _GATES, {"alpha": alpha}, f"gated by the {gate}, its range learned")


ELSEWHERE: tuple[Declaration, ...] = (
    Declaration("max_sigmoid", "max(x, sigmoid(x))", _SWISH, {}, "found by Swish's search"),
    Declaration("cos_less_x", "cos(x) - x", _SWISH, {}, "found by Swish's search"),
    Declaration("min_sin", "min(x, sin(x))", _SWISH, {}, "found by Swish's search"),
    Declaration("atan_squared_less_x", "atan(x)**2 - x", _SWISH, {}, "found by Swish's search"),
    Declaration("max_tanh", "max(x, tanh(x))", _SWISH, {}, "found by Swish's search"),
    Declaration("asinh_squared_gate", "x*asinh(x)**2", _SWISH, {}, "found by Swish's search"),
    Declaration("gelu_sine", "x*normal_cdf(x) + a*sin(x)", _MINED, {"a": Param(0.1)}, "GELU and a small wave"),
    # x Phi(x) (1 + a sinc(x)), sinc(x) = sin(pi x)/(pi x), written without the division by zero.
    Declaration("gelu_sinc", "normal_cdf(x)*(x + a/pi*sin(pi*x))", _MINED, {"a": Param(0.5)}, "GELU (1 + a sinc x)"),
    Declaration("gmtu", "tanh(1.5*x)*exp(-x**2/5) + x/5", _MINED, {}, "tanh under a Gaussian, and a line"),
    Declaration("leaky_relu_squared", "where(x, x, slope*x)**2", "language-model speedruns", {"slope": Param(0.5)},
          "both sides squared, the left smaller"),
    Declaration("e_swish", "beta*x*sigmoid(x)", "Alcaide, arXiv:1801.07145", {"beta": Param(1.25)}, "SiLU made larger"),
    _gate("x*((1 + 2*alpha)*(1/2 + atan(x)/pi) - alpha)", "xatlu", "arctangent"),
    _gate("x*((1 + 2*alpha)*normal_cdf(x) - alpha)", "xgelu", "normal distribution function"),
    _gate("x*((1 + 2*alpha)*sigmoid(x) - alpha)", "xsilu", "sigmoid"),
    Declaration("tanhshrink", "x - tanh(x)", "PyTorch", {}, "identity less tanh"),
    Declaration("smelu", "where(abs(x) - 1, relu(x), (x + 1)**2/4)", "Shamir et al., arXiv:2202.06499", {},
          "ReLU with a parabola at 0"),
    # Mean 0 and variance 1 under N(0, 1), as star_relu: E f = 5/8, var f = 77/64.
    Declaration("star_leaky_relu", "(8*where(x, x, x/2)**2 - 5)/sqrt(77)", f"{_STAR}, of leaky_relu squared", {},
          "leaky_relu squared with mean 0 and variance 1"),
    # E gelu = 1/(2 sqrt(pi)), E gelu^2 = 1/3 + 1/(2 pi sqrt(3)).
    Declaration("star_gelu", "(x*normal_cdf(x) - 1/(2*sqrt(pi)))/sqrt(1/3 + 1/(2*pi*sqrt(3)) - 1/(4*pi))",
          f"{_STAR}, of GELU", {}, "GELU with mean 0 and variance 1"),
)  # fmt: skip
"""Published functions that the catalogue has not, each with who published it."""


@cache
def _candidates() -> tuple[Candidate, ...]:
    built: list[tuple[Declaration, Formula]] = [(entry, entry.formula()) for entry in CATALOGUE.values()]
    built += [(entry, Formula(entry.text, entry.params, entry.name)) for entry in ELSEWHERE]
    built += [(entry, entry.formula()) for entry in FOUND.values()]
    return tuple(Candidate(f, "known", f"{entry.summary}; {entry.source}", Known.name) for entry, f in built)


class Known:
    """The catalogue, `ELSEWHERE`, and what was found here, each function once, in their order."""

    name = "known"
    notes: tuple[str, ...] = ()

    def propose(self, evidence: Evidence, rng: np.random.Generator, n: int) -> list[Draft]:
        """Those that were not tried yet. No choice is random."""
        space = Space(evidence.grid).remembering(evidence)
        drafts = (Draft.of(candidate, evidence.grid) for candidate in _candidates())
        return [draft for draft in drafts if space.admit(draft) is None][:n]
