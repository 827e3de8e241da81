"""The DenseNet lesson against the paper's numbers, two other libraries, and itself."""

import math
import re
from copy import deepcopy
from functools import cache, partial

import pytest
import torch
import torch.nn.functional as F
from pytorchcv.models import densenet as reference_imagenet
from pytorchcv.models import densenet_cifar as reference_cifar
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
from torch.utils.checkpoint import checkpoint as recompute

from kit import study, train
from kit.assignments import source_notebook
from kit.data import minibatches, mnist
from kit.exercises import verdict
from kit.probe import multiply_adds, parameters, saved_for_backward
from lessons import densenet
from lessons.densenet import (
    VARIANTS,
    BottleneckLayer,
    DenseBlock,
    DenseLayer,
    DenseNet,
    FrugalBlock,
    SlotBlock,
    build,
    chain31,
    cifar_net,
    dense31,
    feature_use,
    fit,
    imagenet_net,
    mnist_splits,
    sum31,
    trained,
)
from lessons.figures import densenet as figures
from lessons.published import densenet as published
from lessons.studies.densenet import NETS, RATES, SEEDS, STUDY, RecentBlock

# Parameters for 10 (or 1,000) and for 100 classes, and multiply-adds at 32×32 (or
# 224×224), by an independent implementation.
COUNTS = {
    "densenet40_k12": (1_019_722, 1_060_132, 264_812_928),
    "densenet100_k12": (6_979_642, 7_084_852, 1_769_516_448),
    "densenet100_k24": (27_249_082, 27_457_972, 6_889_347_744),
    "densenet_bc100_k12": (769_162, 800_032, 287_929_692),
    "densenet_bc250_k24": (15_324_406, 15_480_556, 5_418_785_724),
    "densenet_bc190_k40": (25_624_430, 25_821_620, 9_301_945_740),
    "densenet121": (7_978_856, None, 2_834_161_664),
    "densenet169": (14_149_480, None, 3_359_843_328),
    "densenet201": (20_013_928, None, 4_291_365_888),
    "densenet161": (28_681_000, None, 7_727_907_072),
    "densenet264": (33_337_704, None, 5_751_653_376),
}


@cache
def on_meta(name):
    with torch.device("meta"):
        return build(name)


@pytest.mark.parametrize("name", VARIANTS)
def test_counts(name):
    count, count_of_100, macs = COUNTS[name]
    size = 32 if count_of_100 else 224
    model = on_meta(name)
    assert parameters(model) == count
    assert multiply_adds(model, 1, 3, size, size) == macs
    if count_of_100:
        more = 90 * (model.fc.in_features + 1)
        assert count + more == count_of_100


def test_the_paper_s_counts_come_out(monkeypatch):
    monkeypatch.setattr(published, "build", on_meta)
    rows = published.counts()
    assert [row[0] for row in rows] == list(VARIANTS)
    assert [row[2] for row in rows] == [f"{COUNTS[name][0]:,}" for name in VARIANTS]
    layers = {row[0]: row[1] for row in rows}
    assert layers.pop("densenet264") == 265  # the lesson tells it
    for name, count in layers.items():
        assert re.search(r"\d+", name)[0] == str(count)
    millions = ["1.0", "7.0", "27.2", "0.8", "15.3", "25.6"]  # Table 2
    printed = millions + ["–", "–", "20", "–", "–"]  # §4.4
    assert [row[3] for row in rows] == printed
    marked = [one if one == "–" else f"{one} ✓" for one in printed]
    assert [row[4] for row in rows] == marked


# ---- equal to other libraries


def from_pytorchcv(name):
    """pytorchcv's names in ours; its transitions open the stage that follows."""
    name = re.sub(r"^features\.init_block\.(conv\.)?weight", "stem.0.weight", name)
    name = re.sub(r"^features\.init_block\.bn\.", "stem.1.", name)
    stage = r"^features\.stage(\d+)\."
    name = re.sub(
        rf"{stage}trans\d+\.conv\.",
        lambda m: f"transitions.{int(m[1]) - 2}.",
        name,
    )
    name = re.sub(
        rf"{stage}unit(\d+)\.",
        lambda m: f"blocks.{int(m[1]) - 1}.layers.{int(m[2]) - 1}.",
        name,
    )
    name = re.sub(r"(?<=\d)\.conv([12]?)\.(bn|conv)\.", r".\2\1.", name)
    name = re.sub(r"\.bn(\d?)\.", r".norm\1.", name)
    name = name.replace("features.post_activ.norm.", "norm.")
    return name.replace("output.", "fc.")


def copy_from_pytorchcv(theirs, ours):
    tensors = {from_pytorchcv(name): t for name, t in theirs.state_dict().items()}
    ours.load_state_dict(tensors)
    return ours.eval()


def test_a_network_for_small_images_equals_pytorchcv():
    theirs = randomise(reference_cifar.densenet100_k12_bc_cifar10())
    ours = copy_from_pytorchcv(theirs, build("densenet_bc100_k12"))
    assert same_logits(ours, theirs, torch.randn(2, 3, 32, 32))


