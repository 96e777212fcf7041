"""Labs with real servers: one module for each program, its scenarios in ``VARIANTS``.

As the other labs, but the resets come from nginx, HAProxy, sshd and Python's own servers, so that
the verdict must also find the process, and the setting of that program which did it. A lab is
skipped where its program is not installed; see program.py.
"""
