"""Methods x seeds from one YAML file: runs, results, statistics and the report."""
