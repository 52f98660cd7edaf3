"""Files that people write and keyform reads with care: configurations, and profiles of services."""
