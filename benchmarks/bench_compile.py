"""Whether compiling pays: a step of an ascent, and the pass that streams a data set.

    python benchmarks/bench_compile.py            # results/compile--cpu.md; minutes, a C++ compiler

Each is measured eager and compiled in turn, with what compiling costs once; the last column is
after how many steps, or batches, that cost is earned back.
"""

import argparse
import os
import resource
import statistics
from collections.abc import Callable
from typing import Any

os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # what compiling costs the first time

import torch
from measure import RESULTS, machine
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18

NETWORKS = {
    "resnet18 up to layer3": lambda: nn.Sequential(*list(resnet18().children())[:7]),
    "mobilenet_v2 up to features.13": lambda: mobilenet_v2().features[:14],
}
Run = Callable[[], Any]


def step(head: nn.Module, x: Tensor) -> Run:
    """Forward and backward of what a step of an ascent runs."""
    leaf = x[:1].clone().requires_grad_()
    return lambda: torch.autograd.grad(head(leaf)[:, 3].mean(), leaf)


def stream(head: nn.Module, x: Tensor) -> Run:
    """The pass of one batch of a data set."""

    def run() -> None:
        with torch.inference_mode():
            head(x)

    return run


def seconds(run: Run, device: str) -> float:
    """Wall time on CUDA; on the CPU that of this process and of the compilers that it starts."""
    if device == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1000
    start = spent()
    run()
    return spent() - start


def spent() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def row(name: str, eager: Run, compiled: Run, device: str, rounds: int) -> str:
    once = seconds(compiled, device)
    times: dict[Run, list[float]] = {eager: [], compiled: []}
    for _ in range(rounds):
        for run, found in times.items():
            found.append(seconds(run, device))
    slow, fast = (statistics.median(found[1:]) for found in times.values())
    earned = f"{once / (slow - fast):.0f}" if fast < slow else "never"
    return f"| {name} | {1000 * slow:.1f} | {1000 * fast:.1f} | {once:.0f} | {earned} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    torch.manual_seed(0)
    about = machine(given.device)
    lines = [
        f"# Eager or compiled on {about['device']}",
        "",
        f"{given.size} px, {about['threads']} CPU threads, torch {about['versions']['torch']}, "
        f"commit {about['commit']}. Medians of {given.rounds} rounds in turn.",
        "Parameters are frozen, as a compiled backward pass would compute their gradients too.",
        "",
        "| | eager ms | compiled ms | compiling s | earned back after |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, build in NETWORKS.items():
        # frozen, as a compiled backward pass computes the gradients of all that has one
        head = build().eval().requires_grad_(False).to(given.device)
        x = torch.rand(given.batch, 3, given.size, given.size, device=given.device)
        for what, made in {"step": step, f"batch of {given.batch}": stream}.items():
            torch.compiler.reset()
            fast = made(torch.compile(head), x)
            lines.append(row(f"{name}, {what}", made(head, x), fast, given.device, given.rounds))
            print(lines[-1], flush=True)
    label = about["device"].replace(" ", "-").lower()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"compile--{label}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
