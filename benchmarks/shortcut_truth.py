"""Does the audit find the shortcut that was planted, and none where none was?

    python benchmarks/shortcut_truth.py --set development --weights FOLDER
    python benchmarks/shortcut_truth.py --set report --weights FOLDER

The bounds of ``find_shortcuts`` were set on the development networks, which have other seeds and
other artefacts. One line of JSON a network is kept in ``results``: what was done is not done again.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from measure import RESULTS
from planted_shortcuts import (
    AUDITED,
    CLASSES,
    DATASETS,
    KINDS,
    LAYER,
    TRAINED,
    Network,
    Plant,
    dataset,
    planted,
    trained,
)
from shortcut_table import rows_of, table
from torch import nn

from captum_cnn_ext.evidence import find_shortcuts, image_records, strategies

SHARES = (1.0, 0.8, 0.6)
COUNTS = {"development": 16, "report": 40}


def plants_of(which: str, number: int) -> tuple[Plant, ...]:
    """The plants of one network; every eighth has two of them, in two classes."""
    development = which == "development"
    first = 100 + number if development else 900 + number
    kinds = KINDS[number % 8 : number % 8 + 1] or ("tag", KINDS[1 + (number // 8) % 6])
    label = (number * 7 + 3) % CLASSES
    share = SHARES[(number % 8 + 2 * (number // 8)) % 3]
    return tuple(
        Plant(kind, (label + 2 * k) % CLASSES, share, first + 50 * k, development)
        for k, kind in enumerate(kinds)
    )


def data_of(which: str, number: int) -> tuple[str, int]:
    """The data set and its even seed; the next one is that of the audited images."""
    name = DATASETS[(number % 8 + number // 8) % 3]
    return name, 2 * number + (1000 if which == "development" else 5000)


def network(which: str, number: int, plants: tuple[Plant, ...], folder: Path) -> nn.Module:
    """The trained network, from a file where it was kept."""
    file = folder / f"{which}-{number}-{'planted' if plants else 'clean'}.pt"
    if file.exists():
        model = Network()
        model.load_state_dict(torch.load(file))
        return model.eval()
    name, seed = data_of(which, number)
    images, labels, masks = dataset(name, TRAINED, seed)
    model = trained(planted(images, labels, masks, plants, seed), labels, seed)
    torch.save(model.state_dict(), file)
    return model


def audit(which: str, number: int, plants: tuple[Plant, ...], model: nn.Module) -> dict[str, Any]:
    """One network on other images than those of its training, without their masks."""
    name, seed = data_of(which, number)
    clean, labels, masks = dataset(name, AUDITED, seed + 1)
    images = planted(clean, labels, masks, plants, seed + 1) - 0.5
    data = [(image, int(label)) for image, label in zip(images, labels, strict=True)]
    start = time.process_time()
    records = image_records(model, LAYER, data)
    groups = strategies(records, seed=number)
    found = find_shortcuts(model, data, records, groups=groups.groups, seed=number)
    seconds = time.process_time() - start
    row: dict[str, Any] = {
        "set": which,
        "number": number,
        "data": name,
        "accuracy": float(records.correct.mean()),
        "plants": [],
        "named": [
            {
                "label": s.label,
                "kind": s.kind,
                "place": s.place,
                "box": s.box,
                "flips": round(s.flips, 3),
                "null": round(s.null, 3),
                "sameness": None if s.sameness is None else round(s.sameness, 3),
                "p": round(s.p_corrected, 4),
                "verdict": s.verdict,
            }
            for s in found.suspects
        ],
        "passes": found.passes,
        "seconds": round(seconds, 1),
        "spray": spectral_gaps(records),
        "bnnr": geometry(records),
    }
    for plant in plants:
        others = labels != plant.label
        with torch.no_grad():
            given = model(plant.put(clean[others], masks[others], 3) - 0.5).argmax(1)
        learnt = float((given == plant.label).float().mean())
        row["plants"].append(
            {
                "kind": plant.kind,
                "label": plant.label,
                "share": plant.share,
                "place": plant.place,
                "learnt": round(learnt, 3),
            }
        )
    return row


def spectral_gaps(records: Any) -> list[float]:
    """Of each class the largest gap of the spectrum of its maps after two or more clusters.

    As SpRAy (Lapuschkin et al., Unmasking Clever Hans predictors, 2019, arXiv:1902.10178) clusters
    maps: 10 nearest neighbours, symmetric normalised Laplacian, its first eight eigenvalues. There
    a person looks at the clusters; here a gap that is rare without a shortcut is an alarm.
    """
    gaps = []
    for label in range(CLASSES):
        maps = torch.from_numpy(records.maps[records.predictions == label].astype("float32"))
        flat = maps.flatten(1)
        if len(flat) < 20:
            gaps.append(0.0)
            continue
        near = torch.cdist(flat, flat).argsort(1)[:, 1:11]
        graph = torch.zeros(len(flat), len(flat)).scatter_(1, near, 1.0)
        graph = torch.maximum(graph, graph.T)
        scale = graph.sum(1).rsqrt()
        laplacian = torch.eye(len(flat)) - scale[:, None] * graph * scale
        values = torch.linalg.eigvalsh(laplacian)[:9]
        gaps.append(round(float(values.diff()[1:].max()), 4))
    return gaps


def geometry(records: Any) -> list[bool]:
    """Of each class whether BNNR 0.8's published cuts, by our reading, suspect its maps.

    Evidence at the border: less than 0.4 of the map lies inside its outer ring. Background: focus
    below 0.3 and coverage above 0.4, with focus 1 less the map's normalised entropy and coverage
    the share of positions above half of its maximum. Means over the class's images.
    """
    maps = torch.from_numpy(records.maps.astype("float32")).clamp_min(0)
    shares = maps / maps.sum((1, 2), keepdim=True).clamp_min(1e-12)
    inside = shares[:, 1:-1, 1:-1].sum((1, 2))
    entropy = -(shares * shares.clamp_min(1e-12).log()).sum((1, 2))
    focus = 1 - entropy / math.log(shares[0].numel())
    coverage = (maps > maps.amax((1, 2), keepdim=True) / 2).float().mean((1, 2))
    found = []
    for label in range(CLASSES):
        own = torch.from_numpy(records.predictions == label)
        edge, near, wide = (
            float(v[own].mean()) if own.any() else 1.0 for v in (inside, focus, coverage)
        )
        found.append(edge < 0.4 or (near < 0.3 and wide > 0.4))
    return found


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=COUNTS, default="development")
    parser.add_argument("--weights", type=Path, required=True, help="where networks are kept")
    parser.add_argument("--first", type=int, help="pairs of networks; all without")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--table-only", action="store_true")
    given = parser.parse_args()
    given.weights.mkdir(exist_ok=True)
    lines = RESULTS / f"shortcut_truth--{given.set}.jsonl"
    done = {(row["number"], bool(row["plants"])) for row in rows_of(lines)}
    for number in range(0 if given.table_only else given.first or COUNTS[given.set]):
        for plants in (plants_of(given.set, number), ()):
            if given.train_only:
                network(given.set, number, plants, given.weights)
            elif (number, bool(plants)) not in done:
                model = network(given.set, number, plants, given.weights)
                row = audit(given.set, number, plants, model)
                with lines.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    if not given.train_only:
        (RESULTS / f"shortcut_truth--{given.set}.md").write_text(
            table(given.set, rows_of(lines), rows_of(RESULTS / "shortcut_truth--development.jsonl"))
        )


if __name__ == "__main__":
    main()
