"""The page in a real browser: every tab driven, no error on the console, nothing wider than a phone."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("uvicorn")

LONG = 90_000
"""Milliseconds: a machine may be busy."""
MODEL = """
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(4, 16), nn.GELU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 2))
"""
WIDE = " + ".join(f"{k}*x*exp(-x**2/{k + 1})" for k in range(1, 7))
RENDERED = ("#rendered", "#rendered > math")
CURVE = "#function-cards .card svg.plot path.c0.stroke"
WIDER = """() => [...document.body.querySelectorAll("*")]
  .filter((e) => e.checkVisibility() && !e.closest(".scroll *, svg, .unseen, .skip"))
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))"""


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("app")
    (folder / "a_model.py").write_text(MODEL)
    np.save(folder / "inputs.npy", np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32))
    (folder / "run").mkdir()
    row = {"name": "leader", "formula": "a*relu(x)", "parameters": {"a": {"value": 2.0}}, "validation": 0.9}
    board = {
        "conclusion": "Nothing better was found.",
        "metric": "accuracy",
        "task": "t",
        "start": "relu",
        "rows": [row],
    }
    (folder / "run" / "leaderboard.json").write_text(json.dumps(board))
    port = free_port()
    command = [sys.executable, "-m", "actsmith", "app", "--no-browser", "--port", str(port), "--runs", "run"]
    served = subprocess.Popen([*command, "--model", "a_model:net", "--example", "inputs.npy"], cwd=folder)
    try:
        for _ in range(900):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except OSError:
                assert served.poll() is None
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
        assert sorted(p.name for p in folder.iterdir() if p.suffix) == ["a_model.py", "inputs.npy"]  # nothing written
    finally:
        served.terminate()
        served.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no chromium or google-chrome on the path")
    with sync_api.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=[("light", 1280), ("dark", 390)], ids=["desktop", "phone"])
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    scheme, width = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(LONG)
    found, said = context.new_page(), []
    found.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    found.on("pageerror", lambda error: said.append(str(error)))
    found.on("request", lambda asked: None if asked.url.startswith((address, "blob:")) else said.append(asked.url))
    found.goto(address)
    found.wait_for_selector("#function-cards svg.plot path.c0")
    yield found
    context.close()
    assert not said


def fits(page: Any) -> None:
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(WIDER) == []


def curve(page: Any) -> str:
    return str(page.get_attribute(CURVE, "d"))


def until(page: Any, expression: str, argument: Any = None) -> None:
    page.wait_for_function(expression, arg=argument)


def test_every_tab(page: Any, address: str, tmp_path: Path) -> None:
    function(page, tmp_path)
    catalogue(page)
    depth(page)
    training(page)
    runs(page)
    exits(page, address)


def function(page: Any, tmp_path: Path) -> None:
    changed = f"(before) => document.querySelector('{CURVE}').getAttribute('d') !== before"
    before = curve(page)
    page.fill("#formula", "max(0, x) + eps*x*exp(-x^2/2)")
    until(page, changed, before)
    page.wait_for_selector("#parameters label:text-is('eps')")
    before = curve(page)
    page.focus("#parameters input[type=range]")
    page.keyboard.press("PageDown")
    until(page, changed, before)
    page.select_option("#law-kind", "laplace")
    until(page, "() => document.querySelector('[aria-label*=laplace]')")
    np.save(tmp_path / "samples.npy", np.random.default_rng(0).normal(size=3000))
    page.select_option("#law-kind", "samples")
    page.set_input_files("#law-file", tmp_path / "samples.npy")
    until(page, "() => document.querySelector('#law-said').textContent.includes('samples.npy: mean')")
    until(page, "() => document.querySelector('[aria-label*=\"empirical(n=3000\"]')")
    page.fill("#formula", "x.__class__")
    until(page, "() => document.querySelector('#formula-error').textContent.includes('formula')")
    assert page.get_attribute("#formula", "aria-invalid") == "true"
    page.fill("#formula", "gelu")
    until(page, "() => document.querySelector('#formula-error').textContent === ''")
    until(page, "() => document.querySelector('#status').textContent.startsWith('gelu: drawn in')")
    page.select_option("#law-kind", "text")
    page.fill("#law-text", "banana")
    page.press("#law-text", "Enter")
    until(page, "() => document.querySelector('#law-error').textContent.includes('banana')")
    assert page.text_content("#formula-error") == ""
    page.select_option("#law-kind", "normal")
    until(page, "() => document.querySelector('#law-error').textContent === ''")
    page.fill("#formula", WIDE)
    until(page, "() => document.querySelector('#status').textContent.includes('…: drawn in')")
    left = [page.evaluate(f"document.querySelector('{at}').getBoundingClientRect().left") for at in RENDERED]
    assert left[0] <= left[1]  # its beginning can be scrolled to
    fits(page)
    page.fill("#formula", "gelu")
    until(page, "() => document.querySelector('#status').textContent.startsWith('gelu: drawn in')")
    with page.expect_download() as saved:
        page.click("#function-cards .card >> nth=0 >> button:has-text('SVG')")
    picture = Path(saved.value.path()).read_text()
    assert picture.startswith("<svg")
    assert "class=" not in picture.replace('class="plot"', "")
    fits(page)


def catalogue(page: Any) -> None:
    page.focus("#tab-function")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#tab-map", "aria-selected") == "true"
    page.wait_for_selector(".dot.own")
    page.select_option("#map-y", "std")
    until(page, "() => document.querySelector('#map-picture .axis:last-of-type') !== null")
    page.focus(".dot[aria-label^='tanh,']")
    page.keyboard.press("Enter")
    assert page.input_value("#formula") == "tanh"
    until(page, "() => document.querySelector('.dot.own').getAttribute('aria-label').startsWith('yours: tanh')")
    fits(page)


def depth(page: Any) -> None:
    page.click("#tab-depth")
    until(page, "() => document.querySelector('#depth-hint').textContent.includes('random networks of that width')")
    page.select_option("#depth-controls select", "own")
    page.wait_for_selector("#depth-controls label:text-is('C_b')")
    until(page, "() => document.querySelector('#depth-hint').textContent.startsWith('C_W = 2, C_b = 0')")
    fits(page)


def training(page: Any) -> None:
    page.click("#tab-train")
    page.click("#train-controls button[type=submit]")
    page.wait_for_selector("canvas.plane")
    until(page, "() => document.querySelector('#train-curve .legend').textContent.includes('yours 0.')")
    page.click("#train-controls button:text-is('Stop')")
    until(page, "() => document.querySelector('#status').textContent.startsWith('Stopped')")
    page.select_option("#train-controls select >> nth=0", "digits")
    page.fill("#train-controls input[aria-label^=epochs]", "5")
    page.press("#train-controls input[aria-label^=epochs]", "Tab")
    page.click("#train-controls button[type=submit]")
    until(page, "() => document.querySelector('#status').textContent.startsWith('Trained in')")
    assert page.text_content("#train-error") == ""
    fits(page)


def runs(page: Any) -> None:
    page.click("#tab-runs")
    page.wait_for_selector("text=Nothing better was found.")
    fits(page)
    page.click("#runs button:text-is('leader')")
    assert page.input_value("#formula") == "a*relu(x)"
    page.wait_for_selector("#parameters label:text-is('a')")
    assert page.input_value("#parameters input.number") == "2"
    page.click("#tab-runs")
    page.click("#model button:text-is('use') >> nth=0")
    until(page, "() => document.querySelector('#law-said').textContent.startsWith('a_model:net, 1')")


def exits(page: Any, address: str) -> None:
    page.click("#tab-exits")
    page.wait_for_selector("pre:has-text('actsmith analyze')")
    with page.expect_download() as saved:
        page.click("button:text-is('Save analysis.pdf')")
    assert Path(saved.value.path()).read_bytes().startswith(b"%PDF-")
    link = page.text_content("#exits pre >> nth=0")
    assert link.startswith(address)
    fits(page)
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector("pre:has-text('actsmith analyze')")
    assert page.input_value("#formula") == "a*relu(x)"
    assert page.input_value("#law-kind") == "samples"
    page.goto("about:blank")
    page.goto(f"{address}#%7B%22formula%22:3,%22law%22:%7B%7D,%22tab%22:%22none%22")  # a link that is torn
    page.wait_for_selector("#function-cards svg.plot path.c0")
