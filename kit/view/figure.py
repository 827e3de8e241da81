"""What every viewer is: frames chosen by controls, drawn by one JavaScript module.

The same module draws on a static page and in a live widget.
"""

import base64
import functools
import hashlib
import inspect
import itertools
import json
import math
import re
import sys
import zlib
from html import escape
from numbers import Integral, Number
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from kit.table import PLAIN
from kit.view.still import png
from kit.view.style import DASHES, NAMED, RAMP, ROLES

ASLEEP = (
    '<p class="pcc-asleep">This figure is asleep here. To wake it, open the notebook '
    "in Jupyter and trust it: Ctrl+Shift+C, “Trust Notebook”.</p>"
)


class Figure:
    """A picture with controls.

    Subclasses say how a frame is packed (`_pack`), shared (`_share`) and drawn by
    matplotlib (`_draw`).

    frames: one frame; with `controls` a dict {tuple of control values: frame} that
    covers every combination, or a function called by keyword (a control's name as an
    identifier: "batch norm" -> batch_norm) for each of them.
    controls: {name: values}; numbers, or tuples of numbers, make a slider, everything
    else a choice. start: {name: value}, otherwise the first values.
    presets: {name: {control: value}}, settings of some or all controls to be had by one
    choice.
    also: further settings {control: value} that the still picture shows beside the
    start, when the text alternative tells of both.
    caption says what to see in the figure; alt says it to those who cannot see it.
    """

    script = ""  # the viewer's JavaScript file

    def __init__(
        self, frames, *, caption, alt,
        controls=None, start=None, presets=None, also=(), options=None,
    ):
        self.caption = self._sentence("caption", caption)
        self.alt = self._sentence("alt", alt)
        controls = controls or {}
        self.controls = {name: list(values) for name, values in controls.items()}
        for name, values in self.controls.items():
            lists = any(isinstance(value, list) for value in values)
            if not values or lists or len(set(values)) < len(values):
                right = "at least one value, none twice and no lists (tuples will do)"
                raise ValueError(f"control {name!r} needs {right}, not {values}")
        self.start = self._choose(start or {}, "start")
        self.presets = presets or {}
        for name, settings in self.presets.items():
            if not isinstance(settings, dict) or not settings:
                right = "{control: value}"
                raise ValueError(f"preset {name!r} needs {right}, not {settings!r}")
            self._choose(settings, f"preset {name!r}")
        self.compute = frames if callable(frames) else None
        grid = list(itertools.product(*self.controls.values()))
        if self.compute:
            raw = {values: self._run(values) for values in grid}
        else:
            raw = self._covering(frames, grid)
        self.options = options or {}
        shown = [self.start]
        for settings in also:
            shown.append(self._choose(self._starting() | settings, "also"))
        # What the still picture shows, as it was given.
        self.shown = {values: raw[values] for values in shown}
        self.frames = {values: self._checked(raw[values]) for values in grid}
        self.options |= self._share(list(self.frames.values()))

    # -- what subclasses say
    def _pack(self, frame):
        """A frame as JSON can hold it; bad frames raise ValueError."""
        raise NotImplementedError

    def _share(self, frames):
        """Options that all packed frames have in common, such as an axis's range."""
        return {}

    def _draw(self, canvas, frame):
        """The first frame on a matplotlib figure."""
        raise NotImplementedError

    # -- frames
    def _sentence(self, what, text):
        if not isinstance(text, str) or not text.strip():
            kind = type(self).__name__
            raise ValueError(f"{kind} needs {what}=..., a sentence, not {text!r}")
        return " ".join(text.split())

    def _starting(self):
        return dict(zip(self.controls, self.start))

    def _choose(self, settings, what):
        for name, value in settings.items():
            if value not in self.controls.get(name, []):
                where = f"the controls {self.controls}"
                raise ValueError(f"{what}: {name}={value!r} is not among {where}")
        controls = self.controls.items()
        return tuple(settings.get(name, values[0]) for name, values in controls)

    def _run(self, values, controls=None):
        names = [_identifier(name) for name in controls or self.controls]
        return self.compute(**dict(zip(names, values, strict=True)))

    def _covering(self, frames, grid):
        kind = type(self).__name__
        if not self.controls:
            return {(): frames}
        if not isinstance(frames, dict):
            right = f"a dict or a function, not {type(frames).__name__}"
            raise ValueError(f"{kind}: with controls, frames are {right}")

        def tupled(key):
            return key if isinstance(key, tuple) and (key,) not in grid else (key,)

        frames = {tupled(key): frame for key, frame in frames.items()}
        lacking = [key for key in grid if key not in frames]
        extra = [key for key in frames if key not in grid]
        if lacking or extra:
            if lacking:
                what = f"no frame for {lacking[0]}"
            else:
                what = f"a frame for {extra[0]}, which the controls do not have"
            all_of = f"{' × '.join(self.controls)} = {len(grid)} combinations"
            raise ValueError(f"{kind}: {what}; frames must cover {all_of}")
        return frames

    def _checked(self, frame):
        try:
            packed = self._pack(frame)
            if frame.get("note"):
                packed["note"] = str(frame["note"])
            return packed
        except (KeyError, TypeError, AttributeError) as error:
            kind, what = type(self).__name__, f"{type(error).__name__}: {error}"
            message = f"{kind}: not a frame ({what}); see its docstring"
            raise ValueError(message) from error

    def _data(self, controls, start, frames, write=()):
        choices = []
        for (name, values), begin in zip(controls.items(), start, strict=True):
            choice = {
                "name": name,
                "labels": [_label(value) for value in values],
                "slider": all(_slides(value) for value in values),
                "start": values.index(begin),
            }
            if name in write:
                choice["write"] = write[name]
            choices.append(choice)
        presets = []
        for name, settings in self.presets.items():
            # A live figure may have other values.
            if all(value in controls[one] for one, value in settings.items()):
                at = [
                    values.index(settings[one]) if one in settings else None
                    for one, values in controls.items()
                ]
                presets.append({"name": name, "at": at})
        grid = itertools.product(*controls.values())
        return {
            "controls": choices,
            "presets": presets,
            "frames": [frames.get(values) for values in grid],
            "options": self.options,
            "alt": self.alt,
            "caption": self.caption,
        }

    # -- the static face
    @functools.cached_property
    def html(self):
        """The figure as HTML that needs nothing else: no kernel, network or file."""
        data = self._data(self.controls, self.start, self.frames)
        compact = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
        data = json.dumps(data, **compact)
        identity = short_hash("\n".join([self.script, self.caption, self.alt]))
        version, code = viewer(self.script)
        live = (
            f'<script type="text/plain" class="pcc-data">{deflated(data)}</script>\n'
            f"<script>{javascript('wake.js')}"
            f'("{identity}", "{version}", "{code}")</script>\n'
        )
        return self._frame(identity, '<div class="pcc-live"></div>\n', live, ASLEEP)

    def _frame(self, identity, before="", after="", asleep=""):
        still = f'<div class="pcc-fallback">{self._fallback()}{asleep}</div>'
        named = f'class="pcc-figure {PLAIN}" data-figure="{identity}"'
        caption = f"<figcaption>{escape(self.caption)}</figcaption>"
        return f"<figure {named}>\n{before}{still}\n{caption}\n{after}</figure>"

    def _fallback(self):
        shown = self.shown.items()
        stills = [self._told(at, frame) + self._still(frame) for at, frame in shown]
        return "\n".join(stills)

    def _told(self, values, frame):
        """Which setting a still picture shows, and the note of its frame."""
        settings = zip(self.controls, values)
        at = " · ".join(f"{name}: {_label(value)}" for name, value in settings)
        texts = [("", at), (' class="pcc-told"', str(frame.get("note") or ""))]
        return "".join(f"<p{kind}>{escape(text)}</p>" for kind, text in texts if text)

    def _still(self, frame):
        return image(png(lambda canvas: self._draw(canvas, frame)), self.alt)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html, "text/plain": repr(self)}

    def __repr__(self):
        return f"<{type(self).__name__}: {self.caption}>"

    # -- the live face
    def widget(self, controls=None, write=None):
        """The same figure fed by the kernel.

        controls: wider lists, or further parameters of the frame function (which need a
        default).
        write: {name of a control whose values are strings: most characters} adds a box
        for the reader's own text.
        """
        controls = {name: list(values) for name, values in (controls or {}).items()}
        if controls and not self.compute:
            raise ValueError(
                "only frames given as a function can be computed for other controls; "
                "these were given as data"
            )
        wide, defaults = self.controls | controls, {}
        parameters = inspect.signature(self.compute).parameters if self.compute else {}
        for name in controls.keys() - self.controls.keys():
            parameter = parameters.get(_identifier(name))
            if parameter is None or parameter.default is parameter.empty:
                right = "a parameter, with a default, of the function"
                there = ", ".join(parameters)
                raise ValueError(f"control {name!r} must be {right}; it has {there}")
            defaults[name] = parameter.default
        write = write or {}
        for name, most in write.items():
            values = wide.get(name, [None])
            if not self.compute or not all(isinstance(one, str) for one in values):
                right = "a control whose values are strings"
                raise ValueError(
                    f"write: {name!r} must be {right}, of frames given as a function"
                )
            if not isinstance(most, int) or most < 1:
                right = "the most characters that may be typed, 1 or more"
                raise ValueError(f"write: {name!r} needs {right}, not {most!r}")
        begin = dict(zip(self.controls, self.start, strict=True)) | defaults
        start = tuple(
            begin[name] if begin[name] in values else values[0]
            for name, values in wide.items()
        )
        further = tuple(defaults[name] for name in wide if name in defaults)
        known = {values + further: frame for values, frame in self.frames.items()}
        if start not in known:
            known[start] = self._checked(self._run(start, wide))
        widget = widget_class(self.script)(data=self._data(wide, start, known, write))
        widget.still = self

        typed = {}  # the last few frames of the reader's own texts

        def frame_of(ask):  # an index into each control's values, or the text itself
            values = []
            for (name, choices), one in zip(wide.items(), ask, strict=True):
                typing = isinstance(one, str)
                values.append(one[: write[name]] if typing else choices[one])
            values = tuple(values)
            cache = typed if any(isinstance(one, str) for one in ask) else known
            if values not in cache:
                cache[values] = self._checked(self._run(values, wide))
            if len(typed) > 8:
                del typed[next(iter(typed))]
            return cache[values]

        def answer(_, message, buffers):  # one message per setting that the page lacks
            ask = message["ask"]
            try:
                widget.send({"ask": ask, "frame": frame_of(ask)})
            except Exception as error:  # the reader sees a line; the picture stays
                line = " ".join(str(error).split())[:200]
                problem = f"{type(error).__name__}: {line}"
                widget.send({"ask": ask, "problem": problem})

        widget.on_msg(answer)
        return widget


