"""An experiment from its folder: tuning, resumption, the data it began with, what is left, what is refused."""

import json
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.papers import reproduce as module
from actsmith.papers.claims import SEQUENTIAL, Question, decided, judge
from actsmith.papers.experiment import Experiment, Run, Saved
from actsmith.papers.findings import Findings
from actsmith.papers.readers import table
from actsmith.papers.reproduce import Preset, Reproduction, planned, reproduce
from actsmith.tasks.perceptron import Mlp
from actsmith.training.problem import Regression
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime
from actsmith.trials.folder import RunFolder
from actsmith.trials.sequential import Sequential
from actsmith.trials.trial import History


@dataclass(frozen=True)
class Line:
    """y = |x| at the points of the data's folder, or at 64 of its own."""

    metric = Regression.metric

    def load(self, data):
        points = np.loadtxt(data / "points.txt") if data is not None else np.linspace(-1, 1, 64)
        x = torch.as_tensor(points, dtype=torch.float32)[:, None]
        return Regression((x, x.abs()), (x, x.abs()), (x, x.abs()), 1)


FORMULAS = (get_activation("relu"), get_activation("gelu"))
ASKED = Experiment(
    "line", Line(), Mlp(width=8, depth=2), FORMULAS, rates=(1e-3, 1e-2), recipe=Recipe(epochs=2, batch=32),
    seeds=(0, 1), tuning_seeds=(9,), labels={"depth": 2},
)  # fmt: skip


@pytest.fixture(scope="module")
def runtime():
    return Runtime.create("cpu")


def opened(path, asked=ASKED):
    return RunFolder(path, {"asked": asked.to_dict()}, resume=True)


def trained(path, runtime, data=None, asked=ASKED):
    with opened(path, asked) as folder:
        asked.run(Run(folder, runtime, data))
    return folder


def test_a_second_run_trains_nothing_and_the_rate_is_the_best_one(tmp_path, runtime):
    assert ASKED.left(Saved()) == 2 * (2 + 2)
    folder = trained(tmp_path, runtime)
    lines = (tmp_path / "results.jsonl").read_text()
    grown = 2 * 2  # both go on beyond the grid's end, until one rate is no better
    assert len(lines.splitlines()) == 2 * (2 + 2) + grown
    assert ASKED.left(folder) == 0
    trained(tmp_path, runtime)
    assert (tmp_path / "results.jsonl").read_text() == lines
    records = [json.loads(line) for line in lines.splitlines()]
    tuned = [r for r in records if r["formula"]["name"] == "relu" and r["stage"] == "tune"]
    assert all(r["test"] is None for r in tuned)
    by_rate = {r["rate"]: r["validation"]["relative_rmse"] for r in tuned}
    found = table(folder, ASKED, Regression.metric, title="t", quantity="value")
    assert found.row("relu").rate == min(by_rate, key=by_rate.get)
    assert found.labels == {"depth": 2, "quantity": "value"}
    with pytest.raises(ActsmithError, match="another configuration"), opened(tmp_path, replace(ASKED, rates=(1.0,))):
        pass


def test_rate_and_scale_are_tuned_together_where_that_is_asked(tmp_path, runtime):
    asked = replace(ASKED, climbs=True)
    assert asked.to_dict() == ASKED.to_dict() | {"climbs": True}  # a stored run without it stays the same run
    found = list(trained(tmp_path, runtime, asked=asked).all().of("line", "relu"))
    merit = {(o.trial.rate, o.trial.scale): o.score(Regression.metric) for o in found if o.trial.stage == "tune"}
    assert len({scale for _, scale in merit}) > 1
    [scored] = {(o.trial.rate, o.trial.scale) for o in found if o.trial.stage == "score"}
    assert merit[scored] == min(merit.values())
    assert asked.left(Saved(history=History(found))) == asked.left(Saved()) / 2


def test_what_is_left_counts_single_trainings(tmp_path, runtime):
    trained(tmp_path, runtime)
    lines = (tmp_path / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "results.jsonl").write_text("".join(lines[:5]))  # gelu, and one score of relu, are gone
    assert [json.loads(line)["stage"] for line in lines[:6]] == ["tune"] * 4 + ["score"] * 2
    with opened(tmp_path) as folder:
        assert ASKED.left(folder) == 1 + 4


