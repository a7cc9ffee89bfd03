"""The monitors of subscriptions and traffic."""
