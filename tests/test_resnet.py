"""The ResNet lesson: the paper's numbers, two reference implementations, bad input."""

import re
from copy import deepcopy
from statistics import mean, stdev
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorchcv.models import resnet as reference_imagenet
from pytorchcv.models import resnet_cifar as reference_cifar
from safetensors.torch import save_file
from support import (
    Told,
    checker,
    randomise,
    same_logits,
    ten_images,
    trained_by_hand,
)
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kit import train
from kit.assignments import source_notebook
from kit.data import digits, minibatches, mnist
from kit.exercises import verdict
from kit.probe import multiply_adds, parameters
from kit.study import read, within_spread
from kit.weights import tensors_of
from lessons.figures import resnet as figures
from lessons.published import resnet as published
from lessons.published.resnet import (
    BasicBlockB,
    BasicBlockC,
    BottleneckV15,
    build_variant,
    from_pretrained,
)
from lessons.resnet import (
    VARIANTS,
    BasicBlock,
    Bottleneck,
    HighwayBlock,
    PlainBlock,
    ResidualBlock,
    build,
    cifar_net,
    conv,
    fit,
    imagenet_net,
    make_identity,
    stack,
)
from lessons.studies import resnet as studies
from lessons.studies.resnet import SEEDS, STUDY


def unit(found):
    return f"stages.{int(found[1]) - 1}.{int(found[2]) - 1}."


PYTORCHCV = [
    (r"^features\.init_block\.conv\.conv\.", "stem.0."),
    (r"^features\.init_block\.conv\.bn\.", "stem.1."),
    (r"^features\.init_block\.conv\.", "stem.0."),
    (r"^features\.init_block\.bn\.", "stem.1."),
    (r"^features\.stage(\d+)\.unit(\d+)\.", unit),
    (r"body\.conv(\d)\.conv\.", r"conv\1."),
    (r"body\.conv(\d)\.bn\.", r"norm\1."),
    (r"identity_conv\.conv\.", "projection.0."),
    (r"identity_conv\.bn\.", "projection.1."),
    (r"^output\.", "fc."),
]


def renamed(tensors, names):
    """The tensors under other names: pairs (pattern, replacement), in order."""
    found = {}
    for name, value in tensors.items():
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        found[name] = value.contiguous()
    return found


def copy_from_pytorchcv(theirs, ours):
    ours.load_state_dict(renamed(theirs.state_dict(), PYTORCHCV))
    return ours.eval()


# Parameters and multiply-adds (224×224, or 32×32 for the second half) as another
# program counted them. Plain networks have the same: option A costs nothing.
COUNTS = {
    "resnet18": (11_515_688, 1_794_805_760),
    "resnet34": (21_623_848, 3_644_493_824),
    "resnet50": (25_557_032, 3_857_973_248),
    "resnet101": (44_549_160, 7_570_194_432),
    "resnet152": (60_192_808, 11_282_415_616),
    "resnet20": (269_722, 40_551_040),
    "resnet32": (464_154, 68_862_592),
    "resnet44": (658_586, 97_174_144),
    "resnet56": (853_018, 125_485_696),
    "resnet110": (1_727_962, 252_887_680),
    "resnet1202": (19_421_274, None),  # counting its work takes seconds
}
PUBLISHED = {
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet34 C": (22_716_840, 3_830_747_136),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
}


def blocks_in(model):
    return {type(block) for stage in model.stages for block in stage}


@pytest.mark.parametrize("name", VARIANTS)
def test_counts(name):
    count, work = COUNTS[name.replace("plain", "resnet")]
    with torch.device("meta"):
        model = build(name)
        assert parameters(model) == count
        if name.startswith("plain"):  # the same layers as the residual one's
            assert blocks_in(model) == {PlainBlock}
            return
        deep = name in ("resnet50", "resnet101", "resnet152")
        assert blocks_in(model) == {Bottleneck if deep else BasicBlock}
        if work and name not in published.TABLE_1:
            assert multiply_adds(model, 1, 3, 32, 32) == work


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_of_published_variants(name):
    count, work = PUBLISHED[name]
    with torch.device("meta"):
        model = build_variant(name)
        assert parameters(model) == count
        if name not in published.TABLE_1:
            assert multiply_adds(model, 1, 3, 224, 224) == work


def test_table_1(monkeypatch):
    counts = []

    def count(*of_what):
        counts.append(multiply_adds(*of_what))
        return counts[-1]

    monkeypatch.setattr(published, "multiply_adds", count)
    rows = published.multiply_adds_of_table_1()
    pairs = [(COUNTS[name][1], PUBLISHED[name][1]) for name in published.TABLE_1]
    assert list(zip(counts[::2], counts[1::2])) == pairs
    assert rows == [
        ["resnet18", "1.8", "1.8 ✓", "1.8 ✓"],
        ["resnet34", "3.6", "3.6 ✓", "3.7 ✗"],
        ["resnet50", "3.8", "3.9 ✗", "4.1 ✗"],
        ["resnet101", "7.6", "7.6 ✓", "7.8 ✗"],
        ["resnet152", "11.3", "11.3 ✓", "11.5 ✗"],
    ]


