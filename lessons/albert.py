# %% [markdown]
# # ALBERT: a transformer encoder from nothing, then the same with a tenth of the parameters
#
# **Paper:** Lan, Chen, Goodman, Gimpel, Sharma, Soricut: *ALBERT: A Lite BERT for Self-supervised Learning of Language Representations*, ICLR 2020 (arXiv:1909.11942)
#
# **You will see:** where a transformer's parameters are, what sharing all layers saves and what it does not, and what each head of a real model looks at
#
# Afterwards you can build a BERT and an ALBERT from nothing, count their parameters and multiply-adds,
# load published weights into your own code, and tell eight common sentences about ALBERT from the truth.
#
# You need to know what a matrix product, a softmax and a gradient are, and to read PyTorch.
# Running all cells takes about a minute on a laptop; reading and playing takes one to two hours.

# %% [markdown]
# What the paper says is marked with its section (§), table or figure.
# Everything else is ours.
# A line that begins with ✓ was tested on the machine that ran the cell; a claim that does not hold stops the notebook.

# %%
import math
import re
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from kit import checkpoint
from kit.checkpoint import CheckpointError

# %% tags=["active-ipynb"]
# from copy import deepcopy
# from itertools import product
# from tempfile import TemporaryDirectory
#
# import numpy as np
#
# from kit import text, train
# from kit.claims import claim, recap
# from kit.exercises import check
# from kit.probe import multiply_adds, parameters
# from kit.table import as_printed, table
# from kit.view import Attention, Curves, Layers, Predict, Tokens
# from lessons.checks import albert as checks
#
# SEED = train.seed()
# torch.set_num_threads(1)  # networks this small run fastest on one core

# %% [markdown]
# ## 1. The problem
#
# BERT showed in 2018 that a transformer encoder, trained to fill in missing words, helps with nearly every task on text,
# and that a larger one helps more.
# But memory is limited, and machines that train together must send each other a gradient for every parameter (§1).
# So where *are* the parameters?
#
# A dozen numbers define such an encoder.
# We use the names that published configurations use; you will build what they mean in section 3.

# %%
@dataclass(frozen=True)
class Config:
    """The sizes of an encoder. `share` names what the layers of a group share: "none", "attention", "ffn" or "all"."""

    vocab_size: int = 30_000                # V
    embedding_size: int = 128               # E
    hidden_size: int = 768                  # H
    num_hidden_layers: int = 12             # L
    num_attention_heads: int = 12
    intermediate_size: int = 3072           # of the feed-forward network, 4H (§3.1)
    share: str = "all"
    num_hidden_groups: int = 1
    inner_group_num: int = 1                # layers that a group runs one after the other
    hidden_act: str = "gelu_new"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pooler: bool = True
    project: bool | None = None             # a map from E to H; None: only where E and H differ


