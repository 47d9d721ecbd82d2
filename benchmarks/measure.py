"""Alternating rounds in one process: times, peak memory, what they were measured on."""

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def seconds(run: Callable[[], Any], device: str) -> float:
    """One call: wall time between synchronisations on CUDA, process CPU time on the CPU."""
    if device == "cuda":
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    run()
    return time.process_time() - start


def peak_bytes(run: Callable[[], Any], device: str) -> int:
    """The most memory that one call holds at a time, above what was held before it."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    held = peak = 0
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted(events, key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def compare(
    runs: dict[str, Callable[[], Any]],
    device: str,
    rounds: int,
    warm_up: int = 2,
    scale: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Median seconds and interquartile range of each run, taken in turn; peak memory of each.

    ``scale`` multiplies the seconds of runs that do a part of the work; their names say so.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for current in range(rounds + warm_up):
        for name, run in runs.items():
            taken = seconds(run, device)
            if current >= warm_up:
                times[name].append(taken * (scale or {}).get(name, 1))
    rows = {}
    for name, run in runs.items():
        low, middle, high = statistics.quantiles(times[name], n=4)
        rows[name] = {
            "seconds": middle,
            "iqr": [low, high],
            "peak_bytes": peak_bytes(run, device),
        }
    return rows


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    git = ["git", "rev-parse", "--short", "HEAD"]
    try:
        said = subprocess.run(git, capture_output=True, text=True, cwd=Path(__file__).parent)
        commit = said.stdout.strip()
    except FileNotFoundError:  # a bare machine has no git
        commit = ""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "python": sys.version.split()[0],
        "versions": {
            n: version(n) for n in ("torch", "torchvision", "captum", "grad-cam", "torchcam")
        },
        "commit": commit,
    }


def write(suite: str, device: str, tables: dict[str, Any], limit: str) -> None:
    """``results/<suite>--<device>.json`` and a Markdown table of ratios to ``limit``."""
    about = machine(device)
    label = about["device"].replace(" ", "-").lower()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{suite}--{label}.json"
    path.write_text(json.dumps({"machine": about, "limit": limit, "tables": tables}, indent=1))
    versions = ", ".join(f"{n} {v}" for n, v in about["versions"].items() if v)
    lines = [
        f"# {suite} on {about['device']}",
        "",
        f"{about['threads']} CPU threads, Python {about['python']}, {versions}, commit "
        f"{about['commit']}. Time and peak memory are ratios to *{limit}* in the same process.",
    ]
    for title, rows in tables.items():
        base = rows[limit]
        lines += [
            "",
            f"## {title}",
            "",
            "| | ms | IQR | time | peak memory |",
            "|---|---|---|---|---|",
        ]
        for name, row in rows.items():
            low, high = (1000 * value for value in row["iqr"])
            memory = row["peak_bytes"] / base["peak_bytes"] if base["peak_bytes"] else float("nan")
            lines.append(
                f"| {name} | {1000 * row['seconds']:.1f} | {low:.1f}-{high:.1f} | "
                f"{row['seconds'] / base['seconds']:.2f} | {memory:.2f} |"
            )
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
