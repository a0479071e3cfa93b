"""Run the benchmarks of modules and training steps, print the ratios, write them as CSV.

python -m benchmarks [--quick] [--json] [--out FILE]
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
from importlib import import_module
from pathlib import Path

from benchmarks.measure import Row

MODULES = ("activation", "training")


def main() -> int:
    """The rows of every benchmark module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, small sizes")
    parser.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    parser.add_argument("--out", type=Path, default=Path("benchmarks.csv"), help="where the CSV goes")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in MODULES:
        for row in import_module(f"benchmarks.{name}").rows(arguments.quick):
            rows.append(row)
            if not arguments.json:
                mark = "" if row.target is None else f"  target {row.target:g}"
                print(f"{row.what:34} {row.activation:14} {row.p50:6.2f}  (min {row.ratio:.2f}){mark}", flush=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in dataclasses.fields(Row)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)
    if arguments.json:
        print(json.dumps({"rows": [dataclasses.asdict(row) for row in rows]}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
