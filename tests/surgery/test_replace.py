"""Swapping: in every form, proven in both modes, undone bit for bit, refused where it could not take effect."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.nn import Activation
from actsmith.surgery import replace as surgery
from actsmith.surgery.replace import replace_
from actsmith.surgery.sites import Site, sites

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.GELU(),
        nn.Linear(8, 3), nn.PReLU(3),
    )  # fmt: skip


class Traced(nn.Module):
    """Its forward traces."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.b(functional.relu(self.a(x)))) + torch.tanh(x)


class Branching(nn.Module):
    """Its forward does not: it branches on values, holds a child that calls the same function, and has a default."""

    def __init__(self) -> None:
        super().__init__()
        self.child = Traced()

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        x = functional.relu(self.child(x)) * scale
        if x.sum() > 1e9:
            return x
        return x.relu()


def same(first: nn.Module, state: dict[str, Tensor], outputs: Tensor) -> None:
    assert list(first.state_dict()) == list(state)
    assert all(torch.equal(v, state[k]) for k, v in first.state_dict().items())
    with torch.no_grad():
        assert torch.equal(first.eval()(X), outputs)


def frozen(model: nn.Module) -> tuple[dict[str, Tensor], Tensor]:
    with torch.no_grad():
        return copy.deepcopy(model.state_dict()), model.eval()(X)


def test_modules() -> None:
    model = mlp()
    state, before = frozen(model)
    model.train()
    swaps = replace_(model, "crrelu", example=X)
    assert [c.path for c in swaps.changed] == ["1", "5", "7"]
    assert all(c.ran == {"train": (1, 1), "eval": (1, 1)} for c in swaps.changed)
    assert model.training
    unchanged = [k for k in state if k != "7.weight"]
    assert list(model.state_dict()) == sorted([*unchanged, "1.eps", "5.eps", "7.eps"], key=lambda k: k.split(".")[0])
    assert len({id(p) for p in swaps.parameters()}) == 3
    assert "3 sites found, 3 changed (3 proven" in swaps.report()
    assert swaps.to_dict()["changed"][0]["proven"]
    swaps.undo()
    swaps.undo()
    assert isinstance(model[1], nn.ReLU)
    same(model, state, before)
    assert not any(name.startswith("_actsmith") for name in vars(model))


@pytest.mark.parametrize(("kind", "count"), [(Traced, 2), (Branching, 4)])
def test_functions(kind: type[nn.Module], count: int) -> None:
    torch.manual_seed(0)
    model = kind()
    state, before = frozen(model)
    swaps = replace_(model, "elu", where="relu", example=X)
    assert [c.method for c in swaps.changed] == ["code"] * count
    assert {c.path.rpartition(".")[2] for c in swaps.changed} == {"actsmith_relu_0", "actsmith_relu_1"}
    expected = kind()
    expected.load_state_dict(state)
    real = functional.relu
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, "relu", functional.elu)
        patch.setattr(torch.Tensor, "relu", functional.elu, raising=False)
        wanted = expected.eval()(X)
    torch.testing.assert_close(model.eval()(X), wanted)
    assert functional.relu is real
    for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(clone(X), model(X))
        next(clone.parameters()).data.zero_()  # a copy is a model of its own
        assert not torch.equal(clone(X), model(X))
    swaps.undo()
    same(model, state, before)
    assert type(model) is kind


def test_functions_are_learned() -> None:
    model = Branching()
    swaps = replace_(model, "crrelu", where="relu", example=X)
    model.train()(X).square().sum().backward()
    assert all(p.grad is not None and p.grad != 0 for p in swaps.parameters())
    names = ("actsmith_relu_0.eps", "actsmith_relu_1.eps")
    assert {k for k in model.state_dict() if "eps" in k} == {*names, *(f"child.{name}" for name in names)}


def test_a_second_swap_takes_what_the_first_left() -> None:
    model = Traced()
    state, before = frozen(model)
    first = replace_(model, "crrelu", where="relu:0", example=X)
    second = replace_(model, "elu", where="relu", example=X)
    assert [c.path for c in first.changed] == ["actsmith_relu_0"]
    assert [c.path for c in second.changed] == ["actsmith_relu_0_2"]
    second.undo()
    first.undo()
    same(model, state, before)


