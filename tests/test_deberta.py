"""The DeBERTa lesson: the paper's numbers, the reference implementation, bad input."""

import math
import re
from functools import partial

import pytest
import torch
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

from kit import study, text
from kit.exercises import verdict
from kit.probe import parameters, saved_for_backward
from kit.view import Apart
from lessons.deberta import (
    POSITIONS,
    VARIANTS,
    Classifier,
    Config,
    Deberta,
    DisentangledAttention,
    Gathered,
    LookedUp,
    MaskedLM,
    Solver,
    answer_loss,
    build,
    clipped,
    distances,
    explained_by_distance,
    fit,
    held_out,
    hidden_losses,
    hide_tokens,
    knows_position,
    log_buckets,
    look,
    mean_scores,
    only_through,
    percent_right,
    position_task,
    puzzle,
    read_code,
    replace,
    short_sighted,
    small_bert,
    small_deberta,
    solve,
    spelled,
    taken_apart,
    term_gradients,
    text_model,
)
from lessons.published.deberta import from_pretrained
from lessons.studies.deberta import STUDY

TINY = dict(
    vocab_size=97,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=6,
    intermediate_size=96,
    max_position_embeddings=40,
)
REFERENCE = TINY | dict(
    relative_attention=True,
    pos_att_type="c2p|p2c",
    position_biased_input=False,
    max_relative_positions=8,
)
V2 = dict(
    share_att_key=True,
    position_buckets=6,
    max_relative_positions=-1,
    norm_rel_ebd="layer_norm",
)
ABSOLUTE = dict(relative_attention=False, pos_att_type=None, position_biased_input=True)


def tiny(**changes):
    torch.manual_seed(0)
    return Deberta(Config(**TINY | dict(max_relative_positions=8) | changes)).eval()


# ---- distances


@pytest.mark.parametrize("k", [1, 2, 5, 30])
def test_delta_is_equation_3(k):
    expected = [
        [
            0 if i - j <= -k else 2 * k - 1 if i - j >= k else i - j + k
            for j in range(12)
        ]
        for i in range(12)
    ]
    assert clipped(distances(12), k).tolist() == expected


@pytest.mark.parametrize(
    ("buckets", "longest"), [(256, 512), (6, 40), (8, 64), (32, 128), (7, 50)]
)
def test_buckets_are_the_references(buckets, longest):
    from transformers.models.deberta_v2.modeling_deberta_v2 import (
        make_log_bucket_position,
    )

    far = torch.arange(-longest + 1, longest)
    found = log_buckets(far, buckets, longest)
    assert torch.equal(found, make_log_bucket_position(far, buckets, longest).long())
    assert (
        found.abs().max() <= buckets
        and torch.equal(found, -found.flip(0))
        and (found.diff() >= 0).all()
    )


# ---- attention


def by_loops(layer, x, index, positions):
    heads, n, terms = layer.num_heads, x.shape[1], {}
    query, key = layer.heads(layer.query(x)), layer.heads(layer.key(x))
    keys = layer.heads((layer.key if layer.share else layer.position_key)(positions))
    queries = layer.heads(
        (layer.query if layer.share else layer.position_query)(positions)
    )
    for name in ("c2c", "c2p", "p2c"):
        terms[name] = torch.zeros(x.shape[0], heads, n, n)
    for i in range(n):
        for j in range(n):
            other = index[j, i] if layer.literal else index[i, j]
            terms["c2c"][..., i, j] = (query[:, :, i] * key[:, :, j]).sum(-1)
            terms["c2p"][..., i, j] = (query[:, :, i] * keys[:, index[i, j]]).sum(-1)
            terms["p2c"][..., i, j] = (key[:, :, j] * queries[:, other]).sum(-1)
    return {
        name: scores / math.sqrt(3 * query.shape[-1]) for name, scores in terms.items()
    }


