"""What the benchmarks of one request share, and the benchmarks that are our own."""
