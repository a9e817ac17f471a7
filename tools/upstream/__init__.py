"""How the repository's files become commits on a clone of Parsl (see ``tools/upstream_pr.py``).

* ``plan``: the commits, with their messages, and the rules by which files belong to them
* ``files``: what the files look like in Parsl's tree
* ``assign``: which commit brings which file
* ``clone``: the git side
* ``hooks``: whether the hooks came to lie where they should
"""
