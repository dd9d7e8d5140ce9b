# Makes the manual pages from the header: section 3, a page for each function and each type, and the
# overview in section 7 from its template.
#
#   awk -v package=majjen -v version=... -v date=... -v pages=DIRECTORY -v overview=TEMPLATE -f man.awk majjen.h
#
# A page has the declaration and the comment above it. What the comment says about the result becomes
# a section of its own, and so does its list of errors. The heading under which the header has it
# stands in the page's summary, so that apropos(1) finds the pages of a subject.
#
# Pages fit 80 columns: what man(1) shows, also of declarations that the header has in longer lines; and in
# section 3 the text in the files, but for the summary.

BEGIN {
    columns = 79
    shown_columns = columns - 7  # man(1) indents it.
}

# A heading.
/^\/\/ ---- .* -+$/ {
    subject = $0
    sub(/^\/\/ ---- /, "", subject)
    sub(/ -+$/, "", subject)
    subject = tolower(substr(subject, 1, 1)) substr(subject, 2)
    subjects[++subject_count] = subject
    next
}

# A comment in front of a declaration.
/^\/\// {
    sub(/^\/\/ ?/, "")
    comment = comment $0 "\n"
    next
}
/^$/ && !declaration { comment = ""; next }

# The macros for log lines are on the page of the function that they call.
/^#define MJ_[A-Z]+\(\.\.\.\) *mj_log\(/ {
    match($0, /MJ_[A-Z]+/)
    alias = substr($0, RSTART, RLENGTH)
    system("ln -sf mj_log.3 '" pages "/man3/" alias ".3'")
    next
}
/^#/ || /^extern "C"/ || /^}.*extern "C"/ { comment = ""; next }

# What is defined here, and what was only announced.
/^static inline/, /}/ { comment = ""; next }
/^struct [a-z_]+;$/ { comment = ""; next }

# A declaration, from its first line to the semicolon that ends it.
comment || declaration {
    declaration = declaration $0 "\n"
    if ($0 ~ /{$/) is_block = 1
    if (is_block ? /^}/ : /;$/) {
        if (is_block) { name = $2 } else { name = name_of(declaration) }
        sub(/;$/, "", name)
        page(name, comment, declaration, is_block)
        comment = declaration = ""
        is_block = 0
    }
}

END { overview_page() }

