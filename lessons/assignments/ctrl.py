# %% [markdown]
# # CTRL: exercises for an assignment, with solutions

# %%
import torch

from lessons.ctrl import TOKEN, new_memory, read_on

# %% [markdown]
# ### Three perplexities
#
# *easy, 2 points*
#
# The authors' README prints perplexities: "I lost 10 lbs! Feeling great!" has 28.96 under *Diet*, 29.22 under *Weight* and 36.16 under *Fitness*.
# A perplexity is exp of the mean −log p of a token.
# How sure is the verdict? It depends on the number of tokens.
# Given the perplexities of a text under each code, a tensor `(codes,)`, and its number of tokens,
# return p(code | text), `(codes,)`, with equal priors (§5).
# A text may have thousands of tokens.


# %%
def from_perplexities(perplexities, tokens):
    ### BEGIN SOLUTION
    # p(text | code) is perplexity to the power of −tokens.
    return (-tokens * perplexities.log()).softmax(0)
    ### END SOLUTION


# %% [markdown]
# ### A penalty that no shift can move
#
# *medium, 3 points*
#
# The paper's penalty (§4.1) makes a seen token *likelier* where its logit is negative, and changes when all logits are shifted.
# Mend both: penalise log-probabilities in place of logits.
# What a seen token had as its probability p becomes p to the power of θ; then all are made to sum to 1 again.
# `logits` and `seen` are `(batch, vocab)`, as for `penalised`; leave them as they are.
# A logit may be −∞, and a probability far too small for a float.


# %%
def steady(logits, seen, theta):
    ### BEGIN SOLUTION
    log_p = logits.log_softmax(-1)
    return torch.where(seen, theta * log_p, log_p).softmax(-1)
    ### END SOLUTION


# %% [markdown]
# ### When nobody tells the code
#
# *medium, 4 points*
#
# The code gave little to a language model (section 4), because the text soon tells its kind.
# So a CTRL can do without: it guesses the code from the text so far, and predicts by what it guessed.
#
# $$p(x_{n+1} \mid x_1 \dots x_n) = \sum_c p(c \mid x_1 \dots x_n)\; p(x_{n+1} \mid x_1 \dots x_n, c)$$
#
# `ids` `(n,)` are the tokens so far, without a code; there may be none.
# Return the probabilities of the next token, `(vocab,)`, with all codes in `TOKEN`, and equal priors.


# %%
def without_a_code(model, ids):
    ### BEGIN SOLUTION
    codes = torch.tensor(list(TOKEN.values()))
    behind = torch.cat([codes[:, None], ids.expand(len(codes), -1)], dim=1)
    with torch.no_grad():
        log_p = model(behind).log_softmax(-1)           # (codes, 1 + n, vocab)
    read = log_p[:, :-1].gather(2, behind[:, 1:, None])
    code = read.sum((1, 2)).softmax(0)                  # p(code | text so far)
    return code @ log_p[:, -1].exp()
    ### END SOLUTION


# %% [markdown]
# ### Write on and on
#
# *hard, 5 points*
#
# A CTRL knows `config.n_positions` places and no more; a text may be longer.
# In training the code stood in front of *every* window, so in writing it must, too.
#
# Continue `ids` `(batch, code and prompt)` by `length` tokens, always the likeliest one, with a memory: use `new_memory` and `read_on`.
# Where the next token to be read no longer fits, begin a new memory: read the code and the last `n_positions // 2` tokens written, and go on.
# Return all ids, `(batch, code, prompt and new tokens)`.
# Read every token once, but for those that a new memory needs.


# %%
def write_on(model, ids, length):
    ### BEGIN SOLUTION
    room, code = model.config.n_positions, ids[:, :1]
    memory, new = new_memory(model, len(ids)), ids
    with torch.no_grad():
        for _ in range(length):
            past = memory[0][0].shape[2]
            if past + new.shape[1] > room:
                memory = new_memory(model, len(ids))
                new = torch.cat([code, ids[:, -(room // 2) :]], dim=1)
            new = read_on(model, new, memory)[:, -1].argmax(-1, keepdim=True)
            ids = torch.cat([ids, new], dim=1)
    return ids
    ### END SOLUTION
