# %% [markdown] tags=["slide"]
# # DeBERTa: what a token says, where it stands, and which of the two asks
#
# **Paper:** He, Liu, Gao, Chen: *DeBERTa: Decoding-enhanced BERT with Disentangled Attention*, ICLR 2021 ([arXiv:2006.03654](https://arxiv.org/abs/2006.03654))
#
# **You will see:** two puzzles, each for another part of attention, a head taken apart into these parts, and what no distance can tell

# %% [markdown] tags=["speaker"]
# **You need** the [ALBERT lesson](albert.ipynb): attention, the encoder, the masked language model.
# *The short way*: the sections marked ★; twenty minutes.
# Everything: about 75 minutes, of which the machine computes one.
#
# What the paper says is marked with its section (§), equation, table or figure; everything else is ours.
# A line that begins with ✓ was tested on the machine that ran it; a claim that fails stops the notebook.
# *Study* marks numbers from longer runs with several seeds, stored with their versions.

# %% tags=["active-ipynb"]
# from importlib.util import find_spec
#
# assert find_spec("kit"), (
#     "this kernel lacks the project: choose .venv, "
#     "or run `pip install -r requirements.txt` in the project's folder"
# )

# %%
import math
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import nn

from kit import text, train
from kit.config import variant
from kit.programs import LENGTH, VOCABULARY, windows
from lessons.albert import (
    MASK,
    Config,
    Encoder,
    FeedForward,
    Layer,
    MaskedLM,
    SelfAttention,
    bert,
    choose,
    hide,
    init_weights,
    recipe,
    waves,
)

# %% tags=["active-ipynb", "parameters"]
# from kit import study
# from kit.claims import claim, recap
# from kit.exercises import check
# from kit.probe import parameters
# from kit.table import table
# from kit.view import Predict
# from lessons.albert import fit, held_out_loss
# from lessons.checks import deberta as checks
# from lessons.figures import deberta as figures
# from lessons.published import deberta as published
#
# SEED = train.seed()
# torch.set_num_threads(1)  # networks this small run fastest on one core

# %% [markdown] tags=["slide"]
# ## 1. The problem ★
#
# Attention does not know where a token stands: shuffle a text, and the same vectors come out, shuffled (the ALBERT lesson).
# So BERT adds a vector for the *position* to the vector of the word, and from there on each token is *one* vector.
# These positions are **absolute**: first, second, third.
#
# But much of language asks how *far*, and on which *side*: "deep" and "learning" belong together when they are neighbours, wherever that is (§1).

# %% [markdown] tags=["slide"]
# Three puzzles test it.
# Their texts are the same, random tokens of a letter and an offset; they differ in what each token is asked.
#
# - **fixed**: copy the letter that stands three places before you.
# - **reader**: *you* say where to look. At `c+2`, copy the letter two places after you.
# - **sender**: *others* say whom they mean. `c+2` speaks to the token two places after it, which is to copy `c`, whatever it says itself. Only those are asked to whom exactly one token speaks.

# %%
LETTERS = "abcdefgh"
OFFSETS = torch.tensor([-3, -2, -1, 1, 2, 3])


def puzzle(task, count, length, generator):
    """Texts of the puzzle "fixed", "reader" or "sender", and what is to be answered.

    Both `(count, length)`: ids of tokens, and numbers of letters, or -100, which the
    loss ignores, where nothing is asked.
    """
    letter = torch.randint(len(LETTERS), (count, length), generator=generator)
    which = torch.randint(len(OFFSETS), (count, length), generator=generator)
    place = torch.arange(length)
    target = place + OFFSETS[which]                     # what each token points at
    if task == "sender":
        sends = target[:, :, None] == place             # (count, from, to)
        source, asked = sends.int().argmax(1), sends.sum(1) == 1
    else:
        source = target if task == "reader" else (place - 3).expand(count, -1)
        asked = (source >= 0) & (source < length)
    answers = letter.gather(1, source.clamp(0, length - 1))
    return letter + len(LETTERS) * which, torch.where(asked, answers, -100)


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.three_puzzles()

# %% [markdown] tags=["slide"]
# First a BERT of one layer with one head, trained on texts of 24 tokens and tested on new ones of 48.
# The training is that of the ALBERT lesson, and the same for all that follows.

# %%
SMALL = Config(
    vocab_size=len(LETTERS) * len(OFFSETS), hidden_size=32, num_hidden_layers=1,
    num_attention_heads=1, intermediate_size=64, max_position_embeddings=48,
)


