"""What the exercises of the DenseNet lesson are tested for.

Pairs (holds, hint), easiest first.
"""

from copy import deepcopy
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointError
from torch.utils.flop_counter import FlopCounterMode

from kit.probe import saved_for_backward
from lessons.densenet import (
    BottleneckLayer,
    DenseBlock,
    DenseLayer,
    DenseNet,
    FrugalBlock,
    Transition,
)


def randomise(module):
    """Norms as training leaves them: scales of 1 and means of 0 would hide a slip."""
    with torch.no_grad():
        for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.normal_()
            norm.bias.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.weight.uniform_(0.5, 2)
    return module


def values_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def unchanged(module, before):
    after = module.state_dict()
    return list(after) == list(before) and all(
        torch.equal(after[name], value) for name, value in before.items()
    )


def near(one, other):
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-4)


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
SLICES = "it needs its own channels of the batch norm (four tensors) and of the kernel"
OWN = "the batch norm uses the batch's own statistics; in eval mode its running ones"


def without_concatenation(answer):
    torch.manual_seed(0)
    layer = DenseLayer(9, 4)
    maps = [torch.randn(2, channels, 5, 5) for channels in (3, 4, 2)]
    randomise(layer).eval()
    x, before = torch.cat(maps, dim=1), values_of(layer)
    trouble = ""
    try:
        with torch.no_grad(), seen() as calls:
            found = answer(layer, maps)
    except RuntimeError as error:
        if "channels" not in str(error) and "elements" not in str(error):
            raise
        trouble = str(error).partition("\n")[0]
    hint = f"a map has not all 9 channels of the layer: {SLICES} ({trouble})"
    yield not trouble, hint
    what = f"your function should return a tensor, not {type(found).__name__}"
    yield isinstance(found, torch.Tensor), what
    same = unchanged(layer, before)
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
    yield near(found, expected), f"the values differ: {SLICES}"


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
        before, graph = values_of(block), False
        try:
            answer(block, reader, source)
        except RuntimeError as error:
            graph = "in-place operation" in str(error)
            if not graph:
                raise
        where = "put `with torch.no_grad():` around the line"
        yield not graph, f"torch records what happens to a weight: {where}"
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


def pays_from(answer):
    for k in (12, 32, 1, 5):
        right, found = 36 * k // 5 + 1, answer(k)
        whole = isinstance(found, Integral) or getattr(found, "is_integer", bool)()
        yield whole, f"for k = {k} it should be a whole number, not {found!r}"
        slips = {
            1: "after the 1×1 there is a 3×3 convolution, from 4k channels to k",
            9 * k // 5 + 1: "its 3×3 convolution reads 4k channels, not k",
            9 * k // 8 + 1: "it squeezes to 4k channels, not to k",
            144 * k // 5 + 1: "its 3×3 convolution makes k channels, not 4k",
            (36 * k + 8) // 5 + 1: "the batch norms are not counted",
            4 * k // 5 + 1: "a 3×3 kernel has nine weights for each pair of channels",
            right - 1: "there the bottleneck does not have fewer yet",
            right + 1: "one channel less does it, too",
            36 * k / 5: f"at {found} the two are equal, and fewer is asked",
        }
        slips.pop(right, None)
        compare = "compare a dense layer's 9ck weights with those of both convolutions"
        hint = slips.get(found, compare)
        given = f"for k = {k} your function gives {found}"
        yield found == right, f"{given}, which is wrong: {hint}"


