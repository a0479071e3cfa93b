"""Formulas through their cubic tables: against the formula in float64, and nets of different formulas in one stack."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nn_support import NAMES
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, stack_module_state, vmap

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.nn import LookupActivation
from actsmith.nn import lookup as module
from actsmith.nn.lookup import lookup
from actsmith.nn.lookup_table import CELLS, tabulate

# torch's own, when it first meets a forward-mode dual number.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

FOUND = ["tanh(0.835*x + 0.404) - 0.299*x", "2*sin(x - 0.614) + 0.194*relu(2*x)**2", "1.234*x*normal_cdf(0.388*x)"]
KINKED = ["clip(x, -0.37, 0.91)", "relu(x - 0.123) + relu(x + 0.777) - relu(x - 2.345)", "abs(sin(x))", "relu(x)**1.5"]
MIX = ["gelu", "relu", "sin", "hardswish"]


def tables(names: list[str]) -> Tensor:
    return torch.stack([LookupActivation(name).table for name in names])


def relative(found: Tensor, true: np.ndarray) -> float:
    return float((np.abs(found.double().numpy() - true) / np.maximum(1, np.abs(true))).max())


def slopes(y: Tensor, x: Tensor, create_graph: bool = False) -> Tensor:
    weights = torch.cos(torch.arange(float(y.numel()))).reshape(y.shape).to(y.dtype)
    return torch.autograd.grad(y, x, weights, create_graph=create_graph)[0]


@pytest.mark.parametrize("route", ["compiled", "composite"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES + FOUND + KINKED)
def test_the_error_is_the_stated_one(name: str, dtype: torch.dtype, route: Any) -> None:
    act, f = LookupActivation(name), acts.resolve(name)
    x = torch.from_numpy(np.random.default_rng(0).uniform(-12, 12, 50_001)).to(dtype).requires_grad_()
    with acts.nn.backend(route):
        y = act(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
    true = f.jet(x.detach().double().numpy(), 1)
    assert act.error <= (1e-4 if name in KINKED else 2e-7)
    assert relative(y.detach(), true[0]) <= 1.1 * act.error + 1e-9
    away = np.abs(x.detach().numpy()[:, None] - np.array(f.kinks)).min(1, initial=9.0) > 0.02  # 1.5 is singular at 0
    assert relative(slope[torch.from_numpy(away)], true[1][away]) <= 3e-6 + 50 * act.error


@pytest.mark.parametrize("name", ["relu", "hardtanh", "silu", "relu_squared", "tanh", "crrelu"])
def test_far_away(name: str) -> None:
    """What is a line, a parabola or a constant there goes on so; nothing is NaN."""
    act, f = LookupActivation(name), acts.resolve(name)
    x = torch.tensor([-1e6, -500.0, -33.0, 33.0, 500.0, 1e6])
    assert relative(act(x), f(x.double().numpy())) < 1e-6
    ends = torch.tensor([-torch.inf, torch.inf, torch.nan], requires_grad=True)
    y = act(ends)
    y.sum().backward()
    assert ends.grad is not None
    assert y.isnan().tolist() == ends.grad.isnan().tolist() == [False, False, True]


def test_a_kink_has_the_slope_that_torch_gives() -> None:
    x = torch.zeros(3, requires_grad=True)
    LookupActivation("relu")(x).sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["gelu", "sin", "where(x - 0.3, x, 2*x)"])
def test_derivatives_are_those_of_its_own_values(name: str, order: int) -> None:
    """Central differences inside the cells, where the table is a cubic."""
    act = LookupActivation(name)
    shift, scale = act.table[0, :2].double().tolist()
    cell = torch.arange(-300, 300, 7, dtype=torch.float64)
    x, h = ((cell + 0.4) / scale + shift).requires_grad_(), 0.1 / scale

    def derivative(x: Tensor, order: int) -> Tensor:
        y = act(x)
        for _ in range(order):
            (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return y

    outer, inner = (derivative(x + d, order) - derivative(x - d, order) for d in (2 * h, h))
    expected = (8 * inner - outer) / (12 * h)  # exact for a cubic
    size = float(expected.detach().abs().max()) + scale**order
    torch.testing.assert_close(derivative(x, order + 1), expected, rtol=1e-6, atol=1e-8 * size)
    if order < 3:  # torch has no graph for the derivative of a constant
        found = derivative(x, order + 1)
        with acts.nn.backend("composite"):
            torch.testing.assert_close(derivative(x, order + 1), found, rtol=1e-9, atol=1e-9 * size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_routes_agree(dtype: torch.dtype) -> None:
    t = tables(MIX)
    for shape in [(4, 1), (4, 127), (4, 3, 50), (4, 20_001), (4, 0)]:
        x = (6 * torch.randn(shape, dtype=dtype)).requires_grad_()
        results = []
        for route in ("compiled", "composite"):
            with acts.nn.backend(route):  # type: ignore[arg-type]
                y = lookup(x, t)
                first = slopes(y, x, create_graph=True)
                results.append([y, first, slopes(first, x)])
        for a, b, loose in zip(*results, (1, 10, 1000), strict=True):
            eps = loose * 8 * torch.finfo(dtype).eps
            torch.testing.assert_close(a, b, rtol=eps, atol=10 * eps)


def test_a_value_does_not_depend_on_its_place_or_on_threads() -> None:
    t, x = tables(MIX), torch.randn(4, 20_003)
    y = lookup(x, t)
    assert torch.equal(lookup(x[:, 7:], t), y[:, 7:])
    assert torch.equal(lookup(x[2], t[2]), y[2])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(before, 2))
        assert torch.equal(lookup(x, t), y)
    finally:
        torch.set_num_threads(before)


def test_layouts_and_halves() -> None:
    t = tables(MIX)
    base = torch.randn(4, 6, 8, 10)
    cases = [
        base.transpose(1, 3),
        base.transpose(0, 1).contiguous().transpose(0, 1),
        base[..., ::2],
        base[:, :1].expand(4, 5, 8, 10),
    ]
    cases += [base.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)]
    for case in cases:
        x = case.detach().requires_grad_()
        y = lookup(x, t)
        expected = torch.stack([lookup(row, table) for row, table in zip(x, t, strict=True)])
        assert torch.equal(y, expected)
        assert torch.equal(slopes(y, x), slopes(expected, x))
        (ones,) = torch.autograd.grad(lookup(x, t).sum(), x)  # an expanded cotangent
        assert torch.equal(ones, torch.autograd.grad(lookup(x, t), x, torch.ones(x.shape))[0])
    image = base.to(memory_format=torch.channels_last)
    assert lookup(image, t[0]).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(lookup(image, t[0]), lookup(base, t[0]))
    for dtype in (torch.float16, torch.bfloat16):
        x = base.to(dtype).requires_grad_()
        y = lookup(x, t)
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.dtype == y.dtype == dtype
        assert torch.equal(y, lookup(x.float(), t).to(dtype))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the kernel calls; plain torch fails."""
    found: list[tuple[int, ...]] = []
    compute = module._compute

    def counted(kernel: Any, x: Tensor, g: Tensor | None, tables: Tensor) -> Tensor:
        found.append(tuple(x.shape))
        return compute(kernel, x, g, tables)

    def refuse(*_: Any) -> Any:
        raise AssertionError("plain torch, not the kernel")

    lookup(torch.ones(1, requires_grad=True), tables(["relu"])[0]).backward()  # compiled and compared
    monkeypatch.setattr(module, "_compute", counted)
    monkeypatch.setattr(module, "_evaluate", refuse)
    return found