# %%
def sizes(hidden_size, num_hidden_layers, embedding_size=128, share="all", heads=None):
    """A Config by the paper's rules: feed-forward 4H, a head for every 64 of the hidden size (§3.1)."""
    return Config(embedding_size=embedding_size, hidden_size=hidden_size, num_hidden_layers=num_hidden_layers,
                  num_attention_heads=heads or hidden_size // 64, intermediate_size=4 * hidden_size, share=share)


VARIANTS = {
    "bert-base": sizes(768, 12, embedding_size=768, share="none"),
    "bert-large": sizes(1024, 24, embedding_size=1024, share="none"),
    "albert-base": sizes(768, 12),
    "albert-large": sizes(1024, 24),
    "albert-xlarge": sizes(2048, 24),
    "albert-xxlarge": sizes(4096, 12),
}


# %% [markdown]
# Now the bill.
# A linear layer from a to b has a · b weights and b biases, a layer normalisation two numbers a channel.
# *Attention* has four linear layers from H to H, the *feed-forward network* two, H to 4H and back; each ends with a normalisation.

# %%
def parameter_parts(config):
    """The number of parameters of each part of the encoder that `config` describes."""
    V, E, H, I = config.vocab_size, config.embedding_size, config.hidden_size, config.intermediate_size
    layers = config.num_hidden_layers * config.inner_group_num
    shared = config.num_hidden_groups * config.inner_group_num
    attention_copies = shared if config.share in ("attention", "all") else layers
    ffn_copies = shared if config.share in ("ffn", "all") else layers
    project = E != H if config.project is None else config.project
    return {
        "embedding": (V + config.max_position_embeddings + config.type_vocab_size + 2) * E + project * (E * H + H),
        "attention": attention_copies * (4 * (H * H + H) + 2 * H),
        "feed-forward": ffn_copies * (H * I + I + I * H + H + 2 * H),
        "pooler": config.pooler * (H * H + H),
    }


# %% [markdown]
# The *pooler* is one more linear layer that follows the last one; section 4 finds out when the paper counts it.
#
# And the work: multiply-adds for one text of 512 tokens.
# A linear layer needs a · b of them for each token, *each time it runs*;
# comparing all tokens with all others, and mixing them, H · 512 for each token.

# %%
def multiply_add_parts(config, tokens=512):
    """The multiply-adds of one forward pass over one text of `tokens` tokens, part by part."""
    E, H, I = config.embedding_size, config.hidden_size, config.intermediate_size
    runs = config.num_hidden_layers * config.inner_group_num
    project = E != H if config.project is None else config.project
    return {
        "embedding": tokens * E * H * project,
        "attention": runs * tokens * (4 * H * H + 2 * tokens * H),
        "feed-forward": runs * tokens * 2 * H * I,
        "pooler": config.pooler * H * H,
    }
# %% [markdown]
# ALBERT has two ideas to cut the bill (§3.1).
# Look words up in a narrow table of E = 128 columns and widen the result to H: the *factorised embedding*.
# And let all layers use the same weights: *cross-layer sharing*.
# Before you compute anything, commit yourself.

# %% tags=["active-ipynb"]
# bill_guess = Predict(
#     "BERT-large: 24 layers, H = 1024, 30,000 words. Which idea removes more of its 335 million parameters?",
#     ["The factorised embedding", "Sharing the layers", "Both about the same"],
#     name="bill",
# )
# bill_guess

# %%
SHOWN = {"parameters, millions": 1e6, "memory to train, GB": 2**30, "multiply-adds, billions": 1e9}


def bill(V, H, E, L, share, show, heads=None):
    """A frame for `kit.view.Layers`: an encoder as it is in BERT, with each idea of ALBERT alone, and with both."""
    if heads is not None and H % heads:
        raise ValueError(f"the hidden size {H} is not a multiple of {heads} heads")
    E = H if E == "H" else E
    plain = replace(sizes(H, L, embedding_size=H, share="none", heads=heads), vocab_size=V)
    ideas = {"BERT": {}, f"E = {E}": {"embedding_size": E}, f"shared: {share}": {"share": share}}
    ideas["both"] = ideas[f"E = {E}"] | ideas[f"shared: {share}"]
    configs = {name: replace(plain, **idea) for name, idea in ideas.items()}
    counts = {name: sum(parameter_parts(config).values()) for name, config in configs.items()}
    if show.startswith("memory"):
        parts = {name: dict.fromkeys(("weights", "gradients", "Adam's mean", "Adam's variance"), 4 * count)
                 for name, count in counts.items()}
    else:
        count_parts = parameter_parts if show.startswith("parameters") else multiply_add_parts
        parts = {name: count_parts(config) for name, config in configs.items()}
    series = [{"name": part, "values": [parts[name][part] / SHOWN[show] for name in parts]} for part in parts["BERT"]]
    note = f"{counts['BERT'] / 1e6:,.0f} million parameters become {counts['both'] / 1e6:,.1f}: {counts['BERT'] / counts['both']:.1f}× fewer"
    return {"series": series, "labels": list(configs), "note": note}


# %% tags=["active-ipynb"]
# presets = {name.replace("bert-", "BERT ").replace("al", "AL", 1) if name[0] == "a" else name.replace("bert-", "BERT "):
#            {"V": config.vocab_size, "H": config.hidden_size, "E": 128 if config.embedding_size == 128 else "H",
#             "L": config.num_hidden_layers, "share": config.share} for name, config in VARIANTS.items()}
# explorer = Layers(
#     bill, kind="stacked", y_range="frame", presets=presets, start={"H": 1024, "L": 24, "E": 128, "share": "all"},
#     controls={"show": list(SHOWN), "V": [30_000, 120_000], "H": [768, 1024, 2048, 4096], "E": [64, 128, 256, "H"],
#               "L": [12, 24], "share": ["none", "attention", "ffn", "all"]},
#     x_label="which ideas", y_label="as chosen above",
#     caption="Where the parameters are. Choose presets; then let the figure show multiply-adds, and see what the ideas do not save.",
#     alt="Four stacked bars: an encoder as in BERT, with a factorised embedding, with shared layers, and with both.",
# )
# explorer.widget(controls={"V": [8_000, 30_000, 50_000, 120_000], "L": [1, 2, 3, 6, 12, 24, 48], "heads": [1, 4, 8, 12, 16, 32]})

# %% [markdown]
# The page holds 768 precomputed pictures; in JupyterLab each further setting is computed when you ask for it.
# *Memory to train* is that of weights, gradients and the two moments of Adam, four bytes each; activations come on top.
# In JupyterLab there is a slider for the number of *heads*, too. Does it do anything?

# %% tags=["active-ipynb"]
# large = VARIANTS["bert-large"]
# ideas = {"BERT-large": {}, "E = 128": {"embedding_size": 128}, "all layers shared": {"share": "all"},
#          "both": {"embedding_size": 128, "share": "all"}}
# counts = {name: sum(parameter_parts(replace(large, **idea)).values()) for name, idea in ideas.items()}
# saved = {name: counts["BERT-large"] / count for name, count in counts.items()}
# table(["encoder", "parameters", "fewer"], [[name, f"{counts[name]:,}", f"{saved[name]:.2f}×"] for name in counts])

# %% tags=["active-ipynb"]
# claim("on the large configuration the factorised embedding alone saves 1.09×, sharing alone 7.45×, both 18.9×",
#       [f"{saved[name]:.3g}" for name in list(ideas)[1:]] == ["1.09", "7.45", "18.9"], "§1 says 18×")
# bill_guess.reveal(
#     1 if saved["all layers shared"] > 1.1 * saved["E = 128"] else 0,
#     "The layers hold nine tenths of BERT-large. Only once they are shared does the table of words weigh much.",
# )

# %% [markdown]
# Read the table again: the two savings do not multiply, 1.09 · 7.45 is 8.1.
# With the layers shared, 31 of the remaining 45 million are the table of words, so factorising it *then* saves a factor of 2.5.
#
# ## 2. The idea
#
# ### A narrow table
#
# A word's embedding is looked up before any context is seen; the hidden states must hold the context as well.
# So why should both have the same width?
# The paper unties them (§3.1): instead of one V × H table, a V × E table and an E × H matrix,
#
# $$O(V \times H) \quad\to\quad O(V \times E + E \times H)$$
#
# What is lost?
# Widening all rows of the narrow table gives a full one, but one of rank E at most.

# %% tags=["active-ipynb"]
# torch.manual_seed(SEED)
# narrow, widen = torch.randn(50, 4), torch.randn(4, 16)     # V = 50, E = 4, H = 16
# full, word = narrow @ widen, torch.tensor(7)
# print("look up, then widen = look up in the widened table:", torch.allclose(narrow[word] @ widen, full[word]))
# print("numbers:", narrow.numel() + widen.numel(), "instead of", full.numel())
# claim("the widened table has rank E, not H", torch.linalg.matrix_rank(full) == 4, "ours")

# %% [markdown]
# ### One layer, used again and again
#
# The paper's default shares *all* parameters of all layers (§3.1):
#
# $$\mathbf{x}_{\ell} = \mathrm{layer}(\mathbf{x}_{\ell-1}; \theta), \qquad \ell = 1 \dots L, \quad \text{one } \theta \text{ for all of them}$$
#
# In code it is a loop over one and the same module.

# %% tags=["active-ipynb"]
# layer, x = nn.Linear(8, 8), torch.randn(2, 8)
# unshared = nn.Sequential(*(nn.Linear(8, 8) for _ in range(12)))
# shared = nn.Sequential(*[layer] * 12)      # the same object twelve times
# print("parameters:", parameters(unshared), "and", parameters(shared))
# print("matrix products to run it:", multiply_adds(unshared, 2, 8) // 128, "and", multiply_adds(shared, 2, 8) // 128)
# claim("sharing 12 layers divides the parameters by 12 and the multiply-adds by 1",
#       parameters(unshared) == 12 * parameters(shared) and multiply_adds(unshared, 2, 8) == multiply_adds(shared, 2, 8), "ours")

# %% [markdown]
# ### Which of the two came first?
#
# BERT's second task was to say whether two segments of text follow each other or come from different documents (*next-sentence prediction*, NSP).
# Later work found it of little use, and the paper says why it may be too easy: the *topic* gives the answer away (§3.1).
# ALBERT asks instead whether two consecutive segments are in order or swapped (*sentence-order prediction*, SOP).
# Section 7 measures how far one gets with the topic alone.
#
# ## 3. Build it
#
# ### Real text
#
# Two corpora lie inside an installed package: articles of Wikipedia and news of 2001.
# Whole documents are held out, so that no test sentence comes from an article that was trained on.

# %% tags=["active-ipynb"]
# documents = text.corpus("wikipedia")
# print(len(documents.train), "articles to train on,", len(documents.heldout), "held out")
# print(documents.heldout[2][:300], "…")

# %% [markdown]
# A network needs numbers.
# A *tokenizer* cuts text into pieces that were frequent in some other text: whole words, or parts of them, which carry `##`.
# Ours has 2,000 pieces and was trained on these corpora, the first time you ran this (WordPiece, as BERT; the paper uses SentencePiece with 30,000).

# %% tags=["active-ipynb"]
# tokenizer = text.tokenizer("wikipedia", "news", size=2000)
# sentence = "The alphabet has survived every empire that used it."
# encoding = tokenizer.encode(sentence)
# table(["piece", *encoding.tokens], [["id", *encoding.ids]])
# %% [markdown]
# ### Attention
#
# Each token asks a question (*query*), offers an answer to look up (*key*), and has something to say (*value*): three vectors.
# It compares its query with the keys of all tokens, turns the scores into weights by a softmax,
# and takes that mixture of the values (Vaswani et al. 2017, arXiv:1706.03762, Eq. 1):
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\left(\frac{Q K^\top}{\sqrt{d}}\right) V$$
#
# First by loops, for three tokens with vectors of d = 4.

# %% tags=["active-ipynb"]
# torch.manual_seed(SEED)
# query, key, value = torch.randn(3, 3, 4)
# by_loop = torch.zeros(3, 4)
# for i in range(3):
#     scores = [query[i] @ key[j] / math.sqrt(4) for j in range(3)]
#     total = sum(math.exp(score) for score in scores)
#     for j in range(3):
#         by_loop[i] += math.exp(scores[j]) / total * value[j]

# %% [markdown]
# Then as matrix products, for any number of leading axes.
# A *mask* says which tokens may be looked at: the score of the others becomes −∞, and their weight 0.

# %%
def attention_weights(query, key, mask=None):
    """softmax(QKᵀ/√d): `(…, tokens, d)` twice to `(…, tokens, tokens)`, rows sum to 1; where `mask` is False, 0."""
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])     # (…, tokens, tokens)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1)


