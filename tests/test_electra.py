"""The ELECTRA lesson: labels and losses, the study, the reference, bad input."""

import math
import re
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support import (
    FILES,
    checker,
    configure,
    edit,
    first_losses,
    reference,
    rewrite,
    rounded,
    same,
    spoil,
)
from torch import nn

from kit import study, text
from kit.assignments import source_notebook
from kit.exercises import verdict
from kit.probe import activations, parameters
from kit.programs import windows
from kit.study import within_spread
from lessons.albert import hide
from lessons.electra import (
    LENGTH,
    MASK,
    SMALL,
    VARIANTS,
    Discriminator,
    Electra,
    ElectraConfig,
    Encoder,
    Judge,
    MaskedLM,
    WithDistances,
    build,
    choose,
    electra_loss,
    fine_tune,
    masked_lm_loss,
    new_encoder,
    percent_right,
    pretrain,
    small_electra,
    small_encoder,
    small_masked_lm,
    work,
)
from lessons.published import electra as published
from lessons.published.electra import from_pretrained
from lessons.studies import electra as ways

TINY = dict(
    vocab_size=97,
    embedding_size=16,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=6,
    intermediate_size=96,
    max_position_embeddings=40,
)
NARROW = dict(hidden_size=24, intermediate_size=48, num_attention_heads=3)
TEXTS = torch.randint(5, 97, (4, 20), generator=torch.Generator().manual_seed(1))


def discriminator(**changes):
    return Discriminator(new_encoder(ElectraConfig(**TINY | changes)))


def generator(**changes):
    return MaskedLM(new_encoder(ElectraConfig(**TINY | NARROW | changes)))


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return Electra(discriminator(), generator())


@pytest.fixture
def likely(pair):
    """A pair whose generator draws token 7 half of the time, in texts full of it."""
    with torch.no_grad():
        pair.generator.head.bias[7] += math.log(96)
        pair.discriminator.score.bias.fill_(2)  # so that a wrong label costs
    return pair, torch.where(torch.rand(64, 20) < 0.8, 7, 9)


# ---- choosing, drawing, labels


@pytest.mark.parametrize(
    ("length", "share", "count"),
    [(20, 0.15, 3), (21, 0.15, 4), (32, 0.15, 5), (100, 0.07, 7), (1, 0.15, 1)],
)
def test_chosen_are_15_percent_rounded_up(length, share, count):
    chosen = choose(torch.randint(5, 97, (50, length)), share)
    assert chosen.dtype == torch.bool and (chosen.sum(1) == count).all()


def test_special_tokens_are_never_chosen():
    ids = torch.randint(5, 97, (200, 20))
    ids[:, ::2] = torch.arange(10) % 5
    chosen = choose(ids, 0.5)
    assert not chosen[ids < 5].any() and (chosen.sum(1) == 10).all()
    assert not choose(torch.full((3, 8), MASK)).any()


def test_every_place_is_chosen_alike():
    torch.manual_seed(0)
    share = choose(TEXTS[:1].expand(4000, -1)).float().mean(0)
    assert (share - 0.15).abs().max() < 0.03


def test_only_chosen_places_change_and_the_text_stays(pair):
    before, chosen = TEXTS.clone(), choose(TEXTS)
    corrupted, guesses = pair.corrupt(TEXTS, chosen)
    assert guesses.shape == (12, 97) and guesses.requires_grad
    assert torch.equal(TEXTS, before)
    assert torch.equal(corrupted[~chosen], TEXTS[~chosen])


def test_nothing_chosen_is_nothing_drawn(pair):
    ids = torch.ones(2, 6, dtype=torch.long)
    corrupted, guesses = pair.corrupt(ids, choose(ids))
    assert guesses.shape == (0, 97) and torch.equal(corrupted, ids)


def test_the_generator_reads_masks_and_guesses_by_place(pair):
    chosen = choose(TEXTS)
    with activations(pair, ["generator.encoder.embeddings"]) as seen:
        _, guesses = pair.corrupt(TEXTS, chosen)
    read, _ = seen["generator.encoder.embeddings"]
    assert torch.equal(read == MASK, chosen)
    assert torch.equal(read[~chosen], TEXTS[~chosen])
    assert torch.allclose(guesses, pair.generator(read)[chosen], atol=1e-6)


def test_draws_follow_the_guesses(pair):
    with torch.no_grad():
        pair.generator.head.bias[7] = 50
    corrupted, _ = pair.corrupt(TEXTS, choose(TEXTS, 1))
    assert (corrupted == 7).all()
    with torch.no_grad():
        pair.generator.head.bias.zero_()
        pair.generator.head.bias[:50] = -50
    corrupted, _ = pair.corrupt(TEXTS, choose(TEXTS, 1))
    assert corrupted.min() >= 50 and len(corrupted.unique()) > 20


def test_draws_are_as_frequent_as_guessed(likely):
    model, ids = likely
    chosen = choose(ids, 1)
    corrupted, guesses = model.corrupt(ids, chosen)
    expected = guesses.softmax(-1)[:, 7].mean().item()
    assert (corrupted == 7).float().mean().item() == pytest.approx(expected, abs=0.05)
    assert 0.3 < expected < 0.7


def test_labels_are_the_replaced_tokens_and_not_the_chosen_ones(likely):
    """Draws that equal the original must count as original."""
    model, ids = likely
    torch.manual_seed(3)
    loss = electra_loss(model, ids, weight=1000.0)
    torch.manual_seed(3)
    chosen = choose(ids)
    corrupted, guesses = model.corrupt(ids, chosen)
    lucky = (corrupted == ids)[chosen].float().mean()
    assert 0.2 < lucky < 0.8
    p = model.discriminator(corrupted).sigmoid()
    right = -torch.where(corrupted != ids, p.log(), (1 - p).log()).mean()
    misled = -torch.where(chosen, p.log(), (1 - p).log()).mean()
    generators = F.cross_entropy(guesses, ids[chosen])
    assert torch.allclose(loss, generators + 1000 * right, rtol=1e-5)
    assert abs(right - misled) > 0.01