def test_the_basic_network_equals_pytorchcv():
    """Its basic network always compresses, and has a stem of 2k: the same of ours."""
    theirs = randomise(reference_cifar.densenet40_k12_cifar10())
    ours = cifar_net(40, 12, compression=0.5, stem_width=24)
    ours = copy_from_pytorchcv(theirs, ours)
    assert same_logits(ours, theirs, torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize("name", ["densenet121", "densenet161"])
def test_networks_for_large_images_equal_pytorchcv(name):
    theirs = randomise(getattr(reference_imagenet, name)(num_classes=10))
    ours = copy_from_pytorchcv(theirs, build(name, num_classes=10))
    assert same_logits(ours, theirs, torch.randn(1, 3, 224, 224))


@pytest.mark.parametrize("name", ["densenet169", "densenet161"])
def test_networks_for_large_images_equal_monai(name):
    images = torch.randn(2, 3, 64, 64)
    assert published.difference_from_monai(name, images) <= 1e-5


def test_first_weights():
    torch.manual_seed(0)
    model = build("densenet121")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.bias is None
            std = module.weight.std().item()
            assert std == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
            assert module.weight.max() > 2.5 * std  # normal, not uniform
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and not module.bias.any()
            assert module.eps == 1e-5 and module.momentum == 0.1
    assert not model.fc.bias.any()


# ---- the control


def cost(model):
    return parameters(model), multiply_adds(model, 1, 1, 14, 14)


def test_the_three_networks_cost_the_same():
    assert cost(chain31()) == cost(sum31()) == (7_781, 401_723)
    assert cost(dense31()) == (7_790, 399_961)


def test_they_differ_in_the_join_only():
    """Each block equals the equations, written out with its own layers."""
    torch.manual_seed(0)
    nets = chain31(), sum31(), dense31()
    chain, added, dense = (net.blocks[1].eval() for net in nets)
    x = torch.randn(2, 5, 7, 7)
    one, all_added = x, x
    for first, second in zip(chain.layers, added.layers):
        one, all_added = first(one), all_added + second(all_added)
    assert torch.equal(chain(x), one) and torch.equal(added(x), all_added)
    maps = [torch.randn(2, 17, 7, 7)]
    for layer in dense.layers:
        maps.append(layer(torch.cat(maps, 1)))
    assert torch.equal(dense(maps[0]), torch.cat(maps, 1))


def shapes(model):
    return {name: weight.shape for name, weight in model.state_dict().items()}


def test_the_dense_one_is_the_paper_s_network():
    assert shapes(dense31()) == shapes(cifar_net(31, 1, stem_width=8, in_channels=1))


def test_a_layer_of_slots_changes_its_own_channel_only():
    torch.manual_seed(0)
    block, x = SlotBlock(3, 5).eval(), torch.randn(2, 5, 6, 6)
    after = block(x)
    assert torch.equal(after[:, 3:], x[:, 3:])
    assert torch.equal(after[:, :1], x[:, :1] + block.layers[0](x))
    before_last = SlotBlock(2, 5).eval()
    before_last.load_state_dict(
        {name: t for name, t in block.state_dict().items() if "layers.2" not in name}
    )
    state = before_last(x)
    assert torch.equal(after[:, 2:3], state[:, 2:3] + block.layers[2](state))
    assert torch.equal(after[:, :2], state[:, :2])


def test_layers_that_share_slots_take_them_in_turn():
    torch.manual_seed(0)
    block, x = SlotBlock(3, 5, slots=2).eval(), torch.randn(2, 5, 6, 6)
    after = block(x)
    assert torch.equal(after[:, 2:], x[:, 2:])
    first = torch.cat([x[:, :1] + block.layers[0](x), x[:, 1:]], 1)
    second = torch.cat(
        [first[:, :1], first[:, 1:2] + block.layers[1](first), first[:, 2:]], 1
    )
    assert torch.equal(after[:, :1], second[:, :1] + block.layers[2](second))
    assert SlotBlock(3, 3)(x[:, :3]).shape == (2, 3, 6, 6)
    with pytest.raises(ValueError, match="4 slots do not fit in 3 channels"):
        SlotBlock(4, 3)


def test_a_memory_of_one_map_is_a_chain_and_longer_ones_shift():
    torch.manual_seed(0)
    chain, recent = chain31().blocks[0].eval(), RecentBlock(9, 4, 1).eval()
    recent.load_state_dict(chain.state_dict())
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(recent(x), chain(x))
    recent, x = RecentBlock(1, 2, 3).eval(), torch.randn(2, 6, 5, 5)
    assert torch.equal(recent(x), torch.cat([x[:, 2:], recent.layers[0](x)], 1))


def test_the_other_networks_of_the_study_cost_about_as_much():
    costs = {name: cost(make()) for name, make in NETS.items()}
    (dense, work), (added, other) = costs.pop("dense 13"), costs.pop("sum 13")
    assert added == pytest.approx(dense, rel=0.01)
    assert other == pytest.approx(work, rel=0.01)
    for name in ("3 slots", "1 slot"):
        assert costs[name] == costs["slots"]
    assert all(6_700 < count < 8_000 for count, _ in costs.values())
    macs = {name: one / 399_961 for name, (_, one) in costs.items()}
    assert all(0.85 < macs[name] < 1.05 for name in ("last 2", "last 3", "slots"))
    assert macs["last 6"] == pytest.approx(1.38, abs=0.01)  # as the lesson says


# ---- dropout


def dropouts(model):
    return [module for module in model.modules() if isinstance(module, nn.Dropout)]


@pytest.mark.parametrize("layer", [DenseLayer, BottleneckLayer])
def test_dropout_follows_every_convolution_but_the_first(layer):
    """§4.2: in every layer and transition, in the order in which they run."""
    torch.manual_seed(0)
    net, seen = cifar_net(16, 3, layer, dropout=0.2, stem_width=5), []
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Dropout)):
            module.register_forward_hook(lambda module, *_: seen.append(module))
    net(torch.randn(2, 3, 8, 8))
    first, *others = seen
    assert first is net.stem[0]
    convolutions, drops = others[::2], others[1::2]
    assert len(convolutions) == len(drops) == 14  # 16 layers, but stem and classifier
    assert all(isinstance(one, nn.Conv2d) for one in convolutions)
    assert all(isinstance(one, nn.Dropout) and one.p == 0.2 for one in drops)


def test_dropout_is_off_unless_asked_for_and_in_eval_mode():
    silent = [build("densenet40_k12"), chain31(), dense31(), BottleneckLayer(2, 1)]
    assert {one.p for one in dropouts(nn.ModuleList(silent))} == {0.0}
    with torch.device("meta"):
        large = imagenet_net((2, 2, 2, 2), dropout=0.2)
    assert {one.p for one in dropouts(large)} == {0.2}
    torch.manual_seed(0)
    net, x = cifar_net(10, 3, dropout=0.2), torch.randn(2, 3, 8, 8)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


# ---- inside


