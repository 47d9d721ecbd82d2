"""Sections about what the layers' units see, from their weights to images made for them."""
