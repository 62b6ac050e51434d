"""Training: losses, optimizer, one pure step, data parallelism, checkpoints that resume exactly, and the loop."""
