"""Networks and helpers on other devices and in other types; masks and padding."""

from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from kit import probe, text, train
from kit.data import Split, minibatches
from lessons import albert, ctrl, deberta, densenet, electra, resnet
from lessons.published import albert as published_albert
from lessons.published import ctrl as published_ctrl
from lessons.published import deberta as published_deberta
from lessons.published import electra as published_electra

# ---- a second device, on any machine

FAR = "lazy"  # a name that torch knows everywhere, and that nobody's tensors have
aten = torch.ops.aten
MAY_MIX = (aten.copy_.default, aten._to_copy.default, aten.index.Tensor)


class FarTensor(torch.Tensor):
    """A tensor that says it is on FAR. What it holds is `near`, on the processor."""

    @staticmethod
    def __new__(cls, near):
        place = near.shape, near.stride(), near.storage_offset()
        made = torch.Tensor._make_wrapper_subclass
        return made(cls, *place, dtype=near.dtype, device=FAR)

    def __init__(self, near):
        self.near = near

    def tolist(self):
        return self.near.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        with Far():
            return func(*args, **kwargs or {})


class Far(TorchDispatchMode):
    """In this block there is FAR. What mixes devices raises, as on an accelerator."""

    generators = ()  # those that draw on FAR

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, goes_far = kwargs or {}, self.check(func, args, kwargs or {})
        near_args, near_kwargs = tree_map(near, (args, kwargs))
        if "device" in kwargs:
            near_kwargs["device"] = "cpu"
        found = func(*near_args, **near_kwargs)
        if not goes_far:
            return found
        found = tree_map(away_from, found)
        return return_and_correct_aliasing(func, args, kwargs, found)

    def check(self, func, args, kwargs):
        """Whether the result is on FAR; RuntimeError for what no accelerator takes."""
        leaves = tree_leaves((args, kwargs))
        tensors = [one for one in leaves if isinstance(one, torch.Tensor)]
        far = [isinstance(one, FarTensor) for one in tensors]
        if kwargs.get("device") is not None:
            goes_far = torch.device(kwargs["device"]).type == FAR
        else:
            goes_far = far[0] if func is aten.copy_.default else any(far)
        here = any(one.ndim and not there for one, there in zip(tensors, far))
        drawn = [one._cdata for one in leaves if isinstance(one, torch._C.Generator)]
        known = [one._cdata for one in self.generators]
        wrong_generator = any((one in known) != goes_far for one in drawn)
        if any(far) and here and func not in MAY_MIX or wrong_generator:
            raise RuntimeError(f"{func} mixes devices")
        return goes_far


def near(one):
    return one.near if isinstance(one, FarTensor) else one


def away_from(one):
    return FarTensor(one) if isinstance(one, torch.Tensor) else one


@pytest.fixture
def on(request, monkeypatch):
    """A device by name, with what it takes to use it."""

    def generator(device="cpu", new=torch.Generator):
        made = new()
        if torch.device(device).type == FAR:
            monkeypatch.setattr(Far, "generators", (*Far.generators, made))
        return made

    if request.param != FAR:
        yield request.param
        return
    monkeypatch.setattr(torch, "Generator", generator)
    # where torch looks for the functions of a device
    monkeypatch.setattr(torch, FAR, torch.cpu, raising=False)
    with Far():
        yield FAR


ACCELERATOR = []
if torch.accelerator.is_available():
    with suppress(RuntimeError):  # a virtual Mac has one that nothing fits into
        place = torch.accelerator.current_accelerator()
        ACCELERATOR.append(torch.ones(1, device=place).device.type)
everywhere = pytest.mark.parametrize("on", ["meta", FAR, *ACCELERATOR], indirect=True)
away = pytest.mark.parametrize("on", [FAR, *ACCELERATOR], indirect=True)
floating = pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])


def refused(message):
    return pytest.raises(ValueError, match=message)


def seeded(run, *given, seed=0):
    """What `run` returns, with the same random numbers every time."""
    torch.manual_seed(seed)
    return run(*given)


def same(found, expected, device):
    """On the device; and, but on `meta`, the same numbers as on the processor."""
    assert found.device.type == device and found.shape == expected.shape
    if device != "meta":
        assert torch.allclose(found.cpu(), expected, atol=1e-4, equal_nan=True)


# ---- small networks

