"""The league where the truth is known: tested by what must come out."""

import functools
import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import friedmanchisquare

from captum_cnn_ext import cli
from captum_cnn_ext.bench import Results, truths
from captum_cnn_ext.bench.results import joined
from captum_cnn_ext.bench.truths import fingerprints
from captum_cnn_ext.bench.truths.networks import Training, fit, small_cnn
from captum_cnn_ext.bench.truths.ranks import Column
from captum_cnn_ext.bench.truths.tasks import hand_built_network
from captum_cnn_ext.render import show_score_table

SETTINGS = truths.TruthSettings(images=4)
FAST = ("the truth", "random", "gaussian", "LayerGradCam", "InputXGradient")
MINE = """
import torch
from torch import nn
from captum_cnn_ext.bench import truths

def trials(seed, images, training):
    x = torch.zeros(images, 3, 16, 16)
    masks = torch.zeros(images, 16, 16, dtype=torch.bool)
    for n in range(images):
        masks[n, n : n + 4, 3:9] = True
        x[n, :, masks[n]] = 1
    model = nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)).eval()
    for p in model.parameters():
        nn.init.constant_(p, 1.0)
    nn.init.zeros_(model[0].bias)
    target = torch.zeros(images, dtype=torch.long)
    return [truths.Trial("mine", model, x, target, masks, layers=("1", "1"))]

TASKS = {"mine": truths.Task("mine", "Where is the square?", "rank accuracy", trials)}
METHODS = {"light": lambda subject, x, target: x, "dark": lambda subject, x, target: -x}
"""


def run(tasks=("built",), seeds=(0,), methods=FAST, **options):
    results = Results(SETTINGS.to_dict())
    every = truths.contenders()
    truths.run_truths({t: truths.TASKS[t] for t in tasks}, seeds, {m: every[m] for m in methods},
                      SETTINGS, results, **options)  # fmt: skip
    return results


def scores(results):
    return {
        (method, item): cell["scores"]
        for method, cells in results.cells.items()
        for item, cell in cells.items()
    }


def shapley(value, players):
    found = []
    for one in range(players):
        total = 0.0
        for there in itertools.product((0, 1), repeat=players):
            if there[one]:
                continue
            weight = math.factorial(sum(there)) * math.factorial(players - 1 - sum(there))
            joined_by = (*there[:one], 1, *there[one + 1 :])
            total += weight * (value[joined_by] - value[there])
        found.append(total / math.factorial(players))
    return found


@pytest.mark.parametrize("label", range(4))
def test_the_built_networks_contributions_are_shapley_values(label):
    random = np.random.default_rng(0)
    weights = torch.tensor([0.6, 1.4, 0.9, 1.1])
    model = hand_built_network.network(weights)
    x, amounts = hand_built_network.draw(1, random)
    row = torch.zeros(8, 8)
    row[3] = 1  # eight players, the others are not there
    x, amounts = x * row.repeat_interleave(4, 0).repeat_interleave(4, 1), amounts * row
    found = hand_built_network.contributions(amounts, torch.tensor([label]), weights)
    coalitions = list(itertools.product((0, 1), repeat=8))
    there = torch.zeros(256, 1, 8, 8)
    there[:, 0, 3] = torch.tensor(coalitions).float()
    with torch.no_grad():
        seen = model(x * there.repeat_interleave(4, 2).repeat_interleave(4, 3))[:, label]
    value = dict(zip(coalitions, seen.tolist(), strict=True))
    assert found[0, 3].tolist() == pytest.approx(shapley(value, 8), abs=1e-5)
    assert float(found.sum()) == pytest.approx(value[(1,) * 8], abs=1e-5)


def test_the_truth_is_perfect_and_controls_are_at_chance():
    results = run(seeds=range(6), methods=("the truth", "random", "gaussian"))
    column = truths.columns(results)["built"]
    assert column.interval("the truth").mean == 1
    for control in ("random", "gaussian"):
        interval = column.interval(control)
        assert interval.low < 0 < interval.high
        assert abs(interval.mean) < 0.1


