#!/bin/sh
# run.sh GALERNE FILE.case...: commands and what they must do. A case file holds blocks of
#     $ COMMAND          run by sh in an empty folder; `galerne` is the program, $ROOT the sources
#     exit N             its exit code; 0 if not given
#     out PATTERN        a shell pattern that standard output must match as a whole; may be repeated
#     err PATTERN        the same for standard error
# Whenever the code is not 0, standard error must be one line that begins with "galerne: ", whatever the patterns say; when it
# is 0 and there is no err, standard error must be empty. SPDX-License-Identifier: Apache-2.0
set -u
GALERNE=$1
shift
ROOT=$(pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export ROOT GALERNE
export HOME="$dir" XDG_STATE_HOME="$dir/state"
failed=0 ran=0 command=''

galerne() { "$GALERNE" "$@"; }

complain() {
    echo "$file:$line: $command"
    echo "    $1"
    sed 's/^/    stdout: /' "$dir/.out" | head -n 5
    sed 's/^/    stderr: /' "$dir/.err" | head -n 5
    failed=$((failed + 1))
}

check_end() {
    [ -n "$command" ] || return 0
    ran=$((ran + 1))
    [ "$code" = "$want" ] || complain "exit code $code, expected $want"
    if [ "$want" != 0 ]; then
        case $(cat "$dir/.err") in
        *"
"*) complain "more than one line on standard error" ;;
        "galerne: "*) ;;
        *) complain "standard error does not begin with 'galerne: '" ;;
        esac
    elif [ -z "$err_given" ] && [ -s "$dir/.err" ]; then
        complain "standard error is not empty"
    fi
    command=''
}

matches() { # PATTERN FILE
    found=$(cat "$2"; echo x) # command substitution alone would drop every newline at the end
    found=${found%x}
    found=${found%"
"}
    # shellcheck disable=SC2254 # a pattern is meant
    case $found in
    $1) return 0 ;;
    esac
    return 1
}

# Runs before its expectations are read: they are checked as they come, the exit code when the block ends.
for path in "$@"; do
    file=$(basename "$path") number=0
    mkdir "$dir/work"
    cd "$dir/work" || exit 1
    while IFS= read -r text || [ -n "$text" ]; do
        number=$((number + 1))
        case $text in
        '$ '*)
            check_end
            command=${text#??} line=$number want=0 err_given=''
            (eval "$command") >"$dir/.out" 2>"$dir/.err" </dev/null
            code=$?
            ;;
        'exit '*) want=${text#exit } ;;
        'out '*) matches "${text#out }" "$dir/.out" || complain "standard output does not match: ${text#out }" ;;
        'err '*)
            err_given=1
            matches "${text#err }" "$dir/.err" || complain "standard error does not match: ${text#err }"
            ;;
        '' | '#'*) ;;
        *) echo "$file:$number: what is this? $text"; failed=$((failed + 1)) ;;
        esac
    done <"$path"
    check_end
    cd "$ROOT" || exit 1
    rm -rf "$dir/work"
done
echo "$ran commands, $failed failures"
[ "$failed" = 0 ] && [ "$ran" -gt 0 ]
