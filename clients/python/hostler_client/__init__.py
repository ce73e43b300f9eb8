"""What programs that call Hostler need beyond HTTP. It imports nothing of Hostler's."""
