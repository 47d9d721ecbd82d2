"""Targets of the audit, `explain`, the bench and synthesis: as `attr` explains them, and drawn."""

import json
from dataclasses import replace

import detectors
import models
import numpy as np
import pytest
import torch
from PIL import Image
from reports import pictures, run_code
from snapshots import nothing_left_behind
from torchvision import transforms

from captum_cnn_ext import attr, bench, cli, explain, metrics, targets
from captum_cnn_ext.errors import ArgumentError, TargetError
from captum_cnn_ext.insights import audit, compare
from captum_cnn_ext.insights.explorer import ExplorerSession
from captum_cnn_ext.insights.explorer.code_snippets import Snippets
from captum_cnn_ext.insights.explorer.views import Views
from captum_cnn_ext.insights.explorer.what_to_explain import chosen_target, target_choices
from captum_cnn_ext.models import LoadedModel
from captum_cnn_ext.photos import PhotoGeometry
from captum_cnn_ext.render import outlined

METHODS = ["Saliency", "Occlusion", "LayerGradCam", "LayerHiResCam", "NoiseTunnel(LayerHiResCam)"]
X = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def network(kind, seed=0):
    torch.manual_seed(seed)
    model = models._seeded(kind(3)).float().eval()
    if seed:
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    if kind is detectors.Spots:
        model.threshold = 0.5
    return model


CASES = {
    "a box": (detectors.Spots, targets.Boxes(0)),
    "an area": (detectors.Areas, targets.AnyClass(1)),
    "one for each": (detectors.Areas, [targets.Segment(1, at=(3, 4)), targets.Segment(2)]),
}


@pytest.fixture(scope="module", params=CASES)
def audited(request):
    kind, target = CASES[request.param]
    model = network(kind)
    done = audit(model, X, layers="block", methods=METHODS, target=target, mean=[0, 0, 0],
                 std=[1, 1, 1], seed=3, show_progress=False)  # fmt: skip
    each = target if isinstance(target, list) else [target] * 2
    fixed = [one.fixed(model(x))[0] for one, x in zip(each, X.split(1), strict=True)]
    return done, model, target, fixed


@pytest.mark.slow
def test_an_audit_explains_it(audited):
    done, model, target, fixed = audited
    assert not done.problems
    scores = [one(model(x)).item() for one, x in zip(fixed, X.split(1), strict=True)]
    np.testing.assert_allclose(done.arrays["explained_scores"], scores, rtol=1e-6)
    expected = attr.LayerHiResCam(model, "block").attribute(X, target)
    np.testing.assert_allclose(
        done.arrays["attributions/block/LayerHiResCam"], expected, rtol=1e-5, atol=1e-7
    )
    for n, (one, found) in enumerate(zip(fixed, done.manifest["photos"], strict=True)):
        assert found["explained"] == str(one)
        assert found["score"] == pytest.approx(scores[n])
        assert done.overview.saw[n] == f"photo {n + 1}: {one}, score {scores[n]:.3g}"
    up, down = metrics.insertion_and_deletion(model, X, expected, target, steps=8)
    areas = done.arrays["faithfulness/block/LayerHiResCam"]
    np.testing.assert_allclose(areas, [up.area, down.area], rtol=1e-5)
    page = done.to_html()
    assert str(fixed[0]) in page
    assert "explained_classes" not in done.arrays


def test_the_code_of_its_maps_gives_the_arrays(audited):
    done, model, _, _ = audited
    shown = {p.alt: p for p in pictures(done, "attributions") if " for " in p.alt}
    drawn = {name for alt in shown for name in alt.partition(" for ")[0].split(" = ")}
    assert drawn == set(METHODS)
    for picture in shown.values():
        methods, _, rest = picture.alt.partition(" for ")
        method = methods.split(" = ")[0]
        photo, where = int("photo 2," in rest), rest.rpartition(", ")[2]
        if "target = ..." in picture.code:
            continue
        heat = run_code(done, picture.code, model)["heat"].detach()
        expected = done.arrays[f"attributions/{where}/{method}"]
        expected = expected[photo : photo + 1] if len(heat) == 1 else expected
        np.testing.assert_allclose(heat, expected, rtol=1e-4, atol=1e-7)


def test_the_box_is_outlined_in_every_picture_of_the_audit(audited):
    done, _, target, fixed = audited
    if not isinstance(target, targets.Boxes):
        pytest.skip("no box")
    for picture in pictures(done, "attributions"):
        assert f"{fixed[int('photo 2' in picture.alt)].overlapping[0]!r}" in picture.code


