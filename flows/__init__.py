"""What runs and in what order: the flows, the Prefect server they report to, and the `spar` command line."""