# %% tags=["active-ipynb"]
# by_matmul = attention_weights(query, key) @ value
# by_kernel = F.scaled_dot_product_attention(query[None], key[None], value[None])[0]
# print("matrix products equal the loop:", torch.allclose(by_matmul, by_loop, atol=1e-6))
# print("torch's fused kernel equals both:", torch.allclose(by_kernel, by_loop, atol=1e-6))
# mask = torch.tensor([True, True, False])
# print("with a mask:", torch.allclose(attention_weights(query, key, mask) @ value, attention_weights(query, key[:2]) @ value[:2]))

# %% [markdown]
# The fused kernel never stores the tokens × tokens weights, so training uses it; when we want to *see* the weights, we compute them.
#
# One mixture for each token is little.
# So H is cut into *heads*, each of which attends for itself, with its own part of the queries, keys and values.

# %%
class SelfAttention(nn.Module):
    """Multi-head self-attention, `(batch, tokens, hidden_size)` to the same; `mask` broadcasts to `(batch, heads, tokens, tokens)`."""

    def __init__(self, hidden_size, num_heads):
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"the hidden size {hidden_size} is not a multiple of {num_heads} heads")
        self.num_heads = num_heads
        self.query, self.key, self.value, self.output = (nn.Linear(hidden_size, hidden_size) for _ in range(4))

    def heads(self, x):                                         # (batch, tokens, hidden)
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)    # (batch, heads, tokens, hidden/heads)

    def weights(self, x, mask=None):
        """What each head looks at: `(batch, heads, tokens, tokens)`."""
        return attention_weights(self.heads(self.query(x)), self.heads(self.key(x)), mask)

    def forward(self, x, mask=None):                            # (batch, tokens, hidden)
        query, key, value = (self.heads(project(x)) for project in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)   # (batch, heads, tokens, hidden/heads)
        return self.output(mixed.transpose(1, 2).flatten(2))    # (batch, tokens, hidden)


