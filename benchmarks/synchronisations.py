"""How often each method makes the host wait for a device, and whether more work makes it more.

    python benchmarks/synchronisations.py          # results/synchronisations.md; a minute, no GPU

Counted on a pretend device: numbers read back, sizes that depend on values, and what is sent with
waiting. The machinery is ``tests/synchronisations.py`` and ``tests/pretend_device.py``.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import synchronisations

EXPLAINED = """# Waiting for the device

How often one call makes the host wait for a device (numbers read back, results whose size depends
on values, data sent with waiting), on a small network: 2 examples, 4 channels, 8 x 8 pixels; then
with 6 examples, 16 channels, or 16 x 16 pixels. The network itself asks for nothing.

| method | base | examples | channels | pixels |
|---|---|---|---|---|
"""


def main() -> None:
    torch.set_num_threads(1)
    lines = []
    for name in synchronisations.NAMES:
        cells = " | ".join(str(count) for count in synchronisations.table(name).values())
        lines.append(f"| {name} | {cells} |\n")
        print(lines[-1], end="", flush=True)
    target = Path(__file__).parent / "results" / "synchronisations.md"
    target.write_text(EXPLAINED + "".join(lines))


if __name__ == "__main__":
    main()
