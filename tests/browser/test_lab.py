"""The lessons in a real JupyterLab: opened, run, a slider moved, as a reader would."""

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
from support import end

from kit import claims
from kit.lab import MINE
from kit.notebooks import ROOT, environment, lessons, source_hash
from kit.table import table
from kit.view import Layers, Predict, Tokens

STORED = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
LESSONS = [name for name in lessons() if name in STORED]
FIGURE = ".pcc-figure"
# A viewer has drawn; a still picture, which has no script, is loaded.
ALIVE = """figure => {
    const live = figure.querySelector('.pcc-live');
    const drawn = 'svg, canvas, input, button, table, .pcc-tokens';
    return live ? live.querySelector(drawn) != null
        : figure.querySelector('img')?.naturalWidth > 0; }"""
# of a figure that the kernel computes for
SLIDER = "figure[data-kernel] .pcc-live input[type=range]"
PICTURE = """output => {
    const pictures = output.querySelectorAll('svg, canvas, img, .pcc-tokens');
    return [...pictures].map(picture =>
        picture.tagName === 'CANVAS' ? picture.toDataURL()
        : picture.tagName === 'IMG' ? picture.src : picture.outerHTML).join(); }"""
NOTEBOOK = "window.jupyterapp?.shell?.currentWidget"


def private(folder):
    """An environment in which Jupyter keeps settings and signatures in `folder`."""
    kinds = ("CONFIG", "DATA", "RUNTIME")
    places = {f"JUPYTER_{kind}_DIR": str(folder / ".jupyter" / kind) for kind in kinds}
    return os.environ | places | {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """What `make lab` starts, on a copy of the project; yields ``(address, folder)``.

    It has settings and signatures of its own.
    """
    folder = tmp_path_factory.mktemp("lab") / "project"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "site", MINE)
    shutil.copytree(ROOT, folder, ignore=unwanted)
    # A save during an autosave makes JupyterLab ask about a file that it changed
    # itself.
    settings = folder / ".jupyter/CONFIG/lab/user-settings/@jupyterlab"
    settings /= "docmanager-extension/plugin.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"autosave": False}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    options += ["--ServerApp.port_retries=0"]
    options += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    # tests/test_start.py: `make lab` is this command
    command = [sys.executable, "-m", "kit.lab", *options]
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=private(folder), stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address + "/api", server, folder / "server.log")
        yield address, folder
    finally:
        end(server)


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
        socket = address.replace("http", "ws", 1)
        return url.startswith((address, socket, "data:", "blob:"))

    def asked(request):
        if not local(request.url):
            left.append(request.url)

    # not page.route, which would switch the browser's cache off
    for event in ("request", "websocket"):
        page.on(event, asked)
    yield page
    # a kernel may hold a gigabyte
    page.evaluate(f"{NOTEBOOK}?.sessionContext?.shutdown()")
    page.close()
    assert not left, f"requests that left the machine: {left}"


def opened(page):
    page.wait_for_function(f"{NOTEBOOK}?.sessionContext", timeout=60_000)
    page.evaluate(f"""async () => {{
        const panel = {NOTEBOOK};
        await panel.context.ready;
        await panel.sessionContext.ready; }}""")
    return cells(page)


def cells(page):
    return page.evaluate(f"{NOTEBOOK}.content.model.sharedModel.toJSON().cells")


def go_to(page, index):
    """Bring a cell into the page; JupyterLab draws only those near the viewport."""
    page.evaluate(
        f"""async i => {{
            const nb = {NOTEBOOK}.content;
            nb.activeCellIndex = i;
            await nb.scrollToItem(i, 'start'); }}""",
        index,
    )


def in_cell(page, index, selector):
    """The first such element of a cell that is in the page."""
    cell = page.locator(f".jp-Cell[data-windowed-list-index='{index}']")
    return cell.locator(selector).first


def has_figure(cell):
    return "pcc-figure" in json.dumps(cell.get("outputs", []))


def save(page, path):
    """Save the open document; returns the text that this wrote to ``path``."""
    before = path.stat().st_mtime_ns
    page.wait_for_function(f"{NOTEBOOK}.context.contentsModel?.writable")
    page.evaluate("""() => {
        const saving = window.jupyterapp.commands.execute('docmanager:save');
        saving.then(() => { window.saved = true; }); }""")
    dialog = "document.querySelector('.jp-Dialog')"
    page.wait_for_function(f"window.saved || {dialog} != null")
    assert page.locator(".jp-Dialog").all_inner_texts() == []
    assert path.stat().st_mtime_ns > before
    return path.read_text("utf-8")