# %% tags=["active-ipynb"]
# x, layer = torch.randn(2, 5, 8), SelfAttention(8, num_heads=2)
# first, second = (attention_weights(layer.query(x)[..., cut], layer.key(x)[..., cut]) @ layer.value(x)[..., cut]
#                  for cut in (slice(0, 4), slice(4, 8)))
# by_hand = layer.output(torch.cat([first, second], dim=-1))
# print("two heads by hand:", torch.allclose(layer(x), by_hand, atol=1e-6))
# print("shape of the weights:", tuple(layer.weights(x).shape))

# %% [markdown]
# ### A layer
#
# After attention, each token passes by itself through a *feed-forward network*: out to 4H, an activation, back to H.
# The activation is GELU; the published checkpoints name two forms of it.

# %%
ACTIVATIONS = {"gelu": F.gelu, "gelu_new": partial(F.gelu, approximate="tanh"), "relu": F.relu}


class FeedForward(nn.Module):
    """Two linear layers, applied to every token alone: `(…, hidden_size)` to the same."""

    def __init__(self, hidden_size, intermediate_size, activation="gelu_new"):
        super().__init__()
        self.up, self.down = nn.Linear(hidden_size, intermediate_size), nn.Linear(intermediate_size, hidden_size)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x):                               # (…, hidden)
        return self.down(self.activation(self.up(x)))   # (…, intermediate), then (…, hidden)


# %% [markdown]
# Around each of the two goes what you know from ResNet: add the input.
# Then a *layer normalisation* brings each token's vector to mean 0 and variance 1.
# Because it comes after the sum, this is called *post-norm*; BERT and ALBERT have it.

# %%
class PostNorm(nn.Module):
    """norm(x + inner(x)); further arguments go to `inner`."""

    def __init__(self, inner, hidden_size, eps=1e-12):
        super().__init__()
        self.inner, self.norm = inner, nn.LayerNorm(hidden_size, eps)

    def forward(self, x, *context):                         # (batch, tokens, hidden)
        return self.norm(x + self.inner(x, *context))       # the same


class Layer(nn.Module):
    """Attention, then the feed-forward network, each a module from `(batch, tokens, hidden)` to the same."""

    def __init__(self, attention, ffn):
        super().__init__()
        self.attention, self.ffn = attention, ffn

    def forward(self, x, *context):
        return self.ffn(self.attention(x, *context))


# %% [markdown]
# ### The stack, shared or not
#
# Everything that is special about ALBERT's layers is *which module is the same object as which*.
# The layers may also fall into groups, with weights shared inside a group only (§4.5; the published files call this `num_hidden_groups`),
# and a group may consist of more than one layer (`inner_group_num`).
# With as many groups as layers nothing is shared, and what you have is BERT.

# %%
class Encoder(nn.Module):
    """A stack of `num_layers` layers, `(batch, tokens, hidden)` to the same.

    new_attention, new_ffn: called without arguments, make the two halves of a layer.
    share: what the layers of a group share, "none", "attention", "ffn" or "all" (§4.5, Table 4).
    groups, inner: the layers fall into so many groups; each of them runs `inner` layers one after the other.
    """

    def __init__(self, new_attention, new_ffn, num_layers, share="none", groups=1, inner=1):
        super().__init__()
        if share not in ("none", "attention", "ffn", "all"):
            raise ValueError(f"share should be 'none', 'attention', 'ffn' or 'all', not {share!r}")
        if not 1 <= groups <= num_layers:
            raise ValueError(f"{num_layers} layers cannot form {groups} groups")
        places = [(int(i / (num_layers / groups)), j) for i in range(num_layers) for j in range(inner)]
        attentions = {place: new_attention() for place in places} if share in ("attention", "all") else {}
        ffns = {place: new_ffn() for place in places} if share in ("ffn", "all") else {}
        distinct = sorted(set(places)) if share == "all" else list(enumerate(places))
        self.layers = nn.ModuleList(
            Layer(attentions.get(place) or new_attention(), ffns.get(place) or new_ffn())
            for place in (distinct if share == "all" else places))
        self.order = [distinct.index(place) for place in places] if share == "all" else list(range(len(places)))

    def states(self, x, *context):
        """The input and the output of every layer: a list of `num_layers · inner + 1` tensors."""
        states = [x]
        for index in self.order:
            states.append(self.layers[index](states[-1], *context))
        return states

    def forward(self, x, *context):
        for index in self.order:
            x = self.layers[index](x, *context)
        return x