WIDENING = [(16, 32), (32, 64)]
REST = [(16, 16)] * 3 + [(32, 32)] * 2 + [(64, 64)] * 2
PROJECTIONS = {BasicBlockB: WIDENING, BasicBlockC: WIDENING + REST}


@pytest.mark.parametrize("block", PROJECTIONS)
def test_projections_add_a_kernel_and_a_batch_norm_each(block):
    extra = sum(a * b + 2 * b for a, b in PROJECTIONS[block])
    assert parameters(cifar_net(20, block)) == 269_722 + extra


@pytest.mark.parametrize("block", PROJECTIONS)
@pytest.mark.parametrize("sizes", [(4, 6, 2), (4, 6, 1), (4, 4, 2), (4, 4, 1)])
def test_a_projection_is_a_strided_1x1_layer_with_batch_norm(block, sizes):
    one, x = randomise(block(*sizes)), torch.randn(2, 4, 5, 5)
    shortcut = x
    if block is BasicBlockC or sizes != (4, 4, 1):
        kernel, norm = one.projection
        pixels = x[:, :, ::sizes[2], ::sizes[2]]
        shortcut = norm(torch.einsum("oc,bchw->bohw", kernel.weight[..., 0, 0], pixels))
        assert norm.weight.std() > 0  # a norm that does something
    torch.testing.assert_close(one(x), F.relu(one.branch(x) + shortcut))


@pytest.mark.parametrize(
    "block", [BasicBlock, Bottleneck, BasicBlockB, BasicBlockC, BottleneckV15]
)
def test_a_block_keeps_the_map_unless_told_otherwise(block):
    x = torch.randn(2, 8, 6, 6)
    assert block(8, 8)(x).shape == (2, 8, 6, 6)
    assert block(8, 16, 2)(x).shape == (2, 16, 3, 3)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet50b"])
def test_imagenet_nets_equal_pytorchcv(name):
    theirs = randomise(getattr(reference_imagenet, name)(num_classes=10))
    make = build if name == "resnet50" else build_variant  # its "b" is v1.5
    ours = copy_from_pytorchcv(theirs, make(name.rstrip("b"), num_classes=10))
    images = torch.randn(1, 3, 224, 224)  # pytorchcv pools 7×7 maps only
    assert same_logits(ours, theirs, images)


@pytest.mark.parametrize("depth", [20, 56])
def test_small_image_nets_equal_pytorchcv(depth):
    theirs = randomise(getattr(reference_cifar, f"resnet{depth}_cifar10")())
    ours = copy_from_pytorchcv(theirs, cifar_net(depth, BasicBlockB))
    assert same_logits(ours, theirs, torch.randn(2, 3, 32, 32))


def test_option_a_equals_a_projection_that_copies():
    """A fixed 1×1 kernel that copies the old channels and leaves the others at zero."""
    theirs = randomise(reference_cifar.resnet20_cifar10())
    for module in theirs.modules():
        if hasattr(module, "identity_conv"):
            nn.init.dirac_(module.identity_conv.conv.weight)
            module.identity_conv.bn.reset_parameters()
            module.identity_conv.bn.running_var -= module.identity_conv.bn.eps
    tensors = {
        name: value
        for name, value in theirs.state_dict().items()
        if "identity_conv" not in name
    }
    ours = build("resnet20")
    ours.load_state_dict(renamed(tensors, PYTORCHCV))
    assert same_logits(ours.eval(), theirs, torch.randn(2, 3, 32, 32))


def test_first_weights_have_he_variance_by_fan_out():
    torch.manual_seed(0)
    models = nn.ModuleList([build("resnet18"), stack(6, PlainBlock, width=40)])
    for kernel in (m for m in models.modules() if isinstance(m, nn.Conv2d)):
        fan_out = kernel.out_channels * kernel.kernel_size[0] ** 2
        wanted = pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
        assert kernel.weight.std().item() == wanted
        assert kernel.weight.max() > 2.5 * kernel.weight.std()  # normal, not uniform
    for norm in (m for m in models.modules() if isinstance(m, nn.BatchNorm2d)):
        assert (norm.weight == 1).all() and not norm.bias.any()
        assert norm.eps == 1e-5 and norm.momentum == 0.1  # as the references have it