def run(page, index):
    """Run one cell; returns its outputs, none of which may be an error or on stderr."""
    page.evaluate(
        f"""async i => {{ const nb = {NOTEBOOK}.content; nb.activeCellIndex = i;
            await window.jupyterapp.commands.execute("notebook:run-cell"); }}""",
        index,
    )
    return outputs(cells(page)[index])


def outputs(cell):
    found = cell.get("outputs", [])
    for out in found:
        assert out["output_type"] != "error", cell["source"]
        assert out.get("name") != "stderr", cell["source"]
    return found


def move_slider(page, index):
    """Move the slider of a live figure by keyboard, and see its picture change.

    Returns whether the cell has one.
    """
    go_to(page, index)
    slider = in_cell(page, index, SLIDER)
    try:
        slider.wait_for(timeout=5_000)
    except Exception:
        return False
    around = "xpath=ancestor::*[contains(@class, 'jp-OutputArea-output')][1]"
    output = slider.locator(around).element_handle()
    before = output.evaluate(PICTURE)
    assert before, "no picture beside the slider"
    slider.focus()
    last = slider.evaluate("slider => slider.value && slider.value === slider.max")
    page.keyboard.press("ArrowLeft" if last else "ArrowRight")
    change = f"([output, before]) => ({PICTURE})(output) !== before"
    page.wait_for_function(change, arg=[output, before])
    return True


def is_live(outputs):
    return "data-kernel" in json.dumps(outputs)


@pytest.mark.parametrize("name", LESSONS)
def test_lesson_opens_alive(lab, page, name):
    """Nothing run: trusted figures are alive, and no pop-up is in the way."""
    address, _ = lab
    page.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?reset")
    with_figure = [i for i, cell in enumerate(opened(page)) if has_figure(cell)]
    assert with_figure, "the lesson stores no figure"
    for index in with_figure:
        go_to(page, index)
        cell = page.locator(f".jp-Cell[data-windowed-list-index='{index}']")
        for figure in cell.locator(FIGURE).element_handles():
            page.wait_for_function(ALIVE, arg=figure)
    assert page.locator(".Toastify__toast").all_inner_texts() == []
    assert page.locator(".jp-Dialog").count() == 0


def test_the_first_live_figure_of_a_lesson(lab, page):
    """Of the one that comes to it before anything is trained."""
    address, folder = lab
    page.goto(f"{address}/lab/tree/notebooks/albert.ipynb?reset")
    for index, cell in enumerate(opened(page)):
        if cell["cell_type"] == "code" and is_live(run(page, index)):
            if move_slider(page, index):
                break
    else:
        pytest.fail("no live figure with a slider")
    module = folder / "lessons" / "albert.py"
    assert save(page, module) == (ROOT / "lessons" / "albert.py").read_text("utf-8")


@pytest.mark.lessons
@pytest.mark.timeout(900)  # another lesson runs at the same time
@pytest.mark.parametrize("name", LESSONS)
def test_run_all_with_another_seed(lab, page, cache, name):
    """Not again for a lesson that did not change since it passed.

    pytest's cache remembers its text and its environment.
    """
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
    assert found
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    live = [i for i, cell in enumerate(ran) if is_live(cell.get("outputs", []))]
    assert any(move_slider(page, i) for i in live), "no live figure with a slider"

    # Saving writes the module as it was.
    module = (ROOT / "lessons" / f"{name}.py").read_text("utf-8")
    assert save(page, folder / "lessons" / f"{name}.py") == module
    cache.set(f"lessons/{name}", today)


def pair(folder, name):
    """The module and the notebook of a lesson."""
    return folder / "lessons" / f"{name}.py", folder / "notebooks" / f"{name}.ipynb"


def content(cells):
    """Kind and text of each cell; JupyterLab's page may give the text as lines."""
    return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]


def unchanged(notebook, before):
    """Whether outputs and ids of the stored notebook are as before."""
    after = nbformat.read(notebook, as_version=4)
    outputs = [[cell.get("outputs") for cell in nb.cells] for nb in (before, after)]
    ids = [[cell.id for cell in nb.cells] for nb in (before, after)]
    return outputs[0] == outputs[1] and ids[0] == ids[1]


