"""The only code that touches a model: hooks, modes, dispatch, memory. In chapters:

* `judging`: what the user passed and what the model gives; every refusal.
* `running`: run a model safely, record what its layers get and give.
* `trace`: one description of a forward pass; `receptive_fields`: which pixels a unit depends on.
* `replay`: what if a layer gave something else; `incremental`: what if a part of the input changed.
* `backward`: rules on the way back, and why a gradient is missing.

Beside them `nested_tensors` (the tensors in what modules get and give), `whole_files` (written
whole or not at all), `to_device` (numbers on their way to a device), `fingerprints` (of weights)
and `one_line_repr` (a result in one line).
"""
