# %% [markdown] tags=["slide"]
# # DenseNet: what concatenation buys, and what it costs
#
# **Paper:** Huang, Liu, van der Maaten, Weinberger: *Densely Connected Convolutional Networks*, CVPR 2017 ([arXiv:1608.06993](https://arxiv.org/abs/1608.06993))
#
# **You will see:** three networks of equal cost that join their layers in three ways, who reads whose maps, and the price in memory and time

# %% [markdown] tags=["speaker"]
# **You need** the [ResNet lesson](resnet.ipynb): convolutions, batch normalisation, the shortcut.
# *The short way*: the sections marked ★; twenty minutes.
# Everything: about 75 minutes, of which the machine computes one and a half.
#
# What the paper says is marked with its section (§), table or figure (its text is that of arXiv version 5); everything else is ours.
# A line that begins with ✓ was tested on the machine that ran it; a claim that fails stops the notebook.

# %% tags=["active-ipynb"]
# from importlib.util import find_spec
#
# assert find_spec("kit"), (
#     "this kernel lacks the project: choose .venv, "
#     "or run `pip install -r requirements.txt` in the project's folder"
# )

# %% tags=["active-ipynb", "parameters"]
# import time
#
# import numpy as np
#
# from kit import study, train
# from kit.claims import claim, recap
# from kit.exercises import check
# from kit.probe import multiply_adds, parameters, saved_for_backward
# from kit.table import table
# from kit.view import Predict
# from lessons import resnet
# from lessons.checks import densenet as checks
# from lessons.figures import densenet as figures
# from lessons.published import densenet as published
#
# SEED = train.seed()

# %%
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint as recompute

from kit.data import Split, minibatches, mnist

# %% [markdown] tags=["slide"]
# ## 1. The problem ★
#
# A convolution reads the maps that the layer before it made.
# What an early layer has found reaches a late one only if every layer between them keeps it in its own output.
# In a ResNet it travels in a sum, to which every layer adds its own, and the authors suspect that this impedes the flow of information (§3).
#
# Passing on takes channels, and channels take weights.
# What if there are few of them: 31 layers, and fewer than 8,000 weights in all?

# %% [markdown]
# Our data are 5,000 handwritten digits of MNIST, shrunk to 14×14 pixels.

# %%
def mnist_splits():
    """2,000 digits to train on, 1,000 to choose learning rates with, 2,000 to test.

    Three Splits of MNIST images `(1, 14, 14)`.
    """
    train_set, (images, labels) = mnist()
    validation = Split(images[:1000], labels[:1000])
    return train_set, validation, Split(images[1000:], labels[1000:])


# %% tags=["active-ipynb"]
# train_set, validation, test_set = mnist_splits()
# figures.one_digit_of_each(train_set)

# %% [markdown] tags=["slide"]
# There are three ways to join the layers $H_1, H_2, \ldots$ of a block whose input is $\mathbf{x}_0$:
#
# - a **chain** reads the layer before: $\mathbf{x}_\ell = H_\ell(\mathbf{x}_{\ell-1})$
# - a **sum** adds to what it has read, as in ResNet (Eq. 1):
#   $\mathbf{x}_\ell = H_\ell(\mathbf{x}_{\ell-1}) + \mathbf{x}_{\ell-1}$
# - **concatenation** reads all maps that were made before, as channels side by side (Eq. 2): $\mathbf{x}_\ell = H_\ell([\mathbf{x}_0, \ldots, \mathbf{x}_{\ell-1}])$

# %% [markdown] tags=["on-slide"]
# The third is DenseNet.
# That is the whole idea.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.three_ways_to_join()

# %% [markdown] tags=["slide"]
# The layer is the same in all three: batch normalisation, ReLU, a 3×3 convolution, in this order (§3).

# %% [markdown]
# (`dropout` stays 0 until section 3; `relu_` is ReLU in place.)

# %%
class DenseLayer(nn.Module):
    """Batch norm, ReLU, 3×3 convolution: the H of Eq. 2 (§3).

    `(batch, in_channels, height, width)` to `(batch, growth_rate, height, width)`.
    dropout: the share of outputs that training sets to zero (§4.2).
    """

    def __init__(self, in_channels, growth_rate, dropout=0.0):
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, growth_rate, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):                       # (batch, in_channels, height, width)
        x = self.conv(F.relu_(self.norm(x)))    # (batch, growth_rate, height, width)
        return self.dropout(x)


# %% [markdown] tags=["on-slide"]
# Now the blocks.
# Look at the last lines: that is where they differ.

# %% tags=["on-slide"]
class ChainBlock(nn.Module):
    """`depth` layers, each reads the one before; shapes stay `(batch, width, h, w)`."""

    def __init__(self, depth, width):
        super().__init__()
        self.in_channels = self.out_channels = width
        self.layers = nn.ModuleList(DenseLayer(width, width) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class SumBlock(ChainBlock):
    """The same layers; each adds to what it has read."""

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return x


# %% tags=["slide"]
class DenseBlock(nn.Module):
    """`depth` layers, each reads all maps that were made before it (§3, Eq. 2).

    `(batch, in_channels, h, w)` to `(batch, in_channels + depth · growth_rate, h, w)`.
    layer: called as `layer(in_channels, growth_rate)`.
    """

    def __init__(self, depth, in_channels, growth_rate, layer=DenseLayer):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = in_channels + depth * growth_rate
        inputs = range(in_channels, self.out_channels, growth_rate)
        self.layers = nn.ModuleList(layer(channels, growth_rate) for channels in inputs)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)    # growth_rate channels more
        return x


# %% [markdown]
# Maps of different size can be neither added nor concatenated.
# So a network is a few blocks, and between two of them a *transition* mixes the
# channels and halves the map (§3).
# (The text names batch norm, a 1×1 convolution and average pooling.
# The authors' code has a ReLU after the batch norm, and so do we.)

# %%
class Transition(nn.Module):
    """Batch norm, ReLU, 1×1 convolution, 2×2 average pooling (§3).

    `(batch, in_channels, h, w)` to `(batch, out_channels, h/2, w/2)`.
    """

    def __init__(self, in_channels, out_channels, dropout=0.0):
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):                        # (batch, in_channels, h, w)
        x = self.conv(F.relu_(self.norm(x)))     # (batch, out_channels, h, w)
        return F.avg_pool2d(self.dropout(x), 2)  # (batch, out_channels, h/2, w/2)


# %% [markdown]
# Around the blocks stands the same skeleton in all three networks.

