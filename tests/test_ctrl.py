"""The CTRL lesson: the parts, writing, the study, the reference, bad input."""

import math
import re
from functools import partial

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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kit import study
from kit.exercises import verdict
from kit.probe import parameters
from kit.text import corpus
from lessons.ctrl import (
    BOOKS,
    CODES,
    NEVER,
    PACKAGES,
    PAIRS,
    SMALL,
    START,
    TOKEN,
    VARIANTS,
    VOCABULARY,
    WINDOW,
    Config,
    Ctrl,
    Judge,
    Layer,
    bodies,
    build,
    causal_mask,
    documents,
    fit,
    form_judge,
    generate,
    greedy,
    kind_judge,
    losses_by_code,
    mixed,
    new_memory,
    nucleus,
    obeyed,
    penalised,
    probes,
    read_on,
    real_words,
    repeated,
    right_and_wrong,
    sampled,
    second_batches,
    sinusoids,
    titled,
    token_losses,
    tokenizer,
    top_k,
    topic_judge,
    triples,
    twin_batches,
    verdicts,
    weight_on_first,
    windows,
    with_codes,
    write,
)
from lessons.figures import ctrl as figures
from lessons.published import ctrl as published
from lessons.published.ctrl import from_pretrained
from lessons.studies import ctrl as ways

TINY = dict(vocab_size=97, n_positions=40, n_embd=48, dff=96, n_layer=3, n_head=6)


def small(seed=0):
    """The lesson's network, untrained: it writes noise, which is hard on viewers."""
    torch.manual_seed(seed)
    return Ctrl(SMALL).eval()


@pytest.fixture(scope="module")
def model():
    return small()


# ---- parts


def test_sinusoids_are_concatenated_and_the_references():
    from transformers.models.ctrl.modeling_ctrl import positional_encoding

    for positions, size in ((40, 48), (65, 96), (256, 1280), (3, 2)):
        ours, places = sinusoids(positions, size), torch.arange(positions).float()
        assert torch.equal(ours, positional_encoding(positions, size, torch.float))
        assert torch.allclose(ours[:, 0], places.sin(), atol=1e-6)
        assert torch.allclose(ours[:, size // 2], places.cos(), atol=1e-6)


def test_the_causal_mask_ends_in_the_lower_right_corner():
    assert causal_mask(3, 3).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert causal_mask(2, 4).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert causal_mask(1, 7).all()
    real = torch.tensor([[True, False, True]])
    padded = causal_mask(3, 3, real)[0, 0]
    assert padded.int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 1]]


def test_nobody_looks_ahead_but_everyone_looks_at_itself():
    torch.manual_seed(0)
    layer, x = Layer(Config(**TINY, dropout=0.0)), torch.randn(1, 9, 48)
    network = build("ctrl-256", **TINY, initializer_range=0.3).eval()
    ids = torch.randint(97, (1, 9))
    for place in range(9):
        changed, others = x.clone(), ids.clone()
        changed[0, place] = torch.randn(48)
        others[0, place] = (others[0, place] + 1) % 97
        mask = causal_mask(9, 9)
        pairs = (
            (layer(changed, mask), layer(x, mask)), (network(others), network(ids)),
        )
        for after, before in pairs:
            moved = (after - before)[0].abs().amax(-1) > 1e-6
            assert moved.tolist() == [i >= place for i in range(9)]


def test_what_a_layer_does_by_hand():
    """Normalise before, add to what was not normalised, a ReLU inside."""
    torch.manual_seed(0)
    layer, x = Layer(Config(**TINY)).eval(), 3 + 2 * torch.randn(2, 5, 48)
    mask = causal_mask(5, 5)
    between = x + layer.attention(F.layer_norm(x, (48,), eps=1e-6), mask)
    inner = layer.ffn.up(F.layer_norm(between, (48,), eps=1e-6)).relu()
    assert torch.allclose(layer(x, mask), between + layer.ffn.down(inner), atol=1e-5)


def test_the_layer_of_the_equations_adds_to_what_was_normalised():
    torch.manual_seed(0)
    layer, x = published.LiteralLayer(Config(**TINY)).eval(), torch.randn(2, 5, 48)
    mask = causal_mask(5, 5)
    into = F.layer_norm(3 + 2 * x, (48,), eps=1e-6)
    between = F.layer_norm(into + layer.attention(into, mask), (48,), eps=1e-6)
    expected = between + layer.ffn(between)
    assert torch.allclose(layer(3 + 2 * x, mask), expected, atol=1e-5)


def test_dropout_is_on_what_is_added_and_not_on_the_sum():
    layer, x = Layer(Config(**TINY, dropout=1.0)).train(), torch.randn(2, 5, 48)
    assert torch.equal(layer(x, causal_mask(5, 5)), x)
    half, mask = Layer(Config(**TINY, dropout=0.5)).train(), causal_mask(5, 5)
    assert not torch.equal(half(x, mask), half.eval()(x, mask))
    network = build("ctrl-256", **TINY, dropout=1.0).train()
    assert (network.embed(torch.tensor([[5, 7]])) == 0).all()  # words and places


def test_the_embedding_is_scaled_and_the_head_is_tied():
    torch.manual_seed(0)
    network, ids = build("ctrl-256", **TINY).eval(), torch.tensor([[5, 7]])
    waves = sinusoids(40, 48)
    expected = network.word.weight[ids] * math.sqrt(48) + waves[:2]
    assert torch.allclose(network.embed(ids), expected, atol=1e-5)
    later = expected - waves[:2] + waves[3:5]
    assert torch.allclose(network.embed(ids, past=3), later, atol=1e-5)
    names = [name for name, weight in network.named_parameters() if 97 in weight.shape]
    assert names == ["bias", "word.weight"]
    x = 1e-3 * torch.randn(1, 2, 48)                        # so small that eps shows
    by_hand = F.layer_norm(x, (48,), eps=1e-6) @ network.word.weight.T
    with torch.no_grad():
        network.bias.copy_(torch.arange(97.0))
    assert torch.allclose(network.words(x), by_hand + torch.arange(97), atol=1e-4)


def test_initial_weights_have_the_given_deviation():
    network = build("ctrl-256", **TINY, initializer_range=0.3)
    untied = published.Untied(network.config)
    weights = network.word.weight, network.layers[0].ffn.up.weight, untied.output
    for weight in weights:
        assert weight.std().item() == pytest.approx(0.3, rel=0.05)


# ---- the memory


@pytest.mark.parametrize("parts", [[9], [1] * 9, [4, 1, 4], [8, 1], [1, 8]])
def test_a_memory_changes_nothing(parts):
    torch.manual_seed(0)
    network, ids = build("ctrl-256", **TINY).eval().double(), torch.randint(97, (2, 9))
    memory = new_memory(network, 2)
    found = [read_on(network, part, memory) for part in ids.split(parts, dim=1)]
    assert torch.allclose(torch.cat(found, dim=1), network(ids), atol=1e-10)
    assert [keys.shape for keys, _ in memory] == [(2, 6, 9, 8)] * 3


