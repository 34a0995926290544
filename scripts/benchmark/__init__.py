"""What scripts/bench and scripts/pgo are made of; the standard library only."""
