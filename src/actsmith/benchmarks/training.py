"""Whole training steps: a PINN with second and third derivatives, and ViT-Tiny."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from actsmith.benchmarks.measure import Row, Say, interleaved, naive_crrelu
from actsmith.errors import missing_extra
from actsmith.nn import Activation

WIDTH, HIDDEN, POINTS = 64, 5, 10_000

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "native gelu": nn.GELU,
    "crrelu": lambda: Activation("crrelu"),
    "mrepu:3": lambda: Activation("mrepu", params={"p": 3}),
    "gelu": lambda: Activation("gelu"),
    "naive crrelu": naive_crrelu,
}
PINN_TARGETS = dict.fromkeys(("crrelu", "mrepu:3", "gelu"), 0.65)
VIT = ("native gelu", "crrelu", "naive crrelu")


def rows(quick: bool, say: Say) -> Iterator[Row]:
    """Every training step, over the same with native GELU."""
    repeats = 3 if quick else 15
    for order, name in ((2, "PINN step, u_xx"), (3, "PINN step, u_xxx")):
        steps = {a: pinn_step(make, order) for a, make in ACTIVATIONS.items()}
        yield from interleaved(name, steps, repeats, targets=PINN_TARGETS if order == 2 else None)
    if find_spec("timm") is None:
        say(str(missing_extra("ViT-Tiny: left out", "timm", "vision")))
        return
    plain = {a: vit_step(ACTIVATIONS[a]) for a in VIT}
    yield from interleaved("ViT-Tiny step", plain, repeats, targets={"crrelu": 1.00})
    if quick:
        return
    mixed = {a: vit_step(ACTIVATIONS[a], autocast=True) for a in VIT}
    yield from interleaved("ViT-Tiny step, bfloat16 autocast", mixed, repeats, targets={"crrelu": 1.02})
    compiled = {a: vit_step(ACTIVATIONS[a], compiled=True) for a in VIT}
    try:
        yield from interleaved("ViT-Tiny step, torch.compile", compiled, repeats, targets={"crrelu": 1.02})
    except torch._dynamo.exc.BackendCompilerFailed as error:
        say(f"ViT-Tiny under torch.compile: left out, it fails here ({str(error).splitlines()[0]})")


def pinn_step(activation: Callable[[], nn.Module], order: int) -> Callable[[], None]:
    """One step of u_t = d^order u/dx^order on 10,000 points with a 5 x 64 network."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(2, WIDTH), activation()]
    for _ in range(HIDDEN - 1):
        layers += [nn.Linear(WIDTH, WIDTH), activation()]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 1))
    optimiser = torch.optim.Adam(model.parameters())
    x = torch.rand(POINTS, 1).requires_grad_()
    t = torch.rand(POINTS, 1).requires_grad_()

    def step() -> None:
        optimiser.zero_grad()
        u = model(torch.cat([x, t], 1))
        slope, u_t = torch.autograd.grad(u.sum(), [x, t], create_graph=True)
        for _ in range(order - 1):
            (slope,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
        loss: Tensor = (u_t - slope).square().mean() + u.square().mean()
        torch.autograd.backward(loss)
        optimiser.step()

    return step


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
