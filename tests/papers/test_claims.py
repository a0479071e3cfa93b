"""One rule for every claim: contrast, margin, nets that fail, a correction over the page; and the lines of figures."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from paper_tables import ERROR, folder, outcome, row, table
from scipy import stats

from actsmith.papers.claims import (
    SEQUENTIAL,
    Question,
    certain,
    counted,
    decided,
    judge,
    out_of_reach,
    sampled,
    worded,
)
from actsmith.papers.readers import against, best_counts, by_label, interval_of, losses, outcomes
from actsmith.report.results import claim_from

GOOD = [0.1, 0.1]
WORSE, SAME, BETTER = [0.50, 0.512, 0.52, 0.50], [0.60, 0.61, 0.62, 0.60], [0.70, 0.71, 0.72, 0.705]
NOISY = [0.50, 0.72, 0.55, 0.65]


def asked(first="a", second="b", margin=0.01, **changes):
    return Question("A is better", first, second, margin, **{"origin": "paper", "published": True, **changes})


def answer(question, *tables):
    (claim,) = judge([question], tables)
    return claim.verdict


@pytest.mark.parametrize(
    ("other", "expected"),
    [(WORSE, "reproduced"), (BETTER, "contradicted"), ([0.601, 0.611, 0.621, 0.602], "no difference that matters"),
     (NOISY, "open")],
)  # fmt: skip
def test_the_interval_decides_beyond_a_margin(other, expected):
    made = table(a=SAME, b=other)
    assert answer(asked(), made) == expected
    (claim,) = judge([asked()], [made])
    difference = np.subtract(SAME, other)
    t = stats.ttest_1samp(difference, 0).confidence_interval()
    assert (claim.effect.low, claim.effect.high) == pytest.approx(tuple(t))
    assert claim.contrast == "a - b in *"


def test_the_margin_moves_the_answer():
    made = table(a=[v + 0.02 for v in SAME], b=[v + d for v, d in zip(SAME, (0, 0.001, 0, 0.001), strict=True)])
    assert [answer(asked(margin=m), made) for m in (0.01, 0.0195, 0.03)] == [
        "reproduced", "open", "no difference that matters",
    ]  # fmt: skip


def test_only_the_papers_claims_in_their_own_setting_are_contradicted():
    assert worded("worse", "paper", published=True) == "contradicted"
    assert {worded("worse", o, published=p) for o, p in (("paper", False), ("ours", True), ("reviewers", True))} == {
        "does not hold"
    }


def test_a_lower_score_can_be_the_better_one_and_decades_are_its_unit():
    (claim,) = judge([asked(margin=0.05)], [table(ERROR, a=[0.01, 0.011, 0.012], b=[0.1, 0.11, 0.12])])
    assert claim.verdict == "reproduced"
    assert claim.effect.mean == pytest.approx(1.0)
    assert claim.unit == "decades of relative rmse"


def test_several_tables_are_averaged_seed_by_seed_and_several_activations_too():
    one, two = table(name="x-1", a=SAME, b=WORSE), table(name="x-2", a=SAME, b=BETTER)
    (claim,) = judge([asked(tables="x-*")], [one, two, table(name="y", a=[0, 0, 0, 0], b=BETTER)])
    by_hand = [(2 * s - w - b) / 2 for s, w, b in zip(SAME, WORSE, BETTER, strict=True)]
    assert claim.effect.mean == pytest.approx(np.mean(by_hand))
    (group,) = judge([asked(first=("a", "c"))], [table(a=SAME, c=BETTER, b=WORSE)])
    assert group.effect.mean == pytest.approx(
        np.mean([(s + c) / 2 - w for s, c, w in zip(SAME, BETTER, WORSE, strict=True)])
    )


def test_what_is_not_there_is_left_out():
    assert judge([asked(second="c")], [table(a=SAME, b=WORSE)]) == ()
    assert judge([asked(tables="other-*")], [table(a=SAME, b=WORSE)]) == ()


def test_a_page_of_many_questions_is_corrected():
    barely = [v - d for v, d in zip(SAME, (0.03, 0.022, 0.029, 0.026), strict=True)]
    few = judge([asked()], [table(a=SAME, b=barely)])
    many = judge([asked(), *(asked(second=n) for n in "cde")] * 8, [table(a=SAME, b=barely, c=NOISY, d=NOISY, e=NOISY)])
    assert few[0].verdict == "reproduced"
    assert many[0].effect == few[0].effect
    assert many[0].verdict == "open"
    assert many[0].p > 0.05 > few[0].p


def test_nets_that_fail_decide_first():
    lost, kept = [None] * 8, [0.1] * 8
    assert answer(asked(), table(ERROR, a=kept, b=lost)) == "reproduced"
    assert answer(asked(), table(ERROR, a=lost, b=kept)) == "contradicted"
    assert answer(asked(), table(ERROR, a=lost, b=lost)) == "open"
    assert answer(asked(useless=0.9), table(ERROR, a=kept, b=[0.95] * 8)) == "reproduced"
    one = table(ERROR, a=[0.1, 0.11, 0.1, 0.12, 0.1], b=[1e20, 0.5, 0.5, 0.51, 0.5])
    (claim,) = judge([asked(useless=0.9)], [one])
    assert claim.effect.failed == (0, 1)
    assert claim.effect.count == 4  # one loss of 1e20 is no reason to call the others' mean infinite
    assert claim.effect.mean == pytest.approx(np.mean(np.log10([0.5 / 0.11, 0.5 / 0.1, 0.51 / 0.12, 0.5 / 0.1])))


def test_a_sequence_is_judged_by_what_holds_at_every_look():
    values = {"a": [v + 0.1 for v in SAME], "b": SAME}
    fixed, grown = table(**values), replace(table(**values), labels={SEQUENTIAL: True})
    assert answer(asked(), fixed) == "reproduced"
    assert answer(asked(), grown) == "open"  # four seeds are not enough where one may look at each
    longer = replace(table(a=[0.7, 0.71, 0.69, 0.7, 0.72, 0.7, 0.71, 0.7], b=[0.6] * 8), labels={SEQUENTIAL: True})
    assert answer(asked(), longer) == "reproduced"
    assert decided([asked()], [longer])
    assert not decided([asked()], [grown])


def test_numbers_that_are_no_contrast():
    question = asked(margin=0.1)
    assert sampled(question, [0.5, 0.6, 0.55], "share").verdict == "reproduced"
    assert sampled(question, [-0.5, -0.6, -0.55], "share").verdict == "contradicted"
    assert sampled(question, [0.01, 0.0, -0.01, 0.0], "share").verdict == "no difference that matters"
    assert sampled(question, [0.5], "share").verdict == "open"


def test_certain_and_out_of_reach():
    assert certain("S", [True, True], "e").verdict == "reproduced"
    assert certain("S", [True, False], "e").verdict == "contradicted"
    assert certain("S", [], "e").verdict == "open"
    found = [certain("S", [True], "e"), out_of_reach("T", "no data")]
    assert counted(found) == {"reproduced": 1, "out of reach": 1}


def test_a_claim_survives_its_plain_values():
    (claim,) = judge([asked()], [table(a=SAME, b=WORSE)])
    assert claim_from(json.loads(json.dumps(asdict(claim)))) == claim
    assert math.isfinite(claim.p)


def test_tables_are_grouped_by_a_label():
    tables = [table(a=BETTER, name=n, labels={"init": n}) for n in ("critical", "kaiming")]
    assert list(by_label([*tables, table(a=SAME)], "init")) == ["critical", "kaiming"]
    assert best_counts(tables) == ""  # no mean is known


# ------------------------------------------------------------------------------------------------------- lines


def test_lines_leave_gaps_where_an_error_is_none_or_huge():
    def at(depth, *means):
        rows = tuple(row(name, GOOD, mean=m) for name, m in zip("ba", means, strict=True))
        made = table(ERROR, a=GOOD, labels={"depth": depth})
        return type(made)(**{**vars(made), "rows": rows})

    a, b = against([at(6, 1e9, None), at(2, 0.1, 0.5)], "depth", below=10.0, band=False)
    assert (a.label, a.x, a.y, a.low) == ("a", (2.0, 6.0), (0.5, None), None)
    assert (b.label, b.y) == ("b", (0.1, None))


def test_a_loss_curve_is_the_mean_of_the_nets_that_did_not_diverge():
    run = folder([
        outcome("e", "relu", 1, {"accuracy": 0.5}, loss=[1.0, 0.01]),
        outcome("e", "relu", 0, {"accuracy": 0.4}, loss=[100.0, 1.0]),
        outcome("e", "relu", 2, {"accuracy": 0.4}, loss=[7.0, None], diverged=True),
    ])  # fmt: skip
    assert [o.trial.seed for o in outcomes(run, "e")["relu"]] == [0, 1, 2]
    assert losses(run, "e", "t").panels[""][0].y == (50.5, 0.505)
    assert losses(run, "e", "t", log=True).panels[""][0].y == pytest.approx((10.0, 0.1))
    assert interval_of([1.0]) is None
    assert interval_of([1.0, None]) is None
    assert interval_of([1e-2, 1e-4], log=True).mean == pytest.approx(1e-3)
