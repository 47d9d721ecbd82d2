"""The explorer: a page on which a network is looked at, live.

`session` computes, `views` draws, `code` writes each view as Python, `jobs` runs slow work that
can be cancelled, `limits` says what is let in; `page` and `handlers` alone know Gradio.
"""

from captum_cnn_ext.insights.explorer.origin import unit_gradients
from captum_cnn_ext.insights.explorer.serving import Explorer, explore
from captum_cnn_ext.insights.explorer.session import ExplorerSession
from captum_cnn_ext.insights.explorer.values import Photo, Unit

__all__ = ["Explorer", "ExplorerSession", "Photo", "Unit", "explore", "unit_gradients"]
