"""Long experiments: what is stored, what is run again, what is refused."""

import importlib
import json
import sys

import pytest
from support import full_disk

from kit import study


@pytest.fixture
def ran():
    return []


@pytest.fixture(autouse=True)
def lessons(tmp_path, monkeypatch):
    """A folder of lessons with a study of one, x, that imports another, y."""
    folder = tmp_path / "lessons"
    (folder / "studies").mkdir(parents=True)
    (folder / "x.py").write_text('"""A lesson."""\nfrom lessons.y import rate\n')
    (folder / "y.py").write_text("rate = 0.1\n")
    source = '"""A study."""\nfrom lessons.x import rate\n\nSTEPS = 500\n'
    (folder / "studies" / "x.py").write_text(source)
    monkeypatch.setattr(study, "LESSONS", folder)
    monkeypatch.setattr(study, "FOLDER", folder / "studies")
    return folder


@pytest.fixture
def folder(lessons):
    """Where the studies of these tests are stored."""
    return lessons / "studies"


@pytest.fixture
def studied(ran):
    def one(name):
        return lambda seed: ran.append((name, seed)) or {"error": len(name) + seed / 3}

    return {name: one(name) for name in ("a", "bb")}


def test_runs_are_stored_with_date_seeds_and_versions(folder, studied, ran):
    study.run("x", studied, range(2), folder)
    assert ran == [("a", 0), ("bb", 0), ("a", 1), ("bb", 1)]
    assert study.read("x", folder) == {
        "a": [{"seed": 0, "error": 1.0}, {"seed": 1, "error": 1.333333}],
        "bb": [{"seed": 0, "error": 2.0}, {"seed": 1, "error": 2.333333}],
    }
    whole = json.loads((folder / "x.json").read_text())
    assert whole["versions"].keys() >= {"python", "torch"} and len(whole["date"]) == 10


def test_an_interrupted_study_goes_on_where_it_stopped(folder, studied, ran):
    def power_cut(seed):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run("x", studied | {"bb": power_cut}, range(2), folder)
    study.run("x", studied, range(2), folder)
    assert ran == [("a", 0), ("bb", 0), ("a", 1), ("bb", 1)]
    study.run("x", studied, range(2), folder)
    assert len(ran) == 4
    assert {path.name for path in folder.iterdir()} == {"x.py", "x.json"}


def test_a_name_may_have_seeds_of_its_own(folder, studied, ran):
    study.run("x", studied, {"a": [0, 1], "bb": [7]}, folder)
    assert ran == [("a", 0), ("a", 1), ("bb", 7)]


def test_numbers_of_other_versions_or_of_another_study_do_not_mix(
    folder, studied, ran, monkeypatch
):
    study.run("x", studied, range(1), folder)
    with pytest.raises(
        ValueError, match="has runs of bb, which the study no longer has"
    ):
        study.run("x", {"a": studied["a"]}, range(2), folder)
    with pytest.raises(
        ValueError, match="has error, seed of each run of a, now it would be loss, seed"
    ):
        study.run(
            "x",
            {name: lambda seed: {"loss": 1.0} for name in studied},
            range(2),
            folder,
        )
    monkeypatch.setattr(study, "versions", lambda lesson: {"torch": "9"})
    with pytest.raises(ValueError, match="was made with .* here are .*'9'.* delete it"):
        study.run("x", studied, range(2), folder)
    assert len(ran) == 2


@pytest.mark.parametrize(
    ("file", "before", "now"), [("studies/x", "500", "600"), ("y", "0.1", "0.2")]
)
def test_numbers_of_another_recipe_do_not_mix(
    folder, lessons, studied, ran, file, before, now
):
    study.run("x", studied, range(1), folder)
    recipe = lessons / f"{file}.py"
    recipe.write_text(recipe.read_text().replace(before, now))
    with pytest.raises(ValueError, match="was made with .*'code'.* delete it"):
        study.run("x", studied, range(2), folder)
    assert len(ran) == 2


def test_another_comment_is_the_same_recipe(folder, studied, ran):
    study.run("x", studied, range(1), folder)
    recipe = folder / "x.py"
    source = "# Words.\n" + recipe.read_text().replace("A study", "The study")
    recipe.write_text(source.replace("500", "500  # many"))
    study.run("x", studied, range(2), folder)
    assert len(ran) == 4


def test_a_number_is_compared_within_the_spread_over_seeds(folder):
    study.run("x", {"a": lambda seed: {"error": seed}}, range(3), folder)
    study.within_spread("x", "a", 2, "error", 2.9)
    study.within_spread("x", "a", 2, "error", 4.9, times=3)
    with pytest.raises(
        AssertionError,
        match="a, seed 2: error is 3.1, stored is 2, .* 3 seeds 1; stored with .*torch",
    ):
        study.within_spread("x", "a", 2, "error", 3.1)


@pytest.mark.parametrize(
    "names", [[], ["nothing"], ["resnet"], ["densenet", "resnet"], ["../kit/study"]]
)
def test_a_lesson_without_a_study_is_refused(names, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["kit.study", *names])
    with pytest.raises(SystemExit, match="error: name one lesson that has a study"):
        study.main()


def test_a_missing_file_is_named(folder):
    with pytest.raises(ValueError, match="x.json is missing; run `python -m kit.study"):
        study.read("x", folder)


RUNS = '{{"versions": {{}}, "runs": {{"a": [{}]}}}}'
DAMAGED = ["", "{", "[]", "{}", '{"versions": 1, "runs": 2}', "[" * 100_000]
DAMAGED += map(RUNS.format, ('{"error": 1.0}', '{"seed": null}', "1"))
AGAIN = "mend or delete it, then run `python -m kit.study x`"


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_kept_and_doing_what_is_said_helps(
    folder, studied, ran, content
):
    path = folder / "x.json"
    path.write_text(content)
    for use in (study.read, lambda *of: study.run("x", studied, [0], folder)):
        with pytest.raises(ValueError, match=f"x.json is damaged .*; {AGAIN}"):
            use("x", folder)
    assert path.read_text() == content and not ran
    path.unlink()
    study.run("x", studied, [0], folder)
    assert study.read("x", folder)["a"] == [{"seed": 0, "error": 1.0}]


def test_a_full_disk_keeps_what_was_measured(folder):
    def measure(seed):
        return {f"error of {number}": seed for number in range(5000)}

    study.run("x", {"a": measure}, [0], folder)
    before = (folder / "x.json").read_bytes()
    with full_disk(len(before)), pytest.raises(OSError, match="too large: '.*x.json'"):
        study.run("x", {"a": measure}, [0, 1], folder)
    assert (folder / "x.json").read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {"x.py", "x.json"}
    study.run("x", {"a": measure}, [0, 1], folder)
    assert [run["seed"] for run in study.read("x", folder)["a"]] == [0, 1]


def test_what_is_no_number_is_not_stored(folder):
    with pytest.raises(ValueError, match="JSON"):
        study.run("x", {"a": lambda seed: {"error": float("nan")}}, range(1), folder)
    assert not (folder / "x.json").exists()


@pytest.mark.parametrize(
    "name", [path.stem for path in sorted(study.FOLDER.glob("*.json"))]
)
def test_a_stored_study_is_complete(name):
    made, stored = importlib.import_module(f"lessons.studies.{name}"), study.read(name)
    assert stored.keys() == made.STUDY.keys()
    seeds = study.seeds_of(made.STUDY, made.SEEDS)
    for name, runs in stored.items():
        assert sorted(run["seed"] for run in runs) == list(seeds[name])
