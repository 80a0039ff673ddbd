"""Child processes: a backend in a process of its own (``isolation="process"``), and whatever else needs one.

``child`` is the parent's side, ``service`` the child's, ``channel`` what they speak, ``answers`` what comes back,
opened without any import. ``client`` stands for a Trainer that ``worker`` holds over there: the parent stays free of
the backend's libraries and of what they patch.
"""
