"""Attributions and images at the resolution of the input.

Backward passes with other rules (``guided_backprop.py``, ``deconvnet.py`` with
``reconstructions.py``, ``full_grad.py``, ``guided_cam.py``), windows that are blanked
(``occlusion.py`` with ``sliding_windows.py`` and ``window_losses.py``), random masks (``rise.py``,
``d_rise.py`` with ``masked_input_base.py`` and ``random_masks.py``), images that are optimised
(``activation_maximization.py``), and ``class_blindness.py``: whether such a picture depends on the
class at all.
"""
