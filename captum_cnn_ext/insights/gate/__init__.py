"""The gate: what a data set's audit must have found before a model may pass."""
