"""What the exercises of the DenseNet lesson are tested for: pairs (holds, hint), easiest first."""

from numbers import Integral

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from lessons.densenet import DenseBlock, DenseLayer, build, inputs_of


def final_channels(answer):
    cases = {
        (16, 12, (12, 12, 12), 1.0): build("densenet40_k12").fc.in_features,
        (24, 12, (16, 16, 16), 0.5): build("densenet_bc100_k12").fc.in_features,
        (3, 2, (4,), 0.5): 11,
    }
    for stem, growth_rate, depths, compression in ((7, 3, (1, 2, 3), 0.25), (3, 2, (1, 1, 1), 0.75)):
        cases[stem, growth_rate, depths, compression] = inputs_of(growth_rate, depths, compression, stem)[1]
    for case, right in cases.items():
        stem, growth_rate, depths, compression = case
        found = answer(*case)
        yield isinstance(found, Integral), f"your function should return a whole number of channels, not {found!r}"
        slips = {int(compression * right): "there is no transition after the last block",
                 stem + growth_rate * sum(depths): "a transition keeps only ⌊θm⌋ of m channels",
                 inputs_of(growth_rate, depths, compression, 0)[1]: "the stem's channels count too"}
        hint = slips.get(found, "follow one block, then one transition, and round down at each")
        what = f"for a stem of {stem}, k = {growth_rate}, blocks of {depths} and θ = {compression}"
        yield found == right, f"{what} your function gives {found}, the network has {right}; {hint}"


CONCATENATIONS = ("cat", "concat", "concatenate", "hstack", "column_stack")


def without_concatenation(answer):
    torch.manual_seed(0)
    layer, maps = DenseLayer(9, 4), [torch.randn(2, channels, 5, 5) for channels in (3, 4, 2)]
    with torch.no_grad():
        for tensor in (layer.norm.running_mean, layer.norm.bias):
            tensor.normal_()
        for tensor in (layer.norm.running_var, layer.norm.weight):
            tensor.uniform_(0.5, 2)
    layer.eval()
    x, before = torch.cat(maps, dim=1), {name: value.clone() for name, value in layer.state_dict().items()}
    with torch.no_grad(), seen() as calls:
        found = answer(layer, maps)
    yield isinstance(found, torch.Tensor), f"your function should return a tensor, not {type(found).__name__}"
    same = all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    yield same, "the layer has changed: read its tensors, do not write to them"
    yield not calls.joined, "it concatenates: treat each map by itself, and add the results"
    with torch.no_grad():
        norm, weight = layer.norm, layer.conv.weight
        expected, normed = layer(x), norm(x)
        wrong = {
            "only the first map reaches the result": F.conv2d(F.relu(normed[:, :3]), weight[:, :3], padding=1),
            "the ReLU is missing": F.conv2d(normed, weight, padding=1),
            "the batch norm is missing": F.conv2d(F.relu(x), weight, padding=1),
            "the batch norm uses the batch's own statistics; in eval mode it uses its running ones": F.conv2d(
                F.relu(F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)), weight, padding=1),
        }
    yield found.shape == expected.shape, f"the shape should be {tuple(expected.shape)}, it is {tuple(found.shape)}"
    for hint, other in wrong.items():
        yield not torch.allclose(found, other, atol=1e-4), hint
    hint = "the values differ: each map needs its own channels of the batch norm (four tensors) and of the kernel"
    yield torch.allclose(found, expected, atol=1e-4), hint


class seen(TorchFunctionMode):
    """Notes whether maps are concatenated, under whatever name torch's function was imported."""

    joined = False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.joined |= getattr(function, "__name__", "") in CONCATENATIONS
        result = function(*args, **(kwargs or {}))
        # A buffer that is filled map by map is a concatenation, too.
        self.joined |= function is F.conv2d and args[0].shape[1] == 9
        return result


def silence(answer):
    torch.manual_seed(0)
    for first, growth_rate, reader, source in ((5, 4, 3, 2), (5, 4, 1, 0), (7, 3, 4, 0), (6, 2, 4, 3)):
        block = DenseBlock(4, first, growth_rate)
        start, stop = (0 if source == 0 else first + growth_rate * (source - 1)), first + growth_rate * source
        before = {name: value.clone() for name, value in block.state_dict().items()}
        answer(block, reader, source)
        changed = [name for name, value in block.state_dict().items() if not torch.equal(value, before[name])]
        yield changed, "no weight has changed: change the block in place"
        own, what = f"layers.{reader - 1}.conv.weight", f"silence(block, {reader}, {source})"
        yield changed == [own], f"{what} should change {own!r} alone, it changed {', '.join(map(repr, changed))}"
        right = before[own].clone()
        right[:, start:stop] = 0
        found = block.state_dict()[own]
        zero = [channel for channel in range(found.shape[1]) if not found[:, channel].any()]
        yield torch.equal(found, right), f"{what} should set the kernel's channels {start} to {stop - 1} to zero; yours zeroes {zero}"
