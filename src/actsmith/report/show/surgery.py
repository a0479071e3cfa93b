"""A real model: what its activations see, and what a swap changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from actsmith.errors import ActsmithError
from actsmith.formula.formula import Formula
from actsmith.nn.recognise import formula_of_module
from actsmith.report.figure import BLUE, CYCLE, DASHES, ORANGE, column, logarithmic
from actsmith.report.show.card import Card
from actsmith.report.show.formula import short
from actsmith.surgery.record import Probe
from actsmith.surgery.swaps import Swaps

__all__ = ["SHOWN"]

MOST = 60
"""Sites in a picture; the table has all."""
NAME = 20
PAIRS = len(CYCLE)


def _probe(p: Probe) -> Card:
    rows = p.rows()
    head = tuple(rows[0]) if rows else ()
    title = f"{len(rows)} site{'' if len(rows) == 1 else 's'}: what each activation sees and does"
    return Card(
        title,
        head=head,
        rows=[tuple(row.values()) for row in rows],
        notes=[p.verdict],
        plain=f"{p.table()}\n\n{p.verdict}",
    )


def _draw_probe(p: Probe, width: float) -> Any:
    records = [r for r in p.records.values() if r.count and r.K > 0][:MOST]
    if not records:
        raise ActsmithError("plot: no site of this probe saw anything; there is nothing to draw")
    places = np.arange(len(records))
    stars = [r.K_star or np.nan for r in records]
    with column(1, 2, (width, 1.0 + 0.17 * len(records)), sharey=True) as (figure, axes):
        left, right = axes[0]
        left.plot([r.K for r in records], places, "o", color=BLUE, label="K measured")
        if np.isfinite(stars).any():
            left.plot(stars, places, "D", color=ORANGE, markerfacecolor="none", label="K* critical")
        logarithmic(left, "x")
        left.set(xlabel="kernel K = E[x\u00b2]", ylim=(len(records) - 0.4, -0.6))
        left.set_yticks(places, [short(r.site.path or r.site.class_name, NAME) for r in records])
        for values, name, colour, marker in (
            ([r.zeros for r in records], "outputs that are 0", BLUE, "s"),
            ([r.dead for r in records], "dead units", ORANGE, "x"),
        ):
            right.plot(np.multiply(values, 100), places, marker, color=colour, label=name)
        right.set(xlabel="share in %", xlim=(-4, 104))
        for axis in (left, right):
            axis.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
        figure.suptitle("What the activations see")
        return figure


def _swaps(s: Swaps) -> Card:
    head = ("site", "was", "is", "by")
    rows = [(c.path, c.site.activation or c.site.class_name, _name(c.module), c.method) for c in s.changed]
    left = [f"Left out: {site.path}: {why}" for site, why in s.skipped]
    text = s.report()
    return Card(text.partition("\n")[0], head=head, rows=rows, notes=[*left, *s.notes], plain=text)


def _name(module: Any) -> str:
    formula = formula_of_module(module)
    return type(module).__name__ if formula is None else formula.name


def _draw_swaps(s: Swaps, width: float) -> Any:
    pairs: dict[tuple[Formula, Formula], int] = {}
    for change in s.changed:
        new = formula_of_module(change.module)
        if change.site.formula is not None and new is not None:
            pairs[change.site.formula, new] = pairs.get((change.site.formula, new), 0) + 1
    if not pairs:
        raise ActsmithError("plot: no swap with both formulas known; there is nothing to draw")
    x = np.linspace(-4.0, 4.0, 401)
    with column(1, 2, (width, 1.75 + 0.11 * min(len(pairs), PAIRS)), sharex=True) as (figure, axes):
        value, slope = axes[0]
        for i, ((old, new), count) in enumerate(list(pairs.items())[:PAIRS]):
            label = f"{short(old.name, NAME)} \u2192 {short(new.name, NAME)} ({count} site{'s' * (count > 1)})"
            for axis, k in ((value, 0), (slope, 1)):
                axis.plot(x, old.jet(x, 1)[k], color=CYCLE[i], linestyle=DASHES[1], linewidth=1.0)
                axis.plot(x, new.jet(x, 1)[k], color=CYCLE[i], linewidth=1.4, label=None if k else label)
        value.set(xlabel="pre-activation x", ylabel="f(x)", xlim=(-4, 4))
        slope.set(xlabel="pre-activation x", ylabel="f'(x)")
        figure.legend(loc="outside lower center", frameon=False, fontsize="small")
        figure.suptitle("Exchanged (dashed: before)")
        return figure


SHOWN = {"Probe": (_probe, _draw_probe), "Swaps": (_swaps, _draw_swaps)}
