"""The audit of a labelled data set: sections, and the one pass over the data that they read."""
