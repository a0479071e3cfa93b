"""The verdict: what depth does, where a formula stands, its relatives, and a command line that settles it."""

import dataclasses
import shlex

import numpy as np
import pytest

import actsmith as acts
from actsmith.cli import parser
from actsmith.cli.common import formulas_of
from actsmith.theory import judgement
from actsmith.theory.measured import Place


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("relu", "survive any depth of a plain network, from inputs of any size"),
        ("tanh", "like a power of it"),
        ("gelu", "starts right"),
        ("mrepu", "explode after 1 layer from inputs of variance 1"),
        ("repu", "are lost in a deep plain network"),
    ],
)
def test_each_class_has_its_plain_words(formula, words):
    assert words in acts.analyze(formula).judgement.sentence


def test_nothing_is_computed_before_it_is_asked_for():
    analysis = acts.analyze("gelu")
    assert "judgement" not in vars(analysis)
    assert "Verdict: " in str(analysis)
    assert "judgement" in vars(analysis)


def test_relatives_are_those_up_to_scales_and_shifts():
    found = acts.analyze("3*tanh(1.3*x - 0.2) + 1").judgement
    assert found.relatives[0].name in ("tanh", "sigmoid", "lecun_tanh")
    assert found.relatives[0].distance < 0.01
    assert "nothing in the catalogue" in acts.analyze("sin(30*x)").judgement.kin
    wild = acts.analyze("gelu", law="normal:300,0.1").judgement
    assert "300" in wild.kin or wild.relatives == ()


def test_which_inputs_drift_away_is_as_the_point_says():
    small, large = acts.analyze("gelu"), acts.analyze("x*sigmoid(1.5*x)")
    assert "a smaller one drifts away" in small.criticality.points[0].stability
    assert "inputs that are too small" in small.judgement.depth
    assert "a larger one drifts away" in large.criticality.points[0].stability
    assert "inputs that are too large" in large.judgement.depth


def test_a_known_function_and_a_line_are_called_so():
    assert acts.analyze("x/(1 + exp(-x))").judgement.kin.startswith("it is silu, to 0.1%; then aptx 0,")
    assert acts.analyze("silu").judgement.equal is None
    line = acts.analyze("2*x + 1").judgement
    assert "straight line" in line.sentence
    assert line.relatives == ()


@pytest.mark.parametrize(
    "f",
    [
        acts.get_activation("gelu"),
        acts.get_activation("mrepu", p=3),
        acts.Formula("-x*sigmoid(-b*x) if x < 0 else x", {"b": acts.Param(1 / 3, learn=True)}, "it's mine"),
    ],
)
def test_the_command_line_is_about_this_formula(f):
    words = shlex.split(acts.analyze(f).judgement.settle)
    assert words[0] == "actsmith"
    request = parser().parse_args(words[1:])
    against, same = formulas_of(request.formulas, request)
    assert against.name != f.name
    x = np.linspace(-3, 3, 101)
    assert np.allclose(same(x), f(x), rtol=1e-11)
    assert {n: p.learn for n, p in same.params.items()} == {n: p.learn for n, p in f.params.items()}


class Table:
    common = (1, 2, 3)

    def __init__(self, place):
        self.found = place

    def place(self, f, law):
        if self.found is None:
            raise acts.ActsmithError("relatives: it lies beyond")
        return self.found


def test_a_place_is_said_as_what_it_is(monkeypatch):
    assert (
        "not measured: this copy" in dataclasses.replace(acts.analyze("gelu").judgement, place=None, tasks=0).sentence
    )
    place = Place(7.0, 310, False, "gelu", 7.0, 7.0, {"one": 7.0, "two": 1.0}, {"one": 310, "two": 20}, ())
    monkeypatch.setattr(judgement, "measured", lambda: Table(place))
    assert "place 7 of 310 functions on 3 tasks" in acts.analyze("gelu").judgement.sentence
    assert acts.analyze("gelu").judgement.by_network == "one 7, two 1 of 20"
    place = dataclasses.replace(place, place=41.6, estimated=True, name=None, low=20.0, high=60.0)
    monkeypatch.setattr(judgement, "measured", lambda: Table(place))
    found = acts.analyze("x*sigmoid(1.5*x)").judgement
    assert "was not measured; its nearest relatives have the places 20 to 60 of 310" in found.sentence
    assert found.to_dict()["measured"]["estimated"] is True
    monkeypatch.setattr(judgement, "measured", lambda: Table(None))
    assert "no relative of it was, either" in acts.analyze("x*sigmoid(1.6*x)").judgement.sentence
