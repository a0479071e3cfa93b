"""PEFT: adapters on a swapped model, saved with the record of the swap beside them.

acts.replace_(base, "crrelu")
model = get_peft_model(base, LoraConfig(..., modules_to_save=modules_to_save(base)))
save_pretrained(model, folder)
model = from_pretrained(fresh_base, folder)

An adapter holds no activation of its base. Loaded onto a base without the swap it would compute something else, and say
nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from actsmith.errors import ActsmithError, require
from actsmith.files import read_json, to_json, write_atomically
from actsmith.nn.activation import Activation
from actsmith.nn.swap_record import rebuild_, swap_record

__all__ = ["FILE", "from_pretrained", "modules_to_save", "save_pretrained"]

FILE = "actsmith.json"
"""In an adapter's folder: the record of the swap of its base."""


def modules_to_save(model: nn.Module) -> list[str] | None:
    """The paths of the activations that learn, for PEFT's `modules_to_save`: so they are trained and saved with the
    adapter. None where there are none."""
    found = [p for p, m in model.named_modules() if isinstance(m, Activation) and any(True for _ in m.parameters())]
    return found or None


def save_pretrained(model: Any, folder: str | Path, **options: Any) -> None:
    """`model.save_pretrained(folder)`, and the record of the swap beside the adapter.

    Args:
        model: a PeftModel.
        options: as PEFT's `save_pretrained` takes them.
    """
    model.save_pretrained(str(folder), **options)
    rows = []
    for row in swap_record(model.get_base_model()):
        if ".modules_to_save." not in row["path"]:  # PEFT's copy of it, for one adapter
            names = ("path", "same", "tied")
            rows.append({k: v.replace(".original_module", "") if k in names else v for k, v in row.items()})
    write_atomically(Path(folder) / FILE, to_json(rows, indent=1))


def from_pretrained(base: nn.Module, folder: str | Path, **options: Any) -> Any:
    """The base with the swap that the folder records, and the adapter on it.

    Args:
        base: the model that the adapter was trained on, without the swap; changed in place.
        options: as `PeftModel.from_pretrained` takes them.

    Raises:
        ActsmithError: no record in the folder, a base of another structure, or PEFT is not installed.
    """
    peft = require("peft", "language", "the integration")
    file = Path(folder) / FILE
    if not file.is_file():
        raise ActsmithError(f"adapter: no {FILE} in {str(folder)!r}; it was saved without a record of a swap")
    rebuild_(base, read_json(file))
    return peft.PeftModel.from_pretrained(base, str(folder), **options)
