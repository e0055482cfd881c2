"""Files for others."""
