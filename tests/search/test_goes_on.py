"""A search that goes on: what was left out, then more seeds; and what it may say after several looks."""

import json
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from actsmith.cli import main
from actsmith.errors import JobError
from actsmith.formula.catalogue import get_activation
from actsmith.search.conclude import conclude, confirmed
from actsmith.search.plan import planned
from actsmith.search.run import resume, search
from actsmith.training.problem import Metric
from actsmith.trials.policy import TuneThenScore
from actsmith.trials.runner import Cost
from actsmith.trials.trial import History, Outcome

ACCURACY = Metric("accuracy", "higher", share=True)
START, OTHER = get_activation("relu"), get_activation("gelu")
POLICY = TuneThenScore("t", "c", ACCURACY, (1e-2,), tuple(range(10)))
SCRIPT = """
import time
import torch
from torch import nn

X = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
Y = (X.prod(1) > 0).long()

def model():
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))

def train(net, trial):
    optimizer = torch.optim.SGD(net.parameters(), lr={rate})
    for _ in trial.epochs(2, net, optimizer):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(X), Y).backward()
        optimizer.step()
    {end}
    return {{"accuracy": (net(X).argmax(1) == Y).float().mean().item()}}
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, rate="trial.rate(0.1)", end=""):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(SCRIPT).format(rate=rate, end=end))
        return [f"{name}:model", f"{name}:train", "--metric", "accuracy", "--out", str(tmp_path / "run")]

    return write


def _history(gain):
    rng = np.random.default_rng(0)
    base = 0.9 + 0.01 * rng.standard_normal(10)
    scores = {START: base, OTHER: base + gain + 0.01 * rng.standard_normal(10)}
    return History(
        Outcome(trial, {"accuracy": float(v)}, {"accuracy": float(v)})
        for formula, values in scores.items()
        for trial, v in zip(POLICY.scoring(formula, {}), values, strict=True)
    )


def test_every_look_at_the_scores_counts():
    history = _history(0.012)
    once, thrice = (confirmed(history, POLICY, START, [OTHER], looks=looks)[1] for looks in (1, 3))
    assert once.verdict == "better"
    assert thrice.p == pytest.approx(3 * once.p)
    assert thrice.verdict == ("better" if 3 * once.p < 0.05 else "open")
    assert confirmed(history, POLICY, START, [OTHER], looks=1000)[1].verdict == "open"


def test_what_was_not_tried_is_said():
    said = conclude([], "relu", POLICY, 3, go_on="`go on`", tried=False)
    assert "no other activation than relu was tried" in said.sentence
    said = conclude([], "relu", POLICY, 3, go_on="`go on`", lost=True)
    assert "every activation that was tried diverged or failed, relu too" in said.sentence
    found = confirmed(_history(-0.03), POLICY, START, [OTHER])
    said = conclude(found, "relu", POLICY, 20, go_on="`go on`", skipped=7)
    assert said.kind == "nothing better"
    assert said.sentence.endswith("The budget left out 7 activations; go on with `go on`.")
    part = replace(POLICY, examples=0.25)
    history = History(Outcome(replace(o.trial, examples=0.25), o.validation, o.test) for o in _history(0.03).values())
    said = conclude(confirmed(history, part, START, [OTHER]), "relu", part, 20, go_on="`go on`")
    assert "Every training saw 25.0% of the training examples" in said.sentence


def test_a_run_that_was_not_decided_gets_more_seeds(tmp_path):
    """What leads by less than its noise is not decided; each time that it goes on, there are more seeds."""
    asked = {**_own(), "train": _noisy, "known": ["relu"], "trials": 0, "seeds": 3}
    found = search(out=tmp_path / "run", budget=30.0, **asked)
    first = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    assert first["kind"] == "not decided", found.conclusion
    again = search(out=tmp_path / "run", resume=True, budget=12.0, **asked)
    board = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    assert max(row["seeds"] for row in again.rows) > 3
    assert [look[0] for look in board["looks"]] == [3, max(row["seeds"] for row in board["rows"])]
    whole = search(out=tmp_path / "run", resume=True, **asked)  # without a budget nothing more
    assert [row["seeds"] for row in whole.rows] == [row["seeds"] for row in again.rows]


def _noisy(net, trial):
    """A score that is noise, and a little more with another activation than the network's own."""
    net(torch.zeros(1, 4))
    other = not isinstance(net[1], nn.GELU)
    return {"accuracy": 0.5 + 0.02 * other + 0.05 * float(np.random.default_rng([0, trial.seed, other]).normal())}


