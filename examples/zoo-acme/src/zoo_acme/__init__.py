"""A third-party plugin for the zoo; its catalogue stands in registry.yaml beside this file."""