@pytest.mark.parametrize(
    "options",
    [{}, dict(literal=True), dict(share=True, biased=True), dict(biased=True)],
)
def test_the_terms_are_the_loops(options):
    torch.manual_seed(0)
    layer, x, positions = (
        DisentangledAttention(12, 3, **options),
        torch.randn(2, 9, 12),
        torch.randn(8, 12),
    )
    index = clipped(distances(9), 4)
    with torch.no_grad():
        found, expected = (
            layer.parts(x, index, positions),
            by_loops(layer, x, index, positions),
        )
    assert found.keys() == expected.keys() and all(
        torch.allclose(found[name], expected[name], atol=1e-5) for name in found
    )


@pytest.mark.parametrize("terms", [(), ("c2p",), ("p2c",), ("c2p", "p2c")])
def test_the_scale_counts_the_terms(terms):
    torch.manual_seed(0)
    layer, x = DisentangledAttention(12, 3, terms), torch.randn(2, 9, 12)
    found = layer.parts(x, clipped(distances(9), 4), torch.randn(8, 12))
    plain = layer.heads(layer.query(x)) @ layer.heads(layer.key(x)).transpose(-2, -1)
    assert list(found) == ["c2c", *terms]
    assert torch.allclose(
        found["c2c"], plain / math.sqrt(4 * (1 + len(terms))), atol=1e-6
    )


def test_no_tensor_of_n_by_n_by_d():
    query, keys = (
        torch.randn(200, 32, requires_grad=True),
        torch.randn(64, 32, requires_grad=True),
    )
    index = clipped(distances(200), 32)
    assert torch.allclose(
        LookedUp()(query, keys, index), Gathered()(query, keys, index), atol=1e-4
    )
    assert saved_for_backward(LookedUp(), query, keys, index) > 200 * 200 * 32 * 4
    assert (
        saved_for_backward(Gathered(), query, keys, index)
        < 200 * 200 * 8 + 200 * 64 * 4 + 300_000
    )
    model = tiny(num_hidden_layers=1)
    kept = [saved_for_backward(model, torch.randint(97, (1, n))) for n in (100, 200)]
    assert kept[1] < 4.2 * kept[0]


def test_without_terms_it_is_the_bert_of_the_albert_lesson():
    bert, ours = (
        small_bert().eval(),
        small_deberta(
            "none", absolute=True, max_position_embeddings=48, layer_norm_eps=1e-12
        ).eval(),
    )
    ids = torch.randint(56, (2, 30))
    bert.embeddings.segment.weight.data.zero_()
    ours.load_state_dict({name: bert.state_dict()[name] for name in ours.state_dict()})
    assert torch.allclose(ours(ids), bert(ids), atol=1e-5)


def test_relative_positions_do_not_know_where_a_text_starts():
    model, ids = tiny(num_hidden_layers=2), torch.randint(97, (1, 15))
    mask = torch.ones(1, 20, dtype=torch.long)
    mask[:, :5] = 0
    with torch.no_grad():
        moved = model(torch.cat([torch.zeros(1, 5, dtype=torch.long), ids], 1), mask)[
            :, 5:
        ]
        assert torch.allclose(moved, model(ids), atol=1e-5)


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


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_of_the_variants(name):
    import transformers

    c = VARIANTS[name]
    first = "-v" not in name
    config = dict(
        vocab_size=c.vocab_size,
        hidden_size=c.hidden_size,
        num_hidden_layers=c.num_hidden_layers,
        type_vocab_size=0,
        num_attention_heads=c.num_attention_heads,
        intermediate_size=c.intermediate_size,
        relative_attention=True,
        pos_att_type="c2p|p2c",
        position_biased_input=False,
        max_relative_positions=-1,
    )
    later = dict(
        position_buckets=256,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        conv_kernel_size=c.conv_kernel_size or 0,
    )
    family = "Deberta" if first else "DebertaV2"
    with torch.device("meta"):
        theirs = getattr(transformers, f"{family}Model")(
            getattr(transformers, f"{family}Config")(
                **config, **({} if first else later)
            )
        )
        assert parameters(build(name)) == parameters(theirs) == COUNTS[name]


