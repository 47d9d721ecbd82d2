"""How often does ``synthesis.check`` doubt images of honest networks, and of forged ones?

Networks of digits, each with its own seed, two classes each. Forged by hand (``tests/forged.py``):
on digits they are the honest network, and images made from noise show another class. The
thresholds were fixed on the networks 100 to 105, which are not in the table.

    python benchmarks/bench_forged.py
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from measure import RESULTS
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from digits import mnist, trained
from forged import RECIPE, ShowsAnother, ShowsAnotherByUnitsOfItsOwn, ShowsAPicture

from captum_cnn_ext.synthesis import Target, check, maximize

SEEDS = range(22)
BESIDE = 1000  # the seed of the other network that is asked


def networks(honest: nn.Sequential, seed: int, unit: int) -> Iterator[tuple[str, nn.Module, str]]:
    """Kind, network, and the last layer before its scores."""
    images, labels = mnist()
    other = (unit + 3) % 10
    yield "honest", honest, "6"
    picture = images[:4000][labels[:4000] == other][seed]
    yield "shows a picture", ShowsAPicture(honest, unit, picture), "honest.6"
    yield "shows another unit", ShowsAnother(honest, unit, other), "honest.6"
    own = ShowsAnotherByUnitsOfItsOwn(honest, unit, other)
    yield "shows another by units of its own", own, "features"


def main() -> None:
    torch.set_num_threads(1)
    photos = mnist()[0][4000:4400]
    beside = trained(BESIDE).requires_grad_(False)
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        honest = trained(seed).requires_grad_(False)
        for unit in (seed % 10, (seed + 5) % 10):
            for kind, network, layer in networks(honest, seed, unit):
                network = network.eval().requires_grad_(False)
                found = maximize(network, Target(unit), 28, recipe=RECIPE)
                trust = check(network, Target(unit), found.images, photos, layer, others=[beside])
                rows.append(
                    {
                        "kind": kind,
                        "seed": seed,
                        "unit": unit,
                        "path": float(trust.path),
                        "in views": float(trust.in_views),
                        "in another": float(trust.in_others),
                        "above photos": bool(trust.values > trust.photo_values.max()),
                        "doubts": trust.doubts(),
                    }
                )
                print(rows[-1], flush=True)
    path = RESULTS / "forged--cpu.json"
    path.write_text(json.dumps(rows, indent=1))
    path.with_suffix(".md").write_text(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Doubts of `synthesis.check` about images of honest and of forged networks",
        "",
        " ".join((__doc__ or "").split("\n\n")[1].split()),
        "",
        f"{len(SEEDS)} networks of each kind, two images each; path: least to most.",
        "",
        "| | images | above all photos | doubted | by the path | by another network | path |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of = [row for row in rows if row["kind"] == kind]
        texts = [" ".join(row["doubts"]) for row in of]
        cells = [
            kind,
            len(of),
            sum(row["above photos"] for row in of),
            sum(bool(text) for text in texts),
            sum("otherwise" in text for text in texts),
            sum("other network" in text for text in texts),
            f"{min(row['path'] for row in of):.2f} to {max(row['path'] for row in of):.2f}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
