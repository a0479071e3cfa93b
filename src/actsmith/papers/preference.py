"""Direct preference optimisation (Rafailov et al., arXiv:2305.18290) of language models whose activations were swapped.

    loss = -log sigmoid(beta (log p(chosen)/p_0(chosen) - log p(rejected)/p_0(rejected)))

TRL's DPOTrainer trains; p_0 is the model as it was before the first step, with the activations it then had. An arm says
what becomes of them:

| arm     | activations                                                                                     |
|---------|-------------------------------------------------------------------------------------------------|
| kept    | those the model was trained with                                                                |
| swapped | the formula in their place from the first step; p_0 has it too                                  |
| blended | from the old to the formula over the first half of the steps; p_0 has the old                   |
| own     | the formula, with which the model was trained from the beginning (for a model trained here)     |

Every finished training is a line of results.jsonl. The test pairs are never trained or tuned on.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from torch import nn

from actsmith.errors import ActsmithError, require
from actsmith.formula.formula import Formula
from actsmith.papers.experiment import Results, Run, settle, unfinished
from actsmith.papers.language_models import LOSS, Model, Trained
from actsmith.papers.preference_pairs import Pair, Pairs, as_text
from actsmith.surgery.blend import Blend
from actsmith.surgery.replace import replace_
from actsmith.tasks.task import describe
from actsmith.training.problem import Metric, digest_of
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.runner import Place
from actsmith.trials.trial import Outcome, Trial, digest

__all__ = ["ACCURACY", "LIKELIHOOD", "MARGIN", "Arm", "Preference"]

MARGIN, ACCURACY = Metric("margin", "higher"), Metric("accuracy", "higher")
LIKELIHOOD = Metric("chosen_log_probability", "higher")
_METRICS = {
    "margin": "eval_rewards/margins",
    "accuracy": "eval_rewards/accuracies",
    "loss": "eval_loss",
    "chosen_log_probability": "eval_logps/chosen",
}


def _trl() -> Any:
    require("datasets", "language", "preference").disable_progress_bars()
    return require("trl", "language", "preference")


@dataclass(frozen=True)
class Arm:
    """An activation and the way it gets into the model; see the table above.

    Attributes:
        kind: the way.
        formula: the activation; for "kept" the one that the model has.
    """

    kind: Literal["kept", "swapped", "blended", "own"]
    formula: Formula

    @property
    def name(self) -> str:
        """Of the row in the table."""
        return self.formula.name if self.kind == "kept" else f"{self.formula.name} {self.kind}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": self.kind, "formula": self.formula.to_dict()}


@dataclass(frozen=True)
class Preference:
    """One table: DPO of one model on one set of pairs at one beta, an arm against the others.

    Attributes:
        name: of the table.
        model, pairs: what is trained, on what.
        arms: what is compared; the first is the reference.
        rates: the grid; tuned for each arm with `tuning_seeds`, on training pairs alone.
        beta: of the loss.
        train, evaluated: pairs to train on (drawn anew for every seed) and to test on (the same for all).
        epochs, batch: of the training.
        longest: tokens in a sequence, of which the end of the prompt takes half at most.
        seeds, tuning_seeds: of models trained here, of the draw of pairs and of their order.
        labels: as an `Experiment` has them.
    """

    name: str
    model: Model
    pairs: Pairs
    arms: tuple[Arm, ...]
    rates: tuple[float, ...]
    beta: float = 0.1
    train: int = 96
    evaluated: int = 64
    epochs: int = 1
    batch: int = 8
    longest: int = 128
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    tuning_seeds: tuple[int, ...] = (1000,)
    labels: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names):
            raise ActsmithError(f"preference {self.name}: got arms {', '.join(names)}; expected different ones")
        self.policy("")  # checks rates and seeds

    @property
    def reference(self) -> str:
        """Name of the arm that differences are taken to."""
        return self.arms[0].name

    @property
    def activations(self) -> tuple[Formula, ...]:
        """The arms, each as an activation of its own name."""
        return tuple(arm.formula.renamed(arm.name) for arm in self.arms)

    @property
    def pretrained(self) -> tuple[Formula, ...]:
        """The activations that models are trained with first."""
        if not isinstance(self.model, Trained):
            return ()
        return (self.model.activation, *(arm.formula for arm in self.arms if arm.kind == "own"))

    def policy(self, context: str) -> TuneThenScore:
        """The rules by which every arm is tried."""
        return TuneThenScore(self.name, context, LOSS, self.rates, self.seeds, self.tuning_seeds)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say."""
        return {**describe(self), "arms": [arm.to_dict() for arm in self.arms]}

    def left(self, folder: Results) -> int:
        """Trainings that the folder does not hold yet; those of models that are trained first come on top."""
        return sum(unfinished(folder, self, arm.name, self.seeds) for arm in self.arms)

    def run(self, run: Run) -> None:
        """Train what the folder does not hold yet."""
        if self.left(run.folder):
            _trl()
            runner = _Runner(self, run)
            for number, formula in enumerate(self.activations):
                run.report(self.name, number, len(self.arms), formula.name)
                settle(run, runner, self.policy(runner.context), formula)
        run.report(self.name, len(self.arms), len(self.arms), "done")


