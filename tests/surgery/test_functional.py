"""Redirected calls: in compiled, exported, copied and checkpointed models, and where they cannot be redirected."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from actsmith.errors import ActsmithError
from actsmith.nn.untouched import untouched
from actsmith.surgery.replace import replace_

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.act = nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU(inplace=True)


class Default(Layers):
    """With a default among its arguments, and a function of torch.nn.functional."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.b(functional.relu(self.a(x)))


class Plain(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))


def with_silu(model: Any, x: Tensor) -> Tensor:
    result: Tensor = model.b(functional.silu(model.a(x)))
    return result


def copied(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)


def pickled(model: nn.Module) -> nn.Module:
    clone: nn.Module = pickle.loads(pickle.dumps(model))
    return clone


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("copying", [lambda m: m, copied, pickled], ids=["itself", "copied", "pickled"])
@pytest.mark.parametrize("kind", [Default, Plain])
def test_compiled(kind: type[nn.Module], copying: Callable[[nn.Module], nn.Module], backend: str) -> None:
    model = kind()
    swaps = replace_(model, "silu", example=X, where="relu:0")
    assert swaps.changed[0].method == "code"
    assert isinstance(model, kind)
    clone = copying(model)
    for whole in (clone, nn.Sequential(nn.Identity(), clone)):
        torch._dynamo.reset()
        compiled = torch.compile(whole, backend=backend, fullgraph=True)
        torch.testing.assert_close(compiled(X), with_silu(model, X))


@pytest.mark.parametrize("copying", [lambda m: m, copied, pickled], ids=["itself", "copied", "pickled"])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", [Default, Plain])
def test_exported(kind: type[nn.Module], strict: bool, copying: Callable[[nn.Module], nn.Module]) -> None:
    model = kind()
    replace_(model, "silu", example=X, where="relu:0")
    program = torch.export.export(copying(model), (X,), strict=strict)
    torch.testing.assert_close(program.module()(X), with_silu(model, X))


@pytest.mark.parametrize("kind", [Default, Plain])
def test_a_shallow_copy_runs_its_own_layers(kind: type[nn.Module]) -> None:
    model = kind()
    replace_(model, "silu", example=X, where="relu:0")
    replica = model._replicate_for_data_parallel()
    replica.a = nn.Linear(4, 4)
    assert replica.a is not model.a
    torch.testing.assert_close(replica(X), with_silu(replica, X))
    torch.testing.assert_close(model(X), with_silu(model, X))


def test_a_forward_that_was_put_on_the_instance_is_left_with_its_reason() -> None:
    model = Plain()
    model.forward = lambda x: model.act(model.b(torch.relu(model.a(x))))  # type: ignore[method-assign]
    swaps = replace_(model, "silu", example=X)
    assert [c.path for c in swaps.changed] == ["act"]
    assert "relu:0: cannot be exchanged: called in" in swaps.report()


class Recurrent(Layers):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 4)
        for t in range(x.shape[1]):
            h = functional.relu(self.a(x[:, t]) + self.b(h))
        return h


def test_a_call_in_a_loop_is_one_site_however_often_it_runs() -> None:
    model = Recurrent()
    swaps = replace_(model, "silu", example=torch.randn(2, 3, 4), where="relu:0")
    assert [c.ran for c in swaps.changed] == [{"eval": (3, 3), "train": (3, 3)}]
    for steps in (2, 3, 10):
        x = torch.randn(2, steps, 4)
        h = x.new_zeros(2, 4)
        for t in range(steps):
            h = functional.silu(model.a(x[:, t]) + model.b(h))
        torch.testing.assert_close(model(x), h)


