"""ResNet by the paper's recipe (He et al., CVPR 2016): CIFAR-10, ImageNet or digits."""

import torch
from torch.optim import SGD

from kit import given
from kit.data import digits
from kit.recipes import class_loss, falling, percent_wrong
from kit.scale import Recipe
from lessons.resnet import VARIANTS, BasicBlock, build, cifar_net

DEFAULT = "resnet20"
LARGE = ("18", "34", "50", "101", "152")  # the networks for ImageNet (Table 1)


def sgd(model):
    # §3.4 and §4.2: momentum 0.9, weight decay 1e-4, on all weights
    return SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)


def recipe(wish):
    """The Recipe for what the user wishes: variant, data, small, steps, batch."""
    if wish.small:
        return small(wish)
    large = wish.variant.removeprefix("plain").removeprefix("resnet") in LARGE
    return (on_imagenet if large else on_cifar10)(wish)


def trained(model, data, heldout, batch_size, steps, rate=None):
    return Recipe(
        model=model.to(memory_format=torch.channels_last),  # the same numbers, sooner
        loss=class_loss,
        data=data,
        heldout=heldout,
        batch_size=batch_size,
        steps=steps,
        optimizer=sgd,
        # §4.2: 0.1, a tenth of it from 32,000 and from 48,000 of 64,000 steps on
        rate=rate or falling(0.1, [steps // 2, steps * 3 // 4]),
        measure=percent_wrong,
        measured="test error, %",
    )


def on_cifar10(wish):
    (images, labels), (test_images, test_labels) = given.cifar10(wish.data)
    mean = images.sum(0, dtype=torch.int64) / len(images)  # §4.2: of every pixel

    def as_it_is(image, generator):
        return (image - mean) / 255

    def augmented(image, generator):  # §4.2: 4 pixels on each side, crop or mirror
        image = given.shifted(as_it_is(image, generator), 4, generator)
        return given.mirrored(image, generator)

    steps = wish.steps or 64_000  # §4.2
    rate = falling(0.1, [steps // 2, steps * 3 // 4])
    if wish.variant in ("resnet110", "resnet1202"):
        # §4.2: 0.01 until the training error is below 80%, which took about 400 steps
        after = rate
        rate = lambda step: 0.01 if step < 400 else after(step)  # noqa: E731
    return trained(
        build(wish.variant),
        given.Images(images, labels, augmented),
        given.Images(test_images, test_labels, as_it_is),
        wish.batch or 128,  # §4.2
        steps,
        rate,
    )


def on_imagenet(wish):
    def augmented(image, generator):  # §3.4
        shorter = torch.randint(256, 481, (), generator=generator).item()
        image = given.resized(image, shorter)
        left, top = (
            torch.randint(room - 223, (), generator=generator).item()
            for room in image.size
        )
        image = given.mirrored(given.cut(image, left, top, 224), generator)
        # The paper subtracts the mean of every pixel, we that of every colour.
        return given.recoloured(image, generator) - given.MEAN

    def as_it_is(image, generator):  # one crop; the paper's tables have ten (§3.4)
        return given.middle(given.resized(image, 256), 224) - given.MEAN

    data = given.ImageFolder(wish.data / "train", augmented)
    return trained(
        build(wish.variant, num_classes=data.classes),
        data,
        given.ImageFolder(wish.data / "val", as_it_is),
        wish.batch or 256,  # §3.4
        # §3.4: up to 600,000. A tenth "when the error plateaus": at one half and at
        # three quarters is ours.
        wish.steps or 600_000,
    )


def small(wish):
    """Ours: twenty layers of 8, 16 and 32 channels on 1,400 digits, shifted only."""
    train, test = digits()
    return trained(
        cifar_net(20, BasicBlock, in_channels=1, width=8),
        given.Images(
            *train, lambda image, generator: given.shifted(image, 1, generator)
        ),
        given.Images(*test, lambda image, generator: image),
        wish.batch or 64,
        wish.steps or 400,
    )


__all__ = ["DEFAULT", "VARIANTS", "recipe"]
