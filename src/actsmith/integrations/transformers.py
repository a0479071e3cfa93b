"""transformers: swapped models that `save_pretrained` and `from_pretrained` keep, and formulas as `hidden_act`.

    from actsmith.integrations.transformers import register
    register()
    GPT2LMHeadModel(GPT2Config(activation_function="crrelu"))       # any name or text of a formula
    model.save_pretrained(folder); GPT2LMHeadModel.from_pretrained(folder)

`replace_` registers by itself. A process that only loads calls `register()` first; without it transformers refuses the
folder, since its config.json names the activation "actsmith:gelu", which says what was there before the swap. Where the
configuration names no activation, that process would be told nothing, so `save_pretrained` warns.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from torch import nn

from actsmith.errors import ActsmithError, require
from actsmith.formula.catalogue import resolve
from actsmith.integrations.wrapping import when_imported, wrap
from actsmith.nn.activation import Activation
from actsmith.nn.swap_record import rebuild_, swap_record

__all__ = ["register", "without_decay_"]

KEY, MARK = "actsmith", "actsmith:"
"""In a configuration: the record of a swap, and what stands before the name of an activation that was exchanged."""
_FIELD = re.compile(r"(^|_)(act|activation)(_|$)|^(afn|conv_glu_type)$")
"""Fields that name an activation: `hidden_act`, T5's `dense_act_fn` (made of `feed_forward_proj`), GPT's `afn`."""


def register() -> None:
    """Teach transformers of this process our formulas and the record of a swap. A second call does nothing.

    - `ACT2FN[text]`, so `hidden_act=text` in a configuration, takes names of the catalogue and texts of formulas that
      are no names of its own.
    - `save_pretrained` writes into config.json what was exchanged; a model of such a configuration is built so again.
    - Parameters of activations that a checkpoint lacks get the values that their formula starts with.

    Raises:
        ActsmithError: transformers is not installed.
    """
    require("transformers", "language", "the integration")
    from transformers import PreTrainedModel
    from transformers.activations import ACT2FN

    if not isinstance(ACT2FN, _Formulas):
        kind = type(ACT2FN)
        ACT2FN.__class__ = type(kind.__name__, (_Formulas, kind), {})
    wrap(PreTrainedModel, "save_pretrained", _saving)
    wrap(PreTrainedModel, "__init__", _starting)
    wrap(PreTrainedModel, "post_init", _building)
    wrap(PreTrainedModel, "initialize_weights", _filling)
    when_imported("peft", _teach_peft)


class _Formulas(dict[str, Any]):
    """What `ACT2FN` does with a key that it has not."""

    def __missing__(self, key: str) -> Any:
        if key.startswith(MARK):
            return dict.__getitem__(self, key.removeprefix(MARK))
        try:
            return Activation, {"formula": resolve(key)}
        except ActsmithError as error:
            raise KeyError(f"function {key} not found in ACT2FN mapping; as a formula: {error}") from None

    def __contains__(self, key: object) -> bool:
        try:
            return dict.__contains__(self, key) or (isinstance(key, str) and self.__missing__(key) is not None)
        except KeyError:
            return False


def _saving(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def save_pretrained(self: Any, *arguments: Any, **keywords: Any) -> Any:
        _tie(self)
        with _recorded(self):
            return method(self, *arguments, **keywords)

    return save_pretrained


def _starting(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def __init__(self: Any, config: Any, *arguments: Any, **keywords: Any) -> None:  # noqa: N807
        if getattr(config, KEY, None):  # a model may look at the name itself
            for holder, name, value in [found for one in _configs(config) for found in _names(vars(one))]:
                holder[name] = value.removeprefix(MARK)
        method(self, config, *arguments, **keywords)

    return __init__


def _building(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def post_init(self: Any, *arguments: Any, **keywords: Any) -> Any:
        result = method(self, *arguments, **keywords)
        record = getattr(self.config, KEY, None)
        if record:
            whole = record["model"] == type(self).__name__
            sites = record["sites"] if whole else _paths_in(self, record["prefix"], record["sites"])
            rebuild_(self, sites, strict=whole)
            _tie(self)
        return result

    return post_init


def _tie(model: Any) -> None:
    """Tell transformers which parameters of activations are one."""
    tied = _tied(model)
    if tied:
        model._tied_weights_keys = {**(model._tied_weights_keys or {}), **tied}
        model.all_tied_weights_keys.update(tied)


def _tied(model: nn.Module) -> dict[str, str]:
    """Key of an activation's parameter -> the first key of the same parameter, as of share="model"."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for name, p in module.named_parameters(recurse=False) if isinstance(module, Activation) else ():
            key = first.setdefault(id(p), f"{path}.{name}")
            if key != f"{path}.{name}":
                found[f"{path}.{name}"] = key
    return found


