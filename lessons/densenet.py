# %% [markdown]
# # DenseNet: what concatenation buys, and what it costs
#
# **Paper:** Huang, Liu, van der Maaten, Weinberger: *Densely Connected Convolutional Networks*, CVPR 2017 ([arXiv:1608.06993](https://arxiv.org/abs/1608.06993))
#
# **You will see:** a ResNet's error for half to two thirds of its parameters, who uses whose features, the price in memory and time
#
# Afterwards you can say what the growth rate is, build every part of a DenseNet, count its channels, parameters and connections,
# and tell nine common sentences about DenseNet from the truth.
#
# **You need** the [ResNet lesson](resnet.ipynb): convolutions, batch normalisation, the shortcut.
# Running all cells takes a bit over a minute on a laptop; reading and playing takes one to two hours.

# %% [markdown]
# What the paper says is marked with its section (§), table or figure; the text is that of arXiv version 5.
# Everything else is ours.
# A line that begins with ✓ was tested on the machine that ran the cell; a claim that does not hold stops the notebook.

# %% tags=["active-ipynb"]
# from importlib.util import find_spec
#
# assert find_spec("kit"), (
#     "this kernel lacks the project: choose .venv, "
#     "or run `pip install -r requirements.txt` in the project's folder"
# )

# %%
from collections import OrderedDict
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint as recompute

from kit import checkpoint, train
from kit.data import minibatches, mnist
from lessons import resnet
from lessons.resnet import conv, he_init

# %% tags=["active-ipynb", "parameters"]
# import time
# from itertools import combinations
#
# import numpy as np
#
# from kit import study
# from kit.claims import claim, recap
# from kit.exercises import check
# from kit.probe import multiply_adds, parameters, saved_for_backward
# from kit.table import as_printed, table
# from kit.view import Curves, Heatmap, Layers, Network, Picture, Predict
# from lessons.checks import densenet as checks
#
# SEED = train.seed()
# torch.set_num_threads(1)  # networks this small run fastest on one core

# %% [markdown]
# ## 1. The problem
#
# A ResNet block reads the map that reaches it and adds something to it.
# What an early layer found can reach a late one only inside that sum, and the authors suspect two losses (§1, §3).
# Information can wash out on its way through many layers.
# And each layer has parameters of its own for things that other layers know already.
#
# If that is so, a ResNet pays for its accuracy with more parameters than it needs.
# How many does it pay?
# Our data are 5,000 handwritten digits of MNIST, shrunk to 14×14 pixels: 2,000 to train on, 3,000 to test with.

# %% tags=["active-ipynb"]
# train_set, test_set = mnist()
# first = [train_set.images[train_set.labels == digit][0, 0] for digit in range(10)]
# Picture.row(first, range(10), caption="One training image of each class.", alt="The handwritten digits 0 to 9, 14×14 pixels.")

# %% [markdown]
# Four ResNets from the last lesson, all of 8 layers, the narrowest with 4 channels in its first stage, the widest with 12.

# %%
CONTEST = {f"ResNet-8, width {width}": partial(resnet.cifar_net, 8, resnet.BasicBlock, in_channels=1, width=width)
           for width in (4, 6, 8, 12)}

# %% [markdown]
# The recipe is the DenseNet paper's (§4.2): Nesterov momentum 0.9, weight decay 10⁻⁴, learning rate 0.1,
# which falls to a tenth at one half and again at three quarters of the steps.
# Ours lasts 10 passes through the data, the paper's 300.

# %%
EPOCHS, BATCH_SIZE = 10, 64


