"""Derivation: both signs, readable shapes, a note for what cannot be had."""

import numpy as np
import pytest
import sympy as sp

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation as get
from actsmith.formula.formula import Formula, Param
from actsmith.formula.parse import X
from actsmith.search.candidates import (
    Candidate,
    Step,
    derive,
    laws_to_try,
    same_function,
)
from actsmith.search.draft import Grid
from actsmith.search.shape import readable_shape
from actsmith.search.space import Space
from actsmith.theory.criticality import criticality
from actsmith.theory.eafo import correction
from actsmith.theory.laws import Empirical, Logistic, Mixture, Normal

SKEWED = Mixture((0.3, 0.7), (Normal(-1.2, 0.5), Normal(0.4, 0.9)))


def test_relu_under_the_normal_law_gives_crrelu():
    candidates, notes = derive(get("relu"), {"normal": Normal()}, [Step(0.01, True)])
    assert not notes
    assert same_function(candidates[0].formula, get("crrelu"))
    assert [c.formula.params["eps"].value for c in candidates] == [0.01, -0.01]
    assert "published" in candidates[0].origin
    assert "descent" in candidates[1].origin


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "tanh"])
@pytest.mark.parametrize("law", [Normal(), Normal(0.3, 2), SKEWED])
def test_the_readable_shape_is_the_exact_one_scaled(name, law):
    exact = correction(get(name), law).psi
    shape = readable_shape(exact, law)
    x = np.linspace(law.mean - 4 * law.std, law.mean + 4 * law.std, 201)
    a, b = Formula(exact)(x), Formula(shape)(x)
    factor = float(np.max(np.abs(b)) / np.max(np.abs(a)))
    np.testing.assert_allclose(b, factor * a, atol=6e-3 * float(np.max(np.abs(b))))
    assert float(np.max(np.abs(b))) == pytest.approx(np.exp(-0.5) * law.std, rel=1e-2)
    numbers = [n for n in shape.atoms(sp.Rational) if not n.is_integer]
    assert all(len(str(n.p).rstrip("0")) <= 5 for n in numbers)


def test_a_correction_with_a_pole_is_a_note_and_no_candidate():
    """Of relu(x)**2, whose slope is 0 at 0: (x + 1/x) exp(-x**2/2)."""
    candidates, notes = derive(get("relu_squared"), {"normal": Normal()})
    assert not candidates
    assert len(notes) == 1
    assert "normal: correction: its size under normal(0,1) is inf" in notes[0]
    candidates, notes = derive(get("relu_squared"), {"skewed": SKEWED})
    assert not candidates
    assert len(notes) == 4
    with pytest.raises(ActsmithError, match="not zero"):
        readable_shape(sp.Integer(0), Normal())


def test_corrections_are_critical_and_of_both_signs():
    layers = {"1": Empirical(Normal(0, 1.3).sample(5000, 0)), "3": Empirical(SKEWED.sample(5000, 1))}
    laws = laws_to_try(layers)
    assert list(laws)[:2] == ["normal", "pooled"]
    candidates, _ = derive(get("relu"), laws)
    assert {np.sign(c.formula.params["eps"].value) for c in candidates} == {1.0, -1.0}
    assert all(criticality(c.formula).universality != "none" for c in candidates)
    assert len({c.formula.name for c in candidates}) == len(candidates)


def test_criticality_is_no_gate():
    """Squared ReLU is critical in no class, and among the best in normalised transformers."""
    assert criticality(get("repu")).universality == "none"
    assert Space(Grid.of(Normal())).admit(Candidate(get("repu"), "candidate", "")) is None


def test_what_may_learn_is_another_activation():
    fixed, learned = (Formula("relu(x) + a*x", {"a": Param(0.1, learn=learn)}) for learn in (False, True))
    assert not same_function(fixed, learned)
    assert same_function(fixed, Formula("relu(x) + 0.1*x"))


def test_a_start_that_folds_is_corrected_through_the_score():
    candidates, notes = derive(get("gelu"), {"normal": Normal()})
    assert not notes
    assert {c.origin.split("; ")[2] for c in candidates} == {
        "the published sign, raises the entropy", "descent, lowers the entropy"
    }  # fmt: skip


def test_a_start_at_its_worst_gives_a_note_in_place_of_candidates():
    candidates, notes = derive(get("sigmoid"), {"logistic": Logistic()})
    assert not candidates
    assert "nothing to correct" in notes[0]


def test_the_shift_is_taken_where_it_alone_is_critical():
    candidates, _ = derive(get("relu"), {"skewed": SKEWED}, [Step(0.1, True)])
    psi = readable_shape(correction(get("relu"), SKEWED).psi, SKEWED)
    whole = Formula(get("relu").expr + sp.Rational(1, 10) * psi)
    assert criticality(whole).universality == "none"
    shifted = candidates[0].formula
    x = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(np.diff(whole(x) - shifted(x)), 0, atol=1e-12)
    assert abs(shifted(0.0)) < 1e-15
    assert X in shifted.expr.free_symbols
    assert "shifted" in candidates[0].origin


def test_one_function_is_one_on_all_of_the_line_and_at_all_values():
    assert not same_function(get("relu"), get("relu6"))  # they part at 6
    assert not same_function(get("sin"), Formula("sin(x)*(x<100) + x*(x>=100)"))
    assert same_function(get("tanhexp"), get("telu"))
    assert same_function(get("silu"), Formula("x/(1 + exp(-x))"))
    assert same_function(get("elu"), get("celu"))
    learned = [get(name, alpha=Param(1.0, learn=True)) for name in ("elu", "celu")]
    assert not same_function(*learned)  # equal at alpha = 1 alone
    assert same_function(get("swish"), Formula("x/(1 + exp(-b*x))", {"b": Param(1.0, learn=True)}))
    assert not same_function(get("swish"), Formula("x/(1 + exp(-b*x))", {"b": Param(1.0)}))
    capped = [Param(1.0, learn=True, low=0.0, high=1.0), Param(1.0, learn=True)]
    assert same_function(*[Formula("a*relu(x)", {"a": p}) for p in capped])


def test_a_fourth_correction_has_a_name_of_its_own():
    start = get("relu")
    for expected in ("eps", "eps1", "eps2", "eps3", "eps4"):
        candidates, _ = derive(start, {"normal": Normal()}, [Step(0.1, True)])
        assert expected in candidates[0].formula.params
        start = start if expected == "eps4" else Formula(
            start.expr + sp.Symbol(expected, real=True) * sp.sin(X), {**start.params, expected: 0.0})  # fmt: skip
