"""The engine as a runner: what is stacked, what is measured once, and exploring from tables."""

import pickle
from dataclasses import replace

import pytest

from actsmith.formula.catalogue import get_activation, resolve
from actsmith.nn.activation import Activation
from actsmith.nn.lookup import LookupActivation
from actsmith.tasks.adaptive import EntropyWatch
from actsmith.tasks.flat import FlatImages
from actsmith.tasks.perceptron import Mlp
from actsmith.tasks.task import Task
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.trials.runner import TOGETHER, FitRunner, Place, has_table, read_from_tables_
from actsmith.trials.trial import Trial

TASK = Task("digits", FlatImages("digits"), Mlp(16, 2), Recipe(2, 64))
STACKED = {"mode": "own", "seconds": {"alone": 1.0, "own": 0.1}, "threads": {"alone": 1, "own": 1}, "reasons": {}}
ALONE = {"mode": "alone", "seconds": {"alone": 1.0, "own": 2.0}, "threads": {"alone": 1, "own": 1}, "reasons": {}}


@pytest.fixture(scope="module")
def problem():
    return TASK.problem.load(None)


def _runner(problem, choice):
    return FitRunner(TASK, problem, Runtime.create("cpu"), lambda name, measure: choice)


def _trials(runner, names, stage, seeds=2):
    return [
        Trial("digits", resolve(name), stage, 1e-2, seed, context=runner.context)
        for name in names
        for seed in range(seeds)
    ]


def test_one_batch_tells_what_carries_no_signal_and_compiles_nothing(problem, monkeypatch):
    monkeypatch.setattr("actsmith.nn.kernel.library", lambda *_: pytest.fail("compiled"))
    monkeypatch.setattr("actsmith.nn.piecewise.library", lambda *_: pytest.fail("compiled"))
    deep = replace(TASK, model=Mlp(32, 12, "kaiming"))
    runner = FitRunner(deep, problem, Runtime.create("cpu"), lambda name, measure: ALONE)
    assert [runner.silent(resolve(name)) for name in ("relu", "mish", "tanh(0.9*x) + x/10", "crrelu")] == [None] * 4
    assert "the same for every example" in str(runner.silent(resolve("x**2*sigmoid(x)/40")))


def test_trials_of_one_formula_are_one_stack_and_the_round_alone_decides(problem):
    runner = _runner(problem, STACKED)
    trials = _trials(runner, ["relu", "gelu"], "tune", seeds=TOGETHER + 3)
    sizes = [len(g) for g in runner.groups(trials)]
    assert sizes == [TOGETHER, 3] * 2
    assert runner.groups(trials) == runner.groups(list(trials))
    assert [len(g) for g in _runner(problem, ALONE).groups(trials)] == [1] * len(trials)


def test_exploring_puts_different_formulas_into_one_stack(problem):
    runner = _runner(problem, STACKED)
    trials = _trials(runner, ["relu", "gelu", "tanh"], "explore")
    (group,) = runner.groups(trials)
    assert len(group) == 6
    together = runner.run(group, Place())
    alone = [runner.run([trial], Place())[0] for trial in group]
    for a, b in zip(together, alone, strict=True):
        assert a.trial == b.trial
        assert a.details["mode"] == "own"
        assert a.details["loss"] == pytest.approx(b.details["loss"], rel=1e-3)
    exact = runner.run([Trial("digits", resolve("gelu"), "tune", 1e-2, 0)], Place())[0]
    assert together[2].details["loss"] == pytest.approx(exact.details["loss"], rel=1e-3), "the formula itself"
    assert len({tuple(o.details["loss"]) for o in together}) == 6, "each has its own activation"


def test_each_formula_keeps_its_own_start_in_a_mixed_stack(problem):
    runner = _runner(problem, STACKED)
    models = [runner.models(get_activation(name), [0])[0] for name in ("relu", "silu")]
    assert models[0].scale != models[1].scale


def test_what_no_table_holds_is_trained_by_itself(problem):
    runner = _runner(problem, STACKED)
    wild = "sin(300*x)"
    assert not has_table(resolve(wild))
    groups = runner.groups(_trials(runner, ["relu", wild, "gelu"], "explore"))
    assert sorted(len(g) for g in groups) == [2, 4]
    outcomes = [o for g in groups if g[0].formula == resolve(wild) for o in runner.run(g, Place())]
    assert all(o.reason is None for o in outcomes)


def test_tables_hold_what_was_learned(problem):
    model = Mlp(8, 2).build(get_activation("prelu", slope=0.3), 0, problem)
    assert any(isinstance(m, Activation) for m in model.modules())
    read_from_tables_(model)
    tables = [m for m in model.modules() if isinstance(m, LookupActivation)]
    assert len(tables) == 2
    assert tables[0].formula.params["slope"].value == pytest.approx(0.3)


def test_an_activation_without_a_start_is_an_outcome_with_its_reason(problem):
    runner = _runner(problem, ALONE)
    (outcome,) = runner.run([Trial("digits", resolve("exp(x**2)"), "tune", 1e-2, 0)], Place())
    assert outcome.reason
    assert outcome.score("accuracy") is None


def test_the_cost_is_measured_once(problem):
    known = {}
    runner = FitRunner(TASK, problem, Runtime.create("cpu"), lambda name, measure: known.setdefault(name, measure()))
    first = runner.cost()
    assert first.training > 0
    assert first.of(0.5) == pytest.approx(first.training / 2 + first.scoring)
    assert runner.cost() == first
    assert set(known) == {"digits: cost", "digits: side by side"}


def test_a_worker_has_the_same_runner(problem, tmp_path):
    watch = EntropyWatch(look=2)
    runner = FitRunner(TASK, problem, Runtime.create("cpu"), watch=watch)
    made = pickle.loads(pickle.dumps(runner.maker(tmp_path)))()
    assert (made.task, made.context, made.watch) == (TASK, runner.context, watch)