def test_memories_agree_with_the_reference_with_padding(tmp_path):
    theirs, ours = given(tmp_path).double(), from_pretrained(tmp_path).double()
    ids, mask = torch.randint(97, (2, 12)), torch.ones(2, 12, dtype=torch.long)
    mask[1, 2:5] = 0
    memory, past = new_memory(ours, 2), None
    with torch.no_grad():
        for start, stop in ((0, 6), (6, 7), (7, 12)):
            new, real = ids[:, start:stop], mask[:, :stop]
            answer = theirs(
                new, attention_mask=real, past_key_values=past, use_cache=True
            )
            past = answer.past_key_values
            gap = (read_on(ours, new, memory, real) - answer.logits).abs()
            assert (gap * mask[:, start:stop, None]).max() < 1e-10


# ---- drawing


def test_the_penalty_is_the_papers():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    seen = torch.tensor([[True, False, False, True]])
    expected = (torch.tensor([2 / 1.5, 1, 0, -1 / 1.5]) / 0.7).softmax(0)
    assert torch.allclose(penalised(logits, seen, 1.5, 0.7)[0], expected)
    assert torch.equal(penalised(logits, seen, 1.0), logits.softmax(-1))
    assert logits[0, 0] == 2
    assert torch.equal(penalised(logits, seen), penalised(logits, seen, 1.2, 1.0))
    assert greedy(logits, seen, 3.0).tolist() == [[0, 1, 0, 0]]
    assert greedy(logits, seen).tolist() == [[1, 0, 0, 0]]


def test_the_library_multiplies_negative_logits():
    for first, divided in ((2.0, 2.0 / 1.5), (-2.0, -2.0 * 1.5)):
        logits, seen = torch.tensor([[first, 1.0]]), torch.tensor([[True, False]])
        found = published.two_penalties(logits, seen, 1.5)
        by_hand = (first, first / 1.5, divided)
        odds = [1 / (1 + math.exp(1 - logit)) for logit in by_hand]
        assert found == pytest.approx(odds)


def test_top_k_keeps_k_and_a_nucleus_as_few_as_have_the_share():
    p = torch.tensor([[0.05, 0.5, 0.1, 0.35], [0.4, 0.3, 0.2, 0.1]])
    for k, kept in ((1, [1]), (2, [1, 3]), (3, [1, 2, 3]), (4, [0, 1, 2, 3])):
        found, other = top_k(p.log(), None, k)
        assert other.nonzero().flatten().tolist() == list(range(k))
        assert found.nonzero().flatten().tolist() == kept
        assert torch.allclose(found[kept], p[0, kept] / p[0, kept].sum())
    for share, kept in ((0.4, [1]), (0.6, [1, 3]), (0.84, [1, 3]), (0.86, [1, 2, 3])):
        found, other = nucleus(p.log(), None, share)
        assert other.nonzero().numel() == {0.4: 1, 0.6: 2}.get(share, 3)
        assert found.nonzero().flatten().tolist() == kept
        assert torch.allclose(found[kept], p[0, kept] / p[0, kept].sum())
    even = torch.zeros(1, 100)
    assert nucleus(even[:, :2], None, 0.5).count_nonzero() == 1  # one has half of it
    assert torch.equal(nucleus(p.log(), None), nucleus(p.log(), None, 0.9))
    rising = torch.arange(100.0)[None]
    assert top_k(rising, None).nonzero()[:, 1].tolist() == list(range(60, 100))
    squared = p**2 / (p**2).sum(1, keepdim=True)
    assert torch.allclose(sampled(p.log(), None, 0.5), squared)
    assert torch.equal(sampled(p.log(), None), p.log().softmax(-1))


def test_the_prompt_and_what_is_written_count_as_seen_and_the_code_does_not(model):
    ids, seen = with_codes("The end", ["News", "Python"]), []

    def choose(logits, so_far):
        seen.append(so_far)
        return F.one_hot(torch.tensor([7, 8]), logits.shape[-1]).float()

    found, _ = generate(model, ids, 3, choose)
    assert found[:, -3:].tolist() == [[7] * 3, [8] * 3]
    nothing, p = generate(model, ids, 0, choose)
    assert torch.equal(nothing, ids) and p.shape == (2, 0)
    prompt = set(ids[0, 1:].tolist())
    first, second = (
        [set(row.nonzero().flatten().tolist()) for row in one] for one in seen[:2]
    )
    assert first == [prompt, prompt] and second == [prompt | {7}, prompt | {8}]


def test_a_strong_penalty_never_repeats(model):
    lifted = small()
    with torch.no_grad():
        lifted.bias.fill_(20)  # all logits positive

    def strong(logits, seen):
        return greedy(logits, seen, 50.0)

    ids, _ = generate(lifted, with_codes(""), 40, strong)
    assert repeated(ids[:, 1:], 1) == 0
    again, _ = generate(model, with_codes(""), 40, greedy)
    assert repeated(again[:, 1:], 1) > 0


def test_greedy_generation_is_the_references(tmp_path):
    theirs, ours = given(tmp_path), from_pretrained(tmp_path)
    ids = torch.randint(1, 97, (4, 5))  # 0 would be taken for padding
    expected = theirs.generate(ids, max_new_tokens=20, do_sample=False, pad_token_id=0)
    found, p = generate(ours, ids, 20, greedy)
    assert torch.equal(found, expected) and p.shape == (4, 20)
    with torch.no_grad():
        own = ours(found[:, :-1]).softmax(-1).gather(2, found[:, 1:, None])[..., 0]
    assert torch.allclose(p, own[:, 4:], atol=1e-5)


