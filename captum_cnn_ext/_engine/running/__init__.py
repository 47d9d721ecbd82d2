"""Run a model safely, and record what its layers get, give and receive as gradients.

`layer_sites` say where to look (a layer's input or output, at one of its calls), `hooks` look,
`layer_recording` does it once with gradients, `streaming` for batch after batch, `repeated_passes`
in the graph of an image that is optimised. `state` and `undo` leave the model as it was found,
`batching` cuts work into chunks that fit memory. Start with `layer_recording`.
"""
