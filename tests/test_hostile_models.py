"""Networks that hide something from whoever follows their operations, on every fast path."""

from contextlib import nullcontext

import captum.attr
import hostile_models as zoo
import pytest
import torch
from references_scores import ablation_cam, activation, recipro_cam, score_cam, score_with
from snapshots import nothing_left_behind
from torch.utils.flop_counter import FlopCounterMode

from captum_cnn_ext import attr, evidence

UNSEEN = [*zoo.LEAVES, *zoo.HIDDEN]
PREDICTABLE = [*UNSEEN, *zoo.HARMLESS, zoo.Printed]
KEEPS = [zoo.Stashed, zoo.KeptTensor, zoo.Buffered]  # these change themselves when they run
WINDOW = {"sliding_window_shapes": (3, 4, 4), "strides": (3, 3, 4), "target": 1}


def left_as_found(model, x):
    return nullcontext() if type(model) in KEEPS else nothing_left_behind(model, x)


def close(found, right):
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrapped", [False, True], ids=["model", "lambda"])
@pytest.mark.parametrize("cls", PREDICTABLE, ids=lambda c: c.__name__)
def test_occlusion_is_captums(cls, wrapped):
    model, x = zoo.build(cls), zoo.images(2)
    forward = (lambda v: model(v)) if wrapped else model
    right = captum.attr.Occlusion(forward).attribute(x, **WINDOW)
    for way in (None, False):
        with left_as_found(model, x):
            found = attr.Occlusion(forward).attribute(x, **WINDOW, incremental=way)
        close(found, right)
    refused = cls not in (*zoo.HARMLESS, zoo.KeptTensor, zoo.MaskAfterRoll, zoo.NoNumber)
    with pytest.raises(ValueError, match="incremental=True: ") if refused else nullcontext():
        close(attr.Occlusion(forward).attribute(x, **WINDOW, incremental=True), right)


@pytest.mark.parametrize("cls", [*zoo.RANDOM, zoo.Counted], ids=lambda c: c.__name__)
def test_no_tape_of_random_numbers(cls):
    model = zoo.build(cls)
    for _ in range(4):  # whatever Python's own numbers are
        with pytest.raises(ValueError, match="incremental=True: "):
            attr.Occlusion(model).attribute(zoo.images(), **WINDOW, incremental=True)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("cls", zoo.MIXING, ids=lambda c: c.__name__)
def test_windows_share_no_pass_where_the_batch_is_mixed(cls, count):
    model, x = zoo.build(cls), zoo.images(count)
    right = captum.attr.Occlusion(model).attribute(x, **WINDOW)
    close(attr.Occlusion(model).attribute(x, **WINDOW), right)
    close(attr.Occlusion(model).attribute(x, **WINDOW, incremental=False), right)


def test_harmless_values_cost_no_more_than_none():
    def operations(cls):
        with FlopCounterMode(display=False) as counter:
            attr.Occlusion(zoo.build(cls)).attribute(zoo.images(), **WINDOW)
        return counter.get_total_flops()

    plain = operations(zoo.Hostile)
    assert [operations(cls) for cls in zoo.HARMLESS] == [plain] * 2
    assert operations(zoo.Items) > 1.2 * plain


@pytest.mark.parametrize("layer", ["stem", "layer"])
@pytest.mark.parametrize("cls", PREDICTABLE, ids=lambda c: c.__name__)
def test_changed_layers_are_run_as_the_model_runs(cls, layer):
    model, x, targets = zoo.build(cls), zoo.images(2), [1, 2]
    module = model.get_submodule(layer)
    with left_as_found(model, x):
        found = attr.LayerAblationCam(model, layer).attribute(x, targets, relu_attributions=False)
    close(found, ablation_cam(model, module, x, targets))
    found = attr.LayerReciproCam(model, layer).attribute(x, targets)
    close(found, recipro_cam(model, module, x, targets))
    found = attr.LayerScoreCam(model, layer).attribute(x, targets)
    close(found, score_cam(model, module, x, targets))


@pytest.mark.parametrize("layer", ["stem", "layer"])
@pytest.mark.parametrize("cls", PREDICTABLE, ids=lambda c: c.__name__)
def test_layer_drop_ins_are_captums(cls, layer):
    model, x = zoo.build(cls), zoo.images(2)
    module = model.get_submodule(layer)
    masks = torch.arange(12 * 12).reshape(1, 1, 12, 12) // 36
    found = attr.LayerFeatureAblation(model, module).attribute(x, target=1, layer_mask=masks)
    right = captum.attr.LayerFeatureAblation(model, module)
    close(found, right.attribute(x, target=1, layer_mask=masks))
    found = attr.LayerIntegratedGradients(model, module).attribute(x, target=1, n_steps=4)
    right = captum.attr.LayerIntegratedGradients(model, module)
    close(found, right.attribute(x, target=1, n_steps=4))


