"""Top patches: equal to sorting all activations, however the work is divided or broken off."""

import copy
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from digits import mnist, one_thread, trained
from PIL import Image
from snapshots import nothing_left_behind
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import TopPatches, receptive_field, top_patches
from captum_cnn_ext.evidence.patches import patch_ranking


class Digits(Dataset):
    """The digits as (image, label), with something that happens at one of them."""

    def __init__(self, count=5000, at=None, what=None):
        self.images, self.labels = mnist()
        self.count, self.at, self.what = count, at, what

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index == self.at:
            self.what()
        return self.images[index], int(self.labels[index])


def brute_force(model, layer, images, k, unit="max", one_per_image=True):
    """All activations, sorted in Python: (value, image, row, column) for each channel."""
    seen = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *a: seen.append(a[2]))
    with torch.no_grad():
        for start in range(0, len(images), 32):
            model(images[start : start + 32])
    handle.remove()
    maps = torch.cat(seen)
    sign = -1 if unit == "min" else 1
    result = []
    for channel in range(maps.shape[1]):
        rows = []
        for number, one in enumerate((sign * maps[:, channel]).numpy()):
            if unit == "mean":
                rows.append((-float(maps[number, channel].mean()), number, -1, -1))
            elif one_per_image:
                flat = int(one.argmax())
                rows.append((-float(one.flat[flat]), number, *divmod(flat, one.shape[1])))
            else:
                best = np.argsort(-one.ravel(), kind="stable")[:k]
                rows += [(-float(one.flat[p]), number, *divmod(int(p), one.shape[1])) for p in best]
        result.append([(-v * sign, *rest) for v, *rest in sorted(rows)[:k]])
    return result


def entries(top):
    """The same as lists of tuples."""
    return [
        [(float(v), int(n), *map(int, p)) for v, n, p in zip(*row, strict=True)]
        for row in zip(top.values, top.images, top.positions, strict=True)
    ]


def files(top, folder, name="top.npz"):
    path = top.save(folder / name)
    return path.read_bytes(), path.with_suffix(".json").read_bytes()


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "one_per_image", "layer", "count"),
    [
        ("max", True, "4", 5000),
        ("max", False, "4", 600),
        ("min", True, "3", 600),
        ("max", True, "1", 600),
    ],
)
def test_equal_to_sorting_everything(unit, one_per_image, layer, count):
    model, (images, _) = trained(), mnist()
    top = top_patches(
        model, layer, Digits(count), k=9, unit=unit, one_per_image=one_per_image, batch_size=32
    )
    assert entries(top) == brute_force(model, layer, images[:count], 9, unit, one_per_image)
    assert top.seen == count


def test_the_mean_of_maps_and_channels_chosen():
    model, (images, _) = trained(), mnist()
    top = top_patches(model, "4", Digits(400), k=4, unit="mean", channels=[3, 11])
    expected = brute_force(model, "4", images[:400], 4, "mean")
    for found, row in zip(entries(top), (expected[3], expected[11]), strict=True):
        assert [entry[1:] for entry in found] == [entry[1:] for entry in row]
        np.testing.assert_allclose([e[0] for e in found], [e[0] for e in row], rtol=1e-5)
    assert top.boxes[0, 0].tolist() == [[0, 28], [0, 28]]


def test_class_scores_are_units_without_positions():
    model, (images, _) = trained(), mnist()
    top = top_patches(model, "7", images[:300], k=3)
    with torch.no_grad():
        expected = model(images[:300]).topk(3, 0)
    assert torch.equal(top.images, expected.indices.T)
    assert bool((top.positions == -1).all())


def test_a_planted_unit_finds_exactly_what_was_planted():
    # a cross of +1 and -1 under a convolution with the same cross: 9 where it is, less elsewhere
    cross = torch.tensor([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]])
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU()).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.stack([cross, -cross])[:, None])
    images = 0.5 * torch.rand(200, 1, 20, 24, generator=torch.Generator().manual_seed(1))
    planted = {17: (3, 5), 60: (0, 0), 61: (17, 21), 150: (9, 9), 199: (12, 1)}
    for strength, (number, (row, column)) in enumerate(planted.items()):
        images[number, 0, row : row + 3, column : column + 3] = (1 + strength / 10) * cross
    top = top_patches(model, "1", images, k=5, batch_size=7)
    expected = list(planted.items())[::-1]
    assert top.images[0].tolist() == [number for number, _ in expected]
    assert [tuple(p) for p in top.positions[0].tolist()] == [place for _, place in expected]
    for strength, patch in zip((1.4, 1.3, 1.2, 1.1, 1.0), top.patches(images, 0)[0], strict=True):
        torch.testing.assert_close(patch[0], strength * cross)


