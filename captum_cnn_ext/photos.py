"""Pictures to explain: the user's files, or a few that come with scikit-image."""

import importlib.util
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_DEMO_FILES = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png")


def demo_photos() -> dict[str, "Image.Image"]:
    """Four photos from the scikit-image package: a cat, a cup, a rocket, an astronaut.

    RGB pictures under their names. They lie in the installed package; nothing is downloaded.

    Raises:
        ImportError: scikit-image is not installed.

    Example:
        >>> from captum_cnn_ext.photos import demo_photos
        >>> demo_photos()["chelsea"].size
        (451, 300)
    """
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise ImportError(
            "the demo photos come with scikit-image, which is not installed: "
            "pip install 'captum-cnn-ext[demo]'"
        )
    folder = Path(next(iter(found.submodule_search_locations)), "data")
    photos = load_photos([folder / name for name in _DEMO_FILES])
    return {Path(name).stem: photo for name, photo in photos.items()}


def load_photos(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> dict[str, "Image.Image"]:
    """Read the pictures of a folder, or the files given, as upright RGB pictures by file name.

    Sorted by name. EXIF orientation is applied, transparency becomes white, 16-bit grey is scaled
    to 8 bits, an animation gives its first frame. In a folder, files that are no pictures by
    their ending and hidden files are passed over; folders in it are not entered.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: no picture was found, or some cannot be read; the message names each of them.

    Example:
        >>> from captum_cnn_ext.photos import load_photos
        >>> load_photos([])
        Traceback (most recent call last):
        ValueError: photos: expected picture files or a folder of them, got none
    """
    from PIL import Image

    given = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    paths = [Path(item) for item in given]
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"photos: there is no file or folder {path}")
        files += picture_files(path) if path.is_dir() else [path]
    if not files:
        where = f"none in {', '.join(map(str, paths))}" if paths else "none"
        raise ValueError(f"photos: expected picture files or a folder of them, got {where}")
    photos: dict[str, Image.Image] = {}
    unreadable: list[str] = []
    for file in sorted(files, key=lambda file: (file.name, str(file))):
        name, copies = file.name, 1
        while name in photos:  # the same name in another folder
            copies += 1
            name = f"{file.stem} ({copies}){file.suffix}"
        try:
            photos[name] = read_picture(file)
        except Exception as error:  # a broken file can raise anything; each is reported
            reason = str(error).replace(str(file), file.name).replace("\n", " ")
            unreadable.append(f"{file.name} ({reason or type(error).__name__})")
    if unreadable:
        raise ValueError(
            f"photos: {len(unreadable)} of {len(files)} cannot be read as pictures "
            f"(JPEG, PNG, WebP and the like are expected): {'; '.join(unreadable)}"
        )
    return photos


def picture_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The files of a folder that are pictures by their ending, sorted; hidden ones passed over."""
    from PIL import Image

    Image.init()
    endings = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        file
        for file in found
        if file.suffix.lower() in endings
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def read_picture(file: Path) -> "Image.Image":
    """One file as an upright RGB picture, as `load_photos` gives it.

    Raises:
        OSError, ValueError: it cannot be read, or has pixels of no agreed range.
    """
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file) as opened:
            picture = ImageOps.exif_transpose(opened)
    if picture.mode.startswith("I;16"):
        return picture.point(lambda value: value / 256).convert("L").convert("RGB")
    if picture.mode in ("I", "F"):
        raise ValueError(f"{picture.mode}: 32-bit pixels have no agreed range; save it as 8 bits")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")
