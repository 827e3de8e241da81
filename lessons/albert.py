# %%
import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from kit import text, train
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
SHARES = ("none", "attention", "ffn", "all")


def multiply_add_parts(config, tokens=512):
    """Multiply-adds of one forward pass over one text of `tokens` tokens, by part."""
    E, H, inner = config.embedding_size, config.hidden_size, config.intermediate_size
    runs = config.num_hidden_layers
    return {
        "embedding": tokens * E * H * (E != H),
        "attention": runs * tokens * (4 * H * H + 2 * tokens * H),
        "feed-forward": runs * tokens * 2 * H * inner,
    }


PAIRS = dict(
    vocab_size=1000, embedding_size=64, hidden_size=64, num_hidden_layers=2,
    num_attention_heads=4, intermediate_size=256, max_position_embeddings=35,
)

# %%
SMALL = Config(
    vocab_size=1000, hidden_size=32, num_hidden_layers=6, num_attention_heads=4,
    intermediate_size=128, max_position_embeddings=16,
)
PAD, UNK, CLS, SEP, MASK = range(5)     # the first ids, see kit.text.SPECIAL


def waves(count, width):
    """Sine and cosine waves of wavelengths 6 to about 100: `(count, width)`."""
    half = width // 2
    speed = 20.0 ** (-torch.arange(half) / half)
    angles = torch.arange(count)[:, None] * speed           # (count, half)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def for_training(model, std=0.1):
    """Give a narrow model its first weights: wider than BERT's, positions as waves."""
    model.apply(partial(init_weights, std=std))
    table = model.encoder.embeddings.position.weight
    table.data = std * waves(*table.shape)
    return model


# %%
def choose(ids, share=0.2, generator=None):
    """Which tokens to hide: each with probability `share`, bool `(batch, tokens)`.

    Special tokens, [UNK] among them, are never hidden.
    """
    lots = torch.rand(ids.shape, generator=generator, device=ids.device)
    return (lots < share) & (ids > MASK)


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


# %%
def recipe(model, steps, learning_rate=2e-3):
    """AdamW, and a rate that rises for 100 steps and falls in the last two fifths."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)

    def pace(step):
        return min((step + 1) / 100, 1, 2.5 * (1 - step / steps))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, pace)


def fit(model, windows, steps, seed, on_step=None, learning_rate=2e-3):
    """Train a MaskedLM in place on windows of token ids `(n, tokens)`.

    Returns the loss of every step. on_step: called as `on_step(step, loss)`.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer, schedule = recipe(model, steps, learning_rate)
    vocab_size, losses = model.encoder.config.vocab_size, []
    for step, ids in enumerate(text.batches(windows, 32, steps, seed)):
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


# %%
@torch.no_grad()
def held_out_loss(model, windows):
    """(loss, percent right) on hidden tokens of 2,000 windows, always the same ones."""
    generator = torch.Generator().manual_seed(12345)
    ids = windows[torch.randperm(len(windows), generator=generator)[:2000]]
    chosen = choose(ids, generator=generator)
    vocab_size = model.encoder.config.vocab_size
    read, _ = hide(ids, chosen, vocab_size, generator=generator)
    guesses, answers = model.words(model.encoder(read)[chosen]), ids[chosen]
    right = (guesses.argmax(1) == answers).float().mean()
    return F.cross_entropy(guesses, answers).item(), 100 * right.item()


# %%
@dataclass(frozen=True)
class AlbertConfig(Config):
    """The sizes of an ALBERT. `share`: what all layers have in common (§4.5)."""

    embedding_size: int = 128  # E
    share: str = "all"  # or "none", "attention", "ffn"

    def __post_init__(self):
        super().__post_init__()
        if self.share not in SHARES:
            right = ", ".join(map(repr, SHARES))
            raise ValueError(f"share should be one of {right}, not {self.share!r}")


# %%
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


# %%
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


def join(pairs):
    """[CLS] x₁ [SEP] x₂ [SEP] (§4.1) of each pair: ids and segments `(pairs, tokens)`.

    Short ones are filled up with [PAD].
    """
    rows = [torch.tensor([CLS, *a, SEP, *b, SEP]) for a, b in pairs]
    kinds = [torch.tensor([0] * (len(a) + 2) + [1] * (len(b) + 1)) for a, b in pairs]
    pad = partial(nn.utils.rnn.pad_sequence, batch_first=True, padding_value=PAD)
    return pad(rows), pad(kinds)


# %%
class Pooler(nn.Module):
    """Hidden states `(batch, tokens, hidden)` to a vector of the text, `(batch, hidden)`."""

    def __init__(self, hidden_size):
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.apply(init_weights)

    def forward(self, states):
        return torch.tanh(self.dense(states[:, 0]))         # what stands at [CLS]


class PreTraining(MaskedLM):
    """A MaskedLM that also answers a question on the whole text (§3.1)."""

    def __init__(self, encoder, num_labels=2):
        super().__init__(encoder)
        self.pooler = Pooler(encoder.config.hidden_size)
        self.classifier = nn.Linear(encoder.config.hidden_size, num_labels)
        init_weights(self.classifier)

    def label(self, states):
        """Hidden states `(batch, tokens, hidden)` to logits `(batch, num_labels)`."""
        return self.classifier(self.pooler(states))

    def both(self, input_ids, attention_mask=None, token_type_ids=None):
        """Logits of the words `(batch, tokens, vocab_size)` and of the question."""
        states = self.encoder(input_ids, attention_mask, token_type_ids)
        text.check_start(attention_mask)
        return self.words(states), self.label(states)


# %%
def turned(pairs):
    """Sentence order (SOP, §3.1): the same two lines, swapped."""
    return [(second, first) for first, second in pairs]


def mismatched(pairs, generator=None):
    """Next sentence (NSP): another line, from anywhere, in the place of the second."""
    others = torch.randint(len(pairs), (len(pairs),), generator=generator)
    return [(first, pairs[i][1]) for (first, _), i in zip(pairs, others.tolist())]


def fit_pairs(model, pairs, wrong, steps, seed, on_step=None):
    """Train a PreTraining in place to fill in tokens, and to tell `pairs` from `wrong`.

    wrong: as long as `pairs`. on_step: called as `on_step(step, loss of the question)`.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer, schedule = recipe(model, steps)
    answers = torch.tensor([0] * 16 + [1] * 16)
    for step, index in enumerate(text.batches(torch.arange(len(pairs)), 16, steps, seed)):
        batch = [pairs[i] for i in index.tolist()] + [wrong[i] for i in index.tolist()]
        ids, segments = join(batch)                         # (32, tokens)
        chosen = choose(ids, 0.15, generator)
        read = ids.masked_fill(chosen, MASK)

        states = model.encoder(read, ids != PAD, segments)  # (32, tokens, hidden)
        filled = F.cross_entropy(model.words(states[chosen]), ids[chosen])
        asked = F.cross_entropy(model.label(states), answers)
        loss = filled + asked                               # §3.1: both at once

        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, asked.item())


@torch.no_grad()
def percent_right(model, pairs, wrong):
    """How often a PreTraining tells `pairs` from `wrong`, half of the questions each."""
    right = []
    for rows, answer in ((pairs, 0), (wrong, 1)):
        for part in range(0, len(rows), 256):
            ids, segments = join(rows[part : part + 256])
            logits = model.label(model.encoder(ids, ids != PAD, segments))
            right.append(logits.argmax(1) == answer)
    return 100 * torch.cat(right).float().mean().item()


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

