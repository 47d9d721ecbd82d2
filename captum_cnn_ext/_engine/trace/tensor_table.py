"""What is known of tensors, by their identity and for as long as they live."""

from collections.abc import Iterator
from typing import Any
from weakref import ref

from torch import Tensor
from torch.utils.weak import WeakIdRef


class TensorTable:
    """A dictionary whose keys are tensors, which it does not keep alive.

    ``torch.utils.weak.WeakIdKeyDictionary`` makes a new weak reference for each look, and a
    follower looks at every tensor of every operation; this one takes a tenth of that time.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[WeakIdRef, Any]] = {}
        itself = ref(self)

        def forget(gone: WeakIdRef) -> None:
            if (table := itself()) is not None:
                table._entries.pop(gone._id, None)

        self._forget = forget

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._entries

    def __getitem__(self, tensor: Tensor) -> Any:
        return self._entries[id(tensor)][1]

    def __setitem__(self, tensor: Tensor, what: Any) -> None:
        self._entries[id(tensor)] = WeakIdRef(tensor, self._forget), what

    def with_id(self, number: int) -> Tensor | None:
        """The tensor that has this id, if it is known and lives."""
        entry = self._entries.get(number)
        return None if entry is None else entry[0]()  # type: ignore[no-any-return]

    def get(self, tensor: Tensor, default: Any = None) -> Any:
        """What is known of a tensor, or the default."""
        entry = self._entries.get(id(tensor))
        return default if entry is None else entry[1]

    def pop(self, tensor: Tensor, default: Any = None) -> Any:
        """What was known of a tensor, which is forgotten."""
        return self._entries.pop(id(tensor), (None, default))[1]

    def __iter__(self) -> Iterator[Tensor]:
        for weak, _ in list(self._entries.values()):
            tensor = weak()
            if tensor is not None:
                yield tensor
