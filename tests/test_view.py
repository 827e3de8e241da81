import base64
import io
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest
import torch
from support import ADDRESS, data_of, unpacked, work

from kit.view import (
    Apart,
    Attention,
    Curves,
    Heatmap,
    Layers,
    Network,
    Picture,
    Predict,
)
from kit.view.figure import deflated, number, quantise
from kit.view.style import ROLES

HOSTILE = "</script><script>alert(1)</script><b>&amp;"
TEXT = {"caption": "What to see.", "alt": "What is drawn."}
HEAT = {"x_label": "x", "y_label": "y", "value_label": "v"}


def one_series(values, **options):
    """A frame of Layers with a single series."""
    return {"series": [{"name": "a", "values": values, **options}]}


def bars(frame, **options):
    return Layers(frame, **{"y_label": "y"} | TEXT | options)


def gradients(depth, shortcut="plain", batch_norm=True, width=16):
    """A frame with the spread of the real thing: 1e-13 to 1e6 over up to 110 layers."""
    if width == 5:
        raise ValueError("width 5\nis not\ndivisible")
    layer = np.arange(depth)
    values = np.full(depth, 10 ** (-0.12 * depth))
    if batch_norm:
        values = 10 ** (0.055 * (depth - layer))
    line = {"name": f"{shortcut}-{depth}", "values": values * width / 16}
    line["role"] = "idea" if shortcut == "residual" else "control"
    return {"series": [line], "note": f"depth {depth}"}


def layers(**options):
    controls = {
        "depth": [8, 20, 56, 110],
        "shortcut": ["plain", "residual"],
        "batch norm": [True, False],
    }
    labels = {"y_label": "gradient norm", "log": True}
    options = {"controls": controls} | labels | TEXT | options
    return Layers(gradients, **options)


def heatmap():
    noise = np.random.default_rng(0)
    values = 10 ** noise.normal(size=(2, 56, 168))
    values[0, 0, 1] = np.nan
    plain = {"title": "plain-56", "values": values[0], "role": "control"}
    residual = {"title": "ResNet-56", "values": values[1], "role": "idea"}
    frame = {"panels": [plain, residual], "columns": range(168)}
    labels = {"x_label": "step", "y_label": "layer", "value_label": "gradient norm"}
    return Heatmap(frame, log=True, cursor="step", **labels, **TEXT)


def curves():
    steps = range(168)
    series = []
    for name, end in (("a", 0.1), ("b", 0.11), ("c", 0.12), ("d", 1.0)):
        y = [end + 2 * 0.97**step for step in steps]
        role = "idea" if name < "c" else "control"
        series.append({"name": f"network {name}", "x": steps, "y": y, "role": role})
    return Curves({"series": series}, x_label="step", y_label="loss", **TEXT)


