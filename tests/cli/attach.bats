#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# tenon attach, ls, show and detach on a process of the test's own.

load common
setup() { common_setup; }
teardown() { common_teardown; }

calls() { "$TENON" map lookup bench_calls 0 3>&-; }

@test "attach --json: a row a link with the promised fields; --for ends it; the target lives" {
    target_start
    tenon attach --json --for 0.5 -p "$TARGET" "$COUNT"
    echo "$err"
    [ "$status" -eq 0 ]
    [ "$(json_lines 'len(j)')" = 1 ]
    [ "$(json_lines 'set(j[0]) >= {"id","prog","pid","target","symbol","offset","kind","tactic","missed"}')" = True ]
    [ "$(json_lines 'j[0]["prog"]')" = count ]
    [ "$(json_lines 'j[0]["pid"]')" = "$TARGET" ]
    [ "$(json_lines 'j[0]["symbol"]')" = bench_count ]
    [ "$(json_lines 'j[0]["offset"]')" = 0 ]
    [ "$(json_lines 'j[0]["kind"]')" = uprobe ]
    [ "$(json_lines 'j[0]["missed"]')" = 0 ]
    tenon ls --json
    [ "$(json 'j')" = "[]" ]
    target_call 1000
}

@test "--keep: links stay, count exactly, are shown, and go by detach" {
    target_start
    tenon attach --keep --json -p "$TARGET" "$COUNT"
    echo "$err"
    [ "$status" -eq 0 ]
    id=$(json_lines 'j[0]["id"]')
    target_call 12345
    [ "$(calls)" = 12345 ]
    tenon ls --json
    [ "$(json '[(r["id"], r["prog"], r["pid"], r["missed"]) for r in j]')" = "[($id, 'count', $TARGET, 0)]" ]
    tenon ls
    [[ $out == *bench_count* ]]
    tenon show "$id"
    [[ $out == *"link $id"* && $out == *missed* ]]
    tenon show --json "$id"
    [ "$(json 'j[0]["program"]["insns_processed"] > 0')" = True ]
    tenon detach "$id"
    echo "$err"
    [ "$status" -eq 0 ]
    target_call 1000
    tenon ls --json
    [ "$(json 'j')" = "[]" ]
    tenon detach "$id"
    [ "$status" -eq 1 ]
    said "link $id"
}

@test "interrupted by SIGINT and by SIGTERM: status 0, nothing stays attached" {
    target_start
    for signal in INT TERM; do
        "$TENON" attach --json -p "$TARGET" "$COUNT" >"$DIR/rows" 2>"$DIR/err" 3>&- 7>&- &
        pid=$!
        for _ in $(seq 100); do [ -s "$DIR/rows" ] && break; sleep 0.05; done
        [ -s "$DIR/rows" ]
        # bats starts jobs with SIGINT ignored where job control is off: sigtimedwait takes it all the same
        kill -"$signal" "$pid"
        status=0
        wait "$pid" || status=$?
        [ "$status" -eq 0 ]
        tenon ls --json
        [ "$(json 'j')" = "[]" ]
        target_call 100
    done
}

@test "the command killed with SIGKILL: its links go, the target lives" {
    target_start
    "$TENON" attach --json -p "$TARGET" "$COUNT" >"$DIR/rows" 2>"$DIR/err" 3>&- 7>&- &
    pid=$!
    for _ in $(seq 100); do [ -s "$DIR/rows" ] && break; sleep 0.05; done
    kill -KILL "$pid"
    wait "$pid" || true
    for _ in $(seq 40); do
        tenon ls --json
        [ "$(json 'len(j)')" = 0 ] && break
        sleep 0.05
    done
    [ "$(json 'len(j)')" = 0 ]
    target_call 100
}

# What the command reads comes from a pipe; $status, $out, $err as ever.
attach_fed() { # LINE WORDS…
    line=$1
    shift
    status=0
    echo "$line" | timeout -k 5 30 "$TENON" attach "$@" >"$DIR/out" 2>"$DIR/err" 3>&- || status=$?
    out=$(cat "$DIR/out")
    err=$(cat "$DIR/err")
}

