"""What ``python -m parsl.executors.globus_compute_multi`` can do, a module each."""