def test_vmap_is_one_kernel_call(calls: list[tuple[int, ...]]) -> None:
    t, x = tables(MIX), torch.randn(4, 5, 6, requires_grad=True)
    y = vmap(lookup)(x, t)
    assert calls == [(4, 5, 6)]
    y.sum().backward()
    assert calls == [(4, 5, 6)] * 2


@pytest.mark.parametrize("dims", [(0, 0), (1, 0), (-1, 0), (None, 0), (0, None), (2, None), (0, 1)])
def test_batch_dimensions(dims: tuple[int | None, int | None], calls: list[tuple[int, ...]]) -> None:
    x_dim, dim = dims
    t = tables(MIX)[0] if dim is None else tables(MIX).movedim(0, dim)
    shape = [5, 6]
    if x_dim is not None:
        shape.insert(x_dim % 3, 4)
    x = torch.randn(shape, requires_grad=True)
    y = vmap(lookup, in_dims=dims)(x, t)
    rows = [x if x_dim is None else x.select(x_dim, i) for i in range(4)]
    alone = torch.stack([lookup(row, t if dim is None else t.select(dim, i)) for i, row in enumerate(rows)])
    assert torch.equal(y, alone)
    assert torch.allclose(slopes(y, x), slopes(alone, x), atol=1e-6)
    assert calls


