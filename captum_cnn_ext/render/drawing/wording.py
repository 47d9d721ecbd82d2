"""Words and numbers in figures: how wide they are, and where their lines break."""

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

POINTS_PER_INCH = 72
SCREEN_WIDENING = 1.04  # letters on a pixel grid are a little wider than their outlines
LINE_SPACING = 1.25


def text_width(text: str, size: float) -> float:
    """Width of one line of text in inches."""
    width = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)[0]
    return SCREEN_WIDENING * float(width) / POINTS_PER_INCH


def wrap(text: str, size: float, width: float) -> str:
    """Break `text` into as few lines of at most `width` inches as it takes, of similar length."""
    text = " ".join(text.split())
    whole = text_width(text, size) if text else 0.0
    if whole <= width:
        return text
    lines = _fill(text, size, width)
    even = whole / len(lines)
    longest_word = max(text_width(word, size) for word in text.split())
    for narrower in (1.02 * even, 1.1 * even, 1.2 * even):
        if longest_word <= narrower <= width:
            filled = _fill(text, size, narrower)
            if len(filled) == len(lines):
                return "\n".join(filled)
    return "\n".join(lines)


def _fill(text: str, size: float, width: float) -> list[str]:
    """Fill line after line with the words of `text`; a longer word is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer, size) <= width:
            lines[-1] = longer
            continue
        lines += [""] if lines[-1] else []
        while text_width(word, size) > width and len(word) > 1:
            cut = _cut(word, size, width)
            lines[-1:] = [word[:cut], ""]
            word = word[cut:]
        lines[-1] = word
    return lines


def _cut(word: str, size: float, width: float) -> int:
    """Where to cut a word that is too long: between the parts of a name, or else where it fits."""
    fits = 1
    while text_width(word[: fits + 1], size) <= width:
        fits += 1
    for cut in range(fits, fits // 3, -1):
        if word[cut].isupper() or word[cut - 1] in "._-/":
            return cut
    return fits


def text_height(text: str, size: float) -> float:
    """Height of wrapped text in inches with a little air; 0 for no text."""
    lines = text.count("\n") + 1
    return (lines * LINE_SPACING + 0.35) * size / POINTS_PER_INCH if text else 0.0


def number(value: float, digits: int) -> str:
    """Write a number for a figure: a true minus sign, and never a negative zero."""
    return f"{value + 0.0:.{digits}g}".replace("-", "−")


def how_many(shown: int, total: int, thing: str) -> str:
    """Say how much of a layer is drawn."""
    plural = "" if total == 1 else "s"
    return f"{total} {thing}{plural}" if shown == total else f"{shown} of {total} {thing}s shown"
