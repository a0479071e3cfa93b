"""The same seeds give the same numbers trained one by one, stacked, or by two processes, for three architectures."""

import json

import pytest

from actsmith.formula.catalogue import get_activation
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.images import Images
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import Task
from actsmith.tasks.vision import Cnn, Vit
from actsmith.training.choose import Choice
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.trials.pool import Here, Processes
from actsmith.trials.runner import FitRunner, Place
from actsmith.trials.trial import Trial

IMAGES = Images("digits", train=96, validation=50, test=50)
TASKS = {
    "perceptron": Task("mlp", FlatImages("digits"), Mlp(12, 3), Recipe(1, 64)),
    "convolutional": Task("cnn", IMAGES, Cnn(4, 3, 2), Recipe(2, 32)),
    "transformer": Task("vit", IMAGES, Vit(16, 2, 2, 4), Recipe(2, 32, clip=1.0)),
}
THREADS = {"alone": 1, "own": 1, "vmap": 1}


@pytest.mark.parametrize("name", TASKS)
def test_one_by_one_stacked_and_in_two_processes(tmp_path, name):
    task = TASKS[name]
    runner = FitRunner.opened(task, runtime=Runtime.create("cpu"))
    trials = [
        Trial(task.name, get_activation("crrelu"), "score", rate, seed, test=True)
        for seed, rate in ((3, 1e-3), (4, 1e-3), (3, 3e-3), (5, 1e-3))
    ]
    stacked = "own" if name == "perceptron" else "vmap"

    def measured(mode):
        return Choice(mode, dict.fromkeys(THREADS, 1.0), THREADS, {}).to_dict()

    def trained(pool, mode, size):
        runner.remember(lambda name, measure: measured(mode))
        (tmp_path / "measured.json").write_text(json.dumps({f"{task.name}: side by side": measured(mode)}))
        groups = [trials[i : i + size] for i in range(0, len(trials), size)]
        found = {o.trial.key: o for group in pool.run(groups, Place()) for o in group}
        assert all(found[t.key].details["mode"] == mode for t in trials)
        return [found[t.key] for t in trials]

    ways = [trained(Here(runner), "alone", 1), trained(Here(runner), stacked, 4)]
    for mode, size in (("alone", 1), (stacked, 2))[: 2 if name == "perceptron" else 1]:
        with Processes(runner.maker(tmp_path), workers=2, threads=1) as pool:
            ways.append(trained(pool, mode, size))
    for way in ways[1:]:
        for a, b in zip(ways[0], way, strict=True):
            assert b.details["loss"] == pytest.approx(a.details["loss"], rel=1e-3)
            assert b.validation["loss"] == pytest.approx(a.validation["loss"], rel=1e-3)
            assert b.test["loss"] == pytest.approx(a.test["loss"], rel=1e-3)
    exact = ("loss", "parameters")
    for a, b in zip(ways[0], ways[2], strict=True):  # one by one it is the same bit for bit
        assert [a.details[key] for key in exact] == [b.details[key] for key in exact]
        assert (a.validation, a.test) == (b.validation, b.test)
    assert len({tuple(o.details["loss"]) for o in ways[0]}) == 4
