"""Many models of torchvision, timm and transformers, each swapped for the formulas that it has: every output must be
what it was, in evaluation and in training mode, and what it was again after `undo`.

    python tests/surgery/sweep.py [PACKAGE ...]    a JSON line per model into runs/sweep.jsonl; goes on where it stopped
    python tests/surgery/sweep.py --table          the table of docs/surgery.md from that file

Every model has a process of its own, with a time limit; no line is left out: what cannot be built, runs in no training
mode, or is refused says why.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import random
import re
import resource
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sweep_models import PACKAGES, Build
from torch import nn

from actsmith.errors import ActsmithError
from actsmith.nn.untouched import untouched
from actsmith.surgery.proof import MODES, tensors_in
from actsmith.surgery.replace import replace_
from actsmith.surgery.running import run_example
from actsmith.surgery.swaps import Swaps

ROOT = Path(__file__).parents[2]
FILE, PAGE = ROOT / "runs" / "sweep.jsonl", ROOT / "docs" / "surgery.md"
TOLERANCE = 1e-3
"""Relative, of outputs in float32: a formula's rounding, through as many layers as a model has."""
TOLERANCE_DOUBLE = 1e-9
"""The same in float64, asked where float32 differs by more."""
SECONDS = 300
"""What one model may take."""
STATUSES = ("equal", "wrong", "refused", "no activation", "not built", "not finished")

Row = dict[str, Any]


# ------------------------------------------------------------------------------------------------------ one model


def row_of(build: Build) -> Row:
    """What became of one model: `status`, one of `STATUSES`, with its `reason` where it is not "equal"."""
    torch.manual_seed(0)
    try:
        model, example = build()
        before = {"eval": _outputs(model, example, "eval")}
    except Exception as error:
        return {"status": "not built", "reason": _said(error)}
    row: Row = {"class": type(model).__name__, "parameters": sum(p.numel() for p in model.parameters())}
    try:
        before["train"] = _outputs(model, example, "train")
    except Exception as error:
        return row | {"status": "refused", "reason": f"fails in training mode: {_said(error)}"}
    try:
        swaps = replace_(model, _own, where=_known, example=example, gates=True, squashes=True)
    except ActsmithError as error:
        none = "holds no activation" in str(error)
        return row | {"status": "no activation" if none else "refused", "reason": _said(error)}
    row |= _found(swaps)
    after = {mode: _outputs(model, example, mode) for mode in MODES}
    row["difference"] = {mode: _distance(before[mode], after[mode]) for mode in MODES}
    swaps.undo()
    restored = all(_distance(before[mode], _outputs(model, example, mode)) == 0 for mode in MODES)
    wrong = [f"differs by {far:.1e} in {mode} mode" for mode, far in row["difference"].items() if not far <= TOLERANCE]
    if wrong:
        row["difference_float64"] = _in_double(build)
        wrong = wrong if not max(row["difference_float64"].values()) <= TOLERANCE_DOUBLE else []
    wrong += [] if restored else ["undo leaves a difference"]
    return row | {"status": "wrong" if wrong else "equal", "reason": "; ".join(wrong) or None}


def _in_double(build: Build) -> dict[str, float]:
    """The same comparison in float64, where float32 may have been lost in rounding: random weights can leave outputs of
    1e-40, or differences of equal numbers for a normalisation to blow up."""
    try:
        torch.manual_seed(0)
        model, example = build()
        model, example = model.double(), _double(example)
        before = {mode: _outputs(model, example, mode) for mode in MODES}
        replace_(model, _own, where=_known, example=example, gates=True, squashes=True)
        return {mode: _distance(before[mode], _outputs(model, example, mode)) for mode in MODES}
    except Exception:  # it holds float32 somewhere
        return dict.fromkeys(MODES, float("inf"))


def _double(example: Any) -> Any:
    if isinstance(example, dict):
        return {k: _double(v) for k, v in example.items()}
    return example.double() if example.is_floating_point() else example


def _own(site: Any) -> Any:
    return site.formula


def _known(site: Any) -> bool:
    return site.formula is not None


def _found(swaps: Swaps) -> Row:
    """Of the sites: how many, what they are, what is taken only when asked for and why, what was swapped, what was
    left and why."""
    left = Counter("no formula is known" if s.formula is None else _short(why) for s, why in swaps.skipped)
    return {
        "found": len(swaps.found),
        "by_default": sum(s.ordinary and s.fixed is None for s in swaps.found),
        "activations": Counter(s.activation or s.class_name for s in swaps.found),
        "asked_for": Counter(_short(s.reason) for s in swaps.found if s.reason is not None),
        "swapped": len(swaps.changed),
        "by": Counter(c.method for c in swaps.changed),
        "proven": sum(c.proven for c in swaps.changed),
        "left": left,
    }


def _short(why: str) -> str:
    """A reason without the places that it names."""
    return re.sub(r"line \d+ of \S+", "", why.partition("(")[0]).strip(" ,:;")


def _said(error: Exception) -> str:
    text = str(error) if isinstance(error, ActsmithError) else f"{type(error).__name__}: {error}"
    text = re.sub(r"\S*/site-packages/", "", " ".join(text.split()))
    return text if len(text) <= 300 else f"{text[:297]}..."


