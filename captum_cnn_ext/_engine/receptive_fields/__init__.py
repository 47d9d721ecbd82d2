"""Which pixels a unit depends on.

`layer_fields` carries the first and last pixel of every position (`axis`) through the operations of
a trace: by the windows that an operation reads (`trace.window_arithmetic`), by `rules` for
everything else, and by `fields` where branches meet. What is not known is measured by `nan_probe`.
`crops` answers the stricter question whether a cut of the image gives a unit its value. Start with
`layer_fields`.
"""
