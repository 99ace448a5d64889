"""The fleet: who is alive, who leads, and who shall hold which lease; pure cores, driven by the worker.

Facts: `kcl.md` 3.4-3.7 and 4 (the KCL's rules, tables and items), design.md (rescue). Nothing here awaits, reads a
clock or draws chance of its own: scans come in with `now`, writes go out as values of `shardline.common.ports`.
"""
