"""A user's own training loop as a runner."""

from __future__ import annotations

import importlib.util
import random
import sys
import time
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import trial_runners as user
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.nn import Activation
from actsmith.training.fit import Stopped
from actsmith.training.problem import Metric
from actsmith.trials.functions import source_of, why_not_importable
from actsmith.trials.handle import Handle, generators, scores_of
from actsmith.trials.pool import Here, Processes
from actsmith.trials.runner import Place
from actsmith.trials.script import ScriptRunner
from actsmith.trials.trial import Outcome, Trial

ERROR = Metric("error", "lower")


def runner(train: Any = user.train, model: Any = user.model, **options: Any) -> ScriptRunner:
    return ScriptRunner(model, train, metric=ERROR, **{"start": "tanh", "test": user.test, **options})


def trial(of: ScriptRunner, formula: str = "tanh", stage: str = "score", seed: int = 0, **more: Any) -> Trial:
    return Trial(of.name, resolve(formula), stage, **{"rate": 1.0, "seed": seed, "context": of.context, **more})


def one(of: ScriptRunner, folder: Path | None = None, **more: Any) -> Outcome:
    (outcome,) = of.run([trial(of, **more)], Place(folder))
    return outcome


def same(first: Outcome, second: Outcome) -> bool:
    """Bit for bit, in all that is no time."""
    kept = ("trial", "validation", "test", "diverged", "reason")
    details = [{k: v for k, v in o.details.items() if k != "traceback"} for o in (first, second)]
    return all(getattr(first, k) == getattr(second, k) for k in kept) and details[0] == details[1]


def test_the_network_is_the_users_or_has_the_formula() -> None:
    of = runner()
    assert [type(m) for m in of.network(of.formula)] == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear]
    swapped = of.network(resolve("gelu"), torch.zeros(2, 1))
    assert [isinstance(m, Activation) for m in swapped] == [False, True, False, True, False]
    assert of.usual == "tanh"
    assert runner(start=None).formula == resolve("tanh")
    assert runner(start="tanh(x)").usual == "tanh(x)"
    assert isinstance(runner(start="tanh(x)").network(resolve("gelu"), torch.zeros(2, 1))[1], Activation)
    assert isinstance(runner(where=1).network(resolve("gelu"), torch.zeros(2, 1))[1], nn.Tanh)


def test_an_outcome_holds_what_the_script_gave(tmp_path: Path) -> None:
    of = runner()
    outcome = one(of, tmp_path, test=True)
    assert outcome.reason is None
    assert outcome.validation.keys() == {"error", "twice"}
    assert outcome.test is not None
    assert outcome.test.keys() == {"error"}
    assert outcome.score(ERROR) == outcome.details["curve"][-1][1]["error"]
    assert outcome.details["asked"] == ["epochs", "rate"]
    assert outcome.details["parameters"] == {}
    assert 0 < outcome.step_seconds <= outcome.seconds
    assert "epoch 4" in (tmp_path / "scripts" / outcome.trial.key / "output.txt").read_text()
    assert Outcome.from_dict(outcome.to_dict()) == outcome
    assert not list(tmp_path.rglob("progress.pt"))
    learned = one(of, tmp_path, formula="crrelu").details["parameters"]
    assert learned.keys() == {"1.eps", "3.eps"}
    assert learned["1.eps"] != [0.01]


def test_test_is_called_in_trials_that_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTSMITH_NO_TEST", "1")
    assert one(runner()).reason is None
    assert one(runner()).test is None
    assert one(runner(), test=True).reason == "AssertionError: the test split was read"
    assert one(runner(test=None), test=True).test is None


def test_the_rate_is_a_factor_and_epochs_and_examples_are_shares() -> None:
    seen: dict[str, Any] = {}

    def train(net: nn.Module, handle: Handle) -> float:
        epochs = handle.epochs(10)
        seen.update(rate=handle.rate(0.3), share=handle.share, epochs=[len(epochs), *epochs], seed=handle.seed)
        return 1.0

    outcome = one(runner(train), rate=2.0, length=0.3, examples=0.25, seed=7)
    assert seen == {"rate": 0.6, "share": 0.25, "epochs": [3, 0, 1, 2], "seed": 7}
    assert outcome.details["asked"] == ["epochs", "rate", "share"]
    assert one(runner(train), length=0.01).reason is None
    assert seen["epochs"] == [1, 0]


def test_seeds_decide_and_the_callers_generators_are_as_before() -> None:
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = generators()
    first = one(runner())
    torch.rand(3)
    random.random()
    assert same(first, one(runner()))
    assert one(runner(), seed=1).validation != first.validation
    torch.manual_seed(5)
    random.seed(5)
    one(runner())
    assert repr(generators()) == repr(before)
    # The user's own network starts from the same draws with every activation.
    with_gelu = runner(lambda net, _: float(net[0].weight.detach().sum()), example=user.X)
    assert one(with_gelu).validation == one(with_gelu, formula="gelu").validation


def failing(net: nn.Module, handle: Handle) -> float:
    raise KeyError("no such column")


def leaving(net: nn.Module, handle: Handle) -> float:
    sys.exit(2)


