"""The explorer: a page on which a network is looked at, live.

`computing` answers what is asked, `views` draws, `code_snippets` writes each view as Python, `jobs`
runs slow work that can be cancelled, `limits` says what is let in; `page_events` and `handlers`
alone know Gradio.
"""

from captum_cnn_ext.insights.explorer.computing.questions_and_answers import Photo, Unit
from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.insights.explorer.computing.unit_gradients import unit_gradients
from captum_cnn_ext.insights.explorer.serving import Explorer, explore

__all__ = ["Explorer", "ExplorerSession", "Photo", "Unit", "explore", "unit_gradients"]
