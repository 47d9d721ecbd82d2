"""The layer table against numbers worked out by hand, and the model left as it was found."""

import csv
import json
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from captum_cnn_ext._engine.trace import trace_recorder as recorder
from captum_cnn_ext.evidence import layer_table


class Forward(nn.Module):
    """A module whose layers are keyword arguments and whose forward is a function of them."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._function = forward

    def forward(self, *args):
        return self._function(self, *args)


def rows(model, size=(3, 8, 8)):
    return {row.name: row for row in layer_table(model, size)}


def test_every_number_of_a_small_network():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 5, bias=False),
    )
    table = layer_table(net, (3, 8, 8))
    conv, norm, relu, flatten, linear = table
    assert [row.name for row in table] == ["0", "1", "2", "3", "4"]
    assert (conv.type, conv.filters, conv.kernel, conv.stride, conv.padding) == (
        "Conv2d",
        4,
        (3, 3),
        (2, 2),
        (1, 1),
    )
    assert (conv.dilation, conv.groups, conv.bias, conv.trainable) == ((1, 1), 1, True, "yes")
    assert (conv.input_shapes, conv.output_shapes) == (((1, 3, 8, 8),), ((1, 4, 4, 4),))
    assert (conv.parameters, conv.multiply_adds) == (4 * 27 + 4, 4 * 4 * 4 * 27)
    assert (norm.parameters, norm.multiply_adds, norm.filters, norm.bias) == (8, 0, None, None)
    assert (relu.parameters, relu.trainable, relu.activation) == (0, "", "")
    assert flatten.output_shapes == ((1, 64),)
    assert (linear.filters, linear.bias, linear.parameters, linear.multiply_adds) == (
        5,
        False,
        320,
        320,
    )
    assert [row.activation for row in table] == ["ReLU", "ReLU", "", "", ""]
    assert (table.parameters, table.multiply_adds) == (112 + 8 + 320, 1728 + 320)


@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.ReLU(), "ReLU"),
        (nn.ReLU(inplace=True), "ReLU"),
        (F.relu, "ReLU"),
        (torch.relu, "ReLU"),
        (lambda x: x.relu_(), "ReLU"),
        (lambda x: x.clamp(min=0), "ReLU"),
        (F.relu6, "ReLU6"),
        (nn.ReLU6(inplace=True), "ReLU6"),
        (nn.Hardtanh(), "Hardtanh"),
        (F.silu, "SiLU"),
        (nn.SiLU(inplace=True), "SiLU"),
        (lambda x: x * torch.sigmoid(x), "SiLU"),
        (lambda x: torch.sigmoid(x) * x, "SiLU"),
        (F.hardswish, "Hardswish"),
        (nn.GELU(), "GELU"),
        (torch.sigmoid, "Sigmoid"),
        (torch.tanh, "Tanh"),
        (lambda x: F.softmax(x, 1), "Softmax"),
        (lambda x: F.log_softmax(x, 1), "LogSoftmax"),
        (nn.LeakyReLU(), "LeakyReLU"),
        (nn.PReLU(), "PReLU"),
        (nn.ELU(), "ELU"),
        (F.softplus, "Softplus"),
        (F.mish, "Mish"),
        (lambda x: F.relu(F.max_pool2d(x, 2)), "ReLU"),
        (lambda x: F.relu(F.dropout(x, training=False)).flatten(1), "ReLU"),
        (lambda x: F.relu(F.layer_norm(x.permute(0, 2, 3, 1), (4,))), "ReLU"),
        (lambda x: x, ""),
        (lambda x: x + 1, ""),
        (lambda x: F.relu(x + 1), ""),
        (lambda x: F.relu(x.add_(1)), ""),
        (lambda x: F.relu(F.avg_pool2d(x, 2)), ""),
    ],
)
def test_activation_after_a_convolution(activation, name, meta):
    net = Forward(lambda m, x: m.act(m.norm(m.conv(x))), conv=nn.Conv2d(3, 4, 3))
    net.norm, net.act = nn.BatchNorm2d(4), activation
    if not meta:  # reads a value, which the meta device cannot give
        net._function = lambda m, x: m.act(m.norm(m.conv(x + float(x.sum()))))
    found = rows(net)
    assert (found["conv"].activation, found["norm"].activation) == (name, name)


def test_normalisation_without_an_own_operation_is_seen_through():
    from torchvision.ops import FrozenBatchNorm2d

    net = nn.Sequential(nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4), nn.Identity(), nn.SiLU())
    assert rows(net)["0"].activation == "SiLU"


def test_an_activation_inside_a_layer_is_its_own():
    class ConvRelu(nn.Conv2d):
        def forward(self, x):
            return super().forward(x).relu_()

    assert rows(nn.Sequential(ConvRelu(3, 4, 3), nn.Conv2d(4, 4, 3)))["0"].activation == "ReLU"


def test_a_module_called_twice_has_one_row_with_the_sum_of_its_work():
    net = Forward(
        lambda m, x: F.relu(m.conv(m.pool(torch.tanh(m.conv(x))))),
        conv=nn.Conv2d(3, 3, 3, padding=1, bias=False),
        pool=nn.MaxPool2d(2),
    )
    table = layer_table(net, (3, 8, 8))
    conv = table["conv"]
    assert (conv.calls, conv.multiply_adds, conv.parameters) == (2, 3 * 27 * (64 + 16), 81)
    assert conv.activation == "Tanh, ReLU"
    assert (table["pool"].kernel, table["pool"].stride) == ((2, 2), (2, 2))
    assert conv.note == "other shapes in later calls"
    assert "Conv2d (2 calls)" in str(table)


def test_shared_weights_are_counted_once_and_said():
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    net = nn.Sequential(first, nn.ReLU(), second, first)
    table = layer_table(net, (4,))
    assert [(r.name, r.calls, r.parameters, r.shared_with) for r in table] == [
        ("0", 2, 16, ("3", "2")),
        ("1", 1, 0, ()),
        ("2", 1, 0, ("0",)),
    ]
    assert table.parameters == 16
    assert table.multiply_adds == 48
    many = layer_table(nn.Sequential(*[first] * 40), (4,))
    assert len(many[0].shared_with) == 39
    assert max(map(len, str(many).splitlines())) <= 120


def test_layers_never_called_are_listed_and_marked():
    net = Forward(
        lambda m, x: F.conv2d(m.a(x), m.block.read.weight),
        a=nn.Conv2d(3, 4, 1),
        block=nn.ModuleDict({"read": nn.Conv2d(4, 5, 1)}),
        unused=nn.Linear(7, 2),
    )
    net.a.requires_grad_(False)
    net.unused.bias.requires_grad_(False)
    table = layer_table(net, (3, 8, 8))
    assert [row.name for row in table] == ["", "a", "block.read", "unused"]
    assert table[0].multiply_adds == 4 * 5 * 64  # the model's own operation
    assert table["block.read"].note == "not called; weights used elsewhere"
    assert (table["unused"].note, table["unused"].calls) == ("not called", 0)
    assert sum(row.parameters for row in table) == table.parameters == 16 + 25 + 16
    assert [row.trainable for row in table] == ["", "no", "yes", "partly"]
    assert table.trainable_parameters == 57 - 16 - 2
    assert "not called *" in str(table)
    with pytest.raises(KeyError, match=r"no layer 'unusd'; nearest: 'unused'"):
        table["unusd"]


@pytest.mark.parametrize(
    ("layer", "size", "output", "multiply_adds"),
    [
        (nn.Conv2d(4, 6, 3, groups=2, dilation=2), (4, 8, 8), (1, 6, 4, 4), 16 * 6 * 2 * 9),
        (nn.Conv2d(4, 6, 3), (5, 4, 8, 8), (5, 6, 6, 6), 5 * 36 * 6 * 4 * 9),
        (nn.ConvTranspose2d(4, 6, 3, stride=2), (4, 5, 5), (1, 6, 11, 11), 25 * 4 * 6 * 9),
        (nn.Conv1d(2, 3, 5), (2, 10), (1, 3, 6), 6 * 3 * 2 * 5),
        (nn.Conv1d(2, 3, 5), (7, 2, 10), (7, 3, 6), 7 * 6 * 3 * 2 * 5),
        (nn.Conv3d(1, 2, 3), (1, 4, 5, 6), (1, 2, 2, 3, 4), 24 * 2 * 27),
        (nn.Linear(7, 3), (7,), (1, 3), 21),
        (nn.Linear(7, 3), (2, 7), (2, 3), 42),
    ],
)
def test_shapes_and_multiply_adds(layer, size, output, multiply_adds):
    (row,) = layer_table(layer, size)
    assert row.output_shapes == (output,)
    assert row.multiply_adds == multiply_adds


def test_attention_counts_its_matrix_products():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    net = Forward(lambda m, x: m.last(m.attention(x, x, x)[0]), attention=attention)
    net.last = nn.ReLU()
    expected = 5 * 8 * 24 + 2 * (2 * 5 * 5 * 4) + 5 * 8 * 8  # in, two products per head, out
    table = layer_table(net, torch.zeros(1, 5, 8))
    assert table.multiply_adds == expected
    assert [row.name for row in table] == ["attention", "attention.out_proj", "last"]
    net._function = lambda m, x: m.attention(*[x + float(x.sum())] * 3)[0]  # not on meta
    assert layer_table(net, torch.zeros(1, 5, 8)).multiply_adds == expected


def test_several_inputs_and_example_tensors():
    net = Forward(
        lambda m, image, vector: m.conv(image).mean((2, 3)) + m.fc(vector),
        conv=nn.Conv2d(3, 4, 3),
        fc=nn.Linear(10, 4),
    )
    single = layer_table(net, [(3, 8, 8), (10,)])
    assert single.input_shapes == ((1, 3, 8, 8), (1, 10))
    assert layer_table(net, [(2, 3, 8, 8), (2, 10)])["fc"].output_shapes == ((2, 4),)
    given = [torch.zeros(1, 3, 8, 8), torch.zeros(1, 10)]
    assert layer_table(net, given).rows == single.rows
    words = nn.Sequential(nn.Embedding(20, 4), nn.Linear(4, 2))
    assert layer_table(words, torch.tensor([[1, 2, 19]]))["1"].output_shapes == ((1, 3, 2),)


ZOO = {
    "resnet50": (4.09, 25_557_032),
    "vgg16": (15.47, 138_357_544),
    "mobilenet_v2": (0.30, 3_504_872),
    "googlenet": (1.50, 13_004_888),
    "densenet121": (2.83, 7_978_856),
    "inception_v3": (5.71, 27_161_264),
    "efficientnet_b0": (0.39, 5_288_548),
    "vit_b_16": (17.56, 86_567_656),
    "swin_t": (4.49, 28_288_354),
    "convnext_tiny": (4.46, 28_589_128),
}
"""Multiply-adds in billions and parameters as torchvision publishes them (with auxiliary heads)."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_published_costs(name):
    import torchvision

    slow = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        model = torchvision.models.get_model(name, **slow)
    size = (3, 299, 299) if name == "inception_v3" else (3, 224, 224)
    table = layer_table(model, size)
    assert model.training
    assert round(table.multiply_adds / 1e9, 2) == ZOO[name][0]
    assert table.parameters == ZOO[name][1] == sum(row.parameters for row in table)
    assert table.multiply_adds == sum(row.multiply_adds for row in table)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(1, *size, device="meta"))
    assert table.multiply_adds == counter.get_total_flops() / 2
    assert all(row.calls or row.note for row in table)


