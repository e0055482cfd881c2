"""Where things run: projects, wiring, the run loop, its records."""
