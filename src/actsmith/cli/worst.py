"""`actsmith worst`: the activation of the largest output entropy."""

from __future__ import annotations

import argparse
import math

from actsmith.cli.common import json_option, law_option, print_json

NAME = "worst"
HELP = "The worst activation between two bounds: the law's distribution function."
EXAMPLES = (
    "worst",
    "worst --law logistic --low 0",
)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--low", type=float, default=-1.0, help="value at minus infinity (default: -1)")
    parser.add_argument("--high", type=float, default=1.0, help="value at infinity (default: 1)")
    law_option(parser)
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Print it with its entropy and the bound."""
    from actsmith.theory.eafo import worst_activation
    from actsmith.theory.entropy import entropy

    f = worst_activation(request.law, request.low, request.high)
    value = entropy(f, request.law)
    record = {"formula": f.text, "name": f.name, "low": request.low, "high": request.high, "latex": f.latex()}
    bound = math.log(request.high - request.low)
    record |= {"law": request.law, "entropy": value.differential, "error": value.error, "bound": bound}
    if request.json:
        return print_json(record)
    print(f"The worst activation from {request.low:g} to {request.high:g} under {request.law}:  f(x) = {f.text}")
    known = f"{value.differential:.12g} ± {value.error:.0e} nats" if value.differential is not None else "undefined"
    reason = value.reasons.get("differential", "")
    print(
        f"  output entropy {known}; the bound log(high - low) is {record['bound']:.12g}{f'; {reason}' * bool(reason)}"
    )
    return None
