"""What the project brings for other machines, as far as this one can tell."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
import yaml

from kit.notebooks import ROOT, lessons

README = (ROOT / "README.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FIRST, END = (int(one) for one in re.findall(r"3\.(\d+)", PROJECT["requires-python"]))
PYTHONS = [f"3.{minor}" for minor in range(FIRST, END)]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def told(*command, **options):
    """(exit code, what a program printed)."""
    run = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    return run.returncode, run.stdout


def tool(name):
    """A program of tests/requirements.txt, which not every system has a build of."""
    path = shutil.which(name, path=Path(sys.executable).parent)
    if not path:
        message = f"{name} is missing: pip install -r tests/requirements.txt"
        on_linux = os.environ.get("CI") and sys.platform == "linux"
        pytest.fail(message) if on_linux else pytest.skip(message)
    return path


# --- Workflows


def workflow(name):
    (path,) = (path for path in WORKFLOWS if path.stem == name)
    return yaml.safe_load(path.read_text("utf-8"))


def steps(name):
    return workflow(name)["jobs"][name]["steps"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_sound(path):
    assert told(tool("actionlint"), path) == (0, "")


@pytest.mark.parametrize("fault", [
    ("matrix.python }", "matrix.pithon }"),
    ("ubuntu-latest", "ubuntu-latets"),
    ("restore-keys", "restore-key"),
    ("timeout-minutes", "timeout-minute"),
])  # fmt: skip
def test_a_fault_in_a_workflow_is_found(fault, tmp_path):
    text = (ROOT / ".github/workflows/tests.yml").read_text("utf-8")
    assert fault[0] in text
    (tmp_path / "tests.yml").write_text(text.replace(*fault), "utf-8")
    code, found = told(tool("actionlint"), tmp_path / "tests.yml")
    assert code and fault[1].strip(" }").split(".")[-1] in found


def test_the_workflow_runs_the_commands_of_the_readme_on_every_python():
    matrix = workflow("tests")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS
    systems = {name.partition("-")[0] for name in matrix["os"]}
    assert systems == {"ubuntu", "macos", "windows"}
    commands = [step["run"] for step in steps("tests") if "run" in step]
    assert len(commands) == 5 and "pytest" in commands
    for command in commands:
        assert f"`{command}`" in README, command
    # What the last one knows of lessons that passed is kept between runs.
    *_, kept, changed = steps("tests")
    assert "-m lessons" in changed["run"] and "actions/cache@" in kept["uses"]
    assert kept["with"]["path"] == ".pytest_cache"
    assert kept["if"] == changed["if"] == "runner.os == 'Linux'"


def test_the_pages_are_made_as_the_makefile_makes_them():
    made = [step["run"] for step in steps("pages") if "run" in step]
    assert made == ["make book", "make slides", "cp -r slides site/"]
    for made_in in ("make book +# site/", "make slides +# slides/"):
        assert re.search(f"^    {made_in}", README, re.M)
    (upload,) = [step for step in steps("pages") if "upload" in step.get("uses", "")]
    assert upload["with"]["path"] == "site"


@pytest.mark.parametrize("name", ["tests", "pages"])
def test_pip_is_cached_until_a_pin_changes(name):
    (setup,) = [step for step in steps(name) if "setup-python" in step.get("uses", "")]
    assert setup["with"]["cache"] == "pip"
    files = setup["with"]["cache-dependency-path"].split()
    assert files == ["requirements.txt", "tests/requirements.txt"]
    assert all((ROOT / file).exists() for file in files)


# --- Containers

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")


def instructions(text):
    """[(stage, instruction, what follows it)] of a Dockerfile; stages count from 0."""
    found, stage = [], -1
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.strip().partition(" ")
            stage += word == "FROM"
            found.append((stage, word, rest.strip()))
    return found


def last_stage():
    every = instructions(DOCKERFILE)
    return [(word, rest) for stage, word, rest in every if stage == every[-1][0]]


def test_the_dockerfile_is_sound():
    assert told(tool("hadolint"), ROOT / "Dockerfile") == (0, "")


def test_a_fault_in_a_dockerfile_is_found(tmp_path):
    for right, wrong, name in [
        ("--no-cache-dir", "", "DL3042"), ("USER 1000", "USER root", "DL3002"),
        ("python:3.12-slim", "python", "DL3006"),
    ]:  # fmt: skip
        assert right in DOCKERFILE
        (tmp_path / "Dockerfile").write_text(DOCKERFILE.replace(right, wrong), "utf-8")
        code, found = told(tool("hadolint"), tmp_path / "Dockerfile")
        assert code and name in found


def test_the_image_holds_the_wheel_alone_and_keeps_the_layer_of_the_pins():
    copied = [rest for word, rest in last_stage() if word == "COPY"]
    assert copied == ["requirements.txt /tmp/", "--from=wheel /wheel /tmp/wheel"]
    first = next(rest for word, rest in last_stage() if word == "RUN")
    assert "-r /tmp/pins.txt" in first and "/wheel" not in first
    # what `sed` leaves of the requirements are the pins
    text = (ROOT / "requirements.txt").read_text("utf-8")
    left = [line for line in text.splitlines() if not re.match("-e|#", line)]
    assert left and all("==" in line for line in left)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {".git", ".venv", "my-lessons", "site"} <= set(ignored)


def test_the_container_serves_the_lessons_to_any_user():
    words = [word for word, _ in last_stage()]
    settings = dict(last_stage())
    assert int(settings["USER"]) > 0 and "HOME" not in DOCKERFILE
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    assert f"mkdir -m 1777 {settings['WORKDIR']}" in DOCKERFILE
    program, *options = json.loads(settings["CMD"])
    assert program in PROJECT["scripts"] and "--ip=0.0.0.0" in options


def test_containers_have_a_python_that_is_tested():
    pythons = re.findall(r"^FROM python:([\d.]+)-slim", DOCKERFILE, re.M)
    pythons.append((ROOT / ".binder/runtime.txt").read_text("utf-8").strip()[7:])
    pythons.append(development()["image"].partition(":")[2])
    pages = [step["with"] for step in steps("pages") if "with" in step]
    pythons += [one["python-version"] for one in pages if "python-version" in one]
    assert len(pythons) == 5 and set(pythons) <= set(PYTHONS)


def development():
    path = ROOT / ".devcontainer" / "devcontainer.json"
    return json.loads(path.read_text("utf-8"))


def test_the_development_container_installs_as_the_readme_says():
    assert development()["postCreateCommand"] in README
    settings = development()["customizations"]["vscode"]
    assert "ms-toolsai.jupyter" in settings["extensions"]


def test_binder_finds_what_to_build():
    """repo2docker makes a Dockerfile of `.binder`; nothing is built here."""
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug"]
    tool("repo2docker")
    user = ["--user-id", "1000", "--user-name", "reader"]
    run = subprocess.run([*command, *user, ROOT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    install = "/bin/pip install --no-cache-dir -r \".binder/requirements.txt\"\n"
    # Only after the project is there, which these requirements install.
    made = run.stdout
    order = ["\nCOPY --chown=1000:1000 src/ ", install, "RUN ./.binder/postBuild"]
    assert sorted(order, key=made.index) == order
    assert "python=3.12" in run.stderr
    needed = (ROOT / ".binder" / "requirements.txt").read_text("utf-8")
    assert re.findall(r"^[^#].*", needed, re.M) == ["-r ../requirements.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="Binder runs Linux")
def test_figures_are_alive_on_binder(tmp_path):
    from nbformat.sign import NotebookNotary

    assert os.access(ROOT / ".binder" / "postBuild", os.X_OK)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "JUPYTER_DATA_DIR": str(tmp_path)}
    code, said = told(".binder/postBuild", cwd=ROOT, env=environment)
    assert code == 0, said
    notary = NotebookNotary(data_dir=str(tmp_path))
    for name in lessons():
        path = ROOT / "notebooks" / f"{name}.ipynb"
        assert notary.check_signature(nbformat.read(path, as_version=4)), name


# --- Names, places and line ends that every system takes

RESERVED = {"con", "prn", "aux", "nul"}
RESERVED |= {f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10)}


def wrong_names(paths):
    """Those of the paths that Windows or macOS cannot hold, or not beside another."""
    found, folded = [], {}
    for path in paths:
        parts = path.split("/")
        stems = {part.partition(".")[0].lower() for part in parts}
        forbidden = any(re.search(r'[<>:"\\|?*\x00-\x1f]|[. ]$', one) for one in parts)
        if forbidden or stems & RESERVED or len(path) > 150:
            found.append(path)
        if folded.setdefault(path.casefold(), path) != path:
            found.append(path)
    return found


def tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    code, names = told("git", "ls-files", "-z", cwd=ROOT)
    assert code == 0, names
    return [name for name in names.split("\0") if name]


def test_every_system_can_hold_the_files():
    assert len(tracked()) > 100 and wrong_names(tracked()) == []


@pytest.mark.parametrize("wrong", [
    "a:b.py", "x/what?.md", "aux.py", "x/COM1/y", "x/end.", "x/end ", "A.py", "X/b.py",
])  # fmt: skip
def test_a_name_that_some_system_cannot_hold_is_found(wrong):
    assert wrong_names(["a.py", "x/b.py", "console.py"]) == []
    assert wrong_names(["a.py", "x/b.py", wrong]) == [wrong]


def test_line_ends_are_the_same_everywhere():
    tracked()
    code, ends = told("git", "ls-files", "--eol", cwd=ROOT)
    assert code == 0
    kinds = {tuple(line.split()[:2]) for line in ends.splitlines()}
    assert kinds == {("i/lf", "w/lf"), ("i/none", "w/none"), ("i/-text", "w/-text")}
    for name in ("kit/lab.py", "notebooks/resnet.ipynb", ".binder/postBuild"):
        _, attributes = told("git", "check-attr", "text", "eol", "--", name, cwd=ROOT)
        assert re.findall(r": (\w+): (\w+)", attributes) == [
            ("text", "auto"), ("eol", "lf")
        ], name  # fmt: skip


def sources():
    return [path for name in ("kit", "lessons") for path in (ROOT / name).rglob("*.py")]


def without_encoding(source):
    """Lines that read or write text in whatever encoding the system prefers."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            place = {"read_text": 0, "write_text": 1}.get(node.func.attr)
            named = any(keyword.arg == "encoding" for keyword in node.keywords)
            if place is not None and len(node.args) <= place and not named:
                yield node.lineno


