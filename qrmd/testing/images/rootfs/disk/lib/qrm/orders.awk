# Turns the seed's leaves into orders, "verb TAB user TAB value" lines: instance, hostname, user, hash,
# password, key, ssh-option, ignored. Nothing is printed unless both files were understood.

FNR == 1 {
    if (NR > 1) finish_document()
    begin_document()
    document = FILENAME ~ /meta-data$/ ? "meta" : "user"
    if (document == "user" && $0 !~ /^#cloud-config *$/) fail("the first line is not #cloud-config")
}

{ add_line($0) }

END {
    if (failed) exit 1
    finish_document()
    finish_users()
    if (instance == "") fail("no instance-id")
    order("instance", "", instance)
    order("hostname", "", hostname != "" ? hostname : "micro")
    if (!passwords) order("ssh-option", "", "-s")
    if (!root_login) order("ssh-option", "", "-w")
    printf "%s", orders
}

BEGIN {
    passwords = 1
    root_login = 1
    users = 0
}

function finish_document() {
    parse_document()
}

# An empty user is "-": the shell that reads the orders takes two tabs for one.
function order(verb, user, value) { orders = orders verb "\t" (user == "" ? "-" : user) "\t" value "\n" }

function is_true(value) {
    if (value ~ /^([Tt]rue|TRUE|[Yy]es|[Oo]n)$/) return 1
    if (value ~ /^([Ff]alse|FALSE|[Nn]o|[Oo]ff)$/) return 0
    fail("neither true nor false: " value)
}

function leaf(path, value) {
    if (document == "meta") meta_leaf(path, value)
    else user_leaf(path, value)
}

function meta_leaf(path, value) {
    if (path == "instance-id") instance = value
    else if (path == "local-hostname") set_hostname(value)
    else if (path ~ /^public-keys(\.|$)/) add_key("root", value)
}

function user_leaf(path, value,    part) {
    split(path, part, ".")
    if (path == "hostname") set_hostname(value)
    else if (path == "ssh_pwauth") passwords = is_true(value)
    else if (path == "disable_root") root_login = !is_true(value)
    else if (path ~ /^ssh_authorized_keys\.[0-9]+$/) add_key("root", value)
    else if (path ~ /^chpasswd\.list\.[0-9]+$/) set_password_line(value)
    else if (path ~ /^chpasswd\.users\.[0-9]+\.(name|password|type)$/) login[part[3], part[4]] = value
    else if (path ~ /^users\.[0-9]+\.ssh_authorized_keys\.[0-9]+$/) person_key[part[2], keys[part[2]]++] = value
    else if (path ~ /^users\.[0-9]+\.[a-z_]+$/) person[part[2], part[3]] = value
    else if (path !~ /^(chpasswd\.expire|users\.[0-9]+|fqdn|manage_etc_hosts|preserve_hostname)$/) order("ignored", "", path)
}

function set_hostname(value) {
    if (value !~ /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/ || length(value) > 253) fail("not a host name: " value)
    hostname = value
}

function check_user(name) {
    if (name !~ /^[a-z_][a-z0-9_-]*$/ || length(name) > 32) fail("not a user name: " name)
    if (name != "root") order("user", name, "")
}

function add_key(name, value) {
    if (value !~ /^(ssh-[a-z0-9]+|ecdsa-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+\/=]+( |$)/) fail("not an ssh key")
    order("key", name, value)
}

function set_password_line(line,    colon) {
    colon = index(line, ":")
    if (colon < 2) fail("not a user:password line")
    set_password(substr(line, 1, colon - 1), substr(line, colon + 1), "")
}

function set_password(name, value, kind) {
    check_user(name)
    if (kind == "RANDOM" || value == "" || value == "R" || value == "RANDOM") fail("no password for " name)
    if (kind == "hash" || (kind == "" && value ~ /^\$[0-9a-z]+\$/)) {
        if (value !~ /^\$[0-9a-z]+\$[A-Za-z0-9.\/=$,]+$/) fail("not a password hash for " name)
        order("hash", name, value)
    } else {
        order("password", name, value)
    }
}

function finish_users(    i, k) {
    for (i = 0; (i, "name") in login; i++) set_password(login[i, "name"], login[i, "password"], login[i, "type"])
    for (i = 0; i < 64; i++) {
        if (!((i, "name") in person)) continue
        check_user(person[i, "name"])
        if ((i, "hashed_passwd") in person) set_password(person[i, "name"], person[i, "hashed_passwd"], "hash")
        else if ((i, "passwd") in person) set_password(person[i, "name"], person[i, "passwd"], "hash")
        for (k = 0; k < keys[i]; k++) add_key(person[i, "name"], person_key[i, k])
    }
}
