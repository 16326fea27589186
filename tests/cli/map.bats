#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# tenon map: values typed by BTF, read and written, for people and machines.

load common
setup() {
    common_setup
    cat >"$DIR/o.c" <<'C'
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
enum colour { RED, GREEN = 5 };
struct inner { short x; unsigned y : 3, z : 5; };
struct value {
    int small; unsigned long long big; enum colour colour; _Bool flag; char name[8]; struct inner in[2];
    union { int u; char c[4]; }; double d; void *pointer;
};
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, struct value); } typed SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u64); } percpu SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 2); __uint(key_size, 3); __uint(value_size, 5); } untyped SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 20); __type(key, __u32); __type(value, __u64); } size_hist_bytes SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct value unused;
SEC("uprobe/bench-target:bench_count") int touch(void *ctx)
{
    __u32 key = 0;
    __u64 *v = bpf_map_lookup_elem(&percpu, &key);
    bpf_map_lookup_elem(&typed, &key);
    bpf_map_lookup_elem(&untyped, &unused);
    bpf_map_lookup_elem(&size_hist_bytes, &key);
    bpf_ringbuf_output(&ring, &key, sizeof(key), 0);
    if (v) *v += 1;
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
C
    clang -target bpf -g -O2 -I/usr/include/x86_64-linux-gnu -c "$DIR/o.c" -o "$DIR/types.bpf.o"
    target_start
    tenon attach --keep --json -p "$TARGET" "$DIR/types.bpf.o"
    echo "$status $err"
    [ "$status" -eq 0 ]
}
teardown() { common_teardown; }

@test "ls names every map with its type" {
    tenon map ls --json
    [ "$(json 'sorted((r["name"], r["type"]) for r in j if r["name"] in ("typed","percpu","ring"))')" = "[('percpu', 'percpu_array'), ('ring', 'ringbuf'), ('typed', 'hash')]" ]
    tenon map ls
    [[ $out == *typed* ]]
}

@test "a struct goes in by name and comes out typed; large integers are strings" {
    tenon map update typed 7 '{"small": -3, "big": "18446744073709551615", "colour": "GREEN", "flag": true, "name": "abc", "in": [{"x": -1, "y": 5, "z": 17}], "u": 258, "d": 0.5}'
    echo "$err"
    [ "$status" -eq 0 ]
    tenon map dump typed --json
    [ "$(json 'len(j)')" = 1 ]
    [ "$(json 'j[0]["key"]')" = 7 ]
    [ "$(json 'j[0]["value"]["small"]')" = -3 ]
    [ "$(json 'repr(j[0]["value"]["big"])')" = "'18446744073709551615'" ]
    [ "$(json 'j[0]["value"]["colour"]')" = GREEN ]
    [ "$(json 'j[0]["value"]["flag"] is True')" = True ]
    [ "$(json 'j[0]["value"]["name"]')" = abc ]
    [ "$(json 'j[0]["value"]["in"]')" = "[{'x': -1, 'y': 5, 'z': 17}, {'x': 0, 'y': 0, 'z': 0}]" ]
    [ "$(json 'j[0]["value"]["u"]')" = 258 ]
    [ "$(json 'j[0]["value"]["d"]')" = 0.5 ]
    [ "$(json 'j[0]["value"]["pointer"]')" = 0x0 ]
    tenon map lookup typed 7
    [[ $out == *GREEN* ]]
    # what is not mentioned stays
    tenon map update typed 7 '{"small": 4, "big": 9007199254740992}'
    tenon map lookup typed 7 --json
    [ "$(json '(j["value"]["small"], j["value"]["name"], j["value"]["big"])')" = "(4, 'abc', 9007199254740992)" ]
    tenon map update typed 7 '{"big": 9007199254740993}'
    tenon map lookup typed 7 --json
    [ "$(json 'repr(j["value"]["big"])')" = "'9007199254740993'" ]
}

@test "values that do not fit are refused and change nothing" {
    tenon map update typed 1 '{"small": 1}'
    for value in '{"small": 2147483648}' '{"nonsense": 1}' '{"name": "eight888"}' '{"in": [{},{},{}]}' '{"colour": "BLUE"}' '{"flag": 2}' '5' '[1]' '{"small": 1.5}' '{"in":'; do
        tenon map update typed 1 "$value"
        echo "$value: $status $err"
        [ "$status" -eq 1 ]
        said "value $value"
    done
    tenon map lookup typed 1 --json
    [ "$(json 'j["value"]["small"]')" = 1 ]
    tenon map update typed -- -1 '{}'
    [ "$status" -ne 0 ]
}

@test "per CPU: an array by possible CPU, out and in" {
    cpus=$(python3 -c 'import re
print(sum(int(b or a) - int(a) + 1 for a, b in re.findall(r"(\d+)(?:-(\d+))?", open("/sys/devices/system/cpu/possible").read())))')
    target_call 1000
    tenon map dump percpu --json
    [ "$(json 'len(j)')" = 2 ]
    [ "$(json 'len(j[0]["value"])')" = "$cpus" ]
    [ "$(json 'sum(j[0]["value"])')" = 1000 ]
    tenon map update percpu 1 3
    tenon map lookup percpu 1 --json
    [ "$(json 'set(j["value"])')" = "{3}" ]
    values=$(seq -s, 10 $((9 + cpus)))
    tenon map update percpu 1 "[$values]"
    tenon map lookup percpu 1 --json
    [ "$(json 'j["value"]')" = "[${values//,/, }]" ]
}

@test "raw hex where there is no BTF" {
    tenon map update untyped hex:010203 hex:0a0b0c0d0e
    echo "$err"
    [ "$status" -eq 0 ]
    tenon map dump untyped --json
    [ "$(json '(j[0]["key"], j[0]["value"])')" = "('0x010203', '0x0a0b0c0d0e')" ]
    tenon map update untyped hex:01 hex:0a0b0c0d0e
    [ "$status" -eq 1 ]
    tenon map update untyped 5 6
    [ "$status" -eq 1 ]
}

@test "a histogram is drawn, with its unit" {
    tenon map update size_hist_bytes 3 10
    tenon map update size_hist_bytes 11 40
    tenon map dump size_hist_bytes
    echo "$out"
    [[ $out == *" 40 "*"####"* || $out == *" 40 "*"█"* ]]
}

@test "errors: no such map, key, flag" {
    tenon map dump nonsense
    [ "$status" -eq 1 ]
    said nonsense
    tenon map dump 99999
    [ "$status" -eq 1 ]
    tenon map lookup typed 12345
    [ "$status" -eq 1 ]
    said "no such element"
    tenon map lookup percpu 2
    [ "$status" -eq 1 ]
    tenon map update typed 50 '{}' --exist
    [ "$status" -eq 1 ]
    tenon map update typed 50 '{}'
    tenon map update typed 50 '{}' --noexist
    [ "$status" -eq 1 ]
    said "already"
    for key in 101 102 103 104 105 106 107 108; do tenon map update typed $key '{}'; done
    [ "$status" -eq 1 ]
    said "full"
    tenon map dump ring
    [ "$status" -eq 1 ]
    said "no elements"
}
