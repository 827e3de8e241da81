# %% [markdown] tags=["slide"]
# # ResNet: why deeper was worse, and the plus sign that mended it
#
# **Paper:** He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, CVPR 2016 ([arXiv:1512.03385](https://arxiv.org/abs/1512.03385))
#
# **You will see:** a deeper network that does worse on the very images it learns from, its cure by one plus sign, and the gradient of every layer

# %% [markdown] tags=["speaker"]
# **You need** to know what a convolution, batch normalisation and stochastic gradient descent are, and to read PyTorch.
# *The short way*: the sections marked ★; twenty minutes.
# Everything: about 75 minutes, of which the machine computes one.
#
# What the paper says is marked with its section (§), table or figure; everything else is ours.
# A line that begins with ✓ was tested on the machine that ran it; a claim that fails stops the notebook.

# %% tags=["active-ipynb"]
# from importlib.util import find_spec
#
# assert find_spec("kit"), (
#     "this kernel lacks the project: choose .venv, "
#     "or run `pip install -r requirements.txt` in the project's folder"
# )

# %%
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from kit import train

# %% tags=["active-ipynb", "parameters"]
# from kit import study
# from kit.claims import claim, recap
# from kit.data import digits, minibatches
# from kit.exercises import check
# from kit.probe import Norms, activations, gradient_norms, parameters
# from kit.table import as_printed, table
# from kit.view import Predict
# from lessons.checks import resnet as checks
# from lessons.figures import resnet as figures
# from lessons.published import resnet as published
#
# SEED = train.seed()
# torch.set_num_threads(1)  # networks this small run fastest on one core

# %% [markdown] tags=["slide"]
# ## 1. The problem ★
#
# In 2015 the leading networks on ImageNet had sixteen to thirty layers (§1).
# Is a better network just a matter of stacking more of them?
# Let us stack, and see.
#
# Our data are 1,797 handwritten digits of 8×8 pixels: 1,400 to learn from, 397 to test with.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# train_set, test_set = digits()
# figures.one_of_each(train_set)

# %% [markdown] tags=["slide"]
# The brick: two 3×3 convolutions, each with batch normalisation (§3.3, §3.4).

# %% [markdown]
# Everything before the last ReLU is a method of its own, `branch`: you will soon see why.
# The underscore of `relu_` means *in place*: the same numbers, without the time that a new tensor takes.

# %% tags=["on-slide"]
def conv(in_channels, out_channels, size, stride=1):
    """A `size`×`size` convolution that keeps the map, or halves it with stride 2."""
    padding = size // 2
    return nn.Conv2d(in_channels, out_channels, size, stride, padding, bias=False)


class PlainBlock(nn.Module):
    """Two 3×3 layers with batch normalisation (§3.3).

    `(batch, in_channels, height, width)` to
    `(batch, out_channels, height / stride, width / stride)`.
    """

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = conv(in_channels, out_channels, 3, stride)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv(out_channels, out_channels, 3)
        self.norm2 = nn.BatchNorm2d(out_channels)

    def branch(self, x):                        # (batch, in_channels, height, width)
        x = F.relu_(self.norm1(self.conv1(x)))  # (batch, out_channels, smaller, …)
        return self.norm2(self.conv2(x))        # the same

    def forward(self, x):
        return F.relu_(self.branch(x))          # the same


# %% [markdown]
# A stack of such blocks between a first layer and a last one.
# Its initial weights are random, of a size that keeps the size of the signal on average
# (§3.4 refers to He et al. 2015, [arXiv:1502.01852](https://arxiv.org/abs/1502.01852)).

