"""Random modules, swapped for the formulas they have: nothing else may differ, in either mode, eager and compiled."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import random_modules
import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.surgery.proof import tensors_in
from actsmith.surgery.replace import replace_
from actsmith.surgery.sites import Site

COUNT = 300
X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
EXAMPLE = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder: Path = tmp_path_factory.mktemp("modules")
    random_modules.write(folder / "made_modules.py", range(COUNT))
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("made_modules")
    finally:
        sys.path.remove(str(folder))
        del sys.modules["made_modules"]


def observed(model: Any, training: bool, run: Any = None) -> dict[str, Any]:
    """Outputs, gradients and side effects of one pass."""
    model.train(training)
    model.zero_grad()
    torch.manual_seed(0)
    x = X.clone().requires_grad_()
    outputs = tensors_in((model if run is None else run)(x))
    sum(t.square().sum() for t in outputs).backward()  # type: ignore[union-attr]
    keep = ("a.", "b.", "c.")
    return {
        "outputs": [t.detach() for t in outputs],
        "x": x.grad,
        **{n: p.grad for n, p in model.named_parameters() if n.startswith(keep)},
        "last": model.last, "seen": list(model.seen), "count": model.count, "steps": model.steps.clone(),
    }  # fmt: skip


def same(first: Any, second: Any) -> None:
    assert (first is None) == (second is None)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            same(first[key], second[key])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            same(a, b)
    elif isinstance(first, Tensor):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    elif first is not None:
        assert first == pytest.approx(second, rel=1e-4, abs=1e-5)


def own(site: Site) -> Any:
    assert site.formula is not None
    return site.formula


def check(kind: type[nn.Module], compiled: bool) -> bool:
    """Whether it was swapped, and nothing differs; False where it was refused."""
    model, plain = kind(), kind()
    state = copy.deepcopy(plain.state_dict())
    try:
        swaps = replace_(model, own, example=EXAMPLE, gates=True, squashes=True)
    except ActsmithError:
        same(list(model.state_dict().values()), list(state.values()))
        return False
    assert [getattr(model, name) for name in ("seen", "last", "count", "steps")] == [[], None, 0, 0]
    start = copy.deepcopy(plain)
    for training in (True, False):
        wanted = observed(plain, training)
        same(observed(model, training), wanted)
    copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.copy(model)
    wanted = observed(copy.deepcopy(plain), False)
    for clone in copies[:2]:
        same(observed(clone, False), wanted)
    with torch.no_grad():
        copy.copy(plain)(X)  # a shallow copy's side effects are its original's
        same(tensors_in(copies[2](X)), wanted["outputs"])
    if compiled:
        for training in (True, False):
            one, two = copy.deepcopy(model), copy.deepcopy(plain)
            torch._dynamo.reset()
            same(observed(one, training, torch.compile(one, backend="eager")), observed(two, training))
    swaps.undo()
    assert list(model.state_dict()) == list(state)
    again = copy.deepcopy(model)
    vars(again).update({n: copy.deepcopy(vars(start)[n]) for n in ("last", "seen", "count")})
    again.load_state_dict(state)
    for training in (True, False):
        wanted = observed(start, training)
        same(observed(again, training), wanted)
    assert type(model) is kind
    return True


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_random_modules(made: ModuleType, compiled: bool) -> None:
    refused = []
    for seed in range(COUNT):
        try:
            if not check(getattr(made, f"Module{seed}"), compiled):
                refused.append(seed)
        except BaseException as error:
            raise AssertionError(f"differs: {random_modules.source(seed)}") from error
    assert len(refused) <= COUNT // 20, refused
