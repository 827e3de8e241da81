"""Python programs in windows of tokens, and two tasks to judge an encoder by.

The roles of names: what is each name doing? And errors: is this as it was written?
"""

import ast
import re
import tokenize
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from kit import text

VOCABULARY = 1000  # the most frequent tokens; the others are [UNK]
LENGTH = 32


class Split(NamedTuple):
    """Windows `(n, 32)`, or their labels, of three sets of files."""

    train: torch.Tensor
    validation: torch.Tensor  # every other one of the files held out
    test: torch.Tensor


def split(documents):
    heldout = documents.heldout
    parts = documents.train, heldout[::2], heldout[1::2]
    return Split(*(text.windows(part, LENGTH) for part in parts))


@cache
def windows():
    """The Split of all windows of the corpus `code`, as ids."""
    _, documents = text.python_tokens(VOCABULARY)
    return split(documents)


@cache
def passages():
    """Whole lines of the files for testing: lists of 20 to 32 ids without [UNK]."""
    vocabulary, documents = text.python_tokens(VOCABULARY)
    newline, found = vocabulary.index("NEWLINE"), []
    for ids in documents.heldout[1::2]:
        passage, line = [], []
        for token in ids:
            line.append(token)
            if token == newline:
                if len(passage) + len(line) > LENGTH:
                    found.append(passage)
                    passage = []
                passage, line = passage + line, []
    return [one for one in found if 20 <= len(one) <= LENGTH and 1 not in one]


def read(program):
    """(tokens, ids `(1, n)`) of the first 32 tokens of a program, or of any text."""
    try:
        tokens = [token for token, _, _ in text.code_tokens(program)]
    except (SyntaxError, ValueError, tokenize.TokenError):  # cut at blanks and signs
        tokens = re.findall(r"\w+|[^\w\s]", program)
    tokens = tokens[:LENGTH] or ["NEWLINE"]
    vocabulary, _ = text.python_tokens(VOCABULARY)
    number = {token: i for i, token in enumerate(vocabulary)}
    return tokens, torch.tensor([[number.get(token, 1) for token in tokens]])


# --- the first task: roles of names

ROLES = (
    "read",
    "written",
    "parameter",
    "attribute",
    "called function",
    "called method",
    "keyword",
    "defined or imported",
)


class Places:
    """Which role begins or ends where in a program, by its syntax tree."""

    def __init__(self, source):
        self.lines = source.splitlines(keepends=True)
        self.starts, self.ends = {}, {}
        for node in ast.walk(ast.parse(source)):
            if hasattr(node, "lineno"):
                self.note(node)

    def place(self, line, byte):  # ast counts bytes, the tokenizer characters
        return line, len(self.lines[line - 1].encode()[:byte].decode())

    def note(self, node):
        first = self.place(node.lineno, node.col_offset)
        last = self.place(node.end_lineno, node.end_col_offset)
        if isinstance(node, ast.Name):
            read = isinstance(node.ctx, ast.Load)
            self.starts.setdefault(first, "read" if read else "written")
        elif isinstance(node, ast.Attribute):  # its name is the last token of a.b.c
            self.ends.setdefault(last, "attribute")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            self.starts[first] = "called function"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            end = self.place(node.func.end_lineno, node.func.end_col_offset)
            self.ends[end] = "called method"
        elif isinstance(node, ast.arg):
            self.starts[first] = "parameter"
        elif isinstance(node, ast.keyword) and node.arg:
            self.starts[first] = "keyword"
        elif isinstance(node, ast.alias):
            self.starts[first] = "defined or imported"


def roles(source):
    """The role of every token of a program, in the order of `text.code_tokens`.

    An index into ROLES, or -100 for what is no name.
    """
    places, found, before = Places(source), [], ""
    for token, first, last in text.code_tokens(source):
        role = places.ends.get(last, places.starts.get(first))
        if before in ("def", "class"):
            role = "defined or imported"
        layout = token in ("STRING", "NEWLINE", "INDENT", "DEDENT")
        named = token.isidentifier() and not layout
        found.append(ROLES.index(role) if role and named else -100)
        before = token
    return found


@cache
def role_windows():
    """The roles of the tokens of `windows`, as a Split."""

    def make():
        return [[roles(source) for source in part] for part in text.corpus("code")]

    own = Path(__file__).read_text("utf-8")
    return split(text.Corpus(*text.cached("roles", [own], make)))


# --- the second task: errors

ERRORS = (
    "neighbours swapped",
    "distant tokens swapped",
    "a token left out",
    "halves exchanged",
)


class Judged(NamedTuple):
    """Windows of which every other one has an error."""

    ids: torch.Tensor  # (n, 31)
    spoiled: torch.Tensor  # (n), 1 where there is an error
    errors: torch.Tensor  # (n), an index into ERRORS; -1 where there is none


def two_places(error, random):
    """Two places of 31 to be swapped: next to each other, or at least 3 apart."""

    def number(below):
        return torch.randint(below, (1,), generator=random).item()

    if error == "neighbours swapped":
        first = number(30)
        return first, first + 1
    first = number(28)
    return first, first + 3 + number(28 - first)


def spoil(window, error, random):
    """The first 31 of the 32 tokens of a window, with one of ERRORS.

    random: a torch.Generator. Where two tokens are equal, others are tried.
    """
    if error == "halves exchanged":
        return torch.cat([window[16:31], window[:16]])
    while True:
        if error == "a token left out":
            place = 1 + torch.randint(29, (1,), generator=random).item()
            if window[place] != window[place + 1]:
                return torch.cat([window[:place], window[place + 1:]])
        else:
            first, second = two_places(error, random)
            if window[first] != window[second]:
                found = window[:31].clone()
                found[first], found[second] = window[second], window[first]
                return found


def judged(rows, seed):
    """Windows `(n, 32)` as Judged: the first, third, … get an error, by `seed`."""
    random = torch.Generator().manual_seed(seed)
    ids, errors = rows[:, :31].clone(), torch.full((len(rows),), -1)
    for i in range(0, len(rows), 2):
        error = torch.randint(len(ERRORS), (1,), generator=random).item()
        ids[i], errors[i] = spoil(rows[i], ERRORS[error], random), error
    return Judged(ids, (errors >= 0).long(), errors)
