"""How Hostler gets onto machines: topics, generated files, the local stack, containers."""
