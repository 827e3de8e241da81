"""The published CTRL in the CTRL lesson's model, and what is not the paper's."""

import math
import re
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
import torch.nn.functional as F
import transformers
from torch import nn

from kit import text, weights
from kit.config import variant
from lessons.ctrl import (
    VARIANTS,
    Config,
    Ctrl,
    Layer,
    causal_mask,
    penalised,
    sinusoids,
)

# --- weights


class Readable(Ctrl):
    """Called as the reference is: token_type_ids are words that are added."""

    def states(self, input_ids, attention_mask=None, token_type_ids=None):
        if token_type_ids is None:
            return super().states(input_ids, attention_mask)
        text.check_ids(token_type_ids, self.config.vocab_size, "token_type_ids")
        types = self.word(token_type_ids) * math.sqrt(self.config.n_embd)
        states, tokens = [self.embed(input_ids) + types], input_ids.shape[1]
        real = text.real_tokens(attention_mask, input_ids)
        mask = causal_mask(tokens, tokens, real, input_ids.device)
        for layer in self.layers:
            states.append(layer(states[-1], mask))
        return states

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        x = self.states(input_ids, attention_mask, token_type_ids)[-1]
        return self.words(x)


class Untied(Readable):
    """A CTRL whose output has a table of its own."""

    def __init__(self, config):
        super().__init__(config)
        self.output = nn.Parameter(torch.zeros(config.vocab_size, config.n_embd))
        nn.init.normal_(self.output, std=config.initializer_range)

    def words(self, x):
        return F.linear(self.norm(x), self.output, self.bias)


class Body(Readable):
    """A CTRL without output: hidden states `(batch, tokens, n_embd)`."""

    def __init__(self, config):
        super().__init__(config)
        self.bias = None

    def words(self, x):
        return self.norm(x)


def untied(name):
    """A model of VARIANTS with an output table of its own."""
    return Untied(variant(VARIANTS, name, {}))


KINDS = ["CTRLModel", "CTRLLMHeadModel"]
SAME = ("vocab_size", "n_positions", "n_embd", "dff", "n_layer", "n_head")
NAMES = [
    (r"^transformer\.", ""),
    (r"^w\.", "word."),
    (r"^h\.", "layers."),
    (r"^layernorm\.", "norm."),
    (r"\.multi_head_attention\.Wq\.", ".attention.query."),
    (r"\.multi_head_attention\.Wk\.", ".attention.key."),
    (r"\.multi_head_attention\.Wv\.", ".attention.value."),
    (r"\.multi_head_attention\.dense\.", ".attention.output."),
    (r"\.layernorm1\.", ".attention_norm."),
    (r"\.layernorm2\.", ".ffn_norm."),
    (r"\.ffn\.0\.", ".ffn.up."),
    (r"\.ffn\.2\.", ".ffn.down."),
    (r"^lm_head\.bias$", "bias"),
]


def from_pretrained(name_or_folder):
    """A published CTRL, by name on the hub or from a folder, in eval mode.

    Called as `model(input_ids, attention_mask, token_type_ids)`, all `(batch, tokens)`.
    The configuration's `architectures` decide what it gives: hidden states
    `(batch, tokens, n_embd)`, or logits `(batch, tokens, vocab)`; where none are named,
    logits if the file has their bias. The weights are held in memory once.
    Raises ValueError for weights that do not fit, and a name that cannot be had.
    """
    config = weights.configuration(name_or_folder)
    kind = weights.architecture(config, KINDS, bare="CTRLLMHeadModel")
    optional = "^$" if config.architectures else r"^lm_head\."
    tensors = weights.read(kind, name_or_folder, config, optional)
    sizes = {name: getattr(config, name) for name in SAME}
    with torch.device("meta"):  # no memory: the model takes the library's tensors
        model = kind_of(tensors, config)(Config(**sizes, dropout=config.resid_pdrop))
    model.norm.eps = config.layer_norm_epsilon
    model.position = sinusoids(config.n_positions, config.n_embd)  # not stored
    output = "output" if isinstance(model, Untied) else "word.weight"
    return weights.fill(model, tensors, [*NAMES, (r"^lm_head\.weight$", output)])


def kind_of(tensors, config):
    if "lm_head.bias" not in tensors:
        return Body
    return Readable if config.tie_word_embeddings else Untied


# --- the same numbers?

SMALL = {"vocab_size": 97, "n_positions": 40, "n_embd": 48, "dff": 96, "n_layer": 3}
SMALL |= {"n_head": 6}


def with_reference(kind, seed=0):
    """(a model of transformers with random weights everywhere, ours, ids, a mask)."""
    torch.manual_seed(seed)
    theirs = getattr(transformers, kind)(transformers.CTRLConfig(**SMALL)).eval()
    ids = torch.randint(97, (3, 20))
    mask = (torch.arange(20) < torch.tensor([[20], [12], [3]])).long()
    with TemporaryDirectory() as folder, weights.quiet(), torch.no_grad():
        for weight in theirs.parameters():  # biases, too: zeros would hide a swap
            weight.add_(0.05 * torch.randn_like(weight))
        theirs.save_pretrained(folder)
        return theirs, from_pretrained(folder), ids, mask


@torch.no_grad()
def difference_from_reference(kind, seed=0):
    """Largest difference to "CTRLModel" or "CTRLLMHeadModel", but at padded places."""
    theirs, ours, ids, mask = with_reference(kind, seed)
    apart = theirs(ids, attention_mask=mask)[0] - ours(ids, mask)
    return (apart * mask[..., None]).abs().max().item()


class LiteralLayer(Layer):
    """The layer of the equations: what comes out is added to the normalised input."""

    def forward(self, x, mask):
        x = self.attention_norm(x)
        x = self.ffn_norm(x + self.dropout(self.attention(x, mask)))
        return x + self.dropout(self.ffn(x))


@torch.no_grad()
def other_readings(seed=0):
    """{another reading of the paper: largest difference to the reference's logits}."""
    theirs, ours, ids, _ = with_reference("CTRLLMHeadModel", seed)
    expected = theirs(ids)[0]
    positions = ours.position
    pairs = positions.view(len(positions), 2, -1).transpose(1, 2)
    ours.position = pairs.flatten(1)
    alternating = ours(ids)
    ours.position = positions
    for layer in ours.layers:
        layer.__class__ = LiteralLayer
    found = {"residual of the equations": ours(ids), "alternating waves": alternating}
    return {
        name: (logits - expected).abs().max().item() for name, logits in found.items()
    }


def crossing():
    """Names of modules of the reference that attend to an encoder."""
    with torch.device("meta"):
        theirs = transformers.CTRLLMHeadModel(transformers.CTRLConfig(n_layer=1))
    names = [name for name, _ in theirs.named_modules()]
    return [name for name in names if re.search("cross|encoder_attn", name)]


class Penalties(NamedTuple):
    """Probabilities of the first token of one row."""

    none: float
    paper: float
    library: float


def two_penalties(logits, seen, theta):
    """What a penalty makes of the first token, by the paper and by the library."""
    given = seen[0].nonzero().T  # (1, seen)
    library = transformers.RepetitionPenaltyLogitsProcessor(theta)(given, logits)
    odds = logits.softmax(-1), penalised(logits, seen, theta), library.softmax(-1)
    return Penalties(*(one[0, 0].item() for one in odds))
