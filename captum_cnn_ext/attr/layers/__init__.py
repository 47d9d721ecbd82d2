"""What is attributed at a layer and is no class activation map, and which layer to choose.

``base.py`` is what everything shares that reads layers. ``feature_maps.py`` gives activations;
``captum_drop_ins.py`` and ``path_drop_ins.py`` are Captum's layer methods, computed in the rest of
the network only; ``tail_forward.py`` is that rest as a function. ``reshape_transform.py`` reads
layers of tokens or with channels last; ``suggest_layers.py`` says which layer to look at.
"""
