"""The views: read what was validated, call one verb, return the record."""
