"""The ResNet lesson against the paper's numbers, against two reference implementations, and with bad input."""

import json
import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from pytorchcv.models import resnet as reference_imagenet
from pytorchcv.models import resnet_cifar as reference_cifar
from safetensors.torch import load_file, save_file
from support import broken_folders, checker, configure, edit, randomise, same_logits
from torch import nn

from kit.checkpoint import CheckpointError
from kit.exercises import verdict
from kit.probe import multiply_adds, parameters
from lessons.resnet import (
    VARIANTS,
    BasicBlock,
    Bottleneck,
    build,
    cifar_net,
    conv,
    from_pretrained,
    imagenet_net,
    option_b,
    projection,
)

V15 = partial(Bottleneck, stride_in="3x3")
OPTION_B = partial(BasicBlock, option=option_b)


def from_pytorchcv(name):
    """pytorchcv's tensor names in our layout."""
    name = re.sub(r"^features\.init_block\.conv\.conv\.", "stem.0.", name)
    name = re.sub(r"^features\.init_block\.conv\.bn\.", "stem.1.", name)
    name = re.sub(r"^features\.init_block\.conv\.", "stem.0.", name)
    name = re.sub(r"^features\.init_block\.bn\.", "stem.1.", name)
    name = re.sub(r"^features\.stage(\d+)\.unit(\d+)\.", lambda m: f"stages.{int(m[1]) - 1}.{int(m[2]) - 1}.", name)
    name = re.sub(r"body\.conv(\d)\.conv\.", r"conv\1.", name)
    name = re.sub(r"body\.conv(\d)\.bn\.", r"norm\1.", name)
    name = name.replace("identity_conv.conv.", "shortcut.0.").replace("identity_conv.bn.", "shortcut.1.")
    return name.replace("output.", "fc.")


def copy_from_pytorchcv(theirs, ours):
    ours.load_state_dict({from_pytorchcv(name): value for name, value in theirs.state_dict().items()})
    return ours.eval()


# Counts of parameters and multiply-adds (224×224 or 32×32) by an independent implementation.
COUNTS = {
    "plain18": (11_515_688, 1_794_805_760), "plain34": (21_623_848, 3_644_493_824),
    "resnet18": (11_689_512, 1_814_073_344), "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 3_857_973_248), "resnet101": (44_549_160, 7_570_194_432),
    "resnet152": (60_192_808, 11_282_415_616),
    "resnet20": (269_722, 40_551_040), "resnet32": (464_154, 68_862_592), "resnet44": (658_586, 97_174_144),
    "resnet56": (853_018, 125_485_696), "resnet110": (1_727_962, 252_887_680), "resnet1202": (19_421_274, None),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_counts(name):
    with torch.device("meta"):
        model = build(name)
        size = 224 if type(model.stem[-1]) is nn.MaxPool2d else 32
        count, work = COUNTS[name if name in COUNTS else name.replace("plain", "resnet")]
        assert parameters(model) == count
        if work:  # of 1,202 layers it would be a matter of seconds
            assert multiply_adds(model, 1, 3, size, size) == work


WIDENING = [(16, 32), (32, 64)]
ALL_SHORTCUTS = [(16, 16)] * 3 + [(16, 32)] + [(32, 32)] * 2 + [(32, 64)] + [(64, 64)] * 2


@pytest.mark.parametrize(("option", "projections"), [(option_b, WIDENING), (projection, ALL_SHORTCUTS)])
def test_projections_add_a_kernel_and_a_batch_norm_each(option, projections):
    extra = sum(a * b + 2 * b for a, b in projections)
    assert parameters(cifar_net(20, partial(BasicBlock, option=option))) == 269_722 + extra


@pytest.mark.parametrize(("name", "block"), [("resnet18", None), ("resnet34", None), ("resnet50", None), ("resnet50b", V15)])
def test_imagenet_nets_equal_pytorchcv(name, block):
    theirs = randomise(getattr(reference_imagenet, name)(num_classes=10))
    changes = {} if block is None else {"block": block}
    ours = copy_from_pytorchcv(theirs, build(name.rstrip("b"), num_classes=10, **changes))
    assert same_logits(ours, theirs, torch.randn(1, 3, 224, 224))  # pytorchcv pools 7×7 maps only


@pytest.mark.parametrize("depth", [20, 56])
def test_small_image_nets_equal_pytorchcv(depth):
    theirs = randomise(getattr(reference_cifar, f"resnet{depth}_cifar10")())
    assert same_logits(copy_from_pytorchcv(theirs, cifar_net(depth, OPTION_B)), theirs, torch.randn(2, 3, 32, 32))


def test_option_a_equals_a_projection_that_copies():
    """Option A is option B with a fixed 1×1 kernel that copies the old channels and leaves the new ones at zero."""
    theirs = randomise(reference_cifar.resnet20_cifar10())
    for module in theirs.modules():
        if hasattr(module, "identity_conv"):
            nn.init.dirac_(module.identity_conv.conv.weight)
            module.identity_conv.bn.reset_parameters()
            module.identity_conv.bn.running_var -= module.identity_conv.bn.eps
    ours = build("resnet20")
    tensors = {from_pytorchcv(name): value for name, value in theirs.state_dict().items() if "identity_conv" not in name}
    ours.load_state_dict(tensors)
    assert same_logits(ours.eval(), theirs, torch.randn(2, 3, 32, 32))


def test_first_weights_have_he_variance_by_fan_out():
    torch.manual_seed(0)
    for convolution in (module for module in build("resnet18").modules() if isinstance(module, nn.Conv2d)):
        fan_out = convolution.out_channels * convolution.kernel_size[0] ** 2
        assert convolution.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


# ---- checkpoints


@pytest.fixture
def small(tmp_path):
    """A folder with a small checkpoint in the transformers layout, and the model that wrote it."""
    return tmp_path, write_transformers(tmp_path)


def write_transformers(folder, head=True, **changes):
    from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

    config = dict(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 2], layer_type="bottleneck", num_labels=3) | changes
    torch.manual_seed(0)
    model = randomise((ResNetForImageClassification if head else ResNetModel)(ResNetConfig(**config)))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("changes", [
    dict(), dict(downsample_in_bottleneck=True), dict(layer_type="basic", hidden_sizes=[8, 16]),
    dict(num_labels=2), dict(num_channels=1), dict(hidden_sizes=[16, 32, 64], depths=[1, 1, 1]),
])
def test_reads_transformers_checkpoints(tmp_path, changes):
    theirs = write_transformers(tmp_path, **changes)
    images = torch.randn(2, changes.get("num_channels", 3), 64, 64)
    assert same_logits(from_pretrained(tmp_path), lambda x: theirs(x).logits, images)


