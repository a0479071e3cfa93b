"""What docs/pinn.md shows runs, and the example that it tells of."""

import re
import runpy
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "pinn.md"
EXAMPLE = ROOT / "examples" / "burgers_pinn.py"


def blocks():
    """Whether a block needs DeepXDE, and its lines."""
    return re.findall(r"(<!-- deepxde -->\n)?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_fifteen_lines_run(capsys):
    (code,) = [code for needs, code in blocks() if not needs]
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102  (our own page)
    assert "over the domain its pre-activation has the variance K0 = 1" in capsys.readouterr().out
    assert torch.isfinite(names["residual"]).all()


def test_the_lines_on_deepxde_run():
    import os

    os.environ.setdefault("DDE_BACKEND", "pytorch")
    dde = pytest.importorskip("deepxde")
    import actsmith as acts

    geometry = dde.geometry.GeometryXTime(dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 1))
    (code,) = [code for needs, code in blocks() if needs]
    names = {"acts": acts, "geometry": geometry, "conditions": []}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102  (our own page)
    model = dde.Model(names["data"], names["net"])
    model.compile("adam", lr=1e-3)
    history, _ = model.train(iterations=2, display_every=1)
    assert len(history.loss_train) == 3


def test_the_example_trains_and_draws(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert len(EXAMPLE.read_text().splitlines()) < 80
    example = runpy.run_path(str(EXAMPLE))
    drawn = torch.Generator().manual_seed(0)
    net, data = example["network"](drawn, width=16, depth=2), example["points"](drawn, 200, 20)
    before = example["loss_of"](net, *data).item()
    example["train"](net, data, adam=30, iterations=30)
    assert example["loss_of"](net, *data).item() < 0.5 * before
    example["picture"](net, tmp_path / "burgers.svg")
    assert "</svg>" in (tmp_path / "burgers.svg").read_text()
    assert "relative L2 error" in capsys.readouterr().out


def test_every_call_of_the_page_exists():
    import actsmith.nn

    for name in ("derivatives", "jet", "laplacian", "biharmonic", "critical_init_", "HermiteActivation"):
        assert f"{name}(" in PAGE.read_text() or f"`{name}`" in PAGE.read_text()
        assert hasattr(actsmith.nn, name)
