#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# tenon attach --fallback=kernel: what cannot be hooked is the kernel's, whole, if it may; and nothing stays of it.

load common
setup() {
    common_setup
    [ "$(id -u)" = 0 ] || skip "the kernel's uprobes need root here"
    export TENON_JOURNAL=$DIR/journal TENON_POLICY=$DIR/policy
    mkdir "$DIR/policy"
    TARGETS=$BUILD/tests/targets
    EXITS=$TARGETS/targets-exits
    PATH=$PATH:/usr/sbin
}
teardown() {
    common_teardown
    exec 7>&-
}

# Another tracer is there: every process can meet it, and the kernel's uprobes do not mind.
traced() {
    strace -e trace=none -e signal=none -o /dev/null -p "$1" 2>/dev/null 3>&- 7>&- &
    CHILDREN+=($!)
    for _ in $(seq 100); do grep -q 'TracerPid:.[1-9]' "/proc/$1/status" && return 0; sleep 0.05; done
    return 1
}

# counts NAME SECTION…: an object whose program k counts in fallback_passes[k] at the k-th section
counts() {
    local name=$1 k=0 usdt=
    shift
    cat >"$DIR/$name.c" <<'C'
#include <linux/types.h>
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#ifdef USDT
#include <bpf/usdt.bpf.h>
#endif
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u64);
} fallback_passes SEC(".maps");
static int add(__u32 k)
{
    __u64 *n = bpf_map_lookup_elem(&fallback_passes, &k);
    if (n)
        __sync_fetch_and_add(n, 1);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
C
    [[ $* != *usdt/* ]] || usdt=-DUSDT
    for section; do
        echo "SEC(\"$section\") int fallback_$k(void *ctx) { return add($k); }" >>"$DIR/$name.c"
        k=$((k + 1))
    done
    # shellcheck disable=SC2086
    clang -target bpf -D__TARGET_ARCH_x86 $usdt -g -O2 -I/usr/include/x86_64-linux-gnu -c "$DIR/$name.c" -o "$DIR/$name.o"
}

# The command in the background, until its links stand; ended by over SIGNAL.
attach() {
    "$TENON" attach --json "$@" >"$DIR/rows" 2>"$DIR/err" 3>&- 7>&- &
    ATTACH=$!
    CHILDREN+=("$ATTACH")
    for _ in $(seq 200); do
        [ -s "$DIR/rows" ] && return 0
        kill -0 "$ATTACH" 2>/dev/null || break
        sleep 0.05
    done
    cat "$DIR/err"
    return 1
}
over() {
    status=0
    kill -"$1" "$ATTACH"
    wait "$ATTACH" || status=$?
    [ "$status" -eq 0 ]
    nothing
}

# What the kernel has of ours.
in_kernel() {
    bpftool -j prog show | python3 -c 'import json,sys; print(sum(p.get("name", "").startswith("fallback_") for p in json.load(sys.stdin)))'
}
passes() { # INDEX
    bpftool -j map dump name fallback_passes | python3 -c 'import json,sys; print(json.load(sys.stdin)[int(sys.argv[1])]["formatted"]["value"])' "$1"
}
nothing() {
    for _ in $(seq 100); do [ "$(in_kernel)" = 0 ] && break; sleep 0.05; done
    [ "$(in_kernel)" = 0 ]
    if grep -qs targets /sys/kernel/tracing/uprobe_events /sys/kernel/debug/tracing/uprobe_events; then return 1; fi
}

# As in the file: every byte of the first function that holds this symbol, in $TARGET.
untouched() { # FILE SYMBOL
    python3 - "$TARGET" "$1" "$2" <<'P'
import subprocess, sys
pid, path, name = sys.argv[1:]
symbol = next(l.split() for l in subprocess.check_output(["readelf", "-sW", path], text=True).splitlines() if l.split()[-1:] == [name])
addr, size = int(symbol[1], 16), int(symbol[2])
load = next(l.split() for l in subprocess.check_output(["readelf", "-lW", path], text=True).splitlines() if "LOAD" in l and "R E" in l)
offset = addr - int(load[2], 16) + int(load[1], 16)
for line in open(f"/proc/{pid}/maps"):
    words = line.split()
    if len(words) > 5 and words[5] == path and "x" in words[1]:
        start, end, at = *(int(x, 16) for x in words[0].split("-")), int(words[2], 16)
        if at <= offset < at + end - start:
            with open(f"/proc/{pid}/mem", "rb") as mem, open(path, "rb") as file:
                mem.seek(start + offset - at)
                file.seek(offset)
                assert mem.read(size) == file.read(size), "changed"
                sys.exit(0)
sys.exit("not mapped")
P
}

@test "without the option: refused as ever, and told of it" {
    program "$EXITS"
    counts both "uprobe/$EXITS:tail_pointer" "uretprobe/$EXITS:tail_pointer"
    tenon attach -p "$TARGET" "$DIR/both.o"
    [ "$status" -eq 1 ]
    said "[exit_tail_unknown]"
    said "--fallback=kernel"
    nothing
    tenon attach -p "$TARGET" "$COUNT" # not mapped: nothing that the kernel could help
    [ "$status" -eq 1 ]
    [[ $err != *fallback* ]]
    ask "pointer 10"
}

@test "one place that can be hooked and one that cannot: both in the kernel, exact, said, and gone by SIGINT" {
    program "$EXITS"
    ask "pointer 1000"
    counts both "uprobe/$EXITS:tail_pointer" "uretprobe/$EXITS:tail_pointer"
    for signal in INT TERM; do
        attach --fallback=kernel -p "$TARGET" "$DIR/both.o"
        err=$(cat "$DIR/err")
        said "[exit_tail_unknown]"
        said "2 programs of both run in the kernel"
        said "microsecond"
        cp "$DIR/rows" "$DIR/out"
        [ "$(json_lines '[(r["prog"], r["pid"], r["kind"], r["tactic"], r["missed"], r["symbol"]) for r in j]')" = \
            "[('fallback_0', $TARGET, 'uprobe', 'kernel', 0, 'tail_pointer'), ('fallback_1', $TARGET, 'uretprobe', 'kernel', 0, 'tail_pointer')]" ]
        tenon ls --json
        [ "$(json 'j')" = "[]" ]
        [ "$(in_kernel)" = 2 ]
        ask "pointer 12345"
        [ "$(passes 0) $(passes 1)" = "12345 12345" ]
        over "$signal"
        untouched "$EXITS" tail_pointer
        [ "$(tail -1 "$DIR/answer" | wc -c)" -gt 1 ]
    done
    python3 -c 'import json,sys; rows = [json.loads(l) for l in open(sys.argv[1])]
done = [(r["program"], r.get("refused", "")) for r in rows if r["deed"] == "attach in the kernel"]
assert done == [("fallback_0", ""), ("fallback_1", "")] * 2, rows' "$DIR/journal"
    # the same place alone, which can be hooked, stays ours
    tenon attach --fallback=kernel --for 0.2 --json --program fallback_0 -p "$TARGET" "$DIR/both.o"
    [ "$(json_lines 'j[0]["tactic"] != "kernel"')" = True ]
    [ -z "$err" ]
}

@test "the maps are shown at the end; killed with SIGKILL, nothing stays; the process's end ends it" {
    program "$EXITS"
    counts exit "uretprobe/$EXITS:tail_bare"
    "$TENON" attach --fallback=kernel -p "$TARGET" "$DIR/exit.o" >"$DIR/out" 2>"$DIR/err" 3>&- 7>&- &
    pid=$!
    for _ in $(seq 100); do grep -q kernel "$DIR/out" && break; sleep 0.05; done
    ask "bare-tail 777"
    exec 7>&-
    wait "$pid"
    grep -q 'fallback_passe' "$DIR/out"
    grep -q '0  777' "$DIR/out"
    grep -q "process $TARGET has ended" "$DIR/err"
    nothing
    rm "$DIR/ask"
    program "$EXITS"
    attach --fallback=kernel -p "$TARGET" "$DIR/exit.o"
    kill -KILL "$ATTACH"
    nothing
    ask "bare-tail 10"
    untouched "$EXITS" tail_bare
}

@test "-- CMD: from its first instruction; its exit status; its children are said to be left out" {
    counts exit "uretprobe/$EXITS:tail_pointer"
    status=0
    echo "pointer 321" | timeout -k 5 30 "$TENON" attach --fallback=kernel "$DIR/exit.o" -- "$EXITS" >"$DIR/out" 2>"$DIR/err" 3>&- || status=$?
    cat "$DIR/out" "$DIR/err"
    [ "$status" -eq 0 ]
    grep -q '0  321' "$DIR/out"
    grep -q 'children of .*targets-exits are not hooked' "$DIR/err"
    nothing
}

@test "a process that is traced: entries, patterns and static probes; every process, those that come later too" {
    program "$TARGETS/targets-probes"
    traced "$TARGET"
    counts many "uprobe/$TARGETS/targets-probes:main" "uprobe.multi/$TARGETS/targets-probes:mai[n]" "usdt/$TARGETS/targets-probes:shop:order"
    attach --fallback=kernel -p "$TARGET" "$DIR/many.o"
    grep -q '\[already_traced\]' "$DIR/err"
    ask "order 250"
    ask "semaphores 0"
    [ "$(passes 2)" = 250 ]
    over INT
    ask "order 250"
    ask "semaphores 0"
    tail -1 "$DIR/answer" | grep -vq '[1-9]' # nobody looks any more
    rm "$DIR/ask"
    exec 7>&-

    program "$EXITS"
    traced "$TARGET"
    counts all "uprobe/$EXITS:tail_pointer"
    attach --fallback=kernel "$DIR/all.o"
    ask "pointer 100"
    echo "pointer 11" | "$EXITS" >/dev/null
    [ "$(passes 0)" = 111 ]
    over TERM
}

@test "what the kernel would do harm by is refused, and nothing is touched" {
    program "$EXITS"
    traced "$TARGET"
    counts inside "uprobe/$EXITS:many_rets" "uprobe/$EXITS:tail_pointer+1" # amid an instruction
    tenon attach --fallback=kernel -p "$TARGET" "$DIR/inside.o"
    [ "$status" -eq 1 ]
    said "'fallback_1'"
    said "[not_an_instruction_start]"
    counts kinds "uprobe/$EXITS:tail_pointer" "tracepoint/syscalls/sys_enter_getppid"
    tenon attach --fallback=kernel -p "$TARGET" "$DIR/kinds.o"
    [ "$status" -eq 1 ]
    said "[kernel_section]"
    counts back "uretprobe/$EXITS:tail_pointer"
    tenon attach --fallback=kernel "$DIR/back.o" # those that come later might be of any kind
    [ "$status" -eq 1 ]
    said "[kernel_return]"
    untouched "$EXITS" tail_pointer
    ask "pointer 10"
    nothing
}

@test "exceptions and Go: no return is the kernel's to change; their entries are" {
    throws=$TARGETS/targets-throws
    program "$throws"
    traced "$TARGET"
    counts back "uretprobe/$throws:passes"
    tenon attach --fallback=kernel -p "$TARGET" "$DIR/back.o"
    [ "$status" -eq 1 ]
    said "[kernel_return]"
    counts entry "uprobe/$throws:passes"
    attach --fallback=kernel -p "$TARGET" "$DIR/entry.o"
    ask "throw 100"
    [ "$(passes 0)" = 100 ]
    over INT
    rm "$DIR/ask"
    exec 7>&-

    go=$TARGETS/targets-go
    [ -x "$go" ] || skip "no Go here: the rest was done"
    program "$go"
    traced "$TARGET"
    counts back "uprobe/$go:main.leaf" "uretprobe/$go:main.leaf"
    tenon attach --fallback=kernel -p "$TARGET" "$DIR/back.o"
    [ "$status" -eq 1 ]
    said "[kernel_return]"
    said "Go"
    kill -0 "$TARGET"
    nothing
}

@test "another extension at the place: the kernel does not write over it" {
    program "$EXITS"
    counts entry "uprobe/$EXITS:tail_pointer"
    counts both "uprobe/$EXITS:tail_pointer" "uretprobe/$EXITS:tail_pointer"
    tenon attach --keep --json -p "$TARGET" "$DIR/entry.o"
    [ "$status" -eq 0 ]
    id=$(json_lines 'j[0]["id"]')
    tenon attach --fallback=kernel -p "$TARGET" "$DIR/both.o"
    [ "$status" -eq 1 ]
    said "[foreign_bytes]"
    nothing
    ask "pointer 500"
    tenon map lookup fallback_passes 0
    [ "$out" = 500 ]
    tenon detach "$id"
    [ "$status" -eq 0 ]
    untouched "$EXITS" tail_pointer
}

@test "a policy is no way to be gone around: not at first, and not when it comes later" {
    program "$EXITS"
    counts back "uretprobe/$EXITS:tail_pointer"
    attach --fallback=kernel -p "$TARGET" "$DIR/back.o"
    printf 'eim: 1\nhost: { name: exits, binary: %s }\ndefaults: { uprobe: observability, uretprobe: observability }\n' "$EXITS" >"$DIR/next.yaml"
    mv "$DIR/next.yaml" "$DIR/policy/exits.yaml"
    status=0
    wait "$ATTACH" || status=$?
    [ "$status" -eq 1 ]
    grep -q '\[kernel_governed\]' "$DIR/err"
    nothing
    tenon attach --fallback=kernel -p "$TARGET" "$DIR/back.o"
    echo "$err"
    [ "$status" -eq 1 ]
    said "[exit_tail_unknown]"
    said "[kernel_governed]"
    tenon policy audit --json --refused
    [ "$(json 'sum(r["deed"] == "attach in the kernel" and r["refused"] == "kernel_governed" for r in j)')" = 2 ]
    ask "pointer 10"
    nothing
}

@test "without the capabilities: which are missing; what does not go together; an unknown word" {
    program "$EXITS"
    counts back "uretprobe/$EXITS:tail_pointer"
    tenon ls # a broker that has them
    status=0
    setpriv --bounding-set=-bpf,-perfmon,-sys_admin --inh-caps=-bpf,-perfmon,-sys_admin timeout -k 5 30 "$TENON" attach --fallback=kernel -p "$TARGET" "$DIR/back.o" \
        >"$DIR/out" 2>"$DIR/err" </dev/null 3>&- || status=$?
    err=$(cat "$DIR/err")
    [ "$status" -eq 1 ]
    said "[exit_tail_unknown]"
    said "CAP_BPF and CAP_PERFMON"
    said "[kernel_capabilities]"
    for other in --keep --follow --class=observability; do
        tenon attach --fallback=kernel "$other" -p "$TARGET" "$DIR/back.o"
        [ "$status" -eq 2 ]
        said "leave out ${other%=*}"
    done
    tenon attach --fallback=moon -p "$TARGET" "$DIR/back.o"
    [ "$status" -eq 2 ]
    nothing
    tenon doctor
    [[ $out == *"the kernel's own uprobes: one stood on a function of our own"* ]]
}
