"""Student and teacher in the formats of other programs."""
