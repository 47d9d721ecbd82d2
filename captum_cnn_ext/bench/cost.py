"""What a call costs: time in forward passes, and memory."""

import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")
PACKAGES = ("captum-cnn-ext", "torch", "torchvision", "captum", "numpy", "grad-cam", "torchcam")


def timed(run: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """A call's result and seconds: wall time on an accelerator, process CPU time on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        result = run()
        torch.cuda.synchronize(device)
        return result, time.perf_counter() - start
    start = time.process_time()
    result = run()
    return result, time.process_time() - start


def peak_bytes(run: Callable[[], Any], device: torch.device) -> int:
    """The most memory that torch holds during a call, above what it held before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    held = peak = 0
    results: Any = getattr(profiler.profiler, "kineto_results", None)
    for event in sorted(results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on: no names of machines or folders."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "device": name,
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "python": sys.version.split()[0],
        "versions": {p: v for p in PACKAGES if (v := _version(p))},
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of this package's own working tree, where it is one."""
    folder = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "ls-files", "--error-unmatch", Path(__file__).name],
            capture_output=True,
            cwd=folder,
        )
        if done.returncode:
            return None
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=folder
        )
    except OSError:
        return None
    return found.stdout.strip() or None
