"""Distillation as in DeiT: a token of its own learns what a teacher answers (Touvron et al., arXiv:2012.12877, Eq. 3).

    loss = 1/2 CE(class head, y) + 1/2 CE(distillation head, argmax teacher(x))          "hard"

Scored by the mean of both heads' logits, as timm does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.errors import ActsmithError, require
from actsmith.tasks.image_problem import SCORED_AT_ONCE, ImageProblem
from actsmith.tasks.images import Images, MemoryImages
from actsmith.training.problem import Classification, digest_of

__all__ = ["Distilled", "Taught", "two_heads"]

RIDGE = 1e-3
"""Of the readout that makes an ImageNet teacher one of other classes, relative to the features' mean square."""


@dataclass(frozen=True)
class Distilled:
    """Images with a teacher.

    The teacher keeps its own head where it answers the problem's classes. Where it was trained on others, its features
    of the training images get a linear readout by ridge regression on one-hot labels.

    Attributes:
        images: what is learned.
        teacher: name in timm; DeiT's own is RegNetY-16GF, trained on ImageNet-1K alone.
        pretrained: fetch the teacher's weights; without them it is random features with a readout.
    """

    images: Images
    teacher: str = "regnety_160.deit_in1k"
    pretrained: bool = True
    metric = Classification.metric

    def load(self, data: Path | None) -> Taught:
        """The images, and the teacher ready to answer.

        Raises:
            ActsmithError: images or timm are missing, or the teacher cannot be fetched.
        """
        problem = self.images.load(data)
        return Taught(problem, self._teacher(problem), f"{self.teacher} {self.pretrained}")

    def _teacher(self, problem: ImageProblem) -> nn.Module:
        timm = require("timm", "vision", "distillation")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                network: Any = timm.create_model(self.teacher, pretrained=self.pretrained, in_chans=problem.inputs[0])
            except (OSError, RuntimeError) as error:
                raise ActsmithError(
                    f"distillation: teacher {self.teacher!r}: cannot be had ({error}); connect to the internet, or "
                    "name a teacher that timm finds in its cache"
                ) from None
        network = network.eval().requires_grad_(False)
        if network.num_classes == problem.outputs:
            return nn.Sequential(network)
        if not isinstance(problem, MemoryImages):
            raise ActsmithError(
                f"distillation: teacher {self.teacher!r} answers {network.num_classes} classes; expected the "
                f"{problem.outputs} of the images"
            )
        network.reset_classifier(0)
        return nn.Sequential(network, _readout(network, problem))


@torch.no_grad()
def _readout(network: nn.Module, problem: MemoryImages) -> nn.Linear:
    """Linear on the network's features: argmin |F W + b - Y|^2 + ridge |W|^2 over the training images."""
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    network.to(device)
    pixels, labels = problem.train
    chunks = torch.split(pixels, SCORED_AT_ONCE)
    features = torch.cat([network(problem.normalised(chunk.to(device))).cpu().double() for chunk in chunks])
    targets = functional.one_hot(labels, problem.outputs).double()
    mean, base = features.mean(0), targets.mean(0)
    centred = features - mean
    gram = centred.T @ centred
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram, centred.T @ (targets - base))
    linear = nn.Linear(*weight.shape)
    linear.weight.copy_(weight.T)
    linear.bias.copy_(base - mean @ weight)
    return linear.to(device).requires_grad_(False)


class Taught(Classification):
    """A classification problem whose loss has a teacher; splits, batches and scores are the problem's own.

    Args:
        problem: the images.
        teacher: images to logits; frozen.
        named: says which teacher it is.
    """

    def __init__(self, problem: ImageProblem, teacher: nn.Module, named: str = "") -> None:
        self.problem, self.teacher, self.named = problem, teacher, named
        self.size, self.inputs, self.outputs = problem.size, problem.inputs, problem.outputs
        self.smoothing, self.random, self.alone = problem.smoothing, problem.random, problem.alone
        self.batch = problem.batch  # type: ignore[method-assign]
        self.batches = problem.batches  # type: ignore[method-assign]
        self.score = problem.score  # type: ignore[method-assign]

    @property
    def fingerprint(self) -> str:
        """Of the images and the teacher's name."""
        return digest_of(self.problem.fingerprint, self.named)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The equation above.

        Raises:
            ActsmithError: the model has no distillation token.
        """
        x, y = batch
        heads = model(x)
        if heads.ndim != 3:
            raise ActsmithError(
                f"distillation: the model gives {tuple(heads.shape)} in training; expected (batch, 2, classes), as "
                "timm's models with a distillation token do"
            )
        with torch.no_grad():
            answers = self.teacher.to(x.device)(x).argmax(-1)
        smoothing = 0.0 if y.is_floating_point() else self.smoothing  # mixed labels are smoothed already
        loss = functional.cross_entropy(heads[:, 0].float(), y, label_smoothing=smoothing)
        return loss / 2 + functional.cross_entropy(heads[:, 1].float(), answers) / 2


def two_heads(network: Any) -> nn.Module:
    """timm's model with a distillation token, to give in training (batch, 2, outputs), else the mean (batch, outputs).

    Args:
        network: changed in place.
    """
    network.set_distilled_training(True)
    return _TwoHeads(network)


class _TwoHeads(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        out = self.network(x)
        return torch.stack(out, 1) if isinstance(out, tuple) else out
