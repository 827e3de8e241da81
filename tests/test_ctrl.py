"""The CTRL lesson: the paper's numbers, the reference implementation, bad input."""

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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kit import study
from kit.exercises import verdict
from kit.probe import parameters
from kit.view import Curves, Layers, Tokens
from lessons.ctrl import (
    CODES,
    ROOM,
    VARIANTS,
    VOCABULARY,
    WINDOW,
    CausalAttention,
    Config,
    Ctrl,
    CtrlLM,
    OffTheShelf,
    PreNorm,
    Trigrams,
    attention_to_code,
    attention_to_first,
    attribute,
    batches,
    behind_probes,
    build,
    causal_mask,
    code_gradients,
    documents,
    encoded,
    evidence,
    fit,
    from_torch,
    generate,
    layer,
    penalised,
    pieces,
    prior,
    probes,
    repeated,
    right_and_wrong,
    sinusoids,
    small_model,
    token_losses,
    tokenizer,
    verdicts,
    wheel,
    with_codes,
    write,
)
from lessons.published.ctrl import from_pretrained

TINY = dict(vocab_size=97, n_positions=40, n_embd=48, dff=96, n_layer=3, n_head=6)


@pytest.fixture(scope="module")
def model():
    """The lesson's network, untrained: it writes noise, which is hard on viewers."""
    return small_model(0).eval()


# ---- parts


def test_sinusoids_are_concatenated_and_the_references():
    from transformers.models.ctrl.modeling_ctrl import positional_encoding

    for positions, size in ((40, 48), (65, 96), (256, 1280), (3, 2)):
        ours = sinusoids(positions, size)
        assert torch.equal(ours, positional_encoding(positions, size, torch.float))
        assert torch.allclose(
            ours[:, 0], torch.arange(positions).float().sin(), atol=1e-6
        )
        assert torch.allclose(
            ours[:, size // 2], torch.arange(positions).float().cos(), atol=1e-6
        )


def test_the_causal_mask_ends_in_the_lower_right_corner():
    assert causal_mask(3, 3).tolist() == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True] * 4]
    assert causal_mask(1, 7).all()


@pytest.mark.parametrize("parts", [[9], [1] * 9, [4, 1, 4], [8, 1], [1, 8]])
def test_a_cache_changes_nothing(parts):
    torch.manual_seed(0)
    attention, x, cache = (
        CausalAttention(24, 4).double(),
        torch.randn(2, 9, 24).double(),
        [],
    )
    found = torch.cat([attention(part, cache) for part in x.split(parts, dim=1)], dim=1)
    assert torch.allclose(found, attention(x), atol=1e-12) and cache[0].shape == (
        2,
        4,
        9,
        6,
    )


def test_nobody_looks_ahead_and_padding_is_not_seen():
    torch.manual_seed(0)
    attention, x = CausalAttention(24, 4), torch.randn(1, 9, 24)
    for place in range(9):
        changed = x.clone()
        changed[0, place] += 1
        moved = (attention(changed) - attention(x))[0].abs().amax(-1) > 1e-6
        assert moved.tolist() == [i >= place for i in range(9)]
    padding = torch.tensor([[True] * 3 + [False] * 2 + [True] * 4])
    changed = x.clone()
    changed[0, 3:5] += 10
    real = padding[0]
    assert torch.allclose(
        attention(changed, None, padding)[0, real],
        attention(x, None, padding)[0, real],
        atol=1e-6,
    )
    everywhere = torch.ones(1, 9, dtype=torch.bool)
    assert torch.allclose(attention(x, None, everywhere), attention(x), atol=1e-6)
    assert attention(x, None, torch.zeros(1, 9, dtype=torch.bool)).isfinite().all()


def test_both_residuals():
    torch.manual_seed(0)
    inner, x = torch.nn.Linear(8, 8), 5 + 3 * torch.randn(2, 4, 8)
    by_code, by_equation = PreNorm(inner, 8), PreNorm(inner, 8, literal=True)
    normed = F.layer_norm(x, (8,), eps=1e-6)
    assert torch.allclose(by_code(x), x + inner(normed), atol=1e-5)
    assert torch.allclose(by_equation(x), normed + inner(normed), atol=1e-5)


