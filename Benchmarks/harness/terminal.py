"""What a run says while it runs: on a terminal one line that changes, else a line for each round."""

import sys
import time


class Progress:
    def __init__(self):
        self.live = sys.stderr.isatty()
        self.started = time.monotonic()

    def elapsed(self):
        return time.monotonic() - self.started

    def note(self, text):
        """Passing: seen on a terminal only."""
        if self.live:
            print(f"\r\033[K{self.clock()} {text}"[:200], end="", file=sys.stderr, flush=True)

    def say(self, text):
        """To stay."""
        print(("\r\033[K" if self.live else "") + f"{self.clock()} {text}", file=sys.stderr, flush=True)

    def clock(self):
        return f"[{int(self.elapsed()) // 60:d}:{int(self.elapsed()) % 60:02d}]"
