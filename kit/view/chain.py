"""The still picture of a network: boxes from left to right, all in points."""

from typing import NamedTuple

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Ellipse, PathPatch, Rectangle
from matplotlib.path import Path

from kit.view.still import printable, width
from kit.view.style import RAMP, ROLES

IDEA, SELECTED = ROLES["idea"][0], ROLES["selected"][0]
FILLS = {"input": 1, "sum": 1, "pool": 0.94, "fc": 0.9, "conv": 0.84, "block": 0.7}
ARCS = {"identity": "-", "projection": (0, (4, 2)), "zero-pad": (0, (1, 1.5))}
ARCS["concat"] = ARCS["identity"]
TALL, ROUND, MAP = 95, 24, 40  # the tallest box, a sum, a feature map with its gap
TYPE = {"fontsize": 10, "ha": "center", "va": "center"}


class Box(NamedTuple):
    """Where a node stands: its left end, its width and its height."""

    x: float
    w: float
    h: float

    @property
    def middle(self):
        return self.x + self.w / 2


def chain(canvas, nodes, shortcuts, picked):
    """Every node named, shortcuts as arcs above, below the picked node's maps.

    nodes, shortcuts: as a frame of Network has them; picked: the id of a node or None.
    """
    names = [printable(str(node.get("label") or node["id"])) for node in nodes]
    place = {node["id"]: i for i, node in enumerate(nodes)}
    arcs = [(place[a], place[b], kind) for a, b, kind in shortcuts]
    gap, boxes = lay_out(nodes)
    keys = keys_to(nodes, arcs)
    maps = None if picked is None else nodes[place[picked]].get("maps")
    maps = [] if maps is None else np.asarray(maps)[:32]

    reach = max([b - a for a, b, _ in arcs], default=1)
    rise = min(16, 110 / reach)  # how much higher an arc goes for each node it spans
    middle = 36 + rise * reach * bool(arcs) + TALL / 2
    level = all(72 * width(name) < box.w + gap - 3 for name, box in zip(names, boxes))
    foot = middle + TALL / 2 + (16 if level else 10 + 72 * max(map(width, names)))

    wide = [boxes[-1].x + boxes[-1].w + 2, MAP * min(12, len(maps)) + 8]
    wide.append(sum(72 * width(text) + (50 if kind else 18) for kind, text in keys))
    high = foot + 24 + (26 + MAP * -(-len(maps) // 12) if len(maps) else 0)
    canvas.set_layout_engine("none")
    canvas.set_size_inches(max(wide) / 72, high / 72)
    axes = canvas.add_axes((0, 0, 1, 1), xlim=(0, max(wide)), ylim=(high, 0))
    axes.axis("off")

    for node, name, box in zip(nodes, names, boxes):
        draw_box(axes, node, box, middle, SELECTED if node["id"] == picked else None)
        if node["kind"] == "sum":
            axes.text(box.middle, middle, name, **TYPE)
        elif level:
            axes.text(box.middle, middle + TALL / 2 + 9, name, **TYPE)
        else:
            below = middle + TALL / 2 + 4
            axes.text(box.middle, below, name, **TYPE | {"va": "top"}, rotation=90)
    if not any(kind == "concat" for *_, kind in arcs):
        for box, after in zip(boxes, boxes[1:]):
            axes.plot([box.x + box.w, after.x], [middle] * 2, color="0.3", linewidth=1)
    for a, b, kind in arcs:
        draw_arc(axes, boxes[a : b + 1], middle, rise, kind, nodes[b]["kind"] == "sum")
    draw_shapes(axes, nodes, boxes, gap, foot)
    draw_keys(axes, keys)
    if len(maps):
        draw_maps(canvas, maps, names[place[picked]], foot + 26)


def lay_out(nodes):
    """The gap between boxes, and a Box for each node."""
    channels, size = (
        [node.get(key) or 0 for node in nodes] for key in ("channels", "size")
    )
    gap, thin = (2, 10) if len(nodes) > 16 else (9, 12)
    room = max(0, 514 - (gap + thin) * len(nodes))
    share = min(90, room * max(max(channels), 1) / (sum(channels) or 1))
    boxes, x = [], 2.0
    for node, many, big in zip(nodes, channels, size):
        w = thin + share * many / max(max(channels), 1)
        box = Box(x, w, 20 + (TALL - 20) * big / max(max(size), 1))
        boxes.append(Box(x, ROUND, ROUND) if node["kind"] == "sum" else box)
        x += boxes[-1].w + gap
    return gap, boxes


def keys_to(nodes, arcs):
    """What the drawing's signs mean: [(kind of an arc or None, text)]."""
    kinds = dict.fromkeys(kind for *_, kind in arcs)
    keys = [(kind, f"{kind} shortcut") for kind in kinds if kind != "concat"]
    keys += [("concat", "concatenated")] * ("concat" in kinds)
    sizes = {node.get("size") for node in nodes}
    keys.append((None, "width: channels"))
    return keys + [(None, "height: image size")] * (len(sizes) > 1)


def draw_box(axes, node, box, middle, color):
    if node["kind"] == "sum":
        shape = Ellipse((box.middle, middle), box.w, box.h)
    else:
        shape = Rectangle((box.x, middle - box.h / 2), box.w, box.h)
    shape.set(facecolor=color or str(FILLS[node["kind"]]), edgecolor="0.3", linewidth=1)
    axes.add_patch(shape)


def draw_arc(axes, boxes, middle, rise, kind, to_sum):
    """From the top of the first box, over those between, to the top of the last."""
    first, last = boxes[0], boxes[-1]
    start = first.x + first.w - min(first.w / 4, 6)
    end = last.middle if to_sum else last.x + min(last.w / 4, 12)
    roof = middle - max(box.h for box in boxes) / 2 - 3
    peak = roof - (8 + rise * (len(boxes) - 1)) * 4 / 3 + 6
    corners = [(start, middle - first.h / 2), (start, roof), (start, peak)]
    corners += [(end, peak), (end, roof), (end, middle - last.h / 2)]
    steps = [Path.MOVETO, Path.LINETO, *[Path.CURVE4] * 3, Path.LINETO]
    look = {"edgecolor": IDEA, "linewidth": 1.6, "linestyle": ARCS[kind]}
    axes.add_patch(PathPatch(Path(corners, steps), fill=False, **look))


def draw_shapes(axes, nodes, boxes, gap, y):
    """One text under each run of nodes of equal shapes, if it fits."""
    shapes, start = [node.get("shape") for node in nodes], 0
    for end in range(1, len(nodes) + 1):
        if end < len(nodes) and shapes[end] == shapes[start]:
            continue
        left, right = boxes[start].x, boxes[end - 1].x + boxes[end - 1].w
        if shapes[start] and 72 * width(str(shapes[start])) < right - left + gap - 3:
            axes.plot([left, right], [y + 2, y + 2], color="0.6", linewidth=1)
            axes.text((left + right) / 2, y + 12, str(shapes[start]), **TYPE)
        start = end


def draw_keys(axes, keys):
    x = 4
    for kind, text in keys:
        if kind:
            look = {"color": IDEA, "linewidth": 1.6, "linestyle": ARCS[kind]}
            axes.plot([x, x + 26], [11, 11], **look)
            x += 32
        axes.text(x, 11, text, **TYPE | {"ha": "left"})
        x += 72 * width(text) + 18


def draw_maps(canvas, maps, name, top):
    """Maps (n, height, width) in rows of twelve, on one scale of colours.

    top: how many points they are below the upper edge of the canvas.
    """
    wide, high = canvas.get_size_inches() * 72
    across, (count, h, w) = min(12, len(maps)), maps.shape
    rows = -(-count // across)
    grid = np.full((rows * (h + 1) - 1, across * (w + 1) - 1), np.nan)
    for n, one in enumerate(maps):
        row, column = n // across * (h + 1), n % across * (w + 1)
        grid[row : row + h, column : column + w] = one
    title = f"{count} map{'s' * (count > 1)} of {name}"
    canvas.text(4 / wide, 1 - (top + 9) / high, title, fontsize=10, va="center")
    tall = MAP * rows - 2
    area = (4 / wide, (high - top - 20 - tall) / high, 1 - 8 / wide, tall / high)
    axes = canvas.add_axes(area, anchor="W")
    ramp = LinearSegmentedColormap.from_list("ramp", RAMP, N=32)
    axes.imshow(np.ma.masked_invalid(grid), cmap=ramp)
    axes.axis("off")
