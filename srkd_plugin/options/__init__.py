"""The options file: its sections as typed models, reading it safely, and checking it."""
