"""What still pictures share: names that are whole, do not touch, and stay text.

Lengths are in inches, sizes of type in points.
"""

import io
from itertools import cycle

import matplotlib
import numpy as np
import PIL.Image
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from kit.view.style import DASHES, MATPLOTLIB, NAMED, ROLES

LOOK = MATPLOTLIB | {
    "text.parse_math": False
}  # a `$` in a name is a dollar, not the start of a formula
LINE = 0.165  # from one line of 10 point type to the next
TEXTURES = ["", "///", "...", "---", "\\\\\\"]  # of the bars of several series
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def png(draw):
    """draw(canvas) on a white matplotlib figure -> PNG bytes, in 128 colours."""
    shot, small = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(LOOK):
        canvas = Canvas(facecolor="white")
        draw(canvas)
        canvas.savefig(shot, format="png")
    PIL.Image.open(shot).convert("RGB").quantize(
        128, dither=PIL.Image.Dither.NONE
    ).save(small, "png", optimize=True)
    return small.getvalue()


# -- text
def printable(text, most=24, room=None):
    """A name as the font can show it, white space as signs.

    It is cut at `most` characters and, if given, at the width `room`.
    """
    font = get_font(findfont(FontProperties()))
    text = text.replace("\n", "⏎").replace("\t", "⇥")
    text = text if text.strip() else "␣" * max(1, len(text))
    text = "".join(
        letter if font.get_char_index(ord(letter)) else "□" for letter in text
    )
    for count in range(most, 0, -1):
        short = text if len(text) <= count else text[: count - 1] + "…"
        if room is None or width(short) <= room:
            break
    return short


def width(text, size=10, weight="normal"):
    """How wide the widest line of a text is."""
    font = FontProperties(size=size, weight=weight)
    measure = text_to_path.get_text_width_height_descent
    return max(measure(line, font, False)[0] for line in text.split("\n")) / 72