def test_lambda_is_50_and_both_losses_are_means(pair):
    found = []
    for weight in ({}, {"weight": 50}, {"weight": 0}, {"weight": 1}):
        torch.manual_seed(0)
        found.append(electra_loss(pair, TEXTS, **weight).item())
    default, fifty, none, one = found
    assert default == fifty == pytest.approx(none + 50 * (one - none), rel=1e-4)
    torch.manual_seed(0)
    _, guesses = pair.corrupt(TEXTS, chosen := choose(TEXTS))
    assert none == pytest.approx(F.cross_entropy(guesses, TEXTS[chosen]).item())


def test_the_loss_of_an_mlm_is_that_of_the_chosen_tokens():
    model, ids = small_masked_lm(), windows().train[:8]
    for share in ({}, {"share": 0.4}):
        torch.manual_seed(0)
        found = masked_lm_loss(model, ids, **share)
        torch.manual_seed(0)
        read, answers = hide(ids, choose(ids, **share), SMALL.vocab_size)
        expected = F.cross_entropy(model(read).flatten(0, 1), answers.flatten())
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_no_token_to_ask_about_is_told(pair):
    for loss_of, model in ((electra_loss, pair), (masked_lm_loss, small_masked_lm())):
        with pytest.raises(ValueError, match="no token is chosen"):
            loss_of(model, torch.ones(2, 6, dtype=torch.long))


# ---- two networks


def test_the_head_by_hand():
    """With the exact GELU, as the authors' code has it."""
    model = discriminator()
    nn.init.normal_(model.dense.weight)         # 0.02 would be as good as linear
    x = model.encoder(TEXTS) @ model.dense.weight.T + model.dense.bias
    x = x * (1 + torch.erf(x / math.sqrt(2))) / 2
    expected = x @ model.score.weight[0] + model.score.bias
    assert torch.allclose(model(TEXTS), expected, atol=1e-5)
    for layer in (discriminator(hidden_size=240).dense, model.score):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.3)
        assert (layer.bias == 0).all()


def test_the_tables_are_one(pair):
    ours, its = (net.encoder.embeddings for net in (pair.discriminator, pair.generator))
    assert ours.word is its.word and ours.position is its.position
    assert ours.segment is not its.segment
    alone = parameters(pair.discriminator) + parameters(pair.generator)
    assert parameters(pair) == alone - (97 + 40) * 16


def test_the_discriminators_loss_reaches_the_shared_tables_only(pair):
    corrupted, _ = pair.corrupt(TEXTS, choose(TEXTS))
    loss = pair.discriminator(corrupted).square().mean()
    weights = dict(pair.generator.named_parameters())
    found = torch.autograd.grad(loss, weights.values(), allow_unused=True)
    reached = [name for name, one in zip(weights, found) if one is not None]
    shared = ["word.weight", "position.weight"]
    assert reached == [f"encoder.embeddings.{name}" for name in shared]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"vocab_size": 98}, "word"),
        ({"embedding_size": 17}, "word"),
        ({"max_position_embeddings": 41}, "position"),
    ],
)
def test_tables_of_different_sizes_are_told(changes, name):
    with pytest.raises(ValueError, match=f"the two {name} tables differ in size"):
        Electra(discriminator(), generator(**changes))


def test_where_widths_are_equal_nothing_is_widened():
    names = [name for name, _ in generator(embedding_size=24).named_modules()]
    assert not any("widen" in name for name in names)


# ---- the small networks


def test_distances_by_hand():
    torch.manual_seed(0)
    attention, x = small_encoder(64).layers[0].attention, torch.randn(2, 5, 64)
    nn.init.normal_(attention.distance, std=0.02)
    bias = torch.empty(4, 5, 5)
    for i in range(5):
        for j in range(5):
            bias[:, i, j] = 100 * attention.distance[:, j - i + LENGTH - 1]
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])[:, None, None]
    expected = attention.attention(x, bias.masked_fill(mask == 0, -math.inf))
    assert torch.allclose(attention(x, mask), expected, atol=1e-6)
    assert torch.allclose(attention(x), attention.attention(x, bias), atol=1e-6)


def test_the_generator_is_a_quarter_as_wide_with_the_same_heads():
    model = small_electra()
    for net, width in ((model.discriminator, 64), (model.generator, 16)):
        config = net.encoder.config
        assert config == replace(SMALL, hidden_size=width, intermediate_size=4 * width)
        attentions = [layer.attention for layer in net.encoder.layers]
        assert all(type(one) is WithDistances for one in attentions)
        heads = {one.attention.num_heads for one in attentions}
        assert heads == {4}
        assert all((one.distance == 0).all() for one in attentions)


@pytest.mark.parametrize("make", [small_electra, small_masked_lm])
def test_first_weights_have_a_deviation_of_a_tenth(make):
    torch.manual_seed(0)
    for name, weight in make().named_parameters():
        if weight.ndim == 2 and min(weight.shape) > 4:
            assert weight.std().item() == pytest.approx(0.1, rel=0.15), name
        elif name.endswith("bias"):
            assert (weight == 0).all(), name


