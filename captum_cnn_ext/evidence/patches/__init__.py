"""The image patches that excite each unit most. Open ``top_patches.py`` first."""
