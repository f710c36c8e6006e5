"""What the flows are put together from: runs and sessions, models, stage calls, the data of an iteration."""
