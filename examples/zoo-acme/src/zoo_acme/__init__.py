"""acme_net: the plugin is in model.py, its card in registry.yaml. Nothing is imported here."""
