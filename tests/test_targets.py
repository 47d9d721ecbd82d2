"""Every form of a target means the same in every class, metric and table."""

import every_class
import models
import numpy as np
import pytest
import torch
from reports import small, small_images

from captum_cnn_ext import attr, metrics, synthesis
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext.errors import ArgumentError, TargetError
from captum_cnn_ext.insights import compare

Y = torch.arange(15.0).reshape(3, 5)
OWN = [4, 0, 2]
FORMS = {
    "tensor (N, 1)": torch.tensor(OWN)[:, None],
    "int32 tensor": torch.tensor(OWN, dtype=torch.int32),
    "array": np.array(OWN),
    "array (N, 1)": np.array(OWN, dtype=np.uint8)[:, None],
    "list of NumPy integers": list(np.array(OWN)),
    "list of tensors": list(torch.tensor(OWN)),
}
ONE = [np.int64(3), np.array(3), torch.tensor(3), torch.tensor([[3]]), np.array([3]), [np.int64(3)]]


@pytest.mark.parametrize("target", FORMS.values(), ids=FORMS)
def test_one_class_for_each_example(target):
    assert torch.equal(select_score(Y, target), torch.tensor([4.0, 5.0, 12.0]))


@pytest.mark.parametrize("target", ONE, ids=repr)
def test_one_class_for_all(target):
    expected = torch.tensor([3.0, 8.0, 13.0])
    if isinstance(target, list) or (isinstance(target, np.ndarray) and target.ndim):
        assert torch.equal(select_score(Y[:1], target), expected[:1])
    else:
        assert torch.equal(select_score(Y, target), expected)


def test_indices_of_several_dimensions():
    maps = torch.arange(24.0).reshape(2, 3, 4)
    expected = torch.tensor([6.0, 18.0])
    assert torch.equal(select_score(maps, (np.int64(1), np.int32(2))), expected)
    own = [(np.int64(0), 1), (np.int64(2), np.int64(3))]
    assert torch.equal(select_score(maps, own), torch.tensor([1.0, 23.0]))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.array([1.0, 2.0, 3.0]), "expected integer class indices, got dtype float64"),
        (np.array([True, False, True]), "expected integer class indices, got dtype bool"),
        (torch.tensor([1.0]), "expected integer class indices, got dtype torch.float32"),
        (np.ones((3, 2), dtype=int), r"an array \(3, 2\) has several indices .* list of tuples"),
        ([0, 1.5, 2], r"target\[1\]=1.5: expected an integer"),
        (1.0, r"target=1.0: expected an integer"),
        ("cat", "target='cat': expected an integer"),
        ([[0, 1], [1, 0]], r"target\[0\]=\[0, 1\]: expected an integer"),
        (np.array([0, 5, 1]), "target=5: .*expected an index from 0 to 4"),
    ],
)
def test_what_is_no_index_is_refused(target, message):
    with pytest.raises(TargetError, match=message):
        select_score(Y, target)


def test_what_is_taken_stays_as_it_is():
    tensor = torch.tensor(OWN)
    assert as_target(tensor) is tensor
    assert as_target(None) is None
    assert as_target([(0, 1), (1, 2)]) == [(0, 1), (1, 2)]
    assert as_target((0, 1)) == (0, 1)


def same(found, expected):
    if isinstance(expected, torch.Tensor):
        return torch.equal(found, expected)
    return len(found) == len(expected) and all(map(same, found, expected))


@pytest.mark.filterwarnings("ignore:.*the layer has channels that sum to less than 0")
@pytest.mark.parametrize("name", every_class.NAMES)
def test_every_class_takes_arrays_and_columns(name):
    model, layer = every_class.test_contract.build(every_class.KIND)
    x = models.image_batch()
    results = [
        every_class.calls(model, layer, x, target)[name]()
        for target in (OWN, np.array(OWN), torch.tensor(OWN)[:, None])
    ]
    assert same(results[1], results[0])
    assert same(results[2], results[0])


