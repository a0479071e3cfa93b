"""The start of each class, the plain data, the sentences; and simulated networks against the kernels it claims."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula
from actsmith.nn import Activation
from actsmith.nn.init import critical_init_
from actsmith.nn.start import KAIMING, Start, start_of
from actsmith.theory.criticality import criticality
from actsmith.theory.kernel import kernel_flow

SEARCHED = Formula("tanh(0.835*x + 0.404) - 0.299*x", name="searched")
ACTIVATIONS = [
    "relu",
    "gelu",
    "silu",
    "tanh",
    "mrepu",
    Formula("where(x + 1, x*(1 + x)**2, 0)", name="mrepu2"),
    SEARCHED,
]
WIDTH, NETS = 512, 24


def readout(formula: FormulaLike, start: Start, depth: int) -> float:
    """1/E[f^2] at the last pre-activation, straight from the recursion."""
    K = kernel_flow(formula, start.K0, depth, start.C_W, start.C_b)
    return start.C_W / (K[-1] - start.C_b)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "silu", "mrepu", "sigmoid"])
@pytest.mark.parametrize("depth", [1, 6, 20])
def test_the_table(name: str, depth: int) -> None:
    start, found = start_of(name, depth), criticality(name)
    assert start.universality == found.universality
    assert start.readout == pytest.approx(readout(name, start, depth), rel=1e-9)
    if start.universality == "none":
        assert start.C_W * float(kernel_flow(name, 1.0, 1, 1.0)[1]) == pytest.approx(1)
    else:
        assert (start.C_W, start.C_b) == (found.points[0].C_W, found.points[0].C_b)
    if start.universality == "zero_unstable":
        kept = [kernel_flow(name, K, depth, start.C_W)[-1] <= 2 * K for K in (start.K0, 2 * start.K0)]
        assert kept == [True, False]
        assert start.safe_depth == found.safe_depth(start.K0) > depth
    else:
        assert pytest.approx(found.points[0].K if start.universality == "half_stable" else 1.0) == start.K0
        assert start.safe_depth is None


def test_golden_values() -> None:
    gelu, silu = start_of("gelu", 6), start_of("silu", 6)
    assert pytest.approx((3 + math.sqrt(17)) / 2, rel=1e-9) == gelu.K0  # Roberts, Yaida, Hanin 2022, section 5.3.4
    assert silu.readout == pytest.approx(0.1444246, rel=1e-5)  # C_W/(K* - C_b) with THEORY's numbers of SiLU
    assert pytest.approx(1.98800467827, rel=1e-9) == silu.C_W
    assert gelu.input_scale(4.0) == pytest.approx(gelu.input_scale() / 2)
    assert KAIMING.input_scale() == 1


def test_plain_data() -> None:
    for start in (start_of("mrepu", 6), KAIMING):
        assert Start.from_dict(json.loads(json.dumps(start.to_dict()))) == start
    with pytest.raises(ActsmithError, match=r"got \['C_W'\]; expected"):
        Start.from_dict({"C_W": 1.0})


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (start_of("relu", 6), "every K"),
        (start_of("tanh", 6), "K falls"),
        (start_of("gelu", 6), "by 1.307/sqrt(s): K0 = 3.562"),
        (start_of("sigmoid", 6), "Never critical"),
        (start_of("mrepu", 6), f"safe for {start_of('mrepu', 6).safe_depth} layers; larger inputs explode"),
        (start_of(Formula("sin(30*x)"), 6), "frequencies of a sine"),
        (KAIMING, "He's start"),
    ],
)
def test_the_verdict_says(start: Start, said: str) -> None:
    assert said in start.verdict


def test_ordinary_slopes_have_no_word_about_frequencies() -> None:
    assert not any("frequencies" in start_of(name, 6).verdict for name in ("tanh", "sin", "selu", "elish"))


@pytest.mark.parametrize(("depth", "K0"), [(0, None), (6, 0.0), (6, math.inf), (6, 0.1)])
def test_bad_requests(depth: int, K0: float | None) -> None:
    with pytest.raises(ActsmithError, match="start of gelu: "):
        start_of("gelu", depth, K0)
    with pytest.raises(ActsmithError, match="mean square"):
        KAIMING.input_scale(0.0)


# ------------------------------------------------------------------------------------------------ simulation


def network(formula: Formula, depth: int, outputs: int = 64) -> nn.Sequential:
    hidden = [m for _ in range(depth) for m in (nn.Linear(WIDTH, WIDTH), Activation(formula))]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, outputs))


@torch.no_grad()
def kernels(model: nn.Sequential, x: torch.Tensor) -> list[float]:
    """The mean square of every layer's output."""
    found = []
    for module in model:
        x = module(x)
        if isinstance(module, nn.Linear):
            found.append(float(x.double().square().mean()))
    return found