# The name that a declaration declares: the last one in front of the parameters, or in `(*name)`.
function name_of(text,    head) {
    head = text
    if (head ~ /\(\*/) { sub(/.*\(\*/, "", head); sub(/\).*/, "", head) }
    else if (head ~ /\(/) { sub(/\(.*/, "", head); sub(/.*[ *]/, "", head) }
    else { sub(/;.*/, "", head); sub(/.*[ *]/, "", head) }
    return head
}

function page(name, comment, declaration, is_block,    file, has_result, lines, count, i, prose,
              description, result, errors, summary) {
    file = pages "/man3/" name ".3"
    summary = first_sentence(comment)
    names[++name_count] = name
    summaries[name] = summary
    subject_of[name] = subject
    is_function[name] = declaration !~ /^typedef/
    has_result = declaration !~ /^(typedef|void) /
    header(file, name, 3)
    print ".SH NAME\n" name " \\- Majjen, " plain(subject) ": " plain(summary) > file
    print ".SH LIBRARY\nMajjen (lib" plain(package) ", \\-l" plain(package) ")" > file
    print ".SH SYNOPSIS\n.nf\n.B #include <" plain(package) ".h>\n.PP" > file
    sub(/ MJ_PRINTF_FORMAT\([^)]*\)/, "", declaration)
    sub(/ MJ_NO_PLT/, "", declaration)
    printf "%s", is_block ? verbatim(declaration) : prototype(declaration) > file
    print ".fi" > file

    split("", section)
    count = split(comment, lines, /\n/)
    for (i = 1; i <= count; i++) {
        if (lines[i] == "") { add_prose(prose, has_result); prose = "" }
        else if (lines[i] !~ /^  /) prose = prose (prose ? " " : "") lines[i]
        else {
            # A list, to the next line that is not indented.
            prose = add_prose(prose, has_result)
            i = add_list(prose, lines, i)
            prose = ""
        }
    }
    if (section["text"]) printf "%s", ".SH DESCRIPTION\n" section["text"] > file
    if (section["result"]) printf "%s", ".SH RETURN VALUE\n" section["result"] > file
    if (section["errors"]) printf "%s", ".SH ERRORS\n" section["errors"] > file
    printf "%s", ".SH SEE ALSO\n" see_also(name, comment) ".BR " plain(package) " (7)\n" > file
    close(file)
}

# Adds a paragraph to the description, or to the section on the result what it says of that. Returns its
# last sentence instead if that announces a list of errors.
function add_prose(prose, has_result,    sentences, n, i, where, announcement) {
    n = split_sentences(prose, sentences)
    where = "text"
    if (n && section["text"]) section["gap"] = ".PP\n"
    for (i = 1; i <= n; i++) {
        if (sentences[i] ~ /^Errors.*:$/) { announcement = sentences[i]; break }
        # In the first paragraph only the sentence; in a later one also those behind it.
        if (sentences[i] ~ /^Returns / && has_result) where = "result"
        else if (!section["gap"]) where = "text"
        if (where == "text") { section["text"] = section["text"] section["gap"]; section["gap"] = "" }
        section[where] = section[where] line(sentences[i])
    }
    return announcement
}

# Adds the list that begins at a line, to the errors if that is what it is a list of. Returns its last
# line.
function add_list(announcement, lines, i,    where, text, head, sentences, n, j) {
    where = announcement ? "errors" : "text"
    if (announcement != "Errors:" && announcement != "Errors, in errno:" && announcement) {
        # "Errors (nothing is sent then):", "Errors, without the mutex:"
        if (!sub(/^Errors [(]/, "", announcement)) sub(/^Errors,? /, "", announcement)
        else sub(/[)]:$/, ":", announcement)
        section[where] = section[where] paragraph(where) line(capitalized(announcement))
    }
    while (lines[i] ~ /^  /) {
        text = lines[i++]
        # What follows "and as connect(2)" has no column of its own to stand in.
        while (lines[i] ~ /^    / || (where == "errors" && lines[i] ~ /^  / && lines[i] !~ /^  (-?E[A-Z]|and[ ,])/))
            text = text " " lines[i++]
        sub(/^ +/, "", text)
        if (where == "text") section[where] = section[where] paragraph(where) ".nf\n" verbatim(text "\n") ".fi\n"
        else if (match(text, /^-?E[A-Z0-9]+(, -?E[A-Z0-9]+)* ( and the like +)?/)) {
            head = substr(text, 1, RLENGTH)
            text = substr(text, RLENGTH + 1)
            sub(/ +$/, "", head)
            gsub(/  +/, " ", text)
            sub(/^ /, "", text)
            section[where] = section[where] ".TP\n.B " plain(head) "\n" line(text)
        } else {
            gsub(/  +/, " ", text)
            sub(/[.]?$/, ".", text)
            section[where] = section[where] paragraph(where)
            n = split_sentences(capitalized(text), sentences)
            for (j = 1; j <= n; j++) section[where] = section[where] line(sentences[j])
        }
    }
    return i - 1
}

function paragraph(where) { return section[where] ? ".PP\n" : "" }

function capitalized(text) { return toupper(substr(text, 1, 1)) substr(text, 2) }

function header(file, name, section) {
    printf ".\\\" Made from " package ".h.\n.TH \"%s\" %d \"%s\" \"Majjen %s\" \"Majjen\"\n", \
        name, section, date, version > file
}

# The other functions that a comment names.
function see_also(name, comment,    result, other, seen) {
    while (match(comment, /(mj|setup)_[a-z_0-9]+\(\)/)) {
        other = substr(comment, RSTART, RLENGTH - 2)
        comment = substr(comment, RSTART + RLENGTH)
        if (other != name && !seen[other]++) result = result ".BR " other " (3),\n"
    }
    return result
}

# What a page is about, in one line: the first sentence of its comment, or the first part of it.
function first_sentence(comment,    text) {
    text = comment
    sub(/\n\n.*/, "", text)
    gsub(/\n/, " ", text)
    # What is in parentheses goes, but not those of a call.
    while (sub(/ \(([^()]|\(\))*\)/, "", text)) {}
    gsub(/`/, "", text)
    match(text " ", /[.:;] /)
    text = substr(text, 1, RSTART - 1)
    if (text ~ /^[A-Z][a-z]* /) text = tolower(substr(text, 1, 1)) substr(text, 2)
    return text
}

function split_sentences(text, sentences,    n, at) {
    split("", sentences)
    n = 0
    while (match(text, /[.] +[A-Z`]/)) {
        at = RSTART
        sentences[++n] = substr(text, 1, at)
        text = substr(text, at + 1)
        sub(/^ +/, "", text)
    }
    sub(/ +$/, "", text)
    if (text) sentences[++n] = text
    return n
}

