"""Synthesised images as a grid, and as a film of how they came about."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from torch import Tensor

from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.errors import install
from captum_cnn_ext.render.drawing import judging, layout
from captum_cnn_ext.render.drawing.images import to_rgb
from captum_cnn_ext.render.drawing.layout import AxesGrid
from captum_cnn_ext.render.drawing.panel import draw_picture

CELL_INCHES = 1.4
LABEL_SIZE = 7.5
FILMS = (".gif", ".webp", ".png", ".mp4")
LAST = 10  # times as long as the others the last frame is shown


def show_images(
    images: Tensor,
    titles: Sequence[str] | None = None,
    *,
    title: str | None = None,
    note: str = "",
    fig_size: tuple[float, float] | None = None,
    use_pyplot: bool | None = None,
) -> tuple[Figure, AxesGrid]:
    """Draw pictures in a near-square grid, each under its text.

    Args:
        images: (N, C, H, W) in [0, 1]; `to_rgb` says how they become colour.
        titles: one for each.
        title: text above all.
        note: small text below.
        fig_size: width and height in inches; default 1.4-inch cells.
        use_pyplot: make the figure through pyplot, which shows it under a notebook's cell; None
            does so in notebooks only.

    Returns:
        the figure and its axes (rows, columns); unused cells are blank.

    Raises:
        TypeError: `images` is no real tensor.
        ValueError: no pictures, or not one title for each image.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.render import show_images
        >>> figure, axes = show_images(torch.rand(5, 3, 32, 32), title="five")
        >>> axes.shape
        (2, 3)
    """
    pictures = to_rgb(judging.picture_batch("images", images))
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(f"titles: got {len(titles)} for {len(pictures)} images")
    page = {"title": title or "", "note": note, "fig_size": fig_size}
    texts = list(titles) if titles is not None else [""] * len(pictures)
    figure, axes = layout.square_page(
        texts, LABEL_SIZE, CELL_INCHES, pictures.shape[1:3], page, use_pyplot
    )
    for cell, picture in zip(axes.flat, pictures, strict=False):
        draw_picture(cell, picture)
    return figure, axes


def save_film(
    frames: Sequence[Tensor], path: str | os.PathLike[str], milliseconds: int = 80
) -> Path:
    """Write snapshots as a film: GIF, WebP or animated PNG, which begin again at the end, or MP4.

    Several images in a frame stand side by side. The file appears only when it is complete. MP4
    (H.264) needs the extra ``film``; odd sides get one more row or column.

    Args:
        frames: (C, H, W) or (N, C, H, W) in [0, 1] each, of one shape, as `Snapshots.images`.
        path: ends with .gif, .webp, .png or .mp4.
        milliseconds: how long a frame is shown; the last one ten times as long.

    Returns:
        the path.

    Raises:
        ValueError: no frames, frames of different shapes, or another ending.
        ImportError: of an MP4, imageio-ffmpeg is not installed.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.render import save_film
        >>> save_film([torch.rand(3, 16, 16) for _ in range(4)], "noise.gif").name
        'noise.gif'
    """
    from PIL import Image

    target = Path(path)
    if target.suffix.lower() not in FILMS:
        raise ValueError(f"path: {target.name!r} ends with {target.suffix!r}; expected {FILMS}")
    milliseconds = as_count("milliseconds", milliseconds)
    shapes = {tuple(frame.shape) for frame in frames}
    if len(shapes) != 1:
        raise ValueError(f"frames: got shapes {sorted(shapes)}; expected one or more of one shape")
    pages = []
    for frame in frames:
        rgb = to_rgb(frame[None] if frame.dim() == 3 else frame)
        row = np.concatenate(list(rgb), axis=1)
        pages.append(Image.fromarray((row * 255).round().astype(np.uint8)))
    times = [milliseconds] * (len(pages) - 1) + [LAST * milliseconds]
    part = target.with_name(f".{target.name}.part{target.suffix}")
    try:
        if target.suffix.lower() == ".mp4":
            shown = [np.asarray(page) for page in [*pages, *pages[-1:] * (LAST - 1)]]
            _write_mp4(shown, part, milliseconds)
        else:
            pages[0].save(part, save_all=True, append_images=pages[1:], duration=times, loop=0)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def require_ffmpeg() -> Any:
    """What writes the frames of an MP4.

    Raises:
        ImportError: imageio-ffmpeg is not installed.
    """
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise ImportError(f"MP4 needs an extra ({install('film')}); GIF does not") from error
    return write_frames


def _write_mp4(pages: Sequence[npt.NDArray[np.uint8]], path: Path, milliseconds: int) -> None:
    write_frames = require_ffmpeg()
    height, width = pages[0].shape[:2]
    even = ((0, height % 2), (0, width % 2), (0, 0))
    film = write_frames(
        str(path),
        (width + width % 2, height + height % 2),
        fps=1000 / milliseconds,
        macro_block_size=2,
        ffmpeg_log_level="error",
    )
    film.send(None)
    try:
        for page in pages:
            film.send(np.ascontiguousarray(np.pad(page, even, mode="edge")))
    finally:
        film.close()