def test_the_demo_network():
    from efficientnet_lite_pytorch import EfficientNet

    with torch.device("meta"):
        table = layer_table(EfficientNet.from_name("efficientnet-lite0"), (3, 224, 224))
    assert (table.parameters, table["_conv_stem"].activation) == (4_652_008, "ReLU6")
    assert table["_blocks.3._bn0"].activation == "ReLU6"
    assert table["_blocks.3._project_conv"].activation == ""


# --- the model as it was found -----------------------------------------------------------------


def everything(model):
    """All the state a forward pass could change."""
    names = [key for key in vars(nn.Module()) if key.endswith("_hooks")]
    assert len(names) > 5
    modules = [
        (m.training, *(list(getattr(m, key).items()) for key in names)) for m in model.modules()
    ]
    tensors = [
        (id(t), t.clone(), t.requires_grad, t._version, None if t.grad is None else t.grad.clone())
        for t in (*model.parameters(), *model.buffers())
    ]
    return modules, tensors, torch.get_rng_state(), torch.is_grad_enabled()


def same(before, after):
    return (
        before[0] == after[0]
        and all(
            a[0] == b[0] and torch.equal(a[1], b[1]) and a[2:4] == b[2:4]
            and (a[4] is b[4] is None or torch.equal(a[4], b[4]))
            for a, b in zip(before[1], after[1], strict=True)
        )
        and torch.equal(before[2], after[2])
        and before[3] == after[3]
    )  # fmt: skip


