"""Entropy descent: its gradient against the theory, and the loops it has to live in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.nn import (
    Activation,
    EntropyDescent,
    HermiteActivation,
    KANLinear,
    SplineActivation,
    cosine,
    hermite_formula,
)
from actsmith.nn.kept_critical import KeptCritical
from actsmith.nn.tap import Elements, taps_of

LARGE = 400_000
MIXTURE = acts.Mixture((0.4, 0.6), (acts.Normal(-1, 0.5), acts.Normal(1, 0.8)))


def gradient(act: nn.Module, x: Tensor, **options: Any) -> dict[str, np.ndarray]:
    """dJ/dtheta of one module for pre-activations x."""
    model = nn.Sequential(act)
    with EntropyDescent(model, weight=1.0, every=1, samples=x.numel(), memory=0.0, **options) as descent:
        model(x)
        descent.step()
    return {name: p.grad.double().squeeze().numpy() for name, p in act.named_parameters() if p.grad is not None}


def difference(entropy: Callable[[acts.Formula], float], f: acts.Formula, name: str, h: float = 1e-3) -> float:
    at = f.params[name].value
    return (entropy(f.at(**{name: at + h})) - entropy(f.at(**{name: at - h}))) / (2 * h)


@pytest.mark.parametrize("base", ["relu", "gelu", "tanh"])
@pytest.mark.parametrize(
    "law", [acts.Normal(0.0, 1.0), acts.Mixture((0.4, 0.6), (acts.Normal(-1, 0.5), acts.Normal(1, 0.8)))]
)
def test_the_smoothed_gradient_is_the_slope_of_the_theory(base: str, law: acts.Mixture) -> None:
    """From samples, against a difference of the theory's J by quadrature; flat and folding bases included."""
    f = hermite_formula(base, 3).at(eps1=0.1, eps2=-0.05, eps3=0.02)
    x = torch.from_numpy(law.sample(LARGE, 0))
    found = gradient(Activation(f), x)
    size = max(abs(float(g)) for g in found.values())
    for name, g in found.items():
        exact = difference(lambda g: float(acts.entropy(g, law).smoothed), f, name)
        assert float(g) == pytest.approx(exact, abs=0.02 * size), name


def test_the_scale_free_gradient_is_the_slope_of_the_theory() -> None:
    f = hermite_formula("x + 0.3*tanh(x)", 3).at(eps1=0.1, eps2=0.05, eps3=0.02)
    x = torch.from_numpy(acts.Normal(0.0, 1.0).sample(LARGE, 0))
    found = gradient(Activation(f), x, objective="scale_free")
    for name, g in found.items():
        exact = difference(lambda g: float(acts.entropy(g, "normal").scale_free), f, name)
        assert float(g) == pytest.approx(exact, abs=0.006), name


def test_the_published_start_raises_the_entropy() -> None:
    """dJ_0.1/deps = 0.394423 for max(0, x) + eps psi_1 at eps = 0 (THEORY 1.5)."""
    x = torch.from_numpy(acts.Normal(0.0, 1.0).sample(1_000_000, 0))
    assert float(gradient(HermiteActivation("relu", 1), x)["eps1"]) == pytest.approx(0.394423, abs=5e-3)


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2])
def test_a_channel_has_its_own_entropy(dim: int) -> None:
    f = hermite_formula("gelu", 2).at(eps1=0.1, eps2=0.1)
    shape = [30, 30, 30]
    shape[dim] = 3
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    x = x * torch.tensor([0.5, 1.0, 2.0]).reshape([3 if i == dim % 3 else 1 for i in range(3)])
    found = gradient(Activation(f, share="channel", channels=3, channel_dim=dim), x)
    for channel in range(3):
        alone = gradient(Activation(f), x.select(dim, channel).flatten())
        for name, g in alone.items():
            assert found[name][channel] == pytest.approx(float(g), rel=1e-4, abs=1e-5)


def test_the_spline_descends_the_same_entropy() -> None:
    """Along the change that a Hermite term makes of the knots' values."""
    x = torch.from_numpy(acts.Normal(0.0, 1.0).sample(LARGE, 0))
    spline = SplineActivation("gelu")
    knots = np.linspace(-4, 4, 32)
    along = float(gradient(spline, x)["values"] @ (knots * np.exp(-(knots**2) / 2)))
    assert along == pytest.approx(float(gradient(HermiteActivation("gelu", 1), x)["eps1"]), rel=0.03)


