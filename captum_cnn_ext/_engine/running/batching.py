"""Long work in pieces: chunks of a batch, less memory when it runs out, a progress bar."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.saved_tensors import through_hidden_writes
from captum_cnn_ext._engine.judging.captum_compat import TargetType, format_additional_forward_args
from captum_cnn_ext._engine.judging.inputs import as_tensors
from captum_cnn_ext._engine.nested_tensors import joined_rows
from captum_cnn_ext._engine.progress import progress_bar
from captum_cnn_ext._engine.warn_user import each_warning_once
from captum_cnn_ext._numbers import as_count_or_none
from captum_cnn_ext.errors import ArgumentError

T = TypeVar("T")

_SHARE = 0.5  # of the memory that is free: kernels need some to work in, and others use it too
_HELD = 4  # tensors as large as the largest that a pass without a graph holds at a time
_LARGEST = 2**31  # bytes of one tensor: more is no faster, and kernels count in 32 bits
_CPU_POSITIONS = 3 * 2**16  # of the images that a CPU is fastest with: 48 of 64 pixels, 15 of 112
UNSEEN = 16  # times its input: the largest map of a network whose maps nobody has measured


@dataclass(frozen=True)
class Chunk:
    """The part of a batch that goes through the model at once."""

    inputs: tuple[Tensor, ...]
    target: TargetType
    extra: tuple[Any, ...]


def layer_results(
    run: Callable[[Chunk], list[tuple[Tensor, ...]]],
    inputs: Any,
    target: TargetType = None,
    additional_forward_args: Any = None,
    *,
    several_layers: bool,
    form: Callable[[tuple[Tensor, ...], Any], Any] | None = None,
    internal_batch_size: int | None = None,
    show_progress: bool = False,
    description: str = "",
    outputs: list[Any] | None = None,
) -> Any:
    """``run`` over chunks of the batch; its tensors joined, in the form Captum's users expect.

    ``run`` gives a tuple of tensors for each layer. The result is a tensor; a tuple where the
    layer gives several or ``inputs`` is a tuple; a list of these where ``several_layers``.
    Where there is a list of ``outputs``, ``run`` puts the model's output of its chunk into it, and
    in the end the whole batch's is there alone.
    """
    tensors, extra = as_tensors(inputs), format_additional_forward_args(additional_forward_args)
    length = len(tensors[0]) if tensors[0].ndim else 1

    def run_rows(rows: slice) -> tuple[list[tuple[Tensor, ...]], Any]:
        chunk = Chunk(
            tuple(rows_of(tensor, rows, length) for tensor in tensors),
            choices_of(target, rows, length),
            tuple(rows_of(value, rows, length) for value in extra),
        )
        return through_hidden_writes(lambda: run(chunk)), (outputs or [None])[-1]

    pairs = in_chunks(
        run_rows,
        length,
        internal_batch_size,
        show_progress=show_progress,
        description=description,
    )
    form = form or tuples_for_tuples
    layers = [form(found, inputs) for found in concatenate([found for found, _ in pairs])]
    if outputs is not None:
        outputs[:] = [joined_rows([output for _, output in pairs])]
    return layers if several_layers else layers[0]


def in_chunks(
    run: Callable[[slice], T], length: int, chunk: int | None = None, **progress: Any
) -> list[T]:
    """What ``run`` gives for each part of ``range(length)``, as by ``chunk_by_chunk``."""
    with each_warning_once():
        return list(chunk_by_chunk(run, length, chunk, **progress))


def chunk_by_chunk(
    run: Callable[[slice], T],
    length: int,
    chunk: int | None = None,
    *,
    show_progress: bool = False,
    description: str = "",
) -> Iterator[T]:
    """``run`` over ``range(length)`` in slices of at most ``chunk`` (None: all at once).

    When memory runs out the chunk is halved and the slice tried again; what fitted is kept for
    the rest. One item that does not fit raises the device's own error.
    """
    chunk = as_count_or_none("internal_batch_size", chunk)
    size, start = min(chunk or length, length), 0
    with progress_bar(length, description, show_progress) as bar:
        while start < length or not start:

            def part(size: int, start: int = start) -> T:
                return run(slice(start, min(start + size, length)))

            found, size = fitting(part, size)
            bar.update(min(size, length - start))
            start += max(1, size)
            yield found


def fitting(run: Callable[[int], T], size: int) -> tuple[T, int]:
    """``run(size)``, by halves of the size where memory runs out; and the size that fitted."""
    while True:
        try:
            return run(size), size
        except RuntimeError as error:
            if size <= 1 or not out_of_memory(error):
                raise
        size = size // 2
        torch.cuda.empty_cache()  # outside the handler: the failed run's tensors are free now


def rows_at_once(largest: int, device: torch.device, on_cpu: int, held: int | None = None) -> int:
    """How many rows go through a network in one pass where the user does not say.

    On an accelerator as many as its free memory holds. On a CPU memory is not what counts: rows
    whose maps do not fit its caches take longer each.

    Args:
        largest: bytes of the largest tensor that one row has in the pass.
        on_cpu: rows that a CPU is fastest with.
        held: bytes that one row holds at a time; None is what a pass without a graph needs.
    """
    if device.type == "cpu":
        return max(1, on_cpu)
    free, largest = _free_bytes(device), max(1, largest)
    most = _LARGEST // largest
    if free is not None:
        most = min(most, int(_SHARE * free) // max(1, held or _HELD * largest))
    return max(1, most)


def images_at_once(images: Tensor, device: torch.device) -> int:
    """``rows_at_once`` for images (N, C, ...) and a network whose maps nobody has measured.

    A CPU's caches hold the maps of a few large images (EfficientNet-Lite0 at 224 pixels takes half
    the time for each of 4 as for each of 32); small ones are many, or the weights of a network are
    read anew for each (ResNet-18 at 64 pixels: a fifth of the time for each of 48 as for one).
    """
    on_cpu = min(max(4, _CPU_POSITIONS // max(1, math.prod(images.shape[2:]))), 256)
    one = math.prod(images.shape[1:]) * images.element_size()
    return rows_at_once(UNSEEN * one, device, on_cpu)


def _free_bytes(device: torch.device) -> int | None:
    """What a device can give, with what PyTorch keeps in reserve; None where nobody says."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def in_fitting_parts(run: Callable[[Tensor], T]) -> Callable[[Tensor], T]:
    """``run`` on a batch, in parts where memory runs out; what fitted is kept for later batches."""
    most: int | None = None

    def whole(images: Tensor) -> T:
        nonlocal most
        sizes: list[int] = []

        def part(rows: slice) -> T:
            found = run(images[rows])
            sizes.append(rows.stop - rows.start)
            return found

        found = in_chunks(part, len(images), most)
        if len(sizes) > 1:
            most = max(sizes)
        return concatenate(found)  # type: ignore[no-any-return]

    return whole


