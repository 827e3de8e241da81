"""The DenseNet lesson against the paper's numbers, against a reference implementation, and with bad input."""

import json
import math
import re

import pytest
import torch
import torch.nn.functional as F
from pytorchcv.models import densenet as reference_imagenet
from pytorchcv.models import densenet_cifar as reference_cifar
from safetensors.torch import save_file
from support import broken_folders, checker, configure, edit, randomise, same_logits
from torch import nn

from kit import study
from kit.checkpoint import CheckpointError
from kit.exercises import verdict
from kit.probe import multiply_adds, parameters, saved_for_backward
from lessons.densenet import (
    VARIANTS,
    BottleneckLayer,
    DenseBlock,
    DenseLayer,
    FrugalBlock,
    arithmetic,
    build,
    cifar_net,
    compete,
    feature_use,
    from_pretrained,
    imagenet_net,
    inputs_of,
)

# Parameters for 10 (or 1,000) and for 100 classes, and multiply-adds at 32×32 (or 224×224), by an independent implementation.
COUNTS = {
    "densenet40_k12": (1_019_722, 1_060_132, 264_812_928),
    "densenet100_k12": (6_979_642, 7_084_852, 1_769_516_448),
    "densenet100_k24": (27_249_082, 27_457_972, 6_889_347_744),
    "densenet_bc100_k12": (769_162, 800_032, 287_929_692),
    "densenet_bc250_k24": (15_324_406, 15_480_556, 5_418_785_724),
    "densenet_bc190_k40": (25_624_430, 25_821_620, 9_301_945_740),
    "densenet121": (7_978_856, None, 2_834_161_664), "densenet169": (14_149_480, None, 3_359_843_328),
    "densenet201": (20_013_928, None, 4_291_365_888), "densenet161": (28_681_000, None, 7_727_907_072),
    "densenet264": (33_337_704, None, 5_751_653_376),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_counts(name):
    count, count_of_100, macs = COUNTS[name]
    size = 32 if count_of_100 else 224
    with torch.device("meta"):
        model = build(name)
        assert (parameters(model), multiply_adds(model, 1, 3, size, size)) == (count, macs)
        if count_of_100:
            assert parameters(build(name, num_classes=100)) == count_of_100


@pytest.mark.parametrize("bottleneck", [True, False])
@pytest.mark.parametrize("compression", [0.3, 1.0])
def test_the_arithmetic_of_the_explorer_where_no_preset_is(bottleneck, compression):
    stem = 14 if bottleneck and compression < 1 else 16
    with torch.device("meta"):
        layer = BottleneckLayer if bottleneck else DenseLayer
        model = cifar_net(4 + 9 * layer.convolutions, 7, layer, compression, stem)
        assert arithmetic(7, (3, 3, 3), compression, bottleneck) == (parameters(model), multiply_adds(model, 1, 3, 32, 32))
    blocks, end = inputs_of(7, (3, 3, 3), compression, stem)
    assert blocks == [[list(one.children())[0].num_features for one in getattr(model.features, f"block{n}").layers] for n in (1, 2, 3)]
    assert end == model.fc.in_features


def from_pytorchcv(name):
    """pytorchcv's tensor names in our layout; its transitions open the stage that follows."""
    name = re.sub(r"^features\.init_block\.conv\.weight", "features.stem.0.weight", name)
    name = re.sub(r"^features\.init_block\.weight", "features.stem.0.weight", name)
    name = re.sub(r"^features\.init_block\.bn\.", "features.stem.1.", name)
    name = re.sub(r"^features\.stage(\d)\.trans\d\.conv\.", lambda m: f"features.transition{int(m[1]) - 1}.", name)
    name = re.sub(r"^features\.stage(\d)\.unit(\d+)\.", lambda m: f"features.block{m[1]}.layers.{int(m[2]) - 1}.", name)
    name = re.sub(r"(?<=\d)\.conv([12]?)\.(bn|conv)\.", r".\2\1.", name)
    name = re.sub(r"\.bn(\d?)\.", r".norm\1.", name)
    return name.replace("features.post_activ.norm.", "features.norm.0.").replace("output.", "fc.")


def copy_from_pytorchcv(theirs, ours):
    ours.load_state_dict({from_pytorchcv(name): value for name, value in theirs.state_dict().items()})
    return ours.eval()


def test_a_network_for_small_images_equals_pytorchcv():
    theirs = randomise(reference_cifar.densenet100_k12_bc_cifar10())
    assert same_logits(copy_from_pytorchcv(theirs, build("densenet_bc100_k12")), theirs, torch.randn(2, 3, 32, 32))


def test_the_basic_network_equals_pytorchcv():
    """Its basic network always compresses, and has a stem of 2k: the same of ours."""
    theirs = randomise(reference_cifar.densenet40_k12_cifar10())
    ours = cifar_net(40, 12, compression=0.5, stem_width=24)
    assert same_logits(copy_from_pytorchcv(theirs, ours), theirs, torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize("name", ["densenet121", "densenet161"])
def test_networks_for_large_images_equal_pytorchcv(name):
    theirs = randomise(getattr(reference_imagenet, name)(num_classes=10))
    assert same_logits(copy_from_pytorchcv(theirs, build(name, num_classes=10)), theirs, torch.randn(1, 3, 224, 224))


def test_first_weights():
    torch.manual_seed(0)
    model = build("densenet121")
    for convolution in (module for module in model.modules() if isinstance(module, nn.Conv2d)):
        fan_out = convolution.out_channels * convolution.kernel_size[0] ** 2
        assert convolution.bias is None and convolution.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert not model.fc.bias.any()


def test_the_frugal_block_computes_the_same_with_less_memory():
    torch.manual_seed(0)
    block, frugal = (kind(12, 6, 4, BottleneckLayer) for kind in (DenseBlock, FrugalBlock))
    x = torch.randn(2, 6, 8, 8)
    frugal.load_state_dict(block.state_dict())
    assert torch.allclose(frugal.eval()(x), block.eval()(x), atol=1e-6)
    outputs = [one.train()(x) for one in (block, frugal)]
    for output in outputs:
        output.square().mean().backward()
    assert torch.allclose(*outputs, atol=1e-6)
    for (name, ours), theirs in zip(frugal.named_parameters(), block.parameters()):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6), name
    # What the lesson warns of: the batch norm that is run twice moves its statistics twice.
    twice, once = frugal.layers[0].norm1, block.layers[0].norm1
    assert twice.num_batches_tracked == 2 * once.num_batches_tracked
    assert saved_for_backward(frugal, x) < saved_for_backward(block, x) / 2


def test_saved_for_backward_counts_each_storage_once_and_no_weights():
    layer, x = nn.Linear(4, 3), torch.randn(5, 4)
    assert saved_for_backward(layer, x) == 5 * 4 * 4
    assert saved_for_backward(nn.Sequential(layer, nn.ReLU()), x) == 5 * 4 * 4 + 5 * 3 * 4
    both = nn.ModuleList([layer, nn.Linear(4, 3)])
    both.forward = lambda x: both[0](x) + both[1](x)
    assert saved_for_backward(both, x) == 5 * 4 * 4
    with torch.no_grad(), pytest.raises(ValueError, match="gradients are switched off"):
        saved_for_backward(layer, x)


def test_feature_use_on_weights_that_are_known():
    model = cifar_net(10, 3, stem_width=5, num_classes=2)
    with torch.no_grad():
        reader = model.features.block2.layers[1].conv            # its sources: 11 channels of the input, 3 of the first layer
        reader.weight[:, :11], reader.weight[:, 11:] = -1.0, 3.0
        model.fc.weight.fill_(0.5)
    use = feature_use(model, 2)
    assert use.shape == (3, 3) and use.isnan().tolist() == [[True, False, False], [True, False, False], [True, True, False]]
    assert use[:2, 1].tolist() == [0.5, 1.5]
    assert torch.equal(feature_use(model, 3)[:, 2], torch.ones(3))     # the classifier is the last reader
    bottleneck = cifar_net(16, 3, BottleneckLayer, 0.5, stem_width=5)
    assert feature_use(bottleneck, 1).nanmean(0)[1:].tolist() == pytest.approx([1, 1])


# ---- the contest and its study


def test_the_stored_study_is_what_the_code_gives():
    name = "ResNet-8, width 4"
    again = compete(name, 3)
    for measurement in ("test error", "training loss"):
        study.within_spread("densenet", name, 3, measurement, again[measurement], times=3)


# ---- checkpoints


def write_torchvision(folder, name="densenet121", num_classes=3, old=False):
    """A checkpoint in torchvision's and timm's layout, its weights from pytorchcv; old: the names of the first published files."""
    theirs = randomise(getattr(reference_imagenet, name)(num_classes=num_classes or 5))
    tensors = {}
    for public, value in theirs.state_dict().items():
        public = public.replace("features.init_block.conv.", "features.conv0.").replace("features.init_block.bn.", "features.norm0.")
        public = re.sub(r"stage\d\.trans(\d)\.conv\.", lambda m: f"transition{int(m[1]) - 1}.", public)
        public = re.sub(r"stage(\d)\.unit(\d+)\.conv([12])\.(bn|conv)\.", r"denseblock\1.denselayer\2.\4\3.", public)
        public = re.sub(r"\.bn(\d?)\.", r".norm\1.", public).replace("post_activ.norm.", "norm5.").replace("output.", "classifier.")
        public = re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", public) if old else public
        if num_classes or not public.startswith("classifier."):
            tensors[public] = value.contiguous()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": name, "num_classes": num_classes}))
    return theirs


@pytest.fixture
def folder(tmp_path):
    write_torchvision(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "old"), [("densenet121", False), ("densenet121", True), ("densenet169", False)])
