"""The wheel, installed apart from the project: what a reader gets and can run."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile

import nbformat
import pytest

from kit.assignments import SOLUTION, exercises, practice_notebook
from kit.lab import MINE
from kit.notebooks import ROOT, about, lessons, to_notebook

pytest.importorskip("hatchling", reason="tests/requirements.txt: hatchling")
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*PIP, "wheel", *options, "."], cwd=ROOT, check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder in which the wheel is installed, without what it depends on."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*PIP, "install", *options, str(wheel)], check=True)
    return folder


@pytest.fixture
def away(installed, tmp_path):
    """away(command) runs it in a folder elsewhere, where only the wheel is found.

    Nothing may be written where it is installed: a reader may not have the right to.
    """
    here = tmp_path / "here"
    here.mkdir()
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        "PYTHONDONTWRITEBYTECODE": "1",
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
    }

    def files():
        there = [path for path in installed.rglob("*") if path.is_file()]
        return {path: path.stat().st_mtime_ns for path in there}

    def run(*command):
        before = files()
        run = subprocess.run(
            command, cwd=here, env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        assert files() == before
        return run.stdout

    run.folder = here
    return run


def names_in(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def test_it_holds_what_a_reader_needs_and_nothing_else(wheel):
    needed = {"notebooks/SUMMARY.md"}
    needed |= {f"notebooks/{name}.ipynb" for name in lessons()}
    for folder in ("kit", "lessons"):
        for kind in ("py", "js", "json"):
            paths = (ROOT / folder).rglob(f"*.{kind}")
            needed |= {path.relative_to(ROOT).as_posix() for path in paths}
    of_wheels = re.compile(r"papers_cell_by_cell-[^/]+\.(dist-info|data)/")
    assert {name for name in names_in(wheel) if not of_wheels.match(name)} == needed


def test_the_readme_names_it(wheel):
    assert f"pip install {wheel.name}\n" in (ROOT / "README.md").read_text("utf-8")


def test_it_depends_on_the_pins(wheel):
    pinned = (ROOT / "requirements.txt").read_text("utf-8")
    pins = re.findall(r"^[\w-]+==.+$", pinned, re.M)
    (name,) = [name for name in names_in(wheel) if name.endswith("dist-info/METADATA")]
    metadata = zipfile.ZipFile(wheel).read(name).decode()
    assert pins and re.findall(r"^Requires-Dist: (.+)$", metadata, re.M) == pins
    assert len(re.findall(r"==", pinned)) == len(pins)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"\nVersion: {project['version']}\n" in metadata


def test_it_gives_no_solution_away(wheel):
    archive, asked = zipfile.ZipFile(wheel), 0
    for name in lessons():
        text = archive.read(f"lessons/assignments/{name}.py").decode()
        for _, code, answer, _ in exercises(name):
            solution = SOLUTION.search(code)[0].splitlines()[1:-1]
            assert f" {answer}(" in text
            assert "\n".join(solution) not in text
            asked += 1
        bodies = [match[0].splitlines()[1:-1] for match in SOLUTION.finditer(text)]
        assert {line.strip() for [line] in bodies} == {"raise NotImplementedError"}
    assert asked > len(lessons())


def test_the_command_lays_out_lessons_and_exercises(away, installed):
    command = [sys.executable, "-m", "kit.lab"]
    if sys.platform != "win32":  # there it is a program with another ending
        command = [installed / "bin" / "papers-cell-by-cell"]
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", away(*command, "resnet", "--version"))
    desk = away.folder / MINE
    for name in lessons():
        original = ROOT / "notebooks" / f"{name}.ipynb"
        assert (desk / f"{name}.ipynb").read_bytes() == original.read_bytes()
        found = nbformat.read(desk / f"{name}-exercises.ipynb", as_version=4)
        title = about(to_notebook(name), name)["title"].partition(":")[0]
        expected = practice_notebook(name, title)
        assert [cell.source for cell in found.cells] == [
            cell.source for cell in expected.cells
        ]


def test_everything_in_it_is_importable_and_draws(away, installed):
    kinds = ["figures", "published", "checks", "studies"]
    modules = [f"lessons.{name}" for name in lessons()]
    modules += [f"lessons.{kind}.{name}" for kind in kinds for name in lessons()]
    program = f"""if True:
        import importlib
        for name in {modules}:
            importlib.import_module(name)
        import kit.view
        line = {{"name": "a", "x": [0, 1], "y": [1, 2]}}
        texts = dict.fromkeys(["caption", "alt", "x_label", "y_label"], "a line")
        figure = kit.view.Curves({{"series": [line]}}, **texts)
        assert "pcc-data" in figure.html
        print(kit.view.__file__)
    """
    (place,) = away(sys.executable, "-c", program).splitlines()
    assert place.startswith(str(installed))
