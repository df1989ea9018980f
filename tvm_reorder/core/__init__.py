"""IR-free facts, algebra and decisions: numpy and the standard library only."""
