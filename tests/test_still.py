"""The still pictures: every name is there, whole, and touches no other."""

import base64
import io
import itertools
import json
import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest
from IPython.display import Markdown
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from support import unpacked

from kit import claims, view
from kit.book import markdown
from kit.notebooks import ROOT, lessons
from kit.table import table
from kit.view import (
    Apart,
    Attention,
    Curves,
    Heatmap,
    Layers,
    Network,
    Picture,
    Predict,
    Tokens,
)
from kit.view.still import LOOK
from kit.view.style import ROLES

TEXT = {"caption": "What to see.", "alt": "What is drawn."}
STILL = ("Layers", "Curves", "Heatmap", "Network", "Attention", "Apart")
NOISE = np.random.default_rng(0)


def written(figure, frame):
    """The texts that a still picture writes, their extents, and the picture's size.

    [(matplotlib's text, its extent)], (width, height); all in pixels.
    """
    drawn = {}
    with matplotlib.rc_context(LOOK), pytest.MonkeyPatch.context() as patch:
        canvas, write = Canvas(), Text.draw
        figure._draw(canvas, frame)
        patch.setattr(
            Text,
            "draw",
            lambda text, renderer: (
                drawn.update({id(text): text}),
                write(text, renderer),
            ),
        )
        canvas.draw_without_rendering()
        texts = [text for text in drawn.values() if text.get_text().strip()]
        return [
            (text, text.get_window_extent()) for text in texts
        ], canvas.get_size_inches() * canvas.dpi


def faults(figure, frame):
    """What no one can read in a still picture: names cut off, names on one another."""
    texts, (wide, high) = written(figure, frame)
    shown = [(text.get_text(), box) for text, box in texts]
    cut = [
        text
        for text, box in shown
        if box.x0 < -1 or box.y0 < -1 or box.x1 > wide + 1 or box.y1 > high + 1
    ]

    def touch(p, q):
        return (
            p.x0 < q.x1 - 1 and q.x0 < p.x1 - 1 and p.y0 < q.y1 - 2 and q.y0 < p.y1 - 2
        )

    return cut + [
        f"{a} | {b}"
        for (a, p), (b, q) in itertools.combinations(shown, 2)
        if touch(p, q)
    ]


def words(figure, frame):
    return [" ".join(text.get_text().split()) for text, _ in written(figure, frame)[0]]


def bars(names, series=1, kind="bars", y_label="roles of names right, %"):
    rows = [
        {"name": f"series number {n}", "values": NOISE.random(len(names))}
        for n in range(series)
    ]
    return Layers({"series": rows, "labels": names}, kind=kind, y_label=y_label, **TEXT)


def lines(ends, log=False, names="the network of layer {}"):
    series = [
        {"name": names.format(n), "x": range(40), "y": np.linspace(9, end, 40)}
        for n, end in enumerate(ends)
    ]
    return Curves(
        {"series": series},
        x_label="step",
        y_label="loss on the tokens asked for, in nats a token",
        log=log,
        **TEXT,
    )


def maps(panels, rows, columns):
    frame = {
        "panels": [
            {
                "title": f"panel {n} with weight decay 0.0001",
                "values": NOISE.random((len(rows), len(columns))),
            }
            for n in range(panels)
        ]
    }
    return Heatmap(
        frame | {"rows": rows, "columns": columns},
        x_label="the layer that reads",
        y_label="source",
        value_label="use, times the average of the layer",
        **TEXT,
    )


