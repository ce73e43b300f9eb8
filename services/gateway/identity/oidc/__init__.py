"""Logging in by other providers: OpenID Connect, authorization code with PKCE."""
