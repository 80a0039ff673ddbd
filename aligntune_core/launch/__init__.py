"""A backend in a process of its own (``isolation="process"``).

The parent stays free of the backend's libraries and of what they patch. ``client`` and ``process`` are the parent's
side, ``worker`` the child's, ``channel`` what they speak; ``payload`` carries the user's objects unopened until the
backend's imports are done, ``answers`` what comes back, opened without any import.
"""
