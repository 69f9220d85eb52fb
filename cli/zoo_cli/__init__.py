"""The `zoo` command: one file per verb, each parse, call, report; the library does the work."""