@pytest.mark.parametrize("layer", ["stem", "layer"])
@pytest.mark.parametrize("cls", PREDICTABLE, ids=lambda c: c.__name__)
def test_a_tail_is_the_rest_of_the_model(cls, layer):
    model, x = zoo.build(cls), zoo.images(2)
    x[1] = x[1].flip(1) * 0.7
    module, rows = model.get_submodule(layer), torch.tensor([1, 0, 1, 1, 0])
    tail = attr.TailForward(model, layer, x)
    close(tail(tail.activation, tail.rows), model(x))
    generator = torch.Generator().manual_seed(2)
    changed = tail.activation[rows] + torch.randn(
        5, *tail.activation.shape[1:], generator=generator
    )
    for wanted in (rows, torch.ones(5, dtype=torch.long)):
        right = [
            score_with(model, module, x[n : n + 1], changed[i : i + 1], 1)
            for i, n in enumerate(wanted.tolist())
        ]
        close(tail(changed, wanted)[:, 1], torch.tensor(right))


@pytest.mark.parametrize("cls", [*zoo.RANDOM[:3], zoo.DrawsTwice], ids=lambda c: c.__name__)
def test_a_tail_draws_what_the_model_drew(cls):
    model = zoo.build(cls)
    tail = attr.TailForward(model, "layer", zoo.images(2))
    torch.testing.assert_close(tail(tail.activation, tail.rows), tail.output, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:DeconvNet. the rule was not applied")
@pytest.mark.parametrize("cls", PREDICTABLE, ids=lambda c: c.__name__)
def test_pictures_on_cuts_are_those_on_the_image(cls):
    model, x = zoo.build(cls), zoo.images(2)
    way = attr.DeconvNet(model, "stem")
    options = {"channels": [0, 2], "rule": "gradient"}
    right = way.reconstruct(x, **options, crop=False)
    with left_as_found(model, x):
        found = way.reconstruct(x, **options)
    close(found.attributions, right.attributions)
    before = {zoo.Floats, zoo.Branches, zoo.Chosen, zoo.ThroughAView, zoo.ThroughData,
              zoo.ViewMadeBefore, *zoo.HARMLESS}  # fmt: skip
    if cls in zoo.LEAVES and cls not in before:
        assert found.boxes is None
    if cls in zoo.HARMLESS:
        assert found.boxes is not None


def touched(model, layer, x, position):
    """Rows and columns of which some change moves a unit: literally, one strip after another."""
    module, spans = model.get_submodule(layer), []
    clean = activation(model, module, x)[0, :, position[0], position[1]]
    for axis in (2, 3):
        changed = [
            x.clone().index_add_(axis, torch.tensor([place]), x.narrow(axis, 0, 1) * 0 + value)
            for place in range(x.shape[axis])
            for value in (-3.0, 0.3, 9.0)
        ]
        # one row at a time for those that keep a buffer
        maps = torch.cat([activation(model, module, one) for one in changed])
        moved = (maps[:, :, position[0], position[1]] - clean).abs().amax(1) > 1e-4
        spans.append(set((moved.nonzero()[:, 0] // 3).tolist()))
    return spans


@pytest.mark.parametrize("layer", ["stem", "layer"])
@pytest.mark.parametrize("cls", PREDICTABLE, ids=lambda c: c.__name__)
def test_no_pixel_is_left_out_of_a_receptive_field(cls, layer):
    model, x = zoo.build(cls), zoo.images()
    with left_as_found(model, x):
        found = evidence.receptive_field(model, layer, zoo.IMAGE)
    for position in ((0, 0), (5, 6)):
        box = found.box(*position)
        for (low, high), hit in zip(box, touched(model, layer, x, position), strict=True):
            assert hit <= set(range(low, high)), (found, box)
    if cls in (*zoo.HARMLESS, zoo.Printed):
        assert found.how == "computed"
        assert not found.whole_image
    elif found.whole_image and cls in zoo.LEAVES:
        said = ("takes a value out", "depends on values", "no NaN goes through")
        assert any(words in found.reason for words in said)


@pytest.mark.parametrize("cls", PREDICTABLE, ids=lambda c: c.__name__)
def test_tables_and_graphs_say_where_a_value_leaves(cls):
    model, x = zoo.build(cls), zoo.images()
    with left_as_found(model, x):
        table = evidence.layer_table(model, zoo.IMAGE)
        if cls in zoo.THREADED:
            assert "work is handed to another thread" in table.note
            with pytest.raises(ValueError, match="work is handed to another thread"):
                evidence.model_graph(model, zoo.IMAGE)
            return
        graph = evidence.model_graph(model, zoo.IMAGE)
    gone = [node.text for node in graph.nodes if "leaves" in node.text]
    if cls in zoo.LEAVES:
        assert "other inputs may be computed in another way" in table.note
        assert table.note in str(table)
        assert table.note in table.to_markdown()
        assert gone or cls is zoo.Masked
    elif cls in (*zoo.HARMLESS, zoo.Printed):
        assert not table.note
        assert not gone
    assert table["layer"].output_shapes == ((1, 5, 12, 12),)
    assert table["layer"].multiply_adds == 4 * 5 * 9 * 12 * 12


@pytest.mark.parametrize("cls", [*PREDICTABLE, *zoo.RANDOM], ids=lambda c: c.__name__)
def test_layers_are_suggested_all_the_same(cls):
    model, x = zoo.build(cls), zoo.images()
    assert [found.name for found in attr.suggest_layers(model, x)] == ["layer"]
