"""RISE against the forward passes that it needs, and what its masks cost without a network.

    python benchmarks/bench_rise.py --device cpu --networks resnet18:112 mobilenet_v3_small:224
    python benchmarks/bench_rise.py --networks demo:224 --masks 400 --rounds 3
    python benchmarks/bench_rise.py --networks fasterrcnn_mobilenet_v3_large_320_fpn:96 --masks 200
    python benchmarks/bench_rise.py --device cuda

One image, of 224 px where no other size stands behind the network; ``demo`` is the packaged
EfficientNet-Lite0, and a detector is explained by D-RISE. The limit is as many forward passes of
the same images at once, without gradients, of masked images that are there already (channels last
on the CPU, as ours); a second row takes four times as many at once, lest the limit be one of a bad
choice. Ten targets are explained from the same passes. ``--masks`` below 4,000 keeps a run short:
all is linear in it.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
import torchvision
from measure import compare, write
from torch import Tensor, nn
from torchvision.models import detection

from captum_cnn_ext._engine.running.batching import images_at_once
from captum_cnn_ext.attr import DRise, Rise
from captum_cnn_ext.attr.pixels.random_masks import RandomMasks
from captum_cnn_ext.models import load_model

NETWORKS = ("resnet18:224", "mobilenet_v3_small:224")
LIMIT = "limit: the forward passes"


@torch.no_grad()
def forwards(model: nn.Module, images: Tensor, rows: int, masks: int) -> None:
    """So many masked images, the given ones again and again, ``rows`` at once."""
    for start in range(0, masks, rows):
        model(images[: min(rows, masks - start)])


def masked(x: Tensor, rows: int) -> Tensor:
    drawn = RandomMasks.drawn(x.shape[2:], 7, 0.5, rows, torch.Generator().manual_seed(0), x)
    images = torch.lerp(torch.zeros_like(x), x, drawn.of(slice(0, rows))[:, None])
    on_cpu = x.device.type == "cpu"
    return images.contiguous(memory_format=torch.channels_last) if on_cpu else images


@torch.no_grad()
def masks_alone(x: Tensor, rows: int, count: int) -> Tensor:
    drawn = RandomMasks.drawn(x.shape[2:], 7, 0.5, count, torch.Generator().manual_seed(0), x)
    for start in range(0, count, rows):
        torch.lerp(torch.zeros_like(x), x, drawn.of(slice(start, start + rows))[:, None])
    return drawn.weighted(torch.ones(count, 1, device=x.device))


def built(network: str, side: int) -> nn.Module:
    if network == "demo":
        return load_model("demo").model
    if hasattr(detection, network):
        options = {"min_size": side, "max_size": side, "box_score_thresh": 0.0}
        return getattr(detection, network)(weights=None, weights_backbone=None, **options).eval()
    return getattr(torchvision.models, network)(weights=None).eval()


def table(name: str, device: str, rounds: int, masks: int) -> dict[str, Any]:
    torch.manual_seed(0)
    network, _, size = name.partition(":")
    side = int(size or 224)
    model = built(network, side).to(device)
    x = torch.rand(1, 3, side, side, device=device)
    rows = images_at_once(x, x.device)
    images, own = masked(x, 4 * rows), "D-RISE" if hasattr(detection, network) else "Rise"
    rise: Any = Rise(model) if own == "Rise" else DRise(model)
    runs = {
        LIMIT: lambda: forwards(model, images[:rows], rows, masks),
        "forward passes, 4 times as many at once": lambda: forwards(model, images, 4 * rows, masks),
        f"{own}, one target": lambda: rise.attribute(x, target=3, n_samples=masks),
        f"{own}, ten targets": lambda: rise.attribute_targets(x, list(range(10)), n_samples=masks),
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
