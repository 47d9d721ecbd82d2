"""A whole audit of 10,000 images: time of its tests, memory, and the page's size.

    python benchmarks/bench_dataset_audit.py --images 10000 --folder FOLDER --kill-at 4000
    python benchmarks/bench_dataset_audit.py --images 10000 --folder FOLDER
    python benchmarks/bench_dataset_audit.py --table

EfficientNet-Lite0 on 224 pixels, crops of the packaged photos that are made when they are asked
for. ``--kill-at`` kills the process without warning when it reads that image, so that the next call
goes on from the checkpoint in FOLDER; every process adds a line to the results. Memory is the
largest resident size of the process so far, read at every thousandth image.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from bench_image_records import LABELS, crop, held
from measure import RESULTS, machine
from torch.utils.data import Dataset

from captum_cnn_ext import evidence
from captum_cnn_ext.insights import audit_dataset
from captum_cnn_ext.insights.dataset.sections import shortcuts
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos

LINES = RESULTS / "dataset_audit--cpu.jsonl"
EVERY = 1000


class Pictures(Dataset):
    """Crops as PIL images; says when some were read, and how much memory there was."""

    def __init__(self, count, kill_at=None):
        self.photos, self.count, self.kill_at = demo_photos(), count, kill_at
        self.memory = {}
        self.started = None

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if self.started is None and index:
            self.started = index
        if index and index % EVERY == 0 and index > max(self.memory, default=0):
            self.memory[index] = round(held())
            print(f"{index} images: {self.memory[index]} MB", file=sys.stderr, flush=True)
        if index == self.kill_at:
            add({"killed_at": index, "memory": self.memory, "images": self.count})
            os.kill(os.getpid(), signal.SIGKILL)
        name, picture = crop(self.photos, index)
        return picture, LABELS[name]


def add(row):
    with LINES.open("a") as file:
        file.write(json.dumps(row) + "\n")


def timed(spent, name, function):
    """``function``, and what it took in seconds of the process and of the clock."""

    def run(*args, **kwargs):
        begun = time.process_time(), time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            ends = time.process_time(), time.perf_counter()
            spent[name] = [round(b - a, 1) for a, b in zip(begun, ends, strict=True)]

    return run


def audit(count, folder, kill_at):
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    spent = {}
    found = timed(spent, "tests of suspects", evidence.find_shortcuts)
    shortcuts.find_shortcuts = found
    data = Pictures(count, kill_at)
    begun = time.process_time()
    done = audit_dataset(load_model("demo"), data, checkpoint=folder / f"pass-{count}",
                         batch_size=32, show_progress=False)  # fmt: skip
    total = time.process_time() - begun
    saved = done.save(folder / f"audit-{count}.html")
    tests = done.shortcuts
    add({
        "images": count, "first_read": data.started, "memory": data.memory,
        "memory_at_the_end": round(held()), "seconds": round(total, 1), "spent": spent,
        "tests": [tests.candidates, tests.tests, tests.passes, len(tests.classes)],
        "page_bytes": saved.report.stat().st_size, "accuracy": float(done.records.correct.mean()),
        "problems": [str(p) for p in done.page.problems], "threads": torch.get_num_threads(),
        "machine": machine("cpu"),
    })  # fmt: skip


def table(rows):
    whole = {row["images"]: row for row in rows if "seconds" in row}
    lines = [
        "# A whole audit of 10,000 images",
        "",
        "EfficientNet-Lite0 at 224 pixels on crops of the packaged photos, one thread; seconds are "
        "of the process, since the machine is shared. The pass over 10,000 images was killed "
        f"{sum('killed_at' in row for row in rows)} times and went on from its checkpoint.",
        "",
        "| images | largest memory, MB | tests of suspects, s of one core | passes in them | "
        "page, MB |",
        "|---|---|---|---|---|",
    ]
    for count, row in sorted(whole.items()):
        lines.append(
            f"| {count:,} | {row['memory_at_the_end']:,} | "
            f"{row['spent']['tests of suspects'][0]:.0f} | {row['tests'][2]:,} | "
            f"{row['page_bytes'] / 1e6:.2f} |"
        )
    lines += ["", "Memory in the pass, by the image that was read:", ""]
    lines += ["| process | " + " | ".join(f"{n:,}" for n in range(EVERY, 10_000, EVERY)) + " |"]
    lines += ["|---" * (10_000 // EVERY) + "|"]
    for number, row in enumerate((r for r in rows if r["images"] == 10_000), 1):
        known = {int(n): mb for n, mb in row["memory"].items()}
        cells = [f"{known[n]:,}" if n in known else "" for n in range(EVERY, 10_000, EVERY)]
        lines.append(f"| {number} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where the pass and the page are kept")
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        rows = [json.loads(line) for line in LINES.read_text().splitlines()]
        LINES.with_suffix(".md").write_text(table(rows))
        return
    audit(options.images, options.folder, options.kill_at)


if __name__ == "__main__":
    main()
