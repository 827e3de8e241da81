# %% [markdown]
# # ELECTRA: learn from every token, by spotting the fakes
#
# **Paper:** Clark et al.: *ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators*, ICLR 2020 ([arXiv:2003.10555](https://arxiv.org/abs/2003.10555))
#
# **You will see:** which positions of a text teach, a quiz against a discriminator, and seven ways to pre-train, at equal work
#
# The name is short for *Efficiently Learning an Encoder that Classifies Token Replacements Accurately* (§1).
# Afterwards you can build and train generator and discriminator, count what they cost as the paper does,
# read published weights, and tell eight common sentences about ELECTRA from the truth.
#
# **You need** the [ALBERT lesson](albert.ipynb): this one takes its encoder, its masked language model and its tokenizer from there.
# Running all cells takes one to two minutes on a laptop; reading and playing takes one to two hours.
#
# What the paper says is marked with its section (§), table or figure.
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
import ast
import math
import re
import tokenize
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kit import text, train
from kit.config import variant
from lessons.albert import (
    ACTIVATIONS,
    Albert,
    Config,
    MaskedLM,
    MaskedLMHead,
    SelfAttention,
    hide,
    init_weights,
)

# %% tags=["active-ipynb", "parameters"]
# from tempfile import TemporaryDirectory
#
# import numpy as np
#
# from kit import study
# from kit.claims import claim, recap
# from kit.exercises import check
# from kit.probe import activations, gradient_norms, parameters
# from kit.table import as_printed, table
# from kit.view import Attention, Curves, Layers, Predict, Spot, Tokens
# from lessons.checks import electra as checks
# from lessons.published import electra as published
#
# SEED = train.seed()
# torch.set_num_threads(1)  # networks this small run fastest on one core

# %% [markdown]
# ## 1. The problem
#
# ### Most of the text teaches nothing
#
# A masked language model (MLM) hides 15% of the tokens and is asked for those.
# About the other 85% it is asked nothing, though it had to read them (§1).
# And what it reads contains `[MASK]`, a token that no real text has.
#
# Compare with a smaller question, asked about *every* token: was this one replaced?
# Here is a sentence, an untrained encoder, and the gradient that each question sends back to each position.

# %% tags=["active-ipynb"]
# tokenizer = text.tokenizer("wikipedia", "news", size=2000)
# sentence = "The alphabet was carried to new lands by traders, and each people changed it a little to fit its own language."
# ids = torch.tensor([tokenizer.encode(sentence).ids])
# places = torch.randperm(ids.shape[1], generator=torch.Generator().manual_seed(SEED))[: math.ceil(0.15 * ids.shape[1])]
# masked, replaced = ids.clone(), ids.clone()
# masked[0, places] = 4                                                       # [MASK]
# replaced[0, places] = torch.randint(5, 2000, (len(places),), generator=torch.Generator().manual_seed(SEED))
# torch.manual_seed(SEED)
# encoder = Albert(Config(vocab_size=2000, embedding_size=64, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
#                         intermediate_size=256, share="none", pooler=False, initializer_range=0.1))
# word_head, replaced_head = MaskedLMHead(encoder.config), nn.Linear(64, 1)

# %% tags=["active-ipynb"]
# def gradients(read, loss):
#     """The norm of the gradient of `loss(states)` at each position, at the input of the first layer and at the last layer's output."""
#     states = encoder.states(read)                                           # three of (1, tokens, 64)
#     found = torch.autograd.grad(loss(states[-1]), [states[0], states[-1]])
#     return dict(zip(("input", "output"), (one[0].norm(dim=-1) for one in found)))
#
#
# def word_loss(x):
#     return F.cross_entropy(word_head(x[0, places], encoder.embeddings.word.weight), ids[0, places])
#
#
# def replaced_loss(x):
#     return F.binary_cross_entropy_with_logits(replaced_head(x)[0, :, 0], (replaced != ids)[0].float())
#
#
# sent = {"MLM": gradients(masked, word_loss), "replaced or not": gradients(replaced, replaced_loss)}

# %% tags=["active-ipynb", "nbval-ignore-output"]
# def strip(measured_at):
#     at, rows = "output" if "last" in measured_at else "input", []
#     for (name, found), read in zip(sent.items(), (masked, replaced)):
#         rows.append({"title": f"{name}: what the network reads", "tokens": [tokenizer.id_to_token(i) for i in read[0].tolist()],
#                      "values": found[at] / found[at].max(), "role": "control" if name == "MLM" else "idea",
#                      "marks": ["replaced" if one else "" for one in (read is replaced) & (replaced != ids)[0]]})
#     taught = {name: (found["output"] > 0).sum().item() for name, found in sent.items()}
#     return {"rows": rows, "note": f"asked about: {taught['MLM']} tokens by MLM, all {taught['replaced or not']} by the other"}

# %% tags=["active-ipynb", "nbval-ignore-output"]
# Tokens(
#     strip, controls={"measured at": ["the output of the last layer", "the input of the first layer"]},
#     value_label="gradient norm, as a share of the largest in the row",
#     caption="Which positions teach. At the last layer's output the MLM has a gradient at the hidden tokens only. At the input every "
#             "position has one: attention carries it there.",
#     alt="The tokens of a sentence twice; in the first row five are shaded, in the second all.",
# )

# %% tags=["active-ipynb"]
# counts = {(name, at): (norms > 0).sum().item() for name, found in sent.items() for at, norms in found.items()}
# claim("the loss of an MLM depends on the outputs of the hidden tokens only: 15% of them, rounded up",
#       counts["MLM", "output"] == math.ceil(0.15 * ids.shape[1]), "§1")
# claim("the question “was it replaced?” sends a gradient to the output of every token",
#       counts["replaced or not", "output"] == ids.shape[1], "§2")
# claim("at the input both send one to every token", counts["MLM", "input"] == counts["replaced or not", "input"] == ids.shape[1], "ours")

# %% [markdown]
# So the two differ in how many *answers* a text is worth, not in how much of it is read.
#
# ### Does it matter how many answers a text gives?
#
# Try it with an MLM alone, before any new idea.
# Two networks get the same texts with the same tokens hidden.
# One is asked for all of them, the other for one in five.
#
# We need a network that learns within seconds.
# As in the ALBERT lesson, the text is Python, in the tokens of its grammar, and the positions start from sine waves.
# One thing is new, because asking "was it replaced?" from scratch is hard for a small network (section 9):
# each head owns a learned number for every distance, which is added to its scores, and four heads start out
# looking at the token before, the one after, and the ones two away.
# That is all you need to know of the next two cells; you can skip them on a first reading.

# %%
class OffsetAttention(SelfAttention):
    """Self-attention with a learned number for each head and distance, added to the scores.

    The first four heads start with 3 at the distances −1, +1, −2, +2, all else with 0.
    """

    def __init__(self, hidden_size, num_heads, max_tokens):
        super().__init__(hidden_size, num_heads)
        self.offset = nn.Parameter(torch.zeros(num_heads, 2 * max_tokens - 1))
        for head, distance in zip(range(num_heads), (-1, 1, -2, 2)):
            self.offset.data[head, max_tokens - 1 + distance] = 3.0

    def bias(self, tokens, mask=None):                                  # (heads, tokens, tokens), with a mask (batch, …)
        place = torch.arange(tokens, device=self.offset.device)
        bias = self.offset[:, place - place[:, None] + self.offset.shape[1] // 2]
        return bias if mask is None else bias.masked_fill(mask == 0, -math.inf)

    def weights(self, x, mask=None):                                    # the mixture of unit vectors is the weights themselves
        query, key = self.heads(self.query(x)), self.heads(self.key(x))
        unit = torch.eye(x.shape[1]).to(x).expand(*query.shape[:2], -1, -1)
        return F.scaled_dot_product_attention(query, key, unit, attn_mask=self.bias(x.shape[1], mask))

    def forward(self, x, mask=None):                                    # (batch, tokens, hidden), and the same
        query, key, value = (self.heads(project(x)) for project in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=self.bias(x.shape[1], mask))
        return self.output(mixed.transpose(1, 2).flatten(2))

# %%
LENGTH = 32
SMALL = Config(vocab_size=1000, embedding_size=64, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
               max_position_embeddings=LENGTH, initializer_range=0.1, hidden_act="gelu", share="none", pooler=False)


def settle(model):
    """Give a small model (one with an Albert inside) its offsets, and positions that start from sine waves; returns the model."""
    albert, waves = model.albert, SMALL.embedding_size // 2
    for layer in albert.encoder.layers:
        layer.attention.inner = OffsetAttention(albert.config.hidden_size, albert.config.num_attention_heads, LENGTH)
        layer.attention.inner.apply(partial(init_weights, std=albert.config.initializer_range))
    angles = torch.arange(LENGTH)[:, None] * 20.0 ** (-torch.arange(waves) / waves)         # (positions, embedding/2)
    albert.embeddings.position.weight.data = 0.1 * torch.cat([angles.sin(), angles.cos()], dim=1)
    return model

# %% [markdown]
# Which tokens are hidden?
# The paper draws k = ⌈0.15 n⌉ places of n (§2).
# Special tokens, and the `[UNK]` that stands for every rare name, are never drawn.

# %%
def choose(ids, share=0.15, random=None):
    """⌈share · n⌉ places of every row of `ids` `(batch, n)`, as bool; padding is not counted, special tokens (ids below 5) are left out."""
    if not 0 < share <= 1:
        raise ValueError(f"share should be above 0 and at most 1, not {share}")
    noise = torch.rand(ids.shape, generator=random, device=ids.device).masked_fill(ids < 5, -1)
    count = (share * (ids != 0).sum(1, keepdim=True) - 1e-4).ceil()         # (batch, 1); 0 is [PAD], the rest is rounding
    rank = noise.argsort(1, descending=True).argsort(1)
    return (rank < count) & (ids >= 5)


@cache
def programs():
    """(training windows, held-out windows) of Python tokens, each `(n, 32)`."""
    _, documents = text.python_tokens(SMALL.vocab_size)
    return tuple(text.windows(part, LENGTH) for part in documents)

# %%
def recipe(model, seed, steps, on_step=None, rate=3e-3):
    """Train a model that gives its own loss, `model(ids)`, on `steps` batches of 16 windows; returns the losses.

    AdamW; the learning rate rises for 100 steps and falls over the last three fifths. The gradient of the generator, if there
    is one (with the shared tables), and the rest of the gradient are each clipped at norm 1.
    """
    windows = text.batches(programs()[0], 16, steps, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 100, 1, 1.67 * (1 - step / steps)))
    generator = {id(weight): weight for weight in getattr(model, "generator", nn.Module()).parameters()}
    others = [weight for weight in model.parameters() if id(weight) not in generator]

    def clip(step, loss):
        for group in (list(generator.values()), others):
            nn.utils.clip_grad_norm_(group, 1.0)
        if on_step is not None:
            on_step(step, loss)

    return train.fit(model, zip(windows, windows), lambda loss, _: loss, optimizer, schedule, clip)

