"""Following a forward pass operation by operation, and knowing what the operations do not tell.

What is read off the operations of a pass (a tape, receptive fields, a graph) is only true while
every value stays in torch. A number taken out of a tensor (``item``, ``float``, ``numpy``, a branch
on a value) comes back as a constant that no operation connects with the inputs. Every follower
inherits from one class here, which notices this and says where.
"""

import random
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple
from weakref import WeakMethod

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from captum_cnn_ext._engine.nested_tensors import tensors_in
from captum_cnn_ext._engine.trace.other_threads import handed_over
from captum_cnn_ext._engine.trace.tensor_table import TensorTable

# methods of a tensor that give its values or its memory to somebody else; not all are operations
_READS = {
    *("numpy", "tolist", "item", "__array__", "__float__", "__int__", "__index__", "__bool__"),
    *("__complex__", "__contains__", "data_ptr", "storage", "untyped_storage", "_typed_storage"),
    *("__dlpack__", "__reduce_ex__", "__cuda_array_interface__"),
}
_MAKERS = {"tensor", "as_tensor", "asarray", "scalar_tensor"}  # also of numbers in other tensors
_PRINTING = {"__format__", "__repr__"}  # what is printed does not come back
_NO_VALUES = ("_assert", "sym_", "is_same_size", "_has_")  # give no tensor, and no value either


class Reads(TorchFunctionMode):
    """Notices calls that take values out of tensors; ``note()(name, tensors)`` judges them.

    Any function mode also keeps attention off its fused kernel, which is one opaque operation.
    """

    def __init__(self, note: WeakMethod[Callable[[str, list[Tensor]], None]]) -> None:
        super().__init__()
        self._note = note
        self.quiet = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        made = name in _MAKERS and args and isinstance(args[0], (list, tuple))
        reads = bool(name in _READS or made)
        if reads and not self.quiet and (note := self._note()) is not None:
            note(name.strip("_"), tensors_in(args[:1]))
        before, self.quiet = self.quiet, self.quiet or reads or name in _PRINTING
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.quiet = before


class Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the tensors that depend on given ones; used ``with follower.following():``.

    Attributes:
        known: the tensors that depend on the given ones, with what a follower knows of each.
        left: why the operations do not tell everything from here on; empty while they do.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()  # type: ignore[no-untyped-call]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = TensorTable()
        self.left = ""
        # by a weak reference: what a pass left is freed by its last user, not by a later collection
        self.reads = Reads(WeakMethod(self._note_read))
        # the ids of known tensors, some of them perhaps gone, by the memory that they looked at
        self._memory: dict[int, set[int]] = {}
        # memory that a known tensor looked at, perhaps gone since: a view that was written through
        self._held: dict[int | None, StorageWeakRef] = {}

    @contextmanager
    def following(self) -> Iterator[None]:
        """Operations, and values that are read otherwise, are noticed in the block."""
        with self.reads, self, handed_over(self.elsewhere):
            yield

    @abstractmethod
    def follow(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sources: Sequence[Tensor]
    ) -> tuple[Any, list[Tensor]]:
        """Run an operation, and note what is known of its results; ``sources`` are the known
        tensors among its arguments, perhaps none. Gives the result, and the tensors in it."""

    def leaves(self, name: str, sources: Sequence[Tensor]) -> None:
        """A value leaves torch by ``name``."""
        self.lose(f"{name} takes a value out of the tensors")

    def lose(self, why: str) -> None:
        """The operations do not tell everything from here on."""
        self.left = self.left or why + self.where()

    def unseen(self, name: str) -> None:
        """An operation meets a tensor that shares its memory with a known one, and is not known."""
        self.lose(f"{name} reads or writes a known tensor through a view that was not followed")

    def elsewhere(self) -> None:
        """Work is handed to another thread, where it is not followed."""
        self.lose("work is handed to another thread")

    def where(self) -> str:
        """Which layer runs now, such as " in layer 'stem'", where that is known."""
        return ""

    def note(self, tensor: Tensor, what: Any) -> None:
        """What is known of a tensor that depends on the given ones."""
        self.known[tensor] = what
        if (storage := _storage(tensor)) is not None:
            self._memory.setdefault(_place(storage), set()).add(id(tensor))
            if storage._cdata not in self._held:  # once there, nothing else has its number
                weak = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                self._held[storage._cdata] = weak

    def beside(self, tensor: Tensor) -> list[Tensor]:
        """Other known tensors that look at the same memory."""
        storage = _storage(tensor)
        place = None if storage is None else _place(storage)
        ids = () if place is None else self._memory.get(place, ())
        others = [self.known.with_id(each) for each in ids if each != id(tensor)]
        return [t for t in others if t is not None and _place_of(t) == place]

    def _shares(self, tensor: Tensor) -> bool:
        """Whether a tensor that is not known looks at memory that a known one has looked at."""
        storage = _storage(tensor)
        return storage is not None and (
            storage._cdata in self._held
            or (_place(storage) in self._memory and bool(self.beside(tensor)))
        )

    def _note_read(self, name: str, tensors: Sequence[Tensor]) -> None:
        sources = [tensor for tensor in tensors if tensor in self.known]
        if sources:
            self.leaves(name, sources)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        quiet, self.reads.quiet = self.reads.quiet, True  # what is done in here is no reading
        try:
            return self._followed(func, args, kwargs or {}, quiet)
        finally:
            self.reads.quiet = quiet

    def _followed(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], quiet: bool
    ) -> Any:
        given = tensors_in((args, kwargs)) if kwargs else tensors_in(args)
        sources: list[Tensor] = []
        others: list[Tensor] = []
        for tensor in given:
            (sources if tensor in self.known else others).append(tensor)
        for tensor in others:
            if self._shares(tensor):
                self.unseen(func.overloadpacket.__name__)
                break
        result, made = self.follow(func, args, kwargs, sources)
        if sources and not quiet:
            name = func.overloadpacket.__name__
            if not made:
                if not func._schema.is_mutable and not name.startswith(_NO_VALUES):
                    self.leaves(name.strip("_"), sources)
            elif torch.Tag.dynamic_output_shape in func.tags and _by_values(name, given):
                self.lose(f"{name} gives a tensor whose shape depends on values")
        return result