def cheaper(answer):
    torch.manual_seed(0)
    transition, x = randomise(Transition(6, 4)), torch.randn(3, 6, 8, 8)
    start = values_of(transition)
    with torch.no_grad():
        transition.eval()
        expected, normed = transition(x), transition.norm(x)
        with FlopCounterMode(display=False) as work:
            found = answer(transition, x)
        kind = type(found).__name__
        yield isinstance(found, torch.Tensor), f"it should return a tensor, not {kind}"
        shape = tuple(expected.shape)
        yield found.shape == expected.shape, (
            f"the shape should be {shape}, it is {tuple(found.shape)}: "
            "the map is halved once"
        )
        full = 2 * 3 * 6 * 4 * 8 * 8    # a multiply-add counts as two
        less = work.get_total_flops() < full / 2
        yield less, "the convolution still reads every pixel: average first"
        conv, mean = transition.conv, nn.AvgPool2d(2)
        early = "the ReLU must come before the average: it is not linear, an average "
        early += "of what it cut off is another one"
        slips = {
            early: conv(F.relu(mean(normed))),
            "the ReLU is missing": conv(mean(normed)),
            "the batch norm is missing": conv(mean(F.relu(x))),
            "one pixel of four is read: take their average": conv(
                F.relu(normed)[:, :, ::2, ::2]
            ),
            "the average of four pixels is asked, not the largest": conv(
                F.max_pool2d(F.relu(normed), 2)
            ),
            "an average of four is a quarter of their sum": 4 * expected,
            "the ReLU comes before the convolution, too": F.relu(conv(mean(normed))),
        }
        hints = [hint for hint, wrong in slips.items() if near(found, wrong)]
        hints.append("in eval mode it is not what the transition gives")
        yield near(found, expected), hints[0]
        same = unchanged(transition, start)
        yield same, "in eval mode neither weights nor statistics may change"

        transition.train()
        found = answer(transition, x)
        moved = values_of(transition)
        transition.load_state_dict(start)
        expected = transition(x)
        hint = "there its batch norm takes the batch's statistics: call transition.norm"
        yield near(found, expected), f"in training mode the values differ: {hint}"
        same = unchanged(transition, moved)
        yield same, f"in training mode the running statistics should move: {hint}"


def without_layer(answer):
    torch.manual_seed(0)
    for first, k, number in ((5, 4, 2), (6, 3, 1), (7, 2, 4)):
        block = randomise(DenseBlock(4, first, k)).eval()
        before, x = values_of(block), torch.randn(2, first, 6, 6)
        shorter = answer(block, number)
        kind = isinstance(shorter, DenseBlock)
        yield kind, f"it should return a DenseBlock, not {type(shorter).__name__}"
        same = shorter is not block and unchanged(block, before)
        yield same, "the block given has changed: make a new one"
        left = len(shorter.layers)
        yield left == 3, f"of four layers three should be left, not {left}"
        for i, layer in enumerate(shorter.layers):
            reads = layer.conv.weight.shape[1]
            normed = {len(getattr(layer.norm, name)) for name in NORMS}
            right = first + k * i
            hint = f"layer {i + 1} of the new block should read {right} channels"
            yield reads == right, f"{hint}, its kernel {reads}: cut its slice, too"
            own = " and ".join(map(str, sorted(normed)))
            yield normed == {right}, f"{hint}, its norm has {own}: cut four tensors"
        announced = shorter.out_channels
        right = first + 3 * k
        yield announced == right, f"its out_channels should be {right}, not {announced}"

        gone = slice(first + k * (number - 1), first + k * number)
        with torch.no_grad():
            found = shorter.eval()(x)
            expected = thinned(block, x, gone)
            others = {
                i: thinned(block, x, slice(first + k * (i - 1), first + k * i))
                for i in range(1, 5) if i != number
            }
        told = f"without layer {number} of a block of 4 the output is wrong"
        hints = [
            f"layer {i} is out in place of layer {number}: 1 is the first"
            for i, other in others.items() if near(found, other)
        ]
        hints.append(f"{told}: {cut_wrongly(shorter, block, number, gone)}")
        yield near(found, expected), hints[0]


NORMS = ("running_mean", "running_var", "weight", "bias")


def thinned(block, x, gone):
    """What a DenseBlock in eval mode makes, where some channels reach nobody."""
    for layer in block.layers:
        weight = layer.conv.weight.clone()
        weight[:, gone] = 0
        x = torch.cat([x, F.conv2d(F.relu(layer.norm(x)), weight, padding=1)], dim=1)
    return torch.cat([x[:, : gone.start], x[:, gone.stop :]], dim=1)