# %% tags=["active-ipynb"]
# def tiny(share, layers=6, **groups):
#     return Encoder(lambda: PostNorm(SelfAttention(8, 2), 8), lambda: PostNorm(FeedForward(8, 32), 8), layers, share, **groups)
#
#
# counts = {share: parameters(tiny(share)) for share in ("none", "attention", "ffn", "all")}
# print("parameters:", counts)
# print("order of the layers in two groups of three:", tiny("all", groups=2).order)
# claim("sharing everything divides the layers' parameters by their number", counts["none"] == 6 * counts["all"], "ours")
# claim("sharing attention and sharing the FFN save together what sharing all does",
#       2 * counts["none"] - counts["attention"] - counts["ffn"] == counts["none"] - counts["all"], "ours")
# %% [markdown]
# ### The embedding
#
# The input of the first layer is the sum of three tables, normalised: the piece, its position, and which of two segments it belongs to.
# All three have E columns; the map to H comes after the normalisation.

# %%
class Embeddings(nn.Module):
    """Token ids `(batch, tokens)` to vectors `(batch, tokens, embedding_size)`."""

    def __init__(self, vocab_size, embedding_size, max_positions, segments=2, eps=1e-12):
        super().__init__()
        self.word = nn.Embedding(vocab_size, embedding_size)
        self.position = nn.Embedding(max_positions, embedding_size)
        self.segment = nn.Embedding(segments, embedding_size)
        self.norm = nn.LayerNorm(embedding_size, eps)

    def forward(self, input_ids, token_type_ids=None):      # (batch, tokens)
        tokens, longest = input_ids.shape[1], self.position.num_embeddings
        if tokens > longest:
            raise ValueError(f"the text has {tokens} tokens, the model knows {longest} positions")
        segments = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        x = self.word(input_ids) + self.position.weight[:tokens] + self.segment(segments)     # (batch, tokens, embedding)
        return self.norm(x)                                                             # the same


# %% [markdown]
# ### The whole encoder
#
# The public checkpoints begin from normal weights of deviation 0.02; so do we.
# The *pooler* takes the vector of the first token, `[CLS]`, through one linear layer and a tanh: a vector for the whole text.

# %%
class Albert(nn.Module):
    """The encoder that a Config describes: token ids to hidden states `(batch, tokens, hidden_size)`. With share="none" it is BERT.

    attention_mask: `(batch, tokens)`, 1 for tokens and 0 for padding. token_type_ids: `(batch, tokens)`, 0 or 1, the segment.
    """

    def __init__(self, config):
        super().__init__()
        self.config, c, H = config, config, config.hidden_size
        self.embeddings = Embeddings(c.vocab_size, c.embedding_size, c.max_position_embeddings, c.type_vocab_size, c.layer_norm_eps)
        project = c.embedding_size != H if c.project is None else c.project
        self.project = nn.Linear(c.embedding_size, H) if project else nn.Identity()
        self.encoder = Encoder(
            lambda: PostNorm(SelfAttention(H, c.num_attention_heads), H, c.layer_norm_eps),
            lambda: PostNorm(FeedForward(H, c.intermediate_size, c.hidden_act), H, c.layer_norm_eps),
            c.num_hidden_layers, c.share, c.num_hidden_groups, c.inner_group_num)
        self.pooler = nn.Linear(H, H) if c.pooler else None
        self.apply(partial(init_weights, std=c.initializer_range))

    def prepare(self, input_ids, attention_mask=None, token_type_ids=None):
        """The input of the first layer `(batch, tokens, hidden)`, and the mask of all layers."""
        mask = None if attention_mask is None else attention_mask[:, None, None, :].bool()     # (batch, 1, 1, tokens)
        return self.project(self.embeddings(input_ids, token_type_ids)), mask

    def states(self, *inputs):
        """The input and the output of every layer, a list of tensors `(batch, tokens, hidden)`."""
        return self.encoder.states(*self.prepare(*inputs))

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        return self.encoder(*self.prepare(input_ids, attention_mask, token_type_ids))

    def pooled(self, x):                                # hidden states (batch, tokens, hidden)
        return torch.tanh(self.pooler(x[:, 0]))         # (batch, hidden)


def init_weights(module, std):
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


# %% [markdown]
# ### Two heads
#
# The *masked-language-model head* predicts the hidden pieces: from H back to E, activation, normalisation,
# and then the scores of all pieces by the transposed table of words.
# So input and output use the same table; that is BERT's doing, and older than both.

