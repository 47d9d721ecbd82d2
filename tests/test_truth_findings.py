"""The league is tested by what must come out: what is known by construction or was published."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from captum_cnn_ext.bench import Results, truths
from captum_cnn_ext.bench.truths import league
from captum_cnn_ext.bench.truths.drawing import normalized
from captum_cnn_ext.bench.truths.networks import fit, small_cnn
from captum_cnn_ext.bench.truths.tasks import (
    grids,
    scenes,
    single_deletion,
    tetrominoes,
    triggers,
)

METHODS = truths.contenders()


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    return truths.Training(tmp_path_factory.mktemp("networks"))


def first_scores(trials, explain):
    """The mean of the table's figure over all images of all trials."""
    found = [next(iter(t.score(t, explain(t)).values())) for t in trials]
    return float(torch.cat(found).mean())


def shuffled(trial):
    """The truth with its pixels in another order, the same for every question."""
    count = trial.inputs.shape[2] * trial.inputs.shape[3]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))

    def explain(*asked):
        maps = trial.perfect(*asked)
        return maps.flatten(1)[:, order].reshape(maps.shape)

    return explain


@pytest.mark.slow
@pytest.mark.parametrize("task", truths.TASKS)
def test_the_truth_scores_1_and_shuffled_it_is_at_chance(task, training):
    trials = truths.TASKS[task].trials(0, 16, training)
    random = first_scores(trials, lambda t: league._explain(t, METHODS["random"], 0, []))
    assert first_scores(trials, lambda t: t.perfect) == pytest.approx(1, abs=1e-5)
    assert first_scores(trials, shuffled) == pytest.approx(random, abs=0.12)
    assert random < 0.8


def of_nothing(kind, seed):
    """A network that is untrained, or was trained with labels that say nothing."""
    model = small_cnn(4, seed)
    if kind == "random labels":
        random = np.random.default_rng(seed)
        x, y = triggers.draw(1000, random)
        fit(model, normalized(x), y[torch.from_numpy(random.permutation(len(y)))], 120)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["untrained", "random labels"])
def test_of_a_network_that_knows_nothing_no_method_finds_the_class(kind):
    x, y = triggers.draw(160, np.random.default_rng(5))
    pictures, shown = grids.grids(normalized(x), y, 32)
    cell = torch.arange(32) % 4
    board = torch.arange(4).reshape(1, 1, 2, 2).float()
    where = torch.nn.functional.interpolate(board, scale_factor=grids.CELL)[0]
    masks = where == cell[:, None, None]
    named = shown[torch.arange(32), cell]
    names = ["InputXGradient", "LayerHiResCam", "LayerLayerCam, middle layer", "Occlusion"]
    found = {name: [] for name in names}
    for seed in range(3):
        trial = truths.Trial("grid", of_nothing(kind, seed), pictures, named, masks, grids.score)
        for name in names:
            explain = league._explain(trial, METHODS[name], 0, [])
            found[name] += trial.score(trial, explain)["evidence in the cell"].tolist()
    for name, shares in found.items():
        assert np.mean(shares) < 0.3, name  # a quarter is chance; less where nothing is positive


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["untrained", "random labels"])
def test_a_network_that_knows_nothing_shows_no_trigger(kind, training):
    trial, _ = triggers.trials(0, 16, training)
    unlearnt = dataclasses.replace(trial, model=of_nothing(kind, 9))
    for name in ("InputXGradient", "LayerHiResCam", "LayerRefineCam"):
        got = means(unlearnt, [name], "mass accuracy")[name]
        assert got < 0.08 < means(trial, [name], "mass accuracy")[name], (name, got)


def means(trial, names, score):
    found = {}
    for name in names:
        explain = league._explain(trial, METHODS[name], 0, [])
        found[name] = float(trial.score(trial, explain)[score].mean())
    return found