class Scaled(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.more = 1.0, False

    def forward(self, x: Tensor) -> Tensor:
        h = self.b(functional.relu(self.a(x))) * self.scale
        return h + 100 if self.more else h


def test_attributes_that_change_later_count() -> None:
    model = Scaled()
    swaps = replace_(model, "silu", example=X, where="relu:0")
    assert swaps.changed[0].proven
    assert type(model).__name__ == "Scaled"
    model.scale, model.more = 2.0, True
    torch.testing.assert_close(model(X), 2 * with_silu(model, X) + 100)


# ------------------------------------------------------------------------------------------------------- in place


class Statement(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        functional.relu_(x)
        return self.b(x)


class ModuleStatement(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.act(self.a(x)))
        self.act(x)
        return x


class Alias(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.b(self.act(x)) + x


class Faint(Alias):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.b(self.act(x)) + 1e-5 * x


@pytest.mark.parametrize(
    ("kind", "path"), [(Statement, "relu:0"), (ModuleStatement, "act"), (Alias, "act"), (Faint, "act")]
)
@pytest.mark.parametrize("blend", [None, 10])
def test_models_that_rely_on_a_change_in_place_are_refused(kind: type[nn.Module], path: str, blend: int | None) -> None:
    model = kind()
    before = model(X)
    with pytest.raises(ActsmithError, match=rf"{kind.__name__} relies on {path} changing its input in place"):
        replace_(model, "relu", example=X, blend=blend)
    assert torch.equal(model(X), before)
    assert isinstance(model.act, nn.ReLU)


class OneOfTwo(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        h = functional.relu_(x - 1)
        self.act(x)
        return self.b(x + h)


def test_the_site_that_a_model_relies_on_is_named() -> None:
    with pytest.raises(ActsmithError, match="relies on act changing"):
        replace_(OneOfTwo(), "relu", example=X)
    assert replace_(OneOfTwo(), "relu", example=X, where="relu:0").changed[0].proven


class Out(Layers):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).detach()
        buffer = torch.empty_like(h)
        torch.tanh(h, out=buffer)
        return self.b(self.act(buffer))


def test_a_function_that_writes_into_a_tensor_given_to_it_is_refused() -> None:
    model = Out()
    with pytest.raises(ActsmithError, match=r"tanh:0 writes into .*\(out=\)"):
        replace_(model, "sin", example=X)
    assert type(model) is Out
    assert replace_(model, "sin", example=X, where="relu").changed[0].proven


# ------------------------------------------------------------------------------------------------------- checkpointing


class Checkpointed(Layers):
    reentrant, checkpoints = False, True

    def inner(self, x: Tensor) -> Tensor:
        return self.b(functional.relu(self.a(x)))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=self.reentrant) if self.checkpoints else self.inner(x)


class Function(Checkpointed):
    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.b(checkpoint(functional.relu, self.a(x), use_reentrant=self.reentrant))


class Whole(Layers):
    """Checkpoints a module whose calls are redirected, which then runs anew with them."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = Default()

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.act(checkpoint(self.inside, self.a(x), use_reentrant=False))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("to", ["silu", "crrelu"])
def test_a_part_that_is_checkpointed_runs_again_with_the_new_activation(reentrant: bool, later: bool, to: str) -> None:
    model, plain = Checkpointed(), Default()
    model.reentrant, model.checkpoints = reentrant, not later
    swaps = replace_(model, to, example=X, where="relu:0")
    assert swaps.changed[0].proven
    replace_(plain, to, example=X, where="relu:0")
    model.checkpoints = True
    x = X.clone().requires_grad_()  # without which a reentrant checkpoint has no backward pass
    for network in (model, plain):
        network(x).square().sum().backward()
    for name, parameter in plain.named_parameters():
        other = model.get_parameter(name)
        assert (other.grad is None) == (parameter.grad is None)
        if parameter.grad is not None:
            torch.testing.assert_close(other.grad, parameter.grad)


def test_a_function_given_to_a_checkpoint_is_left_with_its_reason() -> None:
    with pytest.raises(ActsmithError, match=r"cannot be exchanged: called by torch\.utils\.checkpoint"):
        replace_(Function(), "silu", example=X, where="relu:0")


def test_checkpointing_a_whole_module_is_right() -> None:
    model = Whole()
    swaps = replace_(model, "silu", example=X)
    assert {c.site.path: c.method for c in swaps.changed if c.proven} == {"inside.relu:0": "code", "act": "module"}
    model(X).square().sum().backward()
    inside = copy.deepcopy(model.inside)
    inside.zero_grad()
    functional.silu(with_silu(inside, model.a(X))).square().sum().backward()
    torch.testing.assert_close(model.inside.a.weight.grad, inside.a.weight.grad)
    torch.testing.assert_close(model.inside.b.weight.grad, inside.b.weight.grad)


# ------------------------------------------------------------------------------------------------------- buffers


class Buffers(nn.Module):
    """Rebinds a buffer, resizes one, fills one and registers one, in either mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("seen", torch.tensor([]))
        self.register_buffer("late", None)
        self.register_buffer("still", torch.full((2,), torch.nan))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        self.seen.resize_(x.shape).copy_(x.detach())
        self.late = x.detach()
        if "more" not in self._buffers:
            self.register_buffer("more", x.detach())
        return self.act(x) - self.mean


@pytest.mark.parametrize("training", [True, False, None])
def test_untouched_restores_buffers_and_their_values(training: bool | None) -> None:
    model = nn.Sequential(nn.Linear(4, 4), Buffers())
    mean, seen = model[1].mean, model[1].seen
    with untouched(model, training):
        model(X)
    assert model[1].mean is mean
    assert model[1].seen is seen
    assert list(model[1]._buffers) == ["mean", "seen", "late", "still"]
    assert not mean.any()
    assert seen.shape == (0,)
    assert model[1].late is None
    swaps = replace_(model, "crrelu", example=X)
    assert model[1].mean is mean
    swaps.undo()
    assert not mean.any()


def test_untouched_writes_only_what_has_changed() -> None:
    model = nn.BatchNorm1d(4)
    versions = [b._version for b in model.buffers()]
    with untouched(model, training=False):
        model(X)
    assert [b._version for b in model.buffers()] == versions
