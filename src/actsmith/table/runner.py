"""One runner for several tasks, which also looks at every untrained network once.

| symbol | meaning                                                                | shape |
|--------|------------------------------------------------------------------------|-------|
| m_l    | mean square of the pre-activations of activation l, one batch          |       |
| g_l    | sum of the squared gradients with respect to them                      |       |
| L      | activations in the network                                             |       |

    forward = log(m_L/m_1)/(L - 1),   backward = log(g_1/g_L)/(L - 1):  0 keeps a signal, a gradient
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.formula.catalogue import resolve
from actsmith.formula.formula import Formula
from actsmith.nn.lookup import LookupActivation
from actsmith.table.fisher import fisher_of
from actsmith.table.tasks import SPECS
from actsmith.training.choose import Choice
from actsmith.training.fit import Mode
from actsmith.training.problem import Problem, Split
from actsmith.training.runtime import Runtime
from actsmith.training.stack import can_batch
from actsmith.trials.measured import measured_there
from actsmith.trials.runner import FitRunner, Once, Place, read_from_tables_
from actsmith.trials.trial import Outcome, Trial, digest

__all__ = ["QUANTITIES", "TableRunner", "at_start"]

QUANTITIES = ("forward", "backward", "last", "loss")
"""What is measured of an untrained network: the two gains, log m_L, and its loss."""
EXAMPLES = 64


class _Stacked(FitRunner):
    """Stacks always, on one thread: what was measured to choose would differ from machine to machine, and a table that
    is built again should have the same numbers."""

    @property
    def choice(self) -> Choice:
        """The model's own form where it has one, else vmap."""
        [model] = self.models(resolve(self.usual), [0])
        mode: Mode = "own" if can_batch(model) else "vmap"
        return Choice(mode, {}, {"alone": 1, mode: 1}, {})


class TableRunner:
    """Trains every task of a table on the CPU, see `actsmith.trials.runner.Runner`.

    Args:
        runners: task -> what trains it.
    """

    judge: Split = "test"
    descends = False

    def __init__(self, runners: dict[str, FitRunner]) -> None:
        self.runners = runners
        first = next(iter(runners.values()))
        self.name, self.metric, self.rates, self.usual = "table", first.metric, first.rates, "relu"
        self.context = digest([runner.context for runner in runners.values()])

    @classmethod
    def opened(cls, names: Sequence[str]) -> TableRunner:
        """Of these tasks, their data loaded."""
        runtime = Runtime.create("cpu")
        return cls({name: _Stacked.opened(SPECS[name].task, None, runtime) for name in names})

    @property
    def device(self) -> torch.device:
        """See `Runner`."""
        return torch.device("cpu")

    def remember(self, once: Once) -> None:
        """See `Runner`."""
        for runner in self.runners.values():
            runner.remember(once)

    def groups(self, round_: Sequence[Trial]) -> list[list[Trial]]:
        """See `Runner`."""
        return [
            group
            for name, runner in self.runners.items()
            for group in runner.groups([trial for trial in round_ if trial.task == name])
        ]

    def run(self, group: Sequence[Trial], place: Place) -> list[Outcome]:
        """See `Runner`. Where one network of a stack cannot be built, each is trained by itself."""
        runner = self.runners[group[0].task]
        outcomes = runner.run(group, place)
        if len(group) > 1 and all(outcome.reason is not None for outcome in outcomes):
            outcomes = [outcome for trial in group for outcome in runner.run([trial], place)]
        return [self._looked_at(outcome) for outcome in outcomes]

    def _looked_at(self, outcome: Outcome) -> Outcome:
        """With the quantities of the untrained network, of the first seed and rate alone."""
        trial, runner = outcome.trial, self.runners[outcome.trial.task]
        if outcome.reason is not None or trial.seed != 0 or trial.rate != runner.rates[0]:
            return outcome
        [model] = runner.models(trial.activation, [0])
        read_from_tables_(model)
        return replace(outcome, details={**outcome.details, **at_start(model, runner.problem)})

    def config(self) -> dict[str, Any]:
        """See `Runner`."""
        return {name: runner.config() for name, runner in self.runners.items()}

    def cost(self) -> None:
        """See `Runner`."""
        return

    def silent(self, formula: Formula) -> str | None:
        """See `Runner`; what carries no signal is a result here."""
        return None

    def start(self, formula: Formula) -> str:
        """See `Runner`."""
        return "Each task draws its own start."

    def maker(self, folder: Path) -> Callable[[], TableRunner]:
        """See `Runner`."""
        return partial(_made, tuple(self.runners), folder)


def _made(names: Sequence[str], folder: Path) -> TableRunner:
    runner = TableRunner.opened(names)
    runner.remember(measured_there(folder))
    return runner


def at_start(model: nn.Module, problem: Problem) -> dict[str, Any]:
    """Of an untrained network that reads its activations from tables, on one batch; None for what is not finite.

    Returns:
        "start": `QUANTITIES`; of a network with one activation both gains are 0. "fisher": see `fisher.histogram`.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0  # the moments of this batch are those of the Fisher information below
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        inputs[0].retain_grad()
        seen.append(inputs[0])

    modules = [module for module in model.modules() if isinstance(module, LookupActivation)]
    batch = problem.example(EXAMPLES, torch.device("cpu"))
    hooks = [module.register_forward_pre_hook(keep) for module in modules]
    out = model.train()(problem.inputs_of(batch))
    for hook in hooks:
        hook.remove()
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    (out * direction).sum().backward()
    squares = [float(z.detach().double().square().mean()) for z in seen]
    gradients = [0.0 if z.grad is None else float(z.grad.double().square().sum()) for z in seen]
    layers = max(len(seen) - 1, 1)
    values = {
        "forward": (_log(squares[-1]) - _log(squares[0])) / layers,
        "backward": (_log(gradients[0]) - _log(gradients[-1])) / layers,
        "last": _log(squares[-1]),
        "loss": float(problem.loss(model, batch).detach()),
    }
    model.zero_grad()
    return {
        "start": {name: value if math.isfinite(value) else None for name, value in values.items()},
        "fisher": fisher_of(model, problem, batch),
    }


def _log(value: float) -> float:
    return math.log(value) if 0 < value < math.inf else math.nan
