"""Figures that live in JupyterLab and on a static page alike.

    from kit.view import Curves, Heatmap, Layers, Network, Picture, Predict, style

Each viewer's docstring tells its frame; `Figure` tells what all share: controls, captions, `.widget()` for live pictures.
"""

from kit.view.figure import Figure
from kit.view.style import colour, style
from kit.view.viewers import Curves, Heatmap, Layers, Network, Picture, Predict

__all__ = ["Curves", "Figure", "Heatmap", "Layers", "Network", "Picture", "Predict", "colour", "style"]