def test_files_are_read_and_written_as_utf_8():
    assert list(without_encoding("a.read_text()\nb.write_text(c)")) == [1, 2]
    named = "a.read_text('utf-8')\nb.write_text(c, encoding='utf-8')"
    assert list(without_encoding(named)) == []
    for path in sources():
        assert list(without_encoding(path.read_text("utf-8"))) == [], path
    rule = ["--preview", "--select", "PLW1514"]  # and `open`
    ruff = [sys.executable, "-m", "ruff", "check", "--force-exclude", *rule]
    code, said = told(*ruff, "kit", "lessons", "hatch_build.py", cwd=ROOT)
    assert code == 0, said


def test_no_code_counts_on_places_that_only_unix_has():
    for path in sources():
        text = path.read_text("utf-8")
        assert not re.search(r"""["'](/tmp|/dev|/proc|/usr|~)/""", text), path
        needed = r"^\s*(?:import|from) (fcntl|resource|pwd|grp|termios|pty)\b"
        assert not re.search(needed, text, re.M), path


def test_the_readme_has_the_same_commands_for_powershell():
    part = README[README.index("## Anywhere") : README.index("## At the paper's scale")]
    lines = re.findall(r"^    (\S.*?)  +# (?:in PowerShell: )?(.+)$", part, re.M)
    assert len(lines) == 3
    for unix, windows in lines:
        same = unix.replace("python3 ", "py ").replace("/bin/", "\\Scripts\\")
        assert windows == same
    for path in re.findall(r"`(\.\w+)/", part):
        assert (ROOT / path).is_dir()


