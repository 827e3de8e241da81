"""What the exercises of the ResNet lesson are tested for.

Each check yields pairs (holds, hint), easiest first.
"""

from itertools import combinations
from numbers import Real

import torch
import torch.nn.functional as F
from torch import nn

from kit.probe import parameters
from lessons.resnet import BasicBlock, build, cifar_net


def parameters_of(answer):
    slips = {
        23_040: "the first layer of stages 2 and 3 has half as many input channels",
        -1_376: "each batch norm has two parameters a channel",
        1_376: "running means and variances are no parameters",
        2_752: "option A has no parameters, so the shortcuts add none",
        2_560: "option A has no parameters, so the shortcuts add none",
        688: "the convolutions have no bias",
        -10: "the linear layer has a bias",
        -288: "the images have 3 channels",
        -464: "the stem is missing: a convolution of 3 to 16 channels, a batch norm",
        -650: "the linear layer is missing",
        -145_824: "a block has two layers",
        -97_216: "a stage has n blocks: one is missing in each",
        97_216: "a stage has n blocks: you count one more in each",
    }
    pairs = {sum(two): "; ".join(map(slips.get, two)) for two in combinations(slips, 2)}
    slips = pairs | slips
    parts = (
        "its parts have 464 (stem), 14,016, 51,072 and 203,520 (stages), and 650 "
        "(linear layer): which of yours has not?"
    )
    hints = {
        3: parts,
        9: "look at what one more block in each stage adds",
        18: "it should be linear in n",
    }
    for n, hint in hints.items():
        with torch.device("meta"):
            right = parameters(build(f"resnet{6 * n + 2}"))
        found = answer(n)
        yield isinstance(found, Real), f"the answer should be a number, not {found!r}"
        hint = slips.get(found - right, hint) if n == 3 else hint
        both = f"your function gives {found}, the network has {right}"
        yield found == right, f"for n = {n} {both}; {hint}"


def pre_activation(answer):
    torch.manual_seed(0)
    block, x = answer(4), torch.randn(8, 4, 6, 6)
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    found = f"{len(convolutions)} convolutions and {len(norms)} batch norms"
    right = len(convolutions) == len(norms) == 2
    yield right, f"the block has {found}; it needs two of each"
    same = all(
        one.weight.shape == (4, 4, 3, 3) and one.padding in ((1, 1), "same")
        for one in convolutions
    )
    hint = "conv(channels, channels, 3) keeps the map and its channels"
    yield same, f"both convolutions should be 3×3 and keep the size: {hint}"
    bare = all(convolution.bias is None for convolution in convolutions)
    yield bare, "the convolutions need no bias: use conv(channels, channels, 3)"

    order = []  # of use, whatever that of definition
    for layer in convolutions + norms:
        layer.register_forward_hook(lambda layer, inputs, output: order.append(layer))
    y = block(x)
    once = sorted(map(id, order)) == sorted(map(id, convolutions + norms))
    yield once, "forward should use each of its four layers once"
    shapes = f"{tuple(x.shape)}, it became {tuple(y.shape)}"
    yield y.shape == x.shape, f"the shape should stay {shapes}"
    negative = bool((y < 0).any())
    yield negative, "no output is negative: after the addition there should be no ReLU"

    conv1, conv2 = (layer for layer in order if layer in convolutions)
    norm1, norm2 = (layer for layer in order if layer in norms)
    expected = x + conv2(F.relu(norm2(conv1(F.relu(norm1(x))))))
    with torch.no_grad():
        kept = conv2.weight.clone()
        conv2.weight.zero_()
        silent = block(x)
        conv2.weight.copy_(kept)
    yield torch.equal(silent, x), (
        "with its last convolution at zero the block should return x itself: "
        "add x untouched, and add it last"
    )
    right = torch.allclose(y, expected, atol=1e-5)
    yield right, "the branch should be batch norm, ReLU, convolution, and again so"


