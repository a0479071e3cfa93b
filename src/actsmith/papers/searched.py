"""`searched`: does what the search finds in a small network hold elsewhere?

For each of the six kinds of network that users have, `actsmith search` looked for nine minutes on one core in a small
one (`SEARCHED`). What it found was frozen, beside what the measured table (docs/table.md) has best for that kind, and
is trained here once on other data or in larger networks, against a panel of known functions. Rate and scale of every
activation are tuned alike: what a search finds may be a scale that the known functions only lack. Gradients are clipped
everywhere, so that a steep function is not lost to one step.
"""

from __future__ import annotations

from collections.abc import Mapping

from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.papers.confirmation import FIVE_PERCENT, Confirmation, Kind, formulas
from actsmith.tasks.decoder import Decoder
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.functions import PolynomialConfig, sparse_polynomial
from actsmith.tasks.images import Images
from actsmith.tasks.judged import judged_by
from actsmith.tasks.pde import Pinn
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import Task
from actsmith.tasks.text import BYTES, NextToken
from actsmith.tasks.vision import ResNet, Vit
from actsmith.training.recipe import Recipe

__all__ = ["FINALISTS", "GENERALISTS", "REPRODUCTION", "SEARCHED", "small_resnet"]


def small_resnet() -> Task:
    """The residual network that was searched: 2,000 images of Fashion-MNIST of 14 pixels, 4 channels and more."""
    images = Images("fashion-mnist", validation=1000, train=2000, size=14)
    return judged_by(Task("fashion-resnet", images, ResNet(4), Recipe(4, 64), (3e-3, 1e-2, 3e-2, 9e-2)), "loss")


SEARCHED: Mapping[str, str] = {
    "deep": "mnist-5k@loss --start tanh",
    "batch-norm": "actsmith.papers.searched:small_resnet --start relu",
    "layer-norm": "fashion-mnist/vit@loss --start gelu",
    "decoder": "python-manual --start gelu",
    "smooth": "friedman --start gelu",
    "pinn": "heat --start tanh",
}
"""Kind of network -> what was given to `actsmith search`, each with `--budget 9m` on one core; the PINN's was gone on
with for as long, and the decoder was searched from squared ReLU, too, which found nothing."""

