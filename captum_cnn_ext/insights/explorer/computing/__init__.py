"""What the explorer computes. Nothing here draws, and nothing knows of a page.

`session` answers every question and keeps recent answers; `values` are questions and answers,
`listing` the layers, `origin` gradients between units, `patterns` synthesised images.
"""
