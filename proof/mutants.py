"""Bugs put into the lessons one at a time: ``python -m proof.mutants [LESSON …]``.

``proof/bugs/LESSON.toml`` has them, one ``[[bug]]`` each: ``what`` is its name, ``was``
a piece of the lesson's code that occurs once, ``now`` what stands there instead, and
``file`` the file, if it is another than ``lessons/LESSON.py``. Each is put into a copy
of the project, where the lesson's quick tests, ``tests/test_LESSON.py``, have to fail.
What came of it is stored in ``notebooks/proof/mutants.md``. A bug that nobody notices
is a missing assertion.
"""

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
from tqdm import tqdm

from kit import files
from kit.commands import in_one_line
from kit.notebooks import ROOT, chosen, lessons
from proof.machine import made_with

PAGE = ROOT / "notebooks" / "proof" / "mutants.md"
BUGS = ROOT / "proof" / "bugs"
NEEDED = ("kit", "lessons", "tests", "theme", "notebooks", "pyproject.toml")
NEEDED += ("README.md", "book.toml", "requirements.txt", "hatch_build.py")
LIMIT = 180  # seconds of the processor for the tests of one lesson; twenty are usual


def bugs(lesson, folder=BUGS):
    """The bugs of a lesson, [{"what", "was", "now", "file"}].

    Raises ValueError for one that names no place, or several, or changes nothing.
    """
    path = folder / f"{lesson}.toml"
    found = tomllib.loads(path.read_text("utf-8"))["bug"]
    for bug in found:
        bug.setdefault("file", f"lessons/{lesson}.py")
        where = f"{path.name}: {bug['what']!r}"
        count = (ROOT / bug["file"]).read_text("utf-8").count(bug["was"])
        if count != 1:
            raise ValueError(f"{where}: its place occurs {count} times, not once")
        if bug["was"] == bug["now"]:
            raise ValueError(f"{where} changes nothing")
    return found


def copy(folder):
    """The project in a new folder, as far as the tests of lessons need it."""
    for name in NEEDED:
        place = ROOT / name
        if place.is_dir():
            hidden = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(place, folder / name, ignore=hidden)
        else:
            shutil.copy(place, folder / name)
    return folder


running = set()  # tests, to be ended with this process


def quick_tests(lesson, folder, tests=None):
    """Run them in a copy until one fails: (the name of that one or None, seconds)."""
    here = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    calm = {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "--tb=no"]
    command += ["-p", "no:cacheprovider", tests or f"tests/test_{lesson}.py"]
    begun = time.perf_counter()
    run = subprocess.Popen(
        command, cwd=folder, env=os.environ | here | calm, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, encoding="utf-8",
    )
    running.add(run)
    while run in running:
        try:
            said, _ = run.communicate(timeout=5)
            running.remove(run)
        except subprocess.TimeoutExpired:
            if work(run.pid) > LIMIT or time.perf_counter() > begun + 10 * LIMIT:
                run.kill()
                run.communicate()
                running.remove(run)
                return "they never end", LIMIT
    seconds = time.perf_counter() - begun
    if run.returncode == 0:
        return None, seconds
    # A parameter of a test may have spaces; the reason follows after " - ".
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", said, re.M)
    if run.returncode != 1 or "error during collection" in said or not failed:
        raise RuntimeError(f"the tests did not run:\n{said}")
    return failed[1].partition("::")[2], seconds


def work(pid):
    """Seconds of the processor that a process took, which a busy machine leaves."""
    with suppress(psutil.NoSuchProcess):
        return sum(psutil.Process(pid).cpu_times()[:2])
    return 0


def killer(lesson, bug, folder, tests=None):
    """Put a bug into a copy, see who notices, and take it out again."""
    path = folder / bug["file"]
    right = path.read_text("utf-8")
    path.write_text(right.replace(bug["was"], bug["now"]), "utf-8")
    try:
        return quick_tests(lesson, folder, tests)
    except RuntimeError as error:
        raise RuntimeError(f"{lesson}, {bug['what']!r}: {error}") from None
    finally:
        path.write_text(right, "utf-8")


def hunt(names, jobs):
    """Try the bugs of all these lessons, `jobs` at a time.

    Returns {lesson: (seconds of its tests, [(bug, killer or None)])}.
    """
    due = {name: bugs(name) for name in names}  # refused before anything runs
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        free = queue.Queue()
        for number in range(jobs):
            free.put(copy(Path(place, str(number))))

        def attempt(name, bug=None):
            folder = free.get()
            try:
                return killer(name, bug, folder) if bug else quick_tests(name, folder)
            finally:
                free.put(folder)
                bar.update()

        total = sum(map(len, due.values())) + len(due)
        with tqdm(total=total, desc="bugs") as bar, ThreadPoolExecutor(jobs) as pool:
            clean = {name: pool.submit(attempt, name) for name in due}
            tried = {
                name: [(bug, pool.submit(attempt, name, bug)) for bug in due[name]]
                for name in due
            }
            found = {}
            try:
                for name in due:
                    failed, seconds = clean[name].result()
                    if failed:
                        without = f"{name}: without a bug"
                        raise RuntimeError(f"{without} {failed} fails already")
                    results = [(bug, one.result()[0]) for bug, one in tried[name]]
                    found[name] = seconds, results
            except BaseException:  # the pool would end all that is due, and then stop
                pool.shutdown(wait=False, cancel_futures=True)
                for test in running:
                    test.kill()
                raise
    return found


TITLE = """# Bugs that the tests notice

Real implementations had bugs like these.
Each was put into a lesson's code, alone, and the lesson's quick tests were run: those of `tests/test_LESSON.py`, without executing the notebook.
The test that is named is the first that failed.
`make mutants` does it again and writes this page.
"""  # noqa: E501


def section(lesson, seconds, results):
    """The part of the page about one lesson."""
    noticed = sum(name is not None for _, name in results)
    lines = [
        f"## {lesson}\n",
        f"{noticed} of {len(results)} bugs were noticed.",
        f"Without a bug the tests pass, in {seconds:.0f} s on {made_with()}.\n",
        "| Bug | Noticed by |",
        "|---|---|",
    ]
    for bug, name in results:
        what = bug["what"].replace("|", "\\|")
        found = "`" + name.replace("|", "\\|") + "`" if name else "**nobody**"
        lines.append(f"| {what} | {found} |")
    return "\n".join(lines) + "\n"


def sections(page):
    """{lesson: its part} of a stored page."""
    parts = page.split("\n## ")[1:]
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts}


def store(new, page=PAGE):
    """Write {lesson: its part} to the page; the parts of other lessons stay."""
    old = sections(page.read_text("utf-8")) if page.exists() else {}
    known = old | new
    kept = [known[name] for name in lessons() if name in known]
    files.store(page, "\n".join([TITLE, *kept]))


@in_one_line()
def main(args=None):
    parser = argparse.ArgumentParser(
        prog="python -m proof.mutants",
        description="Put bugs into the lessons and see whether their tests notice.",
    )
    parser.add_argument("lesson", nargs="*", help="only these (default: all)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(args)
    names = chosen(options.lesson, parser)
    try:
        found = hunt(names, options.jobs)
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    new = {name: section(name, *result) for name, result in found.items()}
    print("\n".join(new.values()))
    store(new)
    return any(name is None for _, results in found.values() for _, name in results)


if __name__ == "__main__":
    sys.exit(main())
