"""tqdm's bar of the place that runs: widgets in a notebook that has them, else text; no warning."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # "IProgress not found": a bar in text is all right
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
