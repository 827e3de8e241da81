"""The stored notebooks, and the program that makes them.

Are they their modules, were they executed, do they keep the house style?
"""

import ast
import copy
import json
import re
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import jupytext
import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbval.plugin import get_sanitize_patterns
from support import full_disk

import kit.notebooks
from kit.notebooks import (
    ROOT,
    WIDGET,
    apart,
    cells_hash,
    inputs_hash,
    kit_files,
    lesson_table,
    lessons,
    source_hash,
    stable_ids,
    to_notebook,
    with_table,
    without_widgets,
)
from kit.view import Curves
from kit.view.figure import viewer

MAX_BYTES = 3 * 2**20


def stored(name):
    path = ROOT / "notebooks" / f"{name}.ipynb"
    assert path.exists(), f"{path.name} is missing: make notebooks ONLY={name}"
    return nbformat.read(path, as_version=4)


# --- What the house refuses in a notebook


class Pictures(HTMLParser):
    """Collects what the pictures in a piece of HTML lack."""

    def __init__(self, html):
        super().__init__()
        self.lacking, self.caption = [], None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag == "img" and not (dict(attributes).get("alt") or "").strip():
            self.lacking.append("an <img> without alt")
        self.caption = "" if tag in ("figure", "figcaption") else self.caption

    def handle_data(self, data):
        if self.caption is not None:
            self.caption += data.strip() if self.lasttag != "script" else ""

    def handle_endtag(self, tag):
        if tag == "figcaption" and not self.caption:
            self.lacking.append("a <figure> with an empty caption")
        if tag == "figcaption":
            self.caption = None
        if tag == "figure" and self.caption is not None:
            self.lacking.append("a <figure> without caption")


def output_faults(output):
    if output.output_type == "error":
        yield f"an error: {output.ename}"
    if output.get("name") == "stderr":
        yield f"a message on stderr: {output.text[:60]!r}"
    data = output.get("data", {})
    if WIDGET in data:
        yield "a live widget"
    for kind in data:
        alt = output.metadata.get(kind, {}).get("alt", "")
        if kind.startswith("image/") and not alt.strip():
            yield f"{kind} without text alternative (output metadata 'alt')"
    text = output.get("text", "") + data.get("text/plain", "")
    if re.search(r"\bat 0x[0-9a-f]{6,}", text):
        yield "a memory address, which differs at every run"
    yield from Pictures(data.get("text/html", "")).lacking


def faults(nb):
    """All faults of an executed notebook, one sentence each."""
    if "widgets" in nb.metadata:
        yield "notebook: stored widget state"
    if (size := len(nbformat.writes(nb).encode())) > MAX_BYTES:
        yield f"notebook: {size:,} bytes, at most {MAX_BYTES:,} allowed"
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    sources = [cell.source.splitlines() for cell in code]
    lines = [sum(bool(line.strip()) for line in source) for source in sources]
    if (median := statistics.median(lines)) > 8:
        long = f"the median code cell has {median:g} lines"
        yield f"notebook: {long}, at most 8 allowed"
    for number, (cell, length) in enumerate(zip(code, lines, strict=True), 1):
        where = f"cell [{number}]: "
        if length > 32:
            yield f"{where}{length} lines, at most 32 allowed"
        if (count := cell.execution_count) != number:
            yield f"{where}not executed in order (execution count {count})"
        live = re.search(r"\b(interact|clear_output|display_id)\b", cell.source)
        if live and "nbval-ignore-output" not in cell.metadata.get("tags", []):
            yield f"{where}{live[1]} needs the tag nbval-ignore-output"
        for output in cell.outputs:
            yield from (where + fault for fault in output_faults(output))
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            if re.search(r"!\[\s*\]\(", cell.source):
                yield "text: a Markdown picture without text alternative"
            yield from ("text: " + fault for fault in Pictures(cell.source).lacking)
            yield from ("text: " + fault for fault in Pictures(cell.source).lacking)