def network(count, kind="identity"):
    nodes = [
        {
            "id": i,
            "kind": "block",
            "label": f"block {i}",
            "channels": 4 + i,
            "size": 8,
            "shape": "16×8×8",
        }
        for i in range(count)
    ]
    nodes[count // 2] |= {"kind": "sum", "label": "+"}
    nodes[0]["maps"] = NOISE.random((16, 8, 8))
    arcs = (
        itertools.combinations(range(count), 2)
        if kind == "concat"
        else zip(range(count), range(2, count))
    )
    return Network(
        {"nodes": nodes, "shortcuts": [[a, b, kind] for a, b in arcs]}, picked=0, **TEXT
    )


def attention(count, layers=6, heads=12):
    weights = NOISE.dirichlet([0.1] * count, (layers, heads, count))
    return Attention(
        {"tokens": [f"token{i}" for i in range(count)], "attention": weights}, **TEXT
    )


def apart(count, terms=3):
    scores = {f"term {n}": NOISE.normal(size=(count, count)) for n in range(terms)}
    return Apart(
        {"tokens": [f"token{i}" for i in range(count)], "terms": scores}, **TEXT
    )


LONG = [
    "MLM",
    "Replace MLM",
    "All-Tokens MLM",
    "ELECTRA 15%",
    "ELECTRA random 15%",
    "ELECTRA",
    "unigram generator",
    "untrained",
]
STRESS = {
    "eight bars": lambda: bars(
        LONG, y_label="here: roles of names right, %; the paper: GLUE points above BERT"
    ),
    "bars with a long key": lambda: bars(LONG[:4], 5),
    "thirty bars": lambda: bars(
        [f"layer {i}, the weight" for i in range(30)], 2, "stacked"
    ),
    "a hundred bars": lambda: bars(
        [f"block {i}, layer {i}" for i in range(100)], 2, "stacked"
    ),
    "layers": lambda: Layers(
        {"series": [{"name": "plain-56", "values": 10.0 ** np.arange(-3, 7)}]},
        y_label="norm",
        log=True,
        **TEXT,
    ),
    "a row of names": lambda: Layers(
        {
            "series": [{"name": "a", "values": range(12)}],
            "labels": [f"{i} query" for i in range(12)],
        },
        kind="line",
        y_label="norm",
        **TEXT,
    ),
    "five lines": lambda: lines([0.01] * 5),
    "five lines in a log": lambda: lines([2, 2, 2.1, 3, 4], log=True),
    "nine lines": lambda: lines(range(9)),
    "long names": lambda: lines(
        [1, 1, 2], names="a network with weight decay 0.0001 and no bias {}"
    ),
    "three maps": lambda: maps(
        3,
        ["input", *(f"H{i}" for i in range(6))],
        [*(f"H{i}" for i in range(6)), "next"],
    ),
    "one row": lambda: maps(2, ["absolute positions"], ["fixed", "reader", "sender"]),
    "a wide map": lambda: maps(
        1, [f"convolution {i}" for i in range(40)], [f"step {i}" for i in range(60)]
    ),
    "five boxes": lambda: network(5),
    "thirteen boxes": lambda: network(13, "zero-pad"),
    "a hundred boxes": lambda: network(110),
    "dense boxes": lambda: network(7, "concat"),
    "heads": lambda: attention(16),
    "one layer": lambda: attention(3, 1, 16),
    "a long sentence": lambda: attention(100, 12, 12),
    "terms": lambda: apart(14),
    "four terms": lambda: apart(24, 4),
    "one term": lambda: apart(48, 1),
}


@pytest.mark.parametrize("name", STRESS)
def test_every_name_is_whole(name):
    figure = STRESS[name]()
    (frame,) = figure.shown.values()
    assert faults(figure, frame) == []
    said = " ".join(words(figure, frame)).split()
    lists = [
        frame.get(key) or [] for key in ("labels", "rows", "columns", "tokens")
    ]  # a hundred names have no room
    named = [name for names in lists if len(names) <= 30 for name in names] + [
        node["label"] for node in frame.get("nodes", ())
    ]
    named += [
        line["name"] for line in frame.get("series", ()) if len(frame["series"]) > 1
    ]
    assert [name for name in named if not set(name.split()) <= set(said)] == []


def unpack(packed):
    """An array as the page gets it."""
    codes = np.frombuffer(
        base64.b64decode(packed["data"]), f"<u{packed['bits'] // 8}"
    ).reshape(packed["shape"])
    gap = 2 ** packed["bits"] - 1
    values = packed["lo"] + codes / (gap - 1) * (packed["hi"] - packed["lo"])
    return np.where(codes == gap, np.nan, 10**values if packed["log"] else values)


def stored(lesson):
    """The pictures in a lesson's notebook: [(figure, first frame)]."""
    notebook = json.loads((ROOT / "notebooks" / f"{lesson}.ipynb").read_text("utf-8"))
    for cell in notebook["cells"]:
        for out in cell.get("outputs", ()):
            html, plain = (
                "".join(out.get("data", {}).get(kind, ""))
                for kind in ("text/html", "text/plain")
            )
            found = r'class="pcc-data">(.*?)</script>\n<script>'
            data = re.search(found, unpacked(html), re.S)
            kind = plain.partition(":")[0][1:]
            if not data or kind not in STILL:
                continue
            data = json.loads(data[1])
            figure = object.__new__(getattr(view, kind))
            figure.options, figure._given, at = data["options"], None, 0
            for control in data["controls"]:
                at = at * len(control["labels"]) + control["start"]
            frame = data["frames"][at]
            for panel in frame.get("panels", ()):
                panel["values"] = unpack(panel["values"])
            for node in frame.get("nodes", ()):
                node |= {"maps": unpack(node["maps"])} if "maps" in node else {}
            if kind == "Attention":
                weights = unpack(frame["attention"])
                frame["attention"] = weights / weights.sum(-1, keepdims=True)
            if kind == "Apart":
                frame["terms"] = dict(
                    zip(figure.options["terms"], map(unpack, frame["terms"]))
                )
            for line in frame.get("series", ()):
                line |= {
                    key: [float(value) for value in line[key]]
                    for key in ("x", "y", "values")
                    if key in line
                }
            yield figure, frame


@pytest.mark.parametrize("lesson", lessons())
def test_every_name_is_whole_in_the_lessons(lesson):
    figures = list(stored(lesson))
    assert len(figures) >= 3
    for figure, frame in figures:
        assert faults(figure, frame) == [], frame.get("series")
        said = set(" ".join(words(figure, frame)).split())
        names = [node["label"] for node in frame.get("nodes", ())] + list(
            frame.get("labels") or ()
        )
        assert [name for name in names if not set(name.split()) <= said] == []


def pixels(figure, n=0):
    encoded = re.findall(r"data:image/png;base64,([\w+/=]+)", figure.html)[n]
    return np.array(
        PIL.Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    ).astype(int)


def test_the_still_picture_of_attention_shows_who_looks_at_whom():
    figure = attention(5, 2, 2)
    (frame,) = figure.shown.values()
    assert [words(figure, frame).count(token) for token in frame["tokens"]] == [
        2
    ] * 5  # once looking, once looked at


def test_the_maps_of_the_chosen_box_are_in_the_still_picture():
    with_maps, without = network(5), network(5)
    (frame,) = without.shown.values()
    del frame["nodes"][0]["maps"]
    assert len(pixels(with_maps)) > len(pixels(without)) + 40
    assert "16 maps of block 0" in words(
        with_maps, next(iter(with_maps.shown.values()))
    )


def test_the_setting_and_the_note_are_told():
    def compute(depth, batch_norm):
        return {
            "series": [{"name": "a", "values": [1, depth]}],
            "note": f"{depth} <layers>",
        }

    controls = {"depth": [8, 20], "batch norm": [True, False]}
    figure = Layers(
        compute, controls=controls, y_label="y", also=[{"depth": 20}], **TEXT
    )
    fallback = figure.html.partition("<figcaption>")[0]
    assert re.findall(r'<p(?! class="pcc-asleep")[^>]*>(.*?)</p>', fallback) == [
        "depth: 8 · batch norm: on",
        "8 &lt;layers&gt;",
        "depth: 20 · batch norm: on",
        "20 &lt;layers&gt;",
    ]
    assert (
        fallback.count("<img ") == 2 and (pixels(figure, 0) != pixels(figure, 1)).any()
    )
    with pytest.raises(ValueError, match="also: depth=9"):
        Layers(compute, controls=controls, y_label="y", also=[{"depth": 9}], **TEXT)


# -- a dollar

DOLLARS = ["$_$", "$5 and $6", "$\\frac$", "$x^2$"]


def dollar_figures():
    a, b, c, d = DOLLARS
    series = [
        {"name": name, "x": [1, 2], "y": [1, 2], "values": [1, 2]} for name in DOLLARS
    ]
    rows = [{key: line[key] for key in ("name", "values")} for line in series]
    curves = [{key: line[key] for key in ("name", "x", "y")} for line in series]
    labels = {"x_label": a, "y_label": b, "caption": c, "alt": d}
    nodes = [
        {
            "id": name,
            "kind": "fc",
            "channels": 1,
            "size": 1,
            "shape": name,
            "text": name,
        }
        for name in DOLLARS
    ]
    return [
        Layers({"series": rows, "labels": [a, b], "note": c}, **labels),
        Layers({"series": rows, "labels": [a, b], "note": c}, log=True, **labels),
        Curves({"series": curves, "note": a}, log=True, **labels),
        Heatmap(
            {
                "panels": [{"title": a, "values": [[1, 10]]}],
                "rows": [b],
                "columns": [c, d],
            },
            log=True,
            value_label=d,
            **labels,
        ),
        Network({"nodes": nodes}, caption=a, alt=b),
        Attention(
            {"tokens": DOLLARS, "attention": np.full((1, 1, 4, 4), 0.25)},
            caption=a,
            alt=b,
        ),
        Apart({"tokens": DOLLARS, "terms": {b: np.eye(4)}}, caption=a, alt=b),
    ]


def test_a_dollar_is_a_dollar_in_still_pictures():
    for figure in dollar_figures():
        (frame,) = figure.shown.values()
        texts, _ = written(figure, frame)
        assert not any(text.get_parse_math() for text, _ in texts)
        said = " ".join(text.get_text() for text, _ in texts)
        assert all(word in said for word in ("$_$", "$5 and $6")) or isinstance(
            figure, Network
        ), said
        assert "mathdefault" not in said  # how matplotlib itself writes powers of ten
    row = (
        plt.rcParams["text.parse_math"],
        Picture.row(np.zeros((2, 4, 4)), ["$_$", "$\\frac$"], **TEXT),
    )
    assert row[0] is True  # a reader's own plots may have formulas


def test_pages_leave_the_dollars_of_a_figure_alone():
    tokens = Tokens({"rows": [{"title": "$5", "tokens": DOLLARS}]}, **TEXT)
    for figure in [
        *dollar_figures(),
        tokens,
        Predict("$5 or $6?", ["$5", "$6"], name="price"),
    ]:
        classes = re.match('<figure class="([^"]*)"', figure.html)[1].split()
        assert {"tex2jax_ignore", "mathjax_ignore"} <= set(classes)


def test_a_dollar_is_a_dollar_in_markdown_outputs(monkeypatch):
    monkeypatch.setattr(claims, "_verified", {"from $5 to $6": "ours; $_$"})
    shown = [table(["$5 and $6"], [["$_$ or `$x$`"]]), claims.recap()]
    for output in shown:
        assert isinstance(output, Markdown) and "$" not in output.data.replace(
            "`$x$`", ""
        )
        assert "<math" not in markdown(output.data, "here")
    assert "`$x$`" in shown[0].data


# -- colours

DEFECTS = {  # Machado, Oliveira, Fernandes 2009, full strength, on linear RGB
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
GROUNDS = [
    ["#ffffff"],
    ["#111111", "#161923"],
]  # light; JupyterLab's and the site's dark


def linear(colour):
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )


def lab(colour, defect):
    xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    rgb = np.clip(np.array(DEFECTS[defect]) @ linear(colour), 0, 1)
    x, y, z = np.cbrt(np.maximum(xyz @ rgb / [0.9505, 1, 1.089], 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
def test_series_stand_out_from_the_ground_and_from_one_another(side):
    series = {
        role: colours[side] for role, colours in ROLES.items() if role != "selected"
    }
    for role, colour in series.items():
        for ground in GROUNDS[side]:
            low, high = sorted(
                linear(one) @ [0.2126, 0.7152, 0.0722] for one in (colour, ground)
            )
            assert (high + 0.05) / (low + 0.05) >= 3, (role, ground)
    extras = [colour for role, colour in series.items() if role.startswith("extra")]
    assert len(extras) == 5
    for defect in DEFECTS:
        for one, other in itertools.combinations(extras, 2):
            assert np.linalg.norm(lab(one, defect) - lab(other, defect)) > 20, (
                defect,
                one,
                other,
            )


def test_markers_differ():
    markers = [marker for role, (_, _, marker) in ROLES.items() if role != "selected"]
    assert len(set(markers)) == len(markers)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_five_series_have_five_colours(open_page, scheme):
    figure = lines([1, 2, 3, 4, 5])
    page = open_page(color_scheme=scheme).show(figure)
    strokes = page.evaluate("""() => [...new Set([
        ...document.querySelectorAll(".pcc-stage svg svg path[fill=none]")]
        .map((path) => getComputedStyle(path).stroke))]""")
    assert len(strokes) == 5
    assert (
        page.locator(".pcc-stage svg text")
        .filter(has_text="the network of layer")
        .count()
        == 5
    )  # and a name each
    (frame,) = figure.shown.values()
    with matplotlib.rc_context(LOOK):
        canvas = Canvas()
        figure._draw(canvas, frame)
    drawn_in = {
        line.get_color() for line in canvas.axes[0].lines if len(line.get_xdata()) > 1
    }
    assert drawn_in == {
        colours[0] for role, colours in ROLES.items() if role.startswith("extra")
    }
