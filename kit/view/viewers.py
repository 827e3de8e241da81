"""The viewers.

Arrays may be lists, numpy arrays or tensors; what is not finite is drawn as a gap.
"""

import io
import time
from html import escape
from itertools import zip_longest

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from IPython import get_ipython
from IPython.display import display
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize

from kit.view.chain import chain
from kit.view.figure import (
    Figure,
    array,
    image,
    number,
    numbers,
    quantise,
    role_of,
    short_hash,
    widget_class,
)
from kit.view.still import (
    colours,
    log_ticks,
    name_bands,
    plot,
    printable,
    size_of,
    wrap,
)
from kit.view.style import RAMP


def _range(values, log, zero=False):
    """The least and greatest of what an axis can show; decades when logarithmic."""
    shown = [value for value in values if not isinstance(value, str)]
    if log:
        shown = [value for value in shown if value > 0]
    if not shown:
        return [0.1, 1] if log else [0, 1]
    lo, hi = min(shown), max(shown)
    if log:
        lo = float(10.0 ** np.floor(np.log10(lo)))
        hi = float(10.0 ** np.ceil(np.log10(hi)))
        return [lo, hi if hi > lo else lo * 10]
    lo, hi = (min(lo, 0), max(hi, 0)) if zero else (lo, hi)
    hi = hi if hi > lo else lo + 1
    room = 0.04 * (hi - lo)
    return [number(lo - room * (lo != 0)), number(hi + room * (hi != 0))]


def _fixed(given, computed, log):
    if given is None:
        return computed, False
    lo, hi = given
    if not lo < hi or (log and lo <= 0):
        also = ", both above 0 on a log axis" if log else ""
        raise ValueError(f"a range needs low < high{also}, not {given}")
    return [number(lo), number(hi)], True


def _heights(series, stacked):
    """What an axis must reach: every value, or the total of every bar."""
    rows = [line["values"] for line in series]
    if not stacked:
        return [value for row in rows for value in row]
    columns = zip_longest(*rows, fillvalue=0)
    return [sum(one for one in parts if not isinstance(one, str)) for parts in columns]


class Layers(Figure):
    """One value per layer, one to three series.

    frame: {"series": [{"name", "values", "role"}], "labels": names of the layers or
    None, "note": a line above or None}
    kind: "bars", "stacked" or "line" (default: lines on a log axis); stacked: the
    series are the parts of one bar, the first at the bottom, each of its own colour.
    y_range: (low, high) or "frame", the range of the frame shown; otherwise the range
    over all frames. A frame may bring a "y_range" of its own, so that frames of one
    measure share it.
    """

    script = "layers.js"

    def __init__(
        self, frames, *, y_label, x_label="layer",
        log=False, kind=None, y_range=None, **common,
    ):
        if kind not in (None, "bars", "stacked", "line"):
            raise ValueError(f"kind is 'bars', 'stacked' or 'line', not {kind!r}")
        if isinstance(y_range, str) and y_range != "frame":
            raise ValueError(f"y_range is (low, high) or 'frame', not {y_range!r}")
        stacked = kind == "stacked"
        bars = stacked or kind == "bars" or (kind is None and not log)
        if stacked and log:
            why = "on a log axis parts do not add up"
            raise ValueError(f"stacked bars need a linear axis, log=False: {why}")
        self._given = y_range
        options = {"x_label": x_label, "y_label": y_label, "log": log}
        options |= {"bars": bars, "stacked": stacked}
        super().__init__(frames, options=options, **common)

    def _pack(self, frame):
        series = []
        for line in frame["series"]:
            values = numbers(line["values"], line["name"])
            one = {"name": str(line["name"]), "values": values}
            series.append(one | role_of(line.get("role")))
        labels = frame.get("labels")
        count = max((len(line["values"]) for line in series), default=0)
        if not series or (labels is not None and len(labels) != count):
            right = "at least one series, and as many labels as layers (or none)"
            raise ValueError(f"Layers: a frame needs {right}")
        log, stacked = self.options["log"], self.options["stacked"]
        if stacked:
            roles = colours(series)
            if len(set(roles)) < len(roles):
                raise ValueError(
                    "Layers: stacked parts need colours of their own, so no role twice "
                    f"and at most 5 without, not {roles}"
                )
            parts = [value for line in series for value in line["values"]]
            if any(not isinstance(value, str) and value < 0 for value in parts):
                raise ValueError("Layers: the parts of stacked bars are 0 or more")
        packed = {"series": series}
        if labels is not None:
            packed["labels"] = [str(label) for label in labels]
        if frame.get("y_range") is not None:
            packed["y_range"], _ = _fixed(frame["y_range"], None, log)
        elif self._given == "frame":
            packed["y_range"] = _range(_heights(series, stacked), log, zero=True)
        return packed

    def _share(self, frames):
        log, stacked = self.options["log"], self.options["stacked"]
        values = []
        for frame in frames:
            values += _heights(frame["series"], stacked)
        given = None if self._given == "frame" else self._given
        y_range, fixed = _fixed(given, _range(values, log, zero=True), log)
        return {"y_range": y_range, "fixed": fixed}

    def _draw(self, canvas, frame):
        frame, axes = self._pack(frame), canvas.subplots()
        series = []
        for line in frame["series"]:
            places = range(1, len(line["values"]) + 1)
            series.append(line | {"x": places, "y": line["values"]})
        count = max(len(line["values"]) for line in series)
        if self.options["bars"]:
            axes.set_xlim(0.5, count + 0.5)
        names = frame.get("labels") or [str(i + 1) for i in range(count)]
        y_range = frame.get("y_range", self.options["y_range"])
        plot(axes, series, self.options, y_range, names)


