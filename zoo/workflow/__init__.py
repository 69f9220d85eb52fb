"""The verbs, one file each, and what they share; `zoo` offers them by name."""
