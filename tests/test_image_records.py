"""Image records: equal to literal values, however the pass is divided or broken off."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from digits import mnist, trained
from PIL import Image
from snapshots import nothing_left_behind
from torch import nn
from torch.utils.data import DataLoader, Dataset

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import image_records

ARRAYS = (
    *("images", "labels", "predictions", "confidences", "label_probabilities", "probabilities"),
    *("maps", "strengths", "contributions", "mean_images", "counts"),
)


class Digits(Dataset):
    """The digits with their labels, and what happens at some of them."""

    def __init__(self, count=100, at=None, what=None):
        self.count, self.at, self.what = count, at, what

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index == self.at:
            self.what()
        images, labels = mnist()
        return images[index], int(labels[index])


def same(a, b):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.skipped == b.skipped
    assert a.columns.keys() == b.columns.keys()
    for name, values in a.columns.items():
        np.testing.assert_array_equal(values, b.columns[name], err_msg=name)


def literal(model, layer, image):
    """Map and contributions of one image by autograd on the whole network."""
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *a: kept.append(a[2]))
    output = model(image[None])
    handle.remove()
    (gradient,) = torch.autograd.grad(output.max(), kept[0])
    product = (gradient * kept[0])[0].detach()
    return output[0].detach(), product.sum(0), product.sum((1, 2))


def test_values_are_those_of_autograd_image_by_image():
    model, (images, labels) = trained(), mnist()
    with nothing_left_behind(model, images):
        found = image_records(model, "4", Digits(70), batch_size=16)
    assert found.images.tolist() == list(range(70))
    assert found.labels.tolist() == labels[:70].tolist()
    for row in range(70):
        output, expected, parts = literal(model, "4", images[row])
        shares = output.softmax(0)
        assert found.predictions[row] == output.argmax()
        np.testing.assert_allclose(found.probabilities[row], shares, atol=1e-3)
        np.testing.assert_allclose(found.confidences[row], shares.max(), rtol=1e-5)
        np.testing.assert_allclose(
            found.label_probabilities[row], shares[labels[row]], rtol=1e-4, atol=1e-9
        )
        scale = expected.abs().max()
        np.testing.assert_allclose(found.strengths[row], scale, rtol=1e-4)
        np.testing.assert_allclose(found.maps[row], expected / scale, atol=1e-3)
        np.testing.assert_allclose(found.contributions[row], parts / parts.abs().sum(), atol=1e-3)
    for label in range(10):
        mine = images[:70][labels[:70] == label]
        assert found.counts[label] == len(mine)
        pooled = nn.functional.adaptive_avg_pool2d(mine, 32).mean(0)
        np.testing.assert_allclose(found.mean_images[label], pooled, atol=2e-5)


def test_large_maps_are_averaged_to_the_grid():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                          nn.Flatten(), nn.Linear(3, 2)).eval()  # fmt: skip
    data = [(torch.rand(1, 56, 40), n % 2) for n in range(5)]
    found = image_records(model, "1", data, batch_size=2)
    assert found.maps.shape == (5, 28, 28)
    _, expected, _ = literal(model, "1", data[3][0])
    pooled = nn.functional.adaptive_avg_pool2d(expected[None], 28)[0]
    scaled = torch.from_numpy(found.maps[3].astype("f4")) * float(found.strengths[3])
    torch.testing.assert_close(scaled, pooled, atol=float(pooled.abs().max()) * 1e-3, rtol=0)


def test_a_layer_that_runs_twice_builds_no_graph_before_its_last_call():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3)
            self.act, self.head, self.graph = nn.ReLU(), nn.Linear(3, 4), []

        def forward(self, x):
            x = self.second(self.act(self.first(x)))
            self.graph.append((len(x), torch.is_grad_enabled()))
            return self.head(self.act(x).mean((2, 3)))

    torch.manual_seed(0)
    model = Shared().eval()
    data = [(torch.rand(1, 12, 12), n % 4) for n in range(12)]
    with pytest.warns(UserWarning, match="called 2 times"):
        found = image_records(model, "act", data, batch_size=4)
    assert (4, False) in model.graph
    assert not any(on for _, on in model.graph)
    kept = []
    handle = model.act.register_forward_hook(lambda *a: kept.append(a[2]))
    (gradient,) = torch.autograd.grad(model(data[5][0][None]).max(), kept.pop())
    model(data[5][0][None])
    handle.remove()
    expected = (gradient * kept[-1])[0].sum(0).detach()
    np.testing.assert_allclose(found.maps[5], expected / expected.abs().max(), atol=1e-3)


def test_one_output_is_two_classes():
    torch.manual_seed(0)
    logit = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 1)).eval()
    with torch.no_grad():
        logit[3].weight *= 9
    share = nn.Sequential(*logit, nn.Sigmoid()).eval()
    data = [(torch.rand(1, 8, 8) * 2 - 1, n % 2) for n in range(40)]
    a, b = image_records(logit, "1", data), image_records(share, "1", data)
    outputs = logit(torch.stack([image for image, _ in data])).detach()[:, 0]
    assert a.settings["sigmoid"]
    assert not b.settings["sigmoid"]
    assert 0 < a.predictions.sum() < 40
    for found in (a, b):
        assert found.classes == 2
        np.testing.assert_array_equal(found.predictions, outputs > 0)
        np.testing.assert_allclose(found.probabilities[:, 1], outputs.sigmoid(), atol=1e-3)
    # the map speaks for what is predicted, also where that is class 0
    negative = int((outputs < 0).nonzero()[0])
    for found in (a, b):
        signed = found.maps[negative].astype("f4") * found.strengths[negative]
        kept = []
        handle = logit[1].register_forward_hook(lambda *x: kept.append(x[2]))  # noqa: B023
        out = logit(data[negative][0][None])
        handle.remove()
        (g,) = torch.autograd.grad(-out.sum(), kept[0])
        expected = (g * kept[0])[0].sum(0).detach().numpy()
        cosine = (signed * expected).sum() / np.linalg.norm(signed) / np.linalg.norm(expected)
        assert cosine > 0.999


def test_what_cannot_be_used_is_listed_and_loses_no_other():
    def what():
        raise OSError("broken file")

    clean = image_records(trained(), "4", Digits(40), batch_size=8)
    found = image_records(trained(), "4", Digits(40, 13, what), batch_size=8, on_error="skip")
    assert found.skipped == ((13, "OSError: broken file"),)
    keep = [n for n in range(40) if n != 13]
    assert found.images.tolist() == keep
    np.testing.assert_array_equal(found.maps, clean.maps[keep])
    with pytest.raises(ArgumentError, match="image 13 cannot be used: OSError: broken file"):
        image_records(trained(), "4", Digits(40, 13, what))


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ((torch.rand(1, 28, 28), 10), "label 10 names no class; the model has 10"),
        ((torch.rand(1, 28, 28), -1), "expected a class index as label, got -1"),
        ((torch.rand(1, 28, 28), "seven"), "expected a class index as label, got 'seven'"),
        (torch.rand(1, 28, 28), r"expected a sample \(image, label\)"),
        ((torch.full((1, 28, 28), torch.nan), 1), "the model's outputs are not finite"),
    ],
)
def test_labels_and_outputs_that_say_nothing(sample, message):
    data = [(mnist()[0][0], 3), sample]
    with pytest.raises(ArgumentError, match=message):
        image_records(trained(), "4", data)
    assert len(image_records(trained(), "4", data, on_error="skip").skipped) == 1


def test_a_layer_and_outputs_that_do_not_fit():
    with pytest.raises(ArgumentError, match=r"gives \(1, 10\), expected maps"):
        image_records(trained(), "7", Digits(4))
    maps = nn.Sequential(nn.Conv2d(1, 2, 3)).eval()
    with pytest.raises(ArgumentError, match=r"expected outputs \(N, classes\)"):
        image_records(maps, "0", Digits(4))
    with pytest.raises(ArgumentError, match="in training mode"):
        image_records(nn.Sequential(nn.Conv2d(1, 2, 3)), "0", Digits(4))


def test_masks_go_through_the_preprocessing_and_to_the_columns():
    def preprocess(picture):  # a centre crop and a normalisation
        pixels = torch.from_numpy(np.asarray(picture, dtype="f4")).movedim(-1, 0) / 255
        return (pixels[:1, 2:30, 2:30] - 0.3) / 0.2

    picture = Image.new("RGB", (32, 32), "gray")
    mask = Image.new("L", (32, 32))
    mask.paste(1, (10, 4, 20, 6))  # left, top, right, bottom
    seen = []

    def columns(images, maps, masks):
        seen.extend(masks)
        assert maps.shape[1:] == (1, 8, 8)
        return {"area": torch.tensor([-1.0 if m is None else float(m.sum()) for m in masks])}

    data = [(picture, 0, mask), (picture, 1, None), (picture, 2, "mask 3.png: is missing"),
            (picture, 2, Image.new("L", (20, 32)))]  # fmt: skip
    found = image_records(trained(), "4", data, preprocess=preprocess, columns=columns)
    assert found.columns["area"].tolist() == [20, -1, -1, -1]
    expected = torch.zeros(28, 28, dtype=torch.bool)
    expected[2:4, 8:18] = True
    assert torch.equal(seen[-4], expected)
    assert found.remarks[0] == (2, "mask 3.png: is missing")
    assert "mask: has shape" in found.remarks[1][1]
    assert len(found) == 4


def test_a_pass_that_was_broken_off_goes_on_to_the_same_result(tmp_path):
    def stop():
        raise KeyboardInterrupt

    whole = image_records(trained(), "4", Digits(100), batch_size=8)
    folder = tmp_path / "pass"
    options = {"batch_size": 8, "checkpoint": folder, "checkpoint_every": 3}
    with pytest.raises(KeyboardInterrupt):
        image_records(trained(), "4", Digits(100, 60, stop), **options)
    assert (folder / "state.npz").exists()
    # killed in the middle of a write: rows that the state does not know
    with open(folder / "maps.bin", "ab") as file:
        file.write(b"123")
    seen = []
    again = Digits(100, 3, lambda: seen.append(3))
    same(image_records(trained(), "4", again, **options), whole)
    assert len(seen) <= 1, "image 3 was seen again, by no more than the look at the first image"
    # and once more, when all is done
    same(image_records(trained(), "4", Digits(100), **options), whole)
    with pytest.raises(ArgumentError, match="another job"):
        image_records(trained(), "3", Digits(100), **options)
    os.truncate(folder / "maps.bin", 10)
    with pytest.raises(ArgumentError, match="no checkpoint of this function"):
        image_records(trained(), "4", Digits(100), **options)


def test_workers_and_loaders_give_the_same():
    whole = image_records(trained(), "4", Digits(64), batch_size=16)
    loader = DataLoader(Digits(64), 16, shuffle=True, num_workers=2)
    same(image_records(trained(), "4", loader), whole)


def test_a_few_large_images_go_through_the_model_at_once(monkeypatch):
    """What a CPU's caches hold; the rows are those of whole batches."""
    from captum_cnn_ext._engine.running import batching

    assert batching.images_at_once(torch.empty(32, 3, 224, 224), torch.device("cpu")) == 4
    assert batching.images_at_once(torch.empty(32, 3, 28, 28), torch.device("cpu")) == 250
    whole, seen = image_records(trained(), "4", Digits(50), batch_size=16), []
    monkeypatch.setattr("captum_cnn_ext.evidence.streams.stream_job.images_at_once", lambda *_: 3)
    model = trained()
    handle = model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    try:
        found = image_records(model, "4", Digits(50), batch_size=16)
    finally:
        handle.remove()
    assert max(seen) == 3
    assert seen.count(3) == 3 * 5
    assert found.images.tolist() == whole.images.tolist()
    np.testing.assert_array_equal(found.predictions, whole.predictions)
    np.testing.assert_allclose(found.confidences, whole.confidences, rtol=1e-5)
    np.testing.assert_allclose(found.maps, whole.maps, atol=2e-3)
    np.testing.assert_allclose(found.mean_images, whole.mean_images, atol=1e-6, equal_nan=True)


