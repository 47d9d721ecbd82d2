"""The audit report: true numbers, safe page, nothing left behind, nothing half-written."""

import re
import warnings

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, LayerGradCam, NoiseTunnel, Occlusion
from PIL import Image
from reports import MEAN, STD, Small, small, small_images, tags_of
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext import attr
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights import (
    SECTIONS,
    Column,
    Facts,
    Group,
    Listing,
    Section,
    SectionContent,
    Table,
    Text,
    audit,
    register_section,
)
from captum_cnn_ext.insights import files as report_files
from captum_cnn_ext.insights.report.page import without_folders
from captum_cnn_ext.models import LoadedModel

SCRIPT = "<script>alert(1)</script>"
IMAGE_TAG = '"><img src=x onerror=alert(2)>'


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def images():
    return small_images()


@pytest.fixture(scope="module")
def full(model, images):
    """An audit with every section."""
    return audit(
        model,
        images,
        layers=["stem.1", "block"],
        class_names=[SCRIPT, IMAGE_TAG, "third & last"],
        mean=MEAN,
        std=STD,
        seed=11,
        show_progress=False,
        title=f"Audit {SCRIPT}",
    )


@pytest.fixture(scope="module")
def page(full):
    return full.to_html("numbers.npz")


def quick(model, images, **options):
    """An audit without the long work."""
    return audit(model, images, **{"sections": ["summary"], "show_progress": False, **options})


# --- the numbers ------------------------------------------------------------------------------


def test_the_full_report_has_every_section_and_no_problem(full):
    assert full.problems == ()
    assert [section.key for section, _ in full.sections] == [
        *("summary", "attributions", "methods", "checks"),
        *("reconstructions", "top_patches", "synthesis", "feature_maps"),
        *("graph", "structure", "filters", "times", "settings"),
    ]
    assert all(isinstance(content, SectionContent) for _, content in full.sections)


def test_outputs_and_probabilities_are_the_models(full, model, images):
    with torch.no_grad():
        outputs = model(images)
    np.testing.assert_allclose(full.arrays["outputs"], outputs, rtol=1e-6)
    np.testing.assert_allclose(full.arrays["probabilities"], outputs.softmax(1), rtol=1e-6)
    np.testing.assert_array_equal(full.arrays["explained_classes"], outputs.argmax(1))
    np.testing.assert_array_equal(full.arrays["inputs"], images)
    assert full.arrays["photo_names"].tolist() == ["photo 1", "photo 2"]


@pytest.mark.parametrize("layer", ["stem.1", "block"])
def test_feature_maps_are_the_layers_outputs(full, model, images, layer):
    expected = attr.LayerFeatureMaps(model, layer).attribute(images)
    np.testing.assert_array_equal(full.arrays[f"feature_maps/{layer}"], expected)


@pytest.mark.parametrize("layer", ["stem.1", "block"])
@pytest.mark.parametrize(
    "name",
    "LayerGradCam LayerHiResCam LayerLayerCam".split(),
)
def test_maps_of_layers_equal_the_classes_called_directly(full, model, images, layer, name):
    key = f"attributions/{layer}/{name}"
    kind = LayerGradCam if name == "LayerGradCam" else getattr(attr, name)
    targets = torch.as_tensor(full.arrays["explained_classes"])
    expected = kind(model, model.get_submodule(layer)).attribute(images, targets)
    np.testing.assert_allclose(full.arrays[key], expected.detach(), rtol=1e-5, atol=1e-9)


def test_maps_of_the_input_equal_captums(full, model, images):
    targets = torch.as_tensor(full.arrays["explained_classes"])
    linear = InputXGradient(model).attribute(images.clone().requires_grad_(), targets)
    occlusion = Occlusion(model).attribute(images, (3, 4, 5), (3, 2, 2), target=targets)
    found = full.arrays["attributions/input/InputXGradient"]
    np.testing.assert_allclose(found, linear.detach(), rtol=1e-5, atol=1e-9)
    found = full.arrays["attributions/input/Occlusion"]
    np.testing.assert_allclose(found, occlusion, rtol=1e-4, atol=1e-7)


