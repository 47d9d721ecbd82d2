"""Does the map depend on what it should? Other weights, other classes, and maps that know nothing.

`randomization` and `random_logit` change the network or the class, `control_maps` are what a method
must beat, `agreement` compares two maps. Open `randomization` first.
"""
