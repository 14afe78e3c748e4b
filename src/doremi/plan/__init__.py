"""`doremi plan`: what a run costs before it starts (plan.py), in words (table.py), and what would be cheaper."""
