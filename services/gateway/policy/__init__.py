"""What may be done by whom: the policy file, owners and grants, overrides, and rows kept apart."""
