"""Data of the paper's size, out of a folder that the user gives.

CIFAR-10, folders of images, folders of text or a Hugging Face dataset on disk, as what
`kit.scale` draws its samples from. What is missing or wrong raises Refused.
"""

import codecs
import hashlib
import json
import pickle
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from kit.files import store
from kit.processes import Refused, first
from kit.text import SPECIAL

# ---- folders


def files_in(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def fingerprint(folder):
    """A hash of all names and sizes in a folder, and of how a thousand files begin.

    To tell two data sets apart without reading hundreds of gigabytes.
    """
    folder, digest = Path(folder), hashlib.sha256()
    if not folder.is_dir():
        raise Refused(f"there is no folder {folder}")
    for number, path in enumerate(files_in(folder)):
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name} {path.stat().st_size}\n".encode())
        if number < 1000:
            with path.open("rb") as file:
                digest.update(file.read(2**16))
    return digest.hexdigest()[:16]


# ---- images


class Images:
    """Images in memory, `(n, channels, height, width)`, and labels `(n,)`.

    look: `look(image, generator)` gives the image as the network sees it.
    """

    def __init__(self, images, labels, look):
        self.images, self.labels, self.look = images, labels, look

    def __len__(self):
        return len(self.labels)

    def example(self, index, generator):
        image = self.look(self.images[index], generator)
        return {"images": image, "labels": self.labels[index]}


def shifted(image, by, generator):
    """A crop of the image's own size from the image in a frame of `by` zeros."""
    _, height, width = image.shape
    framed = torch.nn.functional.pad(image, (by, by, by, by))
    down, right = torch.randint(2 * by + 1, (2,), generator=generator).tolist()
    return framed[:, down : down + height, right : right + width]


def mirrored(image, generator):
    """The image or its mirror image, one as often as the other."""
    return image.flip(-1) if torch.rand((), generator=generator) < 0.5 else image


PARTS = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
IMAGES = 10_000  # in each part
CIFAR = """should hold CIFAR-10: data_batch_1.bin to data_batch_5.bin and \
test_batch.bin, or the same without .bin (python version), as \
https://www.cs.toronto.edu/~kriz/cifar.html has them"""


class Arrays(pickle.Unpickler):
    """Reads arrays of NumPy, and calls nothing else that a pickle may name."""

    allowed = {
        "numpy.core.multiarray._reconstruct": np._core.multiarray._reconstruct,
        "numpy._core.multiarray._reconstruct": np._core.multiarray._reconstruct,
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "_codecs.encode": codecs.encode,  # bytes, as old protocols have them
    }

    def find_class(self, module, name):
        if f"{module}.{name}" not in self.allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return self.allowed[f"{module}.{name}"]


def cifar_part(path):
    """(images uint8 `(n, 3, 32, 32)`, labels int64 `(n,)`) of one file."""
    if path.suffix == ".bin":
        rows = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
        labels, images = rows[:, 0], rows[:, 1:]
    else:
        with path.open("rb") as file:
            found = Arrays(file, encoding="bytes").load()
        labels, images = found[b"labels"], found[b"data"]
    images = torch.from_numpy(np.array(images, np.uint8)).reshape(-1, 3, 32, 32)
    labels = torch.from_numpy(np.array(labels, np.int64))
    if len(images) != IMAGES or len(labels) != IMAGES or labels.max() > 9:
        raise ValueError(f"it has not {IMAGES:,} images of ten classes")
    return images, labels


def cifar10(folder):
    """CIFAR-10 as ((images, labels) to train on, the same to test with).

    Images are uint8 `(n, 3, 32, 32)`. Source: A. Krizhevsky, Learning Multiple Layers
    of Features from Tiny Images, 2009.
    """
    folder = Path(folder)
    for place in (
        folder,
        folder / "cifar-10-batches-bin",
        folder / "cifar-10-batches-py",
    ):
        for ending in (".bin", ""):
            paths = [place / f"{name}{ending}" for name in PARTS]
            if all(path.is_file() for path in paths):
                return cifar_parts(paths)
    raise Refused(f"{folder} {CIFAR}")


