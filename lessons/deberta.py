# %% [markdown]
# # DeBERTa: what a token says, where it stands, and which of the two asks
#
# **Paper:** He, Liu, Gao, Chen: *DeBERTa: Decoding-enhanced BERT with Disentangled Attention*, ICLR 2021 ([arXiv:2006.03654](https://arxiv.org/abs/2006.03654))
#
# **You will see:** two puzzles that each need another term of the score, a head taken apart into its terms, what it makes of distance
#
# Afterwards you can build disentangled attention and the enhanced mask decoder, say which term does what,
# load published DeBERTa, V2 and V3 weights into your own code, and tell nine common sentences about DeBERTa from the truth.
#
# **You need** the [ALBERT lesson](albert.ipynb): attention, heads, the encoder, masked tokens.
# Running all cells takes a bit over a minute on a laptop; reading and playing takes one to two hours.

# %% [markdown]
# What the paper says is marked with its section (§), equation, table or figure; the text is that of the ICLR version.
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
import tokenize
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from kit import text, train
from kit.config import check_fields, variant
from lessons import albert
from lessons.albert import (
    FeedForward,
    Layer,
    MaskedLMHead,
    choose_ngrams,
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
# from kit.probe import parameters, saved_for_backward
# from kit.table import as_printed, table
# from kit.view import Apart, Curves, Heatmap, Predict, Tokens
# from lessons.checks import deberta as checks
# from lessons.published import deberta as published
#
# SEED = train.seed()
# torch.set_num_threads(1)  # networks this small run fastest on one core

# %% [markdown]
# ## 1. The problem
#
# Attention compares every token with every other one, but it does not know *where* they stand.
# Shuffle a text, and each token gets the very vector that it had before.

# %% tags=["active-ipynb"]
# x, order = torch.randn(1, 9, 32), torch.randperm(9)
# attention = albert.SelfAttention(32, num_heads=4)
# claim("attention by itself: a shuffled text gives the same vectors, shuffled",
#       torch.allclose(attention(x[:, order]), attention(x)[:, order], atol=1e-6), "ours")

# %% [markdown]
# BERT's answer, which you built in the ALBERT lesson: a table with one vector for each position, added to the word's vector before
# the first layer.
# From there on each token carries *one* vector, in which the word and its place are mixed.
# These are **absolute** positions: first, second, third.
#
# But language mostly asks how *far* and on which *side*: "deep" and "learning" have to do with each other when they are neighbours,
# wherever in the text that is (§1).
# Three puzzles test that.
# The texts are random: a token is one of eight letters, and may carry an offset from −3 to +3.
#
# - **fixed**: copy the letter that stands three places before you.
# - **reader**: the *reading* token says where to look. At `c+2` copy the letter two places after.
# - **sender**: the *sending* token says whom it is for. `c+2` is to be copied by the token two places after it, whatever that says.

# %%
LETTERS, REACH = "abcdefgh", 3
OFFSETS = torch.tensor([offset for offset in range(-REACH, REACH + 1) if offset])


def senders(count, length, generator):
    """Random offsets `(count, length)` with which no two tokens send to one place, and who sends to each place (far outside: nobody)."""
    offset, taken = torch.zeros(count, length, dtype=torch.long), torch.full((count, length + 2 * REACH), -10 * length)
    rows = torch.arange(count)
    for sender in torch.rand(count, length, generator=generator).argsort(1).T:     # in random order, one of each text
        wish = OFFSETS[torch.randint(len(OFFSETS), (count,), generator=generator)]
        free = taken[rows, sender + wish + REACH] < 0                   # a place that is taken: this token sends to nobody
        taken[rows[free], (sender + wish + REACH)[free]] = sender[free]
        offset[rows[free], sender[free]] = wish[free]
    return offset, taken[:, REACH:-REACH]

# %%
def puzzle(task, count, length, generator):
    """Texts of the puzzle "fixed", "reader" or "sender": (ids, numbers of the letters to copy or -100), `(count, length)` each."""
    letter = torch.randint(len(LETTERS), (count, length), generator=generator)
    if task == "sender":
        offset, source = senders(count, length, generator)
    elif task == "reader":
        offset = OFFSETS[torch.randint(len(OFFSETS), (count, length), generator=generator)]
        source = torch.arange(length) + offset
    else:
        offset = torch.zeros_like(letter)
        source = torch.arange(length) - REACH + offset
    inside = (source >= 0) & (source < length)
    answer = letter.gather(1, source.clamp(0, length - 1))
    return letter + len(LETTERS) * (offset + REACH), torch.where(inside, answer, -100)


def spelled(ids):
    """The tokens of a puzzle as one reads them, such as `c` or `c+2`."""
    parts = [(LETTERS[i % len(LETTERS)], i // len(LETTERS) - REACH) for i in ids.tolist()]
    return [letter + (f"{offset:+d}".replace("-", "−") if offset else "") for letter, offset in parts]

# %% tags=["active-ipynb"]
# def example(task):
#     ids, answers = (rows[0] for rows in puzzle(task, 1, 14, torch.Generator().manual_seed(SEED)))
#     return {"rows": [{"title": "the network reads", "tokens": spelled(ids)},
#                      {"title": "it should answer", "tokens": [LETTERS[i] if i >= 0 else "·" for i in answers]}]}
#
#
# Tokens(example, controls={"task": ["fixed", "reader", "sender"]}, start={"task": "reader"},
#        caption="One text of each puzzle, and the right answers. Work a few out by hand: who told you where to look?",
#        alt="A row of 14 tokens such as c+2, and below it the letters to be copied.")

# %% [markdown]
# First the control: a BERT of one layer with one head, H = 32, trained on texts of 24 tokens.
# Its position table has 48 rows and starts from sine waves, as in the ALBERT lesson, so that neighbours resemble each other.

# %%
TRAINED, LONGER = 24, 48        # tokens of a text in training, and in the test of what comes beyond


def waves(positions, width):
    """Sine and cosine waves to start a position table with, `(positions, width)`."""
    angles = torch.arange(positions)[:, None] * 50.0 ** (-torch.arange(width // 2) / (width // 2))
    return 0.1 * torch.cat([angles.sin(), angles.cos()], dim=1)


def small_bert():
    """The BERT of the ALBERT lesson, with absolute positions: one layer, one head."""
    bert = albert.bert(albert.Config(
        vocab_size=len(LETTERS) * (2 * REACH + 1), hidden_size=32, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=64, max_position_embeddings=LONGER))
    bert.apply(partial(init_weights, std=0.1))
    bert.embeddings.position.weight.data = waves(LONGER, 32)
    return bert

# %%
def optimise(model, batches, loss, rate, on_step=None, whole=None):
    """AdamW, gradients cut at norm 1, a rise, a plateau, and a fall over the last two fifths of the steps; returns the losses.

    whole: the model whose weights are trained, if `model` is only the part of it that reads the batches.
    """
    optimizer = torch.optim.AdamW((whole or model).parameters(), lr=rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 40, 1, 2.5 * (1 - step / len(batches))))

    def each(step, value):
        if on_step is not None:
            on_step(step, value)
        nn.utils.clip_grad_norm_((whole or model).parameters(), 1.0)

    return train.fit(model, batches, loss, optimizer, schedule, each)


class Solver(nn.Module):
    """An encoder and a linear layer that names the letter: ids `(batch, tokens)` to logits `(batch, tokens, answers)`."""

    def __init__(self, encoder, answers=8):
        super().__init__()
        self.encoder, self.answer = encoder, nn.Linear(encoder.config.hidden_size, answers)

    def forward(self, ids):
        return self.answer(self.encoder(ids))

# %%
def answer_loss(logits, answers):
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten())


def solve(make, task, seed, on_step=None, steps=300):
    """Train the encoder that `make()` gives on texts of 24 tokens of a puzzle; returns the Solver. on_step(step, loss, solver)."""
    torch.manual_seed(seed)
    solver = Solver(make())
    ids, answers = puzzle(task, 32 * steps, TRAINED, torch.Generator().manual_seed(seed))
    watch = on_step and (lambda step, loss: on_step(step, loss, solver))
    optimise(solver, list(zip(ids.split(32), answers.split(32))), answer_loss, 5e-3, watch)
    return solver.eval()


@torch.no_grad()
def percent_right(solver, task):
    """Percent of right answers in 400 new texts of 48 tokens: at the 24 positions known from training, and at the 24 beyond."""
    texts = puzzle(task, 400, LONGER, torch.Generator().manual_seed(999))
    ids, answers = (train.placed(one, solver) for one in texts)
    right, asked = solver(ids).argmax(-1) == answers, answers >= 0
    return [100 * right[:, part][asked[:, part]].float().mean().item() for part in (slice(TRAINED), slice(TRAINED, None))]

# %% tags=["active-ipynb"]
# far_guess = Predict(
#     "The BERT learns “fixed” on texts of 24 tokens, almost without a mistake. Then it reads texts of 48. At positions 25 to 48 it is…",
#     ["still right: three places before is three places before", "right about half of the time", "right one time in eight: it guesses"],
#     name="far",
# )
# far_guess

# %% tags=["active-ipynb"]
# TASKS, solvers, scores = ("fixed", "reader", "sender"), {}, {}
# live = Curves.live(x_label="step", y_label="training loss", total=300 * len(TASKS))
# for task in TASKS:
#     def watch(step, loss, solver, task=task):
#         live.add(f"absolute, {task}", step + 1, loss, role="control")
#
#     solvers["absolute", task] = solve(small_bert, task, SEED, watch)
#     scores["absolute", task] = percent_right(solvers["absolute", task], task)
# live.close()

# %% tags=["active-ipynb"]
# def right_answers(names):
#     panels = [{"title": title, "values": [[scores[name, task][part] for task in TASKS] for name in names]}
#               for part, title in enumerate(("positions 1–24", "positions 25–48, never trained"))]
#     return {"panels": panels, "rows": list(names), "columns": list(TASKS)}
#
#
# Heatmap(right_answers(["absolute"]), x_label="puzzle", y_label="positions", value_label="right, %", value_range=(0, 100),
#         caption="A BERT with absolute positions. At positions that it was trained on it gets far; beyond them it guesses.",
#         alt="Two rows of three cells: light where the positions were trained on, dark beyond them.")

# %% tags=["active-ipynb"]
# claim("absolute positions solve “fixed” at the positions of the training, with over 95% right",
#       scores["absolute", "fixed"][0] > 95, "ours")
# claim("at later positions no puzzle gets beyond 25% right; guessing gives 12.5%",
#       max(scores["absolute", task][1] for task in TASKS) < 25, "ours")
# claim("“reader” and “sender” are not solved even where it was trained: below 90%",
#       max(scores["absolute", task][0] for task in ("reader", "sender")) < 90, "ours")
# far_guess.reveal(
#     2 if scores["absolute", "fixed"][1] < 30 else 1 if scores["absolute", "fixed"][1] < 70 else 0,
#     "It has learned for each position which other position to look at. The rows from 25 on of its table were never trained.",
# )

# %% [markdown]
# Why are the other two harder?
# One layer sees a sum, word plus place, and compares it by one dot product.
# But "two after *me*" needs both together: my place and my offset decide *jointly*.
#
# ## 2. The idea
#
# Say it with two vectors a token: its content $H_i$, and, for a pair, the position $P_{i|j}$ of $i$ *relative to* $j$.
# Then the comparison of $i$ with $j$ has four parts (Eq. 2):
#
# $$A_{i,j} = H_i H_j^\top + H_i P_{j|i}^\top + P_{i|j} H_j^\top + P_{i|j} P_{j|i}^\top$$
#
# | term | who asks | what it can say |
# |---|---|---|
# | content-to-content, **c2c** | content | a token like this looks at tokens like that |
# | content-to-position, **c2p** | the reader's content | a token like this looks two places to the right |
# | position-to-content, **p2c** | the sender's content | a token like this is looked at from two places to the left |
# | position-to-position | nobody | the same for all tokens; the paper drops it (§3.1) |
#
# Contents and positions have projections of their own, and meet only in the score: attention is *disentangled*.
# The relative position is the distance i − j, cut off at ±k, as a row number of one table $P$ of 2k rows (Eq. 3):
#
# $$\delta(i,j) = \begin{cases} 0 & i-j \le -k \\ 2k-1 & i-j \ge k \\ i-j+k & \text{otherwise} \end{cases}$$
#
# With queries and keys of content (index c) and of position (index r), the score is (Eq. 4)
#
# $$\tilde A_{i,j} = \underbrace{Q^c_i K^{c\top}_j}_{\text{c2c}} + \underbrace{Q^c_i K^{r\top}_{\delta(i,j)}}_{\text{c2p}}
# + \underbrace{K^c_j Q^{r\top}_{\delta(j,i)}}_{\text{p2c}}, \qquad H_o = \mathrm{softmax}\left(\frac{\tilde A}{\sqrt{3d}}\right) V_c$$
#
# where d is the size of a head.
# One table $P$ serves all layers.
#
# Before you build it, commit yourself twice.

# %% tags=["active-ipynb"]
# reader_guess = Predict(
#     "“reader”: the reading token says the offset. One layer, one head. Which of the two new terms can solve it alone?",
#     ["content-to-position, c2p", "position-to-content, p2c", "either", "only both together"], name="reader",
# )
# reader_guess

# %% tags=["active-ipynb"]
# sender_guess = Predict(
#     "“sender”: the sending token says the offset. Which term can solve this one alone?",
#     ["content-to-position, c2p", "position-to-content, p2c", "either", "only both together"], name="sender",
# )
# sender_guess

# %% [markdown]
# ## 3. Build it
#
# ### Distance

# %%
def distances(tokens):
    """i − j for every pair of `tokens` tokens, `(tokens, tokens)` of int64: how far the looking token i is to the right of j."""
    return torch.arange(tokens)[:, None] - torch.arange(tokens)


def clipped(distance, k):
    """δ of Eq. 3: the rows, from 0 to 2k − 1, of a table of positions that belong to distances i − j."""
    return (distance + k).clamp(0, 2 * k - 1)

# %% tags=["active-ipynb"]
# Heatmap(
#     lambda k: {"panels": [{"title": f"δ, k = {k}", "values": clipped(distances(16), k)}]}, controls={"k": range(1, 9)}, start={"k": 4},
#     x_label="looked at, j", y_label="looks, i", value_label="row of the table",
#     caption="δ(i, j) for 16 tokens. Along a diagonal the distance is the same. With a small k, all that is far looks alike.",
#     alt="A square with diagonal stripes that turn into two flat corners.",
# )

# %% [markdown]
# An oddity of Eq. 3: a token k places to the right of the one that looks shares row 0 with all further ones, but not with k − 1;
# to the left, k − 1 and k share row 2k − 1.
# There are 2k + 1 distances from −k to k, and 2k rows.

# %% tags=["active-ipynb"]
# k = 4
# row = {distance: int(clipped(torch.tensor(distance), k)) for distance in range(-6, 7)}
# print("distance → row:", row)
# claim("i − j = k − 1 and i − j = k share a row; −k + 1 and −k do not", row[k - 1] == row[k] and row[1 - k] != row[-k], "Eq. 3")

# %% [markdown]
# ### Three terms, by loops
#
# Six tokens, d = 4, k = 3; first exactly as Eq. 4 says, one pair after the other.

# %% tags=["active-ipynb"]
# torch.manual_seed(SEED)
# n, d, k = 6, 4, 3
# query, key = torch.randn(2, n, d)                           # of the content: Qᶜ and Kᶜ
# position_query, position_key = torch.randn(2, 2 * k, d)     # of the table: Qʳ and Kʳ
#
#
# def delta(i, j):
#     return 0 if i - j <= -k else 2 * k - 1 if i - j >= k else i - j + k
#
#
# c2c, c2p, p2c = torch.zeros(3, n, n)
# for i in range(n):
#     for j in range(n):
#         c2c[i, j] = query[i] @ key[j]
#         c2p[i, j] = query[i] @ position_key[delta(i, j)]
#         p2c[i, j] = key[j] @ position_query[delta(j, i)]

# %% [markdown]
# ### And without the loops
#
# c2c is a matrix product.
# For c2p one might look up the vector of every pair, $K^r_{\delta(i,j)}$: a tensor of n × n × d numbers.
# The paper does not (§3.1.1): it multiplies each query with all 2k rows of the table first, and then *gathers* from these n × 2k
# numbers the n × n that are needed.

# %% tags=["active-ipynb"]
# index = clipped(distances(n), k)                                            # δ, (n, n)
# c2p_gathered = (query @ position_key.T).gather(-1, index)                   # (n, 2k), then (n, n)
# p2c_gathered = (key @ position_query.T).gather(-1, index).T                 # row j of (n, 2k) at δ(j, i), then turned round
# claim("gathering gives what the loops give",
#       torch.allclose(c2p_gathered, c2p, atol=1e-5) and torch.allclose(p2c_gathered, p2c, atol=1e-5),
#       "§3.1.1")

# %% [markdown]
# How much memory does that save?
# We measure what autograd keeps for the backward pass, for one head with d = 64 and k = 64.

# %%
class LookedUp(nn.Module):
    """c2p by a vector for each pair: what the paper avoids."""

    def forward(self, query, position_key, index):              # (tokens, d), (2k, d), (tokens, tokens)
        return torch.einsum("id,ijd->ij", query, position_key[index])       # (tokens, tokens), over a (tokens, tokens, d) tensor


class Gathered(nn.Module):
    """c2p by the gather trick (§3.1.1)."""

    def forward(self, query, position_key, index):
        return (query @ position_key.T).gather(-1, index)       # (tokens, 2k), then (tokens, tokens)

# %% tags=["active-ipynb"]
# def kept(way, tokens, d=64, k=64):
#     query, table_of_keys = torch.randn(tokens, d, requires_grad=True), torch.randn(2 * k, d, requires_grad=True)
#     return saved_for_backward(way, query, table_of_keys, clipped(distances(tokens), k)) / 2**20
#
#
# LENGTHS = (32, 64, 128, 256, 512)
# memory = {name: [kept(way, tokens) for tokens in LENGTHS] for name, way in (("n × n × d", LookedUp()), ("gathered", Gathered()))}
# claim("at 512 tokens the looked-up way keeps over 25 times the memory of the gathered one",
#       memory["n × n × d"][-1] > 25 * memory["gathered"][-1], "ours; §3.1.1")
# Curves(
#     {"series": [{"name": name, "x": LENGTHS, "y": values, "role": role}
#                 for (name, values), role in zip(memory.items(), ("control", "idea"))]},
#     x_label="tokens", y_label="kept for backward, MB", log=True,
#     caption="Memory of one head's c2p both ways. The gathered one grows too, because δ itself is n × n; but it has no factor d.",
#     alt="Two rising curves on a log axis; at 512 tokens the lower one is below a twenty-fifth of the upper one.",
# )

# %% [markdown]
# ### Paper or code?
#
# Look at the p2c line above once more.
# Row j of `key @ position_query.T`, gathered at column δ(j, i), is what Eq. 4 and the paper's Algorithm 1 say.
# All released code, by the authors and in the transformers library, takes column δ(i, j) instead: the *same* row of the table that
# c2p uses.
#
# | pair | c2p | p2c in Eq. 4 | p2c in all code |
# |---|---|---|---|
# | i looks at j | δ(i, j) | δ(j, i) | δ(i, j) |
#
# In our lines the whole difference is one transposition of `index`.

# %% tags=["active-ipynb"]
# p2c_code = (key @ position_query.T).gather(-1, index.T).T
# by_loop = torch.stack([torch.stack([key[j] @ position_query[delta(i, j)] for j in range(n)]) for i in range(n)])
# claim("with the index transposed, p2c takes δ(i, j), as released code does", torch.allclose(p2c_code, by_loop, atol=1e-5), "ours")
# off_diagonal = ~torch.eye(n, dtype=torch.bool)
# claim("on the diagonal the two p2c are the same; off it they differ by over half of the scores' standard deviation",
#       torch.allclose(p2c_code.diagonal(), p2c.diagonal(), atol=1e-5)
#       and (p2c_code - p2c)[off_diagonal].std() > 0.5 * p2c[off_diagonal].std(), "ours")

# %% [markdown]
# Published weights were trained with the code, so they need the code's index; `build` takes that.
# Section 4 measures what happens to a network's outputs otherwise.
# Is the other one worse for *learning*? At the end of this section we train both.
#
# ### The attention module
#
# `parts` gives the terms one by one, already divided by $\sqrt{d(1 + \text{number of position terms})}$; their sum goes into the softmax.
# Queries and keys come from `x`; the mask decoder below will take keys and values from elsewhere, hence `memory`.
# `heads`, from the ALBERT lesson, cuts vectors into heads of d channels.

# %%
class Terms(nn.Module):
    """The scores of attention in terms (§3.1).

    terms: which of "c2p" and "p2c" are added to c2c. literal: p2c at δ(j, i), as Eq. 4 has it, not at δ(i, j), as in released code.
    biased: with biases for the keys, too (DeBERTa-v2). share: positions use the projections of the content (DeBERTa-v2).
    """

    def __init__(self, hidden_size, num_heads, terms=("c2p", "p2c"), literal=False, biased=False, share=False):
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"the hidden size {hidden_size} is not a multiple of {num_heads} heads")
        self.num_heads = num_heads
        self.terms, self.literal, self.share, linear = terms, literal, share, partial(nn.Linear, hidden_size, hidden_size)
        self.query, self.key, self.value, self.output = linear(), linear(bias=biased), linear(), linear()
        self.position_key = linear(bias=biased) if "c2p" in terms and not share else None
        self.position_query = linear() if "p2c" in terms and not share else None

    heads = albert.SelfAttention.heads

    def parts(self, x, index=None, positions=None, memory=None):
        """The terms of the scaled scores, {"c2c", "c2p", "p2c": `(batch, heads, tokens, tokens)`}.

        index: δ, `(tokens, tokens)`. positions: the table P, `(2k, hidden_size)`.
        """
        query, key = self.heads(self.query(x)), self.heads(self.key(x if memory is None else memory))
        scale = 1 / math.sqrt(query.shape[-1] * (1 + len(self.terms)))
        parts = {"c2c": scale * query @ key.transpose(-2, -1)}
        if "c2p" in self.terms:
            rows = self.heads((self.key if self.share else self.position_key)(positions))       # (heads, 2k, d)
            scores = scale * query @ rows.transpose(-2, -1)                                     # (batch, heads, tokens, 2k)
            parts["c2p"] = scores.gather(-1, index.expand(*scores.shape[:-1], -1))
        if "p2c" in self.terms:
            rows = self.heads((self.query if self.share else self.position_query)(positions))
            scores, columns = scale * key @ rows.transpose(-2, -1), index if self.literal else index.T
            parts["p2c"] = scores.gather(-1, columns.expand(*scores.shape[:-1], -1)).transpose(-2, -1)
        return parts

# %%
class DisentangledAttention(Terms):
    """Multi-head self-attention with these scores: `(batch, tokens, hidden_size)` to the same."""

    def forward(self, x, mask=None, index=None, positions=None, memory=None):
        scores = sum(self.parts(x, index, positions, memory).values())
        if mask is not None:        # the lowest number and not −∞: a padded token may look at nobody, and should not become NaN
            scores = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
        value = self.heads(self.value(x if memory is None else memory))     # (batch, heads, tokens, d)
        return self.output((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))

# %% tags=["active-ipynb"]
# layer, x = DisentangledAttention(8, 2), torch.randn(1, n, 8)
# table_of_positions = torch.randn(2 * k, 8)
# found = layer.parts(x, index, table_of_positions)
# first = slice(0, 4)                                                         # the channels of head 1
# q, kr = layer.query(x)[0, :, first], layer.position_key(table_of_positions)[:, first]
# by_loop = torch.stack([torch.stack([q[i] @ kr[delta(i, j)] for j in range(n)]) for i in range(n)]) / math.sqrt(4 * 3)
# print("terms:", {name: tuple(scores.shape) for name, scores in found.items()})
# claim("the module's c2p is the loop's, divided by √3d", torch.allclose(found["c2p"][0, 0], by_loop, atol=1e-6), "§3.1, Eq. 4")

# %% [markdown]
# ### The encoder
#
# The rest is a BERT: the feed-forward network and the layer come from the ALBERT lesson.
# The last six fields of the configuration belong to DeBERTa-v2 and V3; section 4 explains them.

# %%
@dataclass(frozen=True)
class Config:
    """The sizes of a DeBERTa. Names are those of published configurations where they have one."""

    vocab_size: int = 50_265
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    terms: tuple = ("c2p", "p2c")           # added to c2c
    max_relative_positions: int = 512       # k
    literal: bool = False                   # p2c as in Eq. 4
    absolute: bool = False                  # a position table at the input, as in BERT
    decoder: bool = False                   # the enhanced mask decoder
    max_position_embeddings: int = 512      # rows of tables of absolute positions
    type_vocab_size: int | None = None      # segments
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-7
    initializer_range: float = 0.02
    share_projections: bool = False
    position_buckets: int | None = None
    norm_positions: bool = False
    conv_kernel_size: int | None = None
    conv_act: str = "tanh"
    biased_keys: bool = False

    def __post_init__(self):
        faults(self)

# %%
class Embeddings(nn.Module):
    """Token ids `(batch, tokens)` to vectors `(batch, tokens, hidden_size)`, 0 at padding; absolute positions if asked for."""

    def __init__(self, c):
        super().__init__()
        self.word = nn.Embedding(c.vocab_size, c.hidden_size)
        self.position = nn.Embedding(c.max_position_embeddings, c.hidden_size) if c.absolute else None
        self.segment = nn.Embedding(c.type_vocab_size, c.hidden_size) if c.type_vocab_size else None
        self.norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        text.check_ids(input_ids, self.word.num_embeddings, "input_ids")
        real = text.real_tokens(attention_mask, input_ids)                      # bool (batch, tokens)
        x = self.word(input_ids)                                                # (batch, tokens, hidden)
        if self.position is not None:
            x = x + first_rows(self.position, input_ids.shape[1])
        if self.segment is not None:
            segments = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            text.check_ids(segments, self.segment.num_embeddings, "token_type_ids")
            x = x + self.segment(segments)
        x = self.norm(x)
        return x if real is None else x * real[..., None]


def first_rows(table, tokens):
    if tokens > table.num_embeddings:
        raise ValueError(f"the text has {tokens} tokens, the table of absolute positions {table.num_embeddings} rows")
    return table.weight[:tokens]                                                # (tokens, hidden)

# %% [markdown]
# ### The enhanced mask decoder
#
# *A new **store** opened beside the new **mall***: mask both words, and what is near them looks much alike; relative positions
# alone hardly tell which is the subject (§3.2).
# The absolute position would.
# BERT adds it before the first layer; DeBERTa adds it *at the end*, where the masked words are predicted.
#
# In place of one pass through the last layer the decoder makes two, with the same weights (A.8).
# Its first queries are, in the paper, the absolute positions; in the released code and here, the states before that layer plus the
# positions. Its second queries are what came out; keys and values are always the states before the last layer.
# So it costs one table, and it is left out when the network is fine-tuned for something else.

# %%
class MaskDecoder(nn.Module):
    """Absolute positions for the prediction of masked tokens (§3.2, A.8): `(batch, tokens, hidden)` to the same."""

    def __init__(self, max_positions, hidden_size):
        super().__init__()
        self.position = nn.Embedding(max_positions, hidden_size)

    def forward(self, memory, layer, context):          # the states before the last layer; that layer; (mask, δ, P)
        x = memory + first_rows(self.position, memory.shape[1])
        for _ in range(2):
            x = layer(x, *context, memory)              # queries from x, keys and values from memory
        return x

# %% [markdown]
# `Layer` of the ALBERT lesson hands whatever comes behind `x` on to its attention, so δ, P and `memory` need no change there.
# The shortcut adds `x`, from which the queries come, and not `memory`.
#
# Now all together.

# %%
ACTIVATIONS = {"gelu": nn.GELU(), "gelu_new": nn.GELU(approximate="tanh"), "relu": nn.ReLU()}


def layers_of(c):
    """The layers of a Deberta, a list."""
    layers, H = [], c.hidden_size
    for _ in range(c.num_hidden_layers):
        attention = DisentangledAttention(H, c.num_attention_heads, c.terms, c.literal, c.biased_keys, c.share_projections)
        ffn = FeedForward(H, c.intermediate_size)
        ffn.activation = ACTIVATIONS[c.hidden_act]
        layers.append(Layer(attention, ffn, H, c.layer_norm_eps))
    if c.conv_kernel_size:
        layers[0] = ConvolvedLayer(layers[0], c)
    return layers

# %%
def rows_of(tokens, c):
    """δ for every pair of tokens: which row of the table a Config takes for their distance."""
    far = distances(tokens)
    if c.position_buckets:
        far = log_buckets(far, c.position_buckets, c.max_relative_positions)
    return clipped(far, c.position_buckets or c.max_relative_positions)

# %%
class Deberta(nn.Module):
    """The encoder that a Config describes: token ids to hidden states `(batch, tokens, hidden_size)`.

    attention_mask: `(batch, tokens)`, 1 for tokens and 0 for padding. token_type_ids: `(batch, tokens)`, the segment, if it knows any.
    """

    def __init__(self, config):
        super().__init__()
        self.config = c = config
        H, self.embeddings = c.hidden_size, Embeddings(c)
        self.positions = nn.Embedding(2 * (c.position_buckets or c.max_relative_positions), H) if c.terms else None       # P
        self.position_norm = nn.LayerNorm(H, c.layer_norm_eps) if c.norm_positions and c.terms else None
        self.layers = nn.ModuleList(layers_of(c))
        self.decoder = MaskDecoder(c.max_position_embeddings, H) if c.decoder else None
        self.apply(partial(init_weights, std=c.initializer_range))

    def context(self, tokens, attention_mask=None):
        """What all layers share: which token may look at which `(batch, 1, tokens, tokens)`, δ `(tokens, tokens)`, and the table P."""
        real = None if attention_mask is None else attention_mask.bool()
        mask = None if real is None else (real[:, None, :, None] & real[:, None, None, :])
        table = None if self.positions is None else self.positions.weight
        index = rows_of(tokens, self.config).to(self.embeddings.word.weight.device)
        return mask, index, table if self.position_norm is None else self.position_norm(table)

    def states(self, input_ids, attention_mask=None, token_type_ids=None):
        """The input and the output of every layer, a list of tensors `(batch, tokens, hidden)`."""
        states, context = [self.embeddings(input_ids, attention_mask, token_type_ids)], self.context(input_ids.shape[1], attention_mask)
        for layer in self.layers:
            states.append(layer(states[-1], *context))
        return states

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        x, context = self.embeddings(input_ids, attention_mask, token_type_ids), self.context(input_ids.shape[1], attention_mask)
        *below, last = self.layers
        for layer in below:
            x = layer(x, *context)                      # (batch, tokens, hidden)
        return last(x, *context) if self.decoder is None else self.decoder(x, last, context)

# %% [markdown]
# Small parts that it names: what a configuration may not be, and two of DeBERTa-v2.
# Far away, a distance need not be known to the token.
# So v2 gives distances up to half the number of *buckets* a row each, and beyond that lets rows cover more and more, on a
# logarithmic scale.
# And a convolution beside the first layer brings in the neighbours.

# %%
CONV_ACTIVATIONS = {**ACTIVATIONS, "tanh": torch.tanh}


def faults(c):
    """Raise ValueError, naming the field, for a Config that describes no network."""
    check_fields(c)
    if extra := set(c.terms) - {"c2p", "p2c"}:
        raise ValueError(f"terms are 'c2p' and 'p2c', not {min(extra, key=str)!r}")
    if len(set(c.terms)) < len(c.terms):
        raise ValueError(f"each term may stand once, not {c.terms}")
    for name, known in (("hidden_act", ACTIVATIONS), ("conv_act", CONV_ACTIVATIONS)):
        if getattr(c, name) not in known:
            raise ValueError(f"{name} should be one of {', '.join(known)}, not {getattr(c, name)!r}")
    if c.position_buckets is not None and not 2 <= c.position_buckets < 2 * c.max_relative_positions - 2:
        raise ValueError(f"position_buckets should be None, or 2 to below {2 * c.max_relative_positions - 2}, not {c.position_buckets}")
    if c.conv_kernel_size is not None and not (c.conv_kernel_size > 0 and c.conv_kernel_size % 2):
        raise ValueError(f"conv_kernel_size should be None or odd and above 0, not {c.conv_kernel_size}")
    if c.type_vocab_size is not None and c.type_vocab_size < 0:
        raise ValueError(f"type_vocab_size should be None or the number of segments, not {c.type_vocab_size}")

# %%
def log_buckets(distance, buckets, longest):
    """Distances as DeBERTa-v2 rounds them: below buckets/2 exact, then on a logarithmic scale that reaches ±buckets at `longest`."""
    exact = buckets // 2
    size = distance.abs().clamp(min=exact - 1)
    steps = (size.float() / exact).log() / math.log((longest - 1) / exact) * (exact - 1)
    bucket = torch.ceil(steps) + exact
    return torch.where(distance.abs() < exact + 1, distance, bucket * distance.sign()).long()


class ConvolvedLayer(Layer):
    """DeBERTa-v2's first layer: a convolution over the tokens beside it, and a normalisation of the sum."""

    def __init__(self, layer, c):
        super().__init__(layer.attention, layer.ffn, c.hidden_size, c.layer_norm_eps)
        self.conv = nn.Conv1d(c.hidden_size, c.hidden_size, c.conv_kernel_size, padding=(c.conv_kernel_size - 1) // 2)
        self.norm, self.activation = nn.LayerNorm(c.hidden_size, c.layer_norm_eps), CONV_ACTIVATIONS[c.conv_act]

    def forward(self, x, mask, *context):
        near = self.conv(x.transpose(1, 2)).transpose(1, 2)                             # (batch, tokens, hidden)
        real = 1 if mask is None else mask.diagonal(dim1=-2, dim2=-1).transpose(1, 2)   # (batch, tokens, 1)
        return self.norm(super().forward(x, mask, *context) + self.activation(near * real)) * real

# %% tags=["active-ipynb"]
# model = Deberta(Config(vocab_size=56, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
#                        max_relative_positions=8, decoder=True))
# ids = torch.randint(56, (2, 10))
# print("hidden states:", tuple(model(ids).shape), " of", len(model.states(ids)) - 1, "layers")
# claim("relative positions have no longest text: 100 tokens with k = 8",
#       Deberta(replace(model.config, decoder=False))(torch.randint(56, (1, 100))).shape == (1, 100, 32), "ours")

# %% [markdown]
# ### Does it cure the problem?
#
# The same recipe as for the BERT, 300 steps, one layer, one head; only the terms differ.

# %%
VARIATIONS = {"none": (), "c2p": ("c2p",), "p2c": ("p2c",), "c2p + p2c": ("c2p", "p2c")}


def small_deberta(name, **changes):
    """A Deberta of one layer and one head with k = 8 and the position terms that VARIATIONS names."""
    return Deberta(replace(Config(
        vocab_size=len(LETTERS) * (2 * REACH + 1), hidden_size=32, num_hidden_layers=1, num_attention_heads=1, intermediate_size=64, hidden_act="gelu_new",
        terms=VARIATIONS[name], max_relative_positions=8, initializer_range=0.1), **changes))

# %% tags=["active-ipynb"]
# live = Curves.live(x_label="step", y_label="training loss", total=300 * len(TASKS) * len(VARIATIONS))
# for name in VARIATIONS:
#     for task in TASKS:
#         def watch(step, loss, solver, name=f"{name}, {task}", role="control" if name == "none" else "idea"):
#             live.add(name, step + 1, loss, role=role)
#
#         solvers[name, task] = solve(partial(small_deberta, name), task, SEED, watch)
#         scores[name, task] = percent_right(solvers[name, task], task)
# live.close()

# %% tags=["active-ipynb"]
# NAMES = ("none", "absolute", "c2p", "p2c", "c2p + p2c")
# Heatmap(right_answers(NAMES), x_label="puzzle", y_label="positions", value_label="right, %", value_range=(0, 100),
#         caption="Who solves what. c2p alone solves “reader”, p2c alone “sender”, both terms all three, also where nothing was trained.",
#         alt="Twice five rows of three cells. The last row is light everywhere, c2p dark at sender, p2c dark at reader.")

# %% tags=["active-ipynb", "nbval-ignore-output"]
# table(["positions", *(f"{task}, {where}" for where in ("1–24", "25–48") for task in TASKS)],
#       [[name, *(f"{scores[name, task][part]:.0f}" for part in (0, 1) for task in TASKS)] for name in NAMES])

# %% tags=["active-ipynb"]
# def least(name, *tasks):
#     return min(min(scores[name, task]) for task in tasks)
#
#
# def most(name, *tasks):
#     return max(max(scores[name, task]) for task in tasks)
#
#
# claim("c2p alone solves “reader”, over 90% right, and not “sender”, below 65%",
#       least("c2p", "reader") > 90 and most("c2p", "sender") < 65, "ours")
# claim("p2c alone solves “sender”, over 90%, and not “reader”, below 65%",
#       least("p2c", "sender") > 90 and most("p2c", "reader") < 65, "ours")
# claim("both together solve all three, over 95%, at positions never seen as well", least("c2p + p2c", *TASKS) > 95, "ours")
# claim("without any positions none is solved: below 40%", most("none", *TASKS) < 40, "ours")

# %% tags=["active-ipynb"]
# def alone(task):
#     solved = [name for name in ("c2p", "p2c") if min(scores[name, task]) > 90]
#     return {("c2p",): 0, ("p2c",): 1, ("c2p", "p2c"): 2}.get(tuple(solved), 3)
#
#
# reader_guess.reveal(alone("reader"), "The offset is in the reader's content; c2p multiplies the reader's content with the distance.")

# %% tags=["active-ipynb"]
# sender_guess.reveal(alone("sender"), "The reader's content says nothing; only p2c multiplies the sender's content with the distance.")

# %% [markdown]
# This is what is called a *double dissociation*: each term can do something that the other cannot.
# It takes one head to see it so clearly; section 7 shows what four can do.
#
# Both may do a little more than guess where they fail.
# Without the right term a head can still look at *all* places where the answer may stand, and name the letter that it finds most often.
#
# And Eq. 4 to the letter?

# %% tags=["active-ipynb"]
# literal = {(name, task): min(percent_right(solve(partial(small_deberta, name, literal=True), task, SEED), task))
#            for name, task in [("p2c", "sender"), *(("c2p + p2c", task) for task in TASKS)]}
# claim("with p2c at δ(j, i), as in Eq. 4, p2c alone learns “sender”, and both terms all three, over 90% right",
#       min(literal.values()) > 90, "ours")

# %% [markdown]
# For a network that learns its table from nothing, δ(j, i) is little more than the table read from the other end.
# For weights that were trained one way it is not; see section 4.
#
# Now look at what the two heads do.
# Take the terms apart: the first three maps add up, and the softmax of each row of their sum is the fourth.
# Switch a term off, and see what is left of the weights.

# %%
@torch.no_grad()
def taken_apart(model, ids, tokens, layer=1, head=1, note=None):
    """A frame for `kit.view.Apart`: the terms of one head's scores in a text; layer and head counted from 1."""
    states = model.states(train.placed(ids[None], model))
    _, index, positions = model.context(len(ids))
    parts = model.layers[layer - 1].attention.parts(states[layer - 1], index, positions)
    return {"tokens": list(tokens), "terms": {name: scores[0, head - 1] for name, scores in parts.items()}, "note": note}

# %% tags=["active-ipynb"]
# def solved(task, number):
#     ids, _ = puzzle(task, 3, 14, torch.Generator().manual_seed(SEED))
#     ids = ids[number - 1]
#     return taken_apart(solvers["c2p + p2c", task].encoder, ids, spelled(ids))
#
#
# Apart(solved, controls={"task": ["reader", "sender", "fixed"], "number": [1, 2, 3]},
#       caption="The head of the networks with both terms. For “reader” switch c2p off, for “sender” p2c: the weights lose their places.",
#       alt="Four square maps: content to content, content to position, position to content, and the weights after the softmax.")

# %% [markdown]
# ## 4. Is it the paper's model?
#
# ### Parameters
#
# The configurations: the paper's base and large, the larger ones and those of V2 and V3 as the authors published them.

# %%
def sizes(num_hidden_layers, hidden_size, vocab_size=50_265, **more):
    """A Config by the paper's rules (Table 8): heads of size 64, feed-forward 4H."""
    return Config(vocab_size=vocab_size, hidden_size=hidden_size, num_hidden_layers=num_hidden_layers,
                  num_attention_heads=hidden_size // 64, intermediate_size=4 * hidden_size, **more)


V2 = dict(vocab_size=128_100, position_buckets=256, share_projections=True, norm_positions=True, biased_keys=True)
VARIANTS = {
    "deberta-base": sizes(12, 768),
    "deberta-large": sizes(24, 1024),
    "deberta-xlarge": sizes(48, 1024),
    "deberta-v2-xlarge": sizes(24, 1536, conv_kernel_size=3, conv_act="gelu", **V2),
    "deberta-v2-xxlarge": sizes(48, 1536, conv_kernel_size=3, conv_act="gelu", **V2),
    "deberta-v3-xsmall": sizes(12, 384, **V2),
    "deberta-v3-small": sizes(6, 768, **V2),
    "deberta-v3-base": sizes(12, 768, **V2),
    "deberta-v3-large": sizes(24, 1024, **V2),
    "mdeberta-v3-base": sizes(12, 768, **V2 | {"vocab_size": 251_000}),
}


def build(name, **changes):
    """The encoder of the configuration `name`, a Deberta, with random weights; `changes` are fields of Config.

    Raises ValueError for an unknown name or field. Under `torch.device("meta")` it takes no memory.
    """
    return Deberta(variant(VARIANTS, name, changes))

# %% [markdown]
# What do the two position terms cost?
# Two more matrices in each layer and one table: $2LH^2 + 2kH$ (A.7, which writes d for the hidden size H).
# The appendix says 49 million for large.
# It does not say that its millions are 2²⁰.

# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     counts, bare = ({name: parameters(build(name, **terms)) for name in VARIANTS} for terms in ({}, {"terms": ()}))
# formula = {"base": 2 * 12 * 768**2 + 2 * 512 * 768, "large": 2 * 24 * 1024**2 + 2 * 512 * 1024}
# biases = {"base": 12 * 768, "large": 24 * 1024}             # of the p2c projections, which the formula leaves out
# claim("the formula of A.7 and our networks agree, but for the bias of the p2c projection",
#       all(counts[f"deberta-{size}"] - bare[f"deberta-{size}"] == formula[size] + biases[size] for size in formula), "A.7")
# claim("large: 51,380,224, which is 49 · 2²⁰ exactly; in millions of 10⁶ it would be 51",
#       formula["large"] == 51_380_224 == 49 * 2**20, "A.7")

# %% [markdown]
# So let us read Table 13, the ablations on base, in units of 2²⁰.
# Its rows count the head of the masked language model, a pooler and the table of absolute positions, too (we found this by trying;
# the paper does not say).

# %% tags=["active-ipynb"]
# def counted(**changes):
#     """Parameters of base with all that Table 13 seems to count: absolute positions, a pooler (H · H + H) and the head."""
#     with torch.device("meta"):
#         encoder, H = build("deberta-base", decoder=True, **changes), 768
#         return parameters(encoder) + parameters(MaskedLMHead(H, H, encoder.config.vocab_size)) + H * H + H
#
#
# shared = dict(share_projections=True)
# table13 = {"RoBERTa-ReImp": ("120", counted(terms=())), "DeBERTa": ("134", counted()), "+ ShareProjection": ("120", counted(**shared)),
#            "+ Conv": ("122", counted(**shared, conv_kernel_size=3)),
#            "+ 128k vocabulary": ("190", counted(**shared, conv_kernel_size=3, vocab_size=128_000))}
# middle = ("DeBERTa", "+ ShareProjection", "+ Conv")
# verdicts = {row: [as_printed(count, unit, printed)[-1] for unit in (2**20, 1e6)] for row, (printed, count) in table13.items()}
# claim("three rows of Table 13 are right in units of 2²⁰ and wrong in units of 10⁶",
#       all(verdicts[row] == ["✓", "✗"] for row in middle), "Table 13")
# claim("the first row is 119.47 · 2²⁰, printed as 120; the last fits neither way",
#       as_printed(table13["RoBERTa-ReImp"][1], 2**20, "119.47")[-1] == "✓" and verdicts["+ 128k vocabulary"] == ["✗", "✗"], "Table 13")
# table(["Table 13", "printed", "computed", "in 2²⁰", "in 10⁶"],
#       [[row, printed, f"{count:,}", *(as_printed(count, unit, printed) for unit in (2**20, 1e6))]
#        for row, (printed, count) in table13.items()])

# %% [markdown]
# Each published model comes with a *card*, the page that describes it, and on it a number: the parameters of the *backbone*, that is
# of all but the table of words.
# The V3 ones count one more H × H matrix, which seems to be a pooler's; the older cards round boldly.

# %% tags=["active-ipynb"]
# cards = {"deberta-base": 100, "deberta-large": 350, "deberta-xlarge": 700, "deberta-v2-xlarge": 710, "deberta-v2-xxlarge": 1320,
#          "deberta-v3-xsmall": 22, "deberta-v3-small": 44, "deberta-v3-base": 86, "deberta-v3-large": 304}
# backbone = {name: counts[name] - VARIANTS[name].vocab_size * VARIANTS[name].hidden_size for name in VARIANTS}
# pooler = {name: VARIANTS[name].hidden_size ** 2 * ("v3" in name) for name in VARIANTS}
# claim("the four V3 cards, 22, 44, 86 and 304 million, are reproduced to the printed digit with H² for a pooler",
#       all("✓" in as_printed(backbone[name] + pooler[name], 1e6, str(cards[name])) for name in cards if "v3-" in name), "cards of V3")
# table(["network", "parameters", "of them the table of words", "backbone", "with H²", "on the card, millions"],
#       [[name, f"{counts[name]:,}", f"{counts[name] - backbone[name]:,}", f"{backbone[name]:,}",
#         f"{(backbone[name] + pooler[name]) / 1e6:.1f}", cards.get(name, "")] for name in VARIANTS])

# %% [markdown]
# ### What V2 and V3 changed
#
# **V2** (same authors, no paper of its own; part of it is Table 13): a vocabulary of 128,000 pieces, log buckets, a convolution
# beside the first layer,
# a normalisation of the table P, and positions that use the content's own projections (`share_projections`), which takes back
# $2LH^2$ parameters.
#
# **V3** (He, Gao, Chen, [arXiv:2111.09543](https://arxiv.org/abs/2111.09543)) keeps this encoder,
# drops the convolution, and changes the *task*: replaced tokens are detected, as in ELECTRA, instead of masked ones filled in.
# A small generator (the same width, half the depth) proposes tokens; the encoder says of every token whether it was replaced.
# In ELECTRA both share one table of words E.
# V3 finds the two tasks pulling in different directions there: one wants similar words alike, the other wants them told apart.
# Its *gradient-disentangled embedding sharing* gives the encoder $E_D = \mathrm{sg}(E_G) + E_\Delta$,
# where sg stops gradients: the encoder reads the generator's table, but trains only its own difference $E_\Delta$, which starts at 0.
#
# In a few lines, on a table of four words: whose gradient arrives where?

# %% tags=["active-ipynb"]
# generator_table, difference = torch.randn(4, 3, requires_grad=True), torch.zeros(4, 3, requires_grad=True)
# encoder_table = generator_table.detach() + difference
# claim("at the start both read the same table", torch.equal(encoder_table, generator_table), "V3")
# encoder_table.square().sum().backward()
# claim("the encoder's gradient reaches the difference and not the generator's table",
#       difference.grad.abs().sum() > 0 and generator_table.grad is None, "V3")

# %% [markdown]
# ### Masked words, and a label for a whole text
#
# The head that predicts masked words is that of the ALBERT lesson: linear, activation, normalisation, then the table of words.
# For a whole text, the vector of the first token goes through a linear layer and a GELU, and a linear layer gives the labels.

# %%
class MaskedLM(nn.Module):
    """Token ids and masks as for Deberta, to logits `(batch, tokens, vocab_size)`; through the mask decoder, if the Config asks for one."""

    def __init__(self, config):
        super().__init__()
        self.deberta, self.head = Deberta(config), MaskedLMHead(config.hidden_size, config.hidden_size, config.vocab_size)
        self.head.activation, self.head.norm.eps = ACTIVATIONS[config.hidden_act], config.layer_norm_eps
        self.head.apply(partial(init_weights, std=config.initializer_range))

    def forward(self, *args, **kwargs):
        return self.head(self.deberta(*args, **kwargs), self.deberta.embeddings.word.weight)


class Classifier(nn.Module):
    """Token ids and masks as for Deberta, to logits `(batch, num_labels)` of the whole text."""

    def __init__(self, config, num_labels=2):
        super().__init__()
        self.deberta = Deberta(config)
        self.pooler, self.classifier = nn.Linear(config.hidden_size, config.hidden_size), nn.Linear(config.hidden_size, num_labels)
        for module in (self.pooler, self.classifier):
            init_weights(module, config.initializer_range)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        x = self.deberta(input_ids, attention_mask, token_type_ids)
        text.check_start(attention_mask)
        first = x[:, 0]                                         # (batch, hidden)
        return self.classifier(F.gelu(self.pooler(first)))      # (batch, labels)

# %% [markdown]
# ### The same weights in the reference implementation
#
# Models of the transformers library get random values in *all* their weights, are saved, and compared with ours:
# with padding, and with texts longer than k, so that clipping is active.
# `lessons/published/deberta.py` lets the library read the files and maps its names to ours, for published weights as for these.
# The library leaves states at padded places that no one should use; ours are the same even there.

# %% tags=["active-ipynb"]
# from transformers import DebertaConfig, DebertaForMaskedLM, DebertaModel, DebertaV2ForMaskedLM, DebertaV2Model
# from transformers.utils.logging import disable_progress_bar
#
# disable_progress_bar()
# ids, mask = torch.randint(97, (3, 20)), torch.arange(20) < torch.tensor([[20], [12], [3]])
# SMALL = dict(vocab_size=97, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, intermediate_size=96, max_position_embeddings=40,
#              relative_attention=True, pos_att_type="c2p|p2c", position_biased_input=False, max_relative_positions=8)
#
#
# @torch.no_grad()
# def compare(kind, use=lambda model: None, **changes):
#     """Largest difference between the reference's first output and ours; `use` may change our network."""
#     torch.manual_seed(SEED)
#     theirs = kind(kind.config_class(**SMALL | changes)).eval()
#     with TemporaryDirectory() as folder:
#         for weight in theirs.parameters():
#             weight.add_(0.1 * torch.randn_like(weight))
#         theirs.save_pretrained(folder)
#         ours = published.from_pretrained(folder)
#     use(ours)
#     types = torch.randint(2, (3, 20)) if theirs.config.type_vocab_size else None
#     expected = theirs(ids, attention_mask=mask.long(), token_type_ids=types)[0]
#     return (ours(ids, mask, types) - expected).abs().max().item()

# %% tags=["active-ipynb"]
# v2 = dict(share_att_key=True, position_buckets=6, max_relative_positions=-1, norm_rel_ebd="layer_norm")
# cases = {
#     "c2p": (DebertaModel, dict(pos_att_type="c2p")), "p2c": (DebertaModel, dict(pos_att_type="p2c")), "both": (DebertaModel, {}),
#     "absolute input and segments": (DebertaModel, dict(position_biased_input=True, type_vocab_size=2)),
#     "a BERT": (DebertaModel, dict(relative_attention=False, pos_att_type=None, position_biased_input=True)),
#     "masked words": (DebertaForMaskedLM, {}), "masked words, legacy=False": (DebertaForMaskedLM, dict(legacy=False)),
#     "V2, clipped": (DebertaV2Model, {}), "V2, shared keys": (DebertaV2Model, dict(share_att_key=True)),
#     "V3": (DebertaV2Model, v2), "V2 with convolution": (DebertaV2Model, v2 | dict(conv_kernel_size=3, conv_act="gelu")),
#     "V3, masked words": (DebertaV2ForMaskedLM, v2),
# }
# differences = {name: compare(kind, **changes) for name, (kind, changes) in cases.items()}
# print("compared:", "; ".join(differences))
# claim("hidden states and logits are the reference's, to 1e-5, in every case", max(differences.values()) < 1e-5, "transformers")

# %% [markdown]
# And now the reading of Eq. 4 that we left open: the same weights, but p2c at δ(j, i).

# %% tags=["active-ipynb"]
# def to_the_letter(model):
#     for layer in model.layers:
#         layer.attention.literal = True
#
#
# off = compare(DebertaModel, to_the_letter)
# claim("with p2c at δ(j, i), as in Eq. 4, the outputs are not the library's: they differ by over 0.01", off > 0.01, "ours")
# claim("with c2p alone there is nothing to differ", compare(DebertaModel, to_the_letter, pos_att_type="c2p") < 1e-5, "ours")

# %% [markdown]
# ## 5. Train it
#
# ### Real text
#
# Puzzles prove what a term *can* do; what does text ask for?
# As in the ALBERT lesson we take networkx and the core of sympy in the tokens of Python's grammar, whole files held out, and hide 15% of
# the tokens.
# Two layers of four heads, H = 64, texts of 32 tokens, k = 16; 400 steps.
# The control has the absolute positions of a BERT, in 64 rows that start from sine waves; everything else is the same.

# %%
LENGTH = 32
POSITIONS = {**VARIATIONS, "absolute": (), "c2p + p2c, mask decoder": ("c2p", "p2c")}


def text_model(name, seed):
    """A MaskedLM for Python tokens with the positions that POSITIONS names."""
    torch.manual_seed(seed)
    model = MaskedLM(Config(
        vocab_size=1000, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256, terms=POSITIONS[name],
        max_relative_positions=16, absolute=name == "absolute", decoder="decoder" in name, max_position_embeddings=64,
        initializer_range=0.1))
    if name == "absolute":
        model.deberta.embeddings.position.weight.data = waves(64, 64)
    return model.eval()


def hide_tokens(windows, generator):
    """(ids to read, ids to predict) for windows of Python tokens: 15% hidden, singly, never [UNK]."""
    place = torch.arange(windows.shape[1], device=windows.device)
    words = torch.where(windows == 1, -1, place)
    return hide(windows, choose_ngrams(words, share=0.15, longest=1, generator=generator), 1000, generator=generator)

# %%
def hidden_losses(model, x, targets, reduction="mean"):
    """The loss of the hidden tokens (targets other than -100) from the encoder's states `(batch, tokens, hidden)`."""
    text.check_chosen(targets >= 0)
    logits = model.head(x[targets >= 0], model.deberta.embeddings.word.weight)          # (hidden tokens, vocab)
    return F.cross_entropy(logits, targets[targets >= 0], reduction=reduction)


def fit(model, seed, steps, on_step=None):
    """Train a MaskedLM in place on windows of 32 tokens, 32 of them a step; returns the losses."""
    generator = torch.Generator().manual_seed(seed)
    windows = torch.stack(text.batches(text.windows(text.python_tokens()[1].train, LENGTH), 32, steps, seed))
    ids, targets = hide_tokens(windows.flatten(0, 1), generator)

    batches = list(zip(ids.split(32), targets.split(32)))
    losses = optimise(model.deberta, batches, partial(hidden_losses, model), 3e-3, on_step, whole=model)
    model.eval()
    return losses


@torch.no_grad()
def held_out(model, length, count=1000):
    """Where the hidden tokens of `count` held-out windows stand, and the loss of each: two tensors, the same at every call."""
    generator = torch.Generator().manual_seed(5)
    windows = text.windows(text.python_tokens()[1].heldout, length)
    ids, targets = hide_tokens(windows[torch.randperm(len(windows), generator=generator)[:count]], generator)
    ids, targets = train.placed(ids, model), train.placed(targets, model)
    return (targets >= 0).nonzero()[:, 1], hidden_losses(model, model.deberta(ids), targets, "none")

# %% [markdown]
# While an absolute and a relative network learn, we look into the relative one every 20 steps: which of the terms brings the gradient?
# A score is a sum, so *at the score* all three terms receive the same gradient.
# What differs is what it does further back: c2p passes it on to queries and position keys, p2c to keys and position queries, c2c to
# queries and keys.
# `term_gradients` lets the gradient through one term at a time.

# %%
@contextmanager
def only_through(attention, term):
    """In this block the scores of `attention` have the same values, but a gradient flows through one of their terms only."""
    whole = attention.parts
    attention.parts = lambda *inputs: {name: scores if name == term else scores.detach() for name, scores in whole(*inputs).items()}
    try:
        yield
    finally:
        del attention.parts


def term_gradients(attention, loss):
    """{term: the gradient of `loss()` through this term of `attention`, in what makes its queries and keys, as one flat tensor}."""
    makers = (attention.query, attention.key, attention.position_key, attention.position_query)
    weights = [maker.weight for maker in makers if maker is not None]
    found = {}
    for term in ("c2c", *attention.terms):
        with only_through(attention, term):
            gradients = torch.autograd.grad(loss(), weights, allow_unused=True)
        found[term] = torch.cat([(torch.zeros_like(w) if g is None else g).flatten() for w, g in zip(weights, gradients)])
    return found

# %% tags=["active-ipynb"]
# probe_ids, probe_targets = hide_tokens(text.windows(text.python_tokens()[1].heldout, LENGTH)[:64], torch.Generator().manual_seed(0))
#
#
# def text_gradients(model, layer):
#     attention = model.deberta.layers[layer - 1].attention
#     return term_gradients(attention, lambda: hidden_losses(model, model.deberta(probe_ids), probe_targets))
#
#
# model = text_model("c2p + p2c", SEED)
# hidden_losses(model, model.deberta(probe_ids), probe_targets).backward()
# inner = model.deberta.layers[0].attention
# whole = torch.cat([maker.weight.grad.flatten() for maker in (inner.query, inner.key, inner.position_key, inner.position_query)])
# claim("the gradients through the three terms add up to the gradient",
#       torch.allclose(sum(text_gradients(model, 1).values()), whole, atol=1e-5), "ours")

# %% tags=["active-ipynb"]
# text_guess = Predict(
#     "After 400 steps on Python, which network fills in hidden tokens of new programs better, at the trained length of 32?",
#     ["absolute: at a fixed length they say all", "about equally well", "relative, by a little", "relative, by far"],
#     name="text",
# )
# text_guess

# %% tags=["active-ipynb"]
# STEPS, models, losses, signal = 400, {}, {}, {}
# live = Curves.live(x_label="step", y_label="training loss", total=2 * STEPS)
# for name in ("absolute", "c2p + p2c"):
#     models[name] = model = text_model(name, SEED)
#
#     def watch(step, loss, model=model, name=name, role="control" if name == "absolute" else "idea"):
#         live.add(name, step + 1, loss, role=role)
#         if step % 20 == 0 and role == "idea":
#             for layer in (1, 2):
#                 norms = {term: gradient.norm().item() for term, gradient in text_gradients(model, layer).items()}
#                 signal.setdefault(f"text, layer {layer}", []).append(norms)
#
#     losses[name] = fit(model, SEED, STEPS, watch).reshape(-1, 10).mean(1)
# live.close()

# %% tags=["active-ipynb"]
# Curves(
#     {"series": [{"name": name, "x": range(10, STEPS + 1, 10), "y": losses[name], "role": role}
#                 for name, role in (("absolute", "control"), ("c2p + p2c", "idea"))]},
#     x_label="step", y_label="training loss",
#     caption="Mean loss of every 10 steps. Both first learn which tokens are frequent; the relative one soon learns to look around.",
#     alt="Two falling curves; the one of relative positions leaves the plateau early and stays far below.",
# )

# %% tags=["active-ipynb"]
# found = {name: {length: held_out(model, length) for length in (LENGTH, 2 * LENGTH)} for name, model in models.items()}
# mean = {name: {length: losses_here.mean().item() for length, (_, losses_here) in both.items()} for name, both in found.items()}
# claim("on new programs the relative network is better by over 0.5 of loss, at the length of the training",
#       mean["absolute"][LENGTH] - mean["c2p + p2c"][LENGTH] > 0.5, "ours")
# better = mean["absolute"][LENGTH] - mean["c2p + p2c"][LENGTH]
# text_guess.reveal(3 if better > 0.5 else 2 if better > 0.1 else 1 if better > -0.1 else 0,
#                   "“One to the left” is one row of the table for all places; absolute positions must learn it for each place anew.")

# %% [markdown]
# And on longer texts?
# Here is the loss by the place of the hidden token, in texts of 64 tokens.

# %% tags=["active-ipynb"]
# def by_place(name):
#     places, values = found[name][2 * LENGTH]
#     blocks = [values[places // 8 == block].mean().item() for block in range(8)]
#     return {"name": name, "x": range(4, 64, 8), "y": blocks, "role": "control" if name == "absolute" else "idea"}
#
#
# curves = [by_place(name) for name in found]
#
#
# def jump(curve):
#     return np.mean(curve["y"][4:]) - np.mean(curve["y"][:4])
#
#
# claim("beyond the trained length the absolute network loses over 0.25, the relative one less than 0.15",
#       jump(curves[0]) > 0.25 and jump(curves[1]) < 0.15, "ours")
# Curves({"series": curves}, x_label="position of the hidden token", y_label="held-out loss", y_range=(0, 6),
#        caption="Loss by position, trained on 32: beyond that the absolute network reads rows of its table that never saw a gradient.",
#        alt="The relative curve is flat over all 64 positions; the absolute one jumps up at 32.")

# %% [markdown]
# ### What each term is worth on text
#
# One run each proves little, so `make study-deberta` trained six kinds of positions with three seeds, 600 steps each, and two of
# them for 2,400.

# %% tags=["active-ipynb"]
# stored = {name: [[run[f"held-out loss, {length} tokens"] for run in runs] for length in (32, 64)]
#           for name, runs in study.read("deberta").items()}
# short, long = ({name: np.array(both[part]) for name, both in stored.items()} for part in (0, 1))
# every, decoder = "c2p + p2c", "c2p + p2c, mask decoder"
# claim("with every seed relative positions win after 600 steps: by over 0.3 at 32 tokens, by over 1 at 64",
#       all(short["absolute"] > short[every] + 0.3) and all(long["absolute"] > long[every] + 1), "ours")
# claim("after 2,400 steps absolute positions are within 0.2 at 32 tokens, and still over 2 behind at 64",
#       all(short["absolute, 2400 steps"] < short[f"{every}, 2400 steps"] + 0.2)
#       and all(long["absolute, 2400 steps"] > long[f"{every}, 2400 steps"] + 2), "ours")
# claim("c2p alone, p2c alone, both, and both with the mask decoder differ by less than 0.1 on average",
#       np.ptp([short[name].mean() for name in ("c2p", "p2c", every, decoder)]) < 0.1, "ours")
# table(["positions", "held-out loss, 32 tokens", "64 tokens"],
#       [[name, *(f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" for values in both)] for name, both in stored.items()])

# %% [markdown]
# So what shows on text is *relative against absolute*: learned far sooner, and good for lengths never seen.
# What does **not** show is Table 4's order among the parts: either term alone does what both do, and the mask decoder neither helps
# nor harms.
# Perhaps few tokens of a program need one term in particular.

# %% [markdown]
# ### Who needs the mask decoder
#
# Text hardly asks for absolute positions, so here is a task that asks for nothing else.
# Texts of 32 random tokens, a fifth of them masked; at a mask the network should say its own position modulo 4.

# %%
def position_task(count, generator, ask=lambda position: position % 4):
    """Random texts of 32 tokens with a fifth masked (id 0), and what is asked of the masks' positions, -100 elsewhere."""
    ids, masked = torch.randint(1, 21, (count, 32), generator=generator), torch.rand(count, 32, generator=generator) < 0.2
    return ids.masked_fill(masked, 0), torch.where(masked, ask(torch.arange(32)), -100)


POSITION_MODELS = {"relative only": {}, "absolute": dict(terms=(), absolute=True), "relative, mask decoder": dict(decoder=True)}


def knows_position(name, seed, steps=200, **task):
    """Train a network of POSITION_MODELS on the task; percent right on 500 new texts."""
    torch.manual_seed(seed)
    model = Solver(Deberta(replace(Config(
        vocab_size=21, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_relative_positions=4,
        max_position_embeddings=32, initializer_range=0.1), **POSITION_MODELS[name])), answers=4)
    ids, answers = position_task(32 * steps, torch.Generator().manual_seed(seed), **task)
    optimise(model, list(zip(ids.split(32), answers.split(32))), answer_loss, 3e-3)
    texts = position_task(500, torch.Generator().manual_seed(999), **task)
    ids, answers = (train.placed(one, model) for one in texts)
    with torch.no_grad():
        return 100 * (model(ids).argmax(-1) == answers)[answers >= 0].float().mean().item()

# %% tags=["active-ipynb"]
# right = {name: knows_position(name, SEED) for name in POSITION_MODELS}
# claim("relative positions alone do not find a position modulo 4: below 60% right (guessing gives 25%)",
#       right["relative only"] < 60, "ours; §3.2")
# claim("with the mask decoder they do, over 98%, as absolute positions at the input do",
#       right["absolute"] > 98 and right["relative, mask decoder"] > 98, "ours; §3.2")

# %% [markdown]
# The encoder of the third network is that of the first: it has no absolute positions anywhere.
# They enter with the decoder: late, as the paper wants them (§3.2), though in a network of two layers that is in the middle.

# %% [markdown]
# ## 6. Look inside
#
# ### Attention taken apart
#
# The network of section 5 reads Python.
# Pick a layer and a head; hover over a pair of tokens for its three numbers and its distance; switch terms off.
# In JupyterLab, type a line of your own.

# %%
def read_code(source, most=24):
    """(ids, tokens as typed, what to say about them) of a piece of Python, cut at `most` tokens; read as far as it is Python."""
    number = {token: i for i, token in enumerate(text.python_tokens()[0])}
    tokens, notes = [], []
    try:
        for token, _, _ in text.code_tokens(source):
            tokens.append(token or "?")
            if len(tokens) > most:
                break
    except (tokenize.TokenError, SyntaxError, ValueError):
        notes.append("what follows is no Python")
    if not tokens:
        raise ValueError("there is no token of Python in this; type something like x = f(y)")
    if len(tokens) > most:
        tokens, notes = tokens[:most], [f"only the first {most} tokens are shown"]
    unknown = [token for token in tokens if token not in number]
    if unknown:
        notes.append(f"tokens the network does not know: {len(unknown)}")
    return torch.tensor([number.get(token, 1) for token in tokens]), tokens, "; ".join(notes)


def look(model, program, layer, head):
    """A frame for `kit.view.Apart`: one head of a Deberta reads a piece of Python."""
    ids, tokens, note = read_code(program)
    return taken_apart(model, ids, tokens, layer, head, note)

# %% tags=["active-ipynb", "nbval-ignore-output"]
# programs = ["for i in range(len(items)):\n    self.items[i] = None", "if name not in self.names:\n    raise ValueError(name)",
#             "def close(self):\n    self.file.close()", "return (a + b) * (a - b)"]
# apart = Apart(
#     partial(look, models["c2p + p2c"].deberta), controls={"program": programs, "layer": [1, 2], "head": [1, 2, 3, 4]}, start={"layer": 2},
#     caption="One head taken apart: blue adds to a score, vermilion takes away. Stripes along the diagonal are distances.",
#     alt="Four square maps of the tokens of a line of Python: c2c, c2p, p2c and the weights after the softmax.",
# )
# apart.widget(write={"program": 300})

# %% [markdown]
# ### What a head likes, as a function of distance
#
# c2p is a query times the table's rows, so it *is* a curve over the distance.
# Below is that curve for the average query of a token, and for that of all tokens; with p2c, the same from the other side.
# The slider cuts distances off at a smaller k than the network was trained with.

# %%
def short_sighted(model, k):
    """The table P of a Deberta with, for every distance beyond ±k, the row of ±k."""
    trained = model.config.max_relative_positions
    table = model.positions.weight.detach()
    rows = trained + (torch.arange(2 * trained) - trained).clamp(-k, k - 1)
    return table[rows.to(table.device)]


@torch.no_grad()
def preference(attention, x, positions, term):
    """What tokens with the states `(n, hidden)` give to each row of a table of positions on average, `(heads, 2k)`."""
    content, position = (attention.query, attention.position_key) if term == "c2p" else (attention.key, attention.position_query)
    mean = attention.heads(content(x).mean(0, keepdim=True))                            # (heads, 1, d)
    rows = attention.heads(position(positions))                                         # (heads, 2k, d)
    return (mean @ rows.transpose(-2, -1))[:, 0] / math.sqrt(mean.shape[-1] * (1 + len(attention.terms)))

# %% tags=["active-ipynb"]
# vocabulary, corpus = text.python_tokens()
# sample = text.windows(corpus.heldout, LENGTH)
# sample = sample[torch.randperm(len(sample), generator=torch.Generator().manual_seed(1))[:200]]
# reader_of_code = models["c2p + p2c"].deberta
# with torch.no_grad():
#     sample_states = reader_of_code.states(sample)
#
#
# def liking(token, term, layer, head, k):
#     curves, heights, attention = [], [], reader_of_code.layers[layer - 1].attention
#     place = torch.arange(-15, 17) if term == "c2p" else torch.arange(-16, 16)       # j − i or i − j: seen from the reader or the sender
#     full, cut = (short_sighted(reader_of_code, limit) for limit in (16, k))
#     for name, where, role in (("all tokens", sample > 0, "control"), (token, sample == vocabulary.index(token), "idea")):
#         whole, curve = (preference(attention, sample_states[layer - 1][where], table, term)[head - 1] for table in (full, cut))
#         curves.append({"name": name, "x": place, "y": curve.flip(0) if term == "c2p" else curve, "role": role})
#         heights += [whole.min().item(), whole.max().item()]
#     return {"series": curves, "y_range": (min(heights) - 0.2, max(heights) + 0.2),      # of the whole curves: the same for every k
#             "x_label": "where the other token stands" if term == "c2p" else "where the reader stands"}

# %% tags=["active-ipynb", "nbval-ignore-output"]
# likings = Curves(
#     liking, start={"layer": 2, "k": 16},
#     controls={"token": ["(", "NEWLINE", ".", "="], "term": ["c2p", "p2c"], "layer": [1, 2], "head": [1, 2, 3, 4], "k": [1, 2, 4, 8, 16]},
#     x_label="", y_label="score",
#     caption="What a token gives to each distance (negative: to the left). Peaks are next to 0; far away it is flat. Then move k.",
#     alt="Two curves over the distance, high near zero for some heads; for a smaller k they are flat beyond k.",
# )
# likings.widget(controls={"token": ["(", ")", "NEWLINE", "INDENT", ".", ",", "=", ":", "self", "return", "if", "STRING"]})

# %% [markdown]
# Which rows of its table does this network use?
# The same network with its distances cut off, on held-out programs.
# Beyond k every token now claims to stand at ±k, so a small k is worse than no positions at all (the table in section 5):

# %% tags=["active-ipynb"]
# ks, clip_losses, trained_table = [1, 2, 4, 8, 16], [], reader_of_code.positions.weight.data
# for k in ks:
#     reader_of_code.positions.weight.data = short_sighted(reader_of_code, k)
#     clip_losses.append(held_out(models["c2p + p2c"], LENGTH)[1].mean().item())
#     reader_of_code.positions.weight.data = trained_table
# claim("cut off at k = 1 the network loses over 0.3, at k = 8 less than 0.1",
#       clip_losses[0] > clip_losses[-1] + 0.3 and clip_losses[3] < clip_losses[-1] + 0.1, "ours")
# Curves({"series": [{"name": "held-out loss", "x": ks, "y": clip_losses, "role": "idea"}]},
#        x_label="k used, of 16 trained", y_label="held-out loss",
#        caption="Cut off after training. Rows beyond 4 to 8 hardly matter; cut closer, far tokens pass for near ones.",
#        alt="A curve that falls steeply from k = 1 to 4 and is flat from 8 on.")

# %% [markdown]
# ### The control: the same question to absolute positions
#
# An absolute model has no term of distance, but it can imitate one: its score, averaged over many texts, may happen to depend on j
# − i only.
# Compare the mean scores of tokens at positions 9, 17 and 25.
# If distance is all that counts, the three curves, each over its own eight neighbours to the left and seven to the right, lie on one
# another.

# %%
@torch.no_grad()
def mean_scores(model, windows, layer):
    """The scores of every pair of positions, averaged over texts, rows shifted to mean 0: `(heads, tokens, tokens)`."""
    states, (_, index, positions) = model.states(windows), model.context(windows.shape[1])
    parts = model.layers[layer - 1].attention.parts(states[layer - 1], index, positions)
    mean = sum(parts.values()).mean(0)
    return mean - mean.mean(-1, keepdim=True)


def explained_by_distance(scores):
    """The share of the variance of mean scores `(heads, tokens, tokens)` that the mean of each distance explains, one number a head."""
    far = distances(scores.shape[-1]).to(scores.device)
    fitted = torch.zeros_like(scores)
    for distance in far.unique():
        fitted[:, far == distance] = scores[:, far == distance].mean(-1, keepdim=True)
    return 1 - (scores - fitted).square().sum((-2, -1)) / scores.square().sum((-2, -1))

# %% tags=["active-ipynb", "nbval-ignore-output"]
# maps = {(name, layer): mean_scores(model.deberta, sample, layer) for name, model in models.items() for layer in (1, 2)}
#
#
# def seen_from(model, layer, head):
#     curves = [{"name": f"from position {i + 1}", "x": range(-8, 8), "y": maps[model, layer][head - 1, i, i - 8:i + 8], "dash": n,
#                "role": "control" if model == "absolute" else "idea"} for n, i in enumerate((8, 16, 24))]
#     explained = explained_by_distance(maps[model, layer])[head - 1]
#     return {"series": curves, "note": f"distance explains {100 * explained:.0f}% of the variance"}
#
#
# Curves(seen_from, controls={"model": list(models), "layer": [1, 2], "head": [1, 2, 3, 4]}, start={"layer": 2},
#        also=[{"model": "c2p + p2c"}], x_label="j − i", y_label="mean score",
#        caption="Mean scores as seen from three positions: for the absolute model three curves. Switch to the relative one.",
#        alt="Three curves over the distance that differ for the absolute model and, in layer 2, coincide for the relative one.")

# %% tags=["active-ipynb"]
# share = {name: explained_by_distance(maps[name, 2]).mean() for name in models}
# claim("in layer 2 of the relative network, distance explains over 90% of the mean scores, on average of the heads",
#       share["c2p + p2c"] > 0.9, "ours")
# claim("in the absolute one it is at least 10 points less", share["absolute"] < share["c2p + p2c"] - 0.1, "ours")

# %% tags=["active-ipynb", "nbval-ignore-output"]
# table(["distance explains, mean of the heads", "layer 1", "layer 2"],
#       [[name, *(f"{100 * explained_by_distance(maps[name, layer]).mean():.0f}%" for layer in (1, 2))] for name in models])

# %% [markdown]
# In layer 1 it is the other way round.
# So distance is where the relative network ends, not all that it uses.
#
# ### Which term carries the signal?
#
# The gradients that `term_gradients` took down while the networks learned: for the text of section 5, and here for the three puzzles.

# %% tags=["active-ipynb"]
# for task in TASKS:
#     signal[task] = []
#     ids, answers = puzzle(task, 64, TRAINED, torch.Generator().manual_seed(5))
#
#     def watch(step, loss, solver, task=task, ids=ids, answers=answers):
#         if step % 10 == 0:
#             attention = solver.encoder.layers[0].attention
#             found = term_gradients(attention, lambda: answer_loss(solver(ids), answers))
#             signal[task].append({term: gradient.norm().item() for term, gradient in found.items()})
#
#     solve(partial(small_deberta, "c2p + p2c"), task, SEED, watch)
#
#
# def signals(network):
#     every = 10 if network in TASKS else 20
#     seen = signal[network]
#     return {"series": [{"name": term, "x": range(0, every * len(seen), every), "y": [one[term] for one in seen],
#                         "role": role} for term, role in (("c2c", "control"), ("c2p", "idea"), ("p2c", "idea"))]}
#
#
# Curves(signals, controls={"network": ["text, layer 1", "text, layer 2", *TASKS]}, x_label="step", y_label="gradient norm", log=True,
#        caption="The gradient through each term while the network learns. At step 0 nearly all of it goes through c2c.",
#        alt="Three curves on a log axis; those of the position terms start low and rise.")

# %% tags=["active-ipynb"]
# mean_signal = {network: {term: np.mean([one[term] for one in seen]) for term in seen[0]} for network, seen in signal.items()}
# texts = [signal[f"text, layer {layer}"] for layer in (1, 2)]
# claim("on text the position terms get less than a tenth of c2c's gradient at step 0, and over a fifth of it at the end",
#       all(max(first["c2p"], first["p2c"]) < 0.1 * first["c2c"] and min(last["c2p"], last["p2c"]) > 0.2 * last["c2c"]
#           for first, *_, last in texts), "ours")
# claim("on “reader” more signal comes through c2p than through p2c, on “sender” more through p2c",
#       mean_signal["reader"]["c2p"] > 1.1 * mean_signal["reader"]["p2c"]
#       and mean_signal["sender"]["p2c"] > 1.5 * mean_signal["sender"]["c2p"], "ours")

# %% [markdown]
# Why so little at first?
# The gradient in the query weights, through c2p, is proportional to the position keys.
# The table P starts with a standard deviation of 0.1, the states after a normalisation have one of 1: so this says where the table
# starts, not that positions matter less.
#
# ## 7. What people get wrong
#
# ### "DeBERTa adds stochastic depth"
#
# The Korean notes behind this course list three ingredients: disentangled attention, relative positional encoding, *stochastic depth*.
# The first two are one and the same thing: the relative positions *are* what is disentangled.
# The third is not in the paper.
# (What is random in it: dropout, and in SiFT, its fine-tuning method, a small perturbation of normalised word vectors, §4.)

# %% tags=["active-ipynb"]
# model, ids = build("deberta-v3-xsmall", num_hidden_layers=2, vocab_size=97), torch.randint(97, (1, 8))
#
#
# def layers_run(model, layers, steps=50):
#     """Which layers run in `steps` passes in training mode, as a list of their numbers."""
#     ran, model = [], model.train()
#     for number, layer in enumerate(layers):
#         layer.register_forward_hook(lambda *_, number=number: ran.append(number))
#     for _ in range(steps):
#         model(ids)
#     return ran
#
#
# theirs = DebertaModel(DebertaConfig(**SMALL))
# claim("in training mode every layer runs at every step, in our network",
#       layers_run(model, model.layers) == [0, 1] * 50, "ours")
# claim("and in the reference, where dropout is on", layers_run(theirs, theirs.encoder.layer) == [0, 1, 2] * 50, "transformers")

# %% [markdown]
# ### "…and various decoding methods"
#
# The same notes.
# *Decoding* here is not how text is generated; the **enhanced mask decoder** predicts masked words, with absolute positions (§3.2).
# DeBERTa is an encoder: every token sees the whole text.

# %% tags=["active-ipynb"]
# changed = ids.clone()
# changed[0, -1] = (ids[0, -1] + 1) % 97
# with torch.no_grad():
#     moved = (model.eval()(ids) - model(changed)).abs().amax(-1)[0]
# claim("changing the last token changes the state of the first: nothing generates from left to right here", moved[0] > 0, "ours")

# %% [markdown]
# ### "DeBERTa has no absolute positions"
#
# Its *encoder* has none; in pre-training they are in the decoder, and section 5 shows a task that hangs on them.
# Still, an encoder with relative positions alone knows something of place: it sees the edges of the text.
# Ask it in which *quarter* of the text a mask stands:

# %% tags=["active-ipynb"]
# quarter = knows_position("relative only", SEED, ask=lambda position: position // 8)
# claim("relative positions alone find the quarter of the text in over 80% of the cases", quarter > 80, "ours")
# claim("but not the position modulo 4", right["relative only"] < 60, "ours")

# %% [markdown]
# ### "The score is divided by √d", "by √3d"
#
# By $\sqrt{d(1 + t)}$, t being the number of position terms: 1, 2 or 3 summands (§3.1: "3d" for all three).
# The more independent summands, the larger the sum varies.

# %% tags=["active-ipynb"]
# x, table_of_positions, deviation = torch.randn(4, 64, 64), torch.randn(32, 64), {}
# for terms in ((), ("c2p",), ("c2p", "p2c")):
#     layer = DisentangledAttention(64, 1, terms)
#     layer.apply(partial(init_weights, std=1 / 8))
#     spread = sum(layer.parts(x, clipped(distances(64), 16), table_of_positions).values()).std().item()
#     deviation[len(terms)] = spread, spread * math.sqrt(1 + len(terms))
# claim("the scores' standard deviation is 0.8 to 1.2 with one, two or three terms; divided by √d alone it would be over 1.4 with three",
#       all(0.8 < one < 1.2 for one, _ in deviation.values()) and deviation[2][1] > 1.4, "ours; §3.1")

# %% [markdown]
# ### "c2p and p2c are the same thing twice"
#
# They would be if the score were symmetric.
# Section 3: with one head and one layer "reader" needs one, "sender" the other.
# With *several heads* the border blurs: one head can look for “tokens that say +2, and stand two places to the left”, by c2c and
# c2p, another for those that say −1.

# %% tags=["active-ipynb"]
# four = solve(partial(small_deberta, "c2p", num_attention_heads=4), "sender", SEED)
# claim("with four heads c2p alone gets over 80% of “sender” right", min(percent_right(four, "sender")) > 80, "ours")

# %% [markdown]
# The other way round takes more: each head can only fetch from one place, and the feed-forward network must choose afterwards.
# In trials outside this notebook, one seed each, p2c with four heads stayed far behind on “reader”, and came near with eight heads,
# twice the width and more steps.

# %% [markdown]
# ### "Relative positions need an n × n × d tensor"
#
# Section 3 measured it: the gather trick keeps n × 2k and n × n numbers (§3.1.1).
# The *time* is not free: the paper says about 30% more than RoBERTa's (A.7).

# %% [markdown]
# ### "The library's masked model fills in words with the published weights"
#
# By default `DebertaForMaskedLM` builds a head whose names are not those in the published files, so the head stays as random as it
# was created, with a warning.
# With `legacy=False` it has the right one.
# And the enhanced mask decoder, which these weights were trained with, it has in neither case.

# %% tags=["active-ipynb"]
# libraries = {legacy: DebertaForMaskedLM(DebertaConfig(**SMALL, legacy=legacy)) for legacy in (True, False)}
# named = {legacy: [name for name, _ in model.named_parameters()] for legacy, model in libraries.items()}
# heads = {legacy: {name.split(".")[0] for name in names} - {"deberta"} for legacy, names in named.items()}
# claim("the default head is named “cls”, the published one “lm_predictions”",
#       heads == {True: {"cls"}, False: {"lm_predictions"}}, "transformers")
# claim("neither has absolute positions for a decoder",
#       not any("position_embeddings" in name for names in named.values() for name in names), "transformers")

# %% [markdown]
# ### "DeBERTa-v3 is DeBERTa, trained longer"
#
# It has another task (replaced tokens), another vocabulary and shared projections; section 4.
# Its base has 184 million parameters, but 98 million of them are the table of words: where it counts it is smaller than the first base (85
# million against 100, section 4).
#
# ### "The paper's tables show that each part is needed"
#
# They show that each removal costs something: alone 0.2 to 0.4 points (of 1.4 that all parts bring together) on MNLI, where the
# question is whether one sentence follows from another; 1.2 to 1.7 (of 3.0) on SQuAD 2.0, questions about a paragraph;
# 1.4 to 2.4 (of 4.9) on RACE, school exams in reading (Table 4, base).
# But each row is one number, without a spread.

# %% tags=["active-ipynb"]
# table4 = {"RoBERTa-ReImp": (84.9, 79.5, 66.8), "DeBERTa base": (86.3, 82.5, 71.7),
#           "− EMD": (86.1, 81.3, 70.3), "− C2P": (85.9, 81.3, 69.3), "− P2C": (86.0, 80.8, 69.6),
#           "− (EMD + C2P)": (85.8, 80.3, 68.1), "− (EMD + P2C)": (85.8, 80.2, 68.5)}
# full, without = table4["DeBERTa base"], [scores_here for name, scores_here in table4.items() if name.startswith("−")]
# claim("each removal costs something in each of the three columns, and no single one over 2.4 points",
#       all(cut < whole for row in without for cut, whole in zip(row, full))
#       and max(whole - cut for row in without[:3] for cut, whole in zip(row, full)) < 2.45, "Table 4")
# table(["model, Table 4", "MNLI", "SQuAD 2.0, F1", "RACE"], [[name, *row] for name, row in table4.items()])

# %% [markdown]
# ## 8. Your turn
#
# Replace the lines that raise and run the cell: its last line checks your answer.
# The solutions are folded below; try first.
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
# ### Exercise 2: p2c by gathering
#
# Write p2c as released code has it: entry (i, j) is the dot product of `key[..., j, :]` with row δ(i, j) of `position_query`.
# `key` is `(batch, heads, n, d)`, `position_query` `(heads, 2k, d)`, `index` holds δ, `(n, n)`.
# Return `(batch, heads, n, n)`, unscaled, and let no tensor grow as large as n × n × d.

# %% tags=["active-ipynb"]
# def p2c_scores(key, position_query, index):
#     raise NotImplementedError
#
#
# check(p2c_scores, checks.p2c_scores)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# Row j of the product belongs to the token that is looked at, so gather with δ(i, j) in row j, then turn round.
#
# ```python
# def p2c_scores(key, position_query, index):
#     scores = key @ position_query.transpose(-2, -1)                             # (batch, heads, n, 2k)
#     scores = scores.gather(-1, index.T.expand(*scores.shape[:-1], -1))          # entry (j, i)
#     return scores.transpose(-2, -1)
# ```
# </details>
#
# ### Exercise 3: which distances look alike?
#
# DeBERTa-v2 and V3 round distances to buckets; `log_buckets` in section 3 does it.
# Return all distances from −longest + 1 to longest − 1, in rising order, that share the bucket of `distance`, itself included.

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
# ## 9. Where we differ from the paper
#
# | what | the paper | here |
# |---|---|---|
# | text | 78 GB: Wikipedia, books, web pages, stories | 450,000 tokens of networkx and sympy |
# | pieces | BPE, 50,265 | tokens of Python's grammar, 1,000 |
# | length, k | 512, 512 | 32 and 16; puzzles 24 and 8 |
# | encoder | 12 layers, H = 768 and more | 1 or 2 layers, H = 32 or 64 |
# | first weights | standard deviation 0.02 | 0.1, as the networks are narrow |
# | hiding | 15%, spans up to 3 | 15%, single tokens |
# | mask decoder in MLM | always | in one row of the study, and in the position task |
# | optimiser | Adam, batches of 2,000 texts, 1,000,000 steps (Table 8) | AdamW, batches of 32, 200 to 2,400 steps |
# | dropout | 0.1 | none: we build the network as it is used afterwards |
# | fine-tuning, SiFT | eight GLUE tasks, SuperGLUE and more | none |
#
# What does **not** show here:
#
# - *Both terms beat either alone* (Table 4). On the puzzles yes, on our text no: c2p alone is as good as both.
# - *The mask decoder helps* (Table 4). On our text it changes nothing; where positions modulo 4 are asked for, everything hangs on it.
# - *DeBERTa beats a well-trained absolute network by a point or two.* Our gap is far larger, but mostly one of *speed*: four times
#   the steps close most of it at the trained length, none of it beyond.
# - *Fine-tuning.* The paper's tables are of fine-tuned models; nothing here is.
#
# The puzzles are ours, and chosen so that one term is needed; they show what a term can do, not how often language asks for it.
#
# To see whether the claims of this notebook hang on its seed, set the environment variable `LESSON_SEED` to try your own.
#
# ## 10. With real weights and more machines
#
# With a network connection, a published DeBERTa, V2 or V3 comes by its name:
#
# ```python
# from transformers import AutoTokenizer
#
# name = "microsoft/deberta-v3-base"
# model = published.from_pretrained(name)
# inputs = AutoTokenizer.from_pretrained(name)("Paris is the capital of France.", return_tensors="pt")
# states = model(**inputs)                                    # (1, tokens, 768)
# ```
#
# One fine-tuned for MNLI gives logits, as its `architectures` says.
# `published.from_pretrained(name, decoder=True)` takes the masked-word head of a pre-training *with* the enhanced mask decoder, to fill
# in words as the paper does; the library cannot.
#
# To train at the paper's scale, make `MaskedLM(replace(VARIANTS["deberta-base"], decoder=True))` and hide spans with
# `choose_ngrams(words, longest=3)` in texts of 512 tokens.
# On several machines wrap it in `torch.nn.parallel.DistributedDataParallel`.
# Afterwards drop the decoder: `replace(config, decoder=False)`.
#
# ## 11. Recap
#
# Every line was tested when you ran the notebook.

# %% tags=["active-ipynb"]
# recap()

# %% [markdown]
# Further reading:
#
# - Shaw et al., *Self-Attention with Relative Position Representations*, [arXiv:1803.02155](https://arxiv.org/abs/1803.02155):
#   the first relative keys, which are a c2p.
# - Dai et al., *Transformer-XL*, [arXiv:1901.02860](https://arxiv.org/abs/1901.02860): content and position in four terms, before DeBERTa.
# - He, Gao, Chen, *DeBERTaV3*, [arXiv:2111.09543](https://arxiv.org/abs/2111.09543); and the [ELECTRA lesson](electra.ipynb) for its task.
# - Ke et al., *Rethinking Positional Encoding in Language Pre-training* (TUPE), [arXiv:2006.15595](https://arxiv.org/abs/2006.15595):
#   another way to untie the two.
# - Su et al., *RoFormer*, [arXiv:2104.09864](https://arxiv.org/abs/2104.09864):
#   rotary positions, which most of today's language models use.
#
# <nav>
#
# Lesson before: [ELECTRA](electra.ipynb) · Next lesson: [CTRL](ctrl.ipynb)
#
# </nav>
