"""Critical initialisation of whole models: what is found, what is drawn, what is left alone or refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import prune

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.nn.activation import Activation, CRReLU
from actsmith.nn.init import critical_init_
from actsmith.nn.recognise import formula_of_module
from actsmith.nn.start import start_of
from actsmith.theory.criticality import criticality


def mlp(width, depth, act):
    return nn.Sequential(*(m for _ in range(depth) for m in (nn.Linear(width, width), act())))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Functional(nn.Module):
    """Functions, methods, a composed activation, a reshape between layers, a layer that is never called."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 12), nn.Conv1d(4, 6, 3, groups=2), nn.Linear(6, 8)
        self.d, self.e, self.unused = nn.Linear(8, 8), nn.Linear(8, 2), nn.Linear(3, 3)

    def forward(self, x):
        h = self.a(x)
        h = h * torch.sigmoid(1.5 * h)
        h = F.leaky_relu(self.b(h.view(-1, 4, 3)), 0.2).flatten(1)
        h = self.c(h).tanh()
        return self.e(F.gelu(F.dropout(self.d(h), 0.1, self.training), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width, norm=True):
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.act, self.block, self.b = nn.Linear(8, 8), CRReLU(), Block(8), nn.Linear(8, 3)

    def forward(self, x):
        h = self.block(self.act(self.a(x)))
        return h if h.sum() > 1e9 else F.silu(self.b(h))


def test_what_follows_is_found_by_tracing():
    report = critical_init_(Functional())
    found = {r.path: r for r in report}
    assert report.found_by == "traced"
    names = [found[p].activation for p in "abcde"]
    assert names == ["x*sigmoid(1.5*x)", "leaky_relu", "tanh", "gelu_tanh", "gelu_tanh"]
    assert pytest.approx(2 / (1 + 0.2**2), rel=1e-12) == found["b"].C_W
    assert found["b"].fan_in == 6  # 4/2 channels of a group times 3
    assert not found["unused"].drawn
    assert "readout" in found["e"].note
    assert "unused" in str(report)


@pytest.mark.parametrize("name", ["GELU", "ReLU", "Tanh", "SiLU", "ELU", "PReLU", "Mish", "SELU"])
def test_the_draw_has_the_variances_of_the_critical_point(name):
    act = getattr(nn, name)()
    model = nn.Sequential(nn.Linear(600, 500), act, nn.Conv2d(16, 64, 3), act)
    critical_init_(model, generator=generator())
    point = criticality(formula_of_module(act)).points[0]
    for layer in (model[0], model[2]):
        fan_in = layer.weight[0].numel()
        assert fan_in * layer.weight.var().item() == pytest.approx(point.C_W, rel=0.05)
        if point.C_b:
            assert layer.bias.var().item() == pytest.approx(point.C_b, rel=0.6)
        else:
            assert not layer.bias.any()


@pytest.mark.parametrize("orthogonal", [False, True])
def test_signal_and_gradient_survive_fifty_layers(orthogonal):
    torch.manual_seed(0)
    model = mlp(128, 50, nn.ReLU)
    critical_init_(model, orthogonal=orthogonal, generator=generator())
    x = torch.randn(16, 128, requires_grad=True)
    y = model(x)
    y.pow(2).sum().backward()
    assert 0.05 < y.pow(2).mean() / x.pow(2).mean() < 10
    assert math.isfinite(float(x.grad.pow(2).mean()))


def test_orthogonal_rows():
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 64), nn.Tanh())
    critical_init_(model, orthogonal=True, generator=generator())
    wide, tall = model[0].weight, model[2].weight
    torch.testing.assert_close(wide @ wide.T, torch.eye(32), atol=1e-5, rtol=0)
    torch.testing.assert_close(tall.T @ tall, 2 * torch.eye(32), atol=1e-5, rtol=0)  # entries of variance 1/fan_in