def start_as_identity(answer):
    torch.manual_seed(0)
    model = cifar_net(14, BasicBlock, in_channels=1, width=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    answer(model)
    after = model.state_dict()
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    yield changed, "no weight has changed: change the model in place"

    blocks = [block for stage in model.stages for block in stage]
    x = torch.rand(16, 1, 8, 8)
    y = model.stem(x)
    alive = y.abs().max() > 0
    yield alive, "the stem gives only zeros now: change the blocks, not the stem"
    for number, block in enumerate(blocks, 1):
        carried = F.relu(block.shortcut(y))
        idle = torch.allclose(block(y), carried, atol=1e-6)
        yield idle, f"block {number} still changes what its shortcut carries"
        y = carried

    F.cross_entropy(model(x), torch.arange(16) % 10).backward()
    for number, block in enumerate(blocks, 1):
        layers = (block.conv1, block.norm1, block.conv2, block.norm2)
        gradients = [layer.weight.grad for layer in layers]
        learns = any(g is not None and g.abs().max() > 1e-8 for g in gradients)
        yield learns, (
            f"block {number} cannot learn: your zero stops the gradient of all its "
            "weights, its own included"
        )
    count = f"{len(changed)} tensors have changed"
    right = len(changed) == len(blocks)
    yield right, f"{count}; one in each of the {len(blocks)} blocks is enough"


def layers(answer):
    for blocks, bottleneck, right in [
        ([3, 4, 6, 3], False, 34),
        ([3, 4, 6, 3], True, 50),
        ([3, 8, 36, 3], True, 152),
        ([9, 9, 9], False, 56),
    ]:
        found = answer(blocks, bottleneck)
        slips = {
            right - 2: "the first convolution and the last linear layer count, too",
            right - 1: "both the first convolution and the last linear layer count",
            sum(blocks): "each block has several layers",
            2 * sum(blocks) + 2: "a bottleneck has three convolutions",
            3 * sum(blocks) + 2: "a basic block has two convolutions",
            right + len(blocks): "projections are not counted",
            right + len(blocks) - 1: "projections are not counted",
        }
        kind = "bottlenecks" if bottleneck else "basic blocks"
        hint = slips.get(found, "count the layers of one block first")
        both = f"{blocks} of {kind} make {right} layers, not {found!r}"
        yield found == right, f"{both}: {hint}"


def receptive_field(answer):
    for layers, right, hint in [
        ([(3, 1)], 3, "a 3×3 layer sees three pixels of a row"),
        ([(3, 1), (3, 1)], 5, "each further 3×3 layer adds one pixel on either side"),
        ([(5, 1), (3, 1)], 7, "a layer adds its size minus one"),
        ([(3, 2), (3, 1)], 7, "behind a stride of 2, neighbours are two pixels apart"),
        ([(3, 1), (3, 2)], 5, "a stride counts for the layers after it, not its own"),
        ([(3, 2), (3, 2), (3, 1)], 15, "strides multiply"),
        ([(7, 2), (3, 2), (3, 1), (3, 1)], 27, "count from input to output"),
        ([(1, 2), (3, 1)], 5, "a 1×1 layer sees one pixel, but its stride counts"),
    ]:
        found = answer(layers)
        given = f"for {layers} it is {right}, not {found!r}"
        yield found == right, f"{given}: {hint}"


def without_block(answer):
    torch.manual_seed(0)
    model = cifar_net(14, BasicBlock, in_channels=1, width=4).eval()
    blocks = [block for stage in model.stages for block in stage]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.rand(5, 1, 8, 8)
    whole = model(x)

    shorter = answer(model, 1)
    is_model = isinstance(shorter, nn.Module)
    yield is_model, f"it should return a model, not {type(shorter).__name__}"
    after = model.state_dict()
    same = list(after) == list(before) and all(
        torch.equal(after[name], before[name]) for name in before
    )
    same = same and torch.equal(model(x), whole)
    yield same and shorter is not model, "the model given has changed: copy it first"
    for number in (0, 1, 3, 5):
        found = answer(model, number).eval()(x)
        expected = model.stem(x)
        for i, block in enumerate(blocks):
            expected = expected if i == number else block(expected)
        rest = model.fc(model.pool(expected))
        gone = not torch.equal(found, whole)
        yield gone, f"without block {number} the outputs are those of the whole network"
        hint = "a block that is out passes on its input, no zeros, and no others go"
        yield torch.allclose(found, rest, atol=1e-6), f"block {number}: {hint}"
    try:
        answer(model, 2)
        refused = False
    except ValueError:
        refused = True
    yield refused, "block 2 changes the shape: a ValueError is expected"


def folded(answer):
    torch.manual_seed(0)
    for bias in (False, True):
        convolution = nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=bias)
        norm = nn.BatchNorm2d(5, eps=0.1)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 3)
        layers = nn.ModuleList([convolution, norm])
        before = [value.clone() for value in layers.state_dict().values()]
        x = torch.randn(4, 3, 9, 9)
        with torch.no_grad():
            one = answer(convolution, norm)
            kind = isinstance(one, nn.Conv2d)
            yield kind, f"it should return an nn.Conv2d, not {type(one).__name__}"
            yield one.bias is not None, "it needs a bias: the norm also shifts"
            after = layers.state_dict().values()
            same = all(torch.equal(a, b) for a, b in zip(before, after))
            yield same, "the given convolution or batch norm has been changed"
            right, found = norm.eval()(convolution(x)), one(x)
            shapes = f"{tuple(found.shape)} in place of {tuple(right.shape)}"
            hint = "take over stride and padding"
            yield found.shape == right.shape, f"it gives {shapes}: {hint}"
            yield torch.allclose(found, right, atol=1e-4), fold_hint(
                one, convolution, norm
            )


def fold_hint(one, convolution, norm):
    deviation = (norm.running_var + norm.eps).sqrt()
    factor = norm.weight / deviation
    close = dict(atol=1e-4, rtol=1e-4)
    weight = one.weight / convolution.weight
    if torch.allclose(weight[:, 0, 0, 0], 1 / deviation, **close):
        return "the norm's own scale, norm.weight, is missing"
    without_eps = norm.weight / norm.running_var.sqrt()
    if torch.allclose(weight[:, 0, 0, 0], without_eps, **close):
        return "norm.eps is added to the variance before the root"
    if torch.allclose(weight[:, 0, 0, 0], norm.weight / (deviation**2), **close):
        return "divide by the standard deviation, not by the variance"
    if torch.allclose(weight[:, 0, 0, 0], factor, **close):
        if convolution.bias is not None:
            return "the weights are right; the convolution's own bias is scaled, too"
        return "the weights are right; the bias is norm.bias minus the scaled mean"
    return "each output channel is scaled by norm.weight / sqrt(running_var + eps)"
