"""What the test files of the lessons share."""

import base64
import importlib
import json
import re
import zlib
from functools import partial

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


def broken_folders(tensor, model_tensor):
    """(damage(folder), message) for what can be wrong with any checkpoint; `tensor` is in it, the model calls it `model_tensor`."""
    return [
        (lambda f: (f / "config.json").unlink(), "config.json does not exist"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors does not exist"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is not valid JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "JSON object, not a list"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "config.json is not valid JSON"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]), "truncated"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "truncated"),
        (lambda f: edit(f, lambda t: t.pop(tensor)), f"lacks 1 of the model's .* '{model_tensor}'"),
        (lambda f: edit(f, lambda t: t.update({"extra.weight": torch.zeros(1)})), "does not know, first 'extra.weight'"),
        (lambda f: edit(f, lambda t: t.update({tensor: t[tensor].flatten()})), rf"shape, first '{tensor}': \(\d+,\)"),
        (lambda f: edit(f, lambda t: t.update({tensor: t[tensor].bool()})), f"1 tensors of another type, first '{tensor}': torch.bool"),
        (lambda f: (f / "config.json").write_text("[" * 10**5), "config.json is not valid JSON"),
        (lambda f: edit(f, lambda t: t[tensor].view(-1)[:1].fill_(torch.nan)), f"value that is not finite, first '{tensor}'"),
    ]


def broken_configs(kinds, prefix):
    """The same for the configuration of any encoder with H = 48 and 6 heads; kinds: its model types as printed, prefix: of its classes."""
    rows = [
        (dict(hidden_act="swish"), "sets hidden_act to 'swish'; this lesson reads 'gelu', 'gelu_new', 'relu'"),
        (dict(tie_word_embeddings=False), "tie_word_embeddings to False"),
        (dict(model_type="gpt2"), f"model_type to 'gpt2'; this lesson reads {kinds}$"),
        (dict(model_type=None), "lacks 'model_type'"),
        (dict(architectures=[f"{prefix}ForQuestionAnswering"]), f"QuestionAnswering.*; this lesson reads a list of one of {prefix}"),
        (dict(architectures=f"{prefix}Model"), f"to '{prefix}Model'; this lesson reads a list of one of {prefix}"),
        (dict(architectures=[[f"{prefix}Model"]]), rf"to \[\['{prefix}Model'\]\]; this lesson reads a list"),
        (dict(hidden_size=None), "lacks 'hidden_size'"),
        (dict(hidden_size=50), "describes no .*: the hidden size 50 is not a multiple of 6 heads"),
        (dict(hidden_size="48"), "describes no .*: hidden_size should be a whole number above 0, not '48'"),
        (dict(num_attention_heads=0), "num_attention_heads should be a whole number above 0, not 0"),
    ]
    return [(partial(configure, pooler_hidden_size=None, **changes), message) for changes, message in rows]


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
