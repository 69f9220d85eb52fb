"""Where images and their labels come from: folders, tables, archives, shards. Each gives a `Pool`."""
