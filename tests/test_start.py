"""How a reader starts: the copies of the lessons, the commands, any machine."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from support import book_settings, full_disk

from kit import lab, public
from kit.notebooks import (
    ROOT,
    WIDGET,
    cells_hash,
    lessons,
    source_hash,
    to_notebook,
)
from kit.view import Curves

# --- The reader's copies ---

FIRST = "# {name}: a lesson\n\n**Paper:** someone\n\n**You will see:** a number"


@pytest.fixture
def project(tmp_path):
    """A project with the executed lessons ``one`` and ``two``."""
    for folder in ("lessons", "notebooks"):
        (tmp_path / folder).mkdir()
    for name in ("one", "two"):
        (tmp_path / "lessons" / f"{name}.py").touch()
        publish(tmp_path, name, edition="1")
    return tmp_path


def publish(project, name, edition):
    """A lesson comes out anew."""
    cells = [new_markdown_cell(FIRST.format(name=name.title())), new_code_cell(edition)]
    nb = new_notebook(cells=cells)
    lesson = {"source": edition, "cells": cells_hash(nb), "seconds": 1, "memory_mb": 9}
    nb.metadata.lesson = nbformat.from_dict(lesson)
    nbformat.write(nb, project / "notebooks" / f"{name}.ipynb")


def work(path):
    """A reader writes into a notebook."""
    nb = nbformat.read(path, as_version=4)
    nb.cells.append(new_markdown_cell("my note"))
    nbformat.write(nb, path)
    return path.read_bytes()


def on_the_desk(project):
    return sorted(path.name for path in (project / lab.MINE).iterdir())


def test_copies_are_made_once_and_stay(project):
    assert lab.open_desk(project) == []
    assert on_the_desk(project) == ["index.md", "one.ipynb", "two.ipynb"]
    copy = project / lab.MINE / "one.ipynb"
    assert copy.read_bytes() == (project / "notebooks" / "one.ipynb").read_bytes()
    mine = work(copy)
    assert lab.open_desk(project) == [] and copy.read_bytes() == mine
    start = (project / lab.MINE / "index.md").read_text("utf-8")
    assert "[One: a lesson](one.ipynb)" in start and "new edition" not in start


def test_a_new_edition_is_laid_beside_what_the_reader_changed(project):
    lab.open_desk(project)
    copy = project / lab.MINE / "one.ipynb"
    mine = work(copy)
    for name in ("one", "two"):
        publish(project, name, edition="2")
    for _ in range(2):  # it is offered until the reader has done with the old one
        news = lab.open_desk(project)
        assert news == ["There is a new edition of One: my-lessons/one-new.ipynb"]
        files = ["index.md", "one-new.ipynb", "one.ipynb", "two.ipynb"]
        assert on_the_desk(project) == files and copy.read_bytes() == mine
    start = (project / lab.MINE / "index.md").read_text("utf-8")
    assert "**There is a new edition of One**: [one-new.ipynb](one-new.ipynb)" in start
    for name in ("one-new", "two"):  # nothing was written into it, so it is the new one
        copied = nbformat.read(project / lab.MINE / f"{name}.ipynb", as_version=4)
        assert copied.metadata.lesson.source == "2"

    newer = work(project / lab.MINE / "one-new.ipynb")
    publish(project, "one", edition="3")
    assert lab.open_desk(project)[0].endswith("one-new-2.ipynb")
    assert copy.read_bytes() == mine
    assert (project / lab.MINE / "one-new.ipynb").read_bytes() == newer


def test_a_copy_that_cannot_be_read_stays_and_a_deleted_one_is_made_anew(project):
    lab.open_desk(project)
    copy = project / lab.MINE / "one.ipynb"
    for content in ("half a notebo", "", "[]", "{}", '{"nbformat": 4, "metadata": {}}'):
        copy.write_text(content)
        (project / lab.MINE / "two.ipynb").unlink()
        assert len(lab.open_desk(project)) == 1
        assert copy.read_text() == content
    there = ["index.md", "one-new.ipynb", "one.ipynb", "two.ipynb"]
    assert on_the_desk(project) == there


def test_a_full_disk_leaves_no_half_copy(project, started, capsys):
    with full_disk(), pytest.raises(SystemExit, match="error: .* too large: '.*ipynb'"):
        started()
    assert [path for path in project.rglob("*") if lab.MINE in path.parts[:-1]] == []


def test_an_original_that_is_half_a_notebook_is_named(project, started):
    (project / "notebooks" / "two.ipynb").write_text("{")
    with pytest.raises(SystemExit, match="error: .*two.ipynb is damaged"):
        started()


def test_a_lesson_that_was_never_executed_is_copied_too(project):
    path = project / "notebooks" / "two.ipynb"
    nb = nbformat.read(path, as_version=4)
    del nb.metadata["lesson"]
    nbformat.write(nb, path)
    assert lab.open_desk(project) == [] and "two.ipynb" in on_the_desk(project)


@pytest.fixture
def started(project, tmp_path, monkeypatch, capsys):
    """started(arguments) -> (options of JupyterLab, what was said), in a new folder."""
    here = tmp_path / "elsewhere"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    given = []
    launch = "jupyterlab.labapp.LabApp.launch_instance"
    monkeypatch.setattr(launch, lambda options: given.extend(options))

    def run(*arguments):
        given.clear()
        lab.main(list(arguments), project)
        return given, capsys.readouterr().out

    return run


def test_copies_lie_where_the_command_was_given(started, project, tmp_path):
    given, said = started()
    assert f"--ServerApp.root_dir={tmp_path / 'elsewhere'}" in given and said == ""
    assert "--LabApp.default_url=/lab/tree/my-lessons/index.md" in given
    assert (tmp_path / "elsewhere" / lab.MINE / "two.ipynb").exists()
    assert not (project / lab.MINE).exists()


def test_a_lesson_can_be_named_to_begin_with(started, project, tmp_path):
    given, _ = started("two", "--port", "9999")
    assert "--LabApp.default_url=/lab/tree/my-lessons/two.ipynb" in given
    assert given[-2:] == ["--port", "9999"]
    assert started("--port", "9999")[0][-2:] == ["--port", "9999"]
    work(tmp_path / "elsewhere" / lab.MINE / "two.ipynb")
    publish(project, "two", edition="2")
    given, said = started("two")  # the new edition is what one asked for
    assert "--LabApp.default_url=/lab/tree/my-lessons/two-new.ipynb" in given
    assert said == "There is a new edition of Two: my-lessons/two-new.ipynb\n"


def test_an_unknown_lesson_and_originals_that_are_not_there(started, project, capsys):
    for arguments, told in [
        (["three"], "no lesson named three; there are one, two"),
        (["--edit"], "--edit needs the project's folder: `make edit` there"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            started(*arguments)
        assert stopped.value.code == 2 and told in capsys.readouterr().err
    (project / "pyproject.toml").touch()
    assert "--LabApp.default_url=/lab/tree/notebooks/one.ipynb" in started(
        "one", "--edit"
    )[0]
    assert not (project / lab.MINE).exists()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_git_ignores_the_copies():
    command = ["git", "check-ignore", "-q", f"{lab.MINE}/resnet.ipynb"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0


# --- The commands ---


@pytest.fixture
def shell(tmp_path):
    """shell(command, …) runs it in a folder with the Makefile, without any .venv."""
    if sys.platform == "win32" or not shutil.which("make"):
        pytest.skip("no make, or no shell for it")
    needed = "Makefile requirements.txt pyproject.toml hatch_build.py "
    needed += "jupyterlab-settings.json"
    for name in needed.split():
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")

    def run(*command, **variables):
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        environment.pop("PYTHON", None)
        environment |= variables
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout, done.stderr

    return run


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def python(path, version, pip="true"):
    """What passes for Python in a Makefile; it knows its version and `pip`."""
    numbers = version.replace(".", ", ")
    code = f"import sys; sys.version_info = ({numbers}); exec(sys.argv[1])"
    executable(path, f"""case "$1" in
      -V) echo Python {version};;
      -c) exec {sys.executable} -c '{code}' "$2";;
      -m) case "$2" in
        venv) mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
        pip) {pip};;
      esac;;
    esac""")


@pytest.mark.parametrize("target, options", [("lab", ""), ("edit", " --edit")])
def test_make_starts_what_the_browser_tests_start(shell, target, options):
    _, out, _ = shell("make", "-n", target, "LAB_ARGS=--no-browser")
    command = rf"^\.venv/\w+/python -m kit\.lab{options} --no-browser$"
    assert re.search(command, out, re.M)


@pytest.mark.parametrize("version", ["3.10.9", "3.14.0"])
@pytest.mark.parametrize("command", [["make", "lab"], [".ci/run"]])
def test_another_python_is_refused_in_a_sentence(shell, tmp_path, version, command):
    python(tmp_path / "other", version)
    executable(tmp_path / "chromium", "")
    code, out, err = shell(*command, PYTHON="other")
    assert code and "Python 3.11, 3.12 or 3.13 is needed, 'other' is not: make" in err
    assert "Traceback" not in out + err and not (tmp_path / ".venv").exists()


def test_a_missing_build_names_the_pythons_that_have_one(shell, tmp_path):
    python(tmp_path / "python3.12", "3.12.1", pip="exit 1")
    code, _, err = shell("make", "lab", "PYTHON=python3.12")
    assert code and "tested are 3.11, 3.12 and 3.13, chosen by PYTHON=python3.12" in err


def test_a_venv_of_another_python_is_not_used_in_silence(shell, tmp_path):
    for name in ("3.11.7", "3.12.1"):
        python(tmp_path / f"python{name}", name)
    assert shell("make", "lab", "PYTHON=python3.11.7")[0] == 0
    assert shell("make", "lab", "PYTHON=python3.11.7")[0] == 0
    assert shell("make", "lab")[0] == 0  # not asked for: whatever it was made with
    for code, _, err in (
        shell("make", "lab", "PYTHON=python3.12.1"),
        shell("make", "test", PYTHON="python3.12.1"),
    ):
        assert code and ".venv has Python 3.11.7, not 'python3.12.1': remove" in err


def test_everybody_names_the_same_pythons():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    first, end = re.findall(r"3\.(\d+)", pyproject["project"]["requires-python"])
    named = [f"3.{minor}" for minor in range(int(first), int(end))]
    for name in ("README.md", "Makefile", "kit/__init__.py", "kit/book.py", ".ci/run"):
        text = (ROOT / name).read_text("utf-8")
        assert re.search(rf"{', '.join(named[:-1])} (and|or) {named[-1]}", text), name


@pytest.mark.parametrize("module", ["kit", "kit.lab", "kit.notebooks"])
def test_kit_on_an_old_python_is_one_sentence(module):
    old = "import runpy, sys; sys.version_info = (3, 10, 9)"
    command = [sys.executable, "-c", f"{old}; runpy.run_module('{module}')"]
    run = subprocess.run(command, capture_output=True, text=True)
    sentence = "Papers, Cell by Cell runs on Python 3.11, 3.12 and 3.13; this is 3.10"
    assert (run.returncode, run.stderr) == (1, f"{sentence}\n")


# --- The first cells of a lesson ---


def code_cells(name):
    return [cell for cell in to_notebook(name).cells if cell.cell_type == "code"]


ADDRESS = "https://github.com/someone/papers"


@pytest.mark.parametrize("name", lessons())
def test_the_first_cell_is_that_of_the_address(name):
    cell = public.first_cell(public.of_project())
    help = "run `python -m kit.public`, which writes it, and `make notebooks`"
    assert code_cells(name)[0].source == cell, help


@pytest.mark.parametrize("address", [None, ADDRESS])
def test_without_the_project_the_first_cell_helps(address, monkeypatch, capsys):
    asked = []
    shell = SimpleNamespace(run_line_magic=lambda *words: asked.append(words))
    names = {"get_ipython": lambda: shell}
    cell = TransformerManager().transform_cell(public.first_cell(address))
    exec(cell, names)
    assert capsys.readouterr() == ("", "") and not asked
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if address:
        exec(cell, names)
        assert asked == [("pip", f"install git+{address}")]
    else:
        with pytest.raises(AssertionError, match="pip install -r requirements.txt"):
            exec(cell, names)


def test_a_new_address_is_written_into_the_lessons(tmp_path, capsys):
    (tmp_path / "lessons").mkdir()
    module = tmp_path / "lessons" / "resnet.py"
    shutil.copy(ROOT / "lessons" / "resnet.py", module)

    def written(address):
        settings = tmp_path / "book.toml"
        settings.write_text(book_settings(address), "utf-8", newline="\n")
        public.main(tmp_path)
        cells = to_notebook("resnet", tmp_path).cells
        first = next(cell for cell in cells if cell.cell_type == "code")
        assert first.source == public.first_cell(address)
        return module.read_bytes(), capsys.readouterr().out

    without, _ = written(None)
    told = "lessons/resnet.py: another first cell; next, `make notebooks`\n"
    changed, said = written(ADDRESS)
    assert said == told and changed != without
    assert written(ADDRESS) == (changed, "")
    assert source_hash("resnet", tmp_path)  # whose text is no longer plain Python
    assert written(None) == (without, told)
    if not public.of_project():
        assert without == (ROOT / "lessons" / "resnet.py").read_bytes()


def test_colab_is_asked_to_show_live_widgets(monkeypatch):
    """By anywidget, which makes ours; Colab shows no others before it is asked."""
    called = []
    output = ModuleType("google.colab.output")
    output.enable_custom_widget_manager = lambda: called.append(True)
    output._widgets = SimpleNamespace(_installed_url="manager.js")
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    line = {"name": "a", "x": [0, 1], "y": [1, 2]}
    texts = dict.fromkeys(["caption", "alt", "x_label", "y_label"], "a line")
    figure = Curves({"series": [line]}, **texts)
    assert not called
    widget = figure.widget()
    assert called == [True]
    data, metadata = widget._repr_mimebundle_()
    assert data[WIDGET]["model_id"] == widget.model_id and "text/html" not in data
    manager = {"custom_widget_manager": {"url": "manager.js"}}
    assert metadata[WIDGET]["colab"] == manager
    monkeypatch.delitem(sys.modules, "google.colab.output")
    assert "text/html" in widget._repr_mimebundle_()


@pytest.mark.parametrize("name", lessons())
def test_papermill_can_set_the_seed(name):
    """It puts `SEED = 3` behind the cell with the tag; nobody may set it later."""
    cells = code_cells(name)
    tags = [cell.metadata.get("tags", []) for cell in cells]
    (tagged,) = [i for i, its in enumerate(tags) if "parameters" in its]
    sets = [bool(re.search(r"^\s*SEED\b.*=", cell.source, re.M)) for cell in cells]
    assert [i for i, does in enumerate(sets) if does] == [tagged]
    later = "\n".join(cell.source for cell in cells[tagged + 1 :])
    assert "train.seed" not in later and "LESSON_SEED" not in later


# --- A machine without a home ---


@pytest.fixture
def homeless(tmp_path):
    """homeless(arguments of Python) runs it with no HOME and an unknown user."""
    if sys.platform == "win32":
        pytest.skip("Windows always knows the user")
    (tmp_path / "site").mkdir()
    unknown = "import pwd\ndef unknown(uid): raise KeyError\npwd.getpwuid = unknown\n"
    (tmp_path / "site" / "sitecustomize.py").write_text(unknown)
    (tmp_path / "here").mkdir()
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path}

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path / "here", env=environment,
            capture_output=True, text=True,
        )
        assert done.returncode == 0, done.stderr
        assert list((tmp_path / "here").iterdir()) == []  # no folder named ~
        return done

    return run


def test_without_a_home_lessons_and_corpora_work(homeless):
    program = "print(len(text.corpus('news').train))"
    run = homeless("-c", f"import lessons.albert; from kit import text; {program}")
    assert int(run.stdout) > 100 and run.stderr == ""


def test_without_a_home_a_notebook_is_executed_in_silence(homeless):
    program = """if True:
        from kit.notebooks import home
        home()
        import nbformat, nbclient
        source = "import kit.view, os; print(os.environ['HOME'])"
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        nbclient.NotebookClient(nb, extra_arguments=["--log-level=40"]).execute()
        print(*(output.get("text", output) for output in nb.cells[0].outputs))
    """
    run = homeless("-c", program)
    assert "papers-cell-by-cell-" in run.stdout and run.stderr == ""
    assert not os.path.exists(run.stdout.strip())  # it goes with the process


def test_without_a_home_jupyterlab_starts(homeless):
    run = homeless("-m", "kit.lab", "--edit", "--version")
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run.stdout)
