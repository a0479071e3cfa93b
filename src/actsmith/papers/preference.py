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
import math
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.experiments.experiment import Report, describe
from actsmith.experiments.folder import RunFolder, finite_or_none
from actsmith.experiments.language import LANGUAGE_EXTRA
from actsmith.experiments.language_models import LOSS, Model, Place, Trained
from actsmith.experiments.loop import Runtime
from actsmith.experiments.preference_pairs import Pair, Pairs, as_text
from actsmith.experiments.problem import Metric
from actsmith.formula.formula import Formula
from actsmith.surgery.blend import Blend
from actsmith.surgery.replace import replace_

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
    try:
        import datasets
        import trl
    except ImportError as error:
        raise ActsmithError(f"preference: {error.name} is missing; {LANGUAGE_EXTRA}") from None
    datasets.disable_progress_bars()
    return trl


@dataclass(frozen=True)
class Arm:
    """An activation and the way it gets into the model; see the table above.

    Attributes:
        kind: the way.
        formula: the activation; None for "kept".
        label: names the model's own activation where it is kept.
    """

    kind: Literal["kept", "swapped", "blended", "own"]
    formula: Formula | None = None
    label: str = ""

    @property
    def name(self) -> str:
        """Of the row in the table."""
        return self.label if self.formula is None else f"{self.formula.name} {self.kind}"


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

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names) or not self.rates or set(self.seeds) & set(self.tuning_seeds):
            raise ActsmithError(
                f"preference {self.name}: got arms {', '.join(names)}, rates {self.rates}, seeds {self.seeds}; "
                "expected different arms, one rate or more, and no seed that tunes too"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say."""
        return describe(self)  # type: ignore[no-any-return]

    def run(self, folder: RunFolder, runtime: Runtime, data: Path | None, report: Report) -> None:
        """Train what the folder does not hold yet."""
        _trl()
        runner = _Runner(self, Place(folder, runtime, data))
        for number, arm in enumerate(self.arms):
            report(self.name, number, len(self.arms), arm.name)
            rate = runner.tuned(arm)
            for seed in self.seeds:
                runner.trained(arm, "score", seed, rate)
        report(self.name, len(self.arms), len(self.arms), "done")


class _Runner:
    def __init__(self, part: Preference, place: Place) -> None:
        self.part, self.place = part, place
        self.loaded: tuple[Any, tuple[Any, Any]] | None = None

    def tuned(self, arm: Arm) -> float:
        """The rate of the smallest mean loss; where every one diverges, the smallest."""
        if len(self.part.rates) == 1:
            return self.part.rates[0]
        best, chosen = -math.inf, min(self.part.rates)
        for rate in self.part.rates:
            records = [self.trained(arm, "tune", seed, rate) for seed in self.part.tuning_seeds]
            value = LOSS.merit([r["test"]["loss"][0] for r in records])
            if value > best:
                best, chosen = value, rate
        return chosen

    def trained(self, arm: Arm, stage: str, seed: int, rate: float) -> dict[str, Any]:
        """The record of one training, from the folder or made now."""
        key = f"{self.part.name}/{arm.name}/{stage}/{rate:g}/{seed}"
        folder = self.place.folder
        if key not in folder.results:
            record = {"experiment": self.part.name, "activation": arm.name, "stage": stage, "rate": rate}
            record |= finite_or_none(self.train(arm, stage, seed, rate))
            if self.place.runtime.main:
                folder.append(key, record)
            else:
                folder.results[key] = record
        return folder.results[key]

    def base(self, arm: Arm, seed: int) -> tuple[Any, Any]:
        """The model before its activations are exchanged, and the tokenizer. Kept while the same is asked for."""
        own = arm.formula if arm.kind == "own" else None
        which = (own, seed if isinstance(self.part.model, Trained) else None)
        if self.loaded is None or self.loaded[0] != which:
            self.loaded = (which, self.part.model.load(own, seed, self.place))
        return self.loaded[1]

    def train(self, arm: Arm, stage: str, seed: int, rate: float) -> dict[str, Any]:
        from datasets import Dataset

        part = self.part
        with _quiet(), tempfile.TemporaryDirectory() as scratch:
            bare, tokenizer = self.base(arm, seed)
            model = copy.deepcopy(bare)
            train, test = self.split(tokenizer, stage, seed)
            steps = part.epochs * math.ceil(len(train) / part.batch)
            blend = self.swap(model, arm, steps)
            trainer = _trainer(part, model, tokenizer, Dataset.from_list(train), Dataset.from_list(test), rate=rate,
                               seed=seed, scratch=scratch, runtime=self.place.runtime)  # fmt: skip
            watch = _watch(blend)
            trainer.add_callback(watch)
            before = float(np.mean(trainer.eval_dataset["ref_chosen_logps"]))
            trainer.train()
            scores = trainer.evaluate()
        values = {name: [float(scores[metric])] for name, metric in _METRICS.items()}
        return {
            "seeds": [seed],
            "diverged": [not all(math.isfinite(v[0]) for v in values.values())],
            "test": values,
            "before": {"chosen_log_probability": [before]},
            "step_seconds": statistics.median(watch.seconds),
            "peak_bytes": sum(4 * p.numel() * p.element_size() for p in model.parameters()),
            "parameters": {n: p.detach().flatten().tolist() for n, p in model.named_parameters() if n.endswith(".eps")},
        }

    def split(self, tokenizer: Any, stage: str, seed: int) -> tuple[list[Pair], list[Pair]]:
        """Pairs to train on and to score on. A fixed cut sets the test pairs apart; tuning stays on the other side."""
        part = self.part
        pairs = [as_text(pair, tokenizer, part.longest // 2) for pair in part.pairs.load(self.place.data)]
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
        if arm.formula is None or arm.kind == "own":
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
    runtime: Runtime,
) -> Any:
    trl = _trl()
    from transformers import PrinterCallback

    precision = runtime.accelerator.mixed_precision
    config = trl.DPOConfig(
        output_dir=scratch, beta=part.beta, learning_rate=rate, seed=seed, num_train_epochs=part.epochs,
        per_device_train_batch_size=part.batch, per_device_eval_batch_size=part.batch, max_length=part.longest,
        precompute_ref_log_probs=True, lr_scheduler_type="cosine", warmup_steps=1, weight_decay=0.0,
        gradient_checkpointing=False, bf16=precision == "bf16", fp16=precision == "fp16", report_to="none",
        save_strategy="no", logging_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
        use_cpu=runtime.accelerator.device.type == "cpu",
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
    """Without the bars and the advice of the libraries; errors still show."""
    import logging

    from transformers.utils import logging as transformers_logging

    advice: Any = transformers_logging
    before, bars = os.environ.get("TQDM_DISABLE"), advice.is_progress_bar_enabled()
    os.environ["TQDM_DISABLE"] = "1"
    logging.disable(logging.WARNING)
    advice.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        if bars:
            advice.enable_progress_bar()
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
