"""What is maximised. ``algebra.py`` has the base class and its sums and products."""
