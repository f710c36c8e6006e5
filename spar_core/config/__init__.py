"""Configuration: frozen, validated, merged from profile, preset or file, and overrides."""