def test_training_learns_and_repeats():
    runs = []
    for count in (40, 5):
        torch.manual_seed(0)
        model = small_electra()
        runs.append(first_losses(count, pretrain, model, electra_loss, 40, 0, 3e-3))
    losses, again = runs
    assert again == losses[:5] and sum(losses[-10:]) < 0.9 * sum(losses[:10])


class Scale(nn.Module):
    """One number, whose gradient is 0: what moves it is weight decay."""

    def __init__(self):
        super().__init__()
        self.number = nn.Parameter(torch.ones(1))


def test_the_rate_rises_and_falls_and_weights_decay():
    """With gradient 0 a step multiplies the number by 1 − 0.01 · rate."""
    model, seen = Scale(), [1.0]

    def loss_of(model, ids):
        assert ids.shape == (16, LENGTH)
        return 0 * model.number.sum()

    pretrain(
        model, loss_of, 200, 0, 1.0,
        lambda step, loss: seen.append(model.number.item()),
    )
    rates = [100 * (1 - after / before) for before, after in zip(seen, seen[1:])]
    expected = [min((step + 1) / 100, 1 - step / 200) for step in range(200)]
    assert rates == pytest.approx(expected, abs=1e-3)


def test_each_step_has_a_batch_and_a_gradient_of_its_own():
    model, read, found, told = Scale(), [], [], []

    def loss_of(model, ids):
        read.append(ids)
        return len(read) * model.number.sum()

    model.number.register_post_accumulate_grad_hook(
        lambda weight: found.append(weight.grad.item())
    )
    trained = pretrain(
        model, loss_of, 3, 4, 1e-3, lambda *given: told.append(given), batch_size=5
    )
    assert trained is model and found == [1, 2, 3]
    pretrain(Scale(), loss_of, 1, 0, 1e-3)      # with nobody to tell
    assert [step for step, _ in told] == [0, 1, 2] and told[0][1] == 1
    batches = text.batches(windows().train, 5, 3, 4)
    assert all(map(torch.equal, read, batches)) and len(read) == 4


def test_fine_tuning_leaves_the_encoder_alone_and_repeats():
    torch.manual_seed(0)
    encoder = small_encoder(64)
    before = [weight.clone() for weight in encoder.parameters()]
    ids = windows().train[:64]
    labels = (ids[:, 0] > ids[:, 0].median()).long()
    first, second, longer = (
        fine_tune(encoder, Judge(64), ids, labels, steps, 2e-3, 5)
        for steps in (5, 5, 60)
    )
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert percent_right(longer, ids, labels) > 80
    assert all(map(torch.equal, before, encoder.parameters()))


def test_a_judge_sees_the_mean_and_the_largest():
    judge, x = Judge(2), torch.tensor([[[1.0, 5], [3, -1]]])
    mean_and_largest = torch.tensor([2.0, 2, 3, 5])
    expected = judge.linear.weight @ mean_and_largest + judge.linear.bias
    assert judge(x).shape == (1, 2) and torch.allclose(judge(x), expected[None])


@pytest.mark.parametrize("labels", [[1], [0, 1, -100]])
def test_fine_tuning_by_hand(monkeypatch, labels):
    """Descent instead of AdamW on one text: a softmax regression on its states."""
    def plain(weights, lr, fused):
        return torch.optim.SGD(weights, lr)

    monkeypatch.setattr(torch.optim, "AdamW", plain)
    states, answers = torch.randn(1, 3, 4), torch.tensor([labels])
    if len(labels) == 1:                        # of the whole text
        states, answers = states[:, 0], answers[:, 0]
    encoder, head, sizes = nn.Identity(), nn.Linear(4, 2), set()
    encoder.register_forward_hook(lambda module, inputs, x: sizes.add(len(x)))
    before = deepcopy(head)
    model = fine_tune(encoder, head, states, answers, 20, 0.5, 6)
    assert sizes == {32}
    assert all(map(torch.equal, head.parameters(), before.parameters()))

    torch.manual_seed(6)
    weight, bias = 0.1 * torch.randn(2, 4), torch.zeros(2)
    known = [(x, y) for x, y in zip(states.view(-1, 4), labels) if y >= 0]
    for step in range(20):
        rate = 0.5 * min((step + 1) / 10, 1 - step / 20)
        change, shift = torch.zeros(2, 4), torch.zeros(2)
        for x, y in known:
            error = (weight @ x + bias).softmax(0) - F.one_hot(torch.tensor(y), 2)
            change += torch.outer(error, x) / len(known)
            shift += error / len(known)
        weight, bias = weight - rate * change, bias - rate * shift
    assert torch.allclose(model[1].weight, weight, atol=1e-5)
    assert torch.allclose(model[1].bias, bias, atol=1e-5)


def test_labels_of_minus_100_do_not_count():
    logits = torch.tensor([[[2.0, 0], [0, 2], [2, 0], [3, 1], [2, 0]]])
    labels = torch.tensor([[0, 0, 0, 0, -100]])
    assert percent_right(lambda ids: logits, None, labels) == 75


# ---- the study


def test_the_grid_is_the_same_for_all_and_the_best_was_used():
    stored = study.read("electra")
    for way in ways.WAYS:
        for task in ways.TASKS:
            grid = {
                (rate, fine): stored[f"tuning: {way}, {rate}"][0][f"{task}, {fine}"]
                for rate in ways.RATES
                for fine in ways.FINE_RATES
            }
            rate, fine = ways.tuned(way, task)
            assert grid[rate, fine] == max(grid.values())
            used = {
                (run[f"{task}: rate"], run[f"{task}: rate of fine-tuning"])
                for run in stored[way]
            }
            assert used == {(rate, fine)}


