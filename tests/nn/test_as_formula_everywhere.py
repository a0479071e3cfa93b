"""A module or a function of torch's stands wherever the public functions take a formula."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import actsmith as acts
from actsmith.errors import ActsmithError
from actsmith.search.candidates import Candidate
from actsmith.search.run import _activations

STANDS = {
    "gelu": nn.GELU(),
    "silu": functional.silu,
    "relu": nn.ReLU,
    "leaky_relu": partial(functional.leaky_relu, negative_slope=0.01),
}
TAKES: dict[str, Callable[[Any], Any]] = {
    "analyze": lambda f: acts.analyze(f).to_dict(),
    "entropy": lambda f: acts.entropy(f).smoothed,
    "criticality": lambda f: acts.criticality(f).verdict,
    "correction": lambda f: acts.correction(f).psi,
    "improve": acts.improve,
    "rank": lambda f: [a.formula for a in acts.rank([f, "tanh"])],
    "kernel_flow": lambda f: acts.kernel_flow(f, 1.0, 3, 2.0).tolist(),
    "susceptibilities": lambda f: acts.susceptibilities(f, 1.0, 2.0),
    "phase_diagram": lambda f: acts.phase_diagram(f, [1.0, 2.0], [0.0, 0.1]).label.tolist(),
    "critical_form": acts.critical_form,
}


@pytest.mark.parametrize("function", list(TAKES))
@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_it_is_what_its_name_is(function: str, name: str) -> None:
    assert TAKES[function](STANDS[name]) == TAKES[function](name)


@pytest.mark.parametrize("name", list(STANDS))
def test_modules_classes_functions_and_partials_stand(name: str) -> None:
    assert acts.resolve(STANDS[name]) == acts.get_activation(name)


def test_a_search_takes_them() -> None:
    first = Candidate(acts.resolve(nn.ReLU()), "start", "the start")
    found, same = _activations(first, [nn.GELU(), functional.silu, functional.relu], [torch.tanh])
    assert [c.formula.name for c in found] == ["gelu", "silu", "tanh"]
    assert same == {}
    with pytest.raises(ActsmithError, match="expected a list of formulas"):
        _activations(first, nn.GELU(), [])  # type: ignore[arg-type]


def test_a_comparison_takes_them(tmp_path: Path) -> None:
    def train(net: nn.Module, trial: Any) -> dict[str, float]:
        trial.rate(0.1)
        with torch.no_grad():
            return {"score": float(net(torch.ones(8, 4)).std()) + 0.01 * trial.seed}

    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))

    found = acts.compare(
        net, [nn.ReLU(), functional.silu], train, seeds=2, tuning_seeds=1, rates=(1.0,), metric="score",
        example=torch.ones(2, 4), out=tmp_path / "run",
    )  # fmt: skip
    assert {row.name for row in found.table.rows} == {"relu", "silu"}


def test_what_is_no_activation_is_refused() -> None:
    for given in (nn.Linear(2, 2), len, 3, None):
        with pytest.raises(ActsmithError, match="whose formula is not known"):
            acts.analyze(given)  # type: ignore[arg-type]
    with pytest.raises(ActsmithError, match="rank: got one formula"):
        acts.rank(nn.GELU())  # type: ignore[arg-type]
