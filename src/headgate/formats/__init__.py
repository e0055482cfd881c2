"""How rows look outside the lake: exact, and readable by others."""