class Solver(nn.Module):
    """Token ids `(batch, tokens)` to logits of the letters `(batch, tokens, 8)`."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.letter = nn.Linear(encoder.config.hidden_size, len(LETTERS))

    def forward(self, ids):
        return self.letter(self.encoder(ids))


def started(model):
    """Give a narrow model its initial weights: deviation 0.1; positions are waves."""
    model.apply(partial(init_weights, std=0.1))
    for module in model.modules():
        if isinstance(getattr(module, "position", None), nn.Embedding):
            rows, width = module.position.weight.shape
            module.position.weight.data = 0.1 * waves(rows, width)
    return model


# %%
def learn(model, ids, answers, rate=5e-3, on_step=None):
    """Train in place on texts `(n, tokens)`, 32 a step, to give their answers.

    on_step: called as `on_step(step, loss)`. Returns the model.
    """
    def loss(logits, right):                    # (32, tokens, answers), (32, tokens)
        return F.cross_entropy(logits.flatten(0, 1), right.flatten())

    def each(step, value):
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if on_step is not None:
            on_step(step, value)

    batches = list(zip(ids.split(32), answers.split(32)))
    train.fit(model, batches, loss, *recipe(model, len(batches), rate), each)
    return model


# %%
def solve(encoder, task, seed, steps=300, rate=5e-3, on_step=None):
    """A Solver of this encoder, trained on a puzzle with texts of 24 tokens."""
    solver = started(Solver(encoder))
    texts = puzzle(task, 32 * steps, 24, torch.Generator().manual_seed(seed))
    return learn(solver, *texts, rate, on_step)


@torch.no_grad()
def counted(model, ids, answers):
    """How many answers are right, and how many there are, at each position."""
    guesses = model(train.placed(ids, model)).argmax(-1)
    right, asked = guesses == train.placed(answers, model), answers >= 0
    return right.sum(0).cpu(), asked.sum(0)


def tested(solver, task):
    """Percent right in 400 new texts of 48 tokens: positions 1 to 24, and 25 to 48."""
    texts = puzzle(task, 400, 48, torch.Generator().manual_seed(999))
    right, asked = counted(solver, *texts)
    parts = slice(24), slice(24, None)
    return [100 * (right[part].sum() / asked[part].sum()).item() for part in parts]


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# far_guess = Predict(
#     "The BERT learns “fixed” on texts of 24 tokens, almost without a mistake. "
#     "Then it reads texts of 48. At positions 25 to 48 it is…",
#     ["still right: three places before is three places before",
#      "right about half of the time", "right one time in eight: it guesses"],
#     name="far",
# )
# far_guess

# %% tags=["active-ipynb", "slide", "figure-only"]
# TASKS, solvers, scores = ("fixed", "reader", "sender"), {}, {}
#
#
# def experiment(name, encoder, tasks=TASKS):
#     live = figures.live_losses(300 * len(tasks))
#     for task in tasks:
#         torch.manual_seed(SEED)
#         follow = figures.follow(live, f"{name}, {task}")
#         solver = solve(encoder(), task, SEED, on_step=follow)
#         solvers[name, task], scores[name, task] = solver, tested(solver, task)
#     live.close()
#
#
# experiment("absolute", partial(bert, SMALL))
# figures.right_answers("absolute", scores)

# %% tags=["active-ipynb", "slide", "figure-only"]
# claim("absolute positions solve “fixed” where they were trained, with over 95% right; "
#       "at later positions no puzzle gets beyond 25%, where guessing gives 12.5%",
#       scores["absolute", "fixed"][0] > 95
#       and max(scores["absolute", task][1] for task in TASKS) < 25, "ours")
# far = scores["absolute", "fixed"][1]
# far_guess.reveal(
#     2 if far < 30 else 1 if far < 70 else 0,
#     f"{far:.0f}%: it learned for each position which other one to look at, "
#     "and the rows from 25 on of its table were never trained.",
# )

# %% [markdown] tags=["speaker"]
# The other two are harder even where it was trained.
# "Two after me" needs my place and my offset *together*; the network has only their sum.

# %% [markdown] tags=["slide"]
# ## 2. The idea ★
#
# Give a token two vectors: its content $H_i$ and, for a pair, the position $P_{i|j}$ of $i$ *relative to* $j$.
# Then the comparison of $i$ with $j$ has four parts (Eq. 2):
#
# $$A_{i,j} = H_i H_j^\top + H_i P_{j|i}^\top + P_{i|j} H_j^\top + P_{i|j} P_{j|i}^\top$$

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.four_parts()

# %% [markdown] tags=["slide"]
# - **content-to-content, c2c**: a token like this looks at tokens like that.
# - **content-to-position, c2p**: a token like this looks two places to the right.
# - **position-to-content, p2c**: a token like this is looked at from two places to its left.
# - **position-to-position** would be the same for all texts; the paper drops it (§3.1).

# %% [markdown] tags=["slide"]
# Content and position are projected by matrices of their own, and meet only in the score: attention is *disentangled*.
# Let i be the token that looks, and j the one that is looked at.
# P is a table of 2k vectors, one for each distance: $P_{j|i}$ becomes its row δ(i, j) = i − j + k, cut off at 0 and 2k − 1 (section 3).
# Index c marks queries and keys of content; those of position are $Q^r = P\,W_{q,r}$ and $K^r = P\,W_{k,r}$.
# The score is (Eq. 4)
#
# $$\tilde A_{i,j} = \underbrace{Q^c_i K^{c\top}_j}_{\text{c2c}} + \underbrace{Q^c_i K^{r\top}_{\delta(i,j)}}_{\text{c2p}}
# + \underbrace{K^c_j Q^{r\top}_{\delta(j,i)}}_{\text{p2c}}, \qquad H_o = \mathrm{softmax}\left(\frac{\tilde A}{\sqrt{3d}}\right) V_c$$
#
# where d is the size of a head.

# %% [markdown] tags=["slide"]
# Before you build it, commit yourself twice.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# reader_guess = Predict(
#     "“reader”: the reading token says the offset. One layer, one head, 300 steps. "
#     "Which of the two new terms solves it alone?",
#     ["content-to-position", "position-to-content", "either", "only both together"],
#     name="reader",
# )
# reader_guess

# %% tags=["active-ipynb", "slide", "figure-only"]
# sender_guess = Predict(
#     "“sender”: the sending token says the offset. Which term solves this one?",
#     ["content-to-position", "position-to-content", "either", "only both together"],
#     name="sender",
# )
# sender_guess

# %% [markdown]
# ## 3. Build it, one term at a time ★
#
# ### Content to content
#
# This is the attention that you know.
# It is written so that terms can be added: the scores are a sum, divided by $\sqrt{d \cdot \text{number of terms}}$.

# %%
class ContentToContent(SelfAttention):
    """Self-attention with c2c alone: `(batch, tokens, hidden_size)` to the same.

    mask: 1 where one may look, `(batch, 1, tokens, tokens)`. positions: the table P,
    `(2k, hidden_size)`. memory: where keys and values come from, if not from x; only
    section 5 needs it.
    """

    def __init__(self, hidden_size, num_heads):
        super().__init__(hidden_size, num_heads)
        # As in the authors' code, keys have no bias.
        self.key = nn.Linear(hidden_size, hidden_size, bias=False)

    def terms(self, query, key, positions):
        """{name: `(batch, heads, tokens, tokens)`}."""
        return {"c2c": query @ key.transpose(-2, -1)}

    def scores(self, x, positions, memory=None):
        """The terms, ready to be summed."""
        query = self.heads(self.query(x))
        key = self.heads(self.key(x if memory is None else memory))
        terms = self.terms(query, key, positions)
        scale = math.sqrt(query.shape[-1] * len(terms))                 # √3d for three
        return {name: one / scale for name, one in terms.items()}

    def forward(self, x, mask=None, positions=None, memory=None):
        scores = sum(self.scores(x, positions, memory).values())
        if mask is not None:        # not −∞: padding looks at nobody, and is no NaN
            scores = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
        value = self.heads(self.value(x if memory is None else memory))
        mixed = scores.softmax(-1) @ value                  # (batch, heads, tokens, d)
        return self.output(mixed.transpose(-3, -2).flatten(-2))


# %% [markdown]
# The encoder around it is that of the ALBERT lesson, with two differences.
# No position is added to the words.
# And one table P, with a row for each distance, goes to all layers.
# Padding is set to zero once, and then neither looks (its row of the mask) nor is looked at (its column).

# %%
@dataclass(frozen=True)
class DebertaConfig(Config):
    """The sizes of a DeBERTa (Table 8)."""

    vocab_size: int = 50_265
    max_relative_positions: int = 512  # k


PUZZLE = DebertaConfig(**vars(SMALL), max_relative_positions=8)


class WordEmbeddings(nn.Module):
    """Token ids `(batch, tokens)` to vectors `(batch, tokens, hidden_size)`."""

    def __init__(self, config):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=1e-7)

    def forward(self, input_ids):
        text.check_ids(input_ids, self.word.num_embeddings, "input_ids")
        return self.norm(self.word(input_ids))


def layers_of(config, attention):
    """The layers of the ALBERT lesson, with another class of attention."""
    layers, H = [], config.hidden_size
    for _ in range(config.num_hidden_layers):
        ffn = FeedForward(H, config.intermediate_size)
        one = attention(H, config.num_attention_heads)
        layers.append(Layer(one, ffn, H, eps=1e-7))
    return layers


# %%
class Deberta(Encoder):
    """Token ids to hidden states `(batch, tokens, hidden_size)`, layer by layer.

    attention_mask: 1 for tokens and 0 for padding, `(batch, tokens)`. There are no
    segments: token_type_ids are ignored.
    """

    def __init__(self, config, attention):
        super().__init__(config, WordEmbeddings(config), layers_of(config, attention))
        self.positions = nn.Embedding(                      # P
            2 * config.max_relative_positions, config.hidden_size
        )
        init_weights(self.positions)

    def start(self, input_ids, attention_mask=None):
        """What goes into the first layer, and what into every layer: (mask, P)."""
        x, mask = self.embeddings(input_ids), None          # (batch, tokens, hidden)
        real = text.real_tokens(attention_mask, input_ids)  # (batch, tokens)
        if real is not None:
            x = x * real[..., None]
            mask = real[:, None, :, None] & real[:, None, None, :]
        k = self.positions.num_embeddings // 2
        far = min(k, x.shape[1])                            # no distance is longer
        rows = torch.arange(k - far, k + far, device=x.device)
        return x, (mask, self.positions(rows))

    def states(self, input_ids, attention_mask=None, token_type_ids=None):
        """The input of the first layer, then the output of every layer: a list."""
        x, context = self.start(input_ids, attention_mask)
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1], *context))
        return states


# %% tags=["active-ipynb"]
# for task in TASKS[1:]:
#     torch.manual_seed(SEED)
#     solver = solve(Deberta(PUZZLE, ContentToContent), task, SEED)
#     scores["none", task] = tested(solver, task)
# claim("without positions neither puzzle gets beyond 25% right",
#       max(scores["none", "reader"] + scores["none", "sender"]) < 25, "ours")

# %% tags=["active-ipynb"]
# ids, answers = puzzle("reader", 400, 48, torch.Generator().manual_seed(999))
# letters = F.one_hot(ids % len(LETTERS))                 # (texts, tokens, 8)
# counts = {
#     "in the whole text": letters.sum(1, keepdim=True),
#     "at the six places": sum(letters.roll(-o, 1) for o in OFFSETS.tolist()),
# }
# for where, count in counts.items():                     # (texts, tokens or 1, 8)
#     right = (count.argmax(-1) == answers)[answers >= 0].float().mean()
#     print(f"naming the most frequent letter {where}: {right:.0%} right")

# %% [markdown]
# Without positions it looks at all tokens at once, and can do no better than name the most frequent letter: one in five.
# Among the six places where the answer may stand, the most frequent one would give 37%; remember it for later.

# %% [markdown] tags=["slide"]
# ### Content to position
#
# Now let what a token says choose a distance.
# Position keys are rows, one for each distance; which one a pair takes is called δ (Eq. 3).
# Six tokens, d = 4, and k = 3: to the right all from 3 on share a row, to the left all from 2 on, as the table has 2k rows.

# %% tags=["active-ipynb", "on-slide"]
# torch.manual_seed(SEED)
# n, d, k = 6, 4, 3
# query, position_key = torch.randn(n, d), torch.randn(2 * k, d)
# by_loop = torch.zeros(n, n)
# for i in range(n):
#     for j in range(n):
#         distance = i - j                                # above 0: j is to the left
#         row = distance + k                              # from −k … to 0 …
#         row = max(0, min(row, 2 * k - 1))               # cut off: this is δ(i, j)
#         by_loop[i, j] = query[i] @ position_key[row]

# %% tags=["slide"]
def delta(tokens, k, device=None):
    """δ of every pair of tokens (Eq. 3): rows of a table of 2k, `(tokens, tokens)`."""
    place = torch.arange(tokens, device=device)
    distance = place[:, None] - place                       # i − j
    return (distance + k).clamp(0, 2 * k - 1)


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.clipping(delta)

# %% [markdown]
# Without the loops one could look up a vector for each pair, n × n × d numbers.
# The paper multiplies each query with all 2k rows first, and then *gathers* the n × n numbers that it needs (§3.1.1).
# With n = k = 512 and d = 64 that keeps 2kn + n² = 786,432 numbers instead of n²d = 16,777,216, a twentieth of the memory, at twice the multiplications.

# %%
def c2p_scores(query, position_key, index):
    """What each query gives to each distance, `(…, tokens, tokens)` (Eq. 4, c2p).

    query: `(…, tokens, d)`. position_key: `(…, 2k, d)`. index: δ.
    """
    scores = query @ position_key.transpose(-2, -1)         # (…, tokens, 2k)
    return scores.gather(-1, index.expand(*scores.shape[:-1], -1))


# %%
class ContentToPosition(ContentToContent):
    """c2c and c2p: the content of the token that looks asks for distances."""

    def __init__(self, hidden_size, num_heads):
        super().__init__(hidden_size, num_heads)
        self.position_key = nn.Linear(hidden_size, hidden_size, bias=False)

    def terms(self, query, key, positions):
        terms = super().terms(query, key, positions)
        rows = self.heads(self.position_key(positions))     # (heads, 2k, d)
        index = delta(query.shape[-2], positions.shape[0] // 2, query.device)
        return terms | {"c2p": c2p_scores(query, rows, index)}


# %% tags=["active-ipynb", "slide", "figure-only"]
# gathered = c2p_scores(query, position_key, delta(n, k))
# assert torch.allclose(gathered, by_loop, atol=1e-5)     # what the loops give
# experiment("c2p", lambda: Deberta(PUZZLE, ContentToPosition), ["reader", "sender"])
# claim("c2p solves “reader”, over 95%, also at positions never trained, and in as many "
#       "steps not “sender”, below 60%",
#       min(scores["c2p", "reader"]) > 95 and max(scores["c2p", "sender"]) < 60, "ours")

# %% [markdown] tags=["speaker"]
# In "sender" the token that looks does not know where to look: its content says nothing of it.

# %% [markdown] tags=["slide"]
# ### Position to content
#
# So let the *other* token's content choose the distance from which it wants to be looked at.
# The vectors that it is multiplied with are position *queries*.

# %% tags=["active-ipynb", "on-slide"]
# key, position_query = torch.randn(n, d), torch.randn(2 * k, d)
# by_loop = torch.zeros(n, n)
# for i in range(n):
#     for j in range(n):
#         row = max(0, min(i - j + k, 2 * k - 1))         # δ(i, j), as above
#         by_loop[i, j] = key[j] @ position_query[row]    # the key of j, not of i

# %%
def p2c_scores(key, position_query, index):
    """What each key gives to the distance it is looked at from (Eq. 4, p2c).

    `(…, tokens, tokens)`: row i looks, column j is looked at. index: δ.
    """
    scores = key @ position_query.transpose(-2, -1)         # row j: (…, tokens, 2k)
    turned = scores.gather(-1, index.T.expand(*scores.shape[:-1], -1))
    return turned.transpose(-2, -1)                         # row j becomes column j


# %%
class PositionToContent(ContentToContent):
    """c2c and p2c: the content of the token looked at asks for distances."""

    def __init__(self, hidden_size, num_heads):
        super().__init__(hidden_size, num_heads)
        self.position_query = nn.Linear(hidden_size, hidden_size)

    def terms(self, query, key, positions):
        terms = super().terms(query, key, positions)
        rows = self.heads(self.position_query(positions))   # (heads, 2k, d)
        index = delta(key.shape[-2], positions.shape[0] // 2, key.device)
        return terms | {"p2c": p2c_scores(key, rows, index)}


# %% tags=["active-ipynb", "slide", "figure-only"]
# gathered = p2c_scores(key, position_query, delta(n, k))
# assert torch.allclose(gathered, by_loop, atol=1e-5)
# experiment("p2c", lambda: Deberta(PUZZLE, PositionToContent), ["reader", "sender"])

# %% [markdown] tags=["slide"]
# ### All three
#
# Each of the two classes adds its term to what stands before it, so both together are one line: Python calls the two `terms` in turn.

# %%
class DisentangledAttention(PositionToContent, ContentToPosition):
    """c2c, c2p and p2c: the attention of DeBERTa (§3.1, Eq. 4)."""


ATTENTION = {
    "none": ContentToContent,
    "c2p": ContentToPosition,
    "p2c": PositionToContent,
    "both": DisentangledAttention,
}

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# experiment("both", lambda: Deberta(PUZZLE, DisentangledAttention))
# claim("p2c solves “sender”, over 95%, and not “reader”, below 60%",
#       min(scores["p2c", "sender"]) > 95 and max(scores["p2c", "reader"]) < 60, "ours")
# claim("both together solve all three, over 95%, at positions never trained, too",
#       min(min(scores["both", task]) for task in TASKS) > 95, "ours")

# %% [markdown] tags=["slide"]
# ## 4. Did it cure the problem? ★
#
# Is it the seed, or the learning rate, or did some only lack time?
# `make study-deberta` trained each with five seeds; with three rates (BERT four), one seed each; and those that fail five times as long.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# stored = study.read("deberta")
#
#
# def measured(name, kind):
#     return torch.tensor([run[kind] for run in stored[name]])
#
#
# LATER = "later positions"
# claim("in 300 steps, with each of five seeds, c2p and p2c solve one puzzle each, "
#       "and together both",
#       min(measured(name, LATER).min() for name in figures.SOLVE) > 95
#       > 60 > max(measured(name, LATER).max() for name in figures.FAIL), "study")
# patient = measured("absolute, reader, 1500 steps", "trained positions")
# claim("BERT gets over 90% of “reader” in five times as many steps, "
#       "and at later positions less than 25%",
#       patient.min() > 90
#       and measured("absolute, reader, 1500 steps", LATER).max() < 25, "study")
# OTHERS = ("c2p", "sender"), ("p2c", "reader")
# one = [measured(f"{name}, {task}, 1500 steps", LATER) for name, task in OTHERS]
# four = [measured(f"{name}, four heads, {task}, 1500 steps", LATER)
#         for name, task in OTHERS]
# claim("in 1,500 steps each term gets less than 75% of the other's puzzle with one "
#       "head, and over 80% with four, with each of three seeds",
#       torch.cat(one).max() < 75 and torch.cat(four).min() > 80, "study")
# figures.who_solves_what(stored)

# %% tags=["active-ipynb", "slide", "figure-only"]
# def alone(task):
#     solved = [name for name in ("c2p", "p2c") if min(scores[name, task]) > 90]
#     return {"c2p": 0, "p2c": 1, "c2pp2c": 2, "": 3}["".join(solved)]
#
#
# reader_guess.reveal(
#     alone("reader"),
#     "The reader's content has the offset; c2p lets it choose among distances.",
# )

# %% tags=["active-ipynb", "slide", "figure-only"]
# sender_guess.reveal(
#     alone("sender"),
#     "The reader's content says nothing; p2c lets the sender's choose.",
# )

# %% tags=["active-ipynb"]
# figures.rates_and_time(stored)

# %% [markdown] tags=["speaker"]
# In 300 steps neither seed nor rate matters for the relative kinds.
# BERT was not at its best rate (87% of “reader” at 0.01).
# With five times the steps it gets 96% of “reader” and 64% of “sender”, and at later positions it still guesses.
#
# Each term solves the puzzle made for it in 300 steps, with one head, and not the other's; “fixed” it solves, too.
# Where it fails it can still name the most frequent of the six letters, which gives the 37% of section 3.
# Longer training brings c2p to 70% of “sender”, and p2c to 35 to 60% of “reader”, by the seed: what divides the two is what comes *easily*.

# %% [markdown]
# ### Paper or code?
#
# In Eq. 4 p2c takes row δ(j, i) of the table; all released code, and so ours, takes δ(i, j), the row that c2p takes.
# Published weights were trained that way.
# For p2c alone that is the table read from the other end; for both terms, which share the table, it is another network.
# Does it solve the puzzles, too?

# %% tags=["active-ipynb"]
# as_printed = [f"{name} as in Eq. 4, {task}" for name, task in
#               (("both", "reader"), ("both", "sender"), ("p2c", "sender"))]
# claim("with δ(j, i) each of the two puzzles is solved, too, by over 90% "
#       "with each of five seeds",
#       min(measured(name, LATER).min() for name in as_printed) > 90, "study; Eq. 4")

# %% [markdown] tags=["slide"]
# ### One head taken apart
#
# Three maps are the terms; their sum, through a softmax, is the fourth.
# Switch terms off and see what is left of the weights.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.solvers_apart({task: solvers["both", task].encoder for task in TASKS})

# %% [markdown] tags=["slide"]
# ## 5. The mask decoder
#
# Is the absolute position of no use, then?
# The paper's example: *a new **store** opened beside the new **mall***, with both nouns masked (§3.2).
# "New" stands before both; distances, it says, do not tell the two apart: one needs to know where in the sentence each stands.
#
# Let us test that, with other words for each of the eight places.
# The sentence stands anywhere among other words, so that the place in the text tells nothing.

# %%
ARTICLES, LOOKS = ("a", "the", "one", "another"), ("new", "old", "big", "small")
OPENS = ("store", "shop", "bakery", "bank", "school", "cinema")
STANDS = ("mall", "market", "station", "park", "church", "bridge")
VERBS = ("opened", "started", "appeared")
WHERE = ("beside", "near", "behind", "opposite")
SLOTS = ARTICLES, LOOKS, OPENS, VERBS, WHERE, ARTICLES, LOOKS, STANDS
FILLERS = ("well", "so", "then", "now", "today", "yes", "indeed", "perhaps")
WORDS = ["[MASK]", *dict.fromkeys(sum((*SLOTS, FILLERS), ()))]


def drawn(words, shape, generator):
    """Random ones of these words, as ids in WORDS."""
    ids = torch.tensor([WORDS.index(word) for word in words])
    return ids[torch.randint(len(words), shape, generator=generator)]


def store_and_mall(count, generator, masked=(2, 7)):
    """A sentence anywhere among 12 fillers, and its nouns: `(count, 20)`, ids in WORDS.

    Asked are nouns at the eight places where either may stand, so that place alone
    tells nothing; all else is -100. masked: words of the sentence.
    """
    ids, row = drawn(FILLERS, (count, 20), generator), torch.arange(count)
    start = torch.randint(13, (count,), generator=generator)
    answers = torch.full_like(ids, -100)
    for number, slot in enumerate(SLOTS):
        word, place = drawn(slot, (count,), generator), start + number
        ids[row, place] = 0 if number in masked else word
        if number in (2, 7):
            answers[row, place] = word
    answers[:, :7] = answers[:, 15:] = -100                 # where one noun only can be
    return ids, answers


# %%
@torch.no_grad()
def right_kind(model, masked=(2, 7)):
    """Percent of the masks that a MaskedLM fills with a noun that can stand there."""
    ids, nouns = store_and_mall(1000, torch.Generator().manual_seed(999), masked)
    guesses = model(train.placed(ids, model)).argmax(-1).cpu()
    kind = torch.tensor([(word in OPENS) + 2 * (word in STANDS) for word in WORDS])
    asked = nouns >= 0
    right = kind[guesses[asked]] == kind[nouns[asked]]
    return 100 * right.float().mean().item()


def fill_in_nouns(encoder, seed, masked=(2, 7)):
    """`right_kind` of a MaskedLM of this encoder after 150 steps."""
    model = started(MaskedLM(encoder))
    generator = torch.Generator().manual_seed(seed)
    learn(model, *store_and_mall(150 * 32, generator, masked))
    return right_kind(model, masked)


NOUNS = replace(PUZZLE, vocab_size=len(WORDS))

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# nouns = {}
# for name in ("none", "both"):
#     torch.manual_seed(SEED)
#     nouns[name] = fill_in_nouns(Deberta(NOUNS, ATTENTION[name]), SEED)
# claim("without positions half of the nouns are of the right kind, with distances all",
#       abs(nouns["none"] - 50) < 10 and nouns["both"] > 99, "ours; §3.2")
# print("the verb hidden, too, mean of five seeds:",
#       measured("store and mall among fillers, both, no verb", "right").mean().item())

# %% [markdown] tags=["speaker"]
# So the paper's own example does not need absolute positions.
# Without any positions the two masks are alike to the network.
# With distances it sees that one stands to the left of "opened" and the other to the right; with the verb hidden, the other words tell.

# %% [markdown] tags=["slide"]
# What can distances *not* tell?
# Take pieces of real news, in four columns, mask some, and ask for a direction:
# *north* in the first column, *east* in the second, *south* in the third, *west* in the fourth.
# Only the place tells the column.
# An easier form, as a control: the direction is that of the *quarter* of the 32 places.

# %%
DIRECTIONS = ("north", "east", "south", "west")


@cache
def news():
    """A tokenizer of 1,000 pieces, and windows of 32 pieces of news as a Corpus."""
    tokenizer, corpus = text.tokenizer("news", size=1000), text.corpus("news")
    parts = [[tokenizer.encode(one).ids for one in part] for part in corpus]
    return tokenizer, text.Corpus(*(text.windows(part, 32) for part in parts))


def cloze(kind, ids, generator):
    """Windows with 15% masked, and the directions that belong there, -100 elsewhere.

    kind: "column", the place modulo 4, or "quarter", the place divided by 8.
    """
    tokenizer, _ = news()
    words = torch.tensor([tokenizer.token_to_id(word) for word in DIRECTIONS])
    place = torch.arange(ids.shape[1])
    which = place % 4 if kind == "column" else place // 8
    chosen = torch.rand(ids.shape, generator=generator) < 0.15
    answers = torch.where(chosen, words[which].expand_as(ids), -100)
    return ids.masked_fill(chosen, MASK), answers


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.directions()

# %% [markdown] tags=["slide"]
# BERT adds absolute positions *before the first layer*.
# DeBERTa adds them *at the end*, where masked words are predicted: its **enhanced mask decoder** (§3.2, A.8).
# In place of one pass through the last layer it makes two, with the same weights.
# Only the queries know positions; keys and values are the states before that layer, both times.

# %% [markdown] tags=["speaker"]
# (In the paper the first queries are the positions alone; in the released code and here, positions plus states.)
# The layer adds its input `queries` to what attention gives, so the position reaches the word's prediction.
# It costs one table and one more pass (3% more time for base, 2% for large; A.8), and is left out when the network is fine-tuned for something else.

# %%
class MaskDecoder(Deberta):
    """A Deberta with the enhanced mask decoder in place of its last layer."""

    def __init__(self, config, attention=DisentangledAttention):
        super().__init__(config, attention)
        rows = config.max_position_embeddings
        self.position = nn.Embedding(rows, config.hidden_size)
        init_weights(self.position)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        tokens, rows = input_ids.shape[1], self.position.num_embeddings
        if tokens > rows:
            found = f"the text has {tokens} tokens"
            raise ValueError(f"{found}, the mask decoder knows {rows} positions")
        x, context = self.start(input_ids, attention_mask)
        *below, last = self.layers
        for layer in below:
            x = layer(x, *context)                      # (batch, tokens, hidden)

        memory = x                                      # keys and values come from here
        queries = memory + self.position.weight[:tokens]
        for _ in range(2):
            queries = last(queries, *context, memory)   # the same weights twice
        return queries


# %%
CLOZE = replace(
    PUZZLE, vocab_size=1000, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=32, max_relative_positions=4,
)


def small_encoder(positions, config=PUZZLE):
    """An encoder with "absolute" positions, the mask "decoder", or one of ATTENTION.

    Or any class of encoders.
    """
    if callable(positions):
        return positions(config)
    if positions == "absolute":
        return bert(config)
    if positions == "decoder":
        return MaskDecoder(config)
    return Deberta(config, ATTENTION[positions])


def fill_in(positions, kind, seed, steps=300, rate=5e-3):
    """Percent of directions that a MaskedLM gives rightly in new windows of news."""
    torch.manual_seed(seed)
    model = started(MaskedLM(small_encoder(positions, CLOZE)))
    generator = torch.Generator().manual_seed(seed)
    read = torch.cat(text.batches(news()[1].train, 32, steps, seed))
    learn(model, *cloze(kind, read, generator), rate)
    generator = torch.Generator().manual_seed(999)
    right, asked = counted(model, *cloze(kind, news()[1].heldout, generator))
    return 100 * (right.sum() / asked.sum()).item()


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# column_guess = Predict(
#     "Both terms, no absolute position anywhere: how often is the column right? "
#     "Guessing gives 25%.",
#     ["nearly always", "about half of the time", "hardly more than by guessing"],
#     name="column",
# )
# column_guess

# %% tags=["active-ipynb", "slide", "figure-only"]
# columns = {name: fill_in(name, "column", SEED)
#            for name in ("both", "decoder", "absolute")}
# claim("with distances alone less than half of the columns are right, with the mask "
#       "decoder, or absolute positions at the input, over 98%",
#       columns["both"] < 50 and min(columns["decoder"], columns["absolute"]) > 98,
#       "ours; §3.2")
# column_guess.reveal(
#     0 if columns["both"] > 75 else 1 if columns["both"] > 40 else 2,
#     f"{columns['both']:.0f}%; with the decoder {columns['decoder']:.0f}%.",
# )

# %% [markdown] tags=["slide"]
# The encoder under that decoder has no absolute position; they enter late, as the paper wants them.
# Is it the positions, or only the second pass?
# The study's control is the same decoder with its table of positions held at 0.
# And the quarter?

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# claim("with each of five seeds distances alone find over 90% of the quarters, but less "
#       "than half of the columns, as does the decoder without its positions",
#       measured("quarter, both", "right").min() > 90
#       and measured("column, both", "right").max() < 50
#       and measured("column, decoder without positions", "right").max() < 50, "study")
# figures.columns_and_quarters(stored)

# %% [markdown] tags=["speaker"]
# Distances alone find the quarter nearly always: coarse place *leaks*, as a token sees how many others are far to its left and how many to its right.
# So a task in which the place matters only coarsely would not show that the decoder is needed.
# The column leaks, too: 31% after 300 steps, 40% after 1,500, both well short of 100.
# And it is the positions that the decoder needs: with its table at 0 it is no better than the encoder alone.

# %% [markdown] tags=["slide"]
# ## 6. On text
#
# The puzzles are made for one term each.
# What does text ask for?
# As in the ALBERT lesson our text is programs, in windows of 32 tokens, a fifth of them hidden.
# Two layers of four heads, H = 64, k = 16; the control is BERT again.

# %%
TEXT = DebertaConfig(
    vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
    intermediate_size=256, max_position_embeddings=2 * LENGTH,
    max_relative_positions=16,
)


def text_model(positions, seed):
    """A MaskedLM for programs with the positions of `small_encoder`."""
    torch.manual_seed(seed)
    return started(MaskedLM(small_encoder(positions, TEXT)))


@cache
def long_windows():
    """Windows of 64 tokens of the programs for testing, `(n, 64)`."""
    _, documents = text.python_tokens(VOCABULARY)
    return text.windows(documents.heldout[1::2], 2 * LENGTH)


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# text_guess = Predict(
#     "After 400 steps, each at the learning rate that suits it best: which network "
#     "fills in new programs better, at the trained length of 32?",
#     ["absolute: at a fixed length they say all", "about equally well",
#      "relative, by a little", "relative, by far"],
#     name="text",
# )
# text_guess

# %% tags=["active-ipynb"]
# STEPS, models, losses = 400, {}, {}               # rates were chosen for 400 and 2,400
# live = figures.live_losses(2 * STEPS, every=10)
# for name in ("absolute", "both"):
#     rate = stored[f"text: {name}, {STEPS} steps"][0]["rate"]
#     models[name] = text_model(name, SEED)
#     follow = figures.follow(live, name)
#     fit(models[name], windows().train, STEPS, SEED, follow, rate)
#     losses[name], _ = held_out_loss(models[name], windows().test)
# live.close()
# print({name: f"{parameters(model):,} parameters" for name, model in models.items()})

# %% tags=["active-ipynb", "slide", "figure-only"]
# gap = losses["absolute"] - losses["both"]
# claim("after 400 steps relative positions are ahead by over 0.5 of held-out loss",
#       gap > 0.5, "ours")
# text_guess.reveal(
#     3 if gap > 0.5 else 2 if gap > 0.1 else 1 if gap > -0.1 else 0,
#     f"Held-out loss {losses['absolute']:.2f} with absolute positions, "
#     f"{losses['both']:.2f} with both terms. But read on.",
# )

# %% [markdown] tags=["slide"]
# “One to the left” is one row of P for all places; a table of absolute positions, we think, must learn it for each place anew.
# So this may be a matter of time only.
# The study trained all six kinds for 400 and for 2,400 steps, with three seeds and their own schedules.
# The rate was chosen among four on validation windows, once for BERT and once for both terms.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.curves_on_text(stored)

# %% tags=["active-ipynb", "slide", "figure-only"]
# def final(name, steps, tokens=32):
#     kind = f"after {steps}" if tokens == 32 else "64 tokens"
#     return measured(f"text: {name}, {steps} steps", kind)
#
#
# early, late = (final("absolute", n) - final("both", n) for n in (400, 2400))
# far = final("absolute", 2400, 64) - final("both", 2400, 64)
# claim("six times the steps bring absolute positions to within 0.25 of relative ones "
#       "at 32 tokens, with each of three seeds; at 64 they stay over 1 behind",
#       early.min() > 0.5 and 0 < late.min() and late.max() < 0.25 and far.min() > 1,
#       "study")
# alone = [final(name, 2400) - final("both", 2400) for name in ("c2p", "p2c")]
# alone = torch.cat(alone)
# claim("both terms are ahead of either alone, by less than 0.1, with each seed",
#       alone.min() > 0 and alone.max() < 0.1, "study")
# more = final("decoder", 2400) - final("both", 2400)
# print("with the decoder the loss is higher by", *(f"{one:+.3f}" for one in more))
# figures.last_losses(stored)

# %% [markdown] tags=["speaker"]
# - Relative positions are learned much *sooner*.
# - At the length of the training their lead shrinks about eightfold with time; whether it would vanish we did not try.
#   They have 187,816 parameters, BERT 173,608.
# - Beyond that length it stays: what was learned for a distance holds anywhere.
# - **Small things**: both terms are ahead of either alone by 0.01 to 0.05 in every seed after 2,400 steps.
#   The decoder is ahead in two of three seeds, which is not enough to tell.

# %% [markdown]
# Where in a long text does it break?

# %%
@torch.no_grad()
def loss_by_place(model, ids):
    """The held-out loss of a MaskedLM for each eight positions of windows `(n, t)`."""
    generator = torch.Generator().manual_seed(12345)
    chosen = choose(ids, generator=generator)
    read, _ = hide(ids, chosen, VOCABULARY, generator=generator)
    guesses = model.words(model.encoder(train.placed(read, model))[chosen]).cpu()
    losses = F.cross_entropy(guesses, ids[chosen], reduction="none")
    block = chosen.nonzero()[:, 1] // 8
    return torch.stack([losses[block == i].mean() for i in range(ids.shape[1] // 8)])


# %% tags=["active-ipynb"]
# by_place = {name: loss_by_place(models[name], long_windows()) for name in models}
# figures.loss_by_position(by_place)

# %% [markdown]
# From position 33 on BERT reads rows of its table that never had a gradient.

# %% [markdown] tags=["slide"]
# ## 7. What the paper found
#
# First against others, after fine-tuning.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.against_others()

# %% [markdown] tags=["speaker"]
# RACE is school exams in reading, MNLI asks whether one sentence follows from another.
# Tables 1 to 3 change many things at once.
# The fair row is in Table 4: the authors' own RoBERTa, trained alike, is 1.4, 3.0 and 4.9 points below.
# Whether longer training would close that, the table does not say.

# %% [markdown] tags=["slide"]
# Each part taken away, by which the paper argues (Table 4: base, trained on Wikipedia and BookCorpus).

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.parts_taken_away()

# %% [markdown] tags=["speaker"]
# Each removal costs something on all three; the decoder least on MNLI and RACE.
# The table prints no spread, so differences of 0.2 prove little.

# %% [markdown]
# ### SiFT, and beyond human scores
#
# The largest DeBERTa, of 1.5 billion parameters, has 89.9 on SuperGLUE, an ensemble 90.3; people have 89.8 (Table 5).
# Its pre-trained weights are published as `deberta-v2-xxlarge`.
# It was fine-tuned by *scale-invariant fine-tuning* (§4): the answer should stay the same when the input is shifted a little.
# The shift is **adversarial**: it starts at random and follows the gradient, to where the answer changes most.
# It is made in *normalised* word vectors, as lengths differ between words and networks.
#
# How much worse than a random shift is one uphill step of the same length?

# %% tags=["active-ipynb"]
# encoder, words = models["both"].encoder, models["both"].words
# x, context = encoder.start(windows().test[:64])         # normalised word vectors
#
#
# def predicted(x):
#     for layer in encoder.layers:
#         x = layer(x, *context)
#     return words(x).log_softmax(-1)
#
#
# def change(shift):
#     """How far the predictions move: the Kullback-Leibler divergence, a token."""
#     apart = F.kl_div(predicted(x + shift), clean, log_target=True, reduction="none")
#     return apart.sum(-1).mean()
#
#
# clean = predicted(x).detach()
# random = F.normalize(torch.randn_like(x), dim=-1)       # length 1 for each token
# start = (0.1 * random).requires_grad_()
# uphill, = torch.autograd.grad(change(start), start)
# uphill = F.normalize(uphill, dim=-1)
# lengths = [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5]
# with torch.no_grad():
#     moved = {name: [change(length * shift).item() for length in lengths]
#              for name, shift in (("random", random), ("uphill", uphill))}
# claim("a shift uphill changes the predictions over three times as much as a random "
#       "one of the same length",
#       moved["uphill"][4] > 3 * moved["random"][4], "ours; §4")
# figures.shifted(lengths, moved)

# %% [markdown]
# SiFT adds this change, as a penalty, to the loss of the task.
# The paper uses it for the 1.5 B model only: on average it brings 91.93 instead of 91.17 (Table 12).
#
# ## 8. Look inside
#
# ### What does a head make of a line of Python?
#
# The network of section 6: stripes along the diagonal are distances.
# Is what a head looks at chosen by content or by distance?
# Write your own line, and switch terms off.

# %%
@torch.no_grad()
def taken_apart(encoder, ids, layer=1, head=1):
    """The terms of one head's scores in a text `(1, n)`: {term: `(n, n)`}."""
    x = encoder.states(ids)[layer - 1]
    attention = encoder.layers[layer - 1].attention
    scores = attention.scores(x, encoder.positions.weight)
    return {term: one[0, head - 1] for term, one in scores.items()}


