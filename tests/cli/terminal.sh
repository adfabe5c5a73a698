#!/bin/sh
# terminal.sh GALERNE: `galerne chat` in a real terminal (tmux): several lines pasted, an answer stopped, the window made narrow, an answer asked
# for again, a conversation saved and loaded. The screen at the end is terminal.txt, but for speeds and how far the
# stopped answer came. With a second argument the screen is written there instead. SPDX-License-Identifier: Apache-2.0
set -eu
GALERNE=$1 EXPECTED=$(pwd)/tests/cli/terminal.txt MODEL=$(pwd)/tests/golden/chatter
command -v tmux >/dev/null || { echo "skipped: no tmux here"; exit 77; }
dir=$(mktemp -d)
socket=galerne-$$
tm() { tmux -L "$socket" -f /dev/null "$@"; }
trap 'tm kill-server 2>/dev/null || true; rm -rf "$dir"' EXIT # the server may have ended with its window
cd "$dir"
cat >weather <<'END'
#!/bin/sh
cat >asked
echo 18 degrees
END
chmod +x weather

screen() { tm capture-pane -p -J -S -2000; }

# wait_for PATTERN [COUNT]: until so many lines have it.
wait_for() {
    n=0
    until [ "$(screen | grep -c -- "$1")" -ge "${2:-1}" ]; do
        n=$((n + 1))
        [ $n -lt 600 ] || { echo "never seen: $1"; screen | cut -c 1-200 | tail -n 20; exit 1; }
        sleep 0.05
    done
}

answers=0
answered() { # the count that stands after each answer
    answers=$((answers + 1))
    wait_for '^\[[0-9]* \(tokens \)\{0,1\}in, .*\]' $answers
}

# Until the prompt stands alone: before it the terminal itself would echo what is typed, in the midst of what is printed.
prompted() {
    n=0
    until screen | grep -v '^ *$' | tail -n 1 | grep -q '^[>.] *$'; do
        n=$((n + 1))
        [ $n -lt 600 ] || { echo "no prompt"; screen | cut -c 1-200 | tail -n 20; exit 1; }
        sleep 0.05
    done
}

say() { prompted; tm send-keys -l "$1"; tm send-keys Enter; }

begin() { # ARGUMENTS
    tm new-session -d -x 72 -y 50 "trap : INT; env -u NO_COLOR HOME='$dir' '$GALERNE' chat '$MODEL' --temperature 0 --context 60000 $*; echo code \$?; cat"
    wait_for '/help lists'
}

begin --tool weather=./weather
say 'Hello'
answered
say 'What is 2 + 2?'
answered
prompted
printf 'One\nTwo\nThree' | tm load-buffer -
tm paste-buffer -p -d
wait_for '\[paste 1: 3 lines\]'
tm send-keys Enter
answered
say '"""'
wait_for '^\.'
say 'One'
wait_for '^\.' 2
say 'Two'
wait_for '^\.' 3
say 'Three"""'
answered
say 'Weather in Paris?'
answered
answered
say 'Ring the bell.'
answered
say 'Tell me of the sea.'
wait_for 'The sea rose and fell. The sea rose'
tm send-keys C-c
wait_for '^(stopped)'
answered
say '/undo'
wait_for 'taken back: Tell me'
prompted
tm resize-window -x 40 -y 50
tm send-keys -l '/reg'
tm send-keys Tab
tm send-keys Enter
answered
say '/help'
wait_for '^Ctrl-C stops an answer'
say '/set thinking fold'
wait_for '^(thinking fold)'
say 'What is 2 + 2?'
answered
say '/thinking'
wait_for 'Two and two' 2
say '/undo'
wait_for 'taken back: What is'
say '/save talk.json'
wait_for 'remembers: '
say '/nonsense'
wait_for 'no command is called'
prompted
tm send-keys -l 'half a line'
wait_for '^> half a line' # Ctrl-C drops what was not read yet
tm send-keys C-c
sleep 0.5
tm send-keys C-c
wait_for 'Ctrl-C again'
tm send-keys C-c
wait_for '^code 0'
screen >first
tm kill-server
socket=$socket-2 answers=0 # the first server may still be on its way out
begin --load talk.json --system "'Be brief.'"
say 'Who are you?'
answered
say '/history'
wait_for '^assistant: A very small'
say '/exit'
wait_for '^code 0'
screen >second

grep -q '"city": "Paris"' asked || { echo "the tool was not asked"; exit 1; }
grep -q 'half a line' first && ! grep -q 'half a line' talk.json || { echo "a line that was given up was sent"; exit 1; }
sed -n '/^> \/help/,/^Ctrl-C stops/p' first | awk 'length > 40 { print; bad = 1 } END { exit bad }' || { echo "these are cut at 40 columns"; exit 1; }
# The whole answer is one line here; where the terminal cut it does not matter, nor where it was stopped.
cat first second | sed -e 's/\(The sea rose and fell\. \)The sea rose.*/\1.../' -e "s#$MODEL#MODEL#" \
    -e 's/^\[[0-9]* tokens in, [0-9]* out, [0-9.]* tokens\/s, [0-9.]* %/[N tokens in, N out, S tokens\/s, P %/' \
    -e 's/^\[[0-9]* in, [0-9]* out, [0-9.]*\/s, [0-9]* %/[N in, N out, S\/s, P %/' -e 's/tokens, [0-9.]* s;/tokens, T s;/' \
    -e 's/[0-9.]* [KM]iB/N KiB/' -e 's/ *$//' | awk '{ blank = /^$/ ? blank + 1 : 0 } blank < 2' >seen
if [ $# -gt 1 ]; then
    cp seen "$2"
    exit 0
fi
diff "$EXPECTED" seen || { echo "the screen is not that of terminal.txt"; exit 1; }
echo "the session looked as it should"
