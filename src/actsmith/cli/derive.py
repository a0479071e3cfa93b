"""`actsmith derive`: the correction of one formula."""

from __future__ import annotations

import argparse
import math

from actsmith.cli.common import formula_of, formula_options, json_option, law_option, print_json

NAME = "derive"
HELP = "The EAFO correction of a formula, both signs, and what each does to the entropy."
EXAMPLES = (
    "derive relu",
    "derive gelu --sign descend --step 0.05",
    "derive silu --keep critical",
)
LONGEST = 120
"""Characters of a changed formula that are printed; a longer one is f + eps*psi, with psi above it."""


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("formula", metavar="FORMULA")
    parser.add_argument("--step", type=float, default=None, help="step along the correction (default: eps = 0.01)")
    parser.add_argument("--keep", choices=("critical",), help="one step of descent that keeps K = 1 critical instead")
    parser.add_argument("--sign", choices=("descend", "published"), help="show one sign only")
    formula_options(parser)
    law_option(parser)
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Derive it and print both signs."""
    from actsmith.formula.formula import Formula
    from actsmith.theory.eafo import correction

    if request.keep:
        return _derive_critical(request)
    found = correction(formula_of(request.formula, request), request.law)
    record = found.to_dict(step=request.step)
    if request.sign:
        record["signs"] = {request.sign: record["signs"][request.sign]}
    if request.json:
        return print_json(record)
    print(f"{found.f.name}:  f(x) = {found.f.text},  X ~ {found.law}\n")
    print(f"Correction  f + eps*psi,  psi(x) = {record['correction']}")
    for piece in record["eta"]:
        low, high = ("inf" if piece[end] is None else f"{piece[end]:g}" for end in ("low", "high"))
        interval = f"{'-' * (piece['low'] is None)}{low} < x < {high}"
        print(f"  {interval}:  " + (f"eta(z) = {piece['eta']}" if piece["eta"] else piece["reason"]))
    for sign, row in record["signs"].items():
        changed = Formula.from_dict(row["formula"])
        text = changed.text if len(changed.text) <= LONGEST else "f + eps*psi"
        print(f"\n{sign}:  {text}  with {', '.join(f'{n} = {p.value:g}' for n, p in changed.params.items())}")
        smooth = row["smoothed_entropy_change"]
        change = row["entropy_change"]
        head = "entropy without a rate, see below" if math.isnan(change) else f"entropy {change:+.3g} nats"
        print(f"  to first order:  {head}" + ("" if smooth is None else f", smoothed {smooth:+.3g} nats"))
        true, smooth = row["entropy_change_true"], row["smoothed_entropy_change_true"]
        head = "entropy not resolved" if true is None else f"entropy {true:+.3g} nats"
        print(f"  truly:           {head}" + ("" if smooth is None else f", smoothed {smooth:+.3g} nats"))
    print(f"\n{record['note']}")
    if math.isfinite(record["error"]):
        print(f"Error of the rate: {record['error']:.0e} nats per unit of eps.")
    return None


def _derive_critical(request: argparse.Namespace) -> None:
    from actsmith.theory.descent import entropy_flow

    found = entropy_flow(
        formula_of(request.formula, request), request.law, steps=1, step=request.step or 0.1, keep="critical"
    )
    before, after = found.history[0], found.history[-1]
    record = {"formula": found.formula.to_dict(), "K": 1.0, "C_W": 1.0, "C_b": 0.0, "status": found.status}
    record |= {"smoothed": after.entropy, "smoothed_before": before.entropy, "condition_error": after.condition_error}
    if request.json:
        return print_json(record)
    print(f"f(x) = {found.formula.text}")
    for name, parameter in found.formula.params.items():
        print(f"  {name} = {parameter.value:.9g}")
    print(f"  smoothed entropy {before.entropy:+.6f} -> {after.entropy:+.6f} nats")
    print(f"  K = 1, C_W = 1, C_b = 0 is critical to {after.condition_error:.1e}")
    return None
