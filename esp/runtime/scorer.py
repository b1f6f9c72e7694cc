"""A scorer binds an astore to one backend: event columns in, score columns out."""


class Scorer:
    pass