class Heatmap(Figure):
    """Matrices on one colour scale, side by side.

    frame: {"panels": [{"title", "values": (rows, columns), "role"}], "rows": names or
    None, "columns": names or None, "note"}
    cursor: the name of a slider that walks through the columns, with a profile of the
    column it is at.
    value_range: (low, high); otherwise the range over all frames.
    """

    script = "heatmap.js"

    def __init__(
        self, frames, *, x_label, y_label, value_label,
        log=False, cursor=None, value_range=None, **common,
    ):
        self._given = value_range
        options = {"x_label": x_label, "y_label": y_label, "value_label": value_label}
        options |= {"log": log, "cursor": cursor}
        super().__init__(frames, options=options, **common)

    def _pack(self, frame):
        arrays, panels = [], []
        for panel in frame["panels"]:
            values = array(panel["values"], 2, panel["title"])
            codes = quantise(values, 16, self.options["log"])
            one = {"title": str(panel["title"]), "values": codes}
            arrays.append(values)
            panels.append(one | role_of(panel.get("role")))
        if not arrays:
            raise ValueError("Heatmap: a frame needs at least one panel")
        packed = {"panels": panels}
        for axis, name in enumerate(("rows", "columns")):
            names, count = frame.get(name), max(values.shape[axis] for values in arrays)
            if names is not None:
                if len(names) != count:
                    raise ValueError(f"Heatmap: {len(names)} names for {count} {name}")
                packed[name] = [str(one) for one in names]
        return packed

    def _share(self, frames):
        log, ends = self.options["log"], []
        for frame in frames:
            for panel in frame["panels"]:
                ends += [panel["values"]["lo"], panel["values"]["hi"]]
        if log:
            ends = [10.0**end for end in ends]
        lo, hi = min(ends), max(ends)
        if not hi > lo:
            hi = lo * 10 if log else lo + 1
        value_range, fixed = _fixed(self._given, [lo, hi], log)
        return {"value_range": value_range, "fixed": fixed}

    def _draw(self, canvas, frame):
        panels, options = frame["panels"], self.options
        values = [np.ma.masked_invalid(array(panel["values"])) for panel in panels]
        rows, columns = frame.get("rows"), frame.get("columns")
        if rows is None:
            rows = range(1, max(len(one) for one in values) + 1)
        if columns is None:
            columns = range(1, max(one.shape[1] for one in values) + 1)
        canvas.set_size_inches(7.2, min(1.6 + 0.36 * len(rows), 3.4))
        axes = canvas.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        axes[0].set_ylabel(wrap(options["y_label"], 2.4, 11))
        high = canvas.get_size_inches()[1] - 1
        name_bands(axes[0].yaxis, [str(name) for name in rows], high)
        lo, hi = options["value_range"]
        scale = LogNorm if options["log"] else Normalize
        ramp = LinearSegmentedColormap.from_list("ramp", RAMP)
        look = {"norm": scale(lo, hi), "aspect": "auto", "cmap": ramp}
        for ax, one in zip(axes, values):
            shown = ax.imshow(one, **look)
            ax.set_xlabel(wrap(options["x_label"], 5 / len(panels), 11))
        label = wrap(options["value_label"], 2.2, 11)
        bar = canvas.colorbar(shown, ax=list(axes), label=label)
        if options["log"]:
            log_ticks(bar.ax.yaxis, lo, hi)
        wide = size_of(axes[0])[0]
        for ax, panel, one in zip(axes, panels, values):
            ax.set_title(wrap(printable(panel["title"], 60), wide, 12, "bold"))
            name_bands(ax.xaxis, [str(name) for name in columns][: one.shape[1]], wide)


