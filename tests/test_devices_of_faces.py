"""Targets, league, explanation and a data set's audit on a pretend accelerator: the CPU's values.

`test_devices.py` has everything else, and says what is compared.
"""

import numpy as np
import pytest
import torch
from detectors import Areas, Spots
from test_devices import CPU, network, photos, same_on_both

from captum_cnn_ext import attr, bench, insights, targets
from captum_cnn_ext.bench import truths

BOXES = [
    targets.Boxes(0),
    targets.Boxes(label=1),
    targets.Boxes(overlapping=(2, 2, 8, 8), iou=0.01, reduction="mean"),
]
TARGETS = {
    "AnyClass": (network, lambda m, x: [targets.AnyClass(1)]),
    "Boxes": (lambda: Spots(3, threshold=0.4).double(), lambda m, x: BOXES),
    "Difference": (network, lambda m, x: [targets.Difference(1, 2)]),
    "Regression": (network, lambda m, x: [targets.Regression("lower", index=1)]),
    "Segment": (
        lambda: Areas(3).double(),
        lambda m, x: [
            targets.Segment(1),
            targets.Segment(1, at=(3, 4)),
            targets.Segment(1, mask=torch.ones(16, 20, dtype=torch.bool, device=x.device)),
        ],
    ),
    "Several": (
        network,
        lambda m, x: [targets.Several([0, 2], weights=[2, -1]), targets.Several()],
    ),
    "Similarity": (network, lambda m, x: [targets.Similarity(m(x[1:]).detach())]),
}


def test_every_target_is_here():
    beside = {"Target", "target_code", "target_from_text", "RawBoxes", "DetrBoxes"}
    assert set(TARGETS) | beside == set(targets.__all__)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target(name):
    build, chosen = TARGETS[name]
    torch.manual_seed(3)

    def call(model, x):
        found = []
        for target in chosen(model, x):
            found.append(attr.LayerHiResCam(model, "block").attribute(x[:1], target))
            found.append(
                attr.Occlusion(model).attribute(x[:1], (3, 8, 8), (3, 8, 8), target=target)
            )
        return found

    same_on_both(call, build(), photos())


def test_boxes_of_a_raw_head():
    head = torch.tensor([[8.0, 8, 4, 4, 0.9, 0.1], [9, 8, 4, 4, 0.8, 0.1]]).T[None].double()
    read = targets.RawBoxes(columns=1)
    same_on_both(
        lambda m, x: [read(x)[0]["boxes"], targets.Boxes(0, read=read)(x)], network(), head
    )


def test_boxes_of_queries():
    queries = torch.tensor([[[4.0, 0, 0], [0, 3, 1]]]).double()
    read = targets.DetrBoxes((16, 20))

    def call(model, x):
        output = {"logits": x, "pred_boxes": x.sigmoid().repeat_interleave(2, 2)[..., :4]}
        return [read(output)[0]["boxes"], targets.Boxes(0, read=read)(output)]

    same_on_both(call, network(), queries)


@pytest.mark.slow
def test_the_league():
    """Every contender on a network and images that are there, and the judges of its maps."""

    def call(model, x):
        truth = torch.zeros(2, 16, 20, dtype=x.dtype, device=x.device)
        truth[:, 4:9, 3:12] = 1
        trial = truths.Trial(
            "there", model, x, torch.tensor([1, 2], device=x.device), truth,
            layers=("block", "stem.1"),
        )  # fmt: skip
        task = truths.Task("one", "where?", "rank", lambda seed, images, training: [trial])
        settings = truths.TruthSettings(images=2)
        results = bench.Results(settings.to_dict())
        truths.run_truths({"one": task}, [0], truths.contenders(), settings, results)
        found = {name: cells["one/0"] for name, cells in results.cells.items()}
        assert not [cell["error"] for cell in found.values() if "error" in cell]
        return {name: cell["scores"] for name, cell in found.items()}

    # under another default device Captum's own Lime meets two
    same_on_both(call, network(), photos(), rtol=1e-6, atol=1e-7, defaults=(CPU,))


def test_an_explanation():
    def call(model, x):
        found = insights.explain(model, x[0], layer="block")
        return [found.attributions, found.probability, found.target, found.faithfulness, str(found)]

    same_on_both(call, network(), photos(), rtol=1e-6, atol=1e-8)


def test_the_audit_of_a_data_set():
    samples = [(photo, number % 3) for number, photo in enumerate(photos(12))]

    def call(model, x):
        done = insights.audit_dataset(model, samples, layer="block", show_progress=False)
        assert not done.page.problems
        return {name: np.asarray(column) for name, column in done.table.items()}

    same_on_both(call, network(), photos(), rtol=1e-5, atol=1e-6)
