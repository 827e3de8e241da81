"""The experiments of the ResNet lesson with more seeds, more rates and more depths."""

from functools import partial

import torch

from kit import train
from kit.data import digits, minibatches, mnist
from lessons.resnet import BasicBlock, PlainBlock, cifar_net, fit, stack

BLOCKS = {"plain": PlainBlock, "ResNet": BasicBlock}


def measured(make, data, epochs, learning_rate, seed):
    """Train `make()` from a seed; errors in percent, loss: mean of the last epoch."""
    train_set, test_set = data()
    torch.manual_seed(seed)
    model = make()
    batches = minibatches(train_set, 64, epochs, seed=seed + 1000)
    losses = fit(model, batches, learning_rate=learning_rate)
    return {
        "training loss": losses[-len(batches) // epochs:].mean(),
        "training error": train.error(model, train_set),
        "test error": train.error(model, test_set),
    }


# Section 1: the two depths at three rates, and for three times as long (footnote 3).
STUDY, SEEDS = {}, range(5)
for kind, block in BLOCKS.items():
    for depth in (14, 32):
        net = partial(stack, depth, block)
        for rate in (0.03, 0.1, 0.3):
            once = partial(measured, net, digits, 24, rate)
            STUDY[f"{kind}-{depth}, rate {rate}"] = once
        if kind == "plain":
            longer = partial(measured, net, digits, 72, 0.1)
            STUDY[f"{kind}-{depth}, 72 epochs"] = longer

# Section 4: does depth help? MNIST, because 3,000 test images tell more than 397.
for kind, block in BLOCKS.items():
    for depth in (8, 14, 20, 32, 44):
        net = partial(cifar_net, depth, block, in_channels=1, width=4)
        STUDY[f"{kind}-{depth}, MNIST"] = partial(measured, net, mnist, 10, 0.1)
