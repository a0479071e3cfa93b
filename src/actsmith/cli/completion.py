"""`actsmith --print-completion bash`: what a shell completes verbs, options, files and names of activations by."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from actsmith.errors import ActsmithError, require

__all__ = ["SHELLS", "Completion"]

SHELLS = ("bash", "zsh")
NAMES = "_actsmith_names"
FORMULAS = ("FORMULA", "F")
"""The metavariables of arguments that take a formula."""


class Completion(argparse.Action):
    """Prints the script and ends, as `--version` does."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None) -> NoReturn:
        if values not in SHELLS:
            parser.error(f"--print-completion: got {values!r}; expected {' or '.join(SHELLS)}")
        try:
            print(_script(parser, values))
        except ActsmithError as error:
            print(error, file=sys.stderr)
            raise SystemExit(2) from None
        raise SystemExit(0)


def _script(parser: argparse.ArgumentParser, shell: str) -> str:
    """By shtab, from the parser itself.

    Raises:
        ActsmithError: shtab is missing.
    """
    shtab = require("shtab", "completion", "actsmith --print-completion")
    from actsmith.formula.catalogue import CATALOGUE, FOUND

    names = " ".join((*CATALOGUE, *FOUND))
    for action in _actions(parser):
        if action.type is Path:
            action.complete = shtab.FILE
        elif action.metavar in FORMULAS:
            action.complete = {"bash": NAMES, "zsh": f"({names})"}
    preamble = {"bash": f'{NAMES}() {{ compgen -W "{names}" -- "$1"; }}'}
    script: str = shtab.complete(parser, shell=shell, preamble=preamble)
    return script


def _actions(parser: argparse.ArgumentParser) -> Iterator[Any]:
    """The arguments of the parser and of every verb."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _actions(verb)