GENERALISTS = formulas(
    elu_0306="where(x, x, 0.306*expm1(x))",
    shifted_serf="1.39*((0.998*x - 0.0165)*erf(softplus(0.998*x - 0.0165))) + 0.0862",
)
"""Of the table's functions, the two whose worst place over all of its tasks is the best."""
FINALISTS: Mapping[str, tuple[Formula, ...]] = {
    "deep": formulas(
        shifted_tanh="tanh(x + 0.0504)",
        flat_elu="where(x, 0.1498*x, 0.406*expm1(0.369*x))",
        min_cos="min(2*x, cos(1.14*x - 0.614))*softplus(1.44*normal_cdf(x) - 0.287)",
    ),
    "batch-norm": formulas(
        leaning_gelu="1.54*(x*normal_cdf(0.837*x)) - 0.0697*x",
        late_elu="0.00705*x + 1.05*where(1.29*x - 0.197, 1.29*x - 0.197, 1.67*expm1(1.29*x - 0.197))",
        tanh_serf="x*tanh(erf(softplus(x)))",
    ),
    "layer-norm": (
        get_activation("found_vit"),
        *formulas(
            silu_hump="x*sigmoid(x) - 0.343*x*exp(-0.51*x**2) + 0.157*(1.03*x**3 - 3.03*x)*exp(-0.51*x**2)",
            late_relu2="-0.234*(x*normal_cdf(0.617*x)) + 1.24*relu(0.851*x - 0.176)**2",
        ),
    ),
    "decoder": formulas(
        x_relu2="x*relu(x + 0.504)**2",
        asinh_square="(x - 0.394)**2*asinh(0.571*x + 0.104)**2",
        early_relu2="0.849*relu(x + 0.273)**2",
    ),
    "smooth": (
        *formulas(
            relu2_wave="1.08*(x*relu(x + 1.16)**2) + sin(3.88*x - 0.208)/5",
            gelu_corrected="x*normal_cdf(x) + 0.254304 + exp(-x**2/2)*(0.37212*x*(x**2 - 3) + 0.02925*x"
            " - 0.38922*(x**2 - 1) - 0.20178*(x**2*(x**2 - 6) + 3) - 0.038184)",
        ),
        get_activation("found_smooth"),
    ),
    "pinn": formulas(
        steep_gelu="1.23*(x*normal_cdf(1.03*x)) - 0.039*x",
        sigmoid_cos="sigmoid(x*cos(x))",
        bent_cos="-asinh(cos(1.28*x + 0.575)) + min(x - 1.57, -tanh(0.412))",
    ),
}
"""Kind of network -> what was frozen before any of these trainings: the best that the search had for it, what an
earlier one had found, and the best of the table there that are not known, over ten seeds."""
BEST_KNOWN: Mapping[str, Formula] = {
    **{kind: get_activation(name) for kind, name in (("deep", "selu"), ("layer-norm", "laplace"),
                                                     ("decoder", "hardshrink"), ("smooth", "serf"))},
    **{kind: Formula(text, {}, name) for kind, name, text in (
        ("batch-norm", "star_gelu", "(x*normal_cdf(x) - 1/2/sqrt(pi))/sqrt(-1/4/pi + 1/6*sqrt(3)/pi + 1/3)"),
        ("pinn", "cos_less_x", "cos(x) - x"),
    )},
}  # fmt: skip
"""Kind of network -> the known function that the search (batch-norm, layer-norm) or the table has first; it joins the
panel."""
_FAST, _SLOW = (3e-3, 1e-2, 3e-2), (1e-3, 3e-3, 1e-2)
_CIFAR = Images("cifar10", validation=1000, size=16)
KINDS: Mapping[str, Kind] = {
    "deep": Kind(
        "CIFAR-10 by a plain perceptron of 10 layers of 64, critical start",
        FlatImages("cifar10", validation=1000, pool=2), Mlp(64, 10, "critical"), Recipe(4, 64, clip=1.0, drawn=5000),
        _SLOW,
    ),
    "batch-norm": Kind(
        "CIFAR-10 by a pre-activation residual network of 8 channels and more, batch normalisation",
        _CIFAR, ResNet(8), Recipe(4, 64, clip=1.0, drawn=2500), (1e-2, 3e-2, 9e-2),
    ),
    "layer-norm": Kind(
        "CIFAR-10 by a vision transformer of 3 blocks of width 40",
        _CIFAR, Vit(40, 3, 2, 4), Recipe(3, 64, 0.05, clip=1.0, drawn=2500), _SLOW,
    ),
    "decoder": Kind(
        "the next byte of a novel by a decoder-only transformer of 2 blocks of width 64",
        NextToken(32, BYTES, train=1400, evaluated=500), Decoder(64, 2, 4), Recipe(3, 16, clip=1.0), _SLOW,
    ),
    "smooth": Kind(
        "a polynomial of eight variables by a perceptron of 5 layers of 64, critical start",
        PolynomialConfig(sparse_polynomial("16 random terms", 8, 4, 16, seed=1), size=3000, held_out=2000), Mlp(64, 5),
        Recipe(20, 64, clip=1.0), _FAST, "relative_rmse", FIVE_PERCENT,
    ),
    "pinn": Kind(
        "Burgers' equation by a physics-informed perceptron of 5 layers of 32, critical start, new points every step",
        Pinn("burgers", 500, 25, fresh=True), Mlp(32, 5), Recipe(400, 500, 0.0, clip=1.0), _FAST, "relative_l2",
        FIVE_PERCENT, chooses=False,
    ),
}  # fmt: skip


WHICH = Confirmation(KINDS, FINALISTS, GENERALISTS, BEST_KNOWN, tuple(range(2000, 2015)), climbs=True)
REPRODUCTION = WHICH.reproduction(
    "searched",
    "Do the search's finds hold elsewhere?",
    "A function that a search found in a small network is better than GELU, SiLU, ReLU and CRReLU on other data or in "
    "larger networks of that kind, rate and scale tuned for all.",
    "about 45 minutes on one thread of a busy machine, measured; 15 seeds; needs --data with austen and cifar10",
)
