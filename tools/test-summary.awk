# Reads what test programs have printed (libtest's form), and ends it with what a reader of the last page
# needs: what the failed tests have said, their names, and the sum. status is the exit status of the
# command that has run them. It exits with that, or with 1 when no test has run or, unless may_skip is 1,
# one was skipped.

# A list of failures comes twice: first with each test's output, shortened here, then the names alone.
BEGIN { lines_of_a_test = 40 }
/^failures:$/ { in_failures = 1; in_output = 0; listed = ""; next }
/^test result: / {
    passed += $4; failed += $6; skipped += $8
    names = names listed
    listed = ""
    in_failures = 0
}
in_failures && /^---- .* ----$/ { in_output = 1; lines = 0 }
in_failures && in_output && lines++ < lines_of_a_test { said = said $0 "\n" }
in_failures && !in_output && /^    [^ ]+$/ { listed = listed "failed: " $1 "\n" }

END {
    if (failed > 0) printf "\nThe failed tests once more:\n%s%s", said, names
    if (status == "") status = 1 # The command has not ended.
    if (status != 0 && failed == 0) print "not all tests have run, see above"
    if (status == 0 && passed == 0) { status = 1; print "no test has run" }
    if (status == 0 && skipped > 0 && may_skip != 1) {
        status = 1; print "tests were skipped: ALLOW_SKIPS=1 puts up with that"
    }
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
    exit status
}