# %% tags=["active-ipynb", "nbval-ignore-output"]
# figures.python_apart(models["both"].encoder)

# %% [markdown]
# In this head c2p and p2c are striped, and c2c is spotted.
# And in all eight? Count where the terms with positions vary more, over the tokens looked at, than content alone:

# %% tags=["active-ipynb"]
# striped = 0
# for layer, x in zip(encoder.layers, encoder.states(windows().test[:100])):
#     terms = layer.attention.scores(x, encoder.positions.weight)
#     content = terms["c2c"].var(-1).mean((0, 2))             # (heads,)
#     distance = (terms["c2p"] + terms["p2c"]).var(-1).mean((0, 2))
#     striped += (distance > content).sum()
# claim("in six or more of the eight heads it is the terms with positions",
#       striped >= 6, "ours")

# %% [markdown]
# So mostly by distance, though each token has its own say in it.
#
# ### What does a head like, as a function of distance?
#
# c2p is a query times the rows of P: a curve over the distance, for each token.
# Here is that curve for the average token and for one of your choice; with p2c, the same from the other side.
# What does k do? The slider cuts the distances off at a smaller k than in training.

# %%
def short_sighted(table, k):
    """P `(2K, hidden)` for a smaller k: rows beyond −k and k − 1 repeat these two."""
    middle = len(table) // 2
    rows = torch.arange(len(table), device=table.device) - middle
    return table[rows.clamp(-k, k - 1) + middle]