# %%
class Skeleton(nn.Module):
    """A stem, blocks with a transition between two, and a classifier (§3).

    Images `(batch, channels, height, width)` to logits `(batch, num_classes)`.
    blocks: modules that know their `in_channels` and `out_channels`.
    """

    def __init__(self, stem, blocks, num_classes=10, dropout=0.0):
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.transitions = nn.ModuleList(
            Transition(before.out_channels, after.in_channels, dropout)
            for before, after in pairwise(blocks)
        )
        self.norm = nn.BatchNorm2d(blocks[-1].out_channels)
        self.fc = nn.Linear(blocks[-1].out_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):                       # (batch, channels, height, width)
        x = self.blocks[0](self.stem(x))
        for transition, block in zip(self.transitions, self.blocks[1:]):
            x = block(transition(x))
        x = F.relu_(self.norm(x))               # (batch, features, height', width')
        return self.fc(x.mean(dim=(2, 3)))      # (batch, num_classes)


# %% [markdown] tags=["slide"]
# Three networks of 31 layers: a stem, three blocks of nine, two transitions, a classifier.
# A chain or a sum must make as many channels as it reads.
# A dense layer need not: its input is kept for all others anyway.
# So ours makes a *single* channel and spends its weights on reading.
# The widths are such that all three cost the same (the dense block of 8 channels ends with 8 + 9, so the next begins with 17, and so on).

# %%
def on_digits(*blocks):
    """A Skeleton for grey images and ten classes; its stem is one 3×3 convolution."""
    stem = nn.Conv2d(1, blocks[0].in_channels, 3, padding=1, bias=False)
    return Skeleton(nn.Sequential(stem), blocks)


def chain31():
    return on_digits(ChainBlock(9, 4), ChainBlock(9, 5), ChainBlock(9, 7))


def sum31():
    return on_digits(SumBlock(9, 4), SumBlock(9, 5), SumBlock(9, 7))


def dense31():
    return on_digits(DenseBlock(9, 8, 1), DenseBlock(9, 17, 1), DenseBlock(9, 26, 1))


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# NETS = {"chain": chain31, "sum": sum31, "dense": dense31}
# size = {name: parameters(make()) for name, make in NETS.items()}
# cost = {name: multiply_adds(make(), 1, 1, 14, 14) for name, make in NETS.items()}
# claim(
#     "the three networks have equal parameters and multiply-adds, to half a percent",
#     max(size.values()) < 1.005 * min(size.values())
#     and max(cost.values()) < 1.005 * min(cost.values()),
#     "ours: the control",
# )
# table(["network", "parameters", "multiply-adds"],
#       [[name, f"{size[name]:,}", f"{cost[name]:,}"] for name in NETS])

# %% [markdown]
# The recipe is the paper's (§4.2): Nesterov momentum 0.9, weight decay 10⁻⁴, batches of
# 64, a learning rate that falls to a tenth at one half and again at three quarters of
# the steps.

