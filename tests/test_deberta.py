"""The DeBERTa lesson: its terms, the reference implementation, bad input, exercises."""

import math
import re
from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from support import (
    FILES,
    checker,
    configure,
    edit,
    reference,
    rewrite,
    rounded,
    same,
    spoil,
)
from torch import nn

from kit import study
from kit.exercises import verdict
from kit.probe import parameters, saved_for_backward
from kit.programs import windows
from kit.text import python_tokens
from kit.view import Apart
from lessons import deberta as lesson
from lessons.albert import MaskedLM, bert, fit, held_out_loss, recipe, waves
from lessons.deberta import (
    ATTENTION,
    CLOZE,
    DIRECTIONS,
    LETTERS,
    NOUNS,
    OPENS,
    PUZZLE,
    SMALL,
    STANDS,
    VARIANTS,
    WORDS,
    Deberta,
    DebertaConfig,
    DisentangledAttention,
    MaskDecoder,
    Solver,
    build,
    cloze,
    delta,
    learn,
    likes,
    log_buckets,
    long_windows,
    loss_by_place,
    news,
    puzzle,
    right_kind,
    short_sighted,
    small_encoder,
    store_and_mall,
    taken_apart,
    text_model,
)
from lessons.deberta import started as initial
from lessons.deberta import tested as percent_right
from lessons.figures import deberta as figures
from lessons.published.deberta import (
    CONV,
    RELATIVE,
    V2_VARIANTS,
    V3,
    Classifier,
    DebertaV2,
    V2Config,
    build_v2,
    from_pretrained,
    table_13,
)
from lessons.studies.deberta import STUDY, BothAsPrinted

TINY = dict(
    vocab_size=97,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=6,
    intermediate_size=96,
    max_position_embeddings=40,
)
V1 = TINY | RELATIVE
V2 = TINY | V3 | CONV
V3 = TINY | V3
CONFIG = DebertaConfig(**TINY, max_relative_positions=8)


def started(make, *args):
    """In eval mode, with random biases and scales, too."""
    torch.manual_seed(0)
    model = make(*args).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def tiny(attention=DisentangledAttention):
    return started(Deberta, CONFIG, attention)


# ---- distances


@pytest.mark.parametrize("k", [1, 2, 5, 30])
def test_delta_is_equation_3(k):
    def row(distance):
        if distance <= -k:
            return 0
        return 2 * k - 1 if distance >= k else distance + k

    expected = [[row(i - j) for j in range(12)] for i in range(12)]
    assert delta(12, k).tolist() == expected


@pytest.mark.parametrize(
    ("buckets", "longest"), [(256, 512), (6, 40), (8, 64), (32, 128), (7, 50)]
)
def test_buckets_are_the_references(buckets, longest):
    from transformers.models.deberta_v2 import modeling_deberta_v2 as theirs

    far = torch.arange(-longest + 1, longest)
    expected = theirs.make_log_bucket_position(far, buckets, longest).long()
    assert torch.equal(log_buckets(far, buckets, longest), expected)
    if (buckets, longest) == (256, 512):                    # as published
        assert torch.equal(log_buckets(far), expected)


# ---- attention


def by_loops(attention, x, positions, printed=False):
    """The terms of DisentangledAttention, one pair after the other (Eq. 4)."""
    query, key = (attention.heads(one(x)) for one in (attention.query, attention.key))
    keys = attention.heads(attention.position_key(positions))
    queries = attention.heads(attention.position_query(positions))
    n, index = x.shape[1], delta(x.shape[1], len(positions) // 2)
    terms = torch.zeros(3, x.shape[0], attention.num_heads, n, n)
    for i in range(n):
        for j in range(n):
            row = index[j, i] if printed else index[i, j]
            terms[0, :, :, i, j] = (query[:, :, i] * key[:, :, j]).sum(-1)
            terms[1, :, :, i, j] = (query[:, :, i] * keys[:, index[i, j]]).sum(-1)
            terms[2, :, :, i, j] = (key[:, :, j] * queries[:, row]).sum(-1)
    return dict(zip(("c2c", "c2p", "p2c"), terms / math.sqrt(3 * query.shape[-1])))


@pytest.mark.parametrize(
    ("kind", "printed"), [(DisentangledAttention, False), (BothAsPrinted, True)]
)
def test_the_terms_are_those_of_loops(kind, printed):
    attention, x = started(kind, 12, 3), torch.randn(2, 9, 12)
    positions = torch.randn(8, 12)
    found = attention.scores(x, positions)
    expected = by_loops(attention, x, positions, printed)
    assert list(found) == ["c2c", "c2p", "p2c"]
    for name, scores in found.items():
        assert torch.allclose(scores, expected[name], atol=1e-5), name


@pytest.mark.parametrize("name", ATTENTION)
def test_the_scale_counts_the_terms(name):
    attention, x = started(ATTENTION[name], 12, 3), torch.randn(2, 9, 12)
    found = attention.scores(x, torch.randn(8, 12))
    query, key = (attention.heads(one(x)) for one in (attention.query, attention.key))
    plain = query @ key.transpose(-2, -1)
    assert len(found) == {"none": 1, "both": 3}.get(name, 2)
    scaled = plain / math.sqrt(4 * len(found))
    assert torch.allclose(found["c2c"], scaled, atol=1e-6)


def test_no_tensor_of_n_by_n_by_d():
    config = replace(CONFIG, num_hidden_layers=1)
    model = started(Deberta, config, DisentangledAttention)
    kept = [saved_for_backward(model, torch.randint(97, (1, n))) for n in (100, 200)]
    assert kept[1] < 200 * 200 * 48 * 4 and kept[1] < 4.2 * kept[0]


def test_without_terms_it_is_a_bert_without_positions():
    torch.manual_seed(0)
    theirs, ours = bert(SMALL).eval(), started(Deberta, PUZZLE, ATTENTION["none"])
    for table in (theirs.embeddings.position, theirs.embeddings.segment):
        table.weight.data.zero_()
    state = {name: tensor for name, tensor in ours.state_dict().items()
             if name != "positions.weight"}
    left = theirs.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    theirs.layers[0].attention.key.bias.data.zero_()
    ids = torch.randint(48, (2, 30))
    assert torch.allclose(ours(ids), theirs(ids), atol=1e-4)


def test_relative_positions_do_not_know_where_a_text_starts():
    model, ids = tiny(), torch.randint(97, (1, 15))
    mask = torch.arange(20)[None] >= 5
    moved = model(torch.cat([torch.zeros(1, 5, dtype=torch.long), ids], 1), mask)
    assert torch.allclose(moved[:, 5:], model(ids), atol=1e-5)


def test_the_decoder_runs_the_last_layer_twice_on_the_states_before_it():
    model, ids = started(MaskDecoder, CONFIG), torch.randint(97, (2, 9))
    mask = torch.arange(9) < torch.tensor([[9], [6]])
    *_, memory, _ = model.states(ids, mask)
    _, context = model.start(ids, mask)
    last, x = model.layers[-1], memory + model.position.weight[:9]
    x = last(x, *context, memory)
    assert torch.allclose(model(ids, mask), last(x, *context, memory), atol=1e-5)


# ---- counts

COUNTS = {
    "deberta-base": 138_601_728,
    "deberta-large": 405_163_008,
    "deberta-xlarge": 757_804_032,
    "deberta-v2-xlarge": 884_593_152,
    "deberta-v2-xxlarge": 1_564_549_632,
    "deberta-v3-xsmall": 70_682_112,
    "deberta-v3-small": 141_304_320,
    "deberta-v3-base": 183_831_552,
    "deberta-v3-large": 434_012_160,
    "mdeberta-v3-base": 278_218_752,
}


@pytest.mark.parametrize("name", [*VARIANTS, *V2_VARIANTS])
def test_parameters_of_the_variants(name):
    with torch.device("meta"):
        model = build(name) if name in VARIANTS else build_v2(name)
    assert parameters(model) == COUNTS[name]
    # What no count tells: heads of 64, and how far V2's buckets reach.
    for layer in model.layers:
        assert layer.attention.num_heads * 64 == model.config.hidden_size
        assert getattr(layer.attention, "longest", 512) == 512
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-7}
    if name.startswith("deberta-v2"):
        assert isinstance(model.layers[0].conv_activation, nn.GELU)


