# %% [markdown] tags=["slide"]
# # CTRL: a language model with a steering wheel
#
# **Paper:** Keskar, McCann, Varshney, Xiong, Socher: *CTRL: A Conditional Transformer Language Model for Controllable Generation*, 2019 ([arXiv:1909.05858](https://arxiv.org/abs/1909.05858))
#
# **You will see:** two networks that differ in one token, a wheel that turns one prompt into six kinds of text, and what one token is worth

# %% [markdown] tags=["speaker"]
# **You need** the [ALBERT lesson](albert.ipynb): its attention and its feed-forward network are used here.
# *The short way*: the sections marked ★; twenty minutes.
# Everything: about 75 minutes, of which the machine computes two.
#
# What the paper says is marked with its section (§) or table; everything else is ours.
# A line that begins with ✓ was tested on the machine that ran it; a claim that fails stops the notebook.

# %% tags=["active-ipynb"]
# from importlib.util import find_spec
#
# assert find_spec("kit"), (
#     "this kernel lacks the project: choose .venv, "
#     "or run `pip install -r requirements.txt` in the project's folder"
# )

# %%
import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import nn

from kit import text, train
from kit.config import check_fields, variant
from lessons.albert import FeedForward, SelfAttention, init_weights

# %% tags=["active-ipynb", "parameters"]
# from copy import deepcopy
#
# from kit import study
# from kit.claims import claim, recap
# from kit.exercises import check
# from kit.probe import parameters
# from kit.table import table
# from kit.view import Predict
# from lessons.checks import ctrl as checks
# from lessons.figures import ctrl as figures
# from lessons.published import ctrl as published
#
# SEED = train.seed()
# torch.set_num_threads(1)  # networks this small run fastest on one core

# %% [markdown] tags=["slide"]
# ## 1. The problem ★
#
# A *language model* gives every text a probability, one token after the other (§2):
#
# $$p(x) = \prod_{i=1}^{n} p(x_i \mid x_1 \dots x_{i-1})$$
#
# Whoever has these factors can write: draw a token, append it, and go on.
# In 2019 such models began to write well.
# But *what* they wrote, and in which style, was left to the prompt and to chance (§1).

# %% [markdown] tags=["slide"]
# ## 2. The idea ★
#
# Put the kind in front: a *control code* c, which is a token like any other (§3).
#
# $$p(x \mid c) = \prod_{i=1}^{n} p(x_i \mid x_1 \dots x_{i-1}, c), \qquad \mathcal{L} = -\sum_{k} \sum_i \log p_\theta(x_i^k \mid x_1^k \dots x_{i-1}^k, c^k)$$
#
# No second network, no other loss, no labels by hand: a text comes *from* somewhere, and that is its code.

# %% [markdown] tags=["slide"]
# Ours are six kinds of text, which lie inside installed packages.
# A byte-level tokenizer keeps capitals, spaces and line ends; it joins frequent pairs of bytes into 2,048 pieces.
# (The paper's has about 250,000, §3.2.)

# %% tags=["on-slide"]
CODES = {
    "Wikipedia": "wikipedia",
    "News": "news",                 # Australian, of 2001
    "Scripture": "scripture",       # the King James Bible
    "Manual": "docstrings",         # of networkx (graphs) and sympy (algebra)
    "Python": "bare_code",          # their code, without what is said about it
    "C++": "headers",               # of torch
}
VOCABULARY, WINDOW = 2048, 64
START = VOCABULARY                                  # the first token of the twin
TOKEN = {code: START + 1 + i for i, code in enumerate(CODES)}

# %%
def some(documents, characters):
    """Evenly chosen documents, of about so many characters together."""
    return documents[:: max(1, round(sum(map(len, documents)) / characters))]


@cache
def documents(code, part="train"):
    """Documents of one kind: "train", "validation" or "test"."""
    corpus = text.corpus(CODES[code])
    if part == "train":
        return some(corpus.train, 500_000)
    return corpus.heldout[part == "validation" :: 2]


@cache
def tokenizer():
    return text.byte_pairs(*CODES.values(), size=VOCABULARY)


@cache
def windows(code, part="train"):
    """Texts of one kind in pieces of 64 token ids, `(n, 64)`."""
    encodings = tokenizer().encode_batch(documents(code, part))
    return text.windows([one.ids for one in encodings], WINDOW)


# %% [markdown] tags=["slide"]
# Is that enough? We train **twins**: same network, same initial weights, same texts in the same order.
# One reads the code before each text, the other the same start token before all.

# %%
def mixed(parts, steps, seed):
    """`steps` pairs (ids to read, ids to predict), both `(batch, 64)`.

    parts: (first token, windows `(n, 64)`, how many of them in a batch).
    """
    drawn = [text.batches(rows, count, steps, seed) for _, rows, count in parts]
    first = torch.cat([torch.full((count, 1), token) for token, _, count in parts])
    for rows in zip(*drawn):
        targets = torch.cat(rows)
        yield torch.cat([first, targets[:, :-1]], dim=1), targets


def twin_batches(steps, seed, coded):
    """Four windows of each kind in a batch, behind their code or all behind START."""
    parts = [(TOKEN[one] if coded else START, windows(one), 4) for one in CODES]
    return mixed(parts, steps, seed)


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# rows = windows("Scripture")[:1]
# figures.what_is_read({
#     "with codes": next(mixed([(TOKEN["Scripture"], rows, 1)], 1, SEED)),
#     "its twin": next(mixed([(START, rows, 1)], 1, SEED)),
# })

# %% [markdown] tags=["speaker"]
# Each token is predicted from those to the left of it, and the code is always among them.

# %% [markdown]
# The network is a stack of layers like ALBERT's.
# First its sizes, the paper's and ours; and where a token stands.
# Attention does not know that, so each place has a vector that is added: sines and cosines of many wavelengths.

# %%
@dataclass(frozen=True)
class Config:
    """The sizes of a CTRL, under the names of published configurations (§3)."""

    vocab_size: int = 246_534
    n_positions: int = 256
    n_embd: int = 1280                              # d
    dff: int = 8192                                 # f
    n_layer: int = 48
    n_head: int = 16
    dropout: float = 0.1
    initializer_range: float = 0.02

    def __post_init__(self):
        check_fields(self, may_be_zero=["dropout"])
        if self.n_embd % 2:
            raise ValueError(f"n_embd should be even, not {self.n_embd}")


