"""What happens at the door: who did, or tried to do, what. Only the gateway says it."""
