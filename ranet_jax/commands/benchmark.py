"""`ranet-jax benchmark`: how fast this machine tracks with a network."""

import argparse

from ranet_jax.commands.common import (
    AddCommand,
    add_cache_option,
    add_device_option,
    add_network_options,
    frame_size,
    use_cache,
    whole_number,
    whole_numbers,
)


def add_parser(add: AddCommand) -> None:
    """Declares the subcommand."""
    parser = add("benchmark", _benchmark, "Measure how fast this machine tracks with a network.")
    add_network_options(parser)
    parser.add_argument(
        "--objects", type=whole_numbers, default=[1], metavar="N,...", help="a row for each number (default 1)"
    )
    parser.add_argument(
        "--size", type=frame_size, default=(480, 854), metavar="HEIGHTxWIDTH", help="of the frames (default 480x854)"
    )
    parser.add_argument("--repeats", type=whole_number, default=15, metavar="N", help="timed steps (default 15)")
    parser.add_argument("--video", action="store_true", help="also the embedded clip, with decoding and writing")
    add_device_option(parser)
    add_cache_option(parser)


def _benchmark(options: argparse.Namespace) -> None:
    from ranet_jax.devices import use_device
    from ranet_jax.evaluation import tracking_speed
    from ranet_jax.weights import open_checkpoint

    use_device(options.device)
    use_cache(options)
    checkpoint = open_checkpoint(options.checkpoint, options.model)
    tracking_speed.print_steps(checkpoint, options.objects, options.repeats, frame_size=options.size)
    if options.video:
        tracking_speed.print_video(checkpoint)