def test_two_detectors_by_the_same_boxes():
    one, other = network(detectors.Spots), network(detectors.Spots, seed=4)
    done = audit(one, X, layers="block", methods=["LayerHiResCam"], target=targets.Boxes(0),
                 against=other, sections=["against"], show_progress=False)  # fmt: skip
    assert not done.problems
    fixed = targets.Boxes(0).fixed(one(X))
    rows = done.tables["against_predictions"].rows
    for n, row in enumerate(rows):
        ours, theirs = (fixed[n](m(X[n : n + 1])).item() for m in (one, other))
        assert row[2:] == [pytest.approx(ours), pytest.approx(theirs)]
    expected = attr.LayerHiResCam(other, "block").attribute(X, fixed)
    np.testing.assert_allclose(done.arrays["against/LayerHiResCam"], expected, rtol=1e-5, atol=1e-7)


# --- one photo ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["LayerHiResCam", "Saliency", "LayerGradCam"])
def test_explain_a_box_in_one_call(method, tmp_path):
    model, x = network(detectors.Spots), X[:1]
    with nothing_left_behind(model, x):
        found = explain(model, x, targets.Boxes(0), layer="block", method=method)
    (box,) = targets.Boxes(0).fixed(model(x))
    assert found.prediction == str(box)
    assert found.probability == pytest.approx(box(model(x)).item())
    expected = compare(model, x, [method], layers="block", target=targets.Boxes(0))
    torch.testing.assert_close(found.attributions, expected.attributions[method])
    assert found.comparison.boxes == [box.overlapping]
    names = {"model": model, "x": x}
    lines = [one for one in found.code.splitlines() if not one.startswith(("model =", "x ="))]
    exec("\n".join(lines), names)
    torch.testing.assert_close(names["heat"].detach(), found.attributions)
    assert str(found).startswith(f"{box} (score {found.probability:.3g}). {method} at ")
    assert found.save(tmp_path / "box.png").stat().st_size > 1000


# --- a point of the photo ----------------------------------------------------------------------

SEE = transforms.Compose([transforms.Resize(20), transforms.CenterCrop(16), transforms.ToTensor()])


def loaded(kind):
    return LoadedModel(network(kind), SEE, mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(16, 16))


def photo(size=(40, 60)):
    pixels = torch.randint(255, (*size, 3), generator=torch.Generator().manual_seed(5))
    return Image.fromarray(pixels.byte().numpy())


