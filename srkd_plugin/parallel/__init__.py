"""What the processes of a distributed run know of and tell each other."""
