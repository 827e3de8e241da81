"""Files that are whole or not there, and commands that end in one line."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from support import full_disk

from kit import assignments, public, slides, small_run, study
from kit.commands import in_one_line
from kit.files import store
from kit.notebooks import ROOT
from proof import bench, mutants, seeds

# --- Files


def test_a_file_is_stored_as_it_is(tmp_path):
    path = tmp_path / "a.txt"
    for content, stored in [("één\r\nä\n", "één\r\nä\n".encode()), (b"\0\n", b"\0\n")]:
        store(path, content)
        assert path.read_bytes() == stored
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    for before in (None, "old"):
        if before:
            store(path, before)
        with full_disk(), pytest.raises(OSError, match=f"File too large: '{path}'"):
            store(path, "new" * 100)
        there = [one.read_text() for one in tmp_path.iterdir()]
        assert there == ([before] if before else [])


def test_a_folder_that_takes_no_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a.txt"
    with pytest.raises(NotADirectoryError, match=f"'{path}'"):
        store(path, "new")


def test_an_interrupted_file_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*of):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


def python(*program, **variables):
    """A Python process that runs a program and finds this project."""
    paths = os.pathsep.join([*variables.pop("paths", []), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths} | variables
    command = [sys.executable, *program]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **options)


KILLED = """
import os, pathlib, signal, sys
from kit.files import store
pathlib.Path.replace = lambda *of: os.kill(os.getpid(), signal.SIGKILL)
store(sys.argv[1], "half")
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_what_a_killed_process_left_goes_with_the_next_file(tmp_path):
    killed = python("-c", KILLED, str(tmp_path / "a.txt"))
    killed.wait()
    (left,) = tmp_path.iterdir()
    assert left.name == f"a.txt.{killed.pid}.partial"
    alive = tmp_path / f"b.txt.{os.getpid()}.partial"
    own = tmp_path / "my.partial"  # of somebody who calls a file so
    for path in (alive, own):
        path.touch()
    store(tmp_path / "c.txt", "whole")
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"c.txt", alive.name, own.name}


STORES = """
import sys
from kit.files import store
for _ in range(50):
    store(sys.argv[1], sys.argv[2] * 100_000)
"""


def test_two_processes_that_store_at_once_give_one_whole_file(tmp_path):
    path = tmp_path / "a.txt"
    both = [python("-c", STORES, str(path), letter) for letter in "ab"]
    while any(one.poll() is None for one in both):
        if path.exists():
            assert path.read_text() in ("a" * 100_000, "b" * 100_000)
    assert [one.communicate() for one in both] == [("", "")] * 2
    assert list(tmp_path.iterdir()) == [path]


# --- Commands


@pytest.fixture
def ctrl_c():
    """ctrl_c() presses it here and now; a shell's background process would not hear."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda *of, **named: signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("command, work, arguments", [
    (assignments.main, "kit.assignments.make", [["resnet"]]),
    (bench.main, "proof.bench.measure", [[]]),
    (mutants.main, "proof.mutants.hunt", [["resnet"]]),
    (public.main, "kit.public.first_cell", []),
    (seeds.main, "proof.seeds.run_all", [["resnet"]]),
    (slides.main, "kit.slides.make", [["resnet"]]),
    (small_run.main, "kit.small_run.store", [["resnet"]]),
    (study.main, "kit.study.run", []),
])
def test_ctrl_c_and_a_full_disk_end_every_command_in_one_line(
    command, work, arguments, monkeypatch, ctrl_c, capsys
):
    def full(*of, **named):
        raise OSError(28, "No space left on device", "a.txt")

    monkeypatch.setattr(sys, "argv", ["kit.study", "resnet"])
    monkeypatch.setattr(work, ctrl_c)
    with pytest.raises(SystemExit) as stopped:
        command(*arguments)
    assert stopped.value.code == 130
    told = capsys.readouterr().err
    assert told.startswith("stopped") and told.count("\n") == 1
    monkeypatch.setattr(work, full)
    with pytest.raises(SystemExit) as stopped:
        command(*arguments)
    assert stopped.value.code == "error: [Errno 28] No space left on device: 'a.txt'"


def test_what_is_no_fault_of_the_users_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), in_one_line():
        1 / 0  # noqa: B018


@pytest.mark.parametrize("module, library", [
    ("kit.notebooks", "jupytext"), ("kit.study", "torch"), ("proof.mutants", "tqdm"),
    ("lessons.scale", "torch"),
])
def test_ctrl_c_while_a_command_still_imports_is_one_line(tmp_path, module, library):
    press = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    press += "signal.raise_signal(signal.SIGINT)"
    (tmp_path / f"{library}.py").write_text(press)
    run = python("-m", module, paths=[str(tmp_path)])
    assert run.communicate() == ("", "stopped\n") and run.returncode != 0


@pytest.mark.skipif(os.name == "nt", reason="there it is no signal of one process")
def test_ctrl_c_ends_the_tests_of_a_bug(tmp_path, monkeypatch, ctrl_c):
    """And all that are due. A terminal presses it for them, too; `kill` does not."""
    begun = tmp_path / "begun"
    tests = "import os, pathlib, time\n"
    tests += f"pathlib.Path({str(begun)!r}).write_text(str(os.getpid()))\n"

    def copy(folder):
        folder.mkdir()
        (folder / "pytest.py").write_text(tests + "time.sleep(600)\n")
        return folder

    def press():
        while not (begun.exists() and begun.read_text()):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(mutants, "copy", copy)
    monkeypatch.setattr(mutants, "bugs", lambda lesson: [{"file": "none"}] * 3)
    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(SystemExit) as stopped:
        mutants.main(["resnet", "--jobs", "1"])
    thread.join()
    assert stopped.value.code == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)