@torch.no_grad()
def likes(attention, x, positions, term):
    """What tokens with states `(n, hidden)` give to each row of P on average.

    `(heads, 2k)`; term: "c2p" or "p2c".
    """
    if term == "c2p":
        content, position = attention.query, attention.position_key
    else:
        content, position = attention.key, attention.position_query
    mean = attention.heads(content(x).mean(0, keepdim=True))        # (heads, 1, d)
    rows = attention.heads(position(positions))                     # (heads, 2k, d)
    scores = (mean @ rows.transpose(-2, -1))[:, 0]
    return scores / math.sqrt(3 * mean.shape[-1])


# %% tags=["active-ipynb", "nbval-ignore-output"]
# figures.liked_distances(models["both"].encoder, likes, short_sighted)

# %% [markdown]
# In this head the peaks are close to 0.
#
# ## 9. What became of it
#
# **V2**, by the same authors, has no paper of its own; parts of it are in Table 13.
# The vocabulary grew to 128,000; the positions use the *content's* projections, which takes back two matrices a layer;
# a convolution stands beside the first layer.
# And distances are put into *buckets*: exact when near, ever coarser when far.

# %%
def log_buckets(distance, buckets=256, longest=512):
    """Whole distances as DeBERTa-v2 rounds them, of any shape.

    Below buckets/2 exact, then on a logarithmic scale that ends near `longest`.
    """
    exact = buckets // 2
    size = distance.abs().clamp(min=exact - 1)
    share = (size.float() / exact).log() / math.log((longest - 1) / exact)
    far = (exact + (share * (exact - 1)).ceil()) * distance.sign()
    return torch.where(distance.abs() <= exact, distance, far).long()


