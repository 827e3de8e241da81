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

from kit.notebooks import ROOT, environment, lessons, source_hash

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


@pytest.fixture(scope="module")
def context(browser):
    """What the pages share, so that JupyterLab's scripts are read once."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    yield context
    context.close()


@pytest.fixture
def page(lab, context):
    """A page that may ask for nothing but the server; anything else is a failure."""
    address, _ = lab
    page, left = context.new_page(), []
    page.set_default_timeout(60_000)

    def local(url):
        return url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))

    for event in ("request", "websocket"):  # not page.route, which would switch the browser's cache off
        page.on(event, lambda asked: None if local(asked.url) else left.append(asked.url))
    yield page
    page.evaluate(f"{NOTEBOOK}?.sessionContext?.shutdown()")  # a kernel may hold a gigabyte
    page.close()
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


def run(page, index):
    """Run one cell; returns its outputs, among which no error and no message on stderr may be."""
    page.evaluate(
        f"""async i => {{ const nb = {NOTEBOOK}.content; nb.activeCellIndex = i;
            await window.jupyterapp.commands.execute("notebook:run-cell"); }}""",
        index,
    )
    return outputs(cells(page)[index])


def outputs(cell):
    found = cell.get("outputs", [])
    assert not [out for out in found if out["output_type"] == "error" or out.get("name") == "stderr"], cell["source"]
    return found


def move_slider(page, index):
    """Move the slider of a live widget by keyboard, and see its picture change; returns whether the cell has one."""
    go_to(page, index)
    slider = page.locator(f".jp-Cell[data-windowed-list-index='{index}'] {SLIDER}").first
    try:
        slider.wait_for(timeout=5_000)
    except Exception:
        return False
    output = slider.locator("xpath=ancestor::*[contains(@class, 'jp-OutputArea-output')][1]").element_handle()
    before = output.evaluate(PICTURE)
    assert before, "no picture beside the slider"
    slider.focus()
    page.keyboard.press("ArrowLeft" if slider.evaluate("slider => slider.value && slider.value === slider.max") else "ArrowRight")
    page.wait_for_function(f"([output, before]) => ({PICTURE})(output) !== before", arg=[output, before], timeout=10_000)
    return True


def has_widget(outputs):
    return "widget-view" in json.dumps(outputs)


@pytest.mark.parametrize("name", LESSONS)
def test_lesson_opens_alive(lab, page, name):
    """Nothing run: trusted figures are alive, and no pop-up is in the way."""
    address, _ = lab
    page.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?reset")
    with_figure = [i for i, cell in enumerate(opened(page)) if "pcc-figure" in json.dumps(cell.get("outputs", []))]
    assert with_figure, "the lesson stores no figure"
    for index in with_figure:
        go_to(page, index)
        for figure in page.locator(f".jp-Cell[data-windowed-list-index='{index}'] {FIGURE}").element_handles():
            page.wait_for_function(ALIVE, arg=figure, timeout=10_000)
    assert page.locator(".Toastify__toast").all_inner_texts() == []
    assert page.locator(".jp-Dialog").count() == 0


def test_the_first_live_figure_of_a_lesson(lab, page):
    """Of the one that comes to it before anything is trained."""
    address, folder = lab
    page.goto(f"{address}/lab/tree/notebooks/albert.ipynb?reset")
    for index, cell in enumerate(opened(page)):
        if cell["cell_type"] == "code" and has_widget(run(page, index)) and move_slider(page, index):
            break
    else:
        pytest.fail("no live widget with a slider")
    module = folder / "lessons" / "albert.py"
    assert save(page, module) == (ROOT / "lessons" / "albert.py").read_text("utf-8")


@pytest.mark.lessons
@pytest.mark.timeout(900)  # another lesson runs at the same time
@pytest.mark.parametrize("name", LESSONS)
def test_run_all_with_another_seed(lab, page, cache, name):
    """Not again for a lesson that did not change since it passed: pytest's cache remembers its text and its environment."""
    today = [source_hash(name), environment()]
    if cache.get(f"lessons/{name}", None) == today:
        pytest.skip("has not changed since it passed")
    address, folder = lab
    page.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?reset")
    opened(page)
    page.evaluate(f"""() => {NOTEBOOK}.sessionContext.session.kernel.requestExecute(
        {{ code: "import os; os.environ['LESSON_SEED'] = '1'", silent: true }}).done""")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    ran = cells(page)
    code = [cell for cell in ran if cell["cell_type"] == "code"]
    found = [out for cell in code for out in outputs(cell)]
    assert found and [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert any(move_slider(page, i) for i, cell in enumerate(ran) if has_widget(cell.get("outputs", []))), "no live widget with a slider"

    # Saving writes the module as it was.
    module = (ROOT / "lessons" / f"{name}.py").read_text("utf-8")
    assert save(page, folder / "lessons" / f"{name}.py") == module
    cache.set(f"lessons/{name}", today)


def test_module_opens_as_notebook(lab, page):
    address, folder = lab
    name = LESSONS[0]
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


def test_every_module_is_read_and_saved_as_its_notebook(lab, page):
    """As JupyterLab reads and saves it, without drawing it."""
    address, folder = lab
    page.goto(f"{address}/lab/tree/lessons?reset")
    page.wait_for_function("window.jupyterapp?.serviceManager?.isReady")
    for name in LESSONS:
        module, notebook = folder / "lessons" / f"{name}.py", folder / "notebooks" / f"{name}.ipynb"
        text, before = module.read_text("utf-8"), nbformat.read(notebook, as_version=4)
        found = page.evaluate("""async path => {
            const { contents } = window.jupyterapp.serviceManager;
            const { content } = await contents.get(path, { type: "notebook", content: true });
            await contents.save(path, { type: "notebook", format: "json", content });
            return content.cells; }""", f"lessons/{name}.py")
        assert [(c["cell_type"], c["source"]) for c in found] == [(c.cell_type, c.source) for c in before.cells], name
        assert module.read_text("utf-8") == text, name
        after = nbformat.read(notebook, as_version=4)
        assert [c.get("outputs") for c in after.cells] == [c.get("outputs") for c in before.cells], name
        assert [c.id for c in after.cells] == [c.id for c in before.cells], name
