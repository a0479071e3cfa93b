"""A swap trains the model that the user wrote: contexts, side effects, entry points, copies, modules."""

from __future__ import annotations

import copy
import functools
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from actsmith.errors import ActsmithError
from actsmith.surgery.replace import replace_
from actsmith.surgery.sites import sites
from actsmith.surgery.swaps import calibrate_

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)


# ------------------------------------------------------------------------------------------------- the forward's own


class NoGrad(Two):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            t = functional.relu(self.b(x))
        return functional.relu(self.a(x)) + t


class Detached(Two):
    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.a(x)) + torch.relu(self.b(x)).detach()


@pytest.mark.parametrize("kind", [NoGrad, Detached])
def test_what_has_no_gradient_gets_none(kind: type[nn.Module]) -> None:
    model = kind()
    replace_(model, "tanh", example=X)
    model(X).sum().backward()
    assert model.b.weight.grad is None
    assert model.a.weight.grad is not None


class Autocast(Two):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return functional.relu(self.a(x.float()))


def test_autocast_is_off_where_the_forward_says_so() -> None:
    model = Autocast()
    replace_(model, "tanh", example=X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(X).dtype == torch.float32


class Effects(Two):
    features: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", torch.zeros(()))
        self.count, self.history, self.scale = 0, [], 1.0

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.a(x))
        self.features = h
        self.n += 1
        self.count += 1
        self.history.append(h.shape)
        return self.b(h) * self.scale


def test_side_effects_are_those_of_the_forward_and_none_of_the_swap() -> None:
    model = Effects()
    replace_(model, "tanh", example=X)
    assert (model.features, model.n.item(), model.count, model.history) == (None, 0, 0, [])
    first = model(X)
    model.scale = 3.0
    torch.testing.assert_close(model(X), 3 * first)
    torch.testing.assert_close(model.features, torch.tanh(model.a(X)))
    assert (model.n.item(), model.count, len(model.history)) == (2, 2, 2)


def tanh_of(model: Any, x: Tensor) -> Tensor:
    result: Tensor = torch.tanh(model.a(x))
    return result


class Encoder(Two):
    def encode(self, x: Tensor) -> Tensor:
        return functional.relu(self.a(x))

    def decode(self, x: Tensor) -> Tensor:
        return torch.relu(self.b(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.encode(x))


class Derived(Encoder):
    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x)


def doubled(f: Any) -> Any:
    @functools.wraps(f)
    def call(*arguments: Any) -> Any:
        return f(*arguments)

    return call


class Decorated(Two):
    @doubled
    @torch.enable_grad()
    def encode(self, x: Tensor) -> Tensor:
        return functional.relu(self.a(x))

    forward = doubled(lambda self, x: self.b(self.encode(x)))


class Static(Two):
    @staticmethod
    def act(x: Tensor) -> Tensor:
        return x.relu()

    def encode(self, x: Tensor) -> Tensor:
        return self.act(self.a(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.encode(x))


def helper(x: Tensor) -> Tensor:
    return functional.relu(x)


class Helped(Static):
    def encode(self, x: Tensor) -> Tensor:
        return helper(self.a(x))


@pytest.mark.parametrize("kind", [Encoder, Derived, Decorated, Static, Helped])
def test_every_entry_point_calls_the_new_activation(kind: type[nn.Module]) -> None:
    model = kind()
    replace_(model, "tanh", example=X)
    for one in (model, copy.deepcopy(model)):
        torch.testing.assert_close(one.encode(X), tanh_of(one, X))
    torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(X), model.b(tanh_of(model, X)))
    assert torch.equal(helper(-X.abs()), torch.zeros_like(X))
    assert torch.equal(kind().encode(X), torch.relu(model.a(X)))


def test_calls_that_the_example_does_not_run_are_reported() -> None:
    swaps = replace_(Encoder(), "tanh", example=X)
    (note,) = swaps.notes
    assert "Encoder.decode: relu" in note
    assert note in swaps.report()


class Plain(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(functional.relu(self.a(x)))


def test_copies_of_a_graph_module() -> None:
    model = torch.fx.symbolic_trace(Plain())
    old = model(X)
    swaps = replace_(model, "tanh", example=X)
    for clone in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(clone(X), model.b(tanh_of(model, X)))
    swaps.undo()
    assert torch.equal(model(X), old)


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_tracing_and_scripting_see_the_new_activation_or_fail() -> None:
    model = Plain()
    replace_(model, nn.Tanh, example=X)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(X), model.b(tanh_of(model, X)))
    with pytest.warns(FutureWarning, match="deprecated"):
        traced = torch.jit.trace(model, (X,))
    torch.testing.assert_close(traced(X), model.b(tanh_of(model, X)))
    with (
        pytest.warns(FutureWarning, match="deprecated"),
        pytest.raises(ActsmithError, match="reads the source of Plain"),
    ):
        torch.jit.script(model)


