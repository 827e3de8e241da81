"""Live figures in Jupyter: run, saved, their kernel gone, opened again."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from support import end

from kit.notebooks import WIDGET

FIGURE = """
from kit.view import Curves, Layers
def frame(depth):
    values = [1 / (i + depth) for i in range(8)]
    return {"series": [{"name": "plain", "values": values}], "note": f"depth {depth}"}
figure = Layers(frame, controls={"depth": [1, 2, 3]}, y_label="y", caption="c", alt="a")
figure.widget(controls={"depth": range(1, 9)})"""
TRAIN = """
import time
live = Curves.live(x_label="step", y_label="loss", total=20)
for step in range(20):
    time.sleep(0.1)
    live.add("loss", step, 1 / (step + 1), role="idea")
live.close()"""
DONE = "20 of 20 (100 %)"
PANEL = "window.jupyterapp.shell.currentWidget"
WATCH = """() => {
    const cell = document.querySelectorAll(".jp-CodeCell")[1];
    const look = () => [cell.offsetHeight, cell.querySelector("progress")?.value];
    window.seen = [];
    window.clock = setInterval(() => seen.push(look()), 10);
}"""
APPS = [
    ("jupyterlab", "lab/tree"),
    pytest.param(("notebook", "notebooks"), marks=pytest.mark.skipif(
        not find_spec("notebook"), reason="Notebook 7 is not installed")),
]


def unrun(path):
    cells = [new_code_cell(FIGURE), new_code_cell(TRAIN), new_markdown_cell("# After")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture(params=APPS, ids=lambda app: app[0])
def jupyter(request, tmp_path):
    """A server with a notebook that was never run: (address, path) of the notebook."""
    app, where = request.param
    path = unrun(tmp_path / "live.ipynb")
    private = {f"JUPYTER_{kind}_DIR": str(tmp_path / ".jupyter" / kind)
               for kind in ("CONFIG", "DATA", "RUNTIME")}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [
        sys.executable, "-m", app, "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={address[17:]}", "--IdentityProvider.token=",
        "--LabApp.expose_app_in_browser=True",
        "--JupyterNotebookApp.expose_app_in_browser=True",
    ]
    with open(tmp_path / "server.log", "w") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | private, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(address + "/api", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "server.log").read_text()
                time.sleep(0.2)
        yield f"{address}/{where}/{path.name}", path
    finally:
        end(server)


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1366, "height": 1600})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("dialog", lambda dialog: dialog.accept())  # leave, saved or not
    yield page
    context.close()


def opened(page):
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext")
    page.evaluate(f"async () => {{ await {PANEL}.context.ready; }}")
    page.evaluate(f"async () => {{ await {PANEL}.sessionContext.ready; }}")


def command(page, name):
    run = "async name => { await window.jupyterapp.commands.execute(name); }"
    page.evaluate(run, name)


def saved(page, path):
    page.evaluate(f"async () => {{ await {PANEL}.context.save(); }}")
    return path.read_text("utf-8")


def slide(page, depth):
    """Move the slider of the first figure to its end, `depth`: the picture changes."""
    page.locator(f"input[max='{depth - 1}']").wait_for()
    figure = page.locator(".jp-OutputArea figure").first
    picture = "document.querySelector('.jp-OutputArea figure .pcc-stage').innerHTML"
    before = page.evaluate(picture)
    figure.get_by_role("slider").press("End")
    page.wait_for_function(f"before => {picture} !== before", arg=before)
    figure.locator(".pcc-note", has_text=f"depth {depth}").wait_for()
    page.wait_for_function("!document.querySelector('.jp-OutputArea .pcc-waiting')")


def lose_kernel(page, how):
    page.evaluate(f"async () => {{ await {PANEL}.sessionContext.{how}(); }}")
    page.get_by_text("The kernel behind this figure is gone.").wait_for()


def train_again(page):
    """Run the training cell; returns (its heights in pixels, its progress) in time."""
    page.get_by_text(DONE).wait_for()
    page.evaluate(WATCH)
    page.evaluate(f"() => {{ {PANEL}.content.activeCellIndex = 1; }}")
    command(page, "notebook:run-cell")
    page.get_by_text(DONE).wait_for()
    page.wait_for_timeout(300)
    page.evaluate("clearInterval(window.clock)")
    return zip(*page.evaluate("window.seen"))


@pytest.mark.timeout(600)
def test_a_figure_outlives_its_kernel(jupyter, page):
    address, path = jupyter
    page.goto(address)
    opened(page)
    command(page, "notebook:run-all-cells")
    slide(page, 8)  # of which only the kernel knows
    heights, progress = train_again(page)
    assert max(heights) - min(heights) < 2 and heights[0] > 400, sorted(set(heights))
    assert len(set(progress)) > 5, "the curve did not grow before the reader's eyes"
    lose_kernel(page, "restartKernel")
    slide(page, 3)
    command(page, "notebook:run-all-cells")
    slide(page, 8)
    assert WIDGET not in saved(page, path)
    page.reload()  # with the kernel alive
    opened(page)
    slide(page, 8)
    lose_kernel(page, "shutdown")
    page.reload()
    opened(page)
    page.get_by_text(DONE).wait_for()
    slide(page, 3)
    assert "Error displaying widget" not in page.content()

    nb = nbformat.read(path, as_version=4)
    nb.cells.pop()
    nbformat.write(nb, path.with_name("foreign.ipynb"))  # not what was signed
    page.goto(address.replace("live", "foreign"))
    opened(page)
    asleep = page.get_by_text("This figure is asleep here.")
    asleep.nth(1).wait_for()
    assert asleep.count() == 2 and page.locator(".pcc-stage:visible").count() == 0
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:trust'); }")
    page.locator(".jp-Dialog").get_by_role("button", name="Trust").click()
    page.locator("figure .pcc-stage svg >> visible=true").nth(1).wait_for()
    assert asleep.count() == 0


def test_nbconvert_shows_every_figure(page, tmp_path):
    path = unrun(tmp_path / "live.ipynb")
    convert = ["jupyter", "nbconvert", "--execute", "--to", "html", str(path)]
    subprocess.run([sys.executable, "-m", *convert], check=True, capture_output=True)
    page.context.set_offline(True)
    page.goto(path.with_suffix(".html").as_uri())
    page.get_by_text(DONE).wait_for()
    slide(page, 3)
