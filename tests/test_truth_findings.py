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
from captum_cnn_ext.methods import NO_MAP, known_methods

METHODS = truths.contenders()


@pytest.fixture(scope="module")
def training(shared_folder):
    return truths.Training(shared_folder / "networks")


def first_scores(trials, explain):
    """The mean of the table's figure over all images of all trials."""
    found = [next(iter(t.score(t, explain(t)).values())) for t in trials]
    return float(torch.cat(found).mean())


def shuffled(trial):
    """The truth with its pixels in another order, the same for every question."""
    generator = torch.Generator().manual_seed(0)

    def explain(*asked):
        maps = trial.perfect(*asked)
        flat = maps.flatten(1)
        order = torch.rand(flat.shape, generator=generator).argsort(1)  # each image its own
        return flat.gather(1, order).reshape(maps.shape)

    return explain


@pytest.fixture
def one_background_is_learnt(training, monkeypatch):
    """Twelve networks of one task are four: the truth and its score do not ask for the others."""
    learnt, sure = set(), tetrominoes.sure

    def trained(name, model, *given, **settings):
        if name.startswith("tetrominoes") and "-photo-" not in name:
            return model
        learnt.add(model)
        return training(name, model, *given, **settings)

    def chosen(model, images, labels, count):
        found = torch.arange(count), 0.0
        return sure(model, images, labels, count) if model in learnt else found

    monkeypatch.setattr(tetrominoes, "sure", chosen)
    return trained


@pytest.mark.slow
@pytest.mark.parametrize("task", truths.TASKS)
def test_the_truth_scores_1_and_shuffled_it_is_at_chance(task, one_background_is_learnt):
    trials = truths.TASKS[task].trials(0, 16, one_background_is_learnt)
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
        assert got < 0.1 < means(trial, [name], "mass accuracy")[name], (name, got)


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


# --- the committed league, and what benchmarks/README.md says of it -------------------------------


@pytest.fixture(scope="module")
def results():
    folder = Path(__file__).parent.parent / "benchmarks" / "results"
    return Results.load(folder / "truth--cpu.json")


@pytest.fixture(scope="module")
def found(results):
    return truths.columns(results)


def mean_of(results, method, task, trials, score):
    """The mean of a score over seeds and images of the trials whose names start so."""
    return np.mean(
        [
            value
            for item, cell in results.cells[method].items()
            if item.startswith(f"{task}/")
            for trial, scores in cell["scores"].items()
            if trial.startswith(trials)
            for value in scores[score]
        ]
    )


def test_the_committed_league_is_whole(results, found):
    assert set(found) == set(truths.TASKS)
    assert all(column.values.shape[1] == 5 for column in found.values())
    everywhere = set.intersection(*(set(column.methods) for column in found.values()))
    assert len(everywhere - set(truths.CONTROLS)) >= 80
    assert set(truths.CONTROLS) <= everywhere
    missing = set(METHODS) - everywhere
    assert missing == {"LayerCam"}  # DiFull has no pooled layer with a linear layer behind
    facts = {
        item: about
        for item, cell in results.cells["the truth"].items()
        for about in cell["about"].values()
    }
    assert len(facts) == 40
    for kind in ("images hash", "generator hash", "network hash"):
        assert all(len(about[kind]) == 12 for about in facts.values())
    assert len({about["network hash"] for about in facts.values()}) == 40
    assert all(about.get("accuracy", 1) > 0.75 for about in facts.values())
    assert {"torch", "captum", "grad-cam", "torchcam"} <= set(results.machine["versions"])


def test_controls_are_at_chance_and_the_truth_is_perfect(found):
    chance = {"built": 0, "deletion": 0, "scenes": 0, "grids": 0.25, "triggers": 25 / 1024}
    for task, column in found.items():
        # a part without which the score rises is no part that counts, for the protocol of parts
        assert column.interval("the truth").mean == pytest.approx(1, abs=0.01)
        if task in chance:
            assert column.interval("random").mean == pytest.approx(chance[task], abs=0.04)
        assert not truths.beaten(column, "random", ["LayerHiResCam", "InputXGradient"])