def test_a_pixel_of_the_photo_is_one_of_the_input():
    # 60 x 40 becomes 30 x 20, of which the middle 16 x 16 is seen: from (7, 2)
    at = targets.AnyClass(2, at=(33, 21), on_photo=True)
    found = compare(loaded(detectors.Areas), {"a": photo()}, ["LayerHiResCam"], layers="block",
                    target=at)  # fmt: skip
    (meant,) = found.targets
    assert meant.at == (33 // 2 - 7, 21 // 2 - 2)
    assert "class 2 at 9, 8 (33, 21 of the photo)" in found.labels[0]
    expected = attr.LayerHiResCam(network(detectors.Areas), "block").attribute(
        SEE(photo())[None], targets.Segment(2, at=(9, 8))
    )
    torch.testing.assert_close(found.attributions["LayerHiResCam"], expected)


def test_a_pixel_that_no_input_shows_is_refused():
    at = targets.AnyClass(2, at=(3, 21), on_photo=True)
    given = loaded(detectors.Areas), {"a": photo()}, ["LayerHiResCam"]
    with pytest.raises(TargetError, match=r"of a, point=\(3, 21\).* x from 14 to 45 and y from 4"):
        compare(*given, layers="block", target=at)
    with pytest.raises(ArgumentError, match="they were given as tensors"):
        compare(network(detectors.Areas), X, ["LayerHiResCam"], layers="block", target=at)
    with pytest.raises(TargetError, match="the point is one of a photo, and none is known here"):
        attr.LayerHiResCam(network(detectors.Areas), "block").attribute(X, at)


def test_pixels_of_the_photo_and_of_the_input_are_the_same_places():
    geometry = PhotoGeometry((300, 400), (100, 100), (2.5, 2.0), (10.0, 100.0))
    for x, y in ((100, 10), (101, 12), (102, 14), (250, 200), (299, 259)):
        left, top = geometry.point_to_input((x, y))
        box = geometry.box_to_photo((left, top, left + 1, top + 1))
        assert box[0] <= x + 0.5 < box[2]
        assert box[1] <= y + 0.5 < box[3]
    for x, y in ((99, 20), (300, 20), (150, 9), (150, 260), (-1, 0), (500, 20)):
        with pytest.raises(ArgumentError, match="x from 100 to 299 and y from 10 to 259"):
            geometry.point_to_input((x, y))


def test_overlays_outline_the_box_on_the_whole_photo(tmp_path):
    found = compare(loaded(detectors.Spots), {"a": photo()}, ["LayerHiResCam"], layers="block",
                    target=targets.Boxes(0))  # fmt: skip
    (path,) = found.save_overlays(tmp_path / "o")
    left, top, right, bottom = found.on_photos.geometries[0].box_to_photo(found.boxes[0])
    row = np.asarray(Image.open(path).convert("L"))[round((top + bottom) / 2)].astype(int)
    plain = compare(loaded(detectors.Spots), {"a": photo()}, ["LayerHiResCam"], layers="block",
                    target=lambda out: targets.Boxes(0)(out))  # fmt: skip
    (path,) = plain.save_overlays(tmp_path / "p")
    without = np.asarray(Image.open(path).convert("L"))[round((top + bottom) / 2)].astype(int)
    changed = np.flatnonzero(np.abs(row - without) > 40)
    assert changed.min() == pytest.approx(left, abs=3)
    assert changed.max() == pytest.approx(right, abs=3)


def test_an_outline_is_white_between_black():
    drawn = np.asarray(outlined(Image.new("RGB", (200, 100), (9, 9, 9)), [(20, 30, 60, 70)]))
    line = drawn[50, :, 0].tolist()
    assert line[17:24] == [9, 9, 0, 255, 0, 9, 9]
    assert line[57:63] == [9, 0, 255, 0, 9, 9]
    assert drawn[30, 40].tolist() == drawn[69, 40].tolist() == [255] * 3
    assert (np.asarray(outlined(Image.new("L", (9, 9)), None)) == 0).all()


# --- written down ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "targets.Boxes(0)",
        "targets.Boxes(label=3)",
        "targets.Boxes(0, label=2, overlapping=(1.0, 2.0, 3.0, 4.5), iou=0.3)",
        "targets.Boxes(1, read=targets.RawBoxes(2, True))",
        "targets.Segment(3, at=(4, 5))",
        "targets.Difference(1, targets.Boxes(0))",
        "targets.Several([1, 2], weights=[1.0, 2.0])",
        "targets.Several()",
        "targets.Regression(3.5, index=1)",
        "targets.AnyClass(3, at=(1, 2), on_photo=True)",
    ],
)
def test_a_target_as_python(text):
    assert eval(text).code == text


def test_what_cannot_be_written_is_not_written():
    assert targets.Segment(1, mask=torch.ones(2, 2)).code == ""
    assert targets.target_code(lambda output: output) == ""
    assert targets.target_code([3, targets.Boxes(0)]) == "[3, targets.Boxes(0)]"


# --- the bench ---------------------------------------------------------------------------------


def benched(model, target, words, **options):
    settings = bench.Settings("spots", "seeded", "block", steps=2, road_shares=(0.5,), target=words)
    results = bench.Results(settings.to_dict())
    methods = {name: bench.METHODS[name] for name in ("gaussian", "LayerHiResCam", "Saliency")}
    images = {f"{n}/whole": lambda n=n: X[n] for n in range(2)}
    bench.run(model, methods, images, settings, results, device=torch.device("cpu"), target=target)
    return results


def test_the_bench_judges_maps_of_a_box():
    model = network(detectors.Spots)
    results = benched(model, targets.Boxes(0), "box:0")
    for n in range(2):
        x, (box,) = X[n : n + 1], targets.Boxes(0).fixed(model(X[n : n + 1]))
        cell = results.cells["LayerHiResCam"][f"{n}/whole"]
        maps = attr.LayerHiResCam(model, "block").attribute(x, box)
        up, down = metrics.insertion_and_deletion(model, x, maps, box, steps=2)
        assert cell["class"] == str(box)
        assert cell["probability"] == pytest.approx(box(model(x)).item())
        assert cell["insertion_minus_deletion"] == pytest.approx(float(up.area - down.area))


def test_the_bench_says_where_there_is_no_such_box():
    results = benched(network(detectors.Spots), targets.Boxes(999), "box:999")
    for cells in results.cells.values():
        assert all("finds" in cell["error"] for cell in cells.values())
    with pytest.raises(ArgumentError, match=r"settings.target is None; expected it to say"):
        benched(network(detectors.Spots), targets.Boxes(0), None)
    with pytest.raises(TargetError):
        benched(network(detectors.Areas), 99, "99")


