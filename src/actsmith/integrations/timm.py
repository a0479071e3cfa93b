"""timm: catalogue names and texts of formulas as `act_layer`.

register("x*sigmoid(1.5*x)")
timm.create_model("resnet18", act_layer="crrelu")

A swapped timm model is kept as any other: build it with the same `act_layer`, or `rebuild_` it from its `swap_record`,
then load the state dictionary.
"""

from __future__ import annotations

from functools import partial

from actsmith.errors import require
from actsmith.formula.catalogue import CATALOGUE, resolve
from actsmith.nn.activation import Activation

__all__ = ["register"]


def register(*texts: str) -> None:
    """Add the catalogue, and these texts, to what timm knows by name; its own names stay what they are.

    Raises:
        ActsmithError: timm is not installed.
        FormulaError: a text is no formula.
    """
    known = require("timm.layers.create_act", "vision", "the integration")
    for text in (*CATALOGUE, *texts):
        formula = resolve(text)
        known._ACT_LAYER_DEFAULT.setdefault(text.lower(), partial(Activation, formula))
