"""Other libraries: a swap that lasts in their files, and formulas wherever they take the name of an activation."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

from actsmith.integrations.wrapping import when_imported

__all__ = ["remember"]


def remember(model: nn.Module) -> None:
    """After a swap: the library that saves the model is taught to save it. What is not imported is not asked; PEFT,
    which comes after the swap, is taught when it is imported."""
    transformers: Any = sys.modules.get("transformers")
    kind = getattr(transformers, "PreTrainedModel", None)
    if kind is not None and any(isinstance(m, kind) for m in model.modules()):
        from actsmith.integrations.transformers import register

        register()
    when_imported("peft", _teach_peft)


def _teach_peft() -> None:
    """Let PEFT keep swaps; it is imported."""
    from actsmith.integrations.peft import register

    register()
