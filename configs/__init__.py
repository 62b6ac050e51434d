"""Training recipes as ml_collections configurations, one file each; `get_config` makes it."""
