"""The scripts for a CUDA device run dry on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.slow
def test_the_vision_transformer_ends_by_the_clock_with_answers(tmp_path):
    out = tmp_path / "lines.jsonl"
    command = [sys.executable, SCRIPTS / "gpu_vit.py", "--dry", "--minutes", "0.4", "--out", out]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    head, *lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert head["images_per_second"] > 0
    trained = [line for line in lines if "activation" in line]
    blocks = lines[-1]["seeds"]
    assert blocks >= 2
    assert {(t["seed"], t["activation"]) for t in trained} == {(s, a) for s in range(blocks) for a in head["rates"]}
    first, second = ([t["activation"] for t in trained if t["seed"] == seed] for seed in (0, 1))
    assert sorted(first) == sorted(second)
    assert first != second  # shuffled
    assert sum("claim" in line for line in lines) >= 6
