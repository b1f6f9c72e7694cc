"""From a graph to the integer table that the numba backend walks: passes, layout, one rule an op, addresses."""
