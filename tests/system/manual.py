"""Examples of the manual pages, as code.

    manual.py PAGE WORDS            the example that has these words, such as: manual.py ws-router-protocol.7 photo.jpg
"""
import os
import sys

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../man")
ESCAPES = {r"\e": "\\", r"\(dq": '"', r"\-": "-", r"\&": ""}


def examples(page):
    """All literal displays of a page's source."""
    with open(os.path.join(FOLDER, page), encoding="utf-8") as source:
        blocks = source.read().split("\n.Bd -literal")[1:]
    for block in blocks:
        text = block.split("\n", 1)[1].split(".Ed\n", 1)[0]
        for escape, character in ESCAPES.items():
            text = text.replace(escape, character)
        yield text


def example(page, words):
    """The one example that has these words."""
    found = [text for text in examples(page) if words in text]
    if len(found) != 1:
        raise LookupError(f"{len(found)} examples of {page} have {words!r}")
    return found[0]


if __name__ == "__main__":
    print(example(*sys.argv[1:]), end="")