def fit(model, batches, on_step=None, weight_decay=1e-4):
    """Train by the recipe (§4.2); returns the loss of every step."""
    model.to(memory_format=torch.channels_last)    # the same numbers in another order: a third faster here
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=weight_decay)
    drops = [len(batches) // 2, len(batches) * 3 // 4]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, drops)
    return train.fit(model, batches, F.cross_entropy, optimizer, schedule, on_step)


# %%
def compete(name, seed, on_step=None):
    """Train a network of CONTEST and test it: {"test error": percent, "training loss": mean of the last epoch}."""
    train_set, test_set = mnist()
    torch.manual_seed(seed)
    model = CONTEST[name]()
    batches = minibatches(train_set, BATCH_SIZE, EPOCHS, seed=seed + 1000)
    losses = fit(model, batches, on_step)
    return {"test error": train.error(model, test_set), "training loss": losses[-len(batches) // EPOCHS:].mean()}


# %% tags=["active-ipynb"]
# results, STEPS = {}, EPOCHS * (len(train_set.labels) // BATCH_SIZE)
#
#
# def run(names, seeds=(SEED,)):
#     live = Curves.live(x_label="step", y_label="training loss", total=STEPS * len(names) * len(seeds), log=True)
#     for name in names:
#         for seed in seeds:
#             def watch(step, loss, name=f"{name}, seed {seed}", role="control" if "ResNet" in name else "idea"):
#                 live.add(name, step + 1, loss, role=role)
#
#             results[name, seed] = compete(name, seed, watch)
#     live.close()
#
#
# run([name for name in CONTEST if "ResNet" in name])

# %% tags=["active-ipynb"]
# def sizes():
#     with torch.device("meta"):
#         models = {name: make() for name, make in CONTEST.items()}
#         return {"parameters": {name: parameters(model) for name, model in models.items()},
#                 "multiply-adds": {name: multiply_adds(model, 1, 1, 14, 14) for name, model in models.items()}}
#
#
# def price_curve(kind, role, measured, axis="parameters"):
#     names = sorted((name for name in CONTEST if kind in name), key=sizes()[axis].get)
#     return {"name": kind, "x": [sizes()[axis][name] for name in names], "y": [measured[name] for name in names], "role": role}

# %% tags=["active-ipynb"]
# tested = {name: result["test error"] for (name, _), result in results.items()}
# Curves(
#     {"series": [price_curve("ResNet", "control", tested)]}, x_label="parameters", y_label="test error, %",
#     caption="What an error costs a ResNet: widths 4, 6, 8 and 12. Each has about twice the parameters of the one before.",
#     alt="A falling curve: the more parameters, the lower the error, and the flatter.",
# )

# %% [markdown]
# Now commit yourself, before you meet the other network.

# %% tags=["active-ipynb"]
# guess = Predict(
#     "The ResNet of width 8 has 19,074 parameters. How many does a DenseNet need for the same error?",
#     ["About as many", "Between a quarter and three quarters of that", "About a tenth"],
#     name="price",
# )
# guess

# %% [markdown]
# ## 2. The idea
#
# Do not add: *concatenate*.
# Every layer reads all maps that were made before it, and its own are handed to every later layer (Eq. 2 in §3):
#
# $$\mathbf{x}_\ell = H_\ell([\mathbf{x}_0, \mathbf{x}_1, \ldots, \mathbf{x}_{\ell-1}])$$
#
# The square brackets mean: the channels of all these maps, one after the other.
# $H_\ell$ is batch normalisation, ReLU and a 3×3 convolution, in this order (§3).
#
# Each $H_\ell$ makes the same number $k$ of new channels.
# The paper calls $k$ the **growth rate**: it is what each layer adds to what all of them know together (§3).
# A block that starts with $k_0$ channels gives its layer $\ell$ an input of $k_0 + k(\ell - 1)$.

# %% tags=["active-ipynb"]
# def block_drawing(growth_rate, layers):
#     x0 = {"id": "x0", "label": "x₀", "kind": "input", "channels": 8, "size": 32, "shape": "8 channels", "text": "the block's input"}
#     nodes = [x0]
#     for layer in range(1, layers + 1):
#         channels = 8 + growth_rate * (layer - 1)
#         nodes.append({"id": f"H{layer}", "kind": "conv", "channels": channels, "size": 32, "shape": f"{channels} channels",
#                       "text": f"reads 8 + {growth_rate} · {layer - 1} = {channels} channels, makes {growth_rate}"})
#     total = 8 + growth_rate * layers
#     nodes.append({"id": "next", "kind": "pool", "channels": total, "size": 32, "shape": f"{total} channels",
#                   "text": f"what follows the block reads all {total} channels"})
#     arcs = [[a["id"], b["id"], "concat"] for a, b in combinations(nodes, 2)]
#     return {"nodes": nodes, "shortcuts": arcs,
#             "note": f"layers: {layers}; connections: {layers * (layers + 1) // 2} into them, {layers + 1} to what follows"}

# %% tags=["active-ipynb"]
# block_figure = Network(
#     block_drawing, picked="next",
#     controls={"growth rate": [2, 4, 8], "layers": [1, 2, 3, 4, 5, 6]}, start={"growth rate": 4, "layers": 5},
#     caption="A dense block (after Figure 1). A box is as wide as what it reads. Pick a layer to see its inputs.",
#     alt="The input, the layers in a row and what follows; an arc from each of them to each later one.",
# )
# block_figure.widget(controls={"growth rate": range(1, 17), "layers": range(1, 9)})

# %% [markdown]
# In code: the layer first.

# %%
class DenseLayer(nn.Module):
    """Batch norm, ReLU, 3×3 convolution: `growth_rate` new channels out of all that were made before (§3).

    `(batch, in_channels, height, width)` to `(batch, growth_rate, height, width)`.
    """

    convolutions = 1

    def __init__(self, in_channels, growth_rate, norm=nn.BatchNorm2d):
        super().__init__()
        self.norm = norm(in_channels)
        self.conv = conv(in_channels, growth_rate, 3)

    def forward(self, x):                        # (batch, in_channels, height, width)
        return self.conv(F.relu(self.norm(x)))   # (batch, growth_rate, height, width)


# %% [markdown]
# Three of them by hand, exactly as the equation says: keep a list, and concatenate all of it for each layer.

# %% tags=["active-ipynb"]
# torch.manual_seed(SEED)
# k0, k = 8, 4
# layers = [DenseLayer(k0 + k * number, k) for number in range(3)]
# x0 = torch.randn(2, k0, 14, 14)
# maps = [x0]
# for layer in layers:
#     maps.append(layer(torch.cat(maps, dim=1)))      # x_l = H_l([x_0, …, x_{l-1}])
# print("channels of each map:", [one.shape[1] for one in maps])
# print("channels after the block:", torch.cat(maps, dim=1).shape[1])

# %% [markdown]
# The list can go: $[\mathbf{x}_0, \ldots, \mathbf{x}_\ell]$ is $[\mathbf{x}_0, \ldots, \mathbf{x}_{\ell-1}]$ with one more map behind it.

# %%
class DenseBlock(nn.Module):
    """`depth` layers, each joined to all later ones: `(batch, c, h, w)` to `(batch, c + depth · growth_rate, h, w)` (§3).

    layer: called as `layer(in_channels, growth_rate)`.
    """

    def __init__(self, depth, in_channels, growth_rate, layer=DenseLayer):
        super().__init__()
        inputs = [in_channels + growth_rate * number for number in range(depth)]
        self.layers = nn.ModuleList(layer(channels, growth_rate) for channels in inputs)

    def forward(self, x):                            # (batch, in_channels, height, width)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)      # growth_rate channels more
        return x


# %% tags=["active-ipynb"]
# block = DenseBlock(3, k0, k)
# for layer, by_hand in zip(block.layers, layers):
#     layer.load_state_dict(by_hand.state_dict())
# claim("the block computes what the equation says", torch.equal(block(x0), torch.cat(maps, dim=1)), "§3, Eq. 2")

# %% [markdown]
# Maps of different size cannot be concatenated.
# So a network is a few dense blocks, and between them a *transition* mixes the channels and halves the map (§3).
# (The text names batch norm, a 1×1 convolution and average pooling; the authors' code has a ReLU after the batch norm, and so do we.)

# %%
class Transition(nn.Module):
    """Batch norm, ReLU, 1×1 convolution, 2×2 average pooling: `(batch, c, h, w)` to `(batch, out_channels, h/2, w/2)` (§3)."""

    def __init__(self, in_channels, out_channels, norm=nn.BatchNorm2d):
        super().__init__()
        self.norm = norm(in_channels)
        self.conv = conv(in_channels, out_channels, 1)

    def forward(self, x):                        # (batch, in_channels, height, width)
        x = self.conv(F.relu(self.norm(x)))      # (batch, out_channels, height, width)
        return F.avg_pool2d(x, 2)                # (batch, out_channels, height/2, width/2)


# %% [markdown]
# Blocks and transitions in turn, then batch norm, ReLU, an average over the map and a linear layer.
# (`compression`, the share θ of the channels that a transition lets through, stays 1 until section 3.)

# %%
class DenseNet(nn.Module):
    """Images `(batch, in_channels, height, width)` to logits `(batch, num_classes)` (§3).

    stem: a Sequential that begins with a convolution. depths: the number of layers in each block.
    layer: called as `layer(in_channels, growth_rate)`. compression: θ, in (0, 1].
    """

    def __init__(self, stem, depths, growth_rate, layer, compression, num_classes, norm=nn.BatchNorm2d):
        super().__init__()
        if not 0 < compression <= 1 or growth_rate < 1:
            raise ValueError(f"compression should be above 0 and at most 1, the growth rate at least 1, not {compression}, {growth_rate}")
        parts, channels = OrderedDict(stem=stem), stem[0].out_channels
        for number, depth in enumerate(depths, 1):
            if number > 1:
                kept = max(1, int(compression * channels))
                parts[f"transition{number - 1}"], channels = Transition(channels, kept, norm), kept
            parts[f"block{number}"] = DenseBlock(depth, channels, growth_rate, layer)
            channels += depth * growth_rate
        parts["norm"] = nn.Sequential(norm(channels), nn.ReLU())
        self.features = nn.Sequential(parts)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(channels, num_classes)
        self.apply(he_init)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):            # (batch, in_channels, height, width)
        x = self.features(x)         # (batch, channels, height', width')
        return self.fc(self.pool(x)) # (batch, num_classes)


# %% [markdown]
# The network for small images (§3): a 3×3 convolution, three blocks of equal depth, a linear layer.
# The stem, two transitions and the linear layer make four layers, so blocks of n layers give a depth of L = 3n + 4.
# (Section 3 has layers of two convolutions; they count double.)

# %%
def cifar_net(depth, growth_rate, layer=DenseLayer, compression=1.0, stem_width=16,
              in_channels=3, num_classes=10, norm=nn.BatchNorm2d):
    """The network for small images: three blocks, `depth` weighted layers in all (§3, "Implementation details").

    Raises ValueError for a depth that three equal blocks cannot have.
    """
    unit = 3 * layer.convolutions
    if depth <= 4 or (depth - 4) % unit:
        raise ValueError(f"the depth should be {unit}n+4 with n ≥ 1 ({unit + 4}, {2 * unit + 4}, …), not {depth}")
    stem = nn.Sequential(conv(in_channels, stem_width, 3))
    depths = [(depth - 4) // unit] * 3
    return DenseNet(stem, depths, growth_rate, partial(layer, norm=norm), compression, num_classes, norm)


# %% tags=["active-ipynb"]
# net = cifar_net(40, 12)
# layers = [module for module in net.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
# print("layers with weights:", len(layers))
# print("logits:", tuple(net(torch.randn(2, 3, 32, 32)).shape))

# %% [markdown]
# Three small DenseNets enter the contest: same data, same batches, same recipe.
# Two more seeds of the two smallest networks run as well, because one run of each proves nothing:
# with 3,000 test images, a percentage $p$ is uncertain by $\\sqrt{p(100-p)/3000}$, here 0.4 points.

# %%
CONTEST |= {f"DenseNet-{depth}, k = {growth_rate}": partial(cifar_net, depth, growth_rate, stem_width=8, in_channels=1)
            for depth, growth_rate in ((10, 4), (13, 4), (10, 8))}
STUDY, STUDY_SEEDS = {name: partial(compete, name) for name in CONTEST}, range(10)  # for `make study-densenet`

# %% tags=["active-ipynb"]
# run([name for name in CONTEST if "DenseNet" in name])
# small, opponent = "DenseNet-10, k = 4", "ResNet-8, width 4"
# run([small, opponent], seeds=(SEED + 1, SEED + 2))

# %% tags=["active-ipynb"]
# tested = {name: result["test error"] for (name, seed), result in results.items() if seed == SEED}
# cost = sizes()
#
#
# def contest_curves(axis):
#     return {"series": [price_curve("ResNet", "control", tested, axis), price_curve("DenseNet", "idea", tested, axis)],
#             "x_label": axis}
#
#
# Curves(
#     contest_curves, controls={"axis": ["parameters", "multiply-adds"]}, also=[{"axis": "multiply-adds"}],
#     x_label="parameters", y_label="test error, %",
#     caption="One run of each network. Which line lies lower? Ask again with multiply-adds on the axis.",
#     alt="Two falling curves; against parameters DenseNet's lies lower, against multiply-adds they are close to each other.",
# )

# %% [markdown]
# One run each: look, and do not conclude yet.
# `make study-densenet` ran all seven networks with ten seeds and stored what came out, with date and versions.

# %% tags=["active-ipynb"]
# stored = study.read("densenet")
# means = {name: np.mean([run["test error"] for run in runs]) for name, runs in stored.items()}
# spreads = {name: np.std([run["test error"] for run in runs], ddof=1) for name, runs in stored.items()}
# table(["network", "parameters", "multiply-adds", "test error, ten seeds"],
#       [[name, f"{cost['parameters'][name]:,}", f"{cost['multiply-adds'][name]:,}", f"{means[name]:.2f} ± {spreads[name]:.2f}%"]
#        for name in sorted(stored, key=cost["parameters"].get)])

# %% tags=["active-ipynb"]
# def size_for(error, kind, axis):
#     """The size at which the line through a kind's mean errors (sizes on a logarithmic scale) reaches this error."""
#     names = sorted((name for name in means if kind in name), key=means.get)
#     return np.exp(np.interp(error, [means[name] for name in names], [np.log(cost[axis][name]) for name in names]))
#
#
# dense = [name for name in means if "DenseNet" in name]
# advantage = {axis: [size_for(means[name], "ResNet", axis) / cost[axis][name] for name in dense] for axis in cost}
# table(["network", "a ResNet with its error has … times its parameters", "… times its multiply-adds"],
#       [[name, *(f"{ratio:.1f}" for ratio in ratios)] for name, *ratios in zip(dense, *advantage.values())])

# %% tags=["active-ipynb"]
# def mean_error(name):
#     return np.mean([result["test error"] for (one, _), result in results.items() if one == name])
#
#
# claim("in this run, over three seeds, DenseNet-10 with k = 4 makes fewer errors than the ResNet-8 of width 4",
#       mean_error(small) < mean_error(opponent), "ours")
# claim("in the stored study each DenseNet's error costs a ResNet at least 1.3 times its parameters",
#       min(advantage["parameters"]) > 1.3, "ours; the effect: §4.4, Figure 4")
# claim("the smallest DenseNet saves no multiply-adds", advantage["multiply-adds"][0] < 1.15, "ours")
# wide = "ResNet-8, width 8"
# share = size_for(means[wide], "DenseNet", "parameters") / cost["parameters"][wide]
# guess.reveal(0 if share > 0.75 else 1 if share > 0.25 else 2, f"By the means over ten seeds, {share:.0%} of the ResNet's parameters.")

# %% [markdown]
# Half to two thirds of the parameters: read it just so.
# The arithmetic shrinks less, for the smallest network not at all; and time is another matter, see section 7.
# The paper finds that DenseNet-BC needs a third of the parameters of pre-activation ResNets,
# for much larger networks on CIFAR-10 (§4.4, Figure 4, middle).
# Its savings in computation are a result on ImageNet (§4.4, Figure 3, right).
# And one thing more, in fairness: of two networks with about the same test error, the ResNet has the *lower training loss*.

# %% tags=["active-ipynb"]
# training = {name: np.mean([run["training loss"] for run in runs]) for name, runs in stored.items()}
# rivals = ["DenseNet-13, k = 4", "ResNet-8, width 8"]
# claim("in the study their test errors differ by less than 0.4 points, and the ResNet's training loss is less than half as large",
#       abs(means[rivals[0]] - means[rivals[1]]) < 0.4 and training[rivals[1]] < training[rivals[0]] / 2, "ours; compare §4.4, Figure 4")

# %% [markdown]
# The paper shows such a pair, too: a DenseNet-BC of 0.8M parameters and a pre-activation ResNet of 10.2M (Figure 4, right).
#
# ## 3. Build the rest
#
# ### The bottleneck
#
# Late layers of a block read hundreds of channels, and a 3×3 kernel over all of them is dear.
# DenseNet-**B** first squeezes them to $4k$ channels by a 1×1 convolution (§3).
# Unlike ResNet's bottleneck it does not restore them: $k$ channels come out, as always.

# %%
class BottleneckLayer(nn.Module):
    """Batch norm, ReLU, 1×1 convolution to 4 `growth_rate` channels; then as a DenseLayer, with its shapes (§3)."""

    convolutions = 2

    def __init__(self, in_channels, growth_rate, norm=nn.BatchNorm2d):
        super().__init__()
        inner = 4 * growth_rate
        self.norm1, self.conv1 = norm(in_channels), conv(in_channels, inner, 1)
        self.norm2, self.conv2 = norm(inner), conv(inner, growth_rate, 3)

    def squeeze(self, x):                              # (batch, in_channels, height, width)
        return self.conv1(F.relu(self.norm1(x)))       # (batch, 4 growth_rate, height, width)

    def forward(self, x):
        x = self.squeeze(x)
        return self.conv2(F.relu(self.norm2(x)))       # (batch, growth_rate, height, width)


# %% [markdown]
# ### Compression
#
# DenseNet-**C** lets a transition pass on only ⌊θm⌋ of its m channels; the paper takes θ = 0.5 (§3).
# Both together are DenseNet-BC. What does each of them save?

# %% tags=["active-ipynb"]
# versions = {"basic": {}, "C": dict(compression=0.5), "B": dict(layer=BottleneckLayer),
#             "BC": dict(layer=BottleneckLayer, compression=0.5, stem_width=24)}
# with torch.device("meta"):
#     ablation = {name: parameters(cifar_net(40, 12, **change)) for name, change in versions.items()}
# table(["40 layers, k = 12", "parameters"], [[name, f"{count:,}"] for name, count in ablation.items()])

# %% [markdown]
# At equal depth, that is: of 40 layers a bottleneck spends two on each step, so B has half as many steps as the basic net.
#
# ### The ImageNet network
#
# The stem is ResNet's, with $2k$ channels, and there are four blocks of different depths (Table 1).

# %%
def imagenet_net(depths, growth_rate=32, in_channels=3, num_classes=1000):
    """DenseNet-BC for large images: a 7×7 stem with pooling, `depths` bottleneck layers in each block, θ = 0.5 (Table 1)."""
    width = 2 * growth_rate
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    stem = nn.Sequential(conv(in_channels, width, 7, 2), nn.BatchNorm2d(width), nn.ReLU(), pool)
    return DenseNet(stem, depths, growth_rate, BottleneckLayer, 0.5, num_classes)


# %%
def bc(depth, growth_rate):
    """DenseNet-BC for small images: its stem has 2 `growth_rate` channels (§3)."""
    return partial(cifar_net, depth=depth, growth_rate=growth_rate, layer=BottleneckLayer, compression=0.5, stem_width=2 * growth_rate)


VARIANTS = {
    "densenet40_k12": partial(cifar_net, depth=40, growth_rate=12),
    "densenet100_k12": partial(cifar_net, depth=100, growth_rate=12),
    "densenet100_k24": partial(cifar_net, depth=100, growth_rate=24),
    "densenet_bc100_k12": bc(100, 12),
    "densenet_bc250_k24": bc(250, 24),
    "densenet_bc190_k40": bc(190, 40),
    "densenet121": partial(imagenet_net, depths=(6, 12, 24, 16)),
    "densenet169": partial(imagenet_net, depths=(6, 12, 32, 32)),
    "densenet201": partial(imagenet_net, depths=(6, 12, 48, 32)),
    "densenet161": partial(imagenet_net, depths=(6, 12, 36, 24), growth_rate=48),
    "densenet264": partial(imagenet_net, depths=(6, 12, 64, 48)),
}


# %%
def build(name, **changes):
    """The paper's configuration `name` with random weights; `changes` go to `cifar_net` or `imagenet_net`.

    Raises ValueError for an unknown name. Under `torch.device("meta")` it takes no memory.
    """
    if name not in VARIANTS:
        raise ValueError(f"there is no variant {name!r}; there are {', '.join(VARIANTS)}")
    return VARIANTS[name](**changes)


# %% [markdown]
# ### The growth-rate explorer
#
# Turn the knobs of a whole network of depth L, or choose one of the paper's.
# The numbers come from plain arithmetic, one layer at a time; section 4 compares them with what torch counts.
# (The stem follows the paper: 16 channels, 2k for BC and for ImageNet.)

# %%
def inputs_of(growth_rate, depths, compression, stem_width):
    """What each layer of each block reads: a list of lists of channels; and the channels after the last block."""
    channels, blocks = stem_width, []
    for depth in depths:
        blocks.append([channels + growth_rate * number for number in range(depth)])
        end = channels + growth_rate * depth
        channels = max(1, int(compression * end))
    return blocks, end


# %%
def arithmetic(growth_rate, depths, compression=1.0, bottleneck=False):
    """Parameters and multiply-adds of a network: three blocks at 32×32 and ten classes, or four at 224×224 and a thousand."""
    k, large = growth_rate, len(depths) == 4
    stem = 2 * k if large or (bottleneck and compression < 1) else 16
    blocks, end = inputs_of(k, depths, compression, stem)
    size, kernel = (56, 7) if large else (32, 3)
    weights = kernel**2 * 3 * stem
    norms, macs = (stem if large else 0), weights * (112 if large else 32) ** 2
    for number, block in enumerate(blocks):
        if number > 0:                      # the transition before this block: its 1×1 convolution, then its pooling
            wide = blocks[number - 1][-1] + k
            weights, norms, macs = weights + wide * block[0], norms + wide, macs + wide * block[0] * size**2
            size //= 2
        for channels in block:
            here = channels * 4 * k + 4 * k * k * 9 if bottleneck else channels * k * 9
            weights, norms, macs = weights + here, norms + channels + (4 * k if bottleneck else 0), macs + here * size**2
    head = end * (1000 if large else 10)
    return weights + 2 * (norms + end) + head + (1000 if large else 10), macs + head


# %% tags=["active-ipynb"]
# def explore(growth_rate, layers, compression, bottleneck):
#     stem = 2 * growth_rate if len(layers) == 4 or (bottleneck and compression < 1) else 16
#     blocks, _ = inputs_of(growth_rate, layers, compression, stem)
#     count, macs = arithmetic(growth_rate, layers, compression, bottleneck)
#     depth = sum(layers) * (2 if bottleneck else 1) + len(layers) + 1
#     joined = sum(n * (n + 1) // 2 for n in layers)
#     return {"series": [{"name": "the block's own input", "values": [c[0] for c in blocks for _ in c], "role": "control"},
#                        {"name": "earlier layers of the block", "values": [n - c[0] for c in blocks for n in c], "role": "idea"}],
#             "note": f"{depth} layers · {joined:,} connections · {count:,} parameters · {macs / 1e6:,.0f} million multiply-adds"}

# %% tags=["active-ipynb"]
# SMALL = [(n,) * 3 for n in (4, 6, 12, 16, 31, 32, 41)]
# LARGE = [VARIANTS[f"densenet{n}"].keywords["depths"] for n in (121, 169, 201, 161, 264)]
# rows = {"DenseNet, L = 40, k = 12": (12, (12,) * 3, 1.0, False), "DenseNet, L = 100, k = 12": (12, (32,) * 3, 1.0, False),
#         "DenseNet, L = 100, k = 24": (24, (32,) * 3, 1.0, False), "DenseNet-BC, L = 100, k = 12": (12, (16,) * 3, 0.5, True),
#         "DenseNet-BC, L = 250, k = 24": (24, (41,) * 3, 0.5, True), "DenseNet-BC, L = 190, k = 40": (40, (31,) * 3, 0.5, True)}
# rows |= {f"DenseNet-{n}": (48 if n == 161 else 32, blocks, 0.5, True) for n, blocks in zip((121, 169, 201, 161, 264), LARGE)}
# knobs = {"growth rate": [4, 8, 12, 24, 32, 40, 48], "layers": SMALL + LARGE, "compression": [0.5, 0.75, 1.0], "bottleneck": [True, False]}
# presets = {name: dict(zip(knobs, row)) for name, row in rows.items()}
# explorer = Layers(
#     explore, controls=knobs, presets=presets, start=presets["DenseNet, L = 40, k = 12"],
#     kind="stacked", y_range="frame", x_label="layer, from input to output", y_label="channels it reads",
#     caption="A bar is a layer, as high as the channels that it reads. Three blocks: CIFAR, 32×32; four: ImageNet, 224×224.",
#     alt="A saw-tooth of bars: within each block every bar is higher than the one before.",
# )
# explorer.widget(controls={"growth rate": range(2, 65, 2), "compression": [0.1, 0.25, 0.5, 0.75, 1.0]})

# %% [markdown]
# Three things to try, and to explain to yourself:
#
# - From `DenseNet, L = 40, k = 12` take only the growth rate up, to 24: how do the parameters grow?
# - Switch compression between 1 and 0.5: from the second block on the bars become lower.
# - At `DenseNet-BC, L = 100, k = 12` switch the bottleneck off: half as many layers, and yet more parameters.

# %% tags=["active-ipynb"]
# growth = arithmetic(24, (12,) * 3)[0] / arithmetic(12, (12,) * 3)[0]
# without = arithmetic(12, (16,) * 3, 0.5, bottleneck=False)[0] / arithmetic(12, (16,) * 3, 0.5, bottleneck=True)[0]
# print(f"twice the growth rate: {growth:.1f} times the parameters; without the bottleneck: {without:.1f} times")

# %% [markdown]
# ## 4. Is it the paper's model?
#
# ### Table 2: parameters

# %% tags=["active-ipynb"]
# paper = {"densenet40_k12": "1.0", "densenet100_k12": "7.0", "densenet100_k24": "27.2",
#          "densenet_bc100_k12": "0.8", "densenet_bc250_k24": "15.3", "densenet_bc190_k40": "25.6"}
# with torch.device("meta"):
#     nets = {name: build(name) for name in VARIANTS}
# counts = {name: parameters(net) for name, net in nets.items()}
# claim("all six parameter counts of Table 2 come out", all("✓" in as_printed(counts[n], 1e6, paper[n]) for n in paper), "Table 2")
# table(["network", "Table 2, in millions", "computed", "rounded"],
#       [[name, printed, f"{counts[name]:,}", as_printed(counts[name], 1e6, printed)] for name, printed in paper.items()])

# %% tags=["active-ipynb"]
# macs = {name: multiply_adds(net, 1, 3, *([32, 32] if "_" in name else [224, 224])) for name, net in nets.items()}
# by_hand = dict(zip(VARIANTS, (arithmetic(*row) for row in rows.values())))
# claim("the explorer's arithmetic agrees with torch in all eleven networks",
#       all(by_hand[name] == (counts[name], macs[name]) for name in VARIANTS), "ours")

# %% [markdown]
# Now for what does *not* agree: three numbers in print.
#
# **The stem.** Section 3 of the paper gives the basic networks a stem of 16 channels; the authors' code gives every network $2k$.
# Which of the two is in Table 2?

# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     stems = {name: [parameters(build(name, stem_width=width)) for width in (16, 24 if "k12" in name else 48)] for name in list(paper)[:3]}
# claim("Table 2 is the paper's stem of 16 channels; with 2k none of the basic rows comes out",
#       all("✓" in as_printed(a, 1e6, paper[n]) and "✗" in as_printed(b, 1e6, paper[n]) for n, (a, b) in stems.items()), "Table 2")
# table(["network", "Table 2, in millions", "stem of 16", "stem of 2k"],
#       [[name, paper[name], *(as_printed(count, 1e6, paper[name]) for count in both)] for name, both in stems.items()])

# %% [markdown]
# **The name.** A DenseNet is named after its layers: the stem, two in each layer of a block, one in each transition, the classifier.
# Count them.

# %% tags=["active-ipynb"]
# def weighted_layers(model):
#     return sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in model.modules())
#
#
# layer_counts = {name: weighted_layers(nets[name]) for name in VARIANTS if "_" not in name}
# claim("DenseNet-121, 161, 169 and 201 have as many layers as they say; DenseNet-264 has 265",
#       all(count == (265 if name == "densenet264" else int(name[-3:])) for name, count in layer_counts.items()), "ours; Table 1")
# table(["network", "weighted layers", "parameters", "multiply-adds"],
#       [[name, count, f"{counts[name]:,}", f"{macs[name]:,}"] for name, count in layer_counts.items()])

# %% [markdown]
# Table 1 gives 264 the blocks 6, 12, 64, 48, and these make 265.
# (It has no parameter counts; the text says that DenseNet-201 has 20M, which it does.
# DenseNet-161, with $k = 48$, is in an earlier version of the paper and in the authors' code.)
#
# **The opponent.** Table 2 lists a ResNet of 1,202 layers, trained with stochastic depth, with 10.2M parameters.
# The ResNet paper says 19.4M (its Table 6), and so does torch:

# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     resnet1202 = parameters(resnet.build("resnet1202"))
# claim("a ResNet of 1,202 layers has 19.4M parameters, not the 10.2M of DenseNet's Table 2", round(resnet1202 / 1e6, 1) == 19.4,
#       "ResNet Table 6; DenseNet Table 2")

# %% [markdown]
# 10.2M is what the same table gives the pre-activation ResNet of 1,001 layers; perhaps a line slipped. We do not know.
#
# ### Reading published weights
#
# This is plumbing: on a first reading, skip to the comparison.
#
# torchvision and timm name the tensors alike, but for the first published files, which write `norm.1` where later ones write `norm1`.

# %%
TORCHVISION = [
    (r"^features\.conv0\.", "features.stem.0."), (r"^features\.norm0\.", "features.stem.1."),
    (r"^features\.norm5\.", "features.norm.0."), (r"^classifier\.", "fc."),
    (r"^features\.denseblock(\d)\.denselayer(\d+)\.", lambda found: f"features.block{found[1]}.layers.{int(found[2]) - 1}."),
    (r"(norm|conv)\.([12])\.(?=\w+$)", r"\1\2."),
]


# %%
def from_pretrained(folder):
    """The network in a checkpoint folder (`config.json` and `model.safetensors`), in eval mode.

    Reads the layout of torchvision and timm: densenet121, 161, 169 and 201.
    Images `(batch, 3, height, width)` give logits `(batch, classes)`, or the pooled features where the file has no head.
    Raises CheckpointError, a ValueError, naming the file or tensor that is missing, damaged or of another shape.
    """
    config, tensors = checkpoint.read(folder)
    name = checkpoint.architecture(config, [f"densenet{depth}" for depth in (121, 161, 169, 201)])
    num_classes = config.get("num_classes", 1000)
    with checkpoint.describing("DenseNet"):
        model = build(name, num_classes=num_classes or 1)
    if num_classes == 0:
        model.fc = nn.Identity()  # the pooled features, as timm gives them
    return checkpoint.load(model, tensors, TORCHVISION)


# %% [markdown]
# ### The same weights in the reference implementation
#
# The reference is the DenseNet of the MONAI library, with random weights and random batch-norm statistics.
# We write them to a file in torchvision's layout, read the file with `from_pretrained`, and compare the logits.

# %% tags=["active-ipynb"]
# import json
# from pathlib import Path
# from tempfile import TemporaryDirectory
#
# from monai.networks.nets import DenseNet as Reference
# from safetensors.torch import save_file
#
#
# def reference(growth_rate, depths):
#     torch.manual_seed(SEED)
#     sizes = dict(init_features=2 * growth_rate, growth_rate=growth_rate, block_config=depths)
#     model = Reference(spatial_dims=2, in_channels=3, out_channels=10, **sizes).eval()
#     for module in model.modules():
#         if isinstance(module, nn.BatchNorm2d):
#             module.running_mean.normal_(std=0.1)
#             module.running_var.uniform_(0.5, 1.5)
#     return model

# %% tags=["active-ipynb"]
# images, differences = torch.randn(2, 3, 96, 96), []
# for name in ("densenet121", "densenet161"):
#     theirs = reference(48 if "161" in name else 32, VARIANTS[name].keywords["depths"])
#     renamed = {key.replace(".layers.", "."): value for key, value in theirs.state_dict().items()}
#     tensors = {key.replace("class_layers.out", "classifier"): value for key, value in renamed.items()}
#     with TemporaryDirectory() as folder, torch.no_grad():
#         save_file(tensors, f"{folder}/model.safetensors")
#         Path(f"{folder}/config.json").write_text(json.dumps({"architecture": name, "num_classes": 10}))
#         expected = theirs(images)
#         differences.append((from_pretrained(folder)(images) - expected).abs().max() / expected.abs().max())
# claim("DenseNet-121 and 161 give the reference's logits, to 1e-5 of the largest", max(differences) <= 1e-5, "MONAI")

# %% [markdown]
# The networks for small images are compared with a second library in `tests/test_densenet.py`.
#
# ## 5. Train it
#
# Now a network for looking inside: 22 layers, that is three blocks of six, with $k = 4$.
# We train it twice.
#
# The reason is weight decay.
# It shrinks every weight a little at each step, so the random start fades, unless the data keep a weight up.
# With learning rate $\eta$ and momentum 0.9 the start is multiplied, step by step, by about $1 - 10\,\eta\lambda$.
# How much of it is left at the end?

# %% tags=["active-ipynb"]
# def what_is_left(steps, weight_decay):
#     """The share of the first weights that the recipe leaves, if the data say nothing."""
#     rate = 0.1 * steps / 2 + 0.01 * steps / 4 + 0.001 * steps / 4
#     return np.exp(-10 * rate * weight_decay)
#
#
# plans = [("the paper's, on CIFAR", 300 * 50_000 // 64, 1e-4), ("ours, same weight decay", STEPS, 1e-4),
#          ("ours, 200 times that", STEPS, 0.02)]
# table(["run", "steps", "weight decay", "left of the start"],
#       [[name, f"{steps:,}", weight_decay, f"{what_is_left(steps, weight_decay):.3%}"] for name, steps, weight_decay in plans])

# %% [markdown]
# In 310 steps the paper's weight decay does nothing at all: our network would keep nearly all of its random start.
# So the second run has 200 times as much.

# %% tags=["active-ipynb"]
# SNAPSHOTS = [0, 10, 30, 60, 100, 155, 200, 250]
# DECAYS = {"weight decay 0.0001": 1e-4, "weight decay 0.02": 0.02}
# trained, history, losses = {}, {}, {}
# batches = minibatches(train_set, BATCH_SIZE, EPOCHS, seed=SEED + 1000)
# live = Curves.live(x_label="step", y_label="training loss", total=2 * STEPS, log=True)
# for name, weight_decay in DECAYS.items():
#     torch.manual_seed(SEED)
#     model, states = cifar_net(22, 4, stem_width=8, in_channels=1), {}
#
#     def watch(step, loss, name=name, model=model, states=states):
#         live.add(name, step + 1, loss, role="idea")
#         if step in SNAPSHOTS:
#             states[step] = {key: value.clone() for key, value in model.state_dict().items()}
#
#     losses[name] = fit(model, batches, watch, weight_decay)
#     trained[name], history[name] = model, states | {STEPS: model.state_dict()}
# live.close()

# %% tags=["active-ipynb"]
# test_errors = {name: train.error(model, test_set) for name, model in trained.items()}
# claim("both networks read more than 93% of the test digits", max(test_errors.values()) < 7, "ours")
# by_epoch = {name: loss.reshape(EPOCHS, -1).mean(axis=1) for name, loss in losses.items()}
# Curves(
#     {"series": [{"name": name, "x": range(1, EPOCHS + 1), "y": loss, "role": "idea"} for name, loss in by_epoch.items()],
#      "note": "; ".join(f"{name}: test error {error:.1f}%" for name, error in test_errors.items())},
#     x_label="epoch", y_label="training loss", log=True,
#     caption="DenseNet-22, k = 4. Strong weight decay holds the training loss up; the test errors are about equal.",
#     alt="Two falling curves of training loss over ten epochs; the one with strong weight decay ends higher.",
# )

# %% [markdown]
# ## 6. Look inside
#
# ### Who uses whose features?
#
# A layer has one slice of its kernel for each map that it reads.
# The mean absolute weight of that slice says how much the layer makes of the map: this is the paper's Figure 5.
# We divide by the layer's average, so that 1 means "no more and no less than its other inputs".

# %%
@torch.no_grad()
def feature_use(model, number):
    """How much each layer of block `number` uses each source, times its average: `(layers + 1, layers + 1)`, nan for no choice.

    Rows are sources, the first the block's input; columns are readers, the last what follows the block (transition, classifier).
    """
    block = model.features.get_submodule(f"block{number}")
    follower = getattr(model.features, f"transition{number}", None)
    parts = [list(layer.children()) for layer in block.layers]          # norm, conv; with a bottleneck twice
    readers = [*(part[1] for part in parts), model.fc if follower is None else follower.conv]
    growth_rate, first = parts[0][-1].out_channels, readers[0].in_channels
    use = torch.full((len(readers), len(readers)), torch.nan).to(model.fc.weight)
    for column, reader in enumerate(readers):
        weights = reader.weight.abs().flatten(2).mean(2) if reader.weight.ndim > 2 else reader.weight.abs()
        each = weights.mean(0).split([first] + [growth_rate] * column)     # one part for each source
        use[:column + 1, column] = torch.stack([part.mean() for part in each])
    use[:, 0] = torch.nan                                                    # the first layer has no choice
    return use / use.nanmean(0)


# %% tags=["active-ipynb"]
# def at(state):
#     model = cifar_net(22, 4, stem_width=8, in_channels=1)
#     model.load_state_dict(state)
#     return model
#
#
# snapshots = {name: {step: at(state) for step, state in states.items()} for name, states in history.items()}
# untrained, strong, weak = snapshots["weight decay 0.02"][0], trained["weight decay 0.02"], trained["weight decay 0.0001"]
#
#
# def use_panels(block, step):
#     names = ["input", *(f"H{number}" for number in range(1, 7))]
#     panels = [{"title": "untrained", "values": feature_use(untrained, block), "role": "control"}]
#     panels += [{"title": name, "values": feature_use(snapshots[name][step], block), "role": "idea"} for name in DECAYS]
#     return {"panels": panels, "rows": names, "columns": [*names[1:], "next"]}

# %% tags=["active-ipynb"]
# use_guess = Predict(
#     "After training, which source do the layers of the second and third block use least, on average?",
#     ["The block's own input, which the transition made", "The layer just before them", "All about equally"],
#     name="feature use",
# )
# use_guess

# %% tags=["active-ipynb"]
# Heatmap(
#     use_panels, controls={"block": [1, 2, 3], "step": [*SNAPSHOTS, STEPS]}, start={"block": 2, "step": STEPS},
#     x_label="layer that reads", y_label="source", value_label="use, times the layer's average",
#     caption="Who uses whose features (“next” is what follows the block). Watch the top row, the block's input, as the step moves.",
#     alt="Three triangular maps. Untrained and with weak weight decay: even. With strong weight decay: the top row is darkest.",
# )

# %% tags=["active-ipynb"]
# def mean_use(model, block):
#     """The mean use of each source of a block."""
#     return feature_use(model, block).nanmean(1)
#
#
# claim("untrained, the inputs of blocks 2 and 3 are used like every other source, within 10%",
#       all(0.9 < mean_use(untrained, block)[0] < 1.1 for block in (2, 3)), "ours: the control")
# claim("310 steps with the paper's weight decay leave that so", all(0.9 < mean_use(weak, block)[0] < 1.1 for block in (2, 3)), "ours")
# claim("with strong weight decay both blocks use their input less than any other source, on average, and 15% below par",
#       all(mean_use(strong, block).argmin() == 0 and mean_use(strong, block)[0] < 0.85 for block in (2, 3)),
#       "ours; the effect: §5, Figure 5")
# use_guess.reveal(0, "The transition's output is used least. The authors take it as a sign of redundancy, and compress it (§5).")

# %% [markdown]
# What the paper reads off its map, of 40 layers with $k = 12$ (§5), and whether ours shows it:
#
# - *Layers spread their weights over many inputs of their block.* Yes: an unused source would have faded to 4%; the cell below finds none.
# - *Layers of blocks 2 and 3 make least of the transition's output.* Yes, with strong weight decay. That is the reason for compression.
# - *The classifier concentrates on the last maps.* Not reliably: look at the last column of block 3, with several seeds.
#
# Without the control you might have seen a story in the middle panel, too.
# It is the noise of its first weights.

# %% tags=["active-ipynb"]
# smallest = min(feature_use(strong, block).nan_to_num(9).min().item() for block in (1, 2, 3))
# claim("with strong weight decay, too, every layer keeps every source above a fifth of its average", smallest > 0.2, "ours; §5")

# %% [markdown]
# ### The gradient of every layer, before training
#
# The figure of the last lesson, with a third network: what does concatenation do to the gradient?
# The two counting rules never give equal depths, so a DenseNet of 55 layers stands beside 56 of the others.

# %% tags=["active-ipynb"]
# def start_of_three(depth, batch_norm, growth_rate=4):
#     norm, networks = nn.BatchNorm2d if batch_norm else nn.Identity, {}
#     for kind, block, role in (("plain", resnet.PlainBlock, "control"), ("ResNet", resnet.BasicBlock, "control")):
#         torch.manual_seed(SEED)
#         networks[f"{kind}-{depth}"] = resnet.cifar_net(depth, block, in_channels=1, width=8, norm=norm), role
#     torch.manual_seed(SEED)
#     networks[f"DenseNet-{depth - 1}"] = cifar_net(depth - 1, growth_rate, stem_width=8, in_channels=1, norm=norm), "idea"
#     return resnet.gradients_at_start(networks, train_set.images[:64], train_set.labels[:64])

# %% tags=["active-ipynb"]
# three = Layers(
#     start_of_three, controls={"depth": [8, 20, 38, 56], "batch norm": [True, False]}, start={"depth": 56}, y_range="frame",
#     x_label="convolution, from input to output", y_label="gradient norm", log=True,
#     caption="Gradient norms before training, on 64 digits. Compare the slopes. DenseNet's two bumps are its transitions.",
#     alt="Towards the input the gradient grows: plain over a hundredfold, DenseNet some twentyfold, ResNet less.",
# )
# three.widget(controls={"depth": range(8, 57, 6), "growth rate": [2, 4, 8, 12]})

# %% tags=["active-ipynb"]
# def start_of(depth, batch_norm=True):
#     lines = start_of_three(depth, batch_norm)["series"]
#     return {line["name"].split("-")[0]: line["values"] for line in lines}
#
#
# first, bare = start_of(56), start_of(56, batch_norm=False)
# ratio = {kind: values[0] / values[-1] for kind, values in first.items()}
# claim("before training, the first gradient of plain-56 is over 100 times its last; ResNet-56 and DenseNet-55 stay below 40 times",
#       ratio["plain"] > 100 and max(ratio["ResNet"], ratio["DenseNet"]) < 40, "ours")
# claim("without batch norm DenseNet-55, like ResNet-56, starts with gradients above 10 in every layer",
#       min(bare["DenseNet"]) > 10 and min(bare["ResNet"]) > 10, "ours")

# %% [markdown]
# To every layer there is a short way back from the loss, through two or three transitions at most.
# The authors call it implicit deep supervision (§5).
# The long ways through all layers are there as well, and so the gradient grows:
# here more than in ResNet, and far less than without shortcuts.
#
# And concatenation alone keeps nothing in bounds.
# A layer reads hundreds of channels and makes four; weights initialised by what it *makes* (fan-out) are too large for what it *reads*.
# Batch norm sets that right at each layer. Switch it off, and DenseNet's signal explodes with ResNet's.
#
# ### Memory
#
# Concatenation copies: layer 2 stores its inputs, layer 3 stores them again with one more, and so on.
# All of these wait for the backward pass.
# With n layers in a block that is a triangle: memory grows with n².
#
# It need not.
# Keep each map once, and do the part with the large inputs a second time on the way back:
# concatenation, batch norm, ReLU, 1×1 convolution.
# Recomputing is the authors' remedy (Pleiss et al. 2017, [arXiv:1707.06990](https://arxiv.org/abs/1707.06990)); torch does the bookkeeping.

# %%
def squeeze(layer, *maps):
    return layer.squeeze(torch.cat(maps, dim=1))       # (batch, 4 growth_rate, height, width)


class FrugalBlock(DenseBlock):
    """A DenseBlock of BottleneckLayers that keeps every map once: memory linear in `depth` (after Pleiss et al. 2017)."""

    def __init__(self, depth, in_channels, growth_rate, layer=BottleneckLayer):
        super().__init__(depth, in_channels, growth_rate, layer)

    def forward(self, x):
        maps = [x]
        for layer in self.layers:
            inner = recompute(squeeze, layer, *maps, use_reentrant=False)
            maps.append(layer.conv2(F.relu(layer.norm2(inner))))
        return torch.cat(maps, dim=1)


# %% tags=["active-ipynb"]
# def measure(kind, depth, x):
#     torch.manual_seed(SEED)
#     block = kind(depth, x.shape[1], 12, BottleneckLayer)
#     held = saved_for_backward(block, x) / 2**20
#     block(x).square().mean().backward()
#     return held, torch.cat([weight.grad.flatten() for weight in block.parameters()])
#
#
# x, depths = torch.randn(4, 24, 16, 16), [6, 12, 24, 48]
# measured = {kind: [measure(kind, depth, x) for depth in depths] for kind in (DenseBlock, FrugalBlock)}
# memory = {kind: [held for held, _ in runs] for kind, runs in measured.items()}

# %% tags=["active-ipynb"]
# naive, frugal = memory[DenseBlock], memory[FrugalBlock]
# claim("both blocks give the same gradients", all(torch.allclose(a, b, rtol=1e-3, atol=1e-7)
#       for (_, a), (_, b) in zip(measured[DenseBlock], measured[FrugalBlock])), "ours")
# claim("doubling 24 layers to 48 multiplies the stored bytes by over 3; with recomputation by less than 2.1",
#       naive[-1] > 3 * naive[-2] and frugal[-1] < 2.1 * frugal[-2], "ours; Pleiss et al. 2017")
# Curves(
#     {"series": [{"name": "concatenations kept", "x": depths, "y": naive, "role": "control"},
#                 {"name": "recomputed", "x": depths, "y": frugal, "role": "idea"}]},
#     x_label="layers in the block", y_label="kept for the backward pass, MiB",
#     caption="Bytes that torch keeps, counted. One bends upwards like a square, the other is a straight line.",
#     alt="Two curves over 6 to 48 layers: kept concatenations bend up to about 135 MiB, recomputation rises straight to about 20.",
# )

# %% [markdown]
# The price is time, 15 to 20% of it in the authors' implementation.
# And one trap: what is computed twice updates its batch-norm statistics twice.
# Here that only makes the running averages move faster.
#
# ## 7. What people get wrong
#
# ### "It must have more parameters, with all those connections"

# %% tags=["active-ipynb"]
# with torch.device("meta"):
#     resnet50, resnet110 = (parameters(resnet.build(name)) for name in ("resnet50", "resnet110"))
# claim("DenseNet-121 has less than a third of ResNet-50's parameters", counts["densenet121"] < resnet50 / 3, "ours")
# claim("DenseNet-BC-100 with k = 12 has less than half of ResNet-110's", counts["densenet_bc100_k12"] < resnet110 / 2, "ours; Table 2")
# print(f"{counts['densenet121']:,} and {resnet50:,}; {counts['densenet_bc100_k12']:,} and {resnet110:,}")

# %% [markdown]
# Each connection between two 3×3 layers costs $9k^2$ weights, and $k$ is small.
#
# ### "It saves parameters, and so it computes faster"
#
# So the Korean notes from which this course grew sum it up:
# all layers accumulated by concatenation, parameters saved, computation speeded up.
# Parameters yes. Time: let us measure, the two rivals of section 2 with about the same test error, steps of both in turn.

# %% tags=["active-ipynb"]
# def step_seconds(model, images, labels):
#     started = time.process_time()
#     F.cross_entropy(model(images), labels).backward()
#     return time.process_time() - started
#
#
# pair = [CONTEST[name]().to(memory_format=torch.channels_last) for name in rivals]
# batch = train_set.images[:64], train_set.labels[:64]
# seconds = np.array([[step_seconds(model, *batch) for model in pair] for _ in range(25)])[5:]
# slower = np.median(seconds[:, 0] / seconds[:, 1])

# %% tags=["active-ipynb", "nbval-ignore-output"]
# table(["network", "test error, ten seeds", "parameters", "multiply-adds", "time of a step"],
#       [[name, f"{means[name]:.2f}%", f"{cost['parameters'][name]:,}", f"{cost['multiply-adds'][name]:,}", f"{1e3 * time:.1f} ms"]
#        for name, time in zip(rivals, np.median(seconds, axis=0))])

# %% tags=["active-ipynb"]
# claim("at about equal error DenseNet-13 has about half the parameters of ResNet-8 (width 8) and needs more time for a step",
#       cost["parameters"][rivals[0]] < 0.6 * cost["parameters"][rivals[1]] and slower > 1, "ours")

# %% [markdown]
# Fewer parameters, hardly fewer multiply-adds, more layers in a row, and the copying of section 6: that is not faster.
#
# ### "The growth rate is the number of layers"

# %% tags=["active-ipynb"]
# blocks, end = inputs_of(12, (5,), 1.0, 24)
# print("what five layers read with k = 12:", blocks[0], "and at the end:", end)

# %% [markdown]
# It is the number of channels that each layer *adds*. The number of layers is another knob.
#
# ### "Every layer is connected to every other one"
#
# Inside a block, yes. Between blocks there is one road: the transition.

# %% tags=["active-ipynb"]
# def connections(layers):
#     """Into n layers of one block: 1 + 2 + … + n (§1)."""
#     return layers * (layers + 1) // 2
#
#
# blocks = (6, 12, 24, 16)  # of DenseNet-121
# print("connections inside the blocks:", sum(map(connections, blocks)), "; of all these layers with all:", connections(sum(blocks)))

# %% [markdown]
# ### "Its bottleneck is ResNet's"

# %% tags=["active-ipynb"]
# def kernels(block):
#     convolutions = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
#     return ", ".join(f"{one.kernel_size[0]}×{one.kernel_size[0]}: {one.in_channels} → {one.out_channels}" for one in convolutions)
#
#
# table(["block", "convolutions"], [["ResNet's, 256 channels", kernels(resnet.Bottleneck(256, 256))],
#                                   ["DenseNet's, 256 channels, k = 32", kernels(BottleneckLayer(256, 32))]])

# %% [markdown]
# No 1×1 convolution widens it again: the block grows by $k$ channels, and the old ones are still there.
#
# ### "Compression thins out the layers"
#
# θ acts at the transitions only. Look at what the layers of two blocks read, without compression and with it:

# %% tags=["active-ipynb"]
# for compression in (1.0, 0.5):
#     print(f"θ = {compression}:", *inputs_of(12, (4, 4), compression, 24)[0])

# %% [markdown]
# The steps are 12 as before; only the second block starts lower.
#
# ### "DenseNets need memory that grows with the square of the depth"
#
# The straightforward program does.
# Section 6 computed the same gradients with linear memory: it is the implementation, not the architecture.
#
# ### "A third of the parameters, as a rule"
#
# That is one comparison: DenseNet-BC against *pre-activation* ResNets on CIFAR-10 with augmentation (§4.4, Figure 4, middle).
# Ours, of other networks on other data, found half to two thirds.
# Beside it, in the right panel, the larger ResNet has the lower training loss.
#
# ### "5.92% or 4.51%: which is right?"
#
# Both, of the same architecture. C10 is CIFAR-10 as it is; for C10+ the images are shifted and mirrored at random.
# Without augmentation the authors add dropout of 0.2 (§4.2), so two things differ between the columns.

# %% tags=["active-ipynb"]
# table(["network (Table 2)", "C10", "C10+"], [
#     ["DenseNet, L = 40, k = 12", "7.00%", "5.24%"], ["DenseNet, L = 100, k = 12", "5.77%", "4.10%"],
#     ["DenseNet, L = 100, k = 24", "5.83%", "3.74%"], ["DenseNet-BC, L = 100, k = 12", "5.92%", "4.51%"],
#     ["DenseNet-BC, L = 250, k = 24", "5.19%", "3.62%"], ["DenseNet-BC, L = 190, k = 40", "–", "3.46%"],
# ])

# %% [markdown]
# Each of these numbers is a single run (§4.2): the paper gives no spread.
#
# ## 8. Your turn
#
# Replace the lines that raise and run the cell: its last line checks your answer.
# The solutions are folded below; try first.
#
# ### Exercise 1: how many channels?
#
# How many channels has a DenseNet before its classifier?
# You get the channels of the stem, the growth rate, the layers of each block, and θ; between two blocks a transition keeps ⌊θm⌋ of m.

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
#         if number > 0:
#             channels = int(compression * channels)    # a transition between two blocks, none after the last
#         channels += depth * growth_rate
#     return channels
# ```
# </details>
#
# ### Exercise 2: the same layer without concatenation
#
# A convolution of concatenated maps is a sum of convolutions, one for each map with its own slice of the kernel.
# And batch norm treats every channel by itself.
# So write what a `DenseLayer` in eval mode computes from a *list* of maps, and never concatenate them.
# (That is what the map of section 6 is about: each slice belongs to one arc of the drawing.)

# %% tags=["active-ipynb"]
# def without_concatenation(layer, maps):
#     """layer: a DenseLayer in eval mode; maps: a list of (batch, channels, height, width). The layer's output for cat(maps)."""
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
#         own = slice(start, start + x.shape[1])                              # the channels of this map
#         x = F.batch_norm(x, norm.running_mean[own], norm.running_var[own], norm.weight[own], norm.bias[own], eps=norm.eps)
#         total = total + F.conv2d(F.relu(x), layer.conv.weight[:, own], padding=1)
#         start = own.stop
#     return total                                                            # (batch, growth_rate, height, width)
# ```
# </details>
#
# ### Exercise 3: a layer that forgets
#
# Does a layer of a trained network need a certain source?
# Silence that source for that layer, without touching the others: set the slice of its kernel to zero, in place.

# %% tags=["active-ipynb"]
# def silence(block, reader, source):
#     """Layer `reader` (from 1) of a DenseBlock of DenseLayers no longer hears `source` (0: the block's input, 1: its first layer)."""
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
#     first, growth_rate = block.layers[0].conv.in_channels, block.layers[0].conv.out_channels
#     start = 0 if source == 0 else first + growth_rate * (source - 1)
#     stop = first + growth_rate * source
#     with torch.no_grad():
#         block.layers[reader - 1].conv.weight[:, start:stop] = 0
# ```
#
# Try it on a copy of `strong`, for all pairs, and compare the errors with the heat map: a small weight is not always an unimportant one.
# </details>
#
# ## 9. Where we differ from the paper
#
# | what | the paper | here |
# |---|---|---|
# | data | CIFAR, SVHN, ImageNet | 2,000 digits of 14×14, tested on 3,000 |
# | networks | 40 to 264 layers, $k$ from 12 to 40 | 10 to 22 layers, $k$ of 4 and 8 |
# | stem | 16 channels, 2k for BC | 8 channels |
# | steps | on CIFAR 234,375 of 64 images | 310 of 64 images |
# | weight decay | 10⁻⁴ | the same; for the map of feature use also 0.02 |
# | augmentation | shift and mirror, or none and dropout of 0.2 | none, no dropout |
# | maps | 32×32 to 8×8 | 14×14 to 3×3: pooling drops a border of one pixel |
# | code | ReLU after the transition's batch norm, not in the text | as the code |
#
# What does **not** show here:
#
# - *Bottleneck and compression pay.* We only count what they save; networks of a few thousand parameters are too small for them.
# - *Less computation.* The paper's figure is about ImageNet.
#   Here the smallest network saves no multiply-adds, and a step takes longer.
# - *The classifier prefers the last maps* (§5): not reliably.
# - *Figure 5 with the paper's weight decay*: our run is too short to forget its first weights.
#
# The claims of this notebook were checked with five seeds: set the environment variable `LESSON_SEED` to try your own.
#
# ## 10. With real weights and more machines
#
# With a network connection, a published checkpoint comes by name:
#
# ```python
# from huggingface_hub import snapshot_download
#
# model = from_pretrained(snapshot_download("timm/densenet121.tv_in1k"))
# logits = model(images)        # (batch, 3, 224, 224), normalised as the publisher says
# ```
#
# The paper's CIFAR-10 run, on any device, for a `loader` that gives batches of 64 augmented images and labels:
#
# ```python
# model = build("densenet_bc100_k12").to("cuda")
# optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
# for epoch in range(300):
#     for group in optimizer.param_groups:
#         group["lr"] = 0.1 if epoch < 150 else 0.01 if epoch < 225 else 0.001
#     train.fit(model, loader, F.cross_entropy, optimizer)
# ```
#
# On several machines the loop stays the same: wrap the model in `torch.nn.parallel.DistributedDataParallel`,
# and give the loader a `DistributedSampler`.
# Where memory is short, put `FrugalBlock` in place of `DenseBlock`: it reads the same weights.
#
# ## 11. Recap
#
# Every line was tested when you ran the notebook.

# %% tags=["active-ipynb"]
# recap()

# %% [markdown]
# Further reading:
#
# - Pleiss et al., *Memory-Efficient Implementation of DenseNets*, [arXiv:1707.06990](https://arxiv.org/abs/1707.06990):
#   linear memory, and DenseNets of 73M parameters.
# - Huang et al., *Deep Networks with Stochastic Depth*, [arXiv:1603.09382](https://arxiv.org/abs/1603.09382):
#   layers of a ResNet can be left out in training.
# - The authors' repository: wide and shallow DenseNet-BC, which they recommend in practice.
#
# <nav>
#
# Lesson before: [ResNet](resnet.ipynb) · Next lesson: [ALBERT](albert.ipynb)
#
# </nav>
