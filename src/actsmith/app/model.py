"""The model that the command line named, probed once: what its activations see, as laws for the first tab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["probed"]


def probed(name: str, example: Path | None) -> dict[str, Any]:
    """Sites in the order of execution, each with the law of its input where it has one; plain values.

    Args:
        name: module:object, timm:NAME, or a folder of transformers. Runs its code: the command line named it.
        example: .npy of inputs, samples first; random ones without it.

    Raises:
        ActsmithError: there is no such model, it does not run, or holds no activation.
    """
    from actsmith.app.views import short
    from actsmith.surgery.load import load_batches, load_model
    from actsmith.surgery.probe import probe

    model = load_model(name).eval()
    batches, source = load_batches(model, example)
    found = probe(model, batches, strict=False)
    sites = []
    for path, record in found.records.items():
        formula = record.site.formula
        values = record.to_dict()
        kept = ("mean", "std", "K", "K_star", "universality", "entropy_in", "smoothed_out", "zeros", "dead", "units")
        numbers = {key: values[key] if isinstance(values[key], str) else short(values[key]) for key in kept}
        sites.append({
            "path": path, "activation": record.site.activation or record.site.class_name, "reason": record.reason,
            "formula": None if formula is None else formula.text,
            "values": {} if formula is None else {n: p.value for n, p in formula.params.items()},
            "law": None if record.law is None else record.law.to_dict(), "density": values["density"], **numbers,
        })  # fmt: skip
    return {"model": name, "inputs": source, "sites": sites}