def test_every_class_takes_arrays_in_chunks():
    model, x = models.build(models.Net), models.image_batch()
    for cam in (attr.LayerHiResCam(model, "block"), attr.LayerAblationCam(model, "block")):
        found = cam.attribute(x, np.array(OWN), internal_batch_size=2)
        assert torch.equal(found, cam.attribute(x, OWN, internal_batch_size=2))


def test_metrics_synthesis_and_comparisons():
    model, x = models.build(models.Net), models.image_batch()
    maps = torch.rand(3, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    curves = [metrics.insertion(model, x, maps, t, steps=3).scores for t in (OWN, np.array(OWN))]
    assert torch.equal(*curves)
    images = [
        synthesis.maximize(
            model, synthesis.Target(t), image=(2, 5, 6), steps=1, seed=1
        ).images
        for t in (OWN, np.array(OWN), torch.tensor(OWN)[:, None])
    ]  # fmt: skip
    assert torch.equal(images[1], images[0])
    assert torch.equal(images[2], images[0])
    for target in (np.array([2, 1]), torch.tensor([[2], [1]]), [np.int64(2), np.int64(1)]):
        found = compare(small(), small_images(), ["LayerHiResCam"], layers="block", target=target)
        assert found.targets == [2, 1]


# --- several targets at once -------------------------------------------------------------------

ROWS = [[0, 1], [2, 3], [4, 4]]


def columns(x, cam):
    return torch.stack([cam.attribute(x, [0, 2, 4]), cam.attribute(x, [1, 3, 4])], 1)


@pytest.mark.parametrize("chunk", [None, 1, 2])
@pytest.mark.parametrize(
    "targets",
    [torch.tensor(ROWS), ROWS, np.array(ROWS), tuple(ROWS), list(torch.tensor(ROWS))],
    ids=["tensor", "lists", "array", "tuple of lists", "list of tensors"],
)
def test_a_row_of_targets_for_each_example(targets, chunk):
    model, x = models.build(models.Net), models.image_batch()
    cam = attr.LayerHiResCam(model, "block")
    found = cam.attribute_targets(x, targets, internal_batch_size=chunk)
    torch.testing.assert_close(found, columns(x, cam), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("chunk", [None, 1])
def test_a_square_of_lists_is_read_as_the_tensor_is(chunk):
    model, x = models.build(models.Net), models.image_batch()[:2]
    for method in (attr.LayerHiResCam(model, "block"), attr.FullGrad(model)):
        by_list = method.attribute_targets(x, [[1, 2], [3, 4]], internal_batch_size=chunk)
        tensor = torch.tensor([[1, 2], [3, 4]])
        assert torch.equal(by_list, method.attribute_targets(x, tensor, internal_batch_size=chunk))


def test_tuples_are_indices_of_one_target():
    model, x = models.build(models.Net), models.image_batch()[:2]
    cam = attr.LayerHiResCam(lambda x: model(x).reshape(-1, 5, 1).expand(-1, 5, 3), model.block)
    plain = attr.LayerHiResCam(model, "block")
    found = cam.attribute_targets(x, [(1, 2), (3, 0)])
    expected = plain.attribute_targets(x, [1, 3])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    own = cam.attribute_targets(x, [[(1, 2), (3, 0)], [(4, 1), (0, 0)]], internal_batch_size=1)
    expected = plain.attribute_targets(x, [[1, 3], [4, 0]])
    torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "targets", [[[1, 2, 3], [0, 1, 2]], [[1], [2, 3], [4]], [1, [2, 3], 4], [[], [], []]]
)
def test_lists_with_another_reading_are_refused_with_both(targets):
    model, x = models.build(models.Net), models.image_batch()
    message = r"row of T targets for each of the 3 inputs.*flat list.*\(T, N\), transpose"
    with pytest.raises(ArgumentError, match=message):
        attr.LayerHiResCam(model, "block").attribute_targets(x, targets)
