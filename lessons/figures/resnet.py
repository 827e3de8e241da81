"""The figures of the ResNet lesson: one function each, named after what it shows."""

from functools import partial
from statistics import mean, stdev

import matplotlib.pyplot as plt
import torch

from kit.probe import activations
from kit.table import table
from kit.view import Curves, Heatmap, Layers, Network, Picture
from kit.view.style import ROLES


def role(name):
    return "control" if name.startswith("plain") else "idea"


def one_of_each(split):
    """The first image of each class of a `kit.data.Split`."""
    images = [split.images[split.labels == digit][0, 0] for digit in range(10)]
    return Picture.row(
        images,
        range(10),
        caption="One training image of each class.",
        alt="The handwritten digits 0 to 9, 8×8 pixels.",
    )


# --- training


def follow(live, name):
    """What `fit` is to call at each step so that `live` grows by the loss of `name`."""
    return partial(live.add, name, role=role(name))


def live_losses(steps, epochs, earlier=None):
    """A growing chart of two runs of `steps` steps, one point an epoch.

    earlier: {name: loss of every step} of runs that are over.
    """
    earlier = earlier or {}
    live = Curves.live(
        x_label="step",
        y_label="training loss",
        total=(2 + len(earlier)) * steps,
        every=steps // epochs,
        log=True,
    )
    for name, losses in earlier.items():
        for step, loss in enumerate(losses):
            follow(live, name)(step, loss)
    return live


def four_networks(stored):
    """Training and test error of the study's four networks, as a table."""
    columns = ["rate 0.03", "rate 0.1", "rate 0.3", "72 epochs"]
    rows = []
    for name in ("plain-14", "plain-32", "ResNet-14", "ResNet-32"):
        cells = [both_errors(stored.get(f"{name}, {column}")) for column in columns]
        rows.append([name, *cells])
    columns[-1] = "rate 0.1, three times as long"
    return table(["training / test error, %", *columns], rows)


def both_errors(runs):
    if runs is None:
        return "not run"
    kinds = ("training error", "test error")
    values = [[run[kind] for run in runs] for kind in kinds]
    return " / ".join(f"{mean(one):.1f} ± {stdev(one):.1f}" for one in values)


# --- the idea


def residual_block():
    """One residual block, as a drawing."""
    parts = [
        ("x", "input", "what comes in"),
        ("first 3×3", "conv", "convolution, batch norm, ReLU"),
        ("second 3×3", "conv", "convolution, batch norm: this is F(x)"),
        ("+", "sum", "F(x) + x"),
        ("ReLU", "block", "the second ReLU comes after the addition (§3.2)"),
    ]
    size = {"channels": 8, "size": 8, "shape": "8×8×8"}
    nodes = [{"id": id, "kind": kind, "text": text} | size for id, kind, text in parts]
    return Network(
        {"nodes": nodes, "shortcuts": [["x", "+", "identity"]]},
        caption="One residual block. The curved line is the shortcut; it has no "
        "weights. Pick a part.",
        alt="A chain: x, two 3×3 layers, plus, ReLU; and a curved line from x past "
        "both layers to the plus.",
    )


# --- what the paper found

TABLE_2 = {"plain": {18: 27.94, 34: 28.54}, "ResNet": {18: 27.88, 34: 25.03}}
TABLE_6 = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.61, 1202: 7.93}


