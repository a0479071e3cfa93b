"""Tables from records: intervals, pairs, Holm, logarithms; tuning; resumption; what is refused."""

import json
import math
from dataclasses import replace

import pytest
import torch
from harness_run import Product, experiment
from scipy import stats

from actsmith.errors import ActsmithError
from actsmith.experiments.experiment import Experiment
from actsmith.experiments.findings import comparison, scores
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.loop import Recipe, Runtime
from actsmith.experiments.models import Mlp
from actsmith.experiments.problem import Classification, Metric
from actsmith.experiments.statistics import effect_size, holm, interval, paired_p
from actsmith.formula.catalogue import get

ACCURACY, ERROR = Metric("accuracy", "higher"), Metric("error", "lower", log=True)
RELU, GELU, BAD = [0.90, 0.91, 0.92, 0.93], [0.92, 0.94, 0.93, 0.96], [0.1, 0.9, 0.9, 0.9]


def record(name, values, *, diverged=None, rate=1e-2, metric="accuracy"):
    return {
        "experiment": "e", "activation": name, "stage": "score", "rate": rate, "seeds": list(range(len(values))),
        "diverged": diverged or [False] * len(values), "validation": {metric: values}, "test": {metric: values},
        "step_seconds": 0.5, "peak_bytes": 100,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    run = RunFolder(tmp_path / "run", {}, resume=True)
    run.append("a", record("relu", RELU))
    run.append("b", record("gelu", GELU, rate=1e-1))
    run.append("c", record("silu", BAD, diverged=[True, False, False, False]))
    return run


def table(folder, metric=ACCURACY):
    return comparison(folder, "e", metric, reference="relu", rates=(1e-3, 1e-2, 1e-1), title="t")


def test_a_table_holds_what_scipy_finds(folder):
    found = table(folder)
    assert [row.name for row in found.rows] == ["gelu", "relu", "silu"]
    row = found.row("gelu")
    assert row.mean == pytest.approx(sum(GELU) / 4)
    low, high = stats.t.interval(0.95, 3, loc=row.mean, scale=stats.sem(GELU))
    assert (row.low, row.high) == pytest.approx((low, high))
    assert row.p == pytest.approx(stats.ttest_rel(GELU, RELU).pvalue)
    difference = [a - b for a, b in zip(GELU, RELU, strict=True)]
    assert row.difference == pytest.approx(sum(difference) / 4)
    assert row.effect == pytest.approx(row.difference / stats.tstd(difference))
    assert row.at_edge
    assert not found.row("relu").at_edge
    assert found.row("relu").difference is None


def test_one_diverged_net_takes_the_mean_away_and_stays_visible(folder):
    row = table(folder).row("silu")
    assert (row.mean, row.p, row.diverged) == (None, None, 1)
    assert row.values == (None, 0.9, 0.9, 0.9)
    assert scores(folder, "e", "accuracy")["silu"] == {0: None, 1: 0.9, 2: 0.9, 3: 0.9}


def test_errors_are_compared_in_decades(tmp_path):
    run = RunFolder(tmp_path / "run", {}, resume=True)
    run.append("a", record("relu", [1e-2, 1e-4], metric="error"))
    run.append("b", record("gelu", [1e-3, 1e-6], metric="error"))
    found = table(run, ERROR)
    assert found.row("relu").mean == pytest.approx(1e-3)
    assert found.row("gelu").difference == pytest.approx(-1.5)
    assert found.rows[0].name == "gelu"


def test_holm_is_the_step_down_rule():
    # Holm (1979): the smallest p times n, the next times n - 1, ..., never falling, at most 1.
    assert holm([0.01, 0.02, 0.03, 0.9]) == pytest.approx([0.04, 0.06, 0.06, 0.9])
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_equal_scores_are_no_difference():
    assert paired_p([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert effect_size([1.0, 2.0], [1.0, 2.0]) == 0.0
    assert paired_p([2.0, 3.0], [1.0, 2.0]) == 0.0
    assert effect_size([2.0, 3.0], [1.0, 2.0]) == math.inf


def test_intervals_cover_as_often_as_they_say():
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(2000, 5, generator=generator, dtype=torch.float64).tolist()
    covered = sum(found.low <= 0 <= found.high for found in map(interval, draws))
    assert covered / 2000 == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 2000))


def test_the_metric_prefers_what_is_better_and_never_what_diverged():
    assert ACCURACY.merit([0.5, 0.7]) == pytest.approx(0.6)
    assert ERROR.merit([1e-3, 1e-1]) == pytest.approx(2.0)
    assert ACCURACY.merit([0.5, None]) == -math.inf == ERROR.merit([math.nan])


def test_a_second_run_trains_nothing_and_the_rate_is_the_best_one(tmp_path):
    runtime, asked = Runtime.create("cpu"), experiment()
    run = RunFolder(tmp_path / "run", {"asked": asked.to_dict()}, resume=True)
    asked.run(run, runtime, None, lambda *_: None)
    lines = (tmp_path / "run" / "results.jsonl").read_text()
    assert len(lines.splitlines()) == 2 * (2 + 1)
    again = RunFolder(tmp_path / "run", {"asked": asked.to_dict()}, resume=True)
    asked.run(again, runtime, None, lambda *_: None)
    assert (tmp_path / "run" / "results.jsonl").read_text() == lines
    by_rate = {
        r["rate"]: r["validation"]["relative_rmse"][0]
        for r in map(json.loads, lines.splitlines())
        if r["activation"] == "relu" and r["stage"] == "tune"
    }
    row = comparison(run, "product", Product().load(None).metric, reference="relu", rates=asked.rates, title="t").row(
        "relu"
    )
    assert row.rate == min(by_rate, key=by_rate.get)
    with pytest.raises(ActsmithError, match="another configuration"):
        RunFolder(tmp_path / "run", {"asked": replace(asked, rates=(1.0,)).to_dict()}, resume=True)


def test_a_classification_scores_what_is_right(tmp_path):
    class Fixed(torch.nn.Module):
        nets = 2

        def __init__(self):
            super().__init__()
            self.p = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return torch.stack([torch.eye(3)[[0, 1, 2, 0]], torch.full((4, 3), math.nan)])

    part = (torch.zeros(4, 2), torch.tensor([0, 1, 2, 2]))
    problem = Classification(part, part, part, 3)
    assert problem.score(Fixed(), "test")["accuracy"].tolist() == [0.75, 0.0]
    order = torch.tensor([[0, 1], [2, 3]])
    x, y = problem.batch(order, torch.device("cpu"))
    assert (x.shape, y.tolist()) == ((2, 2, 2), [[0, 1], [2, 2]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "gelu"}, "reference: got 'gelu'; expected one of relu, crrelu"),
        ({"rates": ()}, "rates"),
        ({"rates": (-1.0,)}, "rates"),
        ({"seeds": (0,)}, "two or more"),
        ({"seeds": (0, 9)}, "none of them a tuning seed"),
        ({"activations": (get("relu"), get("relu"))}, "expected different names"),
    ],
)
def test_wrong_requests_are_refused(change, message):
    with pytest.raises(ActsmithError, match=message):
        replace(experiment(), **change)