# %% [markdown]
# **V3** (He, Gao, Chen, [arXiv:2111.09543](https://arxiv.org/abs/2111.09543)) changes the task to ELECTRA's *replaced token detection*.
# In [ELECTRA](electra.ipynb) two networks share and train one table of words.
# V3's authors say that they pull it two ways: to fill in words wants similar words alike, to spot fakes wants them apart.
# So the discriminator gets the table $E_D = \mathrm{sg}(E_G) + E_\Delta$, where sg stops gradients: it trains only its own difference, which starts at 0.
# V3-large has 91.37 on GLUE, 1.37 more than DeBERTa-large and 1.91 more than ELECTRA (V3's abstract).
#
# ## 10. What people get wrong
#
# **"Disentangled attention, relative positions and stochastic depth."** A common summary says so.
# The first two are one thing: relative positions *are* what is disentangled.
# The third is not in the paper.
# Inside the network only dropout is random.
#
# **"…and various decoding methods."** The same summary.
# *Decoding* here means predicting masked words; no text is generated from left to right.
# Each token sees what stands to its right, as the store sees the verb (section 5).
#
# **"DeBERTa has no absolute positions."** Its encoder has none; the mask decoder has them (section 5).
# And distances alone still tell the encoder coarsely where it is, from the edges.
#
# **"The score is divided by √d", or "by √3d".** By $\sqrt{d(1 + t)}$ with t position terms.
# A sum of more terms varies more; this brings it back:

# %% tags=["active-ipynb"]
# x, positions = torch.randn(4, 64, 64), torch.randn(32, 64)
# spread = {}
# for name in ("none", "c2p", "both"):
#     attention = ATTENTION[name](64, 1).apply(partial(init_weights, std=1 / 8))
#     terms = attention.scores(x, positions)
#     spread[name] = sum(terms.values()).std().item()
# claim("with one, two or three terms the scores deviate by 0.8 to 1.2; "
#       "divided by √d alone, three would by over 1.4",
#       0.8 < min(spread.values()) and max(spread.values()) < 1.2
#       and math.sqrt(3) * spread["both"] > 1.4, "ours; §3.1")

# %% [markdown]
# **"c2p and p2c are the same thing twice."** Section 4: each soon solves a puzzle that the other does not.
# But with more heads the border blurs, and with time: one head can look for "says +2, and stands two to the left", another for "says −1, …".
#
# **"The library's masked model fills in words with the published weights."**
# By default it makes a head with other names than those in the published files, which stays random.
# With `legacy=False` it has the right one, and the mask decoder in neither case.
#
# ## 11. Your turn
#
# Replace the lines that raise, and run the cell: its last line checks your answer.
# The solutions are folded; try first.
#
# ### Exercise 1: δ for two different texts
#
# Sometimes those who look are not those who are looked at: the last few tokens of a text look at all of it.
# `queries` `(n,)` and `keys` `(m,)` are positions in the text, whole numbers.
# Return δ for each pair, `(n, m)`, by Eq. 3.