# %% tags=["active-ipynb"]
# class AskedForFewer(nn.Module):
#     """A small MLM that learns from a `share` of its hidden tokens only, drawn at random."""
#
#     def __init__(self, share):
#         super().__init__()
#         torch.manual_seed(SEED)
#         self.model, self.share, self.random = settle(MaskedLM(SMALL)), share, torch.Generator().manual_seed(SEED)
#
#     def forward(self, ids):
#         chosen = choose(ids, random=self.random)
#         hidden, _ = hide(ids, chosen, SMALL.vocab_size, generator=self.random)
#         rows, columns = chosen.nonzero().T
#         asked = torch.randperm(len(rows), generator=self.random)[: math.ceil(self.share * len(rows))]
#         x = self.model.albert(hidden)[rows[asked], columns[asked]]          # (asked, hidden)
#         return F.cross_entropy(self.model.head(x, self.model.albert.embeddings.word.weight), ids[rows[asked], columns[asked]])

# %% tags=["active-ipynb"]
# answers_guess = Predict(
#     "Same texts, same hidden tokens, 300 steps. One network is asked for all of them, the other for one in five. How do they compare?",
#     ["No difference: both read the same texts", "The one asked for fewer learns more slowly", "The one asked for fewer learns nothing"],
#     name="answers",
# )
# answers_guess

# %% tags=["active-ipynb"]
# few = {}
# live = Curves.live(x_label="step", y_label="loss", total=600)
# for name, share in {"asked for all": 1, "asked for one in five": 0.2}.items():
#     few[name] = recipe(AskedForFewer(share), SEED, 300, lambda step, loss, name=name: live.add(name, step + 1, loss))
# live.close()
# few = {name: losses.reshape(-1, 20).mean(1) for name, losses in few.items()}

# %% tags=["active-ipynb"]
# Curves(
#     {"series": [{"name": name, "x": range(20, 301, 20), "y": losses, "role": "idea" if name == "asked for all" else "control"}
#                 for name, losses in few.items()]}, x_label="step", y_label="loss on the tokens asked for",
#     caption="Two masked language models, the same texts. Fewer answers, slower learning.",
#     alt="Two falling curves; that of the network asked for one hidden token in five stays above.",
# )

# %% tags=["active-ipynb"]
# behind = few["asked for one in five"][-5:].mean() - few["asked for all"][-5:].mean()
# claim("asked for a fifth of the answers, the same network has learned less: over 0.2 more of loss", behind > 0.2, "ours")
# answers_guess.reveal(1 if behind > 0.1 else 0, "Answers are what a network learns from. An MLM gets them at 15% of the positions.")

# %% [markdown]
# An MLM could hide more tokens, but then there is less left to guess from.
# ELECTRA's question leaves the text readable and still gets an answer everywhere.
#
# ## 2. The idea
#
# Two networks (§2, Figure 2).
# The **generator** is a small MLM: it fills the hidden places.
# The **discriminator** reads the filled text and says of every token whether it is the original.
# Afterwards the generator is thrown away, and the discriminator is what you fine-tune.
# The paper calls the task *replaced token detection* (RTD).

# %% tags=["active-ipynb"]
# words = "the chef cooked the meal".split()
# hidden = ["[MASK]", "chef", "[MASK]", "the", "meal"]
# filled = ["the", "chef", "ate", "the", "meal"]
# Tokens(
#     {"rows": [{"title": "the text", "tokens": words, "marks": ["", "", "replaced", "", ""]},
#               {"title": "the generator reads", "tokens": hidden, "role": "control"},
#               {"title": "the discriminator reads", "tokens": filled, "marks": ["drawn, and right", "", "replaced", "", ""],
#                "values": [0, 0, 1, 0, 0]}]},
#     value_label="the right answer", caption="The example of the paper's Figure 2. What the generator guesses rightly counts as original.",
#     alt="The sentence; the same with two words masked; the same with “cooked” replaced by “ate”.",
# )

# %% [markdown]
# In symbols: $\mathbf m$ are the k hidden places, $\hat x_i \sim p_G(\cdot \mid \mathbf x^{\text{masked}})$ is drawn for each of them,
# and $\mathbf x^{\text{corrupt}}$ is the text with these in place.
# The discriminator gives $D(t)$, its probability that token $t$ is original. Then
#
# $$\mathcal L_{\text{MLM}} = \sum_{i \in \mathbf m} -\log p_G(x_i \mid \mathbf x^{\text{masked}})$$
#
# $$\mathcal L_{\text{Disc}} = \sum_{t=1}^{n} -\mathbb 1(x_t^{\text{corrupt}} = x_t) \log D(t)
# - \mathbb 1(x_t^{\text{corrupt}} \ne x_t) \log (1 - D(t))$$
#
# and the sum of $\mathcal L_{\text{MLM}} + \lambda \mathcal L_{\text{Disc}}$ over the corpus is minimised, with λ = 50.
# No gradient goes from $\mathcal L_{\text{Disc}}$ to the generator (§2): sampling a word has no derivative.
# (The tables that the two share are the exception, see section 3.)
#
# In code, and for one sentence, this is all:

# %% tags=["active-ipynb"]
# x = torch.tensor([10, 11, 12, 10, 13])                          # the chef cooked the meal
# chosen = torch.tensor([True, False, True, False, False])
# drawn = torch.tensor([10, 14])                                  # the, ate
# corrupted = x.clone()
# corrupted[chosen] = drawn
# print("labels, 1 for replaced:", (corrupted != x).long().tolist())
# claim("two tokens were drawn, one of them counts as replaced", (chosen.sum(), (corrupted != x).sum()) == (2, 1), "§2")

# %% [markdown]
# ## 3. Build it
#
# ### Two networks, one encoder
#
# The generator is the `MaskedLM` of the ALBERT lesson with nothing shared between its layers, that is, a BERT.
# The discriminator is the same encoder under another head: a linear layer, the activation, and one number for every token.
# (The paper writes a single linear layer, $\sigma(w^\top h)$; the released code has two, and so have the published weights.)

# %%
class ReplacedHead(nn.Module):
    """Hidden states `(…, hidden_size)` to a logit `(…)` of “replaced”."""

    def __init__(self, config):
        super().__init__()
        self.dense, self.output = nn.Linear(config.hidden_size, config.hidden_size), nn.Linear(config.hidden_size, 1)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, x):                                               # (…, hidden)
        return self.output(self.activation(self.dense(x))).squeeze(-1)  # (…)

# %%
class Discriminator(nn.Module):
    """Token ids and masks as for Albert, to logits `(batch, tokens)`: above 0 for tokens that look replaced."""

    def __init__(self, config):
        super().__init__()
        self.albert, self.head = Albert(config), ReplacedHead(config)
        self.head.apply(partial(init_weights, std=config.initializer_range))

    def forward(self, *args, **kwargs):
        return self.head(self.albert(*args, **kwargs))

# %% [markdown]
# ### Shared tables, and a drawing without gradient
#
# The two networks share the tables of words and of positions, of width E, which both know (§3.2).
# So the same module is put into both.
#
# `corrupt` does the three steps of the idea.
# One detail is in the released code only: of the chosen tokens, 85% become `[MASK]`, and the generator sees the other 15% as they are.
# (The next cell just refuses two networks whose tables cannot be one.)

# %%
MASK = 4


def check_pair(discriminator, generator):
    """Raise ValueError for what cannot be an ELECTRA: other classes, or tables of different sizes."""
    if not isinstance(discriminator, Discriminator) or not isinstance(generator, MaskedLM):
        found = f"{type(discriminator).__name__} and {type(generator).__name__}"
        raise ValueError(f"an Electra is made of a Discriminator and a MaskedLM, in this order, not of {found}")
    for name in ("vocab_size", "embedding_size", "max_position_embeddings"):
        ours, theirs = (getattr(net.albert.config, name) for net in (discriminator, generator))
        if ours != theirs:
            raise ValueError(f"the two share their tables, but {name} is {ours} in the discriminator and {theirs} in the generator")

# %%
class Electra(nn.Module):
    """A discriminator and a generator (a MaskedLM) that share the tables of words and of positions."""

    def __init__(self, discriminator, generator):
        super().__init__()
        check_pair(discriminator, generator)
        self.discriminator, self.generator = discriminator, generator
        ours, theirs = discriminator.albert.embeddings, generator.albert.embeddings
        theirs.word, theirs.position = ours.word, ours.position

    def corrupt(self, ids, chosen, attention_mask=None, random=None, temperature=1.0, masked=0.85):
        """(the generator's logits at the chosen places `(chosen, vocab)`, the text with a token drawn for each `(batch, tokens)`)."""
        dice = torch.rand(ids.shape, generator=random, device=ids.device)
        x = self.generator.albert(torch.where(chosen & (dice < masked), MASK, ids), attention_mask)
        logits = self.generator.head(x[chosen], self.generator.albert.embeddings.word.weight)       # (chosen, vocab)
        corrupted = ids.clone()
        with torch.no_grad():
            corrupted[chosen] = torch.multinomial((logits / temperature).softmax(-1), 1, generator=random)[:, 0]
        return logits, corrupted

    def losses(self, ids, chosen, attention_mask=None, random=None):
        """The two of them: the generator's mean over the chosen places, the discriminator's over all tokens that are no padding."""
        text.check_chosen(chosen)
        logits, corrupted = self.corrupt(ids, chosen, attention_mask, random)
        found = self.discriminator(corrupted, attention_mask)                                       # (batch, tokens)
        replaced = (corrupted != ids).to(found)
        each = F.binary_cross_entropy_with_logits(found, replaced, reduction="none")
        real = torch.ones_like(each) if attention_mask is None else attention_mask.to(each)
        return F.cross_entropy(logits, ids[chosen]), (each * real).sum() / real.sum()

    def forward(self, *args, **kwargs):
        return self.losses(*args, **kwargs)

