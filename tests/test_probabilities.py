"""Whether a model gives logits, a softmax or a sigmoid is seen, wherever probabilities count."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from captum_cnn_ext import explain, metrics, targets
from captum_cnn_ext._engine.judging.probabilities import Ending, as_probabilities
from captum_cnn_ext.attr import LayerISCam, LayerPolyCam, LayerScoreCam, LayerSSCam, Rise
from captum_cnn_ext.insights import audit, audit_dataset


def network(outputs: int, *last: nn.Module) -> nn.Module:
    torch.manual_seed(outputs)
    head = nn.Linear(6, outputs)
    with torch.no_grad():
        head.weight.mul_(20)  # sure of something
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head, *last
    ).eval()


class LastInForward(nn.Module):
    """A network that ends in a function, not in a module."""

    def __init__(self, inner: nn.Module, end) -> None:
        super().__init__()
        self.inner, self.end = inner, end

    def forward(self, x):
        return self.end(self.inner(x))


x = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(3))
heat = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize(
    ("end", "given"),
    [
        (torch.sigmoid, True),
        (lambda z: z.softmax(1), True),
        (lambda z: F.softmax(z, 1)[:, :2], True),
        (lambda z: z.sigmoid().double().clone().squeeze(1), True),
        (lambda z: z.clone().sigmoid_(), True),
        (lambda z: z, False),
        (lambda z: z * z.sigmoid(), False),  # an activation
        (lambda z: z.sigmoid() * 100, False),
        (lambda z: z.sigmoid().mul_(100), False),
        (lambda z: z.log_softmax(1), False),
    ],
)
def test_the_end_of_a_model_is_seen(end, given):
    for mode in (torch.no_grad(), torch.enable_grad(), torch.inference_mode()):
        with mode, Ending() as ending:
            output = end(network(3)(x))
        assert ending.gave(output) == given


def test_probabilities_by_hand():
    logits = torch.tensor([[0.0, 2.0], [0.3, 0.7]])
    expected = torch.stack([logits[0].exp() / logits[0].exp().sum(), logits[1]])
    torch.testing.assert_close(as_probabilities(logits, given=False), expected)
    torch.testing.assert_close(as_probabilities(logits, given=True), logits)
    torch.testing.assert_close(
        as_probabilities(logits[:, :1], given=False), 1 / (1 + (-logits[:, :1]).exp())
    )


ENDS = {
    "softmax": (3, nn.Softmax(1)),
    "softmax in forward": (3, lambda z: z.softmax(1)),
    "one sigmoid": (1, nn.Sigmoid()),
    "one sigmoid in forward": (1, torch.sigmoid),
    "squeezed sigmoid": (1, lambda z: z.sigmoid().squeeze(1)),
}


def pair(name: str) -> tuple[nn.Module, nn.Module, int | None]:
    """A network of logits, the same with its probabilities as output, and a target."""
    outputs, end = ENDS[name]
    squeezed = name.startswith("squeezed")
    logits = network(outputs)
    return logits, LastInForward(network(outputs), end).eval(), None if squeezed else 0


MEASURES = {
    "insertion": lambda model, target: metrics.insertion(model, x, heat, target, steps=4).scores,
    "deletion": lambda model, target: metrics.deletion(model, x, heat, target, steps=4).scores,
    "road": lambda model, target: metrics.road(model, x, heat, target).score,
    "average drop": lambda model, target: metrics.average_drop(model, x, heat, target),
    "RISE": lambda model, target: Rise(model).attribute(x, target=target, n_samples=20, seed=1),
}
CLASSES = {c.__name__: c for c in (LayerScoreCam, LayerSSCam, LayerISCam, LayerPolyCam)}
MEASURES |= {
    name: lambda model, target, c=c: c(model, _first(model)).attribute(x, target=target)
    for name, c in CLASSES.items()
}


def _first(model: nn.Module) -> nn.Module:
    return next(m for m in model.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("measure", MEASURES)
def test_scores_are_the_same_for_logits_and_for_their_probabilities(measure, end):
    logits, probabilities, target = pair(end)
    found = MEASURES[measure](probabilities, target)
    expected = MEASURES[measure](logits, 0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert torch.as_tensor(expected).isfinite().all()


@pytest.mark.parametrize("end", ["softmax", "one sigmoid"])
def test_explain_says_the_same(end):
    logits, probabilities, _ = pair(end)
    one, other = (explain(model, x[0]) for model in (logits, probabilities))
    assert one.probability == pytest.approx(other.probability, abs=1e-5)


def test_one_output_speaks_for_the_second_of_two_classes():
    model = network(1)
    share = float(model(x[:1]).detach().sigmoid())
    found = explain(model, x[0], class_names=["healthy", "ill"])
    assert (found.prediction, found.probability) == ("ill", pytest.approx(share))
    assert explain(model, x[0]).prediction == "class 1"
    assert "ill" in audit(model, x, class_names=["healthy", "ill"], quick=True).to_html()


def test_several_sigmoids_are_no_softmax():
    several = LastInForward(network(3), torch.sigmoid).eval()
    expected = float(several(x[:1]).detach()[0, 2])
    assert f"{expected:.1%}" in explain(several, x[0], target=2).comparison.labels[0]
    up = metrics.insertion(several, x, heat, 2, steps=4)
    torch.testing.assert_close(up.scores[:, -1].float(), several(x)[:, 2], rtol=1e-4, atol=1e-5)


def test_a_data_set_knows_a_sigmoid_from_its_first_image(tmp_path):
    labels = [0, 1, 1]
    images = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(6))
    logits, probabilities, _ = pair("one sigmoid")
    shares = logits(images).sigmoid()[:, 0]
    found = audit_dataset(probabilities, list(zip(images, labels, strict=True)))
    said = torch.tensor([float(p) for p in found.table["confidence"]])
    torch.testing.assert_close(said, torch.maximum(shares, 1 - shares).float(), atol=1e-4, rtol=0)


def test_an_output_that_is_no_score_of_classes_is_explained():
    squeezed = network(1, nn.Flatten(0))
    with pytest.raises(ValueError, match=r"\(1,\); pass torch.nn.Sequential\(model, torch.nn.Unf"):
        explain(squeezed, x[0])
    explain(nn.Sequential(squeezed, nn.Unflatten(0, (-1, 1))), x[0])
    maps = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    with pytest.raises(ValueError, match=r"targets\.Segment"):
        explain(maps, x[0])
    explain(maps, x[0], target=targets.Segment(int(maps(x[:1]).mean((2, 3)).argmax())))
