"""COCO's JSON and Pascal VOC's XML: what is written is read, and both as their papers say."""

import json

import numpy as np
import pytest
import torch
from matplotlib.path import Path
from PIL import Image

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.photos import AnnotatedObject, read_annotations, write_coco, write_voc


def coco(tmp_path, segmentation=None, **entry):
    image = {"id": 3, "file_name": "a.jpg", "width": 7, "height": 5}
    one = {"image_id": 3, "bbox": [1, 2, 3, 2], "category_id": 9, **entry}
    one |= {} if segmentation is None else {"segmentation": segmentation}
    content = {"images": [image, {"id": 4, "file_name": "b.jpg"}], "annotations": [one],
               "categories": [{"id": 9, "name": "cat"}]}  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(content))
    return read_annotations(tmp_path / "a.json")


def test_coco_counts_from_0_with_width_and_height(tmp_path):
    found = coco(tmp_path, score=0.25)
    assert found == {"a.jpg": [AnnotatedObject((1, 2, 4, 4), "cat", 0.25, None, (5, 7))],
                     "b.jpg": []}  # fmt: skip
    assert found["a.jpg"][0].mask is None


def test_voc_counts_from_1_and_holds_the_last_pixel(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x.xml").write_text(
        "<annotation><size><width>7</width><height>5</height></size>"
        "<object><name>dog</name><part><bndbox><xmin>9</xmin></bndbox></part>"
        "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>5</ymax></bndbox></object>"
        "</annotation>"
    )
    expected = [AnnotatedObject((0, 1, 3, 5), "dog", size=(5, 7))]
    assert read_annotations(tmp_path) == {"deep/x.xml": expected}
    assert read_annotations(tmp_path / "deep" / "x.xml") == {"x.xml": expected}


def test_a_polygon_holds_the_pixels_whose_centres_it_holds(tmp_path):
    square = [1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]
    mask = coco(tmp_path, [square])["a.jpg"][0].mask
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[1:3, 1:4] = True
    assert torch.equal(mask, expected)
    # a triangle, and a second part beside it
    mask = coco(tmp_path, [[0, 0, 5, 0, 0, 5], [6, 0, 7, 0, 7, 5, 6, 5]])["a.jpg"][0].mask
    y, x = torch.meshgrid(torch.arange(5) + 0.5, torch.arange(7) + 0.5, indexing="ij")
    assert torch.equal(mask, (x + y < 5) | (x > 6))


def test_a_polygon_is_matplotlibs(tmp_path):
    corners = np.random.default_rng(0).uniform(0, (7, 5), (6, 2))
    around = corners[np.argsort(np.arctan2(*(corners - corners.mean(0)).T))]
    mask = coco(tmp_path, [around.flatten().tolist()])["a.jpg"][0].mask
    y, x = np.mgrid[:5, :7] + 0.5
    inside = Path(around).contains_points(np.stack([x.ravel(), y.ravel()], 1))
    assert np.array_equal(mask.numpy().ravel(), inside)


def test_run_lengths_go_down_the_columns(tmp_path):
    runs = {"size": [5, 7], "counts": [6, 3, 26]}
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[1:4, 1] = True
    assert torch.equal(coco(tmp_path, runs)["a.jpg"][0].mask, expected)


def packed(runs):
    """COCO's text of run lengths, by its description."""
    text = ""
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            bits, value = value & 31, value >> 5
            done = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if done else 32))
            if done:
                break
    return text


