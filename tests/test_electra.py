"""The ELECTRA lesson: the paper's numbers, the reference implementation, bad input."""

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
from kit.probe import activations, parameters
from lessons.electra import (
    DISCRIMINATORS,
    LENGTH,
    MASK,
    OBJECTIVES,
    ROLES,
    SMALL,
    VARIANTS,
    Albert,
    Config,
    Discriminator,
    Electra,
    Learner,
    MaskedLM,
    OffsetAttention,
    build,
    choose,
    electra_flops,
    fine_tune,
    generator_config,
    labelled,
    masked_lm,
    programs,
    read_program,
    recipe,
    replace,
    roles,
    settle,
    step_flops,
    steps_for,
    training_flops,
)
from lessons.published.electra import from_pretrained

TINY = dict(
    vocab_size=97,
    embedding_size=16,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=6,
    intermediate_size=96,
    max_position_embeddings=40,
)
OURS = Config(**TINY, hidden_act="gelu", share="none", pooler=False)


def pair():
    torch.manual_seed(0)
    return Electra(Discriminator(OURS), MaskedLM(generator_config(OURS, 24)))


def texts(rows=4, length=20):
    return torch.randint(
        5, 97, (rows, length), generator=torch.Generator().manual_seed(1)
    )


# ---- choosing and drawing


@pytest.mark.parametrize(
    ("length", "share", "count"),
    [(20, 0.15, 3), (21, 0.15, 4), (32, 0.15, 5), (100, 0.25, 25), (1, 0.15, 1)],
)
def test_chosen_are_15_percent_rounded_up(length, share, count):
    chosen = choose(texts(50, length), share)
    assert chosen.dtype == torch.bool and (chosen.sum(1) == count).all()


def test_special_tokens_are_never_chosen():
    ids = texts(200, 20)
    ids[:, ::2] = 1 + torch.arange(10) % 4
    chosen = choose(ids, 0.5)
    assert not chosen[ids < 5].any() and (chosen.sum(1) == 10).all()
    assert not choose(torch.ones(3, 8, dtype=torch.long)).any()


def test_every_place_is_chosen_alike():
    share = (
        choose(texts(1, 20).expand(4000, -1), random=torch.Generator().manual_seed(0))
        .float()
        .mean(0)
    )
    assert (share - 0.15).abs().max() < 0.03


def test_only_chosen_places_change_and_the_text_stays():
    model, ids = pair(), texts()
    before, chosen = ids.clone(), choose(ids)
    logits, corrupted = model.corrupt(ids, chosen)
    assert (
        logits.shape == (12, 97)
        and torch.equal(ids, before)
        and torch.equal(corrupted[~chosen], ids[~chosen])
    )
    assert logits.requires_grad and not corrupted.requires_grad


def test_nothing_chosen_is_nothing_drawn():
    model, ids = pair(), torch.ones(2, 6, dtype=torch.long)
    logits, corrupted = model.corrupt(ids, choose(ids))
    assert logits.shape == (0, 97) and torch.equal(corrupted, ids)


@pytest.mark.parametrize(
    ("masked", "low", "high"), [(1.0, 1, 1), (0.0, 0, 0), (0.85, 0.8, 0.9)]
)
def test_what_the_generator_reads(masked, low, high):
    model, ids = pair(), texts(200, 40)
    chosen = choose(ids)
    with activations(model, ["generator.albert.embeddings"]) as seen:
        model.corrupt(ids, chosen, masked=masked)
    read = seen["generator.albert.embeddings"][0]
    assert low <= (read == MASK)[chosen].float().mean() <= high
    assert (
        torch.equal(read[read != MASK], ids[read != MASK])
        and not (read == MASK)[~chosen].any()
    )


def test_temperature():
    model, ids = pair(), texts(200, 40)
    chosen = choose(ids)
    logits, cold = model.corrupt(ids, chosen, temperature=1e-4, masked=1.0)
    assert (cold[chosen] == logits.argmax(1)).float().mean() > 0.98
    _, hot = model.corrupt(ids, chosen, temperature=1e4, masked=1.0)
    assert len(hot[chosen].unique()) > 90


def test_draws_repeat_with_the_same_seed():
    model, ids = pair(), texts()
    chosen = choose(ids)
    first, second = (
        model.corrupt(ids, chosen, random=torch.Generator().manual_seed(3))[1]
        for _ in range(2)
    )
    assert torch.equal(first, second)


# ---- two networks