def test_off_the_shelf_is_causal_and_knows_its_positions():
    torch.manual_seed(0)
    net, ids = OffTheShelf(), torch.randint(VOCABULARY, (2, 10))
    changed = ids.clone()
    changed[:, -1] = (changed[:, -1] + 1) % VOCABULARY
    moved = (net(ids) - net(changed)).abs().amax((0, 2)) > 1e-5
    assert moved.tolist() == [False] * 9 + [True]
    assert write(net, ids, 3).shape == (2, 13)


def test_the_layer_off_the_shelf_is_ours():
    torch.manual_seed(0)
    theirs = torch.nn.TransformerEncoderLayer(
        24, 3, 40, 0, "relu", 1e-6, batch_first=True, norm_first=True
    )
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    x, mask = (
        torch.randn(2, 7, 24),
        torch.nn.Transformer.generate_square_subsequent_mask(7),
    )
    assert torch.allclose(
        from_torch(theirs)(x), theirs(x, src_mask=mask, is_causal=True), atol=1e-5
    )


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


def test_tying_and_parts():
    from transformers import CTRLConfig, CTRLLMHeadModel

    with torch.device("meta"):
        assert parameters(build("ctrl-256", tied=False)) == 1_953_528_070
        assert parameters(layer(Config())) == 27_544_832
        theirs = CTRLLMHeadModel(CTRLConfig())
        theirs.tie_weights()
        assert parameters(theirs) == COUNTS["ctrl-256"]


def test_unknown_variants_and_fields_are_named():
    with pytest.raises(
        ValueError,
        match="no variant 'gpt'; there are ctrl-256, ctrl-512, ctrl-36-layers",
    ):
        build("gpt")
    with pytest.raises(ValueError, match="no 'hidden'; it has vocab_size, n_positions"):
        build("ctrl-256", hidden=3)
    for changes, message in (
        (dict(n_embd=16, n_head=5), "a multiple of n_head, 5"),
        (dict(n_layer=0), "n_layer should be a whole number above 0"),
        (dict(dropout="x"), "dropout should be a number from 0 on, not 'x'"),
        (dict(tied="no"), "tied should be of type bool"),
    ):
        with pytest.raises(ValueError, match=message):
            build("ctrl-256", **changes)


def test_what_cannot_be_written_is_named():
    model = small_model(0)
    for attempt, message in (
        (
            lambda: generate(model, with_codes("The"), -5),
            "length should be the number of new tokens, 0 or more, not -5",
        ),
        (
            lambda: generate(model, [[1, 2]], 5),
            "ids should be an integer tensor.*not a list",
        ),
        (
            lambda: generate(model, torch.tensor([[10**6]]), 5),
            "ids should be from 0 to",
        ),
        (lambda: with_codes("The", codes="News"), "a list of at least one code"),
        (lambda: with_codes(None), "a prompt as text"),
    ):
        with pytest.raises(ValueError, match=message):
            attempt()
    greedy = [
        generate(model, with_codes("The"), 3, temperature=t, greedy=True)[0]
        for t in (0, 1)
    ]
    assert torch.equal(*greedy)


# ---- published weights


def published(folder, kind="CTRLLMHeadModel", **changes):
    """A small model of the reference, saved to a folder."""
    return reference(kind, folder, deviation=0.05, **TINY | changes)


@pytest.mark.parametrize("kind", [Ctrl, CtrlLM])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_head": 1},
        {"n_layer": 1},
        {"layer_norm_epsilon": 1e-3},
        {"n_embd": 24, "dff": 7},
        {"tie_word_embeddings": False},
    ],
)
def test_equal_to_the_reference(tmp_path, kind, changes):
    name = "CTRLModel" if kind is Ctrl else "CTRLLMHeadModel"
    theirs, ours = published(tmp_path, name, **changes), from_pretrained(tmp_path)
    assert type(ours) is kind
    assert same(ours, theirs, everywhere=False, tolerance=1e-4)
    assert same(ours.double(), theirs.double(), everywhere=False, tolerance=1e-10)


