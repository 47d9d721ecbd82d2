"""Pictures to explain: the user's files, or a few that come with scikit-image."""

import importlib.util
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_cnn_ext._numbers import as_count_or_none
from captum_cnn_ext.errors import install, nearest_file

if TYPE_CHECKING:
    from PIL import Image

MEASURED = 256  # pictures of a data set whose sizes are looked at
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
            f"the demo photos come with scikit-image, which is not installed: {install('demo')}"
        )
    folder = Path(next(iter(found.submodule_search_locations)), "data")
    photos = load_photos([folder / name for name in _DEMO_FILES])
    return {Path(name).stem: photo for name, photo in photos.items()}


class PhotoFiles(dict[str, "Image.Image"]):
    """Pictures by name, and what else there was.

    Attributes:
        found: how many picture files there were, read or not.
        skipped: the files that could not be read, and why.
    """

    def __init__(
        self, pictures: Iterable[tuple[str, "Image.Image"]] = (), found: int | None = None
    ) -> None:
        super().__init__(pictures)
        self.found = len(self) if found is None else found
        self.skipped: dict[str, str] = {}

    def __repr__(self) -> str:
        left = f", {len(self.skipped)} that cannot be read" if self.skipped else ""
        return f"PhotoFiles({len(self)} of {self.found} pictures{left})"

    def skipped_words(self) -> str:
        """The files that could not be read in one line; nothing where there are none."""
        if not self.skipped:
            return ""
        names = "; ".join(f"{name} ({reason})" for name, reason in self.skipped.items())
        return (
            f"{len(self.skipped)} of {self.found} cannot be read as pictures "
            f"(JPEG, PNG, WebP and the like are expected): {names}"
        )


def load_photos(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    on_error: str = "raise",
    max_images: int | None = None,
) -> PhotoFiles:
    """Read the pictures of a folder and of the folders in it, or the files given, by name.

    They are upright RGB pictures, sorted by name, 2.jpg before 10.jpg: the file's, in an inner
    folder with the way to it (``cats/001.jpg``). EXIF orientation is applied, transparency becomes
    white, 16-bit grey is scaled to 8 bits, an animation gives its first frame. In a folder, files
    that are no pictures by their ending and hidden files are passed over.

    Args:
        source: a folder, a file, or several of them.
        on_error: ``"raise"`` names every picture that cannot be read; ``"skip"`` leaves them out
            and lists them in the result's ``skipped``.
        max_images: read the first ones only.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: no picture was found, none or not all can be read; the message names each.

    Example:
        >>> from captum_cnn_ext.photos import load_photos
        >>> load_photos([])
        Traceback (most recent call last):
        ValueError: photos: got none; expected picture files, or folders of them
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error={on_error!r}: expected 'raise' or 'skip'")
    most = as_count_or_none("max_images", max_images)
    given = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    paths = [Path(item) for item in given]
    files: list[tuple[str, Path]] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"photos: there is no file or folder {path}{_near(path)}")
        inside = picture_files(path, recursive=True) if path.is_dir() else []
        files += [(file.relative_to(path).as_posix(), file) for file in inside]
        files += [] if path.is_dir() else [(path.name, path)]
    if not files:
        empty = " or ".join(f"{path} ({_what_is_there(path)})" for path in paths)
        found = f"no pictures in {empty}" if paths else "got none"
        raise ValueError(f"photos: {found}; expected picture files, or folders of them")
    photos = PhotoFiles(found=len(files))
    for name, file in _named_once(files):
        if len(photos) == most:
            break
        try:
            photos[name] = read_picture(file)
        except Exception as error:  # a broken file can raise anything; each is reported
            reason = " ".join(str(error).replace(str(file), file.name).split())
            photos.skipped[name] = reason or type(error).__name__
    if photos.skipped and (on_error == "raise" or not photos):
        raise ValueError(f"photos: {photos.skipped_words()}")
    return photos


def _named_once(files: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    """Sorted, and numbered where two folders have the same name."""
    taken: set[str] = set()
    for given, file in sorted(files, key=lambda named: _natural(named[0])):
        name, copies = given, 1
        while name in taken:
            copies += 1
            name = f"{given.removesuffix(file.suffix)} ({copies}){file.suffix}"
        taken.add(name)
        yield name, file


def _natural(name: str) -> list[tuple[int, str]]:
    """What sorts 2.jpg before 10.jpg."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _what_is_there(folder: Path) -> str:
    endings = Counter(file.suffix or file.name for file in folder.rglob("*") if file.is_file())
    words = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(3))
    return f"it holds {words}" if words else "it holds no files"


def _near(path: Path) -> str:
    """Names like this one, beside it."""
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    return nearest_file(path.name, [other.name for other in beside if other.name[:1] != "."])


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


def picture_sizes(pictures: Any) -> Iterator[tuple[int, int]]:
    """(width, height) of each picture; of a large data set of some, from all over it.

    Pictures are the values of a mapping, or the items of a sequence or data set: PIL pictures,
    files, or samples that begin with one; or a file, or those of a folder. What is none, or cannot
    be read, is passed over.
    """
    from PIL import Image

    given = list(pictures.values()) if isinstance(pictures, Mapping) else pictures
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        given = picture_files(path, recursive=True) if path.is_dir() else [path]
    if not hasattr(given, "__len__") or not hasattr(given, "__getitem__"):
        return
    for number in range(0, len(given), -(-len(given) // MEASURED) or 1):
        try:
            item = given[number]
            item = item[0] if isinstance(item, (tuple, list)) else item
            picture = read_picture(Path(item)) if isinstance(item, (str, os.PathLike)) else item
        except Exception:  # a broken file can raise anything; whoever uses it says so
            continue
        if isinstance(picture, Image.Image):
            yield picture.size