def pairing_faults(nb, text):
    """Where a notebook differs from its module ``text``."""
    if jupytext.writes(nb, "py:percent") != text:
        yield "its cells are not those of the module"
    ids = [cell.id for cell in nb.cells]
    if ids != [cell.id for cell in stable_ids(copy.deepcopy(nb)).cells]:
        yield "its cell ids are not those that its content gives"


@pytest.mark.parametrize("name", lessons())
def test_notebook_is_its_module_executed(name):
    nb, text = stored(name), (ROOT / "lessons" / f"{name}.py").read_text("utf-8")
    assert list(pairing_faults(nb, text)) == []
    # Only the texts must be today's: another machine has other versions, and nbval says
    # whether they matter.
    again, lesson = f"make notebooks ONLY={name}", nb.metadata.lesson
    assert lesson.source == source_hash(name), f"the lesson or kit changed: {again}"
    assert lesson.get("cells") == cells_hash(nb), f"run or edited by hand: {again}"


@pytest.mark.parametrize("name", lessons())
def test_notebook_keeps_the_house_style(name):
    assert list(faults(stored(name))) == []


@pytest.mark.parametrize("path", ["README.md", "notebooks/index.md"])
def test_lesson_table_is_current(path):
    text = (ROOT / path).read_text("utf-8")
    assert text == with_table(text, lesson_table(ROOT, (ROOT / path).parent))


