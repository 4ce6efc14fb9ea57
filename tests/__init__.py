"""Billy's tests. The directories mirror the layers; ``tests.support`` is what they share."""
