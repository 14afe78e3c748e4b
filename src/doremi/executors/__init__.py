"""Ways to do the nodes of a run elsewhere than in the command that was given."""
