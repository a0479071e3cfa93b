"""Live training: your activation beside ReLU and GELU, the same seeds, the same network, the engine's own loop.

Each activation is a stack of as many networks as there are seeds. The stacks take turns, an epoch each, so that their
curves grow side by side; what a stack does in its turn is what it would do alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from actsmith.app.inputs import formula_of
from actsmith.app.views import short
from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula
from actsmith.nn.hook import Hook
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.functions import FunctionConfig
from actsmith.tasks.pde import Pinn, burgers_solution
from actsmith.tasks.perceptron import Mlp
from actsmith.theory.arguments import number, whole
from actsmith.training.fit import fit
from actsmith.training.problem import Arrays, Classification, Metric, Problem
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime

__all__ = ["AGAINST", "SCENES", "train"]

Emit = Callable[[dict[str, Any]], None]

AGAINST = ("relu", "gelu")
WIDEST, DEEPEST, MOST_SEEDS, MOST_EPOCHS = 64, 10, 8, 400
GRID = 36
"""Points to a side of the picture of the spirals."""
LINE = 121
EVERY = 0.15
"""Seconds between two reports of one activation, at least."""


@dataclass(frozen=True)
class Scene:
    """One thing to learn.

    Attributes:
        load: makes the problem.
        metric: what the curves show, on held-out data.
        batch: examples in a step.
        inputs: points of the picture, (n, ...) float32.
        picture: from the networks' outputs there, (nets, n, outputs), to plain values.
        given: what is drawn beside it, plain values.
    """

    load: Callable[[], Problem]
    metric: Metric
    batch: int
    inputs: Callable[[], Tensor | None]
    picture: Callable[[Tensor], Any]
    given: Callable[[Problem], dict[str, Any]]


def train(
    emit: Emit,
    formula: Any,
    values: Any = None,
    *,
    scene: Any = "spirals",
    width: Any = 32,
    depth: Any = 3,
    seeds: Any = 4,
    rate: Any = 0.01,
    epochs: Any = 60,
    init: Any = "critical",
) -> dict[str, Any]:
    """Train three activations; reports by `emit`, returns what is left to say.

    An event is {"activation", "epoch", "score": (mean, low, high), "picture"}: low and high are the worst and the best
    seed. The first, {"scene"}, says what is drawn.

    Raises:
        ActsmithError: no such formula or scene, or a size out of range.
    """
    own = formula_of(formula, values)
    if scene not in SCENES or init not in ("critical", "kaiming"):
        raise ActsmithError(f"training: expected a scene of {', '.join(SCENES)}, and a start critical or kaiming")
    sizes = {"width": (width, WIDEST), "depth": (depth, DEEPEST), "seeds": (seeds, MOST_SEEDS)}
    for name, (value, most) in {**sizes, "epochs": (epochs, MOST_EPOCHS)}.items():
        if not 1 <= whole(name, value, least=1) <= most:
            raise ActsmithError(f"{name}: got {value}; expected 1 to {most}")
    if not 1e-6 <= number("rate", rate, positive=True) <= 1:
        raise ActsmithError(f"rate: got {rate}; expected 1e-6 to 1")
    chosen = SCENES[scene]
    problem = chosen.load()
    formulas = {"yours": own, **{name: get_activation(name) for name in AGAINST}}
    metric = {"name": chosen.metric.name, "better": chosen.metric.better, "log": chosen.metric.log}
    emit({"scene": scene, "metric": metric, "epochs": epochs, "activations": list(formulas), **chosen.given(problem)})
    config = Mlp(width, depth, init=init)
    recipe = Recipe(epochs, chosen.batch)
    jobs = {
        name: _Job(name, f, problem, chosen, config, recipe, list(range(seeds)), rate, emit)
        for name, f in formulas.items()
    }
    began = time.monotonic()
    failed = _by_turns(list(jobs.values()))
    return {"seconds": round(time.monotonic() - began, 1), "failed": failed}


class _Turns:
    """One thread at a time, round and round."""

    def __init__(self, names: Sequence[str]) -> None:
        self.waiting, self.condition = list(names), threading.Condition()

    def wait(self, name: str) -> None:
        with self.condition:
            self.condition.wait_for(lambda: self.waiting[0] == name)

    def give(self, name: str, *, last: bool = False) -> None:
        with self.condition:
            self.waiting.remove(name)
            if not last:
                self.waiting.append(name)
            self.condition.notify_all()


def _by_turns(jobs: Sequence[_Job]) -> dict[str, str]:
    """Run the jobs in threads that take turns; the reasons of those that failed."""
    turns, failed = _Turns([job.name for job in jobs]), dict[str, str]()

    def run(job: _Job) -> None:
        turns.wait(job.name)
        try:
            job.run(turns)
        except Exception as error:  # one that fails does not end the others
            failed[job.name] = str(error)[:300]
        finally:
            turns.give(job.name, last=True)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


@dataclass(frozen=True)
class _Job:
    """The networks of one activation."""

    name: str
    formula: Formula
    problem: Problem
    scene: Scene
    config: Mlp
    recipe: Recipe
    seeds: list[int]
    rate: float
    emit: Emit

    def run(self, turns: _Turns) -> None:
        models = [self.config.build(self.formula, seed, self.problem) for seed in self.seeds]
        fit(
            self.problem,
            models,
            seeds=self.seeds,
            rates=[self.rate] * len(self.seeds),
            recipe=self.recipe,
            runtime=Runtime.create("cpu"),
            mode="own",
            threads=1,
            hook=lambda module: _Look(self, module, turns),
        )


class _Look(Hook):
    """Reports after an epoch, and gives the turn to the next activation."""

    stacks = True

    def __init__(self, job: _Job, module: nn.Module, turns: _Turns) -> None:
        self.job, self.module, self.turns = job, module, turns
        self.inputs = job.scene.inputs()
        self.last = 0.0

    def after_epoch(self, epoch: int) -> None:
        done = epoch + 1 == self.job.recipe.epochs
        if done or epoch == 0 or time.monotonic() - self.last > EVERY:
            self.job.emit(self.report(epoch + 1))
            self.last = time.monotonic()
        self.turns.give(self.job.name)
        self.turns.wait(self.job.name)

    @torch.no_grad()
    def report(self, epoch: int) -> dict[str, Any]:
        job = self.job
        self.module.eval()
        scores = np.array(_scores(job.problem, self.module, len(job.seeds)))
        mean = 10 ** np.log10(np.maximum(scores, 1e-300)).mean() if job.scene.metric.log else scores.mean()
        picture = None
        if self.inputs is not None:
            picture = job.scene.picture(self.of_all(self.inputs))
        self.module.train()
        return {
            "activation": job.name, "epoch": epoch, "picture": picture,
            "score": [short(float(v)) for v in (mean, scores.min(), scores.max())],
        }  # fmt: skip

    def of_all(self, x: Tensor) -> Tensor:
        """(nets, n, outputs) of inputs (n, ...)."""
        found: Tensor = self.module(x.expand(len(self.job.seeds), *x.shape))
        return found


def _scores(problem: Problem, module: nn.Module, nets: int) -> list[float]:
    """Of every net on held-out data: accuracy, the root mean square error over the deviation, or the distance to the
    exact solution."""
    if isinstance(problem, Arrays):
        x, y = problem.splits["validation"]
        out = module(x.expand(nets, *x.shape)).double()
        if isinstance(problem, Classification):
            return _listed((out.argmax(-1) == y).double().mean(-1))
        return _listed((out - y).square().mean((1, 2)).sqrt() / y.double().std())
    points, exact = _burgers_grid()
    u = module(points.expand(nets, *points.shape)).squeeze(-1).double()
    return _listed((u - exact).norm(dim=-1) / exact.norm())


def _listed(values: Tensor) -> list[float]:
    found: list[float] = values.tolist()
    return found


# ------------------------------------------------------------------------------------------------------- the scenes


def _spirals() -> Classification:
    """Two arms of one and a half turns with a little noise; 400 points to learn from, 1000 held out."""
    rng = np.random.default_rng(0)

    def drawn(count: int) -> tuple[Tensor, Tensor]:
        arm = np.arange(count) % 2
        radius = np.sqrt(rng.uniform(0.02, 1.0, count))
        angle = 3 * np.pi * radius + np.pi * arm
        points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1) + 0.02 * rng.standard_normal((count, 2))
        return torch.from_numpy(points).float(), torch.from_numpy(arm).long()

    return Classification(drawn(400), drawn(1000), drawn(2), 2)


def _square() -> Tensor:
    side = torch.linspace(-1.15, 1.15, GRID)
    return torch.stack(torch.meshgrid(side, side, indexing="xy"), -1).reshape(-1, 2)


def _odds(out: Tensor) -> Any:
    """The mean probability of the first arm, in per cent, row by row from the bottom."""
    return (100 * out.softmax(-1)[..., 0].mean(0)).round().int().tolist()


def _spiral_points(problem: Problem) -> dict[str, Any]:
    assert isinstance(problem, Arrays)
    x, y = problem.train
    return {"points": short(x.numpy()), "arms": y.tolist(), "grid": GRID, "reach": 1.15}


FUNCTION = "sin(3*x) + 0.5*sin(9*x)*exp(-x**2)"


def _line() -> Tensor:
    return torch.linspace(-2.0, 2.0, LINE)[:, None]


def _band(out: Tensor) -> dict[str, Any]:
    """Mean, lowest and highest over the nets, at each point."""
    y = out.squeeze(-1)
    return {name: short(v.numpy()) for name, v in (("mean", y.mean(0)), ("low", y.amin(0)), ("high", y.amax(0)))}


def _function_points(problem: Problem) -> dict[str, Any]:
    assert isinstance(problem, Arrays)
    x, y = problem.train
    held, truth = problem.splits["validation"]
    order = held[:, 0].argsort()[::6]
    return {
        "x": short(_line()[:, 0].numpy()),
        "points": short(torch.cat([x, y], 1).numpy()),
        "exact": {"x": short(held[order, 0].numpy()), "y": short(truth[order, 0].numpy())},
    }


def _burgers_grid() -> tuple[Tensor, Tensor]:
    """What the network sees, x and 2t - 1, and the exact solution there."""
    x, t = np.meshgrid(np.linspace(-1, 1, 65), np.linspace(0, 1, 21), indexing="ij")
    seen = torch.from_numpy(np.stack([x, 2 * t - 1], -1).reshape(-1, 2)).float()
    return seen, torch.from_numpy(burgers_solution(x, t).reshape(-1))


def _end() -> Tensor:
    """x at t = 1."""
    x = torch.linspace(-1.0, 1.0, LINE)
    return torch.stack([x, torch.ones_like(x)], -1)


def _burgers_given(problem: Problem) -> dict[str, Any]:
    x = np.linspace(-1, 1, LINE)
    y = burgers_solution(x, np.ones_like(x))
    return {"x": short(x), "exact": {"x": short(x), "y": short(y)}}


SCENES: dict[str, Scene] = {
    "spirals": Scene(_spirals, Metric("accuracy", "higher"), 50, _square, _odds, _spiral_points),
    "function": Scene(
        lambda: FunctionConfig(FUNCTION, -2.0, 2.0, size=64, held_out=512).load(None),
        Metric("relative error", "lower", log=True), 32, _line, _band, _function_points,
    ),
    "digits": Scene(
        lambda: FlatImages("digits").load(None), Metric("accuracy", "higher"), 64, lambda: None, lambda _: None,
        lambda _: {},
    ),
    "burgers": Scene(
        lambda: Pinn("burgers", interior=400, border=40).load(None), Metric("relative error", "lower", log=True), 100,
        _end, _band, _burgers_given,
    ),
}  # fmt: skip
