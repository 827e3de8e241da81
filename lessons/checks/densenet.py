"""What the exercises of the DenseNet lesson are tested for.

Pairs (holds, hint), easiest first.
"""

from numbers import Integral

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from lessons.densenet import DenseBlock, DenseLayer, DenseNet


def features(stem, growth_rate, depths, compression):
    """The channels that the classifier of a DenseNet reads."""
    with torch.device("meta"):
        first = nn.Sequential(nn.Conv2d(3, stem, 3))
        model = DenseNet(first, depths, growth_rate, compression=compression)
    return model.fc.in_features


def final_channels(answer):
    cases = [
        (16, 12, (12, 12, 12), 1.0),
        (24, 12, (16, 16, 16), 0.5),
        (3, 2, (4,), 0.5),
        (7, 3, (1, 2, 3), 0.25),
        (3, 2, (1, 1, 1), 0.75),
    ]
    for stem, growth_rate, depths, compression in cases:
        right = features(stem, growth_rate, depths, compression)
        found = answer(stem, growth_rate, depths, compression)
        what = f"your function should return a whole number of channels, not {found!r}"
        yield isinstance(found, Integral), what
        without_stem = 0
        for number, depth in enumerate(depths):
            passed = int(compression * without_stem) if number else 0
            without_stem = passed + depth * growth_rate
        slips = {
            int(compression * right): "there is no transition after the last block",
            stem + growth_rate * sum(depths): "a transition keeps only ⌊θm⌋ of m",
            without_stem: "the stem's channels count too",
        }
        other = "follow one block, then one transition, and round down at each"
        what = (
            f"for a stem of {stem}, k = {growth_rate}, blocks of {depths} and "
            f"θ = {compression} your function gives {found}, the network has {right}; "
            f"{slips.get(found, other)}"
        )
        yield found == right, what


CONCATENATIONS = ("cat", "concat", "concatenate", "hstack", "column_stack")
OWN = "the batch norm uses the batch's own statistics; in eval mode its running ones"


def without_concatenation(answer):
    torch.manual_seed(0)
    layer = DenseLayer(9, 4)
    maps = [torch.randn(2, channels, 5, 5) for channels in (3, 4, 2)]
    with torch.no_grad():
        for tensor in (layer.norm.running_mean, layer.norm.bias):
            tensor.normal_()
        for tensor in (layer.norm.running_var, layer.norm.weight):
            tensor.uniform_(0.5, 2)
    layer.eval()
    x = torch.cat(maps, dim=1)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with torch.no_grad(), seen() as calls:
        found = answer(layer, maps)
    what = f"your function should return a tensor, not {type(found).__name__}"
    yield isinstance(found, torch.Tensor), what
    after = layer.state_dict()
    same = all(torch.equal(after[name], value) for name, value in before.items())
    yield same, "the layer has changed: read its tensors, do not write to them"
    yield not calls.joined, "it concatenates: treat each map by itself, add the results"
    with torch.no_grad():
        norm, weight = layer.norm, layer.conv.weight
        scales = {"weight": norm.weight, "bias": norm.bias, "eps": norm.eps}
        expected, normed = layer(x), norm(x)
        own = F.batch_norm(x, None, None, training=True, **scales)
        wrong = {
            "only the first map reaches the result": F.conv2d(
                F.relu(normed[:, :3]), weight[:, :3], padding=1
            ),
            "the ReLU is missing": F.conv2d(normed, weight, padding=1),
            "the batch norm is missing": F.conv2d(F.relu(x), weight, padding=1),
            OWN: F.conv2d(F.relu(own), weight, padding=1),
        }
    what = f"the shape should be {tuple(expected.shape)}, it is {tuple(found.shape)}"
    yield found.shape == expected.shape, what
    for hint, other in wrong.items():
        yield not torch.allclose(found, other, atol=1e-4), hint
    hint = (
        "the values differ: each map needs its own channels of the batch norm "
        "(four tensors) and of the kernel"
    )
    yield torch.allclose(found, expected, atol=1e-4), hint


class seen(TorchFunctionMode):
    """Notes whether maps are concatenated, under whatever name."""

    joined = False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.joined |= getattr(function, "__name__", "") in CONCATENATIONS
        result = function(*args, **(kwargs or {}))
        # A buffer that is filled map by map is a concatenation, too.
        self.joined |= function is F.conv2d and args[0].shape[1] == 9
        return result


def silence(answer):
    torch.manual_seed(0)
    cases = ((5, 4, 3, 2), (5, 4, 1, 0), (7, 3, 4, 0), (6, 2, 4, 3))
    for first, growth_rate, reader, source in cases:
        block = DenseBlock(4, first, growth_rate)
        start = 0 if source == 0 else first + growth_rate * (source - 1)
        stop = first + growth_rate * source
        before = {name: value.clone() for name, value in block.state_dict().items()}
        answer(block, reader, source)
        after = block.state_dict()
        changed = [
            name for name in before if not torch.equal(before[name], after[name])
        ]
        yield changed, "no weight has changed: change the block in place"
        own = f"layers.{reader - 1}.conv.weight"
        what = f"silence(block, {reader}, {source}) should"
        found = ", ".join(map(repr, changed))
        yield changed == [own], f"{what} change {own!r} alone, it changed {found}"
        right, found = before[own].clone(), after[own]
        right[:, start:stop] = 0
        zero = [n for n in range(found.shape[1]) if not found[:, n].any()]
        where = f"the kernel's channels {start} to {stop - 1} to zero"
        yield torch.equal(found, right), f"{what} set {where}; yours zeroes {zero}"