class Curves(Figure):
    """Curves over a common x, such as losses over steps.

    frame: {"series": [{"name", "x", "y", "role", "dash": 0 solid, 1 dashed, 2 dotted}],
    "x_label": where frames differ in it, "note"}
    y_range: (low, high); otherwise the range of the frame shown. A frame may bring a
    "y_range" of its own, as in Layers.
    """

    script = "curves.js"

    def __init__(self, frames, *, x_label, y_label, log=False, y_range=None, **common):
        options = {"x_label": x_label, "y_label": y_label, "log": log}
        if y_range is not None:
            options["y_range"], _ = _fixed(y_range, None, log)
        super().__init__(frames, options=options, **common)

    def _pack(self, frame):
        if not frame["series"]:
            raise ValueError("Curves: a frame needs at least one series")
        own = {"x_label": str(frame["x_label"])} if frame.get("x_label") else {}
        if frame.get("y_range") is not None:
            own["y_range"], _ = _fixed(frame["y_range"], None, self.options["log"])
        return {"series": [self._line(**line) for line in frame["series"]], **own}

    @staticmethod
    def _line(name, x, y, role=None, dash=None):
        x, y = numbers(x, f"{name}: x"), numbers(y, f"{name}: y")
        if len(x) != len(y):
            raise ValueError(f"Curves: {name!r} has {len(x)} x and {len(y)} y")
        line = {"name": str(name), "x": x, "y": y} | role_of(role)
        return line if dash is None else line | {"dash": int(dash)}

    def _draw(self, canvas, frame):
        packed = self._pack(frame)
        options = self.options | packed
        plot(canvas.subplots(), packed["series"], options, options.get("y_range"))

    @staticmethod
    def live(*, x_label, y_label, total, log=False, every=1):
        """Curves that grow while something trains; see LiveCurves. Shows itself.

        total: how many points will be added; every: how many of them make one, by
        their mean.
        """
        labels = {"x_label": x_label, "y_label": y_label}
        return LiveCurves(**labels, total=total, log=log, every=every)


def _blank():  # at once: matplotlib would hold up the run that is to be seen
    shot = io.BytesIO()
    PIL.Image.new("1", (720, 360), 1).save(shot, "png")
    return shot.getvalue()


