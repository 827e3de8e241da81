# %% [markdown]
# # ALBERT: exercises for an assignment, with solutions

# %%
import torch

from lessons.albert import new_layer

# %% [markdown]
# ### How long is a hidden run?
#
# *easy, 2 points*
#
# ALBERT hides runs of n words, n = 1, 2 … N, short ones more often: p(n) is proportional to 1/n (§4.1).
# How many words does a run have on average? `longest` is N; the paper's is 3.


# %%
def mean_run(longest):
    ### BEGIN SOLUTION
    weights = [1 / n for n in range(1, longest + 1)]
    # n · 1/n is 1, so the mean of n is N over the sum of the weights.
    return longest / sum(weights)
    ### END SOLUTION


# %% [markdown]
# ### Layers in groups
#
# *medium, 3 points*
#
# Between one layer for all and a layer for each place there is a middle way (§4.5):
# divide the L layers into groups of neighbours, and share within each group.
# Return the list of the L = `config.num_hidden_layers` layers for an `Encoder`, in the order in which they run.
# With 6 layers in 2 groups the first three places have one layer, the last three another.
# Raise a `ValueError` where the groups cannot be of equal size.


# %%
def in_groups(config, groups):
    ### BEGIN SOLUTION
    size, left = divmod(config.num_hidden_layers, groups)
    if left:
        raise ValueError(f"{groups} groups of equal size are not possible")
    layers = []
    for _ in range(groups):
        layers += [new_layer(config)] * size            # one object, `size` times
    return layers
    ### END SOLUTION


# %% [markdown]
# ### The best narrow table
#
# *medium, 4 points*
#
# ALBERT learns its narrow table from nothing. What if there is a trained full table, V × H?
# Return two matrices, `words` (V × E) and `widen` (E × H), whose product comes as near to `table` as possible:
# with the least sum of squared differences.


# %%
def factorised(table, E):
    ### BEGIN SOLUTION
    left, scale, right = torch.linalg.svd(table, full_matrices=False)
    return left[:, :E] * scale[:E], right[:E]           # the E largest come first
    ### END SOLUTION


# %% [markdown]
# ### One layer's weights, and one use's memory
#
# *hard, 5 points*
#
# A shared layer saves weights, but training still stores what every *use* of it needs for the backward pass.
# It need not: keep the input of each use only, and compute the rest again on the way back.
#
# `layer` is used `uses` times in a row, from `x` on; `loss_of(y)` is the loss of what comes out.
# Return the gradient of the loss for the layer's parameters: a list of tensors, in the order of `layer.parameters()`.
# At no time may more be stored for the backward pass than one use needs.
# Leave `layer` (its `.grad`, too) and `x` as they are; there is no dropout.


# %%
def shared_gradient(layer, x, uses, loss_of):
    ### BEGIN SOLUTION
    with torch.no_grad():
        inputs = [x]
        for _ in range(uses):
            inputs.append(layer(inputs[-1]))
    y = inputs.pop().requires_grad_()
    (flow,) = torch.autograd.grad(loss_of(y), y)        # of the loss, by what comes out
    weights = list(layer.parameters())
    total = [torch.zeros_like(weight) for weight in weights]
    for before in reversed(inputs):
        before = before.detach().requires_grad_()
        flow, *found = torch.autograd.grad(layer(before), [before, *weights], flow)
        total = [one + other for one, other in zip(total, found)]
    return total
    ### END SOLUTION