def test_the_frugal_block_computes_the_same_with_less_memory():
    torch.manual_seed(0)
    block, frugal = (
        kind(12, 6, 4, BottleneckLayer) for kind in (DenseBlock, FrugalBlock)
    )
    x = torch.randn(2, 6, 8, 8)
    frugal.load_state_dict(block.state_dict())
    assert torch.allclose(frugal.eval()(x), block.eval()(x), atol=1e-6)
    outputs = [one.train()(x) for one in (block, frugal)]
    for output in outputs:
        output.square().mean().backward()
    assert torch.allclose(*outputs, atol=1e-6)
    for (name, ours), theirs in zip(frugal.named_parameters(), block.parameters()):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6), name
    # What the lesson warns of: what runs twice updates its statistics twice.
    twice, once = frugal.layers[0].norm1, block.layers[0].norm1
    assert twice.num_batches_tracked == 2 * once.num_batches_tracked
    moved = 1 - 0.9**2
    mean = x.mean((0, 2, 3))
    assert torch.allclose(twice.running_mean, moved * mean, atol=1e-6)
    assert saved_for_backward(frugal, x) < saved_for_backward(block, x) / 2


def test_saved_for_backward_counts_each_storage_once_and_no_weights():
    layer, x = nn.Linear(4, 3), torch.randn(5, 4)
    assert saved_for_backward(layer, x) == 5 * 4 * 4
    assert saved_for_backward(nn.Sequential(layer, nn.ReLU()), x) == 5 * (4 + 3) * 4
    both = nn.ModuleList([layer, nn.Linear(4, 3)])
    both.forward = lambda x: both[0](x) + both[1](x)
    assert saved_for_backward(both, x) == 5 * 4 * 4
    with torch.no_grad(), pytest.raises(ValueError, match="gradients are switched off"):
        saved_for_backward(layer, x)


def test_feature_use_on_weights_that_are_known():
    model = cifar_net(10, 3, stem_width=5, num_classes=2)
    reader = model.blocks[1].layers[1].conv  # reads 11 maps of the input, 3 of a layer
    with torch.no_grad():
        reader.weight[:, :11], reader.weight[:, 11:] = -1.0, 3.0
        model.fc.weight.fill_(0.5)
    use = feature_use(model, 2)
    assert not use.requires_grad
    nothing = [[True, False, False], [True, False, False], [True, True, False]]
    assert use.isnan().tolist() == nothing
    average = (11 * 1 + 3 * 3) / 14
    assert use[:2, 1].tolist() == pytest.approx([1 / average, 3 / average])
    total = feature_use(model, 2, "in total")[:2, 1]
    assert total.tolist() == pytest.approx([11 / 20, 9 / 20])
    assert feature_use(model, 2, "mean")[:2, 1].tolist() == [1, 3]
    with torch.no_grad():
        parts = model.transitions[1].conv.weight.split([11, 3, 3], 1)
        for weights, value in zip(parts, (2.0, -4.0, 6.0)):
            weights.fill_(value)
    assert feature_use(model, 2, "mean")[:, 2].tolist() == [2, 4, 6]
    assert torch.equal(feature_use(model, 3)[:, 2], torch.ones(3))  # the classifier
    bottleneck = cifar_net(16, 3, BottleneckLayer, 0.5, stem_width=5)
    shares = feature_use(bottleneck, 1, "in total")
    assert shares.nansum(0)[1:].tolist() == pytest.approx([1, 1])


# ---- the study


def test_the_stored_study_is_complete():
    stored = study.read("densenet")
    assert stored.keys() == STUDY.keys()
    for runs in stored.values():
        assert sorted(run["seed"] for run in runs) == list(SEEDS)


def test_the_stored_study_is_what_the_code_gives():
    again = STUDY["short sum, rate 0.3"](3)
    for measurement in ("test error", "validation error", "training loss"):
        study.within_spread(
            "densenet", "short sum, rate 0.3", 3, measurement, again[measurement], 3
        )


def test_nobody_chooses_with_the_test_images():
    splits, (images, labels) = mnist_splits(), mnist()[1]
    assert [len(split.labels) for split in splits] == [2000, 1000, 2000]
    assert all(map(torch.equal, splits[0], mnist()[0]))
    _, validation, test = splits
    assert torch.cat([validation.images, test.images]).equal(images)
    assert torch.cat([validation.labels, test.labels]).equal(labels)
    every = torch.cat([split.images for split in splits]).flatten(1)
    assert len(every.unique(dim=0)) == 5000
    assert len(RATES) == 4 and len(STUDY) == 4 * len(NETS)


@pytest.mark.parametrize("changes", [{}, {"weight_decay": 0.02}])
def test_the_recipe_is_the_paper_s(changes):
    """§4.2: Nesterov's momentum, weight decay, and a rate that falls twice."""
    torch.manual_seed(0)
    model, told = cifar_net(7, 2, in_channels=1).double().eval(), []
    images = torch.randn(11, 8, 1, 4, 4).double()
    batches = list(zip(images, torch.randint(10, (11, 8))))
    by_hand = deepcopy(model)
    rates = [0.3] * 5 + [0.03] * 3 + [0.003] * 3
    expected = trained_by_hand(by_hand, batches, rates, nesterov=True, **changes)
    losses = fit(model, batches, 0.3, lambda *step: told.append(step), **changes)
    assert losses == pytest.approx(expected, rel=1e-9)
    assert told == list(enumerate(losses))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, by_hand.state_dict()[name])


def test_a_run_is_its_seed_s(monkeypatch):
    monkeypatch.setattr(densenet, "fit", lambda *given: given)
    model, (same, batches, *settings) = trained(dense31, 0.3, 5, 2, print, 0.02)
    torch.manual_seed(5)
    fresh = dense31()
    assert same is model and settings == [0.3, print, 0.02]
    assert all(map(torch.equal, model.parameters(), fresh.parameters()))
    wanted = minibatches(mnist()[0], 64, 2, 1005)
    assert len(batches) == len(wanted) == 62
    assert all(one[0].equal(other[0]) for one, other in zip(batches, wanted))
    assert trained(dense31, 0.3, 5, 1)[1][3:] == (None, 1e-4)


def test_each_name_of_the_study_says_what_is_run(monkeypatch):
    def told(*asked):
        return asked, [9.0, 3, 1, 1.5] * 5  # the last epoch of ten has two steps

    monkeypatch.setattr("lessons.studies.densenet.trained", told)
    monkeypatch.setattr(train, "error", lambda asked, split: (asked, len(split.labels)))
    for name, run in STUDY.items():
        net, rate = name.split(", rate ")
        asked = NETS[net], float(rate), 4, 10
        errors = {"validation error": (asked, 1000), "test error": (asked, 2000)}
        assert run(4) == errors | {"training loss": 1.25}
    assert RATES == (0.03, 0.1, 0.3, 1.0)