def test_normalised_residual_blocks_are_left_alone_unless_told():
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), Block(8), Block(8, norm=False), nn.Linear(8, 2))
    before = model[2].up.weight.detach().clone()
    report = {r.path: r for r in critical_init_(model)}
    assert [p for p, r in report.items() if not r.drawn] == ["2.up", "2.down"]
    assert "residual" in report["2.up"].note
    assert torch.equal(model[2].up.weight, before)
    assert "residual sum" in report["3.down"].note
    assert all(r.drawn for r in critical_init_(model, residual=True))


def test_batch_norm_between():
    report = critical_init_(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    assert report[0].activation == "relu"
    assert "BatchNorm2d" in report[0].note


def test_models_that_cannot_be_traced_are_watched():
    with pytest.raises(ActsmithError, match="example="):
        critical_init_(Untraceable())
    report = critical_init_(Untraceable(), example=torch.zeros(2, 8))
    assert report.found_by == "watched"
    assert [(r.path, r.activation, r.drawn) for r in report] == [
        ("a", "crrelu", True), ("block.up", "gelu", False), ("block.down", None, False), ("b", "silu", True),
    ]  # fmt: skip


def test_a_refusal_draws_nothing_and_says_why():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 1))
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ActsmithError, match=r"layer '2': sigmoid has no critical point. Never critical"):
        critical_init_(model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    report = critical_init_(model, strict=False)
    assert [(r.activation, r.drawn) for r in report] == [("relu", True), ("sigmoid", True), ("sigmoid", True)]
    assert "never critical" in report[1].note
    assert pytest.approx(1 / float(acts.kernel_flow("sigmoid", 1.0, 1, 1.0)[1])) == report[1].C_W


def test_several_activations_after_one_layer():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            h = self.a(x)
            return self.b(F.relu(h)) + self.b(F.gelu(h))

    with pytest.raises(ActsmithError, match="several activations follow it"):
        critical_init_(Two())


def test_a_gate_needs_no_critical_point():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.value, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return F.relu(self.out(torch.sigmoid(self.gate(x)) * self.value(x)))

    report = {r.path: r for r in critical_init_(Gated())}
    assert not report["gate"].drawn
    assert "gates" in report["gate"].note


def test_the_activation_or_the_point_can_be_given():
    report = critical_init_(nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 4)), "tanh")
    assert [(r.activation, r.C_b) for r in report] == [("tanh", 0.0)] * 2
    assert report[0].C_W == 1
    assert pytest.approx(1 / float(acts.kernel_flow("tanh", 1.0, 1, 1.0)[1])) == report[1].C_W
    assert critical_init_(nn.Linear(400, 400), C_W=3.0, C_b=0.5)[0].C_W == 3.0
    report = critical_init_(nn.Sequential(nn.Linear(4, 4), Activation("tanh(2*x)")))
    assert [r.C_W for r in report] == pytest.approx([0.25])


def test_dtype_device_and_generator():
    model = nn.Linear(8, 8, dtype=torch.bfloat16)
    critical_init_(model, "relu", orthogonal=True)
    assert model.weight.dtype == torch.bfloat16
    a, b = (nn.Linear(5, 5) for _ in range(2))
    critical_init_(a, "relu", generator=generator(1))
    critical_init_(b, "relu", generator=generator(1))
    assert torch.equal(a.weight, b.weight)


@pytest.mark.parametrize("bad", [{"C_W": 1.0}, {"C_W": -1.0, "C_b": 0.0}, {"f": "repu"}])
def test_bad_requests(bad):
    with pytest.raises(ActsmithError):
        critical_init_(nn.Linear(3, 3), **bad)


def test_a_model_without_layers():
    with pytest.raises(ActsmithError, match="no Linear or Conv"):
        critical_init_(nn.ReLU(), "relu")


class Calls(nn.Module):
    """Layers a and b, and a forward that is given."""

    def __init__(self, forward, width=4):
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.scale = nn.Parameter(torch.zeros(()))
        self.given = forward

    def forward(self, x):
        return self.given(self, x)


def reported(report):
    return {r.path: r for r in report}


def test_swaps_on_the_root_count():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x, y):
            return F.relu(self.a(x)) + F.relu(self.b(y))

    model = Two()
    acts.replace_(model, "gelu", example=(torch.randn(2, 4), torch.randn(2, 4)))
    report = critical_init_(model)
    assert report.found_by == "traced"
    assert {r.path: r.activation for r in report if r.drawn} == {"a": "gelu", "b": "gelu"}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's, of its old weight_norm
