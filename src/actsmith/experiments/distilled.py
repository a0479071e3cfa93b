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

from actsmith.errors import ActsmithError
from actsmith.experiments.images import Images, MemoryImages
from actsmith.experiments.models import Single
from actsmith.experiments.problem import Classification, Problem

__all__ = ["Distilled", "DistilledToken", "Taught"]

RIDGE = 1e-3
"""Of the readout that makes an ImageNet teacher one of other classes, relative to the features' mean square."""
READ_AT_ONCE = 256


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

    def load(self, data: Path | None) -> Problem:
        """The images, and the teacher ready to answer.

        Raises:
            ActsmithError: images or timm are missing, or the teacher cannot be fetched.
        """
        problem = self.images.load(data)
        assert isinstance(problem, Classification)
        return Taught(problem, self._teacher(problem))

    def _teacher(self, problem: Classification) -> nn.Module:
        try:
            import timm
        except ImportError:
            raise ActsmithError("distillation: timm is missing; pip install 'actsmith[vision]'") from None
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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    pixels, labels = problem.train
    chunks = torch.split(pixels, READ_AT_ONCE)
    features = torch.cat([network(problem.normalised(chunk.to(device))).double().cpu() for chunk in chunks])
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
    """A classification problem whose loss has a teacher; splits, batches and scores are the problem's own."""

    def __init__(self, problem: Classification, teacher: nn.Module) -> None:
        self.problem, self.teacher = problem, teacher
        self.size, self.inputs, self.outputs = problem.size, problem.inputs, problem.outputs
        self.smoothing = problem.smoothing
        self.batch = problem.batch  # type: ignore[method-assign]
        self.batches = problem.batches  # type: ignore[method-assign]
        self.score = problem.score  # type: ignore[method-assign]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The equation above, (1,).

        Raises:
            ActsmithError: the model has no distillation token.
        """
        x, y = batch
        heads = model(x)
        if heads.ndim != 4:
            raise ActsmithError(
                f"distillation: the model gives {tuple(heads.shape)} in training; expected (1, batch, 2, classes), as "
                "timm's models with a distillation token do"
            )
        with torch.no_grad():
            answers = self.teacher.to(x.device)(x[0]).argmax(-1)
        smoothing = 0.0 if y.is_floating_point() else self.smoothing  # mixed labels are smoothed already
        loss = functional.cross_entropy(heads[0, :, 0], y[0], label_smoothing=smoothing)
        return (loss / 2 + functional.cross_entropy(heads[0, :, 1], answers) / 2)[None]


class DistilledToken(Single):
    """A `Single` of a model with two heads: (1, batch, 2, outputs) in training, else their mean (1, batch, outputs)."""

    def __init__(self, network: Any, seeds: Any) -> None:
        super().__init__(network, seeds)
        network.set_distilled_training(True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.network(x[0])
        return torch.stack(out, 1)[None] if isinstance(out, tuple) else out[None]
