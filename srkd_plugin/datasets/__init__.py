"""Making and verifying data sets: training sets, benchmark sets, the demo's set."""
