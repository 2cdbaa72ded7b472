# Reads the part of YAML that cloud-init seeds are written in (block and flow collections, quoted and plain
# scalars, literal blocks; JSON is a part of it) and calls leaf(path, value) for each scalar, in order.
# Whatever it does not know ends the program with status 1 and one line on standard error.

function fail(why) {
    printf "%s line %d: %s\n", FILENAME, number[pos] ? number[pos] : FNR, why > "/dev/stderr"
    failed = 1
    exit 1
}

function begin_document() {
    count = 0
    pos = 1
    delete text
    delete indent
    delete raw
}

function add_line(line,    body) {
    if (line ~ /\t/) fail("a tab")
    body = line
    sub(/^ +/, "", body)
    sub(/[ \r]+$/, "", body)
    if (line ~ /^---/) return
    count++
    raw[count] = line
    number[count] = FNR
    text[count] = body
    match(line, /^ */)
    indent[count] = RLENGTH
}

function skip_blank() {
    while (pos <= count && (text[pos] == "" || text[pos] ~ /^#/)) pos++
}

function parse_document() {
    skip_blank()
    if (pos > count) return
    if (text[pos] ~ /^[{[]/) parse_value(text[pos], -1, "")
    else parse_block(indent[pos], "")
    skip_blank()
    if (pos <= count) fail("wrong indentation")
}

function parse_block(level, path) {
    if (text[pos] ~ /^-( |$)/) parse_sequence(level, path)
    else parse_mapping(level, path)
}

function parse_sequence(level, path,    n, rest) {
    n = 0
    while (pos <= count && indent[pos] == level && text[pos] ~ /^-( |$)/) {
        rest = text[pos]
        sub(/^- */, "", rest)
        parse_item(level, path "." n, rest)
        n++
        skip_blank()
    }
}

function parse_item(level, path, rest) {
    if (rest == "") {
        pos++
        skip_blank()
        if (pos <= count && indent[pos] > level) parse_block(indent[pos], path)
    } else if (key_of(rest) != "") {
        indent[pos] = level + length(text[pos]) - length(rest)
        text[pos] = rest
        parse_mapping(indent[pos], path)
    } else {
        parse_value(rest, level, path)
    }
}

function key_of(line) {
    return match(line, /^["']?[A-Za-z0-9_-]+["']?:( |$)/) ? substr(line, 1, index(line, ":")) : ""
}

function parse_mapping(level, path,    key, rest) {
    while (pos <= count && indent[pos] == level && text[pos] !~ /^-( |$)/) {
        key = key_of(text[pos])
        if (key == "") fail("neither a key nor a list item")
        rest = substr(text[pos], length(key) + 1)
        sub(/^ +/, "", rest)
        gsub(/["':]/, "", key)
        parse_member(level, path == "" ? key : path "." key, rest)
        skip_blank()
    }
}

function parse_member(level, path, rest) {
    if (rest ~ /^[|]-?$/) {
        parse_literal(level, path)
    } else if (rest == "" || rest ~ /^#/) {
        pos++
        skip_blank()
        if (pos <= count && (indent[pos] > level || (indent[pos] == level && text[pos] ~ /^-( |$)/)))
            parse_block(indent[pos], path)
    } else {
        parse_value(rest, level, path)
    }
}

function parse_literal(level, path,    n) {
    pos++
    n = 0
    while (pos <= count && (text[pos] == "" || indent[pos] > level)) {
        if (text[pos] != "") leaf(path "." n++, text[pos])
        pos++
    }
}

# A scalar or a flow collection that begins on this line and may go on, further indented, on the next ones.
function parse_value(rest, level, path) {
    while (!is_whole(rest) || (rest !~ /^["'{[]/ && pos < count && text[pos + 1] != "" && indent[pos + 1] > level)) {
        pos++
        if (pos > count) fail("something is not closed")
        rest = rest " " text[pos]
    }
    if (rest ~ /^[&*!>%@`|]/) fail("an unknown kind of value")
    flow = rest
    parse_flow(path, rest ~ /^["'{[]/)
    if (flow !~ /^ *(#.*)?$/) fail("text after the value")
    pos++
}

function is_whole(s,    i, c, quote, depth) {
    quote = ""
    depth = 0
    if (s !~ /^["'{[]/) return 1
    for (i = 1; i <= length(s); i++) {
        c = substr(s, i, 1)
        if (quote == "\"" && c == "\\") i++
        else if (quote != "") { if (c == quote) quote = "" }
        else if (c == "\"" || c == "'") quote = c
        else if (c ~ /[{[]/) depth++
        else if (c ~ /[]}]/) depth--
    }
    return quote == "" && depth <= 0
}

function parse_flow(path, nested,    value) {
    sub(/^ +/, "", flow)
    if (flow ~ /^[{]/) parse_flow_mapping(path)
    else if (flow ~ /^\[/) parse_flow_sequence(path)
    else if (flow ~ /^"/) leaf(path, take_double())
    else if (flow ~ /^'/) leaf(path, take_single())
    else {
        if (nested) match(flow, /^[^],}]*/)
        else RLENGTH = index(flow, " #") ? index(flow, " #") - 1 : length(flow)
        value = substr(flow, 1, RLENGTH)
        flow = substr(flow, RLENGTH + 1)
        sub(/ +$/, "", value)
        leaf(path, value)
    }
    sub(/^ +/, "", flow)
}

function parse_flow_mapping(path,    key) {
    flow = substr(flow, 2)
    sub(/^ +/, "", flow)
    while (flow !~ /^}/) {
        if (flow ~ /^"/) key = take_double()
        else if (flow ~ /^'/) key = take_single()
        else if (match(flow, /^[A-Za-z0-9_-]+/)) { key = substr(flow, 1, RLENGTH); flow = substr(flow, RLENGTH + 1) }
        else fail("a key was expected")
        if (flow !~ /^ *:/) fail("a colon was expected")
        sub(/^ *: */, "", flow)
        parse_flow(path == "" ? key : path "." key, 1)
        take_comma("}")
    }
    flow = substr(flow, 2)
}

function parse_flow_sequence(path,    n) {
    flow = substr(flow, 2)
    sub(/^ +/, "", flow)
    n = 0
    while (flow !~ /^]/) {
        parse_flow(path "." n++, 1)
        take_comma("]")
    }
    flow = substr(flow, 2)
}

function take_comma(end) {
    if (flow ~ /^,/) sub(/^, */, "", flow)
    else if (substr(flow, 1, 1) != end) fail("a comma or " end " was expected")
}

function take_double(    value, c) {
    value = ""
    flow = substr(flow, 2)
    while ((c = substr(flow, 1, 1)) != "\"") {
        if (c == "") fail("a quote is not closed")
        if (c == "\\") {
            flow = substr(flow, 2)
            c = substr(flow, 1, 1)
            if (c !~ /["\\\/]/) fail("an unknown escape \\" c)
        }
        value = value c
        flow = substr(flow, 2)
    }
    flow = substr(flow, 2)
    return value
}

function take_single(    value, end) {
    value = ""
    flow = substr(flow, 2)
    while (1) {
        end = index(flow, "'")
        if (!end) fail("a quote is not closed")
        value = value substr(flow, 1, end - 1)
        flow = substr(flow, end + 1)
        if (flow !~ /^'/) return value
        value = value "'"
        flow = substr(flow, 2)
    }
}
