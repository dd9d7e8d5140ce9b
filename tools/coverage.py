#!/usr/bin/env python3
"""What the tests run of the library: `make coverage` calls this with what they have left behind.

    coverage.py LCOV EXCEPTIONS

LCOV is what `llvm-cov export -format=lcov` prints. The output is one line for each source file, and
the runs of lines that no test has met. EXCEPTIONS names those that are known, with the reason; any
other one is an error. Its lines are

    == REASON, for the entries that follow
    FILE: TEXT

and an entry stands for each run of lines in the file whose first line has that text.
"""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def read_counts(path):
    """For each source file of the library, how often each line was run."""
    files = {}
    with open(path) as lcov:
        for line in lcov:
            key, _, value = line.rstrip("\n").partition(":")
            if key == "SF":
                name = os.path.relpath(value, ROOT)
                counts = files.setdefault(name, {}) if name.startswith("src/") else None
            elif key == "DA" and counts is not None:
                number, count = map(int, value.split(",")[:2])
                counts[number] = counts.get(number, 0) + count
    return files


def read_source(name):
    """The lines of a file, down to its unit tests."""
    with open(os.path.join(ROOT, name)) as source:
        text = source.read()
    return re.split(r"^#\[cfg\(test\)\]\nmod ", text, flags=re.M)[0].splitlines()


def read_exceptions(path):
    """The reason for each pair of a file and a line's text."""
    exceptions, reason = {}, None
    with open(path) as lines:
        for line in lines:
            line = line.rstrip("\n")
            if line.startswith("== "):
                reason = line[3:]
            elif line and not line.startswith("#"):
                name, separator, text = line.partition(": ")
                if not separator or reason is None:
                    sys.exit("%s: what is %r?" % (path, line))
                exceptions[name, text.strip()] = reason
    return exceptions


def missed_runs(counts):
    """Pairs of the first and the last of consecutive lines that were not run."""
    runs, open_run = [], False
    for number in sorted(counts):
        if counts[number] > 0:
            open_run = False
        elif open_run:
            runs[-1][1] = number
        else:
            runs.append([number, number])
            open_run = True
    return runs


def main(lcov, exceptions_path):
    exceptions = read_exceptions(exceptions_path)
    used, unknown, known = set(), [], []
    lines_of_all = met_of_all = 0
    print("%-36s %6s %6s %7s" % ("file", "lines", "run", ""))
    for name, counts in sorted(read_counts(lcov).items()):
        source = read_source(name)
        counts = {number: count for number, count in counts.items() if number <= len(source)}
        if not counts:
            continue
        met = sum(count > 0 for count in counts.values())
        print("%-36s %6d %6d %6.1f%%" % (name, len(counts), met, 100 * met / len(counts)))
        lines_of_all += len(counts)
        met_of_all += met
        for first, last in missed_runs(counts):
            text = source[first - 1].strip()
            entry = (name, text)
            used.add(entry)
            missed = sum(first <= number <= last for number in counts)
            (known if entry in exceptions else unknown).append((missed, name, first, last, text))
    print("%-36s %6d %6d %6.1f%%" % ("all", lines_of_all, met_of_all, 100 * met_of_all / lines_of_all))

    for title, runs in ("known", known), ("not known", unknown):
        count = sum(run[0] for run in runs)
        print("\nNot run, %s: %d lines" % (title, count))
        for _, name, first, last, text in runs:
            print("  %s:%d-%d  %s" % (name, first, last, text))
    for name, text in sorted(set(exceptions) - used):
        print("\nRun after all, or gone: %s: %s" % (name, text), end="")
    print()
    if unknown:
        sys.exit("%d runs of lines are neither run nor in %s" % (len(unknown), exceptions_path))


if __name__ == "__main__":
    main(*sys.argv[1:])
