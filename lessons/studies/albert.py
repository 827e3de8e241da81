"""ALBERT: what sharing costs and width buys, the narrow table, and pairs of lines.

The first is Table 4 of the paper and its bet on width, for small networks; the second
its Table 3, the third its Table 5.
"""

from dataclasses import asdict
from functools import partial
from time import process_time

import torch

from kit import text
from kit.probe import parameters
from lessons.albert import (
    PAIRS,
    SHARES,
    SMALL,
    AlbertConfig,
    MaskedLM,
    NarrowEmbeddings,
    PreTraining,
    albert,
    fit,
    fit_pairs,
    for_training,
    held_out_loss,
    mismatched,
    neighbours,
    percent_right,
    turned,
    work,
)


def windows(part, size=1000):
    _, programs = text.python_tokens(size)
    return text.windows(getattr(programs, part), 16)


def sized(hidden_size, share, embedding_size=32, **changes):
    sizes = {"hidden_size": hidden_size, "intermediate_size": 4 * hidden_size}
    own = {"embedding_size": embedding_size, "share": share}
    return AlbertConfig(**asdict(SMALL) | sizes | own | changes)


def new_model(config, seed):
    torch.manual_seed(seed)
    return for_training(MaskedLM(albert(config)))


def trained(config, steps, seed, learning_rate=2e-3, model=None):
    """Held-out loss, size, work and speed of a masked language model."""
    model = model or new_model(config, seed)
    data = windows("train", config.vocab_size)
    start = process_time()
    losses = fit(model, data, steps, seed, learning_rate=learning_rate)
    seconds = process_time() - start
    loss, right = held_out_loss(model, windows("heldout", config.vocab_size))
    E, H, L = config.embedding_size, config.hidden_size, config.num_hidden_layers
    return {
        "held-out loss": loss,
        "percent right": right,
        "loss of the first 50 steps": sum(losses[:50]) / 50,
        "parameters": parameters(model),
        "multiply-adds": sum(work(E, H, L, tokens=16).values()),
        "milliseconds a step": 1000 * seconds / steps,
    }


# Section 4: the same width with more and less shared (Table 4), then other widths.
STEPS = 1500
SHARING = {}
for width, share in [*((32, share) for share in SHARES), (72, "all"), (48, "none")]:
    SHARING[f"H = {width}, {share} shared"] = partial(
        trained, sized(width, share), STEPS
    )
# Section 5: 8,000 words, H = 128, two layers; only the table is narrower (Table 3).
def large_table(embedding_size):
    sizes = {"vocab_size": 8000, "num_hidden_layers": 2}
    return sized(128, "all", embedding_size, **sizes)


def trained_with_map(steps, seed):
    """The control of the control: E = H, and the map all the same."""
    config, model = large_table(128), new_model(large_table(128), seed)
    model.encoder.embeddings = NarrowEmbeddings(config)
    return trained(config, steps, seed, model=for_training(model))


TABLE = {
    f"E = {width}": partial(trained, large_table(width), 1200)
    for width in (16, 32, 64, 128)
}
TABLE["E = 128, with the map"] = partial(trained_with_map, 1200)


# Section 6: the two questions on pairs of lines (Table 5).
def asked(task, seed):
    """Percent right in both questions after training on one of them."""
    vocabulary, programs = text.python_tokens()
    pairs, new = (neighbours(part, vocabulary) for part in programs)
    torch.manual_seed(seed)
    model = for_training(PreTraining(albert(PAIRS)))
    generator = torch.Generator().manual_seed(seed)
    wrong = turned(pairs) if task == "SOP" else mismatched(pairs, generator)
    losses = []
    fit_pairs(model, pairs, wrong, 3000, seed, lambda step, loss: losses.append(loss))
    far = mismatched(new, torch.Generator().manual_seed(12345))
    return {
        "NSP": percent_right(model, new, far),
        "SOP": percent_right(model, new, turned(new)),
        "loss of the first 50 steps": sum(losses[:50]) / 50,
    }


TASKS = {f"trained on {task}": partial(asked, task) for task in ("NSP", "SOP")}

STUDY = SHARING | TASKS | TABLE
SEEDS = range(5)
