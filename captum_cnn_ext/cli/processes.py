"""Several processes at one command, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def processes() -> Iterator[tuple[int, int]]:
    """This process's number and how many there are; they can talk to each other in the block."""
    workers = int(os.environ.get("WORLD_SIZE", "1"))
    if workers == 1:
        yield 0, 1
        return
    from torch import distributed

    begun = not distributed.is_initialized()
    if begun:
        distributed.init_process_group("gloo")
    try:
        yield distributed.get_rank(), workers
    finally:
        if begun:
            distributed.destroy_process_group()
