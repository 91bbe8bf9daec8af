"""A trained model behind HTTP: a page for people, an interface for programs, and what keeps both from harm.

``access`` says who may ask, ``limits`` how much, ``connections`` how slowly; ``uploads`` takes images in, ``worker``
computes in batches, ``model`` is what it computes; ``interface`` and ``pages`` answer programs and people, ``service``
ties them together, and ``server`` runs it.
"""