# %%
def fit(model, batches, rate, on_step=None, weight_decay=1e-4):
    """Train in place by the paper's recipe (§4.2); returns the loss of every step."""
    model.train().to(memory_format=torch.channels_last)    # a third faster here
    optimizer = torch.optim.SGD(
        model.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )
    drops = [len(batches) // 2, len(batches) * 3 // 4]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, drops, gamma=0.1)
    losses = []
    for step, (images, labels) in enumerate(batches):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if on_step is not None:
            on_step(step, losses[-1])
    return losses


# %%
def trained(make, rate, seed, epochs, on_step=None, weight_decay=1e-4):
    """A fresh network after `epochs` passes through the 2,000 digits; its losses."""
    torch.manual_seed(seed)
    model = make()
    batches = minibatches(mnist_splits()[0], 64, epochs, seed + 1000)
    return model, fit(model, batches, rate, on_step, weight_decay)


# %% [markdown]
# Before you run them: what do you expect?

# %% tags=["active-ipynb", "slide", "figure-only"]
# guess = Predict(
#     "Equal weights, equal work, ten passes through the digits. What will you see?",
#     ["All three within one point of each other",
#      "The chain behind, sum and concatenation within one point",
#      "The chain behind, and the sum behind concatenation by over a point"],
#     name="three joins",
# )
# guess

# %% tags=["active-ipynb", "slide", "figure-only"]
# torch.set_num_threads(1)    # networks this small run fastest on one core
# RATES = {"chain": 0.1, "sum": 0.1, "dense": 1.0}    # chosen in section 4
# errors, live = {}, figures.growing_losses(total=3 * 310)
# for name, make in NETS.items():
#     model, _ = trained(make, RATES[name], SEED, 10, figures.watch(live, name))
#     errors[name] = train.error(model, test_set)
# live.close()

# %% tags=["active-ipynb", "slide", "figure-only"]
# claim(
#     "in this run the sum makes less than two thirds of the chain's errors, and "
#     "concatenation at least a tenth fewer than the sum",
#     errors["sum"] < errors["chain"] * 2 / 3 and errors["dense"] < errors["sum"] * 0.9,
#     "ours",
# )
# gaps = errors["chain"] - errors["sum"] > 1, errors["sum"] - errors["dense"] > 1
# guess.reveal(sum(gaps), "At equal cost, the join decides how wide a layer can be.")

# %% tags=["active-ipynb", "nbval-ignore-output", "slide", "figure-only"]
# table(["network", "wrong of 2,000 test digits"],
#       [[name, f"{error:.1f}%"] for name, error in errors.items()])

# %% [markdown] tags=["on-slide"]
# This is one seed, and the learning rates fell from the sky.
# And two things differ: how the layers are joined, and, because the cost is equal, how wide they are.
# Section 4 does it properly, and takes the two apart.

# %% [markdown] tags=["slide"]
# ## 2. The idea ★
#
# Every layer of a dense block makes the same number $k$ of new channels.
# The paper calls $k$ the **growth rate**: what each layer adds to the "collective knowledge" of the block (§3).
# A block that starts with $k_0$ channels gives its layer $\ell$ an input of $k_0 + k(\ell-1)$.

# %% [markdown]
# Three layers by hand, exactly as the equation says: keep a list of maps, and
# concatenate all of it for each layer.

# %% tags=["active-ipynb"]
# torch.manual_seed(SEED)
# layers = [DenseLayer(8 + 4 * number, 4) for number in range(3)]    # k₀ = 8, k = 4
# maps = [torch.randn(2, 8, 14, 14)]
# for layer in layers:
#     maps.append(layer(torch.cat(maps, dim=1)))    # x_l = H_l([x_0, …, x_{l-1}])
# print("channels of each map:", [one.shape[1] for one in maps])

# %% [markdown]
# `DenseBlock` keeps no list: its `x` *is* the concatenation, and each layer's map goes
# behind it.

# %% tags=["active-ipynb"]
# block = DenseBlock(3, 8, 4)
# for layer, by_hand in zip(block.layers, layers):
#     layer.load_state_dict(by_hand.state_dict())
# same = torch.equal(block(maps[0]), torch.cat(maps, dim=1))
# claim("the block computes what the equation says", same, "§3, Eq. 2")

# %% [markdown] tags=["on-slide"]
# A layer of the chain reads $w$ channels and makes $w$: $9w^2$ weights.
# The dense layer reads $c$ and makes $k$: $9ck$.
# See what that means for the networks that you trained.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# for name, make in NETS.items():
#     shapes = [layer.conv.weight.shape[:2] for layer in make().blocks[1].layers]
#     told = " ".join(f"{reads}→{makes}" for makes, reads in shapes)
#     print(f"{name:6} second block: {told}")

# %% [markdown] tags=["speaker"]
# The layers of chain and sum are 4 to 7 channels wide, and all they know has to fit in.
# Ours makes one channel at a time, and reads up to 34.

# %% [markdown] tags=["slide"]
# ## 3. Build it
#
# A dense network grows: its late layers read hundreds of channels, and 3×3 kernels over all of them are dear.
# Two remedies make the paper's large networks affordable (§3).
#
# **Bottleneck** (DenseNet-B): squeeze the input to $4k$ channels by a 1×1 convolution first.
# Then the 3×3 convolution makes $k$, as always.

# %%
class BottleneckLayer(nn.Module):
    """Batch norm, ReLU, 1×1 convolution to 4 `growth_rate` channels; then a DenseLayer.

    Shapes and dropout as in DenseLayer (§3, DenseNet-B).
    """

    def __init__(self, in_channels, growth_rate, dropout=0.0):
        super().__init__()
        inner = 4 * growth_rate
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, growth_rate, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def squeeze(self, x):                         # (batch, in_channels, h, w)
        x = self.conv1(F.relu_(self.norm1(x)))    # (batch, inner, h, w)
        return self.dropout(x)

    def grow(self, x):                            # (batch, inner, h, w)
        x = self.conv2(F.relu_(self.norm2(x)))    # (batch, growth_rate, h, w)
        return self.dropout(x)

    def forward(self, x):
        return self.grow(self.squeeze(x))


# %% [markdown] tags=["on-slide"]
# **Compression** (DenseNet-C): a transition passes on only ⌊θm⌋ of its m channels; the paper takes θ = 0.5.
# Both together are DenseNet-BC.

# %% [markdown]
# **Dropout** is not of the architecture.
# Where the authors train without augmentation, they set 20% of the outputs of every
# convolution but the first to zero (§4.2); we do not need it.

# %%
class DenseNet(Skeleton):
    """A Skeleton whose blocks are dense (§3); `depths`: the layers of each.

    stem: a Sequential that begins with a convolution.
    layer: DenseLayer or BottleneckLayer. compression: θ, above 0 and at most 1.
    dropout: after every convolution but the first (§4.2).
    """

    def __init__(self, stem, depths, growth_rate, layer=DenseLayer,
                 compression=1.0, num_classes=10, dropout=0.0):
        if not 0 < compression <= 1:
            raise ValueError(f"compression is above 0 and at most 1, not {compression}")
        channels, blocks = stem[0].out_channels, []
        layer = partial(layer, dropout=dropout)
        for depth in depths:
            blocks.append(DenseBlock(depth, channels, growth_rate, layer))
            kept = int(compression * blocks[-1].out_channels)    # ⌊θm⌋ of m
            channels = max(kept, 1)
        super().__init__(stem, blocks, num_classes, dropout)


# %% [markdown]
# The network for small images has three equal blocks.
# Stem, two transitions and classifier are four layers, so blocks of $n$ layers make a
# depth of $L = 3n + 4$, or $6n + 4$ with bottlenecks.

# %%
def cifar_net(depth, growth_rate, layer=DenseLayer, compression=1.0, stem_width=16,
              in_channels=3, num_classes=10, dropout=0.0):
    """The network for small images: three equal blocks, `depth` weighted layers (§3).

    Raises ValueError for a depth that three equal blocks cannot have.
    """
    unit = 6 if layer is BottleneckLayer else 3    # layers that one more per block adds
    if depth <= 4 or (depth - 4) % unit:
        raise ValueError(f"depth should be {unit}n + 4 with n from 1 on, not {depth}")
    stem = nn.Sequential(nn.Conv2d(in_channels, stem_width, 3, padding=1, bias=False))
    depths = [(depth - 4) // unit] * 3
    return DenseNet(
        stem, depths, growth_rate, layer, compression, num_classes, dropout
    )


# %% [markdown]
# The one for large images has ResNet's stem, with $2k$ channels, and four blocks of
# different depths (Table 1).

# %%
def imagenet_net(depths, growth_rate=32, in_channels=3, num_classes=1000, dropout=0.0):
    """DenseNet-BC for large images, with `depths` layers in its blocks (Table 1)."""
    width = 2 * growth_rate
    stem = nn.Sequential(
        nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1),
    )
    return DenseNet(
        stem, depths, growth_rate, BottleneckLayer, 0.5, num_classes, dropout
    )


# %%
def bc_net(depth, growth_rate, **changes):
    """DenseNet-BC for small images: bottlenecks, θ = 0.5, a stem of 2k channels."""
    settings = {"compression": 0.5, "stem_width": 2 * growth_rate} | changes
    return cifar_net(depth, growth_rate, BottleneckLayer, **settings)


VARIANTS = {
    "densenet40_k12": partial(cifar_net, depth=40, growth_rate=12),
    "densenet100_k12": partial(cifar_net, depth=100, growth_rate=12),
    "densenet100_k24": partial(cifar_net, depth=100, growth_rate=24),
    "densenet_bc100_k12": partial(bc_net, depth=100, growth_rate=12),
    "densenet_bc250_k24": partial(bc_net, depth=250, growth_rate=24),
    "densenet_bc190_k40": partial(bc_net, depth=190, growth_rate=40),
    "densenet121": partial(imagenet_net, depths=(6, 12, 24, 16)),
    "densenet169": partial(imagenet_net, depths=(6, 12, 32, 32)),
    "densenet201": partial(imagenet_net, depths=(6, 12, 48, 32)),
    "densenet264": partial(imagenet_net, depths=(6, 12, 64, 48)),
    # of an earlier version of the paper
    "densenet161": partial(imagenet_net, depths=(6, 12, 36, 24), growth_rate=48),
}


def build(name, **changes):
    """The paper's configuration `name` with random weights.

    changes: further arguments of `cifar_net` or `imagenet_net`.
    Raises ValueError for an unknown name.
    """
    if name not in VARIANTS:
        raise ValueError(f"no variant {name!r}; there are {', '.join(VARIANTS)}")
    return VARIANTS[name](**changes)


# %% [markdown]
# (The network of section 1 is `cifar_net(31, 1, stem_width=8, in_channels=1)`.)

# %% [markdown] tags=["slide"]
# What does each remedy save, at 40 layers and $k = 12$?

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# versions = {
#     "basic": {},
#     "C": {"compression": 0.5},
#     "B": {"layer": BottleneckLayer},
#     "BC": {"layer": BottleneckLayer, "compression": 0.5, "stem_width": 24},
# }
# with torch.device("meta"):
#     nets = {name: cifar_net(40, 12, **change) for name, change in versions.items()}
# table(["40 layers, k = 12", "parameters", "multiply-adds"],
#       [[name, f"{parameters(net):,}", f"{multiply_adds(net, 1, 3, 32, 32):,}"]
#        for name, net in nets.items()])

# %% [markdown] tags=["speaker"]
# (Of 40 layers a bottleneck spends two on each step: B has half as many steps, which is most of what it saves here.
# BC has a wider stem, too.)

# %% [markdown] tags=["slide"]
# Turn the two knobs, and see what every layer of a network reads.
# (With a kernel they have more positions: each network is built when you ask for it.)

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# def network(growth_rate, compression):
#     with torch.device("meta"):
#         return cifar_net(40, growth_rate, compression=compression)
#
#
# figures.what_each_layer_reads(network)

# %% [markdown] tags=["slide"]
# ## 4. Is it the concatenation? ★
#
# In section 1 the learning rates were given, and a rate can favour a network.
# So a study tried four rates for each network, with five seeds each, for ten passes.

# %% [markdown]
# The runs of section 1 are among them.
# All trained on the same 2,000 digits; 1,000 others choose the rate, and the error is
# that on the 2,000 test digits.
# (`lessons/studies/densenet.py` is its code, `make study-densenet` runs it again.)

# %% tags=["active-ipynb"]
# runs = study.read("densenet")
# GRID = [0.03, 0.1, 0.3, 1.0]
#
#
# def measured(name, rate, what="test error"):
#     """One measurement of the five runs, as an array."""
#     return np.array([run[what] for run in runs[f"{name}, rate {rate}"]])
#
#
# def best_rate(name):
#     return min(GRID, key=lambda rate: measured(name, rate, "validation error").mean())

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.errors_by_rate(
#     {name: [measured(name, rate, "validation error").mean() for rate in GRID]
#      for name in NETS},
#     GRID,
# )

# %% tags=["active-ipynb", "slide", "figure-only"]
# def result(name):
#     """The five test errors at the rate that validation chooses."""
#     return measured(name, best_rate(name))
#
#
# def row(name):
#     found, rate = result(name), best_rate(name)
#     loss = measured(name, rate, "training loss").mean()
#     error = f"{found.mean():.2f} ± {found.std(ddof=1):.2f}%"
#     return [name, f"{rate:g}", error, f"{loss:.3f}"]
#
#
# table(["network", "chosen rate", "test error", "training loss"], map(row, NETS))

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# rates = {name: best_rate(name) for name in NETS}
# claim("section 1 used the rates that validation chooses", rates == RATES, "ours")
# dense, added, chain = (result(name) for name in ("dense", "sum", "chain"))
# claim(
#     "at equal cost and tuning, concatenation makes at least a quarter fewer errors "
#     "than addition, and fewer with every seed; the chain makes over twice the sum's",
#     dense.mean() < 0.75 * added.mean() and (dense < added).all()
#     and chain.mean() > 2 * added.mean(), "ours, the stored study",
# )

# %% [markdown] tags=["speaker"]
# (The dense network's best rate is the largest of the grid: a larger one might do it more good.)

# %% [markdown] tags=["slide"]
# ### The dose
#
# If it is the reading of *earlier* maps that helps, more of it should help more.
# Here each layer reads the last $m$ maps, each as wide as the budget allows; the chain is $m = 1$, DenseNet has all.

# %% [markdown]
# (So the width differs, too. The parameters stay between 7,000 and 8,000;
# the multiply-adds do not: $m = 6$ has 38% more than DenseNet.)

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# dose = {"1": "chain", "2": "last 2", "3": "last 3", "6": "last 6", "all": "dense"}
# by_dose = {maps: result(name) for maps, name in dose.items()}
# one, two, three, six, every = by_dose.values()
# claim("the errors fall from one map to two, to three, and from six to all",
#       one.mean() > two.mean() > three.mean() and six.mean() > every.mean(),
#       "ours, the stored study")
# figures.error_by_memory({maps: found.mean() for maps, found in by_dose.items()})

# %% [markdown] tags=["speaker"]
# (From three maps to six the mean falls, too, nearly all of it by one of the five seeds.)

# %% [markdown] tags=["slide"]
# ### The mechanism
#
# Is it concatenation, then?
# Let us take the operation away and keep what it made possible.
# A sum with *slots* is a memory of fixed width.
# Each layer reads all of it, makes one channel, and **adds** it to a slot of its own.
# In the plain sum every layer adds to every channel, so what one wrote is mixed with what the next ones write.
# Here it stays apart.
# The control: the same layers, but they share three slots, or a single one.

# %%
class SlotBlock(nn.Module):
    """Thin layers that add: each reads all channels, its one map goes to a slot.

    `(batch, width, h, w)` to the same shape. The layers take the slots in turn.
    slots: how many, at most `width`; by default every layer has its own.
    """

    def __init__(self, depth, width, slots=None):
        super().__init__()
        self.slots = slots or depth
        if self.slots > width:
            raise ValueError(f"{self.slots} slots do not fit in {width} channels")
        self.in_channels = self.out_channels = width
        self.layers = nn.ModuleList(DenseLayer(width, 1) for _ in range(depth))

    def forward(self, x):
        for number, layer in enumerate(self.layers):
            before = number % self.slots
            after = x.shape[1] - before - 1
            x = x + F.pad(layer(x), (0, 0, 0, 0, before, after))    # zeros elsewhere
        return x


# %% tags=["active-ipynb", "slide", "figure-only"]
# def slots31():
#     return on_digits(SlotBlock(9, 12), SlotBlock(9, 21), SlotBlock(9, 31))
#
#
# print(f"{parameters(slots31()):,} parameters,",
#       f"{multiply_adds(slots31(), 1, 1, 14, 14):,} multiply-adds")
# kept, three, one = (result(name) for name in ("slots", "3 slots", "1 slot"))
# claim(
#     "thin layers that add, each to a slot of its own, make at most half a point more "
#     "errors than concatenation, and fewer than the sum with every seed",
#     kept.mean() <= dense.mean() + 0.5 and (kept < added).all(),
#     "ours, the stored study",
# )
# claim("the fewer slots they share, the more errors",
#       kept.mean() < three.mean() < one.mean(), "ours, the stored study")
# table(["network", "chosen rate", "test error", "training loss"],
#       map(row, ["sum", "dense", "slots", "3 slots", "1 slot"]))

# %% [markdown] tags=["on-slide"]
# So the operation does not matter, and the keeping apart does.
# (Even with a single slot the errors are fewer than the sum's: the other channels still hold the block's input.)
# What pays is *thin layers on a wide memory that keeps what each of them wrote*; concatenation is the plain way to have one.

# %% [markdown] tags=["slide"]
# ### The limits
#
# Why 31 layers and a growth rate of 1?
# We chose them because the difference is large there.
# With 13 layers and $k = 4$, again at equal cost, most of it is gone.
# Nor does depth pay here: ten layers that add, with wider layers, fewer weights and a third more multiply-adds, do as well.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# gap = {"31": added - dense, "13": result("sum 13") - result("dense 13")}
# claim("with 13 layers concatenation saves less than half of what it saves with 31",
#       gap["13"].mean() < gap["31"].mean() / 2, "ours, the stored study")
# claim(
#     "ten wide layers with addition make at most half a point more errors than 31 "
#     "dense ones", result("short sum").mean() <= dense.mean() + 0.5,
#     "ours, the stored study",
# )
# table(["network", "chosen rate", "test error", "training loss"],
#       map(row, ["sum", "dense", "sum 13", "dense 13", "short sum"]))

# %% [markdown] tags=["speaker"]
# And equal multiply-adds are not equal time.
# Steps of all three, in turn:

# %% tags=["active-ipynb"]
# def seconds_of_steps(models, inputs, times=12):
#     """Median seconds of a forward and backward pass of each, run in turn."""
#     seconds = []
#     for _ in range(times):
#         for model in models:
#             started = time.process_time()
#             model(inputs).square().mean().backward()
#             seconds.append(time.process_time() - started)
#     return np.median(np.reshape(seconds, (times, -1)), axis=0)
#
#
# batch = train_set.images[:64], train_set.labels[:64]
# nets = [make().to(memory_format=torch.channels_last) for make in NETS.values()]
# chain_time, sum_time, dense_time = seconds_of_steps(nets, batch[0])
# claim("at equal multiply-adds a dense step takes longer than the sum's",
#       dense_time > sum_time, "ours")

# %% tags=["active-ipynb", "nbval-ignore-output"]
# table(["network", "time of a step", "times the chain's"],
#       [[name, f"{1000 * one:.1f} ms", f"{one / chain_time:.1f}"]
#        for name, one in zip(NETS, (chain_time, sum_time, dense_time))])

# %% [markdown] tags=["slide"]
# ## 5. What the paper found at its scale
#
# The paper's networks are a hundred times larger and more, and trained for 300 passes on CIFAR, 40 on SVHN (§4.2).
# Its Table 2 compares them with what others had reported.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.errors_of_table_2(published.TABLE_2)

# %% [markdown] tags=["speaker"]
# On CIFAR-10 with augmentation DenseNet-BC with 0.8M parameters has 4.51%, the pre-activation ResNet of 1,001 layers 4.62% with 10.2M.
# No network here removes *only* the concatenation: these ResNets are deeper, and built of other blocks.
# It is a comparison of whole designs.
#
# Figure 4 adds two facts (§4.4).
# DenseNet-BC needs about a third of the parameters of pre-activation ResNets with the same accuracy.
# And ResNet-1001 has the *lower training loss*, at about the same test error as the BC network of 0.8M.

# %% [markdown] tags=["slide"]
# On ImageNet the authors swapped only the model in a public ResNet program, and kept its settings, which are tuned for ResNets (§4.4).

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# with torch.device("meta"):
#     dense_size = {depth: parameters(build(f"densenet{depth}"))
#                   for depth in published.DENSENETS}
#     residual_size = {depth: parameters(resnet.build(f"resnet{depth}"))
#                      for depth in published.RESNETS}
# claim("ResNet-101 has over twice DenseNet-201's parameters",
#       residual_size[101] > 2 * dense_size[201], "§4.4")
# figures.errors_on_imagenet(
#     dense_size, published.DENSENETS, residual_size, published.RESNETS
# )

# %% [markdown] tags=["slide"]
# ## 6. Look inside
#
# ### Who reads whose features?
#
# A layer has a slice of its kernel for every map that it reads.
# The mean |weight| of that slice says how much the layer makes of the map: this is the paper's Figure 5.
# A block's *input* holds many maps, and so there are two questions: how much per map, and how much in total.

# %%
@torch.no_grad()
def feature_use(model, number, measure="per map"):
    """How much |weight| the readers of block `number` spend on each source (§5).

    Rows are sources, the block's input first, then its layers.
    Columns are readers: its layers, last what follows it (transition or classifier).
    measure: "mean", of |weight|; "per map", the same as a multiple of the reader's
    average; "in total", the source's share of the reader's |weight|.
    `(layers + 1, layers + 1)`, nan where a reader has no choice.
    """
    block = model.blocks[number - 1]
    convolutions = [
        [module for module in layer.modules() if isinstance(module, nn.Conv2d)]
        for layer in block.layers
    ]
    growth_rate = convolutions[0][-1].out_channels
    follows = [transition.conv for transition in model.transitions] + [model.fc]
    readers = [first for first, *_ in convolutions] + [follows[number - 1]]
    sizes = [block.in_channels] + [growth_rate] * len(block.layers)
    use = model.fc.weight.new_full((len(readers), len(readers)), torch.nan)
    for column, reader in enumerate(readers[1:], 1):    # the first has no choice
        weights = reader.weight.abs().transpose(0, 1).flatten(1).mean(1)
        for row, part in enumerate(weights.split(sizes[:column + 1])):
            use[row, column] = {
                "mean": part.mean(),
                "per map": part.mean() / weights.mean(),
                "in total": part.sum() / weights.sum(),
            }[measure]
    return use


# %% [markdown] tags=["slide"]
# We train a network of 22 layers with $k = 4$, twice.
# The reason is weight decay λ.
# It shrinks every weight a little at each step, so that the random start fades unless the data keep it up.
# A step of rate η shrinks a weight by the share ηλ; momentum 0.9 makes that 10 ηλ.
# Step after step it is multiplied by about 1 − 10 ηλ, so exp(−10 λ Σ η) is left at the end.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# plans = {
#     "the paper's run on CIFAR": (300 * 50_000 // 64, 0.0001),
#     "ours, the same decay": (310, 0.0001),
#     "ours, 200 times that": (310, 0.02),
# }
# for name, (steps, decay) in plans.items():
#     rates = steps * (0.1 / 2 + 0.01 / 4 + 0.001 / 4)    # Σ η of the schedule
#     print(f"{name}: {np.exp(-10 * rates * decay):.1%} of the start is left")

# %% [markdown] tags=["on-slide"]
# With the paper's decay our short run would show its random start.
# So the second network gets 200 times as much.

# %% tags=["active-ipynb"]
# def net22():
#     return cifar_net(22, 4, stem_width=8, in_channels=1)
#
#
# torch.manual_seed(SEED)
# looked_at, live = {"untrained": net22()}, figures.growing_losses(total=2 * 310)
# for decay in (0.0001, 0.02):
#     title = f"weight decay {decay:g}"
#     watch = figures.watch(live, f"dense, {title}")
#     looked_at[title], _ = trained(net22, 0.1, SEED, 10, watch, decay)
# live.close()

# %% tags=["active-ipynb", "slide", "figure-only"]
# use_guess = Predict(
#     "Of which source do the layers of the later blocks make least, per map?",
#     ["The block's own input, which a transition made", "The layer just before them",
#      "All about equally"],
#     name="feature use",
# )
# use_guess

# %% tags=["active-ipynb", "slide", "figure-only"]
# figures.feature_use(feature_use, looked_at, blocks=[2, 3])

# %% tags=["active-ipynb", "slide", "figure-only"]
# untrained, weak, strong = looked_at.values()
#
#
# def mean_use(model, block):
#     """The mean use per map of each source, the block's input first."""
#     return feature_use(model, block).nanmean(1)
#
#
# claim(
#     "untrained, and after our run with the paper's decay, the inputs of blocks 2 and "
#     "3 are used per map like every other source, within 10%",
#     all(0.9 < mean_use(model, block)[0] < 1.1
#         for model in (untrained, weak) for block in (2, 3)), "ours: the control",
# )
# claim(
#     "with strong decay both blocks make least of their input, per map",
#     all(use[0] < use[1:].min() for use in (mean_use(strong, 2), mean_use(strong, 3))),
#     "§5, Figure 5",
# )
# use_guess.reveal(0, "Per map the input is used least, once the start has faded.")

# %% [markdown]
# And in total?
# The input holds 32 or 56 maps, every layer only four.

# %% tags=["active-ipynb"]
# figures.feature_use_in_total(feature_use, looked_at, blocks=[2, 3])

# %% tags=["active-ipynb"]
# totals = [feature_use(strong, block, "in total")[:, 1:] for block in (2, 3)]
# claim("in total every reader of blocks 2 and 3 spends most on the input",
#       all((total[0] > total[1:].nan_to_num(0).amax(0)).all() for total in totals),
#       "ours")

# %% [markdown]
# Does any reader leave out a source?
# Without the data 4% of its initial weights would be left; so much for a source that nobody needs.

# %% tags=["active-ipynb"]
# left = torch.cat([
#     (feature_use(strong, block, "mean") / feature_use(untrained, block, "mean")).ravel()
#     for block in (1, 2, 3)
# ])
# left = left[~left.isnan()]
# claim("of all pairs of reader and source fewer than one in ten has faded below 5%",
#       (left < 0.05).float().mean() < 0.1, "§5, Figure 5")

# %% [markdown] tags=["speaker"]
# The paper reads four things off its map, of 40 layers with $k = 12$ (§5).
# Which of them show here?
#
# - *Layers spread their weights over many inputs of their block.* Yes, but for a few pairs.
# - *Transitions do so, too.* Half: in the column "next" no source is left out, but after block 2 the late maps count most.
# - *Layers of the later blocks make least of the transition's output*, so it holds much that is redundant: the reason for compression.
#   Yes, per map; not in total.
# - *The classifier concentrates on the last maps.* Not reliably: look at the last column of block 3 with several seeds.

# %% [markdown] tags=["slide"]
# ### Is it the gradient?
#
# From the loss a short way leads back to every layer, through two or three transitions.
# The authors call it implicit deep supervision (§5): early layers are taught as directly as late ones.
# Could *that* be why concatenation won?
# If so, its gradients should differ from the sum's.

# %% [markdown]
# (Whoever reads a map normalises it first, so the size of the kernel that made it does not matter;
# in a sum that is only roughly so.
# What counts is how far a step turns it: its gradient over its norm.)

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# turns = {}
# for name, make in (NETS | {"slots": slots31}).items():
#     torch.manual_seed(SEED)
#     model = make()
#     F.cross_entropy(model(batch[0]), batch[1]).backward()
#     kernels = [layer.conv.weight for block in model.blocks for layer in block.layers]
#     turns[name] = [(one.grad.norm() / one.norm()).item() for one in kernels]
#
# figures.gradients(turns)

# %% tags=["active-ipynb"]
# slope = {name: one[0] / one[-1] for name, one in turns.items()}
# claim("from the last layer to the first, the chain's gradient grows over twice as "
#       "much as those of sum and concatenation",
#       slope["chain"] > 2 * max(slope["sum"], slope["dense"]), "ours")

# %% [markdown] tags=["speaker"]
# The gradient tells the chain from the others.
# Sum and concatenation differ by a factor of a few, with some seeds this way and with some that; their errors differ with every seed in the same way.
# So, before training at least, the short way back is not what tells *them* apart.
# (Their levels differ, too; that is what a learning rate makes up for: compare the chosen ones.)

# %% [markdown] tags=["slide"]
# ### Memory
#
# Concatenation copies: layer 2 stores its input, layer 3 stores it again with one map more, and so on, until the backward pass.
# For $n$ layers that is a triangle: memory grows with $n^2$.

# %% [markdown] tags=["slide"]
# It need not.
# Keep each map once, and compute the part with the large inputs a second time on the way back: concatenation, batch norm, ReLU, 1×1 convolution.
# That is a variant of the authors' own remedy (Pleiss et al. 2017, [arXiv:1707.06990](https://arxiv.org/abs/1707.06990)); torch does the bookkeeping.

# %%
def squeeze(layer, *maps):
    return layer.squeeze(torch.cat(maps, dim=1))       # (batch, 4 growth_rate, h, w)


class FrugalBlock(DenseBlock):
    """A DenseBlock of BottleneckLayers that keeps each map once, and its shapes.

    Its memory is linear in `depth` (after Pleiss et al. 2017).
    """

    def __init__(self, depth, in_channels, growth_rate, layer=BottleneckLayer):
        super().__init__(depth, in_channels, growth_rate, layer)

    def forward(self, x):
        maps = [x]
        for layer in self.layers:
            inner = recompute(squeeze, layer, *maps, use_reentrant=False)
            maps.append(layer.grow(inner))
        return torch.cat(maps, dim=1)


# %% tags=["active-ipynb"]
# def kept_and_gradient(kind, depth, x):
#     """MiB kept for the backward pass, and all gradients in one row."""
#     torch.manual_seed(SEED)
#     block = kind(depth, x.shape[1], 12, BottleneckLayer)
#     kept = saved_for_backward(block, x) / 2**20
#     block(x).square().mean().backward()
#     return kept, torch.cat([weight.grad.flatten() for weight in block.parameters()])
#
#
# x, depths = torch.randn(4, 24, 16, 16), [6, 12, 24, 48]
# naive = [kept_and_gradient(DenseBlock, depth, x) for depth in depths]
# frugal = [kept_and_gradient(FrugalBlock, depth, x) for depth in depths]

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# equal = [torch.allclose(one[1], other[1], rtol=1e-3, atol=1e-7)
#          for one, other in zip(naive, frugal)]
# claim("both blocks give the same gradients", all(equal), "ours")
# kept, less = ([one[0] for one in found] for found in (naive, frugal))
# claim("from 24 layers to 48 the stored bytes grow over 3 times, "
#       "with recomputation less than 2.1 times",
#       kept[3] > 3 * kept[2] and less[3] < 2.1 * less[2], "ours; Pleiss et al. 2017")
# figures.memory(depths, kept, less)

# %% [markdown] tags=["speaker"]
# The price is time: the forward part is computed twice.
# How much is it here?

# %% tags=["active-ipynb"]
# pair = [kind(24, 24, 12, BottleneckLayer) for kind in (DenseBlock, FrugalBlock)]
# plain, twice = seconds_of_steps(pair, x)

# %% tags=["active-ipynb", "nbval-ignore-output"]
# print(f"recomputation takes {twice / plain - 1:.0%} more time, for 24 layers here")

# %% [markdown]
# And there is a trap: what runs twice updates its batch-norm statistics twice.

# %% tags=["active-ipynb"]
# seen = [int(block.layers[0].norm1.num_batches_tracked) for block in pair]
# claim("the batch norms that are recomputed count every batch twice",
#       seen[1] == 2 * seen[0], "ours")

# %% [markdown]
# Their running averages move faster, by 19% of the way instead of 10% at each step.
# In training mode nothing else changes; an implementation that means to be exact has to
# switch the second update off.

# %% [markdown] tags=["slide"]
# ## 7. What people get wrong
#
# ### "It saves parameters, and so it computes faster"
#
# Section 4 compared three networks of equal parameters *and* multiply-adds: the dense one took longest.
# Copying, the subject of section 6, is not free.

# %% [markdown] tags=["slide"]
# ### "Concatenation is why it needs fewer parameters than a ResNet"
#
# A common reading of Figure 4.
# But a DenseNet differs from a ResNet in more: it applies batch norm and ReLU *before* the convolution, joins after every layer, and has transitions and no doubling of the channels.

# %% [markdown] tags=["on-slide"]
# Here are the ten layers of section 4, which add, against a ResNet of 8 layers with over half as many parameters again (and a third fewer multiply-adds), two seeds each:

# %% tags=["active-ipynb"]
# def short_sum():
#     return on_digits(SumBlock(2, 10), SumBlock(2, 11), SumBlock(2, 11))
#
#
# def resnet8():
#     return resnet.cifar_net(8, resnet.BasicBlock, in_channels=1, width=6)
#
#
# found = {}
# for make in (short_sum, resnet8):
#     models = [trained(make, 0.1, SEED + number, 10)[0] for number in range(2)]
#     found[make] = np.mean([train.error(model, test_set) for model in models])

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# claim(
#     "without concatenation the skeleton needs under two thirds of the ResNet's "
#     "parameters for no more errors (to 0.3 points)",
#     parameters(short_sum()) < parameters(resnet8()) * 2 / 3
#     and found[short_sum] < found[resnet8] + 0.3, "ours",
# )

# %% [markdown] tags=["on-slide"]
# So, at least here, the saving comes from the skeleton.

# %% [markdown]
# ### "Every layer is connected to every other one"
#
# Inside a block, yes: $n(n+1)/2$ connections for $n$ layers (§1).
# Between blocks there is one road, the transition.

# %% tags=["active-ipynb"]
# def connections(n):
#     return n * (n + 1) // 2
#
#
# blocks = [6, 12, 24, 16]    # of DenseNet-121
# print("inside the blocks:", sum(map(connections, blocks)),
#       "; of all these layers with all:", connections(sum(blocks)))

# %% [markdown]
# ### "Its bottleneck is ResNet's"
#
# ResNet squeezes 256 channels to 64 and restores them to 256.
# DenseNet's `BottleneckLayer(256, 32)` squeezes them to 128 and makes 32.
# Nothing widens it again: the old channels are still there.
#
# ### "5.92% or 4.51%: which is right?"
#
# Both, of the same architecture (Table 2, DenseNet-BC, $L = 100$, $k = 12$).
# C10 is CIFAR-10 as it is, and there the authors use dropout; for C10+ images are
# shifted and mirrored at random, and there they do not (§4.2).
# Two things differ between the columns, so do not compare across them.
#
# ## 8. Your turn
#
# Replace the line that raises and run the cell: its last line checks your answer.
# The solutions are folded below; try first.
#
# ### Exercise 1: how many channels?
#
# How many channels has a DenseNet before its classifier?
# You get the channels of the stem, the growth rate, the layers of each block, and θ.
# Between two blocks a transition keeps ⌊θm⌋ of m.

# %% tags=["active-ipynb"]
# def final_channels(stem, growth_rate, depths, compression):
#     raise NotImplementedError
#
#
# check(final_channels, checks.final_channels)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# ```python
# def final_channels(stem, growth_rate, depths, compression):
#     channels = stem
#     for number, depth in enumerate(depths):
#         if number > 0:    # a transition between two blocks, none after the last
#             channels = int(compression * channels)
#         channels += depth * growth_rate
#     return channels
# ```
# </details>
#
# ### Exercise 2: the same layer without concatenation
#
# A convolution of concatenated maps is a sum of convolutions, one for each map with its
# own slice of the kernel.
# And batch norm treats every channel by itself.
# So write what a `DenseLayer` in eval mode computes from a *list* of maps, and never
# concatenate them.

# %% tags=["active-ipynb"]
# def without_concatenation(layer, maps):
#     """layer: a DenseLayer in eval mode; maps: a list of (batch, channels, h, w)."""
#     raise NotImplementedError
#
#
# check(without_concatenation, checks.without_concatenation)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# ```python
# def without_concatenation(layer, maps):
#     norm, total, start = layer.norm, 0, 0
#     for x in maps:
#         own = slice(start, start + x.shape[1])    # the channels of this map
#         x = F.batch_norm(
#             x, norm.running_mean[own], norm.running_var[own],
#             norm.weight[own], norm.bias[own], eps=norm.eps,
#         )
#         total = total + F.conv2d(F.relu(x), layer.conv.weight[:, own], padding=1)
#         start = own.stop
#     return total    # (batch, growth_rate, height, width)
# ```
# </details>
#
# ### Exercise 3: a layer that forgets
#
# Does a layer of a trained network need a certain source?
# Silence that source for that layer, without touching the others: set the slice of its
# kernel to zero, in place.

# %% tags=["active-ipynb"]
# def silence(block, reader, source):
#     """Layer `reader` (1 is the first) of a DenseBlock no longer hears `source`.
#
#     source: 0 is the block's input, 1 its first layer, and so on.
#     """
#     raise NotImplementedError
#
#
# check(silence, checks.silence)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# ```python
# def silence(block, reader, source):
#     kernel = block.layers[reader - 1].conv.weight
#     growth_rate = kernel.shape[0]
#     start = 0 if source == 0 else block.in_channels + growth_rate * (source - 1)
#     stop = block.in_channels + growth_rate * source
#     with torch.no_grad():
#         kernel[:, start:stop] = 0
# ```
#
# Try it on a copy of `strong`, for all pairs, and compare the errors with the heat map:
# a small weight is not always an unimportant one.
# </details>
#
# ## 9. Is it the paper's model?
#
# The paper prints parameters for its CIFAR networks (Table 2) and, in the text, for
# DenseNet-201.
# Ours, of random weights, counted:

# %% tags=["active-ipynb"]
# rows = published.counts()
# claim("all seven parameter counts that the paper prints come out",
#       sum("✓" in row[-1] for row in rows) == 7
#       and not any("✗" in row[-1] for row in rows), "Table 2, §4.4")
# table(["network", "weighted layers", "parameters", "printed, millions", "ours"], rows)

# %% tags=["active-ipynb"]
# images = torch.randn(2, 3, 96, 96)
# claim(
#     "DenseNet-121 and 161 give the logits of another library (MONAI) for its "
#     "weights, to 1e-5 of the largest",
#     max(published.difference_from_monai(name, images)
#         for name in ("densenet121", "densenet161")) <= 1e-5, "ours",
# )

# %% [markdown]
# Three numbers in print do not agree, with each other or with the code.
#
# - *DenseNet-264* has 265 weighted layers by the rule that names its sisters.
# - *The stem* of the networks without BC has 16 channels in the text and $2k$ in the authors' code.
#   Table 2's counts are those of 16.
# - *ResNet-1202* stands in Table 2 with 10.2M parameters; the ResNet paper has 19.4M
#   (its Table 6).
#
# Published weights come by name, and need a network connection:
#
# ```python
# from lessons.published.densenet import from_pretrained
#
# model = from_pretrained("timm/densenet121.tv_in1k")    # or a folder
# logits = model(images)    # (batch, 3, 224, 224), normalised as the publisher says
# ```
#
# At the paper's scale, by its recipe (`lessons/scale/densenet.py`, each figure with its section), on eight GPUs:
#
# ```bash
# torchrun --nproc-per-node=8 -m lessons.scale densenet \
#     --variant densenet121 --data imagenet --out runs/densenet121 --bf16 --workers 8
# ```
#
# Its small form, `--small`, needs no data and no GPU. What it did here:

# %% tags=["active-ipynb"]
# from kit.small_run import small_run
#
# small_run("densenet")

# %% [markdown]
# ## 10. Where we differ, and what does not show
#
# | what | the paper | here |
# |---|---|---|
# | data | CIFAR, SVHN, ImageNet | 2,000 digits of 14×14, tested on 2,000 |
# | networks | 40 to 264 layers, $k$ from 12 to 40 | 10 to 31 layers, $k$ of 1 and 4 |
# | steps | on CIFAR 234,375 | 310 |
# | learning rate | 0.1 | chosen from four, by validation |
# | weight decay | 10⁻⁴ | the same; for Figure 5 also 0.02 |
# | augmentation | shift and mirror, or none and dropout | none, no dropout |
# | transition | ReLU in the code, not in the text | as the code |

# %% [markdown] tags=["slide"]
# What does **not** show here:
#
# - *Depth pays.* Ten layers that add do as well as 31 dense ones.
# - *Bottleneck and compression pay.* Our networks are too small; we only count what they save.
# - *Less computation.* The paper's savings are on ImageNet (§4.4, Figure 3); here a dense step takes longer.
# - *The classifier prefers the last maps* (§5): not reliably.
# - *Figure 5 with the paper's weight decay*: our run is too short to forget its start.

# %% [markdown]
# The claims hold with ten seeds (`make seeds`); the environment variable `LESSON_SEED` sets yours.
#
# ## 11. Recap
#
# Every line was tested when you ran the notebook, those of the study on its stored numbers.

# %% tags=["active-ipynb"]
# recap()

# %% [markdown]
# Further reading:
#
# - Pleiss et al., *Memory-Efficient Implementation of DenseNets*,
#   [arXiv:1707.06990](https://arxiv.org/abs/1707.06990): linear memory, and a DenseNet
#   of 73M parameters.
# - Huang et al., *Deep Networks with Stochastic Depth*,
#   [arXiv:1603.09382](https://arxiv.org/abs/1603.09382): layers of a ResNet can be left
#   out in training, so that layers far apart meet directly.
#   The authors see DenseNet as its relative (§5).
# - The authors' repository: wide and shallow DenseNet-BC, which they recommend in
#   practice.
#
# <nav>
#
# Lesson before: [ResNet](resnet.ipynb) · Next lesson: [ALBERT](albert.ipynb)
#
# </nav>
