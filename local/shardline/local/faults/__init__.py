"""Scripted faults: which request meets which failure, as data; carrying them out is the HTTP door's work."""