def draws_and_looks(module, x):
    x = module.inner(x)
    module.inner[1].running_mean.add_(1)  # moves a buffer even in evaluation mode
    noise = F.dropout(x, 0.5, training=True)  # draws random numbers
    if noise.sum() > 1e9:  # looks at values: impossible on the meta device
        raise RuntimeError("unreachable")
    return noise


def fails_late(module, x):
    draws_and_looks(module, x)
    raise RuntimeError("the model's own mistake")


@pytest.mark.parametrize(
    ("function", "size", "message"),
    [
        (lambda m, x: m.inner(x), (3, 8, 8), None),
        (draws_and_looks, (3, 8, 8), None),
        (fails_late, (3, 8, 8), "the model's own mistake"),
        (draws_and_looks, (2, 8, 8), "expects in_channels=3"),
    ],
)
def test_the_model_is_left_as_it_was(function, size, message):
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU(True))
    net = Forward(function, inner=inner).train()
    net.inner[1].eval()
    net.inner[0].weight.requires_grad_(False)
    net.inner[1].weight.grad = torch.ones(4)
    seen = []
    net.inner[3].register_forward_hook(lambda *args: seen.append(args))
    before = everything(net)
    if message:
        with pytest.raises(ValueError, match=message) as caught:
            layer_table(net, size)
        assert isinstance(caught.value.__cause__, RuntimeError)
    else:
        assert len(layer_table(net, size)) == 4
    assert same(before, everything(net))
    assert seen == []


