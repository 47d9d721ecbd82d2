"""The benchmark command: resumable, shared out over processes, honest about failures."""

import itertools
import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from captum_cnn_ext import bench, cli
from captum_cnn_ext.bench import table
from captum_cnn_ext.bench.results import joined
from captum_cnn_ext.metrics import Interval
from captum_cnn_ext.render import show_cost_quality

SETTINGS = bench.Settings("tiny", "seeded", "0", steps=3, road_shares=(0.5,))
DEVICE = torch.device("cpu")
NET = """
import torch
from torch import nn
from torchvision.transforms import functional as F

def see(picture):
    return F.to_tensor(F.resize(picture, [32, 32]))

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(4, 3)).eval(), see
"""
TIMES = {"seconds", "forward_seconds", "peak_bytes"}


def tiny():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4, 3)).eval()


def images(count=3):
    made = torch.rand(count, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    return {f"photo {n}/whole": lambda n=n: made[n] for n in range(count)}


def figures(results):
    return {
        (method, image): {k: v for k, v in cell.items() if k not in TIMES}
        for method, cells in results.cells.items()
        for image, cell in cells.items()
    }


def chosen(*names):
    return {name: bench.METHODS[name] for name in names}


def whole_run(**options):
    results = bench.Results(SETTINGS.to_dict())
    methods = chosen("gaussian", "random", "LayerHiResCam", "NoiseTunnel(Saliency)")
    bench.run(tiny(), methods, images(), SETTINGS, results, device=DEVICE, **options)
    return results


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    path, calls = tmp_path / "r.json", []

    def stop(results):
        results.save(path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whole_run(save=stop)
    kept = bench.Results.load(path)
    assert len(kept) == 4
    assert not list(tmp_path.glob(".*"))
    methods = chosen("gaussian", "random", "LayerHiResCam", "NoiseTunnel(Saliency)")
    counted = {
        name: lambda *a, m=method, name=name: calls.append(name) or m(*a)
        for name, method in methods.items()
    }
    bench.run(tiny(), counted, images(), SETTINGS, kept, device=DEVICE)
    assert len(calls) == 2 * 4
    assert figures(kept) == figures(whole_run())


def test_shares_of_the_images_merge_into_the_same_results(tmp_path):
    parts = []
    for rank in range(2):
        part = whole_run(only=lambda number, rank=rank: number % 2 == rank)
        parts.append(tmp_path / f"{rank}.json")
        part.save(parts[-1])
    merged = joined(SETTINGS.to_dict(), parts)
    assert figures(merged) == figures(whole_run())
    other = bench.Results({**SETTINGS.to_dict(), "steps": 4})
    with pytest.raises(ValueError, match=r"other settings \(steps\)"):
        other.merge(merged)


def test_a_method_that_fails_is_a_result():
    def broken(subject, x, target):
        raise RuntimeError("not for this network")

    results = bench.Results(SETTINGS.to_dict())
    methods = {"broken": broken, **chosen("gaussian")}
    bench.run(tiny(), methods, images(1), SETTINGS, results, device=DEVICE)
    text = bench.markdown(results)
    assert "broken failed on 1 image(s): RuntimeError: not for this network" in text
    assert "| *gaussian* |" in text


def test_every_method_runs_on_a_small_network():
    results = bench.Results(SETTINGS.to_dict())
    bench.run(tiny(), bench.METHODS, images(1), SETTINGS, results, device=DEVICE)
    assert len(bench.METHODS) >= 14
    errors = {m: c for m, cells in results.cells.items() for c in cells.values() if "error" in c}
    assert not errors
    rows = bench.summarize(results)
    assert rows["LayerHiResCam"]["passes"] > 0
    assert rows["LayerHiResCam"]["peak_bytes"] > 0
    figure = bench.draw(results)
    assert len(figure.axes) == 2


def test_the_verdict_is_by_the_interval_of_the_difference():
    words = [table.verdict(Interval(0.1, *ends)) for ends in ((0.01, 0.2), (-0.1, 0.2), (-2, -1))]
    assert words == ["better", "not better", "worse"]
    results = whole_run()
    for method, gain in (("LayerHiResCam", 1.0), ("random", -1.0)):
        for image, cell in results.cells[method].items():
            cell["road"] = results.cells["gaussian"][image]["road"] + gain
    rows = bench.summarize(results)
    assert table.verdict(rows["LayerHiResCam"]["road_over_gaussian"]) == "better"
    assert table.verdict(rows["random"]["road_over_gaussian"]) == "worse"
    assert "road_over_gaussian" not in rows["gaussian"]


@pytest.mark.parametrize("costs", [(1.02, 1.02), (1.02, 1.31), (80.0, 81.0), (1.0, 900.0)])
def test_costs_that_hardly_differ_are_drawn_close_and_their_labels_apart(costs):
    quality = {"judge": {"a": (0.1, 0.0, 0.2), "b": (0.2, 0.1, 0.3)}}
    figure, axes = show_cost_quality(dict(zip("ab", costs, strict=True)), quality)
    (axis,) = axes.flat
    low, high = axis.get_xlim()
    assert low < min(costs) <= max(costs) < high
    assert high / low >= 9
    figure.canvas.draw()
    shown = [label for label in axis.get_xticklabels() if low <= label.get_position()[0] <= high]
    boxes = sorted((label.get_window_extent() for label in shown), key=lambda box: box.x0)
    assert len(boxes) >= 2
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_the_picture_refuses_what_has_no_cost():
    with pytest.raises(ValueError, match="costs above 0"):
        show_cost_quality({"a": 0.0}, {"q": {"a": (1, 0, 2)}})


ARGUMENTS = [
    "bench", "--steps", "2", "--road-shares", "0.5", "--variants", "1", "--no-progress",
    "--methods", "gaussian,LayerHiResCam,NoiseTunnel(Saliency)", "--layer", "0",
]  # fmt: skip


@pytest.fixture
def net(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return [*ARGUMENTS, "--model", "net.py:build"]


def test_the_command_writes_table_picture_and_figures(net, tmp_path, capsys):
    assert cli.main(net) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    for heading in ("passes", "insertion - deletion", "ROAD", "beats a blob?"):
        assert any(line.startswith(heading) for line in said.splitlines())  # is explained
    (row,) = (line for line in said.splitlines() if line.startswith("LayerHiResCam "))
    summary = bench.summarize(bench.Results.load(tmp_path / "bench.json"))["LayerHiResCam"]
    judged = [f"{summary[key].mean:.3f}" for key in ("insertion_minus_deletion", "road")]
    assert row.split()[1:4] == [f"{summary['passes']:.1f}", *judged]
    assert "| LayerHiResCam |" in (tmp_path / "bench.md").read_text()
    assert "{" not in (tmp_path / "bench.md").read_text()
    first = json.loads((tmp_path / "bench.json").read_text())
    assert len(first["cells"]["LayerHiResCam"]) == 4
    assert set(first["machine"]) >= {"device", "versions", "commit", "threads"}
    assert (tmp_path / "bench.png").stat().st_size > 10_000
    assert str(tmp_path) not in (tmp_path / "bench.json").read_text()
    assert cli.main(net) == 0
    assert "12 maps are there already" in capsys.readouterr().err
    assert json.loads((tmp_path / "bench.json").read_text()) == first
    assert cli.main([*net, "--seed", "1"]) == 2
    assert "other settings (seed)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "LayerHiResCm"], "is not a known method; nearest: 'LayerHiResCam'"),
        (["--road-shares", "2"], "expected numbers between 0 and 1"),
        (["--steps", "0"], "--steps: '0': expected an integer"),
        (["--out", "x.txt"], "ends in .json"),
        (["--variants", "11"], "expected an integer from 1 to 10"),
        (["--layer", "conv9"], "has no such layer"),
        (["--adapters", "nothing.py"], "--adapters nothing.py"),
        (["--adapters", "empty.py"], "empty.py: defines neither METHODS nor TASKS"),
    ],
)
def test_wrong_arguments_are_one_line(net, arguments, message, tmp_path, capsys):
    (tmp_path / "empty.py").write_text("def mine(subject, x, target): ...\n")
    assert cli.main([*net, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_adapters_join_the_table(net, tmp_path, capsys):
    (tmp_path / "more.py").write_text("METHODS = {'mine': lambda subject, x, target: x}\n")
    assert cli.main([*net, "--adapters", "more.py", "--methods", "mine,gaussian"]) == 0
    assert "\nmine " in capsys.readouterr().out


def test_methods_go_by_the_names_of_list_methods(net, capsys):
    asked = "saliency, gradcam,fem,layerlayercam,smoothgrad,LayerPoly"
    assert cli.main([*net, "--methods", asked]) == 2
    assert "'LayerPoly' is not a known method; nearest: 'LayerPolyCam'" in capsys.readouterr().err
    assert cli.main([*net, "--methods", asked.replace("LayerPoly", "PolyCam")]) == 0
    said = capsys.readouterr().out
    names = ["Saliency", "LayerGradCam", "LayerFem", "LayerLayerCam", "LayerPolyCam"]
    for name in [*names, "NoiseTunnel(Saliency)", "gaussian"]:
        assert f"\n{name} " in said
    assert cli.main([*net, "--methods", "DeconvNet"]) == 2
    assert "DeconvNet gives no map for a class" in capsys.readouterr().err


@pytest.mark.slow
def test_torchrun_shares_the_images_out(net, tmp_path):
    assert cli.main(net) == 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "captum_cnn_ext", *net, "--out", "shared.json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    one, two = (bench.Results.load(tmp_path / f"{n}.json") for n in ("bench", "shared"))
    ours, theirs = figures(one), figures(two)
    assert list(ours) == list(theirs)
    for key, cell in ours.items():
        assert cell == pytest.approx(theirs[key], abs=1e-6)
    assert not list(tmp_path.glob("*.part*"))
