"""`actsmith rank`: formulas by their output entropy."""

from __future__ import annotations

import argparse

from actsmith.cli.common import (
    formula_options,
    formulas_of,
    json_option,
    law_option,
    print_json,
    print_table,
    tau_option,
)

NAME = "rank"
HELP = "Formulas by their smoothed, scale-free output entropy, lowest first: an order of entropies, not of merit."
EXAMPLES = (
    "rank",
    "rank relu gelu silu mish tanh",
    'rank relu "x*sigmoid(b*x)" --param b=1.5 --law student:5',
)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("formulas", nargs="*", metavar="FORMULA", help="what to rank (default: the whole catalogue)")
    formula_options(parser)
    law_option(parser)
    tau_option(parser)
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Rank them and print the table."""
    from actsmith.formula.catalogue import CATALOGUE
    from actsmith.report.show.theory import ALONE
    from actsmith.theory.analysis import rank

    texts = request.formulas or list(CATALOGUE)
    analyses = rank(formulas_of(texts, request), request.law, request.tau)
    rows = [
        {
            "name": a.formula.name,
            "formula": a.formula.text,
            "smoothed": a.entropy.smoothed,
            "scale_free": a.entropy.scale_free,
            "error": a.entropy.error,
            "universality": a.criticality.universality,
            "verdict": a.criticality.verdict,
            "reasons": dict(a.entropy.reasons),
            "note": a.note,
        }
        for a in analyses
    ]
    if request.json:
        return print_json({"law": request.law, "order": "smoothed entropy, lowest first", "rows": rows})
    shown = []
    for a in analyses:
        values = (a.entropy.smoothed, a.entropy.scale_free)
        shown.append([a.formula.name, *("undefined" if v is None else f"{v:+.6f}" for v in values)])
        shown[-1] += [f"± {a.entropy.error:.0e}", a.criticality.universality]
    print_table(["name", "smoothed", "scale-free", "error", "universality"], shown)
    print(f"\n{ALONE} To settle it: actsmith compare.")
    for note in {a.note: None for a in analyses if a.note}:
        print(f"\n{note}")
    return None