# %%
def generator_config(config, width):
    """The generator for a discriminator's Config: `width` and what follows from it, all else the same (§3.2, Table 6)."""
    return replace(config, hidden_size=width, intermediate_size=4 * width, num_attention_heads=max(1, width // 64),
                   embedding_size=config.embedding_size)

# %% tags=["active-ipynb"]
# torch.manual_seed(SEED)
# toy = replace(SMALL, vocab_size=97, embedding_size=64)
# model = Electra(Discriminator(toy), MaskedLM(generator_config(toy, 16)))
# ids = torch.randint(5, 97, (4, 20))
# chosen = choose(ids)
# logits, corrupted = model.corrupt(ids, chosen)
# print("logits of the generator:", tuple(logits.shape), " of the discriminator:", tuple(model.discriminator(corrupted).shape))
# claim("outside the chosen places nothing changes", torch.equal(corrupted[~chosen], ids[~chosen]), "§2")
# tables = [model.generator.albert.embeddings.word, model.discriminator.albert.embeddings.word]
# claim("the generator's input table, its output table and the discriminator's input table are one tensor",
#       tables[0] is tables[1] and sum(weight.shape == (97, 64) for weight in model.parameters()) == 1, "§3.2")

# %% [markdown]
# ### Which λ?
#
# The paper's equations *sum* over tokens, and it says λ = 50.
# The released code takes the *mean* of each loss over its own tokens, and its λ is 50, too.
# These are not the same: k of the n tokens are hidden, so
#
# $$\mathcal L_{\text{MLM}} + \lambda\,\mathcal L_{\text{Disc}}
# = k\,\Big(\text{mean}_{\text{MLM}} + \lambda\,\tfrac{n}{k}\,\text{mean}_{\text{Disc}}\Big)$$
#
# In means, the equations' λ would be 50 · n/k, about 333.

# %% tags=["active-ipynb"]
# labels, found = (corrupted != ids).float(), model.discriminator(corrupted)
# means = [F.cross_entropy(logits, ids[chosen]), F.binary_cross_entropy_with_logits(found, labels)]
# sums = [F.cross_entropy(logits, ids[chosen], reduction="sum"), F.binary_cross_entropy_with_logits(found, labels, reduction="sum")]
# k, n = chosen.sum(), chosen.numel()
# claim("50 in the sums of the paper is 50 · n/k in the means of the code",
#       torch.allclose(sums[0] + 50 * sums[1], k * (means[0] + 50 * n / k * means[1])), "§2; released code")
# print(f"for n = 128 and k = 20: {50 * 128 / 20:.0f}")

# %% [markdown]
# Does it matter?
# Adam divides each gradient by its own size.
# Where only one of the losses reaches, a factor before it cancels.
# λ decides in the shared tables alone (and wherever gradients are clipped).

# %% tags=["active-ipynb"]
# def first_step(weight):
#     """Each tensor's change in the first step of Adam, with `weight` before the discriminator's loss."""
#     net = deepcopy(model)
#     optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-30)
#     generator_loss, discriminator_loss = net(ids, chosen, random=torch.Generator().manual_seed(SEED))
#     (generator_loss + weight * discriminator_loss).backward()
#     optimizer.step()
#     return {name: after - before for (name, after), before in zip(net.named_parameters(), model.parameters())}
#
#
# one, many = first_step(1), first_step(64)                       # a power of two, so that no rounding comes in
# moved_otherwise = [name for name in one if not torch.allclose(one[name], many[name], atol=1e-6)]
# claim("λ = 1 or 64: in its first step Adam moves two tensors differently, the shared tables",
#       [name.split(".")[-2] for name in moved_otherwise] == ["word", "position"], "ours")

# %% [markdown]
# ## 4. Is it the paper's model?
#
# ### The sizes
#
# The discriminators have the sizes of BERT, the generators their depth and a quarter to a third of their width (Table 6).
# `build` makes the discriminator or the generator that a name asks for.

# %%
def sizes(hidden_size, num_hidden_layers, embedding_size):
    return Config(vocab_size=30_522, embedding_size=embedding_size, hidden_size=hidden_size, num_hidden_layers=num_hidden_layers,
                  num_attention_heads=hidden_size // 64, intermediate_size=4 * hidden_size, hidden_act="gelu", share="none", pooler=False)


DISCRIMINATORS = {"small": sizes(256, 12, 128), "base": sizes(768, 12, 768), "large": sizes(1024, 24, 1024)}
GENERATOR_WIDTHS = {"small": 64, "base": 256, "large": 256}
VARIANTS = {f"electra-{size}-discriminator": config for size, config in DISCRIMINATORS.items()} | {
    f"electra-{size}-generator": generator_config(DISCRIMINATORS[size], width) for size, width in GENERATOR_WIDTHS.items()}

# %%
def build(name, **changes):
    """The network of the paper's configuration `name`, a Discriminator or, as generator, a MaskedLM, with random weights.

    `changes` are fields of Config. Raises ValueError for an unknown name or field, and for too large a size. Under `torch.device("meta")`
    it takes no memory.
    """
    config = variant(VARIANTS, name, changes)
    try:
        return Discriminator(config) if name.endswith("discriminator") else MaskedLM(config)
    except RuntimeError as error:
        raise ValueError(f"{name} with {changes} is too large for the memory of this machine") from error

# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     nets = {name: build(name) for name in VARIANTS}
#     pairs = {size: Electra(build(f"electra-{size}-discriminator"), build(f"electra-{size}-generator")) for size in DISCRIMINATORS}
# built = {name: parameters(net) for name, net in nets.items()}
# printed = {"small": "14", "base": "110", "large": "335"}
# verdicts = {size: as_printed(built[f"electra-{size}-discriminator"], 1e6, printed[size]) for size in printed}
# table(["size", "printed, millions", "discriminator", "rounded", "generator", "both, tables shared"],
#       [[size, printed[size], f"{built[f'electra-{size}-discriminator']:,}", verdicts[size],
#         f"{built[f'electra-{size}-generator']:,}", f"{parameters(pairs[size]):,}"] for size in printed])

# %% tags=["active-ipynb"]
# claim("the discriminators have 14 and 335 million parameters, as printed",
#       all("✓" in verdicts[size] for size in ("small", "large")), "Tables 1 and 2")
# bert = built["electra-base-discriminator"] - (768 * 769 + 769) + 768 * 769         # another head off, a pooler on
# claim("base has 109,483,009, BERT-Base with its pooler 109,482,240; the paper prints 110 million for both",
#       (built["electra-base-discriminator"], bert) == (109_483_009, 109_482_240), "Table 1")

# %% [markdown]
# So the ✗ of base is a matter of rounding: it has 109 million, and so has BERT-Base, which the paper lists with 110 million, too.
#
# ### The work: Tables 1 and 2
#
# The paper compares models by the floating-point operations of their whole pre-training, and the authors published the rules they count by:
# a multiply-add is two operations;
# looking up a word counts as multiplying by the whole table, 2EV for each token, since some accelerators do it that way;
# the backward pass counts as much as the forward pass;
# an MLM's scores are computed at 15.625% of the tokens;
# and softmax, dropout, activation and normalisation cost a few operations for each number.

# %%
def forward_flops(config, tokens):
    """Operations of the encoder for one token of a text of `tokens`, by the paper's rules; each second line has the small ones."""
    V, E, H, inner = config.vocab_size, config.embedding_size, config.hidden_size, config.intermediate_size
    layer = 8 * H * H + 4 * H * tokens + 4 * H * inner      # four maps, two products of attention, two maps
    layer += 10 * tokens * config.num_attention_heads + 9 * inner + 20 * H
    embedding = 2 * E * V + 2 * E * (tokens + 2) + (2 * E * H if E != H else 0)
    embedding += 11 * E
    return config.num_hidden_layers * layer + embedding

# %%
def training_flops(config, batch, steps, tokens=512, head="words", asked=0.15625):
    """Operations of a whole pre-training; head: "words" for an MLM, which is `asked` for that share of the tokens, or "replaced"."""
    V, E, H = config.vocab_size, config.embedding_size, config.hidden_size
    scores = 2 * H * H + 11 * H if head == "replaced" else asked * (2 * H * E + 2 * E * V + 14 * E + 7 * V)
    return 2 * batch * steps * tokens * (forward_flops(config, tokens) + scores)


def electra_flops(size, batch, steps, tokens=512):
    """A discriminator and its generator."""
    return (training_flops(VARIANTS[f"electra-{size}-discriminator"], batch, steps, tokens, head="replaced")
            + training_flops(VARIANTS[f"electra-{size}-generator"], batch, steps, tokens))

# %% tags=["active-ipynb"]
# small, base, large = DISCRIMINATORS.values()
# flops = {
#     "GPT (Table 1)": ("40", training_flops(replace(base, vocab_size=40_000), 128, 960_800, asked=1)),
#     "BERT-Small (Table 1)": ("1.4", training_flops(small, 128, 1.45e6, tokens=128)),
#     "BERT-Base (Table 1)": ("64", training_flops(base, 256, 1e6)),
#     "ELECTRA-Small (Table 1)": ("1.4", electra_flops("small", 128, 1e6, tokens=128)),
#     "ELECTRA-Base (Table 1)": ("64", electra_flops("base", 256, 766_000)),
#     "BERT-Large (Table 2)": ("190", training_flops(large, 256, 1e6)),
#     "RoBERTa-100K (Table 2)": ("640", training_flops(replace(large, vocab_size=50_265), 8000, 1e5)),
#     "RoBERTa-500K (Table 2)": ("3200", training_flops(replace(large, vocab_size=50_265), 8000, 5e5)),
#     "ELECTRA-400K (Table 2)": ("710", electra_flops("large", 2048, 4e5)),
#     "ELECTRA-1.75M (Table 2)": ("3100", electra_flops("large", 2048, 1.75e6)),
# }

# %% tags=["active-ipynb"]
# def two_digits(value, printed):
#     rounded = float(f"{value / 1e18:.2g}")
#     return f"{rounded:g} {'✓' if rounded == float(printed) else '✗'}"
#
#
# table(["model", "printed, 10¹⁸", "computed, 10¹⁸", "rounded"],
#       [[name, printed, f"{value / 1e18:.3f}", two_digits(value, printed)] for name, (printed, value) in flops.items()])

# %% tags=["active-ipynb"]
# off = [name for name, (printed, value) in flops.items() if "✗" in two_digits(value, printed)]
# claim("of ten training costs in Tables 1 and 2 nine come out as printed; ELECTRA-Small is 1.3 · 10¹⁸, not 1.4",
#       off == ["ELECTRA-Small (Table 1)"], "Tables 1 and 2")
# tokens = {"small": 128, "base": 512, "large": 512}
# generator_share = {size: training_flops(VARIANTS[f"electra-{size}-generator"], 1, 1, n) / electra_flops(size, 1, 1, n)
#                    for size, n in tokens.items()}
# print("the generator's share of the work:", {size: f"{value:.0%}" for size, value in generator_share.items()})

# %% [markdown]
# Left out are ELMo and XLNet, which have other layers, and the authors' own BERT of Table 2.
# ELECTRA-Base takes 766,000 steps because that is what BERT-Base's million pays for.
#
# ### The same weights in the reference implementation
#
# Models of the transformers library get random values in *all* their weights (biases, too), are saved, and compared with ours, with
# padding and two segments.
# `lessons/published/electra.py` lets the library read the files and maps its names to ours, for published weights as for these.
# The label 1 of the published discriminators means *replaced*, as here; the D of the equations is the probability of the opposite.

# %% tags=["active-ipynb"]
# from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining, ElectraModel
# from transformers.utils.logging import disable_progress_bar
#
# disable_progress_bar()
# ids, types = torch.randint(97, (3, 20)), torch.randint(2, (3, 20))
# mask = torch.arange(20) < torch.tensor([[20], [12], [3]])

# %% tags=["active-ipynb"]
# def difference(kind, **changes):
#     """Largest difference between the reference's first output and ours."""
#     config = ElectraConfig(**dict(vocab_size=97, embedding_size=16, hidden_size=48, num_hidden_layers=3, num_attention_heads=6,
#                                   intermediate_size=96, max_position_embeddings=40) | changes)
#     torch.manual_seed(SEED)
#     theirs = kind(config).eval()
#     with TemporaryDirectory() as folder, torch.no_grad():
#         for weight in theirs.parameters():
#             weight.add_(0.1 * torch.randn_like(weight))
#         theirs.save_pretrained(folder)
#         expected = theirs(ids, attention_mask=mask.long(), token_type_ids=types)[0]
#         return (published.from_pretrained(folder)(ids, mask, types) - expected).abs().max().item()

# %% tags=["active-ipynb"]
# cases = {"encoder": (ElectraModel, {}), "discriminator": (ElectraForPreTraining, {}), "generator": (ElectraForMaskedLM, {}),
#          "discriminator, E = H": (ElectraForPreTraining, {"embedding_size": 48}),
#          "generator, E = H": (ElectraForMaskedLM, {"embedding_size": 48}),
#          "another activation": (ElectraForPreTraining, {"hidden_act": "relu"}),
#          "that in a generator": (ElectraForMaskedLM, {"hidden_act": "relu"})}
# differences = {name: difference(kind, **changes) for name, (kind, changes) in cases.items()}
# print("compared:", ", ".join(differences))
# claim("hidden states, the discriminator's logits and the generator's are the reference's, to 1e-5",
#       max(differences.values()) < 1e-5, "transformers")

# %% tags=["active-ipynb"]
# theirs = ElectraForPreTraining(ElectraConfig(vocab_size=97, embedding_size=16, hidden_size=48, num_hidden_layers=2, num_attention_heads=6,
#                                              intermediate_size=96, max_position_embeddings=40)).eval()
# with TemporaryDirectory() as folder, torch.no_grad():
#     theirs.save_pretrained(folder)
#     labels = torch.randint(2, (3, 20))
#     expected = theirs(ids, attention_mask=mask.long(), labels=labels).loss
#     found = F.binary_cross_entropy_with_logits(published.from_pretrained(folder)(ids, mask)[mask], labels[mask].float())
# claim("the discriminator's loss is the reference's: the mean over the tokens that are no padding",
#       torch.allclose(found, expected, atol=1e-5), "transformers")

# %% [markdown]
# ## 5. Train it
#
# ### What is a good encoder?
#
# One that another task can start from.
# So we need a task that neither MLM nor RTD trains: **what is each name in a program doing?**
# Is it read or written, a parameter, an attribute, a function that is called?
# Python's own parser (`ast`) knows the answer, so there are labels for everything.
#
# The next cell is plumbing: it finds the place of every name in the syntax tree. Skip it on a first reading.

# %%
ROLES = ("read", "written", "parameter", "attribute", "called function", "called method", "keyword", "defined or imported")


def roles(source):
    """The role of every token of a program, as `text.code_tokens` gives them: an index into ROLES, or -100 where it is no name."""
    lines, starts, ends = source.splitlines(keepends=True), {}, {}

    def place(line, byte):                      # ast counts bytes, the tokenizer characters
        return line, len(lines[line - 1].encode()[:byte].decode())

    for node in ast.walk(ast.parse(source)):
        if not hasattr(node, "lineno"):
            continue
        first, last = place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)
        if isinstance(node, ast.Name):
            starts.setdefault(first, "read" if isinstance(node.ctx, ast.Load) else "written")
        elif isinstance(node, ast.Attribute):
            ends.setdefault(last, "attribute")                  # its name is the last token of a.b.c
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            ends[place(node.func.end_lineno, node.func.end_col_offset)] = "called method"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            starts[first] = "called function"
        elif isinstance(node, (ast.arg, ast.alias)) or isinstance(node, ast.keyword) and node.arg:
            starts[first] = {ast.arg: "parameter", ast.keyword: "keyword", ast.alias: "defined or imported"}[type(node)]
    found, before = [], ""
    for token, first, last in text.code_tokens(source):
        role = "defined or imported" if before in ("def", "class") else ends.get(last, starts.get(first))
        named = token.isidentifier() and token not in ("STRING", "NEWLINE", "INDENT", "DEDENT")
        found.append(ROLES.index(role) if role and named else -100)
        before = token
    return found

# %%
@cache
def labelled():
    """((windows, roles) of training files, (windows, roles) of 800 windows of held-out files), each tensor `(n, 32)`."""
    found = [text.windows([roles(source) for source in part], LENGTH) for part in text.corpus("code")]
    test = torch.randperm(len(found[1]), generator=torch.Generator().manual_seed(12345))[:800]
    return (programs()[0], found[0]), (programs()[1][test], found[1][test])

# %% tags=["active-ipynb"]
# vocabulary, _ = text.python_tokens(SMALL.vocab_size)
#
#
# def names(ids):
#     return [vocabulary[i] for i in ids]
#
#
# windows, labels = labelled()[1]
# example = max(range(len(labels)), key=lambda i: len(labels[i].unique()) - (windows[i] == 1).sum().item() / 4)
# Tokens(
#     {"rows": [{"title": "32 tokens of a held-out file", "tokens": names(windows[example]),
#                "values": (labels[example] >= 0).float(), "notes": ["" if i < 0 else ROLES[i] for i in labels[example]]}]},
#     value_label="is a name",
#     caption="Every shaded token has one of eight roles; point at it. A rare name is [UNK], so its role must come from around it.",
#     alt="A window of 32 tokens of Python with the names shaded.",
# )

# %% [markdown]
# Fine-tuning: a copy of the encoder gets a linear layer for the eight roles, and 100 steps on a *few* labelled windows.
# What it gets right on held-out files is the score.
# Which few, and how the linear layer starts, is chance; so we repeat it and take the median (the paper takes that of ten, §3.1).

# %%
def fine_tune(encoder, count, seed, frozen=False, steps=100):
    """Percent of the names of held-out files whose role is found, after fine-tuning on `count` labelled windows.

    frozen: the encoder stays as it is, and only the linear layer learns.
    """
    torch.manual_seed(1000 + seed)
    encoder, head = deepcopy(encoder), nn.Linear(SMALL.hidden_size, len(ROLES))
    init_weights(head, 0.1)
    head.to(encoder.embeddings.word.weight)
    (windows, labels), (test, answers) = (
        [train.placed(one, encoder) for one in part] for part in labelled())
    few = torch.randperm(len(windows))[:count]
    weights = list(head.parameters()) + ([] if frozen else list(encoder.parameters()))
    optimizer = torch.optim.AdamW(weights, lr=2e-2 if frozen else 2e-3, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 10, 1 - step / steps))
    for _ in range(steps):
        batch = few[torch.randint(count, (16,))]
        loss = F.cross_entropy(head(encoder(windows[batch])).flatten(0, 1), labels[batch].flatten())    # -100 is left out
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        right = head(encoder(test)).argmax(-1) == answers
    return 100 * right[answers >= 0].float().mean().item()