@pytest.mark.parametrize("way", ways.WAYS)
def test_the_stored_study_is_what_the_code_gives(way):
    """The first 50 steps: initial weights, windows, chosen tokens, draws and recipe."""
    steps = {run["steps"] for run in study.read("electra")[way]}
    assert steps == {ways.steps_for(way)}
    rate, _ = ways.tuned(way, "judging")
    make, loss_of = ways.WAYS[way]
    torch.manual_seed(2)
    losses = first_losses(50, pretrain, make(), loss_of, ways.steps_for(way), 2, rate)
    name = "judging: loss of the first 50 steps"
    within_spread("electra", way, 2, name, sum(losses) / 50)


def test_work_is_forward_and_backward_on_16_windows():
    """A matrix product, and as much again for the gradient of its matrix."""
    model = nn.Linear(LENGTH, 8, bias=False)
    counted = work(model, lambda model, ids: model(ids.float()).sum())
    assert counted == 2 * (2 * 16 * LENGTH * 8)


def test_equal_work():
    electra = work(small_electra(), electra_loss)
    assert ways.steps_for("ELECTRA") == 500
    for way, (make, loss_of) in ways.WAYS.items():
        both = ways.steps_for(way) * work(make(), loss_of)
        assert both == pytest.approx(500 * electra, rel=2e-3)


@pytest.mark.parametrize("way", ways.WAYS)
def test_every_way_teaches_the_encoder(way):
    make, loss_of = ways.WAYS[way]
    model = make()
    loss_of(model, windows().train[:16]).backward()
    encoder = ways.encoder_of(model)
    assert type(encoder) is Encoder and encoder.config.hidden_size == 64
    learns = {name for name, w in encoder.named_parameters() if w.grad is not None}
    assert learns == {name for name, _ in encoder.named_parameters()}


def test_where_the_discriminator_is_asked():
    ids, asked, seen = windows().train[:64], {}, {}
    for where in ("chosen", "random"):
        model = small_electra()
        model.discriminator.dense.register_forward_pre_hook(
            lambda module, inputs: seen.update(states=inputs[0])
        )
        torch.manual_seed(1)
        loss = ways.asked_fewer_loss(model, ids, where)
        (gradient,) = torch.autograd.grad(loss, seen["states"])
        asked[where] = gradient.norm(dim=-1) > 0
    torch.manual_seed(1)
    chosen = choose(ids)
    assert torch.equal(asked["chosen"], chosen)
    assert torch.equal(asked["random"].sum(1), chosen.sum(1))
    assert 0.05 < chosen[asked["random"]].float().mean() < 0.3


def test_a_unigram_generator_draws_by_frequency(monkeypatch):
    """Half of the corpus is one token: drawn uniformly, few fakes would be that."""
    seen = {}
    pool = torch.arange(5, 997).reshape(31, 32)
    pool = torch.cat([pool, torch.full_like(pool, 7)])
    monkeypatch.setattr(ways, "windows", lambda: windows()._replace(train=pool))

    def read(ids):
        seen["read"] = ids
        return torch.zeros(ids.shape)

    ids = torch.full((200, 32), 9)
    ways.unigram_loss(read, ids)
    fakes = seen["read"][seen["read"] != 9]
    assert 0.4 < (fakes == 7).float().mean() < 0.6


def test_all_tokens_mlm_by_hand():
    torch.manual_seed(0)
    model, ids = ways.Words(), windows().train[:4]
    torch.manual_seed(5)
    loss = ways.all_tokens_loss(model, ids)
    torch.manual_seed(5)
    chosen = choose(ids)
    corrupted, guesses = model.electra.corrupt(ids, chosen)
    states = model.masked_lm.encoder(corrupted)
    copy = model.gate(states).sigmoid()
    p = copy * F.one_hot(corrupted, SMALL.vocab_size)
    p = p + (1 - copy) * model.masked_lm.words(states).softmax(-1)
    right = p.gather(-1, ids[..., None]).log().mean()
    expected = F.cross_entropy(guesses, ids[chosen]) - right
    assert torch.allclose(loss, expected, atol=1e-4)


# ---- the paper's numbers

