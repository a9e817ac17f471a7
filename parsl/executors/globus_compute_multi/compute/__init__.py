"""Threads and network: everything that talks to Globus Compute."""
