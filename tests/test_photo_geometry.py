"""A box on the network's input lands on the object of the photo, whatever was done in between."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.transforms import functional as F

from captum_cnn_ext.evidence import regions
from captum_cnn_ext.photos import PhotoGeometry, load_photos, photo_geometry

MODES = transforms.InterpolationMode
RNG = np.random.default_rng(0)


def cropped(size=256, crop=224, mode=MODES.BILINEAR):
    steps = [transforms.Resize(size, mode), transforms.CenterCrop(crop), transforms.ToTensor()]
    return transforms.Compose([*steps, transforms.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.2))])


def cropped_first(picture):
    side = min(picture.size)
    return F.to_tensor(F.resize(F.center_crop(picture, side), 96))


def letter_boxed(picture, size=160):
    """Whole, in the middle of a grey square."""
    share = size / max(picture.size)
    width, height = (round(side * share) for side in picture.size)
    left, top = (size - width) // 2, (size - height) // 2
    padding = [left, top, size - width - left, size - height - top]
    return F.to_tensor(F.pad(F.resize(picture, (height, width)), padding, fill=114))


PREPROCESSING = {
    "centre crop": cropped(),
    "bicubic, crop of all": cropped(224, 224, MODES.BICUBIC),
    "nearest": cropped(128, 112, MODES.NEAREST),
    "squeezed": transforms.Compose([transforms.Resize((90, 120)), transforms.ToTensor()]),
    "crop larger than the photo": transforms.Compose(
        [transforms.CenterCrop(420), transforms.ToTensor()]
    ),
    "cropped, then resized": cropped_first,
    "letter box": letter_boxed,
    "as it is": F.to_tensor,
    "grey": transforms.Compose([transforms.Grayscale(), transforms.Resize(100), F.to_tensor]),
}  # fmt: skip
PHOTOS = {"wide": (240, 410), "high": (401, 260), "small": (120, 125)}


def red_box(size, box):
    """A noisy grey photo with a bright rectangle."""
    noise = RNG.integers(20, 60, (*size, 3), dtype=np.uint8)
    left, top, right, bottom = box
    noise[top:bottom, left:right] = 250
    return Image.fromarray(noise)


def box_in(size):
    height, width = size
    return (width * 9 // 20, height * 8 // 20, width * 12 // 20, height * 13 // 20)


@pytest.mark.parametrize("shape", PHOTOS)
@pytest.mark.parametrize("name", PREPROCESSING)
def test_the_box_lands_on_the_object(name, shape):
    size, see = PHOTOS[shape], PREPROCESSING[name]
    box = box_in(size)
    picture = red_box(size, box)
    geometry = photo_geometry(see, picture)
    bright = see(picture).mean(0)
    bright = (bright - bright.min()) / (bright.max() - bright.min())
    inside = geometry.to_input(torch.ones(size, dtype=torch.bool))
    (found, *_) = regions(bright * inside, "maximum", 0.6, geometry=geometry)
    off = max(1.0, *geometry.scale)  # a pixel of the input or of the photo
    assert found.box == pytest.approx(box, abs=off)
    assert found.mask.shape == size
    x, y = found.peak
    assert box[0] <= x <= box[2]
    assert box[1] <= y <= box[3]
    assert geometry.box_to_photo(geometry.box_to_input(box)) == pytest.approx(box)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_that_exif_turns(orientation, tmp_path):
    box = (130, 40, 220, 90)
    upright = red_box((180, 330), box)
    turned = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}  # the way back of each
    stored = upright.transpose(turned[orientation][0]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    (photo,) = load_photos(tmp_path).values()
    assert photo.size == upright.size
    assert np.array_equal(np.asarray(photo), np.asarray(ImageOps.exif_transpose(upright)))
    see = cropped(128, 112)
    geometry = photo_geometry(see, photo)
    (found, *_) = regions(see(photo).mean(0), "maximum", 0.7, geometry=geometry)
    assert found.box == pytest.approx(box, abs=max(1, *geometry.scale))


@pytest.mark.parametrize("seed", range(8))
def test_sizes_and_shifts_are_found_to_a_tenth_of_a_pixel(seed):
    draw = random.Random(seed)
    height, width = (draw.randint(100, 900) for _ in range(2))
    side = draw.choice([96, 128, 224])
    crop = draw.randint(side * 3 // 4, side)
    geometry = photo_geometry(cropped(side, crop), (height, width))
    resized = np.array(F.resize(torch.zeros(1, height, width), side).shape[1:])
    scale = np.array([height, width]) / resized
    origin = np.round((resized - crop) / 2.0) * scale
    for edge in (0, crop):
        off = np.array(geometry.origin) + np.array(geometry.scale) * edge - origin - scale * edge
        assert np.abs(off / np.maximum(scale, 1)).max() < 0.1
    assert geometry.input_size == (crop, crop)


def test_whole_pixels_are_exact():
    found = photo_geometry(cropped(256, 224), (480, 640))
    assert found.scale == (480 / 256, 640 / 341)
    assert found.origin == (16 * 480 / 256, 58 * 640 / 341)
    boxed = photo_geometry(letter_boxed, (300, 600))
    assert boxed == PhotoGeometry((300, 600), (160, 160), (3.75, 3.75), (-150.0, 0.0))


def test_maps_on_the_photo():
    geometry = PhotoGeometry((30, 50), (10, 10), (2.0, 3.0), (4.0, 10.0))
    assert torch.equal(geometry.seen.nonzero().amin(0), torch.tensor([4, 10]))
    assert torch.equal(geometry.seen.nonzero().amax(0), torch.tensor([23, 39]))
    # linear where the map is: a ramp stays one, in the centres of its positions
    place = torch.arange(10.0) + 0.5
    ramp = (geometry.origin[0] + geometry.scale[0] * place)[:, None].expand(10, 10)
    found = geometry.to_photo(ramp[None, None], outside=-1)
    assert found.shape == (1, 1, 30, 50)
    rows = torch.arange(30.0) + 0.5
    torch.testing.assert_close(found[0, 0, 5:23, 20], rows[5:23])
    assert bool((found[0, 0][~geometry.seen] == -1).all())
    # a layer's map lies over the whole input
    coarse = geometry.to_photo(torch.tensor([[1.0, 3.0]]))
    assert coarse[10, 17] == 1
    assert coarse[10, 32] == pytest.approx(3)
    assert float(coarse[10, 25]) == pytest.approx(2 + 0.5 * 2 / 15)
    mask = torch.zeros(30, 50, dtype=torch.bool)
    mask[8:16, 16:28] = True
    there = geometry.to_input(mask)
    expected = torch.zeros(10, 10, dtype=torch.bool)
    expected[2:6, 2:6] = True
    assert torch.equal(there, expected)
    assert torch.equal(geometry.to_photo(there), mask)
    padded = PhotoGeometry((4, 4), (8, 8), (1.0, 1.0), (-2.0, -2.0))
    assert int(padded.to_input(torch.ones(4, 4, dtype=torch.bool)).sum()) == 16
    assert padded.box_to_photo((0, 1, 8, 5)) == (0, 0, 4, 3)


def mirrored(picture):
    return F.to_tensor(F.hflip(picture))


def own_contrast(picture):
    tensor = F.to_tensor(picture)
    return (tensor - tensor.min()) / (tensor.max() - tensor.min()).clamp(min=0.1)


def round_window(picture):
    tensor = F.to_tensor(picture)
    y, x = (torch.arange(n) - n / 2 for n in tensor.shape[1:])
    return tensor * (y[:, None] ** 2 + x**2 < 900)


UNKNOWN = {
    "turns": (lambda picture: F.to_tensor(picture.rotate(90, expand=True)), "turns or bends"),
    "tilts": (lambda picture: F.to_tensor(picture.rotate(8)), "in another form than a rectangle"),
    "mirrors": (mirrored, "mirrors the photo"),
    "random": (
        lambda picture: F.to_tensor(transforms.RandomResizedCrop(64, (0.2, 0.5))(picture)),
        "draws random numbers|bends|turns",
    ),
    "own contrast": (own_contrast, "the same for black and for white"),
    "nothing": (lambda picture: torch.zeros(3, 8, 8), "the same for black and for white"),
    "round": (round_window, "in another form than a rectangle"),
    "tiny": (lambda picture: F.to_tensor(F.resize(picture, (4, 4))), "too few to tell"),
    "no tensor": (np.asarray, "expected a tensor"),
    "bent": (
        lambda picture: F.to_tensor(picture)[:, :, (torch.linspace(0, 1, 90) ** 2 * 99).long()],
        "bends the photo",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_known_is_said(name):
    see, message = UNKNOWN[name]
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        photo_geometry(see, (100, 110))
    assert torch.equal(torch.get_rng_state(), before)
