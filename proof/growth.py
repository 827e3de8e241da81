"""How cost grows: with the length of a text, with depth, with what is kept."""

import math
import statistics
import time
from functools import partial

import torch
from matplotlib.figure import Figure

from kit.probe import saved_for_backward
from kit.view.style import ROLES
from lessons import ctrl, densenet, resnet
from lessons.deberta import c2p_scores, delta

ROUNDS = 5


def seconds(run):
    """The median of some runs, after one that warms up."""
    taken = []
    for _ in range(ROUNDS + 1):
        begun = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


# ---- DeBERTa: content to position, one head of 64, a table of 2n rows

def by_loop(query, rows, index):
    return [[q @ rows[place] for place in line] for q, line in zip(query, index)]


def by_pair(query, rows, index):
    """A vector for each pair of tokens: n × n × d numbers."""
    return (query[:, None] * rows[index]).sum(-1)


def position_scores(score, n):
    query, rows, index = torch.randn(n, 64), torch.randn(2 * n, 64), delta(n, n)
    return seconds(lambda: score(query, rows, index))


# ---- ResNet and DenseNet: a forward and a backward pass

def pass_of(model, images):
    return seconds(lambda: model(images).square().mean().backward())


def residual(depth):
    model = resnet.cifar_net(depth, resnet.BasicBlock)
    return pass_of(model, torch.randn(16, 3, 32, 32))


def dense(kind, layers, measure=pass_of):
    block = kind(layers, 24, 12, densenet.BottleneckLayer)
    return measure(block, torch.randn(8, 24, 16, 16))


def mebibytes(block, images):
    return saved_for_backward(block, images) / 2**20


# ---- CTRL: so many new tokens after one

SIZES = ctrl.Config(vocab_size=2000, n_positions=512, n_embd=128, dff=512, n_layer=4,
                    n_head=2)


@torch.no_grad()
def anew(model, ids, length):
    """Greedy choice, where each token reads the whole text again."""
    for _ in range(length):
        new = model(ids)[:, -1:].argmax(-1)
        ids = torch.cat([ids, new], dim=1)


@torch.no_grad()
def remembered(model, ids, length):
    ctrl.generate(model, ids, length, ctrl.greedy)


def generated(write, length):
    torch.manual_seed(0)
    model = ctrl.Ctrl(SIZES).eval()
    return seconds(lambda: write(model, torch.ones(1, 1, dtype=torch.long), length))


LENGTHS, LAYERS, NEW = (32, 64, 128, 256, 512), (6, 12, 24, 48), (16, 32, 64, 128, 256)
LAW = {  # {picture: (x, y, {curve: (function of x, its x)})}
    "DeBERTa: scores of c2p": ("tokens", "milliseconds", {
        "loop": (partial(position_scores, by_loop), LENGTHS[:3]),
        "n × n × d": (partial(position_scores, by_pair), LENGTHS),
        "gather": (partial(position_scores, c2p_scores), LENGTHS),
    }),
    "ResNet: forward and backward": ("layers", "milliseconds", {
        "time": (residual, (8, 14, 20, 32, 56, 110)),
    }),
    "DenseNet: forward and backward": ("layers of a block", "milliseconds", {
        "naive": (partial(dense, densenet.DenseBlock), LAYERS),
        "checkpointed": (partial(dense, densenet.FrugalBlock), LAYERS),
    }),
    "DenseNet: kept for the backward pass": ("layers of a block", "MiB", {
        "naive": (partial(dense, densenet.DenseBlock, measure=mebibytes), LAYERS),
        "checkpointed": (
            partial(dense, densenet.FrugalBlock, measure=mebibytes), LAYERS
        ),
    }),
    "CTRL: a text written": ("new tokens", "milliseconds", {
        "without a memory": (partial(generated, anew), NEW),
        "with a memory": (partial(generated, remembered), NEW),
    }),
}


def measure():
    """{picture: {curve: [[x, y]]}}, times in milliseconds, on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {}
    for picture, (_, unit, curves) in LAW.items():
        times = 1000 if unit == "milliseconds" else 1
        found[picture] = {
            name: [[x, times * cost(x)] for x in places]
            for name, (cost, places) in curves.items()
        }
    return found


def exponent(points):
    """The a of y ~ xᵃ by least squares on logarithms, of the three largest x."""
    xs, ys = ([math.log(value) for value in side] for side in zip(*points[-3:]))
    return statistics.linear_regression(xs, ys).slope


def draw(measured, path):
    """The pictures, side by side on logarithmic axes, as an SVG file."""
    figure = Figure(figsize=(9, 10), layout="constrained", facecolor="white")
    panels = iter(figure.subplots(3, 2).flat)
    for (picture, curves), axes in zip(measured.items(), panels):
        x_label, y_label, _ = LAW[picture]
        # The last curve of a picture is what the lesson does.
        roles = ["extra0", "control", "idea"][-len(curves) :]
        for role, (name, points) in zip(roles, curves.items()):
            color, _, marker = ROLES[role]
            label = f"{name}, exponent {exponent(points):.2f}"
            axes.loglog(*zip(*points), marker=marker, color=color, label=label)
        axes.set(title=picture, xlabel=x_label, ylabel=y_label)
        axes.set_xticks(sorted({x for points in curves.values() for x, _ in points}))
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.minorticks_off()
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** (0.16 * len(curves)))
        axes.legend(loc="upper left")  # in the room that this makes
    for axes in panels:
        axes.set_axis_off()
    figure.savefig(path, metadata={"Date": None})
