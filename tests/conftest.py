import os
import shutil
from pathlib import Path

import pytest

from kit.notebooks import home

home()  # kernels inherit it, too

# Two test processes share the processor; without this each would start one thread per
# core. Kernels inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a browser does by itself, and the names of other machines.
QUIET = ["quic", "background-networking", "component-update", "sync", "gpu"]
ALONE = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


@pytest.fixture(scope="session")
def browser():
    """A Chromium that finds this machine only and asks nothing by itself.

    Where there is none: a failure in CI, elsewhere a skip.
    """

    def missing(what):
        message = f"browser tests need {what}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)

    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright: pip install -r tests/requirements.txt")
    with sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome", "chrome")
        found = [path for path in map(shutil.which, names) if path]
        path = found[0] if found else playwright.chromium.executable_path
        if not Path(path).exists():
            missing(
                "Chromium: apt-get install chromium, "
                "or python -m playwright install chromium"
            )
        options = ["--no-sandbox", "--no-first-run", *ALONE]
        options += [f"--disable-{name}" for name in QUIET]
        chromium = playwright.chromium.launch(executable_path=path, args=options)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def tab(browser):
    """The page that tests look at one after the other, offline.

    One of their own would cost each a process.
    """
    context = browser.new_context()
    context.set_offline(True)
    yield context.new_page()
    context.close()


class Visit:
    """A page as one test sees it, with its complaints and requests until it leaves."""

    def __init__(self, page):
        self.page, self.errors, self.requests = page, [], []
        self.listeners = {
            "console": self.said,
            "pageerror": lambda error: self.errors.append(str(error)),
            "dialog": self.asked,
            "request": lambda request: self.requests.append(request.url),
        }
        for event, listener in self.listeners.items():
            page.on(event, listener)

    def said(self, message):
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def asked(self, dialog):
        self.errors.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def look(self, color_scheme="light", viewport=None):
        """A fresh look, whatever the test before did to the page."""
        self.page.emulate_media(media="null", color_scheme=color_scheme)
        self.page.set_viewport_size(viewport or {"width": 900, "height": 900})
        return self

    def leave(self):
        """Nothing may stay for the next test: no memory of the page, no listener.

        Complaints and requests fail this one.
        """
        if self.page.url.startswith("file:"):
            self.page.evaluate("localStorage.clear(), sessionStorage.clear()")
        self.page.goto("about:blank")
        for event, listener in self.listeners.items():
            self.page.remove_listener(event, listener)
        assert self.errors == []
        own = ("file:", "data:", "blob:")
        assert all(url.startswith(own) for url in self.requests), self.requests


@pytest.fixture
def visitor(tab):
    """A Visit of the page that all tests share."""
    visit = Visit(tab)
    yield visit
    visit.leave()


HEAD = """<meta charset="utf-8"><meta name="color-scheme" content="light dark">
<title>Figures</title>
<style>body { margin: 0 auto; padding: 8px; max-width: 800px }</style>"""
DRAWN = """[...document.querySelectorAll(".pcc-live")].every(
    (node) => node.childElementCount)"""
# A viewer as a notebook renders it, with the test in place of the kernel.
RENDER = """async ([code, data]) => {
    window.sent = [];
    window.heard = {};
    const model = {
        get: () => data,
        on: (name, listener) => { heard[name] = listener; },
        off() {},
        send: SEND,
    };
    const el = document.createElement("div");
    el.id = "live";
    document.body.append(el);
    const blob = new Blob([code], { type: "text/javascript" });
    const { default: viewer } = await import(URL.createObjectURL(blob));
    window.stop = viewer.render({ model, el });
}"""


class Page(Visit):
    """A page made of figures."""

    def __init__(self, page, folder):
        super().__init__(page)
        self.folder = folder

    def show(self, *figures):
        body = "\n".join(figure.html for figure in figures)
        path = self.folder / "page.html"
        path.write_text(
            f'<!doctype html><html lang="en"><head>{HEAD}</head>'
            f"<body><main><h1>Figures</h1>{body}</main></body></html>"
        )
        self.page.goto(path.as_uri())
        self.page.wait_for_function(DRAWN)
        return self.page

    def render(self, widget, send="(message) => sent.push(message)"):
        """The live face of a widget, on the page that is open.

        What it sends is in `sent`, unless `send` is another function; `heard` has what
        it listens with; `stop()` ends it.
        """
        from kit.view.figure import module  # here: it loads matplotlib

        code = module(widget.still.script)
        self.page.evaluate(RENDER.replace("SEND", send), [code, widget.data])
        return self.page.locator("#live")


@pytest.fixture
def open_page(browser, tab, tmp_path):
    """open_page().show(figure, …) -> the page, opened from a file, offline.

    Any complaint or request fails the test.

    apart: in a context of its own, for what would outlive the page.
    """
    pages = []

    def make(apart=False, **options):
        if apart or pages:
            context = browser.new_context()
            context.set_offline(True)
        page = context.new_page() if apart or pages else tab
        pages.append(Page(page, tmp_path))
        return pages[-1].look(**options)

    yield make
    for page in pages:
        page.leave()
        if page.page is not tab:
            page.page.context.close()


@pytest.fixture(scope="session")
def grave():
    """grave(page) -> what axe finds serious or critical on it, a sentence each."""
    from axe_playwright_python.sync_playwright import Axe

    # preload: axe would fetch the style sheets again, which a browser refuses to pages
    # opened from files. resultTypes: otherwise it describes every node that is well,
    # which takes as long again.
    options = {"preload": False, "resultTypes": ["violations"]}

    def find(page, context=None):
        found = Axe().run(page, context=context, options=options).response["violations"]
        told = []
        for one in found:
            if one["impact"] in ("serious", "critical"):
                for node in one["nodes"]:
                    what, why = node["html"][:200], node["failureSummary"]
                    told.append(f"{one['id']}: {what} {why}")
        return told

    return find
