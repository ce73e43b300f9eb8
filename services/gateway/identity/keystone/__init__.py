"""Tokens of the cloud's own Keystone, validated there."""
