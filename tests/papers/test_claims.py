"""One rule for every claim: pairs over tables, corrected together; intervals; cases; and the lines of figures."""

import pytest
from paper_tables import ERROR, folder, outcome, row, table

from actsmith.papers.claims import Better, above, claims_of, shown, versus
from actsmith.papers.mrepu import fails, survives
from actsmith.papers.readers import against, best_counts, by_label, interval_of, losses, outcomes, side_by_side
from actsmith.trials.statistics import Interval

WORSE, SAME, BETTER = [0.50, 0.51, 0.52, 0.50], [0.60, 0.61, 0.62, 0.60], [0.70, 0.71, 0.72, 0.705]
NOISY = [0.50, 0.72, 0.55, 0.65]


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"a": WORSE}, "reproduced"),
        ({"a": WORSE, "b": NOISY}, "partly reproduced"),
        ({"a": WORSE, "b": BETTER}, "not reproduced"),
        ({"a": WORSE, "c": WORSE, "b": BETTER}, "partly reproduced"),
        ({"a": NOISY}, "not resolved"),
        ({"a": NOISY, "b": BETTER}, "not reproduced"),
        ({"a": [*WORSE[:3], None]}, "reproduced"),  # only the other diverged
    ],
)
def test_the_intervals_decide(others, expected):
    (claim,) = Better("Best", versus("crrelu", tuple(others))).claims([table(crrelu=SAME, **others)])
    assert claim.verdict == expected
    assert claim.statement == "Best."
    assert all(name in claim.evidence for name in others)


def test_one_win_among_many_must_survive_holm():
    """Over pairs, and over tables."""
    barely = [v - d for v, d in zip(SAME, (0.01, 0.002, 0.009, 0.006), strict=True)]
    asked = Better("Better", versus("crrelu", ("a", "b", "c", "d")))
    assert asked.claims([table(crrelu=SAME, a=barely)])[0].verdict == "reproduced"
    assert asked.claims([table(crrelu=SAME, a=barely, b=NOISY, c=NOISY, d=NOISY)])[0].verdict == "not resolved"
    assert asked.claims([table(crrelu=SAME, a=barely)] * 4)[0].verdict == "not resolved"


def test_a_lower_score_can_be_the_better_one():
    (claim,) = Better("Better", versus("a", "b")).claims([table(ERROR, a=[0.01, 0.011, 0.012], b=[0.5, 0.52, 0.61])])
    assert claim.verdict == "reproduced"
    assert "+1.6" in claim.evidence  # decades


def test_a_margin_says_what_is_too_small_to_matter():
    tables = [table(a=[0.601, 0.6021, 0.6009], b=[0.6, 0.601, 0.6])]
    asked = versus("a", "b")
    assert Better("Better", asked).claims(tables)[0].verdict == "reproduced"
    assert Better("Better", asked, margin=0.01).claims(tables)[0].verdict == "not resolved"


def test_tables_are_chosen_by_their_labels():
    tables = [
        table(a=BETTER, b=SAME, name="one", labels={"init": "critical", "depth": 2}),
        table(a=WORSE, b=SAME, name="two", labels={"init": "kaiming", "depth": 2}),
        table(a=WORSE, name="three", labels={"init": "critical", "depth": 2}),
    ]
    asked = versus("a", "b")
    assert Better("B", asked, {"init": "critical"}).claims(tables)[0].verdict == "reproduced"
    assert Better("B", asked, {"init": "kaiming"}).claims(tables)[0].verdict == "not reproduced"
    assert Better("B", asked, {"init": "none"}).claims(tables) == []
    each = claims_of([Better("B", asked, each=True)], tables)
    assert [(c.statement, c.verdict) for c in each] == [("B: one.", "reproduced"), ("B: two.", "not reproduced")]
    assert list(by_label(tables, "init")) == ["critical", "kaiming"]
    assert best_counts(tables) == ""  # no mean is known


def test_tables_that_differ_in_one_label_stand_side_by_side():
    tables = [
        table(a=BETTER, name="c2", labels={"init": "critical", "depth": 2}),
        table(a=SAME, name="k2", labels={"init": "kaiming", "depth": 2}),
        table(a=SAME, name="c6", labels={"init": "critical", "depth": 6}),
        table(a=SAME, name="other"),
    ]
    (found,) = side_by_side(tables, "init")
    assert [r.name for r in found.rows] == ["a, critical", "a, kaiming"]
    assert Better("B", (("a, critical", "a, kaiming"),)).claims([found])[0].verdict == "reproduced"


def test_many_differences_are_counted():
    tables = [table(a=BETTER, b=SAME, name=f"t{i}") for i in range(9)]
    (claim,) = Better("B", versus("a", "b")).claims(tables)
    assert "better in 9, worse in 0, same in 0, open in 0 of 9" in claim.evidence
    assert "t3" not in claim.evidence


def test_numbers_and_cases():
    up, down, across = Interval(2, 1, 3, 5), Interval(-2, -3, -1, 5), Interval(0, -1, 1, 5)
    assert above([up, up]) == "reproduced"
    assert above([up, across, None]) == "partly reproduced"
    assert above([up, down]) == "not reproduced"
    assert above([across, None]) == "not resolved" == above([])
    assert shown([True, True, False]) == "partly reproduced"


GOOD, LOST = [0.1, 0.1], [None, 0.1]


@pytest.mark.parametrize(
    ("repu", "mrepu", "always", "wherever"),
    [
        ([LOST, LOST], [GOOD, GOOD], "reproduced", "reproduced"),
        ([LOST, GOOD], [GOOD, GOOD], "not reproduced", "reproduced"),
        ([LOST, LOST], [LOST, GOOD], "not reproduced", "not reproduced"),
        ([GOOD, GOOD], [GOOD, GOOD], "not reproduced", "not resolved"),
    ],
)
def test_one_trains_where_the_other_fails(repu, mrepu, always, wherever):
    tables = [table(ERROR, repu_2=r, mrepu_2=m) for r, m in zip(repu, mrepu, strict=True)]
    diverged = lambda r: r.diverged > 0  # noqa: E731
    assert survives("S", tables, 2, diverged).verdict == always
    assert survives("S", tables, 2, diverged, wherever=True).verdict == wherever


def test_failing_is_diverging_or_learning_nothing():
    assert [fails(row("a", GOOD, low=low)) for low in (0.01, None, 0.95)] == [False, True, True]


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