PARAMETERS = {  # and heads: 4, 12, 16, a quarter or a third of them for generators
    "electra-small-discriminator": (13_549_057, 4),
    "electra-base-discriminator": (109_483_009, 12),
    "electra-large-discriminator": (335_142_913, 16),
    "electra-small-generator": (4_620_026, 1),
    "electra-base-generator": (33_740_602, 4),
    "electra-large-generator": (51_295_290, 4),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_the_references(name):
    import transformers

    kind = "ForPreTraining" if name.endswith("discriminator") else "ForMaskedLM"
    fields = vars(VARIANTS[name])
    with torch.device("meta"):
        ours = build(name)
        config = transformers.ElectraConfig(**fields)
        theirs = getattr(transformers, f"Electra{kind}")(config)
        theirs.tie_weights()
    count, heads = PARAMETERS[name]
    assert parameters(ours) == parameters(theirs) == count
    assert {layer.attention.num_heads for layer in ours.encoder.layers} == {heads}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_authors_rules_of_counting_one_by_one(name):
    """flops_computation.py: dropout 4, normalisation 5, softmax 5, GELU 8 a number.

    Ours leaves out the bias of the map from E to H, and the 5 (not 5H) that theirs
    counts for the normalisation after attention: together a hundred-thousandth.
    """
    config, n, asked = VARIANTS[name], 128, 0.15625
    E, H, V = config.embedding_size, config.hidden_size, config.vocab_size
    inner, heads = 4 * H, H // 64
    tables = 2 * V * E + 2 * (n + 2) * E + 2 * E            # looked up, added
    tables += (5 + 4) * E                                   # normalised, dropout
    if E != H:
        tables += 2 * E * H
    scores = 2 * n * H + (1 + 5 + 4) * n * heads            # products, scale, softmax
    attention = 3 * (2 * H * H + H) + scores + 2 * n * H
    attention += 2 * H * H + H + (4 + 1) * H
    feed_forward = 2 * H * inner + (1 + 8) * inner
    feed_forward += 2 * inner * H + H + (4 + 1 + 5) * H
    encoder = tables + config.num_hidden_layers * (attention + feed_forward)
    words = asked * (2 * H * E + E + (8 + 5) * E + 2 * E * V + (5 + 2) * V)
    replaced = 2 * H * H + (1 + 8) * H + 2 * H
    for head, more in {"words": words, "replaced": replaced}.items():
        found = published.training_flops(config, 3, 7, n, head)
        assert found == pytest.approx(2 * 3 * 7 * n * (encoder + more), rel=1e-9)


def test_training_costs():
    """What the authors' published counting script prints."""
    found = {row[0]: 1e18 * float(row[2]) for row in published.work_of_tables_1_and_2()}
    printed = {
        "GPT": 3.97e19,
        "BERT-Small": 1.42e18,
        "BERT-Base": 6.43e19,
        "BERT-Large": 1.92e20,
        "ELECTRA-Small": 1.29e18,
        "ELECTRA-Base": 6.42e19,
        "RoBERTa-500K": 3.19e21,
        "ELECTRA-400K": 7.12e20,
        "ELECTRA-1.75M": 3.11e21,
    }
    assert {name: found[name] for name in printed} == pytest.approx(printed, rel=0.004)


# ---- published weights

KINDS = {
    "ElectraModel": Encoder,
    "ElectraForPreTraining": Discriminator,
    "ElectraForMaskedLM": MaskedLM,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(embedding_size=48),
        dict(hidden_act="relu"),
        dict(hidden_act="gelu_new"),
        dict(num_attention_heads=1),
        dict(layer_norm_eps=1e-3),
        dict(type_vocab_size=3),
    ],
)
def test_every_class_is_the_references(tmp_path, kind, changes):
    theirs = reference(kind, tmp_path, **TINY | changes)
    ours = from_pretrained(tmp_path)
    assert type(ours) is KINDS[kind] and same(ours, theirs)


@pytest.mark.parametrize("way", FILES)
def test_any_file_that_the_library_reads(tmp_path, way):
    theirs = reference("ElectraForMaskedLM", tmp_path, **TINY)
    rewrite(tmp_path, **FILES[way])
    assert same(from_pretrained(tmp_path), rounded(theirs, **FILES[way]))


@pytest.mark.parametrize("kind", KINDS)
def test_without_architectures_it_is_the_encoder(tmp_path, kind):
    theirs = reference(kind, tmp_path, **TINY)
    configure(tmp_path, architectures=None)
    ours = from_pretrained(tmp_path)
    assert type(ours) is Encoder and same(ours, theirs.base_model)


def test_discriminator_and_generator_of_files_can_be_joined(tmp_path):
    reference("ElectraForPreTraining", tmp_path / "d", **TINY)
    reference("ElectraForMaskedLM", tmp_path / "g", **TINY | NARROW)
    model = Electra(*map(from_pretrained, (tmp_path / "d", tmp_path / "g")))
    assert electra_loss(model, TEXTS).isfinite()


def test_weights_that_do_not_fit_are_named(tmp_path):
    reference("ElectraForPreTraining", tmp_path, **TINY)
    layer = "electra.encoder.layer"
    spoil(
        tmp_path,
        missing="discriminator_predictions.dense.bias",
        misshapen=f"{layer}.0.output.dense.weight",
        unknown=f"{layer}.3.output.dense.weight",
    )
    with pytest.raises(ValueError) as error:
        from_pretrained(tmp_path)
    assert str(error.value) == (
        "the weights do not fit a ElectraForPreTraining: missing: "
        "discriminator_predictions.dense.bias; "
        f"unknown: {layer}.3.output.dense.weight; "
        f"of another shape: {layer}.0.output.dense.weight (4608,) for (48, 96)"
    )


