import kit  # noqa: F401  so that Ctrl-C is one line while a command imports, too
