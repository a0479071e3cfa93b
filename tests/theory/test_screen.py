"""Screening against the full analysis."""

import pytest

import actsmith as acts


def test_the_catalogue_is_sieved_as_analyze_would():
    found = {s.text: s for s in acts.screen(list(acts.CATALOGUE))}
    wrong = []
    for name in acts.CATALOGUE:
        full = acts.analyze(name)
        assert found[name].smoothed == pytest.approx(full.entropy.smoothed, abs=1e-3), name
        if found[name].universality != full.criticality.universality:
            wrong.append(name)
    # a1 of tanhexp is 0.01, and softshrink's critical line shows only where f' has mass: both need analyze
    assert set(wrong) <= {"softshrink", "tanhexp", "telu"}


@pytest.mark.parametrize("law", ["laplace", "normal:0.5,2", "uniform:-1,1"])
def test_other_laws(law):
    for s in acts.screen(["relu", "gelu", "tanh(x)"], law):
        assert s.smoothed == pytest.approx(acts.entropy(s.text, law).smoothed, abs=2e-3)


def test_what_cannot_be_used_comes_last_with_its_reason():
    found = acts.screen(["3", "log(x)", "relu(x)", "x +", "exp(exp(x))", acts.get_activation("crrelu", eps=0.3)])
    assert [s.text for s in found[:2]] == ["relu(x)", acts.get_activation("crrelu").text]
    reasons = {s.text: s.reason for s in found[2:]}
    assert "constant" in reasons["3"]
    assert "not finite near x" in reasons["log(x)"]
    assert "not well formed" in reasons["x +"]
    assert found[0].formula == acts.get_activation("relu")