def test_the_decoder_costs_one_table():
    with torch.device("meta"):
        assert (
            parameters(build("deberta-base", decoder=True))
            - parameters(build("deberta-base"))
            == 512 * 768
        )


# ---- puzzles


@pytest.mark.parametrize("task", ["fixed", "reader", "sender"])
def test_the_answers_follow_from_what_one_reads(task):
    ids, answers = puzzle(task, 50, 20, torch.Generator().manual_seed(3))
    asked = 0
    for row, right in zip(ids, answers.tolist()):
        tokens = spelled(row)
        letters, offsets = (
            [token[0] for token in tokens],
            [int(token[1:].replace("−", "-") or 0) for token in tokens],
        )
        for i in range(20):
            if task == "sender":
                sources = [j for j in range(20) if offsets[j] and j + offsets[j] == i]
            else:
                sources = [
                    j
                    for j in [i - 3 if task == "fixed" else i + offsets[i]]
                    if 0 <= j < 20
                ]
            assert len(sources) <= 1
            assert right[i] == (
                "abcdefgh".index(letters[sources[0]]) if sources else -100
            )
            asked += len(sources)
    assert asked > 600


def test_training_solves_a_puzzle_beyond_the_trained_length():
    seen = []
    solver = solve(
        partial(small_deberta, "p2c"),
        "sender",
        3,
        lambda step, loss, model: seen.append((step, loss, model)),
        steps=200,
    )
    assert (
        min(percent_right(solver, "sender")) > 95
        and len(seen) == 200
        and seen[0][2] is solver
        and seen[-1][1] < seen[0][1] / 5
    )


def test_the_position_task_asks_for_masks_only():
    ids, answers = position_task(100, torch.Generator().manual_seed(0))
    assert (
        torch.equal(ids == 0, answers >= 0) and 0.15 < (ids == 0).float().mean() < 0.25
    )
    assert torch.equal(
        answers[ids == 0], torch.arange(32).expand(100, -1)[ids == 0] % 4
    )


def test_the_decoder_finds_a_position():
    assert knows_position("relative, mask decoder", 5, steps=120) > 90


# ---- inside


def test_terms_of_the_gradient_add_up():
    torch.manual_seed(0)
    solver = Solver(small_deberta("c2p + p2c"))
    attention = solver.encoder.layers[0].attention
    ids, answers = puzzle("reader", 8, 24, torch.Generator().manual_seed(0))
    parts = term_gradients(attention, lambda: answer_loss(solver(ids), answers))
    assert list(parts) == ["c2c", "c2p", "p2c"]
    answer_loss(solver(ids), answers).backward()
    makers = (
        attention.query,
        attention.key,
        attention.position_key,
        attention.position_query,
    )
    whole = torch.cat([maker.weight.grad.flatten() for maker in makers])
    assert torch.allclose(sum(parts.values()), whole, atol=1e-6)
    size = 32 * 32
    assert (
        (parts["c2c"][2 * size :] == 0).all()
        and (parts["p2c"][:size] == 0).all()
        and (parts["c2p"][size : 2 * size] == 0).all()
    )


def test_only_through_changes_no_value_and_leaves_no_trace():
    attention, x = DisentangledAttention(8, 2), torch.randn(1, 5, 8)
    inputs = x, None, clipped(distances(5), 3), torch.randn(6, 8)
    before = attention(*inputs)
    with pytest.raises(KeyError), only_through(attention, "c2p"):
        assert torch.equal(attention(*inputs), before)
        raise KeyError
    assert "parts" not in vars(attention) and torch.equal(attention(*inputs), before)


def test_taken_apart_sums_to_the_models_weights():
    model, ids = tiny(), torch.randint(97, (12,))
    frame = taken_apart(model, ids, [str(i) for i in range(12)], layer=2, head=3)
    attention, states, (_, index, positions) = (
        model.layers[1].attention,
        model.states(ids[None]),
        model.context(12),
    )
    expected = sum(attention.parts(states[1], index, positions).values())[0, 2]
    assert torch.allclose(sum(frame["terms"].values()), expected, atol=1e-6)


