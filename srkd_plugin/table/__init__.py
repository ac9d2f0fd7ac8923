"""Tables of methods x seeds: one small YAML, many ordinary BasicSR runs, one comparison (``scripts/run_table.py``)."""