def test_table_13_counts_parts_by_hand():
    H, V, k, layers = 768, 50_265, 512, 12
    head, pooler = H * H + H + 2 * H + V, H * H + H
    whole = COUNTS["deberta-base"] + 512 * H + head + pooler
    shared = whole - layers * (2 * H * H + H)               # queries have a bias
    convolved = shared + 3 * H * H + 3 * H
    ours = [count for _, count in table_13().values()]
    larger = convolved + (128_000 - V) * (H + 1)            # words have a bias, too
    assert ours == [shared - 2 * k * H, whole, shared, convolved, larger]


# ---- puzzles and clozes


@pytest.mark.parametrize("task", ["fixed", "reader", "sender"])
def test_the_answers_follow_from_what_one_reads(task):
    ids, answers = puzzle(task, 50, 20, torch.Generator().manual_seed(3))
    again = puzzle(task, 50, 20, torch.Generator().manual_seed(3))
    assert torch.equal(ids, again[0]) and torch.equal(answers, again[1])
    asked = 0
    for row, right in zip(ids, answers.tolist()):
        tokens = figures.spelled(row)
        offsets = [int(token[1:].replace("−", "-")) for token in tokens]
        for i in range(20):
            if task == "sender":
                sources = [j for j in range(20) if j + offsets[j] == i]
            else:
                sources = [i - 3 if task == "fixed" else i + offsets[i]]
                sources = [j for j in sources if 0 <= j < 20]
            one = len(sources) == 1
            letter = "abcdefgh".index(tokens[sources[0]][0]) if one else -100
            assert right[i] == letter
            asked += one
    assert asked > 300


def test_both_nouns_of_a_sentence_are_masked():
    ids, answers = store_and_mall(2000, torch.Generator().manual_seed(0))
    again, _ = store_and_mall(2000, torch.Generator().manual_seed(0))
    assert torch.equal(ids, again) and ids.shape == (2000, 20)
    assert ((ids == 0).sum(1) == 2).all() and (ids[answers >= 0] == 0).all()
    masks = (ids == 0).nonzero()[:, 1].view(-1, 2)
    assert (masks.diff() == 5).all()
    seen = {"first": set(), "second": set()}
    for row, pair in zip(answers.tolist(), masks.tolist()):
        for which, place, kind in zip(seen, pair, (OPENS, STANDS)):
            if row[place] >= 0:
                assert WORDS[row[place]] in kind
                seen[which].add(place)
    # Either noun is asked for at the same places: place alone tells nothing.
    assert seen["first"] == seen["second"] == set(range(7, 15))


def test_a_verb_can_be_hidden_but_is_not_asked_for():
    generator = torch.Generator().manual_seed(0)
    ids, answers = store_and_mall(50, generator, masked=(2, 3, 7))
    assert ((ids == 0).sum(1) == 3).all()
    asked = {WORDS[one] for one in answers[answers >= 0].tolist()}
    assert asked <= {*OPENS, *STANDS}


@pytest.mark.parametrize("kind", ["column", "quarter"])
def test_directions_tell_the_place(kind):
    tokenizer, corpus = news()
    assert tokenizer.get_vocab_size() == CLOZE.vocab_size == 1000
    ids, answers = cloze(kind, corpus.heldout[:20], torch.Generator().manual_seed(0))
    again, _ = cloze(kind, corpus.heldout[:20], torch.Generator().manual_seed(0))
    assert torch.equal(ids, again) and ids.shape == (20, 32) and answers.min() == -100
    assert torch.equal(ids == 4, (answers >= 0) | (corpus.heldout[:20] == 4))
    assert torch.equal(ids[answers < 0], corpus.heldout[:20][answers < 0])
    assert 0.1 < (answers >= 0).float().mean() < 0.2
    for _, place in (answers >= 0).nonzero().tolist():
        number = place % 4 if kind == "column" else place // 8
        found = answers[:, place].max().item()
        assert tokenizer.id_to_token(found) == DIRECTIONS[number]


