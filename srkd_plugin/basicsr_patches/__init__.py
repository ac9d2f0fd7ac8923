"""Everything the plugin changes or assumes in BasicSR, each with its reason and its condition."""