def network(count=30):
    noise = np.random.default_rng(0)
    image = {"channels": 1, "size": 8, "shape": "1×8×8"}
    image["maps"] = noise.random((1, 8, 8))
    nodes = [{"id": "x", "kind": "input", "label": "image"} | image]
    for i in range(count - 2):
        channels, size = [(16, 8), (32, 4), (64, 2)][3 * i // (count - 2)]
        maps = noise.normal(size=(16, size, size))
        nodes.append({
            "id": i,
            "kind": "block",
            "label": f"block {i}",
            "channels": channels,
            "size": size,
            "shape": f"{channels}×{size}×{size}",
            "text": "two convolutions",
            "maps": maps,
        })
    last = {"label": "linear", "channels": 10, "shape": "10"}
    nodes.append({"id": "fc", "kind": "fc"} | last)
    shortcuts = []
    for i in range(count - 3):
        same = nodes[i]["channels"] == nodes[i + 1]["channels"]
        shortcuts.append([i, i + 1, "identity" if same else "zero-pad"])
    return Network({"nodes": nodes, "shortcuts": shortcuts}, picked=3, **TEXT)


def channels(growth_rate, layers, compression):
    """The input channels of the layers of dense blocks: a saw-tooth."""
    inputs, grown, labels, count = [], [], [], 2 * growth_rate
    for block, depth in enumerate(layers, 1):
        inputs += [count] * depth
        grown += [growth_rate * i for i in range(depth)]
        labels += [f"block {block}, layer {i + 1}" for i in range(depth)]
        count += growth_rate * depth
        if compression == "half":
            count //= 2
    series = [
        {"name": "from the block's input", "values": inputs, "role": "control"},
        {"name": "from the layers before", "values": grown, "role": "idea"},
    ]
    note = f"{growth_rate}, {layers}, {compression}"
    return {"series": series, "labels": labels, "note": note}


PRESETS = {
    "DenseNet-BC, L = 100, k = 12": {
        "growth rate": 12, "layers": (16, 16, 16), "compression": "half",
    },
    "DenseNet-121": {
        "growth rate": 32, "layers": (6, 12, 24, 16), "compression": "half",
    },
    "a hundred layers": {"layers": (5, 31, 64)},
}


def explorer(**options):
    blocks = [(5, 5, 5), (16, 16, 16), (6, 12, 24, 16), (5, 31, 64)]
    controls = {
        "growth rate": [12, 24, 32],
        "layers": blocks,
        "compression": ["none", "half"],
    }
    shape = {"kind": "stacked", "y_range": "frame"}
    options = shape | {"presets": PRESETS, "controls": controls} | TEXT | options
    return Layers(channels, y_label="input channels", **options)


def parameters():
    parts = {
        "embedding": ([23.8, 31.8, 3.9], None),
        "attention": ([28.3, 100.8, 2.4], "idea"),
        "feed-forward": ([56.7, 201.5, 4.7], "selected"),
        "rest": ([0.7, 1.2], "control"),
    }
    series = [
        {"name": name, "values": values, "role": role}
        for name, (values, role) in parts.items()
    ]
    frame = {"series": series, "labels": ["BERT base", "BERT large", "ALBERT base"]}
    labels = {"y_label": "parameters, millions", "x_label": "model"}
    return Layers(frame, kind="stacked", **labels, **TEXT)


def dense(count=5):
    box = {"kind": "conv", "channels": 12, "size": 32, "shape": "12×32×32"}
    nodes = [{"id": f"H{i}"} | box for i in range(count + 1)]
    nodes[0] |= {"id": "x0", "kind": "input", "channels": 24, "shape": "24×32×32"}
    end = {"kind": "pool", "channels": 12 * count + 24, "size": 16}
    nodes.append({"id": "transition"} | end)
    ids = [node["id"] for node in nodes]
    arcs = [[a, b, "concat"] for i, a in enumerate(ids) for b in ids[i + 1 :]]
    return Network({"nodes": nodes, "shortcuts": arcs}, picked="H4", **TEXT)


def predict():
    choices = ["plain-20", "plain-56", "neither"]
    return Predict("Which one is lower?", choices, name="degradation")


@pytest.fixture(scope="module")
def gallery():
    """One figure of each kind, at real sizes."""
    change = {"name": "change", "values": [0.3, float("nan"), 0.2]}
    changes = {"series": [change], "labels": ["first", "second", "third"]}
    drawing, axes = plt.subplots()
    axes.plot([1, 2])
    asked = predict()
    return {
        "layers": layers(),
        "bars": Layers(changes, y_label="‖F(x)‖ / ‖x‖", x_label="block", **TEXT),
        "heatmap": heatmap(),
        "curves": curves(),
        "network": network(),
        "explorer": explorer(),
        "stacked": parameters(),
        "dense": dense(),
        "predict": asked,
        "reveal": asked.reveal(0, "The deeper one is harder to optimise."),
        "picture": Picture(drawing, **TEXT),
    }


# -- the HTML


def test_every_figure_is_one_self_contained_block(gallery):
    for name, figure in gallery.items():
        html = figure.html
        figure_tag = '<figure class="pcc-figure [^"]*" data-figure="'
        assert re.match(figure_tag, html) and html.endswith("</figure>"), name
        blank = re.search(r"\n\s*\n", html)
        assert not blank, f"{name}: a blank line ends an HTML block in Markdown"
        assert not re.search(ADDRESS, unpacked(html)), f"{name}: an address"
        assert '<div class="pcc-fallback">' in html and "<figcaption>" in html, name
        picture, words = "<img alt=" in html, "<details>" in html
        assert picture != words, f"{name}: a picture with a text, or a text"
        bundle = figure._repr_mimebundle_()
        assert bundle["text/html"] == html
        assert bundle["text/plain"].startswith(f"<{type(figure).__name__}: ")


def test_sizes(gallery):
    limits = {"layers": 60, "bars": 50, "heatmap": 160, "curves": 70, "network": 95}
    limits |= {"predict": 35, "reveal": 35, "picture": 60}
    limits |= {"explorer": 90, "stacked": 50, "dense": 60}
    sizes = {name: len(figure.html.encode()) / 1000 for name, figure in gallery.items()}
    assert all(sizes[name] < limits[name] for name in limits), sizes
    whole = "".join(figure.html for figure in gallery.values())
    for picture in re.findall(r"base64,([\w+/=]+)\" style", whole):
        assert len(base64.b64decode(picture)) < 40_000


def picture_of(figure):
    """The still picture in a figure's HTML."""
    encoded = re.search(r"data:image/png;base64,([\w+/=]+)", figure.html).group(1)
    return PIL.Image.open(io.BytesIO(base64.b64decode(encoded)))


def test_fallback_is_an_opaque_picture(gallery):
    for name in gallery.keys() - {"predict", "reveal"}:
        shot = picture_of(gallery[name]).convert("RGBA")
        assert shot.getpixel((0, 0)) == (255, 255, 255, 255), name
        assert len(shot.getcolors(100_000)) > 3, f"{name}: nothing drawn"


MAKERS = [layers, heatmap, curves, network, explorer, dense, predict]


@pytest.mark.parametrize("make", MAKERS)
def test_same_input_same_bytes(make):
    assert make().html == make().html


def test_the_id_does_not_depend_on_the_data():
    # so that a run on another machine stores the same text
    first = bars(one_series([1.0, 2.0])).html
    second = bars(one_series([1.00123, 2.5])).html
    assert first != second and first.split("pcc-live")[0] == second.split("pcc-live")[0]


def hostile():
    frame = one_series([1, 2]) | {"labels": [HOSTILE, "b"], "note": HOSTILE}
    frame["series"][0]["name"] = HOSTILE
    words = {"y_label": HOSTILE, "caption": HOSTILE, "alt": HOSTILE}
    return Layers({HOSTILE: frame}, controls={HOSTILE: [HOSTILE]}, **words)


def test_hostile_strings_stay_text():
    figure = hostile()
    asked = Predict(HOSTILE, [HOSTILE, "b"], name=HOSTILE)
    for one in (figure, asked, asked.reveal(1, HOSTILE)):
        assert one.html.count("</script>") == 2 and one.html.count("<script") == 2
        assert "<b>" not in one.html
    assert data_of(figure)["frames"][0]["labels"] == [HOSTILE, "b"]


def test_what_is_not_finite_is_kept_apart():
    figure = bars(one_series([1.0, np.nan, np.inf, -np.inf]))
    (frame,) = data_of(figure)["frames"]
    assert frame["series"][0]["values"] == [1, "nan", "inf", "-inf"]
    # 0 has no logarithm
    packed = quantise(np.array([[0.0, 1.0, np.nan]]), 16, log=True)
    codes = np.frombuffer(base64.b64decode(packed["data"]), "<u2")
    assert list(codes) == [65535, 0, 65535]
    heat = {"panels": [{"title": "empty", "values": np.full((3, 3), np.nan)}]}
    assert Heatmap(heat, **HEAT, **TEXT).html
    assert bars(one_series([np.nan]), log=True).html


def test_numbers_and_arrays():
    given = 0.123456, 123456, 123456.0, 1.23456e-13, np.int64(7), torch.tensor(0.5)
    stored = [0.1235, 123456, 123456, 1.235e-13, 7, 0.5]
    assert [number(value) for value in given] == stored
    values = 10 ** np.linspace(-13, 6, 500)
    packed = quantise(values, 16, log=True)
    codes = np.frombuffer(base64.b64decode(packed["data"]), "<u2")
    back = 10 ** (packed["lo"] + codes / 65534 * (packed["hi"] - packed["lo"]))
    assert np.allclose(back, values, rtol=1e-3)
    graph, half = torch.rand(4, requires_grad=True), torch.rand(4).bfloat16()
    for values in (graph, half, [torch.tensor(1.0)] * 4):
        assert bars(one_series(values)).html


# -- errors name what is wrong and what is allowed

ONE = one_series([1, 2])
SINGLE = {"id": 1, "kind": "fc"}
FORWARD = {"nodes": [SINGLE], "shortcuts": [[1, 2, "identity"]]}
UNEVEN = {"series": [{"name": "a", "x": [1], "y": [1, 2]}]}
DEPTH = {"depth": [8]}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: bars(ONE, caption=" "), "Layers needs caption"),
        (lambda: bars(ONE, alt=""), "Layers needs alt"),
        (
            lambda: bars({8: ONE}, controls={"depth": [8, 20]}),
            r"no frame for \(20,\).* = 2 combinations",
        ),
        (lambda: bars({8: ONE, 9: ONE}, controls=DEPTH), r"a frame for \(9,\)"),
        (lambda: bars([ONE], controls=DEPTH), "a dict or a function, not list"),
        (lambda: bars(ONE, controls={"depth": []}), "'depth' needs at least one"),
        (lambda: layers(start={"depth": 57}), "depth=57"),
        (lambda: layers(start={"colour": 57}), "colour=57"),
        (lambda: bars([1, 2]), "Layers: not a frame"),
        (lambda: bars({"series": [{"values": [1]}]}), "Layers: not a frame .*name"),
        (lambda: bars(one_series([1], role="best")), "no role 'best'; roles are idea"),
        (lambda: bars(one_series([[1]])), "a: needs 1 dimensions"),
        (lambda: bars(ONE | {"labels": ["a"]}), "as many labels as layers"),
        (lambda: bars(ONE, kind="pie"), "'bars', 'stacked' or 'line', not 'pie'"),
        (lambda: bars(ONE, y_range="own"), r"\(low, high\) or 'frame', not 'own'"),
        (
            lambda: bars(ONE, kind="stacked", log=True),
            "stacked bars need a linear axis",
        ),
        (lambda: bars(one_series([-1]), kind="stacked"), "0 or more"),
        (
            lambda: bars({"series": ONE["series"] * 6}, kind="stacked"),
            "at most 5 without",
        ),
        (
            lambda: layers(presets={"deep": {"depth": 57}}),
            r"preset 'deep': depth=57 is not among the controls .*110",
        ),
        (
            lambda: layers(presets={"deep": {"colour": 57}}),
            r"preset 'deep': colour=57 is not among the controls .*'depth'",
        ),
        (
            lambda: layers(presets={"deep": 56}),
            r"preset 'deep' needs \{control: value\}, not 56",
        ),
        (
            lambda: bars(ONE, presets={"deep": {"depth": 8}}),
            r"preset 'deep': depth=8 is not among .* \{\}",
        ),
        (
            lambda: bars(ONE, controls={"layers": [[6, 12]]}),
            r"control 'layers'.* not \[\[6, 12\]\]",
        ),
        (lambda: bars(ONE, y_range=(2, 1)), "low < high"),
        (lambda: bars(ONE, log=True, y_range=(0, 1)), "above 0"),
        (
            lambda: Curves(UNEVEN, x_label="x", y_label="y", **TEXT),
            "'a' has 1 x and 2 y",
        ),
        (
            lambda: Network({"nodes": [{"id": 1, "kind": "cow"}]}, **TEXT),
            "kind 'cow'; kinds are input",
        ),
        (lambda: Network(FORWARD, **TEXT), "id of a later node"),
        (lambda: Network({"nodes": [SINGLE]}, picked=2, **TEXT), "picked=2"),
        (lambda: Predict("Why?", ["a"], name="n"), "at least two"),
        (lambda: predict().reveal(3, "because"), r"answer 3 .*0 to 2"),
        (lambda: Picture("picture.png", **TEXT), "a matplotlib figure, not str"),
        (
            lambda: heatmap().widget(controls={"step": [1]}),
            "only frames given as a function",
        ),
        (
            lambda: layers().widget(controls={"breadth": [1]}),
            "'breadth' must be a parameter",
        ),
    ],
)
def test_bad_input_is_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "values, rows, message",
    [
        ([1, 2], None, "needs 2 dimensions"),
        ([[1, 2]], ["a", "b"], "2 names for 1 rows"),
    ],
)
def test_a_wrong_heatmap_is_told(values, rows, message):
    frame = {"panels": [{"title": "p", "values": values}], "rows": rows}
    with pytest.raises(ValueError, match=message):
        Heatmap(frame, **HEAT, **TEXT)