@test "-- CMD: hooked from its first instruction, exit status forwarded" {
    attach_fed "count 4321" "$COUNT" -- bench-target
    echo "$out $err"
    [ "$status" -eq 0 ]
    [[ $out == *bench_calls* && $out == *4321* ]]
    attach_fed "nonsense 1" --json "$COUNT" -- bench-target
    [ "$status" -eq 2 ]
    [ "$(json_lines 'j[0]["prog"]')" = count ]
    # the object may stand last, too
    attach_fed "nonsense 1" --json -- bench-target "$COUNT"
    [ "$status" -eq 2 ]
}

@test "-- CMD that is not there, one that dies by a signal, one that has not the function" {
    tenon attach "$COUNT" -- nonsense-command
    [ "$status" -ne 0 ]
    mkfifo "$DIR/ask"
    "$TENON" attach --json "$COUNT" -- bench-target <"$DIR/ask" >"$DIR/out" 2>"$DIR/err" 3>&- &
    pid=$!
    exec 7>"$DIR/ask"
    for _ in $(seq 100); do grep -q pid "$DIR/out" && break; sleep 0.05; done
    kill -TERM "$(json_lines 'j[0]["pid"]')"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 143 ]
    tenon attach --json "$COUNT" -- sleep 5
    [ "$status" -eq 1 ]
    said "tenon attach: "
}

@test "the target's end ends the command" {
    target_start
    (sleep 1; kill "$TARGET") 3>&- 7>&- &
    tenon attach --json -p "$TARGET" "$COUNT"
    [ "$status" -eq 0 ]
    said "$TARGET"
}

@test "pids: gone, a kernel thread, twice" {
    bash -c : &
    gone=$!
    wait "$gone"
    tenon attach -p "$gone" "$COUNT"
    [ "$status" -eq 1 ]
    said "$gone"
    said "[no_process]"
    kernel=$(ps -e -o pid=,ppid= | awk '$2 == 2 {print $1; exit}')
    [ -n "$kernel" ] || skip "no kernel thread is to be seen"
    tenon attach -p "$kernel" "$COUNT"
    echo "$err"
    [ "$status" -eq 1 ]
    said "tenon attach: "
}

@test "a process that has not mapped the file" {
    sleep 30 3>&- &
    CHILDREN+=($!)
    tenon attach -p $! "$COUNT"
    echo "$err"
    [ "$status" -eq 1 ]
    kill -0 "${CHILDREN[0]}"
}

@test "a refused program: the C line, status 1, nothing attached" {
    target_start
    tenon attach -p "$TARGET" "$REFUSED"
    [ "$status" -eq 1 ]
    said "refused.bpf.c:"
    said "*count += 1"
    target_call 100
    tenon ls --json
    [ "$(json 'j')" = "[]" ]
}

@test "--program takes only the named one; an unknown name lists what there is" {
    tenon attach --program nonsense "$OBSERVE"
    [ "$status" -eq 1 ]
    said phases_begin
    target_start
    tenon attach --json --for 0.1 --program begins -p "$TARGET" "$BUILD/bench/span.bpf.o"
    [ "$status" -eq 0 ]
    [ "$(json_lines '[r["prog"] for r in j]')" = "['begins']" ]
}

@test "--set gives a variable its value" {
    cat >"$DIR/o.c" <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
const volatile int step = 1;
long total = 5;
SEC("uprobe/bench-target:bench_count") int add(void *ctx) { total += step; return 0; }
char LICENSE[] SEC("license") = "GPL";
C
    clang -target bpf -g -O2 -I/usr/include/x86_64-linux-gnu -c "$DIR/o.c" -o "$DIR/adder.bpf.o"
    target_start
    tenon attach --keep --set step=7 --set total=100 -p "$TARGET" "$DIR/adder.bpf.o"
    echo "$err"
    [ "$status" -eq 0 ]
    target_call 10
    tenon map dump adder.bss --json
    [ "$status" -eq 0 ] || tenon map dump adder.data --json
    [ "$(json 'j[0]["value"]["total"]')" = 170 ]
    tenon attach --set nonsense=1 -p "$TARGET" "$DIR/adder.bpf.o"
    [ "$status" -eq 1 ]
    said nonsense
    tenon attach --set step=99999999999 -p "$TARGET" "$DIR/adder.bpf.o"
    [ "$status" -eq 1 ]
}

