"""Everything that a call must leave as it found it."""

from captum_cnn_ext.testing import nothing_left_behind

__all__ = ["nothing_left_behind"]
