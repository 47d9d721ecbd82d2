"""How good an attribution is, in the manner of ``captum.metrics``, whose own two are here too."""

from captum.metrics import infidelity, sensitivity_max

from captum_cnn_ext.metrics.faithfulness.arcc import Arcc, arcc
from captum_cnn_ext.metrics.faithfulness.confidence import (
    Confidence,
    average_drop,
    confidence,
    increase_in_confidence,
)
from captum_cnn_ext.metrics.faithfulness.curves import (
    Curve,
    deletion,
    insertion,
    insertion_and_deletion,
)
from captum_cnn_ext.metrics.faithfulness.road import Road, impute, road
from captum_cnn_ext.metrics.faithfulness.single_deletion import patch_drops, single_deletion
from captum_cnn_ext.metrics.maps import as_maps
from captum_cnn_ext.metrics.objects.box_accuracy import (
    BoxAccuracy,
    box_hit,
    box_iou,
    max_box_acc,
)
from captum_cnn_ext.metrics.objects.localization import box_masks, energy_in_box, pointing_game
from captum_cnn_ext.metrics.objects.relevance import (
    earth_movers_distance,
    mask_iou,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
)
from captum_cnn_ext.metrics.sanity.agreement import agreement, rank_correlation
from captum_cnn_ext.metrics.sanity.control_maps import gaussian_map, random_map
from captum_cnn_ext.metrics.sanity.random_logit import random_logit
from captum_cnn_ext.metrics.sanity.randomization import Randomization, parameter_randomization
from captum_cnn_ext.metrics.sparseness import sparseness
from captum_cnn_ext.metrics.statistics import (
    Interval,
    bootstrap,
    share_difference,
    wilson,
)

__all__ = [
    "Arcc",
    "BoxAccuracy",
    "Confidence",
    "Curve",
    "Interval",
    "Randomization",
    "Road",
    "agreement",
    "arcc",
    "as_maps",
    "average_drop",
    "bootstrap",
    "box_hit",
    "box_iou",
    "box_masks",
    "confidence",
    "deletion",
    "earth_movers_distance",
    "energy_in_box",
    "gaussian_map",
    "impute",
    "increase_in_confidence",
    "infidelity",
    "insertion",
    "insertion_and_deletion",
    "mask_iou",
    "max_box_acc",
    "parameter_randomization",
    "patch_drops",
    "pointing_game",
    "random_logit",
    "random_map",
    "rank_correlation",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "road",
    "sensitivity_max",
    "share_difference",
    "single_deletion",
    "sparseness",
    "wilson",
]
