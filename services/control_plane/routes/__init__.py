"""The REST API's routes: thin, one module a noun."""
