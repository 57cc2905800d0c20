"""Speed, measured side by side with what a user would otherwise take: the bars of ``unrolled bench``.

Nothing here is imported by the layers; a case is one file, and :data:`unrolled.bench.cases.CASES` names them all.
"""
