"""The proof of a swap: each new activation runs as often as the old one did, in training and in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from actsmith.errors import ActsmithError
from actsmith.surgery.observe import Observer
from actsmith.surgery.running import run_example, untouched
from actsmith.surgery.sites import observing
from actsmith.surgery.swaps import Change

__all__ = ["MODES", "observe_example", "prove"]

MODES = {"train": True, "eval": False}


def observe_example(model: nn.Module, example: Any) -> tuple[Observer, dict[str, dict[str, int]]]:
    """(the observer of the evaluation pass, mode -> path -> calls)."""
    counts: dict[str, dict[str, int]] = {}
    observer = observing(model)
    for mode, training in MODES.items():
        observer = observing(model, follow=not training, keep_arguments=not training)
        with untouched(model, training), observer.watching():
            _run(model, example, mode)
        counts[mode] = {place.path: call.count for place, call in observer.calls.items()}
    return observer, counts


def prove(model: nn.Module, changed: Sequence[Change], before: dict[str, dict[str, int]], example: Any) -> None:
    """Run the example in both modes and write the counts into the changes.

    The calls are counted in the new modules' own forward, not by hooks: torch's encoder layer leaves its fused path
    where a hook hangs, and the proof would not see what it does without one.

    Raises:
        ActsmithError: a new activation ran another number of times than the old one, or none of them ran.
    """
    for change in changed:
        change.ran = {}
    for mode, training in MODES.items():
        with untouched(model, training), _counting([c.module for c in changed]) as counts:
            _run(model, example, mode)
        for change, count in zip(changed, counts, strict=True):
            assert change.ran is not None
            change.ran[mode] = (before[mode].get(change.site.path, 0), count)
    wrong = [c for c in changed if any(old != new for old, new in (c.ran or {}).values())]
    if wrong:
        shown = "; ".join(f"{c.site.path}: (before, after) = {c.ran}" for c in wrong[:5])
        raise ActsmithError(
            f"replace_: {len(wrong)} of {len(changed)} new activations did not run as often as the old ones, so the "
            f"model was restored: {shown}. The model may hold its activation in a second place, or take a fused path; "
            "leave these sites out with where="
        )
    if not any(c.proven for c in changed):
        raise ActsmithError(
            "replace_: the example runs none of the chosen sites, so nothing could be proven and the model was "
            "restored; give an example that reaches them"
        )


def _run(model: nn.Module, example: Any, mode: str) -> None:
    try:
        run_example(model, example)
    except ActsmithError:
        raise
    except Exception as error:
        raise ActsmithError(
            f"replace_: {type(model).__name__} fails on the example in {mode} mode: {type(error).__name__}: {error}; "
            "expected a tensor, a tuple of arguments or a dictionary of keyword arguments that it takes"
        ) from error


@contextmanager
def _counting(modules: Sequence[nn.Module]) -> Iterator[list[int]]:
    counts = [0] * len(modules)
    before = [vars(m).get("forward") for m in modules]

    def counted(index: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            counts[index] += 1
            return forward(*arguments, **keywords)

        return call

    try:
        for index, module in enumerate(modules):
            vars(module)["forward"] = counted(index, module.forward)
        yield counts
    finally:
        for module, forward in zip(modules, before, strict=True):
            vars(module).pop("forward", None)
            if forward is not None:
                vars(module)["forward"] = forward