TINY = dict(
    vocab_size=97,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=32,
    max_position_embeddings=40,
)
SMALL = TINY | dict(embedding_size=16)
BERT, ALBERT = albert.Config(**TINY), albert.AlbertConfig(**SMALL)
ELECTRA = electra.ElectraConfig(**SMALL)
RELATED = TINY | dict(max_relative_positions=8)
DEBERTA = deberta.DebertaConfig(**RELATED)
V2 = published_deberta.V2Config(**RELATED, position_buckets=6, conv_kernel_size=3)
TINY_CTRL = dict(
    vocab_size=97,
    n_positions=40,
    n_embd=24,
    dff=32,
    n_layer=2,
    n_head=4,
    initializer_range=0.3,
)
CTRL = ctrl.Config(**TINY_CTRL)


def started(model):
    """With initial weights as large as the other networks here have them."""
    return model.apply(partial(albert.init_weights, std=0.3))


class Both(albert.PreTraining):
    """ALBERT in training, its two answers in one tensor."""

    def forward(self, *inputs):
        return torch.cat([one.flatten(1) for one in self.both(*inputs)], dim=1)


class Frugal(nn.Sequential):
    def __init__(self):
        super().__init__(densenet.FrugalBlock(2, 3, 4), nn.Flatten())


def labelled():
    return started(published_albert.Classifier(albert.albert(ALBERT)))


def detective():
    return started(electra.Discriminator(electra.new_encoder(ELECTRA)))


def relative():
    return started(deberta.Deberta(DEBERTA, deberta.DisentangledAttention))


def decoded():
    return started(albert.MaskedLM(deberta.MaskDecoder(DEBERTA)))


def pair():
    narrow = replace(ELECTRA, hidden_size=12)
    generator = albert.MaskedLM(electra.new_encoder(narrow))
    return electra.Electra(detective(), started(generator))


def bottleneck():
    widths = (16, 32)
    return resnet.imagenet_net((1, 1), resnet.Bottleneck, widths, stem_width=8)


IMAGES = {
    "ResNet": lambda: resnet.cifar_net(8, resnet.BasicBlock, width=4),
    "plain": lambda: resnet.cifar_net(8, resnet.PlainBlock, width=4),
    "bottleneck": bottleneck,
    "DenseNet": lambda: densenet.cifar_net(10, 4),
    "DenseNet-BC": lambda: densenet.cifar_net(10, 4, densenet.BottleneckLayer, 0.5),
    "frugal": Frugal,
}
TEXTS = {
    "BERT": lambda: started(albert.bert(BERT)),
    "ALBERT": lambda: started(albert.albert(ALBERT)),
    "ALBERT, words": lambda: started(albert.MaskedLM(albert.albert(ALBERT))),
    "ELECTRA": detective,
    "ELECTRA, small": lambda: electra.small_electra().discriminator,
    "DeBERTa": relative,
    "DeBERTa, words": decoded,
    "DeBERTa V2": lambda: started(published_deberta.DebertaV2(V2)),
    "CTRL": lambda: published_ctrl.Body(CTRL),
    "CTRL, words": lambda: published_ctrl.Readable(CTRL),
}
LABELS = {
    "ALBERT, label": labelled,
    "ALBERT in training": lambda: started(Both(albert.albert(ALBERT))),
    "DeBERTa, label": lambda: started(published_deberta.Classifier(relative())),
}
NETWORKS = IMAGES | TEXTS | LABELS


def network(name, device="cpu"):
    """With the same weights on every device."""
    return seeded(NETWORKS[name]).eval().to(device)


def inputs(name):
    """Images `(2, 3, 8, 8)`; or ids, a mask with padding, segments, `(2, 7)` each."""
    generator = torch.Generator().manual_seed(1)
    if name in IMAGES:
        return (torch.randn(2, 3, 8, 8, generator=generator),)
    ids = torch.randint(5, 97, (2, 7), generator=generator)
    segments = torch.randint(2, (2, 7), generator=generator)
    mask = (torch.arange(7) < torch.tensor([[7], [4]])).long()
    return ids, mask, segments


IDS, MASK, SEGMENTS = inputs("ALBERT")
CHOSEN, LABELLED = IDS > 50, torch.tensor([1, 2])
SPLIT = Split(*inputs("ResNet"), LABELLED)


# ---- devices


@everywhere
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs_on_any_device(name, on):
    expected = network(name)(*inputs(name))
    same(network(name, on)(*(one.to(on) for one in inputs(name))), expected, on)


