"""What users read: pure functions from plans, states and diagnostics to text."""
