"""The built-in model families; found by entry point, like any third party's."""
