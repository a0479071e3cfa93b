"""`actsmith list`: the catalogue and what was found here, as a table."""

from __future__ import annotations

import argparse

from actsmith.cli.common import json_option, print_json, print_table

NAME = "list"
HELP = "The catalogue, and what was found here, as a table."
EXAMPLES = (
    "list",
    "list --json",
)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Print it."""
    from actsmith.formula.catalogue import CATALOGUE, FOUND

    entries = [*CATALOGUE.values(), *FOUND.values()]
    if request.json:
        return print_json({"activations": [entry.to_dict() for entry in entries]})
    rows = []
    for entry in entries:
        parameters = ", ".join(f"{n}={p.value:g}{' (learned)' * p.learn}" for n, p in entry.params.items())
        rows.append([entry.name, entry.text, parameters, entry.source])
    print_table(["name", "f(x)", "parameters", "source"], rows)
    return None
