"""The pages: guides and API, from README, examples, benchmarks and docstrings.

Built from the repository's folder, so that its links and pictures hold:
``sphinx-build -c examples/pages . build/docs``. They ask for nothing elsewhere: formulas are
MathML.
"""

import re
import shutil
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

from captum_cnn_ext import __version__

GUIDES = [
    "examples/choose_a_method",
    "examples/explain_a_detector",
    "examples/explorer",
    "examples/read_the_report",
    "examples/gate_merges",
    "examples/troubleshooting",
    "examples/README",
    "benchmarks/README",
    "examples/changes",
]
API = [
    f"examples/pages/{page}"
    for page in (
        *("attr", "targets", "synthesis", "evidence", "methods", "metrics", "render", "insights"),
        *("bench", "testing", "models", "photos"),
    )
]

project = "captum_cnn_ext"
release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
root_doc = "README"
include_patterns = [
    "README.md",
    "examples/*.md",
    "benchmarks/**.md",
    "captum_cnn_ext/README.md",
    "examples/pages/*.rst",
]
exclude_patterns = [".*", "build", "tests"]
suppress_warnings = ["myst.header", "myst.xref_missing", "toc.not_included"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"captum_cnn_ext {__version__}"
html_math_renderer = "mathml"
html_show_sourcelink = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "imported-members": True, "show-inheritance": True}
napoleon_numpy_docstring = False
default_role = "py:obj"


def navigation(app, name, source):
    """What stands at the left, after the README, which GitHub shows as well."""
    if name == root_doc:
        for caption, pages in (
            ("Guides", GUIDES),
            ("API", API),
        ):
            listed = "\n".join(pages)
            source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def mathml(formula, **options):
    return convert(re.sub(r"\\arg\b", r"\\operatorname{arg}", formula), **options)


def inline_formula(writer, node):
    writer.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def formula(writer, node):
    writer.body.append(mathml(node.astext(), display="block"))
    raise nodes.SkipNode


def front_page(app, error):
    if error is None:
        shutil.copy(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def setup(app):
    app.add_html_math_renderer("mathml", (inline_formula, None), (formula, None))
    app.connect("source-read", navigation)
    app.connect("build-finished", front_page)
