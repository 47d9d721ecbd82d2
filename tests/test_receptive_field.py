"""Receptive fields: published values, the support of gradients, NaN written into the image."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from references_fields import all_ones, chain_field, gradient_box, nan_box
from snapshots import nothing_left_behind
from torch import nn
from torchvision import models

from captum_cnn_ext._engine.receptive_fields import crops, rules
from captum_cnn_ext._engine.receptive_fields.nan_probe import measured_edges
from captum_cnn_ext._engine.trace import trace_recorder as recorder
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import (
    effective_receptive_field,
    receptive_field,
    receptive_fields,
)

NETS = (
    "alexnet vgg16 resnet50 inception_v3 mobilenet_v2 densenet121 efficientnet_b0 googlenet"
    " shufflenet_v2_x0_5 convnext_tiny"
).split()


@pytest.fixture(scope="module")
def zoo():
    """Seeded networks, made when first asked for."""
    made = {}

    def get(name):
        if name not in made:
            torch.manual_seed(0)
            slow = name in ("googlenet", "inception_v3", "vgg16")
            options = {"init_weights": False} if slow else {}
            made[name] = models.get_model(name, **options).eval()
        return made[name]

    return get


# --- published and textbook values -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "size"),
    [
        # Araujo, Norris, Sim 2019, table of fields at the end of the features
        ("alexnet", "features", 195),
        ("vgg16", "features", 212),
        ("inception_v3", "Mixed_7c", 1311),
        # theirs is resnet v1 with 483; torchvision strides in the 3x3 convolutions, see the chain
        ("resnet50", "layer4", 427),
    ],
)
def test_published_sizes(zoo, name, layer, size):
    found = receptive_field(zoo(name), layer, (3, 224, 224))
    assert (found.size, found.stride) == ((size, size), (32, 32))


STEM = [(7, 2, 3, 1), (3, 2, 1, 1)]
BOTTLENECKS = {"layer1": (3, 1), "layer2": (4, 2), "layer3": (6, 2), "layer4": (3, 2)}


def bottlenecks(last):
    steps = list(STEM)
    for name, (count, stride) in BOTTLENECKS.items():
        steps += [(3, stride if i == 0 else 1, 1, 1) for i in range(count)]
        if name == last:
            return steps


def mobilenet_v2(blocks):
    settings = [(1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1)]
    strides = [s if i == 0 else 1 for n, s in settings for i in range(n)]
    return [(3, 2, 1, 1), *((3, s, 1, 1) for s in strides[:blocks])]


def vgg(convs_of_stages):
    return [
        step
        for convs in convs_of_stages
        for step in [(3, 1, 1, 1)] * convs + [(2, 2, 0, 1)]
    ]  # fmt: skip


CHAINS = {
    ("alexnet", "features.2"): [(11, 4, 2, 1), (3, 2, 0, 1)],
    ("alexnet", "features.5"): [(11, 4, 2, 1), (3, 2, 0, 1), (5, 1, 2, 1), (3, 2, 0, 1)],
    ("vgg16", "features.4"): vgg([2]),
    ("vgg16", "features.16"): vgg([2, 2, 3]),
    ("resnet50", "maxpool"): STEM,
    ("resnet50", "layer2"): bottlenecks("layer2"),
    ("resnet50", "layer3"): bottlenecks("layer3"),
    ("resnet50", "layer4"): bottlenecks("layer4"),
    ("mobilenet_v2", "features.3"): mobilenet_v2(3),
    ("mobilenet_v2", "features.17"): mobilenet_v2(17),
    ("efficientnet_b0", "features.0"): [(3, 2, 1, 1)],
    ("inception_v3", "maxpool2"): [
        *((3, 2, 0, 1), (3, 1, 0, 1), (3, 1, 1, 1), (3, 2, 0, 1)),
        *((1, 1, 0, 1), (3, 1, 0, 1), (3, 2, 0, 1)),
    ],
    ("densenet121", "features.denseblock1"): [*STEM, *[(3, 1, 1, 1)] * 6],
    ("densenet121", "features.transition1"): [*STEM, *[(3, 1, 1, 1)] * 6, (2, 2, 0, 1)],
}


@pytest.mark.parametrize(("name", "layer"), CHAINS, ids=lambda v: v)
def test_sizes_counted_along_the_longest_chain(zoo, name, layer):
    size, stride, padding = chain_field(CHAINS[name, layer])
    found = receptive_field(zoo(name), layer, (3, 224, 224))
    assert (found.size[0], found.stride[0], found.padding[0]) == (size, stride, padding)
    assert found.box(1, 2, clip=False) == tuple(
        (place * stride - padding, place * stride - padding + size) for place in (1, 2)
    )
    assert found.offset[0] == (size - 1) / 2 - padding


# --- oracles ------------------------------------------------------------------------------------

LAYERS = {
    "alexnet": ["features.1", "features.7", "features"],
    "vgg16": ["features.4", "features.9"],
    "resnet50": ["conv1", "layer1.1", "layer2", "layer3.0"],
    "inception_v3": ["Conv2d_2b_3x3", "Mixed_5c", "Mixed_6a"],
    "mobilenet_v2": ["features.2", "features.6", "features.11"],
    "densenet121": ["features.pool0", "features.denseblock1", "features.denseblock2.denselayer2"],
    "efficientnet_b0": ["features.0", "features.1.0.block.0", "features.1", "features.8"],
    "googlenet": ["maxpool2", "inception3b", "inception4a"],
    "shufflenet_v2_x0_5": ["stage2", "stage3.1"],
    "convnext_tiny": ["features.0", "features.1", "features.2", "features.3.0"],
}
IMAGE = (3, 83, 107)


def quick(names):
    """The smaller networks at once, the others in the whole suite."""
    small = ("alexnet", "mobilenet_v2", "shufflenet_v2_x0_5")
    return [n if n in small else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.mark.parametrize("name", quick([n for n in NETS if n != "convnext_tiny"]))
def test_boxes_are_the_support_of_the_gradient(zoo, name, monkeypatch):
    fields = receptive_fields(zoo(name), IMAGE)
    ones = all_ones(zoo(name))
    for layer in LAYERS[name]:
        rows, columns = fields[layer].positions
        for place in {(0, columns // 3), (rows - 1, columns - 1)}:
            box = gradient_box(ones, layer, IMAGE, place, monkeypatch)
            if fields[layer].reason:  # squeeze and excitation
                box = ((0, IMAGE[1]), (0, IMAGE[2]))
            assert fields[layer].box(*place) == box, (layer, place)


@pytest.mark.parametrize(
    "name", quick("alexnet resnet50 densenet121 googlenet shufflenet_v2_x0_5 convnext_tiny".split())
)
def test_boxes_are_what_turns_units_nan(zoo, name):
    size = (3, 75, 97) if name == "alexnet" else (3, 61, 75)
    fields = receptive_fields(zoo(name), size)
    for layer in LAYERS[name][:: 2 if name == "densenet121" else 1]:
        found = fields[layer]
        dims = (2, 3)
        rows, columns = measured_edges(zoo(name), layer, (1, *size), None, dims)
        spans = [[found.box(h, 0)[0] for h in range(found.positions[0])],
                 [found.box(0, w)[1] for w in range(found.positions[1])]]  # fmt: skip
        for (lows, highs), boxes in zip((rows, columns), spans, strict=True):
            assert list(zip(lows.tolist(), (highs + 1).tolist(), strict=True)) == boxes, layer


def test_the_probe_finds_what_one_row_at_a_time_finds(zoo):
    model, layer, image = zoo("shufflenet_v2_x0_5"), "stage2.0", (3, 35, 43)
    rows, columns = measured_edges(model, layer, (1, *image), None, (2, 3))
    for h, w in ((0, 0), (2, 3), (4, 5)):
        box = ((rows[0][h], rows[1][h] + 1), (columns[0][w], columns[1][w] + 1))
        assert box == nan_box(model, layer, image, (h, w))


class Wrapped(nn.Module):
    """A convolution, something, and a last convolution."""

    def __init__(self, middle, channels=4, stride=1):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride, padding=1)
        self.middle = middle if isinstance(middle, nn.Module) else None
        self.function = None if isinstance(middle, nn.Module) else middle
        self.last = nn.Conv2d(channels, 2, 3)

    def forward(self, x):
        x = self.first(x)
        return self.last(self.middle(x) if self.middle is not None else self.function(x))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(4, 4, 3, 2, 1)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)

    def forward(self, x):
        return torch.cat([x, self.up(F.relu_(self.down(x)))], 1)


def circular(x):
    return F.pad(x, (1, 1, 1, 1), mode="circular")


def signal_of_rows(x):
    return x + F.conv1d(x.mean(3), torch.ones(4, 4, 3), stride=1, padding=1)[..., None]


def video_of_one_image(x):
    return F.conv3d(x[:, :, None], torch.ones(4, 4, 1, 3, 5), padding=(0, 1, 2)).squeeze(2)


MIDDLES = {
    "a signal": signal_of_rows,
    "a video": video_of_one_image,
    "dilated": nn.Conv2d(4, 4, 3, dilation=(2, 3), padding=(1, 4)),
    "strided without padding": nn.Conv2d(4, 4, (3, 2), stride=(3, 2)),
    "transposed": nn.ConvTranspose2d(4, 4, 3, 2, 1),
    "transposed with gaps": nn.ConvTranspose2d(4, 4, 2, 3, output_padding=1),
    "transposed dilated": nn.ConvTranspose2d(4, 4, 3, 2, dilation=2),
    "u-net": nn.Sequential(UNet(), nn.Conv2d(8, 4, 1)),
    "ceil pool": nn.MaxPool2d(3, 2, ceil_mode=True),
    "average pool": nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
    "adaptive pool": nn.AdaptiveAvgPool2d((5, 7)),
    "adaptive max pool": nn.AdaptiveMaxPool2d((4, 9)),
    "nearest": nn.Upsample(scale_factor=2),
    "nearest to a size": nn.Upsample(size=(31, 50)),
    "nearest down": nn.Upsample(size=(13, 9)),
    "bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),
    "bilinear to corners": nn.Upsample(size=(33, 41), mode="bilinear", align_corners=True),
    "bicubic": nn.Upsample(scale_factor=1.5, mode="bicubic"),
    "reflection": nn.ReflectionPad2d((1, 2, 3, 0)),
    "replication": nn.ReplicationPad2d(2),
    "zero pad and cut": lambda x: F.pad(x, (2, 0, -1, 3))[:, :, 1:-2, ::2],
    "flip": lambda x: x.flip(3)[:, :, :, ::3],
    "to channels last and back": lambda x: F.layer_norm(
        x.permute(0, 2, 3, 1), (4,)
    ).permute(0, 3, 1, 2),
    "reshaped and back": lambda x: x.flatten(2).transpose(1, 2).relu().transpose(1, 2).view_as(x),
    "one row of positions": lambda x: x + x.mean(3, keepdim=True),
    "a gate per channel": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "joined along columns": lambda x: torch.cat([x, x.flip(3)], 3),
    "two branches": lambda x: F.max_pool2d(x, 5, 1, 2) - F.avg_pool2d(x, (1, 3), 1, (0, 1)),
    "in place on a copy": lambda x: x.clone().mul_(2).add_(F.avg_pool2d(x, 3, 1, 1)),
    # what is not followed is measured
    "circular": circular,
    "roll": lambda x: x.roll(2, 3),
    "written into a part": lambda x: torch.zeros_like(x).index_add(2, torch.arange(x.shape[2]), x),
}  # fmt: skip
UNFOLLOWED = {"circular", "roll", "written into a part"}


@pytest.mark.parametrize("kind", MIDDLES)
def test_any_operation_sees_what_nan_says(kind):
    torch.manual_seed(1)
    model = Wrapped(MIDDLES[kind]).eval()
    image = (3, 22, 28)
    found = receptive_field(model, "last", image)
    assert (found.how == "measured") == (kind in UNFOLLOWED), found
    rows, columns = found.positions
    for place in {(0, 0), (1, 2), (rows // 2, columns // 2), (rows - 1, columns - 1)}:
        assert found.box(*place) == nan_box(model, "last", image, place), place
    if found.how == "measured":
        assert "is not followed" in found.reason
        with pytest.raises(ArgumentError, match="was measured"):
            found.box(0, 0, clip=False)


def test_writing_into_a_part_of_a_tensor_is_noticed():
    def write(x):
        out = torch.zeros_like(x)
        out[:, :, 1:] += F.avg_pool2d(x, 3, 1, 1)[:, :, 1:]
        return out

    model = Wrapped(write).eval()
    found = receptive_field(model, "last", (3, 12, 12))
    assert found.how == "measured"
    assert found.box(3, 3) == nan_box(model, "last", (3, 12, 12), (3, 3))


def test_what_is_summed_in_place_depends_on_all_before():
    model = Wrapped(lambda x: x.clone().cumsum_(3)).eval()
    found = receptive_field(model, "last", (3, 12, 12))
    (top, bottom), (left, right) = nan_box(model, "last", (3, 12, 12), (6, 8))
    assert found.box(6, 8)[0] == (top, bottom)
    assert found.box(6, 8)[1][0] <= left
    assert found.box(6, 8)[1][1] >= right


def changed_boxes(model, image):
    """The first and last row and column whose change changes a unit, for each position."""
    torch.manual_seed(2)
    found = {}
    for _ in range(3):
        x = torch.randn(1, *image)
        with torch.no_grad():
            clean = model(x)
            for axis in (0, 1):
                for line in range(image[1 + axis]):
                    other = x.clone()
                    other.select(2 + axis, line).add_(6 * torch.randn(()))
                    for place in (model(other) != clean).any(1)[0].nonzero().tolist():
                        lines = found.setdefault((axis, *place), [line, line + 1])
                        found[(axis, *place)] = [min(lines[0], line), max(lines[1], line + 1)]
    return found


def unpooled(x):
    largest, places = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(largest, places, 2, output_size=x.shape[2:])


def gathered(x):
    strongest = F.avg_pool2d(x, 3, 1, 1).flatten(2).argmax(1, keepdim=True)
    return x.flatten(2).gather(2, strongest.expand(-1, 4, -1)).view_as(x)


def replaced_under_a_mask(x):
    x, mask = x.clone(), F.avg_pool2d(x, 3, 1, 1) > 0
    x[mask] = -1
    return x


def filled_through_a_view(x):
    out = torch.zeros_like(x)
    out[:, :2] = F.avg_pool2d(x, 3, 1, 1)[:, :2]  # the view is gone when ``out`` is read
    return x + out


@pytest.mark.parametrize(
    ("middle", "exact"),
    [
        (unpooled, False),
        (gathered, False),
        (replaced_under_a_mask, True),
        (filled_through_a_view, True),
        (lambda x: torch.cat([x.topk(2, 1)[0], x.kthvalue(2, 1, True)[0], x[:, :1]], 1), True),
        (lambda x: torch.cat([x.topk(2, 2)[0], x.kthvalue(1, 2, True)[0], x[:, :, :9]], 2), False),
        (lambda x: x + (F.avg_pool2d(x, 3, 1, 1) > 0).float().roll(1, 3), False),
    ],
)
def test_indices_masks_and_forgotten_views_hide_no_pixel(middle, exact):
    torch.manual_seed(1)
    model, image = Wrapped(middle).eval(), (3, 12, 12)
    found = receptive_field(model, "last", image)
    for (axis, *place), (first, end) in changed_boxes(model, image).items():
        low, high = found.box(*place)[axis]
        assert low <= first, (place, axis)
        assert end <= high, (place, axis)
        assert not exact or (low, high) == (first, end), (place, axis)


def test_boxes_beyond_the_border_repeat_with_the_stride(zoo):
    found = receptive_field(zoo("googlenet"), "inception4a", (3, 224, 224))
    stride = int(found.stride[0])
    low, high = found.box(4, 4, clip=False)[0]
    for h in range(14):
        assert found.box(h, h, clip=False)[0] == (low + (h - 4) * stride, high + (h - 4) * stride)
    up = receptive_field(Wrapped(nn.ConvTranspose2d(4, 4, 3, 2, 1)), "last", (3, 40, 40))
    assert up.stride == (0.5, 0.5)
    tops = [up.box(h, 0, clip=False)[0][0] for h in range(20, 26)]
    assert [b - a for a, b in zip(tops, tops[2:], strict=False)] == [1] * 4


# --- global operations, tokens, other calls -----------------------------------------------------


def test_global_operations_say_whole_image_and_where(zoo):
    found = receptive_field(zoo("efficientnet_b0"), "features.3", (3, 224, 224))
    assert found.whole_image
    assert "features.1.0.block.1.avgpool" in found.reason
    assert str(found).startswith("features.3: the whole image (computed: ")
    assert found.box(3, 5) == ((0, 224), (0, 224))
    assert receptive_field(zoo("alexnet"), "classifier.6", (3, 224, 224)).whole_image


def test_attention_sees_everything_and_a_class_token_nothing():
    vit = models.VisionTransformer(32, 8, 1, 2, 16, 32).eval()
    before = receptive_field(vit, "encoder.layers.encoder_layer_0.ln_1", (3, 32, 32))
    assert before.box(0) == ((0, 0), (0, 0))
    assert before.box(7) == ((8, 16), (16, 24))  # token 7 is the patch at (1, 2)
    after = receptive_field(vit, "encoder.layers.encoder_layer_0", (3, 32, 32))
    assert after.whole_image
    assert "self_attention" in after.reason


def test_windows_of_positions_are_measured_channels_last():
    swin = models.SwinTransformer([4, 4], 12, [2], [2], [4, 4]).eval()
    found = receptive_field(swin, "features.1.0", (3, 32, 32))
    assert (found.how, found.dims, found.positions) == ("measured", (1, 2), (8, 8))
    assert found.box(1, 5) == ((0, 16), (16, 32))  # windows of 4 x 4 patches of 4 pixels
    assert "cuts positions into blocks" in found.reason


def test_the_call_can_be_chosen():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(3, 3, 3), relu, nn.Conv2d(3, 3, 5), relu)
    assert receptive_field(model, relu, (3, 20, 20)).size == (7, 7)
    assert receptive_field(model, relu, (3, 20, 20), call=0).size == (3, 3)


def test_agrees_with_the_fields_that_cut_images_for_reconstructions(zoo):
    x = torch.randn(1, 3, 96, 96)
    model = zoo("resnet50")
    trace = recorder.trace_of(model, [x])
    (call,) = [call for call in trace.calls if call.path == "layer2"]
    seen = crops.cut_field(trace, call.outputs[0])
    found = receptive_field(model, "layer2", x)
    assert [list(span) for span in found.box(3, 5)] == crops.box(seen, (3, 5), (96, 96))


# --- a test of the tests, state, errors ---------------------------------------------------------


@pytest.mark.parametrize("broken", ["kernel", "stride", "padding", "dilation"])
def test_a_wrong_rule_would_be_seen(broken, monkeypatch):
    right = rules.windows_of

    def wrong(call):
        found = right(call)
        return {d: replace(w, **{broken: getattr(w, broken) + 1}) for d, w in found.items()}

    monkeypatch.setattr(rules, "windows_of", wrong)
    model = Wrapped(MIDDLES["dilated"]).eval()
    found = receptive_field(model, "last", (3, 22, 27))
    assert found.box(3, 4) != nan_box(model, "last", (3, 22, 27), (3, 4))


def test_nothing_is_left_behind(zoo):
    model = Wrapped(circular).train()
    x = torch.rand(1, 3, 12, 12)
    with nothing_left_behind(model, x):
        receptive_field(model, "last", x)
        effective_receptive_field(model, "last", x)


def test_nothing_is_computed(zoo, monkeypatch):
    calls = []
    for kind in (nn.Conv2d, nn.Linear):
        forward = kind.forward
        monkeypatch.setattr(
            kind, "forward", lambda s, x, f=forward: calls.append(x.device.type) or f(s, x)
        )
    receptive_fields(zoo("alexnet"), (3, 224, 224))
    assert set(calls) == {"meta"}


def test_errors_say_what_is_wrong(zoo):
    model = zoo("alexnet")
    with pytest.raises(ArgumentError, match=r"no such layer.*'features'"):
        receptive_field(model, "feature", (3, 224, 224))
    with pytest.raises(ArgumentError, match=r"h=6.*has 6 x 6 positions; expected 0 to 5"):
        receptive_field(model, "features", (3, 224, 224)).box(6, 0)
    with pytest.raises(ArgumentError, match=r"call=1.*called 1 time"):
        receptive_field(model, "features", (3, 224, 224), call=1)
    with pytest.raises(ValueError, match=r"features\.0.*in_channels=3"):
        receptive_field(model, "features", (1, 224, 224))
    with pytest.raises(ArgumentError, match="expected one image"):
        receptive_field(model, "features", [(3, 224, 224), (3, 8)])
    constant = nn.Sequential(nn.Conv2d(3, 3, 1))
    constant.unused = nn.Conv2d(1, 1, 1)
    constant.forward = lambda x: x
    with pytest.raises(ArgumentError, match="not reached"):
        receptive_field(constant, "unused", (3, 8, 8))


def test_models_that_look_at_values_are_run_for_real():
    class Looks(Wrapped):
        def forward(self, x):
            return super().forward(x) if x.sum() == 0 else x

    model = Looks(nn.MaxPool2d(2))
    found = receptive_field(model, "last", (3, 20, 20))
    assert found.whole_image
    assert "bool takes a value out of the tensors in the model's own forward" in found.reason


# --- the effective field --------------------------------------------------------------------------


def test_effective_field_of_a_chain_of_ones_is_its_binomial():
    # two 3 x 3 boxes of ones: along each axis 1 2 3 2 1, and its outer product
    model = nn.Sequential(*[nn.Conv2d(1, 1, 3, bias=False) for _ in range(2)]).double()
    for conv in model:
        nn.init.ones_(conv.weight)
    found = effective_receptive_field(model, "1", torch.rand(5, 1, 9, 9).double(), (2, 1))
    axis = torch.tensor([1.0, 2, 3, 2, 1]).double()
    expected = torch.zeros(9, 9).double()
    expected[2:7, 1:6] = axis[:, None] * axis / 9
    torch.testing.assert_close(found.map, expected)
    assert found.size == 5.0  # all 25 pixels count more than 4.55 %
    assert (found.position, found.images) == ((2, 1), 5)


def test_effective_field_is_the_mean_over_images_and_inside_the_box(zoo):
    model, x = zoo("resnet50"), torch.randn(4, 3, 96, 96)
    found = effective_receptive_field(model, "layer2", x, internal_batch_size=3)
    total = torch.zeros(96, 96)
    for image in x:
        leaf, seen = image[None].clone().requires_grad_(), []
        handle = model.layer2.register_forward_hook(lambda *a: seen.append(a[2]))  # noqa: B023
        model(leaf)
        handle.remove()
        seen[0][0, :, 6, 6].sum().backward()
        total += leaf.grad.abs().sum((0, 1))
    torch.testing.assert_close(found.map, total / total.max(), rtol=1e-3, atol=1e-5)
    (top, bottom), (left, right) = receptive_field(model, "layer2", x).box(*found.position)
    inside = np.zeros((96, 96), bool)
    inside[top:bottom, left:right] = True
    assert not found.map.numpy()[~inside].any()
    assert 0 < found.size < bottom - top


def test_effective_field_errors():
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten())
    with pytest.raises(ArgumentError, match="expected maps"):
        effective_receptive_field(model, "1", torch.rand(1, 1, 9, 9))
    with pytest.raises(ArgumentError, match=r"position=\(9, 0\).*7 x 7"):
        effective_receptive_field(model, "0", torch.rand(1, 1, 9, 9), (9, 0))
    with pytest.raises(ArgumentError, match=r"\(N, C, H, W\)"):
        effective_receptive_field(model, "0", torch.rand(1, 9, 9))
