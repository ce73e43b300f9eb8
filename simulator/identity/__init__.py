"""Keystone: users, tokens that expire, and the catalogue."""