# --- the explorer ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [detectors.Spots, detectors.Areas])
def test_the_explorer_explains_it(kind):
    session = ExplorerSession(loaded(kind), {"a": photo()})
    (one,), model, x = session.photos.values(), network(kind), SEE(photo())[None]
    views = Views(session, Snippets(session))
    output, said = model(x), session.says(one)
    if kind is detectors.Spots:
        assert [s.label for s in said] == output[0]["labels"][:5].tolist()
        assert [s.share for s in said] == pytest.approx(output[0]["scores"][:5].tolist())
        assert list(views.top_classes(one))[1] == f"box 1: class {said[1].label}"
        target, meant = "box:1", targets.Boxes(1)
    else:
        areas = output["out"][0].argmax(0)
        assert [s.share for s in said] == sorted((s.share for s in said), reverse=True)
        assert all(s.share == pytest.approx((areas == s.label).double().mean()) for s in said)
        target, meant = said[0].target, targets.Segment(said[0].label)
    assert target in [value for _, value in target_choices(views)]
    assert chosen_target(target) == target
    ((_, found),) = session.explain([one], ["LayerHiResCam"], layer="block", target=target)
    expected = attr.LayerHiResCam(model, "block").attribute(x, meant)
    torch.testing.assert_close(found.attributions["LayerHiResCam"], expected)
    ((_, error),) = session.explain([one], ["LayerHiResCam"], layer="block", target="box:99")
    assert isinstance(error, ArgumentError)
    names = {"images": {"a": photo()}, "model": model, "preprocess": SEE}
    code = Snippets(session).explanation([one], ["LayerHiResCam"], "block", target)
    exec(code, names)
    torch.testing.assert_close(names["found"].attributions["LayerHiResCam"], expected)
    ((picture, _),) = views.explanations("LayerHiResCam", found)
    bare = views.explanations("LayerHiResCam", replace(found, boxes=None))[0][0]
    assert (np.asarray(picture) != np.asarray(bare)).any() == (kind is detectors.Spots)


# --- the command line --------------------------------------------------------------------------

FILE = """
import sys
sys.path.insert(0, {tests!r})
import test_targets_in_faces as here, detectors

def build():
    return here.network(detectors.{name}), here.SEE
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photo().save("a.png")

    def command(line, name):
        (tmp_path / "net.py").write_text(
            FILE.format(tests=str(models.__file__).rsplit("/", 1)[0], name=name)
        )
        code = cli.main([*line.split(), "--model", "net.py:build", "--no-progress"])
        return code, capsys.readouterr()

    return command


def test_the_command_audit_takes_a_target(run, tmp_path):
    line = "audit --images a.png --quick --layer block --methods hirescam --target"
    code, text = run(f"{line} box:0 --overlays o", "Spots")
    assert code == 0, text.err
    record = json.loads((tmp_path / "audit.manifest.json").read_text())
    assert "--target box:0" in record["command"]
    assert record["photos"][0]["explained"].startswith("the box of class")
    assert len(list((tmp_path / "o").iterdir())) == 1
    code, text = run(f"{line} class:2@33,21", "Areas")
    assert code == 0, text.err
    record = json.loads((tmp_path / "audit.manifest.json").read_text())
    assert record["photos"][0]["explained"] == "class 2 at 9, 8 (33, 21 of the photo)"
    assert run(f"{line} class:2@0,0", "Areas")[0] == 2


def test_the_command_bench_takes_a_target(run, tmp_path):
    line = "bench --images a.png --variants 1 --steps 2 --layer block --methods hirescam --target"
    code, text = run(f"{line} box:0", "Spots")
    assert code == 0, text.err
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["settings"]["target"] == "box:0"
    assert all("error" not in c for cells in found["cells"].values() for c in cells.values())
    code, text = run(f"{line} class:1", "Spots")
    assert code == 2, "results of two targets would be mixed"
    code, text = run(f"{line} class:1@3,4 --out other.json", "Areas")
    assert code == 2
    assert "expected no point" in text.err


def test_the_command_synthesize_takes_a_target(run, tmp_path):
    line = "synthesize --steps 3 --size 16 --target"
    code, text = run(f"{line} class:2@3,4", "Areas")
    assert code == 0, text.err
    assert (tmp_path / "synthesis.png").exists()
    code, text = run(f"{line} box:0", "Spots")
    assert code == 2
    assert "no image has this box yet" in text.err
