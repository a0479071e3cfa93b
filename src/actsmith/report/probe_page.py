"""The probe as a page: a verdict, all sites in one picture, one small picture a site, then every number.

It takes what `Probe.to_dict()` gave, from memory or from a file, and computes nothing but where a line goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import numpy as np

import actsmith
from actsmith.errors import require
from actsmith.report.figure import BLACK, BLUE, CYCLE, GREY, ORANGE, drawing, logarithmic
from actsmith.report.html import inline_svg, render_page
from actsmith.report.section import Figure, Section, Table

__all__ = ["probe_page"]

COLUMNS = (
    ("mean", "mean"), ("std", "std"), ("K", "K"), ("K_star", "K*"), ("entropy_in", "H in"), ("entropy_out", "H out"),
    ("smoothed_out", "J out"), ("zeros", "zero"), ("dead", "dead"), ("gradient", "gradient"),
)  # fmt: skip
SHARES = ("zeros", "dead")
MOST = 60
"""Sites of the picture of all."""
NAME = 28
"""Characters of a site's path in it, the last ones."""
LEGEND = (
    "H: entropy in nats; J: smoothed, scale-free output entropy; K = E[x²] beside the critical K*; zero: outputs that "
    "are 0; dead: units that never change."
)

Probed = Mapping[str, Any]


def probe_page(probes: Mapping[str, Probed], title: str = "Probe") -> str:
    """A whole HTML page, without scripts and without anything from elsewhere.

    Args:
        probes: label ("before", "after") -> `Probe.to_dict()`; the sites of each, in this order.
        title: heading of the page.

    Raises:
        ActsmithError: matplotlib or jinja2 is missing.
    """
    rows = [(label, site) for label, probe in probes.items() for site in probe["sites"]]
    order = list(dict.fromkeys(site["site"]["path"] for _, site in rows))
    rows.sort(key=lambda row: order.index(row[1]["site"]["path"]))
    several = len(probes) > 1
    named = [(f"{s['site']['path']}, {label}" if several else s["site"]["path"], s) for label, s in rows]
    drawn = [(name, site) for name, site in named if site.get("density")]
    small = [_picture(f"site{i}", name, site) for i, (name, site) in enumerate(drawn)]
    sections = [Section("sites", "Site by site", [_CAPTION], figures=small, small=True)] if small else []
    sections.append(Section("numbers", "All numbers", [LEGEND], tables=[_table(named)] if named else []))
    said = {label: p.get("verdict", "") for label, p in probes.items()}  # no folder of before 0.2 has one
    verdicts = [f"{label}: {text}" if several else text for label, text in said.items() if text]
    source = "" if several else f"Inputs: {next(iter(probes), '')}."
    return render_page(
        "page.html",
        title=title,
        verdict=" ".join([*verdicts, source]).strip(),
        lead=_all(probes) if rows else None,
        sections=sections,
        version=actsmith.__version__,
    )


_CAPTION = (
    "Blue: the density of the pre-activation between its 0.1 % and 99.9 % quantiles, on the left-hand scale. Orange: "
    "the activation there, on the right-hand one."
)


def _table(named: Sequence[tuple[str, Probed]]) -> Table:
    """Without the columns in which nothing stands."""
    kept = [(key, head) for key, head in COLUMNS if any(_number(key, site) != "–" for _, site in named)]
    rows = []
    for name, site in named:
        what = site["site"]["activation"] or site["site"]["class_name"]
        remark = site.get("reason") or ""
        if site.get("far_from_critical"):
            remark = "far from critical"
        elif site.get("in_normalised_block"):
            remark = "in a block that normalises"
        rows.append((f"`{name}`", what, *(_number(key, site) for key, _ in kept), remark))
    head = ["site", "activation", *(head for _, head in kept), "remark"]
    if not any(row[-1] for row in rows):
        return Table("Every site", tuple(head[:-1]), [row[:-1] for row in rows])
    return Table("Every site", tuple(head), rows)


