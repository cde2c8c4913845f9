"""Numbered messages, and whether they arrive each once and in order."""
END = "end"


def message(number):
    """Lengths differ, so that breaks fall into every part of a frame."""
    return "%d:%s" % (number, "x" * (number * 37 % 3000))


class Sequence:
    """What has arrived so far, and the first thing that was wrong about it."""

    def __init__(self):
        self.count, self.wrong, self.ended = 0, None, False

    def take(self, text):
        # websocat sends lines.
        text = text.removesuffix("\n")
        if text == END:
            self.ended = True
        elif text == message(self.count) and not self.ended:
            self.count += 1
        elif self.wrong is None:
            self.wrong = "%s instead of %d" % (text[:20], self.count)

    def outcome(self):
        return {"count": self.count, "wrong": self.wrong, "ended": self.ended}
