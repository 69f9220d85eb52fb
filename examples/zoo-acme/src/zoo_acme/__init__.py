"""acme_net: the plugin stands in model.py, its card in registry.yaml. Nothing is imported here."""