# ---- published weights


def write_torchvision(folder, name="densenet121", num_classes=3, old=False):
    """A file with torchvision's and timm's names, its weights from pytorchcv.

    old: the names of the first published files. num_classes 0: without a head.
    """
    theirs = randomise(getattr(reference_imagenet, name)(num_classes=num_classes or 5))
    tensors = {}
    for public, value in theirs.state_dict().items():
        public = public.replace("features.init_block.conv.", "features.conv0.")
        public = public.replace("features.init_block.bn.", "features.norm0.")
        public = re.sub(
            r"stage\d\.trans(\d)\.conv\.",
            lambda m: f"transition{int(m[1]) - 1}.",
            public,
        )
        public = re.sub(
            r"stage(\d)\.unit(\d+)\.conv([12])\.(bn|conv)\.",
            r"denseblock\1.denselayer\2.\4\3.",
            public,
        )
        public = re.sub(r"\.bn(\d?)\.", r".norm\1.", public)
        public = public.replace("post_activ.norm.", "norm5.")
        public = public.replace("output.", "classifier.")
        if old:
            public = re.sub(
                r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", public
            )
        if num_classes or not public.startswith("classifier."):
            tensors[public] = value.contiguous()
    save_file(tensors, folder / "model.safetensors")
    return theirs, tensors


INNER = "features.denseblock2.denselayer12.norm"


@pytest.mark.parametrize(
    ("name", "old"),
    [("densenet121", False), ("densenet121", True), ("densenet161", False)],
)
def test_reads_published_weights_without_a_configuration(tmp_path, name, old):
    theirs, tensors = write_torchvision(tmp_path, name, old=old)
    known = {  # as torchvision and timm publish them
        "features.conv0.weight",
        f"{INNER}.1.weight" if old else f"{INNER}1.weight",
        "features.transition3.norm.bias",
        "features.norm5.running_var",
        "classifier.bias",
    }
    assert known <= tensors.keys()
    ours = published.from_pretrained(tmp_path)
    assert not ours.training
    assert same_logits(ours, theirs, torch.randn(1, 3, 224, 224))


def test_weights_without_a_head_give_pooled_features(tmp_path):
    theirs, _ = write_torchvision(tmp_path, num_classes=0)
    ours, images = published.from_pretrained(tmp_path), torch.randn(1, 3, 224, 224)
    assert same_logits(ours, lambda x: theirs.features(x).flatten(1), images)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    _, tensors = write_torchvision(tmp_path)
    lacking = tensors | {}
    del lacking[f"{INNER}1.weight"]
    missing = r"Missing .*blocks\.1\.layers\.11\.norm1\.weight"
    with pytest.raises(ValueError, match=missing):
        published.in_our_model(lacking)
    with pytest.raises(ValueError, match="no DenseNet's tensors: fc.weight, …"):
        published.in_our_model({"fc.weight": torch.zeros(2, 2)})


def test_the_difference_from_monai_is_relative_and_sees_statistics(monkeypatch):
    def silent(tensors):
        means = [t.std().item() for name, t in tensors.items() if "running" in name]
        assert min(means) > 0.05
        return lambda images: torch.zeros(1)

    monkeypatch.setattr(published, "in_our_model", silent)
    images = torch.randn(2, 3, 32, 32)
    assert published.difference_from_monai("densenet121", images) == 1


# ---- figures


def test_one_digit_of_each_class(monkeypatch):
    monkeypatch.setattr(figures, "Picture", Told)
    split, rows = ten_images(), [2, 3, 4, 0, *range(6, 12)]  # the first 3 comes first
    found = figures.one_digit_of_each(split)
    assert [title for _, title in found] == list(range(10))
    assert all(one.equal(split.images[i, 0]) for (one, _), i in zip(found, rows))


def test_the_drawn_joins():
    frames = figures.three_ways_to_join().compute
    chain, added, dense = (frames(how) for how in ("chain", "sum", "concatenation"))
    names = ["x0", "H1", "H2", "H3", "H4", "H5", "next"]
    assert [node["id"] for node in chain["nodes"]] == names and not chain["shortcuts"]
    assert {node["channels"] for node in chain["nodes"]} == {12}
    assert chain["nodes"][3]["text"] == "reads 12 channels, makes 12"
    pairs = [f"{one} {other}" for one, other, _ in added["shortcuts"]]
    assert pairs == ["x0 +1", "+1 +2", "+2 +3", "+3 +4", "+4 +5"]
    assert [node["id"] for node in added["nodes"]][:5] == ["x0", "H1", "+1", "H2", "+2"]
    assert [node["channels"] for node in dense["nodes"]] == [8, 8, 12, 16, 20, 24, 28]
    assert dense["nodes"][3]["text"] == "reads 16 channels, makes 4"
    assert dense["nodes"][-1]["text"] == "what follows the block reads 28 channels"
    arcs = {(one, other) for one, other, _ in dense["shortcuts"]}
    wanted = {(a, b) for i, a in enumerate(names) for b in names[i + 1:]}
    assert arcs == wanted and len(dense["shortcuts"]) == 21
    kinds = {kind for *_, kind in dense["shortcuts"] + added["shortcuts"]}
    assert kinds == {"concat", "identity"}


def test_losses_grow_from_step_1_on():
    live = figures.growing_losses(total=40)
    for step in range(20):
        figures.watch(live, "dense")(step, float(step))
        figures.watch(live, "chain")(step, 1.0)
    dense, chain = live.series["dense"], live.series["chain"]
    assert dense["x"] == [10, 20] and dense["y"] == [4.5, 14.5]
    assert dense["role"] == "idea" and chain["role"] == "control"
    assert live.options["total"] == 40 and live.options["log"]


@pytest.mark.parametrize("layer", [DenseLayer, BottleneckLayer])
def test_a_bar_is_what_a_layer_reads(layer):
    def network(growth_rate, compression):
        return cifar_net(16, growth_rate, layer, compression)

    figure = figures.what_each_layer_reads(network).still
    own, earlier = figure.compute(growth_rate=4, compression=0.5)["series"]
    assert own["role"] == "control" and earlier["role"] == "idea"
    depth = 2 if layer is BottleneckLayer else 4
    inputs = [16, 12, 10] if depth == 2 else [16, 16, 16]
    assert own["values"] == [one for one in inputs for _ in range(depth)]
    assert earlier["values"] == [4 * one for one in range(depth)] * 3
    assert figure.start == (12, 1.0)