def test_the_tables_are_one():
    model = pair()
    ours, theirs = (
        model.discriminator.albert.embeddings,
        model.generator.albert.embeddings,
    )
    assert (
        ours.word is theirs.word
        and ours.position is theirs.position
        and ours.segment is not theirs.segment
    )
    assert (
        parameters(model)
        == parameters(model.discriminator)
        + parameters(model.generator)
        - (97 + 40) * 16
    )


def test_the_discriminators_loss_reaches_the_shared_tables_only():
    model, ids = pair(), texts()
    _, loss = model(ids, choose(ids))
    weights = dict(model.generator.named_parameters())
    found = torch.autograd.grad(loss, weights.values(), allow_unused=True)
    reached = [name for name, one in zip(weights, found) if one is not None]
    assert reached == [
        "albert.embeddings.word.weight",
        "albert.embeddings.position.weight",
    ]


def test_losses_by_hand_with_padding():
    model, ids = pair(), texts(2, 10)
    mask = torch.tensor([[1] * 10, [1] * 6 + [0] * 4])
    chosen = choose(torch.where(mask == 1, ids, 0), 0.3)
    logits, corrupted = model.corrupt(
        ids, chosen, mask, torch.Generator().manual_seed(0)
    )
    generator_loss, discriminator_loss = model(
        ids, chosen, mask, torch.Generator().manual_seed(0)
    )
    p = model.discriminator(corrupted, mask).sigmoid()
    each = -torch.where(corrupted == ids, (1 - p).log(), p.log())
    assert torch.allclose(discriminator_loss, each[mask == 1].mean(), atol=1e-6)
    assert torch.allclose(
        generator_loss,
        -logits.log_softmax(1)[range(len(logits)), ids[chosen]].mean(),
        atol=1e-6,
    )


# ---- the small encoder


def test_offset_attention_by_hand():
    torch.manual_seed(0)
    layer, x = OffsetAttention(8, 4, 6), torch.randn(2, 5, 8)
    nn.init.normal_(layer.offset)
    query, key, value = (
        layer.heads(one(x)) for one in (layer.query, layer.key, layer.value)
    )
    scores = query @ key.transpose(-2, -1) / math.sqrt(2)
    for i in range(5):
        for j in range(5):
            scores[..., i, j] += layer.offset[:, j - i + 5]
    weights = scores.softmax(-1)
    assert torch.allclose(layer.weights(x), weights, atol=1e-6)
    assert torch.allclose(
        layer(x), layer.output((weights @ value).transpose(1, 2).flatten(2)), atol=1e-6
    )


def test_the_four_heads_start_at_four_distances():
    layer = OffsetAttention(8, 4, 12)
    for linear in (layer.query, layer.key):
        nn.init.zeros_(linear.weight)
    weights = layer.weights(torch.randn(1, 12, 8))[0, :, 5]
    assert weights.argmax(1).tolist() == [4, 6, 3, 7]


def test_settled_models_have_offsets_and_waves():
    model = settle(MaskedLM(SMALL))
    assert all(
        isinstance(layer.attention.inner, OffsetAttention)
        for layer in model.albert.encoder.layers
    )
    position = model.albert.embeddings.position.weight
    assert position.shape == (LENGTH, 64) and position[0].tolist() == pytest.approx(
        [0] * 32 + [0.1] * 32
    )
    assert model(torch.randint(5, 1000, (2, 7))).shape == (2, 7, 1000)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_teaches_the_encoder(objective):
    net, ids = Learner(objective, 0), programs()[0][:16]
    loss = net(ids)
    assert loss.ndim == 0 and loss.isfinite()
    loss.backward()
    assert all(
        weight.grad is not None for name, weight in net.encoder.named_parameters()
    )
    trained = [weight.grad is not None for weight in net.generator.head.parameters()]
    assert (
        all(trained)
        if objective not in ("MLM", "unigram generator")
        else not any(trained)
    )
    assert (net.gate.weight.grad is not None) == (objective == "All-Tokens MLM")


def test_all_tokens_mlm_by_hand():
    net, ids = Learner("All-Tokens MLM", 0), programs()[0][:4]
    chosen = choose(ids, random=torch.Generator().manual_seed(0))
    net.random = torch.Generator().manual_seed(5)
    loss = OBJECTIVES["All-Tokens MLM"](net, ids, chosen)
    logits, corrupted = net.corrupt(
        ids, chosen, random=torch.Generator().manual_seed(5)
    )
    x = net.encoder(corrupted)
    copy = net.gate(x).sigmoid()
    p = copy * F.one_hot(corrupted, SMALL.vocab_size) + (1 - copy) * net.words(
        x
    ).softmax(-1)
    right = p.gather(-1, ids[..., None]).log().mean()
    assert torch.allclose(loss, F.cross_entropy(logits, ids[chosen]) - right, atol=1e-4)


