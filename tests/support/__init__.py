"""What the tests share: databases, factories, an HTTP client, a clock that stands still."""