@test "on a terminal: a table and bars, redrawn; cleanly ended" {
    command -v script >/dev/null || skip "no script(1)"
    target_start
    (sleep 0.5; echo "span 20000" >&7) 3>&- &
    TERM=xterm LC_ALL=C.UTF-8 timeout 20 script -qec "'$TENON' attach --for 2 --interval 0.4 -p $TARGET '$BUILD/bench/span.bpf.o'" \
        "$DIR/screen" </dev/null >/dev/null 3>&-
    grep -q 'span_hist_ns' "$DIR/screen"
    grep -q '█' "$DIR/screen"
    grep -q $'\033\\[[0-9]*A' "$DIR/screen"
}

@test "an exit by a tail jump to wherever memory says is refused by name, with program and function" {
    cat >"$DIR/o.c" <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("uretprobe//usr/sbin/nginx:ngx_conf_set_flag_slot") int leaves(void *ctx) { return 0; }
char LICENSE[] SEC("license") = "GPL";
C
    clang -target bpf -g -O2 -I/usr/include/x86_64-linux-gnu -c "$DIR/o.c" -o "$DIR/o"
    mkdir "$DIR/html"
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    printf 'daemon off; master_process off; pid %s/pid; error_log %s/log; events {} http { access_log off; server { listen 127.0.0.1:%s; } }\n' \
        "$DIR" "$DIR" "$port" >"$DIR/conf"
    /usr/sbin/nginx -p "$DIR" -c "$DIR/conf" 3>&- 2>/dev/null &
    nginx=$!
    CHILDREN+=("$nginx")
    for _ in $(seq 100); do [ -s "$DIR/pid" ] && break; sleep 0.05; done
    tenon attach -p "$nginx" "$DIR/o"
    [ "$status" -eq 1 ]
    said "'leaves'"
    said ngx_conf_set_flag_slot
    said "[exit_tail_unknown]"
    kill -0 "$nginx"
}

# pattern DIR NAME SECTION: an object that counts at SECTION
counts_at() {
    clang -O2 -g -target bpf "-DSECTION=\"$2\"" -I"/usr/include/$(uname -m)-linux-gnu" -c "$TENON_SOURCE/bench/count.bpf.c" -o "$DIR/$1.bpf.o"
}

@test "a pattern: every function that fits, in one link; entries, exits, none, and those that cannot be" {
    target_start
    exe=$(readlink "/proc/$TARGET/exe")
    counts_at fits "uprobe.multi/$exe:bench_c*"
    tenon attach --keep --json -p "$TARGET" "$DIR/fits.bpf.o"
    echo "$err"
    [ "$status" -eq 0 ]
    [ "$(json_lines 'len(j)')" = 1 ]
    [ "$(json_lines 'j[0]["functions"], j[0]["places"], j[0]["left"]')" = "(2, 2, 0)" ]
    [ "$(json_lines 'j[0]["tactics"]')" = "{'jump5': 2}" ]
    id=$(json_lines 'j[0]["id"]')
    target_call 1000
    [ "$(calls)" = 1000 ] # the twin is not called by that
    tenon ls
    [[ $out == *"2 functions"* ]]
    tenon show "$id"
    [[ $out == *"places      2 instructions: 2 by jump5"$'\n'* ]]
    [[ $out != *breakpoint* ]]
    tenon detach --all
    counts_at left "uretprobe.multi/$exe:bench_*"
    tenon attach --for 0.2 --json -p "$TARGET" "$DIR/left.bpf.o"
    [ "$status" -eq 0 ]
    [ "$(json_lines 'j[0]["functions"] + j[0]["left"] > 4')" = True ]
    [ "$(json_lines 'sum(j[0]["tactics"].values()) == j[0]["places"]')" = True ]
    counts_at none "uprobe.multi/$exe:no_such_*"
    tenon attach --for 0.2 -p "$TARGET" "$DIR/none.bpf.o"
    [ "$status" -eq 1 ]
    said 'no function'\''s name fits "no_such_*"' no_symbol
    target_call 1000
}