def in_two_parts(model, ids):
    memory = ctrl.new_memory(model, len(ids))
    ctrl.read_on(model, ids[:, :3], memory)
    return ctrl.read_on(model, ids[:, 3:], memory, torch.ones_like(ids))


def loss(on, ids):
    return electra.electra_loss(seeded(pair).to(on), ids)


def masked_lm_loss(on, ids):
    return electra.masked_lm_loss(electra.small_masked_lm().to(on), ids)


def taken_apart(on, ids):
    return deberta.taken_apart(network("DeBERTa", on), ids[:1])["p2c"]


def short_sighted(on, ids):
    return deberta.short_sighted(network("DeBERTa", on).positions.weight, 2)


def likes(on, ids):
    model, x = network("DeBERTa", on), torch.ones(3, 24, device=on)
    attention, positions = model.layers[0].attention, model.positions.weight
    return deberta.likes(attention, x, positions, "p2c")


def generated(on, ids, length):
    model = network("CTRL, words", on)
    return ctrl.generate(model, ids, length, ctrl.penalised)[1]


def small_ctrl(on):
    torch.manual_seed(0)
    return ctrl.Ctrl(ctrl.SMALL).to(on)


HELPERS = {  # each with a device, and ids that are there
    "hide": lambda on, ids: torch.stack(albert.hide(ids, CHOSEN.to(on), 97)),
    "choose": lambda on, ids: albert.choose(ids),
    "choose, ELECTRA": lambda on, ids: electra.choose(ids),
    "Deberta.states": lambda on, ids: network("DeBERTa", on).states(ids)[-1],
    "taken_apart": taken_apart,
    "short_sighted": short_sighted,
    "likes": likes,
    "a memory": lambda on, ids: in_two_parts(network("CTRL, words", on), ids),
    "generate": lambda on, ids: generated(on, ids, 3),
    "generate nothing": lambda on, ids: generated(on, ids, 0),
    "token_losses": lambda on, ids: ctrl.token_losses(small_ctrl(on), IDS, 5),
    "weight_on_first": lambda on, ids: ctrl.weight_on_first(small_ctrl(on), ids),
    "feature_use": lambda on, ids: densenet.feature_use(network("DenseNet", on), 1),
}
WITH_VALUES = {  # they hand numbers to Python, which `meta` has not
    "choose_ngrams": lambda on, ids: published_albert.choose_ngrams(ids.argsort(1)),
    "electra_loss": loss,
    "masked_lm_loss": masked_lm_loss,
}


def fitted(on):
    model = network("ResNet", on)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return train.fit(model, [SPLIT] * 2, F.cross_entropy, optimizer)


def solved(on):
    solver = deberta.started(deberta.Solver(deberta.small_encoder("c2p"))).to(on)
    return deberta.tested(solver, "reader")


def nouns(on):
    encoder = deberta.small_encoder("both", deberta.NOUNS).to(on)
    return deberta.right_kind(deberta.started(albert.MaskedLM(encoder)).to(on))


def by_place(on):
    model = deberta.text_model("c2p", 0).to(on)
    return deberta.loss_by_place(model, torch.arange(5, 645).view(10, 64)).tolist()


WINDOWS = torch.arange(5, 69).view(4, 16)


def small_bert(on):
    return albert.MaskedLM(albert.bert(albert.SMALL)).to(on)


PAIRS = [([5, 6, 7], [8, 9]), ([10, 11], [12, 13, 14])] * 8


def percent_of_pairs(on):
    model = albert.PreTraining(albert.albert(albert.PAIRS)).to(on)
    return albert.percent_right(model, PAIRS, albert.turned(PAIRS))


def obeyed(on):
    return ctrl.obeyed(small_ctrl(on), 0, each=1)


NUMBERS = {
    "solved": solved,
    "nouns": nouns,
    "loss_by_place": by_place,
    "percent_right, ALBERT": percent_of_pairs,
    "held_out_loss": lambda on: albert.held_out_loss(small_bert(on), WINDOWS),
    "movement": lambda on: albert.movement(small_bert(on).encoder, WINDOWS.to(on))[0],
    "error": lambda on: train.error(network("ResNet", on), SPLIT),
    "fit": fitted,
    "multiply_adds": lambda on: probe.multiply_adds(network("ResNet", on), 1, 3, 8, 8),
    "obeyed": obeyed,
}


