"""``python -m unrolled.inspect.diagrams FOLDER [svg] [pdf] [png]``: every named picture into a folder."""

from __future__ import annotations

import sys

from unrolled.inspect.diagrams import draw_all

if __name__ == "__main__":
    folder, *formats = sys.argv[1:] or ["diagrams"]
    for path in draw_all(folder, tuple(formats) or ("svg",)):
        print(path)
