"""The verbs in data order: land, refine, derive; then replay and audit. They see ports and contracts only."""