class CopiesThree(nn.Module):
    """At "fixed" it is right up to position 30, and one letter off from there on."""

    def __init__(self):
        super().__init__()
        self.size = nn.Parameter(torch.ones(1))

    def forward(self, ids):
        letter = (ids % len(LETTERS)).roll(3, dims=1)
        letter[:, 30:] += 1
        return self.size * F.one_hot(letter % len(LETTERS), len(LETTERS))


def test_a_solver_is_tested_at_both_halves():
    assert percent_right(CopiesThree(), "fixed") == [100, 25]           # 6 of 24


class SaysAtMasks(nn.Module):
    """One word wherever a mask stands, and [MASK] elsewhere."""

    def __init__(self, word):
        super().__init__()
        self.odds = nn.Parameter(F.one_hot(torch.tensor(WORDS.index(word))).float())

    def forward(self, ids):
        return self.odds * (ids == 0)[..., None]


def test_any_noun_of_the_kind_counts():
    shares = {word: right_kind(SaysAtMasks(word)) for word in ("bank", "park", "new")}
    _, nouns = store_and_mall(1000, torch.Generator().manual_seed(999))
    first = [WORDS[one] in OPENS for one in nouns[nouns >= 0].tolist()]
    share = 100 * sum(first) / len(first)
    assert shares == pytest.approx({"bank": share, "park": 100 - share, "new": 0})


def test_learning_is_the_loop_written_out():
    """Batches of 32 in their order, gradients cut to length 1, the given rate."""
    torch.manual_seed(0)
    model = initial(Solver(small_encoder("both")))
    model.letter.weight.data *= 30                          # for long gradients
    copy = deepcopy(model)
    texts = puzzle("reader", 3 * 32, 24, torch.Generator().manual_seed(0))
    losses, lengths = [], []

    def watch(step, loss):
        losses.append(loss)
        gradients = [weight.grad for weight in model.parameters()]
        lengths.append(nn.utils.get_total_norm(gradients).item())

    assert learn(model, *texts, 0.01, watch) is model
    optimizer, schedule = recipe(copy, 3, 0.01)
    for step in range(3):
        ids, answers = (one[32 * step : 32 * step + 32] for one in texts)
        asked = answers >= 0
        loss = F.cross_entropy(copy(ids)[asked], answers[asked])
        assert losses[step] == pytest.approx(loss.item(), abs=1e-4)
        optimizer.zero_grad()
        loss.backward()
        length = nn.utils.clip_grad_norm_(copy.parameters(), 1.0).item()
        assert length > 1 and lengths[step] == pytest.approx(1, abs=1e-3)
        optimizer.step()
        schedule.step()


def test_solvers_learn_as_is_said(monkeypatch):
    """300 steps on puzzles of 24 tokens at a rate of 0.005, 150 on sentences."""
    given = []
    monkeypatch.setattr(lesson, "learn", lambda *all_of_it: given.extend(all_of_it))
    lesson.solve(small_encoder("both"), "fixed", 4)
    model, *texts, rate, _ = given
    seed = torch.Generator().manual_seed(4)
    expected = puzzle("fixed", 300 * 32, 24, seed)
    assert all(map(torch.equal, texts, expected)) and rate == 0.005
    assert model.encoder.positions.weight.std().item() == pytest.approx(0.1, rel=0.1)

    given.clear()
    monkeypatch.setattr(lesson, "right_kind", lambda model, masked: masked)
    assert lesson.fill_in_nouns(small_encoder("both", NOUNS), 4) == (2, 7)
    expected = store_and_mall(150 * 32, torch.Generator().manual_seed(4))
    assert all(map(torch.equal, given[1:], expected))


def test_a_narrow_model_starts_with_waves_and_larger_weights():
    torch.manual_seed(0)
    for kind in ("absolute", "decoder"):
        model = initial(MaskedLM(small_encoder(kind, CLOZE)))
        embeddings = model.encoder.embeddings
        place = embeddings if kind == "absolute" else model.encoder
        assert torch.equal(place.position.weight, 0.1 * waves(32, 32))
        words = embeddings.word.weight
        assert words.std().item() == pytest.approx(0.1, rel=0.05)


def test_what_is_compared_differs_in_its_positions_only():
    """Equal weights but for those of the terms, and the place where positions enter."""
    kinds = {name: small_encoder(name, CLOZE) for name in ("absolute", *ATTENTION)}
    names = {kind: dict(one.named_parameters()) for kind, one in kinds.items()}
    terms = {"none": set(), "c2p": {"key"}, "p2c": {"query"}, "both": {"key", "query"}}
    for kind, own in terms.items():
        assert type(kinds[kind].layers[0].attention) is ATTENTION[kind]
        found = {name.split(".")[3] for name in names[kind] if "n.position_" in name}
        assert found == {f"position_{one}" for one in own}
    assert "embeddings.position.weight" in names["absolute"]
    assert isinstance(small_encoder("decoder", CLOZE), MaskDecoder)
    assert small_encoder(bert, NOUNS).config is NOUNS


def test_longer_windows_are_of_the_files_for_testing():
    _, documents = python_tokens(1000)
    long, cut = long_windows(), {tuple(one) for one in windows().test.tolist()}
    assert long.shape[1] == 64 and len(long) > 100
    assert all(tuple(half) in cut for one in long for half in one.view(2, 32).tolist())
    first = next(one for one in documents.heldout[1::2] if len(one) >= 64)
    assert long[0].tolist() == first[:64]


# ---- inside


