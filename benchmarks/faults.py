"""Faults at every module call, operation and line of every class: how many, how many survived.

    python benchmarks/faults.py          # results/faults.md; some minutes

Survived means: model, gradients, hooks, flags, random state and the user's tensors as before, and
the next call gives the same values to the bit. The machinery is ``tests/faults.py``.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import faults

KINDS = [
    ("module", KeyboardInterrupt),
    ("module", ArithmeticError),
    ("module", torch.OutOfMemoryError),
    ("operation", KeyboardInterrupt),
    ("line", KeyboardInterrupt),
]
MOST = {"module": 64, "operation": 64, "line": 300}  # evenly spread where there are more


def main() -> None:
    torch.set_num_threads(1)
    _, _, found = faults.calls()
    lines, total = [], 0
    for name in found:
        row = []
        for place, error in KINDS:
            count = faults.events(name, place)
            positions = range(0, count, max(1, -(-count // MOST[place])))
            faults.inject(name, place, positions, error)
            row.append(f"{len(positions)} of {count}" if len(positions) < count else f"{count}")
            total += len(positions)
        lines.append(f"| {name} | {' | '.join(row)} |")
        print(lines[-1], flush=True)
    head = ["# Faults", "",
            f"{total} faults injected, {total} survived (a failure ends the run). "
            f"torch {torch.__version__}, CPU, a residual micro-network in float64, batch of 2.", "",
            f"| class | {' | '.join(f'{e.__name__} at each {p}' for p, e in KINDS)} |",
            f"|---|{'---|' * len(KINDS)}"]  # fmt: skip
    path = Path(__file__).parent / "results" / "faults.md"
    path.write_text("\n".join([*head, *lines]) + "\n")


if __name__ == "__main__":
    main()
