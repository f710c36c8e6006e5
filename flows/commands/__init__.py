"""The commands of `spar`, one module per family."""