def test_taken_apart_sums_to_the_models_weights():
    model, ids = tiny(), torch.randint(97, (1, 12))
    states = model.states(ids)                              # before anything changes
    first, third = taken_apart(model, ids), taken_apart(model, ids, layer=3, head=6)
    for terms, layer, head in ((first, 0, 0), (third, 2, 5)):
        attention, x = model.layers[layer].attention, states[layer]
        value = attention.heads(attention.value(x))[0, head]
        mixed = sum(terms.values()).softmax(-1) @ value     # (tokens, d)
        attention.output.weight.data = torch.eye(48)
        attention.output.bias.data.zero_()
        found = attention(x, None, model.positions.weight)[0]
        assert torch.allclose(mixed, found[:, 8 * head : 8 * head + 8], atol=1e-5)


def test_a_short_sighted_table_is_a_smaller_k():
    model, ids = tiny(), torch.randint(97, (2, 30))
    near = Deberta(replace(CONFIG, max_relative_positions=3), DisentangledAttention)
    whole = model.positions.weight.data
    middle = {"positions.weight": whole[8 - 3 : 8 + 3].clone()}
    near.load_state_dict(model.state_dict() | middle)
    model.positions.weight.data = short_sighted(whole, 3)
    assert torch.allclose(model(ids), near(ids), atol=1e-5)


@pytest.mark.parametrize("term", ["c2p", "p2c"])
def test_what_a_head_likes_is_the_mean_of_its_scores(term):
    model, ids = tiny(), torch.randint(97, (1, 9))
    x, attention = model.states(ids)[0], model.layers[0].attention
    found = likes(attention, x[0, 4:5], model.positions.weight, term)   # (heads, 2k)
    scores = attention.scores(x, model.positions.weight)[term][0]
    row = delta(9, 8)[4] if term == "c2p" else delta(9, 8)[:, 4]
    seen = scores[:, 4] if term == "c2p" else scores[:, :, 4]
    assert torch.allclose(found[:, row], seen, atol=1e-5)
    every = partial(likes, attention, positions=model.positions.weight, term=term)
    each = torch.stack([every(one) for one in x[0, :, None]])
    assert torch.allclose(every(x[0]), each.mean(0), atol=1e-5)


def test_the_loss_of_each_place_is_of_tokens_that_stand_there():
    model = text_model("none", 0).eval()
    ids = torch.full((40, 64), 7)
    ids[:, 32:] = 8
    model.head.bias.data[7] = 50.0                          # it always says 7
    found = loss_by_place(model, ids)
    assert found.shape == (8,) and found[:4].max() < 1 < 10 < found[4:].min()