def check_room(tokens, config):
    if tokens > config.n_positions:
        found = f"the text has {tokens} tokens with its code"
        raise ValueError(f"{found}, the model knows {config.n_positions} positions")


SMALL = Config(
    vocab_size=VOCABULARY + 1 + len(CODES), n_positions=WINDOW + 1, n_embd=96, dff=384,
    n_layer=2, n_head=4, dropout=0.0, initializer_range=0.1,
)


def sinusoids(positions, d):
    """Sines, then cosines of d/2 wavelengths from 2π to 10,000 · 2π: section 3."""
    rates = 1 / 10000 ** ((torch.arange(d) // 2 * 2).float() / d)   # (d,), each twice
    angles = torch.arange(positions)[:, None] * rates               # (positions, d)
    return torch.cat([angles[:, 0::2].sin(), angles[:, 1::2].cos()], dim=1)

# %% [markdown] tags=["slide"]
# Two things are not ALBERT's (§3).
# A *causal* mask: a token looks at itself and those before it, never ahead, or it would read the answer.
# And *pre-norm*: normalise what goes *into* attention and feed-forward network, not the sum; the shortcut stays free.

# %%
def causal_mask(new, total, real=None, device=None):
    """Which of `total` tokens the last `new` may look at, bool `(new, total)`.

    real: bool `(batch, total)`, False at padding; then `(batch, 1, new, total)`.
    """
    mask = torch.ones(new, total, dtype=torch.bool, device=device).tril(total - new)
    if real is not None:                            # a token always sees itself
        itself = torch.eye(total, dtype=torch.bool, device=device)[-new:]
        mask = mask & real[:, None, None, :] | itself
    return mask

# %% tags=["on-slide"]
class Layer(nn.Module):
    """Attention, then a feed-forward network: `(batch, tokens, d)` to the same."""

    def __init__(self, config):
        super().__init__()
        d = config.n_embd
        self.attention_norm = nn.LayerNorm(d, eps=1e-6)
        self.attention = SelfAttention(d, config.n_head)
        self.ffn_norm = nn.LayerNorm(d, eps=1e-6)
        self.ffn = FeedForward(d, config.dff)
        self.ffn.activation = nn.ReLU()
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x, mask):                     # (batch, tokens, d)
        x = x + self.dropout(self.attention(self.attention_norm(x), mask))
        return x + self.dropout(self.ffn(self.ffn_norm(x)))


# %% [markdown]
# The whole: the vectors of tokens and places are added, the layers follow, and at each place come the logits of its next token.
# One table of vectors serves twice, for what is read and for what is predicted.

# %%
class Ctrl(nn.Module):
    """Token ids `(batch, tokens)`, the first a code, to logits of each next token.

    attention_mask: 1 for tokens, 0 for padding. Gives `(batch, tokens, vocab_size)`.
    """

    def __init__(self, config):
        super().__init__()
        self.config, d = config, config.n_embd
        self.word = nn.Embedding(config.vocab_size, d)
        positions = sinusoids(config.n_positions, d)
        self.register_buffer("position", positions, persistent=False)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layer))
        self.norm = nn.LayerNorm(d, eps=1e-6)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.apply(partial(init_weights, std=config.initializer_range))

    def embed(self, ids, past=0):                   # past: only in section 3
        text.check_ids(ids, self.config.vocab_size, "input_ids")
        check_room(past + ids.shape[1], self.config)
        x = self.word(ids) * math.sqrt(self.config.n_embd)
        return self.dropout(x + self.position[past : past + ids.shape[1]])

    def states(self, input_ids, attention_mask=None):
        """The input of the first layer, then the output of every layer: a list."""
        states, tokens = [self.embed(input_ids)], input_ids.shape[1]
        real = text.real_tokens(attention_mask, input_ids)
        mask = causal_mask(tokens, tokens, real, input_ids.device)
        for layer in self.layers:
            states.append(layer(states[-1], mask))  # (batch, tokens, d)
        return states

    def words(self, x):
        return F.linear(self.norm(x), self.word.weight, self.bias)

    def forward(self, input_ids, attention_mask=None):
        return self.words(self.states(input_ids, attention_mask)[-1])


# %% [markdown]
# Training is a language model's: the mean of −log p over all tokens, and nothing about codes.