def test_every_edge_of_a_kan_layer_descends_its_own_entropy() -> None:
    layer = KANLinear(2, 2, "silu", order=2)
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(1))
    found = gradient(layer, x)["weight"]
    edge = layer.edge(1, 0)
    names = ("w", "eps0", "eps1", "eps2")
    slopes = np.array([difference(lambda g: float(acts.entropy(g, "normal").smoothed), edge, name) for name in names])
    share = 3**0.25 * np.array([[1, 0, 0], [0, np.sqrt(3), 0], [np.sqrt(2), 0, 3 / np.sqrt(2)]])  # of psi_j in q_k
    assert found[1, 0, 0] == pytest.approx(slopes[0], abs=0.03)
    assert found[1, 1:, 0] == pytest.approx(share @ slopes[1:], abs=0.03)


def test_descent_lowers_the_entropy_and_the_other_sign_raises_it() -> None:
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    ends = {}
    for weight in (1.0, -1.0):
        model = nn.Sequential(HermiteActivation("relu", 3))
        optimiser = torch.optim.SGD(model.parameters(), lr=0.003)
        with EntropyDescent(model, weight=weight, every=1) as descent:
            for _ in range(20):
                optimiser.zero_grad()
                model(x)
                descent.step()
                optimiser.step()
        ends[weight] = float(acts.entropy(model[0].formula).smoothed)
    start = float(acts.entropy("relu").smoothed)
    assert ends[1.0] < start - 0.01
    assert ends[-1.0] > start + 0.01


# ---------------------------------------------------------------------------------------------------- the loops


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(8, 64),
        HermiteActivation("gelu", 4),
        nn.Linear(64, 64),
        HermiteActivation("relu", 4),
        nn.Linear(64, 1),
    )


def batch(step: int, size: int = 64) -> Tensor:
    return torch.randn(size, 8, generator=torch.Generator().manual_seed(step))


def train(
    model: nn.Module, descent: EntropyDescent, optimiser: torch.optim.Optimizer, steps: range, call: Any = None
) -> None:
    for step in steps:
        optimiser.zero_grad()
        (call or model)(batch(step)).square().mean().backward()
        descent.step()
        optimiser.step()


def values(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_it_resumes_bit_for_bit() -> None:
    whole, model = network(), network()
    optimisers = [torch.optim.AdamW(m.parameters(), lr=1e-2) for m in (whole, model)]
    train(whole, EntropyDescent(whole, 0.1, every=4, samples=300, schedule=cosine(20)), optimisers[0], range(20))
    first = EntropyDescent(model, 0.1, every=4, samples=300, schedule=cosine(20))
    train(model, first, optimisers[1], range(11))
    saved = copy.deepcopy((model.state_dict(), optimisers[1].state_dict(), first.state_dict()))
    later = network(seed=1)
    optimiser = torch.optim.AdamW(later.parameters(), lr=1e-2)
    second = EntropyDescent(later, 0.1, every=4, samples=300, schedule=cosine(20))
    for thing, state in zip((later, optimiser, second), saved, strict=True):
        thing.load_state_dict(state)
    train(later, second, optimiser, range(11, 20))
    assert torch.equal(values(later), values(whole))
    with pytest.raises(ActsmithError, match="the state is of the layers"):
        EntropyDescent(nn.Sequential(HermiteActivation("relu", 2))).load_state_dict(first.state_dict())
    apart = nn.Sequential(nn.Identity(), HermiteActivation("gelu", 4, "channel", 2), nn.Identity(), *later[3:])
    with pytest.raises(ActsmithError, match="the same settings"):
        EntropyDescent(apart, 0.1, every=4, samples=300).load_state_dict(first.state_dict())


def test_between_samples_the_hooks_take_nothing_and_the_gradient_is_held() -> None:
    model = network()
    descent = EntropyDescent(model, 1.0, every=3)
    found = []
    for step in range(4):
        model.zero_grad()
        model(batch(step))
        assert [tap.pool is not None for tap in descent._taps] == [step % 3 == 0] * 2
        descent.step()
        found.append(model[1].eps2.grad.clone())
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[3])


