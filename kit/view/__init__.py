"""Figures that live in JupyterLab and on a static page alike.

    from kit.view import Curves, Heatmap, Layers, Network, Picture, Predict
    from kit.view import Apart, Attention, Spot, Tokens

Each viewer's docstring tells its frame; `Figure` tells what all share: controls,
captions, `.widget()` for live pictures. Importing this also gives matplotlib the look
of the lessons.
"""

from kit.view.apart import Apart
from kit.view.figure import Figure
from kit.view.quiz import Spot
from kit.view.text import Attention, Tokens
from kit.view.viewers import Curves, Heatmap, Layers, Network, Picture, Predict

__all__ = [
    "Apart", "Attention", "Curves", "Figure", "Heatmap", "Layers", "Network", "Picture",
    "Predict", "Spot", "Tokens",
]