# %%
def fit(model, batches, steps, rate, on_step=None):
    """Train `model` in place, by Adagrad and clipped gradients (§3.2); returns it.

    The rate rises to `rate` in 50 steps; it falls in the last two fifths (ours).
    on_step: called as `on_step(step, loss)` after each.
    """
    def schedule(step):
        return min((step + 1) / 50, 1, 2.5 * (1 - step / steps) + 0.02)

    optimizer = torch.optim.Adagrad(model.parameters(), lr=rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    for step, (ids, targets) in enumerate(batches):
        logits = model(train.placed(ids, model))    # (batch, tokens, vocabulary)
        targets = train.placed(targets, model)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        scheduler.step()
        if on_step is not None:
            on_step(step, loss.item())
    return model


# %% [markdown] tags=["slide"]
# To write: draw a token, append it, go on.
# A *temperature* below 1 makes the likely likelier (section 6 has other ways).

# %%
def above_zero(value, name):
    if not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{name} should be a number above 0, not {value!r}")
    return value


# %% tags=["on-slide"]
@torch.no_grad()
def write(model, ids, length, generator=None, temperature=0.7):
    """`ids` `(batch, code and prompt)` with `length` more tokens."""
    for _ in range(length):
        logits = model(ids)[:, -1]                  # (batch, vocabulary)
        odds = (logits / above_zero(temperature, "temperature")).softmax(-1)
        drawn = torch.multinomial(odds, 1, generator=generator)
        ids = torch.cat([ids, drawn], dim=1)
    return ids

# %%
def with_codes(prompt, codes=tuple(CODES)):
    """The prompt behind each code, `(codes, 1 + tokens)`; it may be empty."""
    if isinstance(codes, str) or not codes or not isinstance(prompt, str):
        found = f"{prompt!r} and {codes!r}"
        raise ValueError(f"with_codes takes a text and a list of codes, not {found}")
    for code in codes:
        if code not in TOKEN:
            known = ", ".join(TOKEN)
            raise ValueError(f"there is no code {code!r}; the model knows {known}")
    ids = tokenizer().encode(prompt).ids
    return torch.tensor([[TOKEN[code], *ids] for code in codes])


# %% tags=["active-ipynb", "nbval-ignore-output"]
# STEPS, RATE = 350, 0.07                           # how chosen: section 4
# torch.manual_seed(SEED)
# coded = Ctrl(SMALL)
# uncoded = deepcopy(coded)                         # the very same initial weights
# live = figures.live_loss(2 * STEPS)
# for name, model in {"without codes": uncoded, "with codes": coded}.items():
#     batches = twin_batches(STEPS, SEED, coded=name == "with codes")
#     fit(model, batches, STEPS, RATE, partial(figures.add, live, name))
# live.close()

# %% tags=["active-ipynb", "nbval-ignore-output", "slide", "figure-only"]
# written = {}
# for seed, code in enumerate(CODES, SEED):
#     written[code] = [
#         write(model, torch.tensor([[first]]), 48, torch.Generator().manual_seed(seed))
#         for model, first in ((uncoded, START), (coded, TOKEN[code]))
#     ]
# figures.twins(written)

# %% [markdown] tags=["speaker"]
# The same draws, the same initial weights, the same texts read.
# Left, the kind is left to chance: the twin has learned the mixture of all it read, and nothing in it asks what you want.
# Right, one token decides.

# %% [markdown] tags=["slide"]
# ### Turn the wheel
#
# Whether a text is of its kind is not for us to say, so we appoint a judge that has nothing to do with networks (its verdicts stand in the figure above, too).
# It counts, for each kind, every three characters in a row, and turns the counts around by Bayes' rule, with equal priors:
#
# $$p(\text{kind} \mid x) \propto p(x \mid \text{kind})$$

# %% [markdown] tags=["slide"]
# One prompt, every code: does each text turn into its kind?

# %%
class Judge:
    """Which kind of text is it? By counting, and Bayes' rule with equal priors.

    texts: {kind: str} to count in. units: what is counted, `units(str)` a list of str.
    """

    def __init__(self, texts, units):
        self.kinds, self.units = list(texts), units
        counts = [Counter(units(one)) for one in texts.values()]
        every = sorted(set().union(*counts))
        self.column = {unit: i for i, unit in enumerate(every)}
        table = [[count[unit] + 0.1 for unit in every] for count in counts]
        table = torch.tensor(table)
        self.log_p = (table / table.sum(1, keepdim=True)).log()     # (kinds, units)

    def log_likelihood(self, string):
        """log p(string | kind), `(kinds,)`; what was never counted does not count."""
        found = [self.column[one] for one in self.units(string) if one in self.column]
        return self.log_p[:, found].sum(1)

    def verdict(self, string):
        return self.kinds[self.log_likelihood(string).argmax()]


def triples(string):
    return [string[i : i + 3] for i in range(len(string) - 2)]


@cache
def kind_judge():
    return Judge({code: "\n".join(documents(code)) for code in CODES}, triples)


def verdicts(judge, rows):
    """What a Judge says of each row of token ids."""
    return [judge.verdict(one) for one in tokenizer().decode_batch(rows.tolist())]


# %% tags=["active-ipynb", "nbval-ignore-output", "on-slide", "figure-only"]
# figures.wheel(coded)

# %% [markdown] tags=["speaker"]
# Yes (with seed 0): by 8 tokens the judge agrees with four to six of the six codes, by 16 nearly always with all. Even "def " turns into *Scripture*.
# Do not expect to be informed: this network has 423,000 parameters and read for half a minute.
# Words are often invented and sentences mean nothing; what obeys is vocabulary, layout and rhythm.

# %% [markdown] tags=["slide"]
# Is the judge to be trusted, and how often is it obeyed?

# %%
@cache
def probes(part="test"):
    """40 held-out windows of each kind `(240, 64)`, and the number of their kind."""
    rows = [windows(code, part) for code in CODES]
    rows = [one[:: len(one) // 40][:40] for one in rows]
    return torch.cat(rows), torch.arange(len(rows)).repeat_interleave(40)


def obeyed(model, seed, each, coded=True):
    """The share of texts in which the judge sees what was wished: `each` of every kind.

    40 tokens at temperature 0.7, behind the code; or else behind START.
    """
    wished = [code for code in CODES for _ in range(each)]
    ids = with_codes("", wished) if coded else torch.full((len(wished), 1), START)
    ids, random = train.placed(ids, model), torch.Generator().manual_seed(seed)
    ids = write(model, ids, 40, train.generator_on(ids.device, random))
    found = verdicts(kind_judge(), ids[:, 1:])
    return sum(a == b for a, b in zip(found, wished)) / len(wished)


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# rows, kinds = probes()                            # held-out text, 40 windows a kind
# names = [list(CODES)[kind] for kind in kinds]
# right = [a == b for a, b in zip(verdicts(kind_judge(), rows[:, :40]), names)]
# claim("the judge puts over 90% of real texts of 40 tokens to their kind",
#       sum(right) > 0.9 * len(right), "ours")
# claim("behind their code over 85% of texts are what was asked for; of the twin's, "
#       "less than 30%",
#       obeyed(coded, SEED, 20) > 0.85 and obeyed(uncoded, SEED, 20, False) < 0.3,
#       "ours")

# %% [markdown]
# ## 3. Look back, and remember
#
# ### Where a token stands
#
# CTRL computes its places as the first transformer did (Vaswani et al. 2017).
# In the authors' code all sines come first, then all cosines; in 2017 they alternate.
# For a network that starts from nothing it is the same, for trained weights not.
#
# Before the sum the embedding is multiplied by √d, lest the places drown it.
# A place has the length √(d/2). A word starts with about s√d, where s is the deviation of its numbers, and comes to s·d.
# The paper's network has 25 and 26, with s = 0.02 in the published configuration.
# With our d = 96, s = 0.02 would give 7 and 2; so ours starts with s = 0.1, which gives 7 and 10.
#
# ### Look back only

# %% tags=["active-ipynb"]
# ids = with_codes("In the beginning", ["Scripture"])
# changed = ids.clone()
# changed[0, 3] += 1
# moved = (coded(changed) - coded(ids))[0].abs().amax(-1) > 1e-4
# print(causal_mask(4, 4).int().tolist())
# print("another token at place 4 moves the logits at places",
#       (moved.nonzero().flatten() + 1).tolist())

# %% [markdown]
# So one pass over a text gives the loss of all its tokens at once, and nobody has read the answer.

# %% [markdown] tags=["slide"]
# ### Remember
#
# And because nothing ahead reaches a token, its keys and values never change while the text grows.
# `read_on` keeps them in a *memory* (others say *KV cache*, for keys and values), and a new token costs one token of work, not a whole text.

# %%
def new_memory(model, batch):
    """No keys and values yet, for each layer: `(batch, heads, 0, d / heads)` twice."""
    heads = model.config.n_head
    nothing = model.bias.new_zeros(batch, heads, 0, model.config.n_embd // heads)
    return [[nothing, nothing] for _ in model.layers]


def attend(attention, x, mask, kept):
    """What `attention` gives for new tokens x, which also look at those in `kept`."""
    query = attention.heads(attention.query(x))     # (batch, heads, new, d / heads)
    key = attention.heads(attention.key(x))
    value = attention.heads(attention.value(x))
    kept[0] = torch.cat([kept[0], key], dim=2)      # (batch, heads, past + new, …)
    kept[1] = torch.cat([kept[1], value], dim=2)
    mixed = F.scaled_dot_product_attention(query, *kept, attn_mask=mask)
    return attention.output(mixed.transpose(1, 2).flatten(2))


def read_on(model, ids, memory, attention_mask=None):
    """Logits of new tokens `(batch, new, vocab)` after those in `memory`, which grows.

    attention_mask: of all tokens, `(batch, past + new)`.
    """
    past, new = memory[0][0].shape[2], ids.shape[1]
    x = model.embed(ids, past)                      # (batch, new, d)
    real = text.real_tokens(attention_mask, ids, past)
    mask = causal_mask(new, past + new, real, ids.device)
    for layer, kept in zip(model.layers, memory):
        x = x + attend(layer.attention, layer.attention_norm(x), mask, kept)
        x = x + layer.ffn(layer.ffn_norm(x))
    return model.words(x)


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# ids = with_codes("The end")
# memory = new_memory(coded, len(ids))
# with torch.no_grad():
#     parts = [read_on(coded, part, memory) for part in ids.split([1, 2], dim=1)]
#     whole = coded(ids)
# claim("in parts, with a memory, the logits are those of the whole text, to 1e-4",
#       torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-4), "ours")
# figures.work_of_writing(coded)

# %% [markdown] tags=["speaker"]
# Without a memory the work grows with the square of the length, with it in a line (nearly: attention looks at ever more keys).

# %% [markdown] tags=["slide"]
# ## 4. What is a code worth? ★
#
# Two things are easily mixed up: what the right code *gives*, and what a wrong one *costs*.
# The loss of a token is −log of its probability; its unit is the *nat*.

# %%
@torch.no_grad()
def token_losses(model, rows, first):
    """−log p of each token of `rows` `(n, tokens)` behind the token `first`."""
    rows = train.placed(rows, model)
    ids = torch.cat([torch.full_like(rows[:, :1], first), rows[:, :-1]], dim=1)
    return F.cross_entropy(model(ids).transpose(1, 2), rows, reduction="none")


def losses_by_code(model, rows):
    """`token_losses` under each code: `(codes, n, tokens)`."""
    return torch.stack([token_losses(model, rows, token) for token in TOKEN.values()])


def right_and_wrong(losses, kinds):
    """Losses under the right code, and their mean under the others: `(n, tokens)`."""
    right = losses[kinds, torch.arange(len(kinds))]
    return right, (losses.sum(0) - right) / (len(losses) - 1)


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# worth = Predict(
#     "On held-out text, how much lower is the loss of the twin with codes, under the "
#     "right code? (Both are near 4.5 nats a token.)",
#     ["Less than 0.1 nats", "0.1 to 0.5 nats", "More than 0.5 nats"],
#     name="worth",
# )
# worth

# %% [markdown]
# `make study-ctrl` trained both twins with five seeds, at the rate that was chosen on validation.
# Five rates were tried for each twin, on two seeds that are not among the five:

# %% tags=["active-ipynb"]
# stored = study.read("ctrl")
# figures.tuning(stored)

# %% [markdown]
# The same rate is best for both.

# %% tags=["active-ipynb", "nbval-ignore-output", "slide", "figure-only"]
# def by_seed(way, measure):
#     return torch.tensor([run[measure] for run in stored[way]])
#
#
# start = by_seed("without codes", "loss, start token")
# right = by_seed("with codes", "loss, right code")
# wrong = by_seed("with codes", "loss, wrong code")
# gain, cost = (start - right).mean(), (wrong - right).mean()
# worth.reveal(0 if gain < 0.1 else 1 if gain < 0.5 else 2,
#              f"{gain:.3f} nats, over five seeds; a wrong code costs {cost:.2f}.")
# here = [*right_and_wrong(losses_by_code(coded, rows), kinds),
#         token_losses(uncoded, rows, START)]
# print("your two networks: {:.3f} behind the right code, {:.3f} behind a wrong one, "
#       "{:.3f} behind the twin's start token".format(*(one.mean() for one in here)))
# figures.worth_of_a_code(stored)

# %% [markdown] tags=["slide"]
# - **The gain is small**, and two thirds of it lie in the first twelve tokens: soon the text itself tells its kind, with a code or without.
# - **A wrong code costs** far more, and at the end of the window still over half of what it costs at the beginning.
#   The network has learned to believe the code, which never lied to it.
# - So codes do not make a much better language model here. They make one that can be *asked*.

# %% tags=["active-ipynb"]
# claim("with each of five seeds the right code lowers the loss, by less than 0.1 nats",
#       ((start > right) & (start < right + 0.1)).all(), "ours, the stored study")
# claim("with each a wrong code costs over ten times what the right one gives",
#       (wrong - right > 10 * (start - right)).all(), "ours, the stored study")

# %% [markdown] tags=["slide"]
# ## 5. Second codes
#
# A code may be followed by another that says more: *Reviews* by a rating, *Links* by the address of a page (§4.2).
# The second code is ordinary text, so nothing is to be built.
# Ours are the names of books, behind *Scripture*, and of packages, behind *Manual* and *Python*, each with a line end.

# %%
TITLED = {
    "Scripture": "titled_scripture",
    "Manual": "titled_docstrings",
    "Python": "titled_code",
}
PACKAGES = ("networkx", "sympy", "sklearn")


@cache
def bodies(code, title, part="train"):
    """Documents of one kind and one second code, without it: "train" or "heldout"."""
    documents = getattr(text.corpus(TITLED[code]), part)
    parted = [one.partition("\n") for one in documents]
    return some([body for first, _, body in parted if first == title], 250_000)


@cache
def titled(code, title, shown=True, part="train"):
    """Windows `(n, 64)` that begin with the second code and a line end, if `shown`."""
    head = tokenizer().encode(f"{title}\n").ids if shown else []
    ids = [one.ids for one in tokenizer().encode_batch(bodies(code, title, part))]
    rest = text.windows(ids, WINDOW - len(head))
    head = torch.tensor(head, dtype=torch.long).expand(len(rest), -1)
    return torch.cat([head, rest], dim=1)


# %%
BOOKS = ("Genesis", "Psalms", "Proverbs", "Revelation")
PAIRS = [(form, one) for form in ("Manual", "Python") for one in PACKAGES]
NEVER = ("Python", "sklearn")                       # this pair is not trained


def second_batches(steps, seed):
    """23 windows: two of each pair and one of each book, and one more behind START."""
    parts = []
    for pair in PAIRS:
        if pair != NEVER:
            parts += [(TOKEN[pair[0]], titled(*pair), 2), (START, titled(*pair), 1)]
    for book in BOOKS:
        rows = titled("Scripture", book)
        parts += [(TOKEN["Scripture"], rows, 1), (START, rows, 1)]
    return mixed(parts, steps, seed)


# %% tags=["active-ipynb", "nbval-ignore-output"]
# second = deepcopy(coded)
# fit(second, second_batches(150, SEED), 150, RATE);

# %% [markdown] tags=["slide"]
# The network has gone on learning, partly behind START in place of the first code.
# It has never seen a program of scikit-learn (`sklearn`), nor Scripture behind the name of a package.
# Can it mix two codes that it never saw together? The paper shows examples of that (Table 5).

# %% [markdown]
# Two judges that do not know of each other count in texts of *Manual* and *Python*.
# (In the figure the judge of section 2 names the kind, out of six.)

# %%
def long_words(string):
    return re.findall("[a-z]{3,}", string.lower())


@cache
def form_judge():
    """Manual or Python? By triples of characters, over all packages."""
    return Judge({
        form: "\n".join(sum((bodies(form, one) for one in PACKAGES), []))
        for form in ("Manual", "Python")
    }, triples)


@cache
def topic_judge():
    """Which package? By words, over programs and manuals."""
    return Judge({
        package: "\n".join(bodies("Manual", package) + bodies("Python", package))
        for package in PACKAGES
    }, long_words)


# %% tags=["active-ipynb", "nbval-ignore-output", "on-slide", "figure-only"]
# figures.second_wheel(second)

# %% [markdown] tags=["speaker"]
# Where both codes were seen together, both are mostly obeyed.
# Where not, usually one of them wins, or the text falls between them: read what *Python* with `sklearn` gives.
# One text proves little, and this network had read much Python without second codes.

# %% [markdown] tags=["slide"]
# ### Every pair left out once
#
# Two forms and three packages make six pairs.
# The study trains a new network on five of them (at rate 0.05), and asks for the sixth, with two seeds for each.
# Controls: the same network is asked with the first code only, with the second only (behind START), and with a word that was never a code.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# mixing = Predict(
#     "Forty texts for a pair that was never trained. How many have both the form and "
#     "the topic, by the two judges?",
#     ["Under a tenth", "A tenth to a half", "Over half"],
#     name="mixing",
# )
# mixing

# %% tags=["active-ipynb", "slide", "figure-only"]
# rotations = [name for name in stored if name.startswith("left out")]
# unseen = torch.cat([by_seed(name, "both codes: both") for name in rotations])
# mixing.reveal(0 if unseen.mean() < 0.1 else 1 if unseen.mean() < 0.5 else 2,
#               f"{unseen.mean():.0%}, over six pairs and two seeds.")
# figures.never_seen_together(stored)

# %% [markdown] tags=["slide"]
# **Sometimes, and not to be relied on.** What becomes of each pair that was left out, with either seed:

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.mixing_by_pair(stored)

# %% [markdown] tags=["speaker"]
# Mostly the form wins: half of the texts have the form alone, a fifth the topic alone, a fifth both, a tenth neither.
# Manuals mostly keep their form; many a program turns into a manual of its package.

# %% [markdown]
# A judge must choose, so a fifth is to be read with care.
# Two judges that guess find the pair in 17% of texts.
# And the shares of form and topic, multiplied, let one expect more than we count:

# %% tags=["active-ipynb"]
# form, topic, another, first, last = (
#     torch.cat([by_seed(name, ask) for name in rotations])
#     for ask in ("both codes: form", "both codes: topic", "another word: both",
#                 "kind only: both", "second only: both")
# )
# print(f"both: {unseen.mean():.1%}; of form times topic: {(form * topic).mean():.1%}")
# claim("in at least 11 of 12 networks two codes never seen together give form and topic "
#       "more often than a word that is no code", (unseen > another).sum() >= 11,
#       "ours, the stored study")
# claim("in all 12 more often than either code alone",
#       ((unseen > first) & (unseen > last)).all(), "ours, the stored study")

# %% [markdown]
# So both codes are heard, and they compete.
# What the paper shows by examples has begun here; a network of its size may well do better.

# %% [markdown] tags=["slide"]
# ## 6. How to draw a token
#
# A network gives probabilities; what is written hangs on how one draws from them (§4.1).
# To take the likeliest token every time is called *greedy*; such texts run in circles.
# To draw by the probabilities is risky: there are thousands of unlikely tokens, and now and then one comes.
# So one divides the logits by a *temperature* below 1, or draws only from the k likeliest tokens (*top-k*), or from those that together have, say, 90% of the probability (*nucleus*).

# %% [markdown]
# (`seen` says which tokens the text has already; only the penalty below will ask.)

# %%
def sampled(logits, seen, temperature=1.0):
    """Below 1 the temperature favours what is likely."""
    return (logits / above_zero(temperature, "temperature")).softmax(-1)


def top_k(logits, seen, k=40):
    """Only the k likeliest tokens; k: 1 or more."""
    if not isinstance(k, int) or k < 1:
        raise ValueError(f"k should be a number of tokens, 1 or more, not {k!r}")
    least = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < least, -math.inf).softmax(-1)


def nucleus(logits, seen, share=0.9):
    """Only the likeliest tokens, as few as have `share` of the probability."""
    above_zero(share, "share")
    odds, tokens = logits.softmax(-1).sort(descending=True)
    likelier = odds.cumsum(-1) - odds               # what those before have together
    odds = odds.masked_fill(likelier >= share, 0)
    return torch.zeros_like(odds).scatter(1, tokens, odds / odds.sum(-1, keepdim=True))


# %% [markdown] tags=["slide"]
# CTRL's own way trusts the network and forbids circles.
# It takes the likeliest token, but divides the logits of the generated tokens g by a penalty θ:
#
# $$p_i = \frac{\exp\left(x_i / (T \cdot I(i \in g))\right)}{\sum_j \exp\left(x_j / (T \cdot I(j \in g))\right)}, \qquad I(c) = \theta \text{ if } c \text{ is true, else } 1$$
#
# With greedy choices and θ ≈ 1.2, the paper finds a good balance between truthful and unrepetitive text (§4.1).

# %% [markdown]
# (The authors' code adds the tokens of the prompt to g, and so do we. It spares line ends; ours does not.)

# %% tags=["on-slide"]
def penalised(logits, seen, theta=1.2, temperature=1.0):
    """The paper's formula: probabilities, where `seen` tokens pay θ (§4.1)."""
    divided = torch.where(seen, logits / above_zero(theta, "theta"), logits)
    return sampled(divided, seen, temperature)


def greedy(logits, seen, theta=1.0):
    """All for the likeliest token after the penalty; θ = 1 is none."""
    best = penalised(logits, seen, theta).argmax(-1)
    return F.one_hot(best, logits.shape[-1]).to(logits)


# %% [markdown]
# `generate` is `write` with the memory of section 3, and any way to draw.

# %%
@torch.no_grad()
def generate(model, ids, length, choose, generator=None):
    """`ids` `(batch, code and prompt)` with `length` more; p `(batch, length)`.

    choose: `choose(logits, seen)` gives the probabilities by which the next token is
    drawn; seen: bool, which tokens the text has, but its code; all `(batch, vocab)`.
    p: the model's own probabilities of what was drawn.
    """
    if not isinstance(length, int) or length < 0:
        right = "the number of new tokens, 0 or more"
        raise ValueError(f"length should be {right}, not {length!r}")
    check_room(ids.shape[1] + length, model.config)
    memory, new, found = new_memory(model, len(ids)), ids, []
    seen = torch.zeros(len(ids), model.config.vocab_size, dtype=torch.bool)
    seen = seen.to(ids.device).scatter(1, ids[:, 1:], True)
    for _ in range(length):
        logits = read_on(model, new, memory)[:, -1]             # (batch, vocab)
        new = torch.multinomial(choose(logits, seen), 1, generator=generator)
        found.append(logits.softmax(-1).gather(1, new))
        ids = torch.cat([ids, new], dim=1)
        seen = seen.scatter(1, new, True)
    return ids, torch.cat([model.bias.new_zeros(len(ids), 0), *found], dim=1)

# %% [markdown] tags=["slide"]
# Five ways, one prompt:

# %% tags=["active-ipynb", "nbval-ignore-output", "on-slide", "figure-only"]
# figures.five_ways(coded)

# %% [markdown] tags=["speaker"]
# Greedy text runs in circles; drawn text has words that are none.
# A penalty is no cure for all circles: a token pays once, however often it stood there.
# Where the network is sure enough, its lead survives the division: choose *C++* (with seed 0).

# %% [markdown] tags=["slide"]
# What holds on average?
# We count runs of three tokens that the text had before, and the letters of words that training texts of the same kind have, too.

# %%
def repeated(rows, n=3):
    """The share of runs of n tokens that their row `(texts, tokens)` had before."""
    shares = []
    for row in rows.tolist():
        runs = [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]
        shares.append(1 - len(set(runs)) / len(runs))
    return sum(shares) / len(shares)


@cache
def words_of(code):
    """The words of the training texts of one kind, with a space around each."""
    return f" {' '.join(set(long_words(' '.join(documents(code)))))} "


def real_words(rows, codes):
    """The share of letters in words that training texts of the row's kind have.

    Each word counts once a text. The first and the last may be cut: there it is
    enough that some word ends, or begins, so.
    """
    hits = []
    for string, code in zip(tokenizer().decode_batch(rows.tolist()), codes):
        words = long_words(string)
        asked = {f" {word} " for word in words[1:-1]}
        asked |= {f"{word} " for word in words[:1]}
        asked |= {f" {word}" for word in words[-1:]}
        hits += [(len(one.strip()), one in words_of(code)) for one in asked]
    return sum(letters * real for letters, real in hits) / sum(n for n, _ in hits)


# %% [markdown]
# The study measured this for five networks, and for each way with several settings.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# real = repeated(rows[:, :40]), real_words(rows[:, :40], names)
# figures.circles_or_nonsense(stored, real)

# %% tags=["active-ipynb"]
# again, known, p = (
#     {way: by_seed("with codes", f"{way}: {measure}")
#      for way in ("θ = 1", "θ = 1.2", "temperature 0.5")}
#     for measure in ("repeated", "real words", "mean p")
# )
# claim("with each of five seeds θ = 1.2 leaves less than a third of the repeated runs "
#       "of greedy text", (again["θ = 1.2"] < again["θ = 1"] / 3).all(),
#       "ours, the stored study; §4.1")
# claim("with each it repeats less than temperature 0.5, and over 5 points more of its "
#       "letters stand in real words",
#       ((again["θ = 1.2"] < again["temperature 0.5"])
#        & (known["θ = 1.2"] > known["temperature 0.5"] + 0.05)).all(),
#       "ours, the stored study; §4.1")
# print(f"repeated at θ = 1.2: {again['θ = 1.2'].mean():.1%}, in real text {real[0]:.1%}")
# print("mean p of a token:", *(f"{way}: {one.mean():.2f} " for way, one in p.items()))

# %% [markdown] tags=["speaker"]
# The paper speaks of truth. Our stand-in for it is modest: words that exist.
# By that, the penalty does what it should.
# At θ = 1.2 most circles are gone, though not all, and on average more letters stand in real words than with any way that draws.
# The network is as sure of these tokens as of greedy ones.
# A low temperature keeps to the likely, too, but runs in circles; the others avoid circles, and invent words.

# %% [markdown] tags=["slide"]
# The formula has a weakness.
# A softmax does not change when all logits are shifted by the same number. The penalty does, and it *raises* negative logits.
# What the transformers library calls `repetition_penalty` multiplies those instead:

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# logits, seen = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[True, False, False]])
# shifted = {shift: published.two_penalties(logits + shift, seen, 1.2)
#            for shift in (0, 5, -5)}
# claim("shifted by −5, the paper's penalty makes a seen token likelier, the library's "
#       "does not", shifted[-5].paper > shifted[-5].none > shifted[-5].library,
#       "ours; §4.1")
# table(["logits shifted by", "no penalty", "the paper's", "the library's"],
#       [[shift, *(f"{p:.3f}" for p in row)] for shift, row in shifted.items()])

# %% [markdown]
# On positive logits both are one; and both give another probability at every shift.

# %% [markdown] tags=["slide"]
# ## 7. What the paper found
#
# CTRL has no benchmark table: its evidence is samples, and you have made your own.
# Tables 1 and 2 show one prompt under many codes, and codes without a prompt, with a rating as a second code.
# In Table 3 the address of a page is the second code, so the date or the topic in a link changes the text; in Table 4 a template asks for an answer or a translation; Table 5 mixes codes.
#
# One number is in the authors' README. Whose text is "I lost 10 lbs! Feeling great!"?
# Its perplexity is 28.96 under *Diet*, 29.22 under *Weight* and 36.16 under *Fitness*.

# %% [markdown] tags=["slide"]
# The model has 1.63 billion parameters and read 140 GB of text for two weeks on 256 TPU cores (§3.1, §3.2).
# The list that the authors published has 55 domain codes, each with its share of the data.
# (*Links* are pages found by their address, *Explain* is a forum of questions, *multilingual* is text in more languages than English.)

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.priors()

# %% [markdown]
# ## 8. Look inside

# %% [markdown] tags=["slide"]
# ### Whose text is this?
#
# A model of p(x | c) can be asked the other way round (§5): $p(c \mid x) \propto p(x \mid c)\,p(c)$.
# The paper calls it *source attribution*, and takes equal priors: with those above, Links would swallow the small ones.

# %% tags=["active-ipynb", "nbval-ignore-output", "on-slide", "figure-only"]
# figures.attribution(coded)

# %% [markdown] tags=["slide"]
# How much text does it need, and does it need a transformer?

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# by_counting = []
# for tokens in (4, 8, 16, 32, 64):
#     found = verdicts(kind_judge(), rows[:, :tokens])
#     by_counting.append(sum(a == b for a, b in zip(found, names)) / len(names))
# figures.attributed(stored, by_counting)

# %% [markdown] tags=["speaker"]
# Thirty-two tokens are enough for nine texts of ten, and a judge that counts characters is a little better.
# (It has counted all training texts; the network read 350 batches of four windows of each kind.)
# A network may be wrong and sure: with seed 0 the text from Wikipedia seems News, and a game of chess is a manual, with p = 1.00.
# The warning is the paper's own (§5): this is correlation with the sources of the training data.
# It does not say who wrote a text, nor whether it is true; and a text of no known kind is given to one of them all the same.

# %% [markdown] tags=["slide"]
# ### Is the code forgotten?
#
# The text grows, the code stays one token among many. Do the heads still look at it?
# A first token is often looked at for no reason (Xiao et al. 2023, [arXiv:2309.17453](https://arxiv.org/abs/2309.17453)).
# The control is the twin, whose first token says nothing.

# %%
@torch.no_grad()
def weight_on_first(model, ids):
    """How much each head looks at the first token, `(layers, heads, tokens)`: means."""
    mask = causal_mask(ids.shape[1], ids.shape[1], device=ids.device)
    found = []
    for layer, x in zip(model.layers, model.states(ids)):
        weights = layer.attention.weights(layer.attention_norm(x), mask)
        found.append(weights[..., 0].mean(0))       # of (batch, heads, tokens, tokens)
    return torch.stack(found)


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# code_of = torch.tensor(list(TOKEN.values()))[kinds]
# behind_code = torch.cat([code_of[:, None], rows], dim=1)
# behind_start = torch.cat([torch.full_like(code_of, START)[:, None], rows], dim=1)
# figures.looking_at_the_first(weight_on_first(coded, behind_code),
#                              weight_on_first(uncoded, behind_start))

# %% tags=["active-ipynb"]
# looks = {way: by_seed(way, "weight on the first token")
#          for way in ("with codes", "without codes")}
# claim("with each of five seeds, heads at the end of the window give a code over three "
#       "times the weight that they give a mere start token",
#       (looks["with codes"] > 3 * looks["without codes"]).all(),
#       "ours, the stored study")

# %% [markdown] tags=["speaker"]
# No: to the end of the window heads of the second layer keep an eye on the code; a start token gets no more than any other.
# Weight is not use; that it is used, the cost of a wrong code in section 4 shows.

# %% [markdown] tags=["slide"]
# ## 9. What people get wrong
#
# **"CTRL extends an encoder-decoder, and the decoder attends to the condition."** A common summary says so.
# It is one causal stack (§3): the condition is the first token, and moves every later one.
# (In the authors' code the class is called `Encoder`, which may be why.)

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# print("modules for cross-attention:", published.crossing())

# %% [markdown]
# **"The penalty is the library's `repetition_penalty`."** The library multiplies negative logits: section 6.

# %% [markdown] tags=["on-slide"]
# **"Attribution proves who wrote it."** Counting characters does as well: section 8.

# %% [markdown] tags=["on-slide"]
# **"After a few words the text has taken over from the code."**
# For a code that is right, nearly: it tells little more by then. A wrong one is believed to the end: section 4.

# %% [markdown]
# **"Control needs a special architecture."**
# Six codes cost six rows of a table and six biases; second codes are ordinary text:

# %% tags=["active-ipynb"]
# print(f"{6 * (SMALL.n_embd + 1)} of {parameters(coded):,} parameters are the codes'")

# %% [markdown]
# ## 10. Your turn
#
# Replace the lines that raise, and run the cell: its last line checks your answer.
# The solutions are folded; try first.
#
# ### Exercise 1: look back only
#
# Given scores `(…, new, total)` of the last `new` of `total` tokens, give the attention weights.
# Each token looks at itself and those before it.
# `new` is smaller than `total` when a memory holds the tokens before.

# %% tags=["active-ipynb"]
# def causal_weights(scores):
#     raise NotImplementedError
#
#
# check(causal_weights, checks.causal_weights)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# The last row may see everything, the row before it all but one: the diagonal ends in the lower right corner.
#
# ```python
# def causal_weights(scores):
#     new, total = scores.shape[-2:]
#     future = torch.ones(new, total, dtype=torch.bool).triu(total - new + 1)
#     return scores.masked_fill(future, -math.inf).softmax(-1)
# ```
# </details>
#
# ### Exercise 2: penalised sampling
#
# Given logits `(vocab)` and the list of the tokens so far, give the probabilities of the next token by the paper's formula.
# A token counts once, however often it stood there. The list may be empty.

# %% tags=["active-ipynb"]
# def next_probabilities(logits, generated, theta, temperature):
#     raise NotImplementedError
#
#
# check(next_probabilities, checks.next_probabilities)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# ```python
# def next_probabilities(logits, generated, theta, temperature):
#     logits = logits.clone()
#     for token in set(generated):
#         logits[token] /= theta
#     return (logits / temperature).softmax(-1)
# ```
# </details>
#
# ### Exercise 3: whose text is it?
#
# Given log p(token | tokens before, code) for each token of a text under each code, `(codes, tokens)`, and the prior p(code), `(codes)`,
# give p(code | text), `(codes)`.
# A text may have thousands of tokens, so the product of their probabilities is too small for a float.

# %% tags=["active-ipynb"]
# def attributed(token_log_probabilities, prior):
#     raise NotImplementedError
#
#
# check(attributed, checks.attributed)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# Add logarithms instead of multiplying; the softmax divides by the sum, and subtracts the largest before it takes exponentials.
#
# ```python
# def attributed(token_log_probabilities, prior):
#     return (token_log_probabilities.sum(1) + prior.log()).softmax(0)
# ```
# </details>
#
# ## 11. Is it the paper's model?

# %%
VARIANTS = {
    "ctrl-256": Config(),
    "ctrl-512": Config(n_positions=512),
    "ctrl-36-layers": Config(n_layer=36),
}


def build(name, **changes):
    """The language model of the paper's configuration `name`, with random weights.

    changes: fields of Config. Raises ValueError for an unknown name or field. Under
    `torch.device("meta")` it takes no memory.
    """
    return Ctrl(variant(VARIANTS, name, changes))


# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     counts = {"the paper's": parameters(build("ctrl-256")),
#               "an output table of its own": parameters(published.untied("ctrl-256"))}
# claim("CTRL has 1,637,964,550 parameters: 1.63 billion with the rest cut off",
#       counts["the paper's"] == 1_637_964_550, "abstract")
# table(["tables", "parameters", "billions, rounded", "abstract"],
#       [[name, f"{count:,}", f"{count / 1e9:.2f}", "1.63"]
#        for name, count in counts.items()])

# %% [markdown]
# The two published lengths, 256 and 512 tokens, have equally many; a model with 36 layers was released, too.
# Equal counts do not prove equal networks.
# So a model of the transformers library gets random weights, ours reads its files, and both read the same texts, with padding.

# %% tags=["active-ipynb"]
# claim("hidden states and logits are the reference's, to 1e-4",
#       max(published.difference_from_reference(kind, SEED)
#           for kind in ("CTRLModel", "CTRLLMHeadModel")) < 1e-4, "transformers")
# claim("the equations as printed, or sines and cosines by turns, would give others",
#       min(published.other_readings(SEED).values()) > 0.1, "transformers")

# %% [markdown]
# Where the paper's text and the authors' code differ, we follow the code, as the published weights do.
# As the equations of §3 are printed, what comes out of a part is added to the *normalised* input; the authors' code and transformers add it to the input itself.
# The released code has a bias for each word of the output, too.
#
# With a network connection and 7 GB of memory, published weights come by name:
#
# ```python
# from transformers import AutoTokenizer
#
# name = "Salesforce/ctrl"
# model, words = published.from_pretrained(name), AutoTokenizer.from_pretrained(name)
# ids = words("Wikipedia The llama is", return_tensors="pt").input_ids
# ids, p = generate(model, ids, 40, partial(greedy, theta=1.2))
# ```
#
# At the paper's scale, by its recipe (`lessons/scale/ctrl.py`, each figure with its section), on eight GPUs:
#
# ```bash
# torchrun --nproc-per-node=8 -m lessons.scale ctrl \
#     --data texts-by-code --out runs/ctrl --shard --bf16 --accumulate 16
# ```
#
# The folders of `texts-by-code` bear the names of the codes; `--shard` gives each GPU its part of the 1.6 billion weights.
# Its small form, `--small`, needs no data and no GPU. What it did here:

# %% tags=["active-ipynb"]
# from kit.small_run import small_run
#
# small_run("ctrl")

# %% [markdown]
# ## 12. Where we differ, and what does not show
#
# | what | the paper | here |
# |---|---|---|
# | text | 140 GB: Wikipedia, books, news, reviews, forums, translations … | six kinds of 0.3 to 0.7 million characters, balanced |
# | pieces | about 250,000 | 2,048 |
# | window | 256 or 512 tokens | 65 |
# | network | 48 layers, d = 1280, f = 8192, 16 heads | 2 layers, d = 96, f = 384, 4 heads |
# | steps | 800,000 of 1,024 windows | 350 of 24 windows |
# | learning rate | rises to 0.05 over 25,000 steps and stays | rises to 0.07 over 50, falls in the last two fifths |
# | deviation of the initial weights | 0.02, in the published configuration | 0.1: section 3 |
# | what the penalty spares | line ends, in the authors' code | nothing |
# | dropout | 0.1 on what each part adds | none |
# | second code | where a document begins | in front of every window |
#
# What does not show, or was not tried:
#
# - *Fluent text.* Ours holds for a phrase.
# - *Codes that make a better model*: the gain is a few hundredths of a nat (section 4).
# - *No repetition at θ = 1.2*: ours still repeats more than real text (section 6).
# - *Mixing that can be relied on*: it works for a part of the texts only (section 5).
# - *Ratings, questions, translation, other languages*: our texts carry no such thing.
# - *Harm*: the paper discusses what a model that imitates sources can be misused for; a toy cannot show it.
#
# The claims hold with ten seeds (`make seeds`); the environment variable `LESSON_SEED` sets yours.

# %% [markdown] tags=["slide"]
# ## 13. Recap

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# recap()

# %% [markdown]
# Further reading:
#
# - Vaswani et al., *Attention Is All You Need*, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762):
#   the sinusoids, and the decoder that this is one half of.
# - Holtzman et al., *The Curious Case of Neural Text Degeneration*, [arXiv:1904.09751](https://arxiv.org/abs/1904.09751): nucleus sampling.
# - Dathathri et al., *Plug and Play Language Models*, [arXiv:1912.02164](https://arxiv.org/abs/1912.02164): steering without training anew.
# - Krause et al., *GeDi*, [arXiv:2009.06367](https://arxiv.org/abs/2009.06367): attribution turned around, to guide generation.
#
# <nav>
#
# Lesson before: [DeBERTa](deberta.ipynb)
#
# </nav>
