#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
#
# Tools that nobody here wrote, or that are written as others write them, through the preload door: Debian's bpftool,
# a skeleton-based tool, and one that asks for what is not there.

setup() {
    DIR=$(mktemp -d)
    export TENON_SOCKET="$DIR/broker.sock" TENON_EXE="$TOOLS_BROKER" TENON_LINGER_MS=200
    HOLDER=
}

teardown() {
    if [ -n "$HOLDER" ]; then
        kill "$HOLDER" 2>/dev/null || true
        wait "$HOLDER" 2>/dev/null || true
    fi
    for _ in $(seq 100); do
        [ -e "$TENON_SOCKET" ] || break
        sleep 0.05
    done
    rm -rf "$DIR"
}

through() {
    LD_PRELOAD="$TOOLS_DOOR" timeout 30 "$@"
}

# Objects that bpftool can look at: a tool that has loaded and waits.
hold() {
    LD_PRELOAD="$TOOLS_DOOR" timeout 60 "$TOOLS_SKELETON" hold >"$DIR/held" &
    HOLDER=$!
    for _ in $(seq 200); do
        grep -q '^held' "$DIR/held" 2>/dev/null && return 0
        sleep 0.05
    done
    return 1
}

@test "bpftool with nothing there: empty lists, not the kernel's" {
    for what in prog map link btf; do
        run through "$TOOLS_BPFTOOL" -j "$what" list
        [ "$status" -eq 0 ]
        [ "$output" = "[]" ]
    done
}

@test "bpftool prog: list, show, dump" {
    hold
    run through "$TOOLS_BPFTOOL" prog list
    [ "$status" -eq 0 ]
    [[ "$output" == *"kprobe  name on_add"*"tag"*"gpl"* ]]
    [[ "$output" == *"loaded_at"*"uid $(id -u)"* ]]
    [[ "$output" == *"xlated"*"jited"*"map_ids"*"btf_id"* ]]
    run through "$TOOLS_BPFTOOL" prog dump xlated name on_add
    [ "$status" -eq 0 ]
    [[ "$output" == *"call bpf_ringbuf_reserve#131"* ]]
    [[ "$output" == *"if (a >= only_below)"* ]]
    [[ "$output" == *"map[id:"* ]]
    run through "$TOOLS_BPFTOOL" prog show name no_such
    [ "$status" -ne 0 ]
}

@test "bpftool map: list, show, dump, lookup, update, delete, getnext" {
    hold
    run through "$TOOLS_BPFTOOL" map list
    [ "$status" -eq 0 ]
    [[ "$output" == *"ringbuf  name events"* ]]
    [[ "$output" == *"hash  name by_arg"* ]]
    [[ "$output" == *"skeleton.bss"* ]]
    [[ "$output" == *"skeleton.rodata"* ]]
    run through "$TOOLS_BPFTOOL" -j map dump name by_arg
    [ "$status" -eq 0 ]
    [[ "$output" == *'"formatted":{"key":7,"value":41}'* ]]
    through "$TOOLS_BPFTOOL" map update name by_arg key 9 0 0 0 value 5 0 0 0 0 0 0 0
    run through "$TOOLS_BPFTOOL" -j map lookup name by_arg key 9 0 0 0
    [ "$status" -eq 0 ]
    [[ "$output" == *'"value":["0x05"'* ]]
    through "$TOOLS_BPFTOOL" map delete name by_arg key 9 0 0 0
    run through "$TOOLS_BPFTOOL" map lookup name by_arg key 9 0 0 0
    [[ "$output" == *"Not found"* ]]
    run through "$TOOLS_BPFTOOL" map getnext name by_arg
    [ "$status" -eq 0 ]
    run through "$TOOLS_BPFTOOL" -j map dump name skeleton.data
    [[ "$output" == *'"factor":2'* ]]
    run through "$TOOLS_BPFTOOL" map create /sys/fs/bpf/tenon_test type lru_hash key 4 value 4 entries 4 name x
    [ "$status" -ne 0 ]
}

