#!/bin/sh
# keys.sh GALERNE: what a terminal does to a line that is being typed into `galerne chat`: a window made narrow, pastes
# with control bytes, of many lines and of a megabyte, Ctrl-Z and back, signals. SPDX-License-Identifier: Apache-2.0
set -eu
GALERNE=$1 MODEL=$(pwd)/tests/golden/chatter
dir=$(mktemp -d)
socket=galerne-keys-$$
tm() { tmux -L "$socket" -f /dev/null "$@"; }
trap 'tm kill-server 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"

# A line of a pipe keeps its bytes, NUL too.
printf 'a\0b\n/save nul.json\n' | "$GALERNE" chat "$MODEL" --temperature 0 --max-tokens 2 --quiet --no-cache >out 2>&1
grep -q '"a\\u0000b"' nul.json || { echo "a NUL cut the line"; cat out nul.json; exit 1; }

command -v tmux >/dev/null || { echo "skipped: no tmux here"; exit 77; }
screen() { tm capture-pane -p -J -S -2000; }

failed() {
    echo "$1"
    screen | grep -v '^$' | cut -c 1-200 | tail -n 30
    exit 1
}

# until COMMAND...: that it comes true
soon() {
    n=0
    until "$@"; do
        n=$((n + 1))
        [ $n -lt 600 ] || failed "never: $*"
        sleep 0.05
    done
}

seen() { [ "$(screen | grep -c -- "$1")" -ge "${2:-1}" ]; }
last_is() { screen | sed 's/ *$//' | grep -v '^$' | tail -n 1 | grep -qx -- "$1"; }
# The line that is edited, whatever rows it stands in.
typed() { [ "$(tm capture-pane -p | sed -n 'H; /^>/h; ${ x; s/[ \n]//g; p; }')" = "$(printf '> %s' "$1" | tr -d ' ')" ]; }
say() { tm send-keys -l "$1"; tm send-keys Enter; }
paste() { tm load-buffer - && tm paste-buffer -p -r -d; }

cooked() { # as `stty -a >modes` says
    tr ' ;' '\n\n' <modes >words
    grep -qx icanon words && grep -qx isig words && grep -qx echo words
}

answers=0
answered() {
    answers=$((answers + 1))
    soon seen '^\[[0-9]* \(tokens \)\{0,1\}in, .*\]' $answers
}

begin() { # ARGUMENTS
    answers=0
    tm clear-history
    say "clear; sh -c 'echo \$\$ >pid; exec \"$GALERNE\" chat \"$MODEL\" --temperature 0 --no-cache $*'"
    soon seen '/help lists'
    soon last_is '>'
}

code() { # the program has ended; its code
    soon last_is '\$'
    say 'echo code $?'
    soon seen "^code $1"
}

tm new-session -d -x 100 -y 50 "env -u NO_COLOR -u ENV -u XDG_STATE_HOME HOME='$dir' PS1='\$ ' sh -i"
soon last_is '\$'
begin --max-tokens 4

# A window made narrow: what stands there is what is sent.
line='The quick brown fox jumps over the lazy dog and then some more words until it is ninety wide'
tm send-keys -l "$line"
soon typed "$line"
tm resize-window -x 40 -y 50
soon typed "$line"
tm send-keys -l ' XYZ'
tm send-keys BSpace C-a
tm send-keys -l Q
soon typed "Q$line XY"
tm capture-pane -p | grep -A 2 '^> Q' | sed 's/ *$//' >rows
printf '%s\n' "> Q$line XY" | fold -w 40 | sed 's/ *$//' | diff - rows || failed "the line is not drawn as it is"
tm resize-window -x 90 -y 50
soon typed "Q$line XY"
tm send-keys Enter
answered

# Control bytes of a paste act on nothing.
printf 'abc\001\003\004\025\032\034\023\033[31m\302\210\177\000 the end' | paste
soon last_is '> abc\[31m the end'
tm send-keys Enter
answered

# Ctrl-Z and back: the shell has its terminal, then prompt and line stand there again.
tm send-keys -l 'half'
soon last_is '> half'
tm send-keys C-z
soon last_is '\$'
say 'stty -a >modes'
soon last_is '\$'
printf "echo un''marked" | paste
tm send-keys Enter
soon last_is '\$'
    soon seen '^\(\$ \)*unmarked'
say fg
soon last_is '> half'
cooked || failed "the shell got the editor's terminal"
tm send-keys -l ' and half'
tm send-keys Enter
answered

# A mark is a whole, and stands for its text when the history brings it back.
printf 'i\nj' | paste
soon last_is '> \[paste 1: 2 lines\]'
tm send-keys BSpace
soon last_is '>'
printf 'k\r\nl\tm' | paste
tm send-keys -l ' tail'
tm send-keys C-a
tm send-keys Right
tm send-keys -l -- '-'
soon last_is '> \[paste 2: 2 lines\]- tail'
tm send-keys Enter
answered
tm send-keys Up
soon last_is '> \[paste 2: 2 lines\]- tail'
tm send-keys Enter
answered

# A megabyte without a line end.
head -c 1000000 /dev/zero | tr '\0' x | paste
soon last_is '> \[paste 3: 1 line\]'
tm send-keys C-u
soon last_is '>'
say '/save said.json'
soon seen 'saved .* messages'
grep -q "\"Q$line XY\"" said.json || failed "the resized line was sent as something else"
grep -q '"abc\[31m the end"' said.json || failed "control bytes were sent"
grep -q '"half and half"' said.json || failed "the line was lost while it was stopped"
[ "$(grep -o '"k\\nl\\tm- tail"' said.json | wc -l)" -eq 2 ] || failed "a paste was not sent twice"

# Signals: one is enough, at the prompt and in an answer, and nothing stays behind.
kill -TERM "$(cat pid)"
code 130
say 'stty -a >modes'
soon last_is '\$'
printf "echo not''marked" | paste
tm send-keys Enter
soon seen '^\(\$ \)*notmarked'
cooked || failed "the terminal was left in the editor's mode"
grep -q 'half' .local/state/galerne/chat-history || failed "the history was not kept"
! grep -q 'paste' .local/state/galerne/chat-history || failed "a mark was kept in the history"
begin --context 60000
say 'Tell me of the sea.'
soon seen 'The sea rose and fell. The sea rose'
kill -TERM "$(cat pid)"
code 130
begin
tm send-keys -l 'typed'
soon last_is '> typed'
tm send-keys 'C-\'
code 131
begin
tm kill-server
gone() { ! kill -0 "$(cat pid)" 2>/dev/null; }
n=0
until gone; do
    n=$((n + 1))
    [ $n -lt 600 ] || { echo "it outlived its terminal"; kill -KILL "$(cat pid)"; exit 1; }
    sleep 0.05
done
echo "the keys did what they should"
