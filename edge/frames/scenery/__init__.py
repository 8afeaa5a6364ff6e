"""What the synthetic camera sees: a painted yard and the animals and people in it."""
