"""Names that a user types: near matches of one that is not known, and the object that `module:object` stands for."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError

__all__ = ["did_you_mean", "in_current_folder", "named_object"]


def did_you_mean(name: str, known: Iterable[str], count: int = 3) -> str:
    """ "did you mean one or another?" with the known names nearest to `name`, "" where none is near.

    >>> did_you_mean("gleu", ["relu", "gelu", "tanh"])
    'did you mean gelu?'
    """
    names = list(known)
    lower = {n.lower(): n for n in reversed(names)}
    near = [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=count)]
    return f"did you mean {' or '.join(near)}?" if near else ""


def named_object(text: str, where: str) -> Any:
    """The object that `module:object` stands for: a module on the Python path or in the current folder, and an
    attribute of it, `a.b` for one inside another.

    Args:
        text: what the user wrote, as in "my_package.models:net".
        where: what asks: the head of the message.

    Raises:
        ActsmithError: it is not of that form, or there is no such module or attribute; near matches are listed. What
            the user's own module raises when it is imported is raised as it is.

    Example:
        >>> named_object("math:sqrt", "model")(4)
        2.0
        >>> named_object("math:sqr", "model")
        Traceback (most recent call last):
        ...
        actsmith.errors.ActsmithError: model math:sqr: math has no 'sqr'; did you mean sqrt or isqrt?
    """
    module_name, _, attribute = text.partition(":")
    if not _is_dotted(module_name) or not _is_dotted(attribute):
        raise ActsmithError(f"{where}: got {text!r}; expected module:object, as in my_package.my_module:my_object")
    with in_current_folder():
        found = _module(module_name, lambda why: ActsmithError(f"{where} {text}: {why}"))
    path = module_name
    for part in attribute.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, [n for n in dir(found) if not n.startswith("_")])
            raise ActsmithError(f"{where} {text}: {path} has no {part!r}{'; ' * bool(hint)}{hint}")
        found, path = getattr(found, part), f"{path}.{part}"
    return found


@contextmanager
def in_current_folder() -> Iterator[None]:
    """Modules of the current folder can be imported meanwhile, before others of the same name, as `python -m` does."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
        importlib.invalidate_caches()  # a file written a moment ago counts
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def _module(name: str, error: Callable[[str], ActsmithError]) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        # Another missing module is the user's own error and shows as itself.
        if missing.name is None or not f"{name}.".startswith(f"{missing.name}."):
            raise
    hint = did_you_mean(name, [p.stem for p in Path.cwd().glob("*.py")])
    raise error(f"no module {name!r} in the current folder or on the Python path{'; ' * bool(hint)}{hint}")


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))
