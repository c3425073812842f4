"""Runs the tests of this directory: python3 run.py [-k FILTER]…. The last line is their sum; what could not be checked comes before."""

import argparse
import pathlib
import sys
import unittest


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("-k", action="append", dest="patterns", metavar="FILTER")
    patterns = arguments.parse_args().patterns
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{pattern}*" for pattern in patterns] if patterns else None
    suite = loader.discover(str(pathlib.Path(__file__).parent))
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    for test, reason in result.skipped:
        print(f"{reason}  [{test}]")
    failed = len(result.failures) + len(result.errors)
    # What failed before its first test is not among those that were run.
    print(f"{max(0, result.testsRun - failed - len(result.skipped))} passed, {failed} failed, {len(result.skipped)} NOT CHECKED")
    return 1 if failed else 0


sys.exit(main())
