"""Which image goes where: splits, folds, groups, leaks, and the fingerprint of the outcome."""