@everywhere
@pytest.mark.parametrize("name", HELPERS | WITH_VALUES)
def test_a_helper_works_where_its_tensors_are(name, on):
    if on == "meta" and name in WITH_VALUES:
        pytest.skip("there are no values")
    helper = (HELPERS | WITH_VALUES)[name]
    expected = seeded(helper, "cpu", IDS, seed=1)
    same(seeded(helper, on, IDS.to(on), seed=1), expected, on)


@away
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_the_same_on_any_device(name, on, monkeypatch):
    news = ["News"] * 6
    monkeypatch.setattr(ctrl, "with_codes", lambda prompt, codes: IDS[:1].expand(6, -1))
    monkeypatch.setattr(ctrl, "kind_judge", lambda: None)
    monkeypatch.setattr(ctrl, "verdicts", lambda judge, rows: news)
    expected = seeded(NUMBERS[name], "cpu")
    assert seeded(NUMBERS[name], on) == pytest.approx(expected, abs=1e-4)


def test_a_generator_stays_where_it_is_or_goes_on_elsewhere():
    random = torch.Generator().manual_seed(3)
    for device in ("cpu", torch.device("cpu"), "meta"):
        assert train.generator_on(device, random) is random
    for device in ACCELERATOR:
        moved = train.generator_on(device, random)
        assert moved.device.type == device and moved.initial_seed() == 3
        assert train.generator_on(device, moved) is moved


@pytest.mark.parametrize("name", TEXTS | LABELS)
def test_a_network_runs_where_tensors_have_only_shapes(name):
    with FakeTensorMode():
        given = [torch.empty_like(one, device="cpu") for one in inputs(name)]
        assert NETWORKS[name]()(*given).shape[0] == 2


# ---- types


@floating
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs_in_any_floating_type(name, kind):
    model, given = network(name), list(inputs(name))
    expected = model(*given)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
        mixed = model(*given)
    given[0] = train.placed(given[0], model.to(kind))
    # a mask may be of another type than the network
    given[1:2] = [mask.float() for mask in given[1:2]]
    found = model(*given)
    assert found.dtype == kind
    for one in (found, mixed):
        one = one.float().flatten()
        assert F.cosine_similarity(one, expected.flatten(), dim=0) > 0.999


@floating
def test_helpers_work_in_any_floating_type(kind):
    loss = electra.electra_loss(pair().to(kind), IDS)
    assert loss.dtype == kind and loss.isfinite()
    model = network("CTRL, words").to(kind)
    ids, p = ctrl.generate(model, IDS, 3, ctrl.sampled)
    assert ids.shape == (2, 10) and p.dtype == kind
    assert ctrl.generate(model, IDS, 0, ctrl.sampled)[1].shape == (2, 0)
    assert densenet.feature_use(network("DenseNet").to(kind), 1).shape == (3, 3)
    classifier = network("ResNet").to(kind)
    assert train.error(classifier, SPLIT) in (0, 50, 100)
    size = probe.multiply_adds(classifier, 1, 3, 8, 8)
    assert size == probe.multiply_adds(network("ResNet"), 1, 3, 8, 8)
    optimizer = torch.optim.SGD(classifier.parameters(), 0.1)
    assert len(train.fit(classifier, [SPLIT], F.cross_entropy, optimizer)) == 1


def test_tables_of_positions_are_exact_whatever_type_is_the_default():
    far = torch.arange(-60, 61)
    waves, buckets = ctrl.sinusoids(40, 24), deberta.log_buckets(far, 32, 128)
    for kind in (torch.bfloat16, torch.float64):
        torch.set_default_dtype(kind)
        try:
            assert torch.equal(ctrl.sinusoids(40, 24), waves)
            assert torch.equal(deberta.log_buckets(far, 32, 128), buckets)
        finally:
            torch.set_default_dtype(torch.float32)


# ---- masks