# %%
class MaskedLMHead(nn.Module):
    """Hidden states `(…, hidden_size)` and the table of words `(vocab_size, embedding_size)` to logits `(…, vocab_size)`."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.norm = nn.LayerNorm(config.embedding_size, config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, x, words):                                # (…, hidden), (vocab, embedding)
        x = self.norm(self.activation(self.dense(x)))           # (…, embedding)
        return x @ words.T + self.bias                          # (…, vocab)


class MaskedLM(nn.Module):
    """Token ids and masks as for Albert, to logits `(batch, tokens, vocab_size)`."""

    def __init__(self, config):
        super().__init__()
        self.albert, self.head = Albert(config), MaskedLMHead(config)
        self.head.apply(partial(init_weights, std=config.initializer_range))

    def forward(self, *args, **kwargs):
        return self.head(self.albert(*args, **kwargs), self.albert.embeddings.word.weight)


# %% [markdown]
# The *sentence-order head* reads the pooled vector of two segments, `[CLS] x₁ [SEP] x₂ [SEP]`, and says whether they are swapped (§4.1).
# Any other question about a whole text has the same form.

# %%
class Classifier(nn.Module):
    """Token ids and masks as for Albert, to logits `(batch, num_labels)` of the whole text."""

    def __init__(self, config, num_labels=2):
        super().__init__()
        self.albert, self.classifier = Albert(config), nn.Linear(config.hidden_size, num_labels)
        init_weights(self.classifier, config.initializer_range)

    def forward(self, *args, **kwargs):
        return self.classifier(self.albert.pooled(self.albert(*args, **kwargs)))


class PreTraining(MaskedLM):
    """What ALBERT is trained as: MaskedLM, and `both` gives the sentence-order logits, too."""

    def __init__(self, config, num_labels=2):
        super().__init__(config)
        self.classifier = nn.Linear(config.hidden_size, num_labels)     # 1: swapped
        init_weights(self.classifier, config.initializer_range)

    def both(self, *args, **kwargs):
        """Logits of the pieces `(batch, tokens, vocab_size)`, and of the order of the segments `(batch, 2)`."""
        x = self.albert(*args, **kwargs)
        return self.head(x, self.albert.embeddings.word.weight), self.classifier(self.albert.pooled(x))


# %%
def build(name, **changes):
    """The encoder of the paper's configuration `name`, an Albert, with random weights; `changes` are fields of Config.

    Raises ValueError for an unknown name or field. Under `torch.device("meta")` it takes no memory.
    """
    if name not in VARIANTS:
        raise ValueError(f"there is no variant {name!r}; there are {', '.join(VARIANTS)}")
    if unknown := changes.keys() - Config.__dataclass_fields__.keys():
        raise ValueError(f"a Config has no {min(unknown)!r}; it has {', '.join(Config.__dataclass_fields__)}")
    return Albert(replace(VARIANTS[name], **changes))


# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     model = PreTraining(VARIANTS["albert-base"])
#     x = torch.zeros(2, 20, dtype=torch.long)
#     words, order = model.both(x)
# print("hidden states:", tuple(model.albert(x).shape), " pieces:", tuple(words.shape), " order:", tuple(order.shape))

# %% [markdown]
# ### Hiding n-grams
#
# BERT hides 15% of the pieces, each by itself: 80% of them become `[MASK]`, 10% another piece, 10% stay.
# ALBERT hides runs of up to three whole words, short ones more often (§4.1):
#
# $$p(n) = \frac{1/n}{\sum_{k=1}^{N} 1/k}, \qquad N = 3$$

# %%
def ngram_probabilities(longest=3):
    """p(n) for n = 1 … `longest` (§4.1)."""
    weights = 1 / torch.arange(1.0, longest + 1)
    return weights / weights.sum()


def choose_ngrams(words, share=0.15, longest=3, generator=None):
    """Which tokens to hide, bool of the shape of `words`: runs of whole words, at most `share` of the tokens of a row (but at least one).

    words: `(batch, tokens)`, the number of the word that a token belongs to, from 0 on; -1 for special tokens, never hidden.
    """
    batch, tokens = words.shape
    chosen, budget = torch.zeros_like(words, dtype=torch.bool), max(1, round(share * tokens))
    for _ in range(4 * budget):                                 # tries; a run that does not fit is left out
        n = 1 + torch.multinomial(ngram_probabilities(longest), batch, replacement=True, generator=generator)
        start = (torch.rand(batch, generator=generator) * (words.max(1).values + 1)).long()
        run = (words >= start[:, None]) & (words < (start + n)[:, None])
        fits = (chosen | run).sum(1, keepdim=True) <= budget
        chosen |= run & fits                                    # (batch, tokens)
    return chosen


# %%
def hide(ids, chosen, vocab_size, mask_id=4, first_id=5, generator=None):
    """(ids to read, ids to predict): of the `chosen` 80% become `mask_id`, 10% any piece from `first_id` on; targets elsewhere are -100."""
    dice = torch.rand(ids.shape, generator=generator)
    anything = torch.randint(first_id, vocab_size, ids.shape, generator=generator)
    hidden = torch.where(chosen & (dice < 0.8), mask_id, torch.where(chosen & (dice >= 0.9), anything, ids))
    return hidden, torch.where(chosen, ids, -100)
# %% tags=["active-ipynb"]
# print("p(n):", [f"{p:.3f}" for p in ngram_probabilities()])
# words = torch.arange(512).expand(200, -1)                       # 200 texts, every token a word
# generator = torch.Generator().manual_seed(SEED)
# lengths = 1 + torch.multinomial(ngram_probabilities(), 100_000, replacement=True, generator=generator)
# share = choose_ngrams(words, generator=generator).float().mean(1)
# claim("the lengths drawn are 1, 2, 3 in the ratio 6 : 3 : 2", all(
#     abs((lengths == n).float().mean() - p) < 0.01 for n, p in ((1, 6 / 11), (2, 3 / 11), (3, 2 / 11))), "§4.1")
# claim("15% of every text are hidden, up to what no further run fits into", share.min() > 0.13 and share.max() < 0.152, "§4.1")

# %% [markdown]
# Now the whole way, from raw text to what the network reads and what it should answer.

# %% tags=["active-ipynb"]
# continues = torch.tensor([tokenizer.id_to_token(i).startswith("##") for i in range(tokenizer.get_vocab_size())])
# ids = torch.tensor([encoding.ids])
# words = (~continues[ids]).cumsum(1) - 1                         # a piece that begins with ## belongs to the word before
# chosen = choose_ngrams(words, share=0.3, generator=torch.Generator().manual_seed(SEED))
# hidden, targets = hide(ids, chosen, len(continues), generator=torch.Generator().manual_seed(SEED))
# rows = {"pieces": ids[0], "words": words[0], "the network reads": hidden[0], "it should answer": targets[0]}

# %% tags=["active-ipynb"]
# def pieces(ids):
#     return [tokenizer.id_to_token(i) if i >= 0 else "" for i in ids.tolist()]
#
#
# marks = ["hidden" if one else "" for one in chosen[0]]
# Tokens(
#     {"rows": [{"title": "the text", "tokens": pieces(ids[0]), "values": chosen[0].float(), "marks": marks},
#               {"title": "the network reads", "tokens": pieces(hidden[0]), "values": chosen[0].float(), "marks": marks}]},
#     caption="A sentence in pieces; the marked runs of whole words are hidden. (Here 30% of the pieces, so that you see something.)",
#     alt="Two rows of word pieces; in the second, whole words are replaced by MASK.",
# )

# %% [markdown]
# ## 4. Is it the paper's model?
#
# ### Tables 1, 3, 4 and 12: parameters
#
# On torch's *meta* device a network has shapes but no memory, so even the largest is built in no time.
# First: does the closed form of section 1 count what we have built?

# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     built = {name: parameters(build(name)) for name in VARIANTS}
# formula = {name: sum(parameter_parts(config).values()) for name, config in VARIANTS.items()}
# claim("the formula of the explorer gives the parameters of all six networks built", built == formula, "ours")

# %% [markdown]
# The paper counts the pooler in some rows and not in others; it does not say so.
# We found one rule that explains Tables 3 and 4 and all of Table 1 but its two largest rows:
# rows with shared layers include the pooler, rows without (BERT and "not-shared") leave it out.

# %% tags=["active-ipynb"]
# def counted(config):
#     return sum(parameter_parts(replace(config, pooler=config.share != "none")).values())
#
#
# base = VARIANTS["albert-base"]
# printed = {"BERT base": ("108", VARIANTS["bert-base"]), "BERT large": ("334", VARIANTS["bert-large"]),
#            "ALBERT base": ("12", base), "ALBERT large": ("18", VARIANTS["albert-large"]),
#            "ALBERT xlarge": ("60", VARIANTS["albert-xlarge"]), "ALBERT xxlarge": ("235", VARIANTS["albert-xxlarge"])}
# tables = {f"Table 1, {name}": row for name, row in printed.items()}
# for share, row in {"none": ("87", "89", "93", "108"), "all": ("10", "12", "16", "31")}.items():
#     for E, count in zip((64, 128, 256, 768), row):
#         tables[f"Table 3, {share} shared, E = {E}"] = count, replace(base, embedding_size=E, share=share)
# for share, row in {"all": ("31", "12"), "attention": ("83", "64"), "ffn": ("57", "38"), "none": ("108", "89")}.items():
#     for E, count in zip((768, 128), row):
#         tables[f"Table 4, {share} shared, E = {E}"] = count, replace(base, embedding_size=E, share=share)
# for H, count in {1024: "18", 2048: "60", 4096: "225", 6144: "499"}.items():
#     tables[f"Table 12, 3 layers, H = {H}"] = count, sizes(H, 3)

# %% tags=["active-ipynb"]
# verdicts = {row: as_printed(counted(config), 1e6, count) for row, (count, config) in tables.items()}
# off = [row for row, verdict in verdicts.items() if "✗" in verdict]
# claim("of 26 parameter counts 21 are reproduced to the printed digit", (len(verdicts), len(off)) == (26, 5), "Tables 1, 3, 4, 12")
# claim("all that are not have H = 2048 or more", all(tables[row][1].hidden_size >= 2048 for row in off), "ours")
# table(["row", "printed, millions", "computed", "rounded"],
#       [[row, tables[row][0], f"{counted(tables[row][1]):,}", verdict] for row, verdict in verdicts.items()])

# %% [markdown]
# The five: 58.7 million for xlarge, twice printed as 60; 495.5 for H = 6144, printed as 499; and **xxlarge**.
# For that one the paper itself has three numbers: 235 million (Table 1), 233 (§3.2) and 225 (Table 12).
# From the published configuration it is 222.6, with both pre-training heads 223.2: no way of counting that we tried gives any of the three.

# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     ways = [parameters(PreTraining(VARIANTS["albert-xxlarge"])), parameters(build("albert-xxlarge", pooler=False)), built["albert-xxlarge"]]
# claim("xxlarge has 222.6 million parameters, 223.2 with its heads, 205.8 without the pooler: never 225, 233 or 235",
#       sorted(f"{count / 1e6:.1f}" for count in ways) == ["205.8", "222.6", "223.2"], "ours; §3.2, Tables 1 and 12")

# %% [markdown]
# ### Multiply-adds
#
# And now let torch count the work.

# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     nets = {share: build("albert-base", share=share) for share in ("none", "attention", "ffn", "all")}
#     work = {share: multiply_adds(net.encoder, 1, 512, 768) for share, net in nets.items()}
# claim("with all layers shared ALBERT base has the multiply-adds of the unshared network: 48.3 billion for 512 tokens",
#       set(work.values()) == {48_318_382_080}, "ours")
# parts = multiply_add_parts(base)
# claim("the explorer's formula counts the same", parts["attention"] + parts["feed-forward"] == work["all"], "ours")
# %% [markdown]
# ### Reading published weights
#
# This is plumbing: on a first reading, skip to the comparison.
#
# ALBERT and BERT files hold the same tensors as our modules, under other names.

# %%
COMMON = [
    (r"\bgamma$", "weight"), (r"\bbeta$", "bias"),      # names of the first files
    (r"^embeddings\.(word|position)_embeddings\.", r"embeddings.\1."), (r"^embeddings\.token_type_embeddings\.", "embeddings.segment."),
    (r"\.LayerNorm\.", ".norm."),
]
ALBERT = [
    (r"^albert\.", ""), *COMMON, (r"^encoder\.embedding_hidden_mapping_in\.", "project."),
    (r"\.attention\.(query|key|value)\.", r".attention.inner.\1."), (r"\.attention\.dense\.", ".attention.inner.output."),
    (r"\.ffn\.", ".ffn.inner.up."), (r"\.ffn_output\.", ".ffn.inner.down."), (r"\.full_layer_layer_norm\.", ".ffn.norm."),
    (r"^predictions\.", "head."), (r"^sop_classifier\.classifier\.", "classifier."),
]
BERT = [
    (r"^bert\.", ""), *COMMON, (r"^encoder\.layer\.", "encoder.layers."),
    (r"\.attention\.self\.", ".attention.inner."), (r"\.attention\.output\.dense\.", ".attention.inner.output."),
    (r"\.attention\.output\.norm\.", ".attention.norm."), (r"\.intermediate\.dense\.", ".ffn.inner.up."),
    (r"(layers\.\d+)\.output\.dense\.", r"\1.ffn.inner.down."), (r"(layers\.\d+)\.output\.norm\.", r"\1.ffn.norm."),
    (r"^pooler\.dense\.", "pooler."), (r"^cls\.predictions\.transform\.", "head."), (r"^cls\.predictions\.", "head."),
    (r"^cls\.seq_relationship\.", "classifier."),
]


# %% [markdown]
# The configuration says which sizes the tensors have, and under *architectures* what stands on top of the encoder.
# Some files hold more than that model uses, such as a pooler or the sentence-order head; what the reference ignores, we ignore.

# %%
HEADS = {"Model": Albert, "ForMaskedLM": MaskedLM, "ForPreTraining": PreTraining, "ForSequenceClassification": Classifier}


def from_config(config, tensors):
    """The network that a published configuration describes, with random weights; a pooler where the file has one."""
    kind = config["model_type"]
    if kind not in ("albert", "bert"):
        raise CheckpointError(f"config.json sets model_type to {kind!r}; this lesson reads 'albert' and 'bert'")
    architecture = config["architectures"][0]
    family = {"albert": "Albert", "bert": "Bert"}[kind]
    if architecture.removeprefix(family) not in HEADS:
        raise CheckpointError(f"config.json names {architecture!r}; this lesson reads {', '.join(family + head for head in HEADS)}")
    readable = {"hidden_act": list(ACTIVATIONS), "position_embedding_type": ["absolute"], "is_decoder": [False],
                "tie_word_embeddings": [True]}
    for key, known in readable.items():
        if config.get(key, known[0]) not in known:
            raise CheckpointError(f"config.json sets {key} to {config[key]!r}; this lesson reads {', '.join(map(repr, known))}")
    shape = {name: config.get(name, getattr(Config, name)) for name in ("hidden_act", "type_vocab_size", "layer_norm_eps")}
    shape |= {name: config[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                                              "intermediate_size", "max_position_embeddings")}
    if kind == "albert":
        shape |= dict(embedding_size=config["embedding_size"], project=True,
                      num_hidden_groups=config.get("num_hidden_groups", 1), inner_group_num=config.get("inner_group_num", 1))
    else:
        shape |= dict(embedding_size=config["hidden_size"], share="none")
    shape["pooler"] = any("pooler" in name for name in tensors)
    head = HEADS[architecture.removeprefix(family)]
    labels = {"num_labels": len(config.get("id2label", "01"))} if head is Classifier else {}
    return head(Config(**shape), **labels)


# %%
def from_pretrained(folder):
    """The network in a checkpoint folder (`config.json` and `model.safetensors`) of an ALBERT or a BERT, in eval mode.

    Called as `model(input_ids, attention_mask, token_type_ids)`, each `(batch, tokens)`. Its `architectures` decide what it gives:
    hidden states `(batch, tokens, hidden)`, logits of the pieces `(batch, tokens, vocab)`, or of the text `(batch, labels)`.
    Raises CheckpointError, a ValueError, naming the file or tensor that is missing, damaged or of another shape.
    """
    config, tensors = checkpoint.read(folder)
    with checkpoint.describing("ALBERT or BERT"):
        model = from_config(config, tensors)
        inner = config.get("inner_group_num", 1)
    place = (r"^encoder\.albert_layer_groups\.(\d+)\.albert_layers\.(\d+)\.",
             lambda found: f"encoder.layers.{int(found[1]) * inner + int(found[2])}.")
    layout = [*ALBERT, place] if config["model_type"] == "albert" else list(BERT)
    if not isinstance(model, Albert):
        layout.append((r"^(embeddings|project|encoder|pooler)\.", r"albert.\1."))
    unused = ["position_ids$", r"predictions\.decoder\."]       # a constant; the tied table, stored again
    if not isinstance(model, PreTraining):
        unused += ["^sop_classifier", r"^cls\.seq_relationship"]
    words = next((tensor for name, tensor in tensors.items() if "word_embeddings" in name), None)
    for name, tensor in tensors.items():
        if name.endswith("predictions.decoder.weight") and words is not None and not torch.equal(tensor, words):
            raise CheckpointError(f"{name!r} is not the table of words; this lesson ties the two")
    kept = {name: tensor for name, tensor in tensors.items() if not any(re.search(pattern, name) for pattern in unused)}
    return checkpoint.load(model, kept, layout)
