"""Published ResNets as the lesson's model, and the variants that are not the paper's.

timm, torchvision and transformers publish "v1.5", which halves the map in the 3×3 layer
of a bottleneck, and option B for ResNet-18 and 34.
"""

import re
from tempfile import TemporaryDirectory

import torch
from torch import nn

from kit.probe import multiply_adds
from kit.table import as_printed
from kit.weights import (
    architecture,
    configuration,
    fill,
    quiet,
    read,
    require,
    tensors_of,
)
from lessons.resnet import (
    BasicBlock,
    Bottleneck,
    build,
    conv,
    imagenet_net,
    projection,
)


class BasicBlockB(BasicBlock):
    """A BasicBlock that projects where the size changes: option B (§3.3)."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__(in_channels, out_channels, stride)
        self.projection = projection(in_channels, out_channels, stride)

    def shortcut(self, x):
        return self.projection(x)


class BasicBlockC(BasicBlockB):
    """A BasicBlock whose every shortcut is a projection: option C (§3.3)."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__(in_channels, out_channels, stride)
        kernel = conv(in_channels, out_channels, 1, stride)
        self.projection = nn.Sequential(kernel, nn.BatchNorm2d(out_channels))


class BottleneckV15(Bottleneck):
    """A Bottleneck that halves the map in its 3×3 layer instead of the first 1×1."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__(in_channels, out_channels, stride)
        self.conv1.stride, self.conv2.stride = (1, 1), (stride, stride)


VARIANTS = {
    "resnet18": ("resnet18", BasicBlockB),
    "resnet34": ("resnet34", BasicBlockB),
    "resnet34 C": ("resnet34", BasicBlockC),
    "resnet50": ("resnet50", BottleneckV15),
    "resnet101": ("resnet101", BottleneckV15),
    "resnet152": ("resnet152", BottleneckV15),
}


def build_variant(name, **changes):
    """A network of VARIANTS with random weights; ValueError for an unknown name."""
    if name not in VARIANTS:
        raise ValueError(f"no variant {name!r}; there are {', '.join(VARIANTS)}")
    paper, block = VARIANTS[name]
    return build(paper, block=block, **changes)


# --- what the paper prints of its ImageNet networks

# Multiply-adds in 10⁹, which Table 1 calls FLOPs. 3.6 is option A's: B rounds to 3.7.
# ResNet-50 has 3.858: no way of counting that we found prints all five.
TABLE_1 = {
    "resnet18": "1.8",
    "resnet34": "3.6",
    "resnet50": "3.8",
    "resnet101": "7.6",
    "resnet152": "11.3",
}


def multiply_adds_of_table_1():
    """Rows (network, printed in 10⁹, the paper's network, the published variant).

    Both are rounded as the paper rounds, with ✓ where that is what it prints.
    """
    rows = []
    for name, printed in TABLE_1.items():
        with torch.device("meta"):
            nets = build(name), build_variant(name)
            counts = [multiply_adds(net, 1, 3, 224, 224) for net in nets]
        rounded = [as_printed(count, 1e9, printed) for count in counts]
        rows.append([name, printed, *rounded])
    return rows


# --- weights


def stage(found):
    return f"stages.{int(found[1]) - 1}."


def layer(kind):
    return lambda found: f".{kind}{int(found[1]) + 1}."


NAMES = [
    # torchvision and timm
    (r"^conv1\.", "stem.0."),
    (r"^bn1\.", "stem.1."),
    (r"^layer(\d)\.", stage),
    (r"\.bn(\d)\.", r".norm\1."),
    (r"\.downsample\.", ".projection."),
    # transformers
    (r"^resnet\.", ""),
    (r"^embedder\.embedder\.", "stem."),
    (r"^encoder\.stages\.(\d+)\.layers\.", r"stages.\1."),
    (r"\.layer\.(\d)\.convolution\.", layer("conv")),
    (r"\.layer\.(\d)\.normalization\.", layer("norm")),
    (r"\.shortcut\.", ".projection."),
    (r"\.convolution\.", ".0."),
    (r"\.normalization\.", ".1."),
    (r"^classifier\.1\.", "fc."),
]


def from_pretrained(name_or_folder):
    """A published ResNet by its name on the hub or its folder, in eval mode.

    Reads what transformers reads of its ResNet, and timm's and torchvision's files.
    Images `(batch, channels, height, width)` give logits `(batch, classes)`; where
    there is no head, pooled features (timm) or the last map (transformers).
    Raises ValueError where there are no weights, or weights of another network.
    """
    tensors = tensors_of(name_or_folder)
    if any("embedder." in name for name in tensors):
        return from_transformers(name_or_folder)
    return fill(described_by(tensors), tensors, NAMES)


def from_transformers(name_or_folder):
    config = configuration(name_or_folder)
    require(config, hidden_act=["relu"], downsample_in_first_stage=[False])
    kind = architecture(config, ["ResNetForImageClassification", "ResNetModel"])
    if config.layer_type == "basic":
        block = BasicBlockB
    else:
        block = Bottleneck if config.downsample_in_bottleneck else BottleneckV15
    model = imagenet_net(
        config.depths,
        block,
        config.hidden_sizes,
        config.num_channels,
        config.num_labels,
        config.embedding_size,
    )
    if kind == "ResNetModel":
        model.pool = model.fc = nn.Identity()
    return fill(model, read(kind, name_or_folder, config), NAMES)


def described_by(tensors):
    """The network that tensors of timm or torchvision describe, with random weights."""
    depths, widths = [], []
    for number in (1, 2, 3, 4):
        pattern = rf"layer{number}\.(\d+)\.bn\d\.weight"
        norms = [found for found in map(re.compile(pattern).match, tensors) if found]
        if not norms:
            raise ValueError(f"the weights are no ResNet's: there is no layer{number}")
        depths.append(1 + max(int(found[1]) for found in norms))
        widths.append(tensors[max(found[0] for found in norms)].shape[0])
    block = BottleneckV15 if "layer1.0.conv3.weight" in tensors else BasicBlockB
    head = tensors.get("fc.bias")
    stem, channels, *_ = tensors["conv1.weight"].shape
    classes = 1 if head is None else len(head)
    model = imagenet_net(depths, block, widths, channels, classes, stem)
    if head is None:
        model.fc = nn.Identity()  # pooled features, as timm gives them
    return model


def difference_from_reference(seed=0, **config):
    """Largest difference to transformers' ResNet with the same random weights.

    config: of its ResNetConfig. Relative to the largest logit.
    """
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(seed)
    theirs = ResNetForImageClassification(ResNetConfig(**config)).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # fresh statistics would hide a swap
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    images = torch.randn(2, 3, 96, 96)
    with TemporaryDirectory() as folder, quiet(), torch.no_grad():
        theirs.save_pretrained(folder)
        expected = theirs(images).logits
        difference = from_pretrained(folder)(images) - expected
    return (difference.abs().max() / expected.abs().max()).item()
