"""What the APIs in Python share: they say where they are, and end with their stdin, so that none outlives its test."""

import os
import sys
import threading


def announce(url):
    print(url, flush=True)
    threading.Thread(target=end_with_stdin, daemon=True).start()


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)
