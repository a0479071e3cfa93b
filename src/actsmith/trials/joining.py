"""What a search trains, as a process on another machine can follow it: plain values, functions by their names."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.files import plain
from actsmith.formula.catalogue import resolve
from actsmith.formula.formula import Formula
from actsmith.names import named_object
from actsmith.trials.functions import why_not_importable
from actsmith.trials.measured import measured_there
from actsmith.trials.runner import Runner
from actsmith.trials.setup import runner_of
from actsmith.trials.worker import leave_if_importing

__all__ = ["joined_runner", "request_of"]

NAMES = ("task", "train", "metric", "better", "start", "test", "data", "device", "precision", "options")


def request_of(arguments: Mapping[str, Any]) -> dict[str, Any] | str:
    """The arguments of `runner_of` as plain values; where they have none, why.

    Args:
        arguments: by name; others are left aside. A function becomes `module:function`.
    """
    if arguments.get("example") is not None:
        return "example= is an object of the script that began the search"
    found: dict[str, Any] = {name: arguments.get(name) for name in NAMES}
    for name in ("task", "train", "test"):
        value = found[name]
        if value is None or isinstance(value, str):
            continue
        why = None if callable(value) else f"{name} is a {type(value).__name__} of the script that began the search"
        if (why := why or why_not_importable(value) or _why_not_named(value)) is not None:
            return why
        found[name] = f"{_module_of(value)}:{value.__qualname__}"
    found["start"] = None if found["start"] is None else resolve(found["start"]).to_dict()
    found["data"] = None if found["data"] is None else str(Path(found["data"]).expanduser().resolve())
    options = dict(found["options"] or {})
    if options.get("train_file") is not None:
        options["train_file"] = str(Path(options["train_file"]).expanduser().resolve())
    try:
        return json.loads(json.dumps(plain({**found, "options": options})))  # type: ignore[no-any-return]
    except TypeError as error:
        return f"its options are not plain values ({error})"


def joined_runner(request: Mapping[str, Any], context: str, folder: Path, data: Path | None = None) -> Runner:
    """The runner of a search that was begun elsewhere.

    Args:
        request: see `request_of`.
        context: of the search's own runner.
        folder: holds measured.json, once something was measured.
        data: the folder of the data on this machine, instead of that machine's.

    Raises:
        ActsmithError: what it names is not here, or is not the same here.
    """
    leave_if_importing()
    given = dict(request)
    if given["test"] is not None:
        given["test"] = named_object(given["test"], "test")
    if given["start"] is not None:
        given["start"] = Formula.from_dict(given["start"])
    own = data or given["data"]
    if data is None and own is not None and not Path(own).is_dir():
        raise ActsmithError(f"worker: the search reads its data from {own!r}, which is not here; give --data DIR")
    try:
        runner = runner_of(**{**given, "data": own}, example=None)
    except ActsmithError as error:
        raise ActsmithError(f"worker: what the search trains, {given['task']}, cannot be had here: {error}") from None
    if runner.context != context:
        what = "data (--data)" if given["train"] is None else "functions"
        raise ActsmithError(
            f"worker: {given['task']} is not the same here as where the search was begun: its {what}, its options or "
            "the version of actsmith differ"
        )

    runner.remember(measured_there(folder))
    return runner


def _module_of(function: Any) -> str:
    if function.__module__ in ("__main__", "__mp_main__"):
        return Path(str(sys.modules["__main__"].__file__)).stem
    return str(function.__module__)


def _why_not_named(function: Any) -> str | None:
    """A partial and an object with `__call__` can be sent to a process of one's own, and have no name."""
    if getattr(function, "__qualname__", None) is None:
        return f"a {type(function).__name__} has no name by which another process could find it"
    return (
        None if _module_of(function).isidentifier() or "." in _module_of(function) else "its file has no module's name"
    )