# Lines of text: names are bold.
function line(sentence,    lines, n, i, result) {
    n = fill(fonts(sentence), "", columns, lines)
    for (i = 1; i <= n; i++) result = result (lines[i] ~ /^[.']/ ? "\\&" : "") lines[i] "\n"
    return result
}

# Breaks a text at spaces into lines, each with something in front of it. Returns how many there are.
function fill(text, before, most, lines,    words, count, i, n) {
    split("", lines)
    count = split(text, words, / /)
    for (i = 1; i <= count; i++) {
        if (n && length(lines[n]) + 1 + length(words[i]) <= most) lines[n] = lines[n] " " words[i]
        else lines[++n] = before words[i]
    }
    return n
}

function fonts(text,    result, token, before) {
    while (match(text, /`[^`]*`|[A-Za-z_][A-Za-z_0-9]*\([0-9]?\)|-?E[A-Z][A-Z][A-Z]+|MJ_[A-Z_]+/)) {
        before = substr(text, 1, RSTART - 1)
        token = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        result = result plain(before) bold(token, before, text)
    }
    return result plain(text)
}

function bold(token, before, after,    name, section) {
    # Part of a longer word.
    if (before ~ /[A-Za-z_]$/ || token == "ERROR") return plain(token)
    if (token ~ /^`/) return "\\fB" plain(substr(token, 2, length(token) - 2)) "\\fR"
    if (token ~ /\)$/) {
        name = section = token
        sub(/\(.*/, "", name)
        gsub(/[^(]*\(|\)/, "", section)
        if (section == "" && name ~ /^(mj|setup)_/) section = 3
        return "\\fB" plain(name) "\\fR(" section ")"
    }
    return "\\fB" plain(token) "\\fR"
}

function plain(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    return text
}

# As it stands, but with comments filled.
function verbatim(text,    lines, n, i, result) {
    n = fit_comments(text, lines)
    for (i = 1; i < n; i++) result = result (lines[i] ~ /^[.']/ ? "\\&" : "") plain(lines[i]) "\n"
    return result
}

function fit_comments(text, lines,    given, count, i, n, before, comment, filled, j, k) {
    split("", lines)
    count = split(text, given, /\n/)
    for (i = 1; i <= count; i++) {
        if (!match(given[i], /^ *\/\/ /)) { lines[++n] = given[i]; continue }
        before = substr(given[i], 1, RLENGTH)
        comment = substr(given[i], RLENGTH + 1)
        while (index(given[i + 1], before) == 1) comment = comment " " substr(given[++i], RLENGTH + 1)
        k = fill(comment, before, shown_columns, filled)
        for (j = 1; j <= k; j++) lines[++n] = filled[j]
    }
    return n
}

# In one line if it fits, or else in one for each parameter; behind the name if that leaves room enough.
function fit_prototype(text,    parameters, count, i, at, room) {
    gsub(/\n */, " ", text)
    sub(/ $/, "", text)
    if (length(text) <= shown_columns) return text "\n"
    at = text ~ /\(\*/ ? index(text, ")(") + 1 : index(text, "(")
    count = split(substr(text, at + 1), parameters, /, /)
    room = shown_columns - at
    for (i = 1; i <= count; i++) if (length(parameters[i]) >= room) at = -4
    text = at > 0 ? text : substr(text, 1, index(text, "(")) "\n    " substr(text, index(text, "(") + 1)
    gsub(/, /, sprintf(",\n%*s", at > 0 ? at : -at, ""), text)
    return text "\n"
}

# Bold, with the names of the parameters in italics.
function prototype(text,    result, name) {
    text = fit_prototype(text)
    while (match(text, /[a-z_0-9]+[,)]/)) {
        name = substr(text, RSTART, RLENGTH - 1)
        if (name == "void") result = result substr(text, 1, RSTART + RLENGTH - 1)
        else
            result = result substr(text, 1, RSTART - 1) "\\fI" name "\\fB" \
                substr(text, RSTART + RLENGTH - 1, 1)
        text = substr(text, RSTART + RLENGTH)
    }
    result = result text
    gsub(/\n/, "\\fR\n\\fB", result)
    sub(/\\fB$/, "", result)
    return "\\fB" result
}

# The template, with the lists of functions and types in place of two of its lines.
function overview_page(    file, text) {
    file = pages "/man7/" package ".7"
    header(file, package, 7)
    while ((getline text < overview) > 0) {
        if (text == "@FUNCTIONS@") list(file, 1)
        else if (text == "@TYPES@") list(file, 0)
        else print text > file
    }
}

# By subject, in the header's order.
function list(file, functions,    i, j, title, gap) {
    for (j = 1; j <= subject_count; j++) {
        title = gap ".I " capitalized(subjects[j]) "\n"
        for (i = 1; i <= name_count; i++) {
            if (is_function[names[i]] != functions || subject_of[names[i]] != subjects[j]) continue
            printf "%s", title > file
            title = ""
            gap = ".PP\n"
            print ".TP\n.BR " names[i] " (3)\n" fonts(summaries[names[i]]) > file
        }
    }
}
