"""Inputs that a model cannot take: what is wrong and what to write; what it can take, runs."""

import pytest
import torch
from reports import small, small_images
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext import attr, evidence, metrics, synthesis
from captum_cnn_ext.errors import ArgumentError, TargetError
from captum_cnn_ext.insights import audit, compare


class Net(nn.Module):
    """Convolution, norm, convolution and a head that fits 8 x 8 pixels, or ends in a mean."""

    def __init__(self, head="fixed", norm=True):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.block = nn.Conv2d(4, 6, 3, padding=1)
        self.pool = nn.MaxPool2d(4)
        self.head = nn.Linear(6 * 4, 5) if head == "fixed" else nn.Conv2d(6, 5, 1)
        self.kind = head

    def forward(self, x):
        x = self.pool(self.block(self.norm(self.stem(x)).relu()).relu())
        if self.kind == "mean":
            return self.head(x).mean((2, 3))
        return self.head(x.flatten(1)) if self.kind == "fixed" else self.head(x).flatten(1)


def net(**options):
    torch.manual_seed(0)
    return Net(**options).eval()


X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BYTES = (255 * X).to(torch.uint8)
ONE = r"if shape \(3, 8, 8\) is one image.* pass inputs.unsqueeze\(0\)"
CASES = {
    "bytes": (net(), BYTES, r"torch.uint8, while the model's weights are torch.float32; pass "
              r"inputs.to\(torch.float32\) / 255 and the normalisation"),
    "bytes into a pooling": (nn.Sequential(nn.AvgPool2d(2), net(head="mean")), BYTES,
                             "torch.uint8, while the model's weights are torch.float32"),
    "half": (net().bfloat16(), X, r"torch.float32, while the model's weights are torch.bfloat16; "
             r"pass inputs.to\(torch.bfloat16\), or use torch.autocast$"),
    "double": (net(), X.double(), r"torch.float64, .* pass inputs.to\(torch.float32\)$"),
    "one image, norm": (net(), X[0], rf"layer 'norm' \(BatchNorm2d\) gets .*{ONE}"),
    "one image, linear": (net(norm=False), X[0], rf"layer 'head' \(Linear\) gets .*{ONE}"),
    "one image, mean": (net(head="mean", norm=False), X[0], rf"the model fails on .*{ONE}"),
    "one image, no error": (net(head="flat", norm=False), X[0], rf"has no row for each.*{ONE}"),
    "grey": (net(), X[:, :1], r"shape \(2, 1, 8, 8\) has 1 channel\(s\); layer 'stem' \(Conv2d\) "
             r"expects \(N, 3, H, W\); for a grey image pass inputs.expand\(-1, 3, -1, -1\)"),
    "channels last": (net(), X.permute(0, 2, 3, 1), r"pass inputs.permute\(0, 3, 1, 2\)"),
    "opacity": (net(), torch.rand(1, 4, 8, 8), r"has 4 channel\(s\).*pass inputs\[:, :3\]"),
    "one image, channels last": (net(), X[0].permute(1, 2, 0),
                                 r"for one image \(H, W, C\) pass inputs.permute\(2, 0, 1\).unsq"),
    "no channels": (net(), X[:, 0], r"has no batch dimension, or no channels"),
    "two dimensions": (net(), X[0, 0], r"has 2 dimensions; layer 'stem'"),
    "another size": (net(), torch.rand(1, 3, 12, 12), r"leaves 54 features for layer 'head' "
                     r"\(Linear\), which takes 24; .* it fits that size only: resize"),
    "too small": (net(), X[:, :, :2, :2], r"shape \(2, 3, 2, 2\) is too small .* layer 'pool'"),
}  # fmt: skip
CALLS = {
    "gradient": lambda m, x: attr.LayerHiResCam(m, layer(m)).attribute(x, 0),
    "replay": lambda m, x: attr.LayerAblationCam(m, layer(m)).attribute(x, 0),
    "pixels": lambda m, x: attr.GuidedBackprop(m).attribute(x, 0),
    "forward": lambda m, x: attr.Occlusion(m).attribute(x, tuple(x.shape[1:]), target=0),
    "windows": lambda m, x: attr.Occlusion(m).attribute(x, (3, 4, 4), target=0),
    "suggestion": lambda m, x: attr.suggest_layers(m, x),
}


