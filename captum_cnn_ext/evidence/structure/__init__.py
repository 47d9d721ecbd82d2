"""What a network is made of: the table of its layers, and its graph."""