def test_blocks_differ_in_the_join_only():
    torch.manual_seed(0)
    highway = randomise(HighwayBlock(4))
    x = torch.randn(2, 4, 6, 6)
    branch = F.conv2d(x, highway.conv1.weight, padding=1)
    branch = F.conv2d(F.relu(highway.norm1(branch)), highway.conv2.weight, padding=1)
    branch = highway.norm2(branch)
    gate = F.conv2d(x, highway.gate.weight, highway.gate.bias, padding=1)
    gate = 1 / (1 + (-gate).exp())
    joined = gate * branch.clamp(min=0) + (1 - gate) * x
    torch.testing.assert_close(highway(x), joined)
    assert parameters(highway) == 3 * 4 * 4 * 9 + 4 + 4 * 4  # §2: the gate has weights
    added = (branch + x).clamp(min=0)
    for kind, expected in (
        (PlainBlock, branch.clamp(min=0)), (ResidualBlock, added), (BasicBlock, added)
    ):
        block = kind(4, 4).eval()
        block.load_state_dict(highway.state_dict(), strict=False)
        torch.testing.assert_close(block(x), expected)


def test_option_a_takes_every_second_pixel_and_adds_channels_of_zeros():
    x = torch.arange(1.0, 17).reshape(1, 1, 4, 4)
    fewer = torch.tensor([[[1.0, 3], [9, 11]]])
    zeros = torch.zeros(2, 2, 2)
    assert BasicBlock(1, 1, 2).shortcut(x)[0].equal(fewer)
    assert BasicBlock(1, 3, 2).shortcut(x)[0].equal(torch.cat([fewer, zeros]))
    assert BasicBlock(1, 2).shortcut(x)[0].equal(torch.cat([x[0], 0 * x[0]]))
    with pytest.raises(ValueError, match="cannot narrow 3 to 2"):
        BasicBlock(3, 2)


def test_an_idle_block_copies_whatever_it_was():
    block, x = randomise(PlainBlock(4, 4)), torch.rand(2, 4, 6, 6)
    make_identity(block)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("depth", [4, 14])
def test_a_stack_is_a_layer_blocks_and_a_linear_one(depth):
    model = randomise(stack(depth, PlainBlock, width=3))
    first, norm, _, *blocks, _, _, last = model
    assert [type(block) for block in blocks] == [PlainBlock] * (depth // 2 - 1)
    images = torch.randn(2, 1, 5, 5)
    x = F.relu(norm(F.conv2d(images, first.weight, padding=1)))
    for block in blocks:
        x = block(x)
    torch.testing.assert_close(model(images), last(x.mean((2, 3))))
    layers = 27 + 6 + len(blocks) * 2 * (81 + 6)  # none is shared
    assert parameters(model) == layers + 3 * 10 + 10
    assert stack(4, PlainBlock)[0].out_channels == 8


# ---- the study


def test_the_stored_study_is_of_this_recipe():
    """A whole run of the smallest network of it."""
    name = "ResNet-8, MNIST"
    for measurement, value in STUDY[name](2).items():
        within_spread("resnet", name, 2, measurement, value, times=3)


def test_each_name_of_the_study_says_what_is_run():
    stored, blocks = read("resnet"), {"plain": PlainBlock, "ResNet": BasicBlock}
    assert stored.keys() == STUDY.keys() and len(STUDY) == 14 + 10
    for name, run in STUDY.items():
        assert [one["seed"] for one in stored[name]] == list(SEEDS) == [0, 1, 2, 3, 4]
        kind, depth, how = re.fullmatch(r"(\w+)-(\d+), (.+)", name).groups()
        make, data, epochs, rate = run.args
        model = make()
        kinds = [type(module) for module in model.modules()]
        assert kinds.count(nn.Conv2d) + kinds.count(nn.Linear) == int(depth)
        assert set(blocks.values()) & set(kinds) == {blocks[kind]}
        width = next(model.parameters()).shape[0]
        assert width == (4 if how == "MNIST" else 8)
        assert data is (mnist if how == "MNIST" else digits)
        assert epochs == {"MNIST": 10, "72 epochs": 72}.get(how, 24)
        assert rate == (float(how.removeprefix("rate ")) if "rate" in how else 0.1)


def test_a_measurement_is_its_seed_s(monkeypatch):
    def told(*given, **settings):
        asked.extend([*given, settings])
        return np.arange(len(given[1]))

    asked = []
    monkeypatch.setattr(studies, "fit", told)
    monkeypatch.setattr(train, "error", lambda model, split: len(split.labels))
    found = STUDY["plain-14, rate 0.3"](3)
    # 21 steps an epoch: the last are 483 to 503
    errors = {"training error": 1400, "test error": 397}
    assert found == errors | {"training loss": 493}
    model, batches, settings = asked
    torch.manual_seed(3)
    fresh = stack(14, PlainBlock)
    assert all(map(torch.equal, model.parameters(), fresh.parameters()))
    wanted = minibatches(digits()[0], 64, 24, 1003)
    assert all(one[0].equal(other[0]) for one, other in zip(batches, wanted))
    assert len(batches) == 504 and settings == {"learning_rate": 0.3}


@pytest.mark.parametrize(("changes", "rate"), [({}, 0.1), ({"learning_rate": 2.0}, 2)])
def test_the_recipe_is_the_paper_s(changes, rate):
    """§3.4, §4.2: momentum, weight decay, and a rate that falls twice."""
    torch.manual_seed(0)
    model, told = stack(4, PlainBlock, width=2).double().eval(), []
    batches = [(torch.randn(8, 1, 4, 4), torch.randint(10, (8,))) for _ in range(11)]
    by_hand = deepcopy(model)
    rates = [rate] * 5 + [rate / 10] * 3 + [rate / 100] * 3
    expected = trained_by_hand(by_hand, batches, rates)
    losses = fit(model, batches, lambda *step: told.append(step), **changes)
    assert losses.tolist() == pytest.approx(expected, rel=1e-9)
    assert told == list(enumerate(losses))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, by_hand.state_dict()[name])


