"""Apply: from accepted notifications to state and history."""
