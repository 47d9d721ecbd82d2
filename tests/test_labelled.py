"""Labelled photos: which class each is of, and where its object is."""

import json

import numpy as np
import pytest
from PIL import Image

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.photos import labelled_photos


@pytest.fixture
def data(tmp_path):
    for name, size in [("dog/b.png", 12), ("dog/deep/a.jpg", 12), ("cat/x.png", 16)]:
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size, 10), "red").save(file)
    return tmp_path / "data"


def table(data, text):
    file = data.parent / "labels.csv"
    file.write_text(text)
    return file


def by_name(photos):
    return dict(zip(photos.names, photos.labels, strict=True))


def test_folders_are_numbered_as_by_image_folder(data):
    from torchvision.datasets import ImageFolder

    photos, theirs = labelled_photos(data), ImageFolder(str(data))
    ours = {str(f): label for f, label in zip(photos.files, photos.labels, strict=True)}
    assert ours == dict(theirs.samples)
    assert photos.classes == ["cat", "dog"]
    picture, label = photos[photos.names.index("cat/x.png")]
    assert (picture.size, picture.mode, label) == ((16, 10), "RGB", 0)


def test_the_models_names_count_where_they_are_known(data):
    photos = labelled_photos(data, class_names=["bird", "dog", "cat"])
    assert by_name(photos) == {"cat/x.png": 2, "dog/b.png": 1, "dog/deep/a.jpg": 1}
    assert photos.notes == []
    other = labelled_photos(data, class_names=["a", "b"])
    assert by_name(other)["cat/x.png"] == 0
    assert "None of the classes is named as the model names its own" in other.notes[0]
    with pytest.raises(ArgumentError, match="'cat' names no class of the model; nearest: 'cats'"):
        labelled_photos(data, class_names=["dog", "cats"])
    for names in (["x"], ["a", "b", "c"]):  # a number for each would be a guess
        with pytest.raises(ArgumentError, match=f"2 classes, the model has {len(names)}; 'cat', "):
            labelled_photos(data, class_names=names)


def numbered(folder, names):
    for name in names:
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / name / "x.png")
    return folder


@pytest.mark.parametrize("known", [None, [f"thing {n}" for n in range(300)]])
def test_numbers_are_the_models_outputs_in_folders_as_in_tables(tmp_path, known):
    folder = numbered(tmp_path / "data", ["207", "281", "030"])
    by_folder = labelled_photos(folder, class_names=known)
    expected = {"207/x.png": 207, "281/x.png": 281, "030/x.png": 30}
    assert by_name(by_folder) == expected
    assert by_folder.notes == [
        "Class folders are numbers, taken as the indices of the model's outputs."
    ]
    lines = "".join(f"{name},{name[:3]}\n" for name in expected)
    by_table = labelled_photos(
        folder, labels=table(folder, f"path,label\n{lines}"), class_names=known
    )
    assert by_name(by_table) == expected
    assert by_table.notes == ["Labels are numbers, taken as the indices of the model's outputs."]
    assert (by_folder.by_order, by_table.by_order) == (False, False)


def test_numbers_that_image_folder_would_order_as_texts_are_said(tmp_path):
    photos = labelled_photos(numbered(tmp_path / "data", [str(n) for n in range(11)]))
    assert by_name(photos)["10/x.png"] == 10
    assert "ImageFolder numbers them as texts ('10' before '2')" in photos.notes[0]
    names = sorted(map(str, range(11)))
    named = labelled_photos(tmp_path / "data", class_names=names)
    assert by_name(named)["10/x.png"] == 2
    assert named.notes == []


def test_numbers_above_the_models_outputs_are_refused(tmp_path):
    folder = numbered(tmp_path / "data", ["1", "2"])
    with pytest.raises(ArgumentError, match=r"^data: '2' names no class; .* it has 2, from 0"):
        labelled_photos(folder, class_names=["a", "b"])


def test_whether_only_the_order_of_names_says_the_index(data):
    assert labelled_photos(data).by_order
    assert labelled_photos(data, class_names=["a", "b"]).by_order
    assert not labelled_photos(data, class_names=["cat", "dog"]).by_order
    with pytest.raises(ArgumentError, match=r"^data: 2 classes, the model has 1"):
        labelled_photos(data, class_names=["x"])


def test_an_empty_class_keeps_its_number(data):
    (data / "bee").mkdir()
    (data / ".hidden").mkdir()
    photos = labelled_photos(data)
    assert photos.classes == ["bee", "cat", "dog"]
    assert by_name(photos)["cat/x.png"] == 1
    assert "Classes without a photo: 'bee'." in photos.notes


