"""Python that is written down once: an expression runs, and it prints itself."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Mapping
from typing import Any

LONGEST = 88  # characters of a list on one line


class Expression:
    """A piece of Python whose names get their values later.

    Attributes, calls, items, products, differences and powers of an expression are expressions.
    Values in it print as their ``repr``, so that a text from outside, such as a layer's name,
    stays a text.

    Example::

        >>> from captum_cnn_ext.methods.expression import evaluate, imported, source, variable
        >>> root = imported("math.sqrt")(variable("x"))
        >>> print(source(root, "y"))
        from math import sqrt
        y = sqrt(x)
        >>> evaluate(root, x=9)
        3.0
    """

    def __init__(
        self,
        text: str,
        value: Callable[[Mapping[str, Any]], Any],
        imports: frozenset[str] = frozenset(),
    ) -> None:
        self._text, self._value, self._imports = text, value, imports

    def __getattr__(self, name: str) -> Expression:
        if name.startswith("_"):
            raise AttributeError(name)
        return Expression(
            f"{self._text}.{name}", lambda names: getattr(self._value(names), name), self._imports
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Expression:
        given = [_expression(value) for value in args]
        named = {key: _expression(value) for key, value in kwargs.items()}
        words = [one._text for one in given] + [f"{key}={one._text}" for key, one in named.items()]
        return Expression(
            f"{self._text}({', '.join(words)})",
            lambda names: self._value(names)(
                *(one._value(names) for one in given),
                **{key: one._value(names) for key, one in named.items()},
            ),
            self._imports.union(*(one._imports for one in (*given, *named.values()))),
        )

    def __getitem__(self, key: Any) -> Expression:
        places = ", ".join(map(_place, key if isinstance(key, tuple) else (key,)))
        return Expression(
            f"{self._text}[{places}]", lambda names: self._value(names)[key], self._imports
        )

    def __mul__(self, other: Any) -> Expression:
        return self._with("*", operator.mul, other)

    def __sub__(self, other: Any) -> Expression:
        return self._with("-", operator.sub, other)

    def __pow__(self, other: Any) -> Expression:
        return self._with("**", operator.pow, other)

    def _with(self, sign: str, operation: Callable[[Any, Any], Any], other: Any) -> Expression:
        right = _expression(other)
        return Expression(
            f"({self._text} {sign} {right._text})",
            lambda names: operation(self._value(names), right._value(names)),
            self._imports | right._imports,
        )

    __iter__ = None

    def __repr__(self) -> str:
        return self._text


class Script:
    """Assignments, one after another: they run, and they print themselves.

    Example::

        >>> from captum_cnn_ext.methods.expression import Script, imported, variable
        >>> script = Script()
        >>> root = script.let("root", imported("math.sqrt")(variable("x")))
        >>> script.let("twice", root * 2)
        twice
        >>> print(script.code)
        from math import sqrt
        root = sqrt(x)
        twice = (root * 2)
        >>> script.run(x=9)["twice"]
        6.0
    """

    def __init__(self) -> None:
        self._lines: list[tuple[str, Expression]] = []

    def let(self, name: str, value: Any) -> Expression:
        """Assign, and return the name as an expression for the lines that follow."""
        self._lines.append((name, _expression(value)))
        return variable(name)

    @property
    def imports(self) -> list[str]:
        """What the lines need, as lines of Python."""
        return sorted(frozenset[str]().union(*(value._imports for _, value in self._lines)))

    @property
    def lines(self) -> list[str]:
        """The assignments as Python."""
        return [f"{name} = {value._text}" for name, value in self._lines]

    @property
    def code(self) -> str:
        """Imports, then the assignments."""
        return "\n".join([*self.imports, *self.lines])

    def run(self, **names: Any) -> dict[str, Any]:
        """All names with their values; a line whose name has a value already is not run again."""
        for name, value in self._lines:
            if name not in names:
                names[name] = value._value(names)
        return names


def variable(name: str, text: str = "") -> Expression:
    """A name that gets its value when the expression runs; ``text`` is what is printed for it."""
    return Expression(text or name, lambda names: names[name])


def imported(path: str) -> Expression:
    """A class or function by its dotted path."""
    module, _, name = path.rpartition(".")
    return Expression(
        name,
        lambda names: getattr(importlib.import_module(module), name),
        frozenset([f"from {module} import {name}"]),
    )


def evaluate(expression: Expression, **names: Any) -> Any:
    """The value, with these values of its variables."""
    return expression._value(names)


def source(expression: Expression, name: str) -> str:
    """The lines that give ``name`` the value: imports, then the assignment."""
    return "\n".join([*sorted(expression._imports), f"{name} = {expression._text}"])


def _expression(value: Any) -> Expression:
    if isinstance(value, Expression):
        return value
    if isinstance(value, list):
        parts = [_expression(one) for one in value]
        text = ", ".join(one._text for one in parts)
        if len(text) > LONGEST:
            text = "".join(f"\n    {one._text}," for one in parts) + "\n"
        return Expression(
            f"[{text}]",
            lambda names: [one._value(names) for one in parts],
            frozenset().union(*(one._imports for one in parts)),
        )
    return Expression(repr(value), lambda names: value)


def _place(key: Any) -> str:
    if not isinstance(key, slice):
        return repr(key)
    first, end = ("" if one is None else repr(one) for one in (key.start, key.stop))
    return f"{first}:{end}"
