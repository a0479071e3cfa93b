"""A paper's experiment by name, at a preset's cost, into a folder that a killed run goes on from."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from actsmith.errors import ActsmithError
from actsmith.experiments.findings import Findings
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.loop import Runtime
from actsmith.formula.catalogue import FormulaLike, resolve
from actsmith.formula.formula import Formula

__all__ = ["Part", "Preset", "Reproduction", "Result", "reproduce", "reproduction", "reproduction_names"]

Report = Callable[[str, int, int, str], None]
PresetName = Literal["smoke", "small", "paper"]

_HOME = {
    "mrepu-kernel": "mrepu_kernel",
    "mrepu-polynomial": "mrepu_polynomial",
    "mrepu-function": "mrepu_function",
    "mrepu-burgers": "mrepu_burgers",
    "mrepu-vision": "mrepu_vision",
    "crrelu-vision": "crrelu_vision",
    "crrelu-eps": "crrelu_eps",
    "crrelu-layers": "crrelu_layers",
    "crrelu-law": "crrelu_law",
    "crrelu-dpo": "crrelu_dpo",
    "theory-vs-training": "theory_vs_training",
    "dynamic-eafo": "dynamic_eafo",
}
"""Name -> module in `reproductions`, each with a `REPRODUCTION`."""


class Part(Protocol):
    """One piece of work of a reproduction: an `Experiment`, or anything that fills a folder and can go on."""

    @property
    def name(self) -> str: ...

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that say all there is to say; they decide whether a folder is the same run."""

    def run(self, folder: RunFolder, runtime: Runtime, data: Path | None, report: Report) -> None:
        """Do what the folder does not hold yet."""


@dataclass(frozen=True)
class Preset:
    """How much of a reproduction.

    Attributes:
        parts: from the activations to the work.
        cost: what to expect, in words: time, machine, data.
    """

    parts: Callable[[tuple[Formula, ...]], tuple[Part, ...]]
    cost: str


@dataclass(frozen=True)
class Reproduction:
    """A published experiment.

    Attributes:
        name, title: on the command line, for readers.
        source: paper and section.
        claims: what the paper says, in a sentence.
        activations: compared when the user names none.
        presets: "smoke" (seconds), "small" (minutes on two cores), "paper" (the published size).
        read: from the folder and the parts to what was found.
    """

    name: str
    title: str
    source: str
    claims: str
    activations: tuple[FormulaLike, ...]
    presets: Mapping[PresetName, Preset]
    read: Callable[[RunFolder, tuple[Any, ...]], Findings]


@dataclass(frozen=True)
class Result:
    """A finished reproduction.

    Attributes:
        reproduction, preset: what was run.
        folder: where its files are.
        findings: what came out.
        command: the line that runs the same again, DIR for the folder of the data.
    """

    reproduction: Reproduction
    preset: str
    folder: Path
    findings: Findings
    command: str


def reproduction_names() -> list[str]:
    """The reproductions that there are."""
    return list(_HOME)


def reproduction(name: str) -> Reproduction:
    """One by name.

    Raises:
        ActsmithError: no such name; lists near matches.
    """
    if name not in _HOME:
        near = difflib.get_close_matches(name, _HOME, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"expected {', '.join(_HOME)}"
        raise ActsmithError(f"no reproduction named {name!r}; {hint}")
    found: Reproduction = importlib.import_module(f"actsmith.experiments.reproductions.{_HOME[name]}").REPRODUCTION
    return found


def reproduce(
    name: str,
    preset: PresetName = "small",
    out: str | Path | None = None,
    *,
    data: str | Path | None = None,
    activations: Sequence[FormulaLike] = (),
    device: Literal["auto", "cpu"] = "auto",
    precision: Literal["no", "bf16", "fp16"] = "no",
    report: Report | None = None,
    runtime: Runtime | None = None,
) -> Result:
    """Run a published experiment, or go on with it where it was interrupted.

    Args:
        name: one of `reproduction_names()`.
        preset: "smoke", "small" or "paper"; each states its cost in `reproduction(name).presets`.
        out: the folder; runs/NAME-PRESET by default. One that holds the same run is gone on with.
        data: the folder of the data sets.
        activations: compared beside the reproduction's own.
        device, precision: where, and in what (mixed precision through Accelerate).
        report: called with (stage, done, total, message).
        runtime: in place of device and precision.

    Raises:
        ActsmithError: no such name or preset, the folder holds another run, data are missing.
    """
    found = reproduction(name)
    if preset not in found.presets:
        raise ActsmithError(f"reproduce {name}: preset: got {preset!r}; expected {', '.join(found.presets)}")
    formulas = _different([resolve(f) for f in (*found.activations, *activations)])
    parts = found.presets[preset].parts(formulas)
    path = Path(out).expanduser() if out is not None else Path("runs") / f"{name}-{preset}"
    folder_of_data = Path(data).expanduser() if data is not None else None
    if folder_of_data is not None and not folder_of_data.is_dir():
        raise ActsmithError(f"reproduce {name}: data: no folder {str(data)!r}; give the folder of the data sets")
    here = runtime or Runtime.create(device, precision)
    config = {"reproduction": name, "preset": preset, "parts": [part.to_dict() for part in parts]}
    if not here.main:  # the first process makes the folder, the others read it
        here.accelerator.wait_for_everyone()
    folder = RunFolder(path, config, resume=True)
    with folder.locked() if here.main else _unlocked():
        if here.main:
            here.accelerator.wait_for_everyone()
        for part in parts:
            part.run(folder, here, folder_of_data, report or (lambda *_: None))
    command = f"actsmith reproduce {name} --preset {preset}"
    command += " --data DIR" if data is not None else ""
    command += "".join(f" --activation {resolve(f).name}" for f in activations)
    return Result(found, preset, path, found.read(folder, parts), command)


def _unlocked() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def _different(formulas: Sequence[Formula]) -> tuple[Formula, ...]:
    """The same without repeated names."""
    by_name = {f.name: f for f in formulas}
    return tuple(by_name.values())