# ---- published weights


def write_transformers(folder, head=True, **changes):
    from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

    config = dict(
        embedding_size=8, hidden_sizes=[16, 32], depths=[1, 2], num_labels=3
    )
    torch.manual_seed(0)
    kind = ResNetForImageClassification if head else ResNetModel
    model = randomise(kind(ResNetConfig(**config | changes)))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("changes", [
    dict(),
    dict(downsample_in_bottleneck=True),
    dict(layer_type="basic", hidden_sizes=[8, 16]),
    dict(num_labels=2),
    dict(num_channels=1),
    dict(hidden_sizes=[16, 32, 64], depths=[1, 1, 1]),
])
def test_reads_transformers_checkpoints(tmp_path, changes):
    theirs = write_transformers(tmp_path, **changes)
    images = torch.randn(2, changes.get("num_channels", 3), 65, 49)
    assert same_logits(from_pretrained(tmp_path), lambda x: theirs(x).logits, images)


def test_reads_a_bare_transformers_encoder(tmp_path):
    theirs = write_transformers(tmp_path, head=False)
    images = torch.randn(2, 3, 64, 64)
    ours = from_pretrained(tmp_path)
    assert same_logits(ours, lambda x: theirs(x).last_hidden_state, images)


def downsample(found):
    return f"downsample.{0 if found[1] == 'conv' else 1}."


TORCHVISION = [
    (r"^features\.init_block\.conv\.conv\.", "conv1."),
    (r"^features\.init_block\.conv\.bn\.", "bn1."),
    (r"^features\.stage(\d)\.unit(\d+)\.", lambda m: f"layer{m[1]}.{int(m[2]) - 1}."),
    (r"body\.conv(\d)\.(conv|bn)\.", r"\2\1."),
    (r"identity_conv\.(conv|bn)\.", downsample),
    (r"^output\.", "fc."),
]


def torchvision_file(name, classes=3):
    """pytorchcv's network and its tensors as torchvision and timm name them."""
    theirs = randomise(getattr(reference_imagenet, name)(num_classes=classes))
    tensors = renamed(theirs.state_dict(), TORCHVISION)
    names = {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "fc.bias"}
    assert names | {"layer2.0.downsample.1.weight"} <= set(tensors)
    return theirs, tensors


@pytest.mark.parametrize("name", ["resnet18", "resnet50b"])
def test_reads_timms_and_torchvisions_files(tmp_path, name):
    theirs, tensors = torchvision_file(name)
    if name == "resnet18":
        save_file(tensors, tmp_path / "model.safetensors")
    else:  # the counters are not in every file
        kept = {k: v for k, v in tensors.items() if "num_batches" not in k}
        torch.save(kept, tmp_path / "resnet50-0676ba61.pth")
    images = torch.randn(1, 3, 224, 224)
    assert same_logits(from_pretrained(tmp_path), theirs, images)


def test_a_file_without_a_head_gives_pooled_features(tmp_path):
    theirs, tensors = torchvision_file("resnet18")
    headless = {k: v for k, v in tensors.items() if not k.startswith("fc.")}
    save_file(headless, tmp_path / "model.safetensors")
    images = torch.randn(1, 3, 224, 224)
    ours = from_pretrained(tmp_path)
    assert same_logits(ours, lambda x: theirs.features(x).flatten(1), images)


def test_a_stage_may_have_more_than_ten_blocks():
    tensors = {"conv1.weight": torch.zeros(8, 1, 7, 7)}
    for stage, depth in enumerate((1, 2, 12, 1), 1):
        for block in range(depth):
            tensors[f"layer{stage}.{block}.bn2.weight"] = torch.zeros(8 * stage)
    model = published.described_by(tensors)
    assert [len(stage) for stage in model.stages] == [1, 2, 12, 1]
    widths = [stage[-1].conv2.out_channels for stage in model.stages]
    assert widths == [8, 16, 24, 32] and model.stem[0].in_channels == 1


