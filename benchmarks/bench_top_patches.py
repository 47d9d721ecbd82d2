"""Streaming throughput and memory of top_patches against a bare inference loop.

Same loader settings, same process, in turn: ``limit`` runs the model batch by batch in inference
mode and stops at the same layer; ``whole`` runs the whole network, as a loop without hooks does.
Memory: peak resident size of processes of their own that stream 1,000 and 20,000 images.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch
from measure import RESULTS, machine
from torch import nn
from torch.utils.data import DataLoader, Dataset

from captum_cnn_ext.evidence import top_patches
from captum_cnn_ext.models import load_model


class Noise(Dataset):
    """Images made when asked for, so that the data set itself takes no memory."""

    def __init__(self, count: int, size: int, channels: int = 3) -> None:
        self.count, self.size, self.channels = count, size, channels

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(index)
        return torch.rand(self.channels, self.size, self.size, generator=generator)


class _Reached(Exception):
    pass


def small() -> nn.Module:
    """The digits' network of the tests, on 28 x 28 pixels."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(256, 10)),
    ).eval()


CASES = {
    "EfficientNet-Lite0, _blocks.4, 112 px": (lambda: load_model("demo").model, "_blocks.4", 112),
    "EfficientNet-Lite0, _conv_head, 112 px": (lambda: load_model("demo").model, "_conv_head", 112),
    "small CNN, conv 2, 28 px": (small, "4", 28),
}


def loop(model: nn.Module, layer: nn.Module | None, data: Dataset, batch: int) -> None:
    def stop(*_: object) -> None:
        raise _Reached

    handle = layer.register_forward_hook(stop) if layer is not None else None
    with torch.inference_mode():
        for images in DataLoader(data, batch_size=batch):
            try:
                model(images)
            except _Reached:
                pass
    if handle is not None:
        handle.remove()


def throughput(rounds: int) -> list[dict]:
    rows = []
    for title, (make, layer, size) in CASES.items():
        model = make().eval()
        channels = 1 if size == 28 else 3
        data = Noise(20_000 if size == 28 else 640, size, channels)
        batch = 256 if size == 28 else 32
        module = model.get_submodule(layer)
        runs = {
            "limit": partial(loop, model, module, data, batch),
            "whole": partial(loop, model, None, data, batch),
            "ours": partial(top_patches, model, layer, data, batch_size=batch),
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        for current in range(rounds + 1):
            for name, run in runs.items():
                start = time.process_time()
                run()
                if current:
                    times[name].append(time.process_time() - start)
        rate = {name: len(data) / statistics.median(values) for name, values in times.items()}
        first = Noise(batch, size, channels)
        start = time.process_time()
        top_patches(model, layer, first, batch_size=batch)
        middle = time.process_time()
        loop(model, module, first, batch)
        once = 2 * middle - start - time.process_time()
        rows.append({"case": title, "images": len(data), "start_s": once, **rate})
        print(
            title, {k: round(v, 2) for k, v in rate.items()}, f"{rate['ours'] / rate['limit']:.3f}"
        )
    return rows


def peak(count: int) -> None:
    """Stream so many images of 28 px; print the peak resident size in MB."""
    top_patches(small(), "4", Noise(count, 28, 1), batch_size=32)
    # not getrusage: that begins with the size of the process that started this one
    status = Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024)


def memory() -> dict[int, float]:
    found = {}
    for count in (1_000, 20_000):
        command = [sys.executable, __file__, "--peak", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[count] = float(done.stdout.split()[-1])
        print(count, "images:", found[count], "MB")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", type=int)
    options = parser.parse_args()
    if options.peak:
        peak(options.peak)
        return
    about, rows, held = machine("cpu"), throughput(options.rounds), memory()
    path = Path(RESULTS) / "top_patches--cpu"
    result = {"machine": about, "throughput": rows, "peak_mb": held}
    path.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    lines = [
        "# top_patches on the CPU",
        "",
        f"{about['threads']} threads, torch {about['versions']['torch']}, "
        f"commit {about['commit']}. "
        "Images per second of CPU time, medians of alternating rounds in one process, the same "
        "loader. The limit stops at the same layer; the whole network is run without hooks. "
        "*Start*: what is spent once, on the receptive field and on hashing the model; it is "
        "counted in the images per second.",
        "",
        "| | limit | whole network | ours | ours / limit | ours / whole | start, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        limit, whole, ours = row["limit"], row["whole"], row["ours"]
        lines.append(
            f"| {row['case']}, {row['images']} images | {limit:.1f} | {whole:.1f} | {ours:.1f} | "
            f"{ours / limit:.2f} | {ours / whole:.2f} | {row['start_s']:.2f} |"
        )
    sizes = ", ".join(f"{mb:.0f} MB for {count:,} images" for count, mb in held.items())
    lines += ["", f"Peak resident memory of a process that streams: {sizes}.", ""]
    path.with_suffix(".md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
