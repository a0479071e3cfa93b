"""What may be tried: every refusal with its reason, nothing twice, and the constraints of a user."""

import numpy as np
import pytest
import torch
from search_evidence import SKEWED, evidence

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation
from actsmith.formula.formula import Formula, Param
from actsmith.nn.activation import Activation
from actsmith.search.candidates import Candidate
from actsmith.search.cost import kernel_cost
from actsmith.search.draft import Draft, Grid, build
from actsmith.search.operators import foreign
from actsmith.search.space import Constraints, Space
from actsmith.theory.laws import Laplace, Logistic, Normal, Uniform

GRID = Grid.of(Normal())


def candidate(formula, **params):
    return Candidate(Formula(formula, params), "candidate", "")


@pytest.mark.parametrize("law", [Normal(0.3, 2), SKEWED, Logistic(), Laplace(), Uniform(-1, 2)])
def test_the_grid_is_a_quadrature_of_the_law(law):
    grid = Grid.of(law)
    assert grid.weights.sum() == pytest.approx(1)
    mean = grid.weights @ grid.x
    assert mean == pytest.approx(law.mean, abs=2e-3 * law.std)
    assert grid.weights @ (grid.x - mean) ** 2 == pytest.approx(law.std**2, rel=1e-2)
    assert not np.any(grid.x == law.quantile(0.5))


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("exp(exp(x))", "not finite in float32"),
        ("x**40", "not finite in float32"),
        ("log(x)", "not finite in float32 for some"),
        ("3", "a constant"),
        ("2*x + 1", "a straight line"),
        ("x + relu(x - 9)", "a straight line where the pre-activations are"),
        ("relu(x)", "the same function as relu"),
        ("x*sigmoid(sqrt(8/pi)*(x + 0.044715*x**3))", "the same function as gelu"),
    ],
)
def test_what_is_refused_and_why(formula, reason):
    space = Space(GRID)
    for name in ("relu", "gelu"):
        assert space.admit(Candidate(get_activation(name), "known", "")) is None
    assert reason in space.admit(candidate(formula))
    assert space.admit(candidate("relu(x) + 0.05*sin(x)")) is None


def test_a_draft_is_screened_and_what_it_makes_is_admitted_once():
    space = Space(GRID)
    space.remember(get_activation("gelu"))
    draft = Draft.of(candidate("x*sigmoid(1.2*x)"), GRID)
    assert "the same function as gelu" in space.admit(Draft.of(candidate("x*normal_cdf(x)"), GRID))
    assert space.admit(draft) is None
    assert "the same function" in space.admit(draft)
    assert space.admit(draft.make()) is None
    assert "the same function as" in space.admit(draft.make())


def test_multiples_and_mirrors_are_others_and_so_is_what_learns():
    space = Space(GRID)
    for text in ("x*sigmoid(x)", "2*x*sigmoid(x)", "-x*sigmoid(x)", "x*sigmoid(-x)", "x*sigmoid(x) + 0.1*x"):
        assert space.admit(candidate(text)) is None, text
    assert space.admit(candidate("x*sigmoid(b*x)", b=Param(1.0, learn=True))) is None
    assert "the same" in space.admit(candidate("x*sigmoid(b*x)", b=Param(1.0, learn=True)))


def test_many_are_remembered():
    space = Space(GRID)
    for i in range(600):
        values = np.sin(GRID.x * (1 + i / 100))
        draft = Draft(values, np.gradient(values, GRID.x), "test", f"number {i}", (), lambda: build("sin(x)", "", ""))
        assert space.admit(draft) is None
        if i % 50 == 0:
            assert f"number {i}" in space.admit(draft)


def test_a_round_begins_with_what_was_tried():
    known = evidence()
    space = Space(GRID, Constraints(monotone=True)).remembering(known)
    assert "the same function as sin" in Space(GRID).remembering(known).admit(candidate("sin(x)"))
    assert "not monotone" in space.admit(candidate("sin(x)"))  # remembered though it is not what is asked for
    assert space.constraints.monotone


