"""Several processes at one command, as torchrun starts them, and the results that they share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_cnn_ext.cli.parsing import PROGRAM, UsageError, one_line

if TYPE_CHECKING:
    from captum_cnn_ext.bench import Results


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


@contextmanager
def results_in(
    out: Path, settings: dict[str, Any], device: Any, rank: int, workers: int
) -> Iterator[Results]:
    """What the file and its parts hold; after the block, on the first process, what all made."""
    import torch

    from captum_cnn_ext.bench.cost import machine
    from captum_cnn_ext.bench.results import joined
    from captum_cnn_ext.errors import ArgumentError

    def parts() -> list[Path]:
        return sorted(out.parent.glob(f"{out.stem}.part*.json"))

    before = parts()
    try:
        results = joined(settings, [out, *before])
    except ArgumentError as error:
        raise UsageError(f"--out {out}: {one_line(error)}") from error
    if len(results) and rank == 0:
        print(f"{PROGRAM}: {len(results)} maps are there already", file=sys.stderr)
    results.machine = results.machine or machine(device)
    yield results
    if workers > 1:
        torch.distributed.barrier()
    if rank == 0:
        found = joined(settings, reversed(parts()))
        found.merge(results)  # what is newest wins
        results.merge(found)
        results.save(out)
        for part in {*before, *parts()}:
            part.unlink()


def saved_by(out: Path, rank: int, workers: int) -> Callable[[Results], None]:
    """How a process keeps what it made: alone in the file itself, else in a part of its own."""
    own = out if workers == 1 else out.with_name(f"{out.stem}.part{rank}.json")
    return lambda found: found.save(own)


def write(
    results: Results, out: Path, table: str, draw: Callable[[], Any], shown: str | None = None
) -> None:
    """Write results, table and picture; print ``shown``, or the table."""
    from captum_cnn_ext._engine.whole_files import write_together

    results.save(out)
    figure = draw()
    write_together(
        {
            out.with_suffix(".md"): table.encode(),
            out.with_suffix(".png"): lambda file: figure.savefig(file, dpi=130, format="png"),
        }
    )
    print(table if shown is None else shown)
    print(f"written: {out}, {out.with_suffix('.md')}, {out.with_suffix('.png')}")