def test_an_output_table_of_its_own_is_named(tmp_path):
    reference("ElectraForMaskedLM", tmp_path, **TINY)
    own = {"generator_lm_head.weight": torch.zeros(97, 16)}
    edit(tmp_path, lambda tensors: tensors.update(own))
    with pytest.raises(ValueError, match="generator_lm_head.weight differ"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(hidden_act="silu"), "hidden_act is 'silu'; the lesson's model has only"),
        (dict(is_decoder=True), "is_decoder is True"),
        (
            dict(position_embedding_type="relative_key"),
            "position_embedding_type is 'relative_key'",
        ),
        (
            dict(architectures=["ElectraForTokenClassification"]),
            "is of a ElectraForTok",
        ),
    ],
)
def test_what_the_lesson_does_not_have_is_told(tmp_path, changes, message):
    reference("ElectraModel", tmp_path, **TINY)
    configure(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(tmp_path)


def test_unknown_variant_and_field():
    with pytest.raises(ValueError, match="'electra-huge'; there are electra-small-dis"):
        build("electra-huge")
    with pytest.raises(ValueError, match="a Config has no 'layers'; it has vocab_size"):
        build("electra-small-generator", layers=3)
    for size in (10**15, 2**62):
        message = f"generator with {{'vocab_size': {size}}} is too large for"
        with pytest.raises(ValueError, match=message):
            build("electra-small-generator", vocab_size=size)


# ---- exercises: planted wrong answers


def label(ids, chosen, drawn):
    corrupted = ids.clone()
    corrupted[chosen] = drawn
    return corrupted, (corrupted != ids).long()


def label_in_place(ids, chosen, drawn):
    before = ids.clone()
    ids[chosen] = drawn
    return ids, (ids != before).long()


def label_first(ids, chosen, drawn):
    corrupted = ids.clone()
    corrupted[chosen] = drawn[0] if len(drawn) else 0
    return corrupted, (corrupted != ids).long()


def label_columns(ids, chosen, drawn):
    corrupted = ids.T.clone()
    corrupted[chosen.T] = drawn
    return corrupted.T, (corrupted.T != ids).long()


def label_scattered(ids, chosen, drawn):
    corrupted = ids.clone().masked_scatter(chosen, drawn)
    return corrupted, corrupted.ne(ids).float()


def rtd(logits, labels, attention_mask):
    each = F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    return (each * attention_mask).sum() / attention_mask.sum()


def rtd_indexed(logits, labels, attention_mask):
    real = attention_mask.bool()
    return F.binary_cross_entropy_with_logits(logits[real], labels[real].to(logits))


def rtd_softplus(logits, labels, attention_mask):
    return (
        F.softplus(torch.where(labels.bool(), -logits, logits)) * attention_mask
    ).sum() / attention_mask.sum()


def rtd_naive(logits, labels, attention_mask):
    p = logits.sigmoid()
    each = -(labels * p.log() + (1 - labels.float()) * (1 - p).log())
    return (each * attention_mask).sum() / attention_mask.sum()


def rtd_balanced(logits, labels, attention_mask):
    each, real = (
        F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none"),
        attention_mask.bool(),
    )
    return (each[real & (labels == 0)].mean() + each[real & (labels == 1)].mean()) / 2


def rtd_of_rows(logits, labels, attention_mask):
    each = (
        F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
        * attention_mask
    )
    return (each.sum(1) / attention_mask.sum(1)).mean()


def sample(logits, temperature):
    with torch.no_grad():
        return torch.multinomial((logits / temperature).softmax(-1), 1)[:, 0]


def gumbel(logits, temperature):
    noise = -(-torch.rand_like(logits).log()).log()
    return (logits.detach() / temperature + noise).argmax(-1)


def categorical(logits, temperature):
    return torch.distributions.Categorical(logits=logits / temperature).sample()


def sample_in_place(logits, temperature):
    with torch.no_grad():
        return torch.multinomial(logits.div_(temperature).softmax(-1), 1)[:, 0]


def seeded(logits, temperature):
    torch.manual_seed(0)
    return sample(logits, temperature)


def seeded_of_its_own(logits, temperature):
    random = torch.Generator().manual_seed(1)
    return torch.multinomial(
        (logits.detach() / temperature).softmax(-1), 1, generator=random
    )[:, 0]


def switched_off(logits, temperature):
    torch.set_grad_enabled(False)
    return torch.multinomial((logits / temperature).softmax(-1), 1)[:, 0]


@pytest.fixture(autouse=True)
def gradients_on():
    yield
    torch.set_grad_enabled(True)


@pytest.mark.parametrize(
    ("check", "right"),
    [
        ("corrupt_and_label", label),
        ("corrupt_and_label", label_scattered),
        (
            "corrupt_and_label",
            lambda ids, chosen, drawn: tuple(
                one.bool() if i else one
                for i, one in enumerate(label(ids, chosen, drawn))
            ),
        ),
        (
            "corrupt_and_label",
            lambda ids, chosen, drawn: tuple(
                one.int() for one in label(ids, chosen, drawn)
            ),
        ),
        ("discriminator_loss", rtd),
        ("discriminator_loss", rtd_indexed),
        ("discriminator_loss", rtd_softplus),
        ("draw", sample),
        ("draw", gumbel),
        ("draw", categorical),
        ("draw", lambda logits, t: sample(logits, t).int()),
    ],
)
def test_right_answers_of_any_kind_pass(check, right):
    assert verdict(right, checker("electra", check)).startswith("✓")


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        ("corrupt_and_label", label_in_place, "ids has changed"),
        (
            "corrupt_and_label",
            lambda i, c, d: (label(i, c, d)[0], c.long()),
            "came out right counts as original",
        ),
        (
            "corrupt_and_label",
            lambda i, c, d: (label(i, c, d)[0], 1 - label(i, c, d)[1]),
            "other way round",
        ),
        ("corrupt_and_label", lambda i, c, d: label(i, c, d)[0], "two tensors"),
        (
            "corrupt_and_label",
            lambda i, c, d: (label(i, c, d)[0], label(i, c, d)[1][c]),
            "labels should have the shape",
        ),
        (
            "corrupt_and_label",
            lambda i, c, d: (i, torch.zeros_like(i)),
            "were not put in",
        ),
        ("corrupt_and_label", label_first, "yours all got the first"),
        ("corrupt_and_label", label_columns, "row by row"),
        (
            "corrupt_and_label",
            lambda i, c, d: (i + 1, torch.ones_like(i)),
            "was not chosen has changed",
        ),
        (
            "corrupt_and_label",
            lambda i, c, d: (label(i, c, d)[0], torch.zeros_like(i)),
            "no label is 1",
        ),
        (
            "corrupt_and_label",
            lambda i, c, d: (label(i, c, d)[0].float(), label(i, c, d)[1]),
            "whole numbers, like ids, not torch.float32",
        ),
        (
            "corrupt_and_label",
            lambda i, c, d: (label(i, c, d)[0].double(), label(i, c, d)[1]),
            "whole numbers, like ids, not torch.float64",
        ),
        (
            "discriminator_loss",
            lambda x, y, m: F.binary_cross_entropy_with_logits(x, y.float()),
            "padded places must not count",
        ),
        (
            "discriminator_loss",
            lambda x, y, m: F.binary_cross_entropy_with_logits(
                x, y.float(), reduction="sum"
            ),
            "mean over the tokens",
        ),
        (
            "discriminator_loss",
            lambda x, y, m: F.binary_cross_entropy_with_logits(
                x, y.float(), reduction="none"
            ),
            "one number",
        ),
        ("discriminator_loss", lambda x, y, m: rtd(-x, y, m), "1 means replaced"),
        ("discriminator_loss", rtd_balanced, "same weight"),
        ("discriminator_loss", rtd_of_rows, "all tokens of the batch at once"),
        (
            "discriminator_loss",
            lambda x, y, m: (rtd(x, y, m) * m.sum()) / m.numel(),
            "number of real tokens",
        ),
        ("discriminator_loss", rtd_naive, "±200.*start from the logits"),
        (
            "discriminator_loss",
            lambda x, y, m: rtd(x.detach(), y, m),
            "carries no gradient",
        ),
        (
            "discriminator_loss",
            lambda x, y, m: 50 * rtd(x, y, m),
            "λ does not belong here",
        ),
        ("draw", lambda logits, t: sample(logits.detach_(), t), "lost their gradient"),
        ("draw", lambda logits, t: logits.argmax(-1), "same token every time"),
        ("draw", lambda logits, t: logits.softmax(-1), r"shape should be \(20000,\)"),
        (
            "draw",
            lambda logits, t: F.gumbel_softmax(logits, t)[:, 0],
            "whole numbers|probability 0",
        ),
        (
            "draw",
            lambda logits, t: torch.multinomial(logits.softmax(-1), 1)[:, 0],
            "at temperature 0.5.*the same at every",
        ),
        ("draw", lambda logits, t: sample(logits, 1 / t), "do not multiply"),
        ("draw", lambda logits, t: torch.randint(4, (len(logits),)), "probability 0"),
        (
            "draw",
            lambda logits, t: torch.randint(3, (len(logits),)),
            "shares should be near",
        ),
        (
            "draw",
            lambda logits, t: torch.multinomial(
                (logits[0] / t).softmax(-1), len(logits), replacement=True
            ),
            "by its own logits",
        ),
        ("draw", sample_in_place, "the logits have changed"),
        (
            "draw",
            lambda logits, t: torch.multinomial((logits / t).softmax(-1), 1),
            r"shape should be \(20000,\)",
        ),
        ("draw", switched_off, "gradients are switched off"),
        ("draw", seeded, "set no seed inside"),
        ("draw", seeded_of_its_own, "set no seed inside"),
        ("draw", lambda logits, t: None, "a tensor, not NoneType"),
    ],
)
def test_planted_wrong_answers_fail(check, wrong, hint):
    line = verdict(wrong, checker("electra", check))
    assert line.startswith("✗") and re.search(hint, line), line


