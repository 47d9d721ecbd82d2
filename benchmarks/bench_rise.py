"""RISE against the forward passes that it needs, and what its masks cost without a network.

    python benchmarks/bench_rise.py --device cpu --networks resnet18:112 mobilenet_v3_small:224
    python benchmarks/bench_rise.py --device cuda

One image, of 224 px where no other size stands behind the network. The limit is as many forward
passes of the same images at once, without gradients, of a tensor that is there already (channels
last on the CPU, as ours). Ten targets are explained from the same passes. ``--masks`` below 4,000
keeps a run short: all is linear in it.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
import torchvision
from measure import compare, write
from torch import Tensor, nn

from captum_cnn_ext._engine.running.batching import images_at_once
from captum_cnn_ext.attr import Rise
from captum_cnn_ext.attr.pixels.masked_input_base import CPU_ROWS
from captum_cnn_ext.attr.pixels.random_masks import RandomMasks

NETWORKS = ("resnet18:224", "mobilenet_v3_small:224")
LIMIT = "limit: the forward passes"


@torch.no_grad()
def forwards(model: nn.Module, x: Tensor, rows: int, masks: int) -> None:
    batch = x.expand(rows, -1, -1, -1).contiguous()
    if x.device.type == "cpu":
        batch = batch.contiguous(memory_format=torch.channels_last)
    for start in range(0, masks, rows):
        model(batch[: min(rows, masks - start)])


@torch.no_grad()
def masks_alone(x: Tensor, rows: int, count: int) -> Tensor:
    drawn = RandomMasks.drawn(x.shape[2:], 7, 0.5, count, torch.Generator().manual_seed(0), x)
    for start in range(0, count, rows):
        torch.lerp(torch.zeros_like(x), x, drawn.of(slice(start, start + rows))[:, None])
    return drawn.weighted(torch.ones(count, 1, device=x.device))


def table(name: str, device: str, rounds: int, masks: int) -> dict[str, Any]:
    torch.manual_seed(0)
    network, _, size = name.partition(":")
    model = getattr(torchvision.models, network)(weights=None).eval().to(device)
    x = torch.rand(1, 3, int(size or 224), int(size or 224), device=device)
    rows, rise = images_at_once(x, x.device, CPU_ROWS), Rise(model)
    runs = {
        LIMIT: lambda: forwards(model, x, rows, masks),
        "Rise, one target": lambda: rise.attribute(x, target=3, n_samples=masks),
        "Rise, ten targets": lambda: rise.attribute_targets(x, list(range(10)), n_samples=masks),
        "masks alone": lambda: masks_alone(x, rows, masks),
    }
    return compare(runs, device, rounds, warm_up=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--masks", type=int, default=4000)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME:PIXELS")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    tables = {
        f"{name} px, {given.masks} masks": table(name, given.device, given.rounds, given.masks)
        for name in given.networks
    }
    write("rise", given.device, tables, LIMIT)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