INTEGERS = [torch.bool, torch.uint8, torch.int64]
FLOATS = [torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("kind", INTEGERS + FLOATS)
@pytest.mark.parametrize("name", TEXTS)
def test_a_mask_may_be_of_any_type(name, kind):
    model = network(name)
    found, expected = model(IDS, MASK.to(kind)), model(IDS, MASK)
    assert found.dtype == torch.float32
    assert torch.equal(found[MASK == 1], expected[MASK == 1])
    if not name.startswith("CTRL"):  # which never looks ahead
        assert not torch.equal(expected[1, :4], model(IDS)[1, :4])


@pytest.mark.parametrize("kind", [torch.int64, torch.float32])
def test_parts_take_masks_of_any_type(kind):
    torch.manual_seed(0)
    x, mask = torch.randn(2, 7, 24), MASK[:, None, None]
    attention = albert.SelfAttention(24, 4)
    for part in (attention.weights, deberta.ContentToContent(24, 4)):
        assert torch.equal(part(x, mask.to(kind)), part(x, mask.bool()))
    added = torch.zeros(mask.shape).masked_fill(mask == 0, -torch.inf)
    assert torch.allclose(attention(x, added), attention(x, mask.bool()), atol=1e-6)


@pytest.mark.parametrize("name", TEXTS)
def test_padding_changes_nothing_for_the_tokens(name):
    model = network(name)
    assert torch.allclose(model(IDS, MASK)[1, :4], model(IDS[1:, :4])[0], atol=1e-5)


NO_MASKS = {
    "short": (MASK[:, :1], r"a tensor \(2, 7\), a number for each, not shape \(2, 1\)"),
    "long": (torch.ones(2, 8), r"a tensor \(2, 7\).*, not shape \(2, 8\)"),
    "four axes": (MASK[:, None, None], r"not shape \(2, 1, 1, 7\)"),
    "a list": (MASK.tolist(), "not a list"),
    "to be added": ((1 - MASK) * -1e4, "for padding, not -10000 to "),
    "twos": (2 * MASK, "1 for tokens and 0 for padding, not 0 to 2"),
    "an empty row": (
        MASK * torch.tensor([[1], [0]]),
        "row 1 of attention_mask has no token: every text has one",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(("mask", "message"), NO_MASKS.values(), ids=NO_MASKS)
def test_what_is_no_mask_is_refused(name, mask, message):
    with refused(message):
        network(name)(IDS, mask)


def test_a_mask_tells_of_the_tokens_in_the_memory_as_well():
    model = network("CTRL, words")
    memory = ctrl.new_memory(model, 2)
    ctrl.read_on(model, IDS[:, :4], memory, MASK[:, :4])
    for short in (torch.ones(2, 1), torch.ones(2, 4)):
        with refused(r"\(2, 5\), a number for the 4 tokens in the cache and each new"):
            ctrl.read_on(model, IDS[:, 4:5], memory, short)


# ---- padding on the left: the reference says what is right


def from_reference(kind, read, folder, sizes, head="Model"):
    """A network of `transformers` and ours with the same random weights, in float64."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(**sizes)
    theirs = seeded(getattr(transformers, kind + head), config).eval()
    theirs.save_pretrained(folder)
    return theirs.double(), read(folder).double()


RELATIVE = TINY | dict(
    relative_attention=True,
    pos_att_type=["c2p", "p2c"],
    max_relative_positions=8,
    position_biased_input=False,
)
RELATIVE_V2 = RELATIVE | dict(
    position_buckets=6,
    share_att_key=True,
    norm_rel_ebd="layer_norm",
    conv_kernel_size=3,
    conv_act="gelu",
)


@pytest.mark.parametrize(
    ("kind", "read", "sizes"),
    [
        ("Bert", published_albert.from_pretrained, TINY),
        ("Albert", published_albert.from_pretrained, SMALL),
        ("Electra", published_electra.from_pretrained, SMALL),
        ("Deberta", published_deberta.from_pretrained, RELATIVE),
        ("DebertaV2", published_deberta.from_pretrained, RELATIVE_V2),
    ],
)
def test_padding_on_the_left_is_as_the_reference_reads_it(tmp_path, kind, read, sizes):
    theirs, ours = from_reference(kind, read, tmp_path, sizes)
    mask = MASK.flip(1)
    with torch.no_grad():
        expected, found = theirs(IDS, attention_mask=mask)[0], ours(IDS, mask)
    assert expected.abs().max() > 0.1
    assert (found - expected)[mask == 1].abs().max() < 1e-6


def test_ctrl_writes_behind_padding_on_the_left_as_the_reference_does(tmp_path):
    theirs, ours = from_reference(
        "CTRL", published_ctrl.from_pretrained, tmp_path, TINY_CTRL, head="LMHeadModel"
    )
    mask = MASK.flip(1)
    greedy = dict(max_new_tokens=6, do_sample=False, pad_token_id=0)
    expected = theirs.generate(IDS, attention_mask=mask, **greedy)
    memory, ids, new = ctrl.new_memory(ours, 2), IDS, IDS
    with torch.no_grad():
        for _ in range(6):
            logits = ctrl.read_on(ours, new, memory, mask)[:, -1]
            new = logits.argmax(1, keepdim=True)
            ids, mask = torch.cat([ids, new], dim=1), F.pad(mask, (0, 1), value=1)
    assert torch.equal(ids, expected)


@pytest.mark.parametrize("name", LABELS)
def test_an_answer_at_the_first_place_is_not_read_from_padding(name):
    why = "row 1 of attention_mask begins with padding, and .* pad on the right"
    with refused(why):
        network(name)(IDS, MASK.flip(1))


# ---- nothing chosen, and ids that are none

NONE = torch.zeros(2, 7, dtype=torch.bool)


UNCHOSEN = "no token is chosen, so nothing can be learned: choose one or more"
EMPTY = {
    "electra_loss": (lambda: loss("cpu", torch.ones_like(IDS)), UNCHOSEN),
    "masked_lm_loss": (lambda: masked_lm_loss("cpu", torch.ones_like(IDS)), UNCHOSEN),
    "hide": (lambda: albert.hide(IDS, NONE, 97), UNCHOSEN),
    "told by int": (
        lambda: albert.hide(IDS, MASK, 97),
        "the chosen tokens should be told by bool, not torch.int64",
    ),
    "windows": (lambda: text.windows([[1, 2], []], 3), "no document of 3 tokens"),
    "minibatches": (
        lambda: minibatches(SPLIT, 3, 1, 0),
        "2 images are too few for a batch of 3",
    ),
}


@pytest.mark.parametrize(("attempt", "message"), EMPTY.values(), ids=EMPTY)
def test_an_empty_selection_is_refused(attempt, message):
    with refused(message):
        attempt()


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("place", [-1, 10**6])
def test_ids_out_of_range_are_refused(name, place):
    with refused("input_ids should be from 0 to 9"):
        network(name)(torch.tensor([[5, place]]))


@pytest.mark.parametrize("name", ["BERT", "ALBERT", "ELECTRA", "CTRL"])
def test_segments_out_of_range_are_refused(name):
    with refused("token_type_ids should be from 0 to"):
        network(name)(IDS, None, SEGMENTS + 97)


def test_bool_is_no_number_of_a_token():
    with refused("input_ids should be an integer tensor .* not shape .*torch.bool"):
        network("ALBERT")(IDS > 0)


# ---- compiled and exported

TRACED = [
    "ResNet", "DenseNet-BC", "BERT", "ALBERT", "ALBERT, label", "ELECTRA",
    "ELECTRA, small", "DeBERTa", "DeBERTa, words", "DeBERTa V2", "CTRL, words",
]


def in_one_graph(model, *given):
    torch.compiler.reset()
    return torch.compile(model, backend="eager", fullgraph=True)(*given)


@pytest.mark.parametrize("name", [*TRACED, "frugal"])
def test_a_network_compiles_in_one_graph(name):
    model, given = network(name), inputs(name)
    found = in_one_graph(model, *given)
    assert torch.allclose(found, model(*given), atol=1e-5)


def test_the_loss_of_electra_and_the_memory_of_ctrl_compile():
    model = network("CTRL, words")
    found = in_one_graph(in_two_parts, model, IDS)
    assert torch.allclose(found, in_two_parts(model, IDS), atol=1e-5)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        assert in_one_graph(electra.electra_loss, pair(), IDS).isfinite()


class Called(nn.Module):
    """A network that is called with the same arguments, however it names them."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        return self.model(*inputs)


@pytest.mark.parametrize("name", TRACED)
def test_a_network_is_exported_for_any_number_of_texts_and_tokens(name):
    model, given, free = network(name), inputs(name), torch.export.Dim.AUTO
    sizes = tuple({0: free} if name in IMAGES else {0: free, 1: free} for _ in given)
    program = torch.export.export(Called(model), given, dynamic_shapes=(sizes,))
    for other in (given, tuple(torch.cat([one, one[:1]])[:, :5] for one in given)):
        assert torch.allclose(program.module()(*other), model(*other), atol=1e-5)