def simulated(formula: Formula, depth: int, inputs: str = "report", **options: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean over networks and its standard error of the kernel of each layer, the readout last; one N(0, 1) input."""
    rows = []
    for seed in range(NETS):
        g = torch.Generator().manual_seed(seed)
        model = network(formula, depth)
        report = critical_init_(model, generator=g, inputs=inputs, strict=False, **options)
        x = torch.randn(1, WIDTH, generator=g)
        rows.append(kernels(model, x / x.square().mean().sqrt() * report.input_scale))
    found = np.array(rows)
    return found.mean(axis=0), found.std(axis=0, ddof=1) / math.sqrt(NETS)


def agrees(formula: Formula, start: Start, depth: int, inputs: str = "report", **options: float) -> None:
    mean, error = simulated(formula, depth, inputs, **options)
    claimed = np.append(kernel_flow(formula, start.K0, depth - 1, start.C_W, start.C_b), 1.0)
    # The mean over networks is off by some depth/width; a mean of few fluctuates by Student's t.
    assert (np.abs(mean - claimed) < 4.5 * error + claimed * depth / WIDTH).all(), (mean, error, claimed)


@pytest.mark.parametrize("f", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("depth", [6, 20])
def test_the_kernel_is_the_claimed_one_at_every_layer(f: FormulaLike, depth: int) -> None:
    formula = resolve(f)
    agrees(formula, start_of(formula, depth), depth)


@pytest.mark.parametrize("inputs", ["report", "weights"])
def test_mrepu_on_ordinary_inputs(inputs: str) -> None:
    """Six Linear + MRePU layers of N(0, 1) inputs: NaN without the scale."""
    formula = acts.Formula("where(x + 1, x*(1 + x)**2, 0)")
    agrees(formula, start_of(formula, 6), 6, inputs)
    model = network(formula, 6)
    report = critical_init_(model, generator=torch.Generator().manual_seed(0))
    assert report.input_scale < 0.2
    x = torch.randn(16, WIDTH, generator=torch.Generator().manual_seed(1))
    assert not 0.1 < model(x).var() < 10  # it overflows; NaN is not >= -1, so that the last layers see zeros
    assert model(x * report.input_scale).var().item() == pytest.approx(1, rel=0.5)


@pytest.mark.parametrize("K0", [None, 1 / 18])
def test_a_sine_of_high_frequency(K0: float | None) -> None:
    """sin(30 x) over ten layers: K is as claimed from K0 = 1, and from a SIREN's own first layer of two inputs."""
    formula = Formula("sin(30*x)")
    start = start_of(formula, 10, K0)
    agrees(formula, start, 10, **({} if K0 is None else {"K0": K0}))
    model = network(formula, 10)
    report = critical_init_(model, inputs="weights", K0=K0, generator=torch.Generator().manual_seed(0))
    # The frequencies, 30 z, have the standard deviation 30 sqrt(K0) for inputs of mean square 1.
    assert 30 * math.sqrt(WIDTH * model[0].weight.var().item()) == pytest.approx(30 * math.sqrt(start.K0), rel=0.01)
    assert "frequencies" in str(report)