@functools.cache
def widget_class(script):
    """The anywidget class of a viewer.

    What it shows is no widget view but its `still` figure, which finds the widget while
    the kernel lives (`wake` in base.js): a saved view would be an error message once
    the kernel is gone. On Colab it is the view: there each output is a page of its own,
    in which a figure finds no other.
    """

    class LiveFigure(anywidget.AnyWidget):
        _esm = module(script)
        data = traitlets.Dict().tag(sync=True)
        still = None

        def _repr_mimebundle_(self, **kwargs):
            if "google.colab.output" in sys.modules:
                return super()._repr_mimebundle_(**kwargs)
            bundle = self.still._repr_mimebundle_()
            named = f'<figure data-kernel="{self.model_id}"'
            live = bundle["text/html"].replace("<figure", named, 1)
            return bundle | {"text/html": live}

    # anywidget tells modules apart by class name.
    LiveFigure.__qualname__ = f"LiveFigure[{script}]"
    return LiveFigure


@functools.cache
def module(script):
    """The JavaScript of one viewer, as one ES module without blank lines."""
    style = {"roles": ROLES, "dashes": DASHES, "ramp": RAMP}
    style = json.dumps(style, separators=(",", ":"))
    return f"const STYLE = {style};\n{javascript('base.js', script)}"