def test_reads_a_bare_transformers_encoder(tmp_path):
    theirs = write_transformers(tmp_path, head=False)
    assert same_logits(from_pretrained(tmp_path), lambda x: theirs(x).last_hidden_state, torch.randn(2, 3, 64, 64))


def write_timm(folder, name="resnet18", num_classes=3):
    """A checkpoint in torchvision's and timm's layout, its weights from pytorchcv; returns pytorchcv's model."""
    public_name = name if name == "resnet18" else name + "b"  # the library's "b" is v1.5
    theirs = randomise(getattr(reference_imagenet, public_name)(num_classes=num_classes or 5))
    tensors = {}
    for public, value in theirs.state_dict().items():
        public = re.sub(r"^features\.init_block\.conv\.(conv|bn)\.", lambda m: {"conv": "conv1.", "bn": "bn1."}[m[1]], public)
        public = re.sub(r"^features\.stage(\d)\.unit(\d+)\.", lambda m: f"layer{m[1]}.{int(m[2]) - 1}.", public)
        public = re.sub(r"body\.conv(\d)\.(conv|bn)\.", lambda m: f"{m[2]}{m[1]}.", public)
        public = re.sub(r"identity_conv\.(conv|bn)\.", lambda m: {"conv": "downsample.0.", "bn": "downsample.1."}[m[1]], public)
        public = public.replace("output.", "fc.")
        if num_classes or not public.startswith("fc."):
            tensors[public] = value.contiguous()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": name, "num_classes": num_classes}))
    return theirs


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_reads_torchvision_and_timm_checkpoints(tmp_path, name):
    theirs = write_timm(tmp_path, name)
    names = {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer2.0.downsample.1.weight", "fc.bias"}
    assert names <= set(load_file(tmp_path / "model.safetensors"))
    assert same_logits(from_pretrained(tmp_path), theirs, torch.randn(1, 3, 224, 224))


def test_a_timm_checkpoint_without_a_head_gives_pooled_features(tmp_path):
    theirs = write_timm(tmp_path, num_classes=0)
    assert same_logits(from_pretrained(tmp_path), lambda x: theirs.features(x).flatten(1), torch.randn(1, 3, 224, 224))


@pytest.mark.parametrize(("damage", "message"), [
    *broken_folders("resnet.embedder.embedder.convolution.weight"),
    (lambda f: configure(f, depths=[1, 2, 3]), "no ResNet: depths and widths name 3 and 2 stages"),
    (lambda f: configure(f, downsample_in_first_stage=True), "sets downsample_in_first_stage to True"),
])
def test_a_bad_checkpoint_is_named(small, damage, message):
    folder, _ = small
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(folder)


def test_counters_of_batch_norm_are_optional(small):
    folder, theirs = small
    edit(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if name.endswith("num_batches_tracked")])
    assert same_logits(from_pretrained(folder), lambda x: theirs(x).logits, torch.randn(2, 3, 64, 64))


# ---- bad input


def test_unknown_variant():
    with pytest.raises(ValueError, match="no variant 'resnet21'; there are plain20"):
        build("resnet21")


@pytest.mark.parametrize("depth", [2, 21, 55])
def test_wrong_depth(depth):
    with pytest.raises(ValueError, match=f"6n\\+2 .* not {depth}"):
        cifar_net(depth, BasicBlock)