@pytest.mark.parametrize("kind", [mlp, Traced])
def test_swaps_are_undone_last_first(kind: Any) -> None:
    model = kind()
    state, before = frozen(model)
    first = replace_(model, "crrelu", example=X)
    middle = frozen(model)
    second = replace_(model, "gelu", example=X)
    outer = replace_(nn.Sequential(model), "silu", example=X)
    with pytest.raises(ActsmithError, match=r"undo: a later swap of this model is in force, of .*undo the later one"):
        first.undo()
    assert not first.undone
    with pytest.raises(ActsmithError, match=r"undo: .* was (put there|set) after the swap"):
        second.undo()
    outer.undo()
    second.undo()
    same(model, *middle)
    first.undo()
    same(model, state, before)


def test_what_was_put_in_the_place_of_a_swap_is_not_dropped() -> None:
    model = Traced()
    state, before = frozen(model)
    swaps = replace_(model, "silu", where="relu", example=X)
    forward = model.forward
    vars(model)["forward"] = wrapped = lambda x: 2 * forward(x)
    with pytest.raises(ActsmithError, match=r"`forward` of the Traced that calls actsmith_relu_0 was set after"):
        swaps.undo()
    assert vars(model)["forward"] is wrapped
    del vars(model)["forward"]
    kind, model.__class__ = type(model), Traced
    with pytest.raises(ActsmithError, match="class of the Traced that calls actsmith_relu_0 was changed"):
        swaps.undo()
    model.__class__ = kind
    swaps.undo()
    same(model, state, before)
    stack = mlp()
    swaps = replace_(stack, "silu", where="relu", example=X)
    stack[1] = nn.Tanh()
    with pytest.raises(ActsmithError, match="1 is a Tanh that was put there after the swap; expected the Activation"):
        swaps.undo()


def test_the_old_modules_follow_the_model() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.PReLU(), nn.Sequential(nn.RReLU(), nn.Linear(4, 4))).bfloat16()
    model[2][0].eval()
    replace_(model, "crrelu", example=X.bfloat16()).undo()
    assert model[1].weight.dtype == torch.bfloat16
    assert model.training
    assert not model[2][0].training
    swaps = replace_(model, "crrelu", example=X.bfloat16())
    model.eval().float()
    swaps.undo()
    assert model[1].weight.dtype == torch.float32
    assert not any(m.training for m in model.modules())
    assert torch.equal(model(X), model(X))
    swaps = replace_(model, "relu", example=X)
    model.to("meta")
    swaps.undo()
    assert model[1].weight.device.type == "meta"


def encoder(activation: str = "relu") -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, activation=activation, batch_first=True)  # type: ignore[arg-type]
    return nn.TransformerEncoder(layer, 2)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_fused_path_of_the_encoder_layer(activation: str) -> None:
    model, x = encoder(activation).eval(), torch.randn(2, 5, 16)
    mask = torch.tensor([[False] * 4 + [True], [False] * 5])
    with torch.no_grad():
        before = model(x), model(x, src_key_padding_mask=mask)
        swaps = replace_(model, "sigmoid", example=x)
        assert all(c.ran == {"train": (1, 1), "eval": (1, 1)} for c in swaps.changed)
        fast = model(x)
        assert not torch.allclose(before[0], fast, atol=1e-3)
    slow = model(x)  # gradients keep torch from the fused path
    torch.testing.assert_close(fast, slow)
    swaps.undo()
    with torch.no_grad():
        assert torch.equal(model(x), before[0])
        assert torch.equal(model(x, src_key_padding_mask=mask), before[1])


