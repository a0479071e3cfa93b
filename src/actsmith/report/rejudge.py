"""Published findings judged again by the questions of today: `python -m actsmith.report.rejudge DIR ...`, no training.

The tables of a findings.json hold every score; the claims that rest on them alone are made anew, and the page with its
figures is written again. Claims that need more than the tables are left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actsmith.papers.claims import judge
from actsmith.papers.findings import Curves, Findings, Series
from actsmith.papers.reproduce import reproduction
from actsmith.report.findings import Head, write_findings
from actsmith.training.problem import Metric
from actsmith.trials.tables import Row, Table

__all__ = ["rejudge"]


def rejudge(folder: str | Path) -> Findings:
    """Judge the findings.json of a folder again and write its page.

    Raises:
        OSError, ValueError: there is none that can be read.
    """
    home = Path(folder)
    values = json.loads((home / "findings.json").read_text(encoding="utf-8"))
    found = reproduction(values["reproduction"])
    tables = tuple(map(table_from, values["tables"]))
    again = Findings(
        values["summary"],
        tables,
        tuple(map(_curves, values["curves"])),
        judge(found.questions, tables),
        values["facts"],
    )
    write_findings(Head(found, values["preset"], values["command"], values["versions"]), again, home)
    return again


def table_from(values: Mapping[str, Any]) -> Table:
    """A table from its plain values."""
    rows = tuple(Row(**{**row, "values": tuple(row["values"])}) for row in values["rows"])
    return Table(**{**values, "metric": Metric(**values["metric"]), "rows": rows, "labels": values.get("labels") or {}})


def _curves(values: Mapping[str, Any]) -> Curves:
    panels = {title: tuple(map(_series, lines)) for title, lines in values["panels"].items()}
    return Curves(**{**values, "panels": panels})


def _series(values: Mapping[str, Any]) -> Series:
    plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return Series(**plain)


if __name__ == "__main__":
    for each in sys.argv[1:]:
        rejudge(each)
