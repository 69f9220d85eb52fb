"""The `zoo` command: one file per verb, each parse, call, report; what is done stands in the library."""
