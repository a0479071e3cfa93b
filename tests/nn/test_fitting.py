"""Activations inside other libraries: sharded, traced by torch.fx, built by their constructors, loaded from before."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import fx, nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.nn import (
    Activation,
    CRReLU,
    HermiteActivation,
    KANLinear,
    LookupActivation,
    MRePU,
    RePU,
    SplineActivation,
)
from actsmith.nn.as_formula import as_formula

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group("gloo", rank=0, world_size=1, init_method=f"file://{tmp_path}/store")
    yield
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [CRReLU, lambda: HermiteActivation("gelu", 3), lambda: Activation("pelu")])
def test_fully_shard(make, one_process):
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 8), make(), nn.Linear(8, 2))
    torch.manual_seed(0)
    sharded = nn.Sequential(nn.Linear(4, 8), make(), nn.Linear(8, 2))
    mesh = dist.init_device_mesh("cpu", (1,))
    fully_shard(sharded, mesh=mesh)
    assert all(isinstance(p, DTensor) for p in sharded[1].parameters())
    assert "=? (learned)" in repr(sharded[1])  # no message between processes for a repr
    assert sharded[1].formula == plain[1].formula  # gathered
    for model in (plain, sharded):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model(X).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(sharded(X), plain(X))
    assert sharded[1].formula == plain[1].formula


MODULES = [CRReLU, partial(Activation, "gelu"), partial(SplineActivation, "gelu"), partial(LookupActivation, "relu")]
MODULES += [partial(KANLinear, 4, 4), partial(Activation, "crrelu", "channel", 4, -1)]


@pytest.mark.parametrize("make", MODULES)
def test_torch_fx_sees_one_call(make):
    model = nn.Sequential(nn.Linear(4, 4), nn.ModuleDict({"f": make()})["f"], nn.ReLU())
    graph = fx.symbolic_trace(model)
    assert [n.target for n in graph.graph.nodes if n.op == "call_module"] == ["0", "1", "2"]
    assert torch.equal(graph(X), model(X))
    assert dict(graph.named_parameters()).keys() == dict(model.named_parameters()).keys()


@pytest.mark.filterwarnings("ignore")
def test_what_is_built_on_torch_fx():
    extraction = pytest.importorskip("torchvision.models.feature_extraction")
    model = nn.Sequential(nn.Linear(4, 4), CRReLU(), nn.Sequential(nn.Linear(4, 4), Activation("gelu")))
    parts = extraction.create_feature_extractor(model, {"1": "first", "2.1": "last"})(X)
    assert torch.equal(parts["first"], model[:2](X))
    assert torch.equal(parts["last"], model(X))
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_fx

    prepared = prepare_fx(model.eval(), get_default_qconfig_mapping("x86"), (X,))
    torch.testing.assert_close(prepared(X), model(X))


@pytest.mark.parametrize("kind", [CRReLU, RePU, MRePU, partial(Activation, "gelu")])
def test_constructors_and_calls_live_with_what_libraries_pass(kind):
    plain = kind()(X)
    for made in (kind(inplace=True), kind(True), kind(False), kind(inplace=False, device="cpu", dtype=torch.float64)):
        x = X.clone()
        assert torch.equal(made(x, inplace=True), plain)
        assert torch.equal(made(input=x), plain)
        assert torch.equal(x, X)
    meta = kind(device="meta")
    assert all(p.is_meta for p in meta.parameters())
    assert meta.formula == kind().formula
    assert repr(meta)


def test_classes_are_what_libraries_expect():
    assert issubclass(CRReLU, nn.Module)
    assert CRReLU(eps=0.2).formula.params["eps"].value == 0.2
    assert MRePU(3).formula.params["p"].value == 3
    assert isinstance(CRReLU(0.2).like(), CRReLU)


@pytest.mark.parametrize("strict", [True, False])
def test_scalars_of_earlier_checkpoints_load(strict):
    model = nn.Sequential(nn.Linear(4, 4), CRReLU())
    state = {k: v.clone() for k, v in model.state_dict().items()} | {"1.eps": torch.tensor(0.3)}
    model.load_state_dict(state, strict=strict)
    assert model[1].eps.shape == (1,)
    assert model[1].formula.params["eps"].value == 0.3
    assert state["1.eps"].shape == ()  # the user's own is left as it is
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.load_state_dict(state | {"1.eps": torch.zeros(3)})


def test_scalars_in_and_out():
    f = CRReLU()
    x = torch.tensor(0.5, requires_grad=True)
    y = f(x)
    assert y.shape == ()
    y.backward()
    assert (x.grad.shape, f.eps.grad.shape) == ((), (1,))
    per_sample = torch.func.vmap(
        torch.func.grad(lambda e, z: torch.func.functional_call(f, {"eps": e}, (z,))), (None, 0)
    )
    assert per_sample(f.eps.detach(), torch.randn(5)).shape == (5, 1)


STANDS = [nn.GELU(), nn.GELU, functional.gelu, "gelu", partial(nn.GELU, "none"), Activation("gelu")]


@pytest.mark.parametrize("activation", STANDS)
def test_whatever_stands_for_a_formula(activation):
    assert as_formula(activation).name == "gelu"


def test_arguments_are_followed():
    assert as_formula(partial(functional.leaky_relu, negative_slope=0.3)).params["slope"].value == 0.3
    assert as_formula(nn.ELU(0.5)).params["alpha"].value == 0.5
    assert as_formula(torch.Tensor.relu_).name == "relu"


def gelu(x):
    return x


@pytest.mark.parametrize("other", [gelu, nn.Linear(2, 2), nn.Linear, 3, functional.conv2d, lambda x: x])
def test_what_is_no_activation_is_refused(other):
    with pytest.raises((ActsmithError, TypeError), match=r"formula is not known|missing"):
        as_formula(other)
