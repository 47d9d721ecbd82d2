"""Which pixels a unit depends on.

`layer_fields` carries the first and last pixel of every position (`axis`) through the operations of
a trace: `window_rules` for convolution, pooling, resizing and padding, `rules` for everything else,
`branches` where branches meet. What is not known is measured by `nan_probe`. `crops` answers the
stricter question whether a cut of the image gives a unit its value. Start with `layer_fields`.
"""
