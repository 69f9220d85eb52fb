"""What was fetched: named sets, pretrained weights, and where they lie. Empty, so that `zoo data list` stays light."""
