"""What several recipes at the paper's scale share: losses, rates, groups of weights."""

import torch
import torch.nn.functional as F


def class_loss(model, batch):
    return F.cross_entropy(model(batch["images"]), batch["labels"])


def percent_wrong(model, batch):
    """100 for each image `(n,)` whose class the model misses, 0 for the others."""
    return 100.0 * (model(batch["images"]).argmax(1) != batch["labels"])


def falling(rate, drops):
    """A rate that falls to a tenth at each of the steps `drops`."""
    return lambda step: rate * 0.1 ** sum(step >= drop for drop in drops)


def rising(rate, warm_up, steps=None):
    """A rate that rises in a line for `warm_up` steps.

    Then it stays; or, if the number of all `steps` is given, it is on a line from
    `rate` at step 0 to 0 at the last, as BERT's code has it.
    """

    def at(step):
        falls = 1 - step / steps if steps else 1
        return rate * min((step + 1) / warm_up, falls)

    return at


def groups(model, weight_decay):
    """Parameters for an optimizer: matrices decay, biases and normalisations do not.

    As BERT's code has it, which the papers on ALBERT, ELECTRA and DeBERTa build on.
    """
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def adamw(model):
    """AdamW with a weight decay of 0.01 on matrices, as BERT's code has it."""
    return torch.optim.AdamW(groups(model, 0.01), betas=(0.9, 0.999), eps=1e-6)