def test_temporary_files_go_with_the_result(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = image_records(trained(), "4", Digits(8))
    assert len(list(tmp_path.iterdir())) == 1
    del found
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArgumentError):
        image_records(trained(), "7", Digits(8))
    assert list(tmp_path.iterdir()) == []


PROCESS = """
import sys, numpy as np, torch
from torch import distributed
sys.path.insert(0, sys.argv[1])
from digits import trained
from test_image_records import ARRAYS, Digits
from captum_cnn_ext.evidence import image_records
torch.set_num_threads(1)
distributed.init_process_group("gloo")
def what(): raise OSError("broken")
for count in (100, 7):
    found = image_records(trained(), "4", Digits(count, 13, what), batch_size=8, on_error="skip")
    arrays = {name: np.array(getattr(found, name)) for name in ARRAYS}
    np.savez(f"{sys.argv[2]}/{count}-{distributed.get_rank()}.npz", **arrays)
distributed.barrier()
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_give_the_same_as_one(tmp_path):
    def what():
        raise OSError("broken")

    script, tests = tmp_path / "process.py", Path(__file__).parent
    script.write_text(PROCESS)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "29533", str(script), str(tests), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(tests.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    for count in (100, 7):  # 7: nothing is left for the second process
        samples = Digits(count, 13, what)
        whole = image_records(trained(), "4", samples, batch_size=8, on_error="skip")
        for rank in range(2):
            with np.load(tmp_path / f"{count}-{rank}.npz") as found:
                for name in ARRAYS:
                    right = getattr(whole, name)
                    np.testing.assert_array_equal(found[name], right, err_msg=name)
