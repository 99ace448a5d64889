"""`make conformance`: one script of behaviour against our state by both doors, moto, and an independent emulator."""
