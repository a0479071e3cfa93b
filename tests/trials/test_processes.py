"""The engine's own trainings in this process and in two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from actsmith.files import plain
from actsmith.formula.catalogue import resolve
from actsmith.tasks.named import find_task
from actsmith.training.runtime import Runtime
from actsmith.trials.folder import RunFolder
from actsmith.trials.pool import Here, Processes
from actsmith.trials.runner import FitRunner, Place
from actsmith.trials.trial import Outcome, Trial

TIMES = ("seconds", "step_seconds")


def told(outcome: Outcome) -> dict[str, object]:
    return {name: value for name, value in outcome.to_dict().items() if name not in TIMES}


def test_the_engine_gives_the_same_in_two_processes(tmp_path: Path) -> None:
    """Stacks of two, bit for bit: how they are stacked was measured here and is read there."""
    digits = find_task("digits")
    task = replace(digits, recipe=replace(digits.recipe, epochs=1))
    runner = FitRunner.opened(task, runtime=Runtime.create("cpu"))
    asked = [
        Trial(task.name, resolve(f), "score", 1e-2, seed, test=True, context=runner.context)
        for f in ("relu", "crrelu", "gelu")
        for seed in (0, 1)
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with RunFolder(tmp_path / "run", {}, resume=False) as folder:
            runner.remember(folder.once)
            groups = runner.groups(asked)
            here = [o for group in Here(runner).run(groups, Place(tmp_path / "here")) for o in group]
            with Processes(runner.maker(folder.path), 2, threads=1) as pool:
                there = [o for group in pool.run(groups, Place(folder.path)) for o in group]
    finally:
        torch.set_num_threads(threads)
    assert len(here) == 6
    assert {o.trial.key: plain(told(o)) for o in there} == {o.trial.key: plain(told(o)) for o in here}
    assert all(o.reason is None for o in here)
