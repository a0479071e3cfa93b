"""The sequence of functions: the same at each call, each function once."""

import numpy as np
import pytest

from actsmith.errors import ActsmithError
from actsmith.table.functions import FAMILIES, Member, members
from actsmith.trials.runner import has_table


@pytest.fixture(scope="module")
def found() -> list[Member]:
    return members(90)


def test_a_longer_sequence_begins_with_a_shorter_one(found: list[Member]) -> None:
    assert [m.formula for m in members(75)] == [m.formula for m in found[:75]]


def test_each_function_is_there_once_and_can_be_read_from_a_table(found: list[Member]) -> None:
    x = np.linspace(-3, 3, 61)
    values = np.array([m.formula(x) for m in found])
    differ = np.linalg.norm(values[:, None] - values[None], axis=2) / np.linalg.norm(values, axis=1)
    np.fill_diagonal(differ, np.inf)
    assert differ.min() > 1e-4
    assert len({m.formula.name for m in found}) == len(found)
    assert all(has_table(m.formula) for m in found)
    assert not any(m.formula.params for m in found)


def test_the_catalogue_comes_first_and_every_family_follows(found: list[Member]) -> None:
    families = [m.family for m in found]
    first = families.index(next(f for f in families if f != "catalogue"))
    assert first > 60
    assert "catalogue" not in families[first:]
    assert set(families[first:]) == set(FAMILIES)


def test_a_member_is_kept_as_plain_values(found: list[Member]) -> None:
    for member in found[::9]:
        assert Member.from_dict(member.to_dict()) == member


def test_none_are_refused() -> None:
    with pytest.raises(ActsmithError, match="expected 1 or more"):
        members(0)