def cut_wrongly(shorter, block, number, gone):
    rest = [layer for i, layer in enumerate(block.layers, 1) if i != number]
    for new, old in zip(shorter.layers, rest):
        kernel = old.conv.weight
        if new.conv.weight.shape != kernel.shape:
            fewer = kernel.shape[1] - new.conv.weight.shape[1]
            ends = torch.equal(new.conv.weight, kernel[:, fewer:]) or torch.equal(
                new.conv.weight, kernel[:, :-fewer]
            )
            kernel = torch.cat([kernel[:, : gone.start], kernel[:, gone.stop :]], dim=1)
            if ends and not torch.equal(new.conv.weight, kernel):
                return "the kernels have lost the wrong channels, those at an end"
        if not torch.equal(new.conv.weight, kernel):
            return "its kernels are not those of the layers that stay, in their order"
        for name in NORMS:
            one, other = getattr(new.norm, name), getattr(old.norm, name)
            if len(one) != len(other):
                other = torch.cat([other[: gone.start], other[gone.stop :]])
            if not torch.equal(one, other):
                return f"the batch norms need the old {name} of the channels that stay"
    return "its forward pass should be that of a DenseBlock"


class Answered(nn.Module):
    """The answer as a module, whose memory can be measured."""

    def __init__(self, answer, block):
        super().__init__()
        self.answer, self.block = answer, block

    def forward(self, x):
        return self.answer(self.block, x)


def statistics(block, kind="running"):
    """The running means and variances of all norms, or of one kind, in one row."""
    stored = block.state_dict().items()
    return torch.cat([value for name, value in stored if kind in name])


def gradients(block):
    return [None if w.grad is None else w.grad.flatten() for w in block.parameters()]


def counted_once(answer):
    torch.manual_seed(0)
    plain = randomise(DenseBlock(12, 6, 4, BottleneckLayer))
    kinds = DenseBlock, FrugalBlock
    block, frugal = (kind(12, 6, 4, BottleneckLayer) for kind in kinds)
    for one in (block, frugal):
        one.load_state_dict(plain.state_dict())
    start = statistics(plain, "norm1.running")
    x, new = torch.randn(2, 4, 6, 8, 8)
    found, expected = answer(block, x), plain(x)
    kind = isinstance(found, torch.Tensor)
    yield kind, f"it should return a tensor, not {type(found).__name__}"
    shapes = f"{tuple(expected.shape)}, it is {tuple(found.shape)}"
    hint = "the input and all maps, concatenated"
    yield found.shape == expected.shape, f"the shape should be {shapes}: {hint}"
    kept = saved_for_backward(Answered(answer, deepcopy(block)), x)
    least = saved_for_backward(frugal, x)
    yield kept < 1.2 * least, (
        f"it keeps {kept / least:.1f} times as much as a FrugalBlock: compute "
        "concatenation, norm, ReLU and 1×1 convolution again"
    )
    hint = "in training mode the output is not the block's"
    yield near(found, expected), f"{hint}: there a norm takes the batch's statistics"
    yield found.requires_grad, "the output has no gradient: was it made under no_grad?"

    forward, trouble = (statistics(block), statistics(plain)), ""
    moved = not torch.equal(statistics(block, "norm1.running"), start)
    try:
        for output in (found, expected):
            output.square().mean().backward()
    except CheckpointError as error:
        trouble = str(error).partition("\n")[0].removeprefix("torch.utils.checkpoint: ")
    yield not trouble, (
        "the second run must take the same steps as the first, to the last tensor that "
        "it stores: a batch norm whose statistics are there but do not move "
        f"({trouble})"
    )
    ours, right = gradients(block), gradients(plain)
    yield all(one is not None for one in ours), "some weights get no gradient"
    yield moved, (
        "the forward pass has not moved the running statistics: in its first run a "
        "norm should update them"
    )
    yield near(*forward), "after the forward pass the running statistics differ"
    twice = statistics(block)
    hint = "the second run has moved the running statistics, too"
    yield near(twice, statistics(plain)), f"after the backward pass: {hint}"
    same = all(torch.allclose(*pair, rtol=1e-3, atol=1e-5) for pair in zip(ours, right))
    hint = "what runs again must compute the same, with the batch's statistics"
    yield same, f"the gradients differ: {hint}"

    answer(block, new)
    plain(new)
    once = near(statistics(block), statistics(plain))
    yield once, "with a second batch the statistics no longer move once: what is kept?"
    stored = statistics(block)
    with torch.no_grad():
        block.eval(), plain.eval()
        plain.load_state_dict(block.state_dict())
        same = near(answer(block, x), plain(x))
        same = same and torch.equal(statistics(block), stored)
    yield same, "in eval mode the running statistics are used, and do not change"
