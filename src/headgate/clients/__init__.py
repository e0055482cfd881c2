"""Services that sources and stores both talk to: how each is reached, and what its errors mean."""