def test_ties_go_to_the_lower_image_and_the_earlier_position():
    model = nn.Sequential(nn.Conv2d(1, 1, 1)).eval()
    images = torch.zeros(40, 1, 4, 5)
    images[[5, 9, 33], 0, 2, 3] = 1
    images[9, 0, 1, 4] = 1
    nn.init.ones_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    for size in (1, 8, 64):
        top = top_patches(model, "0", images, k=5, batch_size=size)
        assert top.images.tolist() == [[5, 9, 33, 0, 1]]
        assert top.positions[0].tolist() == [[2, 3], [1, 4], [2, 3], [0, 0], [0, 0]]
    every = top_patches(model, "0", images, k=5, one_per_image=False)
    assert every.images.tolist() == [[5, 9, 9, 33, 0]]
    assert every.positions[0].tolist() == [[2, 3], [1, 4], [2, 3], [2, 3], [0, 0]]


def test_fewer_images_than_places():
    top = top_patches(trained(), "4", mnist()[0][:3], k=5)
    assert top.images[:, 3:].eq(-1).all()
    assert top.values[:, 3:].isnan().all()
    assert len(top.patches(mnist()[0][:3], 0)[0]) == 3


def test_images_of_several_sizes_in_one_batch():
    generator = torch.Generator().manual_seed(2)
    images = [torch.rand(1, 9 + n % 3, 12, generator=generator) for n in range(20)]
    model = trained()[:2].eval()
    top = top_patches(model, "1", images, k=4, batch_size=8)
    values = torch.stack([model(x[None])[0].amax((1, 2)) for x in images], 1).detach()
    assert torch.equal(top.images, values.topk(4, 1).indices)
    assert top.extents[..., 0].tolist() == (9 + top.images % 3).tolist()


def test_the_boxes_hold_all_that_the_unit_depends_on():
    model, (images, _) = trained(), mnist()
    top = top_patches(model, "5", images[:500], k=3)
    assert top.field == str(receptive_field(model, "5", (1, 28, 28)))
    for channel in (0, 7):
        for entry in range(3):
            number, place = int(top.images[channel, entry]), top.positions[channel, entry]
            x = images[number : number + 1].clone().requires_grad_()
            model[:6](x)[0, channel, place[0], place[1]].backward()
            (a, b), (c, d) = top.boxes[channel, entry].tolist()
            outside = x.grad[0, 0].clone()
            outside[a:b, c:d] = 0
            assert x.grad.any()
            assert not outside.any()


def test_patches_are_the_pixels_and_can_be_padded():
    images = mnist()[0][:200]
    model = nn.Sequential(nn.Conv2d(1, 3, 7, padding=3)).eval()
    top = top_patches(model, "0", images, k=6)
    for channel, row in enumerate(top.patches(images, pad=0.5)):
        for entry, patch in enumerate(row):
            number = int(top.images[channel, entry])
            y, x = top.positions[channel, entry].tolist()
            padded = torch.nn.functional.pad(images[number], (3, 3, 3, 3), value=0.5)
            assert torch.equal(patch, padded[:, y : y + 7, x : x + 7])
    (top_edge, bottom), (left, right) = top.boxes[0, 0].tolist()
    cut = top.patches(images, [0])[0][0]
    assert torch.equal(cut, images[top.images[0, 0]][:, top_edge:bottom, left:right])


def test_real_photos_cut_into_many_tiles(demo):
    from captum_cnn_ext.photos import demo_photos

    tiles = []
    for photo in demo_photos().values():
        x = demo.preprocess(photo)
        tiles += [
            x[:, r : r + 96, c : c + 96] for r in range(0, 129, 32) for c in range(0, 129, 32)
        ]
    top = top_patches(demo.model, "_blocks.2", tiles, k=3, batch_size=25)
    assert top.seen == len(tiles) == 100
    expected = brute_force(demo.model, "_blocks.2", torch.stack(tiles), 3)
    same = [[e[1:] for e in row] for row in expected]
    assert [[e[1:] for e in row] for row in entries(top)] == same
    assert "19 pixels, stride 4" in top.field
    assert top.recheck(demo.model, tiles).same