def _filling(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def initialize_weights(self: Any, *arguments: Any, **keywords: Any) -> Any:
        for module in self.modules():
            if isinstance(module, Activation):
                values = module._family.formula.params
                for name, p in module.named_parameters(recurse=False):
                    if not (getattr(p, "_is_hf_initialized", False) or p.is_meta):
                        nn.init.constant_(p, values[name].value)
        return method(self, *arguments, **keywords)

    return initialize_weights


def _paths_in(model: Any, prefix: str, sites: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sites by their paths in this model, which may be the base of the one that was saved, or a head on it."""
    base, own = f"{prefix}.", f"{model.base_model_prefix}."

    def here(path: str) -> str:
        if not path:  # the model itself had calls redirected; `rebuild_` asks for its class
            return own[:-1] if own != "." and hasattr(model, own[:-1]) else path
        if prefix and f"{path}.".startswith(base) and not hasattr(model, prefix):
            return f"{path}.".removeprefix(base).removesuffix(".")
        if own != "." and hasattr(model, own[:-1]) and not path.startswith(own) and not _has(model, path):
            return own + path
        return path

    return [{k: here(v) if k in ("path", "same", "tied") else v for k, v in site.items()} for site in sites]


def _has(model: nn.Module, path: str) -> bool:
    return hasattr(model, path.partition(".")[0])


@contextmanager
def _recorded(model: Any) -> Iterator[None]:
    """The record in the model's configuration, for as long as it is written; the live one is as it was afterwards."""
    sites = swap_record(model)
    config = model.config
    before = vars(config).get(KEY)
    names = [found for one in _configs(config) for found in _names(vars(one))]
    if sites and not names and not any(_formulas(vars(one)) for one in _configs(config)):
        warnings.warn(
            f"save_pretrained: the configuration of {type(model).__name__} names no activation, so a process that "
            "loads this folder without actsmith.integrations.transformers.register() builds the old activations and "
            "says nothing",
            stacklevel=4,
        )
    try:
        vars(config).pop(KEY, None)
        if sites:
            vars(config)[KEY] = {"model": type(model).__name__, "prefix": model.base_model_prefix, "sites": sites}
        for holder, name, value in names:
            plain = value.removeprefix(MARK)
            holder[name] = MARK + plain if sites else plain
        yield
    finally:
        vars(config).pop(KEY, None)
        if before is not None:
            vars(config)[KEY] = before
        for holder, name, value in names:
            holder[name] = value


def _configs(config: Any) -> Iterator[Any]:
    """The configuration and those inside it."""
    yield config
    for name in getattr(config, "sub_configs", {}):
        inner = getattr(config, name, None)
        if inner is not None:
            yield from _configs(inner)


def _formulas(fields: dict[str, Any]) -> list[str]:
    """The fields that name an activation which a process without `register` does not know."""
    return [field for field, value in fields.items() if _FIELD.search(field) and isinstance(value, str)]


def _names(fields: dict[str, Any], inside: bool = False) -> Iterator[tuple[dict[str, Any], str, str]]:
    """(holder, field, name) of the activations of transformers' own that a configuration names, in dictionaries too."""
    from transformers.activations import ACT2FN

    for field, value in fields.items():
        if not (inside or _FIELD.search(field)):
            continue
        if isinstance(value, dict):
            yield from _names(value, inside=True)
        elif isinstance(value, str) and dict.__contains__(ACT2FN, value.removeprefix(MARK)):
            yield fields, field, value


def without_decay_(trainer: Any) -> Any:
    """Take the parameters of activations out of the weight decay of transformers' Trainer, before it makes its
    optimiser; returns the trainer.

    Decay would pull a slope or a width towards 0, which is no simpler function. The two groups of the Trainer stay, so
    schedulers and checkpoints work as ever.

    Example:
        >>> without_decay_(trainer).train()  # doctest: +SKIP
    """
    inherited = trainer.get_decay_parameter_names

    def get_decay_parameter_names(model: nn.Module) -> list[str]:
        ours = {
            f"{path}.{name}" if path else name
            for path, module in model.named_modules(remove_duplicate=False)
            if isinstance(module, Activation)
            for name, _ in module.named_parameters(recurse=False)
        }
        return [name for name in inherited(model) if name not in ours]

    trainer.get_decay_parameter_names = get_decay_parameter_names
    return trainer


def _teach_peft() -> None:
    """PEFT, which is imported, keeps swaps too."""
    from actsmith.integrations.peft import register as register_peft

    register_peft()