def test_a_short_sighted_table_is_a_smaller_k():
    model, ids = tiny(), torch.randint(97, (2, 30))
    model.positions.weight.data = short_sighted(model, 3)
    near = tiny(max_relative_positions=3)
    state = model.state_dict()
    state["positions.weight"] = state["positions.weight"][8 - 3 : 8 + 3]
    near.load_state_dict(state)
    assert torch.allclose(model(ids), near(ids), atol=1e-5)


def test_what_distance_explains():
    far = distances(10).float()
    assert explained_by_distance(
        (far.abs() - far.abs().mean())[None]
    ).item() == pytest.approx(1, abs=1e-5)
    torch.manual_seed(0)
    assert explained_by_distance(torch.randn(2, 30, 30)).max() < 0.3
    scores = mean_scores(tiny(), torch.randint(97, (6, 12)), 1)
    assert scores.shape == (6, 12, 12) and scores.mean(-1).abs().max() < 1e-6


def test_python_tokens_are_hidden_singly_and_unknown_ones_never():
    windows = text.windows(text.python_tokens()[1].heldout, 32)[:500]
    _, targets = hide_tokens(windows, torch.Generator().manual_seed(0))
    hidden = targets >= 0
    assert (
        (hidden.sum(1) <= 5).all()
        and hidden.float().mean() > 0.12
        and not hidden[windows == 1].any()
    )


@pytest.mark.parametrize("name", POSITIONS)
def test_training_learns(name):
    model = text_model(name, 0)
    before = held_out(model, 32, 200)[1].mean()
    losses = fit(model, 0, 40)
    places, after = held_out(model, 64, 200)
    assert (
        after.mean() < before - 0.5
        and losses[-5:].mean() < losses[:5].mean() - 0.5
        and 32 < places.max() < 64
    )
    ids, targets = torch.randint(5, 1000, (2, 8)), torch.tensor([[-100] * 7 + [9]] * 2)
    assert torch.allclose(
        hidden_losses(model, model.deberta(ids), targets),
        answer_loss(model(ids), targets),
        atol=1e-5,
    )


@pytest.mark.parametrize("name", STUDY)
def test_the_stored_study_is_what_the_code_gives(name):
    """The first 50 of its steps: initial weights, windows, hidden tokens and recipe."""
    steps = 2400 if "2400" in name else 600
    losses = first_losses(
        50, fit, text_model(name.removesuffix(", 2400 steps"), 2), 2, steps
    )
    study.within_spread(
        "deberta", name, 2, "loss of the first 50 steps", sum(losses) / 50
    )


@pytest.mark.parametrize(
    "typed",
    [
        "x = f(y)",
        "word " * 1000,
        "<script>alert(1)</script>",
        "🎉🎉",
        "한국어 문장입니다.",
        "שלום עולם",
        "a\0b\n\tc",
        "'''never closed",
        "((((",
        "if x:\ny",
        "\u202eabc",
        "x" * 5000,
        "f'{a}'",
        "\\",
        "0777",
        "a\rb",
        "[MASK] [PAD]",
    ],
)
def test_the_viewer_takes_any_text(typed):
    model = text_model("c2p + p2c", 0).deberta
    try:
        frame = look(model, typed, 1, 2)
    except ValueError as error:
        assert re.search("no token of Python in this; type something like", str(error))
        return
    count = len(frame["tokens"])
    assert 1 <= count <= 24 and all(
        scores.shape == (count, count) for scores in frame["terms"].values()
    )
    assert "<script>alert" not in Apart(frame, caption="Code.", alt="Code.").html


@pytest.mark.parametrize("typed", ["", "   ", "# only a comment"])
def test_nothing_to_read_is_told(typed):
    try:
        ids, tokens, _ = read_code(typed)
        assert set(tokens) <= {"NEWLINE"}
    except ValueError as error:
        assert (
            "there is no token of Python in this; type something like x = f(y)"
            in str(error)
        )


