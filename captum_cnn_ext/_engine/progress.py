"""tqdm's bar of the place that runs: widgets in a notebook that has them, else text; no warning."""

import warnings
from contextlib import AbstractContextManager
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # "IProgress not found": a bar in text is all right
    from tqdm.auto import tqdm

__all__ = ["progress_bar", "tqdm"]


def progress_bar(total: int, description: str, shown: bool) -> AbstractContextManager[Any]:
    """A bar that is told of progress by ``update``; where none is shown, one that costs nothing."""
    return tqdm(total=total, desc=description) if shown else _NoBar()


class _NoBar:
    """Takes what a bar is told."""

    def update(self, count: int) -> None: ...

    def __enter__(self) -> "_NoBar":
        return self

    def __exit__(self, *_: object) -> None: ...
