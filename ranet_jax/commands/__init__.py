"""The subcommands of `ranet-jax`, a module each: `add_parser` declares it, and what it runs calls the library."""
