"""Size, cost and latency of a student beside its teacher."""
