"""What happens on the way back, and why a gradient is missing.

`rules` put deconvnet's and guided backpropagation's rule on the nodes of one graph, `coverage` says
which operations they met, by the tables in `operation_kinds`; `units_to_pixels` takes units back to
pixels. `lost_gradient` finds the operation that ends a gradient. `batch_norm_of_one_image`,
`second_derivatives` and `saved_tensors` are for what autograd refuses or gets wrong by itself,
`checkpoints` for what it computes twice.
Start with `rules`.
"""
