"""Which sites a swap takes: by activation, path, class, depth or a function of the site."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence

from torch import nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import CATALOGUE
from actsmith.surgery.sites import Site

__all__ = ["Where", "choose"]

Where = str | type[nn.Module] | int | range | slice | Callable[[Site], bool] | Sequence["Where"]
"""An activation's name ("gelu"), a path or a pattern of paths ("blocks.*.act"), a class, a depth (0 is the first site,
-1 the last) or a range or slice of depths, a predicate; or a list of these, all of which must hold."""


def choose(
    found: Sequence[Site], where: Where | None, gates: bool, squashes: bool
) -> tuple[list[Site], list[tuple[Site, str]]]:
    """(chosen, [(left out, why)]).

    Raises:
        ActsmithError: `where` is of no known kind.
    """
    chosen: list[Site] = []
    skipped: list[tuple[Site, str]] = []
    for site in found:
        if where is not None and not _holds(site, where, len(found)):
            skipped.append((site, "not selected by `where`"))
        elif not (where == site.path or (gates and site.gates) or (squashes and site.squashes) or site.ordinary):
            kind, flag = ("a gate", "gates") if site.gates else ("a squash", "squashes")
            skipped.append((site, f"{kind}; {flag}=True takes it too"))
        else:
            chosen.append(site)
    return chosen, skipped


def _holds(site: Site, where: Where, count: int) -> bool:
    if isinstance(where, str):
        if where in CATALOGUE or where == site.activation:
            return where == site.activation
        return any(fnmatch.fnmatchcase(path, where) for path in (site.path, *site.aliases))
    if isinstance(where, type):
        return site.class_name == where.__name__
    if isinstance(where, int | slice | range):
        depths = range(count)[where] if isinstance(where, slice) else where
        return site.depth == depths % count if isinstance(depths, int) else site.depth in depths
    if callable(where):
        return bool(where(site))
    if isinstance(where, Sequence):
        return all(_holds(site, w, count) for w in where)
    raise ActsmithError(
        f"replace_: where: got {type(where).__name__}; expected an activation's name, a path or pattern, a class, a "
        "depth, a slice of depths, a predicate, or a list of these"
    )