def test_a_map_of_several_layers_joins_those_of_the_audit(full, model, images):
    targets = torch.as_tensor(full.arrays["explained_classes"])
    layers = [model.stem[1], model.block]
    expected = attr.LayerRefineCam(model, layers).attribute(images, targets)
    found = full.arrays["attributions/stem.1 + block/LayerRefineCam"]
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-4, atol=1e-7)


def test_noise_comes_from_the_seed(model, images):
    name = "NoiseTunnel(LayerHiResCam)"
    done = quick(model, images, sections=["attributions"], layers="block", methods=[name], seed=11)
    torch.manual_seed(11)
    expected = NoiseTunnel(attr.LayerHiResCam(model, "block")).attribute(
        images,
        nt_samples=8,
        nt_samples_batch_size=2,
        stdevs=0.15 * float(images.max() - images.min()),
        target=torch.as_tensor(done.arrays["explained_classes"]),
    )
    found = done.arrays[f"attributions/block/{name}"]
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-5, atol=1e-9)


def test_a_target_is_explained_instead_of_the_strongest_class(model, images):
    options = {"sections": ["attributions"], "layers": "block"}
    done = quick(model, images, target=[2, 0], **options)
    expected = attr.LayerHiResCam(model, "block").attribute(images, [2, 0])
    found = done.arrays["attributions/block/LayerHiResCam"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(done.arrays["explained_classes"], [2, 0])


def test_more_photos_than_run_at_once_give_the_same_maps(model):
    images = torch.rand(19, 3, 8, 8)
    sizes = []

    def build(report, work):
        def run(inputs, targets):
            sizes.append(len(inputs))
            return attr.LayerXGradCam(model, "block").attribute(inputs, targets)

        report.keep("maps", work.timed("XGradCAM", "ours", "block", run), "maps")
        return SectionContent([])

    done = quick(model, images, sections=[Section("maps", "Maps", build)], layers="block")
    targets = torch.as_tensor(done.arrays["explained_classes"])
    expected = attr.LayerXGradCam(model, "block").attribute(images, targets)
    np.testing.assert_allclose(done.arrays["maps"], expected, rtol=1e-4, atol=1e-8)
    assert sizes == [8, 8, 3]


def test_outputs_that_are_probabilities_already_are_not_softmaxed_again(model, images):
    done = quick(nn.Sequential(model, nn.Softmax(1)).eval(), images)
    np.testing.assert_array_equal(done.arrays["probabilities"], done.arrays["outputs"])
    assert "probabilities already" in done.to_html()


def test_a_single_output_is_read_with_a_sigmoid(images):
    done = quick(nn.Sequential(nn.Conv2d(3, 1, 3), nn.Flatten(), nn.Linear(252, 1)).eval(), images)
    expected = 1 / (1 + np.exp(-done.arrays["outputs"]))
    np.testing.assert_allclose(done.arrays["probabilities"], expected, rtol=1e-5)


# --- the page ---------------------------------------------------------------------------------


def test_names_are_text_and_never_markup(page):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "alert(2)" in page
    tags = tags_of(page)
    assert sum(tag == "script" for tag, _ in tags) == 1
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert all(a["src"].startswith("data:image/webp;base64,") for tag, a in tags if tag == "img")


def test_the_page_loads_nothing(page):
    outside = [
        (tag, name, value)
        for tag, attributes in tags_of(page)
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "poster") and value[:1] != "#"
    ]
    assert all(name == "src" and value.startswith("data:") for _, name, value in outside)
    assert not re.search(r"https?://|@import|url\(", page)
    policy = next(a["content"] for tag, a in tags_of(page) if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_link_of_the_contents_has_its_place(page):
    tags = tags_of(page)
    places = [a["id"] for _, a in tags if "id" in a]
    links = [a["href"][1:] for tag, a in tags if tag == "a"]
    assert len(places) == len(set(places))
    assert set(links) <= set(places)
    assert {"summary", "attributions-1", "attributions-2", "settings-1"} <= set(links)


def test_the_page_says_what_was_run_and_what_not(page):
    text = " ".join(re.sub(r"<wbr>|</?[a-z][^>]*>", "", page).split())
    assert "softmax of the network's outputs" in text.replace("&#39;", "'")
    assert f"torch {torch.__version__}" in text
    assert "numbers.npz" in text
    assert "11, set again before each method" in text
    assert "stem.1 (4 × 16 × 20)" in text


def test_a_method_that_is_not_defined_at_a_layer_says_why_on_the_page(model, images):
    done = quick(model, images, sections=["attributions"], layers="stem.1",
                 methods=["LayerCam", "LayerHiResCam"])  # fmt: skip
    assert "attributions/stem.1/LayerCam" not in done.arrays
    assert "CAM needs global average pooling" in re.sub("<[^>]*>", "", done.to_html())


def test_no_folder_of_this_machine_is_on_the_page(tmp_path, model, images):
    note = f"weights from {tmp_path}/secret/net.pt, and C:\\Users\\someone\\net.pt"
    loaded = LoadedModel(model, lambda picture: images[0], name=str(tmp_path / "net.py"))
    page = quick(loaded, images, notes=[note], command=f"run {tmp_path}/x").to_html()
    assert str(tmp_path) not in page
    assert "secret" not in page
    assert "someone" not in page
    assert "…/net.pt" in page
    assert without_folders("/m/01lsmm is no folder, a/b/c neither") == (
        "/m/01lsmm is no folder, a/b/c neither"
    )


def test_training_mode_is_warned_of_and_left_alone(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(1008, 2))
    with nothing_left_behind(model, images):
        done = quick(model, images)
    assert "training mode" in done.to_html()
    assert "training mode" not in quick(model.eval(), images).to_html()


def test_class_names_that_do_not_fit_are_warned_of(model, images):
    assert "2 class names for 3 outputs" in quick(model, images, class_names=["a", "b"]).to_html()
    assert "class names for" not in quick(model, images, class_names=["a", "b", "c"]).to_html()


def test_warnings_of_methods_are_shown_in_their_section(model, images):
    def build(work):
        for layer in ("a", "b"):
            with work.listening(layer):
                warnings.warn("mind the <gap>", stacklevel=1)
        return SectionContent([Text("fine")])

    page = quick(model, images, sections=[Section("loud", "Loud", build)]).to_html()
    assert page.count("mind the &lt;gap&gt; (a, b)") == 1


def test_a_warning_is_said_once(model, images):
    def build(work):
        for where in ("cam", "cam", "cam with random weights", "cam"):
            with work.listening(where):
                warnings.warn("mind the gap", stacklevel=1)
        return SectionContent([Text("fine")])

    sections = [Section(key, key, build) for key in ("first", "second")]
    page = quick(model, images, sections=sections).to_html()
    assert page.count("mind the gap (cam, cam with random weights)") == 1
    assert page.count("mind the gap") == 1


def test_what_was_found_right_with_the_model(model, images):
    for names, text in (
        (["a", "b", "c"], "is in evaluation mode and has a name for each of its 3 outputs."),
        (["a", "b"], "is in evaluation mode."),
        (None, "is in evaluation mode."),
    ):
        found = quick(model, images, class_names=names).overview.findings
        assert found[0].text == f"The model {text}"


# --- sections ---------------------------------------------------------------------------------


def test_a_section_that_fails_is_shown_and_the_others_go_on(model, images):
    def build():
        raise RuntimeError("no <b>luck</b> today")

    done = quick(model, images, sections=["summary", Section("bad", "Bad one", build), "settings"])
    assert [str(problem) for problem in done.problems] == [
        "Bad one: RuntimeError: no <b>luck</b> today"
    ]
    page = done.to_html()
    assert page.count("no &lt;b&gt;luck&lt;/b&gt; today") == 2  # at the top and in its place
    assert 'id="settings"' in page


def test_a_section_may_be_interrupted_but_not_silently(model, images):
    def build():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(model, images, sections=[Section("stop", "Stop", build)])


def test_a_method_that_breaks_is_a_problem_but_the_others_are_drawn(model, images, monkeypatch):
    def breaks(*_, **__):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(attr.LayerLayerCam, "attribute", breaks)
    done = quick(model, images[:1], sections=["attributions"], layers="block")
    assert [str(p) for p in done.problems] == [
        "attributions, LayerLayerCam at block: RuntimeError: out of luck"
    ]
    assert "attributions/block/LayerLayerCam" not in done.arrays
    assert "attributions/block/LayerHiResCam" in done.arrays
    assert "out of luck" in done.to_html()


def test_any_module_can_add_a_section(model, images):
    def build(audited, report, work):
        report.keep("extra/answer", torch.tensor([42]), "the answer")
        with work.step("thinking"):
            facts = Facts([("photos", str(len(audited.photos)))])
        columns = [Column("name"), Column("n", number=True)]
        table = Table("numbers", columns, [("a", 1234), ("b", None)])
        return SectionContent([Group("Inside", [facts, table, Listing("List", ["one"])])])

    before = list(SECTIONS)
    try:
        register_section(Section("extra", "Extra", build), before="settings")
        assert [section.key for section in SECTIONS][-2:] == ["extra", "settings"]
        done = quick(model, images, sections=["extra"])
    finally:
        SECTIONS[:] = before
    assert done.arrays["extra/answer"].tolist() == [42]
    page = done.to_html()
    assert 'href="#extra-1"' in page
    assert "1,234" in page


def test_a_section_is_given_what_its_parameters_name(model, images):
    given = {}

    def build(work, audited, maps):
        given.update(work=work, audited=audited, maps=maps)
        where, call = maps.judged[0]
        given["made"] = maps.of(where, call), maps.of(where, call)
        return SectionContent([])

    def steps(audited):
        given["steps"] = len(audited.layers)
        return 3

    done = quick(
        model, images, sections=[Section("given", "Given", build, steps)], layers="block",
        methods=["LayerHiResCam"],
    )  # fmt: skip
    assert not done.problems
    assert given["steps"] == 1
    assert given["audited"].model is model
    assert given["made"][0] is given["made"][1]  # made once, kept once, timed once
    assert [t.method for t in given["work"].timings] == ["LayerHiResCam"]
    np.testing.assert_array_equal(done.arrays["attributions/block/LayerHiResCam"],
                                  given["made"][0])  # fmt: skip
    with pytest.raises(ValueError, match="steps: has a parameter 'nmae'; expected any of audited"):
        Section("bad", "Bad", build, lambda audited, nmae: 1)


def test_maps_that_were_judged_before_they_are_drawn_are_made_once(model, images):
    options = {"layers": "block", "methods": ["LayerHiResCam"]}
    done = quick(model, images[:1], sections=["methods", "attributions", "times"], **options)
    assert not done.problems
    assert [row[0] for row in done.tables["times"].rows] == ["LayerHiResCam"]


def test_sections_of_one_context_work_for_one_more_version(model, images):
    def build(context):
        with context.step("thinking"):
            context.keep("old/count", [len(context.photos)], "how many photos")
        context.find("fine", "All is well.", "old", photos=float(len(context.inputs)))
        context.unchecked.append("the rest")
        assert context.table.parameters > 0
        return SectionContent([context.tabulate("old", "", [Column("a")], [("x",)])])

    with pytest.warns(DeprecationWarning, match=r"build\(context\): name what it reads"):
        section = Section("old", "Old", build)
    done = quick(model, images, sections=[section])
    assert not done.problems
    assert done.arrays["old/count"].tolist() == [2]
    assert [finding.text for finding in done.overview.findings] == ["All is well."]
    assert "the rest" in done.overview.unchecked


def test_wrong_section_keys_and_tables_are_refused(model, images):
    with pytest.raises(ValueError, match=r"sections='sumary'.*nearest: 'summary'"):
        quick(model, images, sections=["sumary"])
    with pytest.raises(ValueError, match="one twice"):
        quick(model, images, sections=["summary", "summary"])
    with pytest.raises(ValueError, match="key='Bad Key'"):
        Section("Bad Key", "title", lambda: SectionContent([]))
    with pytest.raises(ValueError, match="a row of 1 cells, expected 2"):
        Table("", [Column("a"), Column("b")], [("x",)])


# --- arguments --------------------------------------------------------------------------------


def test_pil_images_get_the_models_preprocessing_or_imagenets(model):
    pictures = {
        "red": Image.new("RGB", (40, 30), "red"),
        "blue": Image.new("RGB", (30, 40), "blue"),
    }
    with pytest.warns(UserWarning, match="no preprocessing was given"):
        done = quick(model, pictures)
    assert done.arrays["inputs"].shape == (2, 3, 224, 224)
    assert "ImageNet&#39;s (224 × 224 pixels) was assumed" in done.to_html()
    np.testing.assert_allclose(
        done.arrays["inputs"][0, :, 0, 0],
        (np.array([1, 0, 0]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        rtol=1e-3,
    )
    loaded = LoadedModel(model, lambda picture: torch.full((3, 8, 8), 0.5), class_names=["a"] * 3)
    done = quick(loaded, list(pictures.values()))
    assert done.arrays["inputs"].shape == (2, 3, 8, 8)
    assert done.arrays["photo_names"].tolist() == ["photo 1", "photo 2"]


def test_default_layers_are_the_last_of_each_resolution(model, images):
    done = quick(model, images, sections=["feature_maps"])
    assert [n for n in done.arrays if n.startswith("feature")] == [
        "feature_maps/stem.1",
        "feature_maps/block",
    ]
    assert "No layers were named" in done.to_html()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "blok"}, "layers='blok': Small has no such layer; nearest: 'block'"),
        ({"layers": []}, r"layers=\[\]: expected at least one layer"),
        ({"target": 3}, "target=3: the model's output of shape .* has 3 classes"),
        ({"target": [0]}, "one for each of 2 photo"),
        ({"target": "cat"}, "target='cat'"),
    ],
)
def test_arguments_are_judged_before_the_work(model, images, options, message):
    with pytest.raises(ValueError, match=message):
        quick(model, images, **options)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "images: got none"),
        ({}, "images: got none"),
        (torch.rand(3, 8, 8), r"expected preprocessed images \(N, C, H, W\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "floating-point"),
        (torch.rand(0, 3, 8, 8), "got none"),
        (
            torch.rand(1, 5, 8, 8),
            r"inputs: shape \(1, 5, 8, 8\) has 5 channel\(s\); layer .stem\.0. \(Conv2d\) expects",
        ),
    ],
)
def test_images_that_cannot_be_used_are_refused(model, images, message):
    with pytest.raises(ValueError, match=message):
        quick(model, images)


