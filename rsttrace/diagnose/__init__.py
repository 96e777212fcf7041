"""``rsttrace diagnose``: what is watched, and which resets belong to it.

Each subject (host, processes, command, probe) is one module with one class of the same shape, see
``subject.py``; ``run.py`` wires a subject to the trace and to the report.
"""
