"""Each argument is described once, and every docstring that users see describes all of them."""

import ast
import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from captum_cnn_ext import attr
from captum_cnn_ext.attr import argument_docs
from captum_cnn_ext.attr.argument_docs import Documented

FOLDER = Path(attr.__file__).parent


def public():
    """By name: every public constructor, method and function of ``attr``, and its docstring."""
    for name in attr.__all__:
        item = getattr(attr, name)
        yield name, item, item.__doc__
        for method, function in inspect.getmembers(item, inspect.isfunction):
            if isinstance(item, type) and not method.startswith("_"):
                if function.__module__.startswith("captum_cnn_ext."):
                    yield f"{name}.{method}", function, function.__doc__


SEEN = {name: rest for name, *rest in public() if name != "LayerSuggestion"}  # Attributes:


def entries(doc):
    """(names, text) of each entry under ``Args:``."""
    block = re.search(r"^Args:\n((?:(?: {4}.*)?\n)+)", inspect.cleandoc(doc) + "\n", re.M)
    found = re.split(r"\n(?=    \S)", block[1].rstrip()) if block else []
    texts = [" ".join(entry.split()) for entry in found]
    return [(text.split(":")[0].split(", "), text) for text in texts]


@pytest.mark.parametrize("name", SEEN)
def test_every_argument_is_described_once_and_no_other(name):
    item, doc = SEEN[name]
    described = [argument for names, _ in entries(doc) for argument in names]
    assert described == [a for a in inspect.signature(item).parameters if a != "self"]


def test_no_text_stands_twice():
    nodes = [n for path in FOLDER.rglob("*.py") for n in ast.walk(ast.parse(path.read_text()))]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    methods = [n for each in classes for n in each.body if isinstance(n, ast.FunctionDef)]
    docs = [ast.get_docstring(node) or "" for node in (*classes, *methods)]
    texts = [text for doc in docs for _, text in entries(doc)]
    assert len(texts) > 100
    twice = {text for text in texts if texts.count(text) > 1}
    assert not twice, "describe it once, in a base class or in argument_docs.Documented"


def family():
    class Base(Documented):
        """A base.

        Args:
            size: of the base.
        """

        def __init__(self, model, size):
            pass

        def attribute(self, inputs, target=None, *, rate=1):
            """The base's.

            Args:
                target: the base's target.
                rate: how
                    fast.

            Returns:
                Nothing.
            """

    class Middle(Base):
        """Silent: the constructor is the base's."""

    class Last(Middle):
        """The last.

        Example::

            >>> 1
            1
        """

        def __init__(self, model, size, colour):
            """Not read: the class's text is."""

        def attribute(self, inputs, target=None, *, rate=1, seed=0):
            """The last's.

            Args:
                seed: of
                    the last.
                target: the last's target.
            """

        def other(self, rate, unknown):
            """As elsewhere."""

        def _private(self, rate):
            """As written."""

    return Base, Middle, Last


def test_the_nearest_description_in_the_order_of_the_arguments():
    _, middle, last = family()
    assert entries(middle.__doc__) == [
        (["model"], "model: the model, or any function of the inputs that runs it."),
        (["size"], "size: of the base."),
    ]
    assert [text for _, text in entries(last.attribute.__doc__)] == [
        "inputs: one tensor (N, ...) or a tuple of them; not modified.",
        "target: the last's target.",
        "rate: how fast.",
        "seed: of the last.",
    ]
    assert entries(last.other.__doc__) == [(["rate"], "rate: how fast.")]
    assert last._private.__doc__ == "As written."
    lines = last.__doc__.splitlines()
    assert lines.index("Args:") < lines.index("Example::")
    assert lines[lines.index("Example::") - 1] == ""


def test_without_docstrings():
    code = (
        "import runpy; known = runpy.run_path({!r})['Documented']\n"
        "class Own(known):\n    'Text.'\n    def run(self, inputs): 'Text.'\n"
        "assert Own.__doc__ is None and Own.run.__doc__ is None"
    )
    path = argument_docs.__file__
    assert runpy.run_path(path)["Documented"].__doc__  # there they are
    subprocess.run([sys.executable, "-OO", "-c", code.format(path)], check=True)
