"""Callbacks for other people's training loops."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.nn import Activation
from actsmith.training.fit import Stopped
from actsmith.training.problem import Metric
from actsmith.trials.handle import Handle
from actsmith.trials.integrations import lightning_callback, trainer_arguments, trainer_callback
from actsmith.trials.runner import Place
from actsmith.trials.script import ScriptRunner
from actsmith.trials.trial import Trial


def handle(folder: Path, deadline: float | None = None, **more: Any) -> Handle:
    trial = Trial("t", resolve("gelu"), "score", **{"rate": 2.0, "seed": 3, **more})
    return Handle(trial, Place(folder, deadline), "accuracy", folder)


def test_what_the_trainer_gets(tmp_path: Path) -> None:
    found = trainer_arguments(handle(tmp_path, length=0.5), learning_rate=0.1, num_train_epochs=4, logging_steps=7)
    assert (found["learning_rate"], found["num_train_epochs"], found["seed"]) == (0.2, 2, 3)
    assert found["logging_steps"] == 7
    assert Path(found["output_dir"]).parent == tmp_path


class Callback:
    """Stands for Lightning's."""


def test_lightning_reports_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = handle(tmp_path)
    if "lightning" not in sys.modules:
        with pytest.raises(ActsmithError, match="pip install lightning"):
            lightning_callback(trial, "val")
    fake = types.ModuleType("lightning.pytorch")
    fake.Callback = Callback  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning", types.ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", fake)
    callback = lightning_callback(trial, "val")
    assert isinstance(callback, Callback)
    trainer = types.SimpleNamespace(sanity_checking=True, callback_metrics={}, should_stop=False)
    callback.on_validation_end(trainer, None)
    trainer.sanity_checking = False
    with pytest.raises(ActsmithError, match=r"expected 'val', as in self\.log"):
        callback.on_validation_end(trainer, None)
    trainer.callback_metrics = {"val": torch.tensor(0.75), "loss": 1.5}
    callback.on_validation_end(trainer, None)
    callback.on_train_batch_end(trainer, None, None, None, 0)
    assert trial.reports == [{"val": 0.75, "loss": 1.5, "accuracy": 0.75}]
    assert not trainer.should_stop
    late = handle(tmp_path, deadline=time.time() - 1)
    lightning_callback(late, "val").on_train_batch_end(trainer, None, None, None, 0)
    assert trainer.should_stop
    assert late.stopped


class Examples(Dataset[dict[str, torch.Tensor]]):
    """Sequences of a token: the label says which half of the vocabulary."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.full((6,), i % 32), "labels": torch.tensor(i % 32 // 16)}


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=8, num_labels=2,
    )  # fmt: skip
    model: nn.Module = BertForSequenceClassification(config)
    return model


def train(net: nn.Module, trial: Handle) -> None:
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    arguments = TrainingArguments(
        **trainer_arguments(trial, learning_rate=5e-3, num_train_epochs=3), eval_strategy="epoch", use_cpu=True,
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(
        net, arguments, train_dataset=Examples(), eval_dataset=Examples(),
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
        callbacks=[trainer_callback(trial, "accuracy")],
    )  # fmt: skip
    there = Path(arguments.output_dir).is_dir()
    trainer.train(resume_from_checkpoint=get_last_checkpoint(arguments.output_dir) if there else None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_real_trainer_reports_stops_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    runner = ScriptRunner(bert, train, metric=Metric("accuracy", "higher"))
    assert runner.usual == "gelu"
    layer = runner.network(resolve("crrelu")).get_submodule("bert.encoder.layer.0.intermediate")
    assert isinstance(layer.intermediate_act_fn, Activation)
    trial = Trial(runner.name, resolve("crrelu"), "score", 1.0, 0, context=runner.context)
    (whole,) = runner.run([trial], Place(tmp_path / "whole"))
    assert whole.reason is None, whole.details["traceback"]
    assert [i for i, _ in whole.details["curve"]] == [1, 2, 3]
    assert (whole.score("accuracy") or 0.0) > 0.8
    assert {"accuracy", "loss"} <= whole.validation.keys()
    reports: list[Any] = []
    note, now = Handle.note, time.time

    def noted(self: Handle, score: Any) -> bool:
        reports.append(score)
        if len(reports) == 1:
            monkeypatch.setattr(time, "time", lambda: now() + 1e6)
        return note(self, score)

    monkeypatch.setattr(Handle, "note", noted)
    with pytest.raises(Stopped):
        runner.run([trial], Place(tmp_path / "stopped", time.time() + 1000))
    monkeypatch.setattr(time, "time", now)
    assert len(reports) == 1
    (resumed,) = runner.run([trial], Place(tmp_path / "stopped"))
    assert resumed.reason is None, resumed.details["traceback"]
    assert len(reports) == 3  # it went on from its own checkpoint
    assert resumed.validation["accuracy"] == whole.validation["accuracy"]