@pytest.mark.parametrize("way", sorted(FILES.keys() - {"of the first years"}))
def test_any_file_that_the_library_reads(tmp_path, way):
    theirs = rounded(published(tmp_path), **FILES[way])
    rewrite(tmp_path, **FILES[way])
    assert same(from_pretrained(tmp_path), theirs, everywhere=False, tolerance=1e-4)


@pytest.mark.parametrize("kind", ["CTRLModel", "CTRLLMHeadModel"])
def test_without_architectures_the_weights_say_which(tmp_path, kind):
    theirs = published(tmp_path, kind)
    configure(tmp_path, architectures=None)
    constant = torch.zeros(40, 48)  # older files have it
    edit(
        tmp_path, lambda tensors: tensors.update({"transformer.pos_encoding": constant})
    )
    assert same(from_pretrained(tmp_path), theirs, everywhere=False, tolerance=1e-4)


def test_a_body_is_read_from_a_file_with_a_head(tmp_path):
    theirs = published(tmp_path)
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

        given, made = storages(args, kwargs), storages(result)
        if self.counts:
            self.bytes += sum(made[key] for key in made.keys() - given.keys())
        return result


@pytest.mark.parametrize("way", ["bin", "shards", "bin, shards"])
def test_the_weights_are_held_in_memory_once(tmp_path, monkeypatch, way):
    """The published file has 6.5 GB: what the library read is what the model has."""
    theirs = published(tmp_path, vocab_size=2000)
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


def test_caches_agree_with_the_reference_with_padding(tmp_path):
    theirs, ours = published(tmp_path).double(), from_pretrained(tmp_path).double()
    ids, mask = torch.randint(97, (2, 12)), torch.ones(2, 12, dtype=torch.long)
    mask[1, 2:5] = 0
    cache, past = ours.ctrl.new_cache(), None
    with torch.no_grad():
        for start, stop in ((0, 6), (6, 7), (7, 12)):
            new, real = ids[:, start:stop], mask[:, :stop]
            answer = theirs(
                new, attention_mask=real, past_key_values=past, use_cache=True
            )
            past = answer.past_key_values
            gap = (ours(new, real, cache=cache) - answer.logits).abs()
            assert (gap * mask[:, start:stop, None]).max() < 1e-10


def test_greedy_generation_is_the_references(tmp_path):
    theirs, ours = published(tmp_path), from_pretrained(tmp_path)
    ids = torch.randint(1, 97, (4, 5))  # 0 would be taken for padding
    expected = theirs.generate(ids, max_new_tokens=20, do_sample=False, pad_token_id=0)
    found, p = generate(ours, ids, 20, greedy=True)
    assert torch.equal(found, expected) and p.shape == (4, 24)
    with torch.no_grad():
        own = ours(found[:, :-1]).softmax(-1).gather(2, found[:, 1:, None])[..., 0]
    assert torch.allclose(p, own, atol=1e-5)


def test_tables_that_are_not_tied_are_two(tmp_path):
    published(tmp_path, tie_word_embeddings=False)
    zeros = {"lm_head.weight": torch.zeros(97, 48)}
    edit(tmp_path, lambda tensors: tensors.update(zeros))
    model = from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(model(torch.tensor([[1, 2]]))[0, 0], model.bias)
    assert model.ctrl.word.weight.abs().max() > 0
    configure(tmp_path, tie_word_embeddings=None)  # as is the default
    with pytest.raises(ValueError, match="w.weight and lm_head.weight differ"):
        from_pretrained(tmp_path)


def test_weights_that_do_not_fit_are_named(tmp_path):
    published(tmp_path)
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
    published(tmp_path)
    configure(tmp_path, architectures=["CTRLForSequenceClassification"])
    with pytest.raises(ValueError, match="is of a CTRLForSequenceClassification, not"):
        from_pretrained(tmp_path)


# ---- text


def test_every_text_survives_the_tokenizer():
    for string in (
        "def f(x):\n\treturn  x",
        "Ünïcode 한국어 🎉\0\r\n",
        " ",
        "<script>",
    ):
        ids = tokenizer().encode(string).ids
        assert (
            max(ids) < VOCABULARY
            and tokenizer().decode(ids) == string
            and len(pieces(ids)) == len(ids)
        )
    assert (
        tokenizer().encode("").ids == []
        and tokenizer().encode("[Wikipedia]").ids[0] < VOCABULARY
    )
    assert pieces([VOCABULARY, VOCABULARY + 4]) == ["[Wikipedia]", "[Scripture]"]


