"""The tasks whose truth is known: what is drawn, what networks cannot see, how scores are made."""

import itertools

import numpy as np
import pytest
import torch

from captum_cnn_ext import metrics
from captum_cnn_ext.bench import Results, truths
from captum_cnn_ext.bench.methods import Subject
from captum_cnn_ext.bench.run import scores
from captum_cnn_ext.bench.truths import league, metrics_without_truth
from captum_cnn_ext.bench.truths.networks import small_cnn
from captum_cnn_ext.bench.truths.tasks import (
    bird_parts,
    grids,
    scenes,
    single_deletion,
    tetrominoes,
    triggers,
)

METHODS = truths.contenders()


def maps(name, model, x, target, layer="relu4", middle="relu2"):
    return METHODS[name](Subject(model, layer, 0, middle), x.clone(), target).detach()


# --- grids --------------------------------------------------------------------------------------


def test_cells_are_laid_out_as_they_were_taken_apart():
    x = torch.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8)
    cells = grids.taken_apart(x)
    assert torch.equal(cells[1], x[0, :, :4, 4:])  # the second of the first image: top right
    assert torch.equal(cells[6], x[1, :, 4:, :4])
    assert torch.equal(grids.laid_out(cells), x)


def test_a_disconnected_output_is_the_network_on_its_cell():
    whole = small_cnn(4, 0)
    apart = grids.Disconnected(whole)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = scores(apart, x).reshape(2, 4, 4)
    for cell, (rows, columns) in enumerate(itertools.product((slice(32), slice(32, 64)), repeat=2)):
        assert torch.allclose(found[:, cell], scores(whole, x[:, :, rows, columns]), atol=1e-5)


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning")  # DeepLift
@pytest.mark.parametrize(
    "name",
    ["LayerHiResCam", "LayerLayerCam", "LayerHiResCam, middle layer", "Saliency", "InputXGradient",
     "IntegratedGradients", "GuidedBackprop", "DeepLift"],
)  # fmt: skip
def test_no_evidence_lies_outside_the_head_of_a_disconnected_network(name):
    apart = grids.Disconnected(small_cnn(4, 0))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([1, 14])  # cells 0 and 3
    found = maps(name, apart, x, target).abs().sum(1)
    half = found.shape[1] // 2
    inside = found[0, :half, :half].sum(), found[1, half:, half:].sum()
    for one, mine in zip(found, inside, strict=True):
        assert float(mine) > 0
        assert float(one.sum()) == pytest.approx(float(mine), rel=1e-5)


def test_means_of_gradients_put_evidence_where_there_can_be_none():
    apart = grids.Disconnected(small_cnn(4, 0))
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = maps("LayerGradCam", apart, x, torch.tensor([1])).abs()[0, 0]
    assert float(found[8:].sum() + found[:8, 8:].sum()) > float(found[:8, :8].sum())


# --- tetrominoes --------------------------------------------------------------------------------


@pytest.mark.parametrize("ground", tetrominoes.BACKGROUNDS)
@pytest.mark.parametrize("signal", tetrominoes.SIGNALS)
def test_a_tetromino_is_where_the_mask_says(signal, ground):
    x, labels, masks = tetrominoes.draw(signal, ground, 12, np.random.default_rng(0))
    noise = tetrominoes.backgrounds(ground, 12, np.random.default_rng(0))
    blocks = 8 if signal == "xor" else 4
    assert masks.sum((1, 2)).tolist() == [16 * blocks] * 12
    added = x[:, 0] - noise
    assert torch.equal(added.abs() > 1e-6, masks & (added.abs() > 1e-6))
    assert float((added.abs() > 1e-6).sum()) > 0.95 * float(masks.sum())
    assert set(labels.tolist()) == {0, 1}
    if signal == "xor":
        t, ell = (added * tetrominoes.stamp(s, *tetrominoes.PLACES[s]) for s in "TL")
        same = t.sum((1, 2)).sign() == ell.sum((1, 2)).sign()
        assert torch.equal(same, labels == 0)
    if signal == "linear":
        for mask, label in zip(masks, labels, strict=True):
            shape = "TL"[int(label)]
            assert torch.equal(mask, tetrominoes.stamp(shape, *tetrominoes.PLACES[shape]) > 0)


