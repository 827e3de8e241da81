"""The figures of the DenseNet lesson."""

from functools import partial
from itertools import combinations

from torch import nn

from kit.view import Curves, Heatmap, Layers, Network, Picture

IDEAS = ("dense", "slots", "DenseNet")


def role(name):
    """Blue for what the paper proposes, grey for what it is compared with."""
    return "idea" if name.startswith(IDEAS) else "control"


def one_digit_of_each(split):
    """The first image of each class of a Split."""
    first = [split.images[split.labels == digit][0, 0] for digit in range(10)]
    return Picture.row(
        first,
        range(10),
        caption="One training image of each class.",
        alt="The handwritten digits 0 to 9, 14×14 pixels.",
    )


def three_ways_to_join():
    """A block of five layers as a chain, with sums, and with concatenation."""
    return Network(
        lambda join: joined(join, 5),
        controls={"join": ["chain", "sum", "concatenation"]},
        start={"join": "concatenation"},
        also=[{"join": "sum"}],
        picked="next",
        caption="Blocks of five layers; concatenation after Figure 1, with k = 4. A "
        "box is as wide as what it reads. Pick a layer to see its inputs.",
        alt="Concatenation: an arc from the input and from each layer to every later "
        "one, boxes grow wider. Sum: equal boxes, after each a plus with an arc over "
        "the layer.",
    )


def joined(join, layers):
    """The frame of a Network: `layers` layers, joined in one of three ways."""
    dense = join == "concatenation"
    width = 8 if dense else 12
    box = {"kind": "conv", "size": 32}
    nodes = [{"id": "x0", "label": "x₀", "channels": width, **box, "kind": "input"}]
    arcs, before = [], "x0"
    for layer in range(1, layers + 1):
        reads = width + 4 * (layer - 1) * dense
        told = f"reads {reads} channels, makes {4 if dense else width}"
        name = f"H{layer}"
        nodes.append({"id": name, "channels": reads, "text": told, **box})
        if join == "sum":
            nodes.append({"id": f"+{layer}", "label": "+", "kind": "sum"})
            arcs.append([before, f"+{layer}", "identity"])
            before = f"+{layer}"
    reads = width + 4 * layers * dense
    told = f"what follows the block reads {reads} channels"
    nodes.append({"id": "next", "channels": reads, "text": told, **box, "kind": "pool"})
    if dense:
        pairs = combinations([node["id"] for node in nodes], 2)
        arcs = [[one, other, "concat"] for one, other in pairs]
    return {"nodes": nodes, "shortcuts": arcs}


def growing_losses(total):
    """Curves to be fed by `watch` while networks train, `total` steps in all."""
    labels = {"x_label": "step", "y_label": "training loss"}
    return Curves.live(**labels, total=total, every=10, log=True)


def watch(live, name):
    """What `fit` calls after each step: the curve `name` grows."""
    return lambda step, loss: live.add(name, step + 1, loss, role=role(name))


def what_each_layer_reads(network):
    """Bars of channels, the block's own input below, earlier layers' maps above.

    network: called as `network(growth_rate, compression)`, gives a DenseNet.
    """

    def frame(growth_rate, compression):
        own, earlier = [], []
        for block in network(growth_rate, compression).blocks:
            for layer in block.layers:
                norm = next(m for m in layer.modules() if isinstance(m, nn.BatchNorm2d))
                own.append(block.in_channels)
                earlier.append(norm.num_features - block.in_channels)
        return {
            "series": [
                {"name": "the block's own input", "values": own, "role": "control"},
                {"name": "its earlier layers", "values": earlier, "role": "idea"},
            ]
        }

    figure = Layers(
        frame,
        controls={"growth rate": [4, 8, 12, 16], "compression": [1.0, 0.5]},
        start={"growth rate": 12},
        kind="stacked",
        y_range="frame",
        x_label="layer, from input to output",
        y_label="channels it reads",
        caption="A bar is a layer. Within a block each reads k channels more than the "
        "one before; compression acts between the blocks only.",
        alt="A saw-tooth of 36 bars in three blocks: within each block every bar is "
        "higher than the one before, by the growth rate.",
    )
    more = {"growth rate": range(2, 41, 2), "compression": [1.0, 0.75, 0.5, 0.25]}
    return figure.widget(controls=more)


def errors_by_rate(errors, rates):
    """errors: {network: its mean error at each of `rates`}."""
    series = [
        {"name": name, "values": values, "role": role(name)}
        for name, values in errors.items()
    ]
    return Layers(
        {"series": series, "labels": [f"{rate:g}" for rate in rates]},
        log=True,
        y_range=(3, 100),
        x_label="learning rate",
        y_label="validation error, %",
        caption="The same four rates for each network, means of five seeds. The lowest "
        "point of each curve is taken.",
        alt="Three curves over four learning rates: the chain's lies highest, the "
        "sum's below it, that of concatenation lowest, at every rate.",
    )


def error_by_memory(errors):
    """errors: {how many maps a layer reads: test error in %}."""
    return Layers(
        {
            "series": [{"name": "error", "values": [*errors.values()], "role": "idea"}],
            "labels": [*errors],
        },
        log=True,
        y_range=(3, 40),
        x_label="how many of the maps before it a layer reads",
        y_label="test error, %",
        caption="The dose: 31 layers, 7,100 to 7,900 parameters. From the chain (1) to "
        "DenseNet (all).",
        alt="A curve over 1, 2, 3, 6 and all maps: the error falls steeply from one to "
        "three maps, and little after that.",
    )


