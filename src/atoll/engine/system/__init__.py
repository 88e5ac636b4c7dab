"""The installation as a whole: version, info, check and repair."""
