"""Real data out of installed packages, as tensors."""

from typing import NamedTuple

import torch


class Split(NamedTuple):
    """Images `(n, channels, height, width)` float32 and labels `(n,)` int64."""

    images: torch.Tensor
    labels: torch.Tensor


def digits(test_size=397):
    """Handwritten digits of scikit-learn: 1,797 images `(1, 8, 8)`, ten classes, as (train, test).

    Pixels are standardised by the mean and deviation of the training images.
    The split is the same for every seed, so that results of different seeds can be compared.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository, 1998.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    raw = load_digits()
    parts = train_test_split(raw.images, raw.target, test_size=test_size, random_state=0)
    train_x, test_x, train_y, test_y = (torch.as_tensor(part) for part in parts)
    mean, std = train_x.mean(), train_x.std()
    train_x, test_x = ((x - mean).div(std).float().unsqueeze(1) for x in (train_x, test_x))
    return Split(train_x, train_y), Split(test_x, test_y)


def minibatches(split, batch_size, epochs, seed):
    """A list of (images, labels) batches: `epochs` passes in fresh random orders, incomplete batches left out."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(epochs):
        order = torch.randperm(len(split.labels), generator=generator)
        batches += [index for index in order.split(batch_size) if len(index) == batch_size]
    return [(split.images[index], split.labels[index]) for index in batches]
