"""What the test files of the lessons share."""

import base64
import importlib
import json
import re
import zlib

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn


def randomise(model):
    """Statistics and scales as a trained network has them: fresh ones (0 and 1) would hide a swap."""
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
    return (found - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max().item())


def edit(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def configure(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    config.update(changes)
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def broken_folders(tensor):
    """(damage(folder), message) for what no lesson reads: a file is missing, or the weights do not fit the model.

    tensor: the name of one weight in the file.
    """
    def flatten(tensors):
        tensors[tensor] = tensors[tensor].flatten()

    return [
        (lambda f: (f / "config.json").unlink(), "config.json does not exist"),
        (lambda f: edit(f, lambda t: t.pop(tensor)), "lacks 1 of the model's"),
        (lambda f: edit(f, flatten), rf"shape, first '{tensor}': \(\d+,\)"),
    ]


def checker(lesson, name):
    """The check `name` of a lesson's exercises."""
    return getattr(importlib.import_module(f"lessons.checks.{lesson}"), name)


def first_losses(count, fit, *args):
    """The losses of the first `count` steps of `fit(*args, on_step)`, which is stopped then."""
    losses = []

    def watch(step, loss):
        losses.append(loss)
        if len(losses) == count:
            raise StopIteration

    with pytest.raises(StopIteration):
        fit(*args, watch)
    return losses


ADDRESS = r"https?:|['\"`]//|url\(|import\((?!URL)|@import"  # of something that a page would have to fetch


def unpacked(html):
    """The HTML of a figure with its data and its viewer as text."""
    packed = r"""(?<=class="pcc-data">)[\w+/=]+|(?<=, ")[\w+/=]{1000,}(?="\))"""
    return re.sub(packed, lambda match: zlib.decompress(base64.b64decode(match[0])).decode(), html)


def data_of(figure):
    return json.loads(re.search(r'class="pcc-data">(.*?)</script>\n<script>', unpacked(figure.html), re.S)[1])