# %% tags=["active-ipynb"]
# def delta_of(queries, keys, k):
#     raise NotImplementedError
#
#
# check(delta_of, checks.delta_of)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# ```python
# def delta_of(queries, keys, k):
#     return (queries[:, None] - keys + k).clamp(0, 2 * k - 1)
# ```
# </details>
#
# ### Exercise 2: p2c as printed
#
# Write p2c to the letter of Eq. 4: entry (i, j) is the product of `key[..., j, :]` and row δ(j, i) of `position_query`.
# `key` is `(batch, heads, n, d)`, `position_query` `(heads, 2k, d)`, and `index` holds δ, `(n, n)`.
# Return `(batch, heads, n, n)`, unscaled, and let no tensor grow as large as n × n × d.

# %% tags=["active-ipynb"]
# def p2c_as_printed(key, position_query, index):
#     raise NotImplementedError
#
#
# check(p2c_as_printed, checks.p2c_as_printed)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# Row j of the product belongs to the token that is looked at, so gather δ(j, i) in row j, then turn round.
# Our `p2c_scores` differs by one `.T`.
#
# ```python
# def p2c_as_printed(key, position_query, index):
#     scores = key @ position_query.transpose(-2, -1)         # (batch, heads, n, 2k)
#     scores = scores.gather(-1, index.expand(*scores.shape[:-1], -1))
#     return scores.transpose(-2, -1)
# ```
# </details>
#
# ### Exercise 3: which distances look alike?
#
# Return all distances from −longest + 1 to longest − 1, in rising order, that share the bucket of `distance`, itself included.
# `log_buckets` of section 9 gives the buckets.