# %%
def median_score(encoder, count, repeats=5, frozen=False):
    """The median over `repeats` fine-tunings."""
    return sorted(fine_tune(encoder, count, seed, frozen) for seed in range(repeats))[repeats // 2]

# %% [markdown]
# ### Seven ways to pre-train
#
# The paper asks where ELECTRA's gain comes from, by objectives that lie between MLM and ELECTRA (§3.5, Table 5):
#
# | objective | reads | must answer |
# |---|---|---|
# | MLM | `[MASK]`s | the 15% hidden tokens |
# | Replace MLM | the generator's words | the 15% chosen tokens |
# | All-Tokens MLM | the generator's words | every token, with a gate that may say "copy what you read" |
# | ELECTRA 15% | the generator's words | replaced or not, for the 15% chosen tokens |
# | ELECTRA random 15% (ours) | the generator's words | replaced or not, for 15% of all tokens, drawn at random |
# | ELECTRA | the generator's words | replaced or not, for every token |
# | unigram generator | words drawn by frequency alone | replaced or not, for every token (§3.2) |
#
# The random one is not in the paper.
# ELECTRA 15% differs from ELECTRA in two ways: it gets fewer answers, and it gets them where a fake is likely.
# The random one gets as few, but from the same mixture of tokens as ELECTRA: so it tells what the *number* of answers does by itself.

# %%
class Learner(Electra):
    """The small encoder with all that one of the OBJECTIVES needs; called with windows `(batch, 32)`, it gives the loss."""

    def __init__(self, objective, seed, width=16):
        torch.manual_seed(seed)
        narrow = replace(generator_config(SMALL, width), num_attention_heads=4, initializer_range=0.8 / math.sqrt(width))
        super().__init__(settle(Discriminator(SMALL)), settle(MaskedLM(narrow)))
        self.objective, self.parts, self.random = OBJECTIVES[objective], {}, torch.Generator().manual_seed(seed)
        self.word_head, self.gate = MaskedLMHead(SMALL), nn.Linear(SMALL.hidden_size, 1)
        for part in (self.word_head, self.gate):
            part.apply(partial(init_weights, std=SMALL.initializer_range))

    @property
    def encoder(self):                                              # what is kept after pre-training
        return self.discriminator.albert

    def words(self, x):                                             # (…, hidden) to logits (…, vocab)
        return self.word_head(x, self.encoder.embeddings.word.weight)

    def forward(self, ids):
        self.random = train.generator_on(ids.device, self.random)
        chosen = choose(ids, random=self.random)
        text.check_chosen(chosen)
        return self.objective(self, ids, chosen)

# %%
def masked_lm(net, ids, chosen):
    hidden, _ = hide(ids, chosen, SMALL.vocab_size, generator=net.random)
    return F.cross_entropy(net.words(net.encoder(hidden)[chosen]), ids[chosen])


def replace_mlm(net, ids, chosen):
    logits, corrupted = net.corrupt(ids, chosen, random=net.random)
    return F.cross_entropy(logits, ids[chosen]) + F.cross_entropy(net.words(net.encoder(corrupted)[chosen]), ids[chosen])

# %%
def all_tokens_mlm(net, ids, chosen):
    """The probability of a token is D · [it is the one read] + (1 − D) · softmax; D is the gate (§3.5)."""
    logits, corrupted = net.corrupt(ids, chosen, random=net.random)
    x = net.encoder(corrupted)                                      # (batch, tokens, hidden)
    copy = net.gate(x).squeeze(-1)                                  # (batch, tokens)
    other = F.logsigmoid(-copy) + net.words(x).log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1)
    either = torch.logaddexp(F.logsigmoid(copy), other)
    return F.cross_entropy(logits, ids[chosen]) - torch.where(corrupted == ids, either, other).mean()