class SaysWhatItReads(nn.Module):
    """A MaskedLM that is sure that the word is the one that stands there."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Embedding.from_pretrained(50 * torch.eye(1000))

    def words(self, states):
        return states


def test_the_loss_of_each_place_is_of_hidden_tokens():
    found = loss_by_place(SaysWhatItReads(), windows().test[:400])
    assert found.shape == (4,) and found.min() > 35         # one of ten stays
    again = loss_by_place(SaysWhatItReads(), windows().test[:400])
    assert torch.equal(again, found)


def test_liked_distances_are_drawn_where_the_other_token_stands():
    encoder = text_model("both", 0).encoder.eval()

    def rows(attention, x, table, term):
        """In place of `likes`: a row of P is worth its number, in every head."""
        return torch.arange(32.0).expand(4, -1) + 100 * (len(x) < 200)

    def cut(table, k):
        return table if k == 16 else table[:k]

    figure = figures.liked_distances(encoder, rows, cut).still
    for term, sign in (("c2p", -1), ("p2c", 1)):
        frame = figure.compute(token="(", term=term, layer=2, head=3, k=16)
        every, chosen = frame["series"]
        assert (every["name"], chosen["name"]) == ("all tokens", "(")
        places = torch.as_tensor(every["x"])
        assert torch.equal(places, places.sort().values)
        assert torch.equal(torch.as_tensor(every["y"]), 16 + sign * places.float())


@pytest.fixture(scope="module")
def viewer():
    return figures.python_apart(text_model("both", 0).encoder)


@pytest.mark.parametrize(
    "typed",
    ["x = f(y)", "word " * 1000, "<script>alert(1)</script>", "한국어 문장입니다.",
     "'''never closed", "((((", "", "if x:\ny"],
)
def test_the_viewer_takes_any_text(viewer, typed):
    frame = viewer.still.compute(program=typed, layer=1, head=2)
    count = len(frame["tokens"])
    assert 1 <= count <= 24
    assert all(one.shape == (count, count) for one in frame["terms"].values())


@pytest.mark.parametrize("typed", ["", "<script>alert(1)</script>", "한국어"])
def test_the_page_shows_any_text(viewer, typed):
    frame = viewer.still.compute(program=typed, layer=1, head=2)
    assert "<script>alert" not in Apart(frame, caption="Code.", alt="Code.").html


def test_a_summary_is_mean_and_deviation():
    assert figures.summary([{"loss": 1.0}, {"loss": 3.0}], "loss") == "2.00 ± 1.41"


# ---- the study

CHEAP = ["both, reader", "absolute, fixed", "both as in Eq. 4, sender",
         "store and mall among fillers, both", "column, decoder without positions"]


@pytest.mark.parametrize("name", CHEAP)
def test_the_stored_study_is_what_the_code_gives(name):
    measured = "right" if "," in name and "mall" in name else "trained positions"
    measured = "right" if name.startswith("column") else measured
    found = STUDY[name](2)[measured]
    stored = {run["seed"]: run[measured] for run in study.read("deberta")[name]}
    assert found == pytest.approx(stored[2], abs=1.0)


@pytest.mark.parametrize("name", ["absolute", "both", "decoder"])
def test_text_is_learned_as_in_the_study(name):
    """The first 50 of 400 steps: initial weights, windows, hidden tokens, recipe."""
    kind = f"text: {name}, 400 steps"
    rate = study.read("deberta")[kind][0]["rate"]

    def enough(step, loss):
        if step == 49:
            raise StopIteration

    model = text_model(name, 2)
    with pytest.raises(StopIteration):
        fit(model, windows().train, 400, 2, enough, rate)
    loss, _ = held_out_loss(model, windows().test)
    study.within_spread("deberta", kind, 2, "after 50", loss, times=3)


# ---- published weights


@pytest.mark.parametrize(
    "changes",
    [
        dict(pos_att_type=["p2c", "c2p"]),
        dict(max_relative_positions=4),
        dict(max_relative_positions=1),
        dict(max_relative_positions=-1),
        dict(hidden_act="gelu_new"),
        dict(num_attention_heads=1),
        dict(layer_norm_eps=1e-3),
    ],
)
def test_the_first_deberta_is_the_references(tmp_path, changes):
    theirs = reference("DebertaModel", tmp_path, **V1 | changes)
    assert same(from_pretrained(tmp_path), theirs)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict(position_buckets=20),
        dict(position_buckets=32),  # more than the text has tokens
        dict(max_relative_positions=16),
        CONV,
        dict(conv_kernel_size=5),
    ],
)
def test_v2_and_v3_are_the_references(tmp_path, changes):
    theirs = reference("DebertaV2Model", tmp_path, **V3 | changes)
    assert same(from_pretrained(tmp_path), theirs)


@pytest.mark.parametrize(("kind", "sizes"), [("Deberta", V1), ("DebertaV2", V3)])
def test_longer_than_the_position_table(tmp_path, kind, sizes):
    theirs = reference(f"{kind}Model", tmp_path, **sizes)
    assert same(from_pretrained(tmp_path), theirs, length=60)


@pytest.mark.parametrize(("family", "sizes"), [("Deberta", V1), ("DebertaV2", V3)])
@pytest.mark.parametrize(
    ("head", "changes", "kind"),
    [
        ("ForMaskedLM", dict(legacy=True), MaskedLM),
        ("ForMaskedLM", dict(legacy=False), MaskedLM),
        ("ForSequenceClassification", dict(num_labels=5), Classifier),
    ],
)
def test_what_stands_on_top_is_the_references(
    tmp_path, family, sizes, head, changes, kind
):
    theirs = reference(family + head, tmp_path, **sizes | changes)
    ours = from_pretrained(tmp_path)
    assert type(ours) is kind and same(ours, theirs)


@pytest.mark.parametrize("way", FILES)
@pytest.mark.parametrize(
    ("kind", "sizes"), [("DebertaForMaskedLM", V1), ("DebertaV2ForMaskedLM", V3)]
)
def test_any_file_that_the_library_reads(tmp_path, kind, sizes, way):
    theirs = reference(kind, tmp_path, **sizes)
    rewrite(tmp_path, **FILES[way])
    assert same(from_pretrained(tmp_path), rounded(theirs, **FILES[way]))


def as_published(folder, family="DebertaV2", sizes=V3):
    """A checkpoint as published: a `.bin`, no architecture, all of a pre-training.

    Returns the reference and the table of the mask decoder.
    """
    theirs = reference(f"{family}ForMaskedLM", folder, **sizes | dict(legacy=False))
    table = torch.randn(40, 48)
    more = {
        "mask_predictions.dense.weight": torch.zeros(48, 48),
        "deberta.embeddings.position_embeddings.weight": table,
    }
    edit(folder, lambda tensors: tensors.update(more))
    configure(folder, architectures=None, legacy=None)
    rewrite(folder, kind="bin")
    return theirs, table


PUBLISHED = [("Deberta", V1, Deberta), ("DebertaV2", V3, DebertaV2)]


@pytest.mark.parametrize(("family", "sizes", "kind"), PUBLISHED)
def test_a_file_as_published_is_the_encoder(tmp_path, family, sizes, kind):
    theirs, _ = as_published(tmp_path, family, sizes)
    ours = from_pretrained(tmp_path)
    assert [one.name for one in tmp_path.glob("*model*")] == ["pytorch_model.bin"]
    assert type(ours) is kind and same(ours, theirs.deberta)


def test_the_decoder_is_the_references_last_layer_run_twice(tmp_path):
    theirs, table = as_published(tmp_path)  # of V2: the first one's takes no queries
    ours, ids = from_pretrained(tmp_path, decoder=True), torch.randint(97, (2, 20))
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[1, 13:] = 0
    body, encoder = theirs.deberta, theirs.deberta.encoder
    with torch.no_grad():
        outputs = body(ids, attention_mask=mask, output_hidden_states=True)
        memory = outputs.hidden_states[-2]
        x = memory + table[:20]
        for _ in range(2):
            x, _ = encoder.layer[-1](
                memory,
                encoder.get_attention_mask(mask),
                query_states=x,
                relative_pos=encoder.get_rel_pos(memory),
                rel_embeddings=encoder.get_rel_embedding(),
            )
        expected = theirs.lm_predictions(x, body.embeddings.word_embeddings)
        assert torch.allclose(ours(ids, mask), expected, atol=1e-4)


def test_hidden_states_of_every_layer_are_the_references(tmp_path):
    theirs = reference("DebertaV2Model", tmp_path, **V2)
    ours, ids = from_pretrained(tmp_path), torch.randint(97, (2, 9))
    with torch.no_grad():
        expected = theirs(ids, output_hidden_states=True).hidden_states
        found = ours.states(ids)
    assert len(found) == len(expected)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected))


def test_the_letter_of_equation_4_is_not_what_the_reference_computes(tmp_path):
    theirs = reference("DebertaModel", tmp_path, **V1)
    ours, ids = from_pretrained(tmp_path), torch.randint(97, (2, 20))
    for layer in ours.layers:
        printed = BothAsPrinted(48, 6)
        printed.load_state_dict(layer.attention.state_dict())
        layer.attention = printed
    with torch.no_grad():
        assert (ours(ids) - theirs(ids)[0]).abs().max() > 0.01


def test_weights_that_do_not_fit_are_named(tmp_path):
    reference("DebertaForMaskedLM", tmp_path, **V1)
    layer = "deberta.encoder.layer"
    spoil(
        tmp_path,
        missing="cls.predictions.bias",
        misshapen=f"{layer}.0.attention.self.in_proj.weight",
        unknown=f"{layer}.3.attention.self.in_proj.weight",
    )
    with pytest.raises(ValueError) as error:
        from_pretrained(tmp_path)
    assert str(error.value) == (
        "the weights do not fit a DebertaForMaskedLM: missing: cls.predictions.bias, "
        "cls.predictions.decoder.bias; "
        f"unknown: {layer}.3.attention.self.in_proj.weight; "
        "of another shape: "
        f"{layer}.0.attention.self.in_proj.weight (6912,) for (144, 48)"
    )


def test_a_file_without_a_mask_decoder_is_told(tmp_path):
    reference("DebertaForMaskedLM", tmp_path, **V1)
    table = "deberta.embeddings.position_embeddings.weight"
    with pytest.raises(ValueError, match=f"missing: {table}$"):
        from_pretrained(tmp_path, decoder=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(hidden_act="silu"), "hidden_act is 'silu'; the lesson's model has only"),
        (dict(talking_head=True), "talking_head is True"),
        (dict(relative_attention=False), "relative_attention is False"),
        (dict(position_biased_input=True), "position_biased_input is True"),
        (dict(type_vocab_size=2), "type_vocab_size is 2"),
        (dict(attention_head_size=16), "attention_head_size is 16; .* has only 8"),
        (dict(pos_att_type=["p2p"]), r"pos_att_type is \['p2p'\]"),
        (dict(pooler_hidden_act="relu"), "pooler_hidden_act is 'relu'"),
        (dict(pooler_hidden_size=24), "pooler_hidden_size is 24"),
        (dict(embedding_size=24), "embedding_size is 24"),
        (
            dict(architectures=["DebertaForTokenClassification"]),
            "is of a DebertaForTok",
        ),
    ],
)
def test_what_the_lesson_does_not_have_is_told(tmp_path, changes, message):
    reference("DebertaModel", tmp_path, **V1)
    configure(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(share_att_key=False), "share_att_key is False"),
        (dict(norm_rel_ebd="none"), "norm_rel_ebd is 'none'"),
        (dict(pos_att_type=["c2p"]), "only the one with c2p and p2c"),
        (dict(conv_act="silu"), "conv_act is 'silu'"),
        (dict(conv_groups=2), "conv_groups is 2"),
        (dict(position_buckets=-1), "position_buckets should be a whole number above"),
    ],
)
def test_what_the_lesson_does_not_have_of_v2_is_told(tmp_path, changes, message):
    reference("DebertaV2Model", tmp_path, **V3)
    configure(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("legacy", "head"), [(True, "cls"), (False, "lm_predictions")]
)
def test_what_the_library_puts_on_top_for_masked_words(legacy, head):
    import transformers

    settings = {"legacy": legacy, "position_biased_input": False}
    settings = transformers.DebertaConfig(**settings)
    with torch.device("meta"):
        library = transformers.DebertaForMaskedLM(settings)
    names = [name for name, _ in library.named_parameters()]
    assert {name.partition(".")[0] for name in names} == {"deberta", head}
    assert not any("position_embeddings" in name for name in names)  # no decoder


# ---- bad input


def test_unknown_variant_and_field():
    with pytest.raises(ValueError, match="no variant 'deberta-huge'; there are"):
        build("deberta-huge")
    with pytest.raises(ValueError, match="a Config has no 'layers'; it has vocab_size"):
        build("deberta-base", layers=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build("deberta-base", num_attention_heads=5), "multiple of 5 heads"),
        (
            lambda: build("deberta-base", num_hidden_layers=2.5),
            "num_hidden_layers should be a whole number above 0, not 2.5",
        ),
        (
            lambda: V2Config(conv_kernel_size=2),
            "conv_kernel_size should be 0 or odd, not 2",
        ),
        (
            lambda: V2Config(position_buckets=1),
            "position_buckets should be 2 to below 1022, not 1",
        ),
    ],
)
def test_impossible_configurations(make, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        make()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(5, dtype=torch.long), r"\(batch, tokens\) .* not shape \(5,\)"),
        (torch.zeros(1, 5), "torch.float32"),
        (torch.full((1, 5), 97), "input_ids should be from 0 to 96, not 97 to 97"),
    ],
)
def test_ids_that_are_none(ids, message):
    with pytest.raises(ValueError, match=message):
        tiny()(ids)


def test_a_text_longer_than_the_decoders_table():
    model = started(MaskDecoder, CONFIG)
    why = "the text has 41 tokens, the mask decoder knows 40 positions"
    with pytest.raises(ValueError, match=why):
        model(torch.zeros(1, 41, dtype=torch.long))
    assert model(torch.zeros(1, 40, dtype=torch.long)).shape == (1, 40, 48)


def test_initial_weights():
    torch.manual_seed(0)
    encoder = MaskDecoder(replace(CONFIG, hidden_size=480, vocab_size=2000))
    for name, weight in encoder.named_parameters():
        if weight.ndim == 2:
            assert weight.std().item() == pytest.approx(0.02, rel=0.1), name
        elif "norm" not in name:
            assert (weight == 0).all(), name


# ---- exercises: planted wrong answers


def right_delta(queries, keys, k, low=0, high=-1, shift=0, sign=1):
    """A right answer, to plant faults in."""
    return (sign * (queries[:, None] - keys) + k + shift).clamp(low, 2 * k + high)


def printed(key, position_query, index, transpose=False, turn=True, scale=1.0):
    scores = scale * key @ position_query.transpose(-2, -1)
    index = index.T if transpose else index
    scores = scores.gather(-1, index.expand(*scores.shape[:-1], -1))
    return scores.transpose(-2, -1) if turn else scores


def looked_up(key, position_query, index):
    return torch.einsum("bhjd,hijd->bhij", key, position_query[:, index.T])


def in_place(key, position_query, index):
    key *= 2
    return printed(key, position_query, index) / 2


def own_index(key, position_query, index):
    k = position_query.shape[-2] // 2
    return printed(key, position_query, delta(len(index), k))


def same_bucket(distance, buckets=256, longest=512, signed=True, first=None):
    def bucket(r):
        return int(log_buckets(torch.tensor(r if signed else abs(r)), buckets, longest))

    everything = range(-longest + 1 if first is None else first, longest)
    return [r for r in everything if bucket(r) == bucket(distance)]


def of_delta(change):
    return lambda queries, keys, k: change(right_delta(queries, keys, k))


def count_by_delta(n, k):
    return delta(n, k).unique().numel()


def count_by_loops(n, k):
    used = {max(0, min(i - j + k, 2 * k - 1)) for i in range(n) for j in range(n)}
    return len(used)


def p2p(query, key, n, rows="printed", scale=1.0, k=None):
    """A right answer, to plant faults in."""
    index = delta(n, query.shape[1] // 2 if k is None else k)
    of_query, of_key = {
        "printed": (index.T, index), "exchanged": (index, index.T),
        "both ij": (index, index), "both ji": (index.T, index.T),
    }[rows]
    return scale * (query @ key.transpose(-2, -1))[:, of_query, of_key]


def p2p_looked_up(query, key, n):
    index = delta(n, query.shape[1] // 2)
    return (query[:, index.T] * key[:, index]).sum(-1)


def p2p_by_diagonals(query, key, n):
    """One number for each distance, then put where it belongs."""
    k, scores = query.shape[1] // 2, torch.zeros(len(query), n, n)
    for distance in range(1 - n, n):
        there = max(0, min(distance + k, 2 * k - 1))
        back = max(0, min(k - distance, 2 * k - 1))
        number = (query[:, back] * key[:, there]).sum(-1)
        for i in range(max(0, distance), min(n, n + distance)):
            scores[:, i, i - distance] = number
    return scores


class Difference(nn.Module):
    """A right answer, to plant faults in."""

    def __init__(self, table, start=0.0):
        super().__init__()
        self.words = lambda ids: table.weight[ids].detach()
        self.difference = nn.Parameter(torch.full_like(table.weight, start))

    def forward(self, ids):
        return self.words(ids) + self.difference[ids]


class DifferenceAsEmbedding(nn.Module):
    def __init__(self, table):
        super().__init__()
        object.__setattr__(self, "table", table)
        self.difference = nn.Embedding(*table.weight.shape)
        nn.init.zeros_(self.difference.weight)

    def forward(self, ids):
        with torch.no_grad():
            words = self.table(ids)
        return words + self.difference(ids)


class Registered(Difference):
    def __init__(self, table):
        super().__init__(table)
        self.table = table


class Pulls(Difference):
    def __init__(self, table):
        super().__init__(table)
        self.words = lambda ids: table(ids)


class Copies(Difference):
    def __init__(self, table):
        super().__init__(table)
        copy = table.weight.detach().clone()
        self.words = lambda ids: copy[ids]


class Freezes(Difference):
    def __init__(self, table):
        super().__init__(table)
        table.weight.requires_grad_(False)


class StopsBoth(Difference):
    def forward(self, ids):
        return super().forward(ids).detach()


class NoParameter(Difference):
    def __init__(self, table):
        super().__init__(table)
        difference = self.difference.detach()
        del self.difference
        self.difference = difference


class OneVector(Difference):
    def __init__(self, table):
        super().__init__(table)
        self.difference = nn.Parameter(torch.zeros(table.weight.shape[1]))

    def forward(self, ids):
        return self.words(ids) + self.difference


class OnlyDifference(Difference):
    def forward(self, ids):
        return self.difference[ids]


def hand(task, k, sign=1, which=lambda ids: ids // 8, size=20.0, extra=0, least=5):
    """A right answer, to plant faults in."""
    if k < least:
        raise ValueError
    content, position = torch.zeros(48, 6), torch.zeros(2 * k + extra, 6)
    for one in range(48):
        content[one, which(one)] = size
    for row, offset in enumerate([-3, -2, -1, 1, 2, 3]):
        distance = sign * (-offset if task == "reader" else offset)
        position[distance + k, row] = 1.0
    return content, position


def by_angles(task, k):
    """Each distance an angle, so that two numbers a row are enough."""
    if k <= 4:
        raise ValueError
    angle = torch.arange(-k, k) * math.pi / k
    position = torch.stack([angle.cos(), angle.sin()], 1)
    offset = torch.tensor([-3, -2, -1, 1, 2, 3])[torch.arange(48) // 8]
    distance = -offset if task == "reader" else offset
    return 2000 * position[distance + k], position


WRONG = [
    ("delta_of", of_delta(torch.Tensor.tolist), "return a tensor, not list"),
    ("delta_of", of_delta(torch.t), r"the shape \(2, 7\)"),
    ("delta_of", of_delta(torch.Tensor.float), "whole numbers, not torch.float32"),
    ("delta_of", partial(right_delta, sign=-1), "yours grows the other way"),
    ("delta_of", partial(right_delta, shift=1), "i − j \\+ k"),
    ("delta_of", partial(right_delta, high=0), "2k is one too many"),
    ("delta_of", partial(right_delta, high=-2), "2k − 1 each time"),
    ("delta_of", partial(right_delta, low=1), "it should be 0, 0, 1"),
    ("delta_of", lambda q, j, k: right_delta(q, j, 4), "is k used everywhere"),
    ("delta_of", of_delta(lambda d: d.to(torch.uint8)), "k = 512 it should be 1023"),
    (
        "delta_of",
        lambda q, j, k: right_delta(q.add_(1), j.add_(1), k),
        "the positions have changed",
    ),
    ("p2c_as_printed", lambda *given: None, "return a tensor, not NoneType"),
    (
        "p2c_as_printed",
        lambda key, rows, index: key @ rows.transpose(-2, -1),
        r"\(batch, heads, n, n\) is",
    ),
    ("p2c_as_printed", partial(printed, transpose=True), "as released code does"),
    ("p2c_as_printed", partial(printed, turn=False), "rows and columns are"),
    (
        "p2c_as_printed",
        partial(printed, transpose=True, turn=False),
        "takes the vector of token i",
    ),
    ("p2c_as_printed", partial(printed, scale=15**-0.5), "leave the scale away"),
    ("p2c_as_printed", partial(printed, scale=5**-0.5), "leave the scale away"),
    ("p2c_as_printed", partial(printed, scale=2.0), "compare with loops"),
    ("p2c_as_printed", in_place, "the inputs have changed"),
    ("p2c_as_printed", own_index, "use the index that is given"),
    ("p2c_as_printed", looked_up, "multiply with all 2k rows first"),
    ("alike", lambda *given: None, "a list of whole numbers, not None"),
    ("alike", lambda *given: [0.5], "a list of whole numbers"),
    ("alike", lambda *given: [], "the distance itself is missing"),
    ("alike", lambda distance, *given: [distance], "yours are 1 distances"),
    ("alike", partial(same_bucket, signed=False), "have buckets of their own"),
    ("alike", lambda *given: same_bucket(*given)[::-1], "in rising order"),
    ("alike", lambda distance, *given: same_bucket(distance), "yours are"),
    ("alike", partial(same_bucket, first=0), "the distance itself is missing"),
    ("alike", lambda d, buckets, far: same_bucket(d, buckets, far), "TypeError"),
    ("rows_used", lambda n, k: 2 * k, "not all rows are used"),
    ("rows_used", lambda n, k: n * n, "counts pairs"),
    ("rows_used", lambda n, k: n, "a distance has a sign"),
    ("rows_used", lambda n, k: min(2 * n - 2, 2 * k), "a pair with itself"),
    ("rows_used", lambda n, k: 2 * n - 1, "cut off and share a row"),
    ("rows_used", lambda n, k: min(2 * n - 1, 2 * k - 1), "row 2k − 1 are both used"),
    ("rows_used", lambda n, k: min(2 * n - 1, 2 * k + 1), "shares k − 1's row"),
    ("rows_used", lambda n, k: delta(n, k).unique(), "whole number, not tensor"),
    ("p2p_scores", lambda *given: None, "return a tensor, not NoneType"),
    ("p2p_scores", lambda q, k, n: q @ k.mT, r"\(heads, n, n\) is \(3, 7, 7\)"),
    ("p2p_scores", partial(p2p, rows="both ij"), "both rows are δ.i, j. in yours"),
    ("p2p_scores", partial(p2p, rows="both ji"), "both rows are δ.j, i. in yours"),
    ("p2p_scores", partial(p2p, rows="exchanged"), "two δ are exchanged"),
    ("p2p_scores", partial(p2p, scale=5**-0.5), "leave the scale away"),
    ("p2p_scores", partial(p2p, k=3), "compare with loops"),
    ("p2p_scores", lambda q, k, n: p2p(q, k, 7)[:, :n, :n], "cut off at k"),
    ("p2p_scores", p2p_looked_up, "multiply all rows with all rows first"),
    ("WithDifference", lambda table: table.weight, "it should be a module"),
    ("WithDifference", partial(Difference, start=0.1), "E_Δ starts at 0"),
    ("WithDifference", OnlyDifference, "the generator's table is missing"),
    ("WithDifference", Registered, "among the parameters of your module"),
    ("WithDifference", Pulls, "loss pulls at the generator's table"),
    ("WithDifference", Copies, "keep no copy"),
    ("WithDifference", Freezes, "cannot learn any more"),
    ("WithDifference", StopsBoth, "no gradient gets to E_Δ"),
    ("WithDifference", NoParameter, "has no parameter"),
    ("WithDifference", OneVector, r"of the shape \(11, 4\), not"),
    ("by_hand", lambda task, k: hand(task, k)[0], "return two tensors"),
    ("by_hand", partial(hand, extra=1), r"should be \(48, d\) and \(16, d\)"),
    ("by_hand", partial(hand, sign=-1), "the other side is looked at"),
    ("by_hand", lambda task, k: hand("reader", k), "“sender”.*the other side"),
    ("by_hand", partial(hand, which=lambda one: one % 6), r"OFFSETS\[id // 8\]"),
    ("by_hand", partial(hand, size=4.0), "make the softmax sharper"),
    ("by_hand", partial(hand, least=4), "a ValueError is expected"),
    ("by_hand", partial(hand, least=6), "stopped with ValueError"),
]


@pytest.mark.parametrize(("check", "wrong", "hint"), WRONG)
def test_planted_wrong_answers_fail(check, wrong, hint):
    line = verdict(wrong, checker("deberta", check))
    assert line.startswith("✗") and re.search(hint, line), line


def otherwise(key, rows, index):
    products = rows @ key.transpose(-2, -1)                 # (batch, heads, 2k, n)
    return products.gather(-2, index.T.expand(*key.shape[:2], -1, -1))


@pytest.mark.parametrize(
    ("check", "right"),
    [
        ("delta_of", right_delta),
        ("delta_of", of_delta(torch.Tensor.int)),
        ("p2c_as_printed", printed),
        ("p2c_as_printed", otherwise),
        ("alike", same_bucket),
        ("alike", lambda *given: torch.tensor(same_bucket(*given))),
        ("alike", lambda *given: tuple(same_bucket(*given))),
        ("rows_used", count_by_delta),
        ("rows_used", count_by_loops),
        ("rows_used", lambda n, k: torch.tensor(min(2 * n - 1, 2 * k))),
        ("p2p_scores", p2p),
        ("p2p_scores", p2p_by_diagonals),
        ("WithDifference", Difference),
        ("WithDifference", DifferenceAsEmbedding),
        ("by_hand", hand),
        ("by_hand", by_angles),
    ],
)
def test_right_answers_of_other_forms_pass(check, right):
    assert verdict(right, checker("deberta", check)).startswith("✓")


def test_the_hint_of_the_last_solution_is_true():
    assert same_bucket(100) == [100] and len(same_bucket(400)) == 5