# %%
def he_init(module):
    """Normal weights of variance 2 / fan-out (He et al. 2015, to whom §3.4 refers)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def stack(depth, block, width=8):
    """`depth` layers of `width` channels: one, blocks of two, and a linear one.

    Images `(batch, 1, height, width)` to logits `(batch, 10)`.
    Raises ValueError for an odd depth.
    """
    if depth < 4 or depth % 2:
        raise ValueError(f"depth should be even and at least 4, not {depth}")
    blocks = [block(width, width) for _ in range((depth - 2) // 2)]
    model = nn.Sequential(
        conv(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10),
    )
    return model.apply(he_init)


# %% [markdown]
# The recipe (§3.4, §4.2): momentum 0.9, weight decay 10⁻⁴, learning rate 0.1,
# which falls to a tenth at one half and again at three quarters of the steps.
# The paper takes 64,000 steps on CIFAR-10; on our few digits 504 will do.

# %%
def fit(model, batches, on_step=None, learning_rate=0.1):
    """Train by the paper's recipe (§3.4, §4.2); returns the loss of every step."""
    model.to(memory_format=torch.channels_last)  # the same numbers, sooner
    optimizer = torch.optim.SGD(
        model.parameters(), lr=learning_rate, momentum=0.9, weight_decay=1e-4
    )
    drops = [len(batches) // 2, len(batches) * 3 // 4]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, drops)
    return train.fit(model, batches, F.cross_entropy, optimizer, schedule, on_step)


# %% tags=["active-ipynb", "slide", "figure-only"]
# guess = Predict(
#     "Two stacks, trained alike: 14 layers and 32. On new digits the deeper one does "
#     "worse. And on the digits that it was trained on?",
#     ["Better: it has overfitted", "About equally well", "Worse there too"],
#     name="degradation",
# )
# guess

# %% tags=["active-ipynb", "slide", "figure-only"]
# EPOCHS = 24
# batches = minibatches(train_set, 64, EPOCHS, seed=SEED + 1000)
# nets, losses = {}, {}
#
#
# def experiment(name, depth, block, live):
#     torch.manual_seed(SEED)
#     nets[name] = stack(depth, block)
#     losses[name] = fit(nets[name], batches, figures.follow(live, name))
#
#
# live = figures.live_losses(len(batches), EPOCHS)
# experiment("plain-14", 14, PlainBlock, live)
# experiment("plain-32", 32, PlainBlock, live)
# live.close()

# %% tags=["active-ipynb", "slide", "figure-only"]
# def errors(net):
#     return train.error(net, train_set), train.error(net, test_set)
#
#
# training14, test14 = errors(nets["plain-14"])
# training32, test32 = errors(nets["plain-32"])
# claim("plain-32 makes more errors than plain-14 on its own training images",
#       training32 > training14, "ours; the effect: §1, Figure 1")
# guess.reveal(
#     0 if training32 < training14 - 0.5 else 2 if training32 > training14 + 0.5 else 1,
#     f"14 layers: {training14:.1f}% errors in training, {test14:.1f}% on new digits. "
#     f"32 layers: {training32:.1f}% and {test32:.1f}%.",
# )

# %% [markdown] tags=["slide"]
# Overfitting would be a *low* error on the training images and a high one on new images.
# Here both are higher: the deeper network is harder to train.
# The paper calls that **degradation** (§1).

# %% [markdown] tags=["slide"]
# ## 2. The idea ★
#
# The paper argues by a construction (§1).
# Take the trained network of 14 layers and add blocks that do nothing.
# The result has 32 layers and is exactly as good, so a good deep network *exists*.

# %% [markdown] tags=["speaker"]
# (We look at it in evaluation mode, where batch norm divides by stored statistics.)

# %%
@torch.no_grad()
def make_identity(block):
    """A PlainBlock that passes on what is never negative, in eval mode."""
    for convolution in (block.conv1, block.conv2):
        nn.init.dirac_(convolution.weight)      # a kernel that copies each channel
    for norm in (block.norm1, block.norm2):
        norm.reset_parameters()                 # scale 1, shift 0, mean 0, variance 1
        norm.running_var -= norm.eps            # it divides by √(variance + eps): by 1


# %% tags=["active-ipynb"]
# idle = [PlainBlock(8, 8) for _ in range(9)]
# for block in idle:
#     make_identity(block)
#
# plain14 = nets["plain-14"].eval()
# first, last = plain14[:9], plain14[9:]      # the layer and six blocks; what follows
# constructed = nn.Sequential(*first, *idle, *last).eval()
#
# with torch.no_grad():
#     gap = constructed(test_set.images) - plain14(test_set.images)
# claim("a plain-32 exists that computes exactly what the trained plain-14 computes",
#       gap.abs().max() == 0, "§1, constructed here, in evaluation mode")

# %% [markdown] tags=["slide"]
# Our training did not find it.
# If it is hard to *learn* "do nothing", make it the point of reference.
# Say that two layers should turn $\mathbf{x}$ into $\mathcal{H}(\mathbf{x})$.
# Let them compute only what must be *added* to $\mathbf{x}$, the residual $\mathcal{F}(\mathbf{x}) = \mathcal{H}(\mathbf{x}) - \mathbf{x}$ (§3.1; Eq. 1 in §3.2):
#
# $$\mathbf{y} = \mathcal{F}(\mathbf{x}) + \mathbf{x}$$

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.residual_block()

# %% [markdown] tags=["slide"]
# In code it is the plain block and `+ x`:

# %% tags=["on-slide"]
class ResidualBlock(PlainBlock):
    """The two layers, and what came in added to what they make (§3.1, Eq. 1)."""

    def forward(self, x):                       # (batch, channels, height, width)
        return F.relu_(self.branch(x) + x)      # the same


# %% [markdown] tags=["on-slide"]
# What do the two blocks do when all their weights are zero?

# %% tags=["active-ipynb", "on-slide"]
# x = torch.rand(1, 3, 4, 4)       # never negative, like what comes out of a ReLU
# for kind in (PlainBlock, ResidualBlock):
#     block = kind(3, 3)
#     for weight in block.parameters():
#         nn.init.zeros_(weight)
#     print(f"{kind.__name__}: output is the input: {torch.equal(block(x), x)}")

# %% [markdown] tags=["speaker"]
# The plain block has forgotten everything.
# The authors do not say that the identity is the best a block can do; they call that unlikely.
# But if the best function is nearer to the identity than to zero, it should be easier to find from there (§3.1).

# %% [markdown] tags=["slide"]
# Now the same data, batches, recipe and initial weights. Only the plus sign is new.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# plain = {name: losses[name] for name in ("plain-14", "plain-32")}
# live = figures.live_losses(len(batches), EPOCHS, earlier=plain)
# experiment("ResNet-14", 14, ResidualBlock, live)
# experiment("ResNet-32", 32, ResidualBlock, live)
# live.close()

# %% tags=["active-ipynb"]
# final = {name: loss[-len(batches) // EPOCHS:].mean() for name, loss in losses.items()}
# claim("plain-32 ends with more than 3 times the training loss of plain-14",
#       final["plain-32"] > 3 * final["plain-14"], "ours; the effect: §1, Figure 1")
# claim("with the plus sign 32 layers end below a tenth of plain-32's loss",
#       final["ResNet-32"] < final["plain-32"] / 10, "ours; the effect: §4.2, Figure 6")

# %% [markdown] tags=["slide"]
# One run is one run, and one learning rate might suit one network only.
# So `make study-resnet` trained each of the four with five seeds, at three learning rates, and the plain ones three times as long; here is what it stored.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# stored = study.read("resnet")
# figures.four_networks(stored)

# %% [markdown] tags=["speaker"]
# So it is not the rate: at each of them 32 plain layers are worse than 14, on training images and on new ones, and the plus sign mends it.
# It is partly the time: with three times the steps plain-32 comes to fit its training images, too, but on new images it stays behind.
# The paper's gap is smaller and more stubborn: on ImageNet it remains after three times as many iterations (§4.1, footnote 3).

# %% tags=["active-ipynb"]
# def training_errors(name):
#     return torch.tensor([run["training error"] for run in stored[name]])
#
#
# worse = torch.stack([
#     training_errors(f"plain-32, {rate}") - training_errors(f"plain-14, {rate}")
#     for rate in ("rate 0.03", "rate 0.1", "rate 0.3")
# ])
# claim("at each rate and with each of five seeds plain-32 makes more training errors "
#       "than plain-14", worse.min() > 0, "ours, the stored study")

# %% [markdown] tags=["slide"]
# ## 3. Build the paper's network
#
# Until now every layer had the same size.
# The paper's networks work in *stages*: each but the first halves the map and doubles the channels, which keeps the cost of a layer (§3.3).
# There $\mathbf{x}$ and $\mathcal{F}(\mathbf{x})$ do not fit.
# **Option A**: take every second pixel, and fill the new channels with zeros.

# %% tags=["on-slide"]
class BasicBlock(PlainBlock):
    """Two 3×3 layers and a shortcut without parameters, shapes as in PlainBlock.

    Where the size changes, it is option A (§3.3).
    Raises ValueError for fewer channels than came in.
    """

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__(in_channels, out_channels, stride)
        self.stride, self.extra = stride, out_channels - in_channels
        if self.extra < 0:
            raise ValueError(f"option A cannot narrow {in_channels} to {out_channels}")

    def shortcut(self, x):
        if self.stride == 1 and self.extra == 0:
            return x
        x = x[:, :, ::self.stride, ::self.stride]     # fewer pixels
        return F.pad(x, (0, 0, 0, 0, 0, self.extra))  # more channels, all zero

    def forward(self, x):
        return F.relu_(self.branch(x) + self.shortcut(x))


# %% tags=["active-ipynb"]
# x = torch.arange(1.0, 17).reshape(1, 1, 4, 4)
# print(BasicBlock(1, 2, stride=2).shortcut(x))

# %% [markdown]
# Everything else is a *stem* (the first layer), stages of blocks, an average over the map, a linear layer.

# %%
class ResNet(nn.Module):
    """Images `(batch, in_channels, height, width)` to logits `(batch, num_classes)`.

    stem: a Sequential that begins with a convolution.
    block: called as `block(in_channels, out_channels, stride)`.
    depths, widths: number of blocks and output channels of each stage (§3.3).
    """

    def __init__(self, stem, block, depths, widths, num_classes):
        super().__init__()
        channels, stages = stem[0].out_channels, []
        for number, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks = [block(channels, width, 1 if number == 0 else 2)]
            blocks += [block(width, width, 1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            channels = width
        self.stem, self.stages = stem, nn.Sequential(*stages)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(channels, num_classes)
        self.apply(he_init)

    def forward(self, x):       # (batch, in_channels, height, width)
        x = self.stem(x)        # (batch, stem channels, smaller, smaller)
        x = self.stages(x)      # (batch, widths[-1], smaller still, smaller still)
        x = self.pool(x)        # (batch, widths[-1])
        return self.fc(x)       # (batch, num_classes)


# %% [markdown]
# For small images: a 3×3 stem and three stages of $n$ blocks, $6n + 2$ layers in all (§4.2).

# %%
def cifar_net(depth, block, in_channels=3, width=16, num_classes=10):
    """The network for small images, of `depth` = 6n + 2 layers (§4.2).

    Its stages have `width`, 2 `width` and 4 `width` channels.
    Raises ValueError for another depth.
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth should be 6n+2 with n ≥ 1 (8, 14, 20, …), not {depth}")
    stem = nn.Sequential(conv(in_channels, width, 3), nn.BatchNorm2d(width), nn.ReLU())
    depths, widths = [(depth - 2) // 6] * 3, [width, 2 * width, 4 * width]
    return ResNet(stem, block, depths, widths, num_classes)


# %% tags=["active-ipynb"]
# resnet20 = cifar_net(20, BasicBlock)
# layers = [m for m in resnet20.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
# print("layers with weights:", len(layers))
# print("logits:", tuple(resnet20(torch.randn(2, 3, 32, 32)).shape))

# %% [markdown] tags=["slide"]
# ### For ImageNet: the bottleneck
#
# Beyond 34 layers, blocks of two 3×3 layers take too long to train (§4.1).
# The bottleneck squeezes the channels to a quarter with a 1×1 layer, works there, and restores them with another.
# Where the size changes, these networks *project*, with a 1×1 convolution (option B, Table 3).

# %%
def projection(in_channels, out_channels, stride):
    """The shortcut of option B: a 1×1 layer where the size changes (§3.3, Eq. 2)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    kernel = conv(in_channels, out_channels, 1, stride)
    return nn.Sequential(kernel, nn.BatchNorm2d(out_channels))


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 layers and a shortcut, shapes as in PlainBlock (§4.1, Figure 5)."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        inner = out_channels // 4
        self.conv1 = conv(in_channels, inner, 1, stride)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = conv(inner, inner, 3)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv3 = conv(inner, out_channels, 1)
        self.norm3 = nn.BatchNorm2d(out_channels)
        self.projection = projection(in_channels, out_channels, stride)

    def branch(self, x):                        # (batch, in_channels, height, width)
        x = F.relu_(self.norm1(self.conv1(x)))  # (batch, inner, smaller, smaller)
        x = F.relu_(self.norm2(self.conv2(x)))  # the same
        return self.norm3(self.conv3(x))        # (batch, out_channels, smaller, …)

    def forward(self, x):
        return F.relu_(self.branch(x) + self.projection(x))


# %% tags=["active-ipynb", "on-slide", "figure-only"]
# def kernel_weights(block):
#     kernels = [m.weight for m in block.modules() if isinstance(m, nn.Conv2d)]
#     return sum(kernel.numel() for kernel in kernels)
#
#
# print("weights of two 3×3 layers on 64 channels:", kernel_weights(BasicBlock(64, 64)))
# print("weights of a bottleneck on 256 channels:", kernel_weights(Bottleneck(256, 256)))

# %% [markdown]
# Four times the channels for fewer weights (Figure 5).
# The stem takes 224×224 pixels to 56×56, and four stages follow (Table 1).
# (Below, torch's *meta* device builds a network with shapes but without memory.)

# %%
def imagenet_net(
    depths, block, widths, in_channels=3, num_classes=1000, stem_width=64
):
    """The network for large images: `depths` blocks of `widths` channels (Table 1)."""
    stem = nn.Sequential(
        conv(in_channels, stem_width, 7, 2), nn.BatchNorm2d(stem_width), nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )
    return ResNet(stem, block, depths, widths, num_classes)


# %%
BLOCKS = {"plain": PlainBlock, "resnet": BasicBlock}
NARROW, WIDE = (64, 128, 256, 512), (256, 512, 1024, 2048)


def imagenet(depths, block, widths):
    return partial(imagenet_net, depths=depths, block=block, widths=widths)


VARIANTS = {
    f"{kind}{depth}": partial(cifar_net, depth=depth, block=block)
    for kind, block in BLOCKS.items() for depth in (20, 32, 44, 56, 110)
} | {
    "resnet1202": partial(cifar_net, depth=1202, block=BasicBlock),
    "plain18": imagenet((2, 2, 2, 2), PlainBlock, NARROW),
    "plain34": imagenet((3, 4, 6, 3), PlainBlock, NARROW),
    "resnet18": imagenet((2, 2, 2, 2), BasicBlock, NARROW),
    "resnet34": imagenet((3, 4, 6, 3), BasicBlock, NARROW),
    "resnet50": imagenet((3, 4, 6, 3), Bottleneck, WIDE),
    "resnet101": imagenet((3, 4, 23, 3), Bottleneck, WIDE),
    "resnet152": imagenet((3, 8, 36, 3), Bottleneck, WIDE),
}


# %%
def build(name, **changes):
    """The paper's network `name` with random weights; `changes` go to its function.

    Raises ValueError for an unknown name. On `torch.device("meta")` it takes no memory.
    """
    if name not in VARIANTS:
        raise ValueError(f"there is no {name!r}; there are {', '.join(VARIANTS)}")
    return VARIANTS[name](**changes)


# %% tags=["active-ipynb"]
# parts = ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "pool", "fc"]
# with torch.device("meta"), activations(model := build("resnet50"), parts) as seen:
#     model(torch.empty(1, 3, 224, 224))
# for part, (_, output) in seen.items():
#     print(f"{part:10}", *output.shape[1:])

# %% [markdown] tags=["slide"]
# ## 4. What the paper found ★
#
# Does depth *pay*, once it can be trained?
# Decide what each curve will do, from left to right, before you look.

# %% tags=["active-ipynb", "slide", "figure-only"]
# figures.error_against_depth(stored)

# %% [markdown] tags=["speaker"]
# - **ImageNet** (Table 2): the plain network gets worse with depth, 27.94% to 28.54%; the residual one better, 27.88% to 25.03%.
#   With 18 layers the two are equal, but the residual one converges sooner (§4.1).
# - **CIFAR-10** (Table 6): better and better up to 110 layers.
#   The paper prints no plain errors here; its Figure 6 shows plain-56 above plain-20, and a plain-110 has more than 60% (§4.2).
# - **Ours** (the network of section 3 with 4, 8 and 16 channels): the plain network gets worse from 20 layers on.
#   The residual one gains up to 14 layers and then stays level.
#   That depth does no *harm* shows here; that it *pays* up to a hundred layers takes the paper's data and steps.

# %% [markdown] tags=["slide"]
# *Why are 1,202 layers worse than 110?* Not for the old reason: its training error is below 0.1% (§4.2).
# It has 19.4M parameters for 50,000 images, the authors say it overfits, and they used no strong regularisation.
# A curve that rises again is not always degradation: look at the training error.

# %% [markdown] tags=["speaker"]
# *Does it help elsewhere?* The detector Faster R-CNN finds the objects in COCO's pictures with a mean average precision (mAP at .5 to .95) of 27.2 instead of 21.2 when ResNet-101 takes the place of VGG-16: 6.0 points, a relative gain of 28% (§4.3, Table 8).

# %% [markdown] tags=["slide"]
# ### The rival: highway networks
#
# Shortcuts were not new (§2).
# A highway network has them, too, but a *gate* with weights of its own decides how much passes.

# %% tags=["on-slide"]
class HighwayBlock(PlainBlock):
    """T·H(x) + (1 − T)·x with a learned gate T (§2; Srivastava et al. 2015)."""

    def __init__(self, channels):
        super().__init__(channels, channels)
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        gate = torch.sigmoid(self.gate(x))     # between 0 and 1 for each value
        return gate * F.relu(self.branch(x)) + (1 - gate) * x


# %% tags=["active-ipynb"]
# highway, x = HighwayBlock(8), torch.rand(1, 8, 4, 4)
# nn.init.constant_(highway.gate.bias, 100.0)
# print("parameters:", parameters(highway), "instead of", parameters(ResidualBlock(8, 8)))
# print("gate open, a plain block:", torch.equal(highway(x), F.relu(highway.branch(x))))

# %% [markdown]
# When the gate opens for the branch, it closes for $\mathbf{x}$.
# A ResNet's shortcut costs nothing and is never closed (§2).
# On CIFAR-10 the best highway network, of 19 layers and 2.3M parameters, has 7.54% (mean 7.72 ± 0.16);
# ResNet-56 has 6.97% with 0.85M (Table 6).
#
# ## 5. Look inside
#
# ### Does the gradient vanish?
#
# You may have read that plain deep networks fail because the gradient *vanishes* on its way to the first layers.

# %% tags=["active-ipynb", "slide", "figure-only"]
# gradient_guess = Predict(
#     "A plain network of 56 layers with batch norm, before training: how large is the "
#     "first convolution's gradient, compared with the last one's?",
#     ["At least 10 times smaller", "Less than a factor of 10 apart",
#      "At least 10 times larger"],
#     name="gradient",
# )
# gradient_guess

# %% tags=["active-ipynb"]
# def fresh(block, depth, width=8, batch_norm=True):
#     torch.manual_seed(SEED)
#     model = cifar_net(depth, block, in_channels=1, width=width)
#     if not batch_norm:
#         for name, module in list(model.named_modules()):
#             if isinstance(module, nn.BatchNorm2d):
#                 model.set_submodule(name, nn.Identity())
#     return model
#
#
# def first_gradients(block, depth, batch_norm=True, width=8, image_size=8):
#     """The norm of each convolution's gradient before training, on 128 digits.
#
#     Of enlarged digits there are fewer: always as many pixels in all.
#     """
#     count = 128 * 8**2 // image_size**2
#     model = fresh(block, depth, width, batch_norm)
#     images = F.interpolate(train_set.images[:count], size=image_size)
#     F.cross_entropy(model(images), train_set.labels[:count]).backward()
#     return list(gradient_norms(model).values())

# %% tags=["active-ipynb", "slide", "figure-only"]
# figures.gradients_before_training(first_gradients, PlainBlock, BasicBlock)

# %% tags=["active-ipynb", "slide", "figure-only"]
# plain, residual = first_gradients(PlainBlock, 56), first_gradients(BasicBlock, 56)
# ratio = plain[0] / plain[-1]
# claim("before training, plain-56's first gradient is over 100 times its last",
#       ratio > 100, "ours; §4.1: vanishing is unlikely")
# claim("before training, ResNet-56's gradient grows less than 30-fold",
#       residual[0] / residual[-1] < 30, "ours")
# gradient_guess.reveal(
#     0 if ratio < 0.1 else 2 if ratio > 10 else 1,
#     f"Here {ratio:,.0f} times as large: it grows on its way back (compare §4.1).",
# )

# %% [markdown] tags=["slide"]
# Now switch batch norm off.
# The plain network's gradients are tiny, and *all alike*, first layers and last.
# It is the signal that dies, on its way forward.
# But were the initial weights not made to keep its size? They are, for a kernel that reads values everywhere.
# On these small maps much of what a 3×3 kernel reads is the zeros beyond the border.
# The control: let the map go round in a circle, so that there is no border.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# def signal(block, circular=False):
#     """The size (root mean square) of the last map of 56 layers without batch norm."""
#     model = fresh(block, 56, batch_norm=False)
#     for module in model.modules():
#         if circular and isinstance(module, nn.Conv2d):
#             module.padding_mode = "circular"
#     with torch.no_grad(), activations(model, ["pool"]) as seen:
#         model(train_set.images[:128])
#     return seen["pool"][0].square().mean().sqrt().item()
#
#
# zeros, circle = signal(PlainBlock), signal(PlainBlock, circular=True)
# claim("without batch norm, plain-56's signal falls below 0.001", zeros < 1e-3, "ours")
# claim("without a border over 100 times more of it arrives",
#       circle > 100 * zeros, "ours")

# %% [markdown]
# So the border is the main cause here.
# Even without it the signal of such narrow layers is a matter of luck: try other seeds and widths.
# With shortcuts and without batch norm the sum of many branches grows, and the gradients with it: see the figure.

# %% [markdown] tags=["slide"]
# ### What does the explosion do to the training?
#
# First a property of batch norm, in three lines: it divides by the size of what it gets.
# So the length of the weights before it does not matter to the output.

# %% tags=["active-ipynb", "on-slide"]
# kernel, norm = conv(1, 8, 3), nn.BatchNorm2d(8)
# before = norm(kernel(train_set.images[:64]))
# with torch.no_grad():
#     kernel.weight *= 100
# after = norm(kernel(train_set.images[:64]))
# print("the same output:", torch.allclose(before, after, atol=1e-2))

# %% [markdown] tags=["slide"]
# Only the *direction* of the weights matters. So the gradient is at right angles to them, and a small step turns them by learning rate · ‖gradient‖ / ‖weights‖.
# That quotient is what a layer learns by. Watch it in both networks, layer by layer, step by step.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# few = minibatches(train_set, 64, epochs=8, seed=SEED + 1000)
# norms = {}
# for name, block in {"plain-56": PlainBlock, "ResNet-56": BasicBlock}.items():
#     nets[name] = fresh(block, 56)
#     norms[name] = Norms(nets[name])
#     fit(nets[name], few, norms[name])
#
# figures.turning(norms["plain-56"], norms["ResNet-56"])

# %% tags=["active-ipynb"]
# def first_to_last(norms):
#     """How far a step turns the first layer, for each radian of the last (median)."""
#     turn = norms.gradients / norms.weights
#     return (turn[0, 10:] / turn[-1, 10:]).median()
#
#
# longer = norms["plain-56"].weights[0, -1] / norms["plain-56"].weights[0, 0]
# claim("the weights of plain-56's first layer have grown more than 50-fold",
#       longer > 50, "ours")
# claim("its first layer then turns less than a tenth as fast as its last",
#       first_to_last(norms["plain-56"]) < 0.1, "ours")
# claim("in ResNet-56 the two turn at speeds within a factor of 10",
#       0.1 < first_to_last(norms["ResNet-56"]) < 10, "ours")

# %% [markdown] tags=["slide"]
# The explosion lasts a few steps, and it throws the first layer's weights far out.
# From there each step hardly turns them: plain-56's first layers are nearly frozen.
# Is *that* why it fails? The control: the same training with every gradient cut to a norm of at most 1.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# clipped = fresh(PlainBlock, 56)
# norms["clipped"] = Norms(clipped)
#
#
# def clip(step, loss):
#     nn.utils.clip_grad_norm_(clipped.parameters(), max_norm=1.0)
#     norms["clipped"](step, loss)
#
#
# fit(clipped, few, clip)
# claim("with clipped gradients plain-56's first layer turns faster than its last",
#       first_to_last(norms["clipped"]) > 1, "ours")
# claim("and plain-56 still gets over half of its training images wrong",
#       train.error(clipped, train_set) > 50, "ours")

# %% [markdown] tags=["speaker"]
# So it is not: what you saw is a symptom.
# The paper found healthy gradient norms in its plain networks, conjectured that they converge exponentially slowly, and left the reason open (§4.1).

# %% [markdown] tags=["slide"]
# ### How much does a block change what passes?
#
# The paper finds that the layers of a ResNet respond weakly, and more weakly the deeper it is (§4.2, Figure 7).
# We measure ‖F(x)‖ / ‖x‖, block by block. What do you expect of a network that is nearly three times as deep?

# %% tags=["active-ipynb", "slide", "figure-only"]
# @torch.no_grad()
# def relative_change(model):
#     """‖F(x)‖ / ‖shortcut(x)‖ of every block, on 128 digits."""
#     x, found = model.eval().stem(test_set.images[:128]), []
#     for block in (block for stage in model.stages for block in stage):
#         found.append((block.branch(x).norm() / block.shortcut(x).norm()).item())
#         x = block(x)
#     return found
#
#
# resnet20, resnet56 = fresh(BasicBlock, 20), nets["ResNet-56"]
# fit(resnet20, few)
# change20, change56 = relative_change(resnet20), relative_change(resnet56)
# claim("half of ResNet-56's blocks change what passes less than any block of ResNet-20",
#       sorted(change56)[13] < min(change20), "ours; the effect: §4.2, Figure 7")
# figures.change_of_each_block(change20, change56)

# %% [markdown]
# With more blocks, each has less to do.

# %% [markdown] tags=["slide"]
# ### One image on its way
#
# Where does the digit stop being a digit? Pick a part of the trained ResNet-20, by mouse or arrow key.

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# figures.journey(resnet20.eval(), test_set)

# %% [markdown] tags=["slide"]
# ## 6. What people get wrong
#
# **"Degradation is overfitting."** Section 1: plain-32 does worse on its own training images.
#
# **"A deep plain network cannot express it."** Section 2 constructed one that can.
#
# **"It is the vanishing gradient."** Section 5: with batch norm it explodes before the first step, and the paper calls vanishing unlikely.

# %% [markdown]
# **"A layer receives the sum of all earlier layers."**
# A block adds its own input, once, and then a ReLU cuts off what is negative.
# Were it the sum, a stage's output would be its input plus all its branches:

# %% tags=["active-ipynb"]
# with torch.no_grad():
#     x = start = resnet20.stem(test_set.images)
#     total = start.clone()
#     for block in resnet20.stages[0]:
#         total += block.branch(x)
#         x = block(x)
# gap = (x - total).abs().max() / x.abs().max()
# claim("a stage's output is not its input plus its branches", gap > 0.1, "ours")

# %% [markdown]
# A *later* paper (He et al. 2016, [arXiv:1603.05027](https://arxiv.org/abs/1603.05027))
# leaves that ReLU out, and moves batch norm and ReLU to the front of the branch: your second exercise.
# In its stages the output *is* that sum.
#
# **"The shortcut guarantees that the gradient gets through."**
# Leave the ReLU out: the gradient is 1 + F′(x), and nothing stops F′(x) from being −1.
# (The later paper calls that unlikely for a whole batch.)

# %% tags=["active-ipynb"]
# x = torch.randn(3, requires_grad=True)
# (-x + x).sum().backward()               # F(x) = −x
# print("gradient:", x.grad.tolist())

# %% [markdown] tags=["slide"]
# **"Shortcuts cost parameters."** Not option A.
# Projections where the size changes (B) or in every block (C) buy little (Table 3; ImageNet validation, 10 crops):

# %% tags=["active-ipynb", "on-slide", "figure-only"]
# with torch.device("meta"):
#     options = {"plain": build("plain34"), "A": build("resnet34"),
#                "B": published.build_variant("resnet34"),
#                "C": published.build_variant("resnet34 C")}
# top1 = {"plain": "28.54%", "A": "25.03%", "B": "24.52%", "C": "24.19%"}
# claim("option A costs no parameters",
#       parameters(options["A"]) == parameters(options["plain"]), "§3.3")
# table(["34 layers, option", "parameters", "top-1 error"],
#       [[name, f"{parameters(net):,}", top1[name]] for name, net in options.items()])

# %% [markdown] tags=["speaker"]
# **"ResNet-152 has an error of 3.57%."** That is an ensemble of six, and a top-5 error (Table 5).
# One ResNet-152 has 4.49% top-5 (Table 4; several scales) and 21.43% top-1 (Table 3; 10 crops).
# Likewise 6.43% for 110 layers on CIFAR-10 is the best of five runs; their mean is 6.61 ± 0.16 (Table 6).

# %% [markdown]
# ## 7. Your turn
#
# Replace the lines that raise, and run the cell: its last line checks your answer.
# The solutions are folded; try first.

# %% [markdown] tags=["slide"]
# ### Exercise 1: how many parameters?
#
# Write down the parameters of the network of $6n + 2$ layers as a function of $n$: 3 input channels, widths 16, 32 and 64, option A, ten classes.
# No torch needed: count kernels, batch norms (two numbers a channel), and the linear layer.

# %% tags=["active-ipynb"]
# def parameters_of(n):
#     raise NotImplementedError
#
#
# check(parameters_of, checks.parameters_of)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# ```python
# def parameters_of(n):
#     total = 3 * 16 * 9 + 2 * 16                           # the stem
#     for width in (16, 32, 64):
#         total += 2 * n * (width * width * 9 + 2 * width)  # 2n layers
#     total -= (32 * 32 - 16 * 32) * 9                      # two of them have only
#     total -= (64 * 64 - 32 * 64) * 9                      # half the input channels
#     return total + 64 * 10 + 10                           # the linear layer
# ```
# </details>
#
# ### Exercise 2: the pre-activation block
#
# Write the block of the later paper: batch norm and ReLU come *before* each convolution, nothing comes after the addition.
# Input and output have the same size, so the shortcut is the identity.

# %% tags=["active-ipynb"]
# class PreActivationBlock(nn.Module):
#     def __init__(self, channels):
#         super().__init__()
#         raise NotImplementedError
#
#     def forward(self, x):  # (batch, channels, height, width)
#         raise NotImplementedError
#
#
# check(PreActivationBlock, checks.pre_activation)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# ```python
# class PreActivationBlock(nn.Module):
#     def __init__(self, channels):
#         super().__init__()
#         self.norm1, self.conv1 = nn.BatchNorm2d(channels), conv(channels, channels, 3)
#         self.norm2, self.conv2 = nn.BatchNorm2d(channels), conv(channels, channels, 3)
#
#     def forward(self, x):                          # (batch, channels, height, width)
#         out = self.conv1(F.relu(self.norm1(x)))    # the same
#         out = self.conv2(F.relu(self.norm2(out)))  # the same
#         return x + out                             # the same
# ```
# </details>
#
# ### Exercise 3: start as the identity
#
# Make every block begin as "do nothing": it passes on what its shortcut carries, and adds zero.
# Change one weight tensor of each block, and choose it so that the block can still learn.
# (Later papers do this; this one does not.)

# %% tags=["active-ipynb"]
# def start_as_identity(model):
#     """Change `model`, a ResNet of BasicBlocks, in place."""
#     raise NotImplementedError
#
#
# check(start_as_identity, checks.start_as_identity)

# %% [markdown]
# <details>
# <summary>Solution</summary>
#
# The scale γ of the last batch norm: at zero the branch is silent, yet γ itself gets a gradient.
#
# ```python
# def start_as_identity(model):
#     for stage in model.stages:
#         for block in stage:
#             nn.init.zeros_(block.norm2.weight)
# ```
#
# Try it on 110 layers, which do not train in these few steps otherwise:
# `fit(deep, few)` for `deep = fresh(BasicBlock, 110)`, with and without it.
# </details>
#
# ## 8. Is it the paper's model?
#
# Table 6 prints the parameters of six networks. Which option do they have?

# %% tags=["active-ipynb"]
# printed = {20: "0.27", 32: "0.46", 44: "0.66", 56: "0.85", 110: "1.7", 1202: "19.4"}
# with torch.device("meta"):
#     counts = {
#         block: [parameters(cifar_net(depth, block)) for depth in printed]
#         for block in (BasicBlock, published.BasicBlockB)
#     }
# option_a, option_b = (
#     [as_printed(count, 1e6, text) for count, text in zip(found, printed.values())]
#     for found in counts.values()
# )
# claim("with option A all six parameter counts of Table 6 come out",
#       all("✓" in text for text in option_a), "Table 6")
# table(["layers", "Table 6, in millions", "parameters", "option A", "option B"],
#       list(zip(printed, printed.values(), map("{:,}".format, counts[BasicBlock]),
#                option_a, option_b)))

# %% [markdown]
# The text says so, too (§4.2).
# Table 1 prints multiply-adds, as "FLOPs".
# Beside ours stand those of the variants that libraries publish: option B for 18 and 34 layers, and "v1.5",
# which halves the map in the 3×3 layer instead of the first 1×1.

# %% tags=["active-ipynb"]
# table(["network", "Table 1, in 10⁹", "the paper's", "published"],
#       published.multiply_adds_of_table_1())

# %% [markdown]
# Four of five agree; ResNet-50 has 3.858 · 10⁹, which is not the 3.8 that the paper prints.
#
# Equal counts do not prove equal networks.
# So the ResNet of the transformers library gets random weights, our network reads its file, and both look at the same images.

# %% tags=["active-ipynb"]
# difference = published.difference_from_reference(SEED, downsample_in_bottleneck=True)
# claim("ResNet-50 gives the reference's logits, to 1e-5 of the largest",
#       difference < 1e-5, "transformers")

# %% [markdown]
# With a network connection, published weights come by name.
# What timm, torchvision and transformers call ResNet-50 is v1.5; the authors' own files are not.
# The two read each other's weights without complaint and give different answers (`tests/test_resnet.py`);
# `lessons/published/resnet.py` builds the right one.
#
# ```python
# model = published.from_pretrained("microsoft/resnet-50")   # or "timm/resnet50.tv_in1k"
# logits = model(images)      # (batch, 3, 224, 224), normalised as the publisher says
# ```
#
# At the paper's scale, by its recipe (`lessons/scale/resnet.py`, each figure with its section), on two GPUs:
#
# ```bash
# torchrun --nproc-per-node=2 -m lessons.scale resnet \
#     --variant resnet56 --data cifar-10-batches-bin --out runs/resnet56
# ```
#
# Its small form, `--small`, needs no data and no GPU. What it did here:

# %% tags=["active-ipynb"]
# from kit.small_run import small_run
#
# small_run("resnet")

# %% [markdown]
# ## 9. Where we differ, and what does not show
#
# | what | the paper | here |
# |---|---|---|
# | data | CIFAR-10, 50,000 images of 32×32 in colour; ImageNet | 1,400 digits of 8×8; 2,000 of 14×14 in section 4 |
# | steps | 64,000 of 128 images | 504 of 64 images; 310 in section 4, 168 in section 5 |
# | augmentation | pad 4, crop, mirror | none |
# | networks of sections 1 and 2 | three stages | one stage: every layer has 8 channels |
# | width | 16, 32, 64 | 8, 16, 32 in section 5; 4, 8, 16 in section 4 |
#
# - *Depth pays*: up to 14 layers in section 4, not beyond.
# - *A hundred layers*: at the paper's learning rate ours do not train in so few steps; try exercise 3.
#   The paper warms its own up with a rate of 0.01 (§4.2).
# - *1,202 layers that overfit*: not tried.
# - *The training errors stay apart*: with three times the steps they meet (section 2).
# - *Figure 7* shows deviations of responses; we measured ‖F(x)‖ / ‖x‖ instead.
# - *Why*: the paper leaves it open, and so do we. Section 5 is about our toy.
#
# The claims hold with ten seeds (`make seeds`); the environment variable `LESSON_SEED` sets yours.
#
# ## 10. Recap

# %% tags=["active-ipynb", "slide", "figure-only"]
# recap()

# %% [markdown]
# Further reading:
#
# - He et al., *Identity Mappings in Deep Residual Networks*, [arXiv:1603.05027](https://arxiv.org/abs/1603.05027):
#   the ReLU after the addition goes, and 1,001 layers train.
# - Srivastava et al., *Highway Networks*, [arXiv:1505.00387](https://arxiv.org/abs/1505.00387).
# - Balduzzi et al., *The Shattered Gradients Problem*, [arXiv:1702.08591](https://arxiv.org/abs/1702.08591):
#   another answer to why plain networks fail.
# - Yang et al., *A Mean Field Theory of Batch Normalization*, [arXiv:1902.08129](https://arxiv.org/abs/1902.08129): why the gradient grows.
#
# <nav>
#
# Next lesson: [DenseNet](densenet.ipynb)
#
# </nav>
