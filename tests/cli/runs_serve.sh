#!/bin/sh
# runs_serve.sh GALERNE: the live page of runs over HTTP: what is sent and how, what is refused, a run that is written
# meanwhile and not disturbed, damaged ones, several clients, the end. SPDX-License-Identifier: Apache-2.0
set -eu
GALERNE=$1
ROOT=$(pwd)
dir=$(mktemp -d)
server='' training='' askers=''
# A list of numbers; some may have ended by themselves, which changes nothing of the test's result (|| true).
# shellcheck disable=SC2086
trap '[ -z "$server$training$askers" ] || kill -9 $server $training $askers 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"

fail() {
    echo "$1"
    exit 1
}

# refused CODE PATTERN ARGUMENTS: one line on standard error.
refused() {
    want=$1 pattern=$2 code=0
    shift 2
    "$GALERNE" "$@" >out 2>err </dev/null || code=$?
    [ $code -eq "$want" ] || fail "$*: code $code, expected $want: $(cat err)"
    [ "$(wc -l <err)" -eq 1 ] || fail "$*: expected one line: $(cat err)"
    grep -q "^galerne: .*$pattern" err || fail "$*: expected '$pattern': $(cat err)"
}

refused 3 'nowhere: no folder of runs here' runs serve nowhere
refused 3 'runs: no folder of runs here' runs serve
refused 2 '.-port goes with serve' runs list --port 80
refused 2 '.-host goes with serve' runs show r --host ::1
refused 2 'port' runs serve --port 65536
refused 2 'expected list, show, plot or serve, found srv' runs srv
refused 2 'expected nothing after runs show r, found s' runs show r s
mkdir runs
refused 1 'cannot listen: \|without a server' runs serve --host 192.0.2.1
if grep -q 'without a server' err; then
    echo "skipped: built without libmicrohttpd"
    exit 77
fi
command -v curl >/dev/null || { echo "skipped: no curl here"; exit 77; }

"$GALERNE" runs serve runs one --port 0 >url 2>served </dev/null && fail "a place that is not there was served"
mkdir one
"$GALERNE" runs serve runs one --port 0 >url 2>served </dev/null &
server=$!
n=0
until [ -s url ]; do
    n=$((n + 1))
    [ $n -lt 600 ] || fail "no address was printed"
    sleep 0.05