# %%
def electra(net, ids, chosen, asked="all", unigram=False):
    """The generator's loss + 50 · the discriminator's, both means; parts of it are kept in `net.parts`.

    asked: the places where the discriminator must answer, "all", the "chosen" ones, or as many of all places drawn at "random".
    """
    if unigram:
        pool = programs()[0][programs()[0] >= 5].to(ids.device)
        generator_loss, corrupted = torch.zeros((), device=ids.device), ids.clone()
        drawn = torch.randint(len(pool), ids[chosen].shape, generator=net.random, device=ids.device)
        corrupted[chosen] = pool[drawn]
    else:
        logits, corrupted = net.corrupt(ids, chosen, random=net.random)
        generator_loss = F.cross_entropy(logits, ids[chosen])
    found = net.discriminator(corrupted)
    replaced = (corrupted != ids).to(found)
    each = F.binary_cross_entropy_with_logits(found, replaced, reduction="none")
    net.parts = {"generator": generator_loss.item(), "discriminator": each.mean().item(), "replaced": replaced.mean().item()}
    if asked == "random":
        order = torch.rand(ids.shape, generator=net.random, device=ids.device).argsort(1)
        chosen = order < chosen.sum(1, keepdim=True)
    return generator_loss + 50 * (each.mean() if asked == "all" else each[chosen].mean())

# %%
OBJECTIVES = {"MLM": masked_lm, "Replace MLM": replace_mlm, "All-Tokens MLM": all_tokens_mlm,
              "ELECTRA 15%": partial(electra, asked="chosen"), "ELECTRA random 15%": partial(electra, asked="random"),
              "ELECTRA": electra, "unigram generator": partial(electra, unigram=True)}

# %% [markdown]
# ### Equal work, counted
#
# ELECTRA trains two networks, so a step of it costs more than one of MLM.
# The paper compares at equal floating-point operations, and so do we:
# torch counts those of all matrix products of one step, forward and backward.
# Each objective gets as many steps as 1,000 steps of ELECTRA pay for.

# %%
@cache
def step_flops(objective, width=16):
    """Floating-point operations of one training step in matrix products, forward and backward; a multiply-add is two."""
    net = Learner(objective, 0, width)
    with FlopCounterMode(display=False) as counter:
        net(programs()[0][:16]).backward()
    return counter.get_total_flops()


def steps_for(objective, width=16, budget=1000):
    """How many steps cost what `budget` steps of ELECTRA, with a generator of width 16, cost."""
    return round(budget * step_flops("ELECTRA") / step_flops(objective, width))

# %% tags=["active-ipynb"]
# table(["objective", "operations a step, millions", "steps for the same work"],
#       [[name, f"{step_flops(name) / 1e6:.0f}", steps_for(name)] for name in OBJECTIVES])

# %% [markdown]
# Training all seven with three seeds takes a quarter of an hour, and the rest of the study as long.
# That was done beforehand, and comes below.
# Here and now: MLM, ELECTRA, and ELECTRA 15%, each with the work of 500 steps of ELECTRA.
# ELECTRA 15% is asked the same question as ELECTRA, but learns only from its answers at the chosen positions.

# %% tags=["active-ipynb"]
# fifteen_guess = Predict(
#     "ELECTRA 15% learns from the chosen 15% of the positions only. With few labels, what will its encoder be worth?",
#     ["As much as ELECTRA's", "Less than ELECTRA's, but clearly more than an untrained encoder", "No more than an untrained encoder"],
#     name="fifteen",
# )
# fifteen_guess

# %% tags=["active-ipynb"]
# BUDGET, nets, curves, snapshots = 500, {}, {}, {}
#
#
# def experiment(objective, live):
#     net, steps = Learner(objective, SEED), steps_for(objective, budget=BUDGET)
#     parts = []
#
#     def watch(step, loss):
#         parts.append(net.parts or {"words": loss})
#         live.add(objective, step + 1, loss / (50 if net.parts else 1), role="control" if objective == "MLM" else "idea")
#         if objective == "ELECTRA" and step in (0, 50, 100, 200, 300):
#             snapshots[step] = deepcopy(net.discriminator)
#
#     recipe(net, SEED, steps, watch)
#     nets[objective] = net.eval()
#     curves[objective] = {name: np.array([one[name] for one in parts]) for name in parts[0]}

# %% tags=["active-ipynb"]
# live = Curves.live(x_label="step", y_label="loss (that of the discriminator / 50)", total=BUDGET + steps_for("MLM", budget=BUDGET))
# experiment("MLM", live)
# experiment("ELECTRA", live)
# live.close()
# snapshots[BUDGET] = nets["ELECTRA"].discriminator

# %% tags=["active-ipynb"]
# def smooth(values, every=25):
#     return values[: len(values) // every * every].reshape(-1, every).mean(1)
#
#
# def entropy(p):                                                 # of a coin that falls on "replaced" with probability p
#     return -(p * np.log(p) + (1 - p) * np.log(1 - p))
#
#
# found = curves["ELECTRA"]
# steps = range(25, BUDGET + 1, 25)
# Curves(
#     {"series": [{"name": "discriminator", "x": steps, "y": smooth(found["discriminator"]), "role": "idea"},
#                 {"name": "knows the share replaced only", "x": steps, "y": entropy(smooth(found["replaced"])), "role": "control"}]},
#     x_label="step", y_label="loss per token",
#     caption="The discriminator, against one that says the same probability everywhere. Grey falls, too: the generator gets better.",
#     alt="Two falling curves; that of the discriminator lies well below.",
# )

# %% tags=["active-ipynb"]
# Curves(
#     {"series": [{"name": "MLM, H = 64", "x": [25 * (i + 1) for i in range(len(smooth(curves['MLM']['words'])))],
#                  "y": smooth(curves["MLM"]["words"]), "role": "control"},
#                 {"name": "generator, H = 16", "x": steps, "y": smooth(found["generator"]), "role": "idea"}]},
#     x_label="step", y_label="loss per hidden token",
#     caption="The generator is an MLM, too, but a small one. It need not be good: section 6 shows what a better one does.",
#     alt="Two falling curves; that of the generator stays above the other.",
# )

# %% tags=["active-ipynb"]
# last = {name: values[-100:].mean() for name, values in found.items()}
# claim("over the last 100 steps the discriminator's loss is below nine tenths of what the share of replaced tokens alone allows",
#       last["discriminator"] < 0.9 * entropy(last["replaced"]), "ours")
# claim("the wide MLM fills hidden tokens better than the narrow generator",
#       curves["MLM"]["words"][-100:].mean() < last["generator"], "ours")

# %% [markdown]
# ### You against the discriminator
#
# Each program below was held out: neither network has seen it.
# Five of its 32 tokens were drawn anew by the generator; some of them may have come out as they had been.
# Pick what looks replaced, commit, and compare: the discriminator gets as many picks as you take, and takes its most suspected.
# (If you pick none, it gets one for each fake.)
# (In JupyterLab there are more programs, and a temperature: below 1 the generator draws likelier tokens, above 1 stranger ones.)

# %% tags=["active-ipynb", "nbval-ignore-output"]
# held_out = programs()[1]
# readable = [window for window in held_out if 1 not in window and len(set(window.tolist())) > 17][::3]
#
#
# @torch.no_grad()
# def quiz(program, temperature=1.0):
#     net, ids, random = nets["ELECTRA"], readable[program - 1][None], torch.Generator().manual_seed(program)
#     chosen = choose(ids, random=random)
#     _, corrupted = net.corrupt(ids, chosen, random=random, temperature=temperature)
#     return {"tokens": names(corrupted[0]), "originals": names(ids[0]), "values": net.discriminator(corrupted)[0].sigmoid(),
#             "note": f"program {program}: {int(chosen.sum())} of {ids.shape[1]} tokens were drawn anew"}

