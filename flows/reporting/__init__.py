"""`spar report`: a run or an experiment as one self-contained HTML page, small enough to mail.

`run_report` and `experiment_report` gather what a page shows, `chosen` says which trees, `curves` lays out the plots,
`page` writes the file, `publishing` puts a run's into MLflow. Templates are those of `spar view`.
"""
