"""What is said between Hostler's services: messages, topics, states and errors; pydantic only, no I/O."""
