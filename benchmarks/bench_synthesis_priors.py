"""What does each prior add to the bare recipe? Development classes only, at equal cost.

The bare recipe is the default one without the skip gradient. EfficientNet-Lite0 is shown as much
as by 256 images of 224 pixels, once each forward and backward; only "with Lite1" and "with Lite2"
cost a second network's passes too, and only the other of the two judges has not seen their images.
Judged as in ``bench_synthesis_quality.py``; beside each way the bare recipe on the same classes and
seeds, and by how much the judges' log odds are higher, with the standard error over images and
judges. Images already made are not made again.

    python benchmarks/bench_synthesis_priors.py --variants bare 'skip gradient 0.5' --seeds 0 1
"""

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench_synthesis_quality import DEVELOPMENT, JUDGES, as_picture, judge, measured
from measure import RESULTS
from synthesis_variants import VARIANTS, Tail
from torch import Tensor

from captum_cnn_ext.models import load_model
from captum_cnn_ext.synthesis import maximize


def made(variant: str, demo: Any, targets: Sequence[int], seed: int) -> Tensor:
    how = VARIANTS[variant]()
    tail = Tail(how.tail)
    found = maximize(
        how.network(demo.model),
        how.objective(demo.model, list(targets) if how.together else targets[0]),
        224,
        recipe=how.recipe,
        mean=demo.mean,
        std=demo.std,
        seed=seed,
        callbacks=[tail] if how.tail else [],
    )
    return tail.mean() if how.tail else found.images


def rounds(variant: str, targets: Sequence[int]) -> list[list[int]]:
    return [list(targets)] if VARIANTS[variant]().together else [[target] for target in targets]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--classes", nargs="+", type=int, default=list(DEVELOPMENT))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--pictures", type=Path, default=None, help="a folder for PNG files")
    options = parser.parse_args()
    demo = load_model("demo")
    judges = {number: judge(number) for number in JUDGES}
    path = RESULTS / "synthesis_priors--cpu.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for variant in options.variants:
        for seed in options.seeds:
            for targets in rounds(variant, options.classes):
                rows = known.setdefault(variant, {})
                if all(f"{target}, {seed}" in rows for target in targets):
                    continue
                images = made(variant, demo, targets, seed)
                for image, target in zip(images.split(1), targets, strict=True):
                    rows[f"{target}, {seed}"] = measured(image, target, demo, judges)
                    if options.pictures is not None:
                        options.pictures.mkdir(exist_ok=True)
                        as_picture(image).save(options.pictures / f"{variant} {target} {seed}.png")
                path.write_text(json.dumps(known, indent=1))
            print(variant, seed, means(known[variant]), flush=True)
    path.with_suffix(".md").write_text(table(known))


def means(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    listed = list(rows.values())
    found = {name: sum(row[name] for row in listed) / len(listed) for name in listed[0]}
    return {name: round(value, 3) for name, value in found.items()}


def gain(variant: str, rows: dict[str, dict[str, float]], bare: dict[str, dict[str, float]]) -> str:
    """How much higher the log odds are of judges that saw no image, with the standard error."""
    unseen = [number for number in JUDGES if variant != f"with Lite{number}"]

    def odds(row: dict[str, float], number: int) -> float:
        p = min(max(row[f"Lite{number}"], 1e-4), 1 - 1e-4)
        return math.log(p / (1 - p))

    found = [odds(row, n) - odds(bare[key], n) for key, row in rows.items() for n in unseen]
    error = statistics.stdev(found) / math.sqrt(len(found))
    return f"{statistics.mean(found):+.2f} ± {error:.2f}"


def table(known: dict[str, Any]) -> str:
    """Each variant, and the bare recipe on the same classes and seeds."""
    shown = ["Lite1", "Lite2", "Lite0", "JPEG 50", "16 views", "slope", "saturated %"]
    lines = [
        "# What each prior adds to the default recipe",
        "",
        " ".join((__doc__ or "").split("\n\n")[1].split()),
        "",
        f"| | images | {' | '.join(shown)} | bare: Lite1 | bare: Lite2 | log odds |",
        "|---" * (len(shown) + 5) + "|",
    ]
    for variant, rows in known.items():
        both = {key: row for key, row in rows.items() if key in known["bare"]}
        mean = means(both)
        bare = {key: known["bare"][key] for key in both}
        cells = [f"{mean[name]:.2f}" for name in shown]
        cells += [f"{means(bare)[f'Lite{number}']:.2f}" for number in JUDGES]
        cells.append("" if variant == "bare" else gain(variant, both, bare))
        lines.append(f"| {variant} | {len(both)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