done
url=$(cat url)
case $url in
http://127.0.0.1:*/) ;;
*) fail "expected an address of this machine, found $url" ;;
esac
port=${url%/}
port=${port##*:}
refused 1 "port $port: taken by another program" runs serve runs --port "$port"

# ask WANT PATH [OPTIONS OF CURL]: the status; contents in body, headers in head.
ask() {
    want=$1 path=$2 code=
    : >body
    shift 2
    code=$(curl -s -m 60 --path-as-is -o body -D head -w '%{http_code}' "$@" "${url%/}$path")
    [ "$code" = "$want" ] || fail "$path $*: $code, expected $want: $(head -c 300 body)"
}
has() { grep -q -- "$1" "$2" || fail "expected '$1' in $2: $(head -c 600 "$2")"; }

# The page: nothing from elsewhere, nothing that was not in it, kept until it changes.
ask 200 /
has '^Content-Type: text/html; charset=utf-8' head
has "^Content-Security-Policy: default-src 'none'; connect-src 'self';.*script-src 'sha256-" head
has '^X-Content-Type-Options: nosniff' head
has '<title>galerne runs</title>' body
tag=$(sed -n 's/^ETag: *\([^ ]*\)\r$/\1/p' head)
ask 304 / -H "If-None-Match: $tag"
[ ! -s body ] || fail "a page that is known was sent again"
ask 200 / --head
ask 204 /favicon.ico

# No runs yet.
ask 200 /api/runs
has '"places":\["runs","one"\],"left_out":0,"runs":\[\]' body
has '^Content-Type: application/json' head
has '^Cache-Control: no-store' head

# What is refused, and goes on being answered afterwards.
ask 404 /nothing
ask 404 /../../../etc/passwd
ask 404 /%2e%2e%2f%2e%2e%2fetc%2fpasswd
ask 404 '/api/run?run=../../etc'
ask 404 '/api/run?run=/etc'
ask 400 /api/run
ask 400 /api/series
ask 400 '/api/series?table=steps'
ask 400 '/api/series?run=r&table=steps&after=x'
ask 400 '/api/series?run=r&table=steps&after=-2'
ask 400 '/api/series?run=r&table=steps&until=99999999999999999999'
ask 400 '/api/series?run=r&table=steps&points=1'
ask 400 '/api/sample?run=r&step=../../x'
ask 405 / -X POST -d x=y
has '^Allow: GET, HEAD' head
ask 405 /api/runs -X DELETE
ask 403 /api/runs -H 'Host: evil.example'
has "asked for as 'evil.example': expected" body
ask 403 /api/runs -H "Host: evil.example:$port"
ask 403 /api/runs -H 'Host: 127.0.0.1.evil.example'
ask 200 /api/runs -H 'Host: localhost:1'
long=$(head -c 20000 /dev/zero | tr '\0' a)
ask 414 "/api/run?run=$long"
ask 431 /api/runs -H "X-Long: $long"
printf 'rubbish\r\n\r\n' | curl -s -m 10 "telnet://127.0.0.1:$port" >body 2>/dev/null || true # it hangs up, which curl takes for a failure
ask 200 /api/runs # what is tested: it still answers

# A training, and two who ask all the time. It is not disturbed, and they see it grow.
head -c 20000 "$ROOT/README.md" | tr -cd 'a-z \n' >t.txt
cat >c.yaml <<'END'
model: { width: 32, layers: 1, heads: 2, kv_heads: 1, hidden: 64, context: 64 }
data: { text: t.txt, valid_fraction: 0.1 }
tokenizer: { train_size: 300 }
batch: { rows: 2, sequence: 32 }
steps: 2000
eval: { every: 500 }
sample: { prompts: [the], tokens: 4 }
END
"$GALERNE" train c.yaml -o runs/r --threads 1 >train.out 2>train.err </dev/null &
training=$!
for who in 1 2; do
    (
        while :; do
            curl -s -m 60 "${url}api/runs" >"runs.$who" || exit 1
            curl -s -m 60 "${url}api/series?run=runs/r&table=steps" >"series.$who" || exit 1
            sed -n 's/^{"table":"steps","last":\([0-9-]*\),.*/\1/p' "series.$who" >>"lasts.$who"
        done
    ) &
    askers="$askers $!"
done
code=0
wait $training || code=$?
training=
[ $code -eq 0 ] || fail "the training ended with $code: $(cat train.err)"
if grep -q 'another program keeps it' train.err; then fail "the training was kept from writing"; fi
# shellcheck disable=SC2086
kill $askers
# They end by the signal, so their codes are not 0; what they saw is looked at below.
# shellcheck disable=SC2086
wait $askers 2>/dev/null || true
askers=
for who in 1 2; do
    sort -n -c "lasts.$who" || fail "steps went back"
    [ -s "lasts.$who" ] || fail "nothing was seen"
done

echo "seen meanwhile: $(sort -un lasts.1 | tr '\n' ' ')"

ask 200 /api/runs
has '"run":"runs/r","state":"finished"' body
has '"step":2000,"tokens":128000,' body
has '"table":"steps","labels":\[\],"columns":\["tokens","loss_nats","lr",.*"first":1,"last":2000' body
ask 200 '/api/series?run=runs%2Fr&table=steps&after=1998'
has '"last":2000,"rows":2,.*"last":\[1999,2000\],"values":{"tokens":{"mean":\[127936,128000\]}' body
ask 200 '/api/series?run=runs/r&table=steps&after=2000'
has '"last":2000,"rows":0,.*"series":\[\]' body
ask 200 '/api/series?run=runs/r&table=steps&points=4'
has '"last":\[512,1024,1536,2000\],"first":\[1,513,1025,1537\],"rows":\[512,512,512,464\]' body
ask 200 '/api/series?run=runs/r&table=evaluations&until=1000'
has '"last":\[500,1000\]' body
ask 404 '/api/series?run=runs/r&table=facts'
ask 404 '/api/series?run=runs/r&table=x%22%3Bdrop'
ask 404 '/api/series?run=runs/../runs/r&table=steps'
ask 200 '/api/run?run=runs/r'
has '\["model.width","32"\]' body
has '"samples":\[500,1000,1500,2000\]' body
ask 200 '/api/sample?run=runs/r&step=500'
has '"step":500,"text":"the' body
ask 404 '/api/sample?run=runs/r&step=501'

# Damaged, unborn and strange ones stand in the list with what is wrong, and stop nobody.
mkdir runs/damaged runs/unborn "runs/<b>\"&"
head -c 9000 /dev/zero >runs/damaged/metrics.sqlite
: >runs/unborn/config.yaml
cp runs/r/metrics.sqlite "runs/<b>\"&"
cp runs/r/metrics.sqlite one
ask 200 /api/runs
has '"run":"runs/damaged","message":"runs/damaged/metrics.sqlite: ' body
has '"run":"runs/unborn","message":"no metrics.sqlite in it yet"' body
has '"run":"runs/<b>\\"&","state":"finished"' body
has '"run":"one","state":"finished"' body
ask 422 '/api/series?run=runs/damaged&table=steps'
ask 422 '/api/series?run=runs/unborn&table=steps'
ask 200 '/api/run?run=runs/damaged'
has '"message":"runs/damaged/config.yaml: ' body
size=$(wc -c <runs/r/metrics.sqlite)
dd if=/dev/urandom of=runs/r/metrics.sqlite bs=1024 seek=4 count=$((size / 1024 - 4)) conv=notrunc 2>dd.err
curl -s -m 60 "${url}api/series?run=runs/r&table=steps" >body
rm -r runs/r
ask 404 '/api/series?run=runs/r&table=steps'
ask 200 /api/runs

kill -INT $server
code=0
wait $server || code=$?
server=
[ $code -eq 0 ] || fail "code $code after Ctrl-C, expected 0"
[ "$(cat served)" = 'Ctrl-C ends it' ] || fail "expected one line: $(cat served)"

"$GALERNE" runs serve one --port 0 --json --quiet >told 2>err </dev/null &
server=$!
n=0
until [ -s told ]; do
    n=$((n + 1))
    [ $n -lt 600 ] || fail "no address was printed"
    sleep 0.05
done
grep -q '^{"url": "http://127.0.0.1:[0-9]*/"}$' told || fail "expected JSON: $(cat told)"
kill -TERM $server
code=0
wait $server || code=$?
server=
[ $code -eq 0 ] && [ ! -s err ] || fail "code $code after SIGTERM: $(cat err)"
echo "served, refused and ended as it should"