def test_the_same_generator_writes_the_same(model):
    one, two, other = (
        generate(
            model, with_codes("The"), 20, sampled, torch.Generator().manual_seed(seed)
        )[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_write_is_generate_without_a_memory(model):
    def drawn(writer):
        return writer(with_codes("The"), torch.Generator().manual_seed(3))

    plain = drawn(lambda ids, random: write(model, ids, 20, random))
    choose = partial(sampled, temperature=0.7)
    kept = drawn(lambda ids, random: generate(model, ids, 20, choose, random)[0])
    assert torch.equal(plain, kept) and plain.shape == (6, 22)


def test_real_words_are_known_or_cut():
    def share(string):
        rows = torch.tensor([tokenizer().encode(string).ids])
        return real_words(rows, ["Scripture"])

    assert share("the beginning of the heaven") == 1
    assert share("inning the heaven and the ear") == 1  # both ends are cut
    assert share("the Paraeeeeee and the heaven") == pytest.approx(15 / 25)
    # Once a text: the, qqqqqq, the, heaven; and the last word, which may be cut.
    assert share("the qqqqqq the heaven the heaven") == pytest.approx(18 / 24)
    assert share("the beginning of the xyzzy") == pytest.approx(15 / 20)


def test_what_is_measured_of_texts(model):
    found = ways.measured(model, greedy, 0)
    assert found["repeated"] > 0.3 and 0 <= found["real words"] <= 1
    assert 1 / SMALL.vocab_size < found["mean p"] <= 1
    drawn = ways.measured(model, sampled, 0)
    assert drawn["repeated"] < 0.1 and drawn["mean p"] < found["mean p"]


def test_repeated_runs():
    assert repeated(torch.tensor([[1, 2, 3, 4, 5]])) == 0
    assert repeated(torch.tensor([[1, 1, 1, 1, 1]])) == pytest.approx(2 / 3)
    assert repeated(torch.tensor([[1, 2, 1, 2]]), 2) == pytest.approx(1 / 3)
    both = torch.tensor([[1, 1, 1, 1, 1], [1, 2, 3, 1, 2]])  # a run is of one row
    assert repeated(both) == pytest.approx(1 / 3)


@pytest.mark.parametrize("value", [0, -1.2, math.nan, math.inf, "1"])
def test_penalty_and_temperature_are_above_zero(value):
    logits, seen = torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="theta should be a number above 0, not"):
        penalised(logits, seen, value)
    with pytest.raises(ValueError, match="temperature should be a number above 0"):
        sampled(logits, seen, value)
    with pytest.raises(ValueError, match="temperature should be a number above 0"):
        write(small(), with_codes("The"), 1, temperature=value)
    with pytest.raises(ValueError, match="share should be a number above 0"):
        nucleus(logits, seen, value)
    with pytest.raises(ValueError, match="k should be a number of tokens, 1 or more"):
        top_k(logits, seen, value)


def test_more_tokens_than_there_are_is_all_of_them():
    logits, seen = torch.randn(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    assert torch.equal(top_k(logits, seen, 5), logits.softmax(-1))


CANNOT = {
    "length should be the number of new tokens, 0 or more, not -5": lambda model:
        generate(model, with_codes("The"), -5, greedy),
    "0 or more, not 2.5": lambda model:
        generate(model, with_codes("The"), 2.5, greedy),
    "the text has 66 tokens with its code": lambda model:
        generate(model, with_codes(""), 65, greedy),
    "input_ids should be an integer tensor.*not a list": lambda model:
        model([[1, 2]]),
    "input_ids should be from 0 to 2054": lambda model:
        generate(model, torch.tensor([[10**6]]), 5, greedy),
    "a text and a list of codes": lambda model: with_codes("The", codes="News"),
    "a text and a list of codes, not None": lambda model: with_codes(None),
    r"no code 'Poetry'; the model knows Wikipedia, .*C\+\+": lambda model:
        with_codes("The", ["News", "Poetry"]),
    r"the text has \d+ tokens with its code, the model knows 65": lambda model:
        generate(model, with_codes("long " * 60), 40, greedy),
    "the text has 66 tokens": lambda model: model(torch.zeros(1, 66).long()),
    "at least one token": lambda model: model(torch.zeros(1, 0).long()),
}


@pytest.mark.parametrize(("message", "attempt"), CANNOT.items())
def test_what_cannot_be_done_is_named(model, message, attempt):
    with pytest.raises(ValueError, match=message):
        attempt(model)


def test_a_memory_that_is_full_is_named(model):
    memory = new_memory(model, 1)
    read_on(model, torch.zeros(1, 60, dtype=torch.long), memory)
    with pytest.raises(ValueError, match="the text has 70 tokens"):
        read_on(model, torch.zeros(1, 10, dtype=torch.long), memory)


# ---- texts


def test_every_text_survives_the_tokenizer():
    for string in ("def f(x):\n\treturn  x", "Ünïcode 한국어 🎉\0\r\n", " ", "<b>"):
        ids = tokenizer().encode(string).ids
        assert max(ids) < VOCABULARY and tokenizer().decode(ids) == string
    assert tokenizer().encode("").ids == []


def test_no_document_is_in_two_kinds_or_on_two_sides():
    seen = {}
    for code in CODES:
        parts = [documents(code, part) for part in ("train", "validation", "test")]
        for part in parts:
            assert part
            for document in part:
                assert seen.setdefault(document, code) == code
        assert len(set().union(*parts)) == sum(map(len, parts))
        assert 250_000 < sum(map(len, parts[0])) < 900_000
        heldout = corpus(CODES[code]).heldout
        assert parts[1] + parts[2] == heldout[1::2] + heldout[::2]
    for part in ("validation", "test"):
        rows, kinds = probes(part)
        assert rows.shape == (240, WINDOW) and kinds.bincount().tolist() == [40] * 6
        for code, last in zip(CODES, rows[39::40]):         # from the whole part
            every = windows(code, part)
            places = (every == last).all(1).nonzero()
            assert places.max() > 0.8 * len(every)


def test_the_twins_read_the_same_but_for_the_first_token():
    pairs = [list(twin_batches(3, 0, coded)) for coded in (True, False)]
    for (coded, targets), (plain, answers) in zip(*pairs):
        assert coded.shape == targets.shape == (24, WINDOW)
        assert torch.equal(targets, answers)
        assert torch.equal(coded[:, 1:], plain[:, 1:])
        assert torch.equal(coded[:, 1:], targets[:, :-1])
        tokens = list(TOKEN.values())
        assert coded[:, 0].tolist() == [tokens[i // 4] for i in range(24)]
        assert (plain[:, 0] == START).all()
        for i, row in enumerate(targets):
            assert (windows(list(CODES)[i // 4]) == row).all(1).any()


def test_codes_are_six_rows_of_the_table():
    assert sorted([START, *TOKEN.values()]) == list(range(VOCABULARY, SMALL.vocab_size))


def starts(pair):
    return tokenizer().encode(f"{pair[1]}\n").ids


def test_windows_begin_with_their_second_code():
    for pair in [*PAIRS, *(("Scripture", book) for book in BOOKS)]:
        rows, head = titled(*pair), starts(pair)
        assert (rows[:, : len(head)] == torch.tensor(head)).all() and len(rows) > 40
        assert rows.shape[1] == titled(*pair, shown=False).shape[1] == WINDOW


def test_the_pair_that_is_left_out_is_never_read():
    """Neither behind both codes, nor behind one of them, nor any of its documents."""
    never = set(map(tuple, titled(*NEVER).tolist()))
    starts_of = [TOKEN["Manual"]] * 6 + [TOKEN["Python"]] * 4
    starts_of += [TOKEN["Scripture"]] * 4 + [START] * 9
    for ids, targets in second_batches(3, 0):
        assert sorted(ids[:, 0].tolist()) == sorted(starts_of)
        assert targets.shape == (23, WINDOW)
        assert not never & set(map(tuple, targets.tolist()))
        pairs = zip(ids[:, 0], targets[:, : len(starts(NEVER))].tolist())
        assert (TOKEN["Python"], starts(NEVER)) not in list(pairs)
    for left in PAIRS:
        held = {tuple(row) for shown in (True, False)
                for row in titled(*left, shown).tolist()}
        parts = ways.parts_without(left)
        assert sum(count for _, _, count in parts) == 25
        for _, rows, _ in parts:
            assert not held & set(map(tuple, rows.tolist()))
    assert not any(body in "".join(documents("Python")) for body in bodies(*NEVER))


def test_the_judge_counts():
    judge = Judge({"a": "abab" * 50, "b": "bcbc" * 50}, triples)
    assert judge.verdict("ababab") == "a" and judge.verdict("cbcb") == "b"
    assert judge.log_likelihood("").tolist() == judge.log_likelihood("xyz").tolist()
    counts = {"aba": 99.1, "bab": 99.1, "bcb": 0.1, "cbc": 0.1}
    expected = math.log(counts["aba"] / sum(counts.values()))
    assert judge.log_likelihood("aba")[0].item() == pytest.approx(expected, abs=1e-4)


def test_judges_know_real_text():
    rows, kinds = probes()
    found = verdicts(kind_judge(), rows[:, :40])
    right = [list(CODES)[kind] == one for kind, one in zip(kinds, found)]
    assert sum(right) > 0.9 * len(right)
    for form, package in PAIRS:
        rows = titled(form, package, shown=False, part="heldout")[:40, :40]
        shares = ways.judged(rows, form, package)
        assert shares["form"] > 0.9 and shares["topic"] > 0.8
    assert form_judge().kinds == ["Manual", "Python"]
    assert topic_judge().kinds == list(PACKAGES)


# ---- losses


def test_losses_are_those_of_the_model_under_each_code(model):
    rows = windows("Python", "test")[:3]
    found = losses_by_code(model, rows)
    ids = torch.cat([torch.full((3, 1), TOKEN["Scripture"]), rows], dim=1)
    with torch.no_grad():
        log_p = model(ids[:, :-1]).log_softmax(-1)
    expected = -log_p.gather(2, rows[..., None])[..., 0]
    assert found.shape == (6, 3, WINDOW)
    assert torch.allclose(found[2], expected, atol=1e-4)
    assert torch.equal(token_losses(model, rows, TOKEN["Scripture"]), found[2])
    right, wrong = right_and_wrong(found, torch.tensor([2, 2, 3]))
    assert torch.equal(right, torch.stack([found[2, 0], found[2, 1], found[3, 2]]))
    assert torch.allclose(wrong[0], found[[0, 1, 3, 4, 5], 0].mean(0))


def test_obeying_is_counted_by_code(model, monkeypatch):
    from lessons import ctrl

    read = []

    def always_news(judge, rows):
        read.append(rows)
        return ["News"] * len(rows)

    monkeypatch.setattr(ctrl, "verdicts", always_news)
    assert obeyed(model, 0, 3) == obeyed(model, 0, 3, coded=False) == 1 / 6
    codes = torch.tensor(list(TOKEN.values())).repeat_interleave(3)
    for first, rows in zip((codes, torch.full((18,), START)), read):
        draws = torch.Generator().manual_seed(0)
        assert torch.equal(write(model, first[:, None], 40, draws, 0.7)[:, 1:], rows)


def test_the_weight_on_the_first_token_is_what_the_layers_look_at(model):
    ids = with_codes("In the beginning was the word")
    looked = weight_on_first(model, ids)
    assert looked.shape == (2, 4, ids.shape[1])
    assert torch.allclose(looked[..., 0], torch.ones(2, 4))
    for layer, x, one in zip(model.layers, model.states(ids), looked):
        x = F.layer_norm(x, (96,), eps=1e-6)
        query, key = (
            part(x).view(6, -1, 4, 24).transpose(1, 2)
            for part in (layer.attention.query, layer.attention.key)
        )
        scores = query[:, :, -1:] @ key.transpose(2, 3) / math.sqrt(24)
        last = scores.softmax(-1)[:, :, 0, 0].mean(0)       # of the last token
        assert torch.allclose(one[:, -1], last, atol=1e-5)
    blind = small()
    with torch.no_grad():  # equal scores: all tokens are looked at alike
        for layer in blind.layers:
            layer.attention.query.weight.zero_()
    even = 1 / torch.arange(1.0, ids.shape[1] + 1)
    found = weight_on_first(blind, ids)
    assert torch.allclose(found, even.expand_as(found), atol=1e-5)


# ---- training and the study


class Scale(nn.Module):
    """One number in front of two logits, whose gradient always has the same sign."""

    def __init__(self):
        super().__init__()
        self.number = nn.Parameter(torch.zeros(1))

    def forward(self, ids):
        return self.number * torch.tensor([0.0, 100.0]).expand(*ids.shape, 2)


def test_gradients_are_clipped_and_the_rate_rises_and_falls():
    """Adagrad moves a weight with gradients of one size by rate / √(steps so far)."""
    model, seen = Scale(), [0.0]
    ones = torch.zeros(1, 4, dtype=torch.long)
    clipped = []
    fit(
        model, [(ones, ones)] * 200, 200, 1e-6,
        lambda step, loss: (seen.append(model.number.item()),
                            clipped.append(model.number.grad.item())),
    )
    assert clipped == pytest.approx([0.25] * 200, rel=1e-4)
    alone = Scale()
    assert fit(alone, [(ones, ones)], 200, 1e-6) is alone
    assert alone.number.item() == seen[1]
    rates = [
        (before - after) * math.sqrt(step + 1) / 1e-6
        for step, (before, after) in enumerate(zip(seen, seen[1:]))
    ]
    expected = [min((s + 1) / 50, 1, 2.5 * (1 - s / 200) + 0.02) for s in range(200)]
    assert rates == pytest.approx(expected, rel=1e-2)


def watch(losses, step, loss):
    losses.append(loss)


def test_training_learns_and_repeats():
    runs = [], []
    for losses in runs:
        batches = mixed([(TOKEN["News"], windows("News"), 4)], 30, 0)
        fit(small(), batches, 30, 0.05, partial(watch, losses))
    assert runs[0] == runs[1] and sum(runs[0][-5:]) < sum(runs[0][:5]) - 5


def test_the_grid_is_the_same_for_both_and_the_best_was_used():
    stored = study.read("ctrl")
    for way in ways.TWINS:
        means = {}
        for rate in ways.RATES:
            runs = stored[f"tuning: {way}, {rate}"]
            assert [run["seed"] for run in runs] == [100, 101]
            means[rate] = sum(run["loss"] for run in runs)
        assert means[ways.tuned(way)] == min(means.values())
        assert [run["seed"] for run in stored[way]] == [0, 1, 2, 3, 4]
    assert sum(name.startswith("left out") for name in stored) == 6


@pytest.mark.parametrize("way", ways.TWINS)
def test_the_stored_study_is_what_the_code_gives(way):
    """The first 20 of its steps: initial weights, windows and recipe."""
    coded, rate = ways.TWINS[way], ways.tuned(way)
    torch.manual_seed(2)
    batches = twin_batches(ways.STEPS, 2, coded)
    losses = first_losses(20, fit, Ctrl(SMALL), batches, ways.STEPS, rate)
    measure = "loss of the first 20 steps"
    study.within_spread("ctrl", way, 2, measure, sum(losses) / 20)


@pytest.mark.parametrize("left", [PAIRS[0], PAIRS[5]])
def test_the_stored_mixing_is_what_the_code_gives(left):
    torch.manual_seed(1)
    batches = mixed(ways.parts_without(left), ways.STEPS, 1)
    losses = first_losses(20, fit, Ctrl(SMALL), batches, ways.STEPS, 0.05)
    name, measure = f"left out: {left[0]}, {left[1]}", "loss of the first 20 steps"
    study.within_spread("ctrl", name, 1, measure, sum(losses) / 20)


# ---- counts

COUNTS = {
    "ctrl-256": 1_637_964_550,
    "ctrl-512": 1_637_964_550,
    "ctrl-36-layers": 1_307_426_566,
}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_of_the_variants(name):
    with torch.device("meta"):
        assert parameters(build(name)) == COUNTS[name]


def test_what_no_count_tells_is_the_references_default():
    from transformers import CTRLConfig

    theirs, shared = CTRLConfig(), ("n_positions", "n_head", "initializer_range")
    for name, ours in VARIANTS.items():
        changes = {"ctrl-512": {"n_positions": 512}}.get(name, {})
        expected = {one: getattr(theirs, one) for one in shared} | changes
        assert {one: getattr(ours, one) for one in shared} == expected
        assert ours.dropout == theirs.resid_pdrop == theirs.embd_pdrop
    with torch.device("meta"):
        network = build("ctrl-512", n_layer=1)
    assert network.position.shape == (512, 1280)
    assert network.layers[0].attention.num_heads == 16


def test_parameters_of_the_reference_and_of_a_layer():
    from transformers import CTRLConfig, CTRLLMHeadModel

    with torch.device("meta"):
        assert parameters(published.untied("ctrl-256")) == 1_953_528_070
        assert parameters(Layer(Config())) == 27_544_832
        theirs = CTRLLMHeadModel(CTRLConfig())
        theirs.tie_weights()
        assert parameters(theirs) == COUNTS["ctrl-256"]


def test_unknown_variants_and_fields_are_named():
    with pytest.raises(ValueError, match="no variant 'gpt'; there are ctrl-256, "):
        build("gpt")
    with pytest.raises(ValueError, match="no 'hidden'; it has vocab_size, n_positions"):
        build("ctrl-256", hidden=3)
    for changes, message in (
        (dict(n_embd=16, n_head=5), "16 is not a multiple of 5 heads"),
        (dict(n_embd=15, n_head=5), "n_embd should be even, not 15"),
        (dict(n_layer=0), "n_layer should be a whole number above 0"),
        (dict(dropout="x"), "dropout should be a number from 0 on, not 'x'"),
    ):
        with pytest.raises(ValueError, match=message):
            build("ctrl-256", **TINY | changes)


# ---- published weights


def given(folder, kind="CTRLLMHeadModel", **changes):
    """A small model of the reference, saved to a folder."""
    return reference(kind, folder, deviation=0.05, **TINY | changes)


@pytest.mark.parametrize("kind", ["CTRLModel", "CTRLLMHeadModel"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_head": 1},
        {"n_layer": 1, "resid_pdrop": 0.3},
        {"layer_norm_epsilon": 1e-3},
        {"n_embd": 24, "dff": 7},
        {"tie_word_embeddings": False},
    ],
)
def test_equal_to_the_reference(tmp_path, kind, changes):
    theirs, ours = given(tmp_path, kind, **changes), from_pretrained(tmp_path)
    assert ours.layers[0].dropout.p == theirs.config.resid_pdrop
    assert parameters(ours) == parameters(theirs)           # tied where theirs is
    assert same(ours, theirs, everywhere=False, tolerance=1e-4)
    assert same(ours.double(), theirs.double(), everywhere=False, tolerance=1e-10)


@pytest.mark.parametrize("way", sorted(FILES.keys() - {"of the first years"}))
def test_any_file_that_the_library_reads(tmp_path, way):
    theirs = rounded(given(tmp_path), **FILES[way])
    rewrite(tmp_path, **FILES[way])
    assert same(from_pretrained(tmp_path), theirs, everywhere=False, tolerance=1e-4)


@pytest.mark.parametrize("kind", ["CTRLModel", "CTRLLMHeadModel"])
def test_without_architectures_the_weights_say_which(tmp_path, kind):
    theirs = given(tmp_path, kind)
    configure(tmp_path, architectures=None)
    constant = {"transformer.pos_encoding": torch.zeros(40, 48)}  # in older files
    edit(tmp_path, lambda tensors: tensors.update(constant))
    assert same(from_pretrained(tmp_path), theirs, everywhere=False, tolerance=1e-4)


def test_a_body_is_read_from_a_file_with_a_head(tmp_path):
    theirs = given(tmp_path)
    configure(tmp_path, architectures=["CTRLModel"])
    ours = from_pretrained(tmp_path)
    assert same(ours, theirs.transformer, everywhere=False, tolerance=1e-4)


class Allocated(TorchDispatchMode):
    """Counts the bytes of new tensors on the processor while it is on and `counts`."""

    bytes, counts = 0, True

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **kwargs or {})

        def storages(*trees):
            return {
                one.untyped_storage().data_ptr(): one.untyped_storage().nbytes()
                for one in tree_leaves(trees)
                if isinstance(one, torch.Tensor) and one.device.type == "cpu"
            }

        before, made = storages(args, kwargs), storages(result)
        if self.counts:
            self.bytes += sum(made[key] for key in made.keys() - before.keys())
        return result


@pytest.mark.parametrize("way", ["bin", "shards", "bin, shards"])
def test_the_weights_are_held_in_memory_once(tmp_path, monkeypatch, way):
    """The published file has 6.5 GB: what the library read is what the model has."""
    theirs = given(tmp_path, vocab_size=2000)
    size = 4 * parameters(theirs)
    rewrite(tmp_path, **FILES[way])
    read, found, allocated = type(theirs).from_pretrained, [], Allocated()

    def by_library(*args, **kwargs):
        allocated.counts = False
        found.append(read(*args, **kwargs))
        allocated.counts = True
        return found[-1]

    monkeypatch.setattr(type(theirs), "from_pretrained", by_library)
    with allocated:
        ours = from_pretrained(tmp_path)
    [(library, _)] = found
    assert allocated.bytes < 0.1 * size
    assert {weight.data_ptr() for weight in ours.parameters()} == {
        weight.data_ptr() for weight in library.parameters()
    }
    assert all(weight.requires_grad for weight in ours.parameters())


def test_tables_that_are_not_tied_are_two(tmp_path):
    given(tmp_path, tie_word_embeddings=False)
    zeros = {"lm_head.weight": torch.zeros(97, 48)}
    edit(tmp_path, lambda tensors: tensors.update(zeros))
    model = from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(model(torch.tensor([[1, 2]]))[0, 0], model.bias)
    assert model.word.weight.abs().max() > 0
    configure(tmp_path, tie_word_embeddings=None)  # as is the default
    with pytest.raises(ValueError, match="w.weight and lm_head.weight differ"):
        from_pretrained(tmp_path)


def test_weights_that_do_not_fit_are_named(tmp_path):
    given(tmp_path)
    spoil(
        tmp_path,
        missing="lm_head.bias",
        misshapen="transformer.h.0.ffn.0.weight",
        unknown="transformer.h.3.ffn.0.weight",
    )
    with pytest.raises(ValueError) as error:
        from_pretrained(tmp_path)
    assert str(error.value) == (
        "the weights do not fit a CTRLLMHeadModel: missing: lm_head.bias; "
        "unknown: transformer.h.3.ffn.0.weight; "
        "of another shape: transformer.h.0.ffn.0.weight (4608,) for (96, 48)"
    )


def test_what_the_lesson_does_not_have_is_told(tmp_path):
    given(tmp_path)
    ids = torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="token_type_ids should be from 0 to 96, not"):
        from_pretrained(tmp_path)(ids, token_type_ids=ids + 97)
    configure(tmp_path, architectures=["CTRLForSequenceClassification"])
    with pytest.raises(ValueError, match="is of a CTRLForSequenceClassification, not"):
        from_pretrained(tmp_path)


def test_other_readings_of_the_paper_give_other_logits():
    for kind in published.KINDS:
        assert published.difference_from_reference(kind, 1) < 1e-4
    others = published.other_readings(1)
    assert len(others) == 2 and min(others.values()) > 0.1
    assert published.crossing() == []


# ---- figures, with any text

HOSTILE = [
    "",
    "\n",
    "word " * 1000,
    "<script>alert(1)</script>",
    "🎉" * 50,
    "한국어 문장입니다.",
    "a\0b\n\tc",
    "[Wikipedia] [News]",
    "\u202eabc",
    "</script><b>",
]


@pytest.mark.parametrize("prompt", HOSTILE, ids=range(len(HOSTILE)))
def test_figures_take_any_prompt(model, prompt):
    ids, given, p = figures.turned(model, prompt, 0.7)
    tokens = len(tokenizer().encode(prompt).ids)
    assert given == min(figures.ROOM, tokens) and ids.shape == (6, given + 40)
    row = figures.strip("title", "name", ids[0], given, p[0])
    assert len(row["tokens"]) == len(row["values"]) == len(row["marks"]) == given + 40
    assert "".join(row["marks"]).count("prompt") == given
    notes = " ".join(figures.remarks(prompt))
    english = not any(ord(one) > 127 for one in prompt)
    assert ("The model speaks English" in notes) != english
    assert ("the last 24 are read" in notes) == (tokens > 24)
    p = figures.posterior(model, prompt)
    assert p.shape == (min(tokens, WINDOW) + 1, 6)
    assert torch.allclose(p.sum(1), torch.ones(len(p)), atol=1e-4)
    assert torch.allclose(p[0], torch.full((6,), 1 / 6))


def test_the_posterior_is_bayes_rule(model):
    string = documents("News", "test")[1][:60]
    rows = torch.tensor([tokenizer().encode(string).ids])
    log_p = -losses_by_code(model, rows)[:, 0].sum(1)
    found = figures.posterior(model, string)[-1]
    assert torch.allclose(found, log_p.softmax(0), atol=1e-4)


def test_the_wheel_shows_one_text_growing(model):
    widget = figures.wheel(model)
    short, long = (
        widget.still.compute("The", 0.7, length)["rows"] for length in (5, 30)
    )
    for before, after in zip(short, long):
        assert after["tokens"][: len(before["tokens"])] == before["tokens"]
    hostile = widget.still.compute("</script><b>", 0.7, 5)
    assert "</script><b>" not in type(widget.still)(
        hostile, value_label="p", tight=True, caption="A text.", alt="A text."
    ).html


class Bare:
    """In place of a figure: its function alone, without the grid of its frames."""

    def __init__(self, frame, **options):
        self.compute = frame

    def widget(self, **options):
        return self


def test_five_ways_go_on_from_one_prompt(model, monkeypatch):
    monkeypatch.setattr(figures, "Tokens", Bare)
    rows = figures.five_ways(model).compute("In the", "Scripture", 2.0)["rows"]
    assert [row["name"] for row in rows] == [*figures.WAYS, "penalised, θ = 2"]
    assert [row["role"] for row in rows] == ["control"] * 4 + ["idea"]
    ids = with_codes("In the", ["Scripture"])
    for row, theta in ((rows[0], 1.0), (rows[-1], 2.0)):
        expected, p = generate(model, ids, 40, partial(greedy, theta=theta))
        assert row["tokens"] == figures.pieces(expected[0, 1:])
        assert row["values"] == [0.0] * (ids.shape[1] - 1) + p[0].tolist()
        share = 100 * repeated(expected[:, -40:])
        assert f"{share:.0f}% repeated, judge " in row["title"]


def test_two_codes_and_whether_they_were_seen_together(model, monkeypatch):
    monkeypatch.setattr(figures, "Tokens", Bare)
    wheel, strangers = figures.second_wheel(model), {}
    for second in ("sklearn", "sympy", "Genesis"):
        rows = wheel.compute(second)["rows"]
        assert [row["name"] for row in rows] == ["Scripture", "Manual", "Python"]
        head = figures.pieces(torch.tensor(starts((None, second))))
        assert all(row["tokens"][: len(head)] == head for row in rows)
        strangers[second] = {
            row["name"] for row in rows if "never seen together" in row["title"]
        }
    assert strangers == {
        "sklearn": {"Scripture", "Python"}, "sympy": {"Scripture"},
        "Genesis": {"Manual", "Python"},
    }


def test_the_head_that_looks_most_is_found():
    coded, uncoded = torch.rand(2, 4, 65) / 2, torch.rand(2, 4, 65) / 2
    coded[0, 3, 48:], uncoded[1, 0, 48:] = 1, 1
    figure = figures.looking_at_the_first(coded, uncoded)
    for layer, best in ((1, (None, 3)), (2, (0, None))):
        means = figure.compute(layer, "mean")["series"]
        most = figure.compute(layer, "the one that looks most")["series"]
        assert torch.equal(means[0]["y"], uncoded[layer - 1].mean(0))
        assert torch.equal(means[1]["y"], coded[layer - 1].mean(0))
        for one, weights, head in zip(most, (uncoded, coded), best):
            if head is not None:
                assert torch.equal(one["y"], weights[layer - 1, head])
        assert most[2]["y"] == [1 / n for n in range(1, 66)]


def test_work_grows_in_a_line_with_a_memory(model):
    frame = figures.work_of_writing(model).frames[()]
    anew, remembering = (series["y"] for series in frame["series"])
    assert remembering[-1] < 1.2 * 64 * remembering[0] / 1
    assert anew[-1] > 20 * remembering[-1]


# ---- exercises: planted wrong answers


def causal(
    scores,
    shift=0,
    fill=-math.inf,
    after=False,
    renormalise=False,
    axis=-1,
    corner=True,
):
    new, total = scores.shape[-2:]
    future = torch.ones(new, total, dtype=torch.bool).triu(
        (total - new if corner else 0) + 1 + shift
    )
    if after:
        weights = scores.softmax(axis).masked_fill(future, 0)
        return weights / weights.sum(-1, keepdim=True) if renormalise else weights
    return scores.masked_fill(future, fill).softmax(axis)


def additive(scores):
    new, total = scores.shape[-2:]
    return (
        scores.double() + torch.full((new, total), -math.inf).triu(total - new + 1)
    ).softmax(-1)


def in_place(scores):
    new, total = scores.shape[-2:]
    scores[..., torch.ones(new, total).triu(total - new + 1) == 1] = -math.inf
    return scores.softmax(-1)


def penalise(
    logits,
    generated,
    theta,
    temperature,
    how=lambda logit, theta: logit / theta,
    each=False,
    last=False,
):
    out = logits.clone()
    for token in generated if each else set(generated[-1:] if last else generated):
        out[token] = how(out[token], theta)
    return (out / temperature).softmax(-1)


def tensor_penalty(logits, generated, theta, temperature):
    factor = torch.full_like(logits, temperature, dtype=torch.float64)
    factor[list(generated)] = temperature * theta
    return torch.softmax(logits / factor, 0)


def bayes_by_product(log_p, prior):
    joint = log_p.exp().prod(1) * prior
    return joint / joint.sum()


def bayes_by_logsumexp(log_p, prior):
    joint = log_p.double().sum(-1) + torch.log(prior.double())
    return (joint - joint.logsumexp(0)).exp()


def signed(logit, theta):
    return logit / theta if logit > 0 else logit * theta


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        ("causal_weights", lambda scores: 1, "return a tensor, not int"),
        ("causal_weights", lambda scores: scores.softmax(-1), "looks ahead"),
        ("causal_weights", lambda scores: causal(scores, shift=1), "looks ahead"),
        ("causal_weights", lambda scores: causal(scores, shift=-1), "NaN"),
        (
            "causal_weights",
            lambda scores: causal(scores, shift=-1, fill=-1e9),
            "looks ahead|itself",
        ),
        ("causal_weights", lambda scores: causal(scores, after=True), "sum to 1"),
        ("causal_weights", lambda scores: causal(scores, axis=-2), "sum to 1|NaN"),
        ("causal_weights", lambda scores: causal(scores, fill=0), "looks ahead"),
        ("causal_weights", lambda scores: causal(scores, fill=-1000), "by −∞"),
        (
            "causal_weights",
            lambda scores: causal(scores, corner=False),
            "lower right corner",
        ),
        ("causal_weights", lambda scores: causal(2 * scores), "unchanged"),
        ("causal_weights", lambda scores: causal(scores)[0], "the shape should be"),
        ("next_probabilities", lambda *args: None, "return a tensor, not NoneType"),
        ("next_probabilities", lambda logits, *args: logits, "sum to 1"),
        (
            "next_probabilities",
            lambda logits, generated, theta, t: penalise(logits, generated, theta, 1),
            "by the temperature",
        ),
        (
            "next_probabilities",
            lambda logits, generated, theta, t: penalise(
                logits, generated, theta, 1 / t
            ),
            "by the temperature",
        ),
        (
            "next_probabilities",
            lambda *args: penalise(*args, how=lambda logit, theta: logit),
            "divide its logit",
        ),
        (
            "next_probabilities",
            lambda *args: penalise(*args, how=lambda logit, theta: logit * theta),
            "divide its logit",
        ),
        (
            "next_probabilities",
            lambda *args: penalise(*args, how=lambda logit, theta: logit - theta),
            "divide its logit",
        ),
        (
            "next_probabilities",
            lambda *args: penalise(*args, how=signed),
            "negative logit is divided, too",
        ),
        (
            "next_probabilities",
            lambda *args: penalise(*args, each=True),
            "penalised once",
        ),
        ("next_probabilities", lambda *args: penalise(*args, last=True), "two tokens"),
        (
            "next_probabilities",
            lambda logits, g, theta, t: (logits / theta / t).softmax(0),
            "touches no token",
        ),
        ("attributed", lambda log_p, prior: 1, "return a tensor, not int"),
        (
            "attributed",
            lambda log_p, prior: log_p,
            "one number for each code",
        ),
        ("attributed", lambda log_p, prior: log_p.sum(1), "sum to 1"),
        ("attributed", lambda log_p, prior: log_p.mean(1).softmax(0), "too mild"),
        (
            "attributed",
            lambda log_p, prior: log_p.exp().sum(1) / log_p.exp().sum(),
            "product",
        ),
        (
            "attributed",
            lambda log_p, prior: log_p[:, -1].softmax(0),
            "not the last alone",
        ),
        (
            "attributed",
            lambda log_p, prior: log_p.sum(1).softmax(0),
            "the prior multiplies",
        ),
        (
            "attributed",
            lambda log_p, prior: (log_p.sum(1) - prior.log()).softmax(0),
            "the prior multiplies",
        ),
        (
            "attributed",
            lambda log_p, prior: (log_p.sum(1) + prior).softmax(0),
            "its logarithm is added",
        ),
        ("attributed", bayes_by_product, "logarithms until the end"),
    ],
)
def test_planted_wrong_answers_fail(check, wrong, hint):
    line = verdict(wrong, checker("ctrl", check))
    assert line.startswith("✗") and re.search(hint, line), line


@pytest.mark.parametrize(
    ("check", "right"),
    [
        ("causal_weights", causal),
        ("causal_weights", additive),
        ("causal_weights", in_place),
        (
            "causal_weights",
            lambda scores: (
                causal(scores, after=True, renormalise=True)
                if scores.abs().max() < 100
                else causal(scores)
            ),
        ),
        ("next_probabilities", penalise),
        ("next_probabilities", tensor_penalty),
        ("attributed", bayes_by_logsumexp),
        ("attributed", lambda log_p, prior: (log_p.sum(1) + prior.log()).softmax(0)),
    ],
)
def test_every_right_way_passes(check, right):
    assert verdict(right, checker("ctrl", check)).startswith("✓"), verdict(
        right, checker("ctrl", check)
    )


# ---- the assignment


def by_powers(perplexities, tokens):
    """The best code has the power 1, the others what is left of it."""
    powers = (perplexities.min() / perplexities) ** tokens
    return powers / powers.sum()


def steady(logits, seen, theta):
    p = logits.double().softmax(-1)
    p = p ** (1 + (theta - 1) * seen)
    return p / p.sum(-1, keepdim=True)


def steady_in_logarithms(logits, seen, theta):
    log_p = (logits - logits.logsumexp(-1, keepdim=True)).clone()
    log_p[seen] *= theta
    return (log_p - log_p.logsumexp(-1, keepdim=True)).exp()


def guess_the_code(model, ids, weigh="sum", mix="p", first=0, codes=None):
    codes = torch.tensor(list(TOKEN.values()) if codes is None else codes)
    behind = torch.cat([codes[:, None], ids.expand(len(codes), -1)], dim=1)
    with torch.no_grad():
        log_p = model(behind).log_softmax(-1)
    read = log_p[:, :-1].gather(2, behind[:, 1:, None])[:, first:, 0]
    weights = {
        "sum": read.sum(1), "mean": read.mean(1), "none": torch.zeros(len(codes)),
        "product": read.exp().prod(1).log(), "last": read[:, -1:].sum(1),
        "sure": 1e9 * read.sum(1),
    }[weigh].softmax(0)
    if mix == "logits":
        return (weights @ log_p[:, -1]).softmax(0)
    return weights @ log_p[:, -1 if mix == "p" else -2].exp()


def code_by_code(model, ids):
    """One code after the other, and p(text, next) in place of p(next | text)."""
    joint = []
    for code in TOKEN.values():
        behind = torch.tensor([[code, *ids.tolist()]])
        log_p = model(behind)[0].double().log_softmax(-1)
        places = torch.arange(len(ids))
        joint.append(log_p[places, ids].sum() + log_p[-1])
    return torch.stack(joint).logsumexp(0).softmax(0)


def go_on(
    model, ids, length, kept=None, code=True, remember=True, best=True, early=0,
    whole=True, restart=True,
):
    room, memory, new = model.config.n_positions, new_memory(model, len(ids)), ids
    given, kept = ids.shape[1], room // 2 if kept is None else kept
    for _ in range(length):
        if restart and memory[0][0].shape[2] + new.shape[1] > room - early:
            memory, new = new_memory(model, len(ids)), ids[:, -kept:]
            new = torch.cat([ids[:, :1], new], dim=1) if code else new
        if not remember:
            held = memory[0][2] if len(memory[0]) > 2 else new[:, :0]
            window = torch.cat([held, new], dim=1)
            logits = model(window)[:, -1]
            memory = new_memory(model, len(ids))
            memory[0] = [window[:, None, :, None].float(), None, window]
        else:
            logits = read_on(model, new, memory)[:, -1]
        new = (logits if best else -logits).argmax(-1, keepdim=True)
        ids = torch.cat([ids, new], dim=1)
    return ids if whole else ids[:, given:]


def counted_by_hand(model, ids, length):
    """The places are counted, and the tokens kept in a list."""
    written, room = list(ids.unbind(1)), model.config.n_positions
    memory, waiting, used = new_memory(model, len(ids)), list(ids.unbind(1)), 0
    for _ in range(length):
        if used + len(waiting) > room:
            memory, used = new_memory(model, len(ids)), 0
            waiting = [written[0], *written[-(room // 2):]]
        with torch.no_grad():
            logits = read_on(model, torch.stack(waiting, dim=1), memory)
        used += len(waiting)
        waiting = [logits[:, -1].argmax(-1)]
        written += waiting
    return torch.stack(written, dim=1)


LOG = torch.log
ASSIGNMENT_WRONG = [
    ("from_perplexities", lambda p, n: 1, "return a tensor, not int"),
    ("from_perplexities", lambda p, n: p.argmin(), "the shape should be"),
    ("from_perplexities", lambda p, n: p**-n, "sum to 1"),
    ("from_perplexities", lambda p, n: (n * LOG(p)).softmax(0), "mind the sign"),
    ("from_perplexities", lambda p, n: (-n * p).softmax(0), "is no logarithm"),
    ("from_perplexities", lambda p, n: (-n * p.log2()).softmax(0), "natural one"),
    ("from_perplexities", lambda p, n: (-LOG(p)).softmax(0), "twelve tokens"),
    ("from_perplexities", lambda p, n: (-LOG(p) / n).softmax(0), "not divided by it"),
    ("from_perplexities", lambda p, n: p**-n / (p**-n).sum(), "stay with logarithms"),
    ("steady", lambda x, seen, theta: None, "return a tensor, not NoneType"),
    ("steady", lambda x, seen, theta: x[0].softmax(-1), "the shape should be"),
    ("steady", lambda x, seen, theta: penalised(x, seen, theta), "as in the paper"),
    (
        "steady",
        lambda x, seen, theta: torch.where(seen, x * theta, x).softmax(-1),
        "multiplied; take log-probabilities",
    ),
    (
        "steady",
        lambda x, seen, theta: steady(x, seen, 1 / theta),
        "the token gets likelier",
    ),
    ("steady", lambda x, seen, theta: steady(x, ~seen, theta), "not the others"),
    (
        "steady",
        lambda x, seen, theta: steady(x, torch.ones_like(seen), theta),
        "only the seen ones",
    ),
    (
        "steady",
        lambda x, seen, theta: torch.where(seen, x - math.log(theta), x).softmax(-1),
        "not p divided by θ",
    ),
    (
        "steady",
        lambda x, seen, theta: torch.where(seen, x.softmax(-1) ** theta, x.softmax(-1)),
        "sum to 1",
    ),
    (
        "steady",
        lambda x, seen, theta: torch.where(
            seen, torch.where(x > 0, x / theta, x * theta), x
        ).softmax(-1),
        "take log_softmax before|as in the paper",
    ),
    (
        "steady",
        lambda x, seen, theta: x.copy_(steady(x, seen, theta)),
        "were changed",
    ),
    (
        "steady",
        lambda x, seen, theta: (
            x.log_softmax(-1) + (theta - 1) * seen * x.log_softmax(-1)
        ).softmax(-1),
        "gives NaN",
    ),
    ("without_a_code", lambda model, ids: None, "return a tensor, not NoneType"),
    (
        "without_a_code",
        lambda model, ids: guess_the_code(model, ids)[None],
        "the shape should be",
    ),
    (
        "without_a_code",
        lambda model, ids: guess_the_code(model, ids, weigh="none"),
        "weighed alike",
    ),
    (
        "without_a_code",
        lambda model, ids: guess_the_code(model, ids, weigh="sure"),
        "only the likeliest code",
    ),
    (
        "without_a_code",
        lambda model, ids: guess_the_code(model, ids, mix="logits"),
        "mix probabilities",
    ),
    (
        "without_a_code",
        lambda model, ids: guess_the_code(model, ids, weigh="mean"),
        "too mild",
    ),
    (
        "without_a_code",
        lambda model, ids: guess_the_code(model, ids, weigh="last"),
        "not the last alone",
    ),
    (
        "without_a_code",
        lambda model, ids: guess_the_code(model, ids, first=1),
        "the first one, too",
    ),
    (
        "without_a_code",
        lambda model, ids: guess_the_code(model, ids, mix="before"),
        "from the last place",
    ),
    (
        "without_a_code",
        lambda model, ids: guess_the_code(model, ids, codes=[START]),
        "START is not a code",
    ),
    (
        "without_a_code",
        lambda model, ids: model(ids[None])[0, -1].softmax(0),
        "no code stands in front",
    ),
    (
        "without_a_code",
        lambda model, ids: guess_the_code(model, ids, weigh="product"),
        "too small for a float",
    ),
    ("write_on", lambda *args: None, "return a tensor, not NoneType"),
    ("write_on", lambda *args: go_on(*args, whole=False), "the shape should be"),
    ("write_on", lambda *args: go_on(*args, best=False), "the likeliest token"),
    ("write_on", lambda *args: go_on(*args, restart=False), "knows 12 positions"),
    ("write_on", lambda *args: go_on(*args, early=1), "all 12 places"),
    ("write_on", lambda *args: go_on(*args, code=False), "begin with the code, too"),
    ("write_on", lambda *args: go_on(*args, kept=5), "counts the code among them"),
    ("write_on", lambda *args: go_on(*args, kept=11), "half a window"),
    ("write_on", lambda *args: go_on(*args, kept=1), "not the newest one alone"),
    ("write_on", lambda *args: go_on(*args, kept=7), "then the last 6"),
    ("write_on", lambda *args: go_on(*args, remember=False), "tokens were read where"),
]


@pytest.mark.parametrize(("check", "wrong", "hint"), ASSIGNMENT_WRONG)
def test_planted_wrong_answers_of_the_assignment_fail(check, wrong, hint):
    line = verdict(wrong, checker("ctrl", check))
    assert line.startswith("✗") and re.search(hint, line), line


@pytest.mark.parametrize(
    ("check", "right"),
    [
        ("from_perplexities", lambda p, n: (-n * p.log()).softmax(0)),
        ("from_perplexities", by_powers),
        ("steady", steady_in_logarithms),
        (
            "steady",
            lambda logits, seen, theta: torch.where(
                seen, theta * logits.log_softmax(-1), logits.log_softmax(-1)
            ).softmax(-1),
        ),
        ("steady", steady),
        ("without_a_code", guess_the_code),
        ("without_a_code", code_by_code),
        ("write_on", go_on),
        ("write_on", counted_by_hand),
    ],
)
def test_every_right_way_of_the_assignment_passes(check, right):
    line = verdict(right, checker("ctrl", check))
    assert line.startswith("✓"), line