@pytest.mark.slow
def test_edges_beat_many_methods_on_the_rigid_task(training):
    trial = tetrominoes._trial("rigid", "photo", 0, 24, training)
    edges = ["Sobel edges", "Laplace edges"]
    gradients = ["Saliency", "NoiseTunnel(Saliency)", "GuidedBackprop", "Deconvolution",
                 "FullGrad", "LayerEigenCam", "LayerFem"]  # fmt: skip
    found = means(trial, [*edges, *gradients, "random"], "precision")
    best = max(found[edge] for edge in edges)
    assert best > 2 * found["random"]
    assert sum(best > found[name] for name in gradients) >= 4, found


@pytest.mark.slow
def test_occlusion_beats_gradients_on_triggers(training):
    trial, _ = triggers.trials(0, 32, training)
    names = ["Occlusion(small windows)", "Saliency", "NoiseTunnel(Saliency)", "random",
             "the image"]  # fmt: skip
    found = means(trial, names, "rank accuracy")
    assert found[names[0]] > found["Saliency"] + 0.03, found
    assert found[names[0]] > found["NoiseTunnel(Saliency)"] + 0.03, found
    assert found["random"] == pytest.approx(25 / 1024, abs=0.03)
    unlearnt = truths.Trial("t", small_cnn(4, 9), trial.inputs, trial.target, trial.truth)
    for name in ("Saliency", "LayerGradCam"):  # a network that has learnt nothing finds nothing
        got = means(unlearnt, [name], "rank accuracy")[name]
        assert got < 0.2 < means(trial, [name], "rank accuracy")[name]


@pytest.mark.slow
def test_magnitudes_and_averages_over_noise_lower_single_deletion(training):
    (trial,) = single_deletion.trials(0, 32, training)
    plain = "InputXGradient"
    found = means(trial, [plain, f"abs({plain})", f"NoiseTunnel({plain})", "random", "the truth"]
                  [:4], "rank correlation")  # fmt: skip
    assert found[f"abs({plain})"] < found[plain], found
    assert found[f"NoiseTunnel({plain})"] < found[plain] + 0.01, found
    assert abs(found["random"]) < 0.15
    assert float(trial.score(trial, trial.perfect)["rank correlation"].min()) == pytest.approx(1)


@pytest.mark.slow
def test_the_map_follows_what_the_network_was_told_to_name(training):
    (trial,) = scenes.trials(0, 8, training)
    found = trial.score(trial, trial.perfect)
    assert all(values.tolist() == [1] * 8 for values in found.values())
    backwards = trial.score(trial, lambda *asked: 1 - trial.perfect(*asked))
    assert backwards["model contrast"].tolist() == [-1] * 8
    got = means(trial, ["random", "the image", "LayerHiResCam"], "model contrast")
    assert got["random"] == got["the image"] == 0  # they do not know which network it is
    assert got["LayerHiResCam"] > 0.2


# --- what is said in benchmarks/README.md ---


def test_the_orders_that_are_called_settled_are_so_in_the_committed_results():
    folder = Path(__file__).parent.parent / "benchmarks" / "results"
    results = Results.load(folder / "truth_cams--cpu.json")
    found = truths.columns(results)
    assert all(column.values.shape[1:] == (4, 16) for column in found.values())
    cams = [m for m in results.cells if m.startswith("Layer")]
    best = truths.beaten(found["grids"], "LayerHiResCam", cams)
    assert set(best) == set(cams) - {"LayerHiResCam"}
    for task, others in (("triggers", set()), ("scenes", {"LayerEigenCam, middle layer"})):
        best = truths.beaten(found[task], "LayerRefineCam", cams)
        assert set(best) == set(cams) - {"LayerRefineCam"} - others
    for method, share in (("LayerHiResCam", 0.99), ("LayerLayerCam", 0.99), ("LayerGradCam", 0.48)):
        inside = [
            value
            for item, cell in results.cells[method].items()
            if item.startswith("grids")
            for value in cell["scores"]["DiFull"]["evidence in the cell"]
        ]
        assert np.mean(inside) == pytest.approx(share, abs=0.006)