def test_code_is_read_as_in_training():
    vocabulary, corpus = text.python_tokens()
    ids, tokens, note = read_code(
        "for i in range(3):\n    zebra_crossing = 'a'  # why\n"
    )
    assert (
        tokens[:8] == ["for", "i", "in", "range", "(", "3", ")", ":"]
        and "STRING" in tokens
        and "INDENT" in tokens
    )
    assert [vocabulary[i] for i in ids[:4]] == tokens[:4] and ids[
        tokens.index("zebra_crossing")
    ] == 1
    assert note == "tokens the network does not know: 1"
    assert (
        "no Python" in read_code("a = (1,")[2]
        and "only the first 24" in read_code("a + " * 40)[2]
    )


# ---- published weights


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(pos_att_type="c2p"),
        dict(pos_att_type="p2c"),
        dict(pos_att_type=["p2c", "c2p"]),
        dict(max_relative_positions=4),
        dict(max_relative_positions=1),
        dict(max_relative_positions=-1),
        dict(position_biased_input=True),
        dict(type_vocab_size=2),
        dict(position_biased_input=True, type_vocab_size=3),
        dict(hidden_act="gelu_new"),
        dict(num_attention_heads=1),
        dict(layer_norm_eps=1e-3),
        ABSOLUTE,
    ],
)
def test_the_first_deberta_is_the_references(tmp_path, changes):
    theirs = reference("DebertaModel", tmp_path, **REFERENCE | changes)
    assert same(from_pretrained(tmp_path), theirs)


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(pos_att_type="c2p"),
        dict(pos_att_type="p2c"),
        dict(share_att_key=True),
        dict(share_att_key=True, pos_att_type="c2p"),
        V2,
        V2 | dict(share_att_key=False),
        V2 | dict(norm_rel_ebd="none"),
        V2 | dict(position_buckets=20),
        V2 | dict(max_relative_positions=16),
        V2 | dict(conv_kernel_size=3, conv_act="gelu"),
        V2 | dict(conv_kernel_size=5),
        dict(position_biased_input=True, type_vocab_size=2),
        ABSOLUTE,
    ],
)
def test_v2_and_v3_are_the_references(tmp_path, changes):
    theirs = reference("DebertaV2Model", tmp_path, **REFERENCE | changes)
    assert same(from_pretrained(tmp_path), theirs)


@pytest.mark.parametrize(("kind", "changes"), [("Deberta", {}), ("DebertaV2", V2)])
def test_longer_than_the_position_table(tmp_path, kind, changes):
    theirs = reference(f"{kind}Model", tmp_path, **REFERENCE | changes)
    assert same(from_pretrained(tmp_path), theirs, length=60)


@pytest.mark.parametrize("family", ["Deberta", "DebertaV2"])
@pytest.mark.parametrize(
    ("head", "changes", "kind"),
    [
        ("ForMaskedLM", dict(legacy=True), MaskedLM),
        ("ForMaskedLM", dict(legacy=False), MaskedLM),
        ("ForSequenceClassification", dict(num_labels=5), Classifier),
    ],
)
def test_what_stands_on_top_is_the_references(tmp_path, family, head, changes, kind):
    changes = changes | (V2 if family == "DebertaV2" else {})
    theirs = reference(family + head, tmp_path, **REFERENCE | changes)
    ours = from_pretrained(tmp_path)
    assert type(ours) is kind and same(ours, theirs)


@pytest.mark.parametrize("way", FILES)
@pytest.mark.parametrize(
    ("kind", "changes"), [("DebertaForMaskedLM", {}), ("DebertaV2ForMaskedLM", V2)]
)
def test_any_file_that_the_library_reads(tmp_path, kind, changes, way):
    theirs = reference(kind, tmp_path, **REFERENCE | changes)
    rewrite(tmp_path, **FILES[way])
    assert same(from_pretrained(tmp_path), rounded(theirs, **FILES[way]))


