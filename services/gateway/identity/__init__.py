"""Who is asking: API keys, and what each caller may do."""