def test_the_proof_sees_a_fused_path(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = encoder(), torch.randn(2, 5, 16)
    state = copy.deepcopy(model.state_dict())
    monkeypatch.setattr(surgery, "_leave_fused_paths", lambda *_: None)
    with pytest.raises(ActsmithError, match=r"2 of 2 new activations did not run as often.*'eval': \(1, 0\)"):
        replace_(model, "crrelu", example=x)
    assert model.layers[0].activation is functional.relu
    assert list(model.state_dict()) == list(state)


class Hidden(nn.Module):
    """Keeps its activation in a list that no swap reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.kept = [self.act]

    def forward(self, x: Tensor) -> Tensor:
        return self.kept[0](x)


def test_a_swap_without_effect_is_an_error() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Hidden())
    with pytest.raises(ActsmithError, match=r"did not run as often.*1\.act"):
        replace_(model, "crrelu", example=X)
    assert isinstance(model[1].act, nn.ReLU)


def test_shared_modules_and_shared_parameters() -> None:
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), act, nn.Linear(4, 4), nn.ReLU())
    swaps = replace_(model, "crrelu", example=X, share="model")
    assert model[1] is model[3]
    assert model[1].eps is model[5].eps
    assert [c.ran["eval"] for c in swaps.changed if c.ran] == [(2, 2), (1, 1)]
    assert len(swaps.parameters()) == 1
    swaps.undo()
    assert model[1] is model[3] is act
    per_unit = replace_(mlp(), "crrelu", where=[0, "relu"], example=X, share="channel")
    assert per_unit.parameters()[0].shape == (8,)


def test_a_site_of_several_widths_has_no_parameter_per_unit() -> None:
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 8), act)
    with pytest.raises(ActsmithError, match=r"replace_: 1: .*shape \(6, 8\); expected 4 channels.*leave the site out"):
        replace_(model, "crrelu", example=X, share="channel")
    assert model[1] is model[3] is act


@pytest.mark.parametrize(
    ("where", "paths"),
    [
        ("relu", ["1"]), ("*", ["1", "5", "7"]), ("5", ["5"]), (nn.GELU, ["5"]), (0, ["1"]), (-1, ["7"]),
        (slice(1, None), ["5", "7"]), (range(2), ["1", "5"]), (lambda s: s.formula is None, ["7"]),
        ([slice(0, 2), nn.GELU], ["5"]),
    ],
)  # fmt: skip
def test_where(where: Any, paths: list[str]) -> None:
    swaps = replace_(mlp(), "silu", where=where, example=X)
    assert [c.path for c in swaps.changed] == paths
    assert {s.path for s, why in swaps.skipped if why == "not selected by `where`"} == {"1", "5", "7"} - set(paths)


class Own(nn.ReLU):
    """A class derived from torch's."""


def test_where_takes_subclasses_and_no_depth_that_is_not_there() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Own(), nn.Linear(4, 4), nn.GELU())
    assert [c.path for c in replace_(model, "silu", where=nn.ReLU, example=X).changed] == ["1"]
    for depth in (3, -4):
        with pytest.raises(ActsmithError, match=f"where={depth}: the model has 3 sites; expected -3 to 2"):
            replace_(mlp(), "silu", where=depth, example=X)


class GLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.act, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.SiLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.act(self.gate(x)) * self.up(x))


def test_gates_are_left_out_unless_asked_for() -> None:
    left = replace_(GLU(), "crrelu", example=X)
    assert [(s.path, why) for s, why in left.skipped] == [("act", "a gate; gates=True takes it too")]
    assert len(replace_(GLU(), "crrelu", example=X, gates=True).changed) == 2
    assert len(replace_(GLU(), "crrelu", where="act", example=X).changed) == 1
    with pytest.raises(ActsmithError, match=r"no site of GLU matches where='silu'.*1 x silu.*gates=True"):
        replace_(GLU(), "crrelu", where="silu", example=X)