def as_published(folder):
    """A V3 as published: a `.bin`, no architecture, all heads of a pre-training.

    Returns the reference and the table of the mask decoder.
    """
    sizes = REFERENCE | V2 | dict(legacy=False)
    theirs = reference("DebertaV2ForMaskedLM", folder, **sizes)
    table = torch.randn(40, 48)
    more = {
        "mask_predictions.dense.weight": torch.zeros(48, 48),
        "deberta.embeddings.position_embeddings.weight": table,
    }
    edit(folder, lambda tensors: tensors.update(more))
    configure(folder, architectures=None, legacy=None)
    rewrite(folder, kind="bin")
    return theirs, table


def test_a_file_as_published_is_the_encoder(tmp_path):
    theirs, _ = as_published(tmp_path)
    ours = from_pretrained(tmp_path)
    assert type(ours) is Deberta and same(ours, theirs.deberta)


def test_the_decoder_is_the_references_last_layer_run_twice(tmp_path):
    theirs, table = as_published(tmp_path)
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
    sizes = REFERENCE | V2 | dict(conv_kernel_size=3)
    theirs = reference("DebertaV2Model", tmp_path, **sizes)
    ours, ids = from_pretrained(tmp_path), torch.randint(97, (2, 9))
    with torch.no_grad():
        expected = theirs(ids, output_hidden_states=True).hidden_states
        found = ours.states(ids)
    assert len(found) == len(expected)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected))


def test_the_letter_of_equation_4_is_not_what_the_reference_computes(tmp_path):
    theirs = reference("DebertaModel", tmp_path, **REFERENCE)
    ours, ids = from_pretrained(tmp_path), torch.randint(97, (2, 20))
    for layer in ours.layers:
        layer.attention.literal = True
    with torch.no_grad():
        assert (ours(ids) - theirs(ids)[0]).abs().max() > 0.01


def test_weights_that_do_not_fit_are_named(tmp_path):
    reference("DebertaForMaskedLM", tmp_path, **REFERENCE)
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
    reference("DebertaForMaskedLM", tmp_path, **REFERENCE)
    table = "deberta.embeddings.position_embeddings.weight"
    with pytest.raises(ValueError, match=f"missing: {table}$"):
        from_pretrained(tmp_path, decoder=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(hidden_act="silu"), "hidden_act is 'silu'; the lesson's model has only"),
        (dict(talking_head=True), "talking_head is True"),
        (dict(relative_attention=False), "relative_attention is False"),
        (dict(attention_head_size=16), "attention_head_size is 16; .* has only 8"),
        (dict(pos_att_type=["p2p"]), "terms are 'c2p' and 'p2c', not 'p2p'"),
        (
            dict(architectures=["DebertaForTokenClassification"]),
            "is of a DebertaForTok",
        ),
    ],
)
def test_what_the_lesson_does_not_have_is_told(tmp_path, changes, message):
    reference("DebertaModel", tmp_path, **REFERENCE)
    configure(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(tmp_path)


# ---- bad input


def test_unknown_variant_and_field():
    with pytest.raises(
        ValueError, match="no variant 'deberta-huge'; there are deberta-base"
    ):
        build("deberta-huge")
    with pytest.raises(ValueError, match="a Config has no 'layers'; it has vocab_size"):
        build("deberta-base", layers=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(terms=("p2p",)), "terms are 'c2p' and 'p2c', not 'p2p'"),
        (dict(num_attention_heads=5), "48 is not a multiple of 5 heads"),
        (
            dict(num_hidden_layers=2.5),
            "num_hidden_layers should be a whole number above 0, not 2.5",
        ),
        (
            dict(hidden_act="swish"),
            "hidden_act should be one of gelu, gelu_new, relu, not 'swish'",
        ),
        (dict(conv_kernel_size=2), "conv_kernel_size should be None or odd"),
        (
            dict(position_buckets=1),
            "position_buckets should be None, or 2 to below 14, not 1",
        ),
    ],
)
def test_impossible_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (
            torch.zeros(5, dtype=torch.long),
            r"\(batch, tokens\) with at least one.*, not shape \(5,\)",
        ),
        (torch.zeros(1, 5), "torch.float32"),
        (torch.full((1, 5), 97), "input_ids should be from 0 to 96, not 97 to 97"),
    ],
)
def test_ids_that_are_none(ids, message):
    with pytest.raises(ValueError, match=message):
        tiny()(ids)


