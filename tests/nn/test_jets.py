"""Jets: against nested autograd, mpmath, closed forms; every rule; every way in which torch may look at them."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from nn_support import NAMES, learnable, random_formula
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from two_processes import together

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.nn import Activation, biharmonic, derivatives, jet, laplacian
from actsmith.nn.family import family, jets_of
from actsmith.nn.jet_algebra import Slots, closure
from actsmith.nn.packed import Packed

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
D = torch.double
NETS = {
    "tanh": nn.Tanh, "gelu": nn.GELU, "crrelu": lambda: Activation("crrelu"), "mrepu": lambda: acts.nn.MRePU(3),
    "sin": lambda: Activation("sin"), "channels": lambda: Activation(learnable("crrelu"), share="channel", channels=6),
}  # fmt: skip


def net(activation: object, inputs: int = 2, width: int = 6, outputs: int = 2) -> nn.Module:
    torch.manual_seed(0)
    make = NETS[activation] if isinstance(activation, str) else activation
    return nn.Sequential(
        nn.Linear(inputs, width), make(), nn.Linear(width, width), make(), nn.Linear(width, outputs)
    ).double()  # type: ignore[operator]


def points(count: int = 9, inputs: int = 2) -> Tensor:
    return torch.randn(count, inputs, dtype=D, generator=torch.Generator().manual_seed(1)).requires_grad_()


def partial(model: object, x: Tensor, multi: tuple[int, ...]) -> Tensor:
    """By nested autograd, for each output."""
    columns = []
    for column in model(x).unbind(-1):  # type: ignore[operator]
        y = column
        for i, k in enumerate(multi):
            for _ in range(k):
                (g,) = torch.autograd.grad(y.sum(), x, create_graph=True, allow_unused=True)
                y = torch.zeros_like(column) if g is None else g[:, i]
                if not y.requires_grad:
                    y = y + 0 * x.sum()
        columns.append(y)
    return torch.stack(columns, -1)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> bool:
    return bool((a - b).abs().max() <= tolerance * (1 + b.abs().max()))


@pytest.mark.parametrize("name", NETS)
def test_all_partial_derivatives_are_those_of_nested_autograd(name):
    model, x = net(name), points()
    u = derivatives(model, x, 3)
    assert len(u) == 10
    for multi, found in u.items():
        assert close(found, partial(model, x, multi)), multi


@pytest.mark.parametrize("name", ["tanh", "crrelu", "channels"])
def test_gradients_of_derivatives_are_right(name):
    """In all parameters, learnable ones of the activation among them, and in the points."""
    model, x = net(name), points()
    inputs = [x, *model.parameters()]
    ours = torch.autograd.grad(derivatives(model, x, [(2, 1)])[2, 1].square().sum(), inputs)
    theirs = torch.autograd.grad(partial(model, x, (2, 1)).square().sum(), inputs, allow_unused=True)
    for a, b in zip(ours, theirs, strict=True):
        assert close(a, torch.zeros_like(a) if b is None else b)


def test_order_six_is_exact():
    """sin(3 x): the closed form, and mpmath of a network written by hand."""
    x = torch.linspace(-1, 1, 7, dtype=D)[:, None]
    found = jet(lambda z: torch.sin(3 * z), x, torch.ones(1, dtype=D), 6)
    for k in range(7):
        assert close(found[k], 3**k * torch.sin(3 * x + k * math.pi / 2), 1e-13)
    model = net("tanh", inputs=1, outputs=1)
    w = [[mpmath.matrix(p.detach().tolist()) for p in layer.parameters()] for layer in model[::2]]

    def by_hand(s: mpmath.mpf) -> mpmath.mpf:
        z = mpmath.matrix([s])
        for i, (weight, bias) in enumerate(w):
            z = weight * z + bias
            z = z.apply(mpmath.tanh) if i < 2 else z
        return z[0]

    found = jet(model, torch.full((1, 1), 0.3, dtype=D), torch.ones(1, dtype=D), 6).flatten()
    with mpmath.workdps(40):
        true = mpmath.taylor(by_hand, mpmath.mpf(0.3), 6)
    for k in range(7):
        assert abs(float(true[k]) * math.factorial(k) - found[k].item()) < 1e-12 * (1 + abs(found[k].item()))


def test_directions():
    """One, one for each point, several at once: derivatives along a line."""
    model, x = net("gelu"), points()
    v = torch.randn(3, 9, 2, dtype=D, generator=torch.Generator().manual_seed(2))
    many = jet(model, x, v, 2)
    assert many.shape == (3, 3, 9, 2)
    for i in range(3):
        assert close(jet(model, x, v[i], 2), many[i])
        second = sum(v[i][:, [a]] * v[i][:, [b]] * partial(model, x, tuple(int(k == a) + int(k == b) for k in range(2)))
                     for a in range(2) for b in range(2))  # fmt: skip
        assert close(many[i][2], second)
    assert close(jet(model, x, torch.tensor([1.0, 0.0], dtype=D), 1)[1], partial(model, x, (1, 0)))


@pytest.mark.parametrize("inputs", [1, 2, 3, 5])
def test_laplacian(inputs):
    model, x = net("tanh", inputs), points(inputs=inputs)
    units = [tuple(2 * int(i == j) for j in range(inputs)) for i in range(inputs)]
    u, found = laplacian(model, x)
    assert close(u, model(x))
    assert close(found, sum(partial(model, x, unit) for unit in units))
    weights = torch.arange(inputs, dtype=D) - 1  # a negative one and a zero
    true = sum(w * partial(model, x, unit) for w, unit in zip(weights, units, strict=True))
    assert close(laplacian(model, x, weights)[1], true)
    assert close(laplacian(model, x, weights.clone().requires_grad_())[1], true)
    assert close(laplacian(model, x, fallback=True)[1], found)


def test_an_operator_with_a_matrix_for_each_point():
    model, x = net("gelu"), points()
    a = torch.randn(9, 2, 2, dtype=D, generator=torch.Generator().manual_seed(3))
    a = a + a.mT
    second = {
        (i, j): partial(model, x, tuple(int(k == i) + int(k == j) for k in range(2))) for i in (0, 1) for j in (0, 1)
    }
    true = sum(a[:, i, j, None] * second[i, j] for i, j in second)
    assert close(laplacian(model, x, a)[1], true)
    assert close(laplacian(model, x, a.requires_grad_())[1], true)
    (g,) = torch.autograd.grad(laplacian(model, x, a)[1].sum(), a)
    assert close(g[:, 0, 1], second[0, 1].sum(-1))


@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_biharmonic(inputs):
    model, x = net("sin", inputs), points(4, inputs)
    u, axes = derivatives(model, x, 4), range(inputs)
    true = sum(u[tuple(2 * (k == i) + 2 * (k == j) for k in axes)] for i in axes for j in axes)
    value, found = biharmonic(model, x)
    assert close(value, model(x))
    assert close(found, true)


class Residual(nn.Module):
    """What people write: skips, products, concatenation, constants."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 6), nn.Linear(6, 6)
        self.out = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.silu(self.a(x))
        h = h + 0.5 * torch.tanh(self.b(h)) * h
        z = torch.cat([h**3, h / (1 + h**2)], dim=-1)
        return self.out(z) - x.sum(-1, keepdim=True) ** 2