def test_the_answer_is_not_in_the_question():
    asked = predict()
    asked.reveal(2, "Both are poor learners.")
    assert "poor learners" not in asked.html
    assert "answer" not in data_of(asked)["options"]


# -- presets, tuples, stacked bars


def test_presets_name_values_by_their_place():
    data = data_of(explorer())
    assert [(control["labels"], control["slider"]) for control in data["controls"]] == [
        (["12", "24", "32"], True),
        (["5, 5, 5", "16, 16, 16", "6, 12, 24, 16", "5, 31, 64"], True),
        (["none", "half"], False),
    ]
    places = [0, 1, 1], [2, 2, 1], [None, 3, None]
    assert data["presets"] == [
        {"name": name, "at": at} for name, at in zip(PRESETS, places, strict=True)
    ]
    assert data_of(layers())["presets"] == []


def test_one_control_may_have_tuples():
    frames = {(6, 12): ONE, (3, 3): ONE | {"note": "even"}}
    figure = bars(frames, controls={"layers": list(frames)})
    assert [frame.get("note") for frame in data_of(figure)["frames"]] == [None, "even"]


def test_widget_presets_keep_their_values_in_other_lists():
    blocks = [(16, 16, 16), (5, 31, 64)]
    widget = explorer().widget(controls={"growth rate": [4, 8, 12], "layers": blocks})
    # DenseNet-121 has a growth rate of 32, which these lists lack
    assert widget.data["presets"] == [
        {"name": "DenseNet-BC, L = 100, k = 12", "at": [2, 0, 1]},
        {"name": "a hundred layers", "at": [None, 1, None]},
    ]


