"""Every proposer: pure, on the grid what its formulas are, near what leads; what it makes compiles and has slopes."""

import numpy as np
import pytest
import sympy as sp
import torch
from search_evidence import LEADER, SKEWED, distance, evidence, led_by_tanh

from actsmith.formula.catalogue import CATALOGUE, get_activation
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation
from actsmith.search.candidates import same_function
from actsmith.search.draft import Grid, rounded
from actsmith.search.evidence import Evidence, Tried
from actsmith.search.proposers import PROPOSERS, Own
from actsmith.search.proposers.affine import Affine
from actsmith.search.proposers.correction import LEADERS, Correction
from actsmith.search.proposers.evolution import Evolution
from actsmith.search.proposers.family import Family, member_of
from actsmith.search.proposers.known import ELSEWHERE, Known
from actsmith.search.space import Space
from actsmith.theory.laws import Normal, StudentT

PROPOSING = [*PROPOSERS, Own(lambda history: ["x*sigmoid(1.5*x)", "sin(x) + 0.1*x"])]


def drafts_of(proposer, known, n=60, seed=0):
    return proposer.propose(known, np.random.default_rng(seed), n)


@pytest.mark.parametrize("proposer", PROPOSING, ids=lambda p: p.name)
@pytest.mark.parametrize("known", [evidence(known=()), led_by_tanh(SKEWED)], ids=["start", "history"])
def test_a_proposer_is_pure_and_its_drafts_are_the_formulas_they_make(proposer, known):
    drafts, again = drafts_of(proposer, known), drafts_of(proposer, known)
    assert 0 < len(drafts) <= 60
    assert len(drafts_of(proposer, known, n=3)) <= 3
    # Constants of a composed formula are rounded when it is built.
    rounding = 3e-2 if proposer.name in ("affine", "family", "evolution") else 1e-9
    assert len(again) == len(drafts)
    for draft, twin in zip(drafts, again, strict=True):
        np.testing.assert_array_equal(draft.values, twin.values)
        np.testing.assert_array_equal(draft.slopes, twin.slopes)
        assert (draft.origin, draft.parents) == (twin.origin, twin.parents)
    for draft in drafts[:: max(1, len(drafts) // 12)]:
        candidate = draft.make()
        values, slopes = known.grid.look(candidate.formula)
        for drawn, built in ((draft.values, values), (draft.slopes, slopes)):
            np.testing.assert_allclose(drawn, built, rtol=0, atol=rounding * np.max(np.abs(built)))
        assert candidate.proposer == draft.proposer == proposer.name
        assert candidate.parents == draft.parents
        assert candidate.origin == draft.origin
        assert draft.learns == any(p.learn for p in candidate.formula.params.values())
        assert candidate.formula == draft.make().formula
        assert Formula(candidate.formula.text, candidate.formula.params) == candidate.formula


@pytest.mark.parametrize("proposer", [Affine(), Family(), Evolution()], ids=lambda p: p.name)
def test_thousands_are_drawn_and_most_are_new(proposer):
    known = led_by_tanh()
    space = Space(known.grid).remembering(known)
    drafts = drafts_of(proposer, known, n=1000)
    admitted = [draft for draft in drafts if space.admit(draft) is None]
    assert len(drafts) >= 900
    assert len(admitted) >= 600
    assert all(space.admit(draft) is not None for draft in drafts)
    other = drafts_of(proposer, known, n=1000, seed=1)
    assert sum(space.admit(draft) is None for draft in other) >= 300


@pytest.mark.parametrize("proposer", [Affine(), Family(), Evolution()], ids=lambda p: p.name)
def test_constants_have_three_digits(proposer):
    known = evidence(texts=[drafts_of(proposer, led_by_tanh(), seed=1)[-1].make().formula.text])
    for draft in drafts_of(proposer, known):
        constants = [float(n) for n in draft.make().formula.expr.atoms(sp.Rational) if n.q > 12]
        assert constants == [rounded(value) for value in constants]


@pytest.mark.parametrize("proposer", [Family(), Evolution()], ids=lambda p: p.name)
def test_mutations_of_what_leads_stay_near_it(proposer):
    known = led_by_tanh()
    leader, _ = known.grid.look(Formula(LEADER))
    children = [d for d in drafts_of(proposer, known, 400) if d.parents == (known.tried[0].candidate.formula.name,)]
    strangers = drafts_of(proposer, evidence(known=()), 400)
    near = np.median([distance(known.grid, d.values, leader) for d in children])
    far = np.median([distance(known.grid, d.values, leader) for d in strangers])
    assert len(children) > 40
    assert near < 0.3
    assert near < far / 2


def test_leaders_are_the_parents():
    """The functions that lead have more children than those that do not, and those that diverged none."""
    known = led_by_tanh()
    diverged = [Tried(t.candidate, float("-inf")) for t in known.tried[3:]]
    known = Evidence(known.start, known.grid, known.laws, (*known.tried[:3], *diverged))
    ahead, behind = ({t.candidate.formula.name for t in part} for part in (known.tried[:3], known.tried[3:]))
    for proposer in (Affine(), Family(), Evolution()):
        parents = [name for d in drafts_of(proposer, known, 300) for name in d.parents]
        assert sum(name in ahead for name in parents) > 10 * sum(name in behind for name in parents)
        assert ahead <= set(parents)


def test_known_functions_come_once_with_who_published_them():
    known = evidence(known=())
    candidates = [draft.make() for draft in drafts_of(Known(), known, 1000)]
    names = [c.formula.name for c in candidates]
    assert {"relu_squared", "leaky_relu_squared", "gelu_sine", "gelu_sinc", "gish", "bent_identity", "snake", "sin",
            "tanh", "hardswish", "mish", "star_relu", "star_gelu", "star_leaky_relu"} <= set(names)  # fmt: skip
    assert "gelu_tanh" not in names  # GELU to three digits
    assert "identity" not in names
    assert len(set(names)) == len(names) > 65
    assert all(c.kind == "known" and c.origin for c in candidates)
    assert all(entry.name not in CATALOGUE and entry.source for entry in ELSEWHERE)
    fixed = [c.formula for c in candidates if not c.formula.params]
    assert not any(same_function(f, g) for i, f in enumerate(fixed) for g in fixed[:i])
    later = [d.make().formula.name for d in drafts_of(Known(), evidence(), 1000)]
    assert set(names) - set(later) == {"relu", "silu", "sin", "elu"}


@pytest.mark.parametrize("name", ["star_gelu", "star_leaky_relu"])
def test_star_variants_have_mean_0_and_variance_1(name):
    entry = next(entry for entry in ELSEWHERE if entry.name == name)
    grid = Grid.of(Normal(), 2001)
    values, _ = grid.look(Formula(entry.text))
    assert grid.weights @ values == pytest.approx(0, abs=2e-3)
    assert grid.weights @ values**2 == pytest.approx(1, abs=1e-2)


def test_corrections_are_of_the_start_and_of_the_leaders_with_both_signs():
    known = led_by_tanh(SKEWED)
    candidates = [draft.make() for draft in drafts_of(Correction(), known, 1000)]
    assert [name for (name,) in dict.fromkeys(c.parents for c in candidates)] == [
        "gelu", *(t.candidate.formula.name for t in known.tried[:LEADERS])
    ]  # fmt: skip
    steps = {(p.value, p.learn) for c in candidates for name, p in c.formula.params.items() if name == "eps"}
    assert steps == {(0.1, True), (-0.1, True), (0.3, False), (-0.3, False), (0.6, False), (-0.6, False)}
    assert all("EAFO correction" in c.origin for c in candidates)


def test_a_correction_that_cannot_be_had_is_a_note():
    proposer, known = Correction(), evidence(known=())
    squared = Formula("relu(x)**2", name="relu_squared")
    assert not drafts_of(proposer, Evidence(squared, known.grid, known.laws))
    assert len(proposer.notes) == 1
    assert "relu_squared: normal: correction: its size" in proposer.notes[0]


def test_the_critical_form_is_among_the_affine_ones():
    known = evidence()
    critical = next(d for d in drafts_of(Affine(), known, 100) if d.origin.startswith("critical form of gelu"))
    w, (f, slope) = known.grid.weights, known.grid.look(critical.make().formula)
    assert w @ f**2 == pytest.approx(1, abs=1e-2)
    assert w @ slope**2 == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("2*sin(x - 0.614) + 0.194*relu(2*x)**2", "2.0*sin(1.0*x + -0.614) + 0.194*relu(2.0*x)**2"),
        ("x*(1.422*normal_cdf(0.734*x) - 0.128)", "-0.128*x + 1.42*x*normal_cdf(0.734*x)"),
        ("cos(2*x) + exp(-x**2)", "(exp(-x**2)) + 1.0*sin(2.0*x + 1.57)"),
        ("x*sigmoid(x) + atan(x) + 3", "(atan(x) + 3) + 1.0*x*sigmoid(1.0*x)"),
    ],
)
def test_what_was_tried_is_read_back_as_a_member(formula, text):
    member = member_of(Formula(formula))
    assert Formula(member.text) == Formula(text)
    x = np.linspace(-3, 3, 31)
    np.testing.assert_allclose(Formula(member.text)(x), Formula(formula)(x), atol=2e-2)


