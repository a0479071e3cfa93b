"""A trial inside other people's training loops.

    def train(net, trial):                                          # transformers
        arguments = TrainingArguments(**trainer_arguments(trial, learning_rate=5e-5, num_train_epochs=3))
        trainer = Trainer(net, arguments, ..., callbacks=[trainer_callback(trial, "accuracy")])
        trainer.train(resume_from_checkpoint=get_last_checkpoint(arguments.output_dir))
        return trainer.evaluate()["eval_accuracy"]

    def train(net, trial):                                          # Lightning
        trainer = lightning.Trainer(max_epochs=len(trial.epochs(10)), callbacks=[lightning_callback(trial, "val_loss")])
        trainer.fit(Module(net, lr=trial.rate(1e-3)), ...)

With a loop of your own, or with Accelerate, call `trial.report(score)` yourself.
"""

from __future__ import annotations

import importlib
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.trials.handle import Handle

__all__ = ["LightningReports", "TrainerReports", "lightning_callback", "trainer_arguments", "trainer_callback"]


class TrainerReports:
    """What transformers' Trainer calls: every evaluation is reported, and the time's end ends the training, after a
    checkpoint to go on from."""

    def __init__(self, trial: Handle, metric: str) -> None:
        self.trial, self.metric = trial, metric

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Report."""
        scores = {name.removeprefix("eval_"): value for name, value in (metrics or {}).items()}
        key = self.metric.removeprefix("eval_")
        if key not in scores:
            raise ActsmithError(
                f"trainer_callback: the evaluation gave {', '.join(map(repr, metrics or {}))}; expected "
                f"{self.metric!r}, as compute_metrics returns it"
            )
        if self.trial.note({**scores, self.trial.metric: scores[key]}):
            self._end(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End where the time is over."""
        if self.trial.ending:
            self._end(control)

    def _end(self, control: Any) -> None:
        control.should_training_stop = control.should_save = True


class LightningReports:
    """What Lightning calls: every validation is reported, and the time's end ends the training."""

    def __init__(self, trial: Handle, metric: str) -> None:
        self.trial, self.metric = trial, metric

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Report, except of the check that Lightning makes before it trains."""
        if trainer.sanity_checking:
            return
        scores = dict(trainer.callback_metrics)
        if self.metric not in scores:
            raise ActsmithError(
                f"lightning_callback: the module logged {', '.join(map(repr, scores))}; expected {self.metric!r}, as "
                f"in self.log({self.metric!r}, value)"
            )
        self.trial.note({**scores, self.trial.metric: scores[self.metric]})

    def on_train_batch_end(self, trainer: Any, *arguments: Any) -> None:
        """End where the time is over."""
        if self.trial.ending:
            trainer.should_stop = True


def trainer_arguments(trial: Handle, *, learning_rate: float, num_train_epochs: int, **others: Any) -> dict[str, Any]:
    """Arguments of `TrainingArguments` that make a training this trial's.

    Args:
        trial: what `train` was given.
        learning_rate, num_train_epochs: what your script uses by itself.
        others: whatever else `TrainingArguments` takes; it has the last word.
    """
    return {
        "output_dir": str(trial.folder / "trainer"),
        "seed": trial.seed,
        "learning_rate": trial.rate(learning_rate),
        "num_train_epochs": len(trial.epochs(num_train_epochs)),
        "report_to": "none",
        "save_total_limit": 1,
        **others,
    }


def trainer_callback(trial: Handle, metric: str) -> Any:
    """A `TrainerCallback` that reports every evaluation to the trial.

    Args:
        trial: what `train` was given.
        metric: a key of what `compute_metrics` returns, or "loss".

    Raises:
        ActsmithError: transformers is not installed.
    """
    return _made(TrainerReports, [("transformers", "TrainerCallback")])(trial, metric)


def lightning_callback(trial: Handle, metric: str) -> Any:
    """A Lightning `Callback` that reports every validation to the trial.

    Args:
        trial: what `train` was given.
        metric: a name under which the module logs.

    Raises:
        ActsmithError: Lightning is not installed.
    """
    homes = [("lightning.pytorch", "Callback"), ("pytorch_lightning", "Callback")]
    return _made(LightningReports, homes)(trial, metric)


def _made(reports: type, homes: list[tuple[str, str]]) -> type:
    """`reports` as a subclass of the framework's own callback."""
    for module, name in homes:
        try:
            base = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError:
            continue
        return type(reports.__name__, (reports, base), {})
    package = homes[0][0].partition(".")[0]
    raise ActsmithError(f"{package}: it is not installed; run: pip install {package}")
