# SPDX-License-Identifier: MIT
# What the command-line tests share: a broker of their own, whose socket lies in a folder of their own, and processes
# that end with the test.

common_setup() {
    BUILD=${TENON_BUILD:?run by meson or tests/run}
    SOURCE=${TENON_SOURCE:?run by meson or tests/run}
    TENON=$BUILD/src/cli/tenon
    OBSERVE=$BUILD/apps/nginx/observe.bpf.o
    REFUSED=$BUILD/apps/nginx/refused.bpf.o
    COUNT=$BUILD/bench/count.bpf.o
    DIR=$(mktemp -d "${TMPDIR:-/tmp}/tenon-cli.XXXXXX")
    export TENON_SOCKET=$DIR/broker.sock
    PATH=$BUILD/bench:$PATH
    CHILDREN=()
}

common_teardown() {
    local pid
    "$TENON" detach --all >/dev/null 2>&1 3>&- || true
    for pid in "${CHILDREN[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    rm -rf "$DIR"
}

# Runs the tool, bounded, keeping standard output and error apart: $out, $err, $status.
tenon() {
    status=0
    timeout -k 5 30 "$TENON" "$@" >"$DIR/out" 2>"$DIR/err" </dev/null 3>&- || status=$?
    out=$(cat "$DIR/out")
    err=$(cat "$DIR/err")
}

# program FILE: fed by lines, in $TARGET; ask LINE: its answer is awaited
program() {
    mkfifo "$DIR/ask"
    "$@" <"$DIR/ask" >"$DIR/answer" 2>"$DIR/cries" 3>&- &
    TARGET=$!
    CHILDREN+=("$TARGET")
    exec 7>"$DIR/ask"
}
ask() {
    local lines
    lines=$(wc -l <"$DIR/answer")
    echo "$1" >&7
    for _ in $(seq 200); do
        [ "$(wc -l <"$DIR/answer")" -gt "$lines" ] && return 0
        sleep 0.05
    done
    return 1
}

# A process that calls bench_count when told: target_start; target_call N.
target_start() { program bench-target; }
target_call() { ask "count $1"; }

# json EXPRESSION: what Python makes of standard output, given as `j`.
json() {
    python3 -c 'import json,sys
j = json.loads(open(sys.argv[1]).read())
print(eval(sys.argv[2]))' "$DIR/out" "$1"
}

# The same, a row a line.
json_lines() {
    python3 -c 'import json,sys
j = [json.loads(line) for line in open(sys.argv[1])]
print(eval(sys.argv[2]))' "$DIR/out" "$1"
}

# As seen by `tenon`: no line of standard error is an afterthought, none is a crash.
said() {
    [[ $err == *"$1"* ]] || {
        echo "wanted on standard error: $1"
        echo "was: $err (status $status)"
        return 1
    }
}
