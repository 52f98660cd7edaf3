"""Pure planning: values in, values out. No clock, no network, no files; ``now`` is an argument."""
