# %% [markdown]
# # DeBERTa: exercises for an assignment, with solutions

# %%
import torch
from torch import nn

from lessons.deberta import OFFSETS, delta

# %% [markdown]
# ### Rows that learn
#
# *easy, 2 points*
#
# The table P has 2k rows, but a text of n tokens does not have all distances.
# How many rows of P do its pairs of tokens use, and so give a gradient to?
# A token is a pair with itself, too.


# %%
def rows_used(n, k):
    ### BEGIN SOLUTION
    # 2n − 1 distances, from −n + 1 to n − 1, and never more rows than there are.
    return min(2 * n - 1, 2 * k)
    ### END SOLUTION


# %% [markdown]
# ### The part that was dropped
#
# *medium, 3 points*
#
# The fourth part of Eq. 2 compares two positions, $P_{i|j} P_{j|i}^\top$.
# With projections as in Eq. 4 its entry (i, j) is row δ(j, i) of `position_query` times row δ(i, j) of `position_key`.
# Both are `(heads, 2k, d)`. Return these scores for a text of n tokens, `(heads, n, n)`, unscaled.
# No tensor may grow as large as n × n × d.
# (Look at the result: why did the authors think that they could do without?)


# %%
def p2p_scores(position_query, position_key, n):
    ### BEGIN SOLUTION
    index = delta(n, position_key.shape[-2] // 2)
    products = position_query @ position_key.transpose(-2, -1)  # (heads, 2k, 2k)
    return products[:, index.T, index]
    ### END SOLUTION


# %% [markdown]
# ### A table and a difference
#
# *medium, 4 points*
#
# DeBERTa-V3's discriminator has the table of words $E_D = \mathrm{sg}(E_G) + E_\Delta$ (section 9).
# Write it as a module that is made of the generator's `nn.Embedding` and takes ids of any shape to vectors.
# The difference starts at 0, and is the module's only parameter.
# What the generator learns later shows in the vectors at once; of the discriminator's loss it feels nothing.


# %%
class WithDifference(nn.Module):
    def __init__(self, table):
        super().__init__()
        ### BEGIN SOLUTION
        self.table = [table]    # in a list: its weights are not those of this module
        self.difference = nn.Parameter(torch.zeros_like(table.weight))
        ### END SOLUTION

    def forward(self, ids):
        ### BEGIN SOLUTION
        (table,) = self.table
        return table(ids).detach() + self.difference[ids]
        ### END SOLUTION


# %% [markdown]
# ### A head without training
#
# *hard, 5 points*
#
# Solve "reader" and "sender" by hand, with one term and no gradient.
# Token `letter + 8 · which` says the offset `OFFSETS[which]`, as in the lesson.
# Return two tables, of any width d: `content` `(48, d)`, the vector of each token, and `position` `(2k, d)`.
#
# - For "reader" they are queries and position keys, and make the scores `c2p_scores(content[ids], position, delta(n, k))`.
# - For "sender" they are keys and position queries, and make `p2c_scores(content[ids], position, delta(n, k))`.
#
# After a softmax (no division) each token that is asked shall give over 99% of its weight to the place of its answer, in texts of any length.
# Raise a `ValueError` for a k so small that no tables can do it.


# %%
def by_hand(task, k):
    ### BEGIN SOLUTION
    if k < OFFSETS.max() + 2:       # the last row stands for all that is far, too
        raise ValueError(f"{k} is too small: some offset has no row of its own")
    content = 20 * torch.eye(len(OFFSETS)).repeat_interleave(8, 0)
    # Offset o leads the reader from i to j = i + o, the sender from j to i = j + o.
    distance = -OFFSETS if task == "reader" else OFFSETS            # i − j
    position = torch.zeros(2 * k, len(OFFSETS))
    position[distance + k] = torch.eye(len(OFFSETS))
    return content, position
    ### END SOLUTION
