"""What the helper process (enrich/broker.py) answers: one module for each kind of question.

``answer(about)`` gets the question's JSON and returns JSON. It runs in a process of its own, which
may enter a namespace, hang or crash: the trace waits 0.2 s at most and goes on without.
"""
