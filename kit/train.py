"""One training loop for all lessons."""

import math
import os
import random
import re

import numpy as np
import torch

LARGEST_SEED = 2**31 - 1  # room for what lessons add, in the 32 bits that NumPy takes


def seed():
    """Seed Python, NumPy and torch with `LESSON_SEED` (default 0); returns that number.

    Raises ValueError when this environment variable is none of 0 to LARGEST_SEED.
    """
    text = os.environ.get("LESSON_SEED", "0")
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > LARGEST_SEED:
        right = f"a whole number from 0 to {LARGEST_SEED}"
        raise ValueError(f"LESSON_SEED should be {right}, not {text!r}")
    value = int(text)
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
    return value


def generator_on(device, random):
    """`random` itself, if it draws on `device`; else one that does, with its seed."""
    if random.device.type == torch.device(device).type:
        return random
    try:
        return torch.Generator(device).manual_seed(random.initial_seed())
    except RuntimeError:  # `meta` and the like draw no numbers
        return random


def placed(tensor, model):
    """`tensor` on the model's device, and in its floating type if it is of one."""
    weight = next(model.parameters())
    return tensor.to(weight if tensor.is_floating_point() else weight.device)


def fit(model, batches, loss, optimizer, schedule=None, on_step=None):
    """Train `model` in place and return the loss of every step, `(steps,)`.

    batches: any iterable of (inputs, targets), one a step, `placed` for the model.
    loss: `loss(model(inputs), targets)` gives a scalar tensor.
    schedule: a torch learning-rate scheduler, advanced once a step.
    on_step: called as `on_step(step, loss)` when the gradients of the step are there
    and before the weights change.
    Raises ValueError where the loss is not a number.
    """
    losses = []
    model.train()
    for step, (inputs, targets) in enumerate(batches):
        value = loss(model(placed(inputs, model)), placed(targets, model))
        optimizer.zero_grad()
        value.backward()
        losses.append(value.item())
        if math.isnan(losses[-1]):
            why = "nothing was asked in this batch, or the learning rate is too high"
            raise ValueError(f"the loss of step {step} is not a number: {why}")
        if on_step is not None:
            on_step(step, losses[-1])
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return np.array(losses)


@torch.no_grad()
def error(model, split):
    """Percent of the images of a Split that a classifier gets wrong, in eval mode."""
    was_training = model.training
    found = model.eval()(placed(split.images, model)).argmax(1)
    wrong = found != placed(split.labels, model)
    model.train(was_training)
    return 100 * wrong.float().mean().item()