def test_a_method_that_is_right_by_construction_wins():
    results = run(methods=(*FAST, "IntegratedGradients", "DeepLift", "Lime, 64 squares"))
    column = truths.columns(results)["built"]
    for good in ("IntegratedGradients", "DeepLift", "Lime, 64 squares"):
        assert column.interval(good).mean > 0.9
        assert {"random", "gaussian"} <= set(truths.beaten(column, good, column.methods))
    assert not truths.beaten(column, "random", column.methods)


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    def stop(results):
        results.save(tmp_path / "r.json")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(seeds=(0, 1), save=stop)
    kept = Results.load(tmp_path / "r.json")
    assert len(kept) == len(FAST)
    calls = []
    every = truths.contenders()

    def counted(method):
        @functools.wraps(method)
        def run(*asked):
            calls.append(method)
            return method(*asked)

        return run

    methods = {m: every[m] if m == "the truth" else counted(every[m]) for m in FAST}
    tasks = {"built": truths.TASKS["built"]}
    truths.run_truths(tasks, (0, 1), methods, SETTINGS, kept)
    assert len(calls) == len(FAST) - 1
    assert scores(kept) == scores(run(seeds=(0, 1)))


def test_shares_of_the_items_merge_into_the_same_results(tmp_path):
    parts = []
    for rank in range(2):
        part = run(seeds=range(3), only=lambda number, rank=rank: number % 2 == rank)
        parts.append(tmp_path / f"{rank}.json")
        part.save(parts[-1])
    assert scores(joined(SETTINGS.to_dict(), parts)) == scores(run(seeds=range(3)))


def test_a_method_that_fails_is_a_result():
    def broken(subject, x, target):
        raise ValueError("no such layer")

    every = truths.contenders({"broken": broken})
    results = Results(SETTINGS.to_dict())
    methods = {m: every[m] for m in ("the truth", "random", "broken")}
    truths.run_truths({"built": truths.TASKS["built"]}, [0], methods, SETTINGS, results)
    assert truths.columns(results)["built"].methods == ("the truth", "random")
    text = truths.markdown(results, truths.TASKS)
    assert "broken does not work on 1 item(s): built/0: built: ValueError: no such layer" in text


def test_judges_that_need_no_truth_are_kept_beside_the_scores():
    settings = truths.TruthSettings(images=3, judged=2)
    results = Results(settings.to_dict())
    every = truths.contenders()
    names = ("the truth", "random", "LayerGradCam", "InputXGradient", "Saliency", "DeepLift")
    truths.run_truths({"built": truths.TASKS["built"]}, [0], {m: every[m] for m in names},
                      settings, results)  # fmt: skip
    cell = results.cells["LayerGradCam"]["built/0"]
    assert set(cell["judges"]["built"]) == set(truths.JUDGES)
    assert all(len(values) == 2 for values in cell["judges"]["built"].values())
    assert "judges" not in results.cells["the truth"]["built/0"]
    assert set(truths.trust(results)) == set(truths.JUDGES)
    text = truths.markdown(results, truths.TASKS)
    assert "## Which judge can be trusted?" in text
    assert "| infidelity | " in text
    with pytest.raises(ValueError, match="no score on all of this task; nearest: 'Saliency'"):
        truths.columns(results)["built"].interval("Salience")


def test_what_was_judged_is_written_down_by_hashes():
    one, two = (run(methods=("the truth",), seeds=(seed,)) for seed in (0, 1))
    about = [r.cells["the truth"][f"built/{n}"]["about"]["built"] for n, r in enumerate((one, two))]
    assert about[0]["images hash"] != about[1]["images hash"]
    assert about[0]["network hash"] != about[1]["network hash"]
    again = run(methods=("the truth",)).cells["the truth"]["built/0"]["about"]["built"]
    assert again == about[0]


def test_ranks_and_the_critical_difference_are_demsars():
    # his own example: 4 classifiers on 14 data sets, critical difference 1.25 at 5 %
    random = np.random.default_rng(0)
    values = random.normal(size=(4, 14))
    names = tuple("abcd")
    found = {
        str(task): Column(names, values[:, task, None, None], np.zeros((4, 1)))
        for task in range(14)
    }
    ranked = truths.ranking(found)
    assert ranked.critical == pytest.approx(1.25, abs=0.01)
    assert ranked.p == pytest.approx(friedmanchisquare(*values).pvalue)
    ranks = [1 + sum(values[:, task] > values[0, task]) for task in range(14)]
    assert ranked.ranks["a"] == pytest.approx(np.mean(ranks))
    assert "a" not in truths.ranking(found, without=["a"]).ranks