# ---- exercises of the assignment


def hide_more(fakes, right):
    share = fakes / (1 - right)
    if share > 1:
        raise ValueError("impossible")
    return share


def refuses_nothing(fakes, right):
    return min(fakes / (1 - right), 1.0)


def loaded(generator):
    encoder = small_encoder(generator.encoder.config.hidden_size)
    encoder.load_state_dict(generator.encoder.state_dict())
    return Discriminator(encoder)


def with_its_tables(generator):
    """The rest of it is new."""
    encoder = small_encoder(16)
    encoder.embeddings = deepcopy(generator.encoder.embeddings)
    return Discriminator(encoder)


def tables_in_common(generator):
    found = loaded(generator)
    found.encoder.embeddings.word = generator.encoder.embeddings.word
    return found


def frozen(generator):
    found = loaded(generator)
    found.encoder.requires_grad_(False)
    return found


def emptied(generator):
    found = loaded(generator)
    torch.nn.init.zeros_(found.dense.weight)
    return found


def generator_frozen(generator):
    found = loaded(generator)
    generator.requires_grad_(False)
    return found


def gated(words, copy, read, gate=torch.sigmoid, odds=lambda words: words.softmax(-1)):
    gate = gate(copy)[..., None]
    return gate * F.one_hot(read, words.shape[-1]) + (1 - gate) * odds(words)


def scattered(words, copy, read):
    gate = copy.sigmoid().unsqueeze(-1)
    found = (1 - gate) * words.softmax(-1)
    return found.scatter_add(-1, read.unsqueeze(-1), gate)


def copied_alone(words, copy, read):
    gate = copy.sigmoid()[..., None]
    rest = (1 - gate) * words.softmax(-1)
    return torch.where(F.one_hot(read, words.shape[-1]).bool(), gate, rest)


def fool(guesses, drawn, suspicion, reward=lambda s: F.logsigmoid(-s), log=torch.log):
    reward = reward(suspicion.detach())
    p = guesses.softmax(-1)[torch.arange(len(drawn)), drawn]
    return -((reward - reward.mean()) * log(p)).mean()


def fool_by_cross_entropy(guesses, drawn, suspicion):
    with torch.no_grad():
        reward = (1 - suspicion.sigmoid()).log()
        reward = reward - reward.mean()
    each = F.cross_entropy(guesses, drawn, reduction="none")
    return (reward * each).sum() / len(drawn)


def fool_by_categorical(guesses, drawn, suspicion):
    reward = -F.softplus(suspicion).detach()
    log_p = torch.distributions.Categorical(logits=guesses).log_prob(drawn)
    return torch.dot(reward.mean() - reward, log_p) / len(log_p)