@pytest.mark.parametrize(
    "compute",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        nn.utils.parametrizations.weight_norm,
        lambda m: prune.random_unstructured(m, "weight", 0.5),
    ],
)
def test_weights_that_are_computed_are_left_alone(compute):
    report = critical_init_(nn.Sequential(compute(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 4)))
    assert [r.drawn for r in report] == [False, True]
    assert "weight is" in report[0].note


def test_tied_weights_are_drawn_once_and_both_biases():
    model = nn.Sequential(nn.Linear(50, 50), nn.GELU(), nn.Linear(50, 50), nn.Tanh())
    model[2].weight = model[0].weight
    report = critical_init_(model, generator=generator())
    point = criticality("gelu").points[0]
    assert [r.C_W for r in report] == [point.C_W] * 2
    assert 2500 * model[0].weight.var().item() / 50 == pytest.approx(point.C_W, rel=0.1)
    assert "tied to 0" in report[1].note
    assert not model[2].bias.any()  # tanh's C_b is 0
    assert model[0].bias.std() > 0.1
    model[0].weight.requires_grad_(False)
    assert not any(r.drawn for r in critical_init_(model))


def test_a_head_tied_to_an_embedding_is_left_alone():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 9))
    model[3].weight = model[0].weight
    before = model[0].weight.clone()
    report = reported(critical_init_(model))
    assert report["3"].note == "left alone: 0 has the same weight"
    assert not report["3"].drawn
    assert torch.equal(before, model[0].weight)
    assert report["1"].drawn


@pytest.mark.parametrize("orthogonal", [False, True])
def test_the_turned_linear_of_gpt2(orthogonal):
    conv1d = pytest.importorskip("transformers.pytorch_utils").Conv1D
    model = nn.Sequential(conv1d(300, 100), nn.ReLU(), conv1d(100, 300), nn.ReLU(), nn.Linear(100, 2))
    report = critical_init_(model, orthogonal=orthogonal, generator=torch.Generator().manual_seed(0))
    assert [(r.C_W, r.fan_in) for r in report] == [(2.0, 100), (2.0, 300), (pytest.approx(2.0), 100)]
    for layer, inputs in ((model[0], 100), (model[2], 300)):
        assert layer.weight.shape[0] == inputs
        assert float(layer.weight.detach().var() * inputs) == pytest.approx(2.0, rel=0.03)
    if orthogonal:  # 100 outputs of 300 inputs: orthonormal columns of (in, out)
        torch.testing.assert_close(model[2].weight.T @ model[2].weight, 2 * torch.eye(100), rtol=0, atol=1e-5)


def test_gpt2_keeps_its_tied_embedding():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=32, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config)
    before = model.transformer.wte.weight.clone()
    example = {"input_ids": torch.arange(8).reshape(1, 8)}
    report = reported(critical_init_(model, example=example, strict=False, residual=True))
    assert torch.equal(before, model.transformer.wte.weight)
    assert report["transformer.h.0.mlp.c_fc"].drawn
    assert report["transformer.h.0.mlp.c_fc"].activation == "gelu_tanh"
    assert report["transformer.h.0.mlp.c_proj"].fan_in == 64


@pytest.mark.parametrize(
    "forward",
    [
        lambda s, x: s.b(F.relu(s.a(x))) * 0.01,
        lambda s, x: (s.b(F.relu(s.a(x))) * 0.125 + 1) @ x.T,
        lambda s, x: -s.b(F.relu(s.a(x))) * s.scale,
    ],
)
def test_a_scale_is_no_activation(forward):
    report = reported(critical_init_(Calls(forward)))
    assert report["a"].activation == "relu"
    assert pytest.approx(2) == report["b"].C_W
    assert "readout" in report["b"].note


