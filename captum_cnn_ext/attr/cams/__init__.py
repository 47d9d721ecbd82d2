"""Class activation maps: activations of a layer, weighted and summed over its channels.

``base.py`` holds what every one of them shares. Where the weights come from names the file:

- gradients: ``gradient_cam.py``, ``gradient_cam_variants.py``;
- scores of changed passes (``perturbation_cam.py``): ``score_cam.py``, ``averaged_score_cam.py``,
  ``ablation_cam.py``, ``poly_cam.py``;
- the classifier itself (``classifier_cam.py``), or an optimiser (``opti_cam.py``);
- the activations alone: ``decomposition_cam.py`` (with ``principal_components.py``),
  ``factorization.py``.

``fused_layers.py`` joins the maps of several layers.
"""
