"""What `replace_` puts in: from whatever the user named to a module for every site."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike
from actsmith.formula.formula import Formula
from actsmith.names import did_you_mean
from actsmith.nn.activation import Activation, Share
from actsmith.nn.as_formula import as_formula, formula_of_function
from actsmith.surgery.sites import Site

__all__ = ["To", "choose_named", "maker"]

To = (
    FormulaLike
    | nn.Module
    | type[nn.Module]
    | Mapping[str, Any]
    | Callable[[Site], "FormulaLike | nn.Module"]
    | Callable[..., Any]
)
"""What to put in: a formula or its name; a module (copied for every site; an `Activation` by its `like`); a class of
modules without arguments, as `acts.nn.CRReLU`; a function of torch's, as `torch.nn.functional.gelu`; a mapping from a
site's path to one of these; or a function of the site that returns one."""


def maker(to: To, share: Share) -> Callable[[Site], nn.Module]:
    """Site -> the new module."""
    if isinstance(to, Mapping):
        each = {path: maker(one, share) for path, one in to.items()}
        return lambda site: each[_key(site, each) or site.path](site)
    if formula_of_function(to) is not None:
        to = as_formula(to)
    asks = not isinstance(to, str | Formula | nn.Module | type | partial) and callable(to)
    first: list[Activation] = []

    def make(site: Site) -> nn.Module:
        new: Any = to(site) if asks and callable(to) else to
        if isinstance(new, nn.Module):
            return new if asks else _another(new)
        if isinstance(new, type | partial):
            new = new()
            if isinstance(new, nn.Module):
                return new
        if formula_of_function(new) is not None:
            new = as_formula(new)
        if not isinstance(new, str | Formula):
            raise ActsmithError(
                f"replace_: to: got {type(new).__name__}; expected a formula, a name, a module, a function of torch's, "
                "a mapping from paths to these, or a function of the site that returns one"
            )
        if share == "model" and first and not asks:
            return first[0].like()
        if share == "channel":
            if site.channels is None:
                raise ActsmithError(f"replace_: share='channel': the example does not reach {site.path}, so its units "
                                    "cannot be counted; leave it out with where=")  # fmt: skip
            return Activation(new, "channel", site.channels, site.channel_dim)
        first.append(Activation(new, share))
        return first[-1]

    return make


def choose_named(found: Sequence[Site], to: Mapping[str, Any]) -> tuple[list[Site], list[tuple[Site, str]]]:
    """(chosen, [(left out, why)]) where `to` names the sites.

    Raises:
        ActsmithError: a path is no site's.
    """
    paths = [p for site in found for p in (site.path, *site.aliases)]
    if unknown := [path for path in to if path not in paths]:
        hint = did_you_mean(unknown[0], paths) or f"the sites are {', '.join(paths[:8])}"
        raise ActsmithError(f"replace_: to: {unknown[0]!r} is no site of the model; {hint}")
    chosen = [site for site in found if _key(site, to) is not None]
    return chosen, [(site, "not named in `to`") for site in found if _key(site, to) is None]


def _key(site: Site, to: Mapping[str, Any]) -> str | None:
    return next((p for p in (site.path, *site.aliases) if p in to), None)


def _another(module: nn.Module) -> nn.Module:
    return module.like() if isinstance(module, Activation) else copy.deepcopy(module)
