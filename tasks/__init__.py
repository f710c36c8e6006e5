"""One Prefect task per stage: load inputs, call spar_core, commit the artifact."""