@pytest.mark.parametrize("nets", [0, 1])
def test_no_net_and_one(nets: int) -> None:
    t, x = tables(MIX)[:nets], torch.randn(nets, 3, requires_grad=True)
    for y in (vmap(lookup)(x, t), lookup(x, t)):
        y.sum().backward()
        assert y.shape == x.shape
    assert x.grad is not None


@pytest.mark.parametrize("inner", [(0, 0), (0, None), (None, 0)])
@pytest.mark.parametrize("outer", [(0, 0), (0, None), (None, 0)])
def test_nested(inner: tuple[int | None, int | None], outer: tuple[int | None, int | None]) -> None:
    def lead(which: int) -> tuple[int, ...]:
        return (() if outer[which] is None else (2,)) + (() if inner[which] is None else (4,))

    x = torch.randn(*lead(0), 7, requires_grad=True)
    every = torch.stack([tables(MIX), tables(["tanh", "silu", "elu", "mish"])])
    t = {(): every[0, 0], (2,): every[:, 0], (4,): every[0], (2, 4): every}[lead(1)]
    y = vmap(vmap(lookup, in_dims=inner), in_dims=outer)(x, t)
    xs = x.reshape(2 if outer[0] == 0 else 1, 4 if inner[0] == 0 else 1, 7).expand(2, 4, 7)
    ts = t.reshape(2 if outer[1] == 0 else 1, 4 if inner[1] == 0 else 1, CELLS + 3, 4).expand(2, 4, -1, -1)
    expected = lookup(xs, ts)
    assert torch.equal(y, expected)
    assert torch.allclose(slopes(y, x), slopes(expected, x), atol=1e-6)


def test_other_transforms() -> None:
    t, x = tables(MIX), torch.randn(4, 5, dtype=torch.float64)

    def total(x: Tensor, t: Tensor) -> Tensor:
        return lookup(x, t).square().sum()

    v = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(total(v, t), v)
    torch.testing.assert_close(vmap(grad(total))(x, t), expected)
    torch.testing.assert_close(grad(lambda x: vmap(total)(x, t).sum())(x), expected)
    torch.testing.assert_close(jvp(lambda x: lookup(x, t), (x,), (x,))[1], x * slopes_of_ones(t, x))
    many = torch.autograd.grad(lookup(v, t), v, torch.eye(20, dtype=x.dtype).view(20, 4, 5), is_grads_batched=True)[0]
    torch.testing.assert_close(many.sum(0), slopes_of_ones(t, x))
    compiled = torch.compile(lambda x: lookup(x, t), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(v), lookup(v, t))
    torch.testing.assert_close(slopes(compiled(v), v), slopes(lookup(v, t), v))


