"""The exported file: needs torch alone, equals the formula, its gradient is finite, and no text of ours gets in."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import CATALOGUE, get_activation
from actsmith.formula.formula import Formula, Param
from actsmith.nn.start import KAIMING, start_of
from actsmith.search.export import to_torch_source

X = torch.cat([torch.linspace(-30, 30, 401, dtype=torch.float64), torch.tensor([-1e4, -300.0, 0.0, 300.0, 1e4])])


def _module(source, folder, name="exported"):
    import importlib.util

    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_catalogue_entry(name, tmp_path):
    formula = get_activation(name)
    module = _module(to_torch_source(formula, "Exported"), tmp_path).Exported().double()
    for parameter, value in zip(
        module.parameters(), [p.value for p in formula.params.values() if p.learn], strict=True
    ):
        parameter.data.fill_(value)
    x = X[:-5].clone().requires_grad_()
    y = module(x)
    y.sum().backward()
    value, slope = formula.jet(x.detach().numpy(), 1)
    np.testing.assert_allclose(y.detach().numpy(), value, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["crrelu", "prelu", "elu", "gelu", "silu", "mish", "celu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_and_far_inputs(name, dtype, tmp_path):
    module = _module(to_torch_source(get_activation(name), "Exported"), tmp_path).Exported()
    x = X.clamp(-6e4, 6e4).to(dtype).requires_grad_()
    y = module(x)
    assert y.dtype == dtype
    y.float().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


def test_gradients_of_the_learned_parameters(tmp_path):
    formula = Formula(
        "where(x, a*x, b*tanh(x)) + c", {n: Param(v, learn=True) for n, v in (("a", 1.2), ("b", 0.4), ("c", 0.1))}
    )
    module = _module(to_torch_source(formula, "Exported"), tmp_path).Exported().double()
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: module(x), (x, *module.parameters()))


@pytest.mark.parametrize("text", ["a", "3", "a*x", "0*x + 2", "max(a, x)", "where(x, 1, -1)*x"])
def test_edges_of_the_language(text, tmp_path):
    params = {"a": Param(0.5, learn=True)} if "a" in text.replace("max", "") else {}
    formula = Formula(text, params)
    module = _module(to_torch_source(formula, "Exported"), tmp_path).Exported()
    x = torch.tensor([-2.0, 0.25, 3.0], requires_grad=True)
    y = module(x)
    torch.testing.assert_close(y.detach().double(), torch.from_numpy(np.array(formula(x.detach().double().numpy()))))
    y.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_a_range_is_kept_and_can_be_left_again(tmp_path):
    formula = Formula("a*x", {"a": Param(0.5, learn=True, low=0.0, high=1.0)})
    module = _module(to_torch_source(formula, "Exported"), tmp_path).Exported()
    module.a.data.fill_(3.0)
    y = module(torch.tensor([2.0]))
    assert y.item() == 2.0
    y.sum().backward()
    assert module.a.grad.item() == 2.0


def test_in_a_process_that_has_torch_alone(tmp_path):
    formula = get_activation("crrelu", eps=-0.2)
    (tmp_path / "best.py").write_text(to_torch_source(formula, "Best", ["Origin: test."]))
    x = [-3.0, -0.5, 0.0, 0.7, 4.0]
    script = (
        "import sys, torch\n"
        "sys.modules['actsmith'] = sys.modules['sympy'] = sys.modules['scipy'] = None\n"
        "from best import Best\n"
        f"x = torch.tensor({x}, requires_grad=True)\n"
        "y = Best()(x); y.sum().backward()\n"
        "print(y.tolist()); print(bool(torch.isfinite(x.grad).all()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    values, finite = done.stdout.splitlines()
    got = [float(v) for v in values.strip("[]").split(",")]
    np.testing.assert_allclose(got, formula(np.array(x)), rtol=1e-6)
    assert finite == "True"


def test_no_text_gets_in(tmp_path):
    evil = '"""\nimport os; os.abort()\n"""\\'
    formula = Formula("relu(x) + lambda_*x", {"lambda_": Param(0.1, learn=True)}, name=evil)
    source = to_torch_source(formula, "Exported", [evil, "ünïcode \x00"])
    assert "os.abort" not in [line.strip() for line in source.splitlines()]
    assert source.count('"""') == 6
    assert _module(source, tmp_path).Exported()(torch.ones(1)).item() == pytest.approx(1.1)


def test_the_start_is_drawn_by_the_file(tmp_path):
    start = start_of("silu", 2)
    source = to_torch_source(get_activation("silu"), "Exported", start=start)
    assert start.verdict in source
    assert "for 2 hidden layers" in source
    assert not re.search(r"actsmith\W", source.split('"""', 2)[2])
    module = _module(source, tmp_path)
    model = nn.Sequential(
        nn.Conv1d(3, 200, 5),
        module.Exported(),
        nn.Flatten(),
        nn.Linear(1200, 800),
        module.Exported(),
        nn.Linear(800, 600),
    )
    torch.manual_seed(0)
    scale = module.init_(model, example_mean_square=4.0)
    assert scale == pytest.approx(start.input_scale(4.0), rel=1e-12)
    for layer, C_W in ((model[0], start.C_W), (model[3], start.C_W), (model[5], start.readout)):
        assert layer.weight[0].numel() * layer.weight.var().item() == pytest.approx(C_W, rel=0.1)
    assert model[3].bias.var().item() == pytest.approx(start.C_b, rel=0.2)
    assert not model[5].bias.any()
    x = 2 * torch.randn(64, 3, 10)
    assert model(x * scale).var().item() == pytest.approx(1, rel=0.25)


def test_another_start_is_noted(tmp_path):
    source = to_torch_source(get_activation("relu"), "Exported", start="the network's own initialisation")
    assert "Start: the network's own initialisation." in source
    assert not hasattr(_module(source, tmp_path), "init_")
    assert "He's start" in to_torch_source(get_activation("relu"), "Exported", start=KAIMING)


@pytest.mark.parametrize("name", ["class", "1x", "a b", "nn", "init_", "x; import os", ""])
def test_class_names(name):
    with pytest.raises(ActsmithError, match="expected a Python name"):
        to_torch_source(get_activation("relu"), name)


@pytest.mark.parametrize("name", ["forward", "training", "eps"])
def test_parameter_names_that_torch_has(name, tmp_path):
    formula = Formula(f"{name}*x", {name: Param(2.0, learn=True)})
    module = _module(to_torch_source(formula, "Exported"), tmp_path).Exported()
    assert module(torch.ones(1)).item() == 2.0


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_a_second_derivative_is_refused_not_wrong(name, tmp_path):
    module = _module(to_torch_source(get_activation(name), "Exported"), tmp_path).Exported()
    x = torch.tensor([-3.0, 0.5, 20.0], requires_grad=True)
    (slope,) = torch.autograd.grad(module(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        (module(x).sum() + slope.square().sum()).backward()


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_integers_are_refused(dtype, tmp_path):
    module = _module(to_torch_source(get_activation("crrelu"), "Exported"), tmp_path).Exported()
    with pytest.raises(TypeError, match="expected a floating-point tensor"):
        module(torch.ones(3, dtype=dtype))
