"""Long experiments: what is stored, what is run again, what is refused."""

import importlib
import json
import sys

import pytest

from kit import study


@pytest.fixture
def ran():
    return []


@pytest.fixture
def studied(ran):
    def one(name):
        return lambda seed: ran.append((name, seed)) or {"error": len(name) + seed / 3}

    return {name: one(name) for name in ("a", "bb")}


def test_runs_are_stored_with_date_seeds_and_versions(tmp_path, studied, ran):
    study.run("x", studied, range(2), tmp_path)
    assert ran == [("a", 0), ("bb", 0), ("a", 1), ("bb", 1)]
    assert study.read("x", tmp_path) == {"a": [{"seed": 0, "error": 1.0}, {"seed": 1, "error": 1.333333}],
                                         "bb": [{"seed": 0, "error": 2.0}, {"seed": 1, "error": 2.333333}]}
    whole = json.loads((tmp_path / "x.json").read_text())
    assert whole["versions"].keys() >= {"python", "torch"} and len(whole["date"]) == 10


def test_an_interrupted_study_goes_on_where_it_stopped(tmp_path, studied, ran):
    def power_cut(seed):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run("x", studied | {"bb": power_cut}, range(2), tmp_path)
    study.run("x", studied, range(2), tmp_path)
    assert ran == [("a", 0), ("bb", 0), ("a", 1), ("bb", 1)]
    study.run("x", studied, range(2), tmp_path)
    assert len(ran) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_numbers_of_other_versions_or_of_another_study_do_not_mix(tmp_path, studied, ran, monkeypatch):
    study.run("x", studied, range(1), tmp_path)
    with pytest.raises(ValueError, match="has runs of bb, which the study no longer has"):
        study.run("x", {"a": studied["a"]}, range(2), tmp_path)
    with pytest.raises(ValueError, match="has error, seed of each run of a, now it would be loss, seed"):
        study.run("x", {name: lambda seed: {"loss": 1.0} for name in studied}, range(2), tmp_path)
    monkeypatch.setattr(study, "versions", lambda: {"torch": "9"})
    with pytest.raises(ValueError, match="was made with .* here are .*'9'.* delete it"):
        study.run("x", studied, range(2), tmp_path)
    assert len(ran) == 2


@pytest.mark.parametrize("names", [[], ["nothing"], ["resnet"], ["densenet", "resnet"], ["../kit/study"]])
def test_a_lesson_without_a_study_is_refused(names, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["kit.study", *names])
    with pytest.raises(SystemExit, match="error: name one lesson that has a study"):
        study.main()


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}"])
def test_a_missing_or_damaged_file_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match="x.json is missing or damaged"):
        study.read("x", tmp_path)


def test_what_is_no_number_is_not_stored(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        study.run("x", {"a": lambda seed: {"error": float("nan")}}, range(1), tmp_path)
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("name", [path.stem for path in sorted(study.FOLDER.glob("*.json"))])
def test_a_stored_study_is_complete(name):
    lesson, stored = importlib.import_module(f"lessons.{name}"), study.read(name)
    assert stored.keys() == lesson.STUDY.keys()
    assert all(sorted(run["seed"] for run in runs) == list(lesson.STUDY_SEEDS) for runs in stored.values())
