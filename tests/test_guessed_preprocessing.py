"""Networks that come without their preprocessing: what is guessed, and that this is said first."""

import random
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captum_cnn_ext import explain
from captum_cnn_ext.cli import main
from captum_cnn_ext.insights import audit, audit_dataset, compare
from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.models import LoadedModel, load_model
from captum_cnn_ext.models.guessed import assumed, settled

SAID = "no preprocessing was given"
OWN = "(20 × 12 pixels, their own size)"


class AnySize(nn.Sequential):
    """Takes images of any size, and keeps the shapes it was given."""

    def __init__(self, channels=3):
        super().__init__(
            nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, 2),
        )  # fmt: skip
        self.shapes = []
        self.register_forward_pre_hook(lambda _, args: self.shapes.append(tuple(args[0].shape[1:])))


def drawn(width, height, number=0):
    rows = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(rows)


def pictures(*sizes):
    return [drawn(*size, number) for number, size in enumerate(sizes)]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return AnySize().eval()


@pytest.fixture
def folder(tmp_path):
    """Class folders with wide pictures, and a factory that gives no preprocessing."""
    for label in ("0", "1"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(4):
            drawn(20, 12, number).save(tmp_path / "data" / label / f"{number}.png")
    (tmp_path / "net.py").write_text(
        "import torch\nfrom test_guessed_preprocessing import AnySize\n"
        "def build():\n    torch.manual_seed(0)\n    return AnySize()\n"
    )
    return tmp_path


# --- the rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "shape", "words"),
    [
        ([(20, 12)], (12, 20), OWN),
        ([(20, 12), (20, 12)], (12, 20), OWN),
        ([(224, 224), (224, 224)], (224, 224), "(224 × 224 pixels, their own size)"),
        ([(20, 12), (12, 20)], (224, 224), "(224 × 224 pixels)"),
        ([(225, 20), (225, 20)], (224, 224), "(224 × 224 pixels)"),
        ([(2, 2), (2, 2)], (224, 224), "(224 × 224 pixels, enlarged from 2 × 2)"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_of_one_size_are_taken_as_they_are(channels, sizes, shape, words):
    net = AnySize(channels).eval()
    with pytest.warns(UserWarning, match="pass preprocess=") as caught:
        found = settled(assumed(net), pictures(*sizes))
    assert [warning.filename for warning in caught] == [__file__]
    assert found.preprocess(drawn(*sizes[0])).shape == (channels, *shape)
    assert found.input_size == shape
    assert words in found.notes[0]
    assert settled(found, pictures((50, 50))) is found
    if shape == (12, 20):
        pixels = np.asarray(drawn(20, 12).convert("L" if channels == 1 else "RGB")) / 255
        pixels = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
        given = found.preprocess(drawn(20, 12)).numpy()
        mean, std = (np.array(v)[:, None, None] for v in (found.mean, found.std))
        np.testing.assert_allclose(given * std + mean, pixels, atol=1e-6)
        assert found.preprocess(drawn(31, 40)).shape == (channels, 12, 20)


def test_where_nothing_is_guessed_nothing_is_looked_at(net):
    known = LoadedModel(net, lambda picture: torch.zeros(3, 5, 5))
    assert settled(known, pictures((20, 12))) is known
    assert net.shapes == []
    for nothing in ((), {}, 3, [torch.zeros(3, 4, 4)], ["nowhere.png"], "nowhere"):
        guessed = assumed(net)
        assert settled(guessed, nothing) is guessed


def test_a_look_at_the_size_changes_nothing(net):
    net.insert(1, nn.BatchNorm2d(4))
    net.train()
    before, numbers = net[1].running_mean.clone(), torch.get_rng_state()
    with pytest.warns(UserWarning, match=SAID):
        settled(assumed(net), pictures((20, 12)))
    assert torch.equal(net[1].running_mean, before)
    assert torch.equal(torch.get_rng_state(), numbers)


# --- one rule for all -----------------------------------------------------------------------------

FACES = {
    "explain": lambda net, images, _: explain(net, images[0], 0, check=False),
    "compare": lambda net, images, _: compare(net, images, ["Saliency"]),
    "audit": lambda net, images, _: audit(net, images, quick=True, show_progress=False),
    "audit of a folder": lambda net, _, folder: audit(
        net, folder / "data" / "0", quick=True, show_progress=False
    ),
    "compare of a file": lambda net, _, folder: compare(
        net, str(folder / "data" / "0" / "1.png"), ["Saliency"]
    ),
    "audit_dataset": lambda net, images, _: audit_dataset(
        net, [(image, n % 2) for n, image in enumerate(images)], show_progress=False,
        test_shortcuts=False,
    ),
    "audit_dataset of a folder": lambda net, _, folder: audit_dataset(
        net, folder / "data", show_progress=False, test_shortcuts=False
    ),
    "explore": lambda net, images, _: ExplorerSession(net, images),
}  # fmt: skip


def load(picture):
    return torch.from_numpy(np.array(picture)).float().movedim(-1, 0) / 255


@pytest.mark.parametrize("face", FACES)
def test_every_face_takes_pictures_in_their_own_size_and_warns(net, folder, face):
    with pytest.warns(UserWarning, match=rf"{SAID}; ImageNet's \(20 × 12 pixels, their own"):
        FACES[face](net, pictures(*[(20, 12)] * 4), folder)
    assert set(net.shapes) == {(3, 12, 20)}


@pytest.mark.parametrize(
    "words",
    [
        ["cam", "--methods", "Saliency", "--image", "data/0/1.png", "--out", "cam.png"],
        ["audit", "--images", "data/0", "--quick", "--out", "a.html"],
        ["audit", "--data", "data", "--no-tests", "--out", "a.html"],
        ["deconv", "--image", "data/0/1.png", "--layer", "1", "--out", "d.png"],
        ["top-patches", "--images", "data", "--layer", "1", "--out", "t.npz"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_command_says_the_guess_before_all_else_and_once(folder, monkeypatch, capsys, words):
    monkeypatch.chdir(folder)
    progress = [] if words[0] == "deconv" else ["--no-progress"]
    with warnings.catch_warnings():
        assert main([words[0], "--model", "net.py:build", *words[1:], *progress]) == 0
    said = capsys.readouterr()
    assert OWN in said.err.splitlines()[0]
    assert said.err.count(SAID) == 1


# --- said first -----------------------------------------------------------------------------------


def test_explain_says_the_guess_first_and_its_check_depends_on_it(net):
    with pytest.warns(UserWarning, match=SAID):
        found = explain(net, drawn(20, 12))
    first, *rest = str(found).splitlines()
    assert first.startswith(f"Guessed: {SAID}; ImageNet's {OWN}")
    assert "preprocess=" in first
    assert not any(SAID in line for line in rest)
    found.faithfulness.update(zip(found.faithfulness, (0.9, 0.1, 0.1), strict=True))
    assert found.check.startswith("Check passed, if the guessed preprocessing is right: ")
    known = explain(net, drawn(20, 12), preprocess=load)
    known.faithfulness.update(found.faithfulness)
    assert known.check.startswith("Check passed: ")


def test_a_report_begins_with_the_guess(net):
    with pytest.warns(UserWarning, match=SAID):
        found = audit(net, pictures((20, 12)), quick=True, show_progress=False)
    overview = found.overview
    assert overview.headline.startswith("The preprocessing of photos is a guess. ")
    first = overview.of("unsure")[0]
    assert (first.id, OWN in first.text) == ("preprocessing-guessed", True)
    assert "preprocess=" in first.next_step
    assert found.manifest["model"]["preprocessing"].startswith("guessed: ImageNet's (20 × 12")


def test_what_the_user_gives_is_no_guess(net, folder, monkeypatch):
    monkeypatch.chdir(folder)
    loaded = load_model("net.py:build")
    assert SAID in loaded.notes[0]
    images = pictures((20, 12))
    tensors = torch.stack([load(image) for image in images])
    for given, options in ((images, {"preprocess": load}), (tensors, {})):
        for model in (net, loaded):
            found = audit(model, given, quick=True, show_progress=False, **options)
            assert SAID not in found.to_html()
            assert not found.overview.headline.startswith("The preprocessing")


def test_the_other_model_of_a_comparison_may_be_the_guessed_one(net, folder, monkeypatch):
    monkeypatch.chdir(folder)
    rival = load_model("net.py:build")
    with pytest.warns(UserWarning, match=SAID):
        found = audit(
            LoadedModel(net, load), pictures((20, 12)), quick=True, show_progress=False,
            against=rival,
        )  # fmt: skip
    (text,) = (f.text for f in found.overview.findings if SAID in f.text)
    assert text.startswith("Of the other model: ")
    data = [(image, n % 2) for n, image in enumerate(pictures(*[(20, 12)] * 6))]
    with pytest.warns(UserWarning, match=SAID):
        done = audit_dataset(
            LoadedModel(net, load), data, test_shortcuts=False, show_progress=False, against=rival
        )
    (text,) = (f.text for f in done.findings if SAID in f.text)
    assert text.startswith("Of the older model: ")


class Bright(nn.Sequential):
    """Says class 1 of bright images, and class 0 of dark ones."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(2, 2, bias=False),
        )  # fmt: skip
        self[0].weight.data = torch.tensor([-1.0, 1.0])[:, None, None, None].expand(2, 3, 1, 1)
        self[0].bias.data = torch.tensor([1.0, -1.0])
        self[-1].weight.data = torch.eye(2)


def bright_or_dark(labels):
    """Images that are bright or dark by turns, with the labels given."""
    rng = np.random.default_rng(0)
    for number, label in enumerate(labels):
        level = 200 if number % 2 else 90
        rows = rng.integers(level - 40, level + 40, (12, 12, 3), dtype=np.uint8)
        yield Image.fromarray(rows), label


@pytest.mark.parametrize("guessed", [True, False])
def test_a_guess_that_may_explain_bad_accuracy_is_said_instead_of_shortcuts(guessed):
    labels = [number % 2 for number in range(160)]
    random.Random(1).shuffle(labels)
    data = list(bright_or_dark(labels))
    options = {} if guessed else {"preprocess": settled_quietly(data)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", SAID)
        done = audit_dataset(Bright().eval(), data, show_progress=False, **options)
    assert done.shortcuts is not None
    assert done.shortcuts.shortcuts  # what would be said first otherwise
    line, (first, *_) = done.page.overview.headline, done.page.overview.of("wrong")
    assert ("relies on a shortcut" not in line) is guessed
    assert line.startswith("The preprocessing of pictures is a guess. ") is guessed
    assert (first.id == "preprocessing-guessed") is guessed


def settled_quietly(data):
    """The same preprocessing, given by the user."""
    with pytest.warns(UserWarning, match=SAID):
        guess = settled(assumed(Bright()), data).preprocess
    return lambda picture: guess(picture)


def test_a_guess_by_which_the_model_is_right_is_to_be_looked_at():
    data = list(bright_or_dark([number % 2 for number in range(40)]))
    with pytest.warns(UserWarning, match=SAID):
        done = audit_dataset(Bright().eval(), data, test_shortcuts=False, show_progress=False)
    assert done.findings[0].id == "preprocessing-guessed"
    assert done.findings[0].verdict == "unsure"
    assert "is a guess. The model is right on 100%" in done.page.overview.headline