def _own(rate=True, end=None):
    """A network and a loop of a few milliseconds, in this process."""
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    y = (x.prod(1) > 0).long()

    def model():
        return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))

    def train(net, trial):
        optimizer = torch.optim.SGD(net.parameters(), lr=trial.rate(0.1) if rate else 0.1)
        for _ in trial.epochs(2, net, optimizer):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        return {"accuracy": (net(x).argmax(1) == y).float().mean().item() if end is None else end()}

    return {"task": model, "train": train, "metric": "accuracy", "known": ["relu", "silu"], "trials": 4}


def test_what_time_remains_goes_to_activations_and_seeds(tmp_path):
    """A first training that warms up costs a hundred times the others: the plan is scant, and not all that is done."""
    slow = iter([1.0])

    def end():
        time.sleep(next(slow, 0.0))
        return 0.5

    found = search(**_own(end=end), out=tmp_path / "run", budget=60.0)
    board = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    assert found.skipped == ()
    assert max(row["seeds"] for row in found.rows) == 15
    assert board["plan"]["examples"] == 1  # the script does not ask for its share: fewer examples would save nothing
    assert {row["learning_rate"] for row in board["rows"]} <= {10**-0.5, 1.0, 10**0.5}


def test_a_rate_that_is_not_asked_for_is_not_tuned(tmp_path):
    found = search(**_own(rate=False), out=tmp_path / "run", budget=60.0)
    assert {row["learning_rate"] for row in found.rows} == {1.0}
    assert max(row["seeds"] for row in found.rows) == 15


@pytest.mark.parametrize("budget", [60.0, None])
def test_a_script_that_fails_ends_the_search(tmp_path, budget):
    def end():
        raise KeyError("no such column")

    with pytest.raises(JobError, match="no training with gelu succeeded: KeyError: 'no such column'") as failed:
        search(**_own(end=end), out=tmp_path / "run", budget=budget)
    assert "no such column" in Path(str(failed.value).rpartition(" is in ")[2]).read_text()


def test_a_search_that_never_sees_a_finite_score_says_so(tmp_path):
    found = search(**_own(end=lambda: float("nan")), out=tmp_path / "run", budget=60.0)
    assert "every activation that was tried diverged or failed, gelu too" in found.conclusion


def test_what_is_asked_beside_resume_is_refused(script, capsys):
    for more in (["--seeds", "3"], ["--out", "other"], ["digits"]):
        status = main(["search", *more, "--resume", "run", "--budget", "20s"])
        err = capsys.readouterr().err
        assert (status, err.count("\n")) == (2, 1)
        assert "beside it; expected --budget" in err


def test_a_failed_job_has_status_1(script, capsys):
    assert main(["search", *script("bad", end="return missing"), "--budget", "60s"]) == 1
    assert "actsmith search: no training with gelu succeeded: NameError" in capsys.readouterr().err


def test_fewer_examples_only_where_they_save_something():
    assert planned(60.0, Cost(0.0, 10.0), rates=3, seeds=10).examples == 1
    assert planned(60.0, Cost(10.0, 0.0), rates=3, seeds=10).examples < 1


def test_resume_takes_a_time_for_what_hangs(script, monkeypatch, capsys):
    seen = {}
    assert main(["search", *script("slow"), "--budget", "0.5s"]) == 2
    assert "the budget ended before the first training did" in capsys.readouterr().err
    folder = script("slow")[-1]
    monkeypatch.setattr("actsmith.search.run.search", lambda **asked: seen.update(asked))
    resume(folder, budget="20s", trial_timeout="5s")
    assert (seen["budget"], seen["trial_timeout"], seen["resume"]) == ("20s", "5s", True)


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("actsmith.search.stages.Stages.all", interrupted)
    folder = str(tmp_path / "run")
    assert main(["search", "polynomial", "--out", folder]) == 1
    assert capsys.readouterr().err.endswith(
        f"actsmith search: interrupted; go on with `actsmith search --resume {folder}`\n"
    )


def test_job_errors_are_errors():
    assert issubclass(JobError, ValueError)
