"""Training recipes by name, one file each: `get_config` makes the configuration, `ranet-jax train NAME` trains it."""
