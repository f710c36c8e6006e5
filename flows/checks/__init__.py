"""What can be known before anything is started: checked by `spar doctor`, and by every command that works."""
