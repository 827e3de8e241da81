"""One look for matplotlib and the viewers: palette, colour map, type.

Importing this sets it.
"""

import matplotlib

# role -> colour on light, colour on dark, marker. Okabe–Ito, safe for the colour-blind;
# the marker tells roles apart without colour. Every series has a contrast of 3 or more
# on both grounds; what the reader picked is a mark and not a series.
ROLES = {
    "idea": ("#0072B2", "#56B4E9", "o"),      # what the paper proposes
    "control": ("#6B6B6B", "#A8A8A8", "s"),   # what it is compared with
    "selected": ("#E69F00", "#E69F00", "D"),  # what the reader picked
    "error": ("#D55E00", "#F0743A", "x"),     # what went wrong
    "extra0": ("#1D9E57", "#3DDC84", "^"),    # series that have no role, in this order
    "extra1": ("#852E75", "#CC5AAA", "v"),
    "extra2": ("#6B5300", "#F0E442", "P"),
    "extra3": ("#5C3AC5", "#B07CF5", "*"),
    "extra4": ("#1A1A1A", "#F5F5F5", ">"),
}
NAMED = [role for role in ROLES if not role.startswith("extra")]
DASHES = ["", "7 4", "2 3", "9 3 2 3"]  # SVG; the n-th series of a role gets the n-th

# viridis at 16 even stops; both sides interpolate
RAMP = [
    "#440154", "#481a6c", "#472f7d", "#414487", "#39568c", "#31688e",
    "#2a788e", "#23888e", "#1f988b", "#22a884", "#35b779", "#54c568",
    "#7ad151", "#a5db36", "#d2e21b", "#fde725",
]

# Of the roles above the colours on light, without those of "selected" and "error".
CYCLE = "'0072B2', '6B6B6B', '1D9E57', '852E75', '6B5300', '5C3AC5', '1A1A1A'"

MATPLOTLIB = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.prop_cycle": f"cycler('color', [{CYCLE}])",
    "figure.dpi": 100,
    "figure.figsize": (7.2, 3.4),
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "lines.linewidth": 2,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
}

matplotlib.rcParams.update(MATPLOTLIB)
