"""How sure a share is. Loads nothing heavy: a metric, and a test of shortcuts, say it alike."""

import math
from statistics import NormalDist


def wilson_ends(share: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The ends of Wilson's interval of a share of ``count`` > 0 trials."""
    z = NormalDist().inv_cdf(1 - (1 - confidence) / 2)
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low = 0.0 if share <= 0 else max(0.0, middle - half)
    return low, 1.0 if share >= 1 else min(1.0, middle + half)