class Attention(nn.Module):
    """A block of a transformer over three coordinates as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv, self.out = nn.Linear(1, 4), nn.Linear(4, 12), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.unsqueeze(-1))
        q, k, v = self.qkv(h).chunk(3, dim=-1)
        h = h + functional.scaled_dot_product_attention(q, k, v)
        weights = torch.softmax(h @ h.transpose(-2, -1), dim=-1)
        return self.out(weights @ h).flatten(1)


@pytest.mark.parametrize("make", [Residual, Attention])
def test_ordinary_models(make):
    torch.manual_seed(0)
    model, x = make().double(), points()
    for multi, found in derivatives(model, x, 3).items():
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            assert close(found, partial(model, x, multi)), multi


def test_layer_norm_to_third_order():
    """Written out: the third derivative of torch's own layer_norm is wrong (2.14: 412 where this says 0.002)."""
    x = points()

    def by_hand(z: Tensor) -> Tensor:
        y = torch.sin(z) + z[:, :1] ** 2
        y = y - y.mean(-1, keepdim=True)
        return y / ((y * y).mean(-1, keepdim=True) + 1e-5).sqrt()

    found = derivatives(lambda z: functional.layer_norm(torch.sin(z) + z[:, :1] ** 2, (2,)), x, 3)
    assert all(close(value, partial(by_hand, x, multi), 1e-8) for multi, value in found.items())