def test_where_the_discriminator_is_asked():
    ids = programs()[0][:64]
    chosen = choose(ids, random=torch.Generator().manual_seed(0))
    reached = {}
    for objective in ("ELECTRA", "ELECTRA 15%", "ELECTRA random 15%"):
        net = Learner(objective, 0)
        net.discriminator.head.register_forward_pre_hook(
            lambda module, inputs, name=objective: reached.update({name: inputs[0]})
        )
        loss = OBJECTIVES[objective](net, ids, chosen)
        reached[objective] = (
            torch.autograd.grad(loss, reached[objective])[0].norm(dim=-1) > 0
        )
    assert reached["ELECTRA"].all() and torch.equal(reached["ELECTRA 15%"], chosen)
    drawn = reached["ELECTRA random 15%"]
    assert (
        torch.equal(drawn.sum(1), chosen.sum(1))
        and 0.05 < chosen[drawn].float().mean() < 0.3
    )
    assert (drawn.float().mean(0) > 0).all()


def test_a_masked_lm_here_is_alberts():
    net, ids = Learner("MLM", 0), programs()[0][:16]
    chosen = choose(ids)
    assert masked_lm(net, ids, chosen).item() == pytest.approx(math.log(1000), rel=0.25)


def test_equal_work():
    assert (
        step_flops("ELECTRA")
        == step_flops("ELECTRA 15%")
        == step_flops("ELECTRA random 15%")
    )
    assert (
        step_flops("unigram generator")
        < step_flops("MLM")
        < step_flops("ELECTRA")
        < step_flops("All-Tokens MLM")
    )
    for name in OBJECTIVES:
        assert steps_for(name) * step_flops(name) == pytest.approx(
            1000 * step_flops("ELECTRA"), rel=1e-3
        )
    assert (
        steps_for("ELECTRA", 8)
        > 1000
        > steps_for("ELECTRA", 32)
        > steps_for("ELECTRA", 64)
    )


def test_training_learns_and_repeats():
    first, second = (recipe(Learner("ELECTRA", 0), 0, 40) for _ in range(2))
    assert (
        first.tolist() == second.tolist()
        and first[-10:].mean() < 0.9 * first[:10].mean()
    )


# ---- labels


PROGRAM = """import os.path as path
class Ünder(Base):
    def méthod(self, key, *rest, **more):
        é = self.size + other(key, default=None)
        "ä"; path.join(é).strip(**more)
        del x
"""


def test_roles_of_a_program():
    found = [
        (token, ROLES[role])
        for (token, _, _), role in zip(
            text.code_tokens(PROGRAM), roles(PROGRAM), strict=True
        )
        if role >= 0
    ]
    assert found == [
        ("os", "defined or imported"),
        ("Ünder", "defined or imported"),
        ("Base", "read"),
        ("méthod", "defined or imported"),
        ("self", "parameter"),
        ("key", "parameter"),
        ("rest", "parameter"),
        ("more", "parameter"),
        ("é", "written"),
        ("self", "read"),
        ("size", "attribute"),
        ("other", "called function"),
        ("key", "read"),
        ("default", "keyword"),
        ("path", "read"),
        ("join", "called method"),
        ("é", "read"),
        ("strip", "called method"),
        ("more", "read"),
        ("x", "written"),
    ]


def test_labels_stand_beside_their_tokens():
    vocabulary, documents = text.python_tokens(SMALL.vocab_size)
    tokens = [token for token, _, _ in text.code_tokens(text.corpus("code").heldout[0])]
    assert all(
        number in (1, vocabulary.index(token) if token in vocabulary else 1)
        for number, token in zip(documents.heldout[0], tokens)
    )
    (windows, labels), (test, answers) = labelled()
    assert windows.shape == labels.shape and test.shape == answers.shape == (
        800,
        LENGTH,
    )
    share = (answers >= 0).float().mean()
    assert 0.2 < share < 0.4 and answers.max() == len(ROLES) - 1


