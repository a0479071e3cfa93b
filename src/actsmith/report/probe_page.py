"""The probe as a page: one row and one small picture per site, before and after training side by side.

It takes what `Probe.to_dict()` gave, from memory or from a file, and computes nothing but where a line goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["probe_page"]

WIDTH, HEIGHT, MARGIN = 180, 72, 4

STYLE = """\
body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1d2330;background:#fff}
table{border-collapse:collapse;width:100%}th,td{padding:.35rem .6rem;border-bottom:1px solid #dfe3ea;text-align:right}
th:first-child,td:first-child{text-align:left;font-family:ui-monospace,monospace;font-size:12px}
th{position:sticky;top:0;background:#f5f7fa;font-weight:600}td.warn{color:#a33b00;font-weight:600}
svg{display:block;margin-left:auto}.p{fill:#3b6fd422;stroke:#3b6fd4;stroke-width:1.4}
.f{fill:none;stroke:#d4703b;stroke-width:1.2}.axis{stroke:#b8bfcb;stroke-width:.8}small{color:#5b6475}
@media(prefers-color-scheme:dark){body{background:#14171d;color:#e3e7ee}th{background:#1d222b}td,th{border-color:#313846}}
"""

COLUMNS = (
    ("mean", "mean"), ("std", "std"), ("K", "K"), ("K_star", "K*"), ("entropy_in", "H in"), ("entropy_out", "H out"),
    ("smoothed_out", "J out"), ("zeros", "zero"), ("dead", "dead"), ("gradient", "gradient"),
)  # fmt: skip
SHARES = ("zeros", "dead")
DEAD = 0.05


def probe_page(probes: Mapping[str, Mapping[str, Any]], title: str = "Probe") -> str:
    """A whole HTML page, without scripts and without anything from elsewhere.

    Args:
        probes: label ("before", "after") -> `Probe.to_dict()`; a column group each, in this order.
        title: heading of the page.
    """
    by_path = {label: {s["site"]["path"]: s for s in probe["sites"]} for label, probe in probes.items()}
    paths = list(dict.fromkeys(path for sites in by_path.values() for path in sites))
    rows = [_row(path, label, sites[path]) for path in paths for label, sites in by_path.items() if path in sites]
    heads = "".join(f"<th>{escape(text)}</th>" for text in ("", "activation", *(t for _, t in COLUMNS), "law and f"))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><p>{len(paths)} sites. H: entropy in nats; J: smoothed, scale-free output entropy; "
        "K = E[x²] beside the critical K*; zero: outputs that are 0; dead: units that never change. Blue: density of "
        "the pre-activation between its 0.1% and 99.9% quantiles; orange: the activation.</p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></body></html>"
    )


def _row(path: str, label: str, site: Mapping[str, Any]) -> str:
    what = site["site"]["activation"] or site["site"]["class_name"]
    cells = [f"<td>{escape(path)}<br><small>{escape(label)}</small></td>", f"<td>{escape(what)}</td>"]
    for key, _ in COLUMNS:
        value = site.get(key)
        warn = ' class="warn"' if key == "dead" and value and value > DEAD else ""
        cells.append(f"<td{warn}>{_number(key, value, site)}</td>")
    return f"<tr>{''.join(cells)}<td>{_picture(path, label, site)}</td></tr>"


def _number(key: str, value: float | None, site: Mapping[str, Any]) -> str:
    if key == "K_star" and site.get("universality") == "scale_invariant":
        return "any"
    if value is None:
        return "–"
    return f"{value:.1%}" if key in SHARES else f"{value:.3g}"


def _picture(path: str, label: str, site: Mapping[str, Any]) -> str:
    density = site.get("density")
    if density is None:
        return f"<small>{escape(site.get('reason') or 'no law')}</small>"
    x = density["x"]
    parts = [f'<path class="p" d="{_line(x, density["p"], low=0.0)}"/>']
    if density.get("f"):
        parts.append(f'<path class="f" d="{_line(x, density["f"])}"/>')
    if x[0] < 0 < x[-1]:
        at = _at(0.0, x[0], x[-1], WIDTH)
        parts.insert(0, f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{HEIGHT}"/>')
    name = escape(f"{path}, {label}: pre-activations from {x[0]:.3g} to {x[-1]:.3g}")
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">'
        f"<title>{name}</title>{''.join(parts)}</svg>"
    )


def _line(x: Sequence[float], y: Sequence[float], low: float | None = None) -> str:
    bottom, top = min(y) if low is None else low, max(y)
    points = (
        f"{_at(a, x[0], x[-1], WIDTH):.1f},{HEIGHT - _at(b, bottom, top, HEIGHT):.1f}"
        for a, b in zip(x, y, strict=True)
    )
    return f"M{' L'.join(points)}"


def _at(value: float, low: float, high: float, length: int) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return MARGIN + share * (length - 2 * MARGIN)
