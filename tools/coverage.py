#!/usr/bin/env python3
"""What the tests run of the library: `make coverage` calls this with what they have left behind.

    coverage.py LCOV EXCEPTIONS

LCOV is what `llvm-cov export -format=lcov` prints. The output is one line for each source file, and
the runs of lines that no test has met. EXCEPTIONS names those that are known, with the reason; any
other one is an error, and so is one that is known and not there. Its lines are

    == REASON, for the entries that follow
    =~ REASON, for entries that are there at some times and not at others
    FILE: FUNCTION: COUNT: TEXT

and an entry stands for one run of that many lines, in a function with that name, whose first line has
that text.
"""

import collections
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


FUNCTION = re.compile(
    r'\s*(?:pub(?:\([a-z]+\))? )?(?:(?:const|unsafe|extern "C") )*fn (\w+)'  # of Rust
    r"|[a-z][^;=]*?\b(\w+)\(")  # of C


def function_at(source, number):
    """The name of the function that a line is in, or that it begins: the last one before it that
    is indented less."""
    def indentation(line):
        return len(line) - len(line.lstrip())

    for other in range(number, 0, -1):
        found = FUNCTION.match(source[other - 1])
        is_outside = other == number or indentation(source[other - 1]) < indentation(source[number - 1])
        if found and is_outside:
            return found[1] or found[2]
    return "-"


def read_exceptions(path):
    """How often each entry is there, and which of them need not be."""
    exceptions, unsteady, reason = collections.Counter(), set(), None
    with open(path) as lines:
        for line in lines:
            line = line.rstrip("\n")
            if line.startswith(("== ", "=~ ")):
                reason = line
            elif line and not line.startswith("#"):
                if reason is None or not re.match(r"src/[^:]+: [^:]+: \d+: .", line):
                    sys.exit("%s: what is %r?" % (path, line))
                exceptions[line] += 1
                if reason.startswith("=~"):
                    unsteady.add(line)
    return exceptions, unsteady


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
    exceptions, unsteady = read_exceptions(exceptions_path)
    left, unknown, known = exceptions.copy(), [], []
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
            missed = sum(first <= number <= last for number in counts)
            text = source[first - 1].strip()
            entry = "%s: %s: %d: %s" % (name, function_at(source, first), missed, text)
            (known if left[entry] > 0 else unknown).append((missed, first, entry))
            left[entry] -= 1
    print("%-36s %6d %6d %6.1f%%" % ("all", lines_of_all, met_of_all, 100 * met_of_all / lines_of_all))

    for title, runs in ("known", known), ("not known", unknown):
        print("\nNot run, %s: %d lines" % (title, sum(run[0] for run in runs)))
        for _, first, entry in runs:
            print("  %s    (line %d)" % (entry, first))
    stale = [entry for entry in left if left[entry] > 0 and entry not in unsteady]
    print("\nRun after all, or gone: %d entries of %s" % (len(stale), exceptions_path))
    for entry in stale:
        print("  " + entry)
    if unknown or stale:
        sys.exit("%d runs of lines are neither run nor in %s, and %d are there in vain"
                 % (len(unknown), exceptions_path, len(stale)))


if __name__ == "__main__":
    main(*sys.argv[1:])
