"""Service accounts: programs of a project, their secrets and the access tokens that they get."""
