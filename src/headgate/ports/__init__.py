"""The interfaces between steps, sources, stores and engines. Nothing here does any work."""
