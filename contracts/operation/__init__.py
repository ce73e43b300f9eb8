"""Operations: one accepted command on its way to its outcome. Only the provisioner says how they go."""
