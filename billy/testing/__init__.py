"""What programs that use Billy can test themselves with."""