@pytest.mark.parametrize("changes", [dict(absolute=True), dict(decoder=True)])
def test_a_text_longer_than_a_table_of_absolute_positions(changes):
    with pytest.raises(
        ValueError,
        match="the text has 41 tokens, the table of absolute positions 40 rows",
    ):
        tiny(**changes)(torch.zeros(1, 41, dtype=torch.long))


def test_new_weights_have_the_deviation_asked_for():
    torch.manual_seed(0)
    model = MaskedLM(
        replace(
            VARIANTS["deberta-base"],
            vocab_size=2000,
            num_hidden_layers=1,
            initializer_range=0.05,
            decoder=True,
        )
    )
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            assert weight.std().item() == pytest.approx(0.05, rel=0.05), name
        elif "norm" not in name:
            assert (weight == 0).all(), name


# ---- exercises: planted wrong answers


def delta(queries, keys, k, low=0, high=-1, shift=0, sign=1):
    """A right answer, to plant faults in."""
    return (sign * (queries[:, None] - keys) + k + shift).clamp(low, 2 * k + high)


def gathered(key, position_query, index, transpose=True, turn=True, scale=1.0):
    scores = scale * key @ position_query.transpose(-2, -1)
    scores = scores.gather(
        -1, (index.T if transpose else index).expand(*scores.shape[:-1], -1)
    )
    return scores.transpose(-2, -1) if turn else scores


def looked_up(key, position_query, index):
    return torch.einsum("bhjd,hijd->bhij", key, position_query[:, index])


def in_place(key, position_query, index):
    key *= 2
    return gathered(key, position_query, index) / 2


def own_index(key, position_query, index):
    n, k = len(index), position_query.shape[-2] // 2
    return gathered(key, position_query, clipped(distances(n), k))


