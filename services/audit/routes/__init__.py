"""Audit over HTTP, for callers for whom the gateway vouches."""
