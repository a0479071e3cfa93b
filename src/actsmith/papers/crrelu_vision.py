"""CRReLU against the other corrections of ReLU, in vision transformers and a residual network.

Published: ViT-Tiny, DeiT-Tiny and TNT-Small on CIFAR-10, CIFAR-100 and ImageNet-1K, trained from scratch, eps learnable
and started at 0.01. Added here: ReLU itself, eps started at -0.01, eps fixed, the correction derived from the law that
the network's own pre-activations have, a residual network (which the reviewers missed), tuned learning rates for every
activation, and seeds.

The paper's abstract claims the superiority of CRReLU over existing corrections of ReLU in general; a reviewer points at
its scores against GELU in DeiT. We had abstract and reviews, not the tables, so no published number is quoted. What of
the recipe is not known to us, and what the `paper` preset takes in its place:

| unknown                        | taken                                                                         |
|--------------------------------|-------------------------------------------------------------------------------|
| epochs, batch                  | 100 epochs, batch 256 on CIFAR; 300 epochs, batch 1024 on ImageNet, as DeiT   |
| optimiser, decay, warm-up      | AdamW, 0.05, 5 epochs, cosine, as DeiT                                        |
| learning rate                  | tuned for each activation over three, for a tenth of the epochs               |
| augmentation                   | crops, mirror images, mixup, CutMix, erasing; RandAugment on ImageNet, as DeiT |
| regularisation                 | label smoothing 0.1, stochastic depth 0.1, as DeiT                            |
| size of CIFAR's images         | 224, so that the models are unchanged                                         |
| teacher of DeiT on CIFAR       | DeiT's RegNetY-16GF from ImageNet-1K with a linear readout of its features    |
| start of the other parameters  | timm's                                                                        |
| runs behind a number           | 5 seeds on CIFAR, 2 on ImageNet                                               |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from actsmith.formula.formula import Formula
from actsmith.papers.claims import Better, claims_of, out_of_reach, versus
from actsmith.papers.crrelu import ACCURACY, CORRECTIONS_OF_RELU, SOURCE, crrelu
from actsmith.papers.crrelu_networks import small_cifar, small_networks
from actsmith.papers.experiment import Experiment, Results
from actsmith.papers.findings import Claim, Findings
from actsmith.papers.measured import Measured, Suggestion
from actsmith.papers.readers import chosen, losses, order_of, outcomes, table
from actsmith.papers.reproduce import Preset, Reproduction
from actsmith.tasks.distilled import Distilled
from actsmith.tasks.images import Images
from actsmith.tasks.vision import Timm, Vit
from actsmith.training.recipe import Recipe
from actsmith.trials.tables import Table

SMOKE_COST = "20 seconds on one thread; scikit-learn's digits, a tiny ViT and DeiT, 2 seeds: shows that they run."
SMALL_COST = (
    "CIFAR-10 (--data); 26 minutes of CPU time on one thread, measured. A 6-block ViT of width 96 with patches of 4 "
    "and a residual network of width 8 on 1,536 training and 2,000 test images of 16 pixels, for 240 and 480 steps of "
    "32 images: far from convergence, and differences below a percentage point are beyond its 5 seeds. 3 or 4 rates, "
    "each by one tuning seed and 40 % of the epochs."
)
PAPER_COST = (
    "CIFAR-10, CIFAR-100 and ImageNet-1K folders (--data), timm's weights of RegNetY-16GF; not run by us. Counted in "
    "operations, of the order of 300 hours on a current GPU for the six tables on CIFAR, 3,000 for the three on "
    "ImageNet; mixed precision and several GPUs through accelerate."
)
SUGGESTED = (Suggestion("eafo"),)
PUBLISHED = tuple(
    (model, dataset)
    for dataset in ("cifar10", "cifar100", "imagenet")
    for model in ("vit-tiny", "deit-tiny", "tnt-small")
)
"""The nine tables of the paper: (model, data set)."""

BEST = "CRReLU has the highest accuracy of the corrections of ReLU: {model}, {data}"
REDUCED = Better(
    f"{BEST.format(model='vit-tiny', data='cifar10')} (here a smaller ViT on smaller images, trained briefly)",
    versus("crrelu", CORRECTIONS_OF_RELU), where={"model": "vit", "data": "cifar10"},
)  # fmt: skip
"""In place of the published table, where that is not to be had."""
BEYOND = (
    Better("CRReLU is the best correction of ReLU in a convolutional network too (reviewers)",
           versus("crrelu", CORRECTIONS_OF_RELU), where={"model": "resnet"}),
    *(
        Better(statement, versus(first, second), each=True)
        for statement, first, second in (
            ("CRReLU is better than ReLU", "crrelu", "relu"),
            ("A learnable eps is better than a fixed one", "crrelu", "crrelu_fixed"),
            ("The published start +0.01 is better than -0.01, the sign in which the entropy falls", "crrelu",
             "crrelu_minus"),
            ("The correction for the measured law is better than the Gaussian one", "eafo", "crrelu"),
        )
    ),
)  # fmt: skip
"""What the paper says in passing, and what its reviewers asked; of the networks that we added."""


def _smoke(formulas: tuple[Formula, ...]) -> tuple[Measured, ...]:
    digits = Images(dataset="digits", train=480, validation=100, test=300, augment=True)
    left_out = {*CORRECTIONS_OF_RELU, "crrelu_minus", "crrelu_fixed"} - {"gelu"}
    vit = Experiment(
        "vit-digits", digits, Vit(dim=24, depth=2, heads=2, patch=2),
        tuple(f for f in formulas if f.name not in left_out), (2e-3,), Recipe(2, 32, weight_decay=0.05),
        seeds=(0, 1), labels={"model": "vit", "data": "digits"},
    )  # fmt: skip
    deit = Timm(
        "deit_tiny_distilled_patch16_224",
        options=(("patch_size", 2), ("embed_dim", 24), ("depth", 2), ("num_heads", 2)),
    )
    taught = replace(
        vit, name="deit-digits", problem=Distilled(digits, teacher="test_efficientnet", pretrained=False), model=deit,
        labels={"model": "deit", "data": "digits"},
    )  # fmt: skip
    return Measured.of(vit, SUGGESTED, 2e-3), Measured.of(taught, (), 2e-3)


def _small(formulas: tuple[Formula, ...]) -> tuple[Measured, ...]:
    vit = Experiment(
        "vit-cifar10", small_cifar(), Vit(dim=96, depth=6, heads=3, patch=4), formulas, rates=(5e-4, 1e-3, 2e-3),
        recipe=Recipe(5, 32, weight_decay=0.05), tuning_seeds=(1000,), tuning_share=0.4,
        labels={"model": "vit", "data": "cifar10"},
    )  # fmt: skip
    return Measured.of(vit, SUGGESTED, 1e-3), Measured.of(small_networks(formulas)[-1], SUGGESTED, 1e-2)


def _paper(formulas: tuple[Formula, ...]) -> tuple[Measured, ...]:
    models = {
        "vit-tiny": Timm("vit_tiny_patch16_224", drop_path=0.1),
        "deit-tiny": Timm("deit_tiny_distilled_patch16_224", drop_path=0.1),
        "tnt-small": Timm("tnt_s_legacy_patch16_224", drop_path=0.1),
    }
    parts = []
    for model, dataset in PUBLISHED:
        large = dataset == "imagenet"
        images: Any = Images(dataset=dataset, size=224, augment=True, mix=1.0, erase=0.25, smoothing=0.1)  # type: ignore[arg-type]
        recipe = Recipe(300, 1024, 0.05, 5 / 300) if large else Recipe(100, 256, 0.05, 0.05)
        experiment = Experiment(
            f"{model}-{dataset}", Distilled(images) if model == "deit-tiny" else images, models[model], formulas,
            rates=(5e-4, 1e-3, 2e-3), recipe=recipe,
            seeds=(0, 1) if large else (0, 1, 2, 3, 4), tuning_seeds=(1000,), tuning_share=0.1,
            labels={"model": model, "data": dataset},
        )  # fmt: skip
        parts.append(Measured.of(experiment, SUGGESTED, 1e-3))
    return tuple(parts)


def read(folder: Results, parts: tuple[Measured, ...]) -> Findings:
    """One table and the training losses for each network, and the claims."""
    note = "eafo: ReLU corrected for the law measured in a ReLU network after training, eps learnable from +0.01."
    title = "{}: accuracy on the test images"
    tables = tuple(table(folder, part, ACCURACY, title=title.format(part.name), note=note) for part in parts)
    measured = {part.name: part.record(folder) for part in parts if part.suggestions}
    return Findings(
        summary=" ".join(map(order_of, tables)),
        tables=tables,
        curves=tuple(losses(folder, part.name, part.name) for part in parts),
        claims=(*_published(tables), *claims_of(BEYOND, [t for t in tables if t.labels["model"] in OURS])),
        facts={
            "laws": {name: record["laws"] for name, record in measured.items()},
            "eafo": {name: record["suggested"][0]["formula"] for name, record in measured.items()},
            "eps at the end": {part.name: _ends(folder, part.name) for part in parts},
        },
    )


OURS = ("vit", "deit", "resnet")


def _published(tables: Iterable[Table]) -> list[Claim]:
    """The nine tables of the paper, one by one."""
    found = list(tables)
    claims: list[Claim] = []
    for model, data in PUBLISHED:
        statement = BEST.format(model=model, data=data)
        asked = Better(statement, versus("crrelu", CORRECTIONS_OF_RELU), {"model": model, "data": data})
        if not chosen(found, **asked.where) and (model, data) == PUBLISHED[0]:
            asked = REDUCED
        why = "Not in this preset; the `paper` preset runs it."
        claims += asked.claims(found) or [out_of_reach(f"{statement}.", why)]
    return claims


def _ends(folder: Results, experiment: str) -> dict[str, list[float]]:
    """Activation -> the mean over seeds of eps at the end, a number for each layer."""
    found = {}
    for name, trained in outcomes(folder, experiment).items():
        layers = [[v[0] for path, v in o.details["parameters"].items() if path.endswith("eps")] for o in trained]
        if layers[0]:
            found[name] = np.mean(layers, 0).round(5).tolist()
    return found


REPRODUCTION = Reproduction(
    name="crrelu-vision",
    title="CRReLU in vision transformers",
    source=f"{SOURCE}, section 5",
    claims="CRReLU is more accurate than PReLU, ELU, CELU, GELU, SiLU and Mish in ViT-Tiny, DeiT-Tiny and TNT-Small on "
    "CIFAR-10, CIFAR-100 and ImageNet-1K.",
    activations=(
        "relu", *CORRECTIONS_OF_RELU, crrelu(), crrelu("crrelu_minus", -0.01), crrelu("crrelu_fixed", learn=False)
    ),
    presets={
        "smoke": Preset(_smoke, SMOKE_COST),
        "small": Preset(_small, SMALL_COST),
        "paper": Preset(_paper, PAPER_COST),
    },
    read=read,
)  # fmt: skip
