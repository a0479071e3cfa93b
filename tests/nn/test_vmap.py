"""torch.func.vmap over an activation: what each entry gives alone, by the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from nn_support import NAMES, learnable, smooth_points, tensor
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacrev, jvp, stack_module_state, vjp, vmap

import actsmith as acts
from actsmith.nn import private
from actsmith.nn.activation import Activation
from actsmith.nn.family import Node
from actsmith.nn.fused import ROWS_FROM

# torch's own, when it first meets a forward-mode dual number.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

NETS = 3


def stacked(act: nn.Module, nets: int = NETS) -> dict[str, Tensor]:
    """Leaf parameters of `nets` modules, each a little off the module's own."""
    off = torch.linspace(0, 0.006, nets, dtype=torch.float64)
    return {
        name: (p.detach() + off.to(p.dtype).reshape(-1, *[1] * p.ndim)).requires_grad_()
        for name, p in act.named_parameters()
    }


def call(act: nn.Module) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    def one(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(act, params, (x,))

    return one


def entry(params: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    return {name: p[i] for name, p in params.items()}


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """First and second order, zeros where there is none."""
    weights = torch.cos(torch.arange(float(y.numel()), dtype=torch.float64)).reshape(y.shape).to(y.dtype)
    first = torch.autograd.grad((y * weights).sum(), inputs, create_graph=True, allow_unused=True)
    first = [torch.zeros_like(t) if g is None else g for g, t in zip(first, inputs, strict=True)]
    total = sum((g.square().sum() for g in first), torch.zeros((), dtype=y.dtype))
    second = torch.autograd.grad(total, inputs, allow_unused=True) if total.requires_grad else [None] * len(inputs)
    return [*first, *(torch.zeros_like(t) if g is None else g for g, t in zip(second, inputs, strict=True))]


def assert_same(a: Tensor, b: Tensor, tolerance: float = 1e-11) -> None:
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def assert_entries(act: nn.Module, x: Tensor, tolerance: float = 1e-11) -> None:
    """vmap over stacked parameters and x (nets, ...) against a loop over the nets, with gradients of two orders."""
    params, x = stacked(act, len(x)), x.detach().requires_grad_()
    inputs = [x, *params.values()]
    together = vmap(call(act))(params, x)
    alone = torch.stack([functional_call(act, entry(params, i), (x[i],)) for i in range(len(x))])
    assert_same(together, alone, tolerance)
    for a, b in zip(gradients(together, inputs), gradients(alone, inputs), strict=True):
        assert_same(a, b, tolerance)


@pytest.fixture
def no_plain_torch(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, a node that is evaluated in plain torch fails."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("plain torch, not the kernel")

    return lambda: monkeypatch.setattr(Node, "evaluate", refuse)


@pytest.mark.parametrize("name", NAMES)
def test_each_net_is_as_alone(name: str) -> None:
    f = learnable(name)
    row = tensor(smooth_points(f, 11), grad=False)
    assert_entries(Activation(f).double(), torch.stack([row, row.flip(0), row]).reshape(NETS, 1, -1).expand(-1, 2, -1))


@pytest.mark.parametrize("name", ["gelu", "crrelu", "swish", "aptx"])
def test_the_kernel_serves(name: str, no_plain_torch: Callable[[], None]) -> None:
    act, x = Activation(name), torch.randn(NETS, 16, 8, requires_grad=True)

    def step() -> None:
        params = stacked(act)
        vmap(call(act))(params, x).sum().backward()
        vmap(call(act), in_dims=(None, 0))(entry(params, 0), x).sum().backward()
        vmap(grad(lambda p, x: functional_call(act, p, (x,)).sum()))(params, x)
        (slope,) = torch.autograd.grad(vmap(call(act))(params, x).sum(), x, create_graph=True)
        slope.square().sum().backward()

    step()  # kernels are compared with plain torch when they are made
    no_plain_torch()
    step()


@pytest.mark.parametrize("dims", [(0, 0), (0, 1), (0, -1), (0, None), (None, 0), (None, 2)])
def test_batch_dimensions(dims: tuple[int | None, int | None]) -> None:
    act = Activation("aptx").double()
    p_dim, x_dim = dims
    params = stacked(act) if p_dim is not None else {n: p.detach().requires_grad_() for n, p in act.named_parameters()}
    shape = [4, 5]
    if x_dim is not None:
        shape.insert(x_dim % 3, NETS)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    inputs = [x, *params.values()]
    together = vmap(call(act), in_dims=dims)(params, x)
    alone = torch.stack(
        [
            functional_call(
                act,
                entry(params, i) if p_dim is not None else params,
                (x.select(x_dim, i) if x_dim is not None else x,),
            )
            for i in range(NETS)
        ]
    )
    assert_same(together, alone)
    for a, b in zip(gradients(together, inputs), gradients(alone, inputs), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("nets", [0, 1])
@pytest.mark.parametrize("share", ["layer", "channel"])
def test_no_net_and_one(nets: int, share: str) -> None:
    act = Activation("crrelu", **({"share": "channel", "channels": 4, "channel_dim": -1} if share == "channel" else {}))
    params, x = stacked(act, nets), torch.randn(nets, 3, 4, requires_grad=True)
    y = vmap(call(act))(params, x)
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    assert params["eps"].grad is not None
    assert params["eps"].grad.shape == params["eps"].shape
    empty = vmap(call(act))(stacked(act, 2), torch.randn(2, 0, 4))
    assert empty.shape == (2, 0, 4)


WHERE = ["none", "outer", "inner", "both"]


@pytest.mark.parametrize(("theta", "x_at"), [(a, b) for a in WHERE for b in WHERE if (a, b) != ("none", "none")])
def test_nested(theta: str, x_at: str) -> None:
    act = Activation("swish").double()

    def made(where: str, *shape: int) -> Tensor:
        lead = {"none": (), "outer": (2,), "inner": (3,), "both": (2, 3)}[where]
        return torch.randn((*lead, *shape), dtype=torch.float64).requires_grad_()

    def dim(where: str, level: str) -> int | None:
        return 0 if where in (level, "both") else None

    beta, x = made(theta), made(x_at, 4, 5)
    f: Any = lambda b, v: act._family(v, [b])  # noqa: E731
    for level in ("inner", "outer"):
        dims = (dim(theta, level), dim(x_at, level))
        f = vmap(f, in_dims=dims) if dims != (None, None) else f
    lead = torch.broadcast_shapes(beta.shape, x.shape[:-2]) if "none" in (theta, x_at) or theta == x_at else (2, 3)
    b = beta[:, None] if theta == "outer" and len(lead) == 2 else beta
    v = x[:, None] if x_at == "outer" and len(lead) == 2 else x
    expected = v * torch.sigmoid(b.reshape(*b.shape, 1, 1) * v)
    found = f(beta, x)
    assert_same(found, expected)
    for p, q in zip(gradients(found, [beta, x]), gradients(expected, [beta, x]), strict=True):
        assert_same(p, q)


@pytest.mark.parametrize(("shape", "dim"), [((5, 4), -1), ((4, 5), 0), ((2, 4, 3, 3), 1), ((4,), 0)])
def test_channels_in_each_net(shape: tuple[int, ...], dim: int) -> None:
    act = Activation("crrelu", share="channel", channels=4, channel_dim=dim).double()
    assert_entries(act, torch.randn(NETS, *shape, dtype=torch.float64))


def test_layouts_and_halves() -> None:
    act = Activation("crrelu")
    x = torch.randn(NETS, 6, 8)
    for same in (
        x.transpose(1, 2),
        x.transpose(0, 1).contiguous().transpose(0, 1),
        x[:, ::2],
        x[:, :1].expand(-1, 5, -1),
    ):
        assert_entries(act, same, 1e-5)
    for dtype in (torch.float16, torch.bfloat16):
        params, half = stacked(act), x.to(dtype).requires_grad_()
        y = vmap(call(act))(params, half)
        y.sum().backward()
        assert half.grad is not None
        assert y.dtype == half.grad.dtype == dtype
        assert_same(y.float(), vmap(call(act))(params, x.to(dtype).float()).to(dtype).float(), 1e-6)


def test_ranges_hold_in_each_net() -> None:
    act = Activation("snake").double()
    a = torch.tensor([-1.0, 0.0, 0.5], dtype=torch.float64, requires_grad=True)
    x = torch.randn(3, 7, dtype=torch.float64)
    y = vmap(lambda a, x: functional_call(act, {"a": a}, (x,)))(a, x)
    assert torch.isfinite(y).all()
    inside = a.detach().clamp(min=1e-3)[:, None]
    assert_same(y, x + torch.sin(inside * x).square() / inside)
    y.sum().backward()
    assert a.grad is not None
    assert (a.grad != 0).all()


@pytest.mark.parametrize("name", ["crrelu", "prelu", "swish", "sinlu", "mrepu", "xielu"])
def test_gradcheck(name: str) -> None:
    f = learnable(name)
    act = Activation(f).double()
    row = tensor(smooth_points(f, 5), grad=False)
    x = torch.stack([row, row + 0.01]).requires_grad_()
    names = list(dict(act.named_parameters()))
    thetas = [stacked(act, 2)[n] for n in names]

    def together(x: Tensor, *thetas: Tensor) -> Tensor:
        return vmap(call(act))(dict(zip(names, thetas, strict=True)), x)

    assert torch.autograd.gradcheck(together, (x, *thetas))
    assert torch.autograd.gradgradcheck(together, (x, *thetas))


def test_transforms_inside_and_outside() -> None:
    act = Activation("swish").double()
    x = torch.randn(NETS, 4, dtype=torch.float64)
    beta = torch.tensor([0.7, 1.0, 1.3], dtype=torch.float64)

    def kernel(b: Tensor, x: Tensor) -> Tensor:
        return functional_call(act, {"beta": b}, (x,))

    def plain(b: Tensor, x: Tensor) -> Tensor:
        return x * torch.sigmoid(b * x)

    def results(f: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        def loss(b: Tensor, x: Tensor) -> Tensor:
            return f(b, x).square().sum()

        both = (0, 1)
        return [
            *vmap(grad(loss, both))(beta, x),
            *grad(lambda b, x: vmap(loss)(b, x).sum(), both)(beta, x),
            *grad(lambda b, x: vmap(loss, (None, 0))(b, x).sum(), both)(beta[0], x),
            *vmap(grad(loss, both), (None, 0))(beta[0], x),
            vmap(hessian(loss, 1))(beta, x),
            hessian(lambda b: vmap(loss)(b, x).sum())(beta),
            jacrev(lambda x: vmap(f)(beta, x))(x),
            vmap(lambda b, x: jvp(f, (b, x), (b, torch.ones_like(x)))[1])(beta, x),
            jvp(vmap(f), (beta, x), (beta, x))[1],
            *vjp(vmap(f), beta, x)[1](x),
            vmap(lambda b: vmap(grad(loss, 0), (None, 0))(b, x))(beta),
            grad(lambda b: vmap(grad(loss, 1))(b, x).square().sum())(beta),
        ]

    for a, b in zip(results(kernel), results(plain), strict=True):
        assert_same(a, b)


def test_batched_cotangents() -> None:
    act = Activation("swish").double()
    x = torch.randn(4, dtype=torch.float64, requires_grad=True)
    y, eye = act(x), torch.eye(4, dtype=torch.float64)
    for t in (x, act.beta):
        (many,) = torch.autograd.grad(y, t, eye, retain_graph=True, is_grads_batched=True)
        alone = [torch.autograd.grad(y, t, e, retain_graph=True)[0] for e in eye]
        assert_same(many, torch.stack(alone))


@pytest.mark.parametrize("options", [{"chunk_size": 2}, {"randomness": "different"}, {"randomness": "same"}])
def test_options_of_vmap(options: dict[str, Any]) -> None:
    act, x = Activation("crrelu").double(), torch.randn(NETS, 5, dtype=torch.float64)
    params = stacked(act)
    f = lambda p, x: functional_call(act, p, (nn.functional.dropout(x, 0.0),))  # noqa: E731
    assert_same(vmap(f, **options)(params, x), torch.stack([f(entry(params, i), x[i]) for i in range(NETS)]))


def test_plain_torch_gives_the_same() -> None:
    act, x = Activation("aptx").double(), torch.randn(NETS, 5, dtype=torch.float64, requires_grad=True)
    params = stacked(act)
    inputs = [x, *params.values()]
    y = vmap(call(act))(params, x)
    with acts.nn.backend("composite"):
        other = vmap(call(act))(params, x)
        composite = gradients(other, inputs)
    assert_same(y, other)
    for a, b in zip(gradients(y, inputs), composite, strict=True):
        assert_same(a, b)


def test_stacked_networks_train_as_alone() -> None:
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(3, 8), Activation("crrelu"), nn.Linear(8, 1)).double() for _ in range(NETS)]
    params, buffers = stack_module_state(nets)  # type: ignore[arg-type]
    x = torch.randn(16, 3, dtype=torch.float64)
    target = torch.sin(x.sum(1, keepdim=True))

    def loss(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        return (functional_call(nets[0], (p, b), (x,)) - target).square().mean()

    together = torch.optim.SGD(params.values(), 0.1)
    alone = torch.optim.SGD([p for net in nets for p in net.parameters()], 0.1)
    for _ in range(5):
        losses = vmap(loss)(params, buffers)
        together.zero_grad()
        losses.sum().backward()
        together.step()
        each = torch.stack([(net(x) - target).square().mean() for net in nets])
        assert_same(losses, each)
        alone.zero_grad()
        each.sum().backward()
        alone.step()
    assert (params["1.eps"].detach() != 0.01).all()


@pytest.mark.parametrize("inner", [1, 7, 511, ROWS_FROM, 700, 9000])
def test_channels_of_any_width(inner: int) -> None:
    """Both kernels for channels, against plain torch; sums do not depend on the number of threads."""
    f, generator = learnable("swish"), torch.Generator().manual_seed(1)
    act = Activation(f, share="channel", channels=3).double()
    x = torch.randn(5, 3, inner, generator=generator, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        act.beta.copy_(torch.tensor([0.5, 1.0, 1.5]))
    found = gradients(act(x), [x, act.beta])
    expected = gradients(x * torch.sigmoid(act.beta[:, None] * x), [x, act.beta])
    for a, b in zip(found, expected, strict=True):
        assert_same(a, b, 1e-10)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(before, 2))
        again = gradients(act(x), [x, act.beta])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_what_is_relied_on_in_torch() -> None:
    """Batched tensors unwrap to the tensor and its dimension; the innermost transform is on top."""
    x, seen = torch.randn(2, 3), []
    assert private.innermost_vmap() is None

    def look(row: Tensor) -> Tensor:
        top = private.innermost_vmap()
        assert top is not None

        def rule(size: int, dims: Any, tensors: Any) -> list[Tensor]:
            assert private.innermost_vmap() is None
            seen.append((size, list(dims), tensors[0] is x, torch.equal(tensors[1], torch.ones(()))))
            return [tensors[0] * 2]

        with pytest.raises(ZeroDivisionError):
            private.below(top, lambda *_: 1 / 0, list, [row])  # type: ignore[arg-type, return-value]
        assert private.innermost_vmap() is not None
        (same,) = private.below(top, rule, list, [torch.ones(())])
        assert torch.equal(same, torch.ones(()))
        return private.below(top, rule, list, [row, torch.ones(())])[0]

    assert torch.equal(vmap(look)(x), 2 * x)
    assert seen == [(2, [0, None], True, True)]
    f = grad(lambda x: (x * float(private.innermost_vmap() is None)).sum())
    assert f(x).eq(1).all()
    assert vmap(f)(x).eq(1).all()