def test_module_opens_as_notebook(lab, page):
    address, folder = lab
    name = LESSONS[0]
    module, notebook = pair(folder, name)
    text, before = module.read_text("utf-8"), nbformat.read(notebook, as_version=4)
    page.goto(f"{address}/lab/tree/lessons?reset")
    page.locator(".jp-DirListing-item", has_text=f"{name}.py").click(button="right")
    page.locator(".lm-Menu-item", has_text="Open With").hover()
    page.locator(".lm-Menu-item", has_text=re.compile("^Notebook$")).click()
    assert content(opened(page)) == content(before.cells)
    assert save(page, module) == text
    assert unchanged(notebook, before)


def test_every_module_is_read_and_saved_as_its_notebook(lab, page):
    """As JupyterLab reads and saves it, without drawing it."""
    address, folder = lab
    page.goto(f"{address}/lab/tree/lessons?reset")
    page.wait_for_function("window.jupyterapp?.serviceManager?.isReady")
    for name in LESSONS:
        module, notebook = pair(folder, name)
        text, before = module.read_text("utf-8"), nbformat.read(notebook, as_version=4)
        found = page.evaluate("""async path => {
            const { contents } = window.jupyterapp.serviceManager;
            const notebook = { type: "notebook", content: true };
            const { content } = await contents.get(path, notebook);
            await contents.save(path, { type: "notebook", format: "json", content });
            return content.cells; }""", f"lessons/{name}.py")
        assert content(found) == content(before.cells), name
        assert module.read_text("utf-8") == text, name
        assert unchanged(notebook, before), name


# --- How a reader and a contributor start ---


def current(page):
    return page.evaluate(f"{NOTEBOOK}?.context?.path")


def edit_and_save(page, cell, text):
    """Append to a cell of the open notebook, as a person who types would, and save."""
    page.evaluate(
        f"""async ([cell, text]) => {{
            const panel = {NOTEBOOK};
            const model = panel.content.model.sharedModel.cells[cell];
            model.setSource(model.getSource() + text);
            await panel.context.save(); }}""",
        [cell, text],
    )


def files(folder):
    """The bytes of what git tracks of the lessons."""
    paths = [*folder.glob("lessons/*.py"), *folder.glob("notebooks/*.ipynb")]
    return {path: path.read_bytes() for path in paths}


@pytest.fixture
def undone(lab):
    """The lessons are afterwards what they were before: one project for all tests."""
    _, folder = lab
    before = files(folder)
    yield before
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def test_start_page_leads_to_copies_of_the_lessons(lab, page, undone):
    address, folder = lab
    page.goto(address)
    start = page.locator(".jp-MarkdownViewer")
    start.get_by_role("heading", name="Papers, Cell by Cell").wait_for()
    assert start.locator("table a[href*='.ipynb']").count() == len(LESSONS)
    start.locator("table").get_by_role("link", name="DenseNet").click()
    page.wait_for_function(f"{NOTEBOOK}?.context?.path === '{MINE}/densenet.ipynb'")
    index = next(i for i, cell in enumerate(opened(page)) if has_figure(cell))
    go_to(page, index)
    figure = in_cell(page, index, FIGURE)
    page.wait_for_function(ALIVE, arg=figure.element_handle())  # trusted, so alive

    edit_and_save(page, 0, "\n\nMy note.")
    assert "My note." in (folder / MINE / "densenet.ipynb").read_text("utf-8")
    assert files(folder) == undone

    go_to(page, 0)
    lesson = page.locator(".jp-NotebookPanel").get_by_role("link", name="ResNet lesson")
    lesson.first.click()
    page.wait_for_function(f"{NOTEBOOK}?.context?.path === '{MINE}/resnet.ipynb'")


def test_an_edit_of_an_original_reaches_its_module(lab, page, undone):
    address, folder = lab
    page.goto(f"{address}/lab/tree/notebooks/ctrl.ipynb?reset")
    opened(page)
    edit_and_save(page, 0, "\n\nAn edit.")
    module, _ = pair(folder, "ctrl")
    text = module.read_text("utf-8")
    assert "# An edit.\n" in text
    # The next edit is made in the module; nothing of the notebook is lost with it, so
    # nothing is asked.
    module.write_text(text.replace("# An edit.", "# Another edit."), "utf-8")
    page.goto(f"{address}/lab/tree/notebooks/ctrl.ipynb?reset")
    assert opened(page)[0]["source"].endswith("Another edit.")


