"""The first ring: pure tests on hand-made and recorded events. No root, no kernel, no sleeps."""
