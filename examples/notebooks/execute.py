"""Execute these notebooks in place and make their pictures small: python execute.py [NOTEBOOK ...]

Without names all are executed. Needs `pip install -e '.[demo]' nbclient ipykernel`.
"""

import base64
import io
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent


def executed(path, timeout=600):
    """The notebook with its outputs, from a kernel in an empty folder; an error of a cell stops."""
    book = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        places = {"metadata": {"path": folder}}
        return NotebookClient(
            book, timeout=timeout, kernel_name="python3", resources=places
        ).execute()


def small(book):
    """The same without times and widgets, its pictures in 256 colours."""
    book.metadata.pop("widgets", None)
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:  # what this machine's libraries say to the terminal is nobody's
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        printed = [one for one in cell.get("outputs", ()) if one.output_type == "stream"]
        for one in printed[1:]:  # a loop's prints come in pieces
            printed[0].text += one.text
            cell.outputs.remove(one)
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                file = io.BytesIO()
                picture.convert("RGB").quantize(256).save(file, "png", optimize=True)
                output.data["image/png"] = base64.b64encode(file.getvalue()).decode()
    return book


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(HERE.glob("*.ipynb")):
        nbformat.write(small(executed(name)), name)
        print(name, f"{Path(name).stat().st_size / 1000:.0f} kB")
