"""What the exercises of the ResNet lesson are tested for: pairs (holds, hint), easiest first."""

from numbers import Real

import torch
import torch.nn.functional as F
from torch import nn

from lessons.resnet import BasicBlock, build, cifar_net


def parameters_of(answer):
    slips = {
        23_040: "the first layer of stages 2 and 3 has only half as many input channels",
        -1_376: "each batch norm has two parameters a channel",
        2_752: "option A has no parameters, so the shortcuts add none",
        688: "the convolutions have no bias",
        -10: "the linear layer has a bias",
        -464: "the stem is missing: a convolution from 3 to 16 channels and its batch norm",
        -650: "the linear layer is missing",
    }
    hints = ("list its layers one by one", "look at what one more block in each stage adds", "it should be linear in n")
    for n, name, hint in zip((3, 9, 18), ("resnet20", "resnet56", "resnet110"), hints):
        with torch.device("meta"):
            right = sum(weight.numel() for weight in build(name).parameters())
        found = answer(n)
        yield isinstance(found, Real), f"your function should return a number, not {found!r}"
        hint = slips.get(found - right, hint) if n == 3 else hint
        yield found == right, f"for n = {n} your function gives {found}, the network has {right}; {hint}"


def pre_activation(answer):
    torch.manual_seed(0)
    block, x = answer(4), torch.randn(8, 4, 6, 6)
    convolutions = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    found = f"{len(convolutions)} convolutions and {len(norms)} batch norms"
    yield len(convolutions) == len(norms) == 2, f"the block has {found}; it needs two of each"
    yield all(module.bias is None for module in convolutions), "the convolutions need no bias: use conv(channels, channels, 3)"
    order = []
    for module in convolutions + norms:
        module.register_forward_hook(lambda module, inputs, output: order.append(module))
    y = block(x)
    yield sorted(map(id, order)) == sorted(map(id, convolutions + norms)), "forward should use each of its four layers once"
    yield y.shape == x.shape, f"the shape should stay {tuple(x.shape)}, it became {tuple(y.shape)}"
    yield bool((y < 0).any()), "no output is negative: after the addition there should be no ReLU"
    conv1, conv2 = (module for module in order if module in convolutions)  # in the order of use, whatever that of definition
    norm1, norm2 = (module for module in order if module in norms)
    expected = x + conv2(F.relu(norm2(conv1(F.relu(norm1(x))))))
    with torch.no_grad():
        kept = conv2.weight.clone()
        conv2.weight.zero_()
        silent = block(x)
        conv2.weight.copy_(kept)
    yield torch.equal(silent, x), "with its last convolution at zero the block should return x itself: add x untouched, and add it last"
    yield torch.allclose(y, expected, atol=1e-5), "the branch should be batch norm, ReLU, convolution, and the same again"


def start_as_identity(answer):
    torch.manual_seed(0)
    model = cifar_net(14, BasicBlock, in_channels=1, width=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    answer(model)
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    yield changed, "no weight has changed: change the model in place"
    blocks, x = [block for stage in model.stages for block in stage], torch.rand(16, 1, 8, 8)
    y = model.stem(x)
    yield y.abs().max() > 0, "the stem gives only zeros now: change the blocks, not the stem"
    for number, block in enumerate(blocks, 1):
        carried = F.relu(block.shortcut(y))
        yield torch.allclose(block(y), carried, atol=1e-6), f"block {number} still changes what its shortcut carries"
        y = carried
    F.cross_entropy(model(x), torch.arange(16) % 10).backward()
    for number, block in enumerate(blocks, 1):
        weights = [block.conv1.weight, block.norm1.weight, block.conv2.weight, block.norm2.weight]
        learns = any(weight.grad is not None and weight.grad.abs().max() > 1e-8 for weight in weights)
        yield learns, f"block {number} cannot learn: your zero stops the gradient of all its weights, its own included"
    yield len(changed) == len(blocks), f"{len(changed)} tensors have changed; one in each of the {len(blocks)} blocks is enough"