@functools.cache
def javascript(*names):
    """JavaScript files as one text, without blank lines and comment lines."""
    texts = [Path(__file__).with_name(name).read_text("utf-8") for name in names]
    lines = [line.strip() for line in "\n".join(texts).splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("//"))


@functools.cache
def viewer(script):
    """(hash, deflated module) of a viewer.

    Every figure brings its own: any works alone.
    """
    text = module(script)
    return short_hash(text), deflated(text)


def short_hash(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def deflated(text):
    """Text as base64 of its deflated UTF-8, as `wake.js` reads it."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


# -- packing
def _identifier(name):
    """The keyword by which a frame function is given the control `name`."""
    return re.sub(r"\W+", "_", name)


def _slides(value):
    if isinstance(value, tuple):
        return all(map(_slides, value))
    return isinstance(value, Number) and not isinstance(value, bool)


def _label(value):
    if isinstance(value, tuple):
        return ", ".join(map(_label, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value) or "(nothing)"


def array(values, dimensions=None, what="values"):
    """Anything array-like (a list, an array, a tensor anywhere) as a float array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    values = np.asarray(values, dtype=float)
    if dimensions is not None and values.ndim != dimensions:
            right = f"needs {dimensions} dimensions"
            raise ValueError(f"{what}: {right}, has shape {values.shape}")
    if not values.size:
        raise ValueError(f"{what}: empty, shape {values.shape}")
    return values


def number(value):
    """A number with 4 significant digits; integers are whole.

    What JSON lacks becomes 'nan', 'inf' or '-inf'.
    """
    if isinstance(value, Integral):
        return int(value)
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    if value.is_integer() and abs(value) < 2**53:
        return int(value)
    return float(f"{value:.4g}")


def numbers(values, what="values"):
    return [number(value) for value in array(values, 1, what)]


def quantise(values, bits, log=False):
    """An array as `bits`-bit codes between its finite extremes.

    The highest code marks what cannot be shown.
    """
    with np.errstate(all="ignore"):
        scaled = np.log10(values) if log else values
    good = np.isfinite(scaled)
    lo = float(scaled[good].min()) if good.any() else 0.0
    hi = float(scaled[good].max()) if good.any() else 0.0
    gap = 2**bits - 1
    codes = np.full(values.shape, gap, dtype=f"<u{bits // 8}")
    codes[good] = np.round((scaled[good] - lo) / ((hi - lo) or 1) * (gap - 1))
    return {
        "shape": list(values.shape),
        "bits": bits,
        "lo": float(f"{lo:.7g}"),
        "hi": float(f"{hi:.7g}"),
        "log": log,
        "data": base64.b64encode(codes.tobytes()).decode(),
    }


def role_of(value):
    if value is not None and value not in NAMED:
        raise ValueError(f"no role {value!r}; roles are {', '.join(NAMED)}")
    return {} if value is None else {"role": value}


def image(data, alt):
    style = "max-width:100%;height:auto;background:white"
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return f'<img alt="{escape(alt)}" src="{url}" style="{style}">'
