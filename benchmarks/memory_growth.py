"""Memory of the process over 1,000 calls of methods of each engine.

python benchmarks/memory_growth.py       # results/memory_growth.md
"""

import gc
import sys
from pathlib import Path

import torch
from torch import nn

from captum_cnn_ext import attr

CALLS, WARM = 1000, 500


def resident() -> int:
    """Bytes of the process that are in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3),
        nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5),
    ).eval()  # fmt: skip
    x = torch.randn(2, 3, 16, 16)
    methods = {
        "LayerHiResCam": lambda: attr.LayerHiResCam(model, "3").attribute(x, 1),
        "LayerAblationCam": lambda: attr.LayerAblationCam(model, "3").attribute(x, 1),
        "LayerFeatureMaps": lambda: attr.LayerFeatureMaps(model, "3").attribute(x),
        "GuidedBackprop": lambda: attr.GuidedBackprop(model).attribute(x, 1),
        "DeconvNet": lambda: attr.DeconvNet(model, "3").attribute(x, channels=[1]),
        "Occlusion": lambda: attr.Occlusion(model).attribute(x, (3, 8, 8), (3, 8, 8), target=1),
        "a failing call": lambda: failing(model, x),
    }
    lines = []
    for name, call in methods.items():
        for _ in range(WARM):
            call()
        gc.collect()
        grown = []
        for _ in range(2):
            before = resident()
            for _ in range(CALLS):
                call()
            gc.collect()
            grown.append(f"{(resident() - before) / 2**20:.2f}")
        lines.append(f"| {name} | {' | '.join(grown)} |")
        print(lines[-1], flush=True)
    head = ["# Memory growth", "",
            f"Resident memory after {CALLS} calls above that before them, after {WARM} calls to "
            f"warm up. torch {torch.__version__}, Python {sys.version.split()[0]}, CPU.", "",
            "| calls of | MiB, first 1000 | MiB, next 1000 |", "|---|---|---|"]  # fmt: skip
    path = Path(__file__).parent / "results" / "memory_growth.md"
    path.write_text("\n".join([*head, *lines]) + "\n")


def failing(model: nn.Module, x: torch.Tensor) -> None:
    try:
        attr.LayerHiResCam(model, "3").attribute(x, 99)
    except ValueError:
        pass


if __name__ == "__main__":
    main()
