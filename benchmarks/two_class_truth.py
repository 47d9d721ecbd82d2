"""Of two classes, is the one that has the plant named? Ten small networks whose truth is known.

    python benchmarks/two_class_truth.py

Plants are those of ``shortcut_truth.py``, in the first two classes of its data sets alone. What one
class has the other lacks, so that each plant could be told from either side. It takes about four
minutes on one core.
"""

import torch
from measure import RESULTS
from planted_shortcuts import (
    AUDITED,
    DATASETS,
    KINDS,
    LAYER,
    TRAINED,
    Plant,
    dataset,
    planted,
    trained,
)

from captum_cnn_ext.evidence import find_shortcuts, image_records, strategies

SHARES = (1.0, 0.8, 0.6)
MARKS = {"tag", "border", "logo", "texture"}  # are there or not; the others are more or less
HEAD = "| plant | data | share | turns | named | of the class that has it | also seen as |"


def two_of(name, count, seed, plant):
    """Images with the plant, without it, labels and masks of the first two classes."""
    images, labels, masks = (part[: 2 * count] for part in dataset(name, count, seed))
    return planted(images, labels, masks, (plant,), seed), images, labels, masks


def row(number, kind):
    """One network: its plant, whether it was learnt, and what the search names."""
    name, share = DATASETS[(number + 1) % 3], SHARES[(number + number // 3) % 3]
    plant = Plant(kind, number % 2, share, 400 + number, development=False)
    images, _, labels, _ = two_of(name, TRAINED, 2 * number + 7000, plant)
    model = trained(images, labels, 2 * number + 7000)
    images, clean, labels, masks = two_of(name, AUDITED, 2 * number + 7001, plant)
    data = [(image - 0.5, int(label)) for image, label in zip(images, labels, strict=True)]
    records = image_records(model, LAYER, data)
    groups = strategies(records, seed=number).groups
    found = find_shortcuts(model, data, records, groups=groups, seed=number).shortcuts
    others = labels != plant.label
    with torch.no_grad():
        given = model(plant.put(clean[others], masks[others], 3) - 0.5).argmax(1)
    turns = float((given == plant.label).float().mean())
    return kind, name, share, turns, [(one.kind, one.label == plant.label, one) for one in found]


def main():
    torch.set_num_threads(1)
    rows = [row(n, kind) for n, kind in enumerate((*KINDS, "tag", "border", "logo"))]
    lines = []
    for kind, name, share, turns, found in rows:
        named = ", ".join(one for one, _, _ in found) or "nothing"
        whose = ", ".join("yes" if right else "no" for _, right, _ in found)
        also = ", ".join(dict.fromkeys(two.kind for *_, one in found for two in one.also))
        lines.append(
            f"| {kind} | {name} | {share:.0%} | {turns:.0%} | {named} | {whose} | {also} |"
        )
    marks = [found for kind, *_, found in rows if kind in MARKS and found]
    right = sum(all(one[1] for one in found) for found in marks)
    text = (
        "# Two classes: which one is named\n\n"
        f"Of {len(marks)} found plants that are there or not, {right} are named only of the class "
        f"that has them; {sum(len(found) for *_, found in rows)} shortcuts are named for "
        f"{sum(bool(found) for *_, found in rows)} plants. More or less of a property is one fact "
        "from either side.\n\n"
    )
    table = "\n".join([HEAD, "|---|---|---|---|---|---|---|", *lines])
    (RESULTS / "two_class_truth.md").write_text(f"{text}{table}\n")


if __name__ == "__main__":
    main()
