"""Real models: every site found, swapped, proven and undone; the table in the docs is what these runs gave."""

from __future__ import annotations

import copy
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from surgery_models import MODELS, Model
from torch import nn

from actsmith.surgery.replace import replace_
from actsmith.surgery.running import run_example

PAGE = Path(__file__).parents[2] / "docs" / "surgery.md"


def outputs(model: nn.Module, example: Any) -> list[torch.Tensor]:
    model.eval()
    with torch.no_grad():
        result = run_example(model, example)
    values = result.values() if isinstance(result, dict) else [result]
    return [v for v in values if isinstance(v, torch.Tensor)]


def row(model: Model) -> str:
    """A row of the table, from a run; everything the table claims is checked on the way."""
    network, example = model.build()
    state = copy.deepcopy(network.state_dict())
    before = outputs(network, example)
    swaps = replace_(network, "crrelu", example=example, **model.options)
    ordinary = sum(s.ordinary for s in swaps.found)
    gates, squashes = (sum(getattr(s, kind) for s in swaps.found) for kind in ("gates", "squashes"))
    assert (ordinary, gates, squashes) == model.sites, [(s.path, s.activation, s.gates) for s in swaps.found]
    wanted = ordinary + (gates if model.options.get("gates") else 0)
    assert len(swaps.changed) == wanted
    assert all(c.proven for c in swaps.changed), swaps.report()
    assert set(network.state_dict()) == {*state, *(f"{c.path}.eps" for c in swaps.changed)}
    during = outputs(network, example)
    assert not all(torch.equal(a, b) for a, b in zip(before, during, strict=True))
    swaps.undo()
    after = network.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(after[k], state[k]) for k in state)
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(network, example), strict=True))
    forms = Counter(s.kind for s in swaps.found)
    methods = Counter(c.method for c in swaps.changed)
    names = Counter(s.activation for s in swaps.found)
    cells = [
        model.name,
        ", ".join(f"{n} {name}" for name, n in names.items()),
        ", ".join(f"{n} {kind}" for kind, n in forms.items()),
        str(gates),
        str(squashes),
        f"{wanted} ({', '.join(f'{n} by {m}' for m, n in methods.items())})",
        str(sum(c.proven for c in swaps.changed)),
    ]
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("model", MODELS, ids=lambda m: re.sub(r"\W+", "-", m.name))
def test_model(model: Model) -> None:
    made = row(model)
    written = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {model.name} |")]
    assert written == [made], "docs/surgery.md: run `python tests/surgery/test_models.py` to write the table anew"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split("<!-- models -->\n", 1)
    _, tail = rest.split("<!-- /models -->", 1)
    title = "| model | activations found | as | gates | squashes | swapped | proven |\n|---|---|---|---|---|---|---|\n"
    body = "".join(f"{row(model)}\n" for model in MODELS)
    PAGE.write_text(f"{head}<!-- models -->\n{title}{body}<!-- /models -->{tail}", encoding="utf-8")
