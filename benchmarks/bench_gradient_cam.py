"""Gradient CAMs against one bare forward pass: time and peak memory, peers beside them."""

import argparse

import torch
from contenders import gradient_cams
from measure import compare, write
from torchvision import models

CASES = {
    f"{name}.{layer}, batch 8, 224 px": (name, layer, 8)
    for name, layer in (
        ("resnet50", "layer4"),
        ("resnet50", "layer2"),
        ("vgg16", "features.29"),
        ("efficientnet_b0", "features.8"),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cases", type=int, default=len(CASES))
    options = parser.parse_args()
    tables = {}
    for title, (name, layer, batch) in list(CASES.items())[: options.cases]:
        torch.manual_seed(0)
        model = getattr(models, name)().to(options.device).eval()
        x = torch.randn(batch, 3, 224, 224, device=options.device)
        runs = gradient_cams(model, model.get_submodule(layer), x, 281)
        tables[title] = compare(runs, options.device, options.rounds)
    write("gradient_cam", options.device, tables, "bare forward")


if __name__ == "__main__":
    main()