def test_ruff():
    command = [sys.executable, "-m", "ruff", "check"]
    places = ["lessons", "kit", "tests", "proof", "notebooks", "hatch_build.py"]
    run = subprocess.run([*command, *places], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


# --- The checks above, on planted faults

FIGURE = (
    '<figure class="pcc-figure" data-figure="0a1b"> <div class="pcc-live"></div> '
    '<div class="pcc-fallback"><img alt="a line going up" '
    'src="data:image/png;base64,iVBO+/0="></div> '
    "<figcaption>The loss falls.</figcaption> "
    '<script type="text/plain" class="pcc-data">eJyrVrJSCE=</script> '
    '<script>draw("<img>");</script></figure>'
)


def good():
    data = {"text/html": FIGURE, "text/plain": "<Curves: The loss falls.>"}
    figure = new_output("display_data", data)
    shows = new_code_cell("x = 1\nx", outputs=[figure], execution_count=1)
    prints = new_code_cell("print(x)", execution_count=2)
    return stable_ids(new_notebook(cells=[new_markdown_cell("# T"), shows, prints]))


def replace_html(old, new):
    html = FIGURE.replace(old, new)
    return lambda nb: nb.cells[1].outputs[0].data.update({"text/html": html})


def change(place, **fields):
    return lambda nb: nb.cells[place].update(fields)


def lengthen(nb):
    for cell in nb.cells:
        cell.source = "x = 1\n" * 9


def add_output(*args, **fields):
    return lambda nb: nb.cells[1].outputs.append(new_output(*args, **fields))


ERROR = {"ename": "ValueError", "evalue": "", "traceback": []}
ADDRESS = {"text/plain": "<object at 0x7f00deadbeef>"}
CAPTION = "<figcaption>The loss falls.</figcaption>"
PLANTED = {
    "an error: ValueError": add_output("error", **ERROR),
    "a message on stderr": add_output("stream", name="stderr", text="Warning"),
    "a live widget": add_output("display_data", {WIDGET: {}}),
    "image/png without text": add_output("display_data", {"image/png": "iVBO"}),
    "a memory address": add_output("execute_result", ADDRESS),
    "an <img> without alt": replace_html('alt="a line going up"', 'alt=" "'),
    "a <figure> with an empty caption": replace_html("The loss falls.", ""),
    "a <figure> without caption": replace_html(CAPTION, "text"),
    "stored widget state": lambda nb: nb.metadata.update(widgets={}),
    "bytes, at most": lambda nb: nb.metadata.update(big="x" * MAX_BYTES),
    "the median code cell has 9 lines": lengthen,
    "33 lines, at most 32": change(2, source="x = 1\n\n" * 33),
    "not executed in order (execution count None)": change(2, execution_count=None),
    "not executed in order (execution count 1)": change(2, execution_count=1),
    "interact needs the tag": change(2, source="interact(f, x=1)"),
    "clear_output needs the tag": change(2, source="clear_output()"),
    "a Markdown picture without": change(0, source="![](a.png)"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_fault_is_found(fault):
    nb = good()
    assert list(faults(nb)) == []
    PLANTED[fault](nb)
    assert any(fault in found for found in faults(nb)), list(faults(nb))


def test_pairing_sees_a_changed_cell_a_changed_tag_and_a_foreign_id():
    text = '# %% [markdown]\n# # T\n\n# %% tags=["active-ipynb"]\n# print(1)\n'
    nb = stable_ids(jupytext.reads(text, "py:percent"))
    assert list(pairing_faults(nb, text)) == []
    for change in ({"source": "print(2)"}, {"metadata": {}}):
        other = copy.deepcopy(nb)
        other.cells[1].update(nbformat.from_dict(change))
        assert "its cells are not those of the module" in pairing_faults(other, text)
    nb.cells[1].id = "random"
    told = "its cell ids are not those that its content gives"
    assert list(pairing_faults(nb, text)) == [told]


def test_sanitizer_masks_data_and_pictures_but_not_words():
    config = (ROOT / "tests" / "nbval.cfg").read_text("utf-8")

    def masked(html):
        for pattern, replacement in get_sanitize_patterns(config):
            html = re.sub(pattern, replacement, html)
        return html

    def curve(end):
        series = {"series": [{"name": "loss", "x": [1, 2], "y": [3, end]}]}
        words = {"caption": "The loss falls.", "alt": "a line going down"}
        return Curves(series, x_label="step", y_label="loss", **words)

    html, other = curve(2).html, curve(1).html
    once = masked(html)
    assert html != other and masked(other) == once
    # it names its widget
    assert masked(curve(2).widget()._repr_mimebundle_()["text/html"]) == once
    version, code = viewer(Curves.script)
    assert masked(html.replace(code, code[100:])) == once
    words = ["The loss falls.", "a line going down", "pcc-fallback", "image/png"]
    for old in [*words, version]:
        assert old in html and masked(html.replace(old, "other")) != once
    assert masked(html + html) == once + once  # a mask must end with its own figure


def test_widgets_are_dropped_and_their_html_stays():
    bare = new_output("display_data", {WIDGET: {}, "text/plain": "IntSlider(value=3)"})
    html = FIGURE.replace("<figure", '<figure data-kernel="0a1b"')
    data = {WIDGET: {}, "text/plain": "<Curves>", "text/html": html}
    figure = new_output("display_data", data)
    printed = new_output("stream", name="stdout", text="3")
    cell = new_code_cell(outputs=[bare, figure, printed])
    nb = new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    outputs = without_widgets(nb).cells[0].outputs
    assert [sorted(one.get("data", {"stream": ""})) for one in outputs] == [
        ["text/html", "text/plain"],
        ["stream"],
    ]
    assert outputs[0].data["text/html"] == FIGURE and "widgets" not in nb.metadata


# --- Modules as modules


def test_importing_every_lesson_is_fast_and_silent():
    program = "\n".join([
        "import time",
        "start = time.process_time()",  # a cold disk and other tests do not count
        *(f"import lessons.{name}" for name in lessons()),
        "seconds = time.process_time() - start",
        "assert seconds < 3, f'{seconds:.1f} s'",
    ])
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


DEFINING = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef,
    ast.Assign, ast.AnnAssign, ast.AugAssign,
)


@pytest.mark.parametrize("name", lessons())
def test_module_defines_and_does_nothing(name):
    tree = ast.parse((ROOT / "lessons" / f"{name}.py").read_text("utf-8"))
    doing = [node.lineno for node in tree.body if not isinstance(node, DEFINING)]
    assert not doing, f"cells that do things need tags=['active-ipynb']: lines {doing}"


# --- The program that makes notebooks

LESSON = '''# %% [markdown]
# # Lesson {name}
# **Paper:** Someone | somewhere, 2015
# **You will see:** a number.

# %%
def f(x):
    return x + 1


# %% tags=["active-ipynb"]
# import os, time
# for i in range(3):
#     print(i, flush=True); time.sleep(0.05)

# %% tags=["active-ipynb"]
# {last}
'''


@pytest.fixture
def house(tmp_path):
    """A house with the lessons ``one`` and ``two``, not yet executed."""
    for folder in ("lessons", "notebooks"):
        (tmp_path / folder).mkdir()
    table = "<!-- lessons -->\n<!-- /lessons -->"
    (tmp_path / "README.md").write_text(f"before\n{table}\nafter\n")
    for name in ("one", "two"):
        write(tmp_path, name, "f(1)")
    return tmp_path


def write(house, name, last):
    text = LESSON.format(name=name, last=last)
    (house / "lessons" / f"{name}.py").write_text(text)


@pytest.fixture
def make(house, capfd):
    """make(option, …), as ``python -m kit.notebooks`` in that house.

    -> (exit status, what it printed, what it complained of)
    """

    def run(*options):
        capfd.readouterr()
        reason = ""
        try:
            # In a thread of its own: in this one a browser's event loop may run.
            with ThreadPoolExecutor(1) as thread:
                status = thread.submit(kit.notebooks.main, options, house).result()
        except SystemExit as end:
            status = end.code
        if isinstance(status, str):  # a sentence, which Python would print
            status, reason = 1, f"{status}\n"
        out, err = capfd.readouterr()
        return status, out, err + reason

    return run


def notebook(house, name):
    return (house / "notebooks" / f"{name}.ipynb").read_bytes()


def cells(house, name):
    return nbformat.reads(notebook(house, name).decode(), 4).cells


STOPPED = "one: stopped, its old notebook stays\n  cell [3]: "


def test_execute_then_only_what_changed_then_a_failing_cell(house, make):
    (house / "notebooks" / "SUMMARY.md").write_text("- [Two](two.ipynb)\n")
    status, _, progress = make()
    assert status == 0, progress
    assert re.search(r"one .* 4/4 cells, \d+ s", progress) and "two" in progress
    table = (house / "README.md").read_text()
    row = (
        r"\| \[Lesson {0}\]\(notebooks/{0}\.ipynb\) \| Someone \\\| somewhere, 2015 "
        r"\| a number\. \| \d+\xa0s \| 0\.\d\xa0GB \|\n"
    )
    # SUMMARY.md gives the order.
    assert re.search(row.format("two") + row.format("one"), table), table
    assert table.startswith("before\n") and table.endswith("\nafter\n")
    assert [cell.execution_count for cell in cells(house, "one")[1:]] == [1, 2, 3]

    one, two = notebook(house, "one"), notebook(house, "two")
    assert make() == (0, "two: up to date\none: up to date\n", "")

    cell = "raise ValueError('no such depth\\n(second line)')"
    write(house, "one", cell)
    write(house, "two", "f(2)")
    status, _, complaint = make()
    assert status == 1
    assert f"{STOPPED}{cell}\n  ValueError: no such depth\n" in complaint
    assert "Traceback" not in complaint
    assert notebook(house, "one") == one
    assert notebook(house, "two") != two
    left = sorted(path.name for path in (house / "notebooks").iterdir())
    assert left == ["SUMMARY.md", "one.ipynb", "two.ipynb"]


def test_another_seed_reaches_the_kernel_and_stores_nothing(house, make, monkeypatch):
    monkeypatch.setenv("LESSON_SEED", "3")
    write(house, "one", "assert os.environ['LESSON_SEED'] == '3'")
    write(house, "two", "assert os.environ['LESSON_SEED'] == '0'")
    status, _, report = make()
    assert status == 1 and "two: stopped" in report
    assert "one: every claim holds with LESSON_SEED=3; nothing stored" in report
    assert not list((house / "notebooks").iterdir())


def test_a_wrong_seed_is_one_sentence(house, make, monkeypatch):
    monkeypatch.setenv("LESSON_SEED", "18446744073709551616")
    status, printed, complaint = make("one")
    assert (status, printed) == (1, "")
    right = "a whole number from 0 to 2147483647, not '18446744073709551616'"
    assert complaint == f"error: LESSON_SEED should be {right}\n"


def edited_by_hand(house, old="f(1)", new="f(10)"):
    """Lesson one, stored, then edited by a program that does not know of the module."""
    nb = to_notebook("one", house)
    nb.metadata.lesson = {"inputs": inputs_hash(nb)}
    nb.cells[-1].outputs = [new_output("stream", text="2")]
    path = house / "notebooks" / "one.ipynb"
    path.write_text(nbformat.writes(nb).replace(f'"{old}"', f'"{new}"'))
    return path.read_bytes()


def test_a_notebook_edited_by_hand_is_not_overwritten(house, make):
    edited = edited_by_hand(house)
    write(house, "one", "f(3)")  # and so was the module
    status, printed, complaint = make()
    assert (status, printed) == (1, "")
    lines = complaint.splitlines()
    told = "notebooks/one.ipynb was edited by hand, and lessons/one.py has other cells."
    assert lines[0] == f"error: {told}"
    assert len(lines) == 3 and notebook(house, "one") == edited
    assert not (house / "notebooks" / "two.ipynb").exists()


@pytest.mark.parametrize("kept, cell", [("notebook", "f(10)"), ("module", "f(1)")])
def test_both_ways_out_after_an_edit_by_hand(house, make, kept, cell):
    edited_by_hand(house)
    told = apart("one", house)
    command = re.search(f"those of the {kept}, run `python (.+)`", told)[1].split()
    if command[1] == "kit.notebooks":
        assert make(*command[2:])[0] == 0
    else:
        command = [sys.executable, *command]
        subprocess.run(command, cwd=house, check=True, capture_output=True)
    assert apart("one", house) is None
    assert cells(house, "one")[-1].source == cell
    assert f"# {cell}\n" in (house / "lessons" / "one.py").read_text()


def test_a_notebook_that_was_only_run_by_hand_is_free_to_be_made_again(house):
    edited_by_hand(house, "2", "3")  # an output
    write(house, "one", "f(7)")
    assert apart("one", house) is None


def test_what_cannot_be_shown_is_a_failing_cell(house, make):
    fails = '{"_repr_mimebundle_": lambda self, **_: 1 / 0}'
    write(house, "one", f'type("Broken", (), {fails})()')
    status, _, complaint = make("one")
    assert status == 1
    assert f"{STOPPED}type(" in complaint


def test_a_kernel_that_dies_is_a_failing_cell(house, make):
    write(house, "one", "os._exit(1)")
    status, _, complaint = make("one")
    assert status == 1
    assert f"{STOPPED}os._exit(1)\n  DeadKernelError: " in complaint
    assert not (house / "notebooks" / "one.ipynb").exists()


def test_a_kernel_that_does_not_start_says_why(house, make, monkeypatch):
    folder = house / "kernels" / "python3"
    folder.mkdir(parents=True)
    dies = "import sys; sys.exit('Traceback …\\nImportError: no ipykernel')"
    spec = {"argv": [sys.executable, "-c", dies], "display_name": "", "language": ""}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(house))
    status, _, complaint = make("one")
    assert status == 1 and "Traceback" not in complaint
    why = "its kernel did not start: ImportError: no ipykernel\n"
    assert f"one: stopped, its old notebook stays\n  {why}" in complaint


def test_a_full_disk_loses_no_file(house, make):
    """Two lessons at once, and the table. What kernels store is small enough."""
    for name in ("one", "two"):
        write(house, name, "'x' * 300_000")
    page = (house / "README.md").read_text() + "x" * 300_000
    (house / "README.md").write_text(page)
    old = edited_by_hand(house)
    with full_disk(200_000):
        status, _, complaint = make("--force")
    assert status == 1 and "Traceback" not in complaint
    for name in ("one", "two"):
        path = house / "notebooks" / f"{name}.ipynb"
        why = f"[Errno 27] File too large: '{path}'"
        assert f"{name}: stopped, its old notebook stays\n  {why}\n" in complaint
    why = f"[Errno 27] File too large: '{house / 'README.md'}'"
    assert complaint.endswith(f"error: {why}\n")
    assert (house / "README.md").read_text() == page
    assert notebook(house, "one") == old
    left = [path.name for path in house.rglob("*") if path.is_file()]
    assert sorted(left) == ["README.md", "one.ipynb", "one.py", "two.py"]


# Ctrl-C reaches a terminal's processes; a shell's background process ignores it.
PROGRAM = """
import signal, sys
from pathlib import Path
from kit import notebooks
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(notebooks.main(sys.argv[2:], Path(sys.argv[1])))
"""
WAITS = """Path(f"begun-{os.getpid()}").touch(); time.sleep(600)"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
@pytest.mark.parametrize("names, sent", [
    (["one", "two"], signal.SIGINT), (["one"], signal.SIGKILL),
])
def test_a_program_that_is_stopped_leaves_nothing_behind(house, make, names, sent):
    """In the middle of its lessons' cells."""
    for name in names:
        write(house, name, f"from pathlib import Path; {WAITS}")
    old = edited_by_hand(house)
    command = [sys.executable, "-c", PROGRAM, house, "--force", *names]
    run = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while len(begun := list(house.rglob("begun-*"))) < len(names):
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.1)
    kernels = [int(path.name.partition("-")[2]) for path in begun]
    run.send_signal(sent)
    complaint = run.communicate()[1]
    if sent == signal.SIGINT:
        last = "stopped: every lesson is whole, the old one or the new"
        assert run.returncode == 130 and complaint.splitlines()[-1] == last
        assert "Traceback" not in complaint
    for kernel in kernels:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(kernel).wait(60)  # a killed program's ends by itself
    for path in begun:
        path.unlink()
    assert [path.name for path in (house / "notebooks").iterdir()] == ["one.ipynb"]
    assert notebook(house, "one") == old
    if sent == signal.SIGKILL:
        write(house, "one", "f(1)")
        assert make("--force", "one")[0] == 0 and notebook(house, "one") != old


