# %% [markdown]
# # ResNet: exercises for an assignment, with solutions

# %%
import torch
from torch import nn

# %% [markdown]
# ### What the number in a name counts
#
# *easy, 2 points*
#
# The 34 of ResNet-34 and the 50 of ResNet-50 count layers with weights, projections aside.
# Compute it from the blocks in each stage, `[3, 4, 6, 3]` for both, and from the kind of block.


# %%
def layers(blocks, bottleneck):
    ### BEGIN SOLUTION
    return (3 if bottleneck else 2) * sum(blocks) + 2
    ### END SOLUTION


# %% [markdown]
# ### How far does a pixel see?
#
# *medium, 3 points*
#
# A number behind two 3×3 convolutions of stride 1 depends on 5 pixels of a row of the image: that is its *receptive field*.
# Compute it for any sequence of layers, each given as `(size, stride)`, from input to output.
# Mind that a stride makes every later layer see more.


# %%
def receptive_field(layers):
    ### BEGIN SOLUTION
    field, step = 1, 1                  # step: pixels of the image from one to the next
    for size, stride in layers:
        field += (size - 1) * step
        step *= stride
    return field
    ### END SOLUTION


# %% [markdown]
# ### Take a block out
#
# *medium, 4 points*
#
# A trained ResNet survives the loss of one block; a plain network does not.
# To try it: return a *copy* of a `ResNet` in which block `number` (0, 1, 2 … through all stages) passes its input on unchanged.
# A block that changes the shape cannot go: raise a `ValueError` for it.
# The model that was given must stay as it is.


# %%
def without_block(model, number):
    ### BEGIN SOLUTION
    from copy import deepcopy

    model = deepcopy(model)
    places = [(stage, i) for stage in model.stages for i in range(len(stage))]
    stage, i = places[number]
    if stage[i].stride != 1 or stage[i].extra != 0:
        raise ValueError(f"block {number} changes the shape of what it reads")
    stage[i] = nn.Identity()
    return model
    ### END SOLUTION


# %% [markdown]
# ### Fold the batch norm away
#
# *hard, 5 points*
#
# After training, a batch norm is an affine map of each channel with fixed numbers (its running mean and variance, its scale and shift).
# A convolution before it can do that itself.
# Return *one* `nn.Conv2d`, with a bias, that gives what `norm.eval()(convolution(x))` gives.
# Size, stride and padding are the convolution's own; neither of the two may be changed.


# %%
def folded(convolution, norm):
    ### BEGIN SOLUTION
    one = nn.Conv2d(
        convolution.in_channels, convolution.out_channels, convolution.kernel_size,
        stride=convolution.stride, padding=convolution.padding,
    )
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    with torch.no_grad():
        one.weight.copy_(convolution.weight * factor[:, None, None, None])
        one.bias.copy_(norm.bias - norm.running_mean * factor)
        if convolution.bias is not None:
            one.bias.add_(convolution.bias * factor)
    return one
    ### END SOLUTION