# %% tags=["active-ipynb", "nbval-ignore-output"]
# spot = Spot(
#     quiz, judge="the discriminator", controls={"program": range(1, 11)},
#     caption="Which tokens were replaced? Click, commit, compare. The discriminator picks as many tokens as you do, its most suspected.",
#     alt="32 tokens of a program; some of them were replaced.",
# )
# spot.widget(controls={"program": range(1, len(readable) + 1), "temperature": [0.5, 1.0, 2.0]})

# %% tags=["active-ipynb", "nbval-ignore-output"]
# with torch.no_grad():
#     net, ids, random = nets["ELECTRA"], held_out[:: len(held_out) // 1000], torch.Generator().manual_seed(0)
#     chosen = choose(ids, random=random)
#     _, corrupted = net.corrupt(ids, chosen, random=random)
#     replaced, p = corrupted != ids, net.discriminator(corrupted).sigmoid()
# claim("in held-out programs the discriminator gives replaced tokens on average over three times the probability of the others",
#       p[replaced].mean() > 3 * p[~replaced].mean(), "ours")
# suspected, ranked = p > 0.5, p.argsort(1, descending=True).argsort(1) < replaced.sum(1, keepdim=True)
# print(f"limit one half: {suspected[replaced].float().mean():.0%} of the fakes found, "
#       f"{suspected[~replaced].float().mean():.1%} of the originals suspected")
# print(f"one pick for each fake: {ranked[replaced].float().mean():.0%} of the fakes found")
# claim("with one half as the limit it is right more often than one who always says “original”",
#       (suspected == replaced).float().mean() > (~replaced).float().mean(), "ours")

# %% [markdown]
# With one half as the limit it is a cautious judge: it misses most fakes, but what it suspects is mostly one.
# In the quiz it went by rank instead, so that its caution cost it nothing.
# But most tokens are original, so always saying "original" is right nine times in ten.
# That is why such a score says little, and why the paper judges the encoder by what can be built on it.
#
# ### What are the encoders worth?
#
# Now ELECTRA 15%, and then fine-tuning on 15 labelled windows.

# %% tags=["active-ipynb"]
# live = Curves.live(x_label="step", y_label="loss (that of the discriminator / 50)", total=BUDGET)
# experiment("ELECTRA 15%", live)
# live.close()
# encoders = {"untrained": Learner("MLM", SEED).encoder} | {name: nets[name].encoder for name in ("MLM", "ELECTRA 15%", "ELECTRA")}
# scores = {name: [fine_tune(encoder, 15, seed) for seed in range(3)] for name, encoder in encoders.items()}
# middle = {name: float(np.median(values)) for name, values in scores.items()}

# %% tags=["active-ipynb"]
# Layers(
#     {"series": [{"name": "others", "values": list(middle.values())[:-1], "role": "control"},
#                 {"name": "ELECTRA", "values": [0, 0, 0, middle["ELECTRA"]], "role": "idea"}], "labels": list(middle)},
#     kind="stacked", y_range=(0, 100), x_label="pre-training", y_label="roles of names right, %",
#     caption="After fine-tuning on 15 labelled windows, median of three; held-out files. Equal work in pre-training, none for the first.",
#     alt="Four bars; that of ELECTRA 15% is the lowest of the three trained ones.",
# )

# %% tags=["active-ipynb"]
# claim("ELECTRA is better by over 5 points than ELECTRA 15%",
#       middle["ELECTRA"] > middle["ELECTRA 15%"] + 5, "ours; the effect: Table 5")
# claim("ELECTRA and MLM are both better than an untrained encoder by over 3 points",
#       min(middle["ELECTRA"], middle["MLM"]) > middle["untrained"] + 3, "ours")
# fifteen_guess.reveal(
#     0 if middle["ELECTRA 15%"] > middle["ELECTRA"] - 3 else 1 if middle["ELECTRA 15%"] > middle["untrained"] + 3 else 2,
#     "Few answers teach little. In the paper, with far more of everything, ELECTRA 15% equals BERT.",
# )

# %% [markdown]
# Do not be surprised by the first bar: the heads of an untrained encoder look at the neighbours already, and a role depends on them most.
# Where ELECTRA 15% falls below it, it has unlearned something.
#
# ### Table 5: seven ways, three seeds
#
# `make study-electra` trained all seven, and ELECTRA with other generators, with three seeds each.
# It stored every number with its date and versions.
# Each got the work of 1,000 steps of ELECTRA.
# Below are the mean and the standard deviation over the seeds, in percent of the roles.

# %% tags=["active-ipynb"]
# paper = {"MLM": 82.2, "Replace MLM": 82.4, "All-Tokens MLM": 84.3, "ELECTRA 15%": 82.4, "ELECTRA": 85.0}     # average GLUE score
# stored = study.read("electra")
#
#
# def spread(name, measure):                                      # mean ± standard deviation over the seeds
#     values = np.array([run[measure] for run in stored[name]])
#     return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"
#
#
# measures, ways = ("fine-tuned on 15", "fine-tuned on 50", "probe"), [*OBJECTIVES, "untrained"]
# answers = labelled()[1][1][labelled()[1][1] >= 0]               # the roles of all names in the held-out windows
# commonest = 100 * (answers == answers.mode().values).float().mean().item()
# table(["objective", "Table 5, GLUE", "here: 15 windows", "50 windows", "frozen encoder, 50 windows"],
#       [[name, paper.get(name, "–"), *(spread(name, measure) for measure in measures)] for name in ways]
#       + [["always the commonest role", "–", *3 * [f"{commonest:.1f}"]]])

# %% tags=["active-ipynb"]
# at15 = {name: np.array([run["fine-tuned on 15"] for run in runs]) for name, runs in stored.items()}
# HERE = {"here, mean": np.mean, "here, lowest seed": np.min, "here, highest seed": np.max}
#
#
# def seven_ways(show):
#     scores = {name: score - paper["MLM"] for name, score in paper.items()}
#     if show in HERE:
#         scores = {name: HERE[show](at15[name]) for name in ways}
#     idea = [score * (name == "ELECTRA") for name, score in scores.items()]
#     return {"labels": list(scores), "y_range": (0, 100) if show in HERE else (0, 4), "series": [
#         {"name": "others", "values": [score - one for score, one in zip(scores.values(), idea)], "role": "control"},
#         {"name": "ELECTRA", "values": idea, "role": "idea"}]}

# %% tags=["active-ipynb"]
# Layers(
#     seven_ways, controls={"show": [*HERE, "the paper, Table 5"]}, also=[{"show": "the paper, Table 5"}],
#     kind="stacked", x_label="pre-training",
#     y_label="here: roles of names right, %; the paper: GLUE points above BERT",
#     caption="Ours: after fine-tuning on 15 windows. The paper's: how far its average GLUE score is above that of BERT, its MLM, with "
#             "networks of 110 million parameters. In both, ELECTRA is above ELECTRA 15%.",
#     alt="Bars: here MLM and Replace MLM are highest and ELECTRA random 15% lowest; in the paper ELECTRA is highest.",
# )

# %% tags=["active-ipynb"]
# claim("with every seed ELECTRA is above ELECTRA 15%, on average by over 10 points",
#       all(at15["ELECTRA"] > at15["ELECTRA 15%"]) and at15["ELECTRA"].mean() > at15["ELECTRA 15%"].mean() + 10,
#       "ours; the effect: Table 5")
# claim("with every seed ELECTRA 15% is above ELECTRA random 15%, and below an encoder that was not trained at all",
#       all(at15["ELECTRA 15%"] > at15["ELECTRA random 15%"])
#       and all(at15["ELECTRA 15%"] < at15["untrained"]), "ours")
# frozen = np.array([run["probe"] for run in stored["ELECTRA random 15%"]])
# claim("frozen, the encoder of ELECTRA random 15% is within 2 points of always naming the commonest role",
#       all(abs(frozen - commonest) < 2), "ours")
# claim("on average Replace MLM is within 4 points of MLM",
#       abs(at15["Replace MLM"].mean() - at15["MLM"].mean()) < 4, "ours; the effect: Table 5")
# claim("but on average MLM is above ELECTRA, by over 3 points: the paper's order does not show",
#       at15["MLM"].mean() > at15["ELECTRA"].mean() + 3, "ours")

# %% [markdown]
# Was the learning rate fair to both?
# The study has both with half of it and with twice as much, three seeds each.

# %% tags=["active-ipynb"]
# rates = {0.0015: ", rate 0.0015", 0.003: "", 0.006: ", rate 0.006"}
# table(["learning rate", *(f"{name}, {windows} windows" for windows in (15, 50) for name in ("MLM", "ELECTRA"))],
#       [[rate, *(spread(name + more, f"fine-tuned on {windows}") for windows in (15, 50) for name in ("MLM", "ELECTRA"))]
#        for rate, more in rates.items()])

# %% tags=["active-ipynb"]
# by_rate = {name: [at15[name + more].mean() for more in rates.values()] for name in ("MLM", "ELECTRA")}
# claim("fine-tuned on 15 windows, ELECTRA is best on average with 0.003 of the three rates, MLM with twice that",
#       [np.argmax(means) for means in by_rate.values()] == [2, 1], "ours")
# claim("with each of the three MLM is on average above ELECTRA", all(np.subtract(*by_rate.values()) > 0), "ours")

# %% [markdown]
# Read this with care.
#
# - One finding of the paper shows here, with every seed: **answers from all tokens**. ELECTRA beats ELECTRA 15% by far.
#   But in the paper ELECTRA 15% is as good as BERT; here it is worse than no pre-training.
# - Is it the *number* of answers, or their *places*? The random 15% says: the number. It is asked about the same mixture of tokens as
#   ELECTRA, only less often, and ends lower still. Frozen, its encoder is worth no more than naming the commonest role every time
#   (that of ELECTRA 15% hardly more, an untrained one some points more): a linear layer finds next to nothing of the roles in its states.
#   So it is not the places that harm ELECTRA 15%. They even help: it is asked about every fake, the random one about one in seven.
# - A second finding shows, too: that an MLM sees `[MASK]` costs it little. Replace MLM and MLM are close, in the paper and here.
# - The main one does **not** show. In the paper ELECTRA comes first and All-Tokens MLM second; here, for equal work, plain MLM does.
#   Our guess, which we have not tested: to know the role of a name is to know what else could stand there.
#   That is just what an MLM is asked, and with 1,000 tokens instead of 30,000 it is not asked too much.
# - The learning rate was the same for all. The table above shows that 0.003 is the best of three for ELECTRA; MLM could do with more.
#   MLM is ahead at each of them. The other ways were not tuned.
# - A caveat about *selection*: we had tried other set-ups before, and in most the discriminator learned nothing within a minute.
#   We kept the one in which it learns, with offsets. A comparison in a set-up that was kept because ELECTRA works in it leans to ELECTRA.
#   Take home which way a difference points, not how large it is.