def test_edges_beat_many_methods_on_the_rigid_task_of_the_league(results, found):
    def precision(method):
        return mean_of(results, method, "tetrominoes", "rigid", "precision")

    edges = max(precision(control) for control in ("Sobel edges", "Laplace edges"))
    assert edges > 2 * precision("random")
    methods = [m for m in found["tetrominoes"].methods if m not in truths.CONTROLS]
    assert sum(edges > precision(method) for method in methods) >= 10


def test_occlusion_beats_gradients_on_triggers_but_not_gradients_times_the_image(found):
    column, occlusion = found["triggers"], "Occlusion(small windows)"
    gradients = ["Saliency", "NoiseTunnel(Saliency)", "GuidedBackprop", "Deconvolution"]
    assert truths.beaten(column, occlusion, gradients) == gradients
    assert not truths.beaten(column, occlusion, ["InputXGradient", "IntegratedGradients"])


def test_noise_and_magnitudes_lower_single_deletion_in_the_league(found):
    column, plain = found["deletion"], "InputXGradient"
    assert truths.beaten(column, plain, [f"NoiseTunnel({plain})"])
    of_magnitudes = column.difference(plain, f"abs({plain})")  # lower, but not settled
    assert of_magnitudes.low < 0 < of_magnitudes.mean


def test_in_difull_no_evidence_lies_outside_for_products_of_gradients(results):
    inside = {
        method: mean_of(results, method, "grids", "DiFull", "evidence in the cell")
        for method in ("LayerHiResCam", "LayerLayerCam", "InputXGradient", "LayerGradCam")
    }
    assert min(inside[m] for m in list(inside)[:3]) > 0.98
    assert inside["LayerGradCam"] < 0.6


def test_the_advice_is_sorted_by_the_league(found):
    ranks = truths.ranking(found, [truths.CONTROLS[0]]).ranks
    for name, known in known_methods().items():
        at = [ranks[m] for m in (name, f"{name}, middle layer") if m in ranks]
        assert known.mean_rank == (round(min(at), 1) if at else None), name
        assert known.advice or known.at == NO_MAP or not at


MIDDLE = ", middle layer"
ONE_LAYER = (
    "LayerHiResCam", "LayerGradCam", "LayerGradCamPlusPlus", "LayerXGradCam", "LayerLayerCam",
    "LayerEigenCam", "LayerEigenGradCam", "LayerScoreCam", "LayerAblationCam", "LayerReciproCam",
    "LayerFem", "LayerKPCACam", "LayerOptiCam", "LayerSSCam", "LayerISCam",
)  # fmt: skip
CAMS = [*ONE_LAYER, *(f"{name}{MIDDLE}" for name in ONE_LAYER), "LayerRefineCam", "LayerPolyCam"]


def test_the_orders_that_are_called_settled_are_so(found):
    best, middle, refined = "LayerHiResCam", f"LayerHiResCam{MIDDLE}", "LayerRefineCam"

    def above(task, method, *others):
        return truths.beaten(found[task], method, others) == list(others)

    def of(task):
        return [m for m in CAMS if m in found[task].methods]

    assert len(of("grids")) >= 28
    assert above("grids", best, *(m for m in of("grids") if m != best))
    assert above("built", middle, *(m for m in of("built") if m != middle))
    for task in ("triggers", "shapes", "scenes", "built"):
        assert above(task, middle, best)
        assert above(task, f"LayerLayerCam{MIDDLE}", "LayerLayerCam")
    for task in ("triggers", "shapes", "scenes"):
        assert above(task, refined, best, "LayerGradCam")
    for task in ("parts", "grids"):
        assert above(task, best, refined)
    for task, column in found.items():  # one map where a layer is pooled and classified
        same = column.difference(best, "LayerGradCam")
        assert (abs(same.low) < 1e-3) == (abs(same.high) < 1e-3) == (task != "grids")