@pytest.mark.parametrize(
    "to",
    [
        "crrelu", "x*sigmoid(x)", Activation("crrelu"), nn.Tanh(), nn.Tanh,
        lambda site: "elu" if site.depth else "tanh", lambda site: nn.Softplus(),
    ],
    ids=["name", "text", "Activation", "module", "class", "function", "function of modules"],
)  # fmt: skip
def test_to(to: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
    swaps = replace_(model, to, example=X)
    assert all(c.proven for c in swaps.changed)
    assert model[1] is not model[3]


def test_wrong_requests() -> None:
    with pytest.raises(ActsmithError, match="holds no activation"):
        replace_(nn.Sequential(nn.Linear(4, 4)), "crrelu", example=X)
    with pytest.raises(ActsmithError, match=r"no site of Sequential matches where='selu'; it has 1 x relu"):
        replace_(mlp(), "crrelu", where="selu", example=X)
    with pytest.raises(ActsmithError, match="give example="):
        replace_(mlp(), "crrelu")
    with pytest.raises(ActsmithError, match="fails on the example in eval mode"):
        replace_(mlp(), "crrelu", example=X[:, :3])
    with pytest.raises(ActsmithError, match="to: got int"):
        replace_(mlp(), 3, example=X)  # type: ignore[arg-type]
    with pytest.raises(ActsmithError, match="no activation named 'crelu'"):
        replace_(mlp(), "crelu", example=X)
    with pytest.raises(ActsmithError, match="where: got float"):
        replace_(mlp(), "crrelu", where=0.5, example=X)  # type: ignore[arg-type]
    with pytest.raises(ActsmithError, match="the model itself"):
        replace_(nn.ReLU(), "crrelu", example=X)
    unproven = replace_(mlp(), "crrelu", prove_it=False)
    assert len(unproven.changed) == 3
    assert not any(c.proven for c in unproven.changed)
    assert "(0 proven" in unproven.report()


@torch.no_grad()
def test_compiled_models_are_swapped_inside() -> None:
    model = mlp().eval()
    model[4].compile(backend="eager")
    compiled = torch.compile(model, backend="eager")
    before = compiled(X)
    swaps = replace_(compiled, "crrelu", example=X)  # type: ignore[arg-type]
    assert len(swaps.changed) == 3
    assert all(c.proven for c in swaps.changed)
    with torch.compiler.set_stance("force_eager"):
        expected = model(X)
    assert not torch.equal(before, expected)
    torch.testing.assert_close(compiled(X), expected)
    torch.testing.assert_close(model(X), expected)
    swaps.undo()
    torch.testing.assert_close(compiled(X), before)


def test_wrapped_models_are_refused_with_the_two_lines_that_do_it() -> None:
    with pytest.raises(ActsmithError, match=r"(?s)DataParallel.*model\.module"):
        replace_(nn.DataParallel(mlp()), "crrelu", example=X)

    class PeftModel(nn.Module):
        __module__ = "peft.peft_model"

        def __init__(self) -> None:
            super().__init__()
            self.base = mlp()

    with pytest.raises(ActsmithError, match=r"(?s)PeftModel.*modules_to_save"):
        replace_(PeftModel(), "crrelu", example=X)


@pytest.mark.parametrize("forward", [None, Traced])
def test_swapped_models_compile(forward: type[nn.Module] | None) -> None:
    model = (forward or mlp)().eval()
    replace_(model, "crrelu", example=X)
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(X), model(X))


def test_optimisers() -> None:
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    swaps = replace_(model, "crrelu", where=["relu"], example=X)
    (group,) = swaps.parameter_groups(lr=0.5)
    assert (group["weight_decay"], group["lr"], len(group["params"])) == (0.0, 0.5, 1)
    rest, new = swaps.parameter_groups(rest=True)
    assert {id(p) for g in (rest, new) for p in g["params"]} == {id(p) for p in model.parameters()}
    swaps.attach(optimizer)
    swaps.attach(optimizer)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.0]
    start = model[1].eps.item()
    model.train()(X).square().sum().backward()
    optimizer.step()
    assert model[1].eps.item() != start
    swaps.undo()
    assert len(optimizer.param_groups) == 1
    assert replace_(mlp(), "silu", example=X).parameter_groups() == []


def test_attach_after_a_scheduler_warns() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    swaps = replace_(model, "crrelu", example=X)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 0.5)
    with pytest.warns(UserWarning, match="attach: this SGD has a learning-rate scheduler"):
        swaps.attach(optimizer)
    optimizer.step()
    with pytest.raises(ValueError, match="zip"):
        scheduler.step()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    other = replace_(model, "crrelu", example=X)
    other.attach(optimizer)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 0.5)
    optimizer.step()
    scheduler.step()
    assert [g["lr"] for g in optimizer.param_groups] == [0.05, 0.05]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).to(dtype)
    replace_(model, "crrelu", example=X.to(dtype))
    assert model[1].eps.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert model(X.to(dtype)).dtype == dtype


def test_sites_after_a_swap() -> None:
    model = mlp()
    replace_(model, "crrelu", example=X)
    found: list[Site] = sites(model, X)
    assert {s.activation for s in found} == {"crrelu"}
