"""Helpers that know nothing of images or models: files, machine, processes, text."""