def test_fine_tuning_leaves_the_encoder_alone():
    encoder = Learner("MLM", 0).encoder
    before = {name: weight.clone() for name, weight in encoder.named_parameters()}
    score = fine_tune(encoder, 15, 0, steps=10)
    assert 0 < score < 100 and score == fine_tune(encoder, 15, 0, steps=10)
    assert all(
        torch.equal(weight, before[name]) for name, weight in encoder.named_parameters()
    )


# ---- the study


@pytest.mark.parametrize("objective", ["MLM", "ELECTRA", "All-Tokens MLM"])
def test_the_stored_study_is_what_the_code_gives(objective):
    """The first 50 steps: initial weights, windows, chosen tokens, draws and recipe."""
    assert {run["steps"] for run in study.read("electra")[objective]} == {
        steps_for(objective)
    }
    losses = first_losses(50, recipe, Learner(objective, 2), 2, steps_for(objective))
    study.within_spread(
        "electra", objective, 2, "loss of the first 50 steps", sum(losses) / 50
    )


# ---- the reader's own text


@pytest.mark.parametrize(
    "program",
    [
        "",
        " ",
        "x = 1",
        "def (",
        "'unclosed",
        "word " * 1000,
        "<script>alert(1)</script>",
        "🎉🎉",
        "한국어 문장입니다.",
        "שלום עולם",
        "a\0b\n\tc",
        "\u202eabc",
        "x" * 5000,
        "if x:\n  y\n z",
        "f'{a}'",
        "((((((",
        "\\",
        "0777",
        "a\r\nb",
    ],
)
def test_any_text_can_be_read(program):
    vocabulary, _ = text.python_tokens(SMALL.vocab_size)
    shown, ids, note = read_program(program, vocabulary)
    assert (
        1 <= len(shown) <= LENGTH
        and ids.shape == (1, len(shown))
        and all(isinstance(token, str) for token in shown)
    )
    assert bool(note) == (len(program.split()) > LENGTH)
    net = Learner("ELECTRA", 0)
    with torch.no_grad():
        _, corrupted = net.corrupt(ids, choose(ids))
        assert net.discriminator(corrupted).shape == ids.shape


# ---- the paper's numbers

PARAMETERS = {
    "electra-small-discriminator": 13_549_057,
    "electra-base-discriminator": 109_483_009,
    "electra-large-discriminator": 335_142_913,
    "electra-small-generator": 4_620_026,
    "electra-base-generator": 33_740_602,
    "electra-large-generator": 51_295_290,
}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_of_the_variants(name):
    with torch.device("meta"):
        model = build(name)
    assert parameters(model) == PARAMETERS[name]
    assert isinstance(
        model, Discriminator if name.endswith("discriminator") else MaskedLM
    )


@pytest.mark.parametrize("size", DISCRIMINATORS)
def test_parameters_are_the_references(size):
    import transformers

    ours = (
        VARIANTS[f"electra-{size}-discriminator"],
        VARIANTS[f"electra-{size}-generator"],
    )
    for config, kind in zip(
        ours, (transformers.ElectraForPreTraining, transformers.ElectraForMaskedLM)
    ):
        with torch.device("meta"):
            model = kind(
                transformers.ElectraConfig(
                    vocab_size=config.vocab_size,
                    embedding_size=config.embedding_size,
                    hidden_size=config.hidden_size,
                    num_hidden_layers=config.num_hidden_layers,
                    num_attention_heads=config.num_attention_heads,
                    intermediate_size=config.intermediate_size,
                )
            )
            model.tie_weights()
        kind = "discriminator" if config is ours[0] else "generator"
        assert (
            sum(weight.numel() for weight in model.parameters())
            == PARAMETERS[f"electra-{size}-{kind}"]
        )


def test_training_costs():
    """What the authors' published counting script prints."""
    small, base, large = DISCRIMINATORS.values()
    costs = [
        training_flops(replace(base, vocab_size=40_000), 128, 960_800, asked=1),
        training_flops(small, 128, 1.45e6, tokens=128),
        training_flops(base, 256, 1e6),
        training_flops(large, 256, 1e6),
        electra_flops("small", 128, 1e6, tokens=128),
        electra_flops("base", 256, 766_000),
        electra_flops("large", 2048, 4e5),
        electra_flops("large", 2048, 1.75e6),
    ]
    assert costs == [
        pytest.approx(cost, rel=0.004)
        for cost in (
            3.97e19,
            1.42e18,
            6.43e19,
            1.92e20,
            1.29e18,
            6.42e19,
            7.12e20,
            3.11e21,
        )
    ]


# ---- published weights

