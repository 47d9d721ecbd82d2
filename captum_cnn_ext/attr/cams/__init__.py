"""Class activation maps: activations of a layer, weighted and summed over its channels.

``base.py`` is the one driver: a class fills in what it records and how that becomes a map. Where
the weights come from names the file:

- gradients (``gradient_base.py``): ``gradient_cam.py``, ``gradient_cam_variants.py``;
- scores of changed passes (``perturbation_base.py``): ``score_cam.py``, ``averaged_score_cam.py``,
  ``ablation_cam.py``, ``poly_cam.py``;
- the classifier itself (``classifier_cam.py``), or an optimiser (``opti_cam.py``);
- the activations alone: ``decomposition_cam.py`` (with ``principal_components.py``),
  ``factorization.py``.

``fused_layers.py`` joins the maps of several layers.
"""