def layer(model):
    return "block" if isinstance(model, Net) else "1.block"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_before_the_models_own_error(case, call):
    model, x, message = CASES[case]
    with nothing_left_behind(model, x), pytest.raises(ArgumentError, match="inputs: ") as caught:
        call(model, x)
    assert caught.match(message)
    assert case == "one image, no error" or isinstance(
        caught.value.__cause__, (RuntimeError, ValueError, IndexError)
    )


def test_one_image_in_training_mode():
    model = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))
    message = r"layer '1' \(BatchNorm2d\) gets shape \(1, 4, 1, 1\) in training mode, .* model.eval"
    for call in (
        lambda: attr.LayerHiResCam(model, "0").attribute(X[:1], 0),
        lambda: attr.Occlusion(model).attribute(X[:1], (3, 8, 8), target=0),
    ):
        with (
            nothing_left_behind(model, X),
            pytest.warns(UserWarning, match="in training mode"),
            pytest.raises(ArgumentError, match=message),
        ):
            call()


def test_one_image_is_no_batch_of_its_channels():
    model = net(norm=False)
    for method in (attr.LayerEigenCam, attr.DeconvNet):
        with pytest.raises(ArgumentError, match=r"no row for each of 3 examples.*unsqueeze\(0\)"):
            method(model, "block").attribute(X[0])


@pytest.mark.parametrize("case", ["bytes", "grey", "one image, norm"])
def test_early_stops_and_streams_explain_too(case):
    model, x, message = CASES[case]
    with pytest.raises(ArgumentError, match=message):
        attr.LayerFeatureMaps(model, "block").attribute(x)
    with pytest.raises(ArgumentError, match=message):
        attr.DeconvNet(model, "block").attribute(x)
    if case == "grey":
        with pytest.raises(ArgumentError, match=r"layer 'stem' \(Conv2d\) expects \(N, 3, H, W\)"):
            evidence.top_patches(model, "block", list(x))
        with pytest.raises(ArgumentError, match=r"layer 'stem' \(Conv2d\) expects \(N, 3, H, W\)"):
            synthesis.maximize(model, synthesis.Target(1), image=(4, 8, 8), steps=1)


def test_metrics_reports_and_comparisons():
    maps = torch.rand(2, 1, 8, 8)
    message = r"layer 'stem' \(Conv2d\) expects \(N, 3, H, W\)"
    with pytest.raises(ArgumentError, match=message):
        metrics.deletion(net(), X[:, :1], maps, 1, steps=2)
    for run in (
        lambda x: compare(small(), x, ["Saliency"]),
        lambda x: audit(small(), x, sections=["summary"], show_progress=False),
    ):
        with pytest.raises(ArgumentError, match=r"layer 'stem.0' \(Conv2d\) expects"):
            run(small_images()[:, :1])


def test_a_window_that_does_not_fit_inputs_that_do_is_still_named():
    with pytest.raises(ArgumentError, match=r"sliding_window_shapes=\(4, 4\): expected 3 positive"):
        attr.Occlusion(net()).attribute(X, (4, 4), target=0)


def test_bytes_that_a_model_takes_have_no_gradient():
    for call in (
        lambda: attr.DeconvNet(FromBytes(), "inner.block").attribute(BYTES),
        lambda: attr.GuidedBackprop(FromBytes()).attribute(BYTES, 0),
    ):
        with pytest.raises(ArgumentError, match=r"no gradient there, as torch.uint8 has none"):
            call()


EMPTY = X[:0]


@pytest.mark.parametrize("target", [[], torch.zeros(0, dtype=torch.long), 0], ids=str)
def test_an_empty_batch_takes_every_form_of_target_alike(target):
    model = net()
    for method in (attr.LayerGradCam, attr.LayerHiResCam, attr.LayerScoreCam):
        found = method(model, "block").attribute(EMPTY, target)
        assert found.shape == (0, 1, 8, 8), method
    assert attr.GuidedBackprop(model).attribute(EMPTY, target).shape == EMPTY.shape
    for call in (
        lambda: attr.Occlusion(model).attribute(EMPTY, (3, 4, 4), target=target),
        lambda: attr.LayerAblationCam(model, "block").attribute(EMPTY, target),
    ):
        with pytest.raises(ArgumentError, match="expected at least one example"):
            call()