def test_errors_are_told_by_rate_and_by_memory():
    figure = figures.errors_by_rate({"chain": [9, 8], "dense": [7, 6]}, [0.03, 1.0])
    frame = figure.frames[()]
    assert frame["labels"] == ["0.03", "1"]
    chain, dense = frame["series"]
    assert chain["values"] == [9, 8] and chain["role"] == "control"
    assert dense["values"] == [7, 6] and dense["role"] == "idea"
    frame = figures.error_by_memory({"1": 9.5, "all": 4.0}).frames[()]
    assert frame["labels"] == ["1", "all"]
    assert frame["series"][0]["values"] == [9.5, 4.0]


def test_table_2_by_data_set():
    """As the paper prints it; the figure offers three of the five columns."""
    printed = {
        "C10": {"ResNet": [(1.7, 11.26), (10.2, 10.56)],
                "DenseNet": [(1.0, 7.00), (7.0, 5.77), (27.2, 5.83)],
                "DenseNet-BC": [(0.8, 5.92), (15.3, 5.19)]},
        "C100": {"ResNet": [(1.7, 35.58), (10.2, 33.47)],
                 "DenseNet": [(1.0, 27.55), (7.0, 23.79), (27.2, 23.42)],
                 "DenseNet-BC": [(0.8, 24.15), (15.3, 19.64)]},
        "C10+": {"Wide ResNet": [(11.0, 4.81), (36.5, 4.17)],
                 "ResNet": [(1.7, 5.46), (10.2, 4.62)],
                 "DenseNet": [(1.0, 5.24), (7.0, 4.10), (27.2, 3.74)],
                 "DenseNet-BC": [(0.8, 4.51), (15.3, 3.62), (25.6, 3.46)]},
        "C100+": {"Wide ResNet": [(11.0, 22.07), (36.5, 20.50)],
                  "ResNet": [(1.7, 24.33), (10.2, 22.71)],
                  "DenseNet": [(1.0, 24.42), (7.0, 20.20), (27.2, 19.25)],
                  "DenseNet-BC": [(0.8, 22.27), (15.3, 17.60), (25.6, 17.18)]},
        "SVHN": {"Wide ResNet": [(2.7, 1.64)],
                 "DenseNet": [(1.0, 1.79), (7.0, 1.67), (27.2, 1.59)],
                 "DenseNet-BC": [(0.8, 1.76), (15.3, 1.74)]},
    }
    figure = figures.errors_of_table_2(published.TABLE_2)
    for data, lines in printed.items():
        found = figure.compute(data)["series"]
        assert {one["name"]: list(zip(one["x"], one["y"])) for one in found} == lines
        for line in found:
            ours = line["name"].startswith("DenseNet")
            assert line["role"] == ("idea" if ours else "control")
    assert figure.controls == {"data": ["C10+", "C100+", "SVHN"]}


def test_errors_on_imagenet_by_parameters():
    """Table 3, and the README of fb.resnet.torch."""
    size, other = {121: 8e6, 169: 14e6, 201: 2e7, 264: 33e6}, {50: 1, 101: 2, 152: 3}
    figure = figures.errors_on_imagenet(
        size, published.DENSENETS, {k: n * 1e7 for k, n in other.items()},
        published.RESNETS,
    )
    dense, residual = figure.frames[()]["series"]
    assert dense["x"] == [8, 14, 20, 33] and dense["y"] == [25.02, 23.80, 22.58, 22.15]
    assert residual["x"] == [10, 20, 30] and residual["y"] == [24.01, 22.44, 22.16]
    assert dense["role"] == "idea" and residual["role"] == "control"


def test_feature_use_is_shown_per_map_and_in_total():
    net = cifar_net(22, 2, stem_width=5)
    both = {figures.feature_use: "per map", figures.feature_use_in_total: "in total"}
    for draw, measure in both.items():
        figure = draw(feature_use, {"untrained": net, "trained": net}, [2, 3])
        frame = figure.compute(3)
        first, second = frame["panels"]
        assert first["role"] == "control" and second["role"] == "idea"
        wanted = feature_use(net, 3, measure)
        torch.testing.assert_close(first["values"], wanted, equal_nan=True)
        assert frame["rows"] == ["input", "H1", "H2", "H3", "H4", "H5", "H6"]
        assert frame["columns"] == ["H1", "H2", "H3", "H4", "H5", "H6", "next"]
        assert figure.controls == {"block": [2, 3]}


def test_gradients_and_memory_are_drawn_as_given():
    lines = figures.gradients({"chain": [3.0, 1], "slots": [2.0, 1]}).frames[()]
    chain, slots = lines["series"]
    assert chain["values"] == [3, 1] and chain["role"] == "control"
    assert slots["values"] == [2, 1] and slots["role"] == "idea"
    kept, less = figures.memory([6, 12], [4, 16], [2, 4]).frames[()]["series"]
    assert kept["x"] == less["x"] == [6, 12]
    assert kept["y"] == [4, 16] and kept["role"] == "control"
    assert less["y"] == [2, 4] and less["role"] == "idea"


# ---- bad input


def test_unknown_variant():
    with pytest.raises(ValueError, match="'densenet120'; there are densenet40_k12"):
        build("densenet120")


@pytest.mark.parametrize(
    ("depth", "layer", "unit"),
    [(41, DenseLayer, 3), (4, DenseLayer, 3), (13, BottleneckLayer, 6)],
)
def test_wrong_depth(depth, layer, unit):
    with pytest.raises(ValueError, match=f"{unit}n \\+ 4 .* not {depth}"):
        cifar_net(depth, 12, layer)


def test_a_transition_keeps_whole_channels_rounded_down():
    net = cifar_net(10, 3, compression=0.5, stem_width=5)  # 5 + 2 · 3 = 11
    assert [one.conv.weight.shape[:2] for one in net.transitions] == [(5, 11)] * 2
    one = cifar_net(10, 3, compression=0.05, stem_width=5)  # but at least one
    assert [block.in_channels for block in one.blocks] == [5, 1, 1]
    every = DenseNet(nn.Sequential(nn.Conv2d(1, 5, 3)), (2, 1), 3)  # unless told
    assert shapes(every.transitions[0].conv) == {"weight": (11, 11, 1, 1)}
    assert every.fc.weight.shape == (10, 14) and not dropouts(every)[0].p