@test "a function by its version: a plain name is the default one, NAME@VERSION an older one; what there is, is told" {
    target_start
    old=$((16#$(objdump -T /lib/x86_64-linux-gnu/libc.so.6 | awk '$NF == "timer_create" && /[(]GLIBC_2.2.5[)]/ {print $1}')))
    new=$((16#$(objdump -T /lib/x86_64-linux-gnu/libc.so.6 | awk '$NF == "timer_create" && !/[(]/ {print $1}')))
    [ "$old" != "$new" ]
    for row in "timer_create $new" "timer_create@GLIBC_2.2.5 $old" "timer_create@GLIBC_2.3.3 $new" "timer_create@@GLIBC_2.34 $new"; do
        counts_at versioned "uprobe/libc.so.6:${row% *}"
        tenon attach --for 0.1 --json -p "$TARGET" "$DIR/versioned.bpf.o"
        [ "$status" -eq 0 ]
        [ "$(json_lines 'j[0]["file_offset"]')" = "${row#* }" ]
    done
    counts_at versioned "uprobe/libc.so.6:timer_create@@GLIBC_2.2.5"
    tenon attach --for 0.1 -p "$TARGET" "$DIR/versioned.bpf.o"
    [ "$status" -eq 1 ]
    said 'no function "timer_create@@GLIBC_2.2.5"; there are: ' no_symbol
    said "timer_create@@GLIBC_2.34"
    counts_at versioned "uprobe/libc.so.6:getpid@NO_SUCH"
    tenon attach --for 0.1 -p "$TARGET" "$DIR/versioned.bpf.o"
    said "there are: getpid@@GLIBC_2.2.5" no_symbol
    counts_at page "uprobe/[vdso]:__vdso_clock_gettime"
    tenon attach --for 0.1 -p "$TARGET" "$DIR/page.bpf.o"
    [ "$status" -eq 1 ]
    said "[vdso] is memory that no file is behind" kernel_page
}

@test "an indirect function: it is told that the code which chooses is hooked, not the one that is called" {
    target_start
    counts_at one "uprobe/libc.so.6:strlen"
    tenon attach --for 0.2 -p "$TARGET" "$DIR/one.bpf.o"
    [ "$status" -eq 0 ]
    said "strlen of" && said "[indirect_function]"
    counts_at some "uprobe.multi/libc.so.6:mem*"
    tenon attach --for 0.2 -p "$TARGET" "$DIR/some.bpf.o"
    [ "$status" -eq 0 ]
    said "that fit mem* are indirect"
    counts_at plain "uprobe/libc.so.6:getpid"
    tenon attach --for 0.2 -p "$TARGET" "$DIR/plain.bpf.o"
    [ "$status" -eq 0 ]
    [ -z "$err" ]
}

@test "a path that a terminal would obey: shown as it is in JSON, tamed elsewhere" {
    folder=$DIR/$(printf 'a\033[31m\nb')
    mkdir "$folder"
    cp "$(command -v bench-target)" "$folder/odd"
    program "$folder/odd"
    target_call 1
    counts_at odd "uprobe/odd:bench_count"
    tenon attach --keep -p "$TARGET" "$DIR/odd.bpf.o"
    echo "$err"
    [ "$status" -eq 0 ]
    [[ $out == *"/a?[31m?b/odd"* ]]
    tenon ls
    [[ $out == *"/a?[31m?b/odd"* ]]
    tenon show 1
    [[ $out == *"/a?[31m?b/odd"* ]]
    tenon ls --json
    [ "$(json 'j[0]["target"].endswith("/a\x1b[31m\nb/odd")')" = True ]
    counts_at none "uprobe/odd:no_such"
    tenon attach --for 0.1 -p "$TARGET" "$DIR/none.bpf.o"
    [ "$status" -eq 1 ]
    [[ $err != *$'\033'* ]]
    tenon detach --all
}