@pytest.mark.parametrize(
    ("constraints", "refused", "reason", "taken"),
    [
        (Constraints(monotone=True), "x*normal_cdf(x)", "not monotone", "tanh(x) + 0.1*x"),
        (Constraints(monotone=True), "x + 2*sin(x/3)*step(x - 20)", "not monotone|straight", "-softplus(x)"),
        (Constraints(smooth=0), "where(x, x, -1)", "it jumps", "relu(x)"),
        (Constraints(smooth=1), "relu(x)", "not 1 times continuously differentiable: only 0", "relu(x)**2"),
        (Constraints(smooth=3), "relu(x)**3", "only 2 times", "sin(x)"),
        (Constraints(operators="quantisable"), "x*tanh(x)", "not of quantisable operators: tanh", "x*sigmoid(x)"),
        (Constraints(operators="quantisable"), "x/(1 + abs(x))", "absolute", "clip(x, -1, 2)"),
    ],
)
def test_the_constraints_of_a_user(constraints, refused, reason, taken):
    space = Space(GRID, constraints)
    assert any(part in space.admit(candidate(refused)) for part in reason.split("|"))
    assert space.admit(candidate(taken)) is None
    assert Space(GRID).admit(candidate("x*tanh(x)")) is None


def test_a_cost_is_measured_once_and_only_where_it_is_asked_for():
    dear, costs = candidate("sin(x)"), {"sin(x)": 3.5}
    assert "takes 3.50 times GELU's time; at most 2" in Space(GRID, Constraints(max_cost=2.0), costs).admit(dear)
    assert Space(GRID, Constraints(max_cost=4.0), costs).admit(dear) is None
    none = {}
    assert Space(GRID, costs=none).admit(dear) is None
    assert not none
    space = Space(GRID, Constraints(max_cost=50.0), none)
    assert space.admit(candidate("relu(x)**2")) is None
    assert 0 < none["relu(x)**2"] < 50


def test_a_dear_kernel_costs_more():
    dear = Formula("sin(tanh(x)) + cos(atan(x))*erf(sin(3*x)) + x*tanh(softplus(sin(x)))")
    assert kernel_cost(dear) > 1.5 * kernel_cost(get_activation("relu"))


@pytest.mark.parametrize(
    "wrong", [{"max_cost": 0.0}, {"smooth": -1}, {"operators": "tflite"}], ids=["cost", "smooth", "operators"]
)
def test_wrong_constraints_say_what_was_expected(wrong):
    with pytest.raises(ActsmithError, match=f"{next(iter(wrong))}: got .*; expected"):
        Constraints(**wrong)


def test_a_power_is_a_product_or_none_of_integers():
    assert foreign(Formula("relu(x)**3"), "quantisable") == []
    assert foreign(Formula("x/(1 + relu(x))"), "quantisable") == ["1/(relu(x) + 1)"]
    assert foreign(Formula("x/sqrt(1 + x**2)"), "onnx") == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("text", ["gish", "bent_identity", "snake", "serf", "symlog", "squareplus"])
def test_what_is_of_onnx_operators_runs_in_onnxruntime(text, tmp_path):
    formula = get_activation(text)
    assert not foreign(formula, "onnx")
    path = exported(formula, tmp_path)
    np.testing.assert_allclose(runs(path), formula(INPUTS.astype(float)), rtol=1e-4, atol=1e-5)
    domains = {node.domain for node in pytest.importorskip("onnx").load(str(path)).graph.node}
    assert domains <= {"", "ai.onnx"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    "text", ["x*sigmoid(x)", "where(x, x, x/10)", "relu(x)**2", "max(x, sigmoid(x))", "clip(x, -1, 2)"]
)
def test_what_is_quantisable_is_quantised_by_onnxruntime(text, tmp_path):
    """To 8 bits: within three steps of 1/255 of its range."""
    pytest.importorskip("onnx")
    quantization = pytest.importorskip("onnxruntime.quantization")
    formula = Formula(text)
    assert not foreign(formula, "quantisable")
    path, small = exported(formula, tmp_path), tmp_path / "small.onnx"

    class Inputs(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = [{"x": INPUTS}]

        def get_next(self):
            return self.left.pop() if self.left else None

    quantization.quantize_static(str(path), str(small), Inputs())
    exact = formula(INPUTS.astype(float))
    assert np.max(np.abs(runs(small) - exact)) <= 3 / 255 * np.ptp(exact)


INPUTS = np.linspace(-4, 4, 257, dtype=np.float32)


def exported(formula, folder):
    pytest.importorskip("onnxscript")
    path = folder / "activation.onnx"
    net = Activation(formula).requires_grad_(False)
    torch.onnx.export(net, (torch.tensor(INPUTS),), path, input_names=["x"], dynamo=True, verbose=False)
    return path


def runs(path):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": INPUTS})[0]