def slopes_of_ones(t: Tensor, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(lookup(x, t).sum(), x)[0]


def network(name: str, seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(3, 8), LookupActivation(name), nn.Linear(8, 8), LookupActivation(name), nn.Linear(8, 1)
        ).double()


def test_a_mixed_stack_trains_as_each_alone() -> None:
    nets = [network(name, seed) for seed, name in enumerate(MIX)]
    alone = [copy.deepcopy(net) for net in nets]
    params, buffers = stack_module_state(nets)  # type: ignore[arg-type]
    x = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(16, 3)
    target = torch.sin(x.sum(1, keepdim=True))

    def loss(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        return (functional_call(nets[0], (p, b), (x,)) - target).square().mean()

    together = torch.optim.Adam(params.values(), 0.01)
    each = torch.optim.Adam([p for net in alone for p in net.parameters()], 0.01)
    for _ in range(20):
        losses = vmap(loss)(params, buffers)
        separate = torch.stack([(net(x) - target).square().mean() for net in alone])
        torch.testing.assert_close(losses, separate, rtol=1e-9, atol=1e-12)
        for optimizer, total in ((together, losses.sum()), (each, separate.sum())):
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
    assert len({round(v, 6) for v in losses.tolist()}) == len(MIX)


def test_the_training_is_the_formulas() -> None:
    """Twenty steps through the tables and through the formulas themselves end at the same loss."""
    x = torch.linspace(-2, 2, 48).reshape(16, 3)
    for name in ("gelu", "relu"):
        ends = []
        for make in (LookupActivation, acts.nn.Activation):
            net = network(name, 0).float()
            for i in (1, 3):
                net[i] = make(name)
            optimizer = torch.optim.Adam(net.parameters(), 0.01)
            for _ in range(20):
                loss = (net(x) - torch.sin(x.sum(1, keepdim=True))).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            ends.append(loss.item())
        assert ends[0] == pytest.approx(ends[1], rel=1e-4)


def test_the_module() -> None:
    act = LookupActivation("crrelu")
    assert not list(act.parameters())
    assert act.table.shape == (CELLS + 3, 4)
    for moved in (
        act.double(),
        act.half(),
        act.to(torch.bfloat16),
        copy.deepcopy(act),
        pickle.loads(pickle.dumps(act)),
    ):
        assert moved.table.dtype == torch.float32
        assert torch.equal(moved.table, LookupActivation("crrelu").table)
    act.table.zero_()  # its own: the next one's is as before
    assert LookupActivation("crrelu").table.any()
    assert tabulate(acts.resolve("crrelu")) is tabulate(acts.resolve("crrelu"))
    learned = acts.Formula("a*x", {"a": acts.Param(2.0, learn=True)})
    assert LookupActivation(learned)(torch.ones(1)).item() == pytest.approx(2.0)
    assert "error" in repr(act)


@pytest.mark.parametrize("name", ["exp(x**2)", "sin(300*x)", "sqrt(abs(x))", "log(x)"])
def test_what_no_table_holds(name: str) -> None:
    with pytest.raises(ActsmithError, match=r"the table of .* is off by .* Use Activation"):
        LookupActivation(name)
    if name == "sin(300*x)":
        assert LookupActivation(name, tolerance=1.0).error > 1e-4


def test_wrong_arguments() -> None:
    t = tables(MIX)
    with pytest.raises(ActsmithError, match="floating-point"):
        lookup(torch.ones(4, dtype=torch.int64), t)
    for x, wrong in [
        (torch.ones(3, 2), t),
        (torch.ones(4), t.double()),
        (torch.ones(4), t[..., :3]),
        (torch.ones(4), t[0, 0]),
    ]:
        with pytest.raises(ActsmithError, match="expected x"):
            lookup(x, wrong)
    with pytest.raises(ActsmithError, match="detach"):
        lookup(torch.ones(4), t.clone().requires_grad_())


def test_no_compiler(tmp_path: Path) -> None:
    code = """
        import warnings, torch
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            from actsmith.nn import LookupActivation
            x = torch.linspace(-2, 2, 9, requires_grad=True)
            y = LookupActivation("gelu")(x)
            y.sum().backward()
        assert torch.allclose(y, torch.nn.functional.gelu(x), atol=1e-6) and x.grad.abs().sum() > 0
        print(*[w.message for w in caught if w.category is RuntimeWarning])
    """
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(line[8:] for line in code.splitlines())],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PATH": str(tmp_path), "CC": ""},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout.startswith("lookup activation is computed by plain torch"), done.stdout + done.stderr
    assert "no C compiler was found" in done.stdout
