"""What the page accepts: pictures of a bounded size, from this machine unless told otherwise."""

import ipaddress
import os
import warnings
from pathlib import Path

from PIL import Image, ImageChops, ImageStat

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.photos import read_picture

MOST_BYTES = 20 * 1024**2
MOST_PIXELS = 50_000_000
LOSSY = 8.0  # of 255, on average over the pixels
# each read by Pillow itself; others, such as EPS, start programs
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def read_upload(path: str | os.PathLike[str]) -> Image.Image:
    """A file that somebody sent, as an upright RGB picture.

    The header is judged before a pixel is decoded.

    Raises:
        ArgumentError: too large, or not a picture that can be read; one line.
    """
    file = Path(path)
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise ArgumentError(
            f"image: {size / 1e6:.0f} MB; expected at most {MOST_BYTES / 1e6:.0f} MB"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as opened:
                width, height = opened.size
        if width * height > MOST_PIXELS:
            raise ArgumentError(
                f"image: {width} × {height} pixels; expected at most {MOST_PIXELS / 1e6:.0f} "
                "million pixels"
            )
        return read_picture(file)
    except ArgumentError:
        raise
    except Exception as error:  # damaged files raise many kinds
        raise ArgumentError(
            f"image: cannot be read as a picture ({type(error).__name__}); expected "
            f"{', '.join(FORMATS)}"
        ) from error


def same_picture(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures are one but for what a lossy format changes."""
    if one.size != other.size:
        return False
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return max(ImageStat.Stat(difference).mean) < LOSSY


def judge_host(host: str, allow_remote: bool) -> list[str]:
    """The names under which a browser may ask for the page: what its Host header may say.

    A page from elsewhere can point a name of its own at this machine (DNS rebinding); its requests
    carry that name and are refused.

    Raises:
        ArgumentError: other machines could connect, and that was not allowed.
    """
    if is_loopback(host):
        return ["127.0.0.1", "localhost", "[::1]", host]
    if not allow_remote:
        raise ArgumentError(
            f"host={host!r}: other machines could open the page, which has no password; expected "
            "127.0.0.1, or allow_remote (--allow-remote) where that is meant"
        )
    return ["*"]


def is_loopback(host: str) -> bool:
    """Whether an address is only reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
