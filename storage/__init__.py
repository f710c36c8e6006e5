"""What outlives a process: artifacts, journals, the ledger of runs, the catalogue, tracking and the model registry.

Everything lies under one folder (`storage.home.Home`). This package knows records, hashing and errors of `spar_core`
and nothing of orchestration.
"""
