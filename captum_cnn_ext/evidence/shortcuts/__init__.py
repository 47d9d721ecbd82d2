"""What a class is recognised by: strategies, and shortcuts that the model itself confirms."""

from captum_cnn_ext.evidence.shortcuts.search import find_shortcuts
from captum_cnn_ext.evidence.shortcuts.strategies import Strategies, Strategy, strategies
from captum_cnn_ext.evidence.shortcuts.suspects import Shortcuts, Suspect

__all__ = ["Shortcuts", "Strategies", "Strategy", "Suspect", "find_shortcuts", "strategies"]