def test_stacked_range_is_of_totals():
    data = data_of(parameters())
    assert data["options"]["y_range"] == [0, number(335.3 * 1.04)]
    assert not data["options"]["fixed"]
    frames = data_of(explorer())["frames"]
    depths = [len(frame["series"][0]["values"]) for frame in frames[:8:2]]
    assert depths == [15, 48, 58, 100]
    for frame in frames:
        lines = (line["values"] for line in frame["series"])
        tallest = max(map(sum, zip(*lines, strict=True)))
        assert frame["y_range"] == [0, number(tallest * 1.04)]
    common = data_of(explorer(y_range=None))
    highest = max(frame["y_range"][1] for frame in frames)
    assert common["options"]["y_range"] == [0, highest]
    assert "y_range" not in common["frames"][0]
    # the other kinds too, here a log axis
    assert data_of(layers(y_range="frame"))["frames"][0]["y_range"] == [1, 10]
    # a frame's own range comes first
    own = data_of(bars(ONE | {"y_range": (0, 50)}, y_range="frame"))
    assert own["frames"][0]["y_range"] == [0, 50]
    line = {"series": [{"name": "a", "x": [1, 2], "y": [1, 2]}], "y_range": (0, 50)}
    own = data_of(Curves(line, x_label="x", y_label="y", y_range=(0, 9), **TEXT))
    assert own["frames"][0]["y_range"] == [0, 50]
    with pytest.raises(ValueError, match="low < high"):
        bars(ONE | {"y_range": (5, 5)})
    gap = one_series([1, np.nan])
    gap["series"].append({"name": "b", "values": [2, 5]})
    assert data_of(bars(gap, kind="stacked"))["options"]["y_range"] == [0, 5.2]


def fallback(figure):
    return np.array(picture_of(figure).convert("RGB")).astype(int)


def painted(pixels, colour):
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.abs(pixels - rgb).max(axis=-1) < 12


def spans(part):
    """How far it is in each column from the first pixel of a part to the last."""
    last = len(part) - part[::-1].argmax(axis=0)
    return np.where(part.any(axis=0), last - part.argmax(axis=0), 0)


def test_stacked_fallback_has_the_proportions():
    pixels = fallback(parameters())
    colours = [ROLES[role][0] for role in ("extra0", "idea", "selected")]
    parts = [painted(pixels, colour)[30:] for colour in colours]
    # of BERT large, the tallest
    heights = np.array([spans(part).max() for part in parts])
    expected = np.array([31.8, 100.8, 201.5]) / 334.1
    assert np.allclose(heights / heights.sum(), expected, atol=0.02), heights
    hundred = fallback(explorer(start={"layers": (5, 31, 64)}))
    saw = painted(hundred, ROLES["idea"][0])[30:]
    filled = np.flatnonzero(spans(saw) > 40)
    # a hundred bars touch; the one gap is where the last block begins
    assert (np.diff(filled) > 9).sum() == 1  # a texture leaves less


def test_concat_fallback_has_arcs_of_many_heights():
    pixels = painted(fallback(dense()), ROLES["idea"][0])
    middle = pixels[:, pixels.any(axis=0).nonzero()[0].mean().astype(int)]
    assert np.count_nonzero(np.diff(middle.astype(int)) == 1) >= 5


# -- the live widget


def sent_by(widget, monkeypatch, *asked):
    sent = []

    def send(self, message):
        sent.append(message)

    monkeypatch.setattr(type(widget), "send", send)
    for ask in asked:
        widget._handle_custom_msg({"ask": ask}, [])
    return sent


def test_widget_computes_what_the_page_lacks(monkeypatch):
    figure = layers(start={"depth": 56})
    widget = figure.widget(controls={"depth": range(8, 111, 6), "width": [4, 5, 16]})
    names = [control["name"] for control in widget.data["controls"]]
    assert names == ["depth", "shortcut", "batch norm", "width"]
    assert len(widget.data["frames"]) == 18 * 2 * 2 * 3
    assert [control["start"] for control in widget.data["controls"]] == [8, 0, 0, 2]
    known = [frame for frame in widget.data["frames"] if frame]
    assert len(known) == 16  # the page's own frames are known at the default width
    good, bad = sent_by(widget, monkeypatch, [1, 0, 0, 0], [0, 0, 0, 1])
    assert good["frame"]["note"] == "depth 14"
    lowest = good["frame"]["series"][0]["values"][0]
    assert lowest == pytest.approx(10 ** (0.055 * 14) / 4, rel=1e-3)
    assert bad["problem"] == "ValueError: width 5 is not divisible"


def test_what_a_live_figure_leaves_in_a_notebook(gallery):
    for name in gallery.keys() - {"bars", "stacked", "picture"}:
        widget = gallery[name].widget()
        bundle = widget._repr_mimebundle_()
        # a widget's view would be an error message without its kernel
        assert set(bundle) == {"text/html", "text/plain"}
        named = f' data-kernel="{widget.model_id}"'
        assert bundle["text/html"].count(named) == 1
        assert bundle["text/html"].replace(named, "") == gallery[name].html
        assert "0x" not in bundle["text/plain"]


def test_live_curves_of_means():
    live = Curves.live(x_label="step", y_label="loss", total=7, every=3)
    for step in range(7):
        live.add("plain", step, float(step))
    assert live.series["plain"]["x"] == [2, 5]  # the last step waits for two more
    assert live.series["plain"]["y"] == [1, 4]
    assert live._data()["done"] == 7 and "the mean of 3 steps" in live.caption
    live.close()


def test_live_curves(monkeypatch):
    live = Curves.live(x_label="step", y_label="loss", total=3000)
    updates = []
    live.widget.observe(lambda change: updates.append(change.new["done"]), "data")
    for step in range(3000):
        live.add("plain", step, torch.tensor(1.0 / (step + 1)), role="control")
    assert 1 <= len(updates) < 200  # thousands of points, a few pictures
    line = live._data()["frames"][0]["series"][0]
    assert len(line["x"]) == len(line["y"]) <= live.most and line["x"][0] == 0
    assert live._data()["done"] == 3000
    live.close()
    assert live.widget.comm is None and "data-kernel" not in live.html
    assert data_of(live)["frames"][0]["series"][0] == line
    assert '<img alt="loss while training"' in live.html


