"""Networks for images, by plain values: convolutional, residual, vision transformers, and whatever timm knows.

The activation is placed by construction (`Cnn`, `ResNet`, `Vit`) or by surgery (`Timm`).

    x <- x + Conv(act(norm(Conv(act(norm(x))))))            a residual block, He et al., arXiv:1603.05027, figure 4e
    x <- x + Attention(LN(x));  x <- x + W_2 act(W_1 LN(x))  a transformer block, Dosovitskiy et al., arXiv:2010.11929
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError, require
from actsmith.formula.formula import Formula
from actsmith.names import did_you_mean
from actsmith.nn.activation import Activation
from actsmith.nn.start import KAIMING, Start, start_of
from actsmith.surgery.replace import replace_
from actsmith.tasks.distilled import two_heads
from actsmith.training.problem import Problem

__all__ = ["Cnn", "ResNet", "Timm", "Vit", "channels_of"]

Init = Literal["critical", "kaiming"]


@dataclass(frozen=True)
class Cnn:
    """A plain convolutional network: `depth` times 3x3 convolution, activation; then the mean over places, a readout.

    Every `depth/stages`-th convolution has stride 2 and twice the channels.

    Attributes:
        width: channels of the first stage.
        depth, stages: number of convolutions, of resolutions.
        norm: batch normalisation after every convolution.
        init: "critical", each activation at its own critical point, or "kaiming".
    """

    width: int = 16
    depth: int = 6
    stages: int = 3
    norm: bool = False
    init: Init = "critical"

    def start(self, formula: Formula) -> Start:
        """Where training starts with this activation."""
        return start_of(formula, self.depth) if self.init == "critical" else KAIMING

    def build(self, formula: Formula, seed: int, problem: Problem) -> nn.Module:
        """Images (batch, channels, side, side) to (batch, outputs).

        Raises:
            ActsmithError: inputs that are no images, or fewer convolutions than stages.
        """
        if not 1 <= self.stages <= self.depth:
            raise ActsmithError(f"Cnn: got depth={self.depth}, stages={self.stages}; expected 1 <= stages <= depth")
        start = self.start(formula)
        channels, layers = channels_of(problem), []
        for i in range(self.depth):
            stage = i * self.stages // self.depth
            down = i > 0 and stage > (i - 1) * self.stages // self.depth
            width = self.width * 2**stage
            conv = _conv(channels, width, start, 2 if down else 1, bias=not self.norm)
            layers += [conv, _norm(width, self.norm), Activation(formula)]
            channels = width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), _readout(channels, problem.outputs)]
        return nn.Sequential(_Scaled(start), *layers)


@dataclass(frozen=True)
class ResNet:
    """A pre-activation residual network for small images: 3 stages of `blocks` blocks.

    Attributes:
        width: channels of the first stage, doubled in each further one.
        blocks: of two convolutions each, in a stage.
        norm: batch normalisation. Without it a branch's last convolution is divided by the square root of the number
            of blocks, so that the variance grows over all of them by a factor of about e.
        init: "critical", each activation at its own critical point, or "kaiming".
    """

    width: int = 16
    blocks: int = 1
    norm: bool = True
    init: Init = "kaiming"

    def start(self, formula: Formula) -> Start:
        """Where training starts with this activation."""
        return start_of(formula, 2 * 3 * self.blocks) if self.init == "critical" else KAIMING

    def build(self, formula: Formula, seed: int, problem: Problem) -> nn.Module:
        """Images (batch, channels, side, side) to (batch, outputs).

        Raises:
            ActsmithError: several seeds, or inputs that are no images.
        """
        start = self.start(formula)
        channels = self.width
        layers: list[nn.Module] = [_Scaled(start), _conv(channels_of(problem), channels, start, 1, bias=not self.norm)]
        for stage in range(3):
            for block in range(self.blocks):
                width, stride = self.width * 2**stage, 2 if stage and not block else 1
                layers.append(_Block(formula, channels, width, stride, start=start, config=self))
                channels = width
        layers += [_norm(channels, self.norm), Activation(formula), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, _readout(channels, problem.outputs))


class _Block(nn.Module):
    """x + branch(x), the first two operations of the branch before the shortcut where the shape changes."""

    def __init__(
        self, formula: Formula, channels: int, width: int, stride: int, *, start: Start, config: ResNet
    ) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(channels, config.norm), Activation(formula))
        last = _conv(width, width, start, 1, bias=not config.norm)
        if not config.norm:
            with torch.no_grad():
                last.weight /= sqrt(3 * config.blocks)
        self.branch = nn.Sequential(
            _conv(channels, width, start, stride, bias=not config.norm),
            _norm(width, config.norm),
            Activation(formula),
            last,
        )
        same = stride == 1 and channels == width
        self.shortcut = nn.Identity() if same else _conv(channels, width, start, stride, 1, bias=not config.norm)
        self.same = same

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        out: Tensor = self.branch(h) + (x if self.same else self.shortcut(h))
        return out


class _Scaled(nn.Module):
    """Inputs of mean square 1, scaled so that the first pre-activation has the variance that the activation wants."""

    def __init__(self, start: Start) -> None:
        super().__init__()
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(start.input_scale()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def _conv(channels: int, width: int, start: Start, stride: int, kernel: int = 3, *, bias: bool) -> nn.Conv2d:
    """A convolution with W ~ N(0, C_W/fan_in), b ~ N(0, C_b); without bias where a normalisation takes it away."""
    conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=bias)
    nn.init.normal_(conv.weight, std=sqrt(start.C_W / (channels * kernel**2)))
    if conv.bias is not None:
        nn.init.normal_(conv.bias, std=sqrt(start.C_b)) if start.C_b else nn.init.zeros_(conv.bias)
    return conv


def _norm(width: int, wanted: bool) -> nn.Module:
    return nn.BatchNorm2d(width) if wanted else nn.Identity()


def _readout(channels: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(channels, outputs)
    nn.init.normal_(linear.weight, std=sqrt(1 / channels))
    nn.init.zeros_(linear.bias)
    return linear


def channels_of(problem: Problem) -> int:
    """Of its images.

    Raises:
        ActsmithError: its inputs are no images.
    """
    if len(problem.inputs) != 3:
        raise ActsmithError(f"model: got inputs {problem.inputs}; expected images (channels, height, width)")
    return problem.inputs[0]


@dataclass(frozen=True)
class Vit:
    """timm's vision transformer at any size, the activation in its multilayer perceptrons by construction.

    Attributes:
        dim, depth, heads: width, number of blocks, attention heads.
        patch: side of a patch in pixels.
        drop_path: largest rate of stochastic depth.
    """

    dim: int = 96
    depth: int = 6
    heads: int = 3
    patch: int = 4
    drop_path: float = 0.0

    def build(self, formula: Formula, seed: int, problem: Problem) -> nn.Module:
        """Images (batch, channels, side, side) to (batch, outputs).

        Raises:
            ActsmithError: timm is missing, or images that patches do not tile.
        """
        channels, side = channels_of(problem), problem.inputs[1]
        if side % self.patch:
            raise ActsmithError(f"Vit: patch: got {self.patch} for images of side {side}; expected a divisor")
        network: nn.Module = _timm().models.VisionTransformer(
            img_size=side, patch_size=self.patch, in_chans=channels, num_classes=problem.outputs, embed_dim=self.dim,
            depth=self.depth, num_heads=self.heads, drop_path_rate=self.drop_path,
            act_layer=partial(Activation, formula),
        )  # fmt: skip
        return network


@dataclass(frozen=True)
class Timm:
    """A model of timm's by name, its activations exchanged by surgery, which proves that they run.

    Attributes:
        name: as `timm.list_models` gives it.
        where: which activations are exchanged: as `replace_` takes it.
        gates: whether those that gate are among them.
        pretrained: fetch timm's weights.
        drop_path: rate of stochastic depth; None leaves timm's default.
        sized: whether the model takes the side of its images (transformers do, convolutional ones do not).
        options: further (name, value) for `timm.create_model`.
    """

    name: str
    where: str | None = "gelu"
    gates: bool = False
    pretrained: bool = False
    drop_path: float | None = None
    sized: bool = True
    options: tuple[tuple[str, Any], ...] = ()

    def build(self, formula: Formula, seed: int, problem: Problem) -> nn.Module:
        """timm's model; one with a distillation token gives in training both heads' answers, (batch, 2, outputs).

        Raises:
            ActsmithError: timm is missing or has no such model, nothing to exchange.
        """
        network = self.bare(channels_of(problem), problem.inputs[1], problem.outputs)
        replace_(network, formula, where=self.where, gates=self.gates, example=torch.zeros(2, *problem.inputs))
        return two_heads(network) if hasattr(network, "head_dist") else network

    def bare(self, channels: int, side: int, outputs: int) -> nn.Module:
        """timm's model with its own activations.

        Raises:
            ActsmithError: timm is missing or has no such model, or its weights cannot be fetched.
        """
        timm = _timm()
        if not timm.is_model(self.name):
            hint = did_you_mean(self.name, timm.list_models())
            raise ActsmithError(f"timm: no model named {self.name!r} in timm {timm.__version__}; {hint}".rstrip("; "))
        options: dict[str, Any] = dict(self.options)
        if self.sized:
            options["img_size"] = side
        if self.drop_path is not None:
            options["drop_path_rate"] = self.drop_path
        try:
            network: nn.Module = timm.create_model(
                self.name, pretrained=self.pretrained, num_classes=outputs, in_chans=channels, **options
            )
        except (OSError, RuntimeError) as error:
            if not self.pretrained:
                raise
            raise ActsmithError(
                f"timm: the weights of {self.name!r} cannot be had ({error}); connect to the internet, or train from "
                "random weights"
            ) from None
        return network


def _timm() -> Any:
    return require("timm", "vision", "timm")
