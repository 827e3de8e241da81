# %% [markdown]
# # DenseNet: exercises for an assignment, with solutions

# %%
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint as recompute

from lessons.densenet import DenseBlock

# %% [markdown]
# ### When does a bottleneck pay?
#
# *easy, 2 points*
#
# A bottleneck squeezes before the dear 3×3 convolution (§3). But the squeezing has weights of its own.
# Compare a `DenseLayer` and a `BottleneckLayer` of the same growth rate k, with the same input:
# from how many input channels on has the bottleneck *fewer* weights in its convolutions?
# (Batch norms are not counted.)


# %%
def pays_from(growth_rate):
    ### BEGIN SOLUTION
    # 9ck weights against 4ck + 9 · 4k · k: fewer where 5c is above 36k.
    return 36 * growth_rate // 5 + 1
    ### END SOLUTION


# %% [markdown]
# ### A transition at a quarter of the work
#
# *medium, 3 points*
#
# A transition computes its 1×1 convolution at every pixel, and then averages four of them (§3).
# That can be had cheaper.
# Return what `transition(x)` returns, in training mode and in eval mode, with a quarter of the multiply-adds.
# (There is no dropout.)


# %%
def cheaper(transition, x):
    ### BEGIN SOLUTION
    # A 1×1 convolution is linear in each pixel: it may come after the average.
    # The ReLU is not linear; it stays before.
    x = F.avg_pool2d(F.relu(transition.norm(x)), 2)
    return transition.conv(x)
    ### END SOLUTION


# %% [markdown]
# ### Take a layer out
#
# *medium, 4 points*
#
# The paper finds that some maps are hardly read (§5). Such a layer can go.
# Return a new `DenseBlock` without layer `number` (1 is the first) of a `block` of `DenseLayer`s:
# one layer less, and every later layer reads all that it read before, but for the maps that no longer exist.
# All other weights and statistics are the old ones; the `block` given stays as it is.
# We compare in eval mode.


# %%
def without_layer(block, number):
    ### BEGIN SOLUTION
    k = block.layers[0].conv.out_channels
    start = block.in_channels + k * (number - 1)        # of the maps that go
    shorter = DenseBlock(len(block.layers) - 1, block.in_channels, k)
    rest = [layer for i, layer in enumerate(block.layers, 1) if i != number]
    for new, old in zip(shorter.layers, rest):
        reads = range(old.conv.in_channels)
        kept = [c for c in reads if not start <= c < start + k]
        with torch.no_grad():
            new.conv.weight.copy_(old.conv.weight[:, kept])
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(new.norm, name).copy_(getattr(old.norm, name)[kept])
    return shorter
    ### END SOLUTION


# %% [markdown]
# ### Less memory, the same statistics
#
# *hard, 5 points*
#
# The lesson's `FrugalBlock` keeps each map once, and computes the rest a second time on the way back.
# But each batch norm that runs twice then updates its running mean and variance twice (section 6).
#
# `block` is a `DenseBlock` of `BottleneckLayer`s, or a `FrugalBlock`.
# Return what its layers make of `x`, with the memory of a `FrugalBlock`, the same gradients, and with
# running means and variances as a plain `DenseBlock` has them: after each forward pass, and still after the backward pass.
# In eval mode they are used, and do not change.


# %%
def counted_once(block, x):
    ### BEGIN SOLUTION
    def squeeze(layer, runs, *maps):
        norm = layer.norm1
        momentum = 0.0 if runs else norm.momentum       # the second time nothing moves
        runs.append(1)
        x = F.batch_norm(
            torch.cat(maps, dim=1), norm.running_mean, norm.running_var,
            norm.weight, norm.bias, norm.training, momentum, norm.eps,
        )
        return layer.dropout(layer.conv1(F.relu(x)))

    maps = [x]
    for layer in block.layers:
        inner = recompute(squeeze, layer, [], *maps, use_reentrant=False)
        maps.append(layer.grow(inner))
    return torch.cat(maps, dim=1)
    ### END SOLUTION