def cifar_parts(paths):
    parts = []
    for path in paths:
        try:
            parts.append(cifar_part(path))
        except (ValueError, KeyError, TypeError, EOFError, pickle.PickleError) as error:
            raise Refused(f"{path} is damaged ({error}): its folder {CIFAR}") from None
    *train, test = parts
    images, labels = zip(*train)
    return (torch.cat(images), torch.cat(labels)), test


MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]  # of ImageNet's pixels
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
# How its colours vary: roots of the covariance's eigenvalues, and the directions, as
# facebookarchive/fb.resnet.torch (datasets/imagenet.lua) has them.
SPREAD = torch.tensor([0.2175, 0.0188, 0.0045])
DIRECTIONS = torch.tensor(
    [
        [-0.5675, 0.7192, 0.4009],
        [-0.5808, -0.0045, -0.8140],
        [-0.5836, -0.6948, 0.4203],
    ]
)


def recoloured(image, generator):
    """Another light: a random shift of all pixels along the colours' directions.

    image: `(3, height, width)`, from 0 to 1. Source: A. Krizhevsky et al., ImageNet
    Classification with Deep Convolutional Neural Networks, 2012, section 4.1.
    """
    lots = 0.1 * torch.randn(3, generator=generator)
    return image + (DIRECTIONS @ (lots * SPREAD))[:, None, None]


class ImageFolder:
    """Images in class folders, decoded by Pillow when they are asked for.

    look: `look(image, generator)` makes a tensor of an RGB image of Pillow.
    """

    def __init__(self, folder, look):
        folder = Path(folder)
        kinds = sorted(path for path in folder.glob("*") if path.is_dir())
        endings = (".jpg", ".jpeg", ".png")
        self.look, self.found = look, []
        for label, kind in enumerate(kinds):
            paths = [one for one in files_in(kind) if one.suffix.lower() in endings]
            self.found += [(path, label) for path in paths]
        if not self.found:
            right = "a folder for each class with its images (.jpg, .jpeg, .png)"
            raise Refused(f"{folder} should hold {right}, as ImageNet's train and val")
        self.classes = len(kinds)

    def __len__(self):
        return len(self.found)

    def example(self, index, generator):
        from PIL import Image

        path, label = self.found[index]
        with Image.open(path) as image:
            return {
                "images": self.look(image.convert("RGB"), generator),
                "labels": label,
            }


def resized(image, shorter):
    """An image of Pillow, scaled until its shorter side has `shorter` pixels."""
    width, height = image.size
    scale = shorter / min(width, height)
    size = max(shorter, round(width * scale)), max(shorter, round(height * scale))
    return image.resize(size, resample=2)  # bilinear


def cut(image, left, top, size):
    """A square of an image of Pillow as floats from 0 to 1, `(3, size, size)`."""
    part = image.crop((left, top, left + size, top + size))
    return torch.from_numpy(np.array(part)).permute(2, 0, 1).float() / 255


