"""What is said of runs that are not repeatable; imported before anything heavy."""

NOT_REPEATABLE = (
    "engine.send_seed is false: requests carry no seed. What is answered is kept and resumed from, but this run is not "
    "repeatable: the same configuration in another home gives other answers"
)
