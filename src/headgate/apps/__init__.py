"""Long-running faces."""