HALVES = ["", "{", "[]", "<<<<<<< HEAD\n{}", "[" * 100_000, '{"nbformat": 4}']


@pytest.mark.parametrize("content", HALVES, ids=range(len(HALVES)))
def test_half_a_notebook_is_named_and_kept(house, make, content):
    path = house / "notebooks" / "two.ipynb"
    path.write_text(content)
    status, printed, complaint = make("one")
    assert (status, printed) == (1, "")
    again = "mend it, or make it anew with `python -m kit.notebooks --force two`"
    told = rf"error: {path} is damaged \(\w+\): {again}\n"
    assert re.fullmatch(told, complaint) and path.read_text() == content
    assert not (house / "notebooks" / "one.ipynb").exists()


def test_what_a_message_about_half_a_notebook_says_helps(house, make):
    (house / "notebooks" / "two.ipynb").write_text("{")
    assert make("--force", "two")[0] == 0
    assert cells(house, "two")[-1].source == "f(1)"


@pytest.mark.parametrize("lesson", [{}, {"lesson": {"inputs": "as JupyterLab saves"}}])
def test_a_notebook_that_was_never_executed_is_not_in_the_table(house, lesson):
    nb = to_notebook("one", house)
    nb.metadata.update(nbformat.from_dict(lesson))
    (house / "notebooks" / "one.ipynb").write_text(nbformat.writes(nb))
    assert "one.ipynb" not in lesson_table(house, house)


