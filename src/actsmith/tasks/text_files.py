"""The texts that there are to learn from: a file of yours, a novel, and what comes with Python.

text_of("book.txt", None)          a file, plain or gzipped
text_of("austen", folder)          Pride and Prejudice, from the folder or from Project Gutenberg
text_of("python-manual", None)     the language reference, 0.5 M characters of English: in every Python
text_of("python-source", None)     modules of the standard library, 1 M characters of code
text_of(None, folder)              the only text file of the folder, else Pride and Prejudice

The first 80 % of a text are for training, the next 10 % for validation, the last 10 % for testing.
"""

from __future__ import annotations

import gzip
import importlib
import sysconfig
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from actsmith.errors import ActsmithError
from actsmith.files import cache_folder

__all__ = ["TEXTS", "austen_text", "parts_of", "python_manual", "python_source", "text_of"]

SHARES = (0.8, 0.1, 0.1)
SOURCE = 1_000_000
"""Characters of code, at least."""
_NAMES = ("prideprejudice.txt.gz", "prideprejudice.txt")
_GUTENBERG = "https://www.gutenberg.org/cache/epub/1342/pg1342.txt"


def text_of(file: str | None, data: Path | None) -> str:
    """The text to learn from.

    Args:
        file: a text file, or a name of `TEXTS`; None for the only text file (.txt, .txt.gz) in the folder `data`, where
            Pride and Prejudice is not there.
        data: the folder in which Pride and Prejudice is looked for.

    Raises:
        ActsmithError: there is none, several, or one that is not text.
    """
    if file is not None:
        if file in TEXTS:
            return TEXTS[file](data)
        path = Path(file).expanduser()
        if not path.is_file():
            raise ActsmithError(f"text: no file {file!r}; give a text file, plain or gzipped")
        return _read(path)
    if data is not None and not any((f / name).is_file() for f in (data / "austen", data) for name in _NAMES):
        found = sorted(p for p in Path(data).iterdir() if p.name.endswith((".txt", ".txt.gz")))
        if len(found) == 1:
            return _read(found[0])
        if found:
            several = ", ".join(p.name for p in found[:5])
            raise ActsmithError(f"text: {str(data)!r} holds {several}; name the one to learn (--train-file)")
    return austen_text(data)


def austen_text(data: Path | None) -> str:
    """Pride and Prejudice (1813, public domain).

    Args:
        data: holds austen/prideprejudice.txt or .txt.gz, or the file itself. Without it, Project Gutenberg's text is
            fetched once and kept.

    Raises:
        ActsmithError: it is not there, or cannot be fetched.
    """
    if data is None:
        return _between_marks(_fetched().read_text(encoding="utf-8-sig"))
    for path in (folder / name for folder in (data / "austen", data) for name in _NAMES):
        if path.is_file():
            return _between_marks(_read(path))
    raise ActsmithError(
        f"austen: {str(data)!r} holds no {' and no '.join(_NAMES)}, nor does its folder austen; fetch {_GUTENBERG}, "
        "or name a text file of your own (--train-file)"
    )


def python_manual(data: Path | None = None) -> str:
    """The topics of Python's `help()`: its language reference.

    Raises:
        ActsmithError: this Python came without them.
    """
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        raise ActsmithError(
            "python-manual: this Python came without pydoc_data; name a text file of your own (--train-file)"
        ) from None
    return "\n\n".join(topics[name] for name in sorted(topics))


def python_source(data: Path | None = None) -> str:
    """The source code of the standard library's modules one after another, by their names, up to `SOURCE` characters
    and to the end of a module.

    Raises:
        ActsmithError: this Python came without its source.
    """
    found: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py")):
        if sum(map(len, found)) >= SOURCE:
            break
        found.append(_read(path))
    if sum(map(len, found)) < SOURCE:
        raise ActsmithError(
            "python-source: this Python came without its modules' source; name a text file of your own (--train-file)"
        )
    return "\n".join(found)


def _read(path: Path) -> str:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return content.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ActsmithError(f"{path}: cannot be read as text ({error}); fetch the file again") from None


def _fetched() -> Path:
    path = cache_folder("data") / "pg1342.txt"
    if not path.is_file():
        try:
            torch.hub.download_url_to_file(_GUTENBERG, str(path), progress=False)
        except OSError as error:
            raise ActsmithError(
                f"austen: no data= was given (--data) and {_GUTENBERG} could not be fetched: {error}; connect to the "
                "internet, or give the folder that holds austen/prideprejudice.txt"
            ) from None
    return path


def _between_marks(text: str) -> str:
    """The book without Project Gutenberg's preface and licence, where it has them."""
    lines = text.replace("\r\n", "\n").split("\n")
    marks = [i for i, line in enumerate(lines) if line.startswith(("*** START OF", "*** END OF"))]
    return "\n".join(lines[marks[0] + 1 : marks[1]]).strip() if len(marks) == 2 else text


def parts_of(length: int) -> list[tuple[int, int]]:
    """Where training, validation and test begin and end."""
    ends = np.round(np.cumsum([0.0, *SHARES]) * length).astype(int).tolist()
    return list(pairwise(ends))


TEXTS: dict[str, Callable[[Path | None], str]] = {
    "austen": austen_text,
    "python-manual": python_manual,
    "python-source": python_source,
}
"""Name -> the text, given the folder of `--data`."""