# %% tags=["active-ipynb"]
# def alike(distance, buckets=256, longest=512):
#     raise NotImplementedError
#
#
# check(alike, checks.alike)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# ```python
# def alike(distance, buckets=256, longest=512):
#     everything = torch.arange(-longest + 1, longest)
#     bucket = log_buckets(everything, buckets, longest)
#     return everything[bucket == bucket[distance + longest - 1]].tolist()
# ```
#
# At 100 tokens a distance still has a bucket of its own; at 400 it shares it with four others.
# </details>
#
# ## 12. Is it the paper's model?
#
# Two of the three sizes of Table 8, and a larger one that the authors published.

# %%
def sizes(hidden_size, num_hidden_layers):
    """Heads of 64 and 4H inside the feed-forward network (Table 8)."""
    return DebertaConfig(
        hidden_size=hidden_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
    )


VARIANTS = {
    "deberta-base": sizes(768, 12),
    "deberta-large": sizes(1024, 24),
    "deberta-xlarge": sizes(1024, 48),
}


def build(name, **changes):
    """The encoder of VARIANTS with random weights; `changes`: of DebertaConfig.

    Raises ValueError for an unknown name or field. On `torch.device("meta")` it takes
    no memory.
    """
    return Deberta(variant(VARIANTS, name, changes), DisentangledAttention)


# %% [markdown]
# What do the two terms cost? Two matrices a layer and one table, $2LH^2 + 2kH$ parameters (A.7, which writes d for H).
# The appendix says 49 million for large; it is 51,380,224, or 49 × 2²⁰: so the authors count in 2²⁰, without saying it.

# %% tags=["active-ipynb"]
# rows = published.printed_counts()
# wrong = [row[0] for row in rows if "✗" in row[-1]]
# claim("nine of eleven printed counts come out, those of the paper in units of 2²⁰",
#       (len(rows), len(wrong)) == (11, 2), "A.7, Table 13, cards of V3")
# table(["what", "printed, millions", "ours", "unit", "rounded"], rows[:4])

# %% [markdown]
# Four of the eleven.
# Table 13 counts the head for masked words, a pooler and the table of positions, too (found by trying); its first row comes to 119.47, its last fits neither unit.
#
# Equal counts do not prove equal networks, so ours get the random weights of models of the transformers library, and both read the same texts, with padding.

# %% tags=["active-ipynb"]
# differences = published.differences_from_reference(SEED)
# print("compared:", ", ".join(differences))
# claim("hidden states and logits are the reference's, to 1e-5",
#       max(differences.values()) < 1e-5, "transformers")

# %% [markdown]
# With a network connection, a published DeBERTa, V2 or V3 comes by its name:
#
# ```python
# from transformers import AutoTokenizer
#
# name = "microsoft/deberta-v3-base"
# model = published.from_pretrained(name)
# inputs = AutoTokenizer.from_pretrained(name)("Paris is the capital.", return_tensors="pt")
# states = model(**inputs)        # (1, tokens, 768)
# ```
#
# With `decoder=True` it takes the mask decoder and the head, too, and fills in words as the paper does.
#
# At the paper's scale, by its recipe (`lessons/scale/deberta.py`, each figure with its section), on eight GPUs:
#
# ```bash
# torchrun --nproc-per-node=8 -m lessons.scale deberta \
#     --variant deberta-base --data texts --out runs/deberta --bf16 --accumulate 16
# ```
#
# Its small form, `--small`, needs no data and no GPU. What it did here:

# %% tags=["active-ipynb"]
# from kit.small_run import small_run
#
# small_run("deberta")

# %% [markdown]
# ## 13. Where we differ, and what does not show
#
# | what | the paper | here |
# |---|---|---|
# | text | 78 GB: Wikipedia, books, web pages, stories | 450,000 tokens of Python; puzzles; pieces of news |
# | length, k | 512, 512 | 24 to 32; 4 to 16 |
# | encoder | 12 layers of H = 768 and more | 1 or 2 layers of H = 32 or 64 |
# | initial weights | deviation 0.02 | 0.1, as the networks are narrow |
# | hiding | 15%, runs of up to three words | single tokens: 20% of the programs, 15% of the news |
# | mask decoder | always, in pre-training | in section 5, and in one curve of section 6 |
# | optimiser | Adam, batches of 2,000, 1,000,000 steps | AdamW, batches of 32, 150 to 2,400 steps |
# | measured by | eight tasks of GLUE and more, fine-tuned | puzzles, held-out loss |

# %% [markdown] tags=["slide"]
# Which of the paper's claims show here?
#
# - *c2p and p2c together beat either alone* (Table 4): in the puzzles, with one head; on our text by 0.01 to 0.05 of loss, in every seed.
# - *The mask decoder helps* (Table 4): where columns are asked; on our text we cannot tell.
# - *The store and the mall* (§3.2): distances tell them apart.
# - *A better network, not only a faster one*: at the trained length our lead shrinks about eightfold with time.
# - *SiFT* (Table 12), *fine-tuning* and *two tasks at one table* (V3): not tried.
#
# The puzzles show what comes easily to a term, not how often language asks for it.

# %% [markdown]
# The claims hold with ten seeds (`make seeds`); the environment variable `LESSON_SEED` sets yours.

# %% [markdown]
# ## 14. Recap

# %% tags=["active-ipynb"]
# recap()

# %% [markdown]
# Further reading:
#
# - Shaw et al., *Self-Attention with Relative Position Representations*, [arXiv:1803.02155](https://arxiv.org/abs/1803.02155):
#   the first relative keys, which are a c2p.
# - Dai et al., *Transformer-XL*, [arXiv:1901.02860](https://arxiv.org/abs/1901.02860): content and position in four terms, before DeBERTa.
# - Ke et al., *Rethinking Positional Encoding in Language Pre-training* (TUPE), [arXiv:2006.15595](https://arxiv.org/abs/2006.15595):
#   another way to untie the two.
# - Su et al., *RoFormer*, [arXiv:2104.09864](https://arxiv.org/abs/2104.09864):
#   rotary positions, which most of today's language models use.
# - He, Gao, Chen, *DeBERTaV3*, [arXiv:2111.09543](https://arxiv.org/abs/2111.09543).
#
# <nav>
#
# Lesson before: [ELECTRA](electra.ipynb) · Next lesson: [CTRL](ctrl.ipynb)
#
# </nav>
