"""DenseNet by the paper's recipe (Huang et al., CVPR 2017): CIFAR-10 or ImageNet."""

import torch
from torch.optim import SGD

from kit import given
from kit.data import mnist
from kit.recipes import class_loss, falling, percent_wrong
from kit.scale import Recipe
from lessons.densenet import VARIANTS, bc_net, build

DEFAULT = "densenet_bc100_k12"
ON_CIFAR, ON_IMAGENET = 50_000, 1_281_167  # images to train on


def sgd(model):
    # §4.2: Nesterov momentum 0.9 without dampening, weight decay 1e-4
    settings = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
    return SGD(model.parameters(), lr=0.1, **settings)


def recipe(wish):
    """The Recipe for what the user wishes: variant, data, small, steps, batch."""
    if wish.small:
        return small(wish)
    # Those for ImageNet are called by their depth alone.
    large = wish.variant.removeprefix("densenet").isdigit()
    return (on_imagenet if large else on_cifar10)(wish)


def trained(model, data, heldout, batch_size, steps, drops):
    return Recipe(
        model=model.to(memory_format=torch.channels_last),  # the same numbers, sooner
        loss=class_loss,
        data=data,
        heldout=heldout,
        batch_size=batch_size,
        steps=steps,
        optimizer=sgd,
        rate=falling(0.1, [int(steps * share) for share in drops]),  # §4.2
        measure=percent_wrong,
        measured="test error, %",
    )


def on_cifar10(wish):
    (images, labels), (test_images, test_labels) = given.cifar10(wish.data)
    colours = [images[:, colour].float() for colour in range(3)]
    mean = torch.stack([one.mean() for one in colours])[:, None, None]
    std = torch.stack([one.std() for one in colours])[:, None, None]

    def as_it_is(image, generator):  # §4.1: by the mean and deviation of each colour
        return (image - mean) / std

    def augmented(image, generator):  # §4.1: shifting and mirroring
        image = given.shifted(as_it_is(image, generator), 4, generator)
        return given.mirrored(image, generator)

    batch_size = wish.batch or 64  # §4.2
    return trained(
        build(wish.variant),  # no dropout: that is for images as they are (§4.2)
        given.Images(images, labels, augmented),
        given.Images(test_images, test_labels, as_it_is),
        batch_size,
        wish.steps or 300 * ON_CIFAR // batch_size,  # §4.2: 300 epochs
        [1 / 2, 3 / 4],  # §4.2
    )


def on_imagenet(wish):
    # §4.2 and §4.4: as ResNets are trained in facebookarchive/fb.resnet.torch
    def augmented(image, generator):
        image = given.random_area(image, 224, generator)
        image = given.mirrored(given.jittered(image, generator), generator)
        return (given.recoloured(image, generator) - given.MEAN) / given.STD

    def as_it_is(image, generator):  # one crop (Table 3)
        image = given.middle(given.resized(image, 256), 224)
        return (image - given.MEAN) / given.STD

    data = given.ImageFolder(wish.data / "train", augmented)
    batch_size = wish.batch or 256  # §4.2
    return trained(
        build(wish.variant, num_classes=data.classes),
        data,
        given.ImageFolder(wish.data / "val", as_it_is),
        batch_size,
        wish.steps or 90 * ON_IMAGENET // batch_size,  # §4.2: 90 epochs
        [30 / 90, 60 / 90],  # §4.2: after 30 and 60 epochs
    )


def small(wish):
    """Ours: sixteen layers, growth rate 8, on 4,000 digits of MNIST, shifted only."""
    train, test = mnist(4000)

    def shifted(image, generator):
        return given.shifted(image, 1, generator)

    return trained(
        bc_net(16, 8, in_channels=1),
        given.Images(*train, shifted),
        given.Images(*test, lambda image, generator: image),
        wish.batch or 64,
        wish.steps or 250,
        [1 / 2, 3 / 4],
    )


__all__ = ["DEFAULT", "VARIANTS", "recipe"]
