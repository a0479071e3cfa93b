"""What the README shows runs."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def test_the_fifteen_lines_run(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    exec(compile(code, str(README), "exec"), {})  # noqa: S102  (our own README)
    out = capsys.readouterr().out
    assert "x*exp(-x**2/2) 0.35355339" in out
    assert "scale_invariant" in out


def test_every_verb_of_the_command_line_is_described():
    from actsmith.cli import verbs

    for verb in verbs():
        assert f"`actsmith {verb}" in README.read_text()


def test_the_experiment_of_the_page_runs(tmp_path, monkeypatch, capsys):
    page = ROOT / "docs" / "experiments.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {"__name__": "page"})  # noqa: S102  (our own page)
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines) == ["gelu", "mrepu", "relu"]