W = torch.randn(4, 2, dtype=D, generator=torch.Generator().manual_seed(4))
RULES = {
    "views": lambda x: x.reshape(-1, 1, 2).transpose(1, 2).squeeze(-1).flip(-1).repeat(1, 2) ** 2,
    "indices": lambda x: torch.stack([x[:, 0] * x[:, 1], x[..., 1].exp()], dim=-1),
    "unpacking": lambda x: torch.cat([a * b[:, None] for a in x.split(1, -1) for b in x.unbind(-1)], -1),
    "constants": lambda x: 2 - x + torch.tensor([1.0, 2.0], dtype=D) * x / 3 - 1 / (2 + x**2),
    "swapped": lambda x: torch.ones(2, dtype=D) - x * x + torch.ones(2, dtype=D) / (3 + x * x),
    "powers": lambda x: (1 + x**2) ** 0.5 + 2**x + (2 + x.sin()) ** x,
    "matrices": lambda x: (x @ W.T) @ W + torch.einsum("ni,ki->nk", x, W)[:, :2] * x,
    "two": lambda x: torch.einsum("ni,nj->nij", x, x).flatten(1) + torch.bmm(x[:, :, None], x[:, None]).flatten(1),
    "where": lambda x: torch.where(x > 0, x**3, 2.0) + torch.maximum(x, x**2) + torch.minimum(x, x.cos()),
    "clamps": lambda x: torch.clamp(x, -0.5, 0.5) * x + functional.leaky_relu(x, 0.3) ** 2 + functional.elu(x, 0.7),
    "prelu": lambda x: functional.prelu(x, torch.tensor([0.1, 0.3], dtype=D)) * x,
    "elementwise": lambda x: x.tanh() * torch.sigmoid(x) + functional.softplus(x, 2.0) + torch.log1p(x**2) + x.atan(),
    "more": lambda x: torch.sqrt(1 + x.square()) - torch.rsqrt(2 + x**2) + x.abs() ** 3 + (2 + x.cos()).log().neg(),
    "gates": lambda x: functional.gelu(x, approximate="tanh") * functional.mish(x) + functional.rms_norm(x, (2,)),
    "statistics": lambda x: functional.group_norm(torch.cat([x**2, x.sin()], -1), 2, W[:, 0], W[:, 1])[:, :2]
    + functional.batch_norm(x**2, W[0], W[1] ** 2, W[2], W[3]) + torch.logsumexp(x, -1, True) * x
    + torch.log_softmax(x * x, -1),
    "sums": lambda x: x.mean(-1, keepdim=True) * x.cumsum(-1) + x.sum(-1, True) * x,
    "convolution": lambda x: functional.conv1d(x[:, None] ** 2, W[:2, None] * 1.0, W[0], padding=1).flatten(1),
    "dropout": lambda x: functional.dropout(x, 0.5, training=False) ** 2,
    "addmm": lambda x: torch.addmm(torch.ones(4, dtype=D), x, W.T) ** 2,
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_rules(name):
    x, function = points(5), RULES[name]
    found = derivatives(function, x, 2)
    assert close(found[0, 0], function(x))
    for multi, value in found.items():
        assert close(value, partial(function, x, multi), 1e-9), (name, multi)


def test_what_has_no_rule_is_named_and_can_fall_back():
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cumprod(x, -1) * x

    model = nn.Sequential(nn.Linear(2, 4), Sorted(), nn.Tanh()).double()
    x = points()
    with pytest.raises(ActsmithError, match=r"Sorted '1' calls cumprod"):
        derivatives(model, x, 2)
    for multi, found in derivatives(model, x, 3, fallback=True).items():
        assert close(found, partial(model, x, multi))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(3, 2), 0), "multi-indices"),
        ((torch.ones(3, 2), [(1,)]), "multi-indices of 2"),
        ((torch.ones(3, 2, dtype=torch.int64), 1), "floating-point"),
    ],
)
def test_wrong_requests(arguments, message):
    if message == "multi-indices":
        with pytest.raises(ActsmithError, match="1 or more"):
            jet(nn.Linear(2, 2), arguments[0], torch.ones(2), 0)
        return
    with pytest.raises(ActsmithError, match=message):
        derivatives(nn.Linear(2, 2), *arguments)


@pytest.mark.parametrize("shape", [(3,), (5, 2), (4, 3, 3), (2, 1, 3, 2)])
def test_directions_that_do_not_fit(shape):
    with pytest.raises(ActsmithError, match="a direction that broadcasts"):
        jet(nn.Linear(2, 2), torch.ones(3, 2), torch.ones(shape), 1)


@pytest.mark.parametrize("call", [lambda f, x: derivatives(f, x, 2), laplacian, biharmonic])
def test_a_number_has_no_coordinates(call):
    with pytest.raises(ActsmithError, match="coordinates"):
        call(torch.sin, torch.tensor(1.0))


def test_a_linear_layer_without_bias():
    model, x = nn.Sequential(nn.Linear(2, 6, bias=False), nn.Tanh(), nn.Linear(6, 2, bias=False)).double(), points()
    for multi, found in derivatives(model, x, 2).items():
        assert close(found, partial(model, x, multi))


