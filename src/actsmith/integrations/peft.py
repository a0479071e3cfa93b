"""PEFT: adapters that say which activations their base had, and put them in before they are loaded.

    acts.replace_(base, "crrelu")
    model = get_peft_model(base, LoraConfig(..., modules_to_save=modules_to_save(base)))
    model.save_pretrained(folder)                                            # or base.add_adapter(...), a Trainer
    model = PeftModel.from_pretrained(fresh_base, folder)                    # or fresh_base.load_adapter(folder)

An adapter holds no activation of its base. Loaded onto a base without the swap it would compute something else, so the
record of the swap stands in adapter_config.json. `replace_` registers by itself, also where PEFT is imported later. A
process that only loads calls `register()` first; without it PEFT warns of a key that it does not know, `KEY`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import nn

from actsmith.errors import ActsmithError, require
from actsmith.integrations.wrapping import wrap
from actsmith.nn.activation import Activation
from actsmith.nn.swap_record import rebuild_, swap_record

__all__ = ["KEY", "modules_to_save", "register"]

KEY = "actsmith.integrations.peft.register()"
"""In an adapter's configuration: the record of the swap of its base, under the name of what reads it."""
_ROWS, _WANTED = "_actsmith_rows", "_actsmith_wanted"
"""In a live configuration: the swap of the base that it is on, and the one that was read with it."""


def modules_to_save(model: nn.Module) -> list[str] | None:
    """The paths of the activations that learn, for PEFT's `modules_to_save`: so they are trained and saved with the
    adapter. None where there are none."""
    found = [p for p, m in model.named_modules() if isinstance(m, Activation) and any(True for _ in m.parameters())]
    return found or None


def register() -> None:
    """Teach PEFT of this process the record of a swap. A second call does nothing.

    Raises:
        ActsmithError: PEFT is not installed.
    """
    peft, config, tuners = (
        require(name, "language", "the integration") for name in ("peft", "peft.config", "peft.tuners.tuners_utils")
    )
    wrap(config.PeftConfigMixin, "to_dict", _writing)
    wrap(config.PeftConfigMixin, "from_peft_type", _reading)
    wrap(peft.PeftModel, "__init__", _building)
    wrap(tuners.BaseTuner, "inject_adapter", _injecting)


def _writing(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def to_dict(self: Any) -> dict[str, Any]:
        rows = vars(self).get(_ROWS)
        return {**method(self), **({KEY: rows} if rows else {})}

    return to_dict


def _reading(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def from_peft_type(cls: Any, **keywords: Any) -> Any:
        rows = keywords.pop(KEY, None)
        config = method(cls, **keywords)
        if rows:
            vars(config)[_WANTED] = rows
        return config

    return from_peft_type


def _building(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def __init__(self: Any, model: nn.Module, peft_config: Any, *arguments: Any, **keywords: Any) -> None:  # noqa: N807
        _settle(model, peft_config)
        method(self, model, peft_config, *arguments, **keywords)

    return __init__


def _injecting(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def inject_adapter(self: Any, model: nn.Module, adapter_name: str, *arguments: Any, **keywords: Any) -> Any:
        _settle(model, self.peft_config[adapter_name])
        return method(self, model, adapter_name, *arguments, **keywords)

    return inject_adapter


def _settle(base: nn.Module, config: Any) -> None:
    """The base as the configuration that was read wants it; and the configuration knows the base."""
    wanted = vars(config).pop(_WANTED, None)
    rows = _record(base)
    if wanted is not None and _shapes(rows) != _shapes(wanted):
        if any(".base_layer" in path for path, _ in base.named_modules()):
            raise ActsmithError(
                f"adapter: it was trained on a {type(base).__name__} with other activations ({len(wanted)} swapped) "
                f"than this one ({len(rows)} swapped), which has adapters already; load it onto a base of its own"
            )
        rebuild_(base, wanted)
        _fill(base)
        rows = _record(base)
    vars(config)[_ROWS] = rows


def _record(base: nn.Module) -> list[dict[str, Any]]:
    """The swap of the base by the paths that it has without adapters, whose copies of an activation are left out."""
    names = ("path", "same", "tied")
    return [
        {k: v.replace(".original_module", "") if k in names else v for k, v in row.items()}
        for row in swap_record(base)
        if ".modules_to_save." not in row["path"]
    ]


def _shapes(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Path -> what stands there, whatever was the same object."""
    whole: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        whole[row["path"]] = whole.get(row.get("same", ""), {k: v for k, v in row.items() if k not in ("path", "tied")})
    return whole


@torch.no_grad()
def _fill(base: nn.Module) -> None:
    """Parameters that PEFT's `low_cpu_mem_usage` left without values get those that their formula starts with."""
    device = next((p.device for p in base.parameters() if not p.is_meta), None)
    for module in base.modules() if device is not None else ():
        if isinstance(module, Activation):
            values = module._family.formula.params
            for name, p in module.named_parameters(recurse=False):
                if p.is_meta:
                    start = torch.full(p.shape, float(values[name].value), dtype=p.dtype, device=device)
                    module._parameters[name] = nn.Parameter(start, p.requires_grad)
