"""Stand-in for the *hosted* part of Globus Compute: its REST API, the Globus Auth token routes, and AMQP routing.

Run as ``python -m local_globus_compute.service --config FILE`` (see :mod:`.config` for the file). The unmodified
``globus-compute-sdk`` and ``globus-compute-endpoint`` agents talk to it as they would to the hosted service.

Where to find what:

* ``config``, ``server``, ``__main__``: settings, the process and its life
* ``app``: what every request passes through (host check, log, authorisation, rate limit, faults)
* ``auth``, ``schemas``, ``submit``, ``routes``, ``admin_routes``: the routes
* ``messages``: AMQP message bodies and names (pure)
* ``broker``, ``results``, ``agents``: AMQP connection, the way of a result, heartbeats and start commands
* ``storage``: all state that survives a restart (SQLite)
* ``limits``, ``faults``, ``requestlog``: the real service's limits, misbehaviour on demand, what was asked and when
* ``admin``: synchronous client of the ``/_admin`` routes, for tests and tools
"""
