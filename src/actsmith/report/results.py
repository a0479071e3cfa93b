"""All published results on one page: `python -m actsmith.report.results docs/results`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from actsmith.errors import ActsmithError
from actsmith.files import write_atomically

__all__ = ["results_markdown"]

HEAD = """\
# Results

What came out of the papers' experiments at the size named with each, claim by claim. A verdict is computed from the
intervals in the tables behind it: "reproduced" and "not reproduced" need an interval that decides, "not resolved" means
that at this size none does. `make results` runs all of it again."""


def results_markdown(folder: str | Path) -> str:
    """The page over every `findings.json` in the subfolders.

    Raises:
        ActsmithError: there is none.
    """
    found = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(Path(folder).glob("*/findings.json"))]
    if not found:
        raise ActsmithError(f"results: {str(folder)!r} holds no folder with a findings.json; run `make results`")
    verdicts = Counter(claim["verdict"] for one in found for claim in one["claims"])
    counted = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    return "\n\n".join([HEAD, f"Of {verdicts.total()} claims: {counted}.", *map(_section, found)]) + "\n"


def _section(found: dict[str, Any]) -> str:
    name = found["reproduction"]
    lines = [f"## [{name}]({name}/README.md)", "", found["summary"], "", f"`{found['command']}`"]
    if found["claims"]:
        lines += ["", "| claim | verdict | evidence |", "| --- | --- | --- |"]
        lines += [
            "| " + " | ".join(c[k].replace("|", "\\|") for k in ("statement", "verdict", "evidence")) + " |"
            for c in found["claims"]
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    write_atomically(Path(sys.argv[1]) / "README.md", results_markdown(sys.argv[1]))
