"""Choices are told by seeds that did not choose them."""

from dataclasses import replace

import numpy as np
import pytest

from actsmith.errors import ActsmithError
from actsmith.report.which_page import render_which
from actsmith.table.which import everywhere, kinds
from actsmith.theory.measured import measured


@pytest.fixture(scope="module")
def table():
    found = measured()
    assert found is not None
    return found


def test_luck_is_no_gain(table):
    """All functions alike, noise of a tenth: the lucky half says nothing of the other."""
    rng = np.random.default_rng(0)
    noise = np.exp(rng.normal(0, 0.1, (len(table), len(table.tasks), 10)))
    alike = replace(table, seeds=noise)
    gains = [g for kind in kinds(alike) for g in kind.all]
    first = noise[:, :, :5].mean(2).min(0) / noise[table.names.index("gelu"), :, :5].mean(1)
    assert np.mean(first) < 0.95  # what the choosing seeds promise
    assert abs(np.mean([g.gain for g in gains])) < 0.05
    assert all(g.p > 0.01 for g in gains)  # after Holm: by luck alone one table in a hundred


def test_a_planted_gain_is_found_with_its_size(table, tmp_path):
    rng = np.random.default_rng(0)
    seeds = np.exp(rng.normal(0, 0.001, (len(table), len(table.tasks), 10)))
    better = table.names.index("mish")
    seeds[better] *= 0.5
    planted = replace(table, seeds=seeds)
    found = kinds(planted)
    for kind in (*found, everywhere(planted)):
        assert kind.known[0].name == kind.all[0].name == "mish"
        assert kind.known[0].gain == pytest.approx(0.5, abs=0.01)
        assert kind.known[0].p < 0.01
    page, figure = render_which(found, everywhere(planted), tmp_path, "Measured.")
    assert "mish on deep (+50%)" in page.read_text()
    assert figure.read_text().startswith("<?xml")


def test_a_table_of_too_few_seeds_says_nothing(table):
    with pytest.raises(ActsmithError, match="expected 6 or more"):
        kinds(replace(table, seeds=table.seeds[:, :, :2]))
    with pytest.raises(ActsmithError, match="reference: got 'gelo'"):
        kinds(table, "gelo")
