"""The command line: one file per verb, no logic that a library user would miss."""
