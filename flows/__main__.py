"""`python -m flows` is the `spar` command line."""

from flows.cli import main

main()
