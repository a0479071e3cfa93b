"""The package as it is handed on: metadata, the long description, what happens without torch, the wheel in a clean
environment."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import actsmith

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_one_version_everywhere() -> None:
    assert actsmith.__version__ == PROJECT["version"]
    assert f"\nversion: {actsmith.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first[1] == actsmith.__version__


def test_the_citation_is_whole() -> None:
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version", "date-released", "license"} <= set(found)
    assert found["license"] == PROJECT["license"]
    assert {r["url"] for r in found["references"]} == {u for n, u in PROJECT["urls"].items() if n.startswith("Paper")}


def test_the_long_description_has_no_link_that_leads_nowhere() -> None:
    pytest.importorskip("hatchling")
    made: dict = {}
    exec(compile((ROOT / "hatch_build.py").read_text(), "hatch_build.py", "exec"), made)  # noqa: S102  (our own file)
    text = (ROOT / "README.md").read_text()
    link = r"!?\[[^\]]*\]\(([^)]+)\)"
    assert all(m[1].startswith("https://") for m in re.finditer(link, made["described"](text, None, "1")))
    there = made["described"](text, "https://host.example/actsmith", "1")
    assert all(m[1].startswith("https://") for m in re.finditer(link, there))
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", there)
    assert pictures
    assert all(p.startswith("https://host.example/actsmith/raw/v1/docs/") for p in pictures)
    for relative in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (ROOT / relative).exists(), relative


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import actsmith as acts
from actsmith.cli import main
assert main(["analyze", "gelu"]) == 0
for line in ("search", "compare digits relu gelu", "probe timm:resnet18", "export gelu --to torch"):
    assert main(line.split()) == 2, line
for name in ("nn", "probe", "replace_"):
    try:
        getattr(acts, name)
    except acts.ActsmithError as error:
        print(error, file=sys.stderr)
"""


def test_without_torch_theory_works_and_the_rest_says_so_in_a_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr.splitlines() == [
        *(f"actsmith {verb}: torch is missing; pip install torch" for verb in ("search", "compare", "probe", "export")),
        *(f"actsmith.{name}: torch is missing; pip install torch" for name in ("nn", "probe", "replace_")),
    ]


def test_the_changelog_says_what_was_renamed() -> None:
    page = (ROOT / "docs" / "moving-from-0.1.md").read_text()
    for old, new in actsmith._RENAMED.items():
        assert f"`{old}`" in page
        assert f"`{new}`" in page


@pytest.mark.slow
def test_from_the_wheel_to_a_verdict_in_three_commands(tmp_path: Path) -> None:
    """In a clean environment; with the core dependencies alone what needs an extra says so."""
    pytest.importorskip("build")
    built = tmp_path / "dist"
    run([sys.executable, "-m", "build", "--outdir", str(built), str(ROOT)], ROOT)
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())], ROOT)
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    assert source.stat().st_size < 10e6
    held = set(zipfile.ZipFile(wheel).namelist())
    for kept in (ROOT / "src" / "actsmith").rglob("*"):
        if kept.is_file() and "__pycache__" not in kept.parts:
            assert str(kept.relative_to(ROOT / "src")) in held, kept
    clean = tmp_path / "venv"
    venv.create(clean, with_pip=True, symlinks=True)
    bin_ = clean / "bin"
    install = [str(bin_ / "pip"), "install", "-q", "-c", str(ROOT / "constraints.txt")]
    actsmith_ = str(bin_ / "actsmith")
    run([*install, str(wheel)], tmp_path)
    verdict = run([actsmith_, "analyze", "x*sigmoid(1.5*x)"], tmp_path)
    for line in ("list", "rank relu gelu", "derive relu", "worst", "export gelu --to torch", "export gelu --to bibtex"):
        run([actsmith_, *line.split()], tmp_path)
    for line, extra in (
        ("compare digits relu gelu", "search"),
        ("search", "search"),
        ("export gelu --to onnx --out a.onnx", "onnx"),
        ("analyze relu --html a.html", "report"),
    ):
        done = subprocess.run(
            [actsmith_, *line.split()], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr.splitlines()[-1].endswith(f"pip install 'actsmith[{extra}]'")
        assert "Traceback" not in done.stderr
    run([*install, f"{wheel}[search]"], tmp_path)
    settle = re.search(r"to settle it +actsmith (compare .+)", verdict)
    assert settle is not None
    settled = run([actsmith_, *shlex.split(settle[1]), "--seeds", "3"], tmp_path)
    assert re.search("is not told apart from gelu|is (better|worse) than gelu", settled)


def run(command: list[str], folder: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=1200, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
