"""The audit's pass over a data set against a bare inference loop over the same loader.

EfficientNet-Lite0 on 224 pixels, crops of the packaged photos with their labels. Same process, in
turn, round after round: ``bare`` runs the whole network in inference mode on the loader's batches,
``few`` does so on batches of 4, which are faster on a CPU;
``ours`` gives predictions, maps and contributions besides. Memory: peak resident size of processes
of their own that stream 300 and 1,000 of these images, and 1,000 and 20,000 small ones.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from bench_top_patches import Noise, small
from measure import RESULTS, machine
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from captum_cnn_ext.attr import suggest_layers
from captum_cnn_ext.evidence import image_records
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos

FEW = 4
LABELS = {"chelsea": 285, "coffee": 967, "rocket": 657, "astronaut": 834}


class Small(Dataset):
    """Noise of 28 pixels, made when asked for."""

    def __init__(self, count):
        self.noise = Noise(count, 28, 1)

    def __len__(self):
        return len(self.noise)

    def __getitem__(self, index):
        return self.noise[index], index % 10


class Crops(Dataset):
    """Crops of the packaged photos, prepared for the network."""

    def __init__(self, count, preprocess):
        self.photos, self.count, self.preprocess = demo_photos(), count, preprocess

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        name, picture = crop(self.photos, index)
        return self.preprocess(picture), LABELS[name]


def crop(photos, index):
    """A photo's name and a square piece of it, the same for the same index."""
    random = np.random.default_rng(index)
    name = list(photos)[index % len(photos)]
    photo = photos[name]
    side = int(random.integers(160, min(photo.size)))
    left, top = (int(random.integers(length - side + 1)) for length in photo.size)
    piece = photo.crop((left, top, left + side, top + side))
    return name, piece.resize((256, 256), Image.BILINEAR)


def bare(loaded, data, batch):
    with torch.inference_mode():
        for images, _ in DataLoader(data, batch_size=batch):
            loaded.model(images)


def ours(loaded, layer, data, batch):
    image_records(loaded.model, layer, data, batch_size=batch)


def timed(run):
    start, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - start, time.perf_counter() - wall


def held():
    """Megabytes of this process at most; not getrusage, which begins with its parent's size."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def peak(count, kind="lite0"):
    """Megabytes that a process of its own held at most."""
    command = [sys.executable, __file__, "--peak", str(count), "--kind", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--counts", type=int, nargs=2, default=(300, 1000))
    parser.add_argument("--peak", type=int)
    parser.add_argument("--kind", default="lite0")
    options = parser.parse_args()
    if options.kind == "small":
        image_records(small(), "4", Small(options.peak), batch_size=options.batch)
        print(held())
        return
    loaded = load_model("demo")
    layer = suggest_layers(loaded.model, 224)[0].name
    if options.peak:
        ours(loaded, layer, Crops(options.peak, loaded.preprocess), options.batch)
        print(held())
        return
    data = Crops(options.images, loaded.preprocess)
    ours(loaded, layer, Crops(options.batch, loaded.preprocess), options.batch)
    rounds = []
    for _ in range(options.rounds):
        plain = timed(lambda: bare(loaded, data, options.batch))
        mine = timed(lambda: ours(loaded, layer, data, options.batch))
        few = timed(lambda: bare(loaded, data, FEW))
        rounds.append({"bare": plain, "ours": mine, "few": few})
        print(rounds[-1], file=sys.stderr)
    ratios = [r["bare"][0] / r["ours"][0] for r in rounds]
    by_few = [r["few"][0] / r["ours"][0] for r in rounds]
    memory = {count: peak(count) for count in options.counts}
    small_ones = {count: peak(count, "small") for count in (1_000, 20_000)}
    result = {
        "layer": layer, "images": options.images, "batch": options.batch, "rounds": rounds,
        "throughput_ratio": statistics.median(ratios), "ratios": ratios, "ratios_of_few": by_few,
        "peak_megabytes": memory, "peak_megabytes_28_pixels": small_ones, "machine": machine("cpu"),
    }  # fmt: skip
    few, many = options.counts
    lines = [
        "# The audit's pass over a data set",
        "",
        f"EfficientNet-Lite0, layer `{layer}`, {options.images} crops of 224 pixels, batches of "
        f"{options.batch}, {torch.get_num_threads()} thread(s); process CPU time, since the "
        "machine is shared.",
        "",
        "| what | images for each second of CPU, median | of the bare loop | of it by fours |",
        "|---|---|---|---|",
        f"| bare inference loop | "
        f"{options.images / statistics.median(r['bare'][0] for r in rounds):.1f} | 1.00 | |",
        f"| the same, batches of {FEW} | "
        f"{options.images / statistics.median(r['few'][0] for r in rounds):.1f} | | 1.00 |",
        f"| `image_records` | "
        f"{options.images / statistics.median(r['ours'][0] for r in rounds):.1f} | "
        f"**{statistics.median(ratios):.2f}** (rounds: {', '.join(f'{r:.2f}' for r in ratios)}) | "
        f"{statistics.median(by_few):.2f} |",
        "",
        f"Peak resident memory of a process: {memory[few]:,.0f} MB at {few:,} images, "
        f"{memory[many]:,.0f} MB at {many:,}. With a small network on 28 pixels: "
        f"{small_ones[1_000]:,.0f} MB at 1,000, {small_ones[20_000]:,.0f} MB at 20,000.",
        "",
    ]
    (RESULTS / "image_records--cpu.md").write_text("\n".join(lines))
    (RESULTS / "image_records--cpu.json").write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