def check_by_example(tensors: Sequence[Tensor], count: int, layer: str) -> None:
    """Refuse to take a batch in parts where a layer's rows are not those of its examples."""
    if any(tensor.shape[:1] != (count,) for tensor in tensors):
        raise ArgumentError(
            f"inputs: the batch does not fit into memory, and the first dimension of {layer} is "
            "not the batch, so it cannot be taken in parts; pass fewer examples at once"
        )


def out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def rows_of(value: Any, rows: slice, length: int) -> Any:
    """The rows of a tensor with one row for each example; anything else as it is, as in Captum."""
    if isinstance(value, Tensor) and value.ndim and len(value) == length:
        return value[rows]
    return value


def choices_of(value: Any, rows: slice, length: int) -> Any:
    """``rows_of`` for what is chosen in each example, such as a target: lists have rows too."""
    if isinstance(value, list) and len(value) == length:
        return value[rows]
    return rows_of(value, rows, length)


def captums_form(tensors: tuple[Tensor, ...], inputs: Any) -> Any:
    """One layer's tensors as Captum gives them: a tensor, or a tuple where there are several.

    A tuple of one input gives a tuple too: that is how Captum's ``sensitivity_max`` calls.
    """
    one_in_tuple = isinstance(inputs, tuple) and len(inputs) == 1
    return tensors if len(tensors) > 1 or one_in_tuple else tensors[0]


def tuples_for_tuples(tensors: tuple[Tensor, ...], inputs: Any) -> Any:
    """One layer's tensors: a tensor, or a tuple where there are several or ``inputs`` is one."""
    return tensors if len(tensors) > 1 or isinstance(inputs, tuple) else tensors[0]


def concatenate(chunks: Sequence[Any]) -> Any:
    """Join results of chunks: tensors along dim 0, inside any nesting of tuples and lists."""
    first = chunks[0]
    if len(chunks) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(chunks))
    return type(first)(concatenate(parts) for parts in zip(*chunks, strict=True))