def test_a_file_or_a_folder_is_taken_and_class_folders_are_told_of_their_audit(model, tmp_path):
    folder = tmp_path / "pictures"
    (folder / "cats").mkdir(parents=True)
    for name in ("b.png", "a.png"):
        Image.new("RGB", (24, 24), "red").save(folder / name)
    (folder / "broken.png").write_bytes(b"no picture")
    crop = {"preprocess": lambda photo: torch.full((3, 24, 24), photo.width / 24)}
    one = quick(model, str(folder / "a.png"), **crop)
    assert list(one.arrays["photo_names"]) == ["a.png"]
    done = quick(model, folder, **crop)
    assert list(done.arrays["photo_names"]) == ["a.png", "b.png"]
    assert "1 of 3 cannot be read" in done.to_html()
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*cat.png; nearest: 'cats'"):
        quick(model, str(folder / "cat.png"), **crop)
    (folder / "a.png").rename(folder / "cats" / "a.png")
    for name in ("b.png", "broken.png"):
        (folder / name).unlink()
    with pytest.raises(ArgumentError, match=r"audit_dataset\(model, folder\), or load_photos"):
        quick(model, str(folder), **crop)


def test_things_of_a_wrong_type_are_refused(model, images):
    with pytest.raises(TypeError, match=r"expected PIL images or files, got int for 'a'"):
        quick(model, {"a": 3})
    with pytest.raises(FileNotFoundError, match=r"nowhere.jpg"):
        quick(model, {"a": "nowhere.jpg"})
    with pytest.raises(TypeError, match=r"images: expected a dict.*, a file or folder, .* got int"):
        quick(model, 3)
    with pytest.raises(TypeError, match=r"model: expected a torch.nn.Module"):
        quick(lambda x: x, images)
    with pytest.raises(TypeError, match="class_names='cat': expected a list"):
        quick(model, images, class_names="cat")