def test_a_network_that_does_not_learn_is_tried_again_from_another_start():
    tried = []

    def training(name, model, draw, **options):
        tried.append((name, float(next(model.parameters()).detach().sum())))
        return model

    with pytest.raises(RuntimeError, match="the network is right and sure about 0 of 128 images"):
        tetrominoes._trial("linear", "white", 0, 4, training)
    names, starts = zip(*tried, strict=True)
    assert len(set(names)) == len(set(starts)) == tetrominoes.ATTEMPTS


def test_backgrounds_are_standard_and_correlated_ones_are_smooth():
    random = np.random.default_rng(0)
    for kind in tetrominoes.BACKGROUNDS:
        noise = tetrominoes.backgrounds(kind, 8, random)
        assert noise.mean((1, 2)).abs().max() < 1e-5
        assert noise.std((1, 2)).tolist() == pytest.approx([1] * 8, abs=1e-4)
        step = float((noise[:, 1:] - noise[:, :-1]).std())
        assert step > 1.2 if kind == "white" else step < 0.8


# --- parts --------------------------------------------------------------------------------------


def test_a_removed_part_leaves_everything_else_as_it_was():
    scene = bird_parts.draw([0, 1, 2, 0, 1], np.random.default_rng(0))
    whole = scene.picture(bird_parts.SUBSETS[-1])
    assert not bool(
        (scene.masks[:, None] & scene.masks[None])[~torch.eye(7, dtype=torch.bool)].any()
    )
    for part in range(5):
        there = tuple(p != part for p in range(5))
        changed = (scene.picture(there) != whole).any(0)
        assert bool(changed.any())
        assert torch.equal(changed & scene.masks[part], changed)


def test_sufficient_parts_tell_a_class_from_all_others_and_none_less():
    kinds = bird_parts.classes(3)
    for label in range(bird_parts.CLASSES):
        found = bird_parts.sufficient(kinds, label)
        for chosen in found:
            like = [
                c
                for c in range(bird_parts.CLASSES)
                if all(kinds[c, p] == kinds[label, p] for p in chosen)
            ]
            assert like == [label]
            for part in chosen:
                less = chosen - {part}
                like = [
                    c for c in range(bird_parts.CLASSES)
                    if all(kinds[c, p] == kinds[label, p] for p in less)
                ]  # fmt: skip
                assert len(like) > 1


def facts_of_sums():
    """Scores are sums over parts: class 0 lives by parts 0 and 1, class 1 by 0, class 2 by 2."""
    weights = torch.tensor([[3.0, 2, 0], [2, 0, 0], [1, 0, 2], [0, 0, 0], [0, 0, 0]])
    logits = torch.tensor(bird_parts.SUBSETS).float() @ weights
    logits[:, 1] += 1.5  # without its parts the picture is of class 1
    masks = torch.zeros(7, 14, 14, dtype=torch.bool)
    for n in range(7):
        masks[n, 2 * n : 2 * n + 2] = True
    return bird_parts.Facts(masks, logits, [0, 1], [{0, 1}], ((1, [0]), (2, [2])), 0)


def test_the_truth_gets_the_best_of_every_score_of_parts():
    fact = facts_of_sums()

    def truth(inputs=None, target=None, model=None):
        asked = 0 if target is None else int(target[0])
        drops = fact.drops(asked)
        return (drops[:, None, None] * fact.masks[:5]).sum(0, keepdim=True).float()

    found = bird_parts.judged([fact], truth)
    assert {name: float(values) for name, values in found.items()} == pytest.approx(
        dict.fromkeys(found, 1.0)
    )
    opposite = bird_parts.judged([fact], lambda *a: -truth(*a))
    assert float(opposite["correctness"]) == pytest.approx(0, abs=0.25)
    assert float(opposite["contrastivity"]) == 0
    blind = bird_parts.judged([fact], lambda *a: truth())
    assert float(blind["contrastivity"]) == 0.5  # right for one of the two classes
    around = bird_parts.judged([fact], lambda *a: fact.masks[5:].any(0)[None].float())
    assert float(around["completeness"]) == pytest.approx((1 / 3 * 0 + 0 + 0) / 2)