@pytest.mark.parametrize("kept", ["notebook", "module"])
def test_an_edit_in_the_notebook_alone_is_never_dropped(lab, page, undone, kept):
    address, folder = lab
    module, notebook = pair(folder, "ctrl")
    nb = nbformat.read(notebook, as_version=4)
    nb.cells[0].source += "\n\nAn edit."
    nbformat.write(nb, notebook)
    later = time.time() + 60
    os.utime(module, (later, later))

    page.goto(f"{address}/lab/tree/notebooks/ctrl.ipynb?reset")
    dialog = page.locator(".jp-Dialog")
    dialog.wait_for()
    message = dialog.inner_text()
    assert "notebooks/ctrl.ipynb was edited by hand" in message
    assert "and lessons/ctrl.py has other cells" in message
    command = re.search(rf"those of the {kept}, run `python (.+?)`", message)[1].split()
    # executing takes a minute, and tests/test_notebooks.py does it
    if kept == "module":
        assert command == ["-m", "kit.notebooks", "--force", "ctrl"]
        return
    command = [sys.executable, *command]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    page.goto(f"{address}/lab/tree/notebooks/ctrl.ipynb?reset")
    assert opened(page)[0]["source"].endswith("An edit.")


# What is ours in an open notebook, without JupyterLab's frame: that has faults of its
# own, and layers that hide from axe what lies in them.
OURS = """() => {
    const { body } = document;
    const ours = document.querySelectorAll(".jp-OutputArea-output, .jp-MarkdownOutput");
    body.replaceChildren(...ours);
    body.setAttribute("style", "height: auto; overflow: visible !important;" +
        "background: var(--jp-layout-color0)");
}"""


def test_a_dollar_is_a_dollar_and_all_is_accessible(lab, page, monkeypatch, grave):
    """Names with dollars stay text in figures, tables and recaps, light and dark.

    That is not a matter of course: JupyterLab typesets HTML and Markdown outputs.
    """
    address, folder = lab
    series = [{"name": "$5 and $6", "values": [1, 2]}]
    frame = {"series": series, "labels": ["$_$", "$a$"], "note": "from $5 to $6"}
    words = {"caption": "$_$, and $5 and $6.", "alt": "$x$"}
    layers = Layers(frame, y_label="$y$", **words)
    row = {"title": "$t$", "tokens": ["$_$", "$", "5", "$"]}
    tokens = Tokens({"rows": [row]}, caption="$c$", alt="$x$")
    asked = Predict("$5 or $6?", ["$5 and $6", "$x$"], name="dollars")
    monkeypatch.setattr(claims, "_verified", {"from $5 to $6": "ours"})
    dollars = table(["$5 and $6"], [["$_$ $x$"]])
    shown = [{"text/html": one.html} for one in (layers, tokens, asked)]
    shown += [{"text/markdown": one.data} for one in (dollars, claims.recap())]
    outputs = [new_output("display_data", bundle) for bundle in shown]
    formula = new_markdown_cell("The area is $x^2$.")
    code = new_code_cell("shown", outputs=outputs, execution_count=1)
    notebook = new_notebook(cells=[formula, code])
    path = folder / "notebooks" / "dollars.ipynb"
    nbformat.write(notebook, path)
    trust = [sys.executable, "-m", "jupyter", "trust", str(path)]
    subprocess.run(trust, env=private(folder), check=True, capture_output=True)
    page.goto(f"{address}/lab/tree/notebooks/dollars.ipynb?reset")
    # what is a formula is one
    page.locator(".jp-MarkdownCell mjx-container").wait_for()
    page.locator(".jp-OutputArea-output .pcc-live svg").first.wait_for()
    page.wait_for_timeout(1000)
    assert page.locator(".jp-OutputArea-output mjx-container").count() == 0
    said = " ".join(page.locator(".jp-OutputArea-output").all_inner_texts())
    texts = "$_$, and $5 and $6.", "from $5 to $6", "$c$", "$5 or $6?", "$_$ $x$"
    for text in (*texts, "✓ from $5 to $6"):
        assert text in said, text

    page.evaluate(OURS)
    assert grave(page) == []
    dark = {"theme": "JupyterLab Dark"}
    change = """async to => {
        await window.jupyterapp.commands.execute("apputils:change-theme", to); }"""
    page.evaluate(change, dark)
    page.locator(".jp-OutputArea-output .pcc-dark").nth(2).wait_for()
    assert grave(page) == []
    page.locator("figcaption").last.evaluate("text => { text.style.color = '#555'; }")
    assert len(grave(page)) == 1
