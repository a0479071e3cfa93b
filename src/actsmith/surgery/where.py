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
"""An activation's name ("gelu"), a path or a pattern of paths ("blocks.*.act"), a class of modules and what derives
from it, a depth (0 is the first site, -1 the last) or a range or slice of depths, a predicate; or a list of these, all
of which must hold."""


def choose(
    model: nn.Module, found: Sequence[Site], where: Where | None, gates: bool, squashes: bool
) -> tuple[list[Site], list[tuple[Site, str]]]:
    """(chosen, [(left out, why)]).

    Raises:
        ActsmithError: `where` is of no known kind, or a depth that the model has not.
    """
    chosen: list[Site] = []
    skipped: list[tuple[Site, str]] = []
    for site in found:
        if where is not None and not _holds(model, site, where, len(found)):
            skipped.append((site, "not selected by `where`"))
        elif not (
            site.fixed or where == site.path or (gates and site.gates) or (squashes and site.squashes) or site.ordinary
        ):
            skipped.append((site, f"{site.reason}; {'gates' if site.gates else 'squashes'}=True takes it too"))
        else:
            chosen.append(site)
    return chosen, skipped


def _holds(model: nn.Module, site: Site, where: Where, count: int) -> bool:
    if isinstance(where, str):
        if where in CATALOGUE or where == site.activation:
            return where == site.activation
        return any(fnmatch.fnmatchcase(path, where) for path in (site.path, *site.aliases))
    if isinstance(where, type):
        return site.kind == "module" and isinstance(model.get_submodule(site.path), where)
    if isinstance(where, int | slice | range):
        return site.depth in _depths(where, count)
    if callable(where):
        return bool(where(site))
    if isinstance(where, Sequence):
        return all(_holds(model, site, w, count) for w in where)
    raise ActsmithError(
        f"replace_: where: got {type(where).__name__}; expected an activation's name, a path or pattern, a class, a "
        "depth, a slice of depths, a predicate, or a list of these"
    )


def _depths(where: int | slice | range, count: int) -> range | tuple[int]:
    if isinstance(where, range):
        return where
    if isinstance(where, slice):
        return range(count)[where]
    if not -count <= where < count:
        raise ActsmithError(f"replace_: where={where}: the model has {count} sites; expected {-count} to {count - 1}")
    return (where % count,)