class Later(Two):
    part = False

    def body(self, x: Tensor) -> Tensor:
        return self.b(functional.relu(self.a(x)))

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.body, x, use_reentrant=False) if self.part else self.body(x)


def test_checkpointing_switched_on_later() -> None:
    model = Later()
    replace_(model, "tanh", example=X)
    model(X).sum().backward()
    expected = model.a.weight.grad.clone()
    model.zero_grad()
    model.part = True
    model(X).sum().backward()
    torch.testing.assert_close(model.a.weight.grad, expected)


class Training(Two):
    """A head that only training has, and one that only evaluation has."""

    def forward(self, x: Tensor) -> Any:
        x = self.a(x)
        return (self.b(x), self.b(functional.relu(x))) if self.training else self.b(torch.tanh(x))


def test_both_modes_are_looked_at() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), Training())
    state, random = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    found = {s.path: (s.calls, s.training_calls) for s in sites(model, X)}
    assert found == {"1.tanh:0": (1, None), "1.relu:0": (0, 1)}
    swaps = replace_(model, "silu", example=X)
    assert [c.ran for c in swaps.changed] == [{"eval": (1, 1), "train": (0, 0)}, {"eval": (0, 0), "train": (1, 1)}]
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items() if k in state)
    assert torch.equal(random, torch.random.get_rng_state())


# ----------------------------------------------------------------------------------------- what counts as an activation


class OneMinus(Two):
    def forward(self, x: Tensor) -> Tensor:
        return (1 - torch.sigmoid(self.a(x))) * self.b(x)


class Through(Two):
    def forward(self, x: Tensor) -> Tensor:
        z = functional.interpolate(torch.sigmoid(self.a(x))[:, None], size=4).squeeze(1)
        return self.b(x).mul(z)


class Addcmul(Two):
    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(x, torch.sigmoid(self.a(x)), self.b(x))


class Lerp(Two):
    def forward(self, x: Tensor) -> Tensor:
        return torch.lerp(x, self.b(x), torch.sigmoid(self.a(x)))


class WrittenOut(Two):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.b(0.5 * x * (1 + torch.tanh(0.79788456 * (x + 0.044715 * x**3))))


class SoftCap(Two):
    def forward(self, x: Tensor) -> Tensor:
        scores = torch.tanh(self.a(x) @ self.b(x).T / 5) * 5
        return self.b(torch.softmax(scores, -1) @ x)


class Deviation(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) / functional.softplus(self.b(x))


class Gaussian(Two):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.a(x), functional.softplus(self.b(x)) + 1e-6


class OnAWeight(Two):
    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, torch.tanh(self.a.weight))


class Excitation(Two):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.a(x).mean(-1, keepdim=True))


class Actor(Two):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.tanh(self.b(self.a(x)))


LEFT = (
    (OneMinus, "gate"), (Through, "gate"), (Addcmul, "gate"), (Lerp, "gate"), (WrittenOut, "gate"),
    (SoftCap, "softmax"), (Deviation, "deviation"), (Gaussian, "no linear map"), (OnAWeight, "weight"),
    (Excitation, "larger tensor"), (Actor, "no linear map"),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "why"), LEFT, ids=lambda v: getattr(v, "__name__", v))
def test_what_is_no_activation_between_linear_maps_is_left(kind: type[nn.Module], why: str) -> None:
    model = kind()
    (site,) = sites(model, X)
    assert why in (site.reason or "")
    with pytest.raises(ActsmithError, match=why):
        replace_(model, "crrelu", example=X)
    assert replace_(model, "crrelu", example=X, where=site.path).changed[0].proven


class Normalised(Two):
    def forward(self, x: Tensor) -> Tensor:
        h = functional.layer_norm(torch.tanh(self.a(x)) + x, (4,))
        return self.b(torch.cat([h[:, :2], functional.dropout(h[:, 2:], 0.1)], 1))


class Gated(Two):
    """The value that a sigmoid gates is an activation."""

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.a(x))
        return self.b(h * torch.sigmoid(self.b(h)))


@pytest.mark.parametrize(("kind", "names"), [(Normalised, {"tanh:0"}), (Gated, {"relu:0"}), (Plain, {"relu:0"})])
def test_what_feeds_a_linear_map_is_an_activation(kind: type[nn.Module], names: set[str]) -> None:
    assert {s.path for s in sites(kind(), X) if s.ordinary} == names


