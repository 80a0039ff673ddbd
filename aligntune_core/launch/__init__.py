"""Child processes: a backend in a process of its own (``isolation="process"``), and other work that needs one.

``child`` is the parent's side, ``service`` the child's; a message is a kind and a content, which stays bytes until its
receiver opens it. ``answers`` is what comes back, opened without any import. ``client`` stands for a Trainer that
``trainer_service`` holds in the child: the parent stays free of the backend's libraries and of what they patch.
"""
