"""What still pictures share: names that are whole, do not touch, and stay text. Lengths are in inches, sizes of type in points."""

import io

import matplotlib
import numpy as np
import PIL.Image
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Ellipse, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from kit.view.style import DASHES, MATPLOTLIB, RAMP, ROLES

LOOK = MATPLOTLIB | {"text.parse_math": False}  # a `$` in a name is a dollar, not the start of a formula
LINE = 0.165  # from one line of 10 point type to the next
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def png(draw):
    """draw(canvas) on a white matplotlib figure -> PNG bytes in 128 colours, to keep notebooks small."""
    shot, small = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(LOOK):
        canvas = Canvas(facecolor="white")
        draw(canvas)
        canvas.savefig(shot, format="png")
    PIL.Image.open(shot).convert("RGB").quantize(128, dither=PIL.Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


# -- text
def printable(text, most=24):
    """A name as the font can show it, white space as signs, cut at `most` characters."""
    font = get_font(findfont(FontProperties()))
    text = text.replace("\n", "⏎").replace("\t", "⇥")
    text = text if text.strip() else "␣" * max(1, len(text))
    text = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(letter if font.get_char_index(ord(letter)) else "□" for letter in text)


def width(text, size=10, weight="normal"):
    """How wide the widest line of a text is."""
    font = FontProperties(size=size, weight=weight)
    return max(text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n")) / 72


def wrap(text, room, size=10, weight="normal"):
    """The text with line breaks between words, so that its lines are at most `room` wide; longer words stand out."""
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
    """Which of `count` bands can be named if only `room` of them fit: all, every second, fifth, … (round numbers, if they count from 1)."""
    steps = (k * 10**e for e in range(6) for k in (1, 2, 5))
    step = next(step for step in steps if count / step <= max(room, 1))
    return [i for i in range(count) if (i + names_from_1) % step == 0] or [0]


def name_bands(axis, names, length, start=0):
    """Name the bands start, start + 1, … of an x or y axis that is `length` long.

    Along x names go level, in up to three lines, or else upright; only where a line of type is too high for a band are some left out.
    Numbers may be thinned like any scale.
    """
    names, slot = [printable(name) for name in names], length / len(names)
    numbers = all(name.lstrip("−-").replace(".", "").isdigit() for name in names)
    counted = numbers and names[0] == "1"
    folded = [wrap(name, slot - 0.1) for name in names]
    if axis.axis_name == "y":
        shown, upright = every(len(names), length / LINE, counted), False
    elif numbers:
        shown, upright = every(len(names), length / (max(map(width, names)) + 0.15), counted), False
    elif max(map(width, folded)) <= slot - 0.08 and max(name.count("\n") for name in folded) < 3:
        names, shown, upright = folded, range(len(names)), False
    else:
        shown, upright = every(len(names), length / LINE), True
    axis.set_ticks([start + i for i in shown], [names[i] for i in shown], rotation=90 if upright else 0)


def log_ticks(axis, lo, hi):
    """Numbers on a log axis in plain characters, all in one notation; over less than two decades 2 and 5 times the powers, too."""
    def text(value, _):
        if 1e-3 <= lo and hi <= 1e4 or value == 1:
            return f"{value:g}"
        return "10" + str(round(np.log10(value))).translate(SUPERSCRIPT)

    axis.set_major_locator(LogLocator(subs=(1,) if hi / lo >= 100 else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(text))
    axis.set_minor_formatter(NullFormatter())


# -- series
def colours(series):
    """The role of each series; those without one take the extra colours in turn."""
    extras, found = [role for role in ROLES if role.startswith("extra")], []
    for line in series:
        found.append(line.get("role") or extras[sum(name in extras for name in found) % len(extras)])
    return found


def plot(axes, series, options, y_range, names=None):
    """Series in the viewers' look on matplotlib axes: same colours, dashes, markers and, where there is room, names at the lines' ends.

    series: [{"name", "x", "y", "role", "dash"}]; options: those of the viewer; names: of the places 1, 2, … on the x axis.
    """
    bars, stacked, log = options.get("bars"), options.get("stacked"), options["log"]
    seen, count, under, ends = {}, max(len(line["x"]) for line in series), 0, []
    for n, (line, role) in enumerate(zip(series, colours(series))):
        nth = line.get("dash", seen.get(role, 0)) % len(DASHES)
        seen[role] = seen.get(role, 0) + 1
        color, _, marker = ROLES[role]
        name = printable(line["name"], 48)
        y = np.array([np.nan if isinstance(value, str) else value for value in line["y"]], dtype=float)
        if stacked:
            y, wide = np.pad(np.nan_to_num(y), (0, count - len(y))), 1 if count >= 60 else min(0.8, 0.12 * count)
            axes.bar(range(1, count + 1), y, wide, under, color=color, label=name, antialiased=count < 60)
            under = under + y
        elif bars:
            at = np.array(line["x"]) - 0.4 + 0.8 * (n + 0.5) / len(series)
            axes.bar(at, y, 0.74 / len(series), color=color, label=name)
        else:
            style = {"color": color, "linestyle": ["-", "--", ":", "-."][nth], "marker": marker, "markersize": 5}
            inside = np.nanmin(y, initial=np.inf) >= (y_range or [0])[0] and np.nanmax(y, initial=-np.inf) <= (y_range or [0, 0])[1]
            axes.plot(line["x"], y, markevery=max(1, len(y) // 12), label=name, clip_on=not inside, **style)
            good = [(x, value) for x, value in zip(line["x"], y) if np.isfinite(value) and not isinstance(x, str)]
            ends += [(name, color, marker, *good[-1])] if good else []
    if log:
        axes.set_yscale("log")
    axes.set(xlabel=wrap(options["x_label"], 6, 11), ylabel=wrap(options["y_label"], 2.4, 11), ylim=y_range)
    if log:
        log_ticks(axes.yaxis, *axes.get_ylim())
    if bars or len(ends) < len(series) or len(series) > 8 or max(width(line["name"]) for line in series) > 2.2:
        legend(axes, [line["name"] for line in series])
    elif len(series) > 1 or series[0]["name"] != options["y_label"]:
        name_ends(axes, ends)
    if names:
        name_bands(axes.xaxis, names, size_of(axes)[0] * (0.9 if not bars else 1), 1)


def legend(axes, names):
    """A key above the axes, in as many columns as the canvas is wide for."""
    canvas = axes.get_figure()
    column = max(width(name) for name in names) + 0.75
    ncols = max(1, min(len(names), int((canvas.get_size_inches()[0] - 0.2) / column)))
    canvas.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=ncols, fontsize=10, handlelength=3.2)


def name_ends(axes, ends):
    """Name each line at its end, beside its marker; names that would touch move apart. ends: [(name, colour, marker, x, y)]."""
    step = LINE / (axes.get_figure().get_size_inches()[1] - 0.9)  # as a share of the height of the axes
    to_share = axes.transScale + axes.transLimits
    at = [[*np.clip(to_share.transform(end[3:]), 0, 1), *end] for end in ends]
    at.sort(key=lambda end: end[1])
    for one, before in zip(at[1:], at):
        one[1] = max(one[1], before[1] + step)
    roof = 1.0
    for one in reversed(at):
        one[1] = roof = min(one[1], roof)
        roof -= step
    halo = [withStroke(linewidth=4, foreground="white")]  # a line may end where others go on
    for across, up, name, color, marker, x, y in at:
        leader = {"arrowstyle": "-", "color": color, "linewidth": 1.2, "shrinkA": 1, "shrinkB": 2, "relpos": (0, 0.5)}
        look = {"va": "center", "fontsize": 10, "annotation_clip": False, "path_effects": halo}
        axes.annotate("", (x, y), (across + 0.03, up), textcoords="axes fraction", arrowprops=leader, annotation_clip=False)
        if abs(up - to_share.transform((x, y))[1]) > step / 5:
            axes.plot(across + 0.035, up, marker, color=color, markersize=6, transform=axes.transAxes, clip_on=False)
        axes.annotate(name, (across + 0.055, up), xycoords="axes fraction", **look)


# -- networks
FILLS = {"input": "white", "sum": "white", "pool": "0.94", "fc": "0.9", "conv": "0.84", "block": "0.7"}
ARCS = {"identity": "-", "projection": (0, (4, 2)), "zero-pad": (0, (1, 1.5)), "concat": "-"}


def chain(canvas, nodes, shortcuts, picked):
    """Nodes as boxes from left to right, every one named, shortcuts as arcs above them; below, the maps of the picked node.

    nodes, shortcuts: as a frame of Network has them. All is drawn in points, so that circles are round.
    """
    names = [printable(node["label"] if node.get("label") is not None else str(node["id"])) for node in nodes]
    place = {node["id"]: i for i, node in enumerate(nodes)}
    channels, size = (max([node.get(key) or 0 for node in nodes] + [1]) for key in ("channels", "size"))
    gap, thin, tall = (2, 10, 95) if len(nodes) > 16 else (9, 12, 95)
    wide = max(518, 4 + (gap + thin) * len(nodes))
    share = (wide - 4 - (gap + thin) * len(nodes)) / (sum((node.get("channels") or 0) / channels for node in nodes) or 1)
    share = min(share, 90)
    arcs = [(place[a], place[b], kind) for a, b, kind in shortcuts]
    reach = max([b - a for a, b, _ in arcs], default=0)
    rise = min(16, 110 / reach) if reach else 0
    top = 24 + 12 + rise * reach  # a line of text, then the arcs
    middle, floor = top + tall / 2, top + tall

    boxes, x = [], 2.0
    for node in nodes:
        round_ = node["kind"] == "sum"
        w = 24 if round_ else thin + share * (node.get("channels") or 0) / channels
        boxes.append((x, w, 24 if round_ else 20 + (tall - 20) * (node.get("size") or 0) / size))
        x += w + gap
    level = all(72 * width(name) < w + gap - 3 for name, (_, w, _) in zip(names, boxes))
    foot = floor + (16 if level else 10 + 72 * max(map(width, names)))

    maps = next((node["maps"] for node in nodes if node["id"] == picked and node.get("maps") is not None), None)
    maps = None if maps is None else np.asarray(maps)[:32]
    below = 0 if maps is None else 26 + 40 * -(-len(maps) // 12)
    high = foot + 24 + below
    keys = [(kind, "concatenated" if kind == "concat" else f"{kind} shortcut") for kind in dict.fromkeys(kind for *_, kind in arcs)]
    keys += [(None, "width: channels")] + [(None, "height: image size")] * (len({node.get("size") for node in nodes}) > 1)
    wide = max(x, sum(72 * width(what) + (50 if kind else 18) for kind, what in keys), 0 if maps is None else 44 * min(12, len(maps)))
    canvas.set_layout_engine("none")
    canvas.set_size_inches(wide / 72, high / 72)
    axes = canvas.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(high, 0))
    axes.axis("off")

    text = {"fontsize": 10, "ha": "center", "va": "center"}
    for node, name, (x, w, h) in zip(nodes, names, boxes):
        shape = Ellipse((x + w / 2, middle), w, h) if node["kind"] == "sum" else Rectangle((x, middle - h / 2), w, h)
        chosen = node["id"] == picked
        shape.set(facecolor=ROLES["selected"][0] if chosen else FILLS[node["kind"]], edgecolor="0.3", linewidth=1)
        axes.add_patch(shape)
        if node["kind"] == "sum":
            axes.text(x + w / 2, middle, name, **text)
        elif level:
            axes.text(x + w / 2, floor + 9, name, **text)
        else:
            axes.text(x + w / 2, floor + 4, name, **text | {"va": "top"}, rotation=90)
    if not any(kind == "concat" for *_, kind in arcs):
        for (x, w, _), (after, _, _) in zip(boxes, boxes[1:]):
            axes.plot([x + w, after], [middle, middle], color="0.3", linewidth=1)
    for a, b, kind in arcs:  # from the top of one box, over those between, to the top of the other
        (x0, w0, h0), (x1, w1, h1) = boxes[a], boxes[b]
        start, end = x0 + w0 - min(w0 / 4, 6), x1 + min(w1 / (2 if nodes[b]["kind"] == "sum" else 4), 12)
        roof = middle - max(h for _, _, h in boxes[a : b + 1]) / 2 - 3
        peak = roof - (8 + rise * (b - a)) * 4 / 3 + 6
        corners = [(start, middle - h0 / 2), (start, roof), (start, peak), (end, peak), (end, roof), (end, middle - h1 / 2)]
        way = Path(corners, [Path.MOVETO, Path.LINETO, *3 * [Path.CURVE4], Path.LINETO])
        axes.add_patch(PathPatch(way, fill=False, edgecolor=ROLES["idea"][0], linewidth=1.6, linestyle=ARCS[kind]))

    start = 0
    for i in range(1, len(nodes) + 1):  # one text under each run of equal shapes
        if i < len(nodes) and nodes[i].get("shape") == nodes[start].get("shape"):
            continue
        (left, _, _), (right, w, _) = boxes[start], boxes[i - 1]
        shape = nodes[start].get("shape")
        if shape and 72 * width(str(shape)) < right + w - left + gap - 3:
            axes.plot([left, right + w], [foot + 2, foot + 2], color="0.6", linewidth=1)
            axes.text((left + right + w) / 2, foot + 12, str(shape), **text)
        start = i

    x = 4
    for kind, what in keys:
        if kind:
            axes.plot([x, x + 26], [11, 11], color=ROLES["idea"][0], linewidth=1.6, linestyle=ARCS[kind])
            x += 32
        axes.text(x, 11, what, **text | {"ha": "left"})
        x += 72 * width(what) + 18
    if maps is not None:
        feature_maps(canvas, maps, names[place[picked]], foot + 26)


def feature_maps(canvas, maps, name, top):
    """The maps of a node (n, height, width) in rows of twelve, on one scale of colours, `top` points below the upper edge."""
    wide, high = canvas.get_size_inches() * 72
    across, (count, h, w) = min(12, len(maps)), maps.shape
    rows = -(-count // across)
    grid = np.full((rows * (h + 1) - 1, across * (w + 1) - 1), np.nan)
    for n, one in enumerate(maps):
        row, column = n // across * (h + 1), n % across * (w + 1)
        grid[row : row + h, column : column + w] = one
    canvas.text(4 / wide, 1 - (top + 9) / high, f"{count} map{'s' * (count > 1)} of {name}", fontsize=10, va="center")
    tall = 40 * rows - 2
    axes = canvas.add_axes((4 / wide, (high - top - 20 - tall) / high, 1 - 8 / wide, tall / high), anchor="W")
    axes.imshow(np.ma.masked_invalid(grid), cmap=LinearSegmentedColormap.from_list("ramp", RAMP, N=32))
    axes.axis("off")