# --- divided, broken off, joined ---------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def as_in_the_processes_started_here():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What one process finds in 700 digits without a break, as the bytes of its files."""
    top = top_patches(trained(), "4", Digits(700), k=5, batch_size=32)
    return files(top, tmp_path_factory.mktemp("whole"))


def test_stopped_and_resumed_gives_the_same_bytes(whole, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    path = tmp_path / "job.npz"
    options = {"k": 5, "batch_size": 32, "checkpoint": path, "checkpoint_every": 2}
    with pytest.raises(KeyboardInterrupt):
        top_patches(trained(), "4", Digits(700, 401, interrupt), **options)
    assert path.exists()
    read = []
    again = Digits(700)
    again.images = type("Noted", (), {
        "__getitem__": lambda self, i: read.append(i) or mnist()[0][i]
    })()  # fmt: skip
    top = top_patches(trained(), "4", again, **options)
    assert files(top, tmp_path) == whole
    stream = [n for n in read if n not in top.images]
    assert min(stream) >= 384, "what was done is not done again"
    # a finished job gives its result at once
    assert files(top_patches(trained(), "4", Digits(700), **options), tmp_path) == whole


KILLED = """
import os, sys
sys.path[:0] = {paths}
import torch
from test_top_patches import Digits
from digits import trained
from captum_cnn_ext.evidence import top_patches
torch.set_num_threads(1)
digits = Digits(700, 500, lambda: os.kill(os.getpid(), 9))
top_patches(trained(), "4", digits, k=5, batch_size=32, checkpoint="job.npz", checkpoint_every=3)
"""
SHARED = """
import sys
sys.path[:0] = {paths}
import torch
from torch import distributed
from test_top_patches import Digits
from digits import trained
from captum_cnn_ext.evidence import top_patches
torch.set_num_threads(1)
distributed.init_process_group("gloo")
top = top_patches(trained(), "4", Digits(700), k=5, batch_size=32)
top.save(f"rank{{distributed.get_rank()}}.npz")
distributed.destroy_process_group()
"""
PATHS = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]


def run_script(text, folder, *launcher):
    script = folder / "script.py"
    script.write_text(text.format(paths=PATHS))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(script)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(whole, tmp_path):
    assert run_script(KILLED, tmp_path).returncode == -9
    path = tmp_path / "job.npz"
    with np.load(path) as saved:
        assert '"done": 15' in str(saved["about"])
    options = {"k": 5, "batch_size": 32, "checkpoint": path}
    assert files(top_patches(trained(), "4", Digits(700), **options), tmp_path) == whole