def test_the_state_check_notices_a_forward_pass():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).train()
    before = everything(net)
    net(torch.randn(2, 3, 4, 4))
    assert not same(before, everything(net))


def test_user_tensors_stay_as_they_are():
    net = Forward(lambda m, x: x.zero_() + float(x.sum()))
    image = torch.ones(1, 3, 4, 4)
    layer_table(net, image)
    assert image.eq(1).all()


def test_a_model_with_parts_that_cannot_be_copied():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    net.lock = threading.Lock()
    net[0].kept = [net[0](torch.ones(1, 3, 4, 4))]  # with a graph: refuses a plain deepcopy
    net[0].constant = torch.ones(2)
    assert rows(net)["0"].activation == "ReLU"
    assert net[0].constant.device.type == "cpu"


def test_a_model_that_makes_its_own_tensors():
    net = Forward(lambda m, x: m.conv(x + torch.ones(8, 8)), conv=nn.Conv2d(3, 4, 3))
    assert rows(net)["conv"].multiply_adds == 36 * 4 * 27


def test_nothing_is_computed_where_the_meta_device_serves(monkeypatch):
    monkeypatch.setattr(recorder, "_as_real", None)  # the way to a real forward pass
    assert layer_table(nn.Conv2d(3, 4, 3), (3, 10_000, 10_000)).multiply_adds == 9998**2 * 108


def test_inside_inference_mode_and_half_precision():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6()).half()
    with torch.inference_mode():
        row = rows(net)["0"]
        assert (row.activation, row.multiply_adds) == ("ReLU6", 36 * 4 * 27)


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        ((4, 8, 8), ValueError, r"1x4x8x8.*'0' \(Conv2d\).* expects in_channels=3"),
        ((3, 9, 9), ValueError, r"'3' \(Linear\), which got 1x196 and expects in_features=144"),
        ([(3, 8, 8), (3,)], ValueError, "takes 2 positional arguments but 3 were given"),
        ((3, 0, 8), ValueError, r"input_size=\(3, 0, 8\): expected a size of positive integers"),
        ("3,8,8", ValueError, "input_size=.3,8,8.: expected a size"),
        (None, ValueError, "input_size=None: .* or example tensors"),
    ],
)
def test_wrong_sizes_say_what_was_expected(size, error, message):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    with pytest.raises(error, match=message):
        layer_table(net, size)


def test_wrong_models_are_refused():
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, got function"):
        layer_table(lambda x: x, (3, 8, 8))
    with pytest.raises(ValueError, match=r"not initialised, .* run it once"):
        layer_table(nn.LazyConv2d(4, 3), (3, 8, 8))


# --- how it reads ------------------------------------------------------------------------------


def test_text_csv_markdown_and_dictionaries(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 1024, 3, stride=2, padding=1, groups=1), nn.GELU())
    table = layer_table(net, (3, 32, 32))
    lines = str(table).splitlines()
    assert lines[0] == "Sequential, input 1x3x32x32"
    assert lines[2].split() == (
        "layer type filters kernel bias activation input output parameters mult-adds".split()
    )
    assert lines[4].split() == (
        "0 Conv2d 1024 3x3 s2 p1 yes GELU 1x3x32x32 1x1024x16x16 28,672 7,077,888".split()
    )
    assert "28,672 parameters (all trainable), 7,077,888 multiply-adds (7.08 M)" in lines[-1]
    assert repr(table).startswith("LayerTable(model='Sequential', ")
    assert max(map(len, lines)) <= 120

    text = table.to_csv(tmp_path / "layers.csv")
    assert (tmp_path / "layers.csv").read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["layers.csv"]
    read = list(csv.DictReader(text.splitlines()))
    assert read[0]["kernel"] == "3x3"
    assert read[0]["multiply_adds"] == "7077888"
    assert list(read[0]) == list(table.to_dicts()[0])
    assert json.loads(json.dumps(table.to_dicts()))[0]["output_shapes"] == [[1, 1024, 16, 16]]
    markdown = table.to_markdown().splitlines()
    assert markdown[0].startswith("| layer | type | filters | kernel | stride | padding |")
    assert len({line.count("|") for line in markdown[:4]}) == 1
    assert "dilation" not in markdown[0]


def test_long_names_are_kept_whole_and_columns_give_way():
    import torchvision

    with torch.device("meta"):
        text = str(layer_table(torchvision.models.densenet121(), (3, 224, 224)))
    assert "features.denseblock4.denselayer16.norm1" in text
    assert max(map(len, text.splitlines())) <= 120
    assert "Too wide for the page: input" in text
