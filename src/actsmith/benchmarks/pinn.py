"""Training steps of physics-informed networks: jets against nested autograd, matrix products alone, and JAX's jets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.benchmarks.measure import Row, Say, interleaved
from actsmith.nn import Activation, derivatives, laplacian
from actsmith.nn.products import gradient, product

__all__ = ["jet_step", "nested_step", "rows"]

WIDTH, HIDDEN, POINTS = 64, 5, 10_000

Make = Callable[[], nn.Module]
NATIVE = "native gelu"
NESTED: dict[str, Make] = {NATIVE: nn.GELU, "crrelu, nested": lambda: Activation("crrelu")}
JETS: dict[str, Make] = {
    "tanh": nn.Tanh, "gelu": nn.GELU, "crrelu": lambda: Activation("crrelu"),
    "mrepu:3": lambda: Activation("mrepu", params={"p": 3}), "sin": lambda: Activation("sin"),
}  # fmt: skip
TARGETS = {2: 0.25, 3: 0.15}
LAPLACIANS = {2: 0.35, 3: 0.30, 10: 0.25}
FLOOR = "products alone"
"""The matrix products of a step in Taylor mode and nothing else, as jets make them."""
JAX = "JAX's jets"
OVER_JAX = 0.7


def rows(quick: bool, say: Say) -> Iterator[Row]:
    """Steps over the same with native GELU and nested autograd; numbers kept for backward over its own; over JAX."""
    repeats = 3 if quick else 15
    for order in (2, 3):
        for time in (False, True):
            wanted = [(order, 0), (0, 1)] if time else [(order, 0)]
            slots = order + 1 + time
            steps = {name: nested_step(make, order, time) for name, make in NESTED.items()}
            steps |= {name: jet_step(make, wanted) for name, make in JETS.items()}
            steps[FLOOR] = products_step(slots, 2)
            targets = None if time else dict.fromkeys(JETS, TARGETS[order])
            yield from interleaved(f"u_{'x' * order}{' and u_t' * time}", steps, repeats, targets=targets)
    for inputs, target in LAPLACIANS.items():
        steps = {NATIVE: nested_laplacian(nn.GELU, inputs)}
        steps |= {name: laplacian_step(JETS[name], inputs) for name in ("tanh", "gelu", "crrelu")}
        steps[FLOOR] = products_step(inputs + 2, inputs)
        targets = dict.fromkeys(("tanh", "gelu", "crrelu"), target)
        yield from interleaved(f"Laplacian, {inputs} dimensions", steps, max(repeats // 3, 2), targets=targets)
    yield from memory()
    if find_spec("jax") is None:
        say("JAX's jets: left out, since jax is not installed (pip install jax)")
        return
    for order in (2, 3):
        steps = {JAX: jax_step(order), "tanh": jet_step(nn.Tanh, [(order, 0)])}
        yield from interleaved(f"u_{'x' * order}", steps, repeats, targets={"tanh": OVER_JAX})


def network(activation: Make, inputs: int = 2) -> nn.Module:
    """5 x 64."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(inputs, WIDTH), activation()]
    for _ in range(HIDDEN - 1):
        layers += [nn.Linear(WIDTH, WIDTH), activation()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 1))


