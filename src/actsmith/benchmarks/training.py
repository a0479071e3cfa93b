"""Whole training steps: ViT-Tiny."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from torch import nn

from actsmith.benchmarks.measure import Row, Say, interleaved, naive_crrelu
from actsmith.errors import missing_extra
from actsmith.nn import Activation

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "native gelu": nn.GELU,
    "crrelu": lambda: Activation("crrelu"),
    "naive crrelu": naive_crrelu,
}


def rows(quick: bool, say: Say) -> Iterator[Row]:
    """Every training step, over the same with native GELU."""
    repeats = 3 if quick else 15
    if find_spec("timm") is None:
        say(str(missing_extra("ViT-Tiny: left out", "timm", "vision")))
        return
    plain = {a: vit_step(ACTIVATIONS[a]) for a in ACTIVATIONS}
    yield from interleaved("ViT-Tiny step", plain, repeats, targets={"crrelu": 1.00})
    if quick:
        return
    mixed = {a: vit_step(ACTIVATIONS[a], autocast=True) for a in ACTIVATIONS}
    yield from interleaved("ViT-Tiny step, bfloat16 autocast", mixed, repeats, targets={"crrelu": 1.02})
    compiled = {a: vit_step(ACTIVATIONS[a], compiled=True) for a in ACTIVATIONS}
    try:
        yield from interleaved("ViT-Tiny step, torch.compile", compiled, repeats, targets={"crrelu": 1.02})
    except torch._dynamo.exc.BackendCompilerFailed as error:
        say(f"ViT-Tiny under torch.compile: left out, it fails here ({str(error).splitlines()[0]})")


def vit_step(activation: Callable[[], nn.Module], autocast: bool = False, compiled: bool = False) -> Callable[[], None]:
    """One step of timm's ViT-Tiny on eight images of 224 x 224."""
    import timm

    torch.manual_seed(0)
    model: nn.Module = timm.create_model("vit_tiny_patch16_224", num_classes=10, act_layer=activation)
    optimiser = torch.optim.AdamW(model.parameters())
    images, labels = torch.randn(8, 3, 224, 224), torch.randint(0, 10, (8,))
    call = torch.compile(model) if compiled else model

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = nn.functional.cross_entropy(call(images).float(), labels)
        torch.autograd.backward(loss)
        optimiser.step()

    return step
