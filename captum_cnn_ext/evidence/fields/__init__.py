"""Which pixels a unit depends on, and how much each counts."""
