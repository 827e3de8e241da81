"""The lessons in a real JupyterLab: as a reader opens them, runs them and moves a slider."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from kit import claims
from kit.notebooks import ROOT, lessons
from kit.table import table
from kit.view import Figure, Layers, Predict, Tokens

LESSONS = [name for name in lessons() if (ROOT / "notebooks" / f"{name}.ipynb").exists()]
FIGURE = ".pcc-figure"
# A viewer has drawn; a still picture, which has no script, is loaded.
ALIVE = """figure => { const live = figure.querySelector('.pcc-live'); return live
    ? live.querySelector('svg, canvas, input, button, table, .pcc-tokens') != null : figure.querySelector('img')?.naturalWidth > 0; }"""
# Of a live widget: the same viewer drawn from stored HTML sits in a <figure>.
SLIDER = ":is(:not(figure) > .pcc-live input[type=range], .jupyter-widgets [role=slider])"
PICTURE = """output => [...output.querySelectorAll('svg, canvas, img, .pcc-tokens')]
    .map(e => e.tagName === 'CANVAS' ? e.toDataURL() : e.tagName === 'IMG' ? e.src : e.outerHTML).join()"""
NOTEBOOK = "window.jupyterapp?.shell?.currentWidget"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on a copy of the lessons, with settings and signatures of its own; yields ``(address, folder)``."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(ROOT / "jupytext.toml", folder)
    for name in ("lessons", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    private = {f"JUPYTER_{kind}_DIR": str(folder / ".jupyter" / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    jupyter = [sys.executable, "-m", "jupyter"]
    notebooks = [str(path) for path in (folder / "notebooks").glob("*.ipynb")]
    subprocess.run([*jupyter, "trust", *notebooks], env=os.environ | private, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    options += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen([*jupyter, "lab", *options], cwd=folder, env=os.environ | private, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address + "/api", server, folder / "server.log")
        yield address, folder
    finally:
        server.terminate()
        server.wait(30)


def wait_for(url, server, log, seconds=60):
    for _ in range(seconds * 5):
        try:
            return urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture
def page(lab, browser):
    """A page that may reach nothing but the server; what else it asked for is a failure."""
    address, _ = lab
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    left = []

    def local(url):
        return url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))

    context.route(lambda url: not local(url), lambda route: (left.append(route.request.url), route.abort()))
    page = context.new_page()
    page.on("websocket", lambda socket: None if local(socket.url) else left.append(socket.url))
    yield page
    context.close()
    assert not left, f"requests that left the machine: {left}"


def opened(page):
    page.wait_for_function(f"{NOTEBOOK}?.sessionContext", timeout=60_000)
    page.evaluate(f"async () => {{ const panel = {NOTEBOOK}; await panel.context.ready; await panel.sessionContext.ready; }}")
    return cells(page)


def cells(page):
    return page.evaluate(f"{NOTEBOOK}.content.model.sharedModel.toJSON().cells")


def go_to(page, index):
    """Bring a cell into the page; JupyterLab draws only those near the viewport."""
    page.evaluate(f"async i => {{ const nb = {NOTEBOOK}.content; nb.activeCellIndex = i; await nb.scrollToItem(i, 'start'); }}", index)


def save(page, path):
    """Save the open document; returns the text that this wrote to ``path``."""
    before = path.stat().st_mtime_ns
    page.wait_for_function(f"{NOTEBOOK}.context.contentsModel?.writable")
    page.evaluate("() => { window.jupyterapp.commands.execute('docmanager:save').then(() => { window.saved = true; }); }")
    page.wait_for_function("window.saved")  # a dialog in the way would wait for ever
    assert path.stat().st_mtime_ns > before
    return path.read_text("utf-8")


@pytest.mark.timeout(900)  # other tests execute the same lesson at the same time
@pytest.mark.parametrize("name", LESSONS)
def test_lesson_in_jupyterlab(lab, page, name):
    address, folder = lab
    page.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?reset")
    stored = opened(page)

    # Opened, nothing run: trusted figures are alive, and no pop-up is in the way.
    with_figure = [i for i, cell in enumerate(stored) if "pcc-figure" in json.dumps(cell.get("outputs", []))]
    assert with_figure, "the lesson stores no figure"
    for index in with_figure:
        go_to(page, index)
        for figure in page.locator(f".jp-Cell[data-windowed-list-index='{index}'] {FIGURE}").element_handles():
            page.wait_for_function(ALIVE, arg=figure, timeout=10_000)
    assert page.locator(".Toastify__toast").all_inner_texts() == []
    assert page.locator(".jp-Dialog").count() == 0

    # Run All.
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    ran = [cell for cell in cells(page) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in ran] == list(range(1, len(ran) + 1))
    wrong = [out for cell in ran for out in cell["outputs"] if out["output_type"] == "error" or out.get("name") == "stderr"]
    assert not wrong, wrong

    # A live widget, moved by keyboard.
    widgets = [i for i, cell in enumerate(cells(page)) if "widget-view" in json.dumps(cell.get("outputs", []))]
    for index in widgets:
        go_to(page, index)
        slider = page.locator(f".jp-Cell[data-windowed-list-index='{index}'] {SLIDER}").first
        try:
            slider.wait_for(timeout=5_000)
        except Exception:
            continue
        output = slider.locator("xpath=ancestor::*[contains(@class, 'jp-OutputArea-output')][1]").element_handle()
        before = output.evaluate(PICTURE)
        assert before, "no picture beside the slider"
        slider.focus()
        page.keyboard.press("ArrowLeft" if slider.evaluate("slider => slider.value && slider.value === slider.max") else "ArrowRight")
        page.wait_for_function(f"([output, before]) => ({PICTURE})(output) !== before", arg=[output, before], timeout=10_000)
        break
    else:
        pytest.fail(f"no live widget with a slider among cells {widgets}")

    # Saving writes the module as it was.
    module = (ROOT / "lessons" / f"{name}.py").read_text("utf-8")
    assert save(page, folder / "lessons" / f"{name}.py") == module


@pytest.mark.parametrize("name", LESSONS)
def test_module_opens_as_notebook(lab, page, name):
    address, folder = lab
    module, notebook = folder / "lessons" / f"{name}.py", folder / "notebooks" / f"{name}.ipynb"
    text, before = module.read_text("utf-8"), nbformat.read(notebook, as_version=4)
    page.goto(f"{address}/lab/tree/lessons?reset")
    page.locator(".jp-DirListing-item", has_text=f"{name}.py").click(button="right")
    page.locator(".lm-Menu-item", has_text="Open With").hover()
    page.locator(".lm-Menu-item", has_text=re.compile("^Notebook$")).click()
    assert [(c["cell_type"], "".join(c["source"])) for c in opened(page)] == [(c.cell_type, c.source) for c in before.cells]
    assert save(page, module) == text
    after = nbformat.read(notebook, as_version=4)
    assert [c.get("outputs") for c in after.cells] == [c.get("outputs") for c in before.cells]
    assert [c.id for c in after.cells] == [c.id for c in before.cells]


def test_a_dollar_is_a_dollar(lab, page, monkeypatch):
    """Names with dollars stay text in figures, tables and recaps, although JupyterLab typesets HTML and Markdown outputs."""
    address, folder = lab
    layers = Layers({"series": [{"name": "$5 and $6", "values": [1, 2]}], "labels": ["$_$", "$a$"], "note": "from $5 to $6"},
                    y_label="$y$", caption="$_$, and $5 and $6.", alt="$x$")  # fmt: skip
    tokens = Tokens({"rows": [{"title": "$t$", "tokens": ["$_$", "$", "5", "$"]}]}, caption="$c$", alt="$x$")
    asked = Predict("$5 or $6?", ["$5 and $6", "$x$"], name="dollars")
    monkeypatch.setattr(claims, "_verified", {"from $5 to $6": "ours"})
    shown = [layers, tokens, asked, table(["$5 and $6"], [["$_$ $x$"]]), claims.recap()]
    formula = new_markdown_cell("The area is $x^2$.")
    bundles = [{"text/html": one.html} if isinstance(one, Figure) else {"text/markdown": one.data} for one in shown]
    outputs = [new_output("display_data", bundle) for bundle in bundles]
    notebook = new_notebook(cells=[formula, new_code_cell("shown", outputs=outputs, execution_count=1)])
    path = folder / "notebooks" / "dollars.ipynb"
    nbformat.write(notebook, path)
    private = {f"JUPYTER_{kind}_DIR": str(folder / ".jupyter" / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    subprocess.run([sys.executable, "-m", "jupyter", "trust", str(path)], env=os.environ | private, check=True, capture_output=True)
    page.goto(f"{address}/lab/tree/notebooks/dollars.ipynb?reset")
    page.locator(".jp-MarkdownCell mjx-container").wait_for()  # what is a formula is one
    page.locator(".jp-OutputArea-output .pcc-live svg").first.wait_for()
    page.wait_for_timeout(1000)
    assert page.locator(".jp-OutputArea-output mjx-container").count() == 0
    said = " ".join(page.locator(".jp-OutputArea-output").all_inner_texts())
    for text in ("$_$, and $5 and $6.", "from $5 to $6", "$c$", "$5 or $6?", "$_$ $x$", "✓ from $5 to $6"):
        assert text in said, text