class _Runner:
    """Trains one arm after another with TRL."""

    def __init__(self, part: Preference, run: Run) -> None:
        self.part, self.place = part, run
        self.pairs = part.pairs.load(run.data)
        fingerprint = digest_of(repr(self.pairs))
        run.check(part.pairs, fingerprint)
        if isinstance(part.model, Trained):
            run.problem(part.model.text)
        self.context = digest([part.to_dict(), fingerprint])
        self.arms = {arm.name: arm for arm in part.arms}
        self.loaded: tuple[Any, tuple[Any, Any]] | None = None

    def groups(self, round_: Sequence[Trial]) -> list[list[Trial]]:
        """See `Runner`."""
        return [[trial] for trial in round_]

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        """See `Runner`: what tunes is scored on training pairs that are held out."""
        (trial,) = group
        began = time.perf_counter()
        found = self.train(self.arms[trial.formula.name], trial.stage, trial.seed, trial.rate)
        scores = found.pop("scores")
        return [
            Outcome(
                trial, {} if trial.test else scores, scores if trial.test else None,
                diverged=not all(map(math.isfinite, scores.values())), seconds=time.perf_counter() - began, **found,
            )
        ]  # fmt: skip

    def base(self, arm: Arm, seed: int) -> tuple[Any, Any]:
        """The model before its activations are exchanged, and the tokenizer. Kept while the same is asked for."""
        own = arm.formula if arm.kind == "own" else None
        which = (own, seed if isinstance(self.part.model, Trained) else None)
        if self.loaded is None or self.loaded[0] != which:
            self.loaded = (which, self.part.model.load(own, seed, self.place))
        return self.loaded[1]

    def train(self, arm: Arm, stage: str, seed: int, rate: float) -> dict[str, Any]:
        """scores, step_seconds, peak_bytes, and as details the likelihood `before` training and the learned eps."""
        from datasets import Dataset

        part = self.part
        with _quiet(), tempfile.TemporaryDirectory() as scratch:
            bare, tokenizer = self.base(arm, seed)
            model = copy.deepcopy(bare)
            train, test = self.split(tokenizer, stage, seed)
            steps = part.epochs * math.ceil(len(train) / part.batch)
            blend = self.swap(model, arm, steps)
            trainer = _trainer(part, model, tokenizer, Dataset.from_list(train), Dataset.from_list(test), rate=rate,
                               seed=seed, scratch=scratch, run=self.place)  # fmt: skip
            watch = _watch(blend)
            trainer.add_callback(watch)
            before = float(np.mean(trainer.eval_dataset["ref_chosen_logps"]))
            trainer.train()
            scores = trainer.evaluate()
        learned = {n: p.detach().flatten().tolist() for n, p in model.named_parameters() if n.endswith(".eps")}
        return {
            "scores": {name: float(scores[metric]) for name, metric in _METRICS.items()},
            "step_seconds": statistics.median(watch.seconds),
            "peak_bytes": sum(4 * p.numel() * p.element_size() for p in model.parameters()),
            "details": {"before": {LIKELIHOOD.name: before}, "parameters": learned},
        }

    def split(self, tokenizer: Any, stage: str, seed: int) -> tuple[list[Pair], list[Pair]]:
        """Pairs to train on and to score on. A fixed cut sets the test pairs apart; tuning stays on the other side."""
        part = self.part
        pairs = [as_text(pair, tokenizer, part.longest // 2) for pair in self.pairs]
        order = np.random.Generator(np.random.PCG64(0)).permutation(len(pairs))
        test, rest = order[: part.evaluated], order[part.evaluated :]
        own = np.random.Generator(np.random.PCG64(seed)).permutation(rest)
        if stage == "tune":
            test, own = own[: len(own) // 4], own[len(own) // 4 :]
        if len(own) < part.batch or len(test) < 1:
            raise ActsmithError(
                f"preference {part.name}: got {len(pairs)} pairs; expected {part.evaluated} to test on and twice "
                f"{part.batch} more"
            )
        return [pairs[i] for i in own[: part.train]], [pairs[i] for i in test]

    def swap(self, model: nn.Module, arm: Arm, steps: int) -> Blend | None:
        if arm.kind in ("kept", "own"):
            return None
        blend = Blend(max(steps // 2, 1)) if arm.kind == "blended" else None
        replace_(model, arm.formula, gates=True, blend=blend)
        return blend


def _trainer(
    part: Preference,
    model: Any,
    tokenizer: Any,
    train: Any,
    test: Any,
    *,
    rate: float,
    seed: int,
    scratch: str,
    run: Run,
) -> Any:
    trl = _trl()
    from transformers import PrinterCallback

    precision = run.runtime.accelerator.mixed_precision
    config = trl.DPOConfig(
        output_dir=scratch, beta=part.beta, learning_rate=rate, seed=seed, num_train_epochs=part.epochs,
        per_device_train_batch_size=part.batch, per_device_eval_batch_size=part.batch, max_length=part.longest,
        precompute_ref_log_probs=True, lr_scheduler_type="cosine", warmup_steps=1, weight_decay=0.0,
        gradient_checkpointing=False, bf16=precision == "bf16", fp16=precision == "fp16", report_to="none",
        save_strategy="no", logging_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
        use_cpu=run.runtime.device.type == "cpu",
    )  # fmt: skip
    made = trl.DPOTrainer(model, args=config, train_dataset=train, eval_dataset=test, processing_class=tokenizer)
    made.remove_callback(PrinterCallback)
    return made


def _watch(blend: Blend | None) -> Any:
    """A callback that turns the blend on and notes the seconds of every step."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.began = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(time.perf_counter() - self.began)
            if blend is not None:
                blend.step()

    return Watch()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and the advice of the libraries; errors still show. All is as before afterwards."""
    from transformers.utils import logging as transformers_logging

    advice: Any = transformers_logging
    before, bars = os.environ.get("TQDM_DISABLE"), advice.is_progress_bar_enabled()
    level = logging.root.manager.disable
    os.environ["TQDM_DISABLE"] = "1"
    logging.disable(max(level, logging.WARNING))
    advice.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        if bars:
            advice.enable_progress_bar()
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
