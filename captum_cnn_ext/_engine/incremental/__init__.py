"""What would the output be if this part of the input were other? Only what changes is computed.

`operation_tape` is a pass that can run again, `changed_pass` runs it for inputs of which a
`tiles.Tile` changed, with one of `tile_rules` for each operation; `replaced_inputs` scores a model
with parts of its input replaced, by this way or by running it. Start with `changed_pass`.
"""
