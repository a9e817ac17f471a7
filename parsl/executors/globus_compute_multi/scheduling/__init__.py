"""The pure core of the executor: events in, actions out; no threads, no clock, no network, no user code."""