def test_a_table_of_labels_and_groups(data):
    photos = labelled_photos(
        data, labels=table(data, "path,label,group\ncat/x.png,4,old\ndog/b.png,0,new\n")
    )
    assert by_name(photos) == {"cat/x.png": 4, "dog/b.png": 0}
    assert photos.groups == ["old", "new"]
    assert len(photos.classes) == 5
    named = labelled_photos(
        data, labels=table(data, "label,path\ncat,cat/x.png\n"), class_names=["cow", "cat"]
    )
    assert named.labels == [1]
    assert named.groups == []


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("a,b\n1,2\n", None, "expected the columns path and label"),
        ("", None, "got no row"),
        ("path,label\ncat/x.png,\n", None, "line 2 lacks a path or a label"),
        ("path,label\ncat/x.png,7\n", ["a", "b"], "'7' names no class; .* it has 2, from 0"),
        ("path,label\na,cat\nb,do\n", ["dog", "cat"], "'do' names no class of the model; nearest:"),
    ],
)
def test_tables_that_say_nothing(data, text, names, message):
    with pytest.raises(ArgumentError, match=message):
        labelled_photos(data, labels=table(data, text), class_names=names)


def test_folders_that_hold_nothing(tmp_path):
    with pytest.raises(ArgumentError, match="there is no folder"):
        labelled_photos(tmp_path / "nowhere")
    with pytest.raises(ArgumentError, match="holds no folder; expected one for each class"):
        labelled_photos(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(ArgumentError, match="no picture file in the class folders"):
        labelled_photos(tmp_path)


def box_of(mask):
    """Left, top, right, bottom of what is not 0."""
    rows, columns = np.asarray(mask).nonzero()
    return [int(n) for n in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


def test_masks_of_every_form(data, tmp_path):
    masks = tmp_path / "masks"
    (masks / "dog" / "deep").mkdir(parents=True)
    (masks / "cat").mkdir()
    palette = Image.new("P", (12, 10))
    palette.putpalette([0] * 768)  # all colours are black: the number counts
    palette.paste(2, (3, 4, 5, 9))
    palette.save(masks / "dog" / "b.png")
    small = Image.new("L", (8, 5))
    small.paste(1, (1, 1, 3, 2))
    small.save(masks / "cat" / "x.png")
    Image.new("L", (10, 10), 1).save(masks / "dog" / "deep" / "a.png")
    photos = labelled_photos(data, masks=masks)
    of = {photos.names[i]: photos[i][2] for i in range(3)}
    assert box_of(of["dog/b.png"]) == [3, 4, 5, 9]
    assert of["cat/x.png"].size == (16, 10)  # half as large and of the same shape
    assert box_of(of["cat/x.png"]) == [2, 2, 6, 4]
    assert "10 x 10 pixels, its photo 12 x 10" in of["dog/deep/a.jpg"]
    (masks / "cat" / "x.png").write_bytes(b"no")
    assert "cannot be read" in photos[photos.names.index("cat/x.png")][2]


def test_boxes_of_coco_and_voc(data, tmp_path):
    coco = tmp_path / "boxes.json"
    images = [{"id": 7, "file_name": "x.png"}, {"id": 8, "file_name": "dog/b.png"}]
    boxes = [{"image_id": 7, "bbox": [2, 3, 4, 5]}, {"image_id": 8, "bbox": [0, 0, 1, 1]}]
    coco.write_text(json.dumps({"images": images, "annotations": boxes}))
    voc = tmp_path / "voc"
    voc.mkdir()
    (voc / "x.xml").write_text(
        "<annotation><object><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>6</xmax><ymax>8</ymax>"
        "</bndbox></object></annotation>"
    )
    for source in (coco, voc):
        photos = labelled_photos(data, boxes=source)
        assert box_of(photos[photos.names.index("cat/x.png")][2]) == [2, 3, 6, 8]
        assert photos[photos.names.index("dog/deep/a.jpg")][2] is None
    with pytest.raises(ArgumentError, match="expected one of them"):
        labelled_photos(data, masks=voc, boxes=voc)
    coco.write_text(json.dumps({"images": [{"id": 1, "file_name": "q.png"}], "annotations": []}))
    with pytest.raises(ArgumentError, match="none is named as a photo"):
        labelled_photos(data, boxes=coco)
    coco.write_text("[]")
    with pytest.raises(ArgumentError, match="expected COCO's form"):
        labelled_photos(data, boxes=coco)
    (voc / "x.xml").write_text("<a><bndbox><xmin>q</xmin></bndbox></a>")
    with pytest.raises(ArgumentError, match="expected Pascal VOC's form"):
        labelled_photos(data, boxes=voc)