def _number(key: str, site: Probed) -> str:
    value = site.get(key)
    if key == "K_star" and site.get("universality") == "scale_invariant":
        return "any"
    if value is None:
        return "–"
    return f"{value:.1%}" if key in SHARES else f"{value:.3g}"


def _all(probes: Mapping[str, Probed]) -> Figure:
    """K of every site beside the critical one, and the shares of zeros and of dead units."""
    require("matplotlib", "report", "report")
    from matplotlib.ticker import LogLocator, NullFormatter

    paths = list(dict.fromkeys(s["site"]["path"] for p in probes.values() for s in p["sites"]))[:MOST]
    places = {path: i for i, path in enumerate(paths)}
    buffer = StringIO()
    with drawing(buffer, 1, 2, (7.6, 1.5 + 0.26 * len(paths)), sharey=True) as (figure, axes):
        kernel, shares = axes[0]
        for (label, probe), colour, marker in zip(probes.items(), _COLOURS, "osv^DP", strict=False):
            sites = [s for s in probe["sites"] if s["site"]["path"] in places]
            at = [places[s["site"]["path"]] for s in sites]
            look = {"linestyle": "", "marker": marker, "color": colour}
            named = f"K, {label}" if len(probes) > 1 else "K measured"
            kernel.plot([s["K"] if s["K"] else np.nan for s in sites], at, label=named, **look)
            shares.plot([100 * (s["zeros"] or 0.0) for s in sites], at, **look)
            shares.plot([100 * (s["dead"] or 0.0) for s in sites], at, "x", color=ORANGE)
            stars = [s["K_star"] if s["K_star"] and not s.get("in_normalised_block") else np.nan for s in sites]
            kernel.plot(stars, at, "D", color=BLACK, markerfacecolor="none", label="K* critical, where it is asked")
        logarithmic(kernel, "x")
        kernel.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
        kernel.xaxis.set_minor_formatter(NullFormatter())
        kernel.set(xlabel="kernel K = E[x²]", ylim=(len(paths) - 0.4, -0.6))
        kernel.set_yticks(range(len(paths)), [p if len(p) <= NAME else f"…{p[1 - NAME :]}" for p in paths])
        shares.set(xlabel="outputs that are 0; dead units (x), in %", xlim=(-4, 104))
        handles, labels = kernel.get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=2, frameon=False)
    caption = f"The first {MOST} sites." if len(paths) == MOST else ""
    alt = f"The kernel of each of {len(paths)} sites beside the critical one, and its shares of zeros and dead units."
    return Figure(inline_svg(buffer.getvalue(), "all"), alt, caption)


_COLOURS = (BLUE, *CYCLE[2:])


def _picture(name: str, title: str, site: Probed) -> Figure:
    density = site["density"]
    x = density["x"]
    buffer = StringIO()
    with drawing(buffer, 1, 1, (3.4, 2.1)) as (_, axes):
        axis = axes[0, 0]
        axis.fill_between(x, density["p"], color=BLUE, alpha=0.25, linewidth=0)
        axis.plot(x, density["p"], color=BLUE, linewidth=1.4)
        axis.set(xlim=(x[0], x[-1]), ylim=(0, None), xlabel="pre-activation x", ylabel="density")
        axis.locator_params(nbins=4)
        if x[0] < 0 < x[-1]:
            axis.axvline(0, color=GREY, linewidth=0.8)
        if density.get("f"):
            beside = axis.twinx()
            beside.plot(x, density["f"], color=ORANGE, linewidth=1.4)
            beside.grid(visible=False)
            beside.spines["right"].set_visible(True)
            beside.set_ylabel("f(x)")
            beside.locator_params(axis="y", nbins=4)
    what = site["site"]["activation"] or site["site"]["class_name"]
    numbers = f"mean {site['mean']:.3g}, std {site['std']:.3g}, dead {site['dead']:.0%}"
    alt = f"{title}: pre-activations from {x[0]:.3g} to {x[-1]:.3g}."
    return Figure(inline_svg(buffer.getvalue(), name), alt, f"`{title}`: {what}; {numbers}")