def test_a_law_with_heavy_tails_is_no_exception():
    for proposer in (Affine(), Family(), Evolution()):
        drafts = drafts_of(proposer, evidence(StudentT(2.0)), 50)
        assert sum(np.isfinite(d.values).all() for d in drafts) > 40


@pytest.mark.parametrize("proposer", PROPOSING, ids=lambda p: p.name)
def test_what_is_proposed_compiles_and_trains(proposer):
    known = led_by_tanh()
    space = Space(known.grid).remembering(known)
    drafts = [d for d in drafts_of(proposer, known, 40) if space.admit(d) is None]
    candidate = drafts[-1].make()
    assert space.admit(candidate) is None
    x = torch.tensor(known.grid.x, dtype=torch.float32, requires_grad=True)
    y = Activation(candidate.formula)(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    values, slopes = known.grid.look(candidate.formula)
    np.testing.assert_allclose(y.detach().numpy(), values, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(slope.numpy(), slopes, rtol=1e-3, atol=1e-3)


def test_a_users_own_proposer_sees_the_history_as_plain_dicts():
    seen = []
    known = led_by_tanh()
    diverged = Tried(known.tried[-1].candidate, float("-inf"))
    own = Own(lambda history: seen.extend(history) or [], name="model")
    assert own.propose(Evidence(known.start, known.grid, known.laws, (*known.tried, diverged)), None, 5) == []
    assert (seen[0]["kind"], seen[0]["formula"], seen[0]["merit"]) == ("start", "x*normal_cdf(x)", 0.0)
    assert Formula(seen[1]["formula"]) == Formula(LEADER)
    assert seen[1]["merit"] == 0.05
    assert seen[-1]["merit"] is None


def test_what_a_users_own_proposer_does_wrong_is_a_note():
    known = evidence()

    def breaks(history):
        yield "tanh(x) + 0.1*x"
        yield "swish"
        yield 3
        yield "tanh(x"
        yield "exp(x)*y"
        raise RuntimeError("no more tokens")

    own = Own(breaks)
    made = [d.make().formula for d in own.propose(known, None, 9)]
    assert made == [Formula("tanh(x) + 0.1*x"), get_activation("swish")]
    assert len(own.notes) == 4
    assert "got '3', int; expected formula text" in own.notes[0]
    assert "'tanh(x'" in own.notes[1]
    assert "RuntimeError: no more tokens" in own.notes[3]
    for wrong in (lambda history: "tanh(x)", lambda history: None):
        own = Own(wrong)
        assert own.propose(known, None, 9) == []
        assert "expected a list of formula texts" in own.notes[0]
