"""Whole trainings: one by one, stacked, and in two processes.

Each of the 16 networks has a seed of its own, the activation is CRReLU; loading the data and starting the processes is
not counted, scoring is. Stacked means the quicker of the two forms, a process trains in the quickest way that there is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from actsmith.benchmarks.measure import Row, Say, interleaved
from actsmith.errors import missing_extra
from actsmith.formula.catalogue import get_activation
from actsmith.tasks.decoder import Decoder
from actsmith.tasks.named import find_task
from actsmith.tasks.task import Task
from actsmith.tasks.text import BYTES, NextToken
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.trials.pool import Here, Pool, Processes
from actsmith.trials.runner import FitRunner, Place
from actsmith.trials.trial import Trial

__all__ = ["WAYS", "rows", "tasks"]

NETS = 16
WAYS = ("one by one", "stacked", "two processes")


def tasks(quick: bool) -> dict[str, Task]:
    """What is trained: a few epochs of small networks, whose data come with Python and scikit-learn."""
    digits = {
        "perceptron": (find_task("digits"), 4 if quick else 16),
        "convolutional": (find_task("digits/cnn"), 1 if quick else 4),
        "vision transformer": (find_task("digits/vit"), 1 if quick else 2),
    }
    found = {name: replace(task, recipe=replace(task.recipe, epochs=epochs)) for name, (task, epochs) in digits.items()}
    topics = find_spec("pydoc_data.topics")  # 700 kB of English
    if topics is not None and topics.origin is not None:
        text = NextToken(64, BYTES, topics.origin, train=128 if quick else 256, evaluated=64)
        found["text"] = Task("text", text, Decoder(64, 4, 4), Recipe(1, 16))
    return found


def rows(quick: bool, say: Say) -> Iterator[Row]:
    """Seconds of the trainings, each way over one by one."""
    for extra, module in (("search", "accelerate"), ("search", "sklearn")):
        if find_spec(module) is None:
            say(str(missing_extra("engine: left out", module, extra)))
            return
    for name, task in tasks(quick).items():
        with ExitStack() as stack:
            calls = _ways(task, 4 if quick else NETS, stack)
            steps = _steps(task)
            yield from interleaved(f"{name}, {steps} steps", calls, 1 if quick else 3)


def _steps(task: Task) -> int:
    size = task.problem.load(None).size
    return task.recipe.epochs * (size // min(task.recipe.batch, size))


def _ways(task: Task, nets: int, stack: ExitStack) -> dict[str, Callable[[], object]]:
    """What trains so many networks, by the name of the way; the stack closes what it starts."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    runner = FitRunner.opened(task, runtime=Runtime.create("cpu"))
    measured = runner.choice
    forms = [mode for mode in ("own", "vmap") if mode in measured.seconds]
    stacked = min(forms, key=lambda mode: measured.seconds[mode]) if forms else "alone"
    trials = [Trial(task.name, get_activation("crrelu"), "score", 1e-3, seed) for seed in range(nets)]

    def way(mode: Any, pool: Pool, parts: int) -> Callable[[], object]:
        def train() -> None:
            runner.remember(lambda name, measure: replace(measured, mode=mode).to_dict())
            size = 1 if mode == "alone" else nets // parts
            groups = [trials[i : i + size] for i in range(0, nets, size)]
            outcomes = [outcome for group in pool.run(groups, Place()) for outcome in group]
            assert len(outcomes) == nets
            assert all(outcome.reason is None for outcome in outcomes)

        return train

    (folder / "measured.json").write_text(json.dumps({f"{task.name}: side by side": measured.to_dict()}))
    processes = stack.enter_context(Processes(runner.maker(folder), workers=2))
    return {
        WAYS[0]: way("alone", Here(runner), 1),
        WAYS[1]: way(stacked, Here(runner), 1),
        WAYS[2]: way(measured.mode, processes, 2),
    }