def test_a_run_does_not_go_on_with_other_data(tmp_path, runtime):
    for name, count in (("a", 64), ("b", 65)):
        (tmp_path / name).mkdir()
        np.savetxt(tmp_path / name / "points.txt", np.linspace(-1, 1, count))
    run = tmp_path / "run"
    trained(run, runtime, tmp_path / "a")
    lines = (run / "results.jsonl").read_text().splitlines(keepends=True)
    trained(run, runtime, tmp_path / "b")  # nothing is left: nothing is read
    (run / "results.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(ActsmithError, match=r"the data of Line in .*b are not those .* began with"):
        trained(run, runtime, tmp_path / "b")
    assert (run / "results.jsonl").read_text() == "".join(lines[:-1])
    trained(run, runtime, tmp_path / "a")
    again = (run / "results.jsonl").read_text().splitlines()
    assert _timeless(again) == _timeless(lines)


def _timeless(lines):
    """Key -> record, without what a clock measured."""
    records = map(json.loads, lines)
    return {r["key"]: {k: v for k, v in r.items() if "seconds" not in k} for r in records}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "tanh"}, "reference: got 'tanh'; expected one of relu, gelu"),
        ({"rates": ()}, "rates"),
        ({"rates": (-1.0,)}, "rates"),
        ({"seeds": (0,)}, "two or more"),
        ({"seeds": (0, 9)}, "expected none of .*, which tune"),
        ({"activations": (FORMULAS[0], FORMULAS[0])}, "expected different names"),
    ],
)
def test_wrong_requests_are_refused(change, message):
    with pytest.raises(ActsmithError, match=message):
        replace(ASKED, **change)


def test_the_description_says_everything():
    said = ASKED.to_dict()
    assert said["problem"] == {"kind": "Line"}
    assert said["model"]["width"] == 8
    assert said["labels"] == {"depth": 2}
    assert [a["name"] for a in said["activations"]] == ["relu", "gelu"]
    assert json.loads(json.dumps(said)) == said


# ----------------------------------------------------------------------------------------------- a reproduction


def parts(formulas):
    return replace(ASKED, activations=formulas), replace(ASKED, activations=formulas, name="other")


def read(folder, asked):
    return Findings("s", tuple(table(folder, part, Regression.metric, title=part.name) for part in asked))


@pytest.fixture
def fake(monkeypatch):
    found = Reproduction("fake", "A title", "nowhere", "all", ("relu",), {"smoke": Preset(parts, "a second")}, read)
    monkeypatch.setattr(module, "reproduction", lambda name: found)


def test_one_table_alone_then_the_others(fake, tmp_path, runtime):
    first = reproduce("fake", "smoke", tmp_path, only=["other"], runtime=runtime)
    assert [t.name for t in first.findings.tables] == ["other"]
    assert first.command == "actsmith reproduce fake --preset smoke --only other"
    assert dict(planned("fake", "smoke", tmp_path).left) == {"line": 4, "other": 0}
    whole = reproduce("fake", "smoke", tmp_path, runtime=runtime)
    assert [t.name for t in whole.findings.tables] == ["line", "other"]
    with pytest.raises(ActsmithError, match="no table named 'lin'; did you mean line"):
        planned("fake", "smoke", only=["lin"])


def test_other_seeds_are_another_run(fake, tmp_path, runtime, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = planned("fake", "smoke", seeds=4)
    assert plan.folder.name == "fake-smoke-4-seeds"
    assert dict(plan.left) == {"line": 6, "other": 6}
    assert not (tmp_path / "runs").exists()
    found = reproduce("fake", "smoke", seeds=3, runtime=runtime).findings
    assert [len(row.values) for t in found.tables for row in t.rows] == [3, 3]
    assert planned("fake", "smoke", seeds=3).left == {"line": 0, "other": 0}


def test_the_global_generators_are_as_before(fake, tmp_path, runtime):
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(5)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(5)
    reproduce("fake", "smoke", tmp_path, runtime=runtime)
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()) == expected  # noqa: NPY002


