"""The explorer: a network explored interactively in the browser.

`computing` answers what is asked, `views` draws, `code_snippets` writes each view as Python, `jobs`
runs what can be cancelled, `limits` says what is accepted; `page_events`, `page_layout`,
`handlers` and `slow_work` alone know Gradio.
"""

from captum_cnn_ext.insights.explorer.computing.questions_and_answers import Photo, Unit
from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.insights.explorer.computing.unit_gradients import unit_gradients
from captum_cnn_ext.insights.explorer.serving import Explorer, explore

__all__ = ["Explorer", "ExplorerSession", "Photo", "Unit", "explore", "unit_gradients"]
