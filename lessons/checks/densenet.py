"""What the exercises of the DenseNet lesson are tested for: pairs (holds, hint), easiest first."""

from numbers import Integral

import torch

from lessons.densenet import DenseBlock, DenseLayer, build, inputs_of


def final_channels(answer):
    slips = {171: "there is no transition after the last block", 600: "a transition keeps only ⌊θm⌋ of m channels",
             336: "the stem's channels count too"}  # of the second case
    cases = {
        (16, 12, (12, 12, 12), 1.0): build("densenet40_k12").fc.in_features,
        (24, 12, (16, 16, 16), 0.5): build("densenet_bc100_k12").fc.in_features,
        (3, 2, (4,), 0.5): 11,
        (5, 3, (2, 1), 0.5): inputs_of(3, (2, 1), 0.5, 5)[1],
    }
    for case, right in cases.items():
        found = answer(*case)
        yield isinstance(found, Integral), f"your function should return a whole number of channels, not {found!r}"
        what = "for a stem of {}, k = {}, blocks of {} and θ = {}".format(*case)
        hint = slips.get(found, "follow one block, then one transition, and round down at each")
        yield found == right, f"{what} your function gives {found}, the network has {right}; {hint}"


def without_concatenation(answer):
    torch.manual_seed(0)
    layer, maps = DenseLayer(9, 4), [torch.randn(2, channels, 5, 5) for channels in (3, 4, 2)]
    with torch.no_grad():
        for tensor in (layer.norm.running_mean, layer.norm.bias):
            tensor.normal_()
        for tensor in (layer.norm.running_var, layer.norm.weight):
            tensor.uniform_(0.5, 2)
    layer.eval()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    expected = layer(torch.cat(maps, dim=1))
    real_cat, calls = torch.cat, []

    def seen(*inputs, **options):
        calls.append(1)
        return real_cat(*inputs, **options)

    torch.cat = torch.concat = torch.concatenate = seen
    try:
        found = answer(layer, maps)
    finally:
        torch.cat = torch.concat = torch.concatenate = real_cat
    yield isinstance(found, torch.Tensor), f"your function should return a tensor, not {type(found).__name__}"
    yield not calls, "it concatenates: treat each map by itself, and add the results"
    yield found.shape == expected.shape, f"the shape should be {tuple(expected.shape)}, it is {tuple(found.shape)}"
    only_first = answer(layer, [maps[0]])
    yield not torch.allclose(found, only_first, atol=1e-5), "only the first map reaches the result"
    wrong = "the values differ: each map needs its own channels of the batch norm (four tensors) and of the kernel, and padding of 1"
    yield torch.allclose(found, expected, atol=1e-4), wrong
    same = all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    yield same, "the layer has changed: read its tensors, do not write to them"


def silence(answer):
    torch.manual_seed(0)
    for reader, source, start, stop in ((3, 2, 9, 13), (1, 0, 0, 5), (4, 0, 0, 5), (4, 3, 13, 17)):
        block = DenseBlock(4, 5, 4)
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