def wrap(text, room, size=10, weight="normal"):
    """The text in lines at most `room` wide; a longer word stands out."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and width(longer, size, weight) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


# -- axes
def size_of(axes):
    """Width and height of axes once all that is on the canvas so far has its room."""
    canvas = axes.get_figure()
    canvas.draw_without_rendering()
    return axes.get_position().size * canvas.get_size_inches()


def every(count, room, names_from_1=False):
    """Which of `count` bands are named if only `room` names fit.

    All, every second, fifth, tenth, …; round numbers, if they count from 1.
    """
    steps = (k * 10**e for e in range(6) for k in (1, 2, 5))
    step = next(step for step in steps if count / step <= max(room, 1))
    return [i for i in range(count) if (i + names_from_1) % step == 0] or [0]


def name_bands(axis, names, length, start=0):
    """Name the bands start, start + 1, … of an x or y axis that is `length` long.

    Along x names go level, in up to three lines, or else upright; some are left out
    only where a line of type is too high for a band. Numbers may be thinned.
    """
    names, slot = [printable(name) for name in names], length / len(names)
    numbers = all(name.lstrip("−-").replace(".", "").isdigit() for name in names)
    counted = numbers and names[0] == "1"
    folded = [wrap(name, slot - 0.1) for name in names]
    if axis.axis_name == "y":
        shown, upright = every(len(names), length / LINE, counted), False
    elif numbers:
        shown, upright = (
            every(len(names), length / (max(map(width, names)) + 0.15), counted),
            False,
        )
    elif (
        max(map(width, folded)) <= slot - 0.08
        and max(name.count("\n") for name in folded) < 3
    ):
        names, shown, upright = folded, range(len(names)), False
    else:
        shown, upright = every(len(names), length / LINE), True
    axis.set_ticks(
        [start + i for i in shown],
        [names[i] for i in shown],
        rotation=90 if upright else 0,
    )


def log_ticks(axis, lo, hi):
    """Numbers on a log axis in plain characters, all in one notation.

    Over less than two decades 2 and 5 times the powers of ten have numbers, too.
    """

    def text(value, _):
        if 1e-3 <= lo and hi <= 1e4 or value == 1:
            return f"{value:g}"
        exponent = int(np.floor(np.log10(value) + 1e-9))
        times = round(value / 10.0**exponent)
        return f"{times}×" * (times > 1) + "10" + str(exponent).translate(SUPERSCRIPT)

    axis.set_major_locator(LogLocator(subs=(1,) if hi / lo >= 100 else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(text))
    axis.set_minor_formatter(NullFormatter())


# -- series
def colours(series):
    """The role of each series; those without one take the extra colours in turn."""
    extras = cycle(role for role in ROLES if role not in NAMED)
    return [line.get("role") or next(extras) for line in series]


def plottable(values):
    """Numbers as an array; what JSON had to write as text ("nan", "inf") is nan."""
    numbers = [np.nan if isinstance(value, str) else value for value in values]
    return np.array(numbers, dtype=float)


def plot(axes, series, options, y_range, names=None):
    """Series in the viewers' look: colours, dashes, markers, names at the lines' ends.

    series: [{"name", "x", "y", "role", "dash"}]; options: those of the viewer;
    names: of the places 1, 2, … on the x axis.
    """
    series = [line | {"y": plottable(line["y"])} for line in series]
    bars, log = options.get("bars"), options["log"]
    if options.get("stacked"):
        draw_stack(axes, series)
    elif bars:
        for n, (line, role) in enumerate(zip(series, colours(series))):
            at = np.array(line["x"]) - 0.4 + 0.8 * (n + 0.5) / len(series)
            axes.bar(at, line["y"], 0.74 / len(series), **bar_look(n, line, role))
    ends = [] if bars else draw_lines(axes, series, y_range)
    if log:
        axes.set_yscale("log")
    axes.set_xlabel(wrap(options["x_label"], 6, 11))
    axes.set_ylabel(wrap(options["y_label"], 2.4, 11))
    axes.set_ylim(y_range)
    if log:
        log_ticks(axes.yaxis, *axes.get_ylim())
    widest = max(width(line["name"]) for line in series)
    if len(ends) < len(series) or len(series) > 8 or widest > 2.2:
        legend(axes, [line["name"] for line in series])
    elif len(series) > 1 or series[0]["name"] != options["y_label"]:
        name_ends(axes, ends)
    if names:
        name_bands(axes.xaxis, names, size_of(axes)[0] * (1 if bars else 0.9), 1)


def bar_look(n, line, role):
    """Colour, name and texture of the bars of the n-th series."""
    look = {"color": ROLES[role][0], "label": printable(line["name"], 48)}
    texture = TEXTURES[n % len(TEXTURES)]
    return look | {"hatch": texture, "edgecolor": "white", "linewidth": 0}


def draw_stack(axes, series):
    """Series as the parts of bars, the first at the bottom."""
    count, under = max(len(line["x"]) for line in series), 0
    wide = 1 if count >= 60 else min(0.8, 0.12 * count)
    for n, (line, role) in enumerate(zip(series, colours(series))):
        y = np.pad(np.nan_to_num(line["y"]), (0, count - len(line["y"])))
        look = bar_look(n, line, role) | {"antialiased": count < 60}
        axes.bar(range(1, count + 1), y, wide, under, **look)
        under = under + y


def draw_lines(axes, series, y_range):
    """Series as lines -> the ends of them: [(name, colour, marker, x, y)]."""
    seen, ends = {}, []
    for line, role in zip(series, colours(series)):
        nth = line.get("dash", seen.get(role, 0)) % len(DASHES)
        seen[role] = seen.get(role, 0) + 1
        (color, _, marker), name = ROLES[role], printable(line["name"], 48)
        x, y = np.array(line["x"], dtype=float), line["y"]
        good = np.isfinite(x) & np.isfinite(y)
        lo, hi = y_range or (-np.inf, np.inf)
        look = {"linestyle": ["-", "--", ":", "-."][nth], "label": name}
        look["clip_on"] = bool(((y[good] < lo) | (y[good] > hi)).any())
        look |= {"marker": marker, "markersize": 5, "markevery": max(1, len(y) // 12)}
        axes.plot(x, y, color=color, **look)
        ends += [(name, color, marker, x[good][-1], y[good][-1])] if good.any() else []
    return ends


def legend(axes, names):
    """A key above the axes, in as many columns as the canvas is wide for."""
    canvas = axes.get_figure()
    column = max(width(name) for name in names) + 0.75
    ncols = max(1, min(len(names), int((canvas.get_size_inches()[0] - 0.2) / column)))
    look = {"loc": "outside upper left", "fontsize": 10, "handlelength": 3.2}
    canvas.legend(*axes.get_legend_handles_labels(), ncols=ncols, **look)


def name_ends(axes, ends):
    """Name each line at its end; names that would touch move apart, all with markers.

    ends: [(name, colour, marker, x, y)]
    """
    high = axes.get_figure().get_size_inches()[1] - 0.9  # of the axes, about
    step, to_share = LINE / high, axes.transScale + axes.transLimits
    at = [[*np.clip(to_share.transform(end[3:]), 0, 1), *end] for end in ends]
    at.sort(key=lambda end: end[1])
    for one, before in zip(at[1:], at):
        one[1] = max(one[1], before[1] + step)
    roof = 1.0
    for one in reversed(at):
        one[1] = roof = min(one[1], roof)
        roof -= step
    halo = withStroke(linewidth=4, foreground="white")  # others may go on behind a name
    look = {"va": "center", "fontsize": 10, "path_effects": [halo]}
    free = {"annotation_clip": False}
    marked = any(abs(end[1] - to_share.transform(end[-2:])[1]) > step / 5 for end in at)
    for across, up, name, color, marker, x, y in at:
        leader = {"arrowstyle": "-", "color": color, "linewidth": 1.2, "shrinkB": 2}
        place = {"xytext": (across + 0.03, up), "textcoords": "axes fraction"}
        axes.annotate("", (x, y), arrowprops=leader, **place, **free)
        if marked:
            sign = {"color": color, "markersize": 6, "clip_on": False}
            axes.plot(across + 0.035, up, marker, transform=axes.transAxes, **sign)
        place = (across + (0.055 if marked else 0.04), up)
        axes.annotate(name, place, xycoords="axes fraction", **look, **free)
