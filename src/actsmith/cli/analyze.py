"""`actsmith analyze`: entropy, criticality and shape of one formula."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from actsmith.cli.common import formula_of, formula_options, json_option, law_option, print_json, tau_option

NAME = "analyze"
HELP = "What a formula does to information (entropy) and to depth (criticality)."
EXAMPLES = (
    "analyze gelu",
    'analyze "x*sigmoid(b*x)" --param b=1.5 --law laplace --json',
    "analyze relu --html relu.html",
)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("formula", metavar="FORMULA")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures")
    formula_options(parser)
    law_option(parser)
    tau_option(parser)
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Analyse it; print, and write the page where asked."""
    from actsmith.theory.analysis import analyze

    analysis = analyze(formula_of(request.formula, request), request.law, request.tau)
    if request.html:
        from actsmith.report.analysis_page import analysis_page
        from actsmith.report.html import write_page

        write_page(request.html, analysis_page(analysis))
        print(f"Page: {request.html}", file=sys.stderr)
    if request.json:
        return print_json(analysis.to_dict())
    print(analysis)
    return None
