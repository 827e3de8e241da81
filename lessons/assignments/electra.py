# %% [markdown]
# # ELECTRA: exercises for an assignment, with solutions

# %%
from copy import deepcopy

import torch.nn.functional as F

from lessons.electra import Discriminator

# %% [markdown]
# ### How much to hide?
#
# *easy, 2 points*
#
# A good generator often draws the word that stood there, and that is no fake.
# So for ELECTRA-Large the paper hides 25% of the tokens instead of 15% (Table 6).
# Say that a draw is right with probability `right`.
# Which share of the tokens must be hidden so that a share `fakes` of *all* tokens is replaced, on average?
# Raise a `ValueError` where even hiding everything is not enough.


# %%
def share_to_hide(fakes, right):
    ### BEGIN SOLUTION
    if fakes > 1 - right:
        raise ValueError(f"at most {1 - right:.0%} can be fakes")
    return fakes / (1 - right)
    ### END SOLUTION


# %% [markdown]
# ### The second of two stages
#
# *medium, 3 points*
#
# The paper also trains in two stages (§3.2): first the generator alone, and then the discriminator, *which begins with the generator's weights*.
# (Without those it sometimes never learns more than to say "original" everywhere.)
# Return that `Discriminator` for a trained `MaskedLM`.
# It gets all weights of the encoder, and its own new head.
# While it is trained the generator must stay as it is: the two may have no tensor in common.


# %%
def second_stage(generator):
    ### BEGIN SOLUTION
    return Discriminator(deepcopy(generator.encoder))
    ### END SOLUTION


# %% [markdown]
# ### All-Tokens MLM
#
# *medium, 4 points*
#
# In Table 5 only one way comes near ELECTRA: an MLM that reads the generator's words and must name the right word at *every* place (§3.5).
# As most words are right already, it has a gate: with probability D it copies the word that it reads, and otherwise it draws from its softmax.
#
# `words` `(batch, n, vocabulary)` are its logits, `copy` `(batch, n)` the logits of the gate (D is their sigmoid), `read` `(batch, n)` the ids that it reads.
# Return the probability of every word, `(batch, n, vocabulary)`.


# %%
def all_tokens(words, copy, read):
    ### BEGIN SOLUTION
    gate = copy.sigmoid()[..., None]                    # (batch, n, 1)
    as_read = F.one_hot(read, words.shape[-1])          # (batch, n, vocabulary)
    return gate * as_read + (1 - gate) * words.softmax(-1)
    ### END SOLUTION


# %% [markdown]
# ### A generator that fools
#
# *hard, 5 points*
#
# ELECTRA's generator is trained to be right. The paper also trained one to fool (§3.2), and it did worse.
# How does one do that at all, where no derivative passes a draw? By reinforcement (REINFORCE):
# with a reward R for each draw, and b the mean of the rewards,
#
# $$\nabla\, \mathbb E\,[R] \approx \frac1k \sum_{\text{hidden}} (R - b)\, \nabla \log p(\text{drawn})$$
#
# `guesses` `(k, vocabulary)` are the generator's logits, with gradient; `drawn` `(k)` is what was drawn.
# `suspicion` `(k)` are the discriminator's logits at these places, above 0 for "replaced", with gradient, too.
# Here R is the logarithm of the probability that the discriminator gives to "original".
# Return the number that an optimiser must *minimise* to make R large.
# No gradient may reach the discriminator.


# %%
def fooling_loss(guesses, drawn, suspicion):
    ### BEGIN SOLUTION
    reward = F.logsigmoid(-suspicion).detach()          # (k): log P("original")
    log_p = guesses.log_softmax(-1)                     # (k, vocabulary)
    log_p = log_p.gather(1, drawn[:, None])[:, 0]       # (k): of what was drawn
    return -((reward - reward.mean()) * log_p).mean()
    ### END SOLUTION
