"""One module for each hop: `measure(rounds) -> list[Figure]`."""
