"""What people see of a run: terminal, tables, Prefect's pages, files."""