DATA = ("C10", "C10+", "C100", "C100+", "SVHN")
KINDS = {
    "densenet_bc": "DenseNet-BC",
    "densenet": "DenseNet",
    "pre-activation": "ResNet",
    "Wide": "Wide ResNet",
}


def errors_of_table_2(rows):
    """rows: {network: (millions of parameters, errors on the five sets of DATA)}."""

    def frame(data):
        column, points = 1 + DATA.index(data), {}
        for name, row in rows.items():
            kind = next(kind for start, kind in KINDS.items() if name.startswith(start))
            if row[column] is not None:
                points.setdefault(kind, []).append((row[0], row[column]))
        series = []
        for kind, found in points.items():
            x, y = zip(*sorted(found))
            series.append({"name": kind, "x": x, "y": y, "role": role(kind)})
        return {"series": series}

    return Curves(
        frame,
        controls={"data": ["C10+", "C100+", "SVHN"]},
        x_label="parameters, millions",
        y_label="test error, %",
        caption="Table 2; a DenseNet's number is one run (§4.2). ResNet: with "
        "pre-activation, 164 and 1,001 layers. C10+, C100+: images shifted and "
        "mirrored at random. SVHN: no augmentation, dropout 0.2.",
        alt="Error against parameters on C10+: the curve of DenseNet-BC falls from "
        "4.51 at 0.8 million to 3.46 at 25.6; ResNet-1001 has 4.62 at 10.2 million.",
    )


def errors_on_imagenet(dense_sizes, dense_errors, residual_sizes, residual_errors):
    """Sizes and top-1 errors in % by depth: {depth: parameters}, {depth: error}."""
    series = []
    for name, sizes, errors in (
        ("DenseNet", dense_sizes, dense_errors),
        ("ResNet", residual_sizes, residual_errors),
    ):
        x = [sizes[depth] / 1e6 for depth in errors]
        y = [*errors.values()]
        series.append({"name": name, "x": x, "y": y, "role": role(name)})
    return Curves(
        {"series": series},
        x_label="parameters, millions",
        y_label="top-1 error, %",
        y_range=(21, 26),
        caption="ImageNet validation, one central crop. DenseNet-121, 169, 201, 264: "
        "Table 3. ResNet-50, 101, 152: the README of fb.resnet.torch, whose recipe the "
        "DenseNets took over.",
        alt="Two falling curves. DenseNet-201 has 20 million parameters and about the "
        "error of ResNet-101 with 45 million.",
    )


def feature_use(use, networks, blocks):
    """How much readers make of each map of a source.

    use: called as `use(network, block)`, gives (sources, readers).
    networks: {title: network}. blocks: the numbers to choose from.
    """
    return who_reads_whom(
        use,
        networks,
        blocks,
        value_label="use, times the reader's average map",
        caption="Who uses whose features, per map (“next” is what follows the block). "
        "Watch the top row, the block's input.",
        alt="Three triangular maps. Untrained and with weak weight decay they are "
        "even; with strong weight decay the top row, the input, is darkest.",
    )


def feature_use_in_total(use, networks, blocks):
    """How much of its weights a reader spends on each source; arguments as above."""
    return who_reads_whom(
        partial(use, measure="in total"),
        networks,
        blocks,
        value_label="share of the reader's |weight|",
        caption="The same weights, added up: the share of each source.",
        alt="Three triangular maps. In all of them the top row, the input, is by far "
        "the brightest, brighter for early readers than for late ones.",
    )


def who_reads_whom(use, networks, blocks, **labels):
    def frame(block):
        panels = [
            {
                "title": title,
                "values": use(network, block),
                "role": "control" if title == "untrained" else "idea",
            }
            for title, network in networks.items()
        ]
        names = ["input", *(f"H{number}" for number in range(1, 7))]
        return {"panels": panels, "rows": names, "columns": [*names[1:], "next"]}

    controls = {"block": blocks}
    return Heatmap(
        frame, controls=controls, x_label="layer that reads", y_label="source", **labels
    )


def gradients(turns):
    """turns: {network: |gradient| / |weight| of each 3×3 kernel, first to last}."""
    series = [
        {"name": name, "values": values, "role": role(name)}
        for name, values in turns.items()
    ]
    return Layers(
        {"series": series},
        log=True,
        x_label="3×3 convolution of the blocks, from input to output",
        y_label="|gradient| / |weight|",
        caption="Before training, on 64 digits. Compare the slopes: do sum and "
        "concatenation differ?",
        alt="Four curves over 27 convolutions: the chain's grows steeply towards the "
        "input; those of sum, concatenation and slots are all much flatter.",
    )


def memory(depths, naive, frugal):
    """depths: layers in a block; naive, frugal: MiB that are kept, for each."""
    return Curves(
        {
            "series": [
                {"name": "all kept", "x": depths, "y": naive, "role": "control"},
                {"name": "recomputed", "x": depths, "y": frugal, "role": "idea"},
            ]
        },
        x_label="layers in the block",
        y_label="kept for the backward pass, MiB",
        caption="Bytes that torch keeps, counted. One bends upwards like a square, the "
        "other is a straight line.",
        alt="Two curves over 6 to 48 layers: kept concatenations bend up to about 135 "
        "MiB, recomputation rises straight to about 20.",
    )
