"""What the explorer computes, and that its copied code computes the same."""

import re
import sys
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captum_cnn_ext._engine.running.stopping import Stoppable, Stopped
from captum_cnn_ext.cli import main
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import top_patches
from captum_cnn_ext.insights import compare, explore, unit_gradients
from captum_cnn_ext.insights.comparison import Comparison
from captum_cnn_ext.insights.explorer import ExplorerSession, Photo, Unit, drawing, limits
from captum_cnn_ext.insights.explorer.code_snippets import Setup, Snippets
from captum_cnn_ext.insights.explorer.computing.synthesized_units import (
    PatternSettings,
    PatternStore,
)
from captum_cnn_ext.insights.explorer.jobs import Job, Jobs
from captum_cnn_ext.insights.explorer.limits import judge_host, read_upload, same_picture
from captum_cnn_ext.insights.explorer.views import GridChoice, Views
from captum_cnn_ext.models import LoadedModel

# the table says which call is shown
pytestmark = pytest.mark.filterwarnings("ignore:layer 'relu' is called 2 times")
SIZE = 24
HOSTILE = "<img src=x onerror=\"document.title='broken'\">"


class Net(nn.Module):
    """Two stages, a pooling between, one activation module that runs twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.second = nn.Conv2d(6, 70, 3, padding=1)
        self.head = nn.Linear(70, 4)

    def forward(self, x):
        x = self.pool(self.relu(self.first(x)))
        x = self.relu(self.second(x))
        return self.head(x.mean((2, 3)))


def preprocess(picture):
    data = np.asarray(picture.resize((SIZE, SIZE)), dtype=np.float32) / 255
    return (torch.from_numpy(data).permute(2, 0, 1) - 0.5) / 0.25


def noise(seed, size=(40, 30)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def loaded():
    torch.manual_seed(0)
    names = ["cat", HOSTILE, "crane", "crane"]
    return LoadedModel(
        Net().eval(), preprocess, names, (0.5,) * 3, (0.25,) * 3, (SIZE, SIZE), name="net"
    )


@pytest.fixture(scope="module")
def session(loaded):
    return ExplorerSession(loaded, {"one": noise(1), "two": noise(2)})


@pytest.fixture(scope="module")
def one(session):
    return session.photos["one"]


@pytest.fixture(scope="module")
def activations(loaded, one):
    """Layer -> maps, by hand."""
    net, x = loaded.model, preprocess(one.picture)[None]
    with torch.no_grad():
        first = net.first(x)
        pooled = net.pool(first.relu())
        second = net.second(pooled)
    return {"first": first[0], "pool": pooled[0], "second": second[0], "relu": second.relu()[0]}


# --- what is computed ---------------------------------------------------------------------------


def test_layers_come_in_the_order_in_which_they_last_run(session):
    names = list(session.layers)
    assert names == ["first", "pool", "second", "relu", "head"]
    relu = session.layer("relu")
    assert (relu.shape, relu.calls) == ((70, 12, 12), 2)
    assert session.layer("head").shape == (4,)
    assert session.layer("first").kind == "Conv2d + ReLU"
    assert session.layer("first").settings == "3x3"
    with pytest.raises(ArgumentError, match="nearest: 'second'"):
        session.layer("secnd")


def test_maps_are_the_activations_of_the_last_call(session, one, activations):
    for layer, expected in activations.items():
        torch.testing.assert_close(session.maps(one, layer), expected)
    assert session.maps(one, "first") is session.maps(one, "first")  # kept


def test_predictions_are_the_softmax(session, one, loaded):
    with torch.no_grad():
        shares = loaded.model(preprocess(one.picture)[None]).softmax(1)[0]
    found = session.top_classes(one)
    assert [index for index, _ in found] == shares.argsort(descending=True).tolist()
    assert [share for _, share in found] == pytest.approx(shares.sort(descending=True).values)


def test_the_whole_image_can_be_squeezed_in(session, one):
    whole = Photo("one", one.picture, "", whole=True)
    assert whole.seen.size == (30, 30)
    expected = preprocess(one.picture.resize((30, 30)))
    torch.testing.assert_close(session.inputs(whole)[0], expected)
    assert not torch.equal(session.inputs(one)[0], expected)


def test_the_strongest_units_come_first(session, one, activations):
    maps = session.maps(one, "relu")
    tops = activations["relu"].amax((1, 2))
    assert session.order(maps, "max") == tops.argsort(descending=True, stable=True).tolist()
    assert session.order(maps, "index") == list(range(70))
    with pytest.raises(ArgumentError, match="sort"):
        session.order(maps, "size")


def test_facts_of_a_unit(session, one, activations):
    facts, own = session.facts(one, Unit("second", 7)), activations["second"][7]
    assert facts.maximum == pytest.approx(float(own.max()))
    assert facts.mean == pytest.approx(float(own.mean()))
    assert float(own[facts.position]) == pytest.approx(float(own.max()))
    tops = activations["second"].amax((1, 2))
    assert facts.rank == int((tops > tops[7]).sum()) + 1
    with pytest.raises(ArgumentError, match="unit=70: expected 0 to 69"):
        session.facts(one, Unit("second", 70))


def test_a_gradient_reconstruction_is_the_gradient(session, one, loaded):
    x = preprocess(one.picture)[None].requires_grad_()
    net = loaded.model
    own = net.second(net.pool(net.first(x).relu())).relu()[0, 5]
    (strongest,) = torch.autograd.grad(own.max() ** 2 / 2, x, retain_graph=True)
    (whole,) = torch.autograd.grad(own.square().sum() / 2, x)
    unit = Unit("relu", 5)
    found = session.reconstruction(one, unit, "gradient", "max").picture
    torch.testing.assert_close(found, strongest[0])
    found = session.reconstruction(one, unit, "gradient", "map").picture
    torch.testing.assert_close(found, whole[0])
    guided = session.reconstruction(one, unit, "guided").picture
    assert not torch.allclose(guided, strongest[0])
    with pytest.raises(ArgumentError, match="rule"):
        session.reconstruction(one, unit, "guide")


def test_a_deconvnet_picture_without_switches_says_so(session, one):
    assert session.reconstruction(one, Unit("relu", 5), "deconvnet").remark == ""
    found = session.reconstruction(one, Unit("first", 2), "deconvnet")
    assert "same for every image" in found.remark


def test_gradients_of_a_frozen_unit(session, one, loaded):
    net, x = loaded.model, preprocess(one.picture)[None]
    middle = net.pool(net.first(x).relu()).detach().requires_grad_()
    own = net.second(middle)[:, 9]
    (expected,) = torch.autograd.grad(own.square().sum() / 2, middle)
    found = session.gradients(one, "pool", Unit("second", 9))
    torch.testing.assert_close(found, expected[0])
    with pytest.raises(ArgumentError, match="does not depend on it"):
        session.gradients(one, "second", Unit("pool", 1))
    with pytest.raises(ArgumentError, match="channel=70"):
        unit_gradients(net, x, "pool", "second", 70)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_units_that_two_images_excite_differently(session, one):
    other = session.photos["two"]
    found = session.differences(one, other, "pool")
    apart = session.maps(one, "pool") - session.maps(other, "pool")
    for channel, distance in found:
        assert distance == pytest.approx(float(apart[channel].square().sum().sqrt()))
    assert [d for _, d in found] == sorted((d for _, d in found), reverse=True)


def test_methods_are_those_of_compare_and_a_misfit_stops_nothing(session, one, loaded):
    methods = ["Saliency", "LayerCam", "LayerHiResCam"]
    found = dict(session.explain([one], methods, layer="pool", target=2))
    assert list(found) == methods
    assert isinstance(found["LayerCam"], ArgumentError)  # not before the classifier
    expected = compare(loaded, {"one": one.picture}, ["LayerHiResCam"], layers="pool", target=2)
    torch.testing.assert_close(
        found["LayerHiResCam"].attributions, expected.attributions, rtol=0, atol=0
    )
    both = [one, session.photos["two"]]
    ((_, pair),) = session.explain(both, ["Saliency"])
    assert pair.attributions["Saliency"].shape == (2, 3, SIZE, SIZE)


def test_no_offered_method_draws_from_the_random_state_that_threads_share(session, one):
    """Else another thread, which saves and restores that state, would repeat its numbers."""

    def depends_on_it(name):
        maps = []
        for seed in (0, 1):
            found = compare(
                session.model, {"one": one.picture}, [name], preprocess=preprocess, target=1,
                layers=["pool", "relu"] if name in joining else "pool", seed=seed,
            )  # fmt: skip
            maps.append(next(iter(found.attributions.values())))
        return not torch.equal(*maps)

    joining = ("LayerRefineCam", "LayerPolyCam")
    # CAM wants the last layer; masks come from a generator of their own
    other = ("LayerCam", "Rise")
    fitting = [name for name in session.methods if name not in other]
    assert len(fitting) > 25
    assert [name for name in fitting if depends_on_it(name)] == []
    assert depends_on_it("NoiseTunnel(LayerHiResCam)")  # which is why it is not offered


def test_top_patches_of_a_unit(loaded, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(4):
        noise(seed).save(folder / f"{seed}.png")
    top = top_patches(loaded.model, "second", folder, 2, preprocess=preprocess, show_progress=False)
    session = ExplorerSession(loaded, [noise(1)], top_patches=top, patch_images=folder)
    found = session.patches(Unit("second", 3))
    row = top.row(3)
    assert [patch.value for patch in found] == pytest.approx(top.values[row].tolist())
    (expected,) = top.patches(folder, 3, preprocess)
    for patch, cut in zip(found, expected, strict=True):
        torch.testing.assert_close(patch.picture, cut)
    assert [patch.name for patch in found] == [top.names[n] for n in top.images[row].tolist()]
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(ArgumentError, match="dataset"):
        session.patches(Unit("second", 3))


@pytest.mark.parametrize("rule", ["guided", "gradient"])
@pytest.mark.parametrize("name", ["first", "relu"])
def test_patches_of_the_images_need_no_preparation(session, loaded, rule, name):
    unit = Unit(name, 3)
    found = session.patches(unit, rule)
    tops = {n: session.maps(photo, name)[3].amax() for n, photo in session.photos.items()}
    order = sorted(tops, key=tops.__getitem__, reverse=True)
    assert [patch.name for patch in found] == order
    for patch in found:
        photo = session.photos[patch.name]
        assert patch.value == pytest.approx(float(tops[patch.name]))
        whole = session.reconstruction(photo, unit, rule).picture
        inputs = session.inputs(photo)[0]
        rows, columns = patch.picture.shape[1:]
        places = [
            (top, left)
            for top in range(SIZE - rows + 1)
            for left in range(SIZE - columns + 1)
            if torch.equal(inputs[:, top : top + rows, left : left + columns], patch.picture)
        ]
        assert len(places) == 1
        ((top, left),) = places
        expected = whole[:, top : top + rows, left : left + columns]
        torch.testing.assert_close(patch.driving, expected)


def test_many_threads_get_what_one_gets(session, one):
    """A slow method and light questions at once: each as if alone."""
    other = session.photos["two"]
    rules = [("guided", "max"), ("deconvnet", "map"), ("gradient", "max")]
    alone = [session.reconstruction(other, Unit("relu", 5), *rule).picture for rule in rules]
    ((_, slow),) = session.explain([one], ["LayerScoreCam"], layer="relu", target=1)
    wrong = []

    def ask(rule, expected):
        for _ in range(6):
            fresh = Photo("two", other.picture, "")
            got = session.reconstruction(fresh, Unit("relu", 5), *rule).picture
            if not torch.equal(got, expected):
                wrong.append(rule)

    threads = [threading.Thread(target=ask, args=pair) for pair in zip(rules, alone, strict=True)]
    for thread in threads:
        thread.start()
    ((_, again),) = session.explain([one], ["LayerScoreCam"], layer="relu", target=1)
    for thread in threads:
        thread.join()
    assert wrong == []
    torch.testing.assert_close(slow.attributions, again.attributions, rtol=0, atol=0)
    assert all(not m._forward_hooks for m in session.model.modules())


# --- slow work ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Occlusion", "LayerScoreCam", "IntegratedGradients", "FullGrad"])
def test_every_kind_of_method_stops_at_its_next_operation(session, one, name):
    asked = []

    def third():
        asked.append(1)
        return len(asked) > 40

    random = torch.get_rng_state()
    with pytest.raises(Stopped), Stoppable(third):
        list(session.explain([one], [name], layer="relu", target=1))
    assert len(asked) == 41, "what is taken back afterwards is not stopped"
    assert torch.equal(torch.get_rng_state(), random)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in session.model.modules())
    assert all(p.grad is None and p.requires_grad for p in session.model.parameters())


def test_being_stoppable_changes_no_value(session, one):
    plain = dict(session.explain([one], ["Occlusion", "LayerScoreCam"], layer="relu"))
    with Stoppable(lambda: False):
        same = dict(session.explain([one], ["Occlusion", "LayerScoreCam"], layer="relu"))
    for name, found in plain.items():
        torch.testing.assert_close(found.attributions, same[name].attributions, rtol=0, atol=0)


def test_another_thread_goes_on(session, one):
    with Stoppable(lambda: True):
        got = []
        thread = threading.Thread(target=lambda: got.append(session.model(torch.zeros(1, 3, 8, 8))))
        thread.start()
        thread.join()
    assert len(got) == 1


def test_a_job_tells_ends_and_stops():
    job = Job(lambda job: job.tell(0.5, "half") or 7, "beginning")
    assert job.wait(10)
    assert (job.result(), job.share, job.words, job.stopped) == (7, 0.5, "half", False)
    failing = Job(lambda job: 1 / 0, "")
    with pytest.raises(ZeroDivisionError):
        failing.result()

    begun = threading.Event()

    def endless(job):
        x = torch.zeros(())
        begun.set()
        while True:
            x = x + 1

    jobs = Jobs()
    running = jobs.start("someone", endless, "")
    begun.wait(10)
    assert not running.wait(0.05)
    assert jobs.stop("someone else") is False
    assert jobs.stop("someone") is True
    assert running.wait(10)
    assert running.stopped
    assert jobs.stop("someone") is False
    begun.clear()
    former = jobs.start("someone", endless, "")
    begun.wait(10)
    jobs.start("someone", lambda job: 1, "")
    assert former.wait(10)
    assert former.stopped


# --- synthesised images -------------------------------------------------------------------------


def test_a_synthesised_image_is_made_once_and_belongs_to_the_weights(loaded, tmp_path):
    store = PatternStore(loaded.model, loaded.mean, loaded.std, tmp_path)
    settings = PatternSettings("second", 3, steps=3, size=32)
    assert store.find(settings) is None
    steps = []
    picture, value = store.make(settings, lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert picture.size == (32, 32)
    kept, reached = store.find(settings)
    assert reached == value
    assert np.array_equal(np.asarray(kept), np.asarray(picture))
    assert store.find(PatternSettings("second", 3, steps=4, size=32)) is None
    assert store.find(PatternSettings("second", 4, steps=3, size=32)) is None
    torch.manual_seed(1)
    others = PatternStore(Net().eval(), loaded.mean, loaded.std, tmp_path)
    assert others.find(settings) is None
    store.path(settings).write_bytes(b"\x89PNG broken")
    assert store.find(settings) is None


def test_a_synthesis_that_is_stopped_leaves_nothing(loaded, tmp_path):
    store = PatternStore(loaded.model, None, None, tmp_path)

    def tell(done, total):
        if done == 2:
            raise Stopped()

    with pytest.raises(Stopped):
        store.make(PatternSettings("second", 3, steps=50, size=32), tell)
    assert list(tmp_path.iterdir()) == []
    assert all(p.requires_grad and p.grad is None for p in loaded.model.parameters())


def test_a_temporary_folder_goes_with_its_store(loaded, tmp_path):
    store = PatternStore(loaded.model, None, None)
    folder = store.folder
    assert folder.is_dir()
    del store
    assert not folder.exists()
    with pytest.raises(ArgumentError, match="cache"):
        PatternStore(loaded.model, None, None, tmp_path / "none")


# --- pictures -----------------------------------------------------------------------------------


def test_contrast_is_the_share_of_the_top_to_a_power():
    maps = torch.tensor([[[4.0, -1.0]], [[1.0, 0.25]], [[0.0, 0.0]]])
    each = drawing.contrasted(maps, "map")
    assert each.tolist() == [[[1.0, -0.25]], [[1.0, 0.25]], [[0.0, 0.0]]]
    layer = drawing.contrasted(maps, "layer", 0.5)
    assert layer.tolist() == [[[1.0, -0.5]], [[0.5, 0.25]], [[0.0, 0.0]]]


def test_tiles_have_the_colours_of_the_ends():
    signed = drawing.tiles(torch.tensor([[[-1.0, 0.0, 1.0]]]), signed=True)[0, 0]
    assert signed[0, 2] > signed[0, 0]  # blue
    assert (signed[1] > 235).all()  # white
    assert signed[2, 0] > signed[2, 2]  # red
    plain = drawing.tiles(torch.tensor([[[0.0, 1.0]]]), signed=False)[0, 0]
    assert plain.tolist() == [[68, 1, 84], [253, 231, 37]]  # the ends of viridis
    large = drawing.tiles(torch.ones(2, 300, 150), signed=False)
    assert large.shape == (2, 96, 48, 3)


def test_a_reconstruction_is_cut_to_its_energy():
    picture = torch.zeros(3, 100, 80)
    picture[:, 40:70, 50:60] = torch.rand(3, 30, 10) + 1
    picture[0, 2, 3] = 0.1
    part = drawing.energetic(picture)
    height, width = picture[part].shape[1:]
    assert 28 <= height == width <= 30
    kept = picture[part].square().sum() / picture.square().sum()
    assert 0.9 < kept < 1
    assert picture[:, :20, :20][drawing.energetic(picture[:, :20, :20])].shape == (3, 20, 20)
    assert picture[drawing.energetic(torch.zeros(3, 100, 80))].shape == (3, 24, 24)


def test_looks_of_a_reconstruction():
    picture = torch.zeros(3, 8, 8)
    picture[0, 2, 2], picture[1, 5, 5] = 2.0, -2.0
    color = np.asarray(drawing.reconstruction_picture(picture)).astype(int)
    step = drawing.PANEL // 8
    at = step // 2
    assert color[at, at].tolist() == [128, 128, 128]
    assert color[2 * step + at, 2 * step + at].tolist() == [255, 128, 128]
    assert color[5 * step + at, 5 * step + at].tolist() == [128, 0, 128]
    norm = np.asarray(drawing.reconstruction_picture(picture, "norm"))
    assert norm[at, at].tolist() == [0, 0, 0]
    assert norm[5 * step + at, 5 * step + at].tolist() == [255, 255, 255]


# --- what is shown ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def views(session, loaded):
    return Views(session, Snippets(session))


def test_names_are_text(views, one, session):
    hostile = Photo(HOSTILE, one.picture, "")
    unit = Unit("second", 3)
    pages = [
        views.grid(hostile, "second", GridChoice()),
        views.unit_facts(hostile, unit),
        views.pair(hostile, one, "second"),
        views.message(HOSTILE),
        views.progress(0.5, HOSTILE, 1),
    ]
    for page in pages:
        assert "<img src=x" not in page
        assert "&lt;img src=x" in page
    assert views.class_label(1) == f"{HOSTILE} (1)"  # the page shows it as text
    assert views.class_label(2) != views.class_label(3)  # namesakes


def test_a_grid_has_pages_and_marks_the_unit(views, session, one):
    order = session.order(session.maps(one, "second"), "max")
    first = views.grid(one, "second", GridChoice(), unit=order[1])
    assert first.count("<button") == 60
    assert f'data-unit="{order[1]}" tabindex="-1" aria-pressed="true"' in first
    last = views.grid(one, "second", GridChoice(page=1))
    assert last.count("<button") == 10
    assert "units 61–70 of 70" in last
    assert views.pages("second") == 2


def test_a_gradient_that_only_one_unit_has_is_explained(views, one):
    alone = views.grid(one, "first", GridChoice(), 0, Unit("pool", 1))
    spread = views.grid(one, "pool", GridChoice(), 0, Unit("second", 9))
    assert "in one unit only" in alone
    assert "in one unit only" not in spread


def test_a_units_link_leads_back_to_it(views, one):
    html = views.unit_facts(one, Unit("second", 3))
    assert 'href="?image=one&amp;layer=second&amp;unit=3"' in html


class _Breaks(nn.Module):
    """Its second layer gives a value that is no number."""

    def forward(self, x):
        x = x.clone()
        x[..., 0, 0] = float("nan")
        return x


class _Mends(nn.Module):
    def forward(self, x):
        return x.nan_to_num()


def test_values_that_are_no_numbers_are_said(one):
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        _Breaks(),
        _Mends(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )
    net.eval()
    session = ExplorerSession(net, {"one": one.picture}, preprocess=preprocess)
    views = Views(session, Snippets(session))
    photo = session.photos["one"]
    assert "1 values are not finite" in views.unit_facts(photo, Unit("2", 1))
    assert "not finite" not in views.unit_facts(photo, Unit("1", 1))
    heat = torch.eye(4)
    heat[1, 2] = float("nan")
    found = Comparison({"Mine": heat[None, None]}, [1], ["one"], session.inputs(photo), None)
    ((_, caption),) = views.explanations("Mine", found)
    assert caption == "one · Mine · 1 of 16 values not finite"


# --- copied code --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(session, loaded):
    """Runs a snippet as a reader would, and gives the names that it defines."""
    net = loaded
    setup = Setup(
        (), ("model, preprocess, mean, std = net.model, net.preprocess, net.mean, net.std",)
    )
    snippets = Snippets(session, setup)

    def execute(make):
        namespace = {"net": net, "images": {name: p.picture for name, p in session.photos.items()}}
        exec(compile(make(snippets), "copied.py", "exec"), namespace)
        return namespace

    return execute


@pytest.mark.parametrize("layer", ["first", "relu"])
@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_code_of_a_grid(run, session, one, layer, gamma):
    got = run(lambda s: s.grid(one, layer, "max", "layer", gamma))
    maps = session.maps(one, layer)
    torch.testing.assert_close(got["maps"][0], maps.sign() * maps.abs() ** gamma)
    shown = session.order(maps, "max")[:64]
    titles = [axes.get_title() for axes in got["axes"].flat][: len(shown)]
    assert [int(title.split(":")[0]) for title in titles] == shown


def test_code_of_a_frozen_origin(run, session, one):
    unit = Unit("relu", 9)
    got = run(lambda s: s.gradients(one, "pool", unit, "index", "map", 1.0))
    torch.testing.assert_close(got["maps"][0], session.gradients(one, "pool", unit))


def test_code_of_a_unit(run, session, one):
    got = run(lambda s: s.unit(one, Unit("relu", 5)))
    torch.testing.assert_close(got["unit"], session.maps(one, "relu")[5])
    assert len(got["axes"].images) == 2


@pytest.mark.parametrize("look", drawing.LOOKS)
@pytest.mark.parametrize(("rule", "seed"), [("guided", "max"), ("deconvnet", "map")])
def test_code_of_a_reconstruction(run, session, one, rule, seed, look):
    unit = Unit("relu", 5)
    got = run(lambda s: s.reconstruction(one, unit, rule, seed, look))
    expected = session.reconstruction(one, unit, rule, seed).picture
    torch.testing.assert_close(got["found"].attributions[0, 0], expected)
    if look == "norm":
        torch.testing.assert_close(got["picture"][0], expected.norm(dim=0))


def test_code_of_patches(run, session):
    got = run(lambda s: s.patches(Unit("relu", 5)))
    expected = [patch.value for patch in session.patches(Unit("relu", 5))]
    assert got["top"].values[5].tolist() == pytest.approx(expected)
    assert got["axes"].shape == (1, 2)


def test_code_of_a_synthesised_image(run, session):
    settings = PatternSettings("second", 3, steps=3, size=32)
    got = run(lambda s: s.pattern(settings))
    picture, value = session.patterns.make(settings)
    pixels = got["found"].images[0].mul(255).round().permute(1, 2, 0)
    assert np.array_equal(np.asarray(picture), pixels.numpy().astype(np.uint8))
    assert float(got["found"].values[0]) == value


def test_code_of_an_explanation(run, session, one):
    photos = [one, Photo("wide", one.picture, one.source, whole=True)]
    methods = ["Saliency", "LayerHiResCam"]
    got = run(lambda s: s.explanation(photos, methods, "relu", 2))
    expected = dict(session.explain(photos, methods, layer="relu", target=2))
    for name in methods:
        torch.testing.assert_close(
            got["found"].attributions[name], expected[name].attributions[name]
        )


def test_code_of_two_images(run, session, one):
    other = session.photos["two"]
    got = run(lambda s: s.pair(one, other, "pool", 4))
    found = session.differences(one, other, "pool")[:4]
    assert got["units"].tolist() == [channel for channel, _ in found]
    assert len(got["figures"]) == 2


def test_code_reads_files_of_the_command_line(run, tmp_path, one):
    noise(5).save(tmp_path / "a b.png")
    source = f"load_photos({str(tmp_path)!r})['a b.png']"
    photo = Photo("a b.png", noise(5), source)
    got = run(lambda s: s.unit(photo, Unit("first", 0)))
    torch.testing.assert_close(got["x"][0], preprocess(noise(5)))


def test_files_are_explored_as_their_pictures(tmp_path):
    noise(5).save(tmp_path / "five.png")
    session = ExplorerSession(Net().eval(), [str(tmp_path / "five.png")], preprocess=preprocess)
    (photo,) = session.photos.values()
    np.testing.assert_array_equal(np.asarray(photo.picture), np.asarray(noise(5)))


def test_what_cannot_be_explored():
    with pytest.raises(ArgumentError, match="images"):
        ExplorerSession(Net().eval(), [], preprocess=preprocess)
    with pytest.raises(TypeError, match="PIL"):
        ExplorerSession(Net().eval(), [5], preprocess=preprocess)
    with pytest.raises(FileNotFoundError, match=r"a\.png"):
        ExplorerSession(Net().eval(), ["a.png"], preprocess=preprocess)
    rows = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(2))
    with pytest.raises(ArgumentError, match="classes"):
        ExplorerSession(rows, [noise(1)], preprocess=preprocess)


def test_a_job_counts_its_seconds():
    job = Job(lambda job: time.sleep(0.02), "")
    job.wait(10)
    assert job.seconds >= 0.02


# --- who is let in, and what ----------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "localhost", "::1"])
def test_this_machine_alone_is_let_in(host):
    assert host in judge_host(host, allow_remote=False)
    assert "*" not in judge_host(host, allow_remote=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_other_machines_are_let_in_only_when_that_is_meant(host):
    with pytest.raises(ArgumentError, match="no password"):
        judge_host(host, allow_remote=False)
    assert judge_host(host, allow_remote=True) == ["*"]
    with pytest.raises(ArgumentError, match="no password"):
        explore(Net().eval(), [noise(1)], preprocess=preprocess, host=host)


def test_uploads_are_judged_before_they_are_decoded(tmp_path, monkeypatch):
    good = tmp_path / "good.png"
    noise(1).save(good)
    assert np.array_equal(np.asarray(read_upload(good)), np.asarray(noise(1)))
    for name, content in {"text": b"hello", "cut": good.read_bytes()[:60], "none": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ArgumentError, match=r"cannot be read as a picture \(\w+\)") as caught:
            read_upload(tmp_path / name)
        assert "\n" not in str(caught.value)
    program = tmp_path / "program.eps"
    program.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_upload(program)
    monkeypatch.setattr(limits, "MOST_PIXELS", 40 * 30 - 1)
    monkeypatch.setattr(limits, "read_picture", lambda file: pytest.fail("was decoded"))
    with pytest.raises(ArgumentError, match="40 × 30 pixels"):
        read_upload(good)
    monkeypatch.setattr(limits, "MOST_BYTES", 10)
    with pytest.raises(ArgumentError, match="MB"):
        read_upload(good)


def test_without_gradio_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r"pip install -e '.\[explorer\]' in the repository"):
        explore(Net().eval(), [noise(1)], preprocess=preprocess)
    assert main(["explore"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "no password"),
        (["--top-patches", "none.npz"], "there is no file"),
        (["--images", "nowhere"], "no file or folder"),
        (["--cache", "nowhere"], "expected a folder"),
        (["--class-names", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(arguments, message, capsys):
    assert main(["explore", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err


# --- what is chosen ---------------------------------------------------------------------------


def test_the_list_of_layers_marks_one_and_opens_its_fold(views, session):
    for name in session.layers:
        html = views.layer_list(name)
        assert html.count("aria-current") == 1
        assert re.search(rf'data-layer="{name}" aria-current="true"', html)
        assert html.count("<details open>") == (0 if session.layers[name].stage else 1)
    assert "aria-current" not in views.layer_list("")


def test_a_preview_is_the_picture_that_it_was_made_of(tmp_path):
    smooth = Image.fromarray(np.kron(np.eye(4, dtype=np.uint8) * 200, np.ones((9, 9), np.uint8)))
    smooth.convert("RGB").save(tmp_path / "image.webp", quality=60)
    preview = Image.open(tmp_path / "image.webp")
    assert same_picture(preview, smooth)
    assert not same_picture(preview, smooth.rotate(90))
    assert not same_picture(preview, smooth.resize((35, 36)))
