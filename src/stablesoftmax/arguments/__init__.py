"""The arguments of the public functions: checked here and nowhere else.

Each room has the name of the one whose arguments it checks. An error is one line that names the
argument, what it was, and what is accepted; nothing has been written when it is raised.
"""
