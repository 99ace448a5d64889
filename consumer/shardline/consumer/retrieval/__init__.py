"""Retrieval's cores: polling (and later enhanced fan-out), deaggregation of what was read."""