def _outputs(model: nn.Module, example: Any, mode: str) -> list[torch.Tensor]:
    state, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - masks of speech models come from it
    try:
        with untouched(model, MODES[mode]):
            found = tensors_in(run_example(model, example))
    finally:
        random.setstate(state)
        np.random.set_state(numbers)  # noqa: NPY002
    return [t.detach().clone() for t in found if t.is_floating_point()]


def _distance(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    """The largest difference over the largest output; infinite where shapes, or what is finite, differ."""
    size, far = 0.0, 0.0
    for a, b in zip(first, second, strict=True):
        if a.shape != b.shape or not torch.equal(a.isfinite(), b.isfinite()):
            return float("inf")
        kept = a.isfinite()
        if kept.any():
            size = max(size, float(a[kept].abs().max()))
            far = max(far, float((a[kept].double() - b[kept].double()).abs().max()))
    return far / size if far else 0.0


# ------------------------------------------------------------------------------------------------------ all of them


def run(names: Iterable[tuple[str, str, Build]], file: Path, seconds: float = SECONDS) -> list[Row]:
    """A row for each (package, name, how to build it), those of the file as they stand there, in a process of its own
    each, so that memory is given back and one that hangs or dies is a row too."""
    done = {(row["package"], row["model"]): row for row in read(file)}
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for package, name, build in names:
        if (package, name) not in done:
            row = {"package": package, "model": name, **_apart(build, seconds)}
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
            done[package, name] = row
        rows.append(done[package, name])
    return rows


def read(file: Path) -> list[Row]:
    """The rows of the file; a last line that a kill cut off is not there."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
    whole = [line for line in lines if line.endswith("\n")]
    if whole != lines:
        file.write_text("".join(whole), encoding="utf-8")
    return [json.loads(line) for line in whole]


def _apart(build: Build, seconds: float) -> Row:
    context = multiprocessing.get_context("fork")  # what is imported here is there already
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(build, theirs))
    start = time.monotonic()
    process.start()
    theirs.close()
    row: Row = {"status": "not finished", "reason": f"no answer within {seconds:g} s"}
    try:
        if ours.poll(seconds):
            row = ours.recv()
    except EOFError:
        process.join()
        row["reason"] = f"its process ended with status {process.exitcode}"
    process.kill()
    process.join()
    return row | {"seconds": round(time.monotonic() - start, 1)}


def _send(build: Build, pipe: Any) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    try:
        row = row_of(build)
    except BaseException as error:
        row = {"status": "wrong", "reason": f"raises {_said(error)}"[:300]}  # type: ignore[arg-type]
    pipe.send(row | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024})


def everything(packages: Iterable[str] = PACKAGES) -> Iterator[tuple[str, str, Build]]:
    for package in packages:
        for name, build in PACKAGES[package]():
            yield package, name, build


# ------------------------------------------------------------------------------------------------------ the table


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Counts per library, why sites are taken only when asked for or left, and every model that is not equal."""
    rows = list(rows)
    packages = list(dict.fromkeys(r["package"] for r in rows))
    lines = [
        "| library | models | run | equal | wrong | refused | without activations | not built or run | "
        "sites found | taken by default | swapped | left |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for package in packages:
        of = [r for r in rows if r["package"] == package]
        states = Counter(r["status"] for r in of)
        counts = [len(of), len(of) - states["not built"], states["equal"], states["wrong"] + states["not finished"]]
        counts += [states["refused"], states["no activation"], states["not built"]]
        counts += [sum(r.get(key, 0) for r in of) for key in ("found", "by_default", "swapped")]
        counts.append(sum(sum(r.get("left", {}).values()) for r in of))
        lines.append(f"| {package} | {' | '.join(f'{n:,}' for n in counts)} |")
    for title, key in (("taken only when asked for", "asked_for"), ("left", "left")):
        lines += ["", f"| {title} | {' | '.join(packages)} |", f"|---|{'---|' * len(packages)}"]
        totals = {p: sum((Counter(r.get(key, {})) for r in rows if r["package"] == p), Counter()) for p in packages}
        for reason, _ in sum(totals.values(), Counter()).most_common():
            lines.append(f"| {reason} | {' | '.join(f'{totals[p][reason]:,}' for p in packages)} |")
    for status in ("wrong", "not finished", "refused", "not built"):
        of = [r for r in rows if r["status"] == status]
        if of:
            lines += ["", f"| {'not built or run' if status == 'not built' else status} | why |", "|---|---|"]
            lines += [f"| {r['package']} {r['model']} | {r['reason'].replace('|', chr(92) + '|')} |" for r in of]
    return "\n".join(lines) + "\n"


def write_table(rows: Iterable[Mapping[str, Any]], page: Path = PAGE) -> None:
    text = page.read_text(encoding="utf-8")
    head, rest = text.split("<!-- sweep -->\n", 1)
    _, tail = rest.split("<!-- /sweep -->", 1)
    page.write_text(f"{head}<!-- sweep -->\n{table(rows)}<!-- /sweep -->{tail}", encoding="utf-8")


def main(arguments: list[str]) -> int:
    if arguments == ["--table"]:
        write_table(read(FILE))
        return 0
    for name in arguments or PACKAGES:
        __import__(name)  # once, before the processes part
    bad = 0
    for one in everything(arguments or PACKAGES):
        (row,) = run([one], FILE)
        bad += row["status"] in ("wrong", "not finished")
        print(f"{row['package']} {row['model']}: {row['status']} {row['reason'] or ''}", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