class LiveCurves(Curves):
    """The moving picture of a run: `add` points, then `close`.

    The finished curves stay where they grew, in a stored notebook too.
    """

    interval = 0.1  # seconds between pictures
    most = 400  # points kept per curve, beyond which every other one goes

    def __init__(self, *, total, every=1, **labels):
        self.series, self.done, self.sent = {}, 0, 0.0
        self.every, self.waiting = every, {}
        x, y = labels["x_label"], labels["y_label"]
        what = f"{y} of each {x}" if every == 1 else f"{y}, the mean of {every} {x}s"
        caption, alt = f"Drawn while the cell ran: the {what}.", f"{y} while training"
        super().__init__({"series": []}, **labels, caption=caption, alt=alt)
        self.options["total"] = total
        self.widget = widget_class(self.script)(data=self._data())
        self.widget.still = self
        self.output = display(self.widget, display_id=True) if get_ipython() else None

    def _pack(self, frame):
        return frame

    def _data(self, *_):
        frame = {"series": list(self.series.values())}
        return super()._data({}, (), {(): frame}) | {"done": self.done}

    def _fallback(self):
        return super()._fallback() if self.series else image(_blank(), self.alt)

    def add(self, name, x, y, role=None):
        """One more point of the curve `name`; the page is told ten times a second."""
        self.done += 1
        waiting = self.waiting.setdefault(name, [])
        waiting.append(float(y))
        if len(waiting) < self.every:
            return
        y = sum(waiting) / len(waiting)
        waiting.clear()
        new = {"name": str(name), "x": [], "y": []} | role_of(role)
        line = self.series.setdefault(name, new)
        line["x"].append(number(x))
        line["y"].append(number(y))
        if len(line["x"]) > self.most:
            line["x"], line["y"] = line["x"][::2], line["y"][::2]
        if time.monotonic() - self.sent > self.interval:
            self.widget.data = self._data()
            self.sent = time.monotonic()

    def close(self):
        """Put the finished curves, which need no kernel, in the growing ones' place."""
        self.shown = {(): {"series": list(self.series.values())}}
        vars(self).pop("html", None)  # made anew from what has grown
        if self.output:
            self.output.update(self)
        self.widget.close()


class Network(Figure):
    """A network, data flowing left to right.

    A box's width means channels, its height image size, an arc is a shortcut.

    frame: {"nodes": [{"id", "label", "kind", "channels", "size", "shape", "text",
    "maps": (n, height, width)}], "shortcuts": [[from_id, to_id, one of SHORTCUTS]],
    "note"}; a node needs id and kind, one of KINDS; a sum is a circle. Of concat arcs,
    those into the chosen node stand out. At most 32 maps are shown.
    picked: the id of the node open at first.
    """

    script = "network.js"
    KINDS = "input", "conv", "block", "sum", "pool", "fc"
    SHORTCUTS = "identity", "projection", "zero-pad", "concat"

    def __init__(self, frames, *, picked=None, **common):
        super().__init__(frames, options={"picked": picked}, **common)

    def _pack(self, frame):
        nodes = [self._node(**node) for node in frame["nodes"]]
        place = {node["id"]: i for i, node in enumerate(nodes)}
        if not nodes or len(place) < len(nodes):
            raise ValueError("Network: a frame needs nodes, each with an id of its own")
        picked = self.options["picked"]
        if picked not in (None, *place):
            raise ValueError(f"Network: picked={picked!r} is not the id of a node")
        shortcuts = [list(one) for one in frame.get("shortcuts") or []]
        for one in shortcuts:
            known = len(one) == 3 and one[2] in self.SHORTCUTS
            if not known or place.get(one[0], len(nodes)) >= place.get(one[1], -1):
                kinds = ", ".join(self.SHORTCUTS)
                right = f"[id, id of a later node, one of {kinds}]"
                raise ValueError(f"Network: shortcut {one} is not {right}")
        return {"nodes": nodes, "shortcuts": shortcuts}

    def _node(
        self, id, kind, label=None,
        channels=None, size=None, shape=None, text=None, maps=None,
    ):
        if kind not in self.KINDS:
            found, kinds = f"node {id!r} is of kind {kind!r}", ", ".join(self.KINDS)
            raise ValueError(f"Network: {found}; kinds are {kinds}")
        node = {"id": id, "kind": kind, "label": str(id if label is None else label)}
        for name, value in (("channels", channels), ("size", size)):
            if value is not None:
                node[name] = number(value)
        for name, value in (("shape", shape), ("text", text)):
            if value is not None:
                node[name] = str(value)
        if maps is not None:
            node["maps"] = quantise(array(maps, 3, f"maps of {id}")[:32], 8)
        return node

    def _draw(self, canvas, frame):
        shortcuts = frame.get("shortcuts") or []
        chain(canvas, frame["nodes"], shortcuts, self.options["picked"])