def test_reads_torchvision_and_timm_checkpoints(tmp_path, name, old):
    theirs = write_torchvision(tmp_path, name, old=old)
    from safetensors import safe_open

    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        inner = "features.denseblock2.denselayer12.norm.1.weight" if old else "features.denseblock2.denselayer12.norm1.weight"
        names = {"features.conv0.weight", inner, "features.transition3.norm.bias", "features.norm5.running_var", "classifier.bias"}
        assert names <= set(file.keys())
    assert same_logits(from_pretrained(tmp_path), theirs, torch.randn(1, 3, 224, 224))


def test_a_checkpoint_without_a_head_gives_pooled_features(tmp_path):
    theirs = write_torchvision(tmp_path, num_classes=0)
    assert same_logits(from_pretrained(tmp_path), lambda x: theirs.features(x).flatten(1), torch.randn(1, 3, 224, 224))


@pytest.mark.parametrize(("damage", "message"), [
    *broken_folders("features.conv0.weight"),
    (lambda f: configure(f, num_classes=-3), "config.json describes no DenseNet"),
    (lambda f: configure(f, architecture="densenet264d"), "'densenet264d'; this lesson reads densenet121, densenet161"),
])
def test_a_bad_checkpoint_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(folder)


def test_counters_of_batch_norm_are_optional(folder):
    edit(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if name.endswith("num_batches_tracked")])
    assert from_pretrained(folder).training is False