# --------------------------------------------------------------------------------------------- kernels and routes

SLOTS = Slots(closure([(3, 0), (1, 1)]), ((((2, 0), 1), ((0, 2), -2)),))


def made(f: acts.Formula) -> Packed:
    return getattr(family(f), jets_of(family(f), *SLOTS[:2]))


COUNT = len(SLOTS.multis) + len(SLOTS.sums)


def packed(f: acts.Formula, dtype: torch.dtype = D, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    made = torch.Generator().manual_seed(seed)
    pack = torch.randn(COUNT, 3, 2, dtype=D, generator=made).to(dtype).requires_grad_()
    theta = [torch.tensor([f.params[n].value], dtype=dtype, requires_grad=True) for n in family(f).learnable]
    return pack, theta


@pytest.mark.parametrize("f", [learnable("crrelu"), learnable("gelu"), random_formula(3), random_formula(8)], ids=str)
def test_gradcheck_and_gradgradcheck(f):
    pack, theta = packed(f)
    run = made(f)

    def call(*tensors: Tensor) -> Tensor:
        return run(tensors)[0]

    assert torch.autograd.gradcheck(call, (pack, *theta))
    assert torch.autograd.gradgradcheck(call, (pack, *theta))


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * bool(i % 6)) for i, n in enumerate(NAMES)])
def test_kernels_are_their_plain_twins(name):
    """The catalogue, float32: the jet and its vector-Jacobian product."""
    f = learnable(name)
    pack, theta = packed(f, torch.float32)
    run, weight = made(f), torch.linspace(-1, 1, COUNT * 6).reshape(COUNT, 3, 2)

    def both() -> list[Tensor]:
        (out,) = run((pack, *theta))
        return [out, *torch.autograd.grad((out * weight).sum(), (pack, *theta))]

    with acts.nn.backend("compiled"):
        fused = both()
    with acts.nn.backend("composite"):
        plain = both()
    for a, b in zip(fused, plain, strict=True):
        assert close(a, b, 2e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_computed_in_float32(dtype):
    f = learnable("gelu")
    pack, _ = packed(f, dtype)
    out = made(f)((pack,))[0]
    assert out.dtype == dtype
    true = made(f)((pack.double(),))[0]
    assert close(out.double(), true, 2 * torch.finfo(dtype).eps)


def test_backward_keeps_the_input_jets_alone():
    kept: list[int] = []
    f = learnable("crrelu")
    pack, theta = packed(f)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        made(f)((pack, *theta))
    assert sum(kept) == pack.numel() + len(theta)


def test_a_loss_is_trained_under_compile_and_under_vmap():
    model, x = net("crrelu"), points().detach()

    def residual(z: Tensor) -> Tensor:
        u = derivatives(model, z, [(2, 0), (0, 1)])
        return (u[0, 1] - u[2, 0]).square().mean()

    torch.autograd.backward(residual(x))
    true = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    compiled = torch.compile(residual, backend="aot_eager", fullgraph=True)
    torch.autograd.backward(compiled(x))
    assert all(close(p.grad, t) for p, t in zip(model.parameters(), true, strict=True))
    each = torch.func.vmap(residual)(x)
    assert close(each.mean(), residual(x))
    functional_ = torch.func.grad(lambda p: torch.func.functional_call(_Loss(model), p, (x,)))
    found = functional_({f"model.{n}": p.detach() for n, p in model.named_parameters()})
    assert all(close(a, t) for a, t in zip(found.values(), true, strict=True))


class _Loss(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        u = derivatives(self.model, x, [(2, 0), (0, 1)])
        return (u[0, 1] - u[2, 0]).square().mean()


def test_autocast():
    model, x = net("gelu").float(), points().detach().float()
    with torch.autocast("cpu", torch.bfloat16):
        found = derivatives(model, x, 2)
    for multi, true in derivatives(model, x, 2).items():
        assert close(found[multi].float(), true, 0.05)


def one_process(rank: int, folder: str) -> None:
    with together(rank, folder):
        model = net("crrelu")
        loss = _Loss(DistributedDataParallel(model))
        torch.autograd.backward(loss(points(10).detach()[rank::2]))
        torch.save([p.grad for p in model.parameters()], f"{folder}/{rank}.pt")


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    torch.multiprocessing.spawn(one_process, (str(tmp_path),), nprocs=2)
    model = net("crrelu")
    torch.autograd.backward(_Loss(model)(points(10).detach()))
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert all(close(a, p.grad) for a, p in zip(found, model.parameters(), strict=True))