def fool_and_teach(guesses, drawn, suspicion):
    reward = F.logsigmoid(-suspicion)
    log_p = guesses.log_softmax(-1).gather(1, drawn[:, None])[:, 0]
    return -((reward - reward.mean()) * log_p).mean()


def fool_without_mean(guesses, drawn, suspicion):
    each = F.cross_entropy(guesses, drawn, reduction="none")
    return (F.logsigmoid(-suspicion).detach() * each).mean()


@pytest.mark.parametrize(
    ("check", "right"),
    [
        ("share_to_hide", hide_more),
        ("share_to_hide", lambda fakes, right: torch.tensor(hide_more(fakes, right))),
        ("second_stage", loaded),
        ("second_stage", lambda one: deepcopy(Discriminator(one.encoder))),
        ("all_tokens", gated),
        ("all_tokens", scattered),
        ("fooling_loss", fool),
        ("fooling_loss", fool_by_cross_entropy),
        ("fooling_loss", fool_by_categorical),
    ],
)
def test_right_answers_of_the_assignment_pass(check, right):
    line = verdict(right, checker("electra", check))
    assert line.startswith("✓"), line


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        ("share_to_hide", lambda fakes, right: fakes, "so more must be hidden"),
        ("share_to_hide", lambda fakes, right: fakes * (1 - right), "what to hide"),
        (
            "share_to_hide",
            lambda fakes, right: fakes / right if right else fakes,
            "divide by the share of draws that are wrong",
        ),
        ("share_to_hide", lambda fakes, right: fakes + right, "a share of the hidden"),
        ("share_to_hide", lambda fakes, right: fakes * (1 + right), "is not 1"),
        ("share_to_hide", lambda fakes, right: 100 * fakes / (1 - right), "percent"),
        ("share_to_hide", refuses_nothing, "ValueError is expected"),
        ("share_to_hide", lambda fakes, right: "15%", "a number, not '15%'"),
        ("second_stage", lambda one: Discriminator(one.encoder), "would change"),
        ("second_stage", lambda one: Discriminator(small_encoder(16)), "at random"),
        ("second_stage", lambda one: Discriminator(small_encoder(64)), "of the size"),
        ("second_stage", with_its_tables, r"are not the generator's: as layers\.0"),
        ("second_stage", tables_in_common, "1 of its tensors are.*embeddings.word"),
        ("second_stage", Discriminator, "generator.encoder is one"),
        ("second_stage", deepcopy, "a Discriminator, not MaskedLM"),
        ("second_stage", frozen, "are frozen"),
        ("second_stage", emptied, "its head should be the new one"),
        ("second_stage", generator_frozen, "the generator has changed"),
        (
            "all_tokens",
            lambda words, copy, read: gated(words, -copy, read),
            "D is the probability to copy",
        ),
        (
            "all_tokens",
            lambda words, copy, read: gated(words, copy, read, lambda x: x),
            "a sigmoid makes probabilities",
        ),
        (
            "all_tokens",
            lambda words, copy, read: gated(words, copy, read, odds=lambda x: x),
            "a softmax makes probabilities",
        ),
        (
            "all_tokens",
            lambda words, copy, read: gated(
                words, copy, read, odds=lambda x: x.softmax(1)
            ),
            "the last axis",
        ),
        ("all_tokens", copied_alone, "its own softmax counts, too"),
        (
            "all_tokens",
            lambda words, copy, read: scattered(words, copy, read)
            + copy.sigmoid()[..., None] * words.softmax(-1),
            "where nothing is copied",
        ),
        ("all_tokens", lambda words, copy, read: words.softmax(-1), "is the gate"),
        (
            "all_tokens",
            lambda words, copy, read: gated(words, copy.detach(), read),
            "no gradient reaches `copy`",
        ),
        (
            "all_tokens",
            lambda words, copy, read: gated(words, copy, read).amax(-1),
            "a probability for every word",
        ),
        (
            "all_tokens",
            lambda words, copy, read: 2 * gated(words, copy, read),
            "sum to 1",
        ),
        ("fooling_loss", lambda *given: -fool(*given), "the sign"),
        ("fooling_loss", fool_without_mean, "b, is not taken off"),
        ("fooling_loss", lambda *given: fool(*given, log=lambda p: p), "by log p"),
        (
            "fooling_loss",
            lambda *given: fool(*given, reward=F.logsigmoid),
            "says “replaced”",
        ),
        (
            "fooling_loss",
            lambda *given: fool(*given, reward=lambda s: (-s).sigmoid()),
            "R is the logarithm of the probability",
        ),
        ("fooling_loss", lambda *given: fool(*given, reward=lambda s: -s), "a logit"),
        ("fooling_loss", lambda g, d, s: F.cross_entropy(g, d), "maximum likelihood"),
        ("fooling_loss", lambda *given: 6 * fool(*given), "not the sum"),
        ("fooling_loss", fool_and_teach, "detach it"),
        ("fooling_loss", lambda g, d, s: fool(g.detach(), d, s), "carries no gradient"),
        ("fooling_loss", lambda g, d, s: fool(g, g.argmax(-1), s), "not the largest"),
        (
            "fooling_loss",
            lambda g, d, s: F.cross_entropy(g, d, reduction="none"),
            "one number",
        ),
    ],
)
def test_planted_wrong_answers_of_the_assignment_fail(check, wrong, hint):
    line = verdict(wrong, checker("electra", check))
    assert line.startswith("✗") and re.search(hint, line), line


def test_the_solutions_of_the_assignment_pass():
    cells = source_notebook("electra", "ELECTRA").cells
    points = [cell.metadata.nbgrader.get("points") for cell in cells]
    assert [one for one in points if one] == [2, 3, 4, 5]
