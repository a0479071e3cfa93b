"""What the activations of a real model see: the law of the pre-activations at every site."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError, LawError
from actsmith.surgery.sites import LOOKED_FOR, activation_modules, is_activation
from actsmith.theory.empirical import Empirical
from actsmith.theory.histogram import Histogram

__all__ = ["probe"]

_TARGETS = ("label", "labels", "label_ids", "targets")


def probe(model: nn.Module, batches: Iterable[Any], sites: Sequence[str] | None = None) -> dict[str, Empirical]:
    """The empirical law of the input of every activation module, over all elements of all batches.

    The model runs in evaluation mode without gradients; its modes and hooks are as before afterwards, also after an
    error. Each element is counted in a histogram as it passes, so memory does not grow with the batches. A module that
    is called several times has one law, of all its calls; one that the batches never reach has none.

    Args:
        model: any module. Batches are moved to the device of its parameters.
        batches: inputs, or (inputs, targets) as a DataLoader gives them, of which the targets are left out, or
            dictionaries of keyword arguments, of which labels and what the model does not take are left out. One
            tensor or dictionary stands for one batch.
        sites: paths of the modules to probe, whatever they are; the activations that are found, by default.

    Returns:
        Path of the module (as in `model.named_modules()`) -> law, in the order of the model.

    Raises:
        ActsmithError: no activation module in the model, a path that is none, or no batch reached the sites.
        LawError: the inputs of a site have no law (fewer than 100, not finite, or an atom); it says which site.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> probe(model, torch.randn(100, 4)).keys()
        dict_keys(['1'])
    """
    known, possible = activation_modules(model) if sites is None else (_named(model, sites), {})
    if not known and not possible:
        raise _no_site(model)
    histograms: dict[str, Histogram] = {}

    def watch(path: str, module: nn.Module, *, certain: bool) -> Callable[..., None]:
        verdict = [True] if certain else []

        def hook(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            values = (*arguments, *keywords.values())
            x = values[0] if values else None
            if not isinstance(x, Tensor) or not x.is_floating_point():
                return
            if not verdict:
                verdict.append(len(values) == 1 and is_activation(module, x))
            if verdict[0]:
                _count(histograms.setdefault(path, Histogram()), x, path)

        return hook

    hooks = {p: watch(p, m, certain=True) for p, m in known.items()}
    hooks |= {p: watch(p, m, certain=False) for p, m in possible.items()}
    with _watched(model, {**known, **possible}, hooks):
        for batch in [batches] if isinstance(batches, Tensor | Mapping) else batches:
            _run(model, batch)
    if not histograms:
        raise (
            _no_site(model)
            if not known
            else ActsmithError(
                f"probe: no batch reached {', '.join(known)}; expected batches that run the model through them"
            )
        )
    if sites is not None and (missed := [p for p in known if p not in histograms]):
        raise ActsmithError(f"probe: no batch reached {', '.join(missed)}; leave it out of `sites`")
    order = [p for p, _ in model.named_modules() if p in histograms]
    return {path: _law(histograms[path], path) for path in order}


def _no_site(model: nn.Module) -> ActsmithError:
    return ActsmithError(f"probe: {type(model).__name__} holds no activation; looked for {LOOKED_FOR}")


def _named(model: nn.Module, sites: Sequence[str]) -> dict[str, nn.Module]:
    if isinstance(sites, str):
        raise ActsmithError(f"probe: got sites={sites!r}; expected a list of paths")
    modules = dict(model.named_modules())
    for path in sites:
        if path not in modules:
            near = difflib.get_close_matches(path, modules, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ActsmithError(f"probe: no module {path!r} in {type(model).__name__}{hint}")
    return {path: modules[path] for path in sites}


@contextmanager
def _watched(
    model: nn.Module, modules: Mapping[str, nn.Module], hooks: Mapping[str, Callable[..., None]]
) -> Iterator[None]:
    """Evaluation mode, no gradients, and the hooks in place; afterwards every module as it was."""
    training = [(m, m.training) for m in model.modules()]
    handles = []
    try:
        handles += [m.register_forward_pre_hook(hooks[p], with_kwargs=True) for p, m in modules.items()]
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training:
            module.training = mode


def _run(model: nn.Module, batch: Any) -> None:
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    inputs = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if isinstance(inputs, Tensor):
        model(inputs.to(device))
    elif isinstance(inputs, Mapping):
        kept = {k: v for k, v in inputs.items() if _takes(model, k)}
        model(**{k: v.to(device) if isinstance(v, Tensor) else v for k, v in kept.items()})
    else:
        raise ActsmithError(
            f"probe: got a batch of {type(batch).__name__}; expected a tensor, (inputs, targets) or a dictionary"
        )


def _takes(model: nn.Module, key: str) -> bool:
    parameters = inspect.signature(model.forward).parameters
    keywords = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return key not in _TARGETS and (key in parameters or keywords)


def _count(histogram: Histogram, x: Tensor, path: str) -> None:
    x = x.detach() if x.dtype == torch.float64 else x.detach().float()
    try:
        histogram.update(x.cpu().numpy().ravel())
    except LawError as error:
        raise LawError(f"probe: site {path!r}: {error}") from None


def _law(histogram: Histogram, path: str) -> Empirical:
    try:
        return histogram.law()
    except LawError as error:
        raise LawError(f"probe: site {path!r}: {error}") from None
