"""`found`: do the best functions of the measured table hold elsewhere?

The table (docs/table.md) chose on small tasks that need no download. Its formulas were frozen, and are trained here
once on other data or in larger networks, against a panel of known functions, every rate tuned alike:

    by kind      at most three functions for each kind of network, against GELU, SiLU, ReLU and CRReLU
    generalist   the two with the best mean place over all of the table's tasks, against GELU over all kinds together

Where a longer search of its own had found one for that kind of network (docs/search.md), it is among the three.
"""

from __future__ import annotations

from collections.abc import Mapping

from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.papers.confirmation import FIVE_PERCENT, Confirmation, Kind, formulas
from actsmith.papers.five_tasks import POLYNOMIAL
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.functions import PolynomialConfig
from actsmith.tasks.images import Images
from actsmith.tasks.pde import Pinn
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.residual import ResidualMlp
from actsmith.tasks.text import NextCharacter
from actsmith.tasks.vision import Cnn, ResNet, Vit
from actsmith.training.recipe import Recipe

__all__ = ["FINALISTS", "GENERALISTS", "REPRODUCTION"]

_FAST, _SLOW = (3e-3, 1e-2, 3e-2), (1e-3, 3e-3, 1e-2)

GENERALISTS = formulas(min_sin="min(x, sin(x))", xatlu_0178="x*(1.356*atan(x)/pi + 1/2)")
"""The best two of the table by their mean place over its tasks, among those that diverged nowhere."""
FINALISTS: Mapping[str, tuple[Formula, ...]] = {
    "deep": formulas(
        tanh_logistic="0.3954*((tanh(x/2) - 2*tanh(x))*sech(x/2)**2) + tanh(x)",
        narrow_atan="atan(0.387*x)",
    ),
    "conv": formulas(
        silu_step="1.08*(x*sigmoid(0.583*x)) + 0.168*x + 0.645*tanh(1.96*x + 0.675)",
        elu_minus="where(x, x, expm1(x)) - 0.3*where(x, 0.6065*x*exp(-x**2/2), 0.6065*(x + 1)*exp(-x**2/2))",
    ),
    "batch-norm": formulas(
        isrlu_073="where(x, x, x/sqrt(0.726*x**2 + 1))",
        silu_atan="x*sigmoid(atan(x))",
    ),
    "layer-norm": (*formulas(late_relu6="min(6, relu(0.827*x - 0.218))"), get_activation("found_vit")),
    "text": (
        *formulas(early_relu2="0.913*relu(0.861*x + 0.458)**2", steep_softplus="softplus(1.68*x)"),
        get_activation("found_text"),
    ),
    "smooth": formulas(
        wave_softplus="(x + sin(x))*softplus(x)",
        bent_cube="x*relu(x + 1)**2 + 0.138*x*exp(-0.51*x**2) - 0.127*(1.03*x**3 - 3.03*x)*exp(-0.51*x**2)",
    ),
    "pinn": formulas(
        gelu_wave="0.655*(x*normal_cdf(0.396*x)) - 0.733*x + 1.21*sin(1.21*x)",
        sine_less_tanh="1.88*sin(0.792*x - 0.114) - 0.417*tanh(0.629*x)",
    ),
}
"""Kind of network -> what was frozen before any of these trainings: of the functions that are not known the two that
scored best there over ten seeds (of affine copies one), and what a search had found for it."""
BEST_KNOWN: Mapping[str, Formula] = {
    **{kind: get_activation(name) for kind, name in (("deep", "selu"), ("conv", "selu"), ("batch-norm", "logish"),
                                                     ("layer-norm", "tanhshrink"), ("smooth", "serf"))},
    **{kind: Formula(text, {}, name) for kind, name, text in (("text", "leaky_relu_squared", "where(x, x, x/2)**2"),
                                                              ("pinn", "cos_less_x", "cos(x) - x"))},
}  # fmt: skip
"""Kind of network -> the known function that scored best there; it joins the panel."""
_CIFAR = Images("cifar10", validation=1000, size=16)
KINDS: Mapping[str, Kind] = {
    "deep": Kind(
        "Fashion-MNIST by a plain perceptron of 12 layers of 64, critical start",
        FlatImages("fashion-mnist", validation=1000, pool=2), Mlp(64, 12, "critical"), Recipe(5, 64, drawn=5000), _SLOW,
    ),
    "conv": Kind(
        "CIFAR-10 by 6 plain convolutions of 8 channels and more, He's start",
        _CIFAR, Cnn(8, 6, init="kaiming"), Recipe(4, 64, drawn=3000), _FAST,
    ),
    "batch-norm": Kind(
        "CIFAR-10 by a pre-activation residual network of 8 channels and more, batch normalisation",
        _CIFAR, ResNet(8), Recipe(4, 64, drawn=3000), (1e-2, 3e-2, 9e-2),
    ),
    "layer-norm": Kind(
        "CIFAR-10 by a vision transformer of 4 blocks of width 32",
        _CIFAR, Vit(32, 4, 2, 4), Recipe(3, 64, 0.05, drawn=4000), _SLOW,
    ),
    "text": Kind(
        "the next character of a novel by a residual perceptron of 4 branches of 64, layer normalisation",
        NextCharacter(train=64_000), ResidualMlp(64, 4), Recipe(4, 64, drawn=8192), _FAST, "bits_per_character",
    ),
    "smooth": Kind(
        "a polynomial of six variables by a perceptron of 5 layers of 64, critical start",
        PolynomialConfig(POLYNOMIAL, size=3000, held_out=2000), Mlp(64, 5), Recipe(20, 64), _FAST, "relative_rmse",
        FIVE_PERCENT,
    ),
    "pinn": Kind(
        "Burgers' equation by a physics-informed perceptron of 5 layers of 24, critical start, new points every step",
        Pinn("burgers", 500, 25, fresh=True), Mlp(24, 5), Recipe(400, 500, 0.0, clip=1.0), _FAST, "relative_l2",
        FIVE_PERCENT, chooses=False,
    ),
}  # fmt: skip


WHICH = Confirmation(KINDS, FINALISTS, GENERALISTS, BEST_KNOWN, tuple(range(15)))
REPRODUCTION = WHICH.reproduction(
    "found",
    "Do the table's best functions hold elsewhere?",
    "A function that was best for a kind of network on small tasks is better than GELU, SiLU, ReLU and CRReLU on other "
    "data or in larger networks of that kind.",
    "about 35 minutes of CPU time on one thread, measured; 15 seeds; needs --data with austen, cifar10 and "
    "fashion-mnist",
)
