"""`make interop`: our worker and a Java KCL worker in one fleet, on one lease table (`python -m tools.interop`)."""