@test "bpftool btf: list and dump" {
    hold
    run through "$TOOLS_BPFTOOL" -j btf list
    [ "$status" -eq 0 ]
    id=$(printf '%s' "$output" | grep -o '"id":[0-9]*' | head -1 | cut -d: -f2)
    run through "$TOOLS_BPFTOOL" btf dump id "$id"
    [ "$status" -eq 0 ]
    [[ "$output" == *"VAR 'factor'"* ]]
    [[ "$output" == *"FUNC 'on_add'"* ]]
}

@test "bpftool feature: asks everything, gets an answer to everything" {
    run through "$TOOLS_BPFTOOL" feature probe
    [ "$status" -eq 0 ]
    [[ "$output" == *"eBPF program_type kprobe is available"* ]]
    [[ "$output" == *"eBPF program_type xdp is available"* ]]
    [[ "$output" == *"eBPF program_type sock_ops is NOT available"* ]]
    [[ "$output" == *"eBPF map_type ringbuf is available"* ]]
    [[ "$output" == *"eBPF map_type lru_hash is NOT available"* ]]
    [[ "$output" == *"bpf_ringbuf_output"* ]]
}

@test "a skeleton-based tool loads: globals, ring buffer, hash" {
    run through "$TOOLS_SKELETON" load
    [ "$status" -eq 0 ]
    [[ "$output" == *"factor=2"*"only_below=100"*"calls=0"*"idle=0"* ]]
}

@test "a skeleton-based tool attaches to its own function, entry and return" {
    run through "$TOOLS_SKELETON" attach
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"total=115"* ]]
    [[ "$output" == *"seen=10"*"sum=115"* ]]
    [[ "$output" == *"calls=20"* ]]
    [[ "$output" == *"returned=615"* ]]
    [[ "$output" == *"by_arg=51"* ]]
}

@test "bpftool link: list and show while a tool is attached" {
    LD_PRELOAD="$TOOLS_DOOR" timeout 60 "$TOOLS_SKELETON" attach hold >"$DIR/held" 2>&1 &
    HOLDER=$!
    for _ in $(seq 200); do
        grep -q '^held' "$DIR/held" && break
        sleep 0.05
    done
    grep -q '^held' "$DIR/held"
    run through "$TOOLS_BPFTOOL" link list
    [ "$status" -eq 0 ]
    [[ "$output" == *"perf_event  prog"* ]]
    kill "$HOLDER"
    wait "$HOLDER" 2>/dev/null || true
    HOLDER=
    for _ in $(seq 100); do
        [ "$(through "$TOOLS_BPFTOOL" -j link list)" = "[]" ] && break
        sleep 0.05
    done
    [ "$(through "$TOOLS_BPFTOOL" -j link list)" = "[]" ]
}

@test "what is missing is refused by name" {
    export TENON_EXPLAIN=1
    while read -r program name; do
        run through "$TOOLS_MISSING" "$TOOLS_OBJECTS/missing.bpf.o" "$program"
        echo "$program: $output"
        [ "$status" -eq 1 ]
        [[ "$output" == *"$name"* ]]
    done <<'ROWS'
packet prog_type_missing
missing_map map_type_missing
missing_helper helper_not_built
ROWS
}

@test "a probe of the kernel never reaches the kernel" {
    export TENON_EXPLAIN=1
    run through "$TOOLS_MISSING" "$TOOLS_OBJECTS/missing.bpf.o" kernel_probe
    echo "$output"
    [ "$status" -eq 1 ]
}

@test "a tool that has nothing of ours is what it was" {
    run through /bin/sh -c 'echo hello; exit 3'
    [ "$status" -eq 3 ]
    [ "$output" = "hello" ]
    [ ! -e "$TENON_SOCKET" ]
}
