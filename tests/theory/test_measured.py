"""The reader of the table: places, relatives, and what it needs to be installed."""

import dataclasses
import io
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import CATALOGUE, get_activation
from actsmith.formula.formula import Formula
from actsmith.theory.laws import resolve_law
from actsmith.theory.measured import NODES, MeasuredTable, TableTask, measured, read_table
from actsmith.theory.nearest import distances, same

NAMES = [name for name in CATALOGUE if name not in ("gelu_tanh", "swish", "telu", "celu", "pelu", "repu", "relu6")]


@pytest.fixture(scope="module")
def table() -> MeasuredTable:
    rng, n = np.random.default_rng(0), len(NAMES)
    outcome = rng.uniform(0.1, 1, (n, 2))
    outcome[3] = np.nan
    formulas = [get_activation(name) for name in NAMES]
    tasks = (TableTask("one", "loss", "lower", "nats", True, ""), TableTask("two", "accuracy", "higher", "", True, ""))
    cells = np.ones((n, 2))
    return MeasuredTable(
        tuple(NAMES), tuple(f.text for f in formulas), ("catalogue",) * n, ("",) * n, tasks, outcome,
        outcome[..., None], cells, outcome[..., None], cells[:2], np.ones(1), outcome[..., None], cells, cells, {},
        np.zeros((n, 2, 0)), {}, np.array([f(NODES) for f in formulas]), {"functions": n},
    )  # fmt: skip


def test_places_follow_the_scores_and_what_diverged_is_last(table: MeasuredTable) -> None:
    one, two = table.rank("one"), table.rank("two")
    assert np.nanargmin(table.outcome[:, 0]) == np.argmin(one)
    assert np.nanargmax(table.outcome[:, 1]) == np.argmin(two)
    assert one[3] == two[3] == len(table)
    assert table.rank()[3] == len(table)
    assert sorted(table.rank())[0] == 1
    with pytest.raises(ActsmithError, match="no task named 'thre'; expected one, two"):
        table.rank("thre")


def test_what_was_trained_on_some_tasks_has_places_on_those(table: MeasuredTable) -> None:
    n, gelu = len(table), NAMES.index("gelu")
    diverged = np.zeros((n, 2))
    diverged[gelu:, 1] = np.nan  # from gelu on nothing was trained on the second task
    holes = dataclasses.replace(table, diverged=diverged)
    assert [task.name for task in holes.common] == ["one"]
    np.testing.assert_array_equal(holes.rank(), holes.rank("one"))
    assert np.isnan(holes.rank("two")[gelu:]).all()
    assert sorted(holes.rank("two")[:gelu])[-1] == gelu
    place = holes.place("gelu")
    assert (place.by_task, place.of_task) == ({"one": table.rank("one")[gelu]}, {"one": n})
    near = holes.place("x*normal_cdf(1.1*x) + 0.02*sin(3*x)", n=n)
    assert near.of_task == {"one": n, "two": gelu}
    assert 1 <= near.by_task["two"] <= gelu
    begin = holes.beginning()
    assert len(begin) == gelu
    assert begin.trained.all()
    assert begin.names == table.names[:gelu]
    assert begin.values.shape == (gelu, 256)
    assert table.beginning() is table
    assert len(dataclasses.replace(table, about={"unselected": 5}).beginning()) == 5
    diverged[-1] = 0.0  # one of the best, trained on the second task for that
    kept = dataclasses.replace(table, diverged=diverged).unselected()
    np.testing.assert_array_equal(kept.trained, holes.trained)
    assert np.isnan(kept.outcome[gelu:, 1]).all()
    diverged[0, 0] = np.nan
    with pytest.raises(ActsmithError, match="go on with its build"):
        dataclasses.replace(table, diverged=diverged).rank()


def test_the_same_function_has_its_place_whatever_it_is_called(table: MeasuredTable) -> None:
    place = table.place("x*normal_cdf(x)")
    assert (place.name, place.estimated, place.of) == ("gelu", False, len(table))
    assert place.place == place.low == place.high == table.rank()[NAMES.index("gelu")]
    assert table.place("x*sigmoid(x)").name == "silu"


def test_another_function_has_an_estimate_from_its_relatives(table: MeasuredTable) -> None:
    place = table.place("x*normal_cdf(1.1*x) + 0.02*sin(3*x)")
    assert place.estimated
    assert place.name is None
    assert place.low <= place.place <= place.high
    assert {r.name for r in place.relatives} & {"gelu", "silu", "mish", "quick_gelu"}
    assert "relatives" in place.to_dict()


def test_affine_twins_are_at_distance_zero_both_ways(table: MeasuredTable) -> None:
    twin = Formula("3*tanh(0.8*x + 0.3) - 1")
    first, *_ = table.relatives(twin, n=1)
    assert first.name in ("tanh", "lecun_tanh", "sigmoid")
    assert first.distance < 0.01
    # A slow piece of tanh looks like softplus, but softplus is no tanh.
    rows = distances(get_activation("tanh"), resolve_law("normal"), NODES, table.values, len(NAMES))
    assert rows[NAMES.index("softplus")] > 0.08
    assert list(rows.values()) == sorted(rows.values())


def test_relatives_are_quick_among_thousands(table: MeasuredTable) -> None:
    many = np.concatenate([table.values] * 50)
    formula, law = get_activation("phish"), resolve_law("normal")
    distances(formula, law, NODES, many, 5)
    began = time.process_time()
    distances(formula, law, NODES, many, 5)
    assert time.process_time() - began < 0.3


def test_a_constant_and_a_law_far_away_are_refused(table: MeasuredTable) -> None:
    with pytest.raises(ActsmithError, match="constant, or not finite"):
        table.relatives("0*x + 2")
    with pytest.raises(ActsmithError, match="beyond"):
        table.relatives("relu", "normal:100,1")
    assert same(Formula("log(x)"), NODES, table.values) is None


def test_a_file_that_is_no_table_is_refused() -> None:
    with pytest.raises(ActsmithError, match="not a table of activations"):
        read_table(io.BytesIO(b"nothing"))


def test_the_shipped_table_loads_quickly_without_pandas_pyarrow_and_torch() -> None:
    found = measured()
    if found is None:
        pytest.skip("this copy has no table")
    code = """
        import builtins, sys, time
        real = builtins.__import__
        def refuse(name, *args, **kwargs):
            if name.partition(".")[0] in ("pandas", "pyarrow", "torch"):
                raise ImportError(name)
            return real(name, *args, **kwargs)
        builtins.__import__ = refuse
        from actsmith.theory.measured import measured
        began = time.process_time()
        table = measured()
        assert time.process_time() - began < 1, time.process_time() - began
        assert len(table) == table.about["functions"] == len(table.outcome)
        assert table.place("gelu").name == "gelu"
        assert not {"pandas", "pyarrow", "torch"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=100)


def test_the_shipped_table_is_small_and_says_how_it_was_measured() -> None:
    found = measured()
    if found is None:
        pytest.skip("this copy has no table")
    file = Path(sys.modules["actsmith.theory.measured"].__file__ or "").parent / "data" / "activations.npz"
    assert file.stat().st_size < 8e6
    assert {"functions", "trainings", "seeds", "versions", "checksum", "measured", "epochs"} <= set(found.about)
    assert len(found.tasks) >= 6
    assert np.isfinite(found.outcome[found.trained]).mean() > 0.5
    assert len(found.common) >= 6
    assert len(found.beginning()) >= 500
    assert set(found.families) >= {"catalogue"}
