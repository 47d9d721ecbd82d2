"""What the user passed, and what the model gives: every refusal and its text.

`arguments` finds layers and choices, `inputs` and `input_sizes` judge what goes into the model,
`input_errors` explains why a model cannot take it, `outputs` finds the scores in what a model
returns, `targets` the one that is explained. Start with `arguments`.

`captum_compat` holds the few names of Captum that are private to it.
"""