def test_executing_twice_gives_the_same_bytes(house, make):
    def without_measurements(name):
        return re.sub(rb'"(seconds|memory_mb)": \d+', b"", notebook(house, name))

    assert make("one")[0] == 0
    once = without_measurements("one")
    status, out, _ = make("--force", "one")
    assert status == 0 and "up to date" not in out
    assert without_measurements("one") == once
    assert not (house / "notebooks" / "two.ipynb").exists()


def test_nbval_sees_a_changed_output_and_make_mends_it(house, make):
    write(house, "one", "f(41)")
    write(house, "two", "f(41)")
    assert make()[0] == 0
    path = house / "notebooks" / "one.ipynb"
    path.write_bytes(path.read_bytes().replace(b'"42"', b'"43"'))
    config = ["-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    config += ["-n0", "-q", "--color=no"]
    nbval = [sys.executable, "-m", "pytest", *config, str(house / "notebooks")]
    report = subprocess.run(nbval, cwd=ROOT, capture_output=True, text=True).stdout
    assert "1 failed, 5 passed" in report and "one.ipynb::Cell 2" in report
    assert "mismatch 'text/plain'" in report
    assert "one: up to date" not in make()[1]
    assert b'"42"' in path.read_bytes()
    assert make("one")[1] == "one: up to date\n"


def test_what_makes_a_notebook_stale(house):
    module = house / "lessons" / "one.py"
    before = source_hash("one", house)
    write(house, "two", "f(3)")
    assert source_hash("one", house) == before
    # In a demo cell, so a comment in the module.
    write(house, "one", "from lessons.two import f")
    importing = source_hash("one", house)
    write(house, "two", "f(4)")
    with_two = source_hash("one", house)
    assert with_two != importing
    (house / "lessons" / "checks").mkdir()
    (house / "lessons" / "checks" / "one.py").write_text("answer = 1")
    with_checks = source_hash("one", house)
    assert with_checks != with_two
    module.write_bytes(module.read_bytes().replace(b"\n", b"\r\n"))
    assert source_hash("one", house) == with_checks
    write(house, "one", "f(")  # no Python, as a run will tell
    assert source_hash("one", house) != with_checks


def test_a_lesson_depends_on_the_parts_of_kit_that_it_imports():
    def names(source):
        return {path.name for path in kit_files([source])}

    assert names("import torch\nfrom lessons.one import f") == set()
    claims = "from kit import train\nfrom kit.claims import claim"
    assert names(claims) == {"train.py", "claims.py", "table.py"}
    still = {"still.py", "chain.py", "style.py", "table.py"}
    heatmap = {"heatmap.js", "base.js", "wake.js", "viewers.py", "figure.py"} | still
    assert names("def f():\n    from kit.view import Heatmap") == heatmap
    both = names("from kit.view import Heatmap, Tokens")
    assert both == heatmap | {"tokens.js", "text.py"}
    curves = names("from kit.view import (\n    Curves,\n)")
    assert curves.isdisjoint({"layers.js", "config.py", "text.py", "data.py"})


def test_errors_name_what_is_wrong(house, make):
    status, _, complaint = make("three")
    assert status == 2
    assert "no lesson named three; the lessons are: one, two" in complaint
    path = Path(house / "lessons" / "two.py")
    path.write_text(path.read_text().replace("**Paper:**", "Paper:"))
    right = "a line that starts with '**Paper:**'"
    complaint = f"error: lessons/two.py: its first cell needs {right}\n"
    assert make() == (1, "", complaint)
    assert not (house / "notebooks" / "one.ipynb").exists()
    (house / "README.md").write_text("no table")
    assert "needs one pair of <!-- lessons -->" in make("one")[2]