def test_intervals_hold_the_mean_of_a_known_distribution():
    hits = 0
    for trial in range(40):
        random = np.random.default_rng(trial)
        seeds = random.normal(size=(8, 1))
        cell = {"scores": {"t": {"s": [0.0] * 16}}}
        values = 0.5 * seeds + random.normal(size=(8, 16))
        results = Results(
            SETTINGS.to_dict(),
            cells={
                "m": {
                    f"t/{s}": {"scores": {"t": {"s": row.tolist()}}} for s, row in enumerate(values)
                },
                "zero": {f"t/{s}": cell for s in range(8)},
            },
        )
        column = truths.columns(results)["t"]
        interval = column.interval("m")
        hits += interval.low < 0 < interval.high
        assert interval.mean == pytest.approx(values.mean())
        difference = column.difference("m", "zero")
        assert (difference.low, difference.high) == (interval.low, interval.high)
    assert hits >= 32  # 95 % of 40 is 38; eight seeds make them a little narrow


def test_training_learns_keeps_and_leaves_the_random_state(tmp_path):
    draws = []

    def draw():
        draws.append(1)
        x = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        y = torch.arange(64) % 2
        x[y == 1, 0] += 1
        return x, y

    state = torch.get_rng_state()
    training = Training(tmp_path)
    one = training("red", small_cnn(2, 0), draw, steps=30)
    two = training("red", small_cnn(2, 0), draw, steps=30)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(draws) == 1
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    x, y = draw()
    assert float((one(x).argmax(1) == y).float().mean()) > 0.95
    training("red", small_cnn(2, 1), draw, steps=30)  # another start, and another schedule
    training("red", small_cnn(2, 0), draw, steps=31)
    assert len(draws) == 4
    again = small_cnn(2, 0)
    fit(again, x, y, 30)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))


def code_of(tmp_path, text, *more):
    file = tmp_path / f"{abs(hash(text))}.py"
    file.write_text(text)
    return fingerprints.code_fingerprint([file], *more)


def test_what_changes_results_changes_the_hash_and_nothing_else_does(tmp_path):
    plain = "import math\n\ndef area(r):\n    return math.pi * r * r\n\nSIZE = 3\n"
    words = '"""Circles."""\nimport math  # of Python\n\nSIZE = 3\n\n\ndef area(r):\n'
    words += (
        '    """Of a circle."""\n    import math\n    # r squared\n    return (math.pi * r * r)\n'
    )
    one = code_of(tmp_path, plain)
    assert code_of(tmp_path, words) == one
    for other in (plain.replace("SIZE = 3", "SIZE = 4"), plain.replace("r * r", "r + r")):
        assert code_of(tmp_path, other) != one
    assert code_of(tmp_path, plain, 4e-3) not in (one, code_of(tmp_path, plain, 5e-3))


def test_a_result_depends_on_its_task_and_method_and_not_on_the_table():
    every, tasks = truths.contenders(), truths.TASKS
    names = {file.name for file in fingerprints._computing()}
    assert {
        "league.py",
        "metrics_without_truth.py",
        "relevance.py",
        "layer_recording.py",
        "run.py",
    } <= names
    assert not {"table.py", "ranks.py", "trust.py", "grids.py"} & names
    files = {file.name for file in fingerprints.files_of(tasks["grids"].trials)}
    assert files == {"grids.py", "triggers.py"}  # whose pictures it takes
    codes = {
        fingerprints.result_code(task.trials, every[m])
        for task in tasks.values()
        for m in ("random", "LayerGradCam")
    }
    assert len(codes) == len(tasks)

    def mine(subject, x, target):
        return x

    assert fingerprints.result_code(tasks["grids"].trials, mine) not in codes


def test_a_cell_that_other_code_made_is_made_again():
    results = run()
    results.cells["random"]["built/0"]["code"] = "of yesterday"
    results.cells["random"]["built/0"]["scores"] = {}
    before = results.cells["gaussian"]["built/0"]
    every = truths.contenders()
    truths.run_truths({"built": truths.TASKS["built"]}, [0], {m: every[m] for m in FAST},
                      SETTINGS, results)  # fmt: skip
    assert scores(results) == scores(run())
    assert results.cells["gaussian"]["built/0"] is before


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return ["bench", "--truth", "quick", "--no-progress", "--adapters", "mine.py"]