@pytest.mark.parametrize("compression", [0, -0.5, 1.5])
def test_wrong_compression(compression):
    with pytest.raises(ValueError, match=f"above 0 and at most 1, not {compression}"):
        cifar_net(10, 12, compression=compression)


def test_changes_reach_every_variant():
    with torch.device("meta"):
        for name in VARIANTS:
            model = build(name, growth_rate=3, num_classes=7, dropout=0.1)
            assert model.fc.out_features == 7 and dropouts(model)[0].p == 0.1
            first = model.blocks[0].layers[0]
            assert list(first.parameters())[-1].shape[0] == 3  # k maps come out
            wide = 16 if "_k" in name and "_bc" not in name else 6  # otherwise 2k
            assert model.stem[0].out_channels == wide


# ---- exercises


def down(m, theta):
    return int(theta * m)


def channels(transition=down, last=False, start=lambda stem: stem):
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
            n, at = layer.norm, norm(layer, own)
            mean, var = n.running_mean[at], n.running_var[at]
            x = F.batch_norm(x, mean, var, n.weight[at], n.bias[at], eps=n.eps)
            weight = layer.conv.weight[:, kernel(own)]
            total = total + F.conv2d(relu(x), weight, padding=padding)
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
    parts = layer.conv.weight.split([x.shape[1] for x in maps], 1)
    return sum(F.conv2d(F.relu(x), part, padding=1) for x, part in zip(maps, parts))


def whole_norm(layer, maps):
    kernels = layer.conv.weight.split([x.shape[1] for x in maps], 1)
    pairs = zip(maps, kernels)
    return sum(F.conv2d(F.relu(layer.norm(x)), w, padding=1) for x, w in pairs)


def whole_kernel(layer, maps):
    return sum(F.conv2d(F.relu(x), layer.conv.weight, padding=1) for x in maps)


def own_statistics(layer, maps):
    total, start, norm = 0, 0, layer.norm
    for x in maps:
        own = slice(start, start + x.shape[1])
        scale = {"weight": norm.weight[own], "bias": norm.bias[own], "eps": norm.eps}
        x = F.batch_norm(x, None, None, training=True, **scale)
        total = total + F.conv2d(F.relu(x), layer.conv.weight[:, own], padding=1)
        start = own.stop
    return total


def split_at_once(layer, maps):
    """Right, another way: everything cut into parts before the loop."""
    sizes, norm = [x.shape[1] for x in maps], layer.norm
    kernels = layer.conv.weight.split(sizes, 1)
    scales = norm.weight / (norm.running_var + norm.eps).sqrt()
    shifts = (norm.bias - scales * norm.running_mean).split(sizes)
    parts = zip(maps, kernels, scales.split(sizes), shifts)
    normed = [(x * a[:, None, None] + b[:, None, None], w) for x, w, a, b in parts]
    return sum(F.conv2d(F.relu(x), weight, padding=1) for x, weight in normed)


def silenced(shift=0, reader_shift=0, also=None):
    def silence(block, reader, source):
        first, k = block.layers[0].conv.in_channels, block.layers[0].conv.out_channels
        start = 0 if source == 0 else first + k * (source - 1)
        stop = first + k * source
        with torch.no_grad():
            weight = block.layers[(reader - 1 + reader_shift) % 4].conv.weight
            weight[:, start + shift:stop + shift] = 0
            if also:
                block.layers[reader - 1].norm.weight[0] = 0
    return silence


def hard_coded(block, reader, source):
    with torch.no_grad():
        start = 0 if source == 0 else 1 + 4 * source
        block.layers[reader - 1].conv.weight[:, start:5 + 4 * source] = 0


def recorded(block, reader, source):
    start = 0 if source == 0 else block.in_channels + 4 * (source - 1)
    block.layers[reader - 1].conv.weight[:, start:block.in_channels + 4 * source] = 0


def masked(block, reader, source):
    """Right, another way."""
    conv = block.layers[reader - 1].conv
    made = torch.arange(conv.in_channels) - block.in_channels
    of = torch.div(made, conv.out_channels, rounding_mode="floor") + 1
    of = of.clamp(min=0)
    conv.weight = nn.Parameter(conv.weight.detach() * (of != source)[:, None, None])


def first_is_narrow(block, reader, source):
    with torch.no_grad():
        block.layers[reader - 1].conv.weight[:, 4 * source:4 * source + 4] = 0


def up(m, theta):
    return math.ceil(theta * m)


def half(m, theta):
    return m // 2 if theta < 1 else m


def unrounded(m, theta):
    return theta * m


def own_kernel(own):
    return slice(0, own.stop - own.start)


CHANNELS = [
    (channels(last=True), "no transition after the last block"),
    (channels(transition=lambda m, theta: m), "keeps only"),
    (channels(start=lambda stem: 0), "stem's channels"),
    (channels(transition=up), "round down"),
    (channels(transition=half), "θ = 0.25 your function"),
    (lambda *case: int(channels(transition=unrounded)(*case)), "round down"),
    (channels(transition=unrounded), "a whole number"),
    (lambda *case: None, "a whole number of channels, not None"),
]
WITHOUT = [
    (lambda layer, maps: layer(torch.cat(maps, 1)), "it concatenates"),
    (lambda layer, maps: layer(torch.hstack(maps)), "it concatenates"),
    (lambda layer, maps, join=torch.cat: layer(join(maps, 1)), "it concatenates"),
    (fills_a_buffer, "it concatenates"),
    (lambda layer, maps: None, "a tensor, not NoneType"),
    (only_first, "only the first map"),
    (slices(padding=0), "the shape should be"),
    (slices(relu=lambda x: x), "the ReLU is missing"),
    (slices(norm=lambda layer, own: own_kernel(own)), "the values differ"),
    (slices(kernel=own_kernel), "the values differ"),
    (writes, "the layer has changed"),
    (whole_norm, "its own channels of the batch norm"),
    (whole_kernel, "its own channels of the batch norm"),
    (no_norm, "the batch norm is missing"),
    (own_statistics, "the batch's own statistics"),
]
SILENCE = [
    (lambda *case: None, "no weight has changed"),
    (silenced(shift=-1), "channels 9 to 12 to zero; yours zeroes"),
    (silenced(reader_shift=1), "should change 'layers.2.conv.weight' alone"),
    (silenced(also=True), "alone, it changed"),
    (first_is_narrow, "to zero; yours zeroes"),
    (hard_coded, "to zero; yours zeroes"),
    (recorded, "no_grad"),
]


