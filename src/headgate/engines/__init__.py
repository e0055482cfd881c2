"""Engines judge bronze, build gold and answer queries; the name of an engine is the name of its module here."""
