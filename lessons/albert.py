# %%
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from kit import text
from kit.config import check_fields, variant


# %%
def attention_weights(query, key, mask=None):
    """softmax(QKᵀ/√d): `(…, tokens, d)` twice to `(…, tokens, tokens)`.

    Each row sums to 1; where `mask` is 0 or False it is 0.
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -math.inf)
    return scores.softmax(-1)  # (…, tokens, tokens)


class SelfAttention(nn.Module):
    """Multi-head self-attention: `(batch, tokens, hidden_size)` to the same.

    mask: bool, `(batch, heads, tokens, tokens)` or what broadcasts to it.
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


# %%
class FeedForward(nn.Module):
    """Two linear layers, applied to every token alone: `(…, hidden_size)` to the same."""

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


def new_layer(config):
    H = config.hidden_size
    attention = SelfAttention(H, config.num_attention_heads)
    return Layer(attention, FeedForward(H, config.intermediate_size), H)


def bert(config):
    """A BERT with random weights: an Encoder whose layers are all different."""
    layers = [new_layer(config) for _ in range(config.num_hidden_layers)]
    return Encoder(config, Embeddings(config, config.hidden_size), layers)


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
        return x @ words.T + self.bias                          # (…, vocab)


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


# %%
@dataclass(frozen=True)
class AlbertConfig(Config):
    """The sizes of an ALBERT. `share`: "none", "attention", "ffn" or "all" (§3.1)."""

    embedding_size: int = 128  # E
    share: str = "all"


class NarrowEmbeddings(Embeddings):
    """Tables of E columns and a map to H (§3.1): `(batch, tokens, hidden_size)`."""

    def __init__(self, config):
        super().__init__(config, config.embedding_size)
        self.widen = nn.Linear(config.embedding_size, config.hidden_size)

    def forward(self, input_ids, token_type_ids=None):
        return self.widen(super().forward(input_ids, token_type_ids))


def albert(config):
    """An ALBERT: a narrow table, and one layer used again and again (§3.1)."""
    layer = new_layer(config)
    return Encoder(config, NarrowEmbeddings(config), [layer] * config.num_hidden_layers)


# %%
def ngram_probabilities(longest=3):
    """p(n) for n = 1 … `longest` (§4.1)."""
    weights = 1 / torch.arange(1.0, longest + 1)
    return weights / weights.sum()

# %%
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