class Pool(Two):
    low = 1e-9

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.clamp(self.a(x), min=self.low))


@pytest.mark.parametrize(("low", "count"), [(0, 1), (0.0, 1), (1e-9, 0), (1e-6, 0), (-1e-7, 0)])
def test_a_clamp_is_a_relu_at_exactly_0(low: float, count: int) -> None:
    model = Pool()
    model.low = low
    assert len(sites(model, X)) == count


class Attention(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.softmax(q @ k.transpose(-1, -2), -1) @ v


class Add(nn.Module):
    def forward(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        return first.relu() if second is None else first + second


class Judged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return functional.relu(x)


class Mixed(Two):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.add, self.judged, self.act = Attention(), Add(), Judged(), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        q = self.a(x)
        return self.b(self.judged(self.act(self.add(self.attention(q, q, q), x))))


def test_judging_a_module_takes_any_and_changes_none() -> None:
    model = Mixed()
    assert [s.path for s in sites(model, X)] == ["act", "judged"]
    assert model.judged.n == 0
    sites(model)
    replace_(model, "silu", example=X, where="act")
    assert model.judged.n == 0


# ------------------------------------------------------------------------------------------------------ shared modules


def test_one_place_of_a_shared_module() -> None:
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 8), act, nn.Linear(8, 8), act, nn.Linear(8, 2))
    swaps = replace_(model, "gelu", where="3", example=X)
    assert model[1] is act
    assert [c.path for c in swaps.changed] == ["3"]
    assert "3: of a module under 2 paths, split; 1 keeps the old one" in swaps.report()
    swaps.undo()
    assert model[1] is model[3] is act
    whole = replace_(model, "crrelu", example=X)
    assert model[1] is model[3]
    assert "split=True gives each place its own" in whole.report()
    whole.undo()
    each = replace_(model, "crrelu", example=X, split=True)
    assert model[1] is not model[3]
    assert [c.ran["eval"] for c in each.changed if c.ran] == [(1, 1), (1, 1)]
    assert len(each.parameters()) == 2
    each.undo()
    assert model[1] is model[3] is act
    with pytest.raises(ActsmithError):
        replace_(model, "gelu", where=["3", "gelu"], example=X)
    assert model[1] is model[3] is act


# ---------------------------------------------------------------------------------------------- arguments and batches


class Arguments(Two):
    def __init__(self, act: Any, **keywords: Any) -> None:
        super().__init__()
        self.act, self.keywords = act, keywords

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.act(self.a(x), **self.keywords))


@pytest.mark.parametrize("act", [functional.relu, functools.partial(functional.relu, inplace=True)])
def test_a_blend_from_a_function_in_place(act: Any) -> None:
    model = Arguments(act)
    swaps = replace_(model, "gelu", example=X, blend=4)
    assert swaps.blend is not None
    swaps.blend.step()
    model(X).sum().backward()


def test_arguments_of_an_activation() -> None:
    for model in (Arguments(functional.relu, inplace=True), Arguments(functional.relu, inplace=False)):
        assert replace_(model, "crrelu", example=X).changed[0].proven


class Inline(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(nn.LeakyReLU(0.2)(self.a(x)))


class InAList(Two):
    def __init__(self) -> None:
        super().__init__()
        self.acts = [nn.ReLU(), functional.relu, nn.ReLU()]

    def forward(self, x: Tensor) -> Tensor:
        for act in self.acts:
            x = self.b(act(self.a(x)))
        return x


@pytest.mark.parametrize(("kind", "count"), [(Inline, 1), (InAList, 3)])
def test_modules_that_are_no_children(kind: type[nn.Module], count: int) -> None:
    model = kind()
    swaps = replace_(model, "crrelu", example=X)
    assert [c.ran for c in swaps.changed] == [{"eval": (1, 1), "train": (1, 1)}] * count
    for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(clone(X), model(X))


class Inputs(Two):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.b(self.act(self.a(x) + y))


def test_two_inputs_in_calibration() -> None:
    model, example = Inputs(), (torch.randn(200, 4), torch.randn(200, 4))
    replace_(model, "crrelu", example=example)
    calibrate_(model, [example])


def test_weights_held_elsewhere() -> None:
    accelerate = pytest.importorskip("accelerate")
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), Wide(8), nn.Linear(8, 2)).eval()
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    swaps = replace_(model, "crrelu", example=X)
    assert [c.method for c in swaps.changed] == ["module", "code"]
    assert all(p.device.type == "cpu" for p in swaps.parameters())
    model(X)


class Wide(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(functional.relu(self.a(x)))
