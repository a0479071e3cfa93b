"""The table of every known activation, one declaration each: equation, parameters with their valid range, where it
comes from.

An equation is written in the form that neither cancels nor overflows: expm1(x) for exp(x) - 1, x sigmoid(2u) for
x (1 + tanh u)/2. Where that differs from the form in the paper, a comment says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actsmith.formula.param import Param

__all__ = ["ALIASES", "DECLARED", "FOUND", "Declaration"]


@dataclass(frozen=True)
class Declaration:
    """One activation, as data.

    Attributes:
        name: what `get_activation` takes.
        text: the equation, as formula text.
        source: who published it, with the arXiv number where there is one.
        params: the published value of each parameter, whether it is learned, and its valid range.
        summary: one line on what sets it apart.
    """

    name: str
    text: str
    source: str
    params: dict[str, Param] = field(default_factory=dict)
    summary: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        params = {name: p.value for name, p in self.params.items()}
        return {"name": self.name, "formula": self.text, "parameters": params, "source": self.source}


DECLARED: dict[str, Declaration] = {}
"""Name -> Declaration, in the order of the table below."""


def _declare(name: str, text: str, source: str, summary: str, **params: Param) -> None:
    assert name.isidentifier(), name
    assert name == name.lower(), name
    assert name not in DECLARED, name
    DECLARED[name] = Declaration(name, text, source, params, summary)


# fmt: off
# Piecewise polynomials
_declare("identity", "x", "linear networks", "no activation at all: the reference for depth")
_declare("relu", "relu(x)", "Nair, Hinton 2010", "passes positive inputs")
_declare("leaky_relu", "where(x, x, slope*x)", "Maas et al. 2013", "a small fixed slope for negative inputs",
         slope=Param(0.01, low=0.0, high=1.0))
_declare("prelu", "where(x, x, slope*x)", "He et al., arXiv:1502.01852", "leaky_relu with a learned slope",
         slope=Param(0.25, learn=True))
_declare("relu6", "clip(x, 0, 6)", "Krizhevsky 2010", "ReLU with a ceiling, for low precision")
_declare("relu_squared", "relu(x)**2", "So et al., arXiv:2109.08668", "the activation that Primer's search found")
_declare("star_relu", "scale*relu(x)**2 + bias", "Yu et al., arXiv:2210.13452",
         "relu_squared with output mean 0 and variance 1 under N(0, 1)",
         scale=Param(0.8944271909999159, learn=True, low=0.0), bias=Param(-0.4472135954999579, learn=True))
_declare("repu", "relu(x)**p", "Li, Tang, Yu, arXiv:1903.05858; arXiv:2408.02697",
         "rectified power unit: exact polynomials, but no depth", p=Param(2, low=1.0, high=10.0))
_declare("mrepu", "x*relu(1 + x)**p", "Kim, Kang, arXiv:2408.02697",
         "modified RePU: exact polynomials on a bounded domain, critical as K -> 0", p=Param(2, low=1.0, high=10.0))
_declare("hardtanh", "clip(x, -1, 1)", "Collobert 2004", "tanh in three straight lines")
_declare("hardsigmoid", "clip(x + 3, 0, 6)/6", "Howard et al., arXiv:1905.02244", "sigmoid in three straight lines")
_declare("hardswish", "x*clip(x + 3, 0, 6)/6", "Howard et al., arXiv:1905.02244", "SiLU with the hard sigmoid")
_declare("hardshrink", "where(abs(x) - lambd, x, 0)", "Donoho, Johnstone 1994", "hard threshold; jumps at +-lambd",
         lambd=Param(0.5, low=0.0))
_declare("softshrink", "relu(x - lambd) - relu(-x - lambd)", "Donoho, Johnstone 1994",
         "soft threshold: the proximal map of lambd |x|", lambd=Param(0.5, low=0.0))

# Exponential branches
_declare("elu", "where(x, x, alpha*expm1(x))", "Clevert et al., arXiv:1511.07289",
         "saturates at -alpha; C1 for alpha = 1 alone", alpha=Param(1.0, low=0.0))
_declare("celu", "where(x, x, alpha*expm1(x/alpha))", "Barron, arXiv:1704.07483", "ELU that is C1 for every alpha",
         alpha=Param(1.0, low=1e-3))
# Correctly rounded; alpha = -sqrt(2/pi)/(erfc(1/sqrt(2)) exp(1/2) - 1), and scale makes E f(X)^2 = 1 for X ~ N(0, 1).
_declare("selu", "scale*where(x, x, alpha*expm1(x))", "Klambauer et al., arXiv:1706.02515",
         "ELU with the fixed point mean 0, variance 1",
         alpha=Param(1.6732632423543772), scale=Param(1.0507009873554805))
_declare("pelu", "where(x, a*x/b, a*expm1(x/b))", "Trottier et al., arXiv:1605.09332",
         "ELU with learned slope and saturation", a=Param(1.0, learn=True, low=0.1), b=Param(1.0, learn=True, low=0.1))
_declare("elish", "sigmoid(x)*where(x, x, expm1(x))", "Basirat, Roth, arXiv:1808.00783",
         "SiLU above 0, ELU gated below")
_declare("hard_elish", "clip(x + 1, 0, 2)/2*where(x, x, expm1(x))", "Basirat, Roth, arXiv:1808.00783",
         "elish with a hard sigmoid; exactly 0 below -1")
# The implementation in transformers sets eps = -1e-6, which makes the function jump by 8e-7 at 0; 0 is the paper's.
_declare("xielu", "where(x, alpha_p*x**2, alpha_n*(expm1(min(x, eps)) - x)) + beta*x",
         "Huang, Schlag, arXiv:2411.13010", "its derivative is an ELU below 0 and linear above",
         alpha_p=Param(0.8, learn=True, low=0.0), alpha_n=Param(0.8, learn=True, low=0.0), beta=Param(0.5),
         eps=Param(0.0, low=-1e-3, high=0.0))

# x times a gate
_declare("gelu", "x*normal_cdf(x)", "Hendrycks, Gimpel, arXiv:1606.08415", "gated by the normal distribution function")
# The paper's x/2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), is x sigmoid(2u).
_declare("gelu_tanh", "x*sigmoid(sqrt(8/pi)*(x + 0.044715*x**3))", "Hendrycks, Gimpel, arXiv:1606.08415",
         "the tanh approximation of GELU, within 5e-4")
_declare("quick_gelu", "x*sigmoid(1.702*x)", "Hendrycks, Gimpel, arXiv:1606.08415",
         "the sigmoid approximation of GELU, within 0.021")
_declare("silu", "x*sigmoid(x)", "Elfwing et al., arXiv:1702.03118", "gated by its own sigmoid")
_declare("swish", "x*sigmoid(beta*x)", "Ramachandran et al., arXiv:1710.05941", "SiLU with a learned steepness",
         beta=Param(1.0, learn=True))
# The paper's (alpha + tanh(beta x)) gamma x cancels for x < 0; tanh(u) = 2 sigmoid(2u) - 1.
_declare("aptx", "gamma*x*(alpha - 1 + 2*sigmoid(2*beta*x))", "Kumar, arXiv:2209.06119",
         "(alpha + tanh(beta x)) gamma x: Mish at lower cost", alpha=Param(1.0, learn=True),
         beta=Param(1.0, learn=True), gamma=Param(0.5, learn=True))
_declare("mish", "x*tanh(softplus(x))", "Misra, arXiv:1908.08681", "gated by the tanh of its softplus")
_declare("tanhexp", "x*tanh(exp(x))", "Liu, Di, arXiv:2003.09855", "gated by the tanh of its exponential")
_declare("telu", "x*tanh(exp(x))", "Fernandez, Mali, arXiv:2412.20269", "the same function as tanhexp, published again")
_declare("logish", "x*log1p(sigmoid(x))", "Zhu et al. 2021", "gated by log(1 + sigmoid)")
_declare("smish", "x*tanh(log1p(sigmoid(x)))", "Wang et al. 2022", "gated by the tanh of log(1 + sigmoid)")
_declare("serf", "x*erf(softplus(x))", "Nag et al., arXiv:2108.09598", "gated by the erf of its softplus")
_declare("phish", "x*tanh(x*normal_cdf(x))", "Naveen 2022", "gated by the tanh of its GELU")
# log(2 - exp(-exp(x))) without cancellation for x < 0.
_declare("gish", "x*log1p(-expm1(-exp(x)))", "Kaytan et al. 2023", "x log(2 - exp(-exp(x)))")
_declare("golu", "x*exp(-exp(-x))", "Das et al., arXiv:2502.03654", "gated by the Gompertz function, which is skewed")
_declare("lisht", "x*tanh(x)", "Roy et al., arXiv:1901.05894", "even and non-negative: |x| rounded at 0")
_declare("laplace", "normal_cdf((x - sqrt(1/2))*sqrt(4*pi))", "Ma et al., arXiv:2209.10655",
         "MEGA's attention function: relu_squared made bounded")

# Bounded, odd or periodic
_declare("tanh", "tanh(x)", "LeCun et al. 1998", "the classical zero-stable activation")
_declare("lecun_tanh", "scale*tanh(2*x/3)", "LeCun et al. 1998", "tanh with f(1) = 1 and f(-1) = -1",
         scale=Param(1.7159, low=0.0))
_declare("sigmoid", "sigmoid(x)", "Rumelhart et al. 1986", "the logistic function; saturates at 0 and 1")
_declare("softsign", "x/(1 + abs(x))", "Turian et al. 2009", "saturates like 1/|x|")
_declare("erf", "erf(x)", "Roberts, Yaida, Hanin, arXiv:2106.10165", "zero-stable with a closed-form kernel")
_declare("arctan", "atan(x)", "classical", "saturates at +-pi/2 like 1/|x|")
_declare("isru", "x/sqrt(1 + alpha*x**2)", "Carlile et al., arXiv:1710.09967", "saturates at +-1/sqrt(alpha)",
         alpha=Param(1.0, low=0.0))
_declare("gaussian", "exp(-x**2)", "Broomhead, Lowe 1988", "a bump; even")
_declare("sin", "sin(x)", "Sitzmann et al., arXiv:2006.09661", "periodic: implicit representations")
_declare("snake", "x + sin(a*x)**2/a", "Ziyin et al., arXiv:2006.08195", "identity plus a learned period",
         a=Param(1.0, learn=True, low=1e-3))
_declare("gcu", "x*cos(x)", "Noel et al., arXiv:2108.12943", "growing cosine unit: oscillates with growing height")
_declare("sinlu", "(x + a*sin(b*x))*sigmoid(x)", "Paul et al. 2022", "SiLU with a learned wave",
         a=Param(1.0, learn=True), b=Param(1.0, learn=True))
_declare("symlog", "sign(x)*log1p(abs(x))", "Hafner et al., arXiv:2301.04104", "odd logarithm: compresses large inputs")

# Smooth rectifiers and others
_declare("softplus", "softplus(x)", "Dugas et al. 2001", "log(1 + exp(x)): the smooth ReLU")
_declare("logsigmoid", "-softplus(-x)", "classical", "log of the sigmoid; negative")
# The paper's (x + sqrt(x^2 + b))/2 cancels for x < 0; the primitive is its b = 4.
_declare("squareplus", "sqrt(b)/2*squareplus(2*x/sqrt(b))", "Barron, arXiv:2112.11687",
         "(x + sqrt(x^2 + b))/2: a smooth ReLU without exponentials", b=Param(4.0, low=1e-6))
_declare("isrlu", "where(x, x, x/sqrt(1 + alpha*x**2))", "Carlile et al., arXiv:1710.09967",
         "saturates below at -1/sqrt(alpha); C2", alpha=Param(1.0, low=0.0))
# (sqrt(x^2 + 1) - 1)/2 + x without cancellation near 0.
_declare("bent_identity", "x + sqrt1pm1(x**2)/2", "classical", "slope 1/2 on the left, 3/2 on the right")
_declare("nlrelu", "log1p(beta*relu(x))", "Liu et al., arXiv:1908.03682", "natural-logarithm ReLU",
         beta=Param(1.0, low=1e-3))
_declare("crrelu", "relu(x) + eps*x*exp(-x**2/2)", "Sun et al., arXiv:2405.12954",
         "correction-regularised ReLU: ReLU improved by its entropy", eps=Param(0.01, learn=True))
# fmt: on

ALIASES: dict[str, Declaration] = {
    **{name: DECLARED[known] for name, known in {
        "relu2": "relu_squared", "squared_relu": "relu_squared", "sqrrelu": "relu_squared", "linear": "identity",
        "id": "identity", "none": "identity", "logistic": "sigmoid", "hard_silu": "hardswish", "lrelu": "leaky_relu",
        "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_approx": "gelu_tanh", "gelu_quick":
        "quick_gelu", "atan": "arctan", "sine": "sin", "siren": "sin", "rbf": "gaussian", "gauss": "gaussian",
        "squared_repu": "repu", "growing_cosine_unit": "gcu", "tanh_exp": "tanhexp", "log_sigmoid": "logsigmoid",
    }.items()},
    "rrelu": Declaration("rrelu", "where(x, x, slope*x)", "Xu et al., arXiv:1505.00853",
                   {"slope": Param(11 / 48, low=0.0, high=1.0)}, "leaky_relu with a random slope: its mean, as tested"),
    "tanhshrink": Declaration("tanhshrink", "x - tanh(x)", "PyTorch", {}, "identity less tanh"),
    "threshold": Declaration("threshold", "where(x - threshold, x, value)", "PyTorch",
                       {"threshold": Param(0.0), "value": Param(0.0)}, "a constant below the threshold"),
}  # fmt: skip
"""Name that others use -> Declaration; no part of the catalogue's table."""