def _training(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimiser = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimiser.zero_grad()
        torch.autograd.backward(loss())
        optimiser.step()

    return step


def _loss(residual: Tensor, u: Tensor) -> Tensor:
    return torch.stack([residual.square().mean(), u.square().mean()]).sum()


def nested_step(activation: Make, order: int, time: bool = False) -> Callable[[], None]:
    """d^order u/dx^order + u = 0 (with time: = u_t) by autograd of autograd."""
    model = network(activation)
    x, t = torch.rand(POINTS, 1).requires_grad_(), torch.rand(POINTS, 1).requires_grad_(time)

    def loss() -> Tensor:
        u = model(torch.cat([x, t], 1))
        slope, *rest = torch.autograd.grad(u.sum(), [x, t] if time else [x], create_graph=True)
        for _ in range(order - 1):
            (slope,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
        residual: Tensor = slope - (rest[0] if time else -u)
        return _loss(residual, u)

    return _training(model, loss)


def jet_step(activation: Make, wanted: Sequence[tuple[int, int]]) -> Callable[[], None]:
    """The same by jets."""
    model, xt = network(activation), torch.rand(POINTS, 2)
    order = wanted[0]

    def loss() -> Tensor:
        found: dict[tuple[int, ...], Tensor] = derivatives(model, xt, wanted)
        u = found[0, 0]
        return _loss(found[order] - found.get((0, 1), -u), u)

    return _training(model, loss)


def nested_laplacian(activation: Make, inputs: int) -> Callable[[], None]:
    """The Laplacian as the sum of second derivatives, each by autograd of autograd."""
    model, x = network(activation, inputs), torch.rand(POINTS, inputs).requires_grad_()

    def loss() -> Tensor:
        u = model(x)
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        total: Tensor = u * 0
        for i in range(inputs):
            (second,) = torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)
            total = total + second[:, i : i + 1]
        return _loss(total - u, 0 * u)

    return _training(model, loss)


def laplacian_step(activation: Make, inputs: int) -> Callable[[], None]:
    """The same by jets."""
    model, x = network(activation, inputs), torch.rand(POINTS, inputs)

    def loss() -> Tensor:
        u, total = laplacian(model, x)
        return (total - u).square().mean()

    return _training(model, loss)


def products_step(slots: int, inputs: int) -> Callable[[], None]:
    """The matrix products of one step with so many slots: forward, and in both factors backward."""
    sizes = [inputs, *[WIDTH] * HIDDEN, 1]
    tensors = [torch.randn(slots * POINTS, size) for size in sizes]
    weights = [torch.randn(out, into) for into, out in pairwise(sizes)]

    def step() -> None:
        for (x, y), weight in zip(pairwise(tensors), weights, strict=True):
            product(x, weight)
            gradient(y, x)
            if x is not tensors[0]:
                product(y, weight.t())

    return step


def memory() -> Iterator[Row]:
    """Numbers kept for the backward pass, over those of nested autograd."""
    for order in (2, 3):
        base = _kept(lambda order=order: _graph(nn.GELU, order, nested=True))  # type: ignore[misc]
        for name, make in JETS.items():
            ratio = _kept(lambda make=make, order=order: _graph(make, order, nested=False)) / base  # type: ignore[misc]
            what = f"u_{'x' * order}, kept for backward"
            yield Row(what, name, NATIVE, None, ratio, ratio, ratio, ratio, None)


def _graph(activation: Make, order: int, *, nested: bool) -> Tensor:
    model, xt = network(activation), torch.rand(1000, 2)
    if not nested:
        return derivatives(model, xt, [(order, 0)])[order, 0].square().mean()
    x = xt[:, :1].clone().requires_grad_()
    slope: Tensor = model(torch.cat([x, xt[:, 1:]], 1))
    for _ in range(order):
        (slope,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
    return slope.square().mean()


def _kept(graph: Callable[[], Tensor]) -> int:
    seen: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        graph()
    return sum(seen.values())


def jax_step(order: int) -> Callable[[], None]:
    """The same with tanh by jax.experimental.jet, compiled whole, Adam written out."""
    import jax  # type: ignore[import-not-found, unused-ignore]
    import jax.numpy as jnp  # type: ignore[import-not-found, unused-ignore]
    from jax.experimental.jet import jet  # type: ignore[import-not-found, unused-ignore]

    model = network(nn.Tanh)
    parameters = [jnp.array(p.detach().numpy()) for p in model.parameters()]
    xt = jnp.array(torch.rand(POINTS, 2).numpy())
    axis = jnp.broadcast_to(jnp.array([1.0, 0.0]), xt.shape)

    def forward(p: Any, z: Any) -> Any:
        for i in range(HIDDEN):
            z = jnp.tanh(z @ p[2 * i].T + p[2 * i + 1])
        return z @ p[-2].T + p[-1]

    def loss(p: Any) -> Any:
        series = [axis] + [jnp.zeros_like(xt)] * (order - 1)
        u, found = jet(lambda z: forward(p, z), (xt,), (series,))
        return ((found[order - 1] + u) ** 2).mean() + (u**2).mean()

    def update(p: Any, m: Any, v: Any) -> Any:
        g = jax.grad(loss)(p)
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
        v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g, strict=True)]
        return [a - 1e-3 * b / (c**0.5 + 1e-8) for a, b, c in zip(p, m, v, strict=True)], m, v

    state: list[Any] = [parameters, [jnp.zeros_like(a) for a in parameters], [jnp.zeros_like(a) for a in parameters]]

    compiled = jax.jit(update)

    def step() -> None:
        state[:] = compiled(*state)
        jax.block_until_ready(state[0])

    return step