def test_no_target_is_not_one_for_each_example():
    for target in ([], torch.zeros(0, dtype=torch.long)):
        with pytest.raises(TargetError, match=r"got 0 targets for 2 example\(s\)"):
            attr.LayerHiResCam(net(), "block").attribute(X, target)


METRICS = [
    getattr(metrics, name)
    for name in ("insertion", "deletion", "insertion_and_deletion", "average_drop", "road")
]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
def test_metrics_speak_of_the_users_images_and_not_of_their_own_versions(metric):
    model, maps = net(head="mean"), torch.rand(2, 1, 8, 8)
    with pytest.raises(TargetError, match=r"the model's output \(N, 5\); expected one score"):
        metric(model, X, maps)
    with pytest.raises(TargetError, match=r"output of shape \(N, 5\) has 5 classes"):
        metric(model, X, maps, 7)
    with pytest.raises(TargetError, match=r"got 3 targets for 2 example\(s\)"):
        metric(model, X, maps, [0, 1, 2])


# --- what a model takes is taken, and other errors stay ----------------------------------------


class FromBytes(nn.Module):
    """Takes bytes and scales them itself."""

    def __init__(self):
        super().__init__()
        self.inner = net()

    def forward(self, x):
        return self.inner(x.float() / 255)


def test_a_model_of_bytes():
    model, scaled = FromBytes(), BYTES.float() / 255
    for cls in (attr.LayerHiResCam, attr.LayerAblationCam, attr.LayerEigenCam):
        found = cls(model, "inner.block").attribute(BYTES, 1)
        assert torch.equal(found, cls(model.inner, "block").attribute(scaled, 1))
    windows = {"sliding_window_shapes": (3, 4, 4), "strides": (3, 4, 4), "target": 1}
    found = attr.Occlusion(model).attribute(BYTES, **windows)
    expected = attr.Occlusion(model.inner).attribute(scaled, **windows)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_bytes_are_masked_and_followed_as_numbers():
    model, whole = FromBytes(), BYTES.float()
    for cls, options in ((attr.LayerScoreCam, {}), (attr.LayerOptiCam, {"steps": 3})):
        found = cls(model, "inner.block", **options).attribute(BYTES, 1)
        expected = cls(model, "inner.block", **options).attribute(whole, 1)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)  # rounded to bytes
    for cls in (attr.LayerConductance, attr.InternalInfluence):
        found = cls(model, model.inner.block).attribute(BYTES, 200, target=1, n_steps=5)
        assert torch.equal(
            found, cls(model, model.inner.block).attribute(whole, 200.0, target=1, n_steps=5)
        )
    with pytest.raises(ArgumentError, match=r"floating-point type, got torch\.uint8"):
        attr.class_blindness(model, BYTES)


class Signals(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv1d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.stem(x).relu().mean(2))


class Sentences(nn.Module):
    """(N, H, W), to which the model adds the channel."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.stem(x.unsqueeze(1)).relu().mean((2, 3)))


class OneImage(nn.Module):
    """(C, H, W) by design."""

    def __init__(self):
        super().__init__()
        self.inner = net()

    def forward(self, x):
        return self.inner(x[None])


def test_three_dimensions_by_design():
    x = X[:, 0]
    for model, x in ((Signals(), X[:, :, 0]), (Sentences(), X[:, 0])):
        found = attr.LayerHiResCam(model, "stem").attribute(x, 1)
        alone = torch.cat([attr.LayerHiResCam(model, "stem").attribute(r[None], 1) for r in x])
        torch.testing.assert_close(found, alone)
    single = OneImage()
    found = attr.GuidedBackprop(single).attribute(X[0], 1)
    assert torch.equal(found, attr.GuidedBackprop(single.inner).attribute(X[:1], 1)[0])


def test_errors_with_other_causes_stay_as_they_are():
    class Broken(Net):
        def forward(self, x):
            raise RuntimeError("size of the database: no connection")

    class Mixed(Net):
        def forward(self, x):
            return super().forward(x).double() @ torch.ones(7, 2)

    for kind, message in ((Broken, "no connection"), (Mixed, "mat1 and mat2|same dtype|dtype")):
        with pytest.raises(RuntimeError, match=message):
            attr.LayerHiResCam(kind().eval(), "block").attribute(X, 0)
    with pytest.raises(TypeError, match="positional argument"):
        attr.LayerHiResCam(net(), "block").attribute((X, X), 0)
