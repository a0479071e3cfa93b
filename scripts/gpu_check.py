"""Everything about a CUDA device in ten minutes: tests and benchmarks, a JSON line as each part ends.

    python scripts/gpu_check.py [--minutes 10] [--dry] [--out gpu.jsonl]

It needs no network and no more than the installed package with its dev extra. It stops by the clock, and says what did
not run. --dry does the same on the CPU with what the CPU can do. Exit status 1 where a test failed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

Tell = Callable[..., None]
HERE = Path(__file__).resolve().parent.parent
TESTS = {
    "what users do": ("not formulas_to_third_order", 1),
    "formulas": ("formulas_to_third_order", 12),
}
"""Name -> which of tests/gpu, and processes at most. What users do comes first: it matters most."""
BENCH = 0.4
"""Share of the time that is kept for the benchmark."""


def main() -> int:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--dry", action="store_true", help="on the CPU")
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"))
    asked = parser.parse_args()
    end = time.monotonic() + 60 * asked.minutes
    environment = {**os.environ, **({"ACTSMITH_TEST_DEVICE": "cpu"} if asked.dry else {})}
    with asked.out.open("w", encoding="utf-8") as out:

        def tell(part: str, **values: object) -> None:
            line = json.dumps({"part": part, **values})
            print(line, flush=True)
            out.write(line + "\n")
            out.flush()

        tell("machine", **machine())
        failed = False
        for name, (chosen, most) in TESTS.items():
            until = end - BENCH * 60 * asked.minutes
            processes = min(most, os.cpu_count() or 1)
            command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "tests/gpu", "-k", chosen]
            command += ["-n", str(processes)] if processes > 1 else []
            failed |= tests(name, run(command, until, environment), tell)
        bench(end, environment, asked.out.with_suffix(".csv"), tell)
    return int(failed)


def machine() -> dict[str, object]:
    """What the numbers hold for."""
    import torch

    found: dict[str, object] = {"torch": torch.__version__, "python": sys.version.split()[0], "cpus": os.cpu_count()}
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        found |= {"card": card.name, "gigabytes": round(card.total_memory / 1e9, 1), "cuda": torch.version.cuda}
    return found


Done = tuple[int | None, str, float]
"""Status (None: the time was over), output, seconds."""


def run(command: list[str], until: float, environment: dict[str, str]) -> Done:
    """Until it ends or the time is over."""
    began = time.monotonic()
    left = until - began
    if left < 5:
        return None, "", 0.0
    try:
        done = subprocess.run(
            command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=left, check=False
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        return None, output.decode(errors="replace") if isinstance(output, bytes) else output, left
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


def tests(name: str, done: Done, tell: Tell) -> bool:
    """What one pytest run says; whether something failed."""
    status, output, seconds = done
    counts = {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|skipped|error)", output)}
    failures = re.findall(r"^(?:FAILED|ERROR) (\S.*)$", output, re.MULTILINE)
    tell(f"tests: {name}", finished=status is not None, seconds=round(seconds, 1), **counts, failures=failures[:40])
    if status not in (0, None) and not counts:
        tell(f"tests: {name}: output", text=output[-2000:])
    return status not in (0, None) or bool(failures)


def bench(until: float, environment: dict[str, str], rows: Path, tell: Tell) -> None:
    """The benchmark; every row that was measured is told, whether it came to its end or not."""
    rows = rows.absolute()
    command = [sys.executable, "-m", "actsmith", "bench", "gpu", "--out", str(rows)]
    status, output, seconds = run(command, until, environment)
    if rows.is_file():
        with rows.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                tell("bench", **row)
    tell("bench: done", finished=status == 0, seconds=round(seconds, 1), output="" if status == 0 else output[-1000:])


if __name__ == "__main__":
    sys.exit(main())