def test_a_failing_script_is_an_outcome(tmp_path: Path) -> None:
    outcome = one(runner(failing), tmp_path)
    assert outcome.reason == "KeyError: 'no such column'"
    text = (tmp_path / "failures" / f"{outcome.trial.key}.txt").read_text()
    assert "in failing" in text
    assert outcome.score(ERROR) is None
    assert one(runner(leaving)).reason == "SystemExit: 2"
    expected = {
        "a number under 'error'": lambda net, handle: {"accuracy": 1.0},
        "expected a number, or a dictionary": lambda net, handle: "good",
        "never called trial.report": lambda net, handle: None,
        "expected what has state_dict": lambda net, handle: list(handle.epochs(2, "net")),
    }
    for message, train in expected.items():
        assert message in (one(runner(train)).reason or ""), message
    assert "expected a torch.nn.Module" in (one(runner(model=lambda: 3)).reason or "")
    endless = one(runner(lambda net, handle: float("inf")))
    assert endless.diverged
    assert endless.validation == {"error": None}


def test_the_last_report_counts_where_nothing_is_returned() -> None:
    def train(net: nn.Module, handle: Handle) -> None:
        handle.report(3.0)
        handle.report({"error": 2.0, "loss": torch.tensor(0.5)})

    assert one(runner(train)).validation == {"error": 2.0, "loss": 0.5}


@pytest.mark.parametrize("formula", ["tanh", "crrelu"])
def test_a_script_goes_on_where_it_was_interrupted(tmp_path: Path, formula: str) -> None:
    """By the deadline after two epochs; the weights, the momentum, the generators and the reports are those of a
    training that was never stopped."""
    whole = one(runner(), tmp_path / "whole", formula=formula)
    begun: list[int] = []

    def deadline_passes(epoch: int) -> None:
        begun.append(epoch)
        if epoch == 1 and begun == [0, 1]:
            now = time.time
            monkey.setattr(time, "time", lambda: now() + 1e6)

    of = runner(lambda net, handle: {"error": user.fit(net, handle, after=deadline_passes), "twice": 2.0})
    asked = trial(of, formula, context=runner().context)
    with pytest.MonkeyPatch.context() as monkey, pytest.raises(Stopped):
        of.run([asked], Place(tmp_path, time.time() + 1000))
    assert begun == [0, 1]
    assert [o for group in Here(of).run([[asked]], Place(tmp_path)) for o in group]
    assert begun == [0, 1, 2, 3, 4]
    (outcome,) = of.run([asked], Place(tmp_path))  # from the start: it was finished
    assert begun[5:] == [0, 1, 2, 3, 4]
    begun[:] = []
    with pytest.MonkeyPatch.context() as monkey, pytest.raises(Stopped):
        of.run([asked], Place(tmp_path, time.time() + 1000))
    (resumed,) = of.run([asked], Place(tmp_path))
    assert same(resumed, outcome)
    assert resumed.validation == whole.validation
    assert resumed.details["curve"] == whole.details["curve"]
    assert not list(tmp_path.rglob("progress.pt"))


def test_a_script_that_catches_everything_is_stopped_all_the_same(tmp_path: Path) -> None:
    def train(net: nn.Module, handle: Handle) -> float:
        try:
            handle.report(1.0)
        except Exception:
            raise AssertionError("a stop is no Exception") from None
        except BaseException:
            raise ValueError("what a framework makes of it") from None
        return 1.0

    with pytest.raises(Stopped):
        runner(train).run([trial(runner(train))], Place(tmp_path, time.time() - 1))
    assert not list(tmp_path.rglob("failures/*"))


# ----------------------------------------------------------------------------------------------------------- the batch


def test_function_calls_are_swapped_with_the_first_batch_of_the_script(tmp_path: Path) -> None:
    of = runner(user.train_keyword, user.function_model, start="gelu", test=None)
    alone = one(of, formula="relu")  # nothing is known: the script runs up to its first call
    assert alone.reason is None
    looked = one(runner(user.train_keyword, user.function_model, start="gelu"), tmp_path, formula="gelu", stage="look")
    assert looked.details["laws"].keys() == {"gelu:0"}
    kept = torch.load(tmp_path / "example.pt", weights_only=True)
    assert kept.keys() == {"x", "scale"}
    again = runner(user.train_keyword, user.function_model, start="gelu", test=None)
    assert same(one(again, tmp_path, formula="relu"), alone)
    assert again.silent(resolve("relu")) is None
    again.maker(tmp_path)
    assert again.silent(resolve("relu")) is None
    assert "the same for every example" in (again.silent(resolve("0*x + 0*tanh(x)")) or "")
    nothing = runner(user.train_keyword, user.function_model, start="gelu", example=torch.zeros(8, 1))
    assert nothing.silent(resolve("relu")) is None  # the start is silent there, too


def test_laws_are_of_the_sites_that_are_exchanged(tmp_path: Path) -> None:
    found = one(runner(), tmp_path, stage="look").details["laws"]
    assert found.keys() == {"1", "3"}
    wrong = one(runner(start="gelu"), tmp_path, formula="gelu", stage="look")
    assert wrong.reason is not None
    assert "the network has 2 x tanh; expected gelu" in wrong.reason
    assert "2 x tanh" in (one(runner(start="gelu"), tmp_path, formula="relu").reason or "")