# %% [markdown]
# ## 6. Look inside
#
# ### What the discriminator suspects, as training goes on
#
# The generator is the trained one; the discriminator is the one of the step that you choose.
# Raise the temperature, and the generator draws stranger tokens; lower it, and it draws its likeliest, which are right more often.
# A name that is not among the 1,000 tokens is shown as you wrote it, but read as `[UNK]`, and never drawn; point at a token to see.
# In JupyterLab, write a line of Python yourself.

# %%
def read_program(program, vocabulary):
    """(what is shown, ids `(1, n)`, a note or None) of at most 32 tokens of a text, which should be Python but need not be."""
    try:
        tokens = [token for token, _, _ in text.code_tokens(program)]
    except (SyntaxError, ValueError, tokenize.TokenError):      # no Python: cut at blanks and signs
        tokens = re.findall(r"\w+|[^\w\s]", program)
    number, shown = {token: i for i, token in enumerate(vocabulary)}, tokens[:LENGTH] or ["NEWLINE"]
    note = f"only the first {LENGTH} of {len(tokens)} tokens are read" if len(tokens) > LENGTH else None
    return shown, torch.tensor([[number.get(token, 1) for token in shown]]), note

# %% tags=["active-ipynb"]
# own = ["def area(self): return self.width * self.height",
#        "for key, value in sorted(items): print(key)",
#        "if not isinstance(name, str): raise TypeError(name)"]
#
#
# @torch.no_grad()
# def suspects(step, program, temperature, share):
#     shown, ids, note = read_program(program, vocabulary)
#     net, random = nets["ELECTRA"], torch.Generator().manual_seed(SEED)
#     chosen = choose(ids, share, random)
#     _, corrupted = net.corrupt(ids, chosen, random=random, temperature=temperature, masked=1.0)
#     hidden = ["[MASK]" if one else token for token, one in zip(shown, chosen[0])]
#     drawn = [vocabulary[i] if one else token for token, i, one in zip(shown, corrupted[0], chosen[0])]
#     marks = ["" if not one else "drawn, and right" if a == b else "replaced" for one, a, b in zip(chosen[0], drawn, shown)]
#     unknown = ["read as [UNK], never drawn" if i == 1 else "" for i in ids[0]]
#     return {"note": note, "rows": [
#         {"title": "the program", "tokens": shown, "marks": [mark * (mark == "replaced") for mark in marks], "notes": unknown},
#         {"title": "the generator reads", "tokens": hidden},
#         {"title": f"the discriminator after {step} steps", "tokens": drawn, "marks": marks,
#          "values": snapshots[step](corrupted)[0].sigmoid(), "role": "idea"}]}

# %% tags=["active-ipynb", "nbval-ignore-output"]
# strip = Tokens(
#     suspects, start={"step": BUDGET, "temperature": 1.0, "program": own[2]},
#     controls={"step": list(snapshots), "program": own, "temperature": [0.3, 1.0, 3.0], "share": [0.15, 0.3]},
#     value_label="probability of “replaced”",
#     caption="Move the step from 0 to the end: at first all look alike; later it suspects some fakes, misses others, and suspects "
#             "some originals, too.",
#     alt="Three rows of tokens: a program, the same with some masked, and filled by the generator, shaded by suspicion.",
# )
# strip.widget(controls={"temperature": [0.1, 0.3, 0.6, 1.0, 1.5, 3.0, 10.0], "share": [0.05, 0.15, 0.3, 0.5]}, write={"program": 300})

# %% [markdown]
# ### How strong should the generator be?
#
# The paper finds generators of a quarter to half of the discriminator's width best (§3.2, Figure 3, left).
# It supposes that a stronger one makes the discriminator's task too hard; and it costs more work besides.
# Our discriminator has H = 64, so width 8 is an eighth of it, and 64 as wide as it is.
# All get equal work, so a wide generator leaves fewer steps.

# %% tags=["active-ipynb"]
# by_width = {8: "width 8", 16: "ELECTRA", 32: "width 32", 64: "width 64"}
#
#
# def width_curve(windows):
#     runs = {name: np.array([run[f"fine-tuned on {windows}"] for run in stored[name]]) for name in stored}
#     series = [{"name": name, "x": list(by_width), "y": [one(runs[key]) for key in by_width.values()], "role": "idea", "dash": dash}
#               for name, one, dash in (("best seed", np.max, 2), ("mean", np.mean, 0), ("worst seed", np.min, 2))]
#     level = {"name": "unigram, mean", "x": list(by_width), "y": [runs["unigram generator"].mean()] * 4, "role": "control"}
#     return {"series": [*series, level]}
#
#
# Curves(
#     width_curve, controls={"windows": [15, 50]}, x_label="width of the generator", y_label="roles right, %",
#     caption="Generators of four widths, equal work; fine-tuned on 15 or 50 windows. Dotted: the best and the worst of the three seeds.",
#     alt="A curve over the generator's width with its spread, and a level line for the unigram generator.",
# )

# %% tags=["active-ipynb"]
# for windows in (15, 50):
#     best, mean, worst, level = (line["y"] for line in width_curve(windows)["series"])
#     claim(f"fine-tuned on {windows} windows, the widest of the four generators is on average the worst",
#           min(mean[:3]) > mean[3], "ours")
#     claim(f"fine-tuned on {windows} windows, a unigram generator is on average within 3 points of the learned one",
#           abs(level[0] - mean[1]) < 3, "ours")

# %% [markdown]
# The widest generator is worst here: it costs more, so that fewer steps are left, and its fakes may be harder to tell.
# Which of the two does it we did not separate.
# In the paper, where all get 500,000 steps, a quarter to half the width is best.
# Between the three narrow ones the differences are no larger than those between seeds.
# And words drawn by frequency alone do about as well here; in the paper they do worse (§3.2).
#
# ### What the heads look at
#
# Generator beside discriminator, in the maps of the ALBERT lesson.
# Remember how the offsets started: before, after, two before, two after.

# %% tags=["active-ipynb"]
# @torch.no_grad()
# def look(network, program):
#     shown, ids, _ = read_program(program, vocabulary)
#     albert = getattr(nets["ELECTRA"], network).albert
#     weights = [layer.attention.inner.weights(x)[0] for layer, x in zip(albert.encoder.layers, albert.states(ids))]
#     return {"tokens": shown, "attention": torch.stack(weights)}
#
#
# heads = Attention(
#     look, controls={"network": ["discriminator", "generator"], "program": own},
#     caption="The 2 × 4 heads of both networks. The bright lines beside the diagonal are the distances that heads started with.",
#     alt="A grid of 2 by 4 small maps of attention, and the tokens of the program twice with lines between them.",
# )
# heads.widget(write={"program": 300})

# %% [markdown]
# ### The gradient of every layer
#
# With the probe of the ResNet lesson: the norm of the gradient in each linear layer of both encoders, for their own loss.

# %% tags=["active-ipynb"]
# def layer_norms(after):
#     net = Learner("ELECTRA", SEED) if after == "0 steps" else deepcopy(nets["ELECTRA"])
#     random = torch.Generator().manual_seed(SEED)
#     sum(net.losses(held_out[:64], choose(held_out[:64], random=random), random=random)).backward()
#     norms = {name: gradient_norms(getattr(net, name).albert.encoder, nn.Linear) for name in ("generator", "discriminator")}
#     labels = [f"{int(name.split('.')[1]) + 1} {name.split('.')[-1]}" for name in norms["generator"]]
#     return {"series": [{"name": name, "values": list(found.values()), "role": "idea" if name == "discriminator" else "control"}
#                        for name, found in norms.items()], "labels": labels}

# %% tags=["active-ipynb"]
# Layers(
#     layer_norms, controls={"after": ["0 steps", f"{BUDGET} steps"]}, log=True, x_label="layer and map", y_label="norm of the gradient",
#     caption="Each loss by itself, without λ. Before training queries and keys get by far the smallest gradients; look at the end, too.",
#     alt="Two curves over twelve linear layers, one for each network; before training with dips at the queries and keys.",
# )

# %% [markdown]
# ## 7. What people get wrong
#
# ### "ELECTRA is built on a GAN"
#
# The Korean notes behind this course say so.
# They also spell the name *Effective-Learning-based and Computationally-Efficient Language Representation Learning*;
# the paper's own words for it are in the first cell.
# And it is no GAN (§2): the generator is trained to be *right*, by maximum likelihood, not to fool anybody;
# it reads a text, not noise; and what it gets right counts as original.
# Most plainly: what the discriminator learns reaches it through the two shared tables only.

# %% tags=["active-ipynb"]
# torch.manual_seed(SEED)
# model = Electra(Discriminator(toy), MaskedLM(generator_config(toy, 16)))
# ids = torch.randint(5, 97, (4, 20))
# _, discriminator_loss = model(ids, choose(ids))
# weights = dict(model.generator.named_parameters())
# found = torch.autograd.grad(discriminator_loss, weights.values(), allow_unused=True)
# reached = [name for name, one in zip(weights, found) if one is not None]
# print(f"{len(weights)} tensors of the generator; reached by the discriminator's loss: {', '.join(reached)}")
# claim("of the generator's 44 tensors the discriminator's loss reaches two: the tables that both networks share",
#       len(weights) == 44 and [name.split(".")[-2] for name in reached] == ["word", "position"], "§2; §3.2")

# %% [markdown]
# The authors tried a generator that is trained to fool, by reinforcement learning, since no gradient passes through the drawing.
# It came out worse: 58% of its guesses were right, against 65% with maximum likelihood (§3.2).
#
# ### "Every hidden token gets the label *replaced*"
#
# Only where the draw differs from the original.