def error_against_depth(stored):
    """Tables 2 and 6 of the paper, and our study, side by side."""
    depths = (8, 14, 20, 32, 44)
    ours = {kind: {} for kind in TABLE_2}
    spread = {kind: [] for kind in TABLE_2}
    for kind in ours:
        for depth in depths:
            errors = [run["test error"] for run in stored[f"{kind}-{depth}, MNIST"]]
            ours[kind][depth] = mean(errors)
            spread[kind].append(stdev(errors))
    panels = {
        "ImageNet (Table 2)": TABLE_2,
        "CIFAR-10 (Table 6)": {"ResNet": TABLE_6},
        "ours: MNIST, five seeds": ours,
    }
    drawing, axes = plt.subplots(1, 3, figsize=(8.6, 3.2))
    for axis, (title, lines) in zip(axes, panels.items()):
        for kind, errors in lines.items():
            colour, _, marker = ROLES[role(kind)]
            bars = spread[kind] if lines is ours else None
            axis.errorbar(
                errors.keys(), errors.values(), bars, c=colour, marker=marker, capsize=3
            )
            place = list(errors)[-3 if lines is ours else -1]
            below = kind == "ResNet" and "plain" in lines
            up = -16 if below else 8
            axis.annotate(
                kind,
                (place, errors[place]),
                (-4, up),
                textcoords="offset points",
                ha="right",
                color=colour,
            )
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("layers")
        axis.margins(y=0.2)
    axes[1].set_xscale("log")
    axes[1].set_xticks([20, 56, 110, 1202], ["20", "56", "110", "1202"])
    axes[1].minorticks_off()
    axes[0].set_xticks([18, 34])
    axes[0].set_ylabel("error, %")
    axes[2].set_xticks(depths)
    axes[2].set_ylim(0, 30)
    grey = ROLES["control"][0]
    axes[2].text(44, 18, f"44: {ours['plain'][44]:.0f}%", ha="right", c=grey)
    return Picture(
        drawing,
        caption="Error against depth. Left: the first guess is wrong (top-1), averaged "
        "over ten cuttings of each validation image, option A. Middle: test images; of "
        "110 layers the mean of five runs. Right: 3,000 test images; bars are standard "
        "deviations. The axes differ.",
        alt="Three charts. ImageNet: plain rises a little from 18 to 34 layers, ResNet "
        "falls by three points. CIFAR-10: ResNet falls up to 110 layers and rises "
        "again at 1,202. Ours: plain rises steeply from 20 layers on, ResNet does not.",
    )


# --- look inside


def gradients_before_training(first_gradients, plain, residual):
    """The gradient norm of every convolution, for many networks.

    first_gradients: called as `first_gradients(block, depth, batch_norm, width,
    image_size)`, gives the norms from the first convolution to the last.
    """
    blocks = {"plain": plain, "ResNet": residual}

    def frame(depth, batch_norm, width=8, image_size=8):
        series = []
        for kind, block in blocks.items():
            norms = first_gradients(block, depth, batch_norm, width, image_size)
            line = {"name": f"{kind}-{depth}", "values": norms, "role": role(kind)}
            series.append(line)
        return {"series": series}

    figure = Layers(
        frame,
        controls={"depth": [8, 20, 56, 110], "batch norm": [True, False]},
        start={"depth": 56},
        also=[{"batch norm": False}],
        y_range="frame",
        x_label="convolution, from input to output",
        y_label="gradient norm",
        log=True,
        caption="Gradient norms before training. Compare the two ends of each line, "
        "then switch batch norm off. With a kernel you get more depths and sizes; of "
        "larger images there are fewer, so that the work stays the same.",
        alt="With batch norm the plain network's line rises a thousandfold towards the "
        "input, the residual one's some tenfold. Without it the plain line lies level "
        "and far below one, the residual line far above.",
    )
    more = {"depth": range(8, 111, 6), "width": [4, 8, 12], "image size": [8, 16, 32]}
    return figure.widget(controls=more)


