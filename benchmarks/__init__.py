"""keyform measured beside other programs: one command, one table of ratios."""
