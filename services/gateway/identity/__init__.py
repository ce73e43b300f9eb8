"""Who is asking: users and their sessions, tokens, API keys, and what each caller may do."""
