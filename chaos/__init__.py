"""Chaos tests: workflows on real endpoint agents while a seeded killer strikes agents, broker, service and network.

``python -m chaos --help`` from the repository's root; ``python -m chaos.kill_one --help`` for one endpoint killed with many tasks in flight.

Where to find what:

* ``plan``: what strikes when, drawn from a seed; ``killer``: how it strikes, and how it is mended
* ``proxy``, ``proxy_addon``: the network between client and service, through mitmproxy in an environment of its own
* ``workflow``: the workflow, and the values that it must give; ``client``: the process that runs it, with this executor or with its rival
* ``run``: one run; ``checker``: what was wrong with it; ``table``: what is printed
"""