class Predict(Figure):
    """A question with a few answers, to commit to before the run.

    `reveal` makes the figure that tells the right one.
    """

    script = "predict.js"

    def __init__(self, question, choices, *, name):
        self.question = self._sentence("question", question)
        self.name = self._sentence("name", name)
        self.choices = [self._sentence("choices", one) for one in choices]
        if len(self.choices) < 2:
            right = "at least two answers to choose from"
            raise ValueError(f"Predict needs {right}, not {self.choices}")
        # An edited question forgets old predictions.
        content = "\n".join([name, self.question, *self.choices])
        key = f"{name}-{short_hash(content)[:8]}"
        options = {"key": key, "question": self.question, "choices": self.choices}
        caption = self._caption()
        super().__init__({}, caption=caption, alt=self.question, options=options)

    def _caption(self):
        return "Commit to an answer before you go on: being wrong is how this sticks."

    def _pack(self, frame):
        return {}

    def _fallback(self):
        items = "".join(f"<li>{escape(choice)}</li>" for choice in self.choices)
        summary = f"<summary>{escape(self.question)}</summary>"
        return f"<details>{summary}<ol>{items}</ol></details>"

    def __repr__(self):
        return f"<{type(self).__name__}: {self.question}>"

    def reveal(self, answer, why):
        """The figure for a later cell, which also tells what the reader said.

        answer: the right one, an index into the choices.
        """
        return Reveal(self, answer, why)


class Reveal(Predict):
    """What Predict.reveal returns."""

    def __init__(self, asked, answer, why):
        if answer not in range(len(asked.choices)):
            count = len(asked.choices)
            right = f"an index into the {count} choices (0 to {count - 1})"
            raise ValueError(f"answer {answer!r} is not {right}")
        self.answer, self.why = answer, self._sentence("why", why)
        super().__init__(asked.question, asked.choices, name=asked.name)
        self.options |= {"answer": answer, "why": self.why}

    def _caption(self):
        return "The answer, beside your prediction."

    def _fallback(self):
        answer = f"{escape(self.choices[self.answer])}. {escape(self.why)}"
        summary = f"<summary>{escape(self.question)} (show the answer)</summary>"
        return f"<details>{summary}<p>{answer}</p></details>"


class Picture(Figure):
    """A matplotlib figure with a caption and a text alternative, closed once taken."""

    def __init__(self, drawing, *, caption, alt):
        self.caption = self._sentence("caption", caption)
        self.alt = self._sentence("alt", alt)
        if not hasattr(drawing, "savefig"):
            found = type(drawing).__name__
            raise ValueError(f"Picture needs a matplotlib figure, not {found}")
        file = io.BytesIO()
        look = {"dpi": 110, "facecolor": "white", "bbox_inches": "tight"}
        drawing.savefig(file, format="png", **look, metadata={"Software": None})
        plt.close(drawing)
        self._png = file.getvalue()

    @classmethod
    def row(cls, images, titles, *, caption, alt):
        """Grey images `(n, height, width)` side by side, each under its title."""
        look = {"loc": "center", "fontsize": 10, "fontweight": "normal"}
        size = (8, 1.4)
        drawing, axes = plt.subplots(1, len(titles), figsize=size, squeeze=False)
        for picture, title, axis in zip(images, titles, axes[0], strict=True):
            axis.imshow(picture, cmap="gray_r")
            axis.set_title(title, **look, parse_math=False)
            axis.axis("off")
        return cls(drawing, caption=caption, alt=alt)

    @property
    def html(self):
        return self._frame(short_hash("\n".join([self.caption, self.alt])))

    def _fallback(self):
        return image(self._png, self.alt)

    def widget(self, controls=None, write=None):
        """A still picture has no live face."""
        raise ValueError("a Picture is still; use a viewer for a live figure")