def test_weights_of_another_network_are_refused(tmp_path):
    _, tensors = torchvision_file("resnet18")
    del tensors["layer2.1.conv2.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    missing = "do not fit the model.*stages.1.1.conv2.weight"
    with pytest.raises(ValueError, match=re.compile(missing, re.DOTALL)):
        from_pretrained(tmp_path)
    save_file({"embeddings": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="no ResNet's: there is no layer1"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("hidden_act", "gelu"), ("downsample_in_first_stage", True)]
)
def test_what_the_paper_s_network_has_not_is_refused(tmp_path, name, value):
    write_transformers(tmp_path, **{name: value})
    with pytest.raises(ValueError, match=f"{name} is {value!r}"):
        from_pretrained(tmp_path)


def test_the_line_of_equality_tells_a_stride_in_another_layer(monkeypatch):
    assert published.difference_from_reference(depths=[1, 1, 1, 1]) < 1e-5
    monkeypatch.setattr(published, "BottleneckV15", Bottleneck)
    assert published.difference_from_reference(depths=[1, 1, 1, 1]) > 0.01


def test_the_line_of_equality_is_relative_and_sees_trained_statistics(monkeypatch):
    def silent(folder):
        means = [
            value.std().item()
            for name, value in tensors_of(folder).items()
            if "running" in name
        ]
        assert min(means) > 0.05
        return lambda images: torch.zeros(1)

    monkeypatch.setattr(published, "from_pretrained", silent)
    assert published.difference_from_reference(depths=[1, 1, 1, 1]) == 1


# ---- figures


def test_one_image_of_each_class(monkeypatch):
    monkeypatch.setattr(figures, "Picture", Told)
    split, rows = ten_images(), [2, 3, 4, 0, *range(6, 12)]  # the first 3 comes first
    found = figures.one_of_each(split)
    assert [title for _, title in found] == list(range(10))
    assert all(one.equal(split.images[i, 0]) for (one, _), i in zip(found, rows))


def test_losses_are_shown_by_the_epoch():
    live = figures.live_losses(6, 3, earlier={"plain-14": [4, 2, 1, 1, 1, 0.5]})
    for step in range(4):
        figures.follow(live, "ResNet-14")(step, 1.0 + step)
    plain, residual = live.series.values()
    assert plain["x"] == [1, 3, 5] and plain["y"] == [3, 1, 0.75]
    assert residual["x"] == [1, 3] and residual["y"] == [1.5, 3.5]
    assert plain["role"] == "control" and residual["role"] == "idea"
    assert live.options["total"] == 18 and live.options["log"]


def test_the_table_of_the_study_has_means_and_deviations():
    pairs = ((1, 3), (3, 7))
    runs = [{"training error": one, "test error": other} for one, other in pairs]
    text = figures.four_networks({"plain-32, rate 0.3": runs}).data
    rows = [line.split(" | ") for line in text.splitlines()[2:]]
    assert rows[1][3] == "2.0 ± 1.4 / 5.0 ± 2.8"
    assert [row[0].strip("| ") for row in rows] == [
        "plain-14", "plain-32", "ResNet-14", "ResNet-32"
    ]
    assert text.count("not run") == 15


def test_error_against_depth_is_the_paper_s_and_the_study_s(monkeypatch):
    monkeypatch.setattr(figures, "Picture", Told)
    stored = read("resnet")
    drawing = figures.error_against_depth(stored)
    plt.close(drawing)
    shown = [[line[0].get_xydata().tolist() for line in axis.containers]
             for axis in drawing.axes]
    plain, residual = [[18, 27.94], [34, 28.54]], [[18, 27.88], [34, 25.03]]
    table_6 = [[20, 8.75], [32, 7.51], [44, 7.17], [56, 6.97], [110, 6.61]]
    assert shown[:2] == [[plain, residual], [[*table_6, [1202, 7.93]]]]
    for kind, line in zip(("plain", "ResNet"), drawing.axes[2].containers):
        points, _, (bars,) = line
        for depth, (x, y), bar in zip(
            (8, 14, 20, 32, 44), points.get_xydata(), bars.get_segments(), strict=True
        ):
            errors = [run["test error"] for run in stored[f"{kind}-{depth}, MNIST"]]
            assert (x, y) == (depth, pytest.approx(mean(errors)))
            ends = mean(errors) - stdev(errors), mean(errors) + stdev(errors)
            assert tuple(bar[:, 1]) == pytest.approx(ends)


def test_the_drawn_block_adds_before_the_last_relu():
    frame = figures.residual_block().frames[()]
    assert [node["id"] for node in frame["nodes"]][-2:] == ["+", "ReLU"]
    assert frame["shortcuts"] == [["x", "+", "identity"]]


def test_gradients_are_those_of_the_network_that_the_controls_name():
    def first_gradients(*asked):
        return asked

    live = figures.gradients_before_training(first_gradients, 1, 2)
    plain, residual = live.still.compute(depth=20, batch_norm=False)["series"]
    assert plain["name"] == "plain-20" and residual["name"] == "ResNet-20"
    assert plain["values"] == (1, 20, False, 8, 8) and plain["role"] == "control"
    assert residual["values"] == (2, 20, False, 8, 8) and residual["role"] == "idea"
    other = live.still.compute(depth=8, batch_norm=True, width=4, image_size=16)
    assert other["series"][1]["values"] == (2, 8, True, 4, 16)


def test_a_layer_turns_by_its_gradient_over_its_weights():
    one = SimpleNamespace(gradients=torch.ones(3, 4), weights=torch.full((3, 4), 2.0))
    two = SimpleNamespace(gradients=one.gradients * 3, weights=one.weights * 3)
    figure = figures.turning(one, two)
    plain, residual = figure.compute("‖gradient‖ / ‖weights‖")["panels"]
    assert plain["title"] == "plain-56" and residual["title"] == "ResNet-56"
    assert plain["values"].unique() == residual["values"].unique() == 0.5
    plain, residual = figure.compute("‖gradient‖")["panels"]
    assert plain["values"].unique() == 1 and residual["values"].unique() == 3
    assert plain["role"] == "control" and residual["role"] == "idea"


def test_blocks_are_placed_from_input_to_output():
    frame = figures.change_of_each_block([3, 2, 1], [5, 4, 3, 2, 1]).frames[()]
    shallow, deep = frame["series"]
    assert shallow["name"] == "ResNet-8" and deep["name"] == "ResNet-12"
    assert shallow["x"] == [0, 0.5, 1] and shallow["y"] == [3, 2, 1]
    assert deep["x"] == [0, 0.25, 0.5, 0.75, 1] and deep["y"] == [5, 4, 3, 2, 1]


def test_the_journey_shows_the_maps_of_the_image_that_was_picked():
    torch.manual_seed(1)
    model = randomise(cifar_net(20, BasicBlock, in_channels=1, width=8))
    split = ten_images()
    figure = figures.journey(model, split)
    frame = figure.compute(4)
    image, stem, *blocks, average, last = frame["nodes"]
    x = split.images[6:7]
    assert image["maps"].equal(x[0])
    x = model.stem(x)
    assert stem["maps"].equal(x[0, :16]) and len(blocks) == 9
    labels = [f"{stage}.{block}" for stage in (1, 2, 3) for block in (1, 2, 3)]
    for node, label, block in zip(blocks, labels, sum(map(list, model.stages), [])):
        x = block(x)
        assert node["label"] == label
        assert node["shape"] == "×".join(map(str, x[0].shape))
        assert node["channels"] == x.shape[1] and node["size"] == x.shape[-1]
        torch.testing.assert_close(node["maps"], x[0, :16])
        many = f"the first 16 of its {len(x[0])} maps" if len(x[0]) > 16 else None
        assert node["text"] == many
    x = x.mean((2, 3))
    assert average["maps"].shape == (1, 4, 8) and average["channels"] == 32
    torch.testing.assert_close(average["maps"].flatten(), x[0])
    answer = model.fc(x).softmax(1)
    torch.testing.assert_close(last["maps"][0], answer)
    assert last["text"] == f"answer: {answer.argmax()}"
    kinds = {end: kind for _, end, kind in frame["shortcuts"]}
    widen = {f"stages.{stage}.0": "zero-pad" for stage in (1, 2)}
    assert kinds == {f"stages.{stage}.{block}": "identity"
                     for stage in range(3) for block in range(3)} | widen
    assert [start for start, *_ in frame["shortcuts"]] == ["stem", *list(kinds)[:-1]]
    assert figure.controls == {"digit": list(range(10))}


# ---- bad input


def test_unknown_variant():
    assert VARIANTS.keys() >= COUNTS.keys()
    with pytest.raises(ValueError, match="no 'resnet21'; there are plain20"):
        build("resnet21")
    with pytest.raises(ValueError, match="no variant 'resnet20'; there are resnet18"):
        build_variant("resnet20")


@pytest.mark.parametrize("depth", [2, 21, 55])
def test_wrong_depth(depth):
    with pytest.raises(ValueError, match=f"6n\\+2 .* not {depth}"):
        cifar_net(depth, BasicBlock)
    wrong = depth if depth == 2 else depth - depth % 2 + 1
    with pytest.raises(ValueError, match=f"even and at least 4, not {wrong}"):
        stack(wrong, PlainBlock)


def test_depths_and_widths_of_different_length():
    with pytest.raises(ValueError, match="zip"):
        imagenet_net((1, 1), BasicBlock, (64,))


# ---- exercises


def count(total=lambda n: 0, stem=464, layer=lambda a, b: 9 * a * b + 2 * b, last=650):
    def parameters_of(n):
        rest = 2 * n - 1
        pairs = [(16, 16)] * 2 * n + [(16, 32)] + [(32, 32)] * rest
        pairs += [(32, 64)] + [(64, 64)] * rest
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


class NoPadding(PreActivation):
    def __init__(self, channels):
        super().__init__(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, bias=False)


class InSequence(nn.Module):
    """Right, another way."""

    def __init__(self, channels):
        super().__init__()
        layers = []
        for _ in range(2):
            layers += [nn.BatchNorm2d(channels), nn.ReLU()]
            layers.append(nn.Conv2d(channels, channels, 3, padding="same", bias=False))
        self.branch = nn.Sequential(*layers)

    def forward(self, x):
        return self.branch(x) + x


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


no_norms = count(layer=lambda a, b: 9 * a * b, stem=432)
biased = count(layer=lambda a, b: 9 * a * b + 3 * b, stem=480)
wide_inputs = count(layer=lambda a, b: 9 * b * b + 2 * b)
option_b = count(total=lambda n: 2_752)
twice_zero = zero("norm2.weight", "norm2.bias", "conv2.weight")


@pytest.mark.parametrize(("check", "wrong", "hint"), [
    ("parameters_of", no_norms, "two parameters a channel"),
    ("parameters_of", biased, "have no bias"),
    ("parameters_of", option_b, "269722; option A has no parameters"),
    ("parameters_of", wide_inputs, "half as many input channels"),
    ("parameters_of", count(last=640), "linear layer has a bias"),
    ("parameters_of", count(stem=0), "stem is missing"),
    ("parameters_of", lambda n: 269_722 * n // 3, "one more block in each stage"),
    ("parameters_of", lambda n: 1, r"which of yours has not\?"),
    ("parameters_of", count(stem=176), "the images have 3 channels"),
    ("parameters_of", lambda n: count()(n - 1), "one is missing in each"),
    ("parameters_of", count(last=640, stem=0), "has a bias; the stem is missing"),
    ("parameters_of", lambda n: None, "a number, not None"),
    ("pre_activation", LastReLU, "no ReLU"),
    ("pre_activation", NormAfter, "batch norm, ReLU, convolution"),
    ("pre_activation", NoShortcut, "add x untouched"),
    ("pre_activation", SharedActivation, "add x untouched"),
    ("pre_activation", Bias, "need no bias"),
    ("pre_activation", NoPadding, "keeps the map"),
    ("pre_activation", Unused, "each of its four layers once"),
    ("pre_activation", OneNorm, "1 batch norms; it needs two of each"),
    ("start_as_identity", lambda model: None, "no weight has changed"),
    ("start_as_identity", zero("norm1.weight"), "cannot learn"),
    ("start_as_identity", zero("conv1.weight"), "cannot learn"),
    ("start_as_identity", zero_stem, "the stem gives only zeros"),
    ("start_as_identity", zero_first_stage, "block 3 still changes"),
    ("start_as_identity", twice_zero, "one in each of the 6 blocks|cannot learn"),
])
def test_planted_wrong_answers_fail(check, wrong, hint):
    line = verdict(wrong, checker("resnet", check))
    assert line.startswith("✗") and re.search(hint, line), line


# ---- exercises of the assignment


def times(step, stride):
    return step * stride


def field(start=1, grow=lambda size: size - 1, stride=times, own=False):
    """How far a pixel sees, to plant faults in. own: a stride counts for its layer."""
    def receptive_field(layers):
        seen, step = start, 1
        for size, s in layers:
            seen += grow(size) * (stride(step, s) if own else step)
            step = stride(step, s)
        return seen
    return receptive_field


def from_the_output(layers):
    seen = 1
    for size, stride in reversed(layers):
        seen = (seen - 1) * stride + size
    return seen


def blocks_of(model):
    return [(stage, i) for stage in model.stages for i in range(len(stage))]


def taken_out(new=lambda block: nn.Identity(), shift=0, copy=deepcopy, refuse=True):
    def without_block(model, number):
        model = copy(model)
        stage, i = blocks_of(model)[number + shift]
        if refuse and (stage[i].stride != 1 or stage[i].extra != 0):
            raise ValueError("it changes the shape")
        stage[i] = new(stage[i])
        return model
    return without_block


def idle_block(model, number):
    """Right, another way: the block stays, and its forward passes on."""
    model = deepcopy(model)
    stage, i = blocks_of(model)[number]
    if stage[i].conv1.in_channels != stage[i].conv1.out_channels:
        raise ValueError("it changes the shape")
    stage[i].forward = lambda x: x
    return model


class Silent(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


def merged(
    factor=lambda norm: norm.weight / (norm.running_var + norm.eps).sqrt(),
    shift=lambda convolution, norm, factor: norm.bias - norm.running_mean * factor,
    own=lambda bias, factor: bias * factor,
    **changes,
):
    def folded(convolution, norm):
        settings = {"stride": convolution.stride, "padding": convolution.padding}
        one = nn.Conv2d(3, 5, 3, **settings | changes)
        scale = factor(norm)
        with torch.no_grad():
            one.weight.copy_(convolution.weight * scale[:, None, None, None])
            if one.bias is not None:
                one.bias.copy_(shift(convolution, norm, scale))
                if convolution.bias is not None:
                    one.bias.add_(own(convolution.bias, scale))
        return one
    return folded


def by_torch(convolution, norm):
    return fuse_conv_bn_eval(deepcopy(convolution).eval(), deepcopy(norm).eval())


def in_place(convolution, norm):
    with torch.no_grad():
        convolution.weight.mul_(2)
    return merged()(convolution, norm)


def one_by_one(blocks, bottleneck):
    total = 1
    for depth in blocks:
        for _ in range(depth):
            total += 3 if bottleneck else 2
    return total + 1


@pytest.mark.parametrize(("check", "right"), [
    ("parameters_of", count()),
    ("parameters_of", lambda n: 97_216 * n - 21_926),
    ("pre_activation", PreActivation),
    ("pre_activation", OtherOrder),
    ("pre_activation", InSequence),
    ("start_as_identity", zero("norm2.weight")),
    ("start_as_identity", zero("conv2.weight")),
    ("layers", lambda blocks, bottleneck: (2 + bottleneck) * sum(blocks) + 2),
    ("layers", one_by_one),
    ("receptive_field", field()),
    ("receptive_field", from_the_output),
    ("without_block", taken_out()),
    ("without_block", idle_block),
    ("folded", merged()),
    ("folded", by_torch),
])
def test_right_answers_of_any_form_pass(check, right):
    line = verdict(right, checker("resnet", check))
    assert line.startswith("✓"), line


@pytest.mark.parametrize(("check", "wrong", "hint"), [
    ("layers", lambda b, bottleneck: (2 + bottleneck) * sum(b), "linear layer count"),
    ("layers", lambda b, bottleneck: (2 + bottleneck) * sum(b) + 1, "both the first"),
    ("layers", lambda b, bottleneck: 2 * sum(b) + 2, "a bottleneck has three"),
    ("layers", lambda b, bottleneck: 3 * sum(b) + 2, "a basic block has two"),
    ("layers", lambda b, bottleneck: sum(b), "each block has several"),
    ("layers", lambda b, bottleneck: one_by_one(b, bottleneck) + 3, "projections"),
    ("receptive_field", field(stride=lambda step, s: 1), "two pixels apart"),
    ("receptive_field", field(own=True), "not its own|two pixels apart"),
    ("receptive_field", field(stride=lambda step, s: step + s - 1), "strides multiply"),
    ("receptive_field", field(start=0), "sees three pixels"),
    ("receptive_field", field(grow=lambda size: 2), "its size minus one"),
    ("receptive_field", lambda layers: field()(layers[::-1]), "two pixels apart"),
    (
        "receptive_field",
        lambda layers: field()([one for one in layers if one[0] > 1]),
        "its stride counts",
    ),
    ("without_block", taken_out(copy=lambda model: model), "copy it first"),
    ("without_block", taken_out(new=lambda block: block), "of the whole network"),
    ("without_block", taken_out(new=lambda block: Silent()), "no zeros"),
    ("without_block", taken_out(shift=1, refuse=False), "no others go"),
    ("without_block", taken_out(refuse=False), "a ValueError is expected"),
    ("without_block", lambda model, number: list(model.stages), "a model, not list"),
    ("folded", merged(factor=lambda norm: (norm.running_var + norm.eps).rsqrt()),
     "norm.weight, is missing"),
    ("folded", merged(factor=lambda norm: norm.weight / norm.running_var.sqrt()),
     "norm.eps is added"),
    ("folded", merged(factor=lambda norm: norm.weight / (norm.running_var + norm.eps)),
     "not by the variance"),
    ("folded", merged(shift=lambda convolution, norm, factor: norm.bias),
     "minus the scaled mean"),
    ("folded", merged(own=lambda bias, factor: bias), "own bias is scaled, too"),
    ("folded", merged(bias=False), "needs a bias"),
    ("folded", merged(stride=1), "take over stride"),
    ("folded", nn.Sequential, "an nn.Conv2d, not Sequential"),
    ("folded", in_place, "has been changed"),
])
def test_planted_wrong_answers_of_the_assignment_fail(check, wrong, hint):
    line = verdict(wrong, checker("resnet", check))
    assert line.startswith("✗") and re.search(hint, line), line


def test_the_solutions_of_the_assignment_pass():
    cells = source_notebook("resnet", "ResNet").cells
    points = [cell.metadata.nbgrader.get("points") for cell in cells]
    assert [one for one in points if one] == [2, 3, 4, 5]
