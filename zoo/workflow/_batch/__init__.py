"""Batch prediction: images dealt into numbered parts, each answered once whatever dies; see `zoo.workflow.batch`."""
