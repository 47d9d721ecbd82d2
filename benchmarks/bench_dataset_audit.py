"""A whole audit of 10,000 images: time of its tests, memory, and the page's size.

    python benchmarks/bench_dataset_audit.py --images 10000 --folder FOLDER --kill-at 4000
    python benchmarks/bench_dataset_audit.py --images 10000 --folder FOLDER
    python benchmarks/bench_dataset_audit.py --images 10000 --folder FOLDER --limit
    python benchmarks/bench_dataset_audit.py --table

EfficientNet-Lite0 on 224 pixels, crops of the packaged photos that are made when they are asked
for. ``--kill-at`` kills the process without warning when it reads that image, so that the next call
goes on from the checkpoint in FOLDER; every process adds a line to the results. Memory is the
largest resident size of the process so far, read at every thousandth image. ``--limit`` measures
the tests of suspects on the records of a pass that has ended, with the model's own answers as
labels, and reckons from it what they take at their bounds, 20 classes and 12 whole tests.
"""

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from bench_image_records import LABELS, crop, held
from measure import RESULTS, machine
from torch.utils.data import Dataset

from captum_cnn_ext import evidence
from captum_cnn_ext.insights import audit_dataset
from captum_cnn_ext.insights.dataset import audited
from captum_cnn_ext.insights.layers import default_layers
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos

LINES = RESULTS / "dataset_audit--cpu.jsonl"
EVERY = 1000
MOST = 12 * (144 + 480)  # passes of whole tests, as the docstring has them
LARGEST = 3  # classes that --limit measures
STAGE = "tests of suspects"


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
    found = timed(spent, STAGE, evidence.find_shortcuts)
    audited.find_shortcuts = found
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


def limit(count, folder):
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    model, data, spent = load_model("demo"), Pictures(count), {}
    layer = default_layers(model.model, model.preprocess(data[0][0])[None])[0][-1].name
    records = evidence.image_records(
        *(model.model, layer, data), preprocess=model.preprocess, on_error="skip",
        columns=None, checkpoint=folder / f"pass-{count}",
    )  # fmt: skip
    answers = np.array(records.predictions)
    records = dataclasses.replace(records, labels=answers)
    number = {
        int(image): int(answer) for image, answer in zip(records.images, answers, strict=True)
    }
    data = Answered(data, number)
    found = timed(spent, STAGE, evidence.find_shortcuts)(
        *(model.model, data, records), preprocess=model.preprocess,
        classes=np.bincount(answers).argsort()[::-1][:LARGEST].tolist(),
    )  # fmt: skip
    add({
        "limit": count, "spent": spent, "threads": torch.get_num_threads(),
        "tests": [found.candidates, found.tests, found.passes, len(found.classes)],
        "memory_at_the_end": round(held()), "machine": machine("cpu"),
    })  # fmt: skip


class Answered(Dataset):
    """The pictures with the model's answers as labels."""

    def __init__(self, pictures, answers):
        self.pictures, self.answers = pictures, answers

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        return self.pictures[index][0], self.answers[index]


def table(rows):
    whole = [row for row in rows if "seconds" in row]
    killed = sum("killed_at" in row for row in rows)
    lines = [
        "# A whole audit of 1,000 and of 10,000 images",
        "",
        "EfficientNet-Lite0 at 224 pixels on crops of the packaged photos, one thread; seconds are "
        f"of the process, since the machine is shared. One pass over 10,000 images was killed "
        f"{killed} times and went on from its checkpoint, another ran through.",
        "",
        "| images | the pass read by one process | largest memory, MB | whole audit, s of one core "
        "| tests of suspects, s | passes in them | page, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(whole, key=lambda row: (row["images"], row["first_read"])):
        ran = "all" if row["first_read"] == 1 else f"{row['images'] - row['first_read']:,}"
        lines.append(
            f"| {row['images']:,} | {ran} | {row['memory_at_the_end']:,} | {row['seconds']:.0f} | "
            f"{row['spent'][STAGE][0]:.0f} | {row['tests'][2]:,} | "
            f"{row['page_bytes'] / 1e6:.2f} |"
        )
    for row in (row for row in rows if "limit" in row):
        (candidates, tests, passes, classes), seconds = row["tests"], row["spent"][STAGE][0]
        first, each = seconds * 20 / classes, seconds / passes
        most = first + MOST * each
        lines += [
            "",
            f"With the model's own answers as labels, so that all are right, the tests of the "
            f"{classes} largest classes took {seconds:.0f} s of one core: {candidates} candidates "
            f"had a first look, {tests} a whole test, {passes:,} passes. From that, not measured: "
            f"20 classes, which is the most, take {first:.0f} s, and 12 whole tests with all their "
            f"{MOST:,} passes {MOST * each:.0f} s more; together {most / 60:.1f} minutes of one "
            "core.",
        ]
    lines += ["", "Memory in the pass, MB, by the image that was read:", ""]
    lines += ["| process | " + " | ".join(f"{n:,}" for n in range(EVERY, 10_000, EVERY)) + " |"]
    lines += ["|---" * (10_000 // EVERY) + "|"]
    for number, row in enumerate((r for r in rows if r.get("images") == 10_000), 1):
        known = {int(n): mb for n, mb in row["memory"].items()}
        cells = [f"{known[n]:,}" if n in known else "" for n in range(EVERY, 10_000, EVERY)]
        lines.append(f"| {number} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where the pass and the page are kept")
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--limit", action="store_true", help="tests of suspects on own answers")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        rows = [json.loads(line) for line in LINES.read_text().splitlines()]
        LINES.with_suffix(".md").write_text(table(rows))
        return
    if options.limit:
        limit(options.images, options.folder)
        return
    audit(options.images, options.folder, options.kill_at)


if __name__ == "__main__":
    main()