def test_the_description_says_everything():
    said = experiment().to_dict()
    assert said["problem"] == {"kind": "Product", "size": 256}
    assert said["model"] == {"kind": "Mlp", "width": 16, "depth": 3, "init": "critical"}
    assert [a["name"] for a in said["activations"]] == ["relu", "crrelu"]
    assert json.loads(json.dumps(said)) == said


@pytest.mark.parametrize("init", ["critical", "kaiming"])
def test_one_seed_means_one_draw_for_every_activation_and_init(init):
    problem = Product().load(None)
    a, b = (Mlp(width=8, depth=2, init=init).build(get(n), [3], problem) for n in ("relu", "gelu"))
    ratio = a.weights[1] / b.weights[1]
    torch.testing.assert_close(ratio, ratio[0, 0, 0].expand_as(ratio), rtol=1e-5, atol=0)


def test_kaiming_starts_at_the_variance_it_names():
    problem = Product(4096).load(None)
    model = Mlp(width=256, depth=1, init="kaiming").build(get("relu"), range(8), problem)
    x = problem.train[0].expand(8, -1, -1) * model.scale
    first = torch.baddbmm(model.biases[0], x, model.weights[0])
    assert float(first.square().mean().detach()) == pytest.approx(2.0, rel=0.1)


def test_tuning_may_be_shorter():
    assert Recipe(epochs=10, batch=1, lbfgs=4).shortened(0.25) == Recipe(epochs=2, batch=1, lbfgs=1)
    assert Recipe(epochs=3, batch=1).shortened(0.01).epochs == 1
    assert isinstance(experiment(), Experiment)
