"""The page about criticality says what the code says."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import actsmith

PAGE = Path(__file__).parents[2] / "docs" / "criticality.md"
NAMES = ("correlation_map", "depth_scales", "phase_diagram", "simulate", "critical_form")


@pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs")
def test_the_examples_run():
    from actsmith.nn.simulate import simulate
    from actsmith.theory.correlation import correlation_map, depth_scales
    from actsmith.theory.phase import phase_diagram
    from actsmith.theory.tuning import critical_form

    functions = dict(zip(NAMES, (correlation_map, depth_scales, phase_diagram, simulate, critical_form), strict=True))
    for name, function in functions.items():
        if not hasattr(actsmith, name):
            pytest.skip(f"actsmith.{name} is not public yet")
        assert getattr(actsmith, name) is function
    result = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 15
    assert result.failed == 0
