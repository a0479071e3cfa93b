"""The same seeds give the same training, one by one and side by side, for every kind of task there is."""

import copy

import pytest
import torch
from torch.nn import functional

from actsmith.formula.catalogue import resolve
from actsmith.tasks.adaptive import Kan
from actsmith.tasks.decoder import Decoder
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.functions import PolynomialConfig, sparse_polynomial
from actsmith.tasks.images import Images
from actsmith.tasks.pde import Pinn
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.residual import ResidualMlp
from actsmith.tasks.text import BYTES, NextToken
from actsmith.tasks.vision import Cnn, ResNet, Timm, Vit
from actsmith.training.fit import fit
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime

SEEDS, RATES = [3, 5], [1e-3, 3e-3]
IMAGES = Images("digits", train=96, validation=50, test=50)
AUGMENTED = Images("digits", train=96, validation=50, test=50, augment=True)
POLYNOMIAL = PolynomialConfig(sparse_polynomial("p", 3, 2, 4), size=96, held_out=64)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "own.txt"
    file.write_text("It is a truth universally acknowledged, that a single man must be in want of a wife. " * 60)
    return NextToken(16, BYTES, str(file), train=64, evaluated=16)


class InDouble:
    """A problem whose batches are float64, and whose classes are told apart in float64."""

    def __init__(self, problem):
        self.problem = problem

    def __getattr__(self, name):
        return getattr(self.problem, name)

    def batch(self, order, device):
        batch = self.problem.batch(order, device)
        return tuple(map(doubled, batch)) if isinstance(batch, tuple) else doubled(batch)

    def batches(self, orders, device):
        for order in orders:
            yield self.batch(order, device)

    def loss(self, model, batch):
        if isinstance(batch, tuple) and not batch[1].is_floating_point():
            return functional.cross_entropy(model(batch[0]), batch[1])
        return self.problem.loss(model, batch)

    def score(self, model, split):
        return self.problem.score(copy.deepcopy(model).float(), split)


def doubled(tensor):
    return tensor.double() if tensor.is_floating_point() else tensor


def trained(config, model, formula, mode, double=False):
    problem = config.load(None)
    networks = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        built = model.build(resolve(formula), seed, problem)
        networks.append(built.double() if double else built)
    recipe = Recipe(3, 32, clip=1.0)
    found = fit(
        InDouble(problem) if double else problem, networks, seeds=SEEDS, rates=RATES, recipe=recipe,
        runtime=Runtime.create("cpu"), mode=mode, test=not double,
    )  # fmt: skip
    weights = [torch.cat([p.detach().flatten() for p in n.parameters()]) for n in networks]
    return found, torch.stack(weights)


CASES = {
    "perceptron": (FlatImages("digits", train=96), Mlp(16, 3), "crrelu", "own"),
    "perceptron by vmap": (FlatImages("digits", train=96), Mlp(16, 3), "crrelu", "vmap"),
    "regression": (POLYNOMIAL, Mlp(16, 3, norm="layer"), "tanh", "own"),
    "residual perceptron": (FlatImages("digits", train=96), ResidualMlp(12, 2), "crrelu", "own"),
    "residual perceptron by vmap": (FlatImages("digits", train=96), ResidualMlp(12, 2), "gelu", "vmap"),
    "convolutional": (IMAGES, Cnn(4, 3, 2), "crrelu", "vmap"),
    "convolutional with norm": (IMAGES, Cnn(4, 3, 2, norm=True), "gelu", "vmap"),
    "augmented": (AUGMENTED, Cnn(4, 3, 2), "gelu", "vmap"),
    "residual": (IMAGES, ResNet(4), "silu", "vmap"),
    "vision transformer": (IMAGES, Vit(24, 2, 2, 2), "crrelu", "vmap"),
    "timm": (IMAGES, Timm("test_resnet", where="relu", sized=False), "gelu", "vmap"),
    "physics": (Pinn("burgers", 64, 16), Mlp(16, 3), "tanh", "own"),
    "physics by vmap": (Pinn("heat", 64, 16), Mlp(16, 3), "gelu", "vmap"),
    "physics, learnable, by vmap": (Pinn("burgers", 64, 16), Mlp(16, 3), "crrelu", "vmap"),
    "physics with norm": (Pinn("heat", 64, 16), Mlp(16, 3, norm="layer", residual=True), "gelu", "own"),
    "piecewise linear physics": (Pinn("heat", 64, 16), Mlp(16, 3), "relu", "own"),
    "kolmogorov-arnold": (POLYNOMIAL, Kan(4), "tanh", "vmap"),
}


@pytest.mark.parametrize("case", CASES)
def test_side_by_side_is_one_by_one(case):
    problem, model, formula, mode = CASES[case]
    alone, one = trained(problem, model, formula, "alone")
    stacked, other = trained(problem, model, formula, mode)
    torch.testing.assert_close(other, one, rtol=1e-3, atol=5e-4)
    for a, b in zip(alone, stacked, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=1e-4)
        assert b.test == pytest.approx(a.test, rel=1e-4)
        assert b.validation == pytest.approx(a.validation, rel=1e-4)
    assert stacked[0].loss != pytest.approx(stacked[1].loss, rel=1e-4)  # the nets are not one and the same


@pytest.mark.parametrize(
    "case",
    ["perceptron", "perceptron by vmap", "residual perceptron", "convolutional", "vision transformer", "physics"],
)
def test_in_float64_to_the_last_digits(case):
    problem, model, formula, mode = CASES[case]
    _, one = trained(problem, model, formula, "alone", double=True)
    _, other = trained(problem, model, formula, mode, double=True)
    torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-8)


def test_text_side_by_side(text):
    alone, one = trained(text, Decoder(16, 2, 2), "crrelu", "alone")
    stacked, other = trained(text, Decoder(16, 2, 2), "crrelu", "vmap")
    torch.testing.assert_close(other, one, rtol=1e-3, atol=5e-4)
    for a, b in zip(alone, stacked, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=1e-5)
        assert b.test == pytest.approx(a.test, rel=1e-5)
