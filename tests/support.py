"""What the test files of the lessons share."""

import base64
import importlib
import json
import re
import subprocess
import zlib
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from kit.data import Split
from kit.notebooks import ROOT


def randomise(model):
    """Statistics and scales of a trained network: 0 and 1 would hide a swap."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def same_logits(ours, theirs, images):
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    assert expected.abs().max() > 0.01
    largest = max(1.0, expected.abs().max().item())
    return (found - expected).abs().max() <= 1e-5 * largest


def trained_by_hand(model, batches, rates, nesterov=False, weight_decay=1e-4):
    """The loss of each step of SGD with momentum 0.9; changes the model in place.

    rates: the learning rate of each step. Inputs take the model's floating type.
    """
    model.train()
    weights = list(model.parameters())
    momentum, losses = [torch.zeros_like(weight) for weight in weights], []
    for (images, labels), rate in zip(batches, rates, strict=True):
        loss = F.cross_entropy(model(images.to(weights[0])), labels)
        gradients = torch.autograd.grad(loss, weights)
        losses.append(loss.item())
        with torch.no_grad():
            for i, weight in enumerate(weights):
                gradient = gradients[i] + weight_decay * weight
                momentum[i] = 0.9 * momentum[i] + gradient
                step = gradient + 0.9 * momentum[i] if nesterov else momentum[i]
                weight -= rate * step
    return losses


# ---- published weights


def reference(kind, folder, deviation=0.1, **sizes):
    """A small model of transformers, saved to a folder; returns it in eval mode.

    All its weights are random: fresh biases (0) and scales (1) would hide a swap.
    """
    import transformers

    kind = getattr(transformers, kind)
    torch.manual_seed(0)
    model = kind(kind.config_class(**sizes)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(deviation * torch.randn_like(weight))
    model.save_pretrained(folder)
    return model


def same(ours, theirs, length=20, everywhere=True, tolerance=1e-5):
    """Whether both give the same, with padding and segments and without.

    everywhere: at padded places, too.
    """
    vocab = theirs.config.vocab_size
    segments = getattr(theirs.config, "type_vocab_size", vocab)
    torch.manual_seed(1)
    ids = torch.randint(vocab, (3, length))
    types = torch.randint(segments, (3, length)) if segments else None
    mask = (torch.arange(length) < torch.tensor([[length], [12], [3]])).long()
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    with torch.no_grad():
        expected, found = theirs(**given)[0], ours(ids, mask, types)
        assert torch.equal(ours(**given), found)
        assert torch.equal(ours(ids, mask.bool(), types), found)
        assert torch.allclose(ours(ids), theirs(ids)[0], atol=tolerance)
    assert not ours.training
    assert found.shape == expected.shape and expected.abs().max() > 0.1
    if not everywhere:
        found, expected = found[mask == 1], expected[mask == 1]
    return (found - expected).abs().max() <= tolerance


def edit(folder, change):
    """`change(tensors)`, in place, what the file in a folder holds."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def rewrite(
    folder,
    change=lambda name: name,
    dtype=torch.float32,
    kind="safetensors",
    parts=1,
    constants=False,
):
    """Store the weights of a folder again, as a file of a kind, or as shards.

    change: the new name of a tensor. constants: with the numbers of the positions, as
    files of the first years have them.
    """
    stem = {"safetensors": "model", "bin": "pytorch_model"}[kind]
    store = save_file if kind == "safetensors" else torch.save
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        tensors[change(name)] = tensor.to(dtype)
        if constants and name.endswith("word_embeddings.weight"):
            place = name.replace("word_embeddings.weight", "position_ids")
            tensors[place] = torch.arange(40)[None]
    (folder / "model.safetensors").unlink()
    if parts == 1:
        return store(tensors, folder / f"{stem}.{kind}")
    names, place = list(tensors), {}
    for part in range(parts):
        file = f"{stem}-{part + 1:05}-of-{parts:05}.{kind}"
        place |= dict.fromkeys(names[part::parts], file)
        store({name: tensors[name] for name in names[part::parts]}, folder / file)
    index = json.dumps({"metadata": {}, "weight_map": place})
    (folder / f"{stem}.{kind}.index.json").write_text(index)