def turning(plain, residual):
    """Gradient, and gradient over weights, of each layer at each step.

    plain, residual: the `kit.probe.Norms` of two runs.
    """
    runs = {"plain-56": plain, "ResNet-56": residual}

    def frame(measure):
        panels = []
        for name, norms in runs.items():
            values = norms.gradients
            if "weights" in measure:
                values = values / norms.weights
            panels.append({"title": name, "values": values, "role": role(name)})
        return {"panels": panels}

    return Heatmap(
        frame,
        controls={"measure": ["‖gradient‖ / ‖weights‖", "‖gradient‖"]},
        x_label="step",
        y_label="convolution",
        value_label="norm",
        log=True,
        cursor="step",
        caption="How far a step turns each layer. At step 1 plain-56's first layers "
        "turn the fastest; move on to step 11, where they hardly turn. Then look at "
        "the gradient alone.",
        alt="In plain-56 the first layers soon turn a thousand times more slowly than "
        "the last; in ResNet-56 all layers turn at about the same speed.",
    )


def change_of_each_block(shallow, deep):
    """‖F(x)‖ / ‖x‖ of every block of two trained residual networks."""
    series = []
    for changes, dash in ((shallow, 1), (deep, 0)):
        name = f"ResNet-{2 * len(changes) + 2}"
        place = [i / (len(changes) - 1) for i in range(len(changes))]
        line = {"name": name, "x": place, "y": changes, "role": "idea", "dash": dash}
        series.append(line)
    return Curves(
        {"series": series},
        x_label="place of the block, from input (0) to output (1)",
        y_label="‖F(x)‖ / ‖x‖",
        caption="What each block adds, against what passes through. "
        "The bumps are new stages.",
        alt="Two falling lines; the line of 56 layers lies below that of 20 layers "
        "nearly everywhere.",
    )


def journey(model, split):
    """The maps that a trained ResNet-20 makes of one image of each digit."""
    examples = torch.stack([split.images[split.labels == d][0] for d in range(10)])
    blocks = [f"stages.{stage}.{block}" for stage in range(3) for block in range(3)]
    with torch.no_grad(), activations(model, ["stem", *blocks, "pool"]) as seen:
        answers = model(examples).softmax(1)

    def frame(digit):
        maps = {name: output[digit] for name, (_, output) in seen.items()}
        image, answer = examples[digit], answers[digit]
        nodes = [node("image", "image", "input", image)]
        nodes.append(node("stem", "stem", "conv", maps["stem"]))
        for name in blocks:
            stage, block = name.split(".")[1:]
            label = f"{int(stage) + 1}.{int(block) + 1}"
            nodes.append(node(name, label, "block", maps[name]))
        nodes.append(vector("pool", "average", "pool", maps["pool"], rows=4))
        text = f"answer: {answer.argmax().item()}"
        nodes.append(vector("fc", "linear", "fc", answer, rows=1, text=text))
        return {"nodes": nodes, "shortcuts": shortcuts}

    names, shortcuts = ["stem", *blocks], []
    for start, end in zip(names, names[1:]):
        widens = end in ("stages.1.0", "stages.2.0")
        shortcuts.append([start, end, "zero-pad" if widens else "identity"])
    return Network(
        frame,
        controls={"digit": list(range(10))},
        start={"digit": 3},
        picked="stages.0.0",
        caption="The trained ResNet-20. In stage 1 a map is as large as the digit; in "
        "stage 3 it has four pixels.",
        alt="Boxes from the image through the stem and nine residual blocks to the "
        "answer; below, the maps of the chosen box.",
    )


def node(name, label, kind, maps):
    """One box of a drawing, for maps `(channels, height, width)`."""
    count, size = len(maps), maps.shape[-1]
    text = f"the first 16 of its {count} maps" if count > 16 else None
    return {
        "id": name,
        "label": label,
        "kind": kind,
        "channels": count,
        "size": size,
        "shape": f"{count}×{size}×{size}",
        "maps": maps[:16],
        "text": text,
    }


def vector(name, label, kind, values, rows, text=None):
    """The same for values `(channels,)`, shown in rows as one map."""
    count = len(values)
    return {
        "id": name,
        "label": label,
        "kind": kind,
        "channels": count,
        "size": 1,
        "shape": str(count),
        "maps": values.reshape(1, rows, -1),
        "text": text,
    }
