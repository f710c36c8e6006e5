"""The servers around a home: Prefect's, where interfaces answer, alarms, and runs whose process died."""
