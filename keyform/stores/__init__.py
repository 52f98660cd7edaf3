"""Secrets managers, one file each."""
