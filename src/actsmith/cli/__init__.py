"""The command line: a file a verb, each a thin call into the library.

A verb is a module of this folder with

    NAME, HELP, EXAMPLES      the word, one sentence, and command lines that run, without the leading "actsmith "
    options(parser)           its arguments; what is not a positional argument begins with two dashes
    run(request)              does it; returns the exit status, None for 0

and imports nothing heavy before `run`: the start loads them all. Exit status: 0 done, 1 the job failed, 2 the request
was wrong. With `--json` standard output holds one JSON object and nothing else; messages go to standard error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from io import TextIOWrapper
from pkgutil import iter_modules
from typing import Any, NoReturn, Protocol, cast

from actsmith.cli.completion import SHELLS, Completion
from actsmith.errors import ActsmithError, JobError, NumericsError, missing_core
from actsmith.names import did_you_mean

__all__ = ["Verb", "main", "parser", "verbs"]

ABOUT = "Find better activation functions: entropy says where to go, criticality what survives, training decides."
FIRST = ("analyze gelu", "rank relu gelu silu mish tanh", "derive relu", "search")
"""What somebody who has just installed it may try."""


class Verb(Protocol):
    """What a module of this folder holds to be a verb."""

    NAME: str
    HELP: str
    EXAMPLES: tuple[str, ...]

    def options(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, request: argparse.Namespace) -> int | None: ...


@cache
def verbs() -> dict[str, Verb]:
    """Name -> verb, in alphabetical order."""
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    found = (cast(Verb, module) for module in modules if hasattr(module, "NAME"))
    return dict(sorted((verb.NAME, verb) for verb in found))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given:
        parser().print_help()
        return 0
    word = given[0]
    if not word.startswith("-") and word not in verbs():
        hint = did_you_mean(word, verbs()) or f"expected {', '.join(verbs())}."
        print(f"actsmith: there is no verb {word!r}; {hint} See `actsmith --help`.", file=sys.stderr)
        return 2
    _any_text_prints()
    request = parser().parse_args([word, *map(_value, given[1:])])
    request.line = given
    return _run(request)


def _value(argument: str) -> str:
    """A formula with a leading minus, -softplus(-x), as a value: every option but -h begins with two dashes, and what
    begins with a space is none to argparse."""
    single = argument.startswith("-") and not argument.startswith("--") and argument not in ("-h", "-")
    return f" {argument}" if single else argument


def _any_text_prints() -> None:
    """A terminal without Unicode shows ? for what it cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and not (stream.encoding or "").lower().startswith("utf"):
            stream.reconfigure(errors="replace")


def _run(request: argparse.Namespace) -> int:
    try:
        return verbs()[request.verb].run(request) or 0
    except ActsmithError as error:
        message = str(error).removeprefix(f"{request.verb}: ")
        print(f"actsmith {request.verb}: {message}", file=sys.stderr)
        return 1 if isinstance(error, JobError | NumericsError) else 2
    except ModuleNotFoundError as error:
        missing = missing_core(f"actsmith {request.verb}", error)
        if missing is None:
            raise
        print(missing, file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt as stop:
        print(f"actsmith {request.verb}: {stop or 'interrupted'}", file=sys.stderr)
        return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}. See `{self.prog} --help`.", file=sys.stderr)
        raise SystemExit(2)


def parser() -> argparse.ArgumentParser:
    """The parser of every verb."""
    from actsmith import __version__

    raw: Any = argparse.RawDescriptionHelpFormatter
    top = _Parser(prog="actsmith", description=ABOUT, epilog=_examples(FIRST), formatter_class=raw)
    top.add_argument("--version", action="version", version=f"actsmith {__version__}")
    top.add_argument(
        "--print-completion",
        action=Completion,
        metavar="SHELL",
        help=f"what a shell completes by: {' or '.join(SHELLS)}",
    )
    below = top.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
    for name, verb in verbs().items():
        text, examples = verb.HELP, _examples(verb.EXAMPLES)
        verb.options(below.add_parser(name, help=text, description=text, epilog=examples, formatter_class=raw))
    return top


def _examples(lines: Sequence[str]) -> str:
    return "\n".join(["examples:", *(f"  actsmith {line}" for line in lines)])
