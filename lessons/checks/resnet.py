"""What the exercises of the ResNet lesson are tested for.

Each check yields pairs (holds, hint), easiest first.
"""

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
        2_752: "option A has no parameters, so the shortcuts add none",
        688: "the convolutions have no bias",
        -10: "the linear layer has a bias",
        -464: "the stem is missing: a convolution of 3 to 16 channels, a batch norm",
        -650: "the linear layer is missing",
    }
    hints = {
        3: "list its layers one by one",
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
