"""Images get to the model with channels last where a CPU is faster so, and nobody needs to know."""

import pytest
import torch
from torch import nn

from captum_cnn_ext import attr, evidence, metrics, synthesis
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext._engine.running.streaming import streamed, streamed_gradients

LAST = torch.channels_last


class Network(nn.Module):
    """Flattens by a ``view``, as tutorials do, which needs one order of memory, or does not."""

    def __init__(self, by_view):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)
        self.head = nn.Linear(6 * 36, 5)
        self.by_view, self.seen = by_view, []

    def forward(self, x):
        self.seen.append(x.is_contiguous(memory_format=LAST))
        x = self.second(self.first(x).relu()).relu()
        return self.head(x.view(len(x), -1) if self.by_view else x.reshape(len(x), -1))


def networks():
    return Network(False).eval(), Network(True).eval()


X = torch.rand(5, 3, 10, 10, generator=torch.Generator().manual_seed(1))
MAP = torch.rand(5, 1, 10, 10, generator=torch.Generator().manual_seed(2))
BOXES = torch.tensor([[0.0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 7, 7], [3, 0, 9, 6], [0, 4, 8, 9]])


def detector(model):
    """Five boxes in each image, each with the model's probability of a class."""
    return lambda x: [
        {"boxes": BOXES, "labels": torch.arange(5), "scores": row.softmax(0)} for row in model(x)
    ]


CALLS = {
    "deletion": lambda m: metrics.deletion(m, X, MAP, 1, steps=4).scores,
    "average_drop": lambda m: metrics.average_drop(m, X, MAP, 1),
    "LayerScoreCam": lambda m: attr.LayerScoreCam(m, "first").attribute(X, 1),
    "Occlusion": lambda m: attr.Occlusion(m).attribute(X, (3, 4, 4), (3, 2, 2), target=1),
    "Occlusion by whole passes": lambda m: attr.Occlusion(m).attribute(
        X, (3, 4, 4), (3, 2, 2), target=1, incremental=False
    ),
    "Rise": lambda m: attr.Rise(m).attribute(X, target=1, n_samples=8, cells=3),
    "DRise": lambda m: attr.DRise(detector(m)).attribute(X, target=1, n_samples=8, cells=3),
    "top_patches": lambda m: evidence.top_patches(m, "second", list(X), k=2).values,
    "image_records": lambda m: torch.tensor(
        evidence.image_records(m, "second", [(x, 1) for x in X], batch_size=2).maps
    ),
    "maximize": lambda m: (
        synthesis.maximize(
            m, synthesis.Channel("second", 3), X[:2], steps=2, parameterization=synthesis.Pixels
        ).values
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_view_in_the_model_is_no_obstacle(name):
    free, bound = networks()
    torch.testing.assert_close(CALLS[name](bound), CALLS[name](free), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["Rise", "DRise", "Occlusion by whole passes"])
def test_a_view_costs_one_pass_that_fails_and_no_other(name):
    """For all examples and masks or windows of a call together."""
    answered = []
    free, bound = models = networks()
    for model in models:
        rows = []
        model.register_forward_hook(lambda _, given, output, rows=rows: rows.append(len(output)))
        CALLS[name](model)
        answered.append(rows)
    assert answered[1] == answered[0]
    first = free.seen.index(True)
    assert all(free.seen[first:])
    assert bound.seen == [*free.seen[:first], True, *[False] * (len(free.seen) - first)]


def test_the_model_is_asked_once_in_vain():
    free, bound = networks()
    for model, last in ((free, [True, True, True]), (bound, [True, False, False, False])):
        with streamed_gradients(model, Site(model.second, "second", call=0), at_1) as run:
            for part in (X[:2], X[2:4], X[4:]):
                run(part)
        assert model.seen == last


def at_1(outputs):
    return outputs[:, 1]


@pytest.mark.parametrize("given", [torch.contiguous_format, LAST])
def test_what_comes_back_lies_as_the_images_did(given):
    model, _ = networks()
    site, images = Site(model.second, "second", call=0), X.contiguous(memory_format=given)
    inner = model.first(X).relu().detach()
    right = model.second(inner).detach().requires_grad_()
    scores = model.head(right.relu().reshape(5, -1))
    (slopes,) = torch.autograd.grad(scores[:, 1].sum(), right)
    model.seen.clear()
    with streamed(model, site) as run:
        (plain,) = (run(images),)
    with streamed_gradients(model, site, at_1) as run:
        outputs, activations, gradients = run(images)
    assert model.seen == [True, True]
    for found, expected in (
        (plain, right),
        (activations, right),
        (gradients, slopes),
        (outputs, scores),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for found in (plain, activations, gradients):
        assert found.is_contiguous(memory_format=given)


def test_other_inputs_come_as_they_are():
    seen = []
    model = nn.Sequential(nn.Conv1d(3, 2, 3), nn.Flatten(), nn.Linear(16, 3)).eval()
    model[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].stride()))
    x = torch.rand(2, 10, 3).transpose(1, 2)
    with streamed(model, Site(model[0], "0", call=0)) as run:
        run(x)
    assert seen == [x.stride()]


def test_errors_of_other_kinds_stop_the_pass_at_once():
    class Broken(Network):
        def forward(self, x):
            self.seen.append(x)
            raise RuntimeError("something else")

    model = Broken(False).eval()
    with streamed(model, Site(model.second, "second", call=0)) as run:
        with pytest.raises(RuntimeError, match="something else"):
            run(X)
    assert len(model.seen) == 1
