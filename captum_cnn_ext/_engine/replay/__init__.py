"""What would the output be if this layer's output were this? For many alternatives at once.

`replay` records one pass and runs what follows the layer again. `recorded_calls` are the module
calls before it, `answering` hands their outputs out again, `batch_rows` says which example each row
belongs to, `peak_memory` how many rows fit. Where the rest is affine, `affine_tail` needs no pass;
`joint_replay` serves several layers. Start with `replay`.
"""