@pytest.mark.slow
def test_a_third_party_adds_a_task_and_methods(mine, tmp_path, capsys):
    asked = [*mine, "--tasks", "mine,built", "--methods", "light,dark,gradcam,LayerLayerCam"]
    assert cli.main(asked) == 0
    said = capsys.readouterr().out
    assert "\nlight " in said
    assert max(map(len, said.splitlines())) <= 100
    assert "| light |" in (tmp_path / "truth.md").read_text()
    found = json.loads((tmp_path / "truth.json").read_text())
    names = set(found["cells"])
    assert {"LayerGradCam", "LayerGradCam, middle layer", "LayerLayerCam", "the truth"} <= names
    light, dark = (
        found["cells"][m]["mine/0"]["scores"]["mine"]["rank accuracy"] for m in ("light", "dark")
    )
    assert light == [1.0] * 16
    assert dark == [0.0] * 16
    assert (tmp_path / "truth.png").stat().st_size > 10_000
    assert "# Attribution methods judged" in (tmp_path / "truth.md").read_text()
    assert str(tmp_path) not in (tmp_path / "truth.json").read_text()
    assert cli.main(asked) == 0
    assert "are there already" in capsys.readouterr().err
    assert json.loads((tmp_path / "truth.json").read_text()) == found
    own = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text(own.replace("target: -x}", "target: x}"))
    assert cli.main(asked) == 0
    stale = len(found["cells"]) + 2  # the file's task, and its methods on the other one
    assert f": {stale} of them by other code: made again" in capsys.readouterr().err
    again = json.loads((tmp_path / "truth.json").read_text())["cells"]
    assert again["dark"]["mine/0"]["scores"]["mine"]["rank accuracy"] == [1.0] * 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "shape"], "--tasks: 'shape' is no task; nearest: 'shapes'"),
        (["--methods", "LayerHiResCm"], "is not a known method; nearest: 'LayerHiResCam'"),
        (["--seeds", "0"], "expected an integer of at least 1"),
        (["--out", "x.txt"], "ends in .json"),
        (["--adapters", "nothing.py"], "--adapters nothing.py"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "--truth", "quick", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_network_that_does_not_learn_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(
        "from captum_cnn_ext.bench import truths\n"
        "def trials(seed, images, training):\n    raise RuntimeError('it learnt too little')\n"
        "TASKS = {'bad': truths.Task('bad', '?', 's', trials)}\n"
    )
    asked = ["bench", "--truth", "quick", "--tasks", "bad", "--adapters", "bad.py", "--no-progress"]
    assert cli.main(asked) == 2
    assert capsys.readouterr().err.endswith("--truth: it learnt too little\n")


def test_the_table_is_drawn_with_what_is_missing():
    _, axes = show_score_table(
        {"a": {"find": 0.8, "count": -0.3}, "b": {"find": 0.3}},
        cost={"a": 2.0, "b": 900.0},
        chance={"find": 0.3},
        best={"find": 1.0},
        marked=[("a", "find")],
        grey=["b"],
    )
    written = [text.get_text() for text in axes[0, 0].texts]
    assert written == ["a", "2", "0.80", "-0.30", "b", "900", "0.30", "passes"]
    bold = [t.get_text() for t in axes[0, 0].texts if t.get_weight() == "bold"]
    assert bold == ["0.80"]
    with pytest.raises(ValueError, match="rows with columns"):
        show_score_table({}, cost={}, chance={}, best={})


@pytest.mark.slow
def test_torchrun_shares_the_items_out(mine, tmp_path):
    asked = [*mine, "--tasks", "built", "--methods", "gradcam,saliency", "--seeds", "3"]
    assert cli.main(asked) == 0
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "captum_cnn_ext", *asked, "--out", "shared.json",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    one, two = (Results.load(tmp_path / f"{name}.json") for name in ("truth", "shared"))
    assert scores(one) == scores(two)
    assert not list(tmp_path.glob("*.part*"))
