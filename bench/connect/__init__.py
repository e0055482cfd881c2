"""Kafka Connect, a peer that needs Java: what it needs, and how it is run."""