@pytest.mark.slow
def test_two_processes_under_torchrun_give_the_same_bytes(whole, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29571")
    done = run_script(SHARED, tmp_path, *launcher)
    assert done.returncode == 0, done.stderr[-2000:]
    for rank in (0, 1):
        path = tmp_path / f"rank{rank}.npz"
        assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == whole


def test_shards_merge_to_the_whole_in_any_order(whole, tmp_path):
    parts = [
        top_patches(trained(), "4", Digits(700), k=5, batch_size=32, shard=(i, 3))
        for i in (2, 0, 1)
    ]
    parts[1].save(tmp_path / "part.npz")
    parts[1] = TopPatches.load(tmp_path / "part.npz")
    assert files(TopPatches.merged(parts), tmp_path) == whole
    with pytest.raises(ArgumentError, match="different shards"):
        TopPatches.merged([parts[0], parts[0]])
    other = top_patches(trained(), "4", Digits(700), k=4, batch_size=32, shard=(0, 3))
    with pytest.raises(ArgumentError, match="different models"):
        TopPatches.merged([parts[0], other])


def test_more_shards_than_batches():
    parts = [top_patches(trained(), "4", Digits(20), k=2, shard=(i, 3)) for i in range(3)]
    merged = TopPatches.merged(parts)
    assert entries(merged) == entries(top_patches(trained(), "4", Digits(20), k=2))


def test_loaders_and_workers_change_nothing(whole, tmp_path):
    loader = DataLoader(Digits(700), batch_size=32, shuffle=True, num_workers=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fork in a process with threads
        assert files(top_patches(trained(), "4", loader, k=5), tmp_path) == whole


# --- bad images ---------------------------------------------------------------------------------


def broken():
    raise OSError("truncated")


def test_an_unreadable_image_is_skipped_and_listed():
    top = top_patches(trained(), "4", Digits(300, 123, broken), k=5, on_error="skip")
    assert top.skipped == ((123, "OSError: truncated"),)
    assert top.seen == 299
    expected = brute_force(trained(), "4", mnist()[0][:300], 6)
    for found, row in zip(entries(top), expected, strict=True):
        kept = [e[1] for e in row if e[1] != 123][:5]
        assert [e[1] for e in found] == kept


def test_an_unreadable_image_stops_and_loses_nothing(whole, tmp_path):
    path = tmp_path / "job.npz"
    options = {"k": 5, "batch_size": 32, "checkpoint": path, "checkpoint_every": 1000}
    with pytest.raises(ArgumentError, match=r"image 401 cannot be used: OSError: truncated"):
        top_patches(trained(), "4", Digits(700, 401, broken), **options)
    assert files(top_patches(trained(), "4", Digits(700), **options), tmp_path) == whole


@pytest.mark.parametrize("one_per_image", [True, False])
def test_an_image_that_gives_nan(one_per_image, tmp_path):
    images = mnist()[0][:200].clone()
    images[77] = float("nan")
    options = {"k": 5, "one_per_image": one_per_image, "batch_size": 32}
    top = top_patches(trained(), "4", images, on_error="skip", **options)
    assert top.skipped == ((77, "layer '4' gives NaN"),)
    assert 77 not in top.images
    assert not top.values.isnan().any()
    path = tmp_path / "job.npz"
    with pytest.raises(ArgumentError, match=r"image 77 .*gives NaN"):
        top_patches(trained(), "4", images, checkpoint=path, **options)
    clean = mnist()[0][:200]
    resumed = top_patches(trained(), "4", clean, checkpoint=path, **options)
    assert entries(resumed) == entries(top_patches(trained(), "4", clean, **options))


def test_a_folder_of_pictures_with_a_broken_one(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for n in range(12):
        picture = (mnist()[0][n, 0] * 255).byte().numpy()
        Image.fromarray(picture).save(folder / ("more" if n % 2 else ".") / f"{n:02}.png")
    (folder / "broken.png").write_bytes(b"no picture")

    def grey(picture):
        return torch.from_numpy(np.array(picture.convert("L"))).float()[None] / 255

    top = top_patches(trained(), "4", folder, k=2, preprocess=grey, on_error="skip")
    assert [n for n, _ in top.skipped] == [6]  # after 00 .. 10 in the folder itself
    assert set(top.names.values()) <= {f"more/{n:02}.png" for n in range(1, 12, 2)} | {
        f"{n:02}.png" for n in range(0, 12, 2)
    }
    assert "broken.png" not in top.names.values()
    with pytest.raises(ArgumentError, match=r"image 6 \(broken.png\)"):
        top_patches(trained(), "4", folder, preprocess=grey)
    with pytest.raises(ArgumentError, match="preprocess=None"):
        top_patches(trained(), "4", folder)


# --- saved and read back ------------------------------------------------------------------------


def test_saved_read_back_and_checked(tmp_path):
    top = top_patches(trained(), "4", Digits(200), k=3)
    top.save(tmp_path / "top.npz")
    again = TopPatches.load(tmp_path / "top.npz", trained(), Digits(200))
    assert files(again, tmp_path, "again.npz") == files(top, tmp_path)
    assert str(again) == str(top)
    other = copy.deepcopy(trained())
    other[3].bias.data += 0.01
    with pytest.warns(UserWarning, match=r"45 of 48 stored values differ.*other weights"):
        TopPatches.load(tmp_path / "top.npz", other, Digits(200))


def test_files_of_another_kind(tmp_path):
    top = top_patches(trained(), "4", Digits(40), k=3)
    path = top.save(tmp_path / "top.npz")
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(ArgumentError, match=r"not a pair of files that save\(\) wrote"):
        TopPatches.load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ArgumentError, match="damaged"):
        TopPatches.load(path)
    with pytest.raises(FileNotFoundError, match=r"other\.npz"):
        TopPatches.load(tmp_path / "other.npz")
    with pytest.raises(ArgumentError, match=r"ends in \.npz"):
        top.save(tmp_path / "top.json")


def test_a_checkpoint_of_another_job_is_refused(tmp_path):
    path = tmp_path / "job.npz"
    torch.manual_seed(5)
    other = nn.Sequential(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5))
    top_patches(other.eval(), "3", Digits(64), checkpoint=path)
    with pytest.raises(ArgumentError, match="another model or other weights"):
        top_patches(trained(), "3", Digits(64), checkpoint=path)
    with pytest.raises(ArgumentError, match=r"k 9 instead of 4.*delete it to begin anew"):
        top_patches(other, "3", Digits(64), k=4, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArgumentError, match="damaged"):
        top_patches(other, "3", Digits(64), checkpoint=path)


# --- errors, state, cost ------------------------------------------------------------------------


class Stream(IterableDataset):
    def __iter__(self):
        return iter(mnist()[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": []}, "empty"),
        ({"dataset": Stream()}, "no numbered samples"),
        ({"dataset": "no-such-folder"}, "is no folder"),
        ({"dataset": [torch.zeros(28, 28)] * 3}, r"image 0 .*\(C, H, W\).*got \(28, 28\)"),
        ({"layer": "44"}, "no such layer"),
        ({"unit": "maximum"}, "nearest: 'max'"),
        ({"k": 0}, "k=0"),
        ({"channels": [3, 16]}, r"got \[16\]; layer '4' has 16 channels, 0 to 15"),
        ({"on_error": "ignore"}, "expected one of 'raise', 'skip'"),
        ({"shard": (2, 2)}, r"shard=\(2, 2\)"),
        ({"checkpoint": "job.pt"}, r"ends in \.npz"),
    ],
)
def test_errors_say_what_is_wrong(change, message):
    arguments = {"layer": "4", "dataset": Digits(40), **change}
    with pytest.raises(ArgumentError, match=message):
        top_patches(trained(), **arguments)


def test_a_layer_without_channels_and_channels_last():
    class Flat(nn.Module):
        def forward(self, x):
            return x.mean((1, 2, 3))

    with pytest.raises(ArgumentError, match=r"gives \(32,\) for 32 images, which has no channels"):
        top_patches(nn.Sequential(nn.Conv2d(1, 2, 3), Flat()).eval(), "1", Digits(40))

    class Last(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    model = nn.Sequential(nn.Conv2d(1, 5, 3), Last()).eval()
    with pytest.raises(ArgumentError, match="channels last"):
        top_patches(model, "1", Digits(40))
    turned = top_patches(
        model, "1", Digits(40), k=2, reshape_transform=lambda t: t.permute(0, 3, 1, 2)
    )
    assert entries(turned) == entries(top_patches(model, "0", Digits(40), k=2))
    assert torch.equal(turned.boxes, top_patches(model, "0", Digits(40), k=2).boxes)


def test_training_mode_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout()).eval()
    model[1].train()
    with pytest.raises(ArgumentError, match="'1' is in training mode"):
        top_patches(model, "0", Digits(40))


def test_nothing_is_left_behind_and_the_rest_of_the_network_does_not_run():
    model, calls = trained(), []
    handles = [
        module.register_forward_hook(lambda m, x, y, p=place: calls.append((p, len(y))))
        for place, module in enumerate(model)
    ]
    try:
        with nothing_left_behind(model):
            top_patches(model, "2", Digits(100), k=2, batch_size=32)
            assert [c for c in calls if c[0] == 0] == [(0, n) for n in (32, 32, 32, 4)]
            assert max(place for place, _ in calls) == 2
            with pytest.raises(ArgumentError):
                top_patches(model, "2", Digits(100, 50, broken), k=2)
    finally:
        for handle in handles:
            handle.remove()


def test_mixed_precision_is_as_asked():
    top = top_patches(trained(), "3", Digits(64), k=2, autocast=torch.bfloat16)
    assert torch.equal(top.values, top.values.bfloat16().float())
    assert top.recheck(trained(), Digits(64)).same


# --- a test of the tests ------------------------------------------------------------------------


def test_a_wrong_order_of_ties_would_be_seen(monkeypatch):
    right = patch_ranking.strongest

    def wrong(values, images, places, k):
        return right(values, -images, places, k)

    monkeypatch.setattr(patch_ranking, "strongest", wrong)
    with pytest.raises((AssertionError, RuntimeError)):
        test_ties_go_to_the_lower_image_and_the_earlier_position()
