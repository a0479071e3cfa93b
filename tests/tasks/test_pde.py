"""Exact solutions against other routes to them, the loss at them, derivatives against differences, who sees what."""

from dataclasses import replace
from math import pi

import mpmath
import numpy as np
import pytest
import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import resolve
from actsmith.tasks import pde
from actsmith.tasks.pde import EQUATIONS, NU, Pinn, burgers_solution, heat_solution
from actsmith.tasks.perceptron import Mlp
from actsmith.training.fit import fit
from actsmith.training.problem import digest_of
from actsmith.training.recipe import Recipe
from actsmith.training.runtime import Runtime

STEP = 1e-20


def slope(f, x, t):
    """df/dx by a complex step, which subtracts nothing."""
    return f(x + 1j * STEP, t).imag / STEP


@pytest.mark.parametrize(("x", "t"), [(0.5, 0.5), (0.01, 0.5), (-0.02, 0.75), (0.1, 1.0), (0.99, 0.2), (0.001, 0.9)])
def test_burgers_against_the_trapezoidal_rule_in_30_digits(x, t):
    """On a whole line the trapezoidal rule converges exponentially; it shares no node with Gauss-Hermite."""
    with mpmath.workdps(30):
        nu = mpmath.mpf(0.01) / mpmath.pi
        above = below = mpmath.mpf(0)
        for k in range(-320, 321):
            z = mpmath.mpf(k) / 20
            y = x - 2 * mpmath.sqrt(nu * t) * z
            weight = mpmath.exp(-mpmath.cos(mpmath.pi * y) / (2 * mpmath.pi * nu) - z**2)
            above, below = above + mpmath.sin(mpmath.pi * y) * weight, below + weight
        expected = float(-above / below)
    assert float(burgers_solution(np.array(x), np.array(t))) == pytest.approx(expected, abs=1e-13)


def test_burgers_steepest_slope():
    """Basdevant et al., Computers & Fluids 14 (1986), table: |u_x| = 152.00516 at x = 0, pi t = 1.6037."""
    t = np.linspace(1.55, 1.65, 1001) / pi
    slopes = -slope(burgers_solution, np.zeros(1), t)
    assert slopes.max() == pytest.approx(152.00516, abs=1e-5)
    assert pi * t[slopes.argmax()] == pytest.approx(1.6037, abs=1e-4)


def test_solutions_meet_start_and_walls():
    x, t = np.linspace(-1, 1, 41), np.linspace(0, 1, 11)
    np.testing.assert_allclose(burgers_solution(x, np.zeros(41)), -np.sin(pi * x), atol=1e-15)
    np.testing.assert_allclose(heat_solution(x, np.zeros(41)), np.sin(pi * x) + np.sin(3 * pi * x) / 2, atol=1e-15)
    for solution in (burgers_solution, heat_solution):
        for wall in (-1.0, 1.0):
            np.testing.assert_allclose(solution(np.full(11, wall), t), 0, atol=1e-13)


def test_a_small_viscosity_does_not_overflow():
    assert np.isfinite(burgers_solution(np.linspace(-1, 1, 9), np.full(9, 0.5), nu=1e-4)).all()


class Exact(nn.Module):
    """The solution itself as a network, in float64 inside."""

    def __init__(self, equation):
        super().__init__()
        self.equation = equation
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, inputs):
        x, t = inputs.double()[..., 0], (inputs.double()[..., 1] + 1) / 2
        if self.equation == "heat":
            decay = torch.exp(-pde.KAPPA * pi**2 * t)
            u = decay * torch.sin(pi * x) + decay**9 * torch.sin(3 * pi * x) / 2
        else:
            z, weight = (torch.from_numpy(a) for a in np.polynomial.hermite.hermgauss(100))
            y = x[..., None] - 2 * torch.sqrt(NU * t + 1e-300)[..., None] * z
            kernel = weight * torch.exp(-(1 + torch.cos(pi * y)) / (2 * pi * NU))
            u = -(torch.sin(pi * y) * kernel).sum(-1) / kernel.sum(-1)
        return (self.scale * u)[..., None]


@pytest.mark.parametrize("equation", list(EQUATIONS))
def test_the_loss_is_zero_at_the_solution_and_only_there(equation):
    problem = Pinn(equation, interior=500, border=30).load(None)
    model = Exact(equation)
    scores = problem.score(model, "test")
    assert float(scores["loss"]) < 1e-9
    assert float(scores["relative_l2"]) < 1e-6
    assert float(scores["max_error"]) < 1e-5
    assert all(float(scores[f"relative_l2_at_{t:g}"]) < 1e-6 for t in pde.TIMES)
    with torch.no_grad():
        model.scale.fill_(1.1)
    scores = problem.score(model, "test")
    assert float(scores["loss"]) > 1e-3
    assert float(scores["relative_l2"]) == pytest.approx(0.1, rel=1e-4)


def test_derivatives_against_differences():
    problem = Pinn("heat", interior=7, border=3).load(None)
    model = Mlp(8, 3).build(resolve("tanh"), 0, problem).double()
    points = 0.1 + 0.8 * torch.rand(7, 2, dtype=torch.float64)
    got = pde._derivatives(model, points)
    with torch.no_grad():
        h = 1e-4
        right, left, later, earlier = (
            pde._network(model, points + h * torch.tensor(move, dtype=torch.float64))
            for move in ((1, 0), (-1, 0), (0, 1), (0, -1))
        )
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(got.u_x, (right - left) / (2 * h), **close)
    torch.testing.assert_close(got.u_t, (later - earlier) / (2 * h), **close)
    torch.testing.assert_close(got.u_xx, (right - 2 * got.u + left) / h**2, **close)


