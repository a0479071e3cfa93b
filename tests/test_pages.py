"""The site: what its pages show runs, what they name is there, and it builds without a warning."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import actsmith
from actsmith.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [DOCS / "index.md", *sorted((DOCS / "how-to").glob("*.md"))]
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.py"))
BLOCK = re.compile(r"^```(python|sh)(.*)\n((?s:.*?))^```$", re.MULTILINE)
QUICK = ("index", "publish", "my-formula")
"""Pages whose quick snippets the quick tests run."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of one's own, from which modules are imported, and are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]


def run_page(page: Path, folder: Path, *, slow: bool) -> int:
    """Run its snippets one after the other in one namespace; returns how many ran."""
    namespace = {"__name__": "page"}
    ran = 0
    for language, mark, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        words = mark.split()
        if "no-run" in words or ("slow" in words and not slow):
            continue
        ran += 1
        named = re.search(r'title="(.+?)"', mark)
        if named is not None:
            (folder / named[1]).write_text(code)
        elif language == "python":
            exec(compile(code, str(page), "exec"), namespace)  # noqa: S102  (our own page)
        else:
            for line in code.splitlines():
                words = shlex.split(line, comments=True)
                assert words[0] == "actsmith", line
                assert main(words[1:]) == 0, line
    return ran


@pytest.mark.parametrize("page", [p for p in PAGES if p.stem in QUICK], ids=lambda p: p.stem)
def test_the_quick_snippets_of_a_page_run(page, here):
    assert run_page(page, here, slow=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("page", [p for p in PAGES if p.stem != "many-machines"], ids=lambda p: p.stem)
def test_all_snippets_of_a_page_run(page, here):
    assert run_page(page, here, slow=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_command_that_a_page_shows_is_one(page):
    """Also of those that are not run."""
    for language, _, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in code.splitlines() if language == "sh" else ():
            if line.startswith("actsmith "):
                actsmith.cli.parser().parse_args(shlex.split(line, comments=True)[1:])


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(notebook, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, str(notebook)], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "%% [markdown]" in notebook.read_text()


def test_the_reference_has_every_public_name():
    shown = "".join(p.read_text() for p in (DOCS / "api").glob("*.md"))
    homes = {name: f"::: actsmith.{home}.{name}" for name, home in actsmith._HOME.items()}
    missing = [name for name, line in homes.items() if f"{line}\n" not in shown]
    assert not missing
    nn = [
        name for name in actsmith.nn.__all__ if not re.search(rf"^::: actsmith\.nn\.\S*\.{name}$", shown, re.MULTILINE)
    ]
    assert not nn


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")], cwd=ROOT,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr.replace("Material for MkDocs", "")
    page = (tmp_path / "site" / "api" / "theory.html").read_text()
    assert "smoothed" in page
