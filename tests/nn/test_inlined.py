"""What a graph holds of an activation: first and second derivatives where torch inlines it, at extreme points too."""

from __future__ import annotations

import pytest
import torch
from nn_support import NAMES, learnable, random_formula
from torch import Tensor
from torch.autograd import grad
from torch.func import functional_call, jvp, vmap
from torch.func import grad as gradient

import actsmith as acts
from actsmith.formula.lower import lower, torch_ops
from actsmith.nn import Activation, CRReLU
from actsmith.nn.family import family

# torch's own, when it first meets a forward-mode dual number.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

ENDS = [1e-30, 1e-6, 1e-3, 0.4, 2.3, 7.7, 19.0, 33.0, 44.5, 60.0, 87.3, 88.1, 88.8, 89.0, 95.0, 100.0, 130.0, 1e3, 1e4]
X = torch.tensor([-x for x in ENDS] + ENDS)
WRITTEN_OUT = [
    "x*exp(x)/(1+exp(x))", "exp(x)/(exp(x)+c)", "log(sigmoid(x))", "log(c+exp(x))", "log(exp(x)+exp(2*x)+1)",
    "(exp(x)-exp(-x))/(exp(x)+exp(-x))", "(exp(x)-c*exp(-x))/(exp(x)+exp(-x))", "exp(1.9*x)/(1+exp(x))**2",
    "x*((1+exp(x))**2-1)/((1+exp(x))**2+1)", "x*exp(c*x)/(1+exp(c*x))", "exp(x)*sech(exp(x))**2", "log(softplus(x))",
    "x*sech(x)**2*cosh(2*x)", "exp(-x**2)*cosh(x)", "exp(x)/sqrt(1+exp(2*x))", "sqrt(exp(x)/(1+exp(x)))",
    "x*exp(c*x)/(1+exp(x))", "(x*exp(x)+1)/(exp(x)+1)", "x*(1-exp(-exp(x)))",
]  # fmt: skip


def written(text: str) -> acts.Formula:
    learns = "c" in text.replace("cosh", "").replace("sech", "")
    return acts.Formula(text, {"c": acts.Param(1.3, learn=True)} if learns else {})


FORMULAS = {
    **{name: lambda name=name: learnable(name) for name in NAMES},
    **{text: lambda text=text: written(text) for text in WRITTEN_OUT},
    **{f"random {seed}": lambda seed=seed: random_formula(seed) for seed in range(20)},
    **{
        f"random {seed}": pytest.param(lambda seed=seed: random_formula(seed), marks=pytest.mark.slow)
        for seed in range(20, 200)
    },
}
CASES = [
    pytest.param(*made.values, id=name, marks=made.marks) if hasattr(made, "values") else pytest.param(made, id=name)
    for name, made in FORMULAS.items()
]


def exact(f: acts.Formula, x: Tensor, theta: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """f, f', f'' in x, in float64 by the formula's own derivatives, and how far they move with x's rounding."""
    of = family(f)
    n = len(theta)
    expressions = [of.expression((k, *[0] * n)) for k in range(3)]
    program = lower(expressions, of.symbols, of.probe)

    def at(u: Tensor) -> list[Tensor]:
        values = program.run([u, *(t.double() for t in theta)], torch_ops())
        return [torch.as_tensor(v, dtype=torch.float64).broadcast_to(u.shape) for v in values]

    u = x.double()
    moved = [at(u * (1 + e)) for e in (1e-6, 3e-7, -3e-7, -1e-6)]
    return [(t, torch.stack([m[k] - t for m in moved]).abs().amax(0).nan_to_num(0.0)) for k, t in enumerate(at(u))]


def close(found: Tensor, truth: tuple[Tensor, Tensor], x: Tensor) -> None:
    value, moves = truth
    known = value.abs() < 1e30
    off = (found.detach().double() - value).abs()
    allowed = 1e-3 * value.abs() + 2e-4 + 1e-6 * x.abs().double() + 4 * moves
    wrong = known & ~(off <= allowed)
    assert not wrong.any(), (x[wrong], found[wrong], value[wrong])


@pytest.mark.parametrize("make", CASES)
def test_to_second_order_under_autograd(make) -> None:
    f = make()
    of = family(f)
    start = [f.params[name].value for name in of.learnable]
    # relu(sin(x)*erf(x)) is 0 at 1e-30: the product underflows before relu sees its sign.
    points = X if f.name in NAMES else X[X.abs() > 1e-15]
    for factor in (1.0, 4.0):
        theta = [torch.tensor([factor * v], requires_grad=True) for v in start]
        x = points.clone().requires_grad_()
        of.inlined.prepare()
        y = of.inlined(x, theta)
        (first,) = grad(y.sum(), x, create_graph=True)
        second = torch.zeros_like(x)
        if first.requires_grad:
            found = grad(first.sum(), x, allow_unused=True)[0]
            second = second if found is None else found
        for got, truth in zip((y, first, second), exact(f, points, [t.detach() for t in theta]), strict=True):
            close(got, truth, points)


@pytest.mark.parametrize("name", ["elu", "selu", "golu", "crrelu", "xielu", "gelu_tanh"])
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_trains(name: str, strict: bool) -> None:
    torch._dynamo.reset()
    model = torch.nn.Sequential(Activation(name))
    x = X.clone().requires_grad_()
    program = torch.export.export(model, (x,), strict=strict).module()
    y, own = program(x), model(x)
    (first,) = grad(y.sum(), x, create_graph=True)
    (expected,) = grad(own.sum(), x, create_graph=True)
    torch.testing.assert_close(y, own, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(grad(first.sum(), x)[0], grad(expected.sum(), x)[0], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["elu", "selu", "golu", "crrelu", "mish"])
def test_transforms_inside_of_compile(name: str) -> None:
    torch._dynamo.reset()
    act = Activation(name).requires_grad_(False)

    def total(x: Tensor) -> Tensor:
        return act(x).sum()

    for transform in (
        gradient(total),
        vmap(gradient(total)),
        gradient(lambda x: gradient(total)(x).sum()),
        lambda x: jvp(act, (x,), (torch.ones_like(x),))[1],
        lambda x: jvp(gradient(total), (x,), (torch.ones_like(x),))[1],
    ):
        found, expected = torch.compile(transform, backend="eager")(X), transform(X)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-4)


def test_gradients_for_each_sample_in_a_graph() -> None:
    torch._dynamo.reset()
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), CRReLU(), torch.nn.Linear(8, 1))
    params, x = dict(model.named_parameters()), torch.randn(5, 4)
    each = vmap(
        gradient(lambda p, x: functional_call(model, p, (x[None],)).sum()),
        in_dims=(None, 0),
    )
    expected = each(params, x)
    for name, found in torch.compile(each, backend="eager")(params, x).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-5)


def test_infinite_inputs_keep_their_value() -> None:
    of = family(acts.get_activation("elu"))
    x = torch.tensor([-torch.inf, torch.inf, torch.nan], requires_grad=True)
    assert of.inlined(x, []).tolist()[:2] == [-1.0, torch.inf]


@pytest.mark.parametrize(("name", "keeps"), [("tanh", True), ("crrelu", True), ("elu", False)])
def test_third_derivatives_in_a_graph(name: str, keeps: bool) -> None:
    """As the module's docstring says: right where the plain operations are, else 0."""
    torch._dynamo.reset()
    third = gradient(gradient(gradient(Activation(name).requires_grad_(False))))
    x = torch.tensor(-0.7)
    found = torch.compile(third, backend="eager")(x)
    torch.testing.assert_close(found, third(x) if keeps else torch.zeros(()), rtol=1e-3, atol=1e-6)