def test_a_scaled_branch_enters_a_residual_sum():
    report = reported(critical_init_(Calls(lambda s, x: x + 0.1 * s.b(F.relu(s.a(x))))))
    assert "residual sum" in report["b"].note
    assert pytest.approx(2) == report["b"].C_W


def two_branches(s, x):
    a, b = s.a(x), s.b(x)
    return F.relu(a) + b.reshape(-1, 2).tanh().view_as(b)


def untraceable(forward):
    def run(self, x):
        y = forward(self, x)
        return y if y.sum() < 1e9 else -y

    return Calls(run)


@pytest.mark.parametrize(
    ("forward", "a", "b"),
    [
        (lambda s, x: s.b(F.relu(s.a(x))) * s.scale.exp(), "relu", None),
        (lambda s, x: F.relu(s.a(x) + s.b(x)), "relu", "relu"),
        (two_branches, "relu", "tanh"),
        (lambda s, x: F.gelu(x) + F.relu(s.b(F.silu(s.a(x), inplace=True))), "silu", "relu"),
    ],
)
def test_watching_follows_what_comes_from_a_layer(forward, a, b):
    report = critical_init_(untraceable(forward), example=torch.randn(2, 4))
    assert report.found_by == "watched"
    found = reported(report)
    assert found["a"].activation == a
    assert found["b"].activation == (b or "relu")
    assert ("readout" in found["b"].note) == (b is None)


def test_looking_leaves_no_trace():
    model = untraceable(lambda s, x: s.b(s.norm(F.relu(s.a(x + torch.ones(4))))))
    model.norm = nn.BatchNorm1d(4).eval()
    before = set(vars(model))
    critical_init_(model, example=torch.randn(2, 4))
    assert model.training
    assert not model.norm.training
    traced = Calls(lambda s, x: s.b(F.relu(s.a(x + torch.ones(4)))))
    critical_init_(traced)
    assert set(vars(model)) == set(vars(traced)) == before


def test_frozen_layers_adapters_and_transposed_convolutions_are_left_alone():
    model = nn.ModuleDict({"base": nn.Linear(4, 4), "lora_A": nn.Linear(4, 2), "up": nn.ConvTranspose1d(2, 2, 3)})
    model["free"] = nn.Linear(4, 4)
    model["base"].requires_grad_(False)
    before = {n: p.detach().clone() for n, p in model.state_dict().items()}
    report = reported(critical_init_(model, "relu"))
    assert [p for p, r in report.items() if r.drawn] == ["free"]
    assert all(torch.equal(before[n], p) for n, p in model.state_dict().items() if not n.startswith("free"))
    for path, word in (("base", "frozen"), ("lora_A", "LoRA"), ("up", "transposed")):
        assert word in report[path].note
    report = critical_init_(nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 4, 1), nn.ReLU()))
    assert [(r.activation, r.drawn) for r in report] == [("gelu", False), ("relu", True)]


def test_every_head_is_a_readout_and_what_feeds_on_is_not():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.bottleneck, self.b = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(4, 8)
            self.policy, self.value = nn.Linear(8, 3), nn.Linear(8, 1)

        def forward(self, x):
            h = F.silu(self.b(self.bottleneck(F.silu(self.a(x)))))
            return self.policy(h), self.value(h)

    for model, example in (
        (Heads(), None),
        (untraceable(lambda s, x: s.heads(x)[0] + s.heads(x)[1]), torch.ones(2, 8)),
    ):
        if example is not None:
            model.heads = Heads()
        report = {r.path.removeprefix("heads."): r for r in critical_init_(model, example=example, strict=False)}
        assert {p for p, r in report.items() if "readout" in r.note} == {"policy", "value"}
        point = criticality("silu").points[0]
        assert report["bottleneck"].C_W == report["a"].C_W == point.C_W
        assert report["policy"].C_W == report["value"].C_W
        # The bottleneck's output K0 enters b as it is: K = C_b + C_W K0 there.
        K = point.C_b + point.C_W * point.K
        assert pytest.approx(1 / float(acts.kernel_flow("silu", K, 1, 1.0)[1])) == report["policy"].C_W
        assert report["policy"].C_b == 0