def same_bucket(
    distance,
    buckets=256,
    longest=512,
    everything=lambda longest: range(-longest + 1, longest),
    one_side=True,
):
    def bucket(r):
        return int(
            log_buckets(torch.tensor([r if one_side else abs(r)]), buckets, longest)
        )

    return [r for r in everything(longest) if bucket(r) == bucket(distance)]


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (
            "delta_of",
            lambda queries, keys, k: delta(queries, keys, k).tolist(),
            "return a tensor, not list",
        ),
        (
            "delta_of",
            lambda queries, keys, k: delta(queries, keys, k).T,
            r"the shape \(2, 7\)",
        ),
        (
            "delta_of",
            lambda queries, keys, k: delta(queries, keys, k).float(),
            "whole numbers, not torch.float32",
        ),
        ("delta_of", partial(delta, sign=-1), "yours grows the other way"),
        ("delta_of", partial(delta, shift=1), "i − j \\+ k"),
        ("delta_of", partial(delta, high=0), "2k is one too many"),
        ("delta_of", partial(delta, high=-2), "2k − 1 each time"),
        ("delta_of", partial(delta, low=1), "it should be 0, 0, 1"),
        (
            "delta_of",
            lambda queries, keys, k: delta(queries, keys, 4),
            "is k used everywhere",
        ),
        (
            "delta_of",
            lambda queries, keys, k: delta(queries, keys, k).to(torch.uint8),
            "k = 512 it should be 1023",
        ),
        (
            "delta_of",
            lambda queries, keys, k: delta(queries.add_(1), keys.add_(1), k),
            "the positions have changed",
        ),
        (
            "delta_of",
            lambda queries, keys, k: delta(
                torch.arange(len(keys) - len(queries), len(keys)), keys, k
            ),
            "it should be",
        ),
        ("p2c_scores", lambda key, rows, index: None, "return a tensor, not NoneType"),
        (
            "p2c_scores",
            lambda key, rows, index: key @ rows.transpose(-2, -1),
            r"\(batch, heads, n, n\) is",
        ),
        ("p2c_scores", partial(gathered, transpose=False), "as in Eq. 4"),
        ("p2c_scores", partial(gathered, turn=False), "rows and columns are exchanged"),
        (
            "p2c_scores",
            partial(gathered, transpose=False, turn=False),
            "takes the vector of token i",
        ),
        (
            "p2c_scores",
            partial(gathered, scale=1 / math.sqrt(15)),
            "leave the scale away",
        ),
        (
            "p2c_scores",
            partial(gathered, scale=1 / math.sqrt(5)),
            "leave the scale away",
        ),
        ("p2c_scores", partial(gathered, scale=2.0), "compare with the loops"),
        ("p2c_scores", in_place, "the inputs have changed"),
        ("p2c_scores", own_index, "use the index that is given"),
        ("p2c_scores", looked_up, "multiply with all 2k rows first"),
        (
            "alike",
            lambda distance, buckets=256, longest=512: None,
            "a list of whole numbers, not None",
        ),
        (
            "alike",
            lambda distance, buckets=256, longest=512: [0.5],
            "a list of whole numbers",
        ),
        (
            "alike",
            lambda distance, buckets=256, longest=512: [],
            "the distance itself is missing",
        ),
        (
            "alike",
            lambda distance, buckets=256, longest=512: [distance],
            "yours are 1 distances",
        ),
        (
            "alike",
            partial(same_bucket, one_side=False),
            "left and right have buckets of their own",
        ),
        (
            "alike",
            lambda distance, buckets=256, longest=512: same_bucket(
                distance, buckets, longest
            )[::-1],
            "in rising order",
        ),
        (
            "alike",
            lambda distance, buckets=256, longest=512: same_bucket(distance, 256, 512),
            "yours are",
        ),
        (
            "alike",
            partial(same_bucket, everything=range),
            "the distance itself is missing",
        ),
        (
            "alike",
            lambda distance, buckets, longest: same_bucket(distance, buckets, longest),
            "TypeError",
        ),
    ],
)
def test_planted_wrong_answers_fail(check, wrong, hint):
    line = verdict(wrong, checker("deberta", check))
    assert line.startswith("✗") and re.search(hint, line), line


@pytest.mark.parametrize(
    ("check", "right"),
    [
        ("delta_of", delta),
        ("delta_of", lambda queries, keys, k: delta(queries, keys, k).int()),
        (
            "delta_of",
            lambda queries, keys, k: torch.tensor(
                [
                    [min(max(int(i - j) + k, 0), 2 * k - 1) for j in keys]
                    for i in queries
                ]
            ),
        ),
        ("p2c_scores", gathered),
        (
            "p2c_scores",
            lambda key, rows, index: (
                torch.einsum("bhjd,hrd->bhjr", key, rows)
                .gather(-1, index.T[None, None].repeat(*key.shape[:2], 1, 1))
                .mT.contiguous()
            ),
        ),
        (
            "p2c_scores",
            lambda key, rows, index: (rows @ key.transpose(-2, -1)).gather(
                -2, index.expand(*key.shape[:2], -1, -1)
            ),
        ),
        ("alike", same_bucket),
        (
            "alike",
            lambda distance, buckets=256, longest=512: torch.tensor(
                same_bucket(distance, buckets, longest)
            ),
        ),
        (
            "alike",
            lambda distance, buckets=256, longest=512: tuple(
                same_bucket(distance, buckets, longest)
            ),
        ),
    ],
)
def test_right_answers_of_other_forms_pass(check, right):
    assert verdict(right, checker("deberta", check)).startswith("✓")


def test_the_hint_of_the_last_solution_is_true():
    assert same_bucket(100) == [100] and 4 <= len(same_bucket(400)) <= 5