def by_formula(stem, growth_rate, depths, compression):
    *first, last = depths
    for depth in first:
        stem = math.floor((stem + growth_rate * depth) * compression)
    return stem + growth_rate * last


# ---- exercises of the assignment


def from_layers(k):
    c = 1
    while True:
        with torch.device("meta"):
            pair = DenseLayer(c, k), BottleneckLayer(c, k)
        dense, squeezed = (
            sum(w.numel() for w in layer.parameters() if w.dim() == 4) for layer in pair
        )
        if squeezed < dense:
            return c
        c += 1


def at_a_quarter(transition, x, pool=F.avg_pool2d):
    """A right answer, to plant faults in."""
    return transition.conv(pool(F.relu(transition.norm(x)), 2))


def by_matrix(transition, x):
    """Right, another way."""
    x = F.avg_pool2d(torch.relu(transition.norm(x)), 2)
    return torch.einsum("oc,bchw->bohw", transition.conv.weight[:, :, 0, 0], x)


def by_slices(transition, x):
    x = F.relu(transition.norm(x))
    rows = x[:, :, ::2] + x[:, :, 1::2]
    return transition.conv((rows[..., ::2] + rows[..., 1::2]) / 4)


def total(x, size):
    return 4 * F.avg_pool2d(x, size)


def every_fourth(x, size):
    return x[:, :, ::size, ::size]


def no_transition_norm(transition, x):
    return transition.conv(F.avg_pool2d(F.relu(x), 2))


def stored_statistics(transition, x):
    norm = transition.norm
    scale = norm.weight, norm.bias
    x = F.batch_norm(x, norm.running_mean, norm.running_var, *scale, eps=norm.eps)
    return transition.conv(F.avg_pool2d(F.relu(x), 2))


def unmoved(transition, x):
    norm = transition.norm
    if not norm.training:
        return at_a_quarter(transition, x)
    x = F.batch_norm(x, None, None, norm.weight, norm.bias, True, eps=norm.eps)
    return transition.conv(F.avg_pool2d(F.relu(x), 2))


def shortened(shift=0, slices=None, stats=True, copied=True, norms=True):
    """A right answer, to plant faults in. slices: the channels that a kernel keeps."""
    def without_layer(block, number):
        k, number = block.layers[0].conv.out_channels, number + shift
        start = block.in_channels + k * (number - 1)
        shorter = DenseBlock(len(block.layers) - 1, block.in_channels, k)
        rest = [one for i, one in enumerate(block.layers, 1) if i != number]
        for new, old in zip(shorter.layers, rest):
            reads = range(old.conv.in_channels)
            kept = [c for c in reads if not start <= c < start + k]
            if slices:
                kept = slices(reads, len(kept))
            with torch.no_grad():
                if copied:
                    new.conv.weight.copy_(old.conv.weight[:, kept])
                if norms:
                    new.norm.weight.copy_(old.norm.weight[kept])
                    new.norm.bias.copy_(old.norm.bias[kept])
                if stats:
                    new.norm.running_mean.copy_(old.norm.running_mean[kept])
                    new.norm.running_var.copy_(old.norm.running_var[kept])
        return shorter
    return without_layer


def by_copies(block, number):
    """Right, another way: a copy whose tensors are cut."""
    block = deepcopy(block)
    k = block.layers[0].conv.out_channels
    start = block.in_channels + k * (number - 1)
    del block.layers[number - 1]
    block.out_channels -= k

    def cut(tensor, dim):
        parts = tensor.narrow(dim, 0, start), tensor.narrow(
            dim, start + k, tensor.shape[dim] - start - k
        )
        return torch.cat(parts, dim).detach()

    for layer in block.layers[number - 1:]:
        norm = layer.norm
        layer.conv.weight = nn.Parameter(cut(layer.conv.weight, 1))
        norm.weight = nn.Parameter(cut(norm.weight, 0))
        norm.bias = nn.Parameter(cut(norm.bias, 0))
        norm.running_mean = cut(norm.running_mean, 0)
        norm.running_var = cut(norm.running_var, 0)
        norm.num_features -= k
    return block


def deleted(block, number):
    block = deepcopy(block)
    del block.layers[number - 1]
    return block


def deleted_in_place(block, number):
    del block.layers[number - 1]
    return block


def half_cut(block, number):
    """The kernels and the statistics are cut, scales and shifts are not."""
    whole, cut = deepcopy(block), shortened()(block, number)
    del whole.layers[number - 1]
    for old, new in zip(whole.layers, cut.layers):
        new.norm.weight, new.norm.bias = old.norm.weight, old.norm.bias
    return cut


def last_out(block, number):
    return shortened(4 - number)(block, number)


def again(second, first=lambda norm, x: norm(x)):
    """Squeezes are computed twice: by `first`, then by `second(norm, x)`."""
    def counted_once(block, x):
        def squeeze(layer, runs, *maps):
            x = (second if runs else first)(layer.norm1, torch.cat(maps, dim=1))
            runs.append(1)
            return layer.conv1(F.relu(x))

        maps = [x]
        for layer in block.layers:
            inner = recompute(squeeze, layer, [], *maps, use_reentrant=False)
            maps.append(layer.grow(inner))
        return torch.cat(maps, dim=1)
    return counted_once


def moving(norm, x, momentum=0.1, training=None):
    training = norm.training if training is None else training
    stored = norm.running_mean, norm.running_var
    scale = norm.weight, norm.bias
    return F.batch_norm(x, *stored, *scale, training, momentum, norm.eps)


def still(norm, x):
    return moving(norm, x, 0.0)


def put_back(norm, x):
    kept = norm.running_mean.clone(), norm.running_var.clone()
    y = norm(x)
    with torch.no_grad():
        norm.running_mean.copy_(kept[0])
        norm.running_var.copy_(kept[1])
    return y