def test_a_network_that_is_never_called_asks_for_an_example() -> None:
    def parts(net: nn.Module, handle: Handle) -> float:
        return float(net[0](user.X).detach().mean())

    assert "calls a part of the network, a Linear" in (one(runner(parts), formula="gelu").reason or "")
    assert "give example=" in (one(runner(lambda net, handle: 1.0), formula="gelu").reason or "")
    assert one(runner(parts, example=user.X), formula="gelu").reason is None


# ------------------------------------------------------------------------------------------------------------ processes


def test_one_process_or_two_or_this_one_give_the_same(tmp_path: Path) -> None:
    of = runner()
    asked = [[trial(of, f, seed=s, test=True)] for f in ("tanh", "crrelu") for s in (0, 1)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = [o for (o,) in Here(of).run(asked, Place(tmp_path / "here"))]
    finally:
        torch.set_num_threads(threads)
    with Processes(of.maker(tmp_path), 2, threads=1) as pool:
        found = {o.trial.key: o for (o,) in pool.run(asked, Place(tmp_path / "two"))}
        hanging = runner(user.train_forever)
    assert len(found) == 4
    for outcome in here:
        assert same(outcome, found[outcome.trial.key])
    with Processes(hanging.maker(tmp_path), 1, timeout=1.0) as pool:
        ((ended,),) = pool.run([[trial(hanging)]], Place(tmp_path))
    assert ended.reason == "ended after 1 s (--trial-timeout)"


def test_what_workers_can_import() -> None:
    assert runner().importable
    assert why_not_importable(user.train) is None
    assert why_not_importable(partial(user.fit, epochs=3)) is None
    assert "lambda" in (why_not_importable(lambda: 1) or "")
    assert "lambda" in (why_not_importable(partial(lambda: 1)) or "")
    assert not runner(lambda net, handle: 1.0).importable
    typed = type(sys)("__main__")
    typed.__spec__ = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "__main__", typed)
        patch.setattr(user.train, "__module__", "__main__")
        assert "notebook" in (runner().why_here or "")
        typed.__file__ = user.__file__
        assert runner().why_here is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user.train, "__module__", "nowhere_to_be_found")
        assert "cannot be imported" in (runner().why_here or "")


def test_a_changed_script_has_another_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def contexts(body: str) -> str:
        (tmp_path / "own_loop.py").write_text(
            "from torch import nn\n# moved down by a line\ndef model():\n    return nn.Sequential(nn.Tanh())\n"
            f"def train(net, trial):\n    return {body}\n"
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.delitem(sys.modules, "own_loop", raising=False)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        return ScriptRunner("own_loop:model", "own_loop:train", metric=ERROR, start="tanh").context

    first = contexts("1.0")
    assert contexts("1.0") == first
    assert contexts("2.0 + 1") != first
    assert runner().context != runner(start="gelu").context
    assert runner().context != runner(where=0).context
    assert source_of(partial(user.fit, epochs=3)) != source_of(partial(user.fit, epochs=4))
    found = ScriptRunner("own_loop:model", "own_loop:train", metric=ERROR, start="tanh")
    assert found.name == "own_loop"
    assert found.importable
    with pytest.raises(ActsmithError, match="model own_loop:modell"):
        ScriptRunner("own_loop:modell", "own_loop:train", metric=ERROR)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(ActsmithError, match="builds a fresh network"):
        runner(model=user.model())
    with pytest.raises(ActsmithError, match="train: got a int"):
        runner(train=3)
    with pytest.raises(ActsmithError, match="no activation is found in the modules"):
        runner(model=user.function_model, start=None)
    assert runner(model=user.function_model, start=None, example=user.X).usual == "gelu"


def test_scores() -> None:
    assert scores_of(np.float32(0.5), "a", "x") == {"a": 0.5}
    with pytest.raises(ActsmithError, match="x: got keys 'b'; expected"):
        scores_of({"b": 1.0}, "a", "x")
    with pytest.raises(ActsmithError, match="got a Tensor"):
        scores_of(torch.zeros(3), "a", "x")


# ---------------------------------------------------------------------------------------------------------- the example


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "own_training_script.py"
    spec = importlib.util.spec_from_file_location("own_training_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("formula", ["gelu", "crrelu"])
def test_the_example_trains(example: ModuleType, formula: str, tmp_path: Path) -> None:
    metric = Metric("accuracy", "higher")
    of = ScriptRunner(example.model, example.train, metric=metric, start="gelu", test=example.test)
    outcome = one(of, tmp_path, formula=formula, test=True, stage="look")
    assert outcome.reason is None
    assert (outcome.score(metric) or 0.0) > 0.85
    assert (outcome.score(metric, "test") or 0.0) > 0.85
    assert outcome.details["asked"] == ["epochs", "rate", "share"]
    assert outcome.details["laws"].keys() == {"0.1", "0.3"}
    assert of.name == "own_training_script"
