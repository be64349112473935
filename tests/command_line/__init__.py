"""The command line. A package, for pytest collects it before the conftest of all tests, and would mix the two up."""