# --- triggers, scenes, deletion -----------------------------------------------------------------


def test_a_trigger_is_where_its_mask_is_and_nowhere_else():
    random = np.random.default_rng(0)
    x, _ = triggers.draw(6, random)
    for kind in ("patch", "tag"):
        planted, masks = triggers.planted(x, kind, 1, random)
        assert masks.sum((1, 2)).tolist() == [25] * 6
        assert torch.equal((planted != x).any(1) & ~masks, torch.zeros_like(masks))
        pattern = triggers.pattern(kind, 1)
        assert torch.equal(planted[2][:, masks[2]], pattern.flatten(1))
    assert torch.equal(masks[0], masks[5])  # the tag stays in its corner


def test_what_is_unimportant_leaves_every_output():
    model = small_cnn(4, 0)
    _, empty, masks, _, _ = scenes.draw(3, np.random.default_rng(0))
    patched = scenes.unimportant(model, empty, masks)
    before, after = scores(model, empty), scores(model, patched)
    assert bool(((patched != empty).any(1) == masks).all())
    random = torch.where(masks[:, None], torch.randn(empty.shape), empty)
    assert float((after - before).abs().max()) < 0.3 * float(
        (scores(model, random) - before).abs().max()
    )


def test_deleted_patches_are_grey_and_whole():
    x = torch.rand(40, 3, 32, 32) + 1
    gone = (single_deletion.holed(x, np.random.default_rng(0)) == 0).all(1)
    cells = gone.reshape(40, 4, 8, 4, 8).float().mean((2, 4))
    assert set(cells.unique().tolist()) == {0, 1}
    assert float(cells.mean()) == pytest.approx(1 / 8, abs=0.03)


# --- judges ---------------------------------------------------------------------------------------


def test_judges_are_the_metrics_on_the_first_images():
    (trial,) = truths.TASKS["built"].trials(0, 4, truths.Training())
    explain = league._explain(trial, METHODS["LayerHiResCam"], 0, [])
    found = metrics_without_truth.judged(trial, explain, 2)
    assert set(found) == set(metrics_without_truth.JUDGES)
    x, target = trial.inputs[:2], trial.target[:2]
    heat = metrics.as_maps(maps("LayerHiResCam", trial.model, x, target), x)
    up, down = metrics.insertion_and_deletion(trial.model, x, heat, target, steps=16)
    assert found["insertion"] == pytest.approx(up.area.tolist(), abs=1e-4)
    assert found["deletion"] == pytest.approx(down.area.tolist(), abs=1e-4)
    same = metrics.single_deletion(trial.model, x, heat, target, grid=4)
    assert found["single deletion"] == pytest.approx(same.tolist(), abs=1e-4)
    still = metrics_without_truth.judged(
        trial, league._explain(trial, METHODS["the image"], 0, []), 2
    )
    assert still["parameter randomization"] == [1, 1]
    assert still["random logit"] == pytest.approx([1, 1])
    assert max(found["parameter randomization"]) < 0.9
    assert 0 < max(still["sensitivity"]) < max(found["sensitivity"]) * 50


def test_a_judge_that_orders_as_the_truth_has_tau_1():
    random = np.random.default_rng(0)
    cells = {}
    for n in range(12):
        said = {name: [n + random.normal(0, 30)] for name in metrics_without_truth.JUDGES}
        said["insertion"], said["ROAD"], said["deletion"] = [n * 2.0], [-n * 1.0], [-n * 3.0]
        cell = {"scores": {"t": {"s": [n / 12, n / 12]}, "other": {"s": [-n, -n]}}}
        cells[f"m{n}"] = {"task/0": {**cell, "judges": {"t": said}}}
    cells["random"] = {"task/0": {"scores": cells["m0"]["task/0"]["scores"]}}
    found = truths.trust(Results({}, cells=cells))
    assert found["insertion"]["task"].mean == pytest.approx(1)
    assert found["ROAD"]["task"].mean == pytest.approx(-1)
    assert found["deletion"]["task"].mean == pytest.approx(1)  # less is better
    assert found["ARCC"]["task"].low < 0.5