class Dependents(Follower):
    """Knows which tensors depend on the given ones, and nothing more of them."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        for tensor in tensors:
            self.note(tensor, True)

    def follow(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sources: Sequence[Tensor]
    ) -> tuple[Any, list[Tensor]]:
        result = func(*args, **kwargs)
        made = tensors_in(result)
        if sources and not only_shaped_alike(func):
            for tensor in made:
                self.note(tensor, True)
        return result, made


class Parameter(NamedTuple):
    """One parameter of an operation, as its schema says."""

    name: str
    by_name: bool
    default: Any
    written: bool


@cache  # a schema makes new objects of all its arguments each time it is asked
def parameters_of(func: Any) -> tuple[Parameter, ...]:
    """The parameters of an operation, in order."""
    return tuple(
        Parameter(
            argument.name,
            argument.kwarg_only,
            argument.default_value,
            argument.alias_info is not None and argument.alias_info.is_write,
        )
        for argument in func._schema.arguments
    )


def named_arguments(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """An operation's arguments by name, with defaults."""
    parameters = parameters_of(func)  # those that are given by name only come last
    found = {parameter.name: given for parameter, given in zip(parameters, args, strict=False)}
    for parameter in parameters[len(args) :]:
        found[parameter.name] = kwargs.get(parameter.name, parameter.default)
    return found


def written_by(func: Any, arguments: dict[str, Any]) -> Iterator[Tensor]:
    """The tensors among an operation's arguments that it writes into."""
    for parameter in parameters_of(func):
        if parameter.written:
            yield from tensors_in(arguments[parameter.name])


def only_shaped_alike(func: Any) -> bool:
    """Whether an operation takes the shape of its argument and none of its values."""
    name = func.overloadpacket.__name__
    return bool(name.startswith("new_") or name.endswith("_like"))


def in_layer(path: str) -> str:
    """A follower's place, in words."""
    return f" in layer {path!r}" if path else " in the model's own forward"


def _by_values(name: str, given: Sequence[Tensor]) -> bool:
    """Whether the shape of the result depends on values: of an index, only where it is a mask."""
    masks = (torch.bool, torch.uint8)
    return name != "index" or any(tensor.dtype in masks for tensor in given[1:])


def memory_of(tensor: Tensor) -> int | None:
    """A number for the memory that holds a tensor; another's too once that memory is gone."""
    storage = _storage(tensor)
    return None if storage is None else int(storage._cdata)


def _storage(tensor: Tensor) -> torch.UntypedStorage | None:
    """The memory that holds a tensor."""
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # sparse and wrapped tensors have none
        return None


def _place_of(tensor: Tensor) -> int | None:
    storage = _storage(tensor)
    return None if storage is None else _place(storage)


def _place(storage: torch.UntypedStorage) -> int:
    """Where the memory begins, which several may share without a view."""
    try:
        return storage.data_ptr() or int(storage._cdata)
    except RuntimeError:  # of a tensor without numbers, of a device that is not there
        return int(storage._cdata)


def random_state() -> tuple[Any, ...]:
    """Where the random numbers of torch, Python and NumPy are, to be compared."""
    return (*torch_random_state(), *other_random_state())


def other_random_state() -> tuple[Any, ...]:
    """Where the random numbers of Python and NumPy are, to be compared; takes 0.1 ms."""
    numbers: Any = np.random.get_state()  # noqa: NPY002 (what a model may draw from)
    return (random.getstate(), numbers[1].tobytes(), *numbers[2:])


def torch_random_state() -> tuple[bytes, ...]:
    """Where torch's random numbers are, of every device that is in use, to be compared."""
    generators = [torch.get_rng_state()]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        generators += torch.cuda.get_rng_state_all()
    return tuple(generator.numpy().tobytes() for generator in generators)
