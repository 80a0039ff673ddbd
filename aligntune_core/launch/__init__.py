"""Child processes: a backend in a process of its own (``isolation="process"``), and other work that needs one.

``child`` is the parent's side, ``service`` the child's, ``channel`` their messages, ``answers`` what comes back,
opened without any import. ``client`` stands for a Trainer that ``trainer_service`` holds in the child: the parent
stays free of the backend's libraries and of what they patch.
"""