# --- Builds of every pin

SYSTEMS = ["windows", "aarch64-apple-darwin", "x86_64-manylinux_2_28"]
MACOS = {"MACOSX_DEPLOYMENT_TARGET": "14.0"}  # the first that torch is built for


def unmet(system, python, requirements):
    """What uv says about requirements of which a system has no build; or nothing.

    It reads the index only, for all that they depend on, too.
    """
    options = ["--only-binary", ":all:", "--no-config", "--quiet", "--no-header"]
    where = ["--python-platform", system, "--python-version", python]
    command = [tool("uv"), "pip", "compile", *options, *where, "-"]
    given = {"input": requirements, "env": os.environ | MACOS}
    run = subprocess.run(command, capture_output=True, text=True, **given)
    return run.stderr if run.returncode else ""


@pytest.mark.timeout(600)
def test_every_pin_has_a_build_on_every_system(cache):
    """Not again for pins that did not change since it passed; and not offline."""
    text = (ROOT / "requirements.txt").read_text("utf-8")
    pins = re.findall(r"^[\w-]+==.+$", text, re.M)
    if cache.get("pins", None) == pins:
        pytest.skip("have not changed since it passed")
    if unmet(SYSTEMS[0], PYTHONS[0], "platformdirs"):
        pytest.skip("the package index cannot be asked")
    none = unmet(SYSTEMS[0], PYTHONS[0], "torch==0.0.1")
    assert "torch==0.0.1" in none
    pairs = [(system, python) for system in SYSTEMS for python in PYTHONS]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda pair: unmet(*pair, "\n".join(pins)), pairs))
    assert dict(zip(pairs, found)) == dict.fromkeys(pairs, "")
    cache.set("pins", pins)
