"""Docstrings that describe each argument once.

A class or a method describes under ``Args:`` the arguments that are its own. What it leaves out is
described as in its bases: as the same method does there, or else as other methods or the classes
themselves do, the nearest first. The texts are joined when a class is made, so that ``help``, the
API pages and doctest see the whole.
"""

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

_ARGS = re.compile(r"^Args:\n(?:(?: {4}.*)?\n)+", re.MULTILINE)
_NEXT = re.compile(r"^(?:Returns|Raises|Example):", re.MULTILINE)


class Documented:
    """Base of the attribution classes: the arguments that many of them have.

    Args:
        forward_func: the model, or any function of the inputs that runs it.
        model: the model, or any function of the inputs that runs it.
        layer: a module of the model, its dotted name, or a list of these.
        device_ids: the replicas' devices, where ``forward_func`` runs a ``DataParallel`` model.
        inputs: one tensor (N, ...) or a tuple of them; not modified.
        target: what is explained, in any of Captum's forms (int, tuple, tensor, list), or a
            function of the model's output, as those of `captum_cnn_ext.targets` are.
        additional_forward_args: further arguments of the model.
        baselines: inputs that stand for absence: a number, or a tensor that broadcasts to the
            input; a tuple of these for a tuple of inputs; None is 0.
        n_steps: points of the quadrature.
        method: the quadrature rule, by Captum's names.
        return_convergence_delta: also how far the sum is from f(inputs) - f(baselines).
        smooth: what smooth activations (SiLU, GELU, ELU, leaky ReLU, ...) do, which the papers do
            not define: ``"gate"`` takes each for a ReLU, ``"slope"`` rectifies the true gradient.
        attribute_to_layer_input: explain the layer's input instead of its output.
        attribute_to_neuron_input: take the neuron from the layer's input.
        grad_kwargs: passed to ``torch.autograd.grad``.
        call: which call of a layer that runs several times; None is the last, as in Captum.
        reshape_transform: from the layer's tensor to ``(N, C, *positions)``, for tokens and
            channels-last layers.
        internal_batch_size: at most so many examples at once; None is all of them.
        show_progress: draw a progress bar over the examples.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        bases = [base for base in cls.__mro__[1:] if issubclass(base, Documented)]
        classes = [base.__doc__ for base in bases]
        cls.__doc__ = _whole(cls.__doc__, cls.__init__, classes)
        for name, method in _methods(cls).items():
            same = [_methods(base)[name].__doc__ for base in bases if name in _methods(base)]
            others = [m.__doc__ for base in (cls, *bases) for m in _methods(base).values()]
            method.__doc__ = _whole(method.__doc__, method, [*same, *others, *classes])


def _methods(cls: type) -> dict[str, Callable[..., Any]]:
    """The public methods that the class itself defines."""
    public = {name: member for name, member in vars(cls).items() if not name.startswith("_")}
    return {name: member for name, member in public.items() if inspect.isfunction(member)}


def _whole(doc: str | None, function: Callable[..., Any], sources: Iterable[Any]) -> str | None:
    """``doc``, and what the nearest source says of each further argument of ``function``."""
    if doc is None:  # python -OO has no docstrings
        return None
    doc = inspect.cleandoc(doc) + "\n"
    known: dict[str, str] = {}
    for text in (doc, *sources):
        known = _described(text or "") | known
    wanted = dict.fromkeys([*inspect.signature(function).parameters, *_described(doc)])
    named = [known[name] for name in wanted if name in known]
    if not named:
        return doc
    args = "Args:\n" + "\n".join(dict.fromkeys(named)) + "\n\n"
    if _ARGS.search(doc):
        return _ARGS.sub(lambda _: args, doc, count=1)
    start = _NEXT.search(doc)
    if not start:
        return f"{doc}\n{args}"
    return doc[: start.start()] + args + doc[start.start() :]


def _described(doc: str) -> dict[str, str]:
    """Each argument under ``Args:`` with its text, which may be one for several (``a, b: ...``)."""
    block = _ARGS.search(inspect.cleandoc(doc) + "\n")
    entries = re.split(r"\n(?=    \S)", block[0].rstrip()) if block else []
    return {name.strip(): text for text in entries[1:] for name in text.split(":")[0].split(",")}