def test_evaluation_between_steps_is_not_sampled() -> None:
    model = network()
    descent = EntropyDescent(model, 1.0)
    model.eval()
    model(batch(0))
    assert all(tap.pool is None for tap in descent._taps)
    with pytest.raises(ActsmithError, match="no activation was called in training mode"):
        descent.step()


def test_a_missing_sample_changes_nothing() -> None:
    model = nn.Sequential(HermiteActivation("relu", 6))
    descent = EntropyDescent(model, 1.0, keep="critical")
    with torch.no_grad():
        model[0].eps1.fill_(0.1)
    with pytest.raises(ActsmithError, match="no activation was called in training mode"):
        descent.step()
    assert values(model).tolist() == pytest.approx([0.1, 0, 0, 0, 0, 0])


def test_gradient_accumulation_pools_the_micro_batches() -> None:
    model = network()
    descent = EntropyDescent(model, 1.0, every=1, samples=1000)
    for part in batch(0, 256).chunk(4):
        model(part).square().mean().backward()
    assert [int(tap.calls) for tap in descent._taps] == [3, 3]
    descent.step()
    assert [float(c.sum()) for c in descent._counts] == pytest.approx([1000, 1000])


def test_a_module_that_is_called_twice_and_one_that_never_is() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice, self.never = HermiteActivation("gelu", 2), HermiteActivation("gelu", 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.twice(input=3 * self.twice(x))

    model = Model()
    descent = EntropyDescent(model, 1.0, every=1)
    model(batch(0)).sum().backward()
    descent.step()
    assert model.twice.eps1.grad.abs() > 0
    assert model.never.eps1.grad == 0
    assert torch.isnan(descent.entropy["never"]).all()


def test_tied_parameters_are_counted_once_and_gather_all_layers() -> None:
    act = HermiteActivation("gelu", 2, share="model")
    model = nn.Sequential(act, nn.Linear(8, 8), act.like())
    descent = EntropyDescent(model, 1.0, every=1)
    assert len(descent._taps) == 2
    assert len(descent._held) == 2
    model(batch(0))
    descent.step()
    assert torch.isfinite(act.eps1.grad)


def test_mixed_precision_and_a_scaler() -> None:
    model = network()
    descent = EntropyDescent(model, 1.0, every=1)
    with torch.autocast("cpu", torch.bfloat16):
        model(batch(0))
    descent.step(scale=1024.0)
    scaled = model[1].eps2.grad.clone()
    exact = network()
    other = EntropyDescent(exact, 1.0, every=1)
    exact(batch(0))
    other.step()
    assert scaled.dtype is torch.float32
    assert torch.allclose(scaled / 1024, exact[1].eps2.grad, rtol=0.1)


@pytest.mark.parametrize("fullgraph", [True, False])
def test_a_compiled_model(fullgraph: bool) -> None:
    """The same gradients as in eager mode, without a graph break: one graph that samples and one that does not."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    eager, model = network(), network()
    for m in (eager, model):
        descent = EntropyDescent(m, 0.1, every=3, samples=500)
        call = torch.compile(m, backend="aot_eager", fullgraph=fullgraph) if m is model else m
        train(m, descent, torch.optim.SGD(m.parameters(), lr=1e-2), range(7), call)
    assert torch.allclose(values(eager), values(model), atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert not torch._dynamo.utils.counters["graph_break"]


def test_it_leaves_the_model_as_it_was() -> None:
    model = network()
    with EntropyDescent(model):
        assert model[1]._forward_pre_hooks
    assert not model[1]._forward_pre_hooks
    with pytest.raises(ActsmithError, match="strictly monotone"):
        EntropyDescent(model, objective="scale_free")
    assert not model[1]._forward_pre_hooks


def test_many_calls_in_a_step_make_one_graph_more() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = network()
    descent = EntropyDescent(model, 1.0, every=2, samples=200)
    call = torch.compile(model, backend="aot_eager", fullgraph=True)
    for step in range(4):
        for part in batch(step, 240).chunk(12):
            call(part)
        descent.step()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 3


def test_all_calls_have_an_equal_share_of_the_sample() -> None:
    model = nn.Sequential(HermiteActivation("gelu", 2))
    descent = EntropyDescent(model, 1.0, samples=8000)
    buffer = torch.empty(20_000)
    for call in range(5):
        model(buffer.fill_(call))  # one static input, filled anew
    pool = descent._taps[0].pool
    assert pool is not None
    assert [int((pool == call).sum()) for call in range(5)] == pytest.approx([1600] * 5, rel=0.1)


def test_a_part_of_a_sample_is_of_the_whole_input() -> None:
    """Late tokens are smaller; two calls share the sample."""
    x = torch.randn(1, 4096, generator=torch.Generator().manual_seed(0))
    x[:, 2048:] *= 0.1
    model = nn.Sequential(HermiteActivation("gelu", 2))
    descent = EntropyDescent(model, 1.0)
    model(x)
    model(x)
    pool = descent._taps[0].pool
    assert pool is not None
    assert float(pool.std()) == pytest.approx(float(x.std()), rel=0.05)


def test_after_resuming_between_samples_nothing_is_taken() -> None:
    model = network()
    first = EntropyDescent(model, 0.1, every=5, samples=300)
    train(model, first, torch.optim.SGD(model.parameters(), lr=1e-2), range(3))
    second = EntropyDescent(model, 0.1, every=5, samples=300)
    second.load_state_dict(first.state_dict())
    model(batch(0))
    assert all(tap.pool is None for tap in second._taps)


def test_infinite_pre_activations_are_left_out() -> None:
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(2))
    lost = torch.cat([x, torch.full((5_000,), -float("inf")), torch.full((5_000,), float("nan"))])
    exact, found = (gradient(HermiteActivation("gelu", 4), t) for t in (x, lost))
    for name, value in exact.items():
        assert found[name] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("keep", ["nothing", "critical"])
def test_frozen_parameters_stay(keep: Any) -> None:
    act = HermiteActivation("gelu", 6)
    model = nn.Sequential(nn.Linear(8, 16), act)
    descent = EntropyDescent(model, 1.0, every=2, keep=keep)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(6):
        if step == 3:
            act.eps1.requires_grad_(False)
            frozen, moving = act.eps1.item(), act.eps2.item()
        optimiser.zero_grad()
        model(batch(step)).square().mean().backward()
        descent.step()
        optimiser.step()
    assert act.eps1.item() == frozen
    assert act.eps2.item() != moving


def test_a_model_that_moves_after_creation() -> None:
    """The statistics follow the parameters; float64 stands for a device here."""
    model = network()
    descent = EntropyDescent(model, 1.0, every=1)
    model.double()
    model(batch(0).double())
    descent.step()
    assert model[1].eps1.grad.dtype is torch.float64
    assert torch.isfinite(model[1].eps1.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_module_in_every_dtype(dtype: torch.dtype) -> None:
    model = nn.Sequential(KANLinear(8, 8), HermiteActivation("gelu", 4), SplineActivation("gelu")).to(dtype)
    descent = EntropyDescent(model, 1.0, every=1)
    model(batch(0).to(dtype))
    descent.step()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_what_cannot_be_scale_free_is_refused() -> None:
    for act in (HermiteActivation("relu", 4, "channel", 4), SplineActivation("relu"), KANLinear(4, 4)):
        with pytest.raises(ActsmithError, match="strictly monotone"):
            EntropyDescent(nn.Sequential(act), objective="scale_free")
    EntropyDescent(nn.Sequential(HermiteActivation("tanh", 4, "channel", 4)), objective="scale_free")


def test_the_modules_own_error_comes_first() -> None:
    model = nn.Sequential(HermiteActivation("gelu", 4, "channel", 4))
    EntropyDescent(model)
    with pytest.raises(ActsmithError):
        model(torch.randn(5))


def test_after_close() -> None:
    model = network()
    descent = EntropyDescent(model, every=5)
    model(batch(0))
    descent.step()
    descent.close()
    with pytest.raises(ActsmithError, match="after close"):
        descent.step()


# ---------------------------------------------------------------------------------------------------- criticality


def test_the_three_means_are_the_kernels() -> None:
    f = hermite_formula("gelu", 4).at(eps1=0.2, eps2=-0.1, eps3=0.05, eps4=0.02)
    model = nn.Sequential(Activation(f))
    m = KeptCritical(next(iter(taps_of(model)))).means()[0][0]
    chi = acts.susceptibilities(f, 1.0, C_W=1.0)
    assert float(m[1]) == pytest.approx(float(chi.chi_perp), rel=1e-6)
    assert float(m[2]) == pytest.approx(float(chi.chi_par), rel=1e-6)
    assert float(m[0]) == pytest.approx(float(acts.kernel_flow(f, 1.0, 1, C_W=1.0)[-1]), rel=1e-6)


@pytest.mark.parametrize("share", ["layer", "channel"])
def test_their_slopes(share: Any) -> None:
    channels = 2 if share == "channel" else None
    act = HermiteActivation("relu", 5, share, channels).double()
    with torch.no_grad():
        for i, p in enumerate(act.parameters()):
            p.add_(0.05 * (i + 1))
    kept = KeptCritical(next(iter(taps_of(nn.Sequential(act)))))
    slopes = kept.means()[1]
    for i, p in enumerate(act.parameters()):
        ends = []
        for h in (1e-6, -1e-6):
            with torch.no_grad():
                p.add_(h)
            ends.append(kept.means()[0])
            with torch.no_grad():
                p.sub_(h)
        assert torch.allclose(slopes[:, :, i], (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", [lambda: HermiteActivation("relu", 6), lambda: SplineActivation("gelu", knots=12)])
def test_criticality_is_kept_while_the_optimiser_pulls(make: Callable[[], nn.Module]) -> None:
    errors = {}
    for keep in ("nothing", "critical"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 64), make(), nn.Linear(64, 1))
        descent = EntropyDescent(model, 0.1, every=5, samples=500, keep=keep)
        kept = KeptCritical(Elements("", model[1]))
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for step in range(101):
            optimiser.zero_grad()
            (model(batch(step)) - 3).square().mean().backward()
            descent.step()
            if step < 100:
                optimiser.step()
        errors[keep] = float((kept.means()[0] - kept.target).abs().max())
    assert errors["nothing"] > 0.03
    assert errors["critical"] < 1e-4


def test_the_projected_gradient_changes_no_mean() -> None:
    model = nn.Sequential(HermiteActivation("silu", 6))
    descent = EntropyDescent(model, 1.0, every=1, keep="critical")
    model(batch(0, 1000))
    descent.step()
    g = torch.stack([p.grad for p in model[0].parameters()]).double()
    slopes = descent._kept[0].slopes[0]
    assert g.norm() > 0.01
    assert (slopes @ g).abs().max() < 1e-5 * slopes.norm() * g.norm()


def test_a_lost_net_leaves_its_neighbours_critical() -> None:
    def off(kept: KeptCritical) -> float:
        return float((kept.means()[0] - kept.target)[1].abs().max())

    act = HermiteActivation("relu", 5, "channel", 2)
    kept = KeptCritical(next(iter(taps_of(nn.Sequential(act)))))
    with torch.no_grad():
        for p in act.parameters():
            p.copy_(torch.tensor([float("nan"), 0.1]))
            p.grad = torch.tensor([float("nan"), 1.0])
    assert off(kept) > 0.05
    kept.update()
    kept.project()
    assert off(kept) < 1e-3
    g = torch.stack([p.grad[1] for p in act.parameters()]).double()
    assert g.norm() > 0.01
    assert (kept.slopes[1] @ g).abs().max() < 1e-5 * kept.slopes[1].norm() * g.norm()


# ---------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every >= 1"),
        ({"samples": 10}, "samples >= 100"),
        ({"samples": 1e4}, "whole numbers"),
        ({"seed": 1 << 32}, "seed < 2"),
        ({"weight": float("nan")}, "finite weight"),
        ({"memory": 1.0}, "memory < 1"),
        ({"objective": "entropy"}, "'smoothed' or 'scale_free'"),
        ({"keep": "all"}, "'nothing' or 'critical'"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ActsmithError, match=message):
        EntropyDescent(network(), **options)


def test_models_that_cannot_be_served() -> None:
    with pytest.raises(ActsmithError, match="no activation with learnable parameters"):
        EntropyDescent(nn.Sequential(nn.Linear(2, 2), Activation("gelu")))
    with pytest.raises(ActsmithError, match="expected an activation with four or more"):
        EntropyDescent(nn.Sequential(HermiteActivation("relu", 3)), keep="critical")


def test_schedule() -> None:
    assert [cosine(10, warm_up=2)(step) for step in (0, 1, 2)] == [0.0, 0.5, 1.0]
    model = network()
    descent = EntropyDescent(model, 1.0, every=1, schedule=float)
    for step in range(2):
        model.zero_grad()
        model(batch(step))
        descent.step()
        assert bool(model[1].eps1.grad == 0) is (step == 0)