def test_no_document_is_in_two_kinds_or_on_both_sides():
    seen = {}
    for code in CODES:
        train, heldout = documents(code)
        assert train and heldout and not set(train) & set(heldout)
        for document in train + heldout:
            assert seen.setdefault(document, code) == code
        assert 250_000 < sum(map(len, train)) < 900_000 and len(probes(code)) >= 40


def test_batches_are_balanced_and_the_code_takes_the_place_of_the_start():
    for (coded, targets), (plain, answers) in zip(
        batches(3, 0), batches(3, 0, coded=False)
    ):
        assert coded.shape == targets.shape == (25, WINDOW)
        assert torch.equal(targets, answers)
        assert (
            coded[:, 0].tolist() == [VOCABULARY + i // 5 for i in range(25)]
            and (plain[:, 0] == VOCABULARY).all()
        )
        assert torch.equal(coded[:, 1:], targets[:, :-1]) and torch.equal(
            plain[:, 1:], targets[:, :-1]
        )
        for i in range(25):
            assert (encoded(list(CODES)[i // 5]) == targets[i]).all(1).any()


def test_the_judge_counts():
    judge = Trigrams({"a": ["abab" * 50], "b": ["bcbc" * 50]})
    assert judge.verdict("ababab")[0] == "a" and judge.verdict("cbcb")[0] == "b"
    assert judge.posterior("").tolist() == [0.5, 0.5] and judge.evidence("").shape == (
        2,
        0,
    )
    counts = (
        98 + 0.1
    )  # "abab…" of 200 characters has 198 runs of three, half of them "aba"
    assert judge.evidence("aba")[0, 2].item() == pytest.approx(
        math.log((counts + 1) / (99 + 12.8)), abs=0.02
    )
    assert judge.posterior("한국어 🎉\0").sum().item() == pytest.approx(1)


# ---- writing


@pytest.mark.parametrize(
    ("theta", "temperature", "message"),
    [
        (0, 1, "theta should be a number above 0, not 0"),
        (-1.2, 1, "theta should be a number above 0, not -1.2"),
        (math.nan, 1, "theta should be a number above 0"),
        (1, 0, "temperature should be a number above 0, not 0; greedy=True"),
        (1, -1, "temperature should be a number above 0, not -1"),
    ],
)
def test_penalty_and_temperature_are_above_zero(model, theta, temperature, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        generate(model, with_codes("The"), 2, temperature, theta)


def test_the_penalty_is_the_papers():
    logits, seen = (
        torch.tensor([[2.0, 1.0, 0.0, -1.0]]),
        torch.tensor([[True, False, False, True]]),
    )
    expected = (torch.tensor([2 / 1.5, 1, 0, -1 / 1.5]) / 0.7).softmax(0)
    assert torch.allclose(penalised(logits, seen, 1.5, 0.7)[0], expected)
    assert (
        torch.equal(penalised(logits, seen), logits.softmax(-1)) and logits[0, 0] == 2
    )


def test_a_strong_penalty_never_repeats(model):
    lifted = small_model(0)
    with torch.no_grad():
        lifted.bias.fill_(20)  # all logits positive
    ids, _ = generate(lifted, with_codes(""), 40, theta=50.0, greedy=True)
    assert repeated(ids[:, 1:], 1) == 0
    again, _ = generate(model, with_codes(""), 40, greedy=True)
    assert repeated(again[:, 1:], 1) > 0


def test_prompts(model):
    assert with_codes("").tolist() == [[VOCABULARY + i] for i in range(5)]
    assert with_codes("The", ["News"])[0, 0] == VOCABULARY + 1
    with pytest.raises(
        ValueError,
        match="no code 'Poetry'; .* with Wikipedia, News, Manual, Python, Scripture",
    ):
        with_codes("The", ["News", "Poetry"])
    with pytest.raises(
        ValueError,
        match=r"the prompt has \d+ tokens; .* 40 new ones .* the model knows 65",
    ):
        generate(model, with_codes("long " * 60), 40)
    with pytest.raises(
        ValueError,
        match="the text has 66 tokens with its code, the model knows 65 positions",
    ):
        model(torch.zeros(1, 66, dtype=torch.long))
    with pytest.raises(ValueError, match="there are no tokens to read"):
        model(torch.zeros(1, 0, dtype=torch.long))
    cache = model.ctrl.new_cache()
    model(torch.zeros(1, 60, dtype=torch.long), cache=cache)
    with pytest.raises(ValueError, match="the text has 70 tokens"):
        model(torch.zeros(1, 10, dtype=torch.long), cache=cache)
    assert generate(model, with_codes("The"), 0)[0].shape == with_codes("The").shape


def test_the_same_generator_writes_the_same(model):
    one, two, other = (
        generate(
            model, with_codes("The"), 20, generator=torch.Generator().manual_seed(seed)
        )[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


HOSTILE = [
    "",
    " ",
    "\n",
    "word " * 1000,
    "x" * 5000,
    "<script>alert(1)</script>",
    "🎉" * 50,
    "한국어 문장입니다.",
    "שלום עולם",
    "a\0b\n\tc",
    "[Wikipedia] [News]",
    "\u202eabc",
    "</script><b>",
]


@pytest.mark.parametrize("prompt", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("temperature", ["greedy", 0.5])
def test_the_wheel_takes_any_prompt(model, prompt, temperature):
    frame = wheel(model, prompt, temperature, 1.2, 7)
    figure = Tokens(
        frame, value_label="probability", caption="A prompt.", alt="A prompt."
    )
    given = min(ROOM, len(tokenizer().encode(prompt).ids))
    assert [len(row["tokens"]) for row in frame["rows"]] == [given + 7] * 5
    assert [row["marks"].count("prompt") for row in frame["rows"]] == [given] * 5
    assert [row["name"] for row in frame["rows"]] == list(CODES)
    note = frame["note"]
    assert ("The prompt is empty" in note) == (prompt == "")
    assert ("only its last 24 are read" in note) == (
        len(tokenizer().encode(prompt).ids) > 24
    )
    assert ("reads them as bytes" in note) == any(ord(one) > 127 for one in prompt)
    assert "<script>alert" not in figure.html and "</script><b>" not in figure.html


def test_the_wheel_shows_one_text_growing(model):
    short, long = wheel(model, "The", 0.5, 1.0, 5), wheel(model, "The", 0.5, 1.0, 30)
    for before, after in zip(short["rows"], long["rows"]):
        assert after["tokens"][:6] == before["tokens"] and torch.equal(
            after["values"][:6], before["values"]
        )


@pytest.mark.parametrize("string", HOSTILE, ids=range(len(HOSTILE)))
def test_attribution_takes_any_text(model, string):
    for kind in ("uniform", "share of data"):
        by_model, by_counts, shown = attribute(model, string, kind)
        count = min(WINDOW, len(tokenizer().encode(string).ids))
        assert (
            by_model.shape == by_counts.shape == (count + 1, 5) and len(shown) == count
        )
        for found in (by_model, by_counts):
            assert torch.allclose(
                found.sum(1), torch.ones(count + 1), atol=1e-4
            ) and torch.allclose(found[0], prior(kind), atol=1e-5)
    for reader in ("CTRL", "counting characters"):
        frame = evidence(model, string, reader, "uniform")
        assert (
            "<script>alert"
            not in Curves(
                frame, x_label="x", y_label="y", caption="A text.", alt="A text."
            ).html
        )
        assert ("only the first 64" in frame["note"].lower()) == (
            len(tokenizer().encode(string).ids) > WINDOW
        )
    bars = Layers(
        verdicts(model, string, "uniform"),
        y_label="y",
        kind="bars",
        caption="A text.",
        alt="A text.",
    )
    assert "<script>alert" not in bars.html


def test_attribution_is_bayes_rule(model):
    string = documents("News")[1][0][:60]
    rows = torch.tensor([tokenizer().encode(string).ids])
    log_p = -token_losses(model, rows)[:, 0].sum(1)
    for kind in ("uniform", "share of data"):
        assert torch.allclose(
            attribute(model, string, kind)[0][-1],
            (log_p + prior(kind).log()).softmax(0),
            atol=1e-4,
        )
    assert prior("share of data").sum().item() == pytest.approx(1) and prior(
        "share of data"
    ).argmin() == list(CODES).index("News")


# ---- inside


def test_losses_are_those_of_the_model_under_each_code(model):
    rows = probes("Python")[:3]
    found = token_losses(model, rows)
    ids = torch.cat([torch.full((3, 1), VOCABULARY + 2), rows], dim=1)
    with torch.no_grad():
        expected = (
            -model(ids[:, :-1]).log_softmax(-1).gather(2, rows[..., None])[..., 0]
        )
    assert found.shape == (5, 3, WINDOW) and torch.allclose(
        found[2], expected, atol=1e-4
    )
    right, wrong = right_and_wrong(found, torch.tensor([2, 2, 3]))
    assert torch.equal(right, torch.stack([found[2, 0], found[2, 1], found[3, 2]]))
    assert torch.allclose(wrong[0], found[[0, 1, 3, 4], 0].mean(0))


def test_attention_to_the_code_is_a_share(model):
    looked = attention_to_code(
        model, torch.cat([torch.full((4, 1), VOCABULARY), probes("News")[:4]], dim=1)
    )
    assert (
        looked.shape == (2, 4, 65)
        and torch.allclose(looked[..., 0], torch.ones(2, 4))
        and 0 <= looked.min()
        and looked.max() <= 1.001
    )


def test_attention_to_the_first_token_is_what_the_layers_look_at(model):
    ids = torch.cat([torch.full((4, 1), VOCABULARY), probes("News")[:4]], dim=1)
    states = model.ctrl.states(ids)
    looked = attention_to_first(model.ctrl.layers[1:], states[1])
    assert torch.allclose(looked, attention_to_code(model, ids)[1:], atol=1e-5)
    with torch.no_grad():  # equal scores: all tokens are looked at alike
        blind = small_model(0)
        for one in blind.ctrl.layers:
            one.attention.inner.query.weight.zero_()
        even = attention_to_code(blind, ids)
    assert torch.allclose(even, (1 / torch.arange(1.0, 66)).expand(2, 4, -1), atol=1e-5)


def test_held_out_windows_say_from_how_many_documents_they_come():
    sentence = behind_probes()
    assert sentence.startswith(f"{sum(len(probes(code)) for code in CODES)} windows")
    counts = {
        code: int(count) for count, code in re.findall(r"(\d+) (\w+)[,.]", sentence)
    }
    assert list(counts) == list(CODES) and all(
        1 < counts[code] <= len(documents(code)[1]) for code in CODES
    )


def test_every_place_sends_a_gradient_to_the_code(model):
    ids = torch.cat([torch.full((4, 1), VOCABULARY), probes("News")[:4]], dim=1)
    found = code_gradients(model, ids, (1, 20, 64))
    assert min(found) > 0
    assert all(weight.grad is None for weight in model.parameters())


def test_repeated_runs():
    assert repeated(torch.tensor([[1, 2, 3, 4, 5]])) == 0 and repeated(
        torch.tensor([[1, 1, 1, 1, 1]])
    ) == pytest.approx(2 / 3)
    assert repeated(torch.tensor([[1, 2, 1, 2]]), 2) == pytest.approx(1 / 3)


def test_training_learns():
    net = small_model(0)
    losses = fit(net, 0, 40)
    assert losses[-5:].mean() < losses[:5].mean() - 1


@pytest.mark.parametrize("coded", [True, False])
def test_the_stored_study_is_what_the_code_gives(coded):
    """The first 20 of its 400 steps: initial weights, windows and recipe."""
    losses = first_losses(20, fit, small_model(2), 2, 400, coded)
    name = "with codes" if coded else "without codes"
    study.within_spread("ctrl", name, 2, "loss of the first 20 steps", sum(losses) / 20)


# ---- exercises: wrong answers


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
            "one number for each of the 4 codes",
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


def test_the_bench_compares_the_same_tokens():
    import runpy

    from kit.notebooks import ROOT

    compare = runpy.run_path(str(ROOT / "bench" / "ctrl.py"))["compare"]
    assert min(compare(2, vocab_size=50, n_embd=16, dff=16, n_layer=1, n_head=2)) > 0
