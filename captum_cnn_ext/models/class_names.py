"""Class names from a file."""

import json
import os
from pathlib import Path

from captum_cnn_ext.models.failures import no_such


def read_class_names(path: str | os.PathLike[str]) -> list[str]:
    """Class names from a .txt file, one per line, or a .json list, {index: name} or {name: index}.

    Raises:
        FileNotFoundError: no such file. ValueError: another form, or indices with gaps.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"class_names: {no_such(file, ('.txt', '.json'))}")
    expected = (
        f"class_names {file.name}: expected one name per line (.txt), a JSON list of names, or a "
        "JSON object {index: name} with indices from 0"
    )
    try:
        text = file.read_text(encoding="utf-8-sig")
        content = json.loads(text) if file.suffix.lower() == ".json" else text.rstrip().split("\n")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{expected}; {error}") from error
    if isinstance(content, dict):
        if all(isinstance(value, int) for value in content.values()):
            content = {str(index): name for name, index in content.items()}
        if set(content) != set(map(str, range(len(content)))):
            raise ValueError(f"{expected}; got the keys {', '.join(list(content)[:5])}, ...")
        content = [content[str(index)] for index in range(len(content))]
    if isinstance(content, list):  # ImageNet's own file has ["n02123045", "tabby"] for a name
        content = [n[-1] if isinstance(n, list) and n else n for n in content]
    named = isinstance(content, list) and all(isinstance(n, str) and n.strip() for n in content)
    if not content or not named:
        raise ValueError(f"{expected}; got an empty name or something else")
    return [name.strip() for name in content]
