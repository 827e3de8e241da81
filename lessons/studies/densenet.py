"""Networks of the DenseNet lesson, each with four learning rates and five seeds.

Every run trains on the 2,000 digits, and measures its error on the 1,000 that choose
the learning rate and on the 2,000 that nobody chooses with.
"""

from functools import partial

import torch
from torch import nn

from kit import train
from lessons.densenet import (
    DenseBlock,
    DenseLayer,
    SlotBlock,
    SumBlock,
    chain31,
    dense31,
    mnist_splits,
    on_digits,
    sum31,
    trained,
)

EPOCHS = 10
RATES = (0.03, 0.1, 0.3, 1.0)


class RecentBlock(nn.Module):
    """Each layer reads the last `memory` maps, of `width` channels each; older ones go.

    With `memory` 1 it is a chain. `(batch, memory · width, h, w)` to the same shape.
    """

    def __init__(self, depth, width, memory):
        super().__init__()
        self.in_channels = self.out_channels = memory * width
        self.width = width
        self.layers = nn.ModuleList(
            DenseLayer(memory * width, width) for _ in range(depth)
        )

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x[:, self.width:], layer(x)], dim=1)
        return x


def recent(memory, *widths):
    """31 layers that concatenate the last `memory` maps."""
    return on_digits(*(RecentBlock(9, width, memory) for width in widths))


def slots(count=9):
    """31 layers that add one channel each; as wide as dense ones read on average."""
    return on_digits(*(SlotBlock(9, width, count) for width in (12, 21, 31)))


def short_sum():
    """10 layers that add: shallow and wide."""
    return on_digits(SumBlock(2, 10), SumBlock(2, 11), SumBlock(2, 11))


def dense13():
    """13 dense layers, four channels each."""
    return on_digits(DenseBlock(3, 8, 4), DenseBlock(3, 20, 4), DenseBlock(3, 32, 4))


def sum13():
    """13 layers that add, of the same cost."""
    return on_digits(SumBlock(3, 8), SumBlock(3, 10), SumBlock(3, 14))


NETS = {
    "chain": chain31,
    "sum": sum31,
    "dense": dense31,
    "last 2": partial(recent, 2, 3, 3, 5),
    "last 3": partial(recent, 3, 2, 3, 4),
    "last 6": partial(recent, 6, 2, 2, 2),
    "slots": slots,
    "3 slots": partial(slots, 3),
    "1 slot": partial(slots, 1),
    "dense 13": dense13,
    "sum 13": sum13,
    "short sum": short_sum,
}


def measure(make, rate, seed):
    """One run: errors in percent, and the mean loss of the last epoch."""
    _, validation, test = mnist_splits()
    model, losses = trained(make, rate, seed, EPOCHS)
    last = losses[-len(losses) // EPOCHS:]
    return {
        "validation error": train.error(model, validation),
        "test error": train.error(model, test),
        "training loss": sum(last) / len(last),
    }


STUDY = {
    f"{name}, rate {rate}": partial(measure, make, rate)
    for name, make in NETS.items()
    for rate in RATES
}
SEEDS = range(5)