# %% tags=["active-ipynb"]
# with torch.no_grad():
#     net, ids, random = nets["ELECTRA"], held_out[:1000], torch.Generator().manual_seed(0)
#     chosen = choose(ids, random=random)
#     _, corrupted = net.corrupt(ids, chosen, random=random)
# same = 100 * (corrupted == ids)[chosen].float().mean().item()
# claim("our generator, after 500 steps, draws the very token that stood there in over a fifth of all places", same > 20, "ours")

# %% [markdown]
# In the paper the generator is right so often that few fakes are left, and for ELECTRA-Large 25% are hidden instead of 15% (Table 6).
#
# ### "The hidden tokens are all masked"
#
# In the paper, yes; in the released code 85% of them.
# The generator's loss asks for all of them, so 15% of its questions could be answered by copying.

# %% tags=["active-ipynb"]
# with activations(nets["ELECTRA"], ["generator.albert.embeddings"]) as seen, torch.no_grad():
#     nets["ELECTRA"].corrupt(ids, chosen, random=random)
# read, _ = seen["generator.albert.embeddings"]
# masked = (read == MASK)[chosen].float().mean().item()
# claim("85% of the chosen tokens, to 2%, are [MASK] in what our generator reads, and nothing else is",
#       abs(masked - 0.85) < 0.02 and torch.equal(read[~chosen], ids[~chosen]), "released code")

# %% [markdown]
# ### "λ = 50 makes the discriminator fifty times as important"
#
# A binary loss of 0.2 a token stands against a loss of over 2 a word: λ brings them to one order of size.
# And section 3 showed, for a first step, that Adam (without clipping) undoes it wherever only one of the losses reaches.

# %% tags=["active-ipynb"]
# last = {name: values[-100:].mean() for name, values in curves["ELECTRA"].items()}
# claim("before λ, the generator's loss is over five times the discriminator's", last["generator"] > 5 * last["discriminator"], "ours")

# %% [markdown]
# ### "The generator is thrown away, so it is free"
#
# It is not free while you train, and the paper counts it.

# %% tags=["active-ipynb"]
# claim("a quarter of the work of ELECTRA-Small and -Base is the generator's, a seventh of ELECTRA-Large's",
#       [f"{value:.2f}" for value in generator_share.values()] == ["0.27", "0.25", "0.15"], "the paper's counting rules")

# %% [markdown]
# ### "The stronger the generator, the better"
#
# See the curve of section 6, and Figure 3 of the paper.
# By the way: the published `electra-small-generator` is as wide as its discriminator.
# It belongs to a later release, trained longer, not to Table 1.

# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     released = parameters(build("electra-small-generator", hidden_size=256, intermediate_size=1024, num_attention_heads=4))
# claim("the published small generator has 13,546,682 parameters, that of the paper 4,620,026",
#       (released, built["electra-small-generator"]) == (13_546_682, 4_620_026), "Table 6; released files")

# %% [markdown]
# ### "The discriminator's output is the probability that a token is real"
#
# In the equations, yes: D is σ(wᵀh), the probability of *original*.
# In the published weights, and here, a logit above 0 means *replaced*.
# Each is 1 minus the other; mix them up, and every answer is turned round.

# %% tags=["active-ipynb"]
# with torch.no_grad():
#     logit = nets["ELECTRA"].discriminator(corrupted)
# claim("replaced tokens have the higher logits on average", logit[corrupted != ids].mean() > logit[corrupted == ids].mean(), "ours")

# %% [markdown]
# ### "An MLM learns nothing from the tokens that are not hidden"
#
# They get no question of their own, but section 1 showed a gradient at each of them: they are read, to answer the questions about others.
#
# ## 8. Your turn
#
# Replace the lines that raise and run the cell: its last line checks your answer.
# The solutions are folded below; try first.
#
# ### Exercise 1: the labels
#
# `ids` `(batch, n)` is a text, `chosen` (bool, same shape) says which tokens were hidden, and `drawn` `(number of chosen)`
# what the generator drew for them, in the order in which `ids[chosen]` lists them.
# Return the corrupted text and the labels, both `(batch, n)`; 1 for replaced.
# Leave `ids` as it is.

# %% tags=["active-ipynb"]
# def corrupt_and_label(ids, chosen, drawn):
#     raise NotImplementedError
#
#
# check(corrupt_and_label, checks.corrupt_and_label)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# ```python
# def corrupt_and_label(ids, chosen, drawn):
#     corrupted = ids.clone()
#     corrupted[chosen] = drawn
#     return corrupted, (corrupted != ids).long()     # a draw that is right counts as original
# ```
# </details>
#
# ### Exercise 2: the loss of the discriminator
#
# Given `logits` and `labels` `(batch, n)`, and `attention_mask` (1 for tokens, 0 for padding):
# the mean of the binary cross entropy over all tokens that are no padding, each with the same weight.
# It should also work for logits of ±200.

# %% tags=["active-ipynb"]
# def discriminator_loss(logits, labels, attention_mask):
#     raise NotImplementedError
#
#
# check(discriminator_loss, checks.discriminator_loss)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# Fakes are few, and it is tempting to give them more weight; the paper does not.
#
# ```python
# def discriminator_loss(logits, labels, attention_mask):
#     each = F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
#     return (each * attention_mask).sum() / attention_mask.sum()
# ```
#
# A sigmoid, then a logarithm, gives infinity at ±200; the function that takes logits does not.
# </details>
#
# ### Exercise 3: draw, and leak nothing
#
# `logits` `(m, vocab)` are the generator's, with gradient.
# Draw one token for each row by softmax(logits / temperature), and return the ids `(m)`.
# Nothing that is later computed from the result may send a gradient to the logits, and the logits must not change.

# %% tags=["active-ipynb"]
# def draw(logits, temperature):
#     raise NotImplementedError
#
#
# check(draw, checks.draw)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# ```python
# def draw(logits, temperature):
#     with torch.no_grad():
#         return torch.multinomial((logits / temperature).softmax(-1), 1)[:, 0]
# ```
#
# Another way: add Gumbel noise, −log(−log u), to logits / temperature and take the largest. The released code does it so.
# </details>
#
# ## 9. Where we differ from the paper
#
# | what | the paper | here |
# |---|---|---|
# | text | Wikipedia and BookCorpus, 3.3 billion tokens; for Large 33 billion | 450,000 tokens of networkx and sympy |
# | pieces | WordPiece, 30,522 | tokens of Python's grammar, 1,000 |
# | length, batch | 128 or 512, 128 to 2,048 texts | 32, 16 |
# | discriminator | 12 or 24 layers, H = 256 to 1,024 | 2 layers, H = 64 |
# | generator | same depth, a quarter to a third of the width | same depth, a quarter of the width |
# | positions | a learned table | the same from sine waves, and a learned number for each distance and head |
# | first weights | standard deviation 0.02 | 0.1, as the network is narrow; generator 0.8/√width |
# | gradient | clipped at norm 1, all together (released code) | generator with the shared tables, and the rest, clipped apart |
# | steps | 400,000 to 1,750,000 | 1,000 in the study, 500 here |
# | shared | tables of words and positions (§3.2); in the released code that of segments and the normalisation, too | words and positions |
# | judged by | GLUE and SQuAD, fine-tuned | roles of names in programs, fine-tuned on few windows |
#
# What does **not** show here:
#
# - *ELECTRA ahead of MLM* (Table 5): see section 5.
# - *The best width of the generator*: see section 6.
#
# And this is what we tried on the way to this set-up.
# All of it are **single trials**, one run each: no cell of this notebook reproduces them, and the study does not contain them.
# Take them as hints.
#
# - *English.* On Wikipedia and news (2,000 WordPieces, these networks, 1,500 steps) the generator's loss came from 6.9 to 5.1,
#   about as far as an MLM's. The discriminator stayed at what the share of replaced tokens allows, 0.402 against 0.403 on held-out text,
#   and found no fake. Hence programs: there a token out of place is easier to tell.
# - *Without offsets* the discriminator is late on programs, too: windows of 16, sine waves alone, 1,000 steps:
#   it knew nothing but the share of fakes for 600 steps, and its encoder found 70% of the roles (100 windows to fine-tune), MLM's 88%.
#   With offsets it was 91% for both; with offsets that start from zero, 68% for ELECTRA.
# - *λ*: 5 gave 85%, 50 gave 88%. Section 3 says why it matters little.
#
# To see whether the claims of this notebook hang on its seed, set the environment variable `LESSON_SEED` to try your own.
#
# ## 10. With real weights and more machines
#
# With a network connection, published networks come by their names:
#
# ```python
# from transformers import AutoTokenizer
#
# name = "google/electra-small-discriminator"
# discriminator = published.from_pretrained(name)
# generator = published.from_pretrained("google/electra-small-generator")
# inputs = AutoTokenizer.from_pretrained(name)("the chef ate the meal", return_tensors="pt")
# discriminator(**inputs).sigmoid()       # (1, tokens): the probability of "replaced"
# ```
#
# To train at the paper's scale, give `Electra(build("electra-base-discriminator"), build("electra-base-generator"))`
# texts of 512 WordPieces, 256 a step:
#
# ```python
# generator_loss, discriminator_loss = model(input_ids, choose(input_ids, 0.15), attention_mask)
# loss = generator_loss + 50 * discriminator_loss
# ```
#
# (`choose` leaves out ids below 5; with another vocabulary mark its special tokens yourself, and set `MASK` to its number.)
# On several machines wrap the model in `torch.nn.parallel.DistributedDataParallel`.
#
# ## 11. Recap
#
# Every line was tested when you ran the notebook.

# %% tags=["active-ipynb"]
# recap()

# %% [markdown]
# Further reading:
#
# - He, Gao, Chen, *DeBERTaV3*, [arXiv:2111.09543](https://arxiv.org/abs/2111.09543):
#   the shared table is pulled two ways, and how to stop that.
# - Meng et al., *COCO-LM*, [arXiv:2102.08473](https://arxiv.org/abs/2102.08473): correcting as well as detecting.
# - Bose, Ling, Cao, *Adversarial Contrastive Estimation*, [arXiv:1805.03642](https://arxiv.org/abs/1805.03642):
#   what the paper's appendix takes the adversarial variant to be.
# - Devlin et al., *BERT*, [arXiv:1810.04805](https://arxiv.org/abs/1810.04805).
#
# <nav>
#
# Lesson before: [ALBERT](albert.ipynb) · Next lesson: [DeBERTa](deberta.ipynb)
#
# </nav>
