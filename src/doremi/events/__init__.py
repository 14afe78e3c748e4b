"""What happens in a run, as it happens: events, and who hears of them."""