def middle(image, size):
    width, height = image.size
    return cut(image, (width - size) // 2, (height - size) // 2, size)


def random_area(image, size, generator):
    """A part of 8% to all of an image of Pillow, 3:4 to 4:3, as a square of `size`.

    Source: C. Szegedy et al., Going Deeper with Convolutions, 2015, section 6.
    """
    width, height = image.size
    for _ in range(10):
        lots = torch.rand(4, generator=generator).tolist()
        area = (0.08 + 0.92 * lots[0]) * width * height
        ratio = 3 / 4 + (4 / 3 - 3 / 4) * lots[1]
        wide, high = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if wide <= width and high <= height:
            left, top = int(lots[2] * (width - wide)), int(lots[3] * (height - high))
            box = left, top, left + wide, top + high
            return image.resize((size, size), resample=3, box=box)  # bicubic
    return resized(image, size).crop((0, 0, size, size))


def jittered(image, generator):
    """Brightness, contrast and colour changed by up to 40%, in any order, as floats."""
    from PIL import ImageEnhance

    kinds = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
    for number in torch.randperm(3, generator=generator).tolist():
        by = 1 + 0.4 * (2 * torch.rand((), generator=generator).item() - 1)
        image = kinds[number](image).enhance(by)
    return cut(image, 0, 0, image.size[0])


# ---- text


class Text(NamedTuple):
    """All token ids in a row, and what is where.

    ids: `(n,)`. ends: where each document ends, `(documents,)`. kinds: the number of
    each document's kind in `names`, as CTRL needs it. size: of the vocabulary.
    """

    ids: np.ndarray
    ends: np.ndarray
    kinds: np.ndarray
    names: list
    size: int


def text_of(documents, size, kinds=None, names=()):
    """A Text of documents that are lists of ids."""
    ids = np.concatenate([np.asarray(one, np.uint32) for one in documents])
    ends = np.cumsum([len(one) for one in documents])
    kinds = np.zeros(len(ends), int) if kinds is None else np.asarray(kinds)
    return Text(ids, ends, kinds, list(names), size)


class Pieces:
    """A Text cut into pieces of at most `length` tokens, none shorter than `least`.

    across: whether a piece may go on in the next document (of the same kind), without
    a mark between them.
    view: `view(ids, kind, generator)` makes a dict of tensors of a piece, int64
    `(tokens,)`.
    """

    def __init__(self, text, length, view, least=None, across=True):
        self.text, self.view, least = text, view, least or length
        ends, kinds = text.ends, text.kinds
        if across:
            last = np.append(kinds[1:] != kinds[:-1], True)
            ends, kinds = ends[last], kinds[last]
        starts = np.append(0, ends[:-1])
        sizes = ends - starts
        counts = sizes // length + (sizes % length >= least)
        owner = np.repeat(np.arange(len(ends)), counts)
        number = np.arange(len(owner)) - np.repeat(counts.cumsum() - counts, counts)
        self.begins = starts[owner] + number * length
        self.ends = np.minimum(self.begins + length, ends[owner])
        self.kinds = kinds[owner]

    def __len__(self):
        return len(self.begins)

    def example(self, index, generator):
        ids = self.text.ids[self.begins[index] : self.ends[index]].astype(np.int64)
        return self.view(torch.from_numpy(ids), self.kinds[index], generator)


class Some:
    """Those samples of `data` whose numbers are in `chosen`."""

    def __init__(self, data, chosen):
        self.data, self.chosen = data, chosen

    def __len__(self):
        return len(self.chosen)

    def example(self, index, generator):
        return self.data.example(self.chosen[index], generator)


def held_out(pieces):
    """(to train on, to test with): every fiftieth piece, but at most a thousand."""
    kept = np.arange(0, len(pieces), 50)[:1000]
    if len(pieces) < 2:
        raise Refused("the text is too short: it gives fewer than two pieces")
    others = np.delete(np.arange(len(pieces)), kept)
    return Some(pieces, others), Some(pieces, kept)


def rows_of(folder):
    """Of a Hugging Face dataset on disk: (kind, text) of every row."""
    try:
        from datasets import load_from_disk
    except ImportError:
        why = "is a Hugging Face dataset, which needs a package: pip install datasets"
        raise Refused(f"{folder} {why}") from None
    rows = load_from_disk(str(folder))
    if isinstance(rows, dict):  # of splits
        rows = rows.get("train", next(iter(rows.values())))
    if "text" not in rows.column_names:
        raise Refused(f"the dataset {folder} has no column text: {rows.column_names}")
    for row in rows:
        yield row.get("kind", ""), row["text"]


def documents(folder):
    """(kind, text) of every document in a folder: a .txt file each, or a row each.

    kind: the name of the folder in it that the file lies in, or the column `kind`.
    """
    folder = Path(folder)
    if any((folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
        yield from rows_of(folder)
        return
    paths = [path for path in files_in(folder) if path.suffix == ".txt"]
    if not paths:
        right = "text files (.txt, a document each) or a Hugging Face dataset on disk"
        raise Refused(f"{folder} should hold {right}")
    for path in paths:
        parts = path.relative_to(folder).parts
        try:
            yield parts[0] if len(parts) > 1 else "", path.read_text("utf-8")
        except UnicodeDecodeError:
            raise Refused(f"{path} is no text in UTF-8") from None


def pre_trained(name):
    """A tokenizer of the tokenizers library by its file, its folder or its name."""
    from tokenizers import Tokenizer

    path = Path(name)
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        if path.is_file():
            found = Tokenizer.from_file(str(path))
        else:
            found = Tokenizer.from_pretrained(name)
    except Exception as error:  # the library raises nothing narrower
        raise Refused(f"no tokenizer {name}: {error}") from None
    found.no_truncation()  # a document may be of any length
    found.no_padding()
    return found


def blank_tokenizer(kind):
    """A new tokenizer "wordpiece", "unigram" or "bpe", and the class of its trainer."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from tokenizers import pre_tokenizers as cuts

    if kind == "wordpiece":  # BERT's, which ELECTRA took over
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer, made.decoder = cuts.BertPreTokenizer(), decoders.WordPiece()
        return made, trainers.WordPieceTrainer
    if kind == "unigram":  # SentencePiece's
        made = Tokenizer(models.Unigram())
        lower = [normalizers.NFKC(), normalizers.Lowercase()]
        made.normalizer = normalizers.Sequence(lower)
        made.pre_tokenizer, made.decoder = cuts.Metaspace(), decoders.Metaspace()
        return made, trainers.UnigramTrainer
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = cuts.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made, trainers.BpeTrainer


def new_tokenizer(kind, size, texts):
    """A tokenizer of `size` pieces at most, trained on texts; SPECIAL come first."""
    from tokenizers.pre_tokenizers import ByteLevel

    made, trainer = blank_tokenizer(kind)
    more = {"initial_alphabet": ByteLevel.alphabet()} if kind == "bpe" else {}
    if kind == "unigram":
        more["unk_token"] = "[UNK]"
    trainer = trainer(
        vocab_size=size, special_tokens=SPECIAL, show_progress=False, **more
    )
    made.train_from_iterator(texts, trainer)
    return made


def by_the_hundred(items):
    items = iter(items)
    while some := list(islice(items, 100)):
        yield some


def write_text(folder, out, kind, size, name):
    """Tokenize a folder into `out`: tokenizer.json, tokens.bin and documents.json."""
    if name is None:
        tokenizer = new_tokenizer(kind, size, (text for _, text in documents(folder)))
    else:
        tokenizer = pre_trained(name)
    names = sorted({kind for kind, _ in documents(folder)})
    if any(names):
        tokenizer.add_special_tokens(names)
    ends, kinds, total, partial = [], [], 0, out / "tokens.partial"
    try:
        with partial.open("wb") as file:
            for some in by_the_hundred(documents(folder)):
                texts = [text for _, text in some]
                for one in tokenizer.encode_batch(texts, add_special_tokens=False):
                    file.write(np.asarray(one.ids, np.uint32))
                    total += len(one.ids)
                    ends.append(total)
                kinds += [names.index(kind) for kind, _ in some]
        store(out / "tokenizer.json", tokenizer.to_str(pretty=True))
        partial.replace(out / "tokens.bin")
    finally:
        partial.unlink(missing_ok=True)
    told = {"ends": ends, "kinds": kinds, "names": names}
    told["size"] = tokenizer.get_vocab_size()
    store(out / "documents.json", json.dumps(told))  # last: what it tells of is whole


def read_text(folder, out, kind, size, name=None):
    """(Text, tokenizer) of a folder; the first process tokenizes it, once for a run.

    kind, size: of the tokenizer that is trained, unless `name` tells of one.
    """

    def prepare():
        if not (out / "documents.json").is_file():
            write_text(folder, out, kind, size, name)

    first(prepare)
    told = json.loads((out / "documents.json").read_text("utf-8"))
    ids = np.memmap(out / "tokens.bin", np.uint32, "r")
    ends, kinds = np.array(told["ends"]), np.array(told["kinds"])
    made = pre_trained(out / "tokenizer.json")
    return Text(ids, ends, kinds, told["names"], told["size"]), made


def check_special(tokenizer):
    """Refused unless the ids from 0 on are those of kit.text.SPECIAL, in any spelling.

    The lessons' masks count on it.
    """
    usual = [SPECIAL, ["<pad>", "<unk>", *SPECIAL[2:]]]
    found = [tokenizer.id_to_token(number) for number in range(len(SPECIAL))]
    if found not in usual:
        right = ", ".join(SPECIAL)
        raise Refused(f"a tokenizer should begin with {right}; this one has {found}")
