"""Does the map lie on the object? Metrics against masks and boxes that a person drew.

`localization` points and counts in boxes, `relevance` ranks and moves mass, `box_accuracy` draws a
box from the map. Open `localization` first.
"""