def test_what_a_normalisation_gives_has_mean_square_one():
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 2))
    forward = untraceable(lambda s, x: s.net(x))
    forward.net = model
    for net, options in ((model, {}), (forward, {"example": torch.randn(4, 8)})):
        report = critical_init_(net, **options)
        assert [r.C_W for r in report if "readout" in r.note] == [1.0]
    report = critical_init_(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 2)))
    assert pytest.approx(1 / float(acts.kernel_flow("gelu", 1.0, 1, 1.0)[1])) == report[1].C_W
    assert report.start is report.K0 is report.input_scale is None
    assert "ultiply" not in str(report)


def test_the_kernel_goes_through_different_activations():
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    gelu = criticality("gelu").points[0]
    K = float(acts.kernel_flow("gelu", gelu.K, 1, 1.0)[1])  # tanh's C_W is 1
    assert pytest.approx(1 / float(acts.kernel_flow("tanh", K, 1, 1.0)[1])) == critical_init_(model)[2].C_W


def test_an_unstable_activation_further_on_asks_for_small_inputs():
    mrepu = Activation("mrepu")
    chain = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), *(m for _ in range(5) for m in (nn.Linear(8, 8), mrepu)))
    report = critical_init_(chain)
    assert report.K0 == start_of("mrepu", 6).K0
    assert not report.explodes
    report = critical_init_(chain, K0=4.0)
    assert report.explodes in [r.path for r in report]
    assert f"passes 1000 in layer '{report.explodes}'" in str(report)


def test_the_inputs_are_measured_or_given():
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2))
    x = 3 * torch.randn(50, 8, generator=generator())
    square = x.double().square().mean().item()
    unit = start_of("gelu", 1).input_scale()
    measured = critical_init_(model, example=x)
    assert measured.square == pytest.approx(square, rel=1e-6)
    assert measured.input_scale == pytest.approx(unit / math.sqrt(square), rel=1e-6)
    assert critical_init_(model, square=9.0, example=x).input_scale == pytest.approx(unit / 3)
    assert critical_init_(model).input_scale == pytest.approx(unit)
    assert critical_init_(model, example=torch.zeros(2, 8)).input_scale == pytest.approx(unit)
    embedded = nn.Sequential(nn.Embedding(50, 8), model)
    assert critical_init_(embedded, example=torch.arange(50)).square == pytest.approx(
        embedded[0].weight.square().mean().item(), rel=1e-6
    )


def test_the_scale_in_the_weights():
    model = nn.Sequential(nn.Linear(300, 200), nn.SiLU(), nn.Linear(200, 2))
    report = critical_init_(model, inputs="weights", square=4.0, generator=generator())
    start = start_of("silu", 1)
    assert report.input_scale == 1
    assert pytest.approx((start.K0 - start.C_b) / 4) == report[0].C_W
    assert 300 * model[0].weight.var().item() == pytest.approx(report[0].C_W, rel=0.05)
    assert "holds the input scale 1.316" in report[0].note
    assert "Multiply" not in report.verdict
    tied = nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 8), nn.SiLU())
    tied[2].weight = tied[0].weight
    with pytest.raises(ActsmithError, match="shared"):
        critical_init_(tied, inputs="weights")


@pytest.mark.parametrize("bad", [{"inputs": "no"}, {"square": 0.0}, {"K0": -1.0}, {"K0": 0.1}])
def test_bad_inputs(bad):
    with pytest.raises(ActsmithError, match=next(iter(bad))):
        critical_init_(nn.Sequential(nn.Linear(4, 4), nn.GELU()), **bad)


def test_compiled_models():
    inside = mlp(4, 2, nn.GELU)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), torch.compile(inside))
    for compiled in (torch.compile(model), model):
        report = critical_init_(compiled)
        assert report.found_by == "traced"
        assert [r.activation for r in report] == ["tanh", "gelu", "gelu"]
        assert all(r.drawn for r in report)
    assert critical_init_(torch.compile(inside))[0].path == "0"
    inside.compile()
    assert [r.activation for r in critical_init_(nn.Sequential(nn.Linear(4, 4), inside))] == [None, "gelu", "gelu"]
