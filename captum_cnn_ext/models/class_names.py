"""Class names from a file, and a class by its name."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from captum_cnn_ext.errors import ArgumentError, nearest
from captum_cnn_ext.models.failures import no_such

MOST_NAMED = 5  # classes that a message lists


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


def class_index(name: str, names: Sequence[str] | Mapping[int, str] | None) -> int:
    """The class that has this name, in small letters or not.

    Raises:
        ArgumentError: no class has it, or several have; the names are not known.
    """
    asked = f"target={name!r}"
    if names is None:
        raise ArgumentError(
            f"{asked}: the names of the classes are not known; give them (class_names=, "
            "--class-names), or the number of the class"
        )
    known = {
        i: str(n) for i, n in (names.items() if isinstance(names, Mapping) else enumerate(names))
    }
    wanted = name.strip().lower()
    found = [index for index, text in known.items() if text.lower() == wanted]
    if len(found) > 1:
        numbers = ", ".join(map(str, found))
        raise ArgumentError(
            f"{asked}: {len(found)} classes have this name; expected one of {numbers}"
        )
    if found:
        return found[0]
    with_it = [text for text in known.values() if wanted and wanted in text.lower()]
    whole_words = re.compile(rf"\b{re.escape(wanted)}\b")  # "tiger cat" before "polecat"
    with_it.sort(key=lambda text: (whole_words.search(text.lower()) is None, len(text)))
    listed = ", ".join(map(repr, with_it[:MOST_NAMED]))
    lower = {text.lower(): text for text in known.values()}
    near = f"; nearest: {listed}" if with_it else nearest(wanted, lower)
    raise ArgumentError(f"{asked}: no class of {len(known)} has this name{near}")
