"""Language models: shapes, building, attention, what they cost."""