def without_statistics(norm, x):
    return F.batch_norm(x, None, None, norm.weight, norm.bias, True, eps=norm.eps)


def half_way(norm, x):
    return moving(norm, x, 1 - 0.9**0.5)


def always_the_batch(norm, x):
    if norm.training:
        return norm(x)
    return without_statistics(norm, x)


def in_eval(norm, x):
    return moving(norm, x, training=False)


def once_for_ever(block, x):
    """The second run is told by a mark on the layer, which stays."""
    def squeeze(layer, *maps):
        norm = still if hasattr(layer, "seen") else moving
        layer.seen = True
        return layer.conv1(F.relu(norm(layer.norm1, torch.cat(maps, dim=1))))

    maps = [x]
    for layer in block.layers:
        inner = recompute(squeeze, layer, *maps, use_reentrant=False)
        maps.append(layer.grow(inner))
    return torch.cat(maps, dim=1)


ONCE = [
    (FrugalBlock.forward, "the second run has moved"),
    (DenseBlock.forward, "times as much as a FrugalBlock"),
    (again(still, still), "has not moved the running statistics"),
    (again(without_statistics), "the same steps as the first"),
    (again(without_statistics, without_statistics), "has not moved"),
    (again(moving, still), "has not moved"),
    (again(half_way, half_way), "after the forward pass the running statistics differ"),
    (again(in_eval), "the gradients differ|the same steps"),
    (again(in_eval, in_eval), "takes the batch's statistics"),
    (again(put_back, always_the_batch), "in eval mode the running statistics"),
    (once_for_ever, "with a second batch"),
    (lambda block, x: again(still)(block, x).detach(), "the output has no gradient"),
    (lambda block, x: again(still)(block, x)[:, 6:], "the input and all maps"),
    (lambda block, x: None, "a tensor, not NoneType"),
]
PAYS = [
    (lambda k: 36 * k / 5, "a whole number"),
    (lambda k: math.ceil(36 * k / 5), "the two are equal"),
    (lambda k: 1, "after the 1×1 there is a 3×3"),
    (lambda k: 9 * k // 5 + 1, "reads 4k channels"),
    (lambda k: 9 * k // 8 + 1, "squeezes to 4k"),
    (lambda k: 144 * k // 5 + 1, "makes k channels"),
    (lambda k: (36 * k + 8) // 5 + 1, "batch norms are not counted"),
    (lambda k: 36 * k // 5, "does not have fewer yet"),
    (lambda k: 4 * k, "compare a dense layer's 9ck"),
]
CHEAPER = [
    (lambda t, x: t(x), "still reads every pixel"),
    (lambda t, x: F.avg_pool2d(t.conv(F.relu(t.norm(x))), 2), "reads every pixel"),
    (
        lambda t, x: t.conv(F.relu(F.avg_pool2d(t.norm(x), 2))),
        "the ReLU must come before the average",
    ),
    (
        lambda t, x: t.conv(F.relu(t.norm(F.avg_pool2d(x, 2)))),
        "the ReLU must come before the average",
    ),
    (lambda t, x: t.conv(F.avg_pool2d(t.norm(x), 2)), "the ReLU is missing"),
    (no_transition_norm, "the batch norm is missing"),
    (partial(at_a_quarter, pool=every_fourth), "one pixel of four"),
    (partial(at_a_quarter, pool=F.max_pool2d), "not the largest"),
    (partial(at_a_quarter, pool=total), "a quarter of their sum"),
    (lambda t, x: t.conv(F.relu(t.norm(x))), "the map is halved once"),
    (stored_statistics, "in training mode the values differ"),
    (unmoved, "the running statistics should move"),
    (lambda t, x: None, "a tensor, not NoneType"),
]
TAKEN = [
    (deleted, "its kernel 13: cut its slice"),
    (deleted_in_place, "the block given has changed"),
    (half_cut, "its norm has 9 and 13"),
    (last_out, "layer 4 is out in place of layer 2"),
    (shortened(shift=1), "layer 3 is out in place of layer 2: 1 is the first"),
    (shortened(slices=lambda reads, left: reads[:left]), "the wrong channels"),
    (shortened(slices=lambda reads, left: reads[-left:]), "the wrong channels"),
    (shortened(stats=False), "the old running_mean"),
    (shortened(norms=False), "the old weight"),
    (shortened(copied=False), "not those of the layers that stay"),
    (lambda block, number: block.layers, "a DenseBlock, not ModuleList"),
    (lambda block, number: deepcopy(block), "three should be left, not 4"),
]
PLANTED = [
    (check, wrong, hint)
    for check, plants in (
        ("final_channels", CHANNELS),
        ("without_concatenation", WITHOUT),
        ("silence", SILENCE),
        ("pays_from", PAYS),
        ("cheaper", CHEAPER),
        ("without_layer", TAKEN),
        ("counted_once", ONCE),
    )
    for wrong, hint in plants
]


@pytest.mark.parametrize(("check", "wrong", "hint"), PLANTED)
def test_planted_wrong_answers_fail(check, wrong, hint):
    line = verdict(wrong, checker("densenet", check))
    assert line.startswith("✗") and re.search(hint, line), line


@pytest.mark.parametrize(("check", "right"), [
    ("final_channels", channels()),
    ("final_channels", by_formula),
    ("without_concatenation", slices()),
    ("without_concatenation", split_at_once),
    ("silence", silenced()),
    ("silence", masked),
    ("pays_from", lambda k: math.floor(7.2 * k + 1e-9) + 1),
    ("pays_from", from_layers),
    ("cheaper", at_a_quarter),
    ("cheaper", by_matrix),
    ("cheaper", by_slices),
    ("without_layer", shortened()),
    ("without_layer", by_copies),
    ("counted_once", again(still)),
    ("counted_once", again(put_back)),
])
def test_right_answers_of_any_form_pass(check, right):
    line = verdict(right, checker("densenet", check))
    assert line.startswith("✓"), line


def test_the_solutions_of_the_assignment_pass():
    cells = source_notebook("densenet", "DenseNet").cells
    points = [cell.metadata.nbgrader.get("points") for cell in cells]
    assert [one for one in points if one] == [2, 3, 4, 5]
