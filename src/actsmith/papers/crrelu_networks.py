"""The networks on which CRReLU's details are studied: small ones of three kinds, and the paper's ViT-Tiny.

All start from Kaiming's initialisation (timm's for the transformer), so that activations differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

from actsmith.formula.formula import Formula
from actsmith.papers.experiment import Experiment
from actsmith.papers.reproduce import Parts, Preset, PresetName
from actsmith.tasks.images import Images
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.vision import ResNet, Timm
from actsmith.training.recipe import Recipe

__all__ = ["few_digits", "presets", "published_network", "small_cifar", "small_networks"]

SHORT_COST = "10 seconds on one thread; scikit-learn's digits, a small perceptron, 2 seeds: shows that it runs."
PAPER_COST = (
    "ViT-Tiny at 224 pixels on CIFAR-10, 100 epochs, 5 seeds and 3 rates for each activation: not run by us; days on "
    "one current GPU. The paper publishes no such table; recipe as in crrelu-vision, whose docstring lists what is "
    "not known of it."
)
SMALL_NETWORKS = (
    "Perceptrons of 6 layers on digits (width 64, 20 epochs) and on 3,000 images of CIFAR-10 (width 96, 8 epochs), 10 "
    "seeds; a residual network of 7 activations (width 8, 10 epochs of 1,536 images), 5 seeds. CIFAR-10 at 16 pixels "
    "and far from convergence: differences below half a percentage point, for the residual network a whole one, are "
    "beyond them."
)


def small_cifar(train: int = 1536, test: int = 2000) -> Images:
    """Some of CIFAR-10, reduced to 16 pixels, with crops and mirror images."""
    return Images(dataset="cifar10", train=train, validation=2000, test=test, size=16, augment=True)


def few_digits(formulas: tuple[Formula, ...]) -> Experiment:
    """Seconds: a perceptron of three layers on digits."""
    images = Images(dataset="digits", train=480, validation=100, test=300)
    mlp = Mlp(32, 3, "kaiming")
    return Experiment(
        "mlp-digits", images, mlp, formulas, (3e-3, 1e-2), Recipe(3, 32), seeds=(0, 1),
        labels={"model": "mlp", "data": "digits"},
    )  # fmt: skip


def small_networks(formulas: tuple[Formula, ...]) -> tuple[Experiment, Experiment, Experiment]:
    """Minutes: perceptrons of six layers on digits and on CIFAR-10, a residual network of seven on CIFAR-10."""
    rates = (1e-3, 3e-3, 1e-2)
    seeds = tuple(range(10))
    digits = Experiment(
        "mlp-digits", Images(dataset="digits"), Mlp(64, 6, "kaiming"), formulas, rates, Recipe(20, 32), seeds=seeds,
        tuning_seeds=tuple(range(1000, 1008)), labels={"model": "mlp", "data": "digits"},
    )  # fmt: skip
    mlp = Experiment(
        "mlp-cifar10", small_cifar(3000, 4000), Mlp(96, 6, "kaiming"), formulas, rates, Recipe(8, 64), seeds=seeds,
        tuning_seeds=tuple(range(1000, 1004)), tuning_share=0.5, labels={"model": "mlp", "data": "cifar10"},
    )  # fmt: skip
    resnet = Experiment(
        "resnet-cifar10", small_cifar(), ResNet(width=8), formulas, (3e-3, 1e-2, 3e-2, 1e-1), Recipe(10, 32, 0.05),
        tuning_seeds=(1000,), tuning_share=0.4, labels={"model": "resnet", "data": "cifar10"},
    )  # fmt: skip
    return digits, mlp, resnet


def published_network(formulas: tuple[Formula, ...]) -> Experiment:
    """ViT-Tiny on CIFAR-10 at 224 pixels."""
    images = Images(dataset="cifar10", size=224, augment=True, mix=1.0, erase=0.25, smoothing=0.1)
    return Experiment(
        "vit-tiny-cifar10", images, Timm("vit_tiny_patch16_224", drop_path=0.1), formulas, (5e-4, 1e-3, 2e-3),
        Recipe(100, 256, 0.05, 0.05), tuning_seeds=(1000,), tuning_share=0.1,
        labels={"model": "vit-tiny", "data": "cifar10"},
    )  # fmt: skip


def presets(
    change: Callable[[Experiment], Experiment],
    minutes: str,
    *,
    smoke: Parts | None = None,
    small: Parts | None = None,
    paper: Parts | None = None,
) -> dict[PresetName, Preset]:
    """The three sizes of a study on these networks.

    Args:
        change: what the study does with an experiment.
        minutes: what the small size takes, in words.
        smoke, small, paper: in place of the changed experiments.
    """
    return {
        "smoke": Preset(smoke or (lambda formulas: (change(few_digits(formulas)),)), SHORT_COST),
        "small": Preset(
            small or (lambda formulas: tuple(map(change, small_networks(formulas)))),
            f"CIFAR-10 (--data); {minutes} of CPU time on one thread, measured. {SMALL_NETWORKS}",
        ),
        "paper": Preset(paper or (lambda formulas: (change(published_network(formulas)),)), PAPER_COST),
    }
