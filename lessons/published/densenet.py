"""Published DenseNets in the lesson's model, and what the paper prints of them."""

import re

import torch
from monai.networks.nets import DenseNet as Reference
from torch import nn

from kit import weights
from kit.probe import parameters
from kit.table import as_printed
from lessons.densenet import VARIANTS, build, imagenet_net

TORCHVISION = [  # timm's names are the same; the first published files have `norm.1`
    (r"^features\.conv0\.", "stem.0."),
    (r"^features\.norm0\.", "stem.1."),
    (
        r"^features\.denseblock(\d+)\.denselayer(\d+)\.",
        lambda found: f"blocks.{int(found[1]) - 1}.layers.{int(found[2]) - 1}.",
    ),
    (
        r"^features\.transition(\d+)\.",
        lambda found: f"transitions.{int(found[1]) - 1}.",
    ),
    (r"^features\.norm5\.", "norm."),
    (r"^classifier\.", "fc."),
    (r"(norm|conv)\.([12])\.(?=\w+$)", r"\1\2."),
]


def from_pretrained(name_or_folder):
    """A published DenseNet-121, 161, 169 or 201, in eval mode; torchvision's or timm's.

    name_or_folder: as `timm/densenet121.tv_in1k`, or where the file lies.
    Images `(batch, 3, height, width)` give logits `(batch, classes)`, or the pooled
    features where the file has no head.
    Raises ValueError for weights that do not fit, and a name that cannot be had.
    """
    return in_our_model(weights.tensors_of(name_or_folder))


def in_our_model(tensors):
    """The network that tensors with torchvision's names and shapes belong to."""
    layers = re.compile(r"^features\.denseblock(\d+)\.denselayer(\d+)\.")
    found = [match.groups() for name in tensors if (match := layers.match(name))]
    depths = {}
    for block, layer in found:
        depths[int(block)] = max(depths.get(int(block), 0), int(layer))
    grown = [
        tensor.shape[0]
        for name, tensor in tensors.items()
        if re.search(r"denselayer1\.conv\.?2\.weight$", name)
    ]
    stem = tensors.get("features.conv0.weight")
    if not grown or stem is None:
        raise ValueError(f"no DenseNet's tensors: {', '.join(sorted(tensors)[:3])}, …")
    head = tensors.get("classifier.weight")
    model = imagenet_net(
        [depths[block] for block in sorted(depths)],
        grown[0],
        stem.shape[1],
        1000 if head is None else head.shape[0],
    )
    if head is None:
        model.fc = nn.Identity()
    return weights.fill(model, tensors, TORCHVISION)


TABLE_2 = {  # parameters in millions; errors in % on C10, C10+, C100, C100+, SVHN
    "Wide ResNet, 16 layers": (11.0, None, 4.81, None, 22.07, None),
    "Wide ResNet, 28 layers": (36.5, None, 4.17, None, 20.50, None),
    "Wide ResNet, 16 layers, dropout": (2.7, None, None, None, None, 1.64),
    "pre-activation ResNet-164": (1.7, 11.26, 5.46, 35.58, 24.33, None),
    "pre-activation ResNet-1001": (10.2, 10.56, 4.62, 33.47, 22.71, None),
    "densenet40_k12": (1.0, 7.00, 5.24, 27.55, 24.42, 1.79),
    "densenet100_k12": (7.0, 5.77, 4.10, 23.79, 20.20, 1.67),
    "densenet100_k24": (27.2, 5.83, 3.74, 23.42, 19.25, 1.59),
    "densenet_bc100_k12": (0.8, 5.92, 4.51, 24.15, 22.27, 1.76),
    "densenet_bc250_k24": (15.3, 5.19, 3.62, 19.64, 17.60, 1.74),
    "densenet_bc190_k40": (25.6, None, 3.46, None, 17.18, None),
}
# Top-1 errors in %, validation images of ImageNet, one central crop.
DENSENETS = {121: 25.02, 169: 23.80, 201: 22.58, 264: 22.15}  # Table 3
RESNETS = {50: 24.01, 101: 22.44, 152: 22.16}  # fb.resnet.torch, README


def counts():
    """Rows of a table: network, weighted layers, parameters, what the paper prints."""
    printed = {name: f"{TABLE_2[name][0]:.1f}" for name in VARIANTS if name in TABLE_2}
    printed["densenet201"] = "20"  # §4.4
    rows = []
    for name in VARIANTS:
        with torch.device("meta"):
            model = build(name)
        layers = [isinstance(m, (nn.Conv2d, nn.Linear)) for m in model.modules()]
        count, paper = parameters(model), printed.get(name)
        agrees = "–" if paper is None else as_printed(count, 1e6, paper)
        rows.append([name, sum(layers), f"{count:,}", paper or "–", agrees])
    return rows


def difference_from_monai(name, images):
    """How far our logits are from MONAI's for its weights, over its largest logit.

    name: one of VARIANTS for large images. The weights are random.
    """
    settings = VARIANTS[name].keywords
    growth_rate = settings.get("growth_rate", 32)
    theirs = Reference(
        spatial_dims=2,
        in_channels=images.shape[1],
        out_channels=10,
        init_features=2 * growth_rate,
        growth_rate=growth_rate,
        block_config=settings["depths"],
    ).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    tensors = {
        key.replace(".layers.", ".").replace("class_layers.out", "classifier"): value
        for key, value in theirs.state_dict().items()
    }
    with torch.no_grad():
        expected, found = theirs(images), in_our_model(tensors)(images)
    return ((found - expected).abs().max() / expected.abs().max()).item()
