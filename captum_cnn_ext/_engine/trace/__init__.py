"""One description of a forward pass, and what is read off it.

`trace_recorder.trace_of` runs a copy of the model on the meta device and writes down its module
calls and tensor operations as a `forward_trace.Trace`. Layer tables (`layer_calls`), graphs
(`data_flow`), receptive fields and incremental passes read it; none of them follows a pass by
itself. `window_arithmetic` says which positions an operation reads. `operation_follower` knows when
a value leaves torch, which no operation tells, and `other_threads` when work does. Start with
`forward_trace`.

Two things stay apart: `running.call_counts` needs no tensors at all, and `replay.call_recorder`
keeps what a real pass computed.
"""
