"""A page as a telephone shows it."""

import shutil

import pytest

LOOK = """() => ({
    width: document.documentElement.scrollWidth,
    picture: document.querySelector('svg').getBoundingClientRect().top,
})"""


@pytest.fixture(scope="session")
def on_a_phone():
    """file -> {"width": of all that there is, "picture": top of the first, "said": on the console}, in pixels."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no chromium or google-chrome on the path")
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])

        def look(file):
            page = browser.new_page(viewport={"width": 390, "height": 844})
            page.set_default_timeout(90_000)
            said = []
            page.on("console", lambda message: said.append(message.text))
            page.on("request", lambda asked: None if asked.url.startswith("file:") else said.append(asked.url))
            page.goto(file.as_uri())
            found = page.evaluate(LOOK) | {"said": said}
            page.close()
            return found

        yield look
        browser.close()