def test_wrong_stride_in():
    with pytest.raises(ValueError, match="stride_in should be '1x1' or '3x3', not '2x2'"):
        Bottleneck(8, 8, stride_in="2x2")


def test_depths_and_widths_of_different_length():
    with pytest.raises(ValueError, match="name 2 and 1 stages"):
        imagenet_net((1, 1), BasicBlock, (8,))


# ---- exercises


def count(total=lambda n: 0, stem=464, layer=lambda a, b: 9 * a * b + 2 * b, last=650):
    def parameters_of(n):
        pairs = [(16, 16)] * 2 * n + [(16, 32)] + [(32, 32)] * (2 * n - 1) + [(32, 64)] + [(64, 64)] * (2 * n - 1)
        return stem + sum(layer(a, b) for a, b in pairs) + last + total(n)
    return parameters_of


class PreActivation(nn.Module):
    """A right answer, to plant faults in."""

    def __init__(self, channels):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), conv(channels, channels, 3)
        self.norm2, self.conv2 = nn.BatchNorm2d(channels), conv(channels, channels, 3)

    def forward(self, x):
        return x + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))


class LastReLU(PreActivation):
    def forward(self, x):
        return F.relu(super().forward(x))


class NormAfter(PreActivation):
    def forward(self, x):
        return x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))


class NoShortcut(PreActivation):
    def forward(self, x):
        return super().forward(x) - x


class SharedActivation(PreActivation):
    def forward(self, x):
        x = F.relu(self.norm1(x))
        return x - 1 + self.conv2(F.relu(self.norm2(self.conv1(x))))


class Bias(PreActivation):
    def __init__(self, channels):
        super().__init__(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)


class Unused(PreActivation):
    def forward(self, x):
        return x + self.conv2(F.relu(self.norm1(x)))


class OtherOrder(PreActivation):
    """Right: its layers are used in the right order, and defined in another."""

    def __init__(self, channels):
        super().__init__(channels)
        first = self.conv1
        del self.conv1
        self.conv1 = first


class OneNorm(PreActivation):
    def __init__(self, channels):
        super().__init__(channels)
        self.norm2 = nn.Identity()


def zero(*names):
    def start_as_identity(model):
        for block in (block for stage in model.stages for block in stage):
            for name in names:
                nn.init.zeros_(block.get_parameter(name))
    return start_as_identity


def zero_stem(model):
    nn.init.zeros_(model.stem[0].weight)


def zero_first_stage(model):
    for block in model.stages[0]:
        nn.init.zeros_(block.norm2.weight)


@pytest.mark.parametrize(("check", "wrong", "hint"), [
    ("parameters_of", count(layer=lambda a, b: 9 * a * b, stem=432), "two parameters a channel"),
    ("parameters_of", count(layer=lambda a, b: 9 * a * b + 3 * b, stem=480), "have no bias"),
    ("parameters_of", count(total=lambda n: 2_752), "269722; option A has no parameters"),
    ("parameters_of", count(layer=lambda a, b: 9 * b * b + 2 * b), "half as many input channels"),
    ("parameters_of", count(last=640), "linear layer has a bias"),
    ("parameters_of", count(stem=0), "stem is missing"),
    ("parameters_of", lambda n: 269_722 * n // 3, "one more block in each stage"),
    ("parameters_of", lambda n: 1, "list its layers"),
    ("parameters_of", lambda n: None, "a number, not None"),
    ("pre_activation", LastReLU, "no ReLU"),
    ("pre_activation", NormAfter, "batch norm, ReLU, convolution"),
    ("pre_activation", NoShortcut, "add x untouched"),
    ("pre_activation", SharedActivation, "add x untouched"),
    ("pre_activation", Bias, "need no bias"),
    ("pre_activation", Unused, "each of its four layers once"),
    ("pre_activation", OneNorm, "2 convolutions and 1 batch norms; it needs two of each"),
    ("start_as_identity", lambda model: None, "no weight has changed"),
    ("start_as_identity", zero("norm1.weight"), "cannot learn"),
    ("start_as_identity", zero("conv1.weight"), "cannot learn"),
    ("start_as_identity", zero_stem, "the stem gives only zeros"),
    ("start_as_identity", zero_first_stage, "block 3 still changes"),
    ("start_as_identity", zero("norm2.weight", "norm2.bias", "conv2.weight"), "one in each of the 6 blocks|cannot learn"),
])
def test_planted_wrong_answers_fail(check, wrong, hint):
    line = verdict(wrong, checker("resnet", check))
    assert line.startswith("✗") and re.search(hint, line), line


def test_the_fault_free_plant_passes():
    assert verdict(PreActivation, checker("resnet", "pre_activation")).startswith("✓")
    assert verdict(OtherOrder, checker("resnet", "pre_activation")).startswith("✓")
    assert verdict(count(), checker("resnet", "parameters_of")).startswith("✓")