def test_packed_run_lengths(tmp_path):
    generator = np.random.default_rng(1)
    flat = np.repeat(np.arange(40) % 2 == 1, generator.integers(1, 90, 40))
    flat = np.concatenate([flat, np.zeros(-len(flat) % 50, bool)])
    runs = np.diff(np.flatnonzero(np.diff(flat, prepend=not flat[0], append=not flat[-1])))
    text = packed(runs.tolist())
    assert packed([6, 3, 26]) == "63j0"
    found = coco(tmp_path, {"size": [50, len(flat) // 50], "counts": text})["a.jpg"][0].mask
    assert np.array_equal(found.numpy().T.reshape(-1), flat)


@pytest.mark.parametrize("write", ["coco", "voc"])
def test_what_is_written_is_read(tmp_path, write):
    mask = torch.rand(20, 30, generator=torch.Generator().manual_seed(0)) > 0.6
    objects = {
        "a/é.jpg": [AnnotatedObject((1, 2, 30, 15), "cat & <dog>"),
                    AnnotatedObject((0, 0, 4, 4), score=0.5)],
        "b.jpg": [],
    }  # fmt: skip
    sizes = {"a/é.jpg": (20, 30), "b.jpg": (8, 9)}
    if write == "voc":
        write_voc(tmp_path / "new", objects, sizes, label="thing")
        found = read_annotations(tmp_path / "new")
        assert set(found) == {"a/é.xml", "b.xml"}
        found = {name.replace(".xml", ".jpg"): each for name, each in found.items()}
        assert found["a/é.jpg"][0].size == (20, 30)
    else:
        objects["m.jpg"] = [Region((0, 0, 30, 20), mask), Region((0, 0, 30, 20), ~mask)]
        write_coco(tmp_path / "out.json", objects, sizes, label="thing")
        found = read_annotations(tmp_path / "out.json")
        assert torch.equal(found["m.jpg"][0].mask, mask)
        assert torch.equal(found["m.jpg"][1].mask, ~mask)
        content = json.loads((tmp_path / "out.json").read_text())
        assert content["annotations"][0]["bbox"] == [1, 2, 29, 13]
        assert content["annotations"][2]["area"] == int(mask.sum())
        assert found["a/é.jpg"][1].score == 0.5
    assert [(o.box, o.label) for o in found["a/é.jpg"]] == [
        ((1, 2, 30, 15), "cat & <dog>"), ((0, 0, 4, 4), "thing"),
    ]  # fmt: skip
    assert found["b.jpg"] == []


class Region:
    def __init__(self, box, mask):
        self.box, self.mask = box, mask


HOSTILE = {
    "bomb.xml": '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>',
    "file.xml": '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation/>',
    "wide.xml": '<!DOCTYPE a SYSTEM "x"><annotation/>'.encode("utf-16"),
    "cut.xml": "<annotation><object>",
    "nan.xml": "<annotation><object><bndbox><xmin>nan</xmin><ymin>1</ymin><xmax>1</xmax>"
               "<ymax>1</ymax></bndbox></object></annotation>",
    "html.xml": "<html><bndbox/></html>",
    "empty.xml": "",
    "deep.json": "[" * 100_000,
    "list.json": "[]",
    "box.json": '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, '
                '"bbox": [1, 2, 3]}]}',
    "nan.json": '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, '
                '"bbox": [1, 2, 3, NaN]}]}',
    "other.json": '{"images": [], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}',
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_broken_files_are_refused(name, tmp_path):
    content = HOSTILE[name]
    content = content.encode() if isinstance(content, str) else content
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArgumentError, match=f"source '{name}': expected"):
        read_annotations(tmp_path / name)


def test_a_document_type_is_named(tmp_path):
    (tmp_path / "a.xml").write_text(HOSTILE["bomb.xml"])
    with pytest.raises(ArgumentError, match="declares a document type"):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [5, 7], "counts": [1, 2]}, "do not fill a mask of 5 x 7"),
        ({"size": [5, 7], "counts": [40, -5]}, "do not fill"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, r"size \[1000000, 1000000\]; expected"),
        ({"size": "big", "counts": [35]}, "size 'big'"),
        ({"size": [5, 7], "counts": ["x"]}, "no run lengths"),
        ({"counts": [35]}, "size None"),
        ([[1, 2, 3]], r"expected lists \[x, y"),
        ("text", "expected lists"),
    ],
)
def test_no_segmentation(segmentation, message, tmp_path):
    (one,) = coco(tmp_path, segmentation)["a.jpg"]
    with pytest.raises(ArgumentError, match=message):
        print(one.mask)


def test_what_cannot_be_written(tmp_path):
    one = {"a.jpg": [AnnotatedObject((0, 0, 1, 1))]}
    for write in (write_coco, write_voc):
        with pytest.raises(ArgumentError, match=r"size of 'a.jpg' is not known; pass sizes="):
            write(tmp_path / "x", one)
    for name in ("../a.jpg", "/a.jpg"):
        with pytest.raises(ArgumentError, match="leads out of the folder"):
            write_voc(tmp_path / "x", {name: []}, {name: (2, 2)})
    with pytest.raises(ArgumentError, match="two photos are called 'a'"):
        write_voc(tmp_path / "x", {"a.jpg": [], "a.png": []}, {"a.jpg": (2, 2), "a.png": (2, 2)})
    with pytest.raises(ArgumentError, match="there is no file or folder"):
        read_annotations(tmp_path / "nothing.json")
    assert list(tmp_path.iterdir()) == []


def test_the_photo_of_a_mask_need_not_be_told(tmp_path):
    mask = torch.from_numpy(np.array(Image.new("1", (6, 4), 1)))
    write_voc(tmp_path, {"a.jpg": [Region((0, 0, 6, 4), mask)]})
    assert read_annotations(tmp_path)["a.xml"][0].size == (4, 6)
