"""Entropy descent in other people's loops: processes, Trainer, Accelerate, Lightning."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing import spawn
from two_processes import together

from actsmith.errors import ActsmithError
from actsmith.nn import EntropyDescent, HermiteActivation, lightning_callback, trainer_callback
from actsmith.nn.callbacks import TrainerHooks

ROWS = 600


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 1), HermiteActivation("gelu", 2), nn.Linear(1, 1))


def data() -> Tensor:
    return torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(1))


def one_process(rank: int, folder: str, cut: int) -> None:
    from torch.nn.parallel import DistributedDataParallel

    with together(rank, folder):
        model = network()
        descent = EntropyDescent(model, weight=1.0, every=1, samples=ROWS)
        parallel = DistributedDataParallel(model)
        # unequal parts, below `samples`, so that both processes together hold all of the data
        part = data()[:cut] if rank == 0 else data()[cut:]
        (parallel(part).sum() * 0).backward()
        descent.step()
        torch.save({n: p.grad for n, p in model.named_parameters()}, f"{folder}/{rank}.pt")


@pytest.mark.parametrize("cut", [200, ROWS])  # the second leaves the other process nothing
def test_two_processes_descend_the_entropy_of_their_data_together(tmp_path: Path, cut: int) -> None:
    spawn(one_process, (str(tmp_path), cut), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    model = network()
    descent = EntropyDescent(model, weight=1.0, every=1, samples=ROWS)
    (model(data()).sum() * 0).backward()
    descent.step()
    for name, p in model.named_parameters():
        assert torch.equal(first[name], second[name])
        assert torch.allclose(first[name], p.grad, rtol=1e-4, atol=1e-6)
    assert model[1].eps2.grad.abs() > 0


class Wrapped(nn.Module):
    """As transformers' Trainer wants a model."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        y = self.network(x)
        return {"loss": (y - 1).square().mean(), "logits": y}


def trainer(model: nn.Module, descent: EntropyDescent, folder: Path, steps: int) -> Any:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    rows = [{"x": row, "labels": torch.tensor(0.0)} for row in data()]
    arguments = transformers.TrainingArguments(
        str(folder), max_steps=steps, save_steps=4, per_device_train_batch_size=50, gradient_accumulation_steps=2,
        report_to=[], use_cpu=True, disable_tqdm=True, logging_steps=1000, lr_scheduler_type="constant",
    )  # fmt: skip
    return transformers.Trainer(model, arguments, train_dataset=rows, callbacks=[trainer_callback(descent)])


@pytest.mark.filterwarnings("ignore")
def test_transformers_trainer_steps_saves_and_resumes(tmp_path: Path) -> None:
    whole = Wrapped()
    descent = EntropyDescent(whole, weight=1.0, every=3)
    trainer(whole, descent, tmp_path / "whole", 6).train()
    assert descent.steps == 6
    assert not whole.network[1]._forward_pre_hooks
    state = torch.load(tmp_path / "whole" / "checkpoint-4" / "entropy_descent.pt", weights_only=True)
    assert state["steps"] == 4

    resumed = Wrapped()
    later = EntropyDescent(resumed, weight=1.0, every=3)
    trainer(resumed, later, tmp_path / "whole", 6).train(str(tmp_path / "whole" / "checkpoint-4"))
    assert later.steps == 6
    assert torch.equal(resumed.network[1].eps2, whole.network[1].eps2)


def test_the_trainers_gradients_are_scaled_where_nothing_was_clipped() -> None:
    class Scaler:
        def get_scale(self) -> float:
            return 8.0

    class Optimiser:
        scaler = Scaler()

    class Arguments:
        max_grad_norm = 0.0

    found = []
    for clipped in (1.0, 0.0):
        Arguments.max_grad_norm = clipped
        model = network()
        hooks = TrainerHooks(EntropyDescent(model, weight=1.0, every=1))
        model(data())
        hooks.on_pre_optimizer_step(Arguments, None, None, optimizer=Optimiser())
        found.append(model[1].eps2.grad.item())
    assert found[1] == pytest.approx(8 * found[0], rel=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_accelerate_checkpoints_it(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = network()
    descent = EntropyDescent(model, weight=1.0, every=2)
    prepared, optimiser = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    accelerator.register_for_checkpointing(descent)
    for step in range(6):
        with accelerator.accumulate(prepared):
            accelerator.backward(prepared(data()[step * 100 : (step + 1) * 100]).square().mean())
            if accelerator.sync_gradients:
                descent.step()
            optimiser.step()
            optimiser.zero_grad()
    assert descent.steps == 3
    accelerator.save_state(str(tmp_path))
    held = [t.clone() for t in descent._held]
    descent.steps = 0
    descent._held[0].zero_()
    accelerator.load_state(str(tmp_path))
    assert descent.steps == 3
    assert all(torch.equal(a, b) for a, b in zip(held, descent._held, strict=True))


def test_lightning_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning is no dependency: a stand-in holds its base class where it is missing."""
    try:
        import lightning.pytorch  # noqa: F401
    except ModuleNotFoundError:
        stand_in = types.ModuleType("lightning.pytorch")
        stand_in.Callback = type("Callback", (), {})  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "lightning", types.ModuleType("lightning"))
        monkeypatch.setitem(sys.modules, "lightning.pytorch", stand_in)
    model = network()
    callback = lightning_callback(EntropyDescent(model, weight=1.0))
    assert isinstance(callback, sys.modules["lightning.pytorch"].Callback)
    model(data())
    callback.on_before_optimizer_step(None, None, None)
    assert callback.state_dict()["steps"] == 1
    other = lightning_callback(EntropyDescent(network(), weight=1.0))
    other.load_state_dict(callback.state_dict())
    assert other.descent.steps == 1
    callback.on_train_end(None, None)
    assert not model[1]._forward_pre_hooks


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ActsmithError, match=r"pip install 'lightning>=2\.4'"):
        lightning_callback(EntropyDescent(network()))