KINDS = {
    "ElectraModel": Albert,
    "ElectraForPreTraining": Discriminator,
    "ElectraForMaskedLM": MaskedLM,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(embedding_size=48),
        dict(embedding_size=64),
        dict(hidden_act="relu"),
        dict(hidden_act="gelu_new"),
        dict(num_attention_heads=1),
        dict(layer_norm_eps=1e-3),
        dict(type_vocab_size=3),
        dict(num_hidden_layers=1),
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
    assert type(ours) is Albert and same(ours, theirs.base_model)


def test_discriminator_and_generator_of_files_can_be_joined(tmp_path):
    narrow = dict(hidden_size=24, intermediate_size=48, num_attention_heads=3)
    reference("ElectraForPreTraining", tmp_path / "d", **TINY)
    reference("ElectraForMaskedLM", tmp_path / "g", **TINY | narrow)
    discriminator, generator = map(from_pretrained, (tmp_path / "d", tmp_path / "g"))
    model, ids = Electra(discriminator, generator), texts()
    assert all(loss.isfinite() for loss in model(ids, choose(ids)))


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


def test_a_name_that_cannot_be_had_is_told(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError,
        match="'google/electra-tiny-generator' is no folder here, and the hub",
    ):
        from_pretrained("google/electra-tiny-generator")


# ---- bad input


def test_unknown_variant_and_field():
    with pytest.raises(
        ValueError,
        match="no variant 'electra-huge'; there are electra-small-discriminator",
    ):
        build("electra-huge")
    with pytest.raises(ValueError, match="a Config has no 'layers'; it has vocab_size"):
        build("electra-small-generator", layers=3)
    for size in (10**15, 2**62):
        with pytest.raises(
            ValueError,
            match=f"generator with {{'vocab_size': {size}}} is too large for",
        ):
            build("electra-small-generator", vocab_size=size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(vocab_size=98),
            "vocab_size is 97 in the discriminator and 98 in the generator",
        ),
        (
            dict(embedding_size=24),
            "embedding_size is 16 in the discriminator and 24 in the generator",
        ),
        (
            dict(max_position_embeddings=41),
            "max_position_embeddings is 40 in the discriminator and 41 in the gen",
        ),
    ],
)
def test_two_networks_that_cannot_share_their_tables(changes, message):
    with pytest.raises(ValueError, match=f"the two share their tables, but {message}"):
        Electra(
            Discriminator(OURS),
            MaskedLM(replace(generator_config(OURS, 24), **changes)),
        )


@pytest.mark.parametrize(
    "swapped",
    [
        lambda d, g: (g, d),
        lambda d, g: (d, d),
        lambda d, g: (d.albert, g),
        lambda d, g: (d, None),
    ],
)
def test_two_networks_that_are_no_electra(swapped):
    with pytest.raises(
        ValueError,
        match="made of a Discriminator and a MaskedLM, in this order, not of ",
    ):
        Electra(*swapped(Discriminator(OURS), MaskedLM(generator_config(OURS, 24))))


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
            "corrupted text should be",
        ),
        ("corrupt_and_label", label_first, "corrupted text should be"),
        ("corrupt_and_label", label_columns, "corrupted text should be"),
        (
            "corrupt_and_label",
            lambda i, c, d: (i + 1, torch.ones_like(i)),
            "was not chosen has changed",
        ),
        (
            "corrupt_and_label",
            lambda i, c, d: (label(i, c, d)[0], torch.zeros_like(i)),
            "labels should be",
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
        ("discriminator_loss", rtd_naive, "±200"),
        (
            "discriminator_loss",
            lambda x, y, m: rtd(x.detach(), y, m),
            "carries no gradient",
        ),
        (
            "discriminator_loss",
            lambda x, y, m: 50 * rtd(x, y, m),
            "without padding it should be",
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
            "at temperature 0.5",
        ),
        ("draw", lambda logits, t: sample(logits, 1 / t), "at temperature 0.5"),
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


def test_padding_is_not_counted_among_the_places_to_choose():
    ids = torch.randint(5, 97, (200, 40))
    ids[:100, 20:] = 0
    assert (
        choose(ids).sum(1).tolist() == [3] * 100 + [6] * 100
        and not choose(ids)[:100, 20:].any()
    )
    assert choose(ids, share=1).sum(1).tolist() == [20] * 100 + [40] * 100
    for share in (0, -0.1, 1.5):
        with pytest.raises(
            ValueError, match=f"share should be above 0 and at most 1, not {share}"
        ):
            choose(ids, share)