def test_a_resumed_run_looks_at_the_data_of_what_is_finished_too(fake, tmp_path, runtime):
    """One page shows both."""
    for name, count in (("a", 64), ("b", 65)):
        (tmp_path / name).mkdir()
        np.savetxt(tmp_path / name / "points.txt", np.linspace(-1, 1, count))
    run = tmp_path / "run"
    reproduce("fake", "smoke", run, data=tmp_path / "a", only=["line"], runtime=runtime)
    with pytest.raises(ActsmithError, match="not those that"):
        reproduce("fake", "smoke", run, data=tmp_path / "b", runtime=runtime)


# ---------------------------------------------------------------------------------- seeds until all is decided

DECIDED = Question("relu is better on a line of its own kind", "relu", "gelu", 0.0, "line")
SAME = Question("they are the same to within a hundred decades", "relu", "gelu", 100.0, "line")
GROWS = replace(
    ASKED, rates=(1e-2,), recipe=Recipe(epochs=1, batch=32), seeds=Sequential(most=12, least=3, step=3),
    tuning_seeds=(99,), questions=(SAME,),
)  # fmt: skip


def score(folder, name="relu"):
    return [o.trial.seed for o in folder.all().of("line", name, stage="score")]


def test_seeds_are_added_until_the_questions_are_decided(tmp_path, runtime):
    folder = trained(tmp_path / "run", runtime, asked=GROWS)
    seeds = score(folder)
    assert len(seeds) in (6, 9, 12)  # three are never enough: no bound is known yet
    assert score(folder, "gelu") == seeds
    found = table(folder, GROWS, Regression.metric, title="t")
    assert found.labels == {"depth": 2, SEQUENTIAL: True}
    (claim,) = judge([SAME], [found])
    assert claim.verdict == "no difference that matters"
    three = replace(found, rows=tuple(replace(r, values=r.values[: len(seeds) - 3]) for r in found.rows))
    assert not decided([SAME], [three])  # it was the first look at which all was decided
    assert GROWS.left(folder) == 0
    assert GROWS.most == tuple(range(12))


def test_what_is_never_decided_ends_at_the_most_and_no_question_at_the_least(tmp_path, runtime):
    hard = replace(SAME, margin=0.0)
    never = replace(GROWS, seeds=Sequential(most=4, least=2, step=2), questions=(hard,))
    assert len(score(trained(tmp_path / "never", runtime, asked=never))) == 4
    other = replace(never, questions=(replace(SAME, tables="other"),))
    assert len(score(trained(tmp_path / "none", runtime, asked=other))) == 2


def test_a_killed_sequence_goes_on_as_it_was_and_shows_whole_blocks(tmp_path, runtime):
    run = tmp_path / "run"
    trained(run, runtime, asked=GROWS)
    lines = (run / "results.jsonl").read_text().splitlines(keepends=True)
    for count in (1, 7, len(lines) - 1):
        (run / "results.jsonl").write_text("".join(lines[:count]))
        with opened(run, GROWS) as folder:
            assert GROWS.left(folder) > 0
            if count == 7:  # relu has a seed that gelu has not
                assert {len(row.values) for row in table(folder, GROWS, Regression.metric, title="t").rows} == {3}
        trained(run, runtime, asked=GROWS)
        assert _timeless((run / "results.jsonl").read_text().splitlines()) == _timeless(lines)


# ------------------------------------------------------------------------------------------- what was asked when


def asking(questions):
    def read(folder, asked):
        found = [table(folder, part, Regression.metric, title=part.name) for part in asked]
        return Findings("s", tuple(found), claims=judge(questions, found))

    return Reproduction(
        "fake", "A title", "nowhere", "all", ("relu", "gelu"), {"smoke": Preset(parts, "a second")}, read,
        tuple(questions),
    )  # fmt: skip


def test_questions_are_recorded_when_a_run_begins_and_a_later_one_says_so(tmp_path, runtime, monkeypatch):
    later = [DECIDED, replace(SAME, margin=50.0), replace(SAME, statement="said in other words")]
    for questions, expected in (([DECIDED, SAME], [False, False]), (later, [False, True, False])):
        monkeypatch.setattr(module, "reproduction", lambda name, q=questions: asking(q))
        claims = reproduce("fake", "smoke", tmp_path, runtime=runtime).findings.claims
        assert ["asked after the run began" in c.evidence for c in claims] == expected
    recorded = json.loads((tmp_path / "measured.json").read_text())["questions"]
    assert [(q["statement"], q["margin"]) for q in recorded] == [(q.statement, q.margin) for q in (DECIDED, SAME)]
