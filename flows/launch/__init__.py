"""Job files for clusters, from the block `deployment` of a run's configuration."""