_SEARCHED, _MEASURED = "found by Actsmith's search, docs/found.md", "found in Actsmith's table, docs/found.md"
FOUND: dict[str, Declaration] = {
    d.name: d
    for d in (
        Declaration("found_vit", "1.03*asinh(softplus(x - 0.0619))*relu(1.84*x - 0.289)**2", _SEARCHED, {},
                    "for small vision transformers; confirmed twice on CIFAR-10, on Fashion-MNIST, worse on text"),
        Declaration("found_text",
                    "-0.691*x + 0.802*(x + 1.11)*normal_cdf(0.455*x + 0.504) - 1.3*sin(0.907*x + 1) - 0.694", _SEARCHED,
                    {}, "for residual perceptrons on text; confirmed on another text, worse on program source"),
        Declaration("found_smooth", "(x + sin(x))*softplus(x)", _MEASURED, {},
                    "for smooth regression; half of GELU's error on one polynomial, 3 % more on another"),
        Declaration("found_gelu",
                    "x*normal_cdf(x) + 0.254304 + exp(-x**2/2)*(0.37212*x*(x**2 - 3) + 0.02925*x - 0.38922*(x**2 - 1)"
                    " - 0.20178*(x**2*(x**2 - 6) + 3) - 0.038184)", _MEASURED, {},
                    "for smooth regression; GELU less its EAFO correction, half of its error on a polynomial"),
        Declaration("found_deep", "where(x, 0.1498*x, 0.406*expm1(0.369*x))", _MEASURED, {},
                    "for deep plain perceptrons; a PELU that is nearly straight, confirmed on CIFAR-10"),
        Declaration("found_resnet", "x*tanh(erf(softplus(x)))", _MEASURED, {},
                    "for residual networks with BatchNorm; 2 % of the loss, confirmed on CIFAR-10"),
        Declaration("found_conv",
                    "where(x, x, expm1(x)) - 0.3*where(x, 0.6065*x*exp(-x**2/2), 0.6065*(x + 1)*exp(-x**2/2))",
                    _MEASURED, {}, "for plain convolutions; ELU less its EAFO correction, confirmed on CIFAR-10"),
    )
}  # fmt: skip
"""Name -> what was found here for one kind of network; no part of the catalogue's table: it is not what the field
knows."""