def test_a_relu_network_has_no_curvature():
    problem = Pinn("burgers", interior=50, border=5).load(None)
    for name, flat in (("relu", True), ("gelu", False), ("mrepu", False)):
        scores = problem.score(Mlp(8, 3).build(resolve(name), 0, problem), "test")
        assert (float(scores["curvature"]) == 0) is flat


def test_the_solution_judges_and_nothing_else(monkeypatch):
    """Once the start is drawn, neither training nor the validation score asks for it."""
    asked = []
    watched = replace(EQUATIONS["heat"], exact=lambda x, t: asked.append(len(asked)) or heat_solution(x, t))
    monkeypatch.setitem(EQUATIONS, "heat", watched)
    problem = Pinn("heat", interior=20, border=5).load(None)
    asked.clear()
    model = Mlp(4, 2).build(resolve("tanh"), 0, problem)
    (found,) = fit(
        problem, [model], seeds=[0], rates=[1e-2], recipe=Recipe(3, 20, lbfgs=1, score_every=1),
        runtime=Runtime.create("cpu"),
    )  # fmt: skip
    assert set(found.validation) == {"loss"}
    assert not asked
    problem.score(model, "test")
    assert asked


def test_points():
    config = Pinn("burgers", interior=64, border=16)
    problem, again, other = config.load(None), config.load(None), replace(config, seed=1).load(None)
    for points in (problem.train, *problem.splits.values()):
        x, t = points.interior.double().unbind(-1)
        for values, low, high in ((x, -1, 1), (t, 0, 1)):
            strata = ((values - low) / (high - low) * 64).floor().long()
            assert sorted(strata.tolist()) == list(range(64))
        start, left, right = points.edge.split(16)
        assert (start[:, 1] == 0).all()
        assert (left[:, 0] == -1).all()
        assert (right[:, 0] == 1).all()
        torch.testing.assert_close(points.given[:16], -torch.sin(pi * start[:, 0]))
        assert not points.given[16:].any()
    assert torch.equal(problem.train.interior, again.train.interior)
    assert not torch.equal(problem.train.interior, other.train.interior)
    drawn = [problem.train, problem.splits["validation"], problem.splits["test"]]
    assert len({tuple(points.interior.flatten().tolist()) for points in drawn}) == 3


def test_adam_then_lbfgs_learns_the_heat_equation():
    problem = Pinn("heat", interior=100, border=15).load(None)
    model = Mlp(16, 3).build(resolve("tanh"), 0, problem)
    runtime = Runtime.create("cpu")
    before = float(problem.score(model, "test")["relative_l2"])
    (found,) = fit(
        problem, [model], seeds=[0], rates=[1e-2], recipe=Recipe(60, 100, 0.0, lbfgs=10), runtime=runtime, test=True
    )
    assert found.loss[-1] < 0.1 * found.loss[59] < 0.1 * found.loss[0]
    assert found.test["relative_l2"] < 0.1 * before


def test_an_unknown_equation():
    with pytest.raises(ActsmithError, match="expected burgers or heat"):
        Pinn("wave").load(None)


def test_the_fingerprint_is_of_equation_and_points():
    prints = [Pinn(*args).load(None).fingerprint for args in (("heat", 20, 5), ("heat", 20, 5), ("burgers", 20, 5))]
    assert prints[0] == prints[1] != prints[2]
    assert Pinn("heat", 20, 5, seed=1).load(None).fingerprint != prints[0]


def test_a_problem_of_fixed_points_has_the_fingerprint_that_it_had():
    """As of the releases before points could be fresh."""
    problem = Pinn("heat", 20, 5).load(None)
    drawn = (problem.train, *problem.splits.values())
    tensors = [t for p in drawn for t in (p.interior, p.edge, p.given)]
    assert problem.fingerprint == digest_of("Pinn(equation='heat', interior=20, border=5, seed=0)", *tensors)
    assert Pinn("heat", 20, 5, fresh=True).load(None).fingerprint != problem.fingerprint


def test_fresh_points_are_new_at_every_step_and_the_same_for_a_seed():
    problem = Pinn("heat", interior=40, border=5, fresh=True).load(None)
    seen = []

    def trained(seeds, mode="alone"):
        seen.clear()
        batch = problem.batch
        problem.batch = lambda order, device: seen.append(batch(order, device)) or seen[-1]
        models = [Mlp(8, 2).build(resolve("tanh"), 0, problem) for _ in seeds]
        try:
            found = fit(problem, models, seeds=seeds, rates=[1e-2] * len(seeds), recipe=Recipe(2, 20, 0.0),
                        runtime=Runtime.create("cpu"), mode=mode)  # fmt: skip
        finally:
            del problem.batch
        return [f.loss for f in found], [points.clone() for points in seen]

    (loss,), points = trained([3])
    assert len({tuple(p.flatten().tolist()) for p in points}) == len(points) == 4
    x, t = torch.cat(points).unbind(-1)
    assert -1 <= x.min() < -0.8
    assert 0.8 < x.max() <= 1
    assert 0 <= t.min() < 0.1
    assert 0.9 < t.max() <= 1
    (again,), same = trained([3])
    assert again == loss
    assert all(map(torch.equal, points, same))
    assert not torch.equal(points[0], trained([4])[1][0])
    together, _ = trained([4, 3], "own")
    assert together[1] == pytest.approx(loss, rel=1e-4)  # stacked, a net has the points that it has alone
