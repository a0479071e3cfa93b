"""The proof of a swap: each new activation runs as often as the old one did, in training and in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.nn.untouched import untouched
from actsmith.surgery.blend import evaluate
from actsmith.surgery.change import Change
from actsmith.surgery.observe import Observer, Place
from actsmith.surgery.running import run_example
from actsmith.surgery.sites import observing

__all__ = ["MODES", "observe_example", "prove", "tensors_in"]

MODES = {"eval": False, "train": True}


def observe_example(model: nn.Module, example: Any) -> tuple[Observer, dict[str, dict[str, int]]]:
    """(the observer of both passes, mode -> path -> calls)."""
    observer = observing(model, follow=True)
    for mode, training in MODES.items():
        observer.mode = mode
        with untouched(model, training), observer.watching():
            _run(model, example, mode)
    return observer, {m: {p.path: c.counts.get(m, 0) for p, c in observer.calls.items()} for m in MODES}


def prove(
    model: nn.Module,
    changed: Sequence[Change],
    before: dict[str, dict[str, int]],
    example: Any,
    mutating: Collection[Place] = (),
) -> None:
    """Run the example in both modes and write the counts into the changes.

    The calls are counted in the new modules' own forward, not by hooks: torch's encoder layer leaves its fused path
    where a hook hangs, and the proof would not see what it does without one.

    Raises:
        ActsmithError: a new activation ran another number of times than the old one, none of them ran, or the model
            relies on an activation's changing its input in place, as those in `mutating` do.
    """
    for change in changed:
        change.ran = {}
    for mode, training in MODES.items():
        with untouched(model, training), _counting(changed) as counts:
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
    _prove_without_mutation(model, [c for c in changed if c.site.place in mutating], example)


def _prove_without_mutation(model: nn.Module, mutating: Sequence[Change], example: Any) -> None:
    """Old activations that changed their inputs in place must serve as well where they only return their result.

    Both are run behind the new sites, in evaluation mode. A model that discards the result, or reads the changed input
    under another name, gives something else the second time.
    """
    if not mutating:
        return

    def outputs(in_place: Sequence[Change]) -> list[Tensor]:
        forwards = [(c.module, _old_behind(c, c in in_place)) for c in mutating]
        with untouched(model, training=False), _forwards(forwards):
            return [t.clone() for t in tensors_in(_run(model, example, "eval"))]

    wanted = outputs(mutating)
    noise = _distance(wanted, outputs(mutating))
    if _distance(wanted, outputs([])) <= noise:
        return
    relied = [c for c in mutating if _distance(wanted, outputs([d for d in mutating if d is not c])) > noise]
    shown = ", ".join(c.site.path for c in (relied or mutating)[:5])
    raise ActsmithError(
        f"replace_: {type(model).__name__} relies on {shown} changing its input in place: it discards the result, or "
        "reads the changed input under another name; a new activation leaves its input as it is, so the model was "
        "restored. Use the result (x = act(x)) in the forward, or leave these sites out with where="
    )


def _old_behind(change: Change, in_place: bool) -> Callable[[Tensor], Tensor]:
    def forward(input: Tensor, **_: Any) -> Tensor:
        x = input
        y = evaluate(change.old, x.clone(), training=False)
        return x.copy_(y) if in_place else y

    return forward


def tensors_in(output: Any) -> list[Tensor]:
    """Those in a model's output: itself, or in nested dictionaries, lists, tuples and dataclasses."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        return [t for value in output.values() for t in tensors_in(value)]
    if isinstance(output, list | tuple):
        return [t for value in output for t in tensors_in(value)]
    if is_dataclass(output):
        return [t for f in fields(output) for t in tensors_in(getattr(output, f.name))]
    return []


def _distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """The largest difference; infinite where the shapes, or what is finite, differ."""
    largest = 0.0
    for a, b in zip(first, second, strict=True):
        if a.shape != b.shape or not torch.equal(a.isfinite(), b.isfinite()):
            return inf
        kept = a.isfinite()
        if kept.any():
            largest = max(largest, float((a[kept].double() - b[kept].double()).abs().max()))
    return largest


def _run(model: nn.Module, example: Any, mode: str) -> Any:
    try:
        return run_example(model, example)
    except ActsmithError:
        raise
    except Exception as error:
        raise ActsmithError(
            f"replace_: {type(model).__name__} fails on the example in {mode} mode: {type(error).__name__}: {error}; "
            "expected a tensor, a tuple of arguments or a dictionary of keyword arguments that it takes"
        ) from error


@contextmanager
def _counting(changed: Sequence[Change]) -> Iterator[list[int]]:
    counts = [0] * len(changed)

    def counted(index: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            counts[index] += 1
            try:
                return forward(*arguments, **keywords)
            except ActsmithError as error:
                widths = "; with share='channel' every call must have as many units: leave the site out with where="
                hint = widths if getattr(changed[index].module, "share", None) == "channel" else ""
                raise ActsmithError(f"replace_: {changed[index].path}: {error}{hint}") from error

        return call

    with _forwards([(c.module, counted(i, c.module.forward)) for i, c in enumerate(changed)]):
        yield counts


@contextmanager
def _forwards(forwards: Sequence[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Each module with the forward beside it."""
    before = [vars(m).get("forward") for m, _ in forwards]
    try:
        for module, forward in forwards:
            vars(module)["forward"] = forward
        yield
    finally:
        for (module, _), old in zip(forwards, before, strict=True):
            vars(module).pop("forward", None)
            if old is not None:
                vars(module)["forward"] = old
