"""Lease tables in memory: items, conditions and updates judged as DynamoDB judges them; pure, time is an argument.

Invariants: a write's condition and its effect are one step; what a reader gets can never change what is stored; a stale
read shows one past moment of the whole table; an unknown attribute survives every update.
"""
