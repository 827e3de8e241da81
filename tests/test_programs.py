"""Programs as windows of tokens: roles, errors, whole lines, the reader's own text."""

import pytest
import torch

from kit import programs, text
from kit.programs import ERRORS, LENGTH, ROLES, judged, read, roles, spoil, windows

PROGRAM = """import os.path as path
class Ünder(Base):
    def méthod(self, key, *rest, **more):
        é = self.size + other(key, default=None)
        "ä"; path.join(é).strip(**more)
        del x
"""


def test_roles_of_a_program():
    found = [
        (token, ROLES[role])
        for (token, _, _), role in zip(
            text.code_tokens(PROGRAM), roles(PROGRAM), strict=True
        )
        if role >= 0
    ]
    assert found == [
        ("os", "defined or imported"),
        ("Ünder", "defined or imported"),
        ("Base", "read"),
        ("méthod", "defined or imported"),
        ("self", "parameter"),
        ("key", "parameter"),
        ("rest", "parameter"),
        ("more", "parameter"),
        ("é", "written"),
        ("self", "read"),
        ("size", "attribute"),
        ("other", "called function"),
        ("key", "read"),
        ("default", "keyword"),
        ("path", "read"),
        ("join", "called method"),
        ("é", "read"),
        ("strip", "called method"),
        ("more", "read"),
        ("x", "written"),
    ]


def test_labels_stand_beside_their_tokens():
    vocabulary, documents = text.python_tokens(programs.VOCABULARY)
    source = text.corpus("code").heldout[1]
    tokens = [token for token, _, _ in text.code_tokens(source)]
    known = dict(zip(vocabulary, range(len(vocabulary))))
    assert documents.heldout[1] == [known.get(token, 1) for token in tokens]
    first = windows().test[0].tolist()
    assert first == documents.heldout[1][:LENGTH]
    assert programs.role_windows().test[0].tolist() == roles(source)[:LENGTH]


def test_no_file_is_in_two_parts_of_the_split():
    _, documents = text.python_tokens(programs.VOCABULARY)
    held_out = text.windows(documents.heldout, LENGTH)
    _, validation, test = windows()
    assert len(validation) + len(test) == len(held_out)
    both = torch.cat([validation, test])
    assert sorted(both.tolist()) == sorted(held_out.tolist())


WINDOW = torch.arange(5, 5 + LENGTH)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("seed", range(20))
def test_errors(error, seed):
    found = spoil(WINDOW, error, torch.Generator().manual_seed(seed))
    assert found.shape == (31,)
    moved = (found != WINDOW[:31]).nonzero()[:, 0].tolist()
    if error == "halves exchanged":
        assert torch.equal(found, torch.cat([WINDOW[16:31], WINDOW[:16]]))
    elif error == "a token left out":
        left = set(WINDOW.tolist()) - set(found.tolist())
        assert len(left) == 1 and found.tolist() == sorted(found.tolist())
    else:
        first, second = moved
        apart = second - first
        assert apart == 1 if error == "neighbours swapped" else apart >= 3
        assert found[first] == WINDOW[second] and found[second] == WINDOW[first]


def test_equal_tokens_are_not_swapped():
    window = torch.full((LENGTH,), 5)
    window[10] = 6
    for seed in range(20):
        for error in ERRORS[:3]:
            found = spoil(window, error, torch.Generator().manual_seed(seed))
            assert not torch.equal(found, window[:31])


def test_every_other_window_is_spoiled():
    rows = windows().validation
    ids, spoiled, errors = judged(rows, seed=1)
    assert spoiled.tolist() == [1, 0] * (len(rows) // 2)
    assert torch.equal(ids[1::2], rows[1::2, :31]) and (errors[1::2] == -1).all()
    assert torch.bincount(errors[::2], minlength=4).min() > len(rows) / 10
    again = judged(rows, seed=1)
    assert all(map(torch.equal, again, (ids, spoiled, errors)))
    assert not torch.equal(judged(rows, seed=2).ids, ids)


def test_passages_are_whole_lines():
    vocabulary, documents = text.python_tokens(programs.VOCABULARY)
    newline = vocabulary.index("NEWLINE")
    whole = [[newline, *ids] for ids in documents.heldout[1::2]]
    for passage in programs.passages()[::20]:
        assert 20 <= len(passage) <= LENGTH and passage[-1] == newline
        assert 1 not in passage
        found = [newline, *passage]
        spots = (range(len(ids) - len(found) + 1) for ids in whole)
        assert any(
            ids[at : at + len(found)] == found
            for ids, places in zip(whole, spots)
            for at in places
        )


@pytest.mark.parametrize("program", [
    "", " ", "x = 1", "def (", "'unclosed", "word " * 1000, "🎉🎉", "שלום עולם",
    "a\0b\n\tc", "x" * 5000, "if x:\n  y\n z", "f'{a}'", "((((((", "\\", "0777",
])
def test_any_text_can_be_read(program):
    tokens, ids = read(program)
    assert 1 <= len(tokens) <= LENGTH and ids.shape == (1, len(tokens))
    assert all(isinstance(token, str) for token in tokens)


def test_reading_numbers_tokens_as_the_windows_do():
    vocabulary, _ = text.python_tokens(programs.VOCABULARY)
    tokens, ids = read("for zebra in self: return")
    assert tokens[:4] == ["for", "zebra", "in", "self"]
    assert ids[0, 1] == 1 and vocabulary[ids[0, 3]] == "self"
