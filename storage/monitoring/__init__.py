"""What is watched: processes, subscriptions, traffic, tokens and resends."""
