"""Which activations stand inside residual blocks that normalise, where K* asks nothing: as `critical_init_` sees it.

Criticality follows one kernel from layer to layer of a plain network. A normalisation sets that kernel anew in every
block, and what reaches the next one is the sum, so neither the variance of a block's weights nor the K of its
activations has to be critical. `critical_init_` leaves such layers alone, and no site behind one is far from critical.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from actsmith.nn.following import activations_that_follow, is_layer
from actsmith.nn.private import inside_compiled
from actsmith.nn.untouched import untouched
from actsmith.surgery.observe import Place
from actsmith.surgery.record import Probe
from actsmith.surgery.running import run_batch
from actsmith.surgery.sites import observing

__all__ = ["mark_blocks"]


def mark_blocks(found: Probe, model: nn.Module, batch: Any) -> Probe:
    """The probe with `in_normalised_block` set where the layer before a site, in execution, is in such a block.

    A model whose calls can be neither traced nor recorded is taken for a plain one.

    Args:
        found: what `probe` returned for the model.
        batch: one batch, as `probe` takes it.
    """
    model = inside_compiled(model)
    inside = _layers_inside(model, batch)
    if not inside:
        return found
    sites = _behind(model, batch, inside)
    return Probe({p: replace(r, in_normalised_block=p in sites) for p, r in found.records.items()})


def _layers_inside(model: nn.Module, batch: Any) -> set[str]:
    """Paths of the layers that `critical_init_` would leave alone for that reason."""
    inputs = batch
    if isinstance(batch, tuple | list):
        inputs = batch[0] if len(batch) <= 2 else tuple(batch)
    try:
        with untouched(model, training=False):
            followed, _ = activations_that_follow(model, inputs)
    except Exception:  # what a model's forward raises under symbolic tracing can be anything
        return set()
    return {f.path for f in followed if f.normalised_block}


def _behind(model: nn.Module, batch: Any, inside: set[str]) -> set[str]:
    """Paths of the sites that run after a layer inside a block and before any other layer."""
    latest = ""
    found: set[str] = set()

    def entered(place: Place, _: Tensor) -> None:
        if latest in inside:
            found.add(place.path)

    def leaving(path: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            nonlocal latest
            latest = path

        return hook

    layers = [(path, m) for path, m in model.named_modules() if is_layer(m, transposed=True)]
    handles = [m.register_forward_hook(leaving(path)) for path, m in layers]
    try:
        with untouched(model, training=False), observing(model, before=entered).watching():
            run_batch(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return found
