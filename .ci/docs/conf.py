"""The API pages, from the docstrings: sphinx-build -W .ci/docs build/docs"""

from captum_cnn_ext import __version__

project = "captum_cnn_ext"
release = __version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
]
html_theme = "furo"
html_title = f"captum_cnn_ext {__version__}"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "imported-members": True, "show-inheritance": True}
napoleon_numpy_docstring = False
default_role = "py:obj"
