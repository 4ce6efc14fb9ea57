"""Fuzz: schemathesis, made of the document of the API, against the real server on a real PostgreSQL.

Its own step, because schemathesis and its pytest plugin would otherwise load into every other test.
"""
