"""The explorer: a page on which a network is looked at, live.

`computing` answers what is asked, `views` draws, `code` writes each view as Python, `jobs` runs
slow work that can be cancelled, `limits` says what is let in; `page` and `handlers` alone know
Gradio.
"""

from captum_cnn_ext.insights.explorer.computing.origin import unit_gradients
from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.insights.explorer.computing.values import Photo, Unit
from captum_cnn_ext.insights.explorer.serving import Explorer, explore

__all__ = ["Explorer", "ExplorerSession", "Photo", "Unit", "explore", "unit_gradients"]
