"""Looking inside a model: sizes, activations, gradients."""

from contextlib import contextmanager

import torch
from torch.utils.flop_counter import FlopCounterMode


def parameters(model):
    """The number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def multiply_adds(model, *shape):
    """Multiply-adds of one forward pass on a zero input of `shape`, on its device.

    Counts convolutions and matrix products; torch counts a multiply-add as two
    operations, hence the half.
    """
    weight = next(model.parameters())
    was_training = model.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(weight.new_zeros(shape))
    model.train(was_training)
    return counter.get_total_flops() // 2


@contextmanager
def activations(model, names):
    """Record, while the block runs, what goes into the named submodules and comes out.

    Yields {name: (input, output)}, which fills as the model runs.
    """
    modules, seen = dict(model.named_modules()), {}
    unknown = [name for name in names if name not in modules]
    if unknown:
        there = ", ".join(name for name in modules if name)
        raise ValueError(f"no submodule {unknown[0]!r}; there are {there}")

    def hook(name):
        def record(module, inputs, output):
            seen[name] = inputs[0].detach(), output.detach()

        return record

    handles = [modules[name].register_forward_hook(hook(name)) for name in names]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def gradient_norms(model, kind=torch.nn.Conv2d):
    """Euclidean norm of the weight gradient of every submodule of class `kind`.

    Returns {name: float}, first to last.
    """
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, kind)]
    weights = {name: m.weight for name, m in found}
    if all(w.grad is None for w in weights.values()):
        raise ValueError("the model has no gradients yet: call loss.backward() first")
    norms = torch.stack([w.grad.norm() for w in weights.values()]).tolist()
    return dict(zip(weights, norms))


def saved_for_backward(model, *inputs):
    """Bytes of the tensors that a forward pass keeps for the backward pass.

    Each storage counts once; weights are left out.

    The forward pass is a real one: in training mode the statistics of batch norms move.
    """
    if not torch.is_grad_enabled():
        why = "gradients are switched off, so nothing is kept"
        raise ValueError(f"{why}: leave torch.no_grad() first")
    weights, sizes = {p.untyped_storage() for p in model.parameters()}, {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage not in weights:
            sizes[storage] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(*inputs)
    return sum(sizes.values())


class Norms:
    """An `on_step` for `kit.train.fit` that keeps how long gradients and weights are.

    gradients, weights: a row for each convolution, a column for each step so far.
    """

    def __init__(self, model):
        kernels = [m.weight for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
        self.kernels, self.steps = kernels, []

    def __call__(self, step, loss):
        gradients = torch.stack([kernel.grad.norm() for kernel in self.kernels])
        weights = torch.stack([kernel.detach().norm() for kernel in self.kernels])
        self.steps.append(torch.stack([gradients, weights]))

    @property
    def gradients(self):
        return torch.stack(self.steps)[:, 0].T

    @property
    def weights(self):
        return torch.stack(self.steps)[:, 1].T