# -- in Chromium, from a file, with the network off

FIRST = "document.querySelector('.pcc-live')"
BLUE = f"getComputedStyle({FIRST}).getPropertyValue('--pcc-idea')"
COLLISIONS = """() => {
    const touch = (p, q) =>
        p.left < q.right - 1 && q.left < p.right - 1 &&
        p.top < q.bottom - 3 && q.top < p.bottom - 3;
    const problems = [];
    for (const svg of document.querySelectorAll(".pcc-stage svg")) {
        const texts = [...svg.querySelectorAll("text")];
        const boxes = texts.map((node) => node.getBoundingClientRect());
        texts.forEach((node, i) => {
            const name = node.textContent;
            if (parseFloat(getComputedStyle(node).fontSize) < 12)
                problems.push(`small: ${name}`);
            for (let j = i + 1; j < texts.length; j++)
                if (touch(boxes[i], boxes[j]))
                    problems.push(`${name} | ${texts[j].textContent}`);
        });
    }
    return problems;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_are_alive_and_accessible(open_page, gallery, grave, scheme):
    page = open_page(color_scheme=scheme).show(*gallery.values())
    assert page.locator(".pcc-fallback:visible").count() == 1  # the still picture
    blue = page.evaluate(BLUE)
    assert blue == {"light": "#0072B2", "dark": "#56B4E9"}[scheme]
    assert grave(page) == []


@pytest.mark.parametrize("width", [360, 700, 1400])
def test_it_fits_and_no_labels_collide(open_page, gallery, width):
    page = open_page(viewport={"width": width, "height": 900}).show(*gallery.values())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(COLLISIONS) == []


# JupyterLab and the site on a laptop; a phone
@pytest.fixture(scope="module")
def big():
    """The figures that take most room."""
    noise = np.random.default_rng(0)
    names = [f"token{i}" for i in range(24)]
    weights = noise.dirichlet([0.1] * 22, (12, 12, 22))
    heads = {"tokens": names[:22], "attention": weights}
    terms = {f"term {n}": noise.normal(size=(24, 24)) for n in range(4)}
    maps = [{"title": f"map {n}", "values": noise.random((12, 12))} for n in range(3)]
    panels = {"panels": maps, "rows": names[:12], "columns": names[:12]}
    return [
        Attention(heads, **TEXT),
        Apart({"tokens": names, "terms": terms}, **TEXT),
        Heatmap(panels, **HEAT, **TEXT),
    ]


@pytest.mark.parametrize(("width", "most"), [(914, 610), (860, 610), (366, 844)])
def test_what_belongs_together_fits_a_screen(open_page, gallery, big, width, most):
    page = open_page(viewport={"width": width + 16, "height": 900})
    page = page.show(*gallery.values(), *big)
    page.evaluate("document.body.style.maxWidth = 'none'")
    page.wait_for_timeout(300)
    heights = page.evaluate("""[...document.querySelectorAll('.pcc-live')].map(
        (live) => Math.round(live.getBoundingClientRect().height))""")
    assert [height for height in heights if height > most] == [], heights[-3:]


def test_slider_by_keyboard_changes_the_picture(open_page, gallery):
    page = open_page().show(gallery["layers"])
    line = page.locator(".pcc-stage svg svg path").first
    before, note = line.get_attribute("d"), page.locator(".pcc-note")
    assert note.inner_text() == "depth 8"
    slider = page.get_by_label("depth")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert line.get_attribute("d") != before and note.inner_text() == "depth 20"
    assert slider.get_attribute("aria-valuetext") == "20"
    assert "depth 20" in page.locator(".pcc-said").inner_text()
    page.get_by_label("residual").check()
    assert "residual-20" in page.locator(".pcc-stage").inner_text()
    chart = page.locator(".pcc-stage > svg")
    chart.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.locator(".pcc-read").inner_text().split("\n")[0].startswith("layer 2")
    assert "layer 2, residual-20" in page.locator(".pcc-said").inner_text()
    page.get_by_label("depth").focus()
    page.keyboard.press("End")  # the picked layer stays picked at another depth
    assert "layer 2" in page.locator(".pcc-read").inner_text()
    assert "residual-110" in page.locator(".pcc-read").inner_text()


def test_axis_stays_while_controls_move(open_page, gallery):
    page = open_page().show(gallery["layers"])
    ticks = page.locator(".pcc-stage text[text-anchor=end]").filter(has_text="10")
    before = ticks.all_text_contents()
    page.get_by_label("off").check()
    assert ticks.all_text_contents() == before and len(before) > 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_preset_sets_the_other_controls(open_page, scheme):
    page = open_page(color_scheme=scheme).show(explorer(start={"growth rate": 12}))
    preset = page.get_by_role("combobox", name="preset", exact=True)
    note, growth = page.locator(".pcc-note"), page.get_by_label("growth rate")
    blocks = page.get_by_label("layers", exact=True)
    shown = preset.locator("option:checked")
    assert page.locator(".pcc-controls > *").first.locator("select").count() == 1
    assert shown.inner_text() == "your own"
    paths = page.locator(".pcc-stage svg svg path")
    before = paths.last.get_attribute("d")
    preset.select_option("DenseNet-121")
    assert growth.get_attribute("aria-valuetext") == "32"
    assert blocks.get_attribute("aria-valuetext") == "6, 12, 24, 16"
    assert page.get_by_label("half").is_checked()
    assert not page.get_by_label("none").is_checked()
    assert note.inner_text() == "32, (6, 12, 24, 16), half"
    assert paths.last.get_attribute("d") != before
    told = page.locator(".pcc-said").inner_text()
    assert "growth rate 32, layers 6, 12, 24, 16, compression half" in told
    preset.select_option("a hundred layers")  # names one control and leaves the rest
    assert note.inner_text() == "32, (5, 31, 64), half"
    blocks.press("ArrowLeft")  # back by hand: the select tells
    assert shown.inner_text() == "DenseNet-121"
    page.get_by_label("none").check()
    assert shown.inner_text() == "your own"
    preset.focus()
    page.keyboard.press("ArrowDown")  # by keys alone
    page.keyboard.press("Enter")
    assert shown.inner_text() == "DenseNet-BC, L = 100, k = 12"
    assert note.inner_text() == "12, (16, 16, 16), half"
    page.keyboard.press("ArrowUp")  # "your own" tells and cannot be chosen
    page.keyboard.press("Enter")
    assert shown.inner_text() == "DenseNet-BC, L = 100, k = 12"


def test_many_choices_make_a_select(open_page):
    names = [f"model {i}" for i in range(7)]
    frames = {name: ONE | {"note": name} for name in names}
    many = bars(frames, controls={"one of": names})
    del frames["model 6"]
    six = bars(frames, controls={"one of": names[:6]})
    page = open_page().show(six, many)
    assert page.get_by_role("radio").count() == 6
    assert page.get_by_role("combobox").count() == 1
    page.get_by_role("combobox", name="one of", exact=True).select_option("model 4")
    assert page.locator(".pcc-note").last.inner_text() == "model 4"


def extents(page):
    """The parts of stacked bars as drawn, a list of outlines for each series.

    Of each outline [left, right, top, bottom].
    """
    return page.evaluate("""() => {
        const numbers = (d, pattern) => [...d.matchAll(pattern)].map((m) => +m[1]);
        const outline = (d) => {
            const xs = numbers(d, /[MH]([-\\d.]+)/g);
            const ys = numbers(d, /[V ]([-\\d.]+)/g);
            return [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
        };
        const paths = [...document.querySelectorAll(
            ".pcc-stage svg svg path:not(.pcc-texture)")];
        return paths.map((path) =>
            path.getAttribute("d").split("z").filter(Boolean).map(outline));
    }""")


def test_stacked_bars_are_read_part_by_part(open_page):
    page = open_page().show(parameters())
    drawn = np.array(extents(page))  # 4 series, 3 bars, left-right-top-bottom
    # no walls
    assert drawn.shape == (4, 3, 4)
    assert (drawn[..., 1] - drawn[..., 0]).max() == pytest.approx(72)
    tall = drawn[:3, 1, 3] - drawn[:3, 1, 2]
    expected = np.array([31.8, 100.8, 201.5]) / 334.1
    assert np.allclose(tall / tall.sum(), expected, atol=0.01)
    # each stands on the one before, a hair above
    gaps = drawn[:2, :2, 2] - drawn[1:3, :2, 3]
    assert (gaps >= 0).all() and (gaps < 2).all()
    textures = page.locator(".pcc-stage .pcc-texture")  # told apart without colour
    fills = textures.evaluate_all("all => all.map(one => one.getAttribute('fill'))")
    tiles = page.locator("pattern").evaluate_all("all => all.map(one => one.id)")
    assert fills == [f"url(#{one})" for one in tiles] and len(set(fills)) == 3
    text = page.locator(".pcc-stage svg text").all_text_contents()
    assert {"BERT base", "BERT large", "ALBERT base"} <= set(text)
    page.locator(".pcc-stage > svg").focus()
    page.keyboard.press("End")
    readout = page.locator(".pcc-read").inner_text()
    # "rest" has two bars only
    told = "ALBERT base embedding 3.9 attention 2.4 feed-forward 4.7 total 11"
    assert readout.split() == told.split()


def test_stacked_bars_touch_when_many_and_each_frame_has_its_range(open_page):
    page = open_page().show(explorer())
    ticks = page.locator(".pcc-stage svg text[text-anchor=end]")
    assert len(extents(page)[0]) == 15
    small = ticks.all_text_contents()
    preset = page.get_by_role("combobox", name="preset", exact=True)
    preset.select_option("a hundred layers")
    (first,), (second,) = extents(page)  # one outline for each part
    assert first[:2] == second[:2] and ticks.all_text_contents() != small
    assert "100" in small
    page.locator(".pcc-stage > svg").focus()
    page.keyboard.press("End")
    assert "block 3, layer 64" in page.locator(".pcc-read").inner_text()
    names = page.locator(".pcc-stage svg text").filter(has_text="block")
    assert 3 <= names.count() <= 8


def test_dense_arcs_pass_over_boxes_and_show_what_is_read(open_page):
    page = open_page().show(dense())
    arcs = page.locator(".pcc-stage g[pointer-events=none]")
    assert arcs.count() == 21
    thick = """document.querySelectorAll('.pcc-stage path[stroke-width="3"]').length"""
    assert page.evaluate(thick) == 4
    chosen = page.locator("[role=radio][aria-checked=true]")
    told = "H4, 12×32×32, reads x0 and H1 and H2 and H3"
    assert chosen.get_attribute("aria-label") == told
    chosen.focus()
    page.keyboard.press("End")
    assert page.evaluate(thick) == 6
    page.keyboard.press("Home")
    assert page.evaluate(thick) == 0
    peaks, hits = page.evaluate("""() => {
        const all = (selector) => [...document.querySelectorAll(selector)];
        const rects = all("[role=radio] rect:nth-of-type(2)");
        const boxes = rects.map((node) => node.getBBox());
        const over = (p, box) => p.x > box.x && p.x < box.x + box.width;
        const beside = (p, box) => p.y > box.y + 0.5 && p.y < box.y + box.height;
        const arcs = all(".pcc-stage g[pointer-events=none] path");
        const peaks = {}, hits = [];
        for (const path of arcs) {
            const length = path.getTotalLength(), points = [];
            for (let i = 0; i <= 100; i++)
                points.push(path.getPointAtLength((i / 100) * length));
            const at = (p) => boxes.findIndex(
                (box) => p.x >= box.x && p.x <= box.x + box.width);
            const [a, b] = [at(points[0]), at(points[100])];
            const peak = Math.round(Math.min(...points.map((p) => p.y)));
            (peaks[b - a] ??= new Set()).add(peak);
            for (const p of points.slice(1, -1)) for (const box of boxes)
                if (over(p, box) && beside(p, box)) hits.push([a, b, p.x, p.y]);
        }
        return [Object.values(peaks).map((set) => [...set]), hits]; }""")
    assert hits == [] and len(peaks) == 6
    for near, far in zip(peaks, peaks[1:], strict=False):
        assert min(near) > max(far) + 5, peaks


def test_heatmap_reads_cells_and_columns(open_page):
    page = open_page().show(heatmap())
    board, readout = page.locator("[role=application]").first, page.locator(".pcc-read")
    board.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "layer 1, step 1" in readout.inner_text()
    assert "not finite" in readout.inner_text()
    profile = page.locator(".pcc-stage svg svg path").first
    before = profile.get_attribute("d")
    page.get_by_label("step").focus()
    page.keyboard.press("PageUp")
    assert profile.get_attribute("d") != before
    canvas = page.locator("canvas").nth(1).bounding_box()
    page.mouse.click(canvas["x"] + canvas["width"] - 1, canvas["y"] + 1)
    assert "layer 1, step 167" in readout.inner_text()
    assert page.get_by_label("step").input_value() == "167"


def test_the_cursor_still_moves_after_another_control(open_page):
    values = {"up": [[1, 2, 4], [8, 16, 32]], "down": [[32, 16, 8], [4, 2, 1]]}
    frames = {
        name: {"panels": [{"title": "a", "values": one}]}
        for name, one in values.items()
    }
    labels = dict(x_label="step", y_label="layer", value_label="norm", cursor="step")
    figure = Heatmap(frames, controls={"way": ["up", "down"]}, **labels, **TEXT)
    page = open_page().show(figure)
    page.get_by_label("down").check()
    profile = page.locator(".pcc-stage svg svg path").first
    before = profile.get_attribute("d")
    page.get_by_label("step").focus()
    page.keyboard.press("ArrowRight")
    assert profile.get_attribute("d") != before


def test_curves_read_all_at_one_x(open_page):
    page = open_page().show(curves())
    box = page.locator(".pcc-stage svg").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    text = page.locator(".pcc-read").inner_text()
    assert re.match(r"step \d+", text)
    assert all(f"network {name}" in text for name in "abcd")


def test_network_is_walked_by_keys_and_mouse(open_page):
    page = open_page().show(network())
    chosen = page.locator("[role=radio][aria-checked=true]")
    assert chosen.get_attribute("aria-label").startswith("block 3")
    assert page.locator(".pcc-stage canvas").count() == 16
    chosen.focus()
    page.keyboard.press("ArrowRight")
    assert chosen.get_attribute("aria-label").startswith("block 4")
    assert "block 4" in page.locator(".pcc-read").inner_text()
    page.locator("[role=radio]").last.click()
    assert chosen.get_attribute("aria-label").startswith("linear")
    assert page.locator(".pcc-stage canvas").count() == 0
    page.locator("[role=radio]").first.click()
    page.get_by_label("1 feature maps of image").focus()
    page.keyboard.press("ArrowRight")
    assert "map 1 of 1: smallest" in page.locator(".pcc-stage").inner_text()


@pytest.mark.parametrize("reveal_first", [False, True])
def test_predict_then_reveal(open_page, reveal_first):
    asked = predict()
    answer = asked.reveal(0, "It is harder to optimise.")
    opened = open_page().show(*((answer, asked) if reveal_first else (asked, answer)))
    page = opened.locator("main").filter(visible=True)
    assert page.get_by_text("not committed").is_visible()
    assert not page.locator(".pcc-live").get_by_text("harder to optimise").count()
    commit = page.get_by_role("button", name="Commit")
    assert commit.is_disabled()
    page.get_by_label("plain-56").check()
    commit.click()
    assert page.get_by_text("You said: “plain-56”. Go on to find out.").is_visible()
    assert page.get_by_label("plain-56").is_disabled() and not commit.count()
    told = "You said: “plain-56”. It is harder to optimise."
    assert page.get_by_text(told).is_visible()
    assert page.get_by_text("✓ plain-20").is_visible()
    assert page.get_by_text("✗ plain-56 (your prediction)").is_visible()
    opened.reload()
    page.get_by_text("You said: “plain-56”. Go on to find out.").wait_for()


@pytest.mark.parametrize("width", [360, 900])
def test_answering_moves_nothing(open_page, width):
    deep = "the plain network of fifty-six layers"
    choices = ["the plain network of twenty layers", deep, "neither"]
    question = "Which one is lower at the end of the same training?"
    asked = Predict(question, choices, name="moves")
    long = asked.reveal(1, "The deeper one is harder to optimise.")
    short = asked.reveal(0, "It is easy.")
    page = open_page(viewport={"width": width, "height": 900}).show(asked, long, short)
    heights = """() => [...document.querySelectorAll('figure')].map(
        (node) => Math.round(node.offsetHeight))"""
    before = page.evaluate(heights)
    page.get_by_role("button", name="Show the answer").first.click()
    assert page.evaluate(heights) == before
    page.get_by_label("twenty").check()
    page.get_by_role("button", name="Commit").click()
    assert page.get_by_text("You said it. It is easy.").is_visible()
    assert page.evaluate(heights) == before


def test_the_answer_can_be_shown_without_a_prediction(open_page):
    page = open_page().show(predict().reveal(1, "Because."))
    page.get_by_role("button", name="Show the answer").click()
    assert page.get_by_text("✓ plain-56").is_visible()
    assert page.get_by_text("Because.", exact=True).is_visible()


def test_copies_and_strangers_share_a_page(open_page, gallery):
    copies = [gallery[name] for name in ("layers", "heatmap", "layers", "layers")]
    page = open_page().show(*copies)
    assert page.locator(".pcc-live").filter(has=page.get_by_label("depth")).count() == 3
    page.get_by_label("residual").nth(1).check()  # radio groups of copies do not mix
    assert page.get_by_label("plain", exact=True).nth(0).is_checked()
    assert not page.get_by_label("plain", exact=True).nth(1).is_checked()
    # A figure that comes later, as JupyterLab inserts outputs: made away from the page,
    # its scripts made anew.
    page.evaluate(
        """(html) => {
        const host = document.createElement("div");
        host.innerHTML = html;
        for (const old of host.querySelectorAll("script")) {
            const made = document.createElement("script");
            for (const { name, value } of old.attributes)
                made.setAttribute(name, value);
            made.textContent = old.textContent;
            old.replaceWith(made);
        }
        document.querySelector("main").append(host); }""",
        gallery["curves"].html,
    )
    last = "document.querySelector('main').lastChild"
    page.wait_for_function(f"{last}.querySelector('.pcc-stage svg')")


def test_a_copy_that_has_come_in_part_waits_for_the_rest(open_page, gallery):
    """As a browser reads a long page: the data and the script come behind the rest."""
    opened = open_page()
    page = opened.show(gallery["curves"])
    page.evaluate(
        """() => {
        const whole = document.querySelector("figure"), copy = whole.cloneNode(true);
        copy.id = "copy";
        window.rest = [...copy.querySelectorAll("script")];
        for (const part of rest) part.remove();
        copy.querySelector(".pcc-live").replaceChildren();
        document.querySelector("main").append(copy); }"""
    )
    again = """() => {  // the first figure's script once more, as it may come meanwhile
        const old = document.querySelector("figure:not(#copy) .pcc-data ~ script");
        const made = document.createElement("script");
        made.textContent = old.textContent;
        old.after(made); }"""
    page.evaluate(again)
    page.wait_for_timeout(500)
    assert not page.evaluate("document.querySelector('#copy').pccAlive")
    page.evaluate("""() => {
        const made = document.createElement("script");
        made.textContent = rest[1].textContent;
        document.querySelector("#copy").append(rest[0], made); }""")
    page.wait_for_function("document.querySelector('#copy .pcc-stage svg')")


def test_hostile_strings_run_nothing(open_page):
    figure = hostile()
    panel = {"title": HOSTILE, "values": [[1, 2]]}
    heat = Heatmap({"panels": [panel], "columns": [HOSTILE, "b"]}, **HEAT, **TEXT)
    net = Network({"nodes": [{"id": HOSTILE, "kind": "fc", "text": HOSTILE}]}, **TEXT)
    asked = Predict(HOSTILE, [HOSTILE, "b"], name=HOSTILE)
    opened = open_page()
    page = opened.show(figure, heat, net, asked, asked.reveal(0, HOSTILE))
    assert page.locator(".pcc-live script, b b, text b").count() == 0
    assert page.locator(".pcc-note").first.inner_text() == HOSTILE
    assert page.locator("figcaption").first.inner_text() == HOSTILE


def test_a_broken_viewer_leaves_the_fallback(open_page):
    figure = curves()
    (packed,) = re.findall(r'class="pcc-data">([^<]*)', figure.html)
    broken = json.dumps(data_of(figure) | {"frames": [{"serious": []}]})
    figure.html = figure.html.replace(packed, deflated(broken))
    opened = open_page()
    page = opened.page
    path = opened.folder / "broken.html"
    path.write_text(figure.html)
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelector('figure').pccAlive")
    assert page.locator(".pcc-fallback img").is_visible()
    assert len(opened.errors) == 1
    opened.errors.clear()


def test_live_one_request_in_flight_latest_wins(open_page):
    widget = layers().widget(controls={"depth": range(8, 111, 6)})
    opened = open_page()
    page = opened.show(curves())
    live = opened.render(widget)
    live.get_by_label("depth").focus()
    for _ in range(3):  # 14, 20 and 26 layers: the page has only 20
        page.keyboard.press("ArrowRight")
    assert page.evaluate("sent") == [{"ask": [1, 0, 0]}]
    assert live.locator(".pcc-waiting").count() == 1
    assert live.locator(".pcc-note").inner_text() == "depth 20"
    stale = data_of(layers())["frames"][0] | {"note": "stale"}
    hear = "(message) => heard['msg:custom'](message)"
    page.evaluate(hear, {"ask": [1, 0, 0], "frame": stale})
    # asks for the latest, shows no stale one
    assert page.evaluate("sent.length") == 2 and page.evaluate("sent[1].ask[0]") == 3
    assert live.locator(".pcc-note").inner_text() == "depth 20"
    page.evaluate(hear, {"ask": [3, 0, 0], "problem": "ValueError: too deep"})
    assert live.get_by_text("ValueError: too deep").is_visible()
    assert page.evaluate("sent.length") == 2
    page.keyboard.press("ArrowLeft")
    assert not live.get_by_text("ValueError").count()
    assert live.locator(".pcc-waiting").count() == 0
    page.evaluate("stop()")


def test_a_preset_asks_a_live_figure(open_page):
    blocks = [(16, 16, 16), (3, 3), (5, 31, 64)]
    widget = explorer().widget(controls={"layers": blocks, "growth rate": [4, 12]})
    opened = open_page()
    page = opened.show(curves())
    live = opened.render(widget)
    preset = live.get_by_role("combobox", name="preset", exact=True)
    note, names = live.locator(".pcc-note"), preset.locator("option")
    known = ["your own", "DenseNet-BC, L = 100, k = 12", "a hundred layers"]
    assert names.all_text_contents() == known
    preset.select_option("DenseNet-BC, L = 100, k = 12")
    # the page has it, at other places than before
    assert note.inner_text() == "12, (16, 16, 16), half" and page.evaluate("sent") == []
    live.get_by_label("growth rate").press("ArrowLeft")
    preset.select_option("a hundred layers")
    # one in flight: growth rate 4
    assert page.evaluate("sent.map((message) => message.ask)") == [[0, 0, 1]]
    blocks = live.get_by_label("layers", exact=True)
    assert blocks.get_attribute("aria-valuetext") == "5, 31, 64"


def test_theme_follows_the_page(open_page, gallery):
    page = open_page().show(gallery["curves"])
    assert page.evaluate(BLUE) == "#0072B2"
    # as JupyterLab and mdBook do, by an attribute
    page.evaluate("document.body.style.cssText += 'background: #111; color: #eee'")
    page.wait_for_function(f"{BLUE} === '#56B4E9'")


@pytest.mark.parametrize("name", ["layers", "heatmap", "curves", "network"])
def test_hover_is_fast(open_page, gallery, name):
    page = open_page().show(gallery[name])
    if name == "layers":
        page.get_by_label("depth").press("End")
    target = "[role=application] svg" if name == "heatmap" else "[role=application]"
    milliseconds = work(
        page,
        """(target) => {
        const node = document.querySelector(target);
        const box = node.getBoundingClientRect(), y = box.top + box.height / 2;
        for (let i = 0; i < 60; i++) {
            const at = { clientX: box.left + box.width * (0.2 + i / 100), clientY: y };
            const move = new PointerEvent("pointermove", { bubbles: true, ...at });
            node.dispatchEvent(move);
            node.getBoundingClientRect();
        } }""",
        target,
    )
    assert milliseconds / 60 < 16
