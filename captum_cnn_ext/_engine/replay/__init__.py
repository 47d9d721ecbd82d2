"""What would the output be if this layer's output were this? For many alternatives at once.

`replay` records one pass and runs what follows the layer again. `call_recorder` keeps the module
calls before it, `call_player` hands their outputs out again, `batch_rows` says which example each
row belongs to, `peak_memory` how many rows fit. Where the rest is affine, `affine_head` needs no
pass; `joint_replay` serves several layers. Start with `replay`.
"""