def test_preprocessing_must_give_one_shape(model):
    pictures = [Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))]

    def own_size(picture):
        return torch.zeros(3, picture.height, picture.width)

    with pytest.raises(ValueError, match="one shape for all images"):
        quick(model, pictures, preprocess=own_size)


@pytest.mark.parametrize(
    "output", [lambda y: {"out": y, "more": y}, lambda y: y[:, 0], lambda y: y * torch.nan]
)
def test_models_that_give_no_class_scores_are_refused(model, images, output):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return output(self.inner(x))

    with pytest.raises(ValueError, match="model: "):
        quick(Wrapped().eval(), images)


# --- state and files --------------------------------------------------------------------------


def test_model_and_random_state_are_left_as_found(images):
    torch.manual_seed(1)
    model = Small().eval()
    with nothing_left_behind(model, images):
        quick(model, images[:1], sections=["attributions", "feature_maps"], layers="block")


def test_saved_files_hold_the_page_and_the_arrays(full, tmp_path):
    saved = full.save(tmp_path / "report.html")
    names = ["report.html", "report.manifest.json", "report.npz", "report.tables"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert (saved.report.name, saved.arrays.name, saved.manifest.name) == tuple(
        names[place] for place in (0, 2, 1)
    )
    assert saved.images is None
    page = saved.report.read_text(encoding="utf-8")
    said = "<span>record in report.manifest.json</span>"
    assert page.replace(said, "") == full.to_html("report.npz")
    with np.load(saved.arrays, allow_pickle=False) as arrays:
        assert set(arrays.files) == set(full.arrays)
        for name, array in full.arrays.items():
            np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_a_save_that_fails_changes_no_file(full, tmp_path, monkeypatch, failure):
    (tmp_path / "report.html").write_text("earlier report")

    def fails(descriptor):
        raise failure

    monkeypatch.setattr(report_files.os, "fsync", fails)
    with pytest.raises(type(failure)):
        full.save(tmp_path / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "earlier report"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report.npz", "ends in .html"),
        ("missing/report.html", "does not exist; make it first"),
        ("file.txt/report.html", "is not a folder"),
        ("folder.html", "is a folder"),
    ],
)
def test_places_that_cannot_be_written_to_are_refused(full, tmp_path, name, message):
    (tmp_path / "file.txt").touch()
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ValueError, match=message):
        full.save(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.txt", "folder.html"]


def test_without_jinja_the_error_names_the_extra(model, images, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"pip install -e '.\[report\]' in the repository"):
        quick(model, images)


def test_half_precision_and_single_channel_models(images):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    model = model.to(torch.bfloat16).eval()
    done = audit(model, torch.rand(1, 1, 8, 8), layers="1", show_progress=False)
    assert not done.problems
    assert done.arrays["attributions/1/LayerHiResCam"].dtype == np.float32


def test_maps_that_differ_in_strength_alone_are_drawn_once_and_tables_join_them():
    from captum_cnn_ext.insights.report.blocks import Column, Table
    from captum_cnn_ext.insights.sections.attributions import same_maps

    maps = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    other = maps.clone()
    other[1, 0, 0, 0] += 0.01
    weights = torch.tensor([2.0, 0.3]).view(2, 1, 1, 1)
    found = {"A": maps, "B": -maps, "C": maps * weights, "D": other, "E": maps.mean(2)[:, :, None]}
    assert same_maps(found) == [["A", "C"], ["B"], ["D"], ["E"]]
    columns = [Column("method"), Column("score", True), Column("passes", True, shown=False)]
    table = Table("", columns, [["A", 0.5, 1], ["B", 0.4, 2], ["C", 0.5, 3]])
    page = table.on_page(join=True)
    assert [list(row) for row in page.rows] == [["A, C", 0.5], ["B", 0.4]]
    assert [column.title for column in page.columns] == ["method", "score"]
    assert len(table.rows) == 3  # the file has each
    assert [row[0] for row in table.on_page().rows] == ["A", "B", "C"]  # counts are no scores