# ---- bad input


def test_unknown_variant():
    with pytest.raises(ValueError, match="no variant 'densenet120'; there are densenet40_k12"):
        build("densenet120")


@pytest.mark.parametrize(("depth", "layer", "unit"), [(41, DenseLayer, 3), (4, DenseLayer, 3), (13, BottleneckLayer, 6)])
def test_wrong_depth(depth, layer, unit):
    with pytest.raises(ValueError, match=f"{unit}n\\+4 .* not {depth}"):
        cifar_net(depth, 12, layer)


@pytest.mark.parametrize("compression", [0, -0.5, 1.5])
def test_wrong_compression(compression):
    with pytest.raises(ValueError, match=f"above 0 and at most 1, .* not {compression}, 12"):
        cifar_net(10, 12, compression=compression)


def test_wrong_growth_rate():
    with pytest.raises(ValueError, match="the growth rate at least 1, not 1.0, 0"):
        cifar_net(10, 0)


def test_a_transition_keeps_a_channel_and_changes_reach_every_variant():
    assert cifar_net(10, 1, compression=0.01).features.transition1.conv.out_channels == 1
    assert inputs_of(1, (2, 2, 2), 0.01, 16)[0][1] == [1, 2]
    with torch.device("meta"):
        assert all(build(name, growth_rate=3) for name in VARIANTS)


def test_the_stem_of_a_large_network_grows_with_the_growth_rate():
    assert imagenet_net((1, 1, 1, 1), 5).features.stem[0].out_channels == 10


# ---- exercises


def channels(transition=lambda m, theta: int(theta * m), last=False, start=lambda stem: stem):
    def final_channels(stem, growth_rate, depths, compression):
        total = start(stem)
        for number, depth in enumerate(depths):
            total = transition(total, compression) if number else total
            total += depth * growth_rate
        return transition(total, compression) if last else total
    return final_channels


def slices(norm=lambda layer, own: own, kernel=lambda own: own, relu=F.relu, padding=1):
    """A right answer, to plant faults in."""
    def without_concatenation(layer, maps):
        total, start = 0, 0
        for x in maps:
            own = slice(start, start + x.shape[1])
            n, values = layer.norm, norm(layer, own)
            x = relu(F.batch_norm(x, n.running_mean[values], n.running_var[values], n.weight[values], n.bias[values], eps=n.eps))
            total = total + F.conv2d(x, layer.conv.weight[:, kernel(own)], padding=padding)
            start = own.stop
        return total
    return without_concatenation


def only_first(layer, maps):
    return slices()(layer, maps[:1])


def writes(layer, maps):
    result = slices()(layer, maps)
    layer.conv.weight.data.zero_()
    return result


def fills_a_buffer(layer, maps):
    buffer, start = torch.empty(2, 9, 5, 5), 0
    for x in maps:
        buffer[:, start:start + x.shape[1]] = x
        start += x.shape[1]
    return layer(buffer)


def no_norm(layer, maps):
    parts = layer.conv.weight.split([x.shape[1] for x in maps], 1)  # right for all maps together only
    return sum(F.conv2d(F.relu(x), part, padding=1) for x, part in zip(maps, parts))


