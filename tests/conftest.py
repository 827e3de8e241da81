import os
import shutil
from pathlib import Path

import pytest

from kit.notebooks import home

home()  # kernels inherit it, too

# Two test processes share the processor; without this each would start one thread per core. Kernels inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def browser():
    """A Chromium that asks nothing of the network by itself. Where there is none: a failure in CI, elsewhere a skip."""

    def missing(what):
        message = f"browser tests need {what}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)

    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright: pip install -r tests/requirements.txt")
    with sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome", "chrome")
        path = next(filter(None, map(shutil.which, names)), playwright.chromium.executable_path)
        if not Path(path).exists():
            missing("Chromium: apt-get install chromium, or python -m playwright install chromium")
        quiet = ["quic", "background-networking", "component-update", "sync", "gpu"]
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
        )
        yield chromium
        chromium.close()


class Page:
    """A page made of figures, and what it complained of."""

    def __init__(self, context, folder):
        self.context, self.folder = context, folder
        self.errors, self.requests = [], []
        self.page = context.new_page()
        self.page.on("console", lambda message: message.type in ("error", "warning") and self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.errors.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def show(self, *figures):
        head = '<meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>Figures</title>'
        style = "<style>body { margin: 0 auto; padding: 8px; max-width: 800px }</style>"
        body = "\n".join(figure.html for figure in figures)
        path = self.folder / "page.html"
        path.write_text(f'<!doctype html><html lang="en"><head>{head}{style}</head><body><main><h1>Figures</h1>{body}</main></body></html>')
        self.page.goto(path.as_uri())
        self.page.wait_for_function("[...document.querySelectorAll('.pcc-live')].every((node) => node.childElementCount)")
        return self.page


@pytest.fixture
def open_page(browser, tmp_path):
    """open_page().show(figure, …) -> the page, opened from a file, offline; any complaint or request fails the test."""
    pages = []

    def make(**options):
        context = browser.new_context(**({"viewport": {"width": 900, "height": 900}} | options))
        context.set_offline(True)
        pages.append(Page(context, tmp_path))
        return pages[-1]

    yield make
    for page in pages:
        page.context.close()
        assert page.errors == []
        assert all(url.startswith(("file:", "data:", "blob:")) for url in page.requests), page.requests