def older(name):
    name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
    return name.replace("LayerNorm.bias", "LayerNorm.beta")


FILES = {  # in which published weights lie: how `rewrite` makes them
    "shards": {"parts": 3},
    "bin": {"kind": "bin"},
    "bin, shards": {"kind": "bin", "parts": 3},
    "half": {"dtype": torch.float16},
    "float8": {"dtype": torch.float8_e4m3fn},
    "of DataParallel": {"change": lambda name: f"module.{name}", "kind": "bin"},
    "of the first years": {"change": older, "kind": "bin", "constants": True},
}


def rounded(model, dtype=torch.float32, **_):
    """The model with weights as a file of that type has them."""
    for weight in model.parameters():
        weight.data = weight.data.to(dtype).float()
    return model


def configure(folder, **changes):
    """Change keys of a configuration; None takes one out."""
    config = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def spoil(folder, missing, misshapen, unknown):
    """Take one weight out of a file, flatten another, and add one."""

    def change(tensors):
        del tensors[missing]
        tensors[misshapen] = tensors[misshapen].flatten()
        tensors[unknown] = torch.zeros(3)

    edit(folder, change)


# ---- exercises, studies and figures


def checker(lesson, name):
    """The check `name` of a lesson's exercises."""
    return getattr(importlib.import_module(f"lessons.checks.{lesson}"), name)


def first_losses(count, fit, *args):
    """The losses of `fit(*args, on_step)`, which is stopped after `count` steps."""
    losses = []

    def watch(step, loss):
        losses.append(loss)
        if len(losses) == count:
            raise StopIteration

    with pytest.raises(StopIteration):
        fit(*args, watch)
    return losses


def book_settings(address):
    """The text of book.toml with another public address of the project, or None."""
    text = (ROOT / "book.toml").read_text("utf-8")
    text = re.sub("^git-repository-url.*\n", "", text, flags=re.M)
    named = f'[output.html]\ngit-repository-url = "{address}"'
    return text.replace("[output.html]", named) if address else text


# The address of something that a page would have to fetch.
ADDRESS = r"https?:|['\"`]//|url\((?!#)|import\((?!URL)|@import"


def unpacked(html):
    """The HTML of a figure with its data and its viewer as text."""
    packed = r"""(?<=class="pcc-data">)[\w+/=]+|(?<=, ")[\w+/=]{1000,}(?="\))"""

    def unpack(match):
        return zlib.decompress(base64.b64decode(match[0])).decode()

    return re.sub(packed, unpack, html)


class Told:
    """Takes what a figure is made of, and draws nothing."""

    def __new__(cls, drawing, **words):
        return drawing

    @staticmethod
    def row(images, titles, **words):
        return list(zip(images, titles))


def ten_images():
    """A Split of noise that begins with two images of class 3 and goes on with all."""
    torch.manual_seed(0)
    labels = torch.tensor([3, 3, *range(10)])
    return Split(torch.randn(12, 1, 8, 8), labels)


def data_of(figure):
    data = r'class="pcc-data">(.*?)</script>\n<script>'
    return json.loads(re.search(data, unpacked(figure.html), re.S)[1])


# ---- faults and time


@contextmanager
def full_disk(size=100):
    """In this block no file can grow beyond `size` bytes: the system refuses it.

    The error is "File too large" instead of "No space left on device".
    """
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def work(page, script, *given):
    """Milliseconds of the processor that a page takes for a script.

    Not those of the clock, which would count what else the machine is busy with.
    """
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def seconds():
        found = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in found if one["name"] == "ThreadTime")

    before = seconds()
    page.evaluate(script, *given)
    took = seconds() - before
    session.detach()
    return 1000 * took


# ---- processes


def end(server):
    """End a Jupyter server; its kernels end with it.

    Now and then one that has just started a kernel says that it shuts down and does
    not: a fault of the server, which says nothing of what was tested.
    """
    server.terminate()
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