def own_statistics(layer, maps):
    total, start = 0, 0
    for x in maps:
        own = slice(start, start + x.shape[1])
        x = F.batch_norm(x, None, None, layer.norm.weight[own], layer.norm.bias[own], training=True, eps=layer.norm.eps)
        total, start = total + F.conv2d(F.relu(x), layer.conv.weight[:, own], padding=1), own.stop
    return total


def split_at_once(layer, maps):
    """Right, another way: everything cut into parts before the loop."""
    sizes, norm = [x.shape[1] for x in maps], layer.norm
    kernels = layer.conv.weight.split(sizes, 1)
    scales, shifts = (norm.weight / (norm.running_var + norm.eps).sqrt()), norm.bias
    shifts = (shifts - scales * norm.running_mean).split(sizes)
    parts = zip(maps, kernels, scales.split(sizes), shifts)
    return sum(F.conv2d(F.relu(x * a[:, None, None] + b[:, None, None]), kernel, padding=1) for x, kernel, a, b in parts)


def silenced(shift=0, reader_shift=0, also=None):
    def silence(block, reader, source):
        first, k = block.layers[0].conv.in_channels, block.layers[0].conv.out_channels
        start, stop = (0 if source == 0 else first + k * (source - 1)), first + k * source
        with torch.no_grad():
            block.layers[(reader - 1 + reader_shift) % 4].conv.weight[:, start + shift:stop + shift] = 0
            if also:
                block.layers[reader - 1].norm.weight[0] = 0
    return silence


def hard_coded(block, reader, source):
    with torch.no_grad():
        block.layers[reader - 1].conv.weight[:, 0 if source == 0 else 1 + 4 * source:5 + 4 * source] = 0


def first_is_narrow(block, reader, source):
    with torch.no_grad():
        block.layers[reader - 1].conv.weight[:, 4 * source:4 * source + 4] = 0


@pytest.mark.parametrize(("check", "wrong", "hint"), [
    ("final_channels", channels(last=True), "no transition after the last block"),
    ("final_channels", channels(transition=lambda m, theta: m), "keeps only"),
    ("final_channels", channels(start=lambda stem: 0), "stem's channels"),
    ("final_channels", channels(transition=lambda m, theta: math.ceil(theta * m)), "round down"),
    ("final_channels", channels(transition=lambda m, theta: m // 2 if theta < 1 else m), "θ = 0.25 your function"),
    ("final_channels", lambda *case: int(channels(transition=lambda m, theta: theta * m)(*case)), "round down"),
    ("final_channels", channels(transition=lambda m, theta: theta * m), "a whole number"),
    ("final_channels", lambda *case: None, "a whole number of channels, not None"),
    ("without_concatenation", lambda layer, maps: layer(torch.cat(maps, 1)), "it concatenates"),
    ("without_concatenation", lambda layer, maps: layer(torch.hstack(maps)), "it concatenates"),
    ("without_concatenation", lambda layer, maps, join=torch.cat: layer(join(maps, 1)), "it concatenates"),
    ("without_concatenation", fills_a_buffer, "it concatenates"),
    ("without_concatenation", lambda layer, maps: None, "a tensor, not NoneType"),
    ("without_concatenation", only_first, "only the first map"),
    ("without_concatenation", slices(padding=0), "the shape should be"),
    ("without_concatenation", slices(relu=lambda x: x), "the ReLU is missing"),
    ("without_concatenation", slices(norm=lambda layer, own: slice(0, own.stop - own.start)), "the values differ"),
    ("without_concatenation", slices(kernel=lambda own: slice(0, own.stop - own.start)), "the values differ"),
    ("without_concatenation", writes, "the layer has changed"),
    ("without_concatenation", no_norm, "the batch norm is missing"),
    ("without_concatenation", own_statistics, "the batch's own statistics"),
    ("silence", lambda *case: None, "no weight has changed"),
    ("silence", silenced(shift=-1), "channels 9 to 12 to zero; yours zeroes"),
    ("silence", silenced(reader_shift=1), "should change 'layers.2.conv.weight' alone"),
    ("silence", silenced(also=True), "alone, it changed"),
    ("silence", first_is_narrow, "to zero; yours zeroes"),
    ("silence", hard_coded, "to zero; yours zeroes"),
])
def test_planted_wrong_answers_fail(check, wrong, hint):
    line = verdict(wrong, checker("densenet", check))
    assert line.startswith("✗") and re.search(hint, line), line


def test_the_fault_free_plants_pass():
    for check, answer in (
        ("final_channels", channels()), ("without_concatenation", slices()),
        ("without_concatenation", split_at_once), ("silence", silenced()),
    ):
        assert verdict(answer, checker("densenet", check)).startswith("✓")
